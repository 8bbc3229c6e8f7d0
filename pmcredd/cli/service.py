"""`pmcred service install` and `uninstall`: the daemon as a service of systemd's user manager."""

import argparse
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pmcredd.cli import ask, installation
from pmcredd.cli.problem import Problem, from_os_error
from pmcredd.cli.terminal import say

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SOCKET, SERVICE = UNITS = ("pmcredd.socket", "pmcredd.service")
OLDEST = 252  # systemd that the units are made for
_MARK = (
    "# Written by `pmcred service install`, which replaces it. For changes of your own: systemctl --user edit pmcredd\n"
)
_COMMAND = re.compile(r"^(Exec[A-Za-z]+=)(pmcredd?)(?=\s)", re.MULTILINE)
_OF_PACKAGES = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user")
_FOR_ALL = ("/usr/bin", "/usr/local/bin", "/bin")
_LINGER = Path("/var/lib/systemd/linger")
_SECONDS = 900  # a stop waits for a refresh that was sent, as long as a profile's timeout may be
# What our own programs look at, and a service does not get from the shell.
_OURS = ("PMCRED_CONFIG", "PMCRED_STATE_DIR", "PMCRED_SOCKET", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("service", description="Run the daemon as a service of systemd's user manager.")
    verbs = parser.add_subparsers(required=True, metavar="install|uninstall")
    put = verbs.add_parser(
        "install",
        description="Write the units for this installation, enable and start them. It may be run again at any time.",
    )
    put.set_defaults(run=install)
    uninstall = verbs.add_parser(
        "uninstall", description="End the service and take its units away. Profiles and tokens stay."
    )
    uninstall.set_defaults(run=_uninstall)


@dataclass(frozen=True, slots=True)
class _Manager:
    """The user manager: systemd's version, and the environment that its services get."""

    version: int
    environ: Mapping[str, str]


def render(unit: str, commands: Path) -> str:
    """Put the directory of an installation's commands into a unit as it is shipped.

    Raises:
        Problem: systemd cannot be told such a path.

    """
    if not str(commands).isprintable() or re.search(r"[\"'\\]", str(commands)):
        # However they are written: "Executable name contains special characters".
        raise Problem(f"systemd does not start commands from {str(commands)!r}", "install pmcredd elsewhere")

    def whole(match: re.Match[str]) -> str:
        path = str(commands / match[2]).replace("%", "%%")
        return f'{match[1]}"{path}"' if re.search(r"[\s;]", path) else f"{match[1]}{path}"

    return _MARK + "\n" + _COMMAND.sub(whole, unit)


def reachable() -> bool:
    """Tell whether there is a user manager to run a service."""
    try:
        _find_manager()
    except Problem:
        return False
    return True


def install(args: argparse.Namespace) -> int:
    """Write the units for this installation, enable and start them; gives the exit status.

    Raises:
        Problem: there is no user manager, or something is in the way; it says what.

    """
    manager = _find_manager()
    commands = _commands()
    wanted = _wanted(commands)
    directory = _unit_directory()
    for name in wanted:
        _check_ours(directory / name)
    _check_nobody_else_serves(args)

    changed = [name for name, text in wanted.items() if _write(directory / name, text)]
    for name in changed:
        say(f"wrote {directory / name}")
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", *UNITS)
    _start(changed)
    if not changed:
        say("the units were up to date" if wanted else "the units of the installed package are used")
    say(f"{SOCKET} and {SERVICE} are enabled and started: {_show(SERVICE, 'StatusText') or 'the daemon runs'}")
    for warning in _warnings(manager):
        say(f"warning: {warning}", hang=2)
    say("to see it:   systemctl --user status pmcredd")
    say("to undo it:  pmcred service uninstall")
    return 0


def _uninstall(_: argparse.Namespace) -> int:
    _find_manager()
    directory = _unit_directory()
    ours = [directory / name for name in UNITS if _is_ours(directory / name)]
    known = [name for name in UNITS if _show(name, "LoadState") not in {"not-found", ""}]
    if not known and not ours:
        say("there is no service to take away")
        return 0
    _systemctl("disable", "--now", "--quiet", *known)
    for path in ours:
        try:
            path.unlink()
        except OSError as error:
            raise from_os_error(f"remove {path}", error) from None
        say(f"removed {path}")
    _systemctl("daemon-reload")
    _run("reset-failed", *UNITS)  # it may know of no failure
    say(f"{' and '.join(known or UNITS)}: stopped and disabled; profiles and tokens stay")
    for name in UNITS:
        if (kept := directory / f"{name}.d").is_dir():
            say(f"your drop-ins stay too: {kept}")
    say("to have it back:  pmcred service install")
    return 0


# The manager


def _find_manager() -> _Manager:
    done = _run("show", "--property=Version")
    if done.returncode:
        raise Problem(
            f"systemd's user manager cannot be reached: {done.stderr.strip() or 'systemctl failed'}",
            "log in as this user itself (ssh or machinectl shell instead of su or sudo); where there is no systemd: "
            "pmcredd &, or pmcred get NAME --oneshot",
        )
    found = re.search(r"Version=(\d+)", done.stdout)
    environ = dict(line.split("=", 1) for line in _run("show-environment").stdout.splitlines() if "=" in line)
    return _Manager(int(found[1]) if found else OLDEST, environ)


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    environ = dict(os.environ)
    runtime = f"/run/user/{os.geteuid()}"
    if not environ.get("XDG_RUNTIME_DIR") and Path(runtime).is_dir():
        environ["XDG_RUNTIME_DIR"] = runtime  # cron, and ssh to a machine without pam_systemd
    try:
        return subprocess.run(
            ["systemctl", "--user", "--no-pager", *words],  # noqa: S607 - the one on PATH, as every script has it
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise Problem(
            f"systemctl cannot be run: {error.strerror}",
            "where there is no systemd: pmcredd &, or pmcred get --oneshot",
        ) from None
    except subprocess.TimeoutExpired:
        raise Problem(f"systemctl {words[0]} takes too long", "systemctl --user status pmcredd") from None


def _systemctl(*words: str) -> None:
    done = _run(*words)
    if done.returncode:
        raise Problem(
            f"systemctl --user {' '.join(words)} failed: {done.stderr.strip()}", "systemctl --user status pmcredd"
        )


def _show(unit: str, name: str) -> str:
    return _run("show", unit, f"--property={name}", "--value").stdout.strip()


def _start(changed: Sequence[str]) -> None:
    if SOCKET in changed:
        _systemctl("stop", *UNITS)  # a socket changes only when it is opened anew, and its service must not use it
    _systemctl("start", SOCKET)
    done = _run("restart" if SERVICE in changed else "start", SERVICE)
    if done.returncode:
        raise Problem(
            "the service is installed, but the daemon does not start",
            "pmcredd --check, and: journalctl --user -u pmcredd -n 20",
        )


# The units


def _commands() -> Path:
    """Give the directory of this installation's commands."""
    return installation.commands("pmcredd", "pmcred", then="pmcred service install")


def _wanted(commands: Path) -> dict[str, str]:
    """Give the units to write, by name: none where a package has brought its own for these commands."""
    if str(commands) in _FOR_ALL and all(any(Path(place, name).is_file() for place in _OF_PACKAGES) for name in UNITS):
        return {}
    shipped = resources.files("pmcredd") / "units"
    return {name: render((shipped / name).read_text(encoding="utf-8"), commands) for name in UNITS}


def _unit_directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".config", "systemd", "user")


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as unit:
            return unit.readline() == _MARK
    except OSError:
        return False


def _check_ours(path: Path) -> None:
    if not os.path.lexists(path) or _is_ours(path):
        return
    if path.is_symlink() and os.readlink(path) == os.devnull:
        raise Problem(f"{path.name} is masked", f"systemctl --user unmask {path.name}")
    raise Problem(f"{path} is there, and `pmcred service install` has not written it", f"mv {path} {path}.old")


def _write(path: Path, text: str) -> bool:
    """Write a unit unless it is so already; tells whether it was written."""
    try:
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)  # whole or not at all: systemd may read it at any moment
    except OSError as error:
        raise from_os_error(f"write {path}", error) from None
    return True


# What could go wrong later


def _check_nobody_else_serves(args: argparse.Namespace) -> None:
    if _show(SOCKET, "ActiveState") == "active":
        return  # to ask would start the daemon
    try:
        [hello] = ask.ask(args, "hello", timeout=10)
    except Problem:
        return
    raise Problem(
        f"pmcredd runs already, started by hand (process {hello.get('pid', 'unknown')}); two cannot serve one user",
        "pmcred stop && pmcred service install",
    )


def _warnings(manager: _Manager) -> list[str]:
    found = []
    if manager.version < OLDEST:
        found.append(f"this is systemd {manager.version}; the units are made for {OLDEST} and newer")
    user = pwd.getpwuid(os.geteuid()).pw_name
    if not (_LINGER / user).exists():
        found.append(
            "lingering is off: the daemon ends with your last session, and starts at your login instead of the boot. "
            "For cron jobs and services: loginctl enable-linger"
        )
    found += [
        f"the service does not see {name}={os.environ[name]}, which is set here: systemctl --user edit pmcredd, "
        f'[Service], Environment="{name}={os.environ[name]}"'
        for name in _OURS
        if name in os.environ and os.environ[name] != manager.environ.get(name)
    ]
    return found
