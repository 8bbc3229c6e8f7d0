"""The listener of one login without a socket, to which browsers are brought by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import trio
from trio.testing import memory_stream_pair

from pmcredd import authorization, pages
from pmcredd.callback import Callback
from pmcredd.profiles import Grant, Profile

PROFILE = Profile("prod", "https://acme.processmaker.net", Grant.AUTHORIZATION_CODE, client_id="3")
HERE = "http://127.0.0.1:4711/callback"
HOST = "127.0.0.1:4711"
DONE = pages.signed_in("prod", "a.smith")


@dataclass(frozen=True)
class Answer:
    """What a client was answered, taken apart by nobody's library but this line."""

    status: int
    headers: dict[str, str]
    body: str


def taken_apart(raw: bytes) -> Answer:
    """Read an HTTP/1.1 answer whose end is the connection's."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    return Answer(int(status), headers, body.decode())


class Browser:
    """One client on a stream in memory: it can stop in the middle of anything."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream

    async def send(self, data: bytes | str) -> None:
        """Send, if the other end still listens."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data if isinstance(data, bytes) else data.encode("latin-1"))

    async def rest(self) -> bytes:
        """Read until the other end closes; what never ends fails."""
        parts = []
        with trio.fail_after(60), suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some():
                parts.append(bytes(data))
        return b"".join(parts)

    async def answer(self) -> Answer:
        """Read the answer."""
        return taken_apart(await self.rest())


class Desk:
    """A listener without a socket, which connections are brought to by hand."""

    def __init__(self, nursery: trio.Nursery, *, expecting: bool = True) -> None:
        self.callback = Callback(HERE, 4711)
        self.login = authorization.begin(PROFILE, HERE)
        if expecting:
            self.callback.begin(self.login)
        self._nursery = nursery

    @property
    def good(self) -> str:
        """Give the target that is the answer."""
        return f"/callback?code=c0de&state={self.login.state.reveal()}"

    def connect(self) -> Browser:
        """Open a connection."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.callback.serve, theirs)
        return Browser(ours)

    async def ask(self, request: bytes | str) -> Answer:
        """Send one request on a connection of its own, and read what comes."""
        browser = self.connect()
        await browser.send(request)
        answer = await browser.answer()
        await browser.stream.aclose()
        return answer

    def answered(self) -> bool:
        """Tell whether there has been an answer."""
        return self.callback._answered.is_set()


@asynccontextmanager
async def desk(*, expecting: bool = True) -> AsyncIterator[Desk]:
    """Open a desk, and close it whatever is still under way."""
    async with trio.open_nursery() as nursery:
        opened = Desk(nursery, expecting=expecting)
        try:
            yield opened
        finally:
            opened.callback.end(DONE)
            nursery.cancel_scope.cancel()


def get(target: str, host: str = HOST, version: str = "1.1", more: str = "") -> str:
    """Write a request."""
    return f"GET {target} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n"
