"""A session bus with a real gnome-keyring on it, for tests: a machine without a display, in a home of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import secretstorage
from jeepney import MatchRule, message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]

SECRETS = "org.freedesktop.secrets"
MASTER_PASSWORD = "swordfish"

needs_keyring = pytest.mark.skipif(
    not all(map(shutil.which, ("gnome-keyring-daemon", "dbus-run-session"))),
    reason="needs gnome-keyring and dbus-run-session: apt install gnome-keyring dbus",
)

_BUS = """
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  {services}
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


@dataclass(frozen=True, slots=True)
class Desktop:
    """A login session: `environ` is what its programs get."""

    environ: dict[str, str]

    @property
    def bus(self) -> str:
        """Give the address of the session bus."""
        return f"unix:path={self.environ['XDG_RUNTIME_DIR']}/bus"

    def unlock(self) -> None:
        """Do what docs/profiles.md says for a machine without a desktop; it makes the keyring if there is none."""
        with closing(open_dbus_connection(bus=self.bus)) as connection:
            changed = MatchRule(
                type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged", path="/org/freedesktop/DBus"
            )
            changed.add_arg_condition(0, SECRETS)
            connection.send_and_get_reply(message_bus.AddMatch(changed))
            with connection.filter(changed, bufsize=10) as changes:
                command = ["gnome-keyring-daemon", "--replace", "--unlock"]
                self.run(command, MASTER_PASSWORD)
                while not connection.recv_until_filtered(changes, timeout=30).body[2]:
                    pass  # the old one has let go of the name

    def lock(self) -> None:
        """Lock the keyring, as a screen saver may."""
        with closing(open_dbus_connection(bus=self.bus)) as connection:
            secretstorage.get_default_collection(connection).lock()

    def keyring_pid(self) -> int:
        """Give the process that keeps the keyring."""
        with closing(open_dbus_connection(bus=self.bus)) as connection:
            return int(connection.send_and_get_reply(message_bus.GetConnectionUnixProcessID(SECRETS)).body[0])

    def run(self, command: str | list[str], given: str) -> str:
        """Run a command of this session to its end, with this standard input."""
        done = subprocess.run(
            command,
            shell=isinstance(command, str),
            env=self.environ,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout


@contextmanager
def nobody_at_the_screen(desktop: Desktop) -> Iterator[Callable[[], int]]:
    """Show the keyring's prompts where nobody answers them; gives what counts them."""
    with closing(open_dbus_connection(bus=desktop.bus)) as connection:
        connection.send_and_get_reply(message_bus.RequestName("org.gnome.keyring.SystemPrompter"))
        with connection.filter(MatchRule(type="method_call", member="BeginPrompting"), bufsize=100) as prompts:

            def count() -> int:
                connection.send_and_get_reply(message_bus.GetId())  # whatever came before its answer is then here
                return len(prompts)

            yield count


@contextmanager
def desktop(*, with_keyring: bool = True) -> Iterator[Desktop]:
    """Start a session bus; a locked keyring starts when it is asked for. All of it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="pm") as folder:  # short: a socket's path has 107 bytes
        environ = {
            **{name: value for name, value in os.environ.items() if name.startswith("COV")},
            "HOME": f"{folder}/home",
            "XDG_RUNTIME_DIR": f"{folder}/run",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
        }
        for directory in ("home", "run"):
            Path(folder, directory).mkdir(mode=0o700)
        services = "<standard_session_servicedirs/>" if with_keyring else ""
        config = Path(folder, "bus.conf")
        config.write_text(_BUS.format(path=f"{folder}/run/bus", services=services))
        session = subprocess.Popen(
            ["dbus-run-session", "--config-file", str(config), "--", "sh", "-c", "echo here; exec cat"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        with session:
            assert session.stdin is not None
            assert session.stdout is not None
            try:
                assert session.stdout.readline() == b"here\n"
                yield Desktop(environ | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/run/bus"})
            finally:
                session.stdin.close()  # ends cat, with it the session, with that the bus, and with that the keyring
                session.wait(30)
