"""The gits that tests run: the machine's, and one that knows `authtype`; each with a test's configuration alone."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.user import User

HELPER = str(Path(sys.executable).with_name("git-credential-pmcred"))
AUTHTYPE_SINCE = (2, 46)


@dataclass(frozen=True, slots=True)
class Git:
    """A git, as one user runs it; it asks nobody at a terminal."""

    program: str
    user: User

    @property
    def bearer(self) -> bool:
        """Whether it knows `authtype`."""
        return version(self.program) >= AUTHTYPE_SINCE

    @property
    def environ(self) -> dict[str, str]:
        """Give the variables that it gets; this git is the first on PATH."""
        found = self.user.environ
        here = str(Path(self.program).parent)
        path = found["PATH"] if self.program == "git" else f"{here}:{found['PATH']}"
        return found | {"PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": "0"}

    def run(self, *words: str, stdin: str = "", cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `git WORDS`."""
        return subprocess.run(
            [self.program, *words],
            env=self.environ,
            input=stdin,
            cwd=cwd or self.user.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def credential(
        self, operation: str, *lines: str, helpers: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Run `git credential OPERATION` with these attributes, and what this git itself would offer."""
        options = [word for helper in helpers for word in ("-c", f"credential.helper={helper}")]
        offered = ("capability[]=authtype",) if self.bearer else ()
        text = "".join(f"{line}\n" for line in (*lines, *offered))
        return self.run(*options, "credential", operation, stdin=text)


def attributes(text: str) -> dict[str, str]:
    """Take attributes apart."""
    return dict(line.split("=", 1) for line in text.splitlines() if line)


@functools.cache
def version(program: str) -> tuple[int, int]:
    """Give the two numbers of a git's version that count."""
    told = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    assert found is not None
    return int(found[1]), int(found[2])


def program(which: str) -> str:
    """Give the git of that kind, `machine` or `newer`; skip the test where there is no newer one."""
    newer = os.environ.get("NEWER_GIT", "git")
    if which == "newer" and version(newer) < AUTHTYPE_SINCE:
        pytest.skip("git 2.46 or newer is needed: NEWER_GIT=$(.ci/newer-git DIRECTORY) fetches one")
    return "git" if which == "machine" else newer
