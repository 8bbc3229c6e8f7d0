"""A company's front server: a git repository for who has a living ProcessMaker token, ProcessMaker behind it."""

import base64
import binascii
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_REPOSITORY = "/git/"


@dataclass
class GitServer:
    """`url` is its root; `seen` are the Authorization headers that came for the repository, in order, empty ones too.

    `offered` are the challenges of its 401; with `deaf` it refuses everybody.
    """

    repository: Path
    behind: str
    offered: Sequence[str]
    url: str = ""
    deaf: bool = False
    seen: list[str] = field(default_factory=list)

    @property
    def clone_url(self) -> str:
        """Give the URL of the repository."""
        return f"{self.url}{_REPOSITORY}x.git"

    def admits(self, authorization: str) -> bool:
        """Tell whether ProcessMaker takes the token, which may come as a header of its own or as a password."""
        scheme, _, value = authorization.partition(" ")
        if scheme == "Basic":
            try:
                value = base64.b64decode(value).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return (
            bool(value) and not self.deaf and self.ask("/api/1.0/users", {"Authorization": f"Bearer {value}"})[0] == 200
        )

    def ask(
        self, path: str, headers: dict[str, str], body: bytes | None = None, method: str = "GET"
    ) -> tuple[int, str, bytes]:
        """Ask ProcessMaker; gives the status, the content type and the body."""
        request = urllib.request.Request(
            self.behind + path, body, headers | {"Accept": "application/json"}, method=method
        )
        try:
            with _OPENER.open(request, timeout=30) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("Content-Type", ""), error.read()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: GitServer

    def do_GET(self) -> None:
        if not self.path.startswith(_REPOSITORY):
            self._forward()
            return
        authorization = self.headers.get("Authorization", "")
        self.front.seen.append(authorization)
        if self.front.admits(authorization):
            self._git()
        else:
            self._body()
            self._give(401, "text/plain", b"Unauthorized\n", self.front.offered)

    def do_POST(self) -> None:
        self.do_GET()

    def _git(self) -> None:
        """Let git http-backend answer; it speaks CGI (RFC 3875)."""
        path, _, query = self.path.partition("?")
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.front.repository.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path.removeprefix(_REPOSITORY.rstrip("/")),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = self._body() or b""
        told = subprocess.run(
            ["git", "http-backend"], env=environ, input=body, stdout=subprocess.PIPE, check=True, timeout=60
        ).stdout
        head, _, content = told.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._give(int(fields.get("Status", "200").split()[0]), fields.get("Content-Type", ""), content)

    def _body(self) -> bytes | None:
        length = int(self.headers.get("Content-Length", "0"))
        return self.rfile.read(length) if length else None

    def _forward(self) -> None:
        kept = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        self._give(*self.front.ask(self.path, kept, self._body(), self.command))

    def _give(self, status: int, kind: str, body: bytes, offered: Sequence[str] = ()) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for challenge in offered:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing."""


@contextmanager
def git_server(
    place: Path, behind: str, offered: Sequence[str] = ('Bearer realm="pm"', 'Basic realm="pm"')
) -> Iterator[GitServer]:
    """Serve a repository with one commit, whose only file is `hello`, in front of the ProcessMaker at `behind`."""
    front = GitServer(_repository(place), behind, offered)
    handler = type("Handler", (_Handler,), {"front": front})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        front.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()


def _repository(place: Path) -> Path:
    work, bare = place / "work", place / "x.git"
    who = ["-c", "user.name=Pat", "-c", "user.email=pat@example.com", "-c", "init.defaultBranch=main"]
    work.mkdir(parents=True)
    (work / "hello").write_text("hello\n")
    for words in (
        [*who, "init", "-q", str(work)],
        ["-C", str(work), "add", "hello"],
        [*who, "-C", str(work), "commit", "-q", "-m", "hello"],
        ["clone", "-q", "--bare", str(work), str(bare)],
    ):
        subprocess.run(["git", *words], check=True, stdin=subprocess.DEVNULL, timeout=60)
    return bare
