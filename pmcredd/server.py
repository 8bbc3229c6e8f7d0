"""What happens on the daemon's socket: one line in, one answer out. What the answers are is not known here."""

import contextlib
import errno
import functools
import logging
import math
import os
import select
import socket
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, Self

import trio

from pmcredd import wire
from pmcredd.peer import Peer, Peers

_log = logging.getLogger(__name__)

# Clients say the same few lines over and over, and to understand one costs a sixth of a `get`.
_parse = functools.lru_cache(maxsize=64)(wire.parse_request)


class Stream(Protocol):
    """An answer that goes on: an asynchronous iterator of its pieces, `ok *` first and then whole blocks.

    The next piece is asked for when the client has taken the one before, so that a slow one makes nothing pile up here.
    """

    def __aiter__(self) -> Self:
        """Give itself."""
        ...

    async def __anext__(self) -> bytes:
        """Wait for the next piece; StopAsyncIteration ends the connection."""
        ...

    def end(self) -> None:
        """End soon: what the client has not been told yet and was there when it asked may still be given."""
        ...


Answer = Callable[[wire.Request, Peer], Awaitable[bytes | Stream]]
Ready = Callable[[wire.Request, Peer], bytes | None]


class HasDescriptor(Protocol):
    """A socket, in whatever wrapping."""

    def fileno(self) -> int:
        """Give the descriptor."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may take; times in seconds."""

    connections: int = 512
    streams: int = 256  # of them: who streams never makes room, and others must find a place
    courtesy: float = 1.0  # for a client to say something before it may be closed to make room
    idle: float = 60.0  # without a request
    half_line: float = 10.0  # from a request's first byte to its newline
    unread: float = 30.0  # for a client to take one answer
    sweep: float = 1.0  # how often the three are looked at
    farewell: float = 1.0  # for answers under way, once the daemon leaves


