"""The exclusive right to spend what a state directory holds: a lock, and a label on it for whoever comes second."""

import fcntl
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trio

LOOK_AGAIN = 0.05  # seconds between tries of a lock that is waited for
_LABEL_BYTES = 1024  # written at once and overwritten in place: to blank it needs no space on a full disk

# The types in /proc/self/mountinfo whose files another machine may have open too. flock reaches across some of them,
# with some servers, under some mount options.
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2"),
    *("orangefs", "pvfs2", "smb2", "smb3", "smbfs", "fuse.ceph-fuse", "fuse.davfs", "fuse.glusterfs", "fuse.juicefs"),
    *("fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs"),
}


class StateProblem(Exception):
    """The state directory cannot be ours. `message` says why, `hint` is the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, or held it last, as the label says; what a label does not say is None or empty.

    `socket` is where a daemon listens. Without one the holder will be gone soon: it answers one request, or leaves.
    """

    kind: str = ""
    pid: int | None = None
    machine: str = ""
    host: str = ""
    socket: Path | None = None

    def __str__(self) -> str:
        name = {"oneshot": "a pmcred --oneshot", "leaving": "a pmcredd that leaves"}.get(self.kind, "another pmcredd")
        if self.pid is None:
            return name
        elsewhere = f" on {self.host or self.machine}" if self.machine not in {"", machine()} else ""
        return f"{name} (process {self.pid}{elsewhere})"


class StateBusy(StateProblem):
    """Somebody else holds the lock now."""

    def __init__(self, directory: Path, holder: Holder) -> None:
        brief = holder.kind in {"oneshot", "leaving"}
        mend = "try again" if brief else "pmcred status, or to end that one: pmcred stop"
        super().__init__(f"{holder} keeps the state directory {directory}", mend)
        self.holder = holder


class StateLock:
    """The exclusive right to spend what the state directory holds: an flock, kept as long as the process needs it.

    The file is a label besides: it tells who holds the lock, and is blank when nobody does. `inherited_in_order` says
    that it was: whoever had the lock before was not killed, and has written down what the next one must know. Whoever
    could not sets `leaves_in_order` to False, and the label stays as after a kill.
    """

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor
        self._label = b""
        self.inherited_in_order = not _read(descriptor)
        self.leaves_in_order = self.inherited_in_order  # who does nothing changes nothing

    @classmethod
    def take(cls, directory: Path, socket: Path | None, *, take_over: bool = False) -> Self:
        """Make the directory if need be (0700), and lock it, without waiting.

        Args:
            directory: the state directory.
            socket: where this daemon will listen; None for a process that answers one request and leaves.
            take_over: take it from another machine that has not let it go.

        Raises:
            StateBusy: another process holds the lock.
            StateProblem: the directory cannot be written or is not ours, or is on a network file system and another
                machine has not let it go.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(directory)
            descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateProblem(
                f"the state directory {directory} cannot be used: {error.strerror}",
                f"ls -ld {directory}, or name another one in PMCRED_STATE_DIR",
            ) from error
        try:
            _lock(descriptor, directory)
            if not take_over:
                _check_machine(descriptor, directory)
        except BaseException:
            os.close(descriptor)
            raise
        lock = cls(directory, descriptor)
        lock._tell("oneshot" if socket is None else "daemon", socket)
        return lock

    def leaving(self) -> None:
        """Tell that this daemon listens no more and will soon be done: the next one may wait for that."""
        self._tell("leaving", None)

    def release(self) -> None:
        """Let the next process have it. The file stays: unlinking it would let two processes lock two files."""
        # Not if somebody took it over: then the label is theirs.
        if self.leaves_in_order and _read(self._descriptor) == self._label:
            _write(self._descriptor, b"")
        os.close(self._descriptor)

    def _tell(self, kind: str, socket: Path | None) -> None:
        self._label = _label(kind, socket)
        _write(self._descriptor, self._label)


class Patience:
    """How long the state directory's lock is waited for: as long as one holder may take, anew for each holder.

    The lock is tried again and again. A thread that waits in flock could not be called back, and would take the lock
    after we have given up; and the label has to be looked at anyway: a daemon that has just begun can be asked.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._holder: Holder | None = None
        self._since = 0.0

    async def wait(self, busy: StateBusy) -> None:
        """Let a moment pass before the next try.

        Raises:
            StateBusy: `busy` itself, whose holder has had its time.
        """
        now = trio.current_time()
        if busy.holder != self._holder:
            self._holder, self._since = busy.holder, now
        if now - self._since >= self._seconds:
            raise busy
        await trio.sleep(LOOK_AGAIN)


