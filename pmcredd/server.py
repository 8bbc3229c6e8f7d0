"""The daemon's socket: who may connect, one line in, one answer out. What the answers are is not known here."""

import contextlib
import errno
import fcntl
import functools
import logging
import math
import os
import socket
import stat
import struct
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from pmcredd import wire

_log = logging.getLogger(__name__)

# Clients say the same few lines over and over, and to understand one costs a sixth of a `get`.
_parse = functools.lru_cache(maxsize=64)(wire.parse_request)

Answer = Callable[[wire.Request], Awaitable[bytes]]
Ready = Callable[[wire.Request], bytes | None]


class HasDescriptor(Protocol):
    """A socket, in whatever wrapping."""

    def fileno(self) -> int:
        """Give the descriptor."""
        ...


# The socket itself


class SocketProblem(Exception):
    """The socket cannot be opened; `hint` is the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and what is needed to take it away again without harming a successor's."""

    socket: socket.socket
    path: Path
    lock: int
    device: int
    inode: int


def open_listener(path: Path) -> Listener:
    """Listen on a socket that only this user can reach, from its first moment on.

    The directory is made if it is missing. A lock beside the socket, held for life, keeps a second daemon out; a
    socket that a killed daemon left behind is replaced, and nothing else ever is.

    Raises:
        SocketProblem: with the command that mends it.

    """
    with contextlib.ExitStack() as undo:
        try:
            _private_directory(path.parent)
            lock = _lock(path)
            undo.callback(os.close, lock)
            _remove_stale(path)
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            undo.callback(listening.close)
            # Before bind: there is no moment at which the umask (of a container: 0) decides who may connect.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(os.fspath(path))
            listening.listen(socket.SOMAXCONN)
            listening.settimeout(0)
            made = os.lstat(path)
        except (OSError, ValueError) as failed:
            # Python gives "AF_UNIX path too long" and "embedded null byte" without an error number.
            why = getattr(failed, "strerror", None) or str(failed)
            raise SocketProblem(f"cannot listen on {path}: {why}", "set PMCRED_SOCKET to another path") from None
        undo.pop_all()
        return Listener(listening, path, lock, made.st_dev, made.st_ino)


def close_listener(listener: Listener) -> None:
    """Stop listening; take the socket away if it is still the one that was made, then let the lock go."""
    with contextlib.suppress(OSError):
        found = os.lstat(listener.path)
        if (found.st_dev, found.st_ino) == (listener.device, listener.inode):
            listener.path.unlink()
    listener.socket.close()
    # The file stays: a daemon that is just opening it must not end up with a lock on a file nobody else finds.
    os.close(listener.lock)


def _private_directory(directory: Path) -> None:
    for missing in reversed([place for place in (directory, *directory.parents) if not os.path.lexists(place)]):
        with contextlib.suppress(FileExistsError):
            os.mkdir(missing, 0o700)
    found = os.lstat(directory)
    elsewhere = "or set PMCRED_SOCKET to a path in a directory of its own"
    if not stat.S_ISDIR(found.st_mode):
        raise SocketProblem(
            f"{directory} is to hold the socket, but it is not a directory (a symbolic link is not followed)",
            f"rm {directory}, {elsewhere}",
        )
    if found.st_uid != os.geteuid():
        raise SocketProblem(
            f"{directory} is to hold the socket, but it belongs to uid {found.st_uid}",
            "set PMCRED_SOCKET to a path in a directory of your own",
        )
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SocketProblem(
            f"{directory} is to hold the socket, but others can enter it (mode {mode:04o})",
            f"chmod 700 {directory}, {elsewhere}",
        )


