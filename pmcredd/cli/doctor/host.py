"""Looks at the daemon's process in /proc, at its units in systemd's user manager, and at lingering."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

import trio

from pmcredd.cli.doctor.judge_host import Process, Unit, Units, parse_process, parse_units
from pmcredd.cli.service import SERVICE, SOCKET

_LIMIT = 5.0  # seconds for systemctl
_LINGER = Path("/var/lib/systemd/linger")
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Result,NeedDaemonReload"


def read_process(pid: str) -> Process | None:
    """Read what /proc tells of the daemon; None if that process cannot be seen here (a container's)."""
    if not pid.isdecimal():
        return None
    place = Path("/proc", pid)
    try:
        status, limits, cgroup = (
            (place / name).read_text(encoding="utf-8", errors="replace") for name in ("status", "limits", "cgroup")
        )
        command = (place / "cmdline").read_bytes()
    except OSError:
        return None
    process = parse_process(int(pid), may_look=_may_look(place), status=status, limits=limits, cgroup=cgroup)
    # The number may be of another PID namespace: what it means here is another process.
    return process if process is not None and process.uid == os.geteuid() and b"pmcred" in command else None


def _may_look(place: Path) -> bool:
    """Tell whether we may look into a process: the kernel asks the same for its memory and its environment."""
    try:
        os.readlink(place / "exe")
    except OSError:
        return False
    return True


async def ask_manager(environ: Mapping[str, str]) -> Units | None:
    """Ask systemd's user manager for the daemon's units; None where there is no manager that answers."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if not _listens(runtime):
        return None
    command = ["systemctl", "--user", "--no-pager", "show", f"--property={_PROPERTIES}", SOCKET, SERVICE]
    with trio.move_on_after(_LIMIT):
        try:
            done = await trio.run_process(
                command,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={**environ, "XDG_RUNTIME_DIR": runtime},
            )
        except OSError:
            return None
        if done.returncode:
            return None
        units = parse_units(done.stdout.decode(errors="replace"))
        return Units(units.get(SOCKET, Unit(SOCKET)), units.get(SERVICE, Unit(SERVICE)))
    return None


def _listens(runtime: str) -> bool:
    return Path(runtime, "systemd", "private").exists()


def lingers() -> bool | None:
    """Tell whether the user's services run without a session; None where that is unknown."""
    if not _LINGER.parent.is_dir():
        return None
    try:
        return (_LINGER / pwd.getpwuid(os.geteuid()).pw_name).exists()
    except (KeyError, OSError):
        return None
