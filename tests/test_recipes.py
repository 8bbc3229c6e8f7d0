"""docs/recipes.md: every recipe is run as it stands there; only the address is that of a sandbox."""

import os
import re
import select
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.box import HOME, RUNTIME, Box, box, installed
from support.container import put_docker
from support.daemon import running, user_at, write_profiles
from support.recipes import NAMES, recipe, users_in
from support.sandbox import SandboxProcess, sandbox_process
from support.ssh_server import needs_sshd, ssh_server
from support.user import User

from pmcredd.sandbox.instances import PASSWORD, USERS

pytestmark = pytest.mark.storm

BIN = Path(sys.prefix, "bin")


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user with a profile `prod`, and pmcred in ~/.local/bin."""
    found = user_at(tmp_path)
    installed(found.home)
    write_profiles(found, sandbox.profiles_toml().replace("[profiles.sandbox]", "[profiles.prod]"))
    return found


def read_when_written(pipe: Path) -> str:
    """Wait until somebody writes into a pipe, and give all of it."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor) as reading:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        assert waiting.poll(60_000), f"nothing was written to {pipe}"
        os.set_blocking(descriptor, True)
        return reading.read()


# --- cron and ssh -----------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(user: User, sandbox: SandboxProcess) -> Iterator[Box]:
    """Give a machine on which this user's daemon listens in the runtime directory, as one of the user manager does."""
    with (
        box(user.home) as found,
        found.background(f"{BIN}/pmcredd", more={"XDG_RUNTIME_DIR": RUNTIME}) as daemon,
    ):
        assert daemon.stderr is not None
        assert any(f"listening on {RUNTIME}/pmcred/socket" in line for line in daemon.stderr)
        yield found


def prepare_report(user: User, sandbox: SandboxProcess) -> Path:
    """Install the job of the recipe; gives the pipe that stands in the place of its file."""
    script = user.home / "bin" / "report"
    script.parent.mkdir()
    script.write_text(recipe("cron", "sh", sandbox))
    script.chmod(0o755)
    os.mkfifo(user.home / "users.json")
    return user.home / "users.json"


@pytest.mark.skipif(shutil.which("cron") is None, reason="needs cron: apt install cron")
def test_a_job_of_cron(machine: Box, user: User, sandbox: SandboxProcess) -> None:
    """Debian's cron runs the job, in its own environment; it begins with the machine instead of every quarter hour."""
    report = prepare_report(user, sandbox)
    every, check = recipe("cron", "crontab", sandbox).splitlines()
    crontab = user.home / "crontab"
    crontab.write_text("".join(re.sub(r"^(\S+ ){5}", "@reboot ", line) + "\n" for line in (every, check)))
    done = machine.run("crontab", "-u", "pat", f"{HOME}/crontab")
    assert done.returncode == 0, done.stderr

    with machine.background("cron", "-f", "-L", "15", more={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}):
        assert users_in(read_when_written(report)) == NAMES


def test_the_lines_of_the_crontab(machine: Box, user: User, sandbox: SandboxProcess) -> None:
    """In the environment of cron (crontab(5)), by its shell, the lines say nothing while all is well; and the check
    tells what is wrong when it is.
    """
    report = prepare_report(user, sandbox)
    every, check = (line.split(maxsplit=5)[5] for line in recipe("cron", "crontab", sandbox).splitlines())
    with subprocess.Popen(machine.command("/bin/sh", "-c", every), stdout=subprocess.PIPE, text=True) as job:
        assert users_in(read_when_written(report)) == NAMES
        assert job.communicate(timeout=60)[0] == ""
    assert job.returncode == 0
    assert machine.run("/bin/sh", "-c", check).stdout == ""

    machine.run(f"{BIN}/pmcred", "logout", "prod")
    told = machine.run("/bin/sh", "-c", check)
    assert "prod" in told.stdout
    failed = machine.run("/bin/sh", "-c", every)
    assert (failed.returncode, failed.stdout) == (4, "")
    assert "pmcred login prod" in failed.stderr


@needs_sshd
def test_by_ssh(machine: Box, user: User, sandbox: SandboxProcess) -> None:
    """A real sshd on the loopback interface, which sets no XDG_RUNTIME_DIR."""
    with ssh_server(machine):
        assert "XDG_RUNTIME_DIR" not in machine.run("ssh", "server", "env").stdout
        done = machine.run("/bin/sh", "-c", recipe("ssh", "sh", sandbox))
        assert (done.returncode, done.stderr) == (0, "")
        assert users_in(done.stdout) == NAMES
        machine.run(f"{BIN}/pmcred", "logout", "prod")
        failed = machine.run("/bin/sh", "-c", recipe("ssh", "sh", sandbox))
        assert failed.returncode != 0
        assert "pmcred login prod" in failed.stderr


