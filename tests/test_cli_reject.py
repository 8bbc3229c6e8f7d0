"""pmcred reject: a refused token comes from stdin, its fingerprint goes to the daemon, the next token comes back."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import TOKEN, FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd import wire
from pmcredd.secret import Secret

REFUSED = "eyJ0.refused-token_" + "y" * 1000 + "=="
ANSWER = {
    "access_token": TOKEN,
    "token_type": "Bearer",
    "expires_at": "2000000000",
    "good_until": "1999999990",
    "profile": "prod",
    "url": "https://pm.example",
}


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user."""
    user = User(tmp_path / "user")
    user.home.mkdir()
    return user


@pytest.fixture
def daemon(user: User) -> Iterator[FakeDaemon]:
    """A daemon that gives TOKEN for whatever is rejected."""
    with FakeDaemon(user.socket, lambda _: wire.format_ok([ANSWER], many=False)) as daemon:
        yield daemon


def reject(user: User, *words: str, stdin: str = REFUSED + "\n", **more: str) -> "subprocess.CompletedProcess[str]":
    """Pipe a token into `pmcred reject`."""
    return subprocess.run(
        [PMCRED, "reject", *words],
        env=user.environ | more,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_only_the_fingerprint_is_sent(user: User, daemon: FakeDaemon, end: str) -> None:
    """With or without a line's end; nothing is printed, and the exit status says that it is done."""
    done = reject(user, "prod", stdin=REFUSED + end)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert daemon.requests == [f"reject prod fingerprint={Secret(REFUSED).fingerprint()} timeout=60".encode()]


def test_the_next_token_comes_in_the_same_step(user: User, daemon: FakeDaemon) -> None:
    """--get prints it alone, as `pmcred get` does; the profile may come from the environment."""
    done = reject(user, "--get", "--timeout", "2m", PMCRED_PROFILE="prod")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{TOKEN}\n", "")
    assert daemon.requests[0].endswith(b" timeout=120")


@pytest.mark.usefixtures("daemon")
def test_programs_get_json(user: User) -> None:
    """The token is in it only if it was asked for."""
    plain, full = (
        json.loads(reject(user, "prod", "--json").stdout),
        json.loads(reject(user, "prod", "--json", "--get").stdout),
    )
    assert plain == {
        "version": 1,
        "token_type": "Bearer",
        "expires_at": 2_000_000_000,
        "good_until": 1_999_999_990,
        "profile": "prod",
        "url": "https://pm.example",
    }
    assert full == plain | {"access_token": TOKEN}


@pytest.mark.parametrize(
    "stdin",
    ["", "\n", "two words\n", f"{REFUSED}\n{REFUSED}\n", f"Authorization: Bearer {REFUSED}\n", "é\n", "x" * 70_000],
)
def test_what_is_no_token_is_refused_and_not_shown(user: User, daemon: FakeDaemon, stdin: str) -> None:
    """It may be a secret all the same. Nothing is sent."""
    done = reject(user, "prod", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert "stdin" in done.stderr
    assert "| pmcred reject prod" in done.stderr
    assert not stdin.strip() or stdin.strip() not in done.stderr
    assert daemon.requests == []


def test_at_a_terminal_it_says_how_to_pipe(user: User, daemon: FakeDaemon) -> None:
    """Nobody types a kilobyte, and what was typed would be on the screen."""
    with PseudoTerminal([PMCRED, "reject", "prod"], user.environ) as terminal:
        terminal.expect("printf '%s' \"$token\" | pmcred reject prod")
        assert terminal.end() == 2
    assert daemon.requests == []


def test_a_closed_stdin_is_told(user: User, daemon: FakeDaemon) -> None:
    """As a service without one has it."""
    command = ["/bin/sh", "-c", f"exec {PMCRED} reject prod <&-"]
    done = subprocess.run(command, env=user.environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "stdin" in done.stderr
    assert daemon.requests == []


@pytest.mark.usefixtures("daemon")
def test_a_token_is_taken_from_no_argument(user: User) -> None:
    """Whatever is on the command line, everybody on the machine can read."""
    done = reject(user, "prod", REFUSED)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("code", "status"),
    [("not-rejected", 1), ("no-such-profile", 3), ("needs-login", 4), ("waiting", 5), ("misconfigured", 6)],
)
def test_each_failure_has_its_status_and_its_hint(user: User, code: str, status: int) -> None:
    """A script branches on the number, a person reads where else to look."""
    error = wire.format_error(wire.Code(code), "the token lives", "look for a proxy")
    with FakeDaemon(user.socket, lambda _: error):
        done = reject(user, "prod", "--get")
    assert (done.returncode, done.stdout, done.stderr) == (
        status,
        "",
        "pmcred: the token lives\n  try: look for a proxy\n",
    )


def test_an_answer_without_a_token_is_an_error(user: User) -> None:
    """An empty line must not be taken for a token."""
    with FakeDaemon(user.socket, lambda _: b"ok\nprofile=prod\n\n"):
        done = reject(user, "prod", "--get")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no token" in done.stderr


def test_a_profile_must_be_named(user: User, daemon: FakeDaemon) -> None:
    """There is no other default, so prod is never hit by accident."""
    assert reject(user).returncode == 2
    assert daemon.requests == []
