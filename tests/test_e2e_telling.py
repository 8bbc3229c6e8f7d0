"""The installed commands that tell, against a real daemon and a ProcessMaker look-alike."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd.secret import Secret


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off", "--token-lifetime", "2h") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user with the two profiles of the sandbox, `sandbox` and `sandbox3`."""
    found = user_at(tmp_path)
    write_profiles(found, sandbox.profiles_toml())
    return found


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """Run this user's daemon until both profiles have a token."""
    with running(user) as started:
        for name in ("sandbox", "sandbox3"):
            assert started.user.run("get", name).returncode == 0
        yield started


@contextmanager
def watching(user: User, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `pmcred watch`; it is ended by its pid."""
    command = [PMCRED, "watch", *words]
    with subprocess.Popen(
        command, env=user.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: "subprocess.Popen[str]", number: int) -> list[list[str]]:
    """Read so many lines, in columns, without the time."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n").split("\t")[1:] for _ in range(number)]


def reject(user: User, token: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Pipe a token into `pmcred reject sandbox`."""
    return subprocess.run(
        [PMCRED, "reject", "sandbox", *words],
        env=user.environ,
        input=token,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_revoked_token_is_replaced_and_everybody_who_watches_hears(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """A script that gets a 401 tells so and has the next token in one step; watchers are pushed its fingerprint."""
    old = daemon.user.run("get", "sandbox").stdout
    with watching(daemon.user, "sandbox") as watch, watching(daemon.user, "sandbox", "--token", "--json") as with_token:
        (present,) = lines(watch, 1)
        assert present[:4] == ["sandbox", "present", "live", Secret(old.strip()).fingerprint()]
        assert with_token.stdout is not None
        assert json.loads(with_token.stdout.readline())["access_token"] == old.strip()

        sandbox.revoke(token=old.strip())
        done = reject(daemon.user, old, "--get")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout != old
        assert done.stdout == daemon.user.run("get", "sandbox").stdout
        told = lines(watch, 1)
        while told[-1][1] != "token":
            told += lines(watch, 1)
        assert told[-1][3] == Secret(done.stdout.strip()).fingerprint()
        seen = ""
        while seen != done.stdout.strip():
            seen = json.loads(with_token.stdout.readline()).get("access_token", "")
    again = reject(daemon.user, old)
    assert (again.returncode, again.stdout) == (0, "")  # somebody else's late report of the same token
    assert old.strip() not in daemon.logged()


def test_a_token_that_lives_is_not_replaced(daemon: Daemon) -> None:
    """One broken job changes nothing for the others, and is told where else to look; so is a stranger's token."""
    token = daemon.user.run("get", "sandbox").stdout
    done = reject(daemon.user, token, "--get")
    assert (done.returncode, done.stdout) == (1, "")
    assert "lives" in done.stderr
    assert "Authorization" in done.stderr
    assert daemon.user.run("get", "sandbox").stdout == token
    assert reject(daemon.user, "somebody-elses").returncode == 1


def test_a_reload_shows_to_who_watches(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """A profile that goes and one that comes are told at once; the others are not disturbed."""
    with watching(daemon.user) as watch:
        assert [line[:2] for line in lines(watch, 2)] == [["sandbox", "present"], ["sandbox3", "present"]]
        text = sandbox.profiles_toml().replace("[profiles.sandbox3]", "[profiles.other]")
        write_profiles(daemon.user, text)
        assert daemon.user.run("reload").returncode == 0
        told: list[list[str]] = []
        while {"added", "removed"} - {line[1] for line in told}:
            told += lines(watch, 1)
        assert {(line[0], line[1]) for line in told if line[1] in {"added", "removed"}} == {
            ("sandbox3", "removed"),
            ("other", "added"),
        }
        assert "sandbox" not in {line[0] for line in told}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watchers_end_when_the_daemon_leaves(daemon: Daemon, number: int) -> None:
    """Cleanly, at once, and with the exit status of a missing daemon; the daemon's own is 0."""
    with watching(daemon.user) as watch:
        lines(watch, 2)
        assert daemon.end(number) == 0
        _, err = watch.communicate(timeout=60)
        assert (watch.returncode, err) == (69, "pmcred: the daemon has left\n  try: pmcred watch, once it is back\n")
    assert "Traceback" not in daemon.logged()


def test_200_watchers_and_silent_ones_beside_a_get(daemon: Daemon) -> None:
    """Every one of them is told how things are, and a get is answered as ever."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(400)]
        for number, client in enumerate(clients):
            client.settimeout(60)
            client.connect(str(daemon.user.socket))
            if number % 2:
                client.sendall(b"watch\n")
        for client in clients[1::2]:
            seen = b""
            while seen.count(b"\n\n") < 2:
                seen += client.recv(65536)
            assert seen.startswith(b"ok *\n")
        assert daemon.user.run("get", "sandbox").returncode == 0


def test_status_explains_a_real_profile(daemon: Daemon) -> None:
    """From the daemon's own times: how it was got, until when it is valid, when the next comes, what it survives."""
    told = daemon.user.run("status", "--explain", "sandbox").stdout.splitlines()
    assert told[0].startswith("sandbox: live (http://127.0.0.1:")
    for start in (
        "  The token is asked for with the name and the password of a user",
        "  Asking for a new one disturbs nobody",
        "  The token in hand (",
        "  It is valid until ",
        "  The next one is asked for at ",
        "  Should the server fail now, gets are answered until ",
        "  Should it fail just when the renewal is due, they are answered for ",
    ):
        assert any(line.startswith(start) for line in told), start


def test_the_exit_status_for_cron(daemon: Daemon) -> None:
    """Silent and 0 while all is well; 5 and a line for each profile when it is not."""
    done = daemon.user.run("status", "--min-valid", "1h")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = daemon.user.run("status", "--min-valid", "8h", "sandbox")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("pmcred: sandbox: live, its token ends in 1 h 5")
