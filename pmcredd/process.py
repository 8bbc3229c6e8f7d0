"""What the process is to the system: not dumpable, no core, and the one that may spend the user's credentials."""

import ctypes
import fcntl
import json
import os
import resource
import stat
from contextlib import suppress
from pathlib import Path

_PR_SET_DUMPABLE = 4
_M_MMAP_THRESHOLD = -3  # mallopt(3)


def harden() -> None:
    """Keep other processes of the user, and crash handlers, out of our memory; files we make are ours alone.

    Not dumpable means: no ptrace, no /proc/PID/mem or environ for others, no core. It has to come first, before any
    secret is read. `execve` resets it: the commands that we run are their own.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def return_freed_memory() -> None:
    """Let large blocks of memory go back to the system as soon as they are freed.

    glibc stops doing so once it has seen one freed, and keeps as much for the next: the 4 MiB that scrypt takes for a
    few milliseconds would be ours for life. Setting the threshold, to what it is, fixes it there.
    """
    with suppress(AttributeError):  # another C library, with habits of its own
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


class StateProblem(Exception):
    """The state directory cannot be ours. `message` says why, `hint` is the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StateLock:
    """The exclusive right to spend what the state directory holds: an flock, kept for life.

    The file tells a human (and the one who comes second) who holds it: pid, machine and socket.
    """

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: Path, socket: Path) -> "StateLock":
        """Make the directory if need be (0700), and lock it.

        Raises:
            StateProblem: the directory cannot be written or is not ours, or another process holds the lock.
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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise StateProblem(
                    f"the state directory {directory} cannot be locked: {error.strerror}",
                    "name a directory on a local disk in PMCRED_STATE_DIR",
                ) from error
            raise StateProblem(
                f"another pmcredd{holder} keeps the state directory {directory}",
                "pmcred status, or to end that one: pmcred stop",
            ) from error
        lock = cls(directory, descriptor)
        lock._tell(socket)
        return lock

    def release(self) -> None:
        """Let the next process have it. The file stays: unlinking it would let two processes lock two files."""
        os.close(self._descriptor)

    def _tell(self, socket: Path) -> None:
        told = json.dumps({"pid": os.getpid(), "machine_id": machine_id(), "socket": str(socket)})
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{told}\n".encode(), 0)
        except OSError:
            return  # a full disk must not keep the daemon from starting: the lock is the flock, this is its label


def machine_id() -> str:
    """Give the machine's id (machine-id(5)), or an empty string where it has none."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


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


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {int(told['pid'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