def _lock(path: Path) -> int:
    descriptor = os.open(path.parent / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise SocketProblem(f"a daemon (pid {pid}) already serves {path.parent}", "pmcred status") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketProblem(
            f"cannot listen on {path}: something that is not a socket is there", f"mv {path} {path}.old"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()  # nobody listens, and the lock says that nobody is about to
            return
        except BlockingIOError:
            pass  # somebody listens, and has too much to do
    raise SocketProblem(f"another process already listens on {path}", "pmcred status")


# What happens on it


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may take; times in seconds."""

    connections: int = 512
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
    limits: Limits = Limits(),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled; then answers under way get a moment to arrive, and silent clients none.

    Args:
        listener: a listening Unix socket, of whatever library; it stays the caller's.
        answer: gives the complete answer to a request, however long it takes.
        ready: the same without waiting, or None where `answer` is needed: nearly every `get` ends here.
        uid: the only user who is served.
        limits: how much a client may take.
        task_status: told once connections are taken.

    """
    with socket.socket(fileno=os.dup(listener.fileno())) as own:
        own.settimeout(0)
        try:
            await _Server(answer, ready, uid, limits).run(own, task_status)
        finally:
            trio.lowlevel.notify_closing(own)


class _Connection:
    __slots__ = ("deadline", "silent_since", "socket")

    def __init__(self, accepted: socket.socket, now: float, deadline: float) -> None:
        self.socket = accepted
        self.silent_since = now  # on trio's clock; infinite while it is our turn
        self.deadline = deadline  # when the sweeper closes it


class _Server:
    # What a `get` costs is decided here. So one sweeper looks at all deadlines, instead of a cancel scope for
    # every wait; and sockets are plain ones, with trio asked to wait only where the kernel would: trio.socket makes
    # every call a turn of the event loop, a third of a `get`. A connection is ended by closing its socket under its
    # task, which finds ClosedResourceError if it waits, and EBADF if it was about to go on.

    def __init__(self, answer: Answer, ready: Ready, uid: int, limits: Limits) -> None:
        self._answer = answer
        self._ready = ready
        self._uid = uid
        self._limits = limits
        self._connections: dict[_Connection, None] = {}  # oldest first
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
        return False

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
            credentials = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, peer, _ = _CREDENTIALS.unpack(credentials)
            if peer == self._uid:
                await self._converse(connection)
            else:
                message = f"this daemon serves uid {self._uid} alone, and you are uid {peer}"
                await self._send(connection, wire.format_error(wire.Code.FORBIDDEN, message))
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
                await self._send(connection, await self._reply(connection, line))
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

    async def _reply(self, connection: _Connection, line: bytes) -> bytes:
        try:
            # Only what names no secret is remembered: a `reject` may carry a token, a `login` a code.
            request = _parse(line) if line.startswith(b"get ") else wire.parse_request(line)
        except wire.BadLine as bad:
            return wire.format_error(wire.Code.BAD_REQUEST, str(bad))
        try:
            if at_once := self._ready(request):
                return at_once
            connection.deadline = math.inf  # our turn, for as long as it takes
            return await self._answer(request)
        except Exception as bug:  # noqa: BLE001 - one request's bug must not end the others' answers
            # Neither the exception's text nor the request: either could hold a secret.
            where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(bug.__traceback__)))
            _log.error("answering %s failed: %s at %s", request.verb, type(bug).__name__, where)
            return wire.format_error(wire.Code.INTERNAL, "the daemon failed to answer: its log says where")

    async def _refuse(self, connection: _Connection, why: str) -> None:
        await self._send(connection, wire.format_error(wire.Code.BAD_REQUEST, why))

    async def _send(self, connection: _Connection, answer: bytes) -> None:
        connection.deadline = trio.current_time() + self._limits.unread
        left = memoryview(answer)
        while left:
            try:
                left = left[connection.socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(connection.socket)


def _close(connection: socket.socket) -> None:
    if connection.fileno() >= 0:
        trio.lowlevel.notify_closing(connection)
        connection.close()


_CREDENTIALS = struct.Struct("@iII")  # struct ucred of unix(7): pid, uid, gid
_TOO_LONG = f"the line is longer than {wire.MAX_LINE} bytes"
