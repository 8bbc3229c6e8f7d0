"""What the process is to the system: not dumpable, no core, and with no more memory than it needs."""

import ctypes
import os
import resource
import signal
from contextlib import suppress

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
    # Where a parent left it ignored, the exit status of a secret command would read as 0, and half a password be sent.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def return_freed_memory() -> None:
    """Let large blocks of memory go back to the system as soon as they are freed.

    glibc stops doing so once it has seen one freed, and keeps as much for the next: the 4 MiB that scrypt takes for a
    few milliseconds would be ours for life. Setting the threshold, to what it is, fixes it there.
    """
    with suppress(AttributeError):  # another C library, with habits of its own
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
