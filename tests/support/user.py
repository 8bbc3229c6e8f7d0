"""A user of the command line, whose files and daemon are not those of whoever runs the tests."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PMCRED = str(Path(sys.executable).with_name("pmcred-cli"))


@dataclass(frozen=True, slots=True)
class User:
    """`home` is empty at first; `socket` is where this user's daemon would listen."""

    home: Path

    @property
    def config(self) -> Path:
        return self.home / ".config" / "pmcred"

    @property
    def profiles_d(self) -> Path:
        return self.config / "profiles.d"

    @property
    def socket(self) -> Path:
        return self.home / "run" / "pmcred" / "socket"

    @property
    def environ(self) -> dict[str, str]:
        """Give all the variables that the commands get; coverage's are passed on."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("COV")}
        return kept | {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "PMCRED_SOCKET": str(self.socket),
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run pmcred-cli without a terminal; `more` are environment variables."""
        return subprocess.run(
            [PMCRED, *arguments],
            env=self.environ | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def user_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Give a user without files and daemon, and put this process in that user's place."""
    user = User(tmp_path / "user")
    user.home.mkdir()
    for name, value in user.environ.items():
        monkeypatch.setenv(name, value)
    return user


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user without files and daemon, and this process in that user's place."""
    return user_here(tmp_path, monkeypatch)
