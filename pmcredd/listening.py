"""The daemon's listening socket: opened so that only this user can reach it, taken away without harm to the next.

It may also come from systemd, which opened it before us and keeps it when we are gone.
"""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOCKET_UNIT = "pmcredd.socket"  # FileDescriptorName= of the sockets that are handed over
CREDENTIALS = "credentials"  # the last part of the path of the second one, at which units get theirs
_MEND_UNIT = f"systemctl --user edit {SOCKET_UNIT}, then: systemctl --user restart {SOCKET_UNIT}"
_CREDENTIALS = struct.Struct("@iII")  # struct ucred of unix(7): pid, uid, gid
_HEARING_SECONDS = 1.0  # for a client to say what it wants, before it is turned away


class SocketProblem(Exception):
    """The socket cannot be opened; `hint` is the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and what is needed to take it away again without harming a successor's.

    `file` is the device and inode of its file, or None if systemd made it: then it stays where it is.
    """

    socket: socket.socket
    path: Path
    lock: int
    file: tuple[int, int] | None


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
        return Listener(listening, path, lock, (made.st_dev, made.st_ino))


def tell_apart(sockets: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Name the second socket of our unit CREDENTIALS: all sockets of one unit have the same name, but not one path."""
    return tuple((CREDENTIALS if name == SOCKET_UNIT and _is_second(fd) else name, fd) for name, fd in sockets)


def _is_second(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            path = found.getsockname()
    except OSError:
        return False  # it is no socket: whoever takes it for one will say so
    return isinstance(path, str) and path.rpartition("/")[2] == CREDENTIALS


def inherited_path(descriptor: int) -> Path:
    """Give the path of a listening socket that systemd has handed over.

    Raises:
        SocketProblem: it is not what the unit should have made.

    """
    wrong = f"the socket that systemd handed over as {SOCKET_UNIT} "
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
                raise SocketProblem(f"{wrong}is not a Unix stream socket (ListenStream= and a path)", _MEND_UNIT)
            if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise SocketProblem(f"{wrong}does not listen (Accept=no is what it takes)", _MEND_UNIT)
            path = found.getsockname()
    except OSError as failed:
        raise SocketProblem(f"{wrong}is no socket: {failed.strerror}", _MEND_UNIT) from None
    if not isinstance(path, str) or not path.startswith("/"):
        raise SocketProblem(f"{wrong}has no path: in the abstract namespace every user could reach it", _MEND_UNIT)
    return Path(path)


def inherit_listener(descriptor: int) -> Listener:
    """Take a listening socket that systemd has opened; the descriptor is the listener's from then on.

    It has to be as closed to others as one of our own, and nobody else may serve beside it.

    Raises:
        SocketProblem: with the command that mends it.

    """
    path = inherited_path(descriptor)
    try:
        _check_private(path.parent)
        file = os.lstat(path)
        if not stat.S_ISSOCK(file.st_mode):
            raise SocketProblem(f"{path} is no longer the socket that systemd made", _MEND_UNIT)
        if file.st_uid != os.geteuid() or file.st_mode & 0o177:
            mode = stat.S_IMODE(file.st_mode)
            raise SocketProblem(
                f"the socket {path} of {SOCKET_UNIT} is not ours alone (mode {mode:04o}, uid {file.st_uid})",
                f"set SocketMode=0600: {_MEND_UNIT}",
            )
        lock = _lock(path)
    except OSError as failed:
        raise SocketProblem(f"cannot take {path} over from systemd: {failed.strerror}", _MEND_UNIT) from None
    listening = socket.socket(fileno=descriptor)
    listening.settimeout(0)
    return Listener(listening, path, lock, None)


def turn_away(descriptor: int, answer: bytes) -> None:
    """Give everybody who waits at an inherited socket the same answer: why there will be no other.

    Whom we left waiting would make systemd start us again at once, over and over.
    """
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as listening:
        listening.settimeout(0)
        while True:
            client, _ = listening.accept()
            with contextlib.suppress(OSError), client:
                if _peer(client) != os.geteuid():
                    continue
                client.settimeout(_HEARING_SECONDS)
                client.recv(65536)  # who is cut off in the middle of its request does not look for an answer
                client.sendall(answer)


def _peer(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid


def close_listener(listener: Listener) -> None:
    """Stop listening; take the socket away if it is still the one that was made, then let the lock go."""
    if listener.file is not None:
        with contextlib.suppress(OSError):
            found = os.lstat(listener.path)
            if (found.st_dev, found.st_ino) == listener.file:
                listener.path.unlink()
    listener.socket.close()
    # The file stays: a daemon that is just opening it must not end up with a lock on a file nobody else finds.
    os.close(listener.lock)


def _private_directory(directory: Path) -> None:
    for missing in reversed([place for place in (directory, *directory.parents) if not os.path.lexists(place)]):
        with contextlib.suppress(FileExistsError):
            os.mkdir(missing, 0o700)
    _check_private(directory)


def _check_private(directory: Path) -> None:
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
    # Named after the socket: the state directory's own lock may stand beside it.
    beside = path.with_name(f"{path.name}.lock")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
