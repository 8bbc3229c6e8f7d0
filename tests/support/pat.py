"""A user whose daemon is a service: the units as they are shipped, under a real user manager."""

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.sandbox import SandboxProcess
from support.user_manager import ROOT, UserManager, user_manager

if TYPE_CHECKING:
    import subprocess

UNITS = ROOT / "contrib" / "systemd"
_COMMANDS = ("pmcredd", "pmcred", "pmcred-cli")


@dataclass(frozen=True, slots=True)
class Pat:
    """A user whose daemon is a service."""

    manager: UserManager

    @property
    def profiles(self) -> Path:
        """Give the file of the profiles, as it is seen from here."""
        return self.manager.home / ".config" / "pmcred" / "profiles.toml"

    def write_profiles(self, text: str) -> None:
        """Write the profiles."""
        self.profiles.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.profiles.touch(mode=0o600)
        self.profiles.write_text(text)

    def pmcred(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run pmcred."""
        return self.manager.run("pmcred", *words)

    def token(self) -> str:
        """Get a token, which has to be there."""
        done = self.pmcred("get", "sandbox")
        assert done.returncode == 0, done.stderr + self.manager.logged()
        return done.stdout.strip()

    def main_pid(self) -> str:
        """Give the daemon's process id, inside."""
        return self.manager.show("pmcredd.service", "MainPID")


def link_commands(directory: Path) -> Path:
    """Put the commands into a directory, as a package would."""
    for name in _COMMANDS:
        (directory / name).symlink_to(Path(sysconfig.get_path("scripts"), name))
    return directory


@contextmanager
def a_pat(commands: Path, sandbox: SandboxProcess, home: Path | None = None) -> Iterator[Pat]:
    """Boot a user with the units as they are shipped."""
    with user_manager(commands=commands, home=home) as manager:
        pat = Pat(manager)
        pat.write_profiles(sandbox.profiles_toml())
        manager.units.mkdir(parents=True, exist_ok=True)
        for name in ("pmcredd.service", "pmcredd.socket"):
            shutil.copy(UNITS / name, manager.units)
        manager.systemctl("daemon-reload")
        yield pat
