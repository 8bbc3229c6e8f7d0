"""A real `systemd --user` that belongs to the test: booted in namespaces and a cgroup of its own, gone with the block.

It runs as an ordinary user, uid 1000 and without privileges, who owns what the user that runs the tests owns. /run is
its own and empty; of the machine's units those of packages are there, those that an administrator has enabled are not.
Services write to `log`, for there is no journal; or to a journal of its own, if one is asked for.
"""

import contextlib
import functools
import itertools
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

UID = 1000
RUNTIME = f"/run/user/{UID}"
HOME = "/home/pat"
HOST = "acme.processmaker.net"
"""The docs' own instance: in there, a name of this machine."""
ROOT = Path(__file__).parents[2]
INSTALLED = sorted({sys.prefix, sys.base_prefix, str(ROOT)})
"""Where this Python and the package are."""
PATIENCE = 60.0  # seconds until a condition that must come true is given up
_SYSTEMD = "/lib/systemd/systemd"
_JOURNALD = "/lib/systemd/systemd-journald"
# journalctl tells a user's units by the group that systemd puts a user's manager in.
_GROUP = f"/sys/fs/cgroup/user.slice/user-{UID}.slice/user@{UID}.service"
_NAMESPACES = ("--user", "--mount", "--cgroup", "--pid")
_MAKE_WORLD = f"""
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system {RUNTIME} /run/home
mount --rbind /home /run/home
mount -t tmpfs -o mode=755 tmpfs /home
for place in {shlex.join(INSTALLED)}; do
  case $place in /home/*) mkdir -p "$place"; mount --bind "/run$place" "$place" ;; esac
done
mkdir {HOME}
mount --bind "$PLACE" {HOME}
umount -R /run/home
chmod 700 {RUNTIME}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /etc/systemd/user
mount -t tmpfs -o mode=755 tmpfs /var/log
printf '%s\\n' root:x:0:0::/root:/bin/sh pat:x:{UID}:{UID}::{HOME}:/bin/sh >/run/passwd
mount --bind /run/passwd /etc/passwd
{{ cat /etc/hosts; echo 127.0.0.1 {HOST}; }} >/run/hosts
mount --bind /run/hosts /etc/hosts
if [ -n "$COMMANDS" ]; then mount --bind "$COMMANDS" /usr/local/bin; fi
"""
# It ends, and with it everything in its pid namespace, when the pipe to it is closed: also if we are killed.
_BOOT = f"""
set -e
{_MAKE_WORLD}
if [ -n "$JOURNAL" ]; then
  mkdir -p /var/log/journal /run/systemd/journal
  touch /run/systemd/journal/flushed
  env -u NOTIFY_SOCKET setpriv --inh-caps=-all --ambient-caps=-all {_JOURNALD} </dev/null >>"$LOG" 2>&1 &
  until [ -S /run/systemd/journal/stdout ]; do :; done
  mkdir -p {_GROUP}
fi
(
  [ -z "$JOURNAL" ] || echo 0 >{_GROUP}/cgroup.procs
  exec setpriv --inh-caps=-all --ambient-caps=-all {_SYSTEMD} --user
) </dev/null >>"$LOG" 2>&1 &
read -r _ || :
"""
_ENVIRON = {
    "HOME": HOME,
    "USER": "pat",
    "LOGNAME": "pat",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "XDG_RUNTIME_DIR": RUNTIME,
    "LC_ALL": "C.UTF-8",
    **{name: value for name, value in os.environ.items() if name.startswith("COV")},
}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class UserManager:
    """A manager at work, and its user's world."""

    home: Path
    """The home directory, as it is seen from here; inside it is HOME."""
    log: Path
    init: int
    """The process, seen from here, whose namespaces are the manager's."""

    @property
    def units(self) -> Path:
        """Give the directory of the user's own units."""
        return self.home / ".config" / "systemd" / "user"

    @property
    def runtime(self) -> Path:
        """Give the user's runtime directory, as it is seen from here (a socket in it has too long a name)."""
        return Path(f"/proc/{self.init}/root{RUNTIME}")

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> list[str]:
        """Give the command that runs a command as this user."""
        variables = [f"{name}={value}" for name, value in {**_ENVIRON, **(more or {})}.items()]
        enter = ["nsenter", f"--target={self.init}", *_NAMESPACES, "--preserve-credentials"]
        return [*enter, "env", "-i", f"--chdir={HOME}", *variables, *words]

    def run(
        self, *words: str, given: str = "", more: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as this user."""
        return subprocess.run(
            self.command(*words, more=more), input=given, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def systemctl(self, *words: str) -> str:
        """Tell the manager something, which it has to accept."""
        done = self.run("systemctl", "--user", *words)
        assert done.returncode == 0, f"systemctl {shlex.join(words)}: {done.stderr}\n{self.logged()}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Give one property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value").strip()

    def wait_for(self, unit: str, name: str, wanted: str | Callable[[str], bool]) -> str:
        """Wait until a unit's property is as wanted, and give it."""
        wants = wanted if callable(wanted) else wanted.__eq__
        end = time.monotonic() + PATIENCE
        while not wants(found := self.show(unit, name)):
            assert time.monotonic() < end, f"{unit} has {name}={found}:\n{self.logged()}"
        return found

    def write_unit(self, name: str, text: str) -> Path:
        """Write a unit, or a drop-in ("a.service.d/b.conf"), and have the manager read it."""
        path = self.units / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.systemctl("daemon-reload")
        return path

    def processes(self, unit: str) -> list[int]:
        """Give the processes of a unit, as they are numbered inside."""
        group = self.show(unit, "ControlGroup")
        if not group:
            return []
        done = self.run("sh", "-c", f'cat "/sys/fs/cgroup{group}/cgroup.procs" 2>/dev/null')
        return [int(line) for line in done.stdout.split()]

    def logged(self) -> str:
        """Give what the manager and its services have written so far."""
        return self.log.read_text(errors="replace")


@functools.cache
def why_not() -> str:
    """Tell why no manager can be booted here; empty if one can."""
    for program in (_SYSTEMD, "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"needs {program}: apt install systemd util-linux"
    if (groups := _own_cgroup()) is None:
        return "needs the unified cgroup hierarchy (cgroup2)"
    if not os.access(groups, os.W_OK):
        return f"needs a cgroup that may be divided, and {groups} is not ours: run it as root, or under systemd-run"
    with tempfile.TemporaryDirectory(prefix="pm") as place:
        done = subprocess.run(
            [*_unshare(), "sh", "-e", "-c", _MAKE_WORLD],
            env=_variables(Path(place), None),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    if done.returncode:
        return f"the kernel does not allow namespaces to us: {done.stderr.strip()}"
    return ""


@contextmanager
def user_manager(
    *, commands: Path | None = None, home: Path | None = None, journal: bool = False
) -> Iterator[UserManager]:
    """Boot a manager, and end it with everything that it has started. Skips the test where that is impossible.

    `commands` is a directory that is /usr/local/bin there, as if a package had been installed. `home` is the user's
    home directory, if it is to outlive the manager. With `journal` services write to a journal, which `journalctl
    --user` reads, and not to `log`.
    """
    if reason := why_not():
        pytest.skip(reason)
    with contextlib.ExitStack() as undo:
        # Short: a socket's path has 107 bytes.
        place = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pm", ignore_cleanup_errors=True)))
        home = home or place / "home"
        (home / ".config" / "systemd").mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        (home / ".config" / "systemd" / "user.conf").write_text(
            f"[Manager]\nDefaultStandardOutput={'journal' if journal else 'inherit'}\n"
        )
        log = place / "log"
        log.touch()
        ready = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        ready.bind(str(place / "notify"))
        ready.settimeout(PATIENCE)
        group = undo.enter_context(_cgroup())
        booting = subprocess.Popen(
            # In the cgroup before the namespace begins: it is the root of what the manager sees.
            ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group), *_unshare(), "sh", "-c", _BOOT],
            env=_variables(home, commands)
            | {"LOG": str(log), "NOTIFY_SOCKET": str(place / "notify"), "JOURNAL": "yes" * journal},
            stdin=subprocess.PIPE,
            stderr=undo.enter_context(log.open("ab")),
        )
        undo.callback(_end, booting)
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
        except TimeoutError:
            pytest.fail(f"systemd --user did not boot:\n{log.read_text()}")
        finally:
            ready.close()  # nobody reads it any more: a manager with more to tell would wait for that, and do nothing
        children = Path(f"/proc/{booting.pid}/task/{booting.pid}/children").read_text().split()
        yield UserManager(home, log, int(children[0]))


def _unshare() -> list[str]:
    mapping = [f"--map-user={UID}", f"--map-group={UID}", "--keep-caps"]
    return ["unshare", *_NAMESPACES, *mapping, "--fork", "--kill-child", "--mount-proc"]


def _variables(home: Path, commands: Path | None) -> dict[str, str]:
    # To the console: there may be no journal. The services inherit nothing of these two.
    logging = {"SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "info"}
    return _ENVIRON | logging | {"PLACE": str(home), "COMMANDS": "" if commands is None else str(commands)}


def _own_cgroup() -> Path | None:
    """Give the directory of our own cgroup in the unified hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [words[4] for words in mounts if words[words.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(roots[-1] + own[0]) if roots and own else None


@contextmanager
def _cgroup() -> Iterator[Path]:
    """Make a cgroup; at the end everything in it is killed, and it is taken away."""
    parent = _own_cgroup()
    assert parent is not None
    group = parent / f"pmcredd-test-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        with (group / "cgroup.events").open() as events:
            changed = select.poll()
            changed.register(events, select.POLLPRI)
            while "populated 1" in events.read():
                assert changed.poll(PATIENCE * 1000), f"{group} does not become empty"
                events.seek(0)
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
