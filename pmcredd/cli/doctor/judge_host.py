"""What the daemon's process and the units of systemd look like, and what that means. No I/O."""

import re
from dataclasses import dataclass

from pmcredd.cli.doctor.finding import DAEMON, SERVICE, Finding

_INSTALL = "pmcred service install"
_FILTERED = 2  # Seccomp: in proc_pid_status(5)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it: what could not be read is None.

    `open` tells that we may look into it, as every program of the same user may unless it is not dumpable.
    """

    pid: int
    uid: int
    open: bool
    no_new_privs: bool | None = None
    seccomp: int | None = None
    core_limit: str | None = None
    swapped: int = 0  # KiB
    unit: str | None = None
    """The service of systemd in whose control group it is."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as `systemctl show` tells it."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    result: str = ""
    stale: bool = False  # changed on disk since systemd has read it

    @property
    def there(self) -> bool:
        """Tell whether there is such a unit."""
        return self.load not in {"not-found", ""}


@dataclass(frozen=True, slots=True)
class Units:
    """The units of the daemon, in a user manager that answers."""

    socket: Unit
    service: Unit

    @property
    def asleep(self) -> bool:
        """Tell whether to ask the daemon would start it."""
        return self.socket.active == "active" and self.service.active in {"inactive", "failed"}


def parse_units(text: str) -> dict[str, Unit]:
    """Read what `systemctl show` prints of some units, by name."""
    found = {}
    for block in text.strip().split("\n\n"):
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if name := told.get("Id"):
            found[name] = Unit(
                name,
                load=told.get("LoadState", ""),
                active=told.get("ActiveState", ""),
                enabled=told.get("UnitFileState", ""),
                result=told.get("Result", ""),
                stale=told.get("NeedDaemonReload") == "yes",
            )
    return found


def parse_process(pid: int, *, may_look: bool, status: str, limits: str, cgroup: str) -> Process | None:
    """Read a process's /proc files: proc_pid_status(5), proc_pid_limits(5), proc_pid_cgroup(5)."""
    told = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    uids = told.get("Uid", "").split()
    if not uids:
        return None
    core = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", limits, re.MULTILINE)
    return Process(
        pid,
        uid=int(uids[0]),
        open=may_look,
        no_new_privs=None if "NoNewPrivs" not in told else told["NoNewPrivs"].strip() == "1",
        seccomp=_number(told.get("Seccomp")),
        core_limit=core[1] if core else None,
        swapped=_number(told.get("VmSwap", "").removesuffix("kB")) or 0,
        unit=_service(cgroup),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _service(cgroup: str) -> str | None:
    """Give the service that a control group belongs to, in the unified hierarchy or in systemd's own."""
    for line in cgroup.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        last = path.rpartition("/")[2]
        if controllers in {"", "name=systemd"} and last.endswith(".service"):
            return last
    return None


def hardening(process: Process) -> list[Finding]:
    """Judge what protects the daemon's memory, as it is measured."""
    found = []
    if process.uid != 0 and process.open:
        found.append(
            DAEMON.problem(
                "memory", "every program of yours can read the daemon's memory: it is dumpable", "pmcred stop"
            )
        )
    if process.core_limit not in {"0", None}:
        sentence = f"a crash of the daemon would leave a core file with tokens in it (limit {process.core_limit})"
        found.append(DAEMON.warning("memory", sentence, "start it anew, and do not raise its limits"))
    if process.swapped:
        found.append(
            DAEMON.warning(
                "memory",
                f"{process.swapped} KiB of the daemon's memory are in the swap space, perhaps with tokens in them",
                f"{_INSTALL} (its unit keeps out of it where the memory controller is delegated), or encrypt the swap",
            )
        )
    if found:
        return found
    # Root may look into everything, so what root sees tells nothing.
    closed = "" if process.uid == 0 else "closed to other programs, "
    return [DAEMON.ok("memory", f"{closed}no core file, nothing of it swapped out")]


def service(process: Process | None, units: Units | None) -> list[Finding]:
    """Judge how the daemon is run: by systemd or by hand, and with which protection."""
    found = [] if units is None or not units.service.there else _units(units)
    if process is None:
        return found
    if process.unit is None or "pmcred" not in process.unit:
        if units is not None:
            sentence = "the daemon was started by hand: it ends with your session, and nobody starts it again"
            found.append(SERVICE.warning("unit", sentence, f"pmcred stop && {_INSTALL}"))
        return found
    found.append(SERVICE.ok("unit", f"the daemon runs as {process.unit}"))
    off = [
        name
        for name, on in (
            ("NoNewPrivileges", process.no_new_privs),
            ("SystemCallFilter", None if process.seccomp is None else process.seccomp == _FILTERED),
        )
        if on is False
    ]
    if off:
        sentence = f"the unit's hardening is not in force: {' and '.join(off)} (measured at process {process.pid})"
        found.append(SERVICE.warning("hardening", sentence, f"{_INSTALL}, or systemctl --user cat {process.unit}"))
    elif process.no_new_privs and process.seccomp == _FILTERED:
        found.append(SERVICE.ok("hardening", "in force: no new privileges, system calls are filtered"))
    return found


def _units(units: Units) -> list[Finding]:
    found = []
    both = (units.socket, units.service)
    if off := [unit.name for unit in both if unit.enabled not in {"enabled", "static", "enabled-runtime", "linked"}]:
        sentence = f"{' and '.join(off)}: not enabled, so nothing is renewed after a reboot until somebody asks"
        found.append(SERVICE.warning("enabled", sentence, f"systemctl --user enable {' '.join(off)}"))
    if units.service.active == "failed":
        found.append(
            SERVICE.problem(
                "state",
                f"{units.service.name} has failed ({units.service.result})",
                "pmcredd --check, and: journalctl --user -u pmcredd -n 20",
            )
        )
    elif units.asleep:
        sentence = f"{units.service.name} does not run; the next client starts it, and until then nothing is renewed"
        found.append(SERVICE.warning("state", sentence, f"systemctl --user start {units.service.name}"))
    if any(unit.stale for unit in both):
        sentence = "the units were changed since systemd has read them"
        found.append(SERVICE.warning("reload", sentence, "systemctl --user daemon-reload, then restart pmcredd"))
    return found


def linger(*, lingers: bool) -> Finding:
    """Judge whether a user's services outlive the last session."""
    if lingers:
        return SERVICE.ok("linger", "on: the daemon runs from boot on, without a session")
    sentence = "off: the daemon ends with your last session, and starts at your login instead of the boot"
    return SERVICE.warning("linger", sentence, "loginctl enable-linger (for cron jobs and services)")
