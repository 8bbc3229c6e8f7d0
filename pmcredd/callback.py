"""The listener of one login: an HTTP server on 127.0.0.1 that takes one answer and is gone with the login.

Whatever is not this login's answer (another path, another state, a page that rebinds its name to this address, a port
scan) is told so and changes nothing.
"""

import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from pmcredd import authorization as rules
from pmcredd import pages, processmaker
from pmcredd.authorization import Authorization, Denied, Granted, Stranger
from pmcredd.pages import Page
from pmcredd.profiles import Profile

if TYPE_CHECKING:
    import h11

HEAD_LIMIT = 16 * 1024  # bytes of a request's head: a developer's browser has cookies for 127.0.0.1 from elsewhere
TIME_LIMIT = 10.0  # seconds for a connection's head to come, and for its answer to leave
MOST_CONNECTIONS = 32
_LINGER = 1.0  # seconds in which what a client still sends is read, so that it gets to read our answer
_CHUNK = 8192  # bytes

_ADDRESS = "127.0.0.1"  # never all interfaces, and never a name: "localhost" may be [::1], where nobody would listen


class CallbackProblem(Exception):
    """Nobody can listen for this login; `hint` is what mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Callback:
    """The listener of one login; `begin` tells it what to expect, `answer` waits for it, `finish` shows the end."""

    def __init__(self, redirect_uri: str, port: int) -> None:
        self.redirect_uri = redirect_uri
        names = (_ADDRESS, "localhost")  # no other: a page whose name leads here by DNS must not talk to us
        self._hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        self._path = "/" + redirect_uri.split("/", 3)[3]
        self._authorization: Authorization | None = None
        self._outcome: Granted | Denied | None = None
        self._answered = trio.Event()
        self._page: Page | None = None
        self._finished = trio.Event()
        self._open: dict[trio.CancelScope, None] = {}  # connections without the answer, the oldest first
        self._bearers: set[trio.CancelScope] = set()  # connections that brought the answer, and wait for their page
        self._served = trio.Event()

    def begin(self, authorization: Authorization) -> None:
        """Tell which request is to be answered; nothing is an answer before."""
        self._authorization = authorization

    async def answer(self) -> Granted | Denied:
        """Wait for the one answer of this login; all else gets an error page and changes nothing."""
        await self._answered.wait()
        assert self._outcome is not None  # noqa: S101 - set together with the event
        return self._outcome

    async def finish(self, page: Page) -> None:
        """Show the browser that brought the answer how the login ended, and wait until it has the page.

        The first page counts. A browser that asks for the same address again is shown the same page.
        """
        self.end(page)
        while self._bearers:
            await self._served.wait()
        await trio.lowlevel.checkpoint()

    def end(self, page: Page) -> None:
        """Show the browser that brought the answer this page, without waiting."""
        if self._page is None:
            self._page = page
            self._finished.set()

    async def serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Answer one connection's one request; nothing that a client does makes it raise."""
        if len(self._open) >= MOST_CONNECTIONS:
            # The oldest goes: a browser's request comes at once, and who holds connections open must not keep it out.
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        with trio.move_on_after(TIME_LIMIT) as scope:
            self._open[scope] = None
            try:
                async with stream:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._converse(stream, scope)
            finally:
                self._open.pop(scope, None)

    async def _converse(self, stream: trio.abc.HalfCloseableStream, scope: trio.CancelScope) -> None:
        import h11  # in functions here: most daemons never see a login

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        try:
            request = await _request(stream, connection)
            if request is None:
                return
            page = self._judge(request)
        except h11.RemoteProtocolError as error:
            page = _refused(error.error_status_hint, "This is not a request that a browser would make.")
        if page is not None:
            await _send(stream, connection, page)
        elif len(self._bearers) >= MOST_CONNECTIONS:
            await _send(stream, connection, _refused(503, "This page was asked for too often."))
        else:
            with self._bearing(scope):
                await self._finished.wait()
                scope.deadline = trio.current_time() + TIME_LIMIT
                assert self._page is not None  # noqa: S101 - set together with the event
                await _send(stream, connection, self._page)
        await _linger(stream)

    @contextmanager
    def _bearing(self, scope: trio.CancelScope) -> Iterator[None]:
        """Keep a connection that brought the answer: the exchange of the code has limits of its own.

        A login that is cancelled meanwhile owes it a page, so only its own time limit ends it, once there is a page.
        """
        self._open.pop(scope, None)  # it is not there if it had to make room in this very moment
        if not self._bearers:
            self._served = trio.Event()
        self._bearers.add(scope)
        scope.deadline, scope.shield = float("inf"), True
        try:
            yield
        finally:
            scope.shield = False
            self._bearers.discard(scope)
            if not self._bearers:
                self._served.set()

    def _judge(self, request: "h11.Request") -> Page | None:
        """Look for the answer in a request; give None if it is there, else what to say."""
        host = [value for name, value in request.headers if name == b"host"]
        if len(host) != 1 or host[0].decode("latin-1").lower() not in self._hosts:
            return _refused(421, f"Only {self.redirect_uri} is answered here.")
        if request.method != b"GET":
            page = _refused(405, "Only GET is answered here.")
            return Page(405, {**page.headers, "allow": "GET"}, b"" if request.method == b"HEAD" else page.body)
        target = request.target.decode("latin-1")
        if self._authorization is None or target.partition("?")[0] != self._path:
            return pages.not_found()
        found = rules.read_redirect(self._authorization, target)
        if isinstance(found, Stranger):
            return pages.failed("This is not the end of the login", found.sentence, "")
        if self._outcome is None:
            self._outcome = found
            self._answered.set()
        elif found != self._outcome:
            return pages.failed("This login has had its answer", "Another answer came before, and it counts.", "")
        return None


