"""What systemd hands to a service that it starts, and what the service tells it: sd_listen_fds(3) and sd_notify(3)."""

import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_PATIENCE = 1.0  # seconds for a manager that is too busy to take a message
_VARIABLES = (
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Who started this process, as far as it is systemd; without systemd there is nothing here and nobody to tell.

    `watchdog` is in seconds: how long the manager waits for a sign of life before it ends us; None if it does not.
    `sockets` are the inherited sockets' names and descriptors; whoever takes one closes it.
    """

    address: str | None = None
    watchdog: float | None = None
    sockets: tuple[tuple[str, int], ...] = ()

    def socket(self, name: str) -> int | None:
        """Give the one inherited socket of this name (FileDescriptorName= in its unit).

        By name, not by place: others may be handed over too, by another unit or from the descriptor store.

        Raises:
            ValueError: there are several.
        """
        found = self.kept(name)
        if len(found) > 1:
            raise ValueError(f"systemd handed over {len(found)} sockets named {name}")
        return found[0] if found else None

    def ready(self, status: str) -> None:
        """Tell that the service does its work, from a start or a reload on."""
        self._tell("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Tell people how things are, in one line of `systemctl status`."""
        self._tell(_status(status))

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` has to follow, whatever comes of it.

        The time is how systemd from 253 on tells this reload from an earlier one; without it a reload would hang.
        """
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """Tell that the service is about to end."""
        self._tell("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Give the watchdog its sign of life."""
        self._tell("WATCHDOG=1")

    def keep(self, name: str, descriptor: int) -> None:
        """Have the manager hold a connection too (FileDescriptorStoreMax= in the unit): our death does not end it.

        The next daemon that the manager starts for this one finds it among `sockets`, under this name.
        """
        self._tell("FDSTORE=1", f"FDNAME={name}", passing=[descriptor])

    def kept(self, name: str) -> list[int]:
        """Give the descriptors of this name, however many there are; whoever takes them closes them."""
        return [descriptor for each, descriptor in self.sockets if each == name]

    def _tell(self, *lines: str, passing: Sequence[int] = ()) -> None:
        if self.address is None:
            return
        # A manager that cannot be told is no reason to end: whoever asks for a token still gets it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.settimeout(_PATIENCE)
            way.connect(self.address)
            socket.send_fds(way, ["\n".join(lines).encode()], passing)


def take_over(environ: MutableMapping[str, str]) -> Manager:
    """Take what systemd hands over: the variables are gone from `environ` afterwards, and no child gets the sockets.

    Otherwise a secret command would take itself for a service, and could announce itself in our name. Variables that
    are meant for another process (a parent of ours, which forgot to remove them) count for nothing.
    """
    given = {name: environ.pop(name) for name in _VARIABLES if name in environ}
    watched = given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watchdog = _number(given.get("WATCHDOG_USEC")) if watched else 0
    return Manager(_address(given.get("NOTIFY_SOCKET", "")), watchdog / 1e6 if watchdog else None, _sockets(given))


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return (
        text if text.startswith("/") else None
    )  # vsock:... reaches the manager outside of a virtual machine: not ours


def _sockets(given: MutableMapping[str, str]) -> tuple[tuple[str, int], ...]:
    if given.get("LISTEN_PID") != str(os.getpid()):
        return ()
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _number(given.get("LISTEN_FDS")))
    names = given.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for place, descriptor in enumerate(descriptors):
        try:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
        except OSError:  # closed: somebody between systemd and us has taken it
            continue
        found.append((names[place] if place < len(names) and names[place] else "unknown", descriptor))
    return tuple(found)


def _number(text: str | None) -> int:
    # isdecimal alone takes the digits of every script.
    return int(text) if text is not None and text.isascii() and text.isdecimal() else 0


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())
