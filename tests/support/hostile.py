"""A server on loopback that misbehaves: each behaviour is one thing that a real server, or a front end, does."""

import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from socket import SO_LINGER, SOL_SOCKET

import trio

Behaviour = Callable[["Conversation"], Awaitable[None]]


@dataclass
class Conversation:
    """One connection as the server sees it; `seen` grows with what the client sends."""

    stream: trio.abc.Stream
    tcp: trio.SocketStream
    seen: bytearray
    asked: trio.Event

    async def request(self) -> None:
        """Read until the request is complete: its head, and as much body as it announces."""
        while not self._complete():
            more = await self.stream.receive_some()
            if not more:
                raise trio.BrokenResourceError("the client left in the middle of its request")
            self.seen += more
        self.asked.set()

    def _complete(self) -> bool:
        head, found, body = bytes(self.seen).partition(b"\r\n\r\n")
        announced = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(found) and len(body) >= sum(int(line.partition(b":")[2]) for line in announced)

    async def answer(self, body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> None:
        """Read the request and answer it as a server should."""
        await self.request()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
        await self.stream.send_all(head + headers + b"\r\n" + body)


@dataclass
class Hostile:
    """A running server: where it listens and what it has been sent, a bytearray a connection."""

    port: int
    requests: list[bytearray] = field(default_factory=list)
    asked: trio.Event = field(default_factory=trio.Event)
    """Set once a whole request has been read."""

    @property
    def url(self) -> str:
        """Give its URL over plain http."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def hostile(behave: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Hostile]:
    """Serve every connection by `behave` and close it; everything ends with the block."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Hostile(port=listeners[0].socket.getsockname()[1])

    async def handle(tcp: trio.SocketStream) -> None:
        seen = bytearray()
        server.requests.append(seen)
        stream: trio.abc.Stream = tcp
        try:
            if tls is not None:
                secure = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True)
                await secure.do_handshake()
                stream = secure
            await behave(Conversation(stream, tcp, seen, server.asked))
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(tcp)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, handle, listeners))
        yield server
        nursery.cancel_scope.cancel()


# ---- behaviours ------------------------------------------------------------------------------------------------------


async def hang(_: Conversation) -> None:
    """Accept, and never read or say a thing."""
    await trio.sleep_forever()


async def hang_after_reading(talk: Conversation) -> None:
    """Take the request and never answer."""
    await talk.request()
    await trio.sleep_forever()


async def close_at_once(_: Conversation) -> None:
    """Accept and close."""


async def close_after_reading(talk: Conversation) -> None:
    """Take the request and close."""
    await talk.request()


async def reset_after_reading(talk: Conversation) -> None:
    """Take the request and reset the connection."""
    await talk.request()
    talk.tcp.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


async def close_mid_headers(talk: Conversation) -> None:
    """Close in the middle of the head."""
    await talk.request()
    await talk.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: appl")


async def close_mid_body(talk: Conversation) -> None:
    """Announce more body than there is."""
    await talk.request()
    await talk.stream.send_all(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"access_token":'
    )


async def endless_body(talk: Conversation) -> None:
    """Never stop sending the body."""
    await talk.request()
    await talk.stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await talk.stream.send_all(b"4000\r\n" + b" " * 0x4000 + b"\r\n")


async def endless_headers(talk: Conversation) -> None:
    """Never stop sending headers."""
    await talk.request()
    await talk.stream.send_all(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.stream.send_all(b"X-Filler: " + b"x" * 4096 + b"\r\n")


async def endless_interim(talk: Conversation) -> None:
    """Promise the answer for ever."""
    await talk.request()
    while True:
        await talk.stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def drip(talk: Conversation) -> None:
    """Send the body byte by byte, so that there is always progress and never an end."""
    await talk.request()
    await talk.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await talk.stream.send_all(b" ")
        await trio.sleep(0.01)  # the misbehaviour itself


async def garbage(talk: Conversation) -> None:
    """Speak something else than HTTP, and repeat the request in it."""
    await talk.request()
    await talk.stream.send_all(b"\x00\x01 SSH-2.0 " + bytes(talk.seen))


async def plain_error(talk: Conversation) -> None:
    """Answer whatever comes as a web server does that was spoken to in TLS at its plain port."""
    talk.seen += await talk.stream.receive_some()
    await talk.stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
