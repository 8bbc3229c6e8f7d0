"""A real password store (`pass`) with a key of its own, whose gpg-agent has no screen and no terminal to ask on."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSPHRASE = "swordfish"
_PINENTRY = """#!/bin/sh
echo OK
while read -r line; do
  case $line in GETPIN*) read -r pin <{answer}; echo "D $pin" ;; esac
  echo OK
done
"""

needs_pass = pytest.mark.skipif(
    not all(map(shutil.which, ("pass", "gpg", "gpg-agent"))), reason="needs pass and gpg: apt install pass gnupg"
)


@dataclass(frozen=True, slots=True)
class PassStore:
    """The store of somebody; `environ` is what programs need to find it."""

    environ: dict[str, str]

    def insert(self, name: str, entry: str) -> None:
        """Put an entry in, which needs no passphrase."""
        self._run(["pass", "insert", "--multiline", "--force", name], entry)

    def lock(self) -> None:
        """Let the agent forget the passphrase, as it does after a while."""
        self._run(["gpg-connect-agent", "reloadagent", "/bye"])

    def unlock(self, name: str) -> None:
        """Give the agent the passphrase, as its owner does by using the store."""
        path = f"{self.environ['PASSWORD_STORE_DIR']}/{name}.gpg"
        self._run(["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "-d", path], PASSPHRASE)

    def ask_on_an_empty_screen(self) -> None:
        """Let the passphrase be asked for where nobody is, until `come_back`."""
        home = Path(self.environ["GNUPGHOME"])
        os.mkfifo(home / "answer")
        program = home / "pinentry"
        program.write_text(_PINENTRY.format(answer=home / "answer"))
        program.chmod(0o700)
        with (home / "gpg-agent.conf").open("a") as config:
            config.write(f"pinentry-program {program}\n")
        self.lock()  # reads it anew

    def come_back(self) -> None:
        """Answer the prompt on the screen."""
        Path(self.environ["GNUPGHOME"], "answer").write_text(f"{PASSPHRASE}\n")  # waits for who reads it
        while " 1 P " not in self._run(["gpg-connect-agent", "keyinfo --list", "/bye"]):
            pass  # the agent has the answer, but not yet used it; 1 is a cached passphrase, P a protected key

    def _run(self, command: list[str], given: str = "") -> str:
        done = subprocess.run(
            command, env=self.environ, input=given, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def pass_store() -> Iterator[PassStore]:
    """Make an empty store whose agent knows the passphrase; the agent ends with the block."""
    with tempfile.TemporaryDirectory(prefix="pm") as folder:  # short: a socket's path has 107 bytes
        environ = {
            "HOME": f"{folder}/home",
            "GNUPGHOME": f"{folder}/gnupg",
            "PASSWORD_STORE_DIR": f"{folder}/store",
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
        }
        for directory in ("home", "gnupg"):
            Path(folder, directory).mkdir(mode=0o700)
        # Without a count the agent measures for seconds how much hashing the machine can bear.
        Path(folder, "gnupg", "gpg-agent.conf").write_text("s2k-count 65536\n")
        store = PassStore(environ)
        try:
            key = "integration@example.org"
            how = ["--batch", "--pinentry-mode", "loopback", "--passphrase", PASSPHRASE]
            store._run(["gpg", *how, "--quick-gen-key", key, "future-default", "default", "never"])
            store._run(["pass", "init", key])
            yield store
        finally:
            # By its socket in this directory: it is the agent of no other.
            store._run(["gpgconf", "--kill", "gpg-agent"])
