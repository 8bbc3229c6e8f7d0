"""A machine of its own to run recipes on: root's namespaces, with empty /run and /home and one user besides, `pat`.

`pat` has uid 0, since what is installed here may be root's alone; nothing that is tested here asks for more than one
user. What runs in it ends with it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.user_manager import INSTALLED

HOME, RUNTIME = "/home/pat", "/run/user/0"
PATH = "/usr/bin:/bin"
_BOOT = f"""
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p -m 755 {RUNTIME} /run/sshd /run/home
chmod 700 {RUNTIME}
mount --rbind /home /run/home
mount -t tmpfs -o mode=755 tmpfs /home
for place in $INSTALLED; do
  case $place in /home/*) mkdir -p "$place"; mount --bind "/run$place" "$place" ;; esac
done
mkdir {HOME}
mount --bind "$PLACE" {HOME}
umount -R /run/home
printf '%s\\n' 'pat:*:0:0::{HOME}:/bin/sh' root:x:0:0::/root:/bin/sh sshd:x:74:74::/run/sshd:/bin/false >/run/passwd
mount --bind /run/passwd /etc/passwd
if [ -d /var/spool/cron ]; then mount -t tmpfs tmpfs /var/spool/cron; mkdir -m 1730 /var/spool/cron/crontabs; fi
echo up
read -r _ || :
"""


@dataclass(frozen=True, slots=True)
class Box:
    """The machine: `home` is pat's home directory as it is seen from here."""

    home: Path
    init: int

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> list[str]:
        """Give the command that runs a command in it, with no environment but a shell's and `more`."""
        variables = {"HOME": HOME, "PATH": PATH, "SHELL": "/bin/sh", **_coverage(), **(more or {})}
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "env", "-i", f"--chdir={HOME}"]
        return [*enter, *(f"{name}={value}" for name, value in variables.items()), *words]

    def run(self, *words: str, more: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command in it."""
        return subprocess.run(
            self.command(*words, more=more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def background(self, *words: str, more: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
        """Run a command in it as long as the block runs; its stderr can be read."""
        with subprocess.Popen(
            self.command(*words, more=more), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(60)


@contextmanager
def box(home: Path) -> Iterator[Box]:
    """Boot such a machine; skips the test where that is impossible."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("root alone can boot a machine with a user database of its own, with unshare (util-linux)")
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-e", "-c", _BOOT]
    environ = {"PATH": os.environ["PATH"], "PLACE": str(home), "INSTALLED": " ".join(INSTALLED)}
    with subprocess.Popen(
        unshare, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != "up\n":
                pytest.skip(f"the kernel does not allow mounts to us: {process.stderr.read().strip()}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Box(home, int(children[0]))
        finally:
            process.stdin.close()
            process.wait(60)


def installed(home: Path) -> None:
    """Put pmcred where pipx does."""
    (home / ".local" / "bin").mkdir(parents=True)
    for name in ("pmcred", "pmcredd"):
        (home / ".local" / "bin" / name).symlink_to(Path(sys.prefix, "bin", name))


def _coverage() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("COV")}
