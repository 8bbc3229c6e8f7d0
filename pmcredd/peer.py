"""Who is at the other end of a Unix socket: uid and pid as the kernel says, program, parent and unit as /proc has them.

All but the uid are hints. A process of the same user can take any name, and can have another one ask in its place.
"""

import errno
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

KNOWN_FOR = 1.0  # seconds: who connects again so soon is not looked at again, for that costs a third of a `get`
MOST_KNOWN = 256
LONGEST_PATH = 256  # characters of a program's path: what is kept of others stays small

_CREDENTIALS = struct.Struct("@iII")  # struct ucred of unix(7): pid, uid, gid
_SO_PEERPIDFD = 77  # asm-generic/socket.h; since Linux 6.5, and not in Python's socket module
_UNITS = (".service", ".scope")  # what has processes of its own (systemd.unit(5)); slices only hold units


@dataclass(frozen=True, slots=True)
class Peer:
    """Who has connected. None and 0 stand for what is not known; names hold printable characters only.

    `pid` and `parent_pid` are 0 for a process outside our pid namespace. `certain` says that the names belong to the
    process that connected; otherwise to the one that had its number a moment later.
    """

    uid: int
    pid: int
    certain: bool = False
    program: str | None = None  # its name as the kernel has it (comm of proc(5)): for a script, the script's
    exe: str | None = None  # the file that it runs: for a script, the interpreter
    parent: str | None = None
    parent_pid: int = 0
    unit: str | None = None  # systemd's innermost unit around it


class Peers:
    """Tells who has connected, and remembers it for a moment.

    A program's command line would tell more, and is never read: people write passwords there.
    """

    def __init__(self) -> None:
        # By uid and pid: a number comes again only after all others, which takes longer than a second.
        self._known: dict[tuple[int, int], tuple[float, Peer]] = {}

    def of(self, connection: socket.socket) -> Peer:
        """Tell who has connected.

        To be asked before the answer is sent: who waits for one still lives.

        Raises:
            OSError: this is no connection any more.
        """
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        now = time.monotonic()
        known = self._known.get((uid, pid))
        if known is not None and now - known[0] < KNOWN_FOR:
            return known[1]
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        peer = _look(connection, uid, pid)
        self._known[uid, pid] = (now, peer)
        return peer


def _look(connection: socket.socket, uid: int, pid: int) -> Peer:
    if not pid:
        return Peer(uid, pid)
    try:
        descriptor = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as failed:
        # An older kernel: whoever has the number now. Any other error: that process has ended, or we cannot know.
        return _read(uid, pid, certain=False) if failed.errno == errno.ENOPROTOOPT else Peer(uid, pid)
    try:
        peer = _read(uid, pid, certain=True)
        # A number is given to another process only after the first has ended: if it lives now, all of this was its own.
        return Peer(uid, pid) if _ended(descriptor) else peer
    finally:
        os.close(descriptor)


def _read(uid: int, pid: int, *, certain: bool) -> Peer:
    program, parent_pid = read_stat(_contents(f"/proc/{pid}/stat"))
    parent = _contents(f"/proc/{parent_pid}/comm").removesuffix("\n") if parent_pid else ""
    try:
        exe = os.readlink(f"/proc/{pid}/exe")
    except OSError:  # not ours to see: it is not dumpable, or in another user namespace
        exe = ""
    return Peer(
        uid,
        pid,
        certain=certain and bool(program),
        program=_harmless(program),
        exe=_harmless(exe[:LONGEST_PATH]),
        parent=_harmless(parent),
        parent_pid=parent_pid,
        unit=_harmless(read_unit(_contents(f"/proc/{pid}/cgroup"))),
    )


def _contents(path: str) -> str:
    """Give the beginning of a file of /proc, or nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.fsdecode(os.read(descriptor, 4096))
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _ended(descriptor: int) -> bool:
    waiting = select.poll()  # not select(), which knows no descriptor above 1023
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _harmless(name: str) -> str | None:
    if not name.isprintable():  # a line end or an escape sequence in a name would forge lines of the log
        name = "".join(character if character.isprintable() else "?" for character in name)
    return name or None


def read_stat(text: str) -> tuple[str, int]:
    """Understand /proc/PID/stat: the program's name and its parent's pid; empty and 0 where it says nothing.

    The name stands in parentheses, and may hold any number of them, and spaces (proc(5)).
    """
    name, _, rest = text.partition("(")[2].rpartition(")")
    words = rest.split()
    return name, int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def read_unit(text: str) -> str:
    """Understand /proc/PID/cgroup: the innermost service or scope of systemd; empty if there is none.

    It is told by the unified hierarchy, or beside cgroups of version 1 by the one that is named `systemd`.
    """
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        hierarchy, _, path = rest.partition(":")
        if hierarchy in {"", "name=systemd"}:
            for name in reversed(path.split("/")):
                if name.endswith(_UNITS):
                    return name
    return ""