async def serve(
    listener: HasDescriptor,
    answer: Answer,
    *,
    ready: Ready,
    uid: int,
    refused: Callable[[Peer], None] = lambda _: None,
    limits: Limits = Limits(),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled; then answers under way get a moment to arrive, and silent clients none.

    Args:
        listener: a listening Unix socket, of whatever library; it stays the caller's.
        answer: gives the complete answer to a request of this peer, however long it takes, or a stream: the last answer
            of its connection, which ends with the stream. It ends when the client half-closes or leaves, or when we
            leave.
        ready: the same without waiting, or None where `answer` is needed: nearly every `get` ends here.
        uid: the only user who is served.
        refused: told who else has come.
        limits: how much a client may take.
        task_status: told once connections are taken.

    """
    with socket.socket(fileno=os.dup(listener.fileno())) as own:
        own.settimeout(0)
        try:
            await _Server(answer, ready, uid, refused, limits).run(own, task_status)
        finally:
            trio.lowlevel.notify_closing(own)


class _Connection:
    __slots__ = ("deadline", "peer", "silent_since", "socket")

    peer: Peer  # there before the first request

    def __init__(self, accepted: socket.socket, now: float, deadline: float) -> None:
        self.socket = accepted
        self.silent_since = now  # on trio's clock; infinite while it is our turn
        self.deadline = deadline  # when the sweeper closes it


class _Server:
    # What a `get` costs is decided here. So one sweeper looks at all deadlines, instead of a cancel scope for
    # every wait; and sockets are plain ones, with trio asked to wait only where the kernel would: trio.socket makes
    # every call a turn of the event loop, a third of a `get`. A connection is ended by closing its socket under its
    # task, which finds ClosedResourceError if it waits, and EBADF if it was about to go on.

    def __init__(self, answer: Answer, ready: Ready, uid: int, refused: Callable[[Peer], None], limits: Limits) -> None:
        self._answer = answer
        self._ready = ready
        self._uid = uid
        self._refused = refused
        self._peers = Peers()
        self._limits = limits
        self._connections: dict[_Connection, None] = {}  # oldest first
        self._streams: set[Stream] = set()
        self._arrival = trio.Event()
        self._room: trio.Event | None = None  # somebody waits for a place
        self._opened = trio.Event()
        self._left = trio.Event()
        self._farewell = trio.CancelScope(shield=True)
        self._tasks: trio.Nursery

    async def run(self, listener: socket.socket, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._hold_connections)
                await self._opened.wait()
                task_status.started()
                await self._accept(listener)
            finally:
                self._leave()

    async def _hold_connections(self) -> None:
        # Shielded: who waits for an answer when the daemon is told to leave still hears it.
        with self._farewell:
            async with trio.open_nursery() as self._tasks:
                self._opened.set()
                await self._left.wait()

    def _leave(self) -> None:
        self._left.set()
        for stream in self._streams:
            stream.end()
        for connection in [one for one in self._connections if one.silent_since < math.inf]:
            _close(connection.socket)
        self._farewell.deadline = trio.current_time() + self._limits.farewell

    async def _accept(self, listener: socket.socket) -> None:
        exhausted = False
        while True:
            await trio.lowlevel.wait_readable(listener)  # a turn each: who was accepted is heard before the next
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as failed:
                if failed.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    raise
                if not exhausted:  # once, not ten times a second
                    _log.error("cannot take a connection: %s; trying again", failed.strerror)
                exhausted = True
                self._evict()
                await trio.sleep(0.1)
                continue
            exhausted = False
            accepted.settimeout(0)
            try:
                while len(self._connections) >= self._limits.connections and not self._evict():
                    self._room = trio.Event()
                    with trio.move_on_after(self._limits.courtesy):
                        await self._room.wait()
            except trio.Cancelled:
                accepted.close()
                raise
            now = trio.current_time()
            connection = _Connection(accepted, now, now + self._limits.idle)
            self._connections[connection] = None
            self._arrival.set()
            self._tasks.start_soon(self._attend, connection)

    def _evict(self) -> bool:
        # The oldest of those who say nothing: so that any number of them keeps nobody out. Not one that has just come:
        # in a burst of clients it is about to ask.
        impolite = trio.current_time() - self._limits.courtesy
        for connection in self._connections:
            if connection.silent_since <= impolite:
                self._forget(connection)
                return True
        # And those who asked and left before the answer: a half-closed one still reads, one that hung up does not.
        hung_up = select.poll()
        by_descriptor = {connection.socket.fileno(): connection for connection in self._connections}
        for descriptor in by_descriptor:
            hung_up.register(descriptor, 0)  # POLLHUP and POLLERR are told unasked
        gone = [by_descriptor[descriptor] for descriptor, _ in hung_up.poll(0)]
        for connection in gone:
            self._forget(connection)
        return bool(gone)

    def _forget(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)
        _close(connection.socket)
        if self._room is not None:
            self._room.set()

    async def _sweep(self) -> None:
        while True:
            if not self._connections:  # an idle daemon does not wake up
                self._arrival = trio.Event()
                await self._arrival.wait()
            await trio.sleep(self._limits.sweep)
            now = trio.current_time()
            for connection in [one for one in self._connections if one.deadline <= now]:
                self._forget(connection)

    async def _attend(self, connection: _Connection) -> None:
        try:
            peer = connection.peer = self._peers.of(connection.socket)
            if peer.uid == self._uid:
                await self._converse(connection)
            else:
                self._refused(peer)
                message = f"this daemon serves uid {self._uid} alone, and you are uid {peer.uid}"
                await self._send(connection, wire.format_error(wire.Code.FORBIDDEN, message), self._limits.unread)
        except (OSError, trio.ClosedResourceError):
            pass  # the client is gone, in the middle of an answer perhaps, or was closed for its silence
        finally:
            self._forget(connection)

    async def _converse(self, connection: _Connection) -> None:
        limits = self._limits
        rest = b""
        while True:
            try:
                data = connection.socket.recv(wire.MAX_LINE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(connection.socket)
                continue
            if not data:
                if rest:  # it could be the first half of anything: `get prod for=30` of `for=30m`
                    await self._refuse(connection, "the line does not end in a newline")
                return
            connection.silent_since = math.inf
            *lines, last = (rest + data).split(b"\n")
            for line in lines:
                if len(line) >= wire.MAX_LINE:
                    await self._refuse(connection, _TOO_LONG)
                    return
                reply = await self._reply(connection, line)
                if not isinstance(reply, bytes):
                    await self._stream(connection, reply)
                    return
                await self._send(connection, reply, limits.unread)
            if len(last) >= wire.MAX_LINE:
                await self._refuse(connection, _TOO_LONG)
                return
            now = trio.current_time()
            if not last:
                connection.deadline = now + limits.idle
            elif lines or not rest:  # not for every byte: one a second would keep it open for hours
                connection.deadline = now + limits.half_line
            rest = last
            connection.silent_since = now
            if self._room is not None:
                self._room.set()
            if self._left.is_set():
                return
            # Even if there is more to read: who pipelines without end must leave the others their turn.
            await trio.lowlevel.wait_readable(connection.socket)

    async def _reply(self, connection: _Connection, line: bytes) -> bytes | Stream:
        try:
            # Only what names no secret is remembered: a `reject` may carry a token, a `login` a code.
            request = _parse(line) if line.startswith(b"get ") else wire.parse_request(line)
        except wire.BadLine as bad:
            return wire.format_error(wire.Code.BAD_REQUEST, str(bad))
        try:
            if at_once := self._ready(request, connection.peer):
                return at_once
            connection.deadline = math.inf  # our turn, for as long as it takes
            return await self._answer(request, connection.peer)
        except Exception as bug:  # noqa: BLE001 - one request's bug must not end the others' answers
            _log_bug(request.verb, bug)
            return wire.format_error(wire.Code.INTERNAL, "the daemon failed to answer: its log says where")

    async def _stream(self, connection: _Connection, stream: Stream) -> None:
        if len(self._streams) >= self._limits.streams:
            stream.end()
            await self._send(connection, _TOO_MANY, self._limits.unread)
            return
        self._streams.add(stream)
        if self._left.is_set():
            stream.end()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_with_client, connection, stream)
                await self._pass_on(connection, stream)
                nursery.cancel_scope.cancel()
        finally:
            self._streams.discard(stream)
            stream.end()

    async def _pass_on(self, connection: _Connection, stream: Stream) -> None:
        try:
            async for piece in stream:
                # Without a deadline, until the client has said that it is done: one that reads nothing for a day costs
                # its place and no more.
                patience = math.inf if connection.deadline == math.inf else self._limits.unread
                await self._send(connection, piece, patience)
        except (OSError, trio.ClosedResourceError):
            pass  # the client is gone
        except Exception as bug:  # noqa: BLE001 - as in _reply
            _log_bug("a stream", bug)

    async def _end_with_client(self, connection: _Connection, stream: Stream) -> None:
        # What it still says is not for us, but must be taken: the end comes after it.
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while await self._hears(connection.socket):
                pass
        connection.deadline = trio.current_time() + self._limits.unread
        stream.end()

    async def _hears(self, client: socket.socket) -> bool:
        await trio.lowlevel.wait_readable(client)
        try:
            return bool(client.recv(wire.MAX_LINE))
        except BlockingIOError:
            return True

    async def _refuse(self, connection: _Connection, why: str) -> None:
        await self._send(connection, wire.format_error(wire.Code.BAD_REQUEST, why), self._limits.unread)

    async def _send(self, connection: _Connection, answer: bytes, patience: float) -> None:
        connection.deadline = trio.current_time() + patience
        left = memoryview(answer)
        while left:
            try:
                left = left[connection.socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(connection.socket)


def _log_bug(verb: str, bug: Exception) -> None:
    # Neither the exception's text nor the request: either could hold a secret.
    where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(bug.__traceback__)))
    _log.error("answering %s failed: %s at %s", verb, type(bug).__name__, where)


def _close(connection: socket.socket) -> None:
    if connection.fileno() >= 0:
        trio.lowlevel.notify_closing(connection)
        connection.close()


_TOO_MANY = wire.format_error(
    wire.Code.WAITING, "as many clients watch as may", "end a `pmcred watch` that nobody needs"
)
_TOO_LONG = f"the line is longer than {wire.MAX_LINE} bytes"
