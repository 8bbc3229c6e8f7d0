"""The daemon's server on a socket of the test's own, with answers of the test's own, and clients of it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from pmcredd import server, wire
from pmcredd.listening import Listener, close_listener, open_listener
from pmcredd.server import Limits
from pmcredd.wire import Request


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """An open listener, in a directory that it has made."""
    opened = open_listener(tmp_path / "run" / "pmcred" / "socket")
    yield opened
    with suppress(OSError):
        close_listener(opened)


Answer = Callable[[Request], Awaitable["bytes | server.Stream"]]
QUICK = Limits(sweep=0.01, courtesy=0.01)


def told(request: Request) -> bytes:
    """Answer with what was asked."""
    return wire.format_ok([{"verb": request.verb, "target": request.target or ""}], many=False)


async def tell(request: Request) -> bytes:
    """Answer likewise, but not at once."""
    await trio.lowlevel.checkpoint()
    return told(request)


@asynccontextmanager
async def serving(
    listener: Listener,
    answer: Answer = tell,
    *,
    ready: Callable[[Request], bytes | None] = lambda _: None,
    limits: Limits = QUICK,
    uid: int | None = None,
) -> AsyncIterator[trio.CancelScope]:
    """Serve within an `async with` block, which must end by itself; give the scope that ends the serving."""
    async with trio.open_nursery() as nursery:
        mine = os.geteuid() if uid is None else uid
        await nursery.start(
            partial(
                server.serve,
                listener.socket,
                lambda request, _: answer(request),
                ready=lambda request, _: ready(request),
                uid=mine,
                limits=limits,
            )
        )
        with trio.fail_after(30):
            yield nursery.cancel_scope
        nursery.cancel_scope.cancel()


async def connect(listener: Listener) -> trio.SocketStream:
    """Connect to it."""
    return await trio.open_unix_socket(os.fspath(listener.path))


async def ask(listener: Listener, data: bytes) -> list[wire.Ok | wire.Block | wire.Error]:
    """Send all of it, half-close, and read until the server closes."""
    async with await connect(listener) as client:
        await client.send_all(data)
        await client.send_eof()
        return await rest(client)


async def rest(client: trio.SocketStream) -> list[wire.Ok | wire.Block | wire.Error]:
    """Read complete answers until the server closes."""
    reader = wire.AnswerReader()
    events = [event async for data in client for event in reader.feed(bytes(data))]
    assert reader.between_answers
    return events


async def one(client: trio.SocketStream) -> wire.Ok | wire.Block | wire.Error:
    """Read one answer."""
    reader = wire.AnswerReader()
    while True:
        data = await client.receive_some()
        assert data, "closed before the answer"
        for event in reader.feed(bytes(data)):
            assert reader.between_answers
            return event


async def closed(client: trio.SocketStream) -> None:
    """Wait until the server has closed the connection."""
    with suppress(trio.BrokenResourceError):
        while await client.receive_some():
            pass


def asked(verb: str, target: str = "") -> wire.Ok:
    """Give the answer that `told` gives."""
    return wire.Ok(({"verb": verb, "target": target},))