@asynccontextmanager
async def listen(profile: Profile) -> AsyncIterator[Callback]:
    """Listen for the browser of one login, on a free port or on that of the profile's `redirect_uri`.

    When the body ends, however it does, nobody listens any more; a browser that brought the answer and was not shown
    its page by `finish` is told that the login has ended.

    Raises:
        CallbackProblem: the port is taken, or may not be had.

    """
    listener = _open(profile)
    try:
        port: int = listener.socket.getsockname()[1]
        callback = Callback(rules.redirect_uri(profile, port), port)
        raised: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, callback.serve, [listener], handler_nursery=nursery))
            try:
                yield callback
            except Exception as error:  # noqa: BLE001 - it leaves as it came: a nursery would make a group of it
                raised = error
            finally:
                callback.end(_ended(profile))
                nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised
    finally:
        listener.socket.close()


def _ended(profile: Profile) -> Page:
    return pages.failed(
        "The login has ended",
        "It was cancelled, or its time was over; nothing was saved",
        f"pmcred login {profile.name}",
    )


def _open(profile: Profile) -> trio.SocketListener:
    port = profile.redirect_port
    if port is None and profile.generation == 3:
        clients = processmaker.generation(profile).clients_page
        raise CallbackProblem(
            f"ProcessMaker 3 compares the redirect URI with its port, and profile {profile.name} names none",
            f'write redirect_uri = "http://127.0.0.1:28080/callback", and the same in {clients}: '
            f"pmcred profile edit {profile.name}",
        )
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A login just after another one on the same port; two that listen at once stay impossible (socket(7)).
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_ADDRESS, port or 0))
        listening.listen(MOST_CONNECTIONS)
    except OSError as failed:
        listening.close()
        raise _problem(profile, port, failed) from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def _problem(profile: Profile, port: int | None, failed: OSError) -> CallbackProblem:
    place = f"{_ADDRESS}:{port}" if port else _ADDRESS
    message = f"cannot wait for the browser on {place}: {failed.strerror}"
    if failed.errno == errno.EADDRINUSE:
        hint = (
            f"end what listens there (ss -ltnp 'sport = :{port}' names it; it may be another login), or write another "
            f"port into redirect_uri, and into ProcessMaker: pmcred profile edit {profile.name}"
        )
    elif failed.errno == errno.EACCES:
        hint = (
            "ports below 1024 are the system's: write another one into redirect_uri, and into ProcessMaker: "
            f"pmcred profile edit {profile.name}"
        )
    else:
        hint = ""
    return CallbackProblem(message, hint)


async def _request(stream: trio.abc.HalfCloseableStream, connection: "h11.Connection") -> "h11.Request | None":
    """Read the head of one request; None if the client left without one."""
    import h11

    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(bytes(await stream.receive_some(_CHUNK)))


async def _send(stream: trio.abc.HalfCloseableStream, connection: "h11.Connection", page: Page) -> None:
    import h11

    headers = [*page.headers.items(), ("content-length", str(len(page.body)))]
    reason = HTTPStatus(page.status).phrase
    answer = connection.send(h11.Response(status_code=page.status, headers=headers, reason=reason.encode()))
    assert answer is not None  # noqa: S101 - only ConnectionClosed gives None
    await stream.send_all(answer + page.body)


async def _linger(stream: trio.abc.HalfCloseableStream) -> None:
    """Let a client that still sends read our answer: closing over unread bytes would reset the connection."""
    with trio.move_on_after(_LINGER):
        await stream.send_eof()
        while await stream.receive_some(_CHUNK):
            pass


def _refused(status: int, sentence: str) -> Page:
    return pages.failed(HTTPStatus(status).phrase, sentence, "", status=status)
