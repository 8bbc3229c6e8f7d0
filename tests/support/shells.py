"""The shells of `pmcred shell-init`, each with one way to a socket, and a directory of commands to run them with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmcredd.cli import shell_init

_THIN = Path(__file__).resolve().parents[2] / "scripts" / "pmcred"
_TOOLS = ("cat", "env", "ls", "mkfifo", "readlink", "sh", "sleep", "true")


_CLI = """#!/bin/sh
if [ "$*" = "shell-init --profiles" ]; then printf "file-prod\\nfile-staging\\n"; exit; fi
printf "cli %s" $# >&2
printf ":%s" "$@" >&2
echo >&2
exit 7
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell, and the programs that it may find; zsh needs none."""

    name: str
    tool: str | None = None

    def __str__(self) -> str:
        return f"{self.name}-{self.tool}" if self.tool else self.name

    @property
    def path(self) -> str:
        """Give where it is."""
        return shutil.which(self.name) or f"/usr/bin/{self.name}"

    @property
    def missing(self) -> list[str]:
        """Give what is not on this machine."""
        return [each for each in (self.name, self.tool) if each and shutil.which(each) is None]

    def argv(self, script: str, *argv: str, interactive: bool = False) -> list[str]:
        """Give the command that runs a script with these arguments, and reads none of the user's files."""
        quiet = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[self.name]
        name = ["--"] if self.name == "fish" else [self.name]
        return [self.path, *quiet, *(["-i"] if interactive else []), "-c", script, *name, *argv]


ZSH, BASH, FISH = Shell("zsh"), Shell("bash", "nc"), Shell("fish", "nc")
ALL = (ZSH, BASH, Shell("bash", "socat"), FISH, Shell("fish", "socat"))
NAMED_ARGUMENTS = {"bash": 'pmcred "$@"', "zsh": 'pmcred "$@"', "fish": "pmcred $argv"}


@dataclass(slots=True)
class Desk:
    """Where somebody works: `pmcred` as a venv has it, with a `pmcred-cli` that only tells what it was given.

    Without `python` beside it, the command cannot ask the daemon: a token is the function's work.
    """

    root: Path
    socket: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        (self.bin.parent / "pyvenv.cfg").touch()
        shutil.copy(_THIN, self.bin / "pmcred")
        cli = self.bin / "pmcred-cli"
        cli.write_text(_CLI)
        cli.chmod(0o755)
        for shell in ("bash", "zsh", "fish"):
            self.init(shell).write_text(shell_init.text(shell))
        self.give_python()

    @property
    def bin(self) -> Path:
        """Give where pmcred is."""
        return self.root / "venv" / "bin"

    def init(self, shell: str) -> Path:
        """Give the file of what the shell evaluates at its start."""
        return self.root / f"init.{shell}"

    def give_python(self) -> None:
        """Let the command ask the daemon."""
        (self.bin / "python").symlink_to(os.path.realpath(sys.executable))

    def take_python(self) -> None:
        """Leave the asking to the function."""
        (self.bin / "python").unlink()

    def tools(self, *more: str) -> str:
        """Give a directory with these programs and a few usual ones, and no other."""
        place = self.root / "-".join(["tools", *more])
        if not place.exists():
            place.mkdir()
            for name in (*_TOOLS, *more):
                if found := shutil.which(name):
                    (place / name).symlink_to(found)
        return str(place)

    def environment(self, shell: Shell, **more: str) -> dict[str, str]:
        """Give all the variables that a shell gets."""
        tools = self.tools(*([shell.tool] if shell.tool else []))
        base = {"PATH": f"{self.bin}:{tools}", "HOME": str(self.root), "PMCRED_SOCKET": str(self.socket)}
        return base | {"INIT": str(self.init(shell.name)), "LC_ALL": "C.UTF-8"} | self.environ | more

    def run(
        self, shell: Shell, script: str, *argv: str, before: str = "", cwd: Path | None = None, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """Have the shell do `before`, evaluate what shell-init prints, and then do `script`."""
        init = "source $INIT" if shell.name == "fish" else 'eval "$(cat "$INIT")"'
        return _run(shell.argv(f"{before}\n{init}\n{script}", *argv), self.environment(shell, **more), cwd)

    def ask(self, shell: Shell, *argv: str, cwd: Path | None = None, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the function with these arguments."""
        return self.run(shell, NAMED_ARGUMENTS[shell.name], *argv, cwd=cwd, **more)

    def command(self, *argv: str, cwd: Path | None = None, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the command itself."""
        return _run([str(self.bin / "pmcred"), *argv], self.environment(BASH, **more), cwd)


def _run(argv: list[str], environ: Mapping[str, str], cwd: Path | None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=100,
    )
