"""A server that knows which tokens are good, and a daemon that has them: for tests of those who send tokens."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pmcredd import wire
from pmcredd.secret import Secret
from support.fake_daemon import FakeDaemon

OLD, NEW, NEWER = (f"{age}-token-0123456789abcdef" for age in ("old", "new", "newer"))


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    authorization: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b'{"data":[]}'


@dataclass
class ApiServer:
    """Answers by `special` (path -> reply), else 200 to who brings a token of `good`, else 401."""

    url: str = ""
    good: set[str] = field(default_factory=lambda: {NEW})
    seen: list[Seen] = field(default_factory=list)
    special: dict[str, Reply] = field(default_factory=dict)

    def reply(self, request: Seen) -> Reply:
        """Answer a request."""
        if request.path in self.special:
            return self.special[request.path]
        if request.authorization in {f"Bearer {token}" for token in self.good}:
            return Reply()
        return Reply(401, body=b'{"error":"Unauthenticated."}')

    def bearers(self) -> list[str | None]:
        """Give the tokens that came, in order; None where none did."""
        return [seen.authorization and seen.authorization.removeprefix("Bearer ") for seen in self.seen]


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """Serve on a free loopback port."""
    api = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # a client may leave
                super().handle()

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            request = Seen(self.command, self.path, self.headers["Authorization"], self._body())
            api.seen.append(request)
            reply = api.reply(request)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _body(self) -> bytes:
            if self.headers["Transfer-Encoding"] != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"] or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Issuer:
    """What the daemon answers: the first of `tokens`, until that one is rejected; `rejects` may be an error.

    With `hold`, nothing is answered before it is set.
    """

    url: str
    tokens: list[str] = field(default_factory=lambda: [OLD, NEW, NEWER])
    rejects: bytes = b""
    hold: threading.Event | None = None

    def __call__(self, line: bytes) -> bytes:
        """Answer a request."""
        if self.hold is not None:
            self.hold.wait()
        verb, *words = line.decode().split()
        if verb == "reject":
            if self.rejects:
                return self.rejects
            if f"fingerprint={Secret(self.tokens[0]).fingerprint()}" in words and len(self.tokens) > 1:
                del self.tokens[0]
        return wire.format_ok([{"access_token": self.tokens[0], "profile": "prod", "url": self.url}], many=False)


@dataclass(frozen=True, slots=True)
class House:
    """A server, and a daemon for it."""

    api: ApiServer
    issuer: Issuer
    daemon: FakeDaemon

    def asked(self) -> list[str]:
        """Give the verbs that the daemon was asked."""
        return [line.decode().partition(" ")[0] for line in self.daemon.requests]


@contextmanager
def house(socket_path: Path) -> Iterator[House]:
    """Serve both."""
    with api_server() as api:
        issuer = Issuer(api.url)
        with FakeDaemon(socket_path, issuer) as daemon:
            yield House(api, issuer, daemon)