def holder(directory: Path) -> Holder:
    """Say who holds the lock of this directory, or left without a word, as far as the label tells."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return Holder()
    try:
        return _understand(_read(descriptor))
    finally:
        os.close(descriptor)


def machine() -> str:
    """Name this machine: its id (machine-id(5)), or its host name where it has none."""
    try:
        found = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    return found or os.uname().nodename


def network_file_system(mountinfo: str, device: int) -> str | None:
    """Give the type of the file system of this device number, if it is one that machines share; else None.

    Args:
        mountinfo: the text of /proc/self/mountinfo (proc_pid_mountinfo(5)).
        device: `st_dev` of a file there.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        # ID parent MAJOR:MINOR root mount-point options [optional fields...] - TYPE source super-options
        mount, _, source = line.partition(" - ")
        if mount.split()[2:3] == [number]:
            kind = source.partition(" ")[0]
            return kind if kind in _NETWORK else None
    return None


def _check_private(directory: Path) -> None:
    status = directory.lstat()
    if stat.S_ISLNK(status.st_mode):
        status = directory.stat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StateProblem(
            f"the state directory {directory} belongs to another user", "name one of yours in PMCRED_STATE_DIR"
        )
    if status.st_mode & 0o077:
        raise StateProblem(f"the state directory {directory} is open to others", f"chmod 700 {directory}")


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateBusy(directory, _understand(_read(descriptor))) from None
    except OSError as error:
        raise StateProblem(
            f"the state directory {directory} cannot be locked: {error.strerror}",
            "name a directory on a local disk in PMCRED_STATE_DIR",
        ) from error


def _check_machine(descriptor: int, directory: Path) -> None:
    """Refuse what another machine has not let go, where our lock may not keep that machine out."""
    left = _understand(_read(descriptor))
    if left.machine in {"", machine()}:
        return
    kind = network_file_system(_mountinfo(), os.fstat(descriptor).st_dev)
    if kind is not None:
        raise StateProblem(
            f"the state directory {directory} is on a network file system ({kind}), and {left} has not let it go; "
            "two that spend the same refresh token lose the login",
            f"end it on {left.host or left.machine}; if that machine is gone: pmcredd --take-over",
        )


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# The label: one JSON object, padded to its size


def _label(kind: str, socket: Path | None) -> bytes:
    told = {
        "kind": kind,
        "pid": os.getpid(),
        "machine_id": machine(),
        "host": os.uname().nodename,
        "socket": None if socket is None else str(socket),
    }
    return json.dumps(told).encode()


def _write(descriptor: int, label: bytes) -> None:
    try:
        os.pwrite(descriptor, label.ljust(_LABEL_BYTES - 1) + b"\n", 0)
    except OSError:
        return  # a full disk must not keep anybody from starting: the lock is the flock, this is its label


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, _LABEL_BYTES, 0).rstrip(b"\0 \n")
    except OSError:
        return b""


def _understand(label: bytes) -> Holder:
    try:
        told = json.loads(label)
        socket = told["socket"]
        return Holder(
            kind=str(told["kind"]),
            pid=int(told["pid"]),
            machine=str(told["machine_id"]),
            host=str(told["host"]),
            socket=None if socket is None else Path(socket),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return Holder()