# --- a container ------------------------------------------------------------------------------------------------------


@pytest.fixture
def docker(tmp_path: Path) -> dict[str, str]:
    """Give the environment in which there is a `docker`."""
    return {"PATH": f"{put_docker(tmp_path / 'bin').parent}:{os.environ['PATH']}"}


def test_a_container_of_the_same_user(user: User, sandbox: SandboxProcess, docker: dict[str, str]) -> None:
    """With another root directory, and the socket's directory in it, the uid is what counts."""
    with running(user):
        environ = docker | {"XDG_RUNTIME_DIR": str(user.home / "run")}
        command = ["sh", "-c", recipe("A container", "sh", sandbox)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == user.run("get", "prod").stdout


def test_a_container_whose_user_is_nobody(user: User, sandbox: SandboxProcess, docker: dict[str, str]) -> None:
    """In a user namespace without a mapping everybody has the same uid, and nobody could be told from an impostor."""
    with running(user):
        environ = docker | {"XDG_RUNTIME_DIR": str(user.home / "run"), "UNMAPPED": "yes"}
        command = ["sh", "-c", recipe("A container", "sh", sandbox)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (69, "")
    assert "your uid is not mapped into this user namespace" in " ".join(done.stderr.split())


# --- CI ---------------------------------------------------------------------------------------------------------------


def section_of(job: str, key: str) -> list[str]:
    """Give the lines below one key, up to the next."""
    text = job.partition(f"\n  {key}:\n")[2]
    block = re.split(r"^  \S", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [line.strip().removeprefix("- ") for line in block.splitlines()]


class Runner:
    """A GitLab runner with the shell executor: a checkout that everybody may write, and one bash for all lines."""

    def __init__(self, place: Path, sandbox: SandboxProcess) -> None:
        self.builds, self.project = place / "builds", place / "builds" / "project"
        (self.project / "ci").mkdir(parents=True)
        profiles = recipe("GitLab CI", "toml", sandbox)
        assert f'client_id = "{PASSWORD.id}"' in profiles
        path = self.project / "ci" / "profiles.toml"
        path.write_text(profiles.replace('"integration"', f'"{USERS[0].username}"'))
        path.chmod(0o666)
        self.job = recipe("GitLab CI", "yaml", sandbox)
        self.predefined = {
            "CI": "true",
            "CI_PROJECT_DIR": str(self.project),
            "CI_BUILDS_DIR": str(self.builds),
            "HOME": "/nonexistent",
            "PATH": f"{BIN}:/usr/bin:/bin",
        }
        self.masked = {"PM_CLIENT_SECRET": PASSWORD.secret, "PM_PASSWORD": USERS[0].password}

    def run(self, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the job once."""
        environ = self.predefined | self.masked
        for line in section_of(self.job, "variables"):
            name, _, value = line.partition(": ")
            environ[name] = re.sub(r"\$(\w+)", lambda match: environ[match[1]], value)
        script = "\n".join(
            ["set -eo pipefail", *section_of(self.job, "before_script"), *section_of(self.job, "script")]
        )
        return subprocess.run(
            ["bash", "-c", f"umask 0000\n{script}"],
            env=environ | more,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def test_a_job_of_gitlab(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Two jobs, and one login: the second finds the token of the first, which nobody else can read."""
    runner = Runner(tmp_path, sandbox)
    for _ in range(2):
        done = runner.run()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert users_in((runner.project / "users.json").read_text()) == NAMES
        (runner.project / "users.json").unlink()

    assert len(sandbox.log()) == 1
    kept = runner.builds / ".pmcred"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept / "state.db")] == [0o700, 0o600]


def test_what_a_job_of_gitlab_is_told(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Without its secret, with a wrong one, with a state directory that cannot be: the job ends with the mend."""
    runner = Runner(tmp_path, sandbox)
    wrong = runner.run(PM_PASSWORD="not-the-password")
    again = runner.run(PM_PASSWORD="not-the-password")
    nowhere = runner.run(PMCRED_STATE_DIR="/proc/nowhere")
    del runner.masked["PM_PASSWORD"]
    without = runner.run()

    assert [done.returncode for done in (wrong, again, nowhere, without)] == [4, 4, 1, 6]
    assert [done.stdout for done in (wrong, again, nowhere, without)] == [""] * 4
    assert "refused the username or the password" in " ".join(wrong.stderr.split())
    assert len(sandbox.log()) == 1, "a wrong password is tried once, not once a job"
    assert "PMCRED_STATE_DIR" in nowhere.stderr
    assert "whether this branch and this job are given it" in " ".join(without.stderr.split())
