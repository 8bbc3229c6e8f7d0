"""`pmcred credential`, which is git-credential-pmcred: what it prints, what it asks, and when it is silent."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import TOKEN, FakeDaemon
from support.gits import HELPER
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd import wire
from pmcredd.secret import Secret

URL = "https://pm.example"
ASKED = "protocol=https\nhost=pm.example\n"
LISTED = {"profile": "prod", "url": URL, "generation": "4", "grant": "password"}
GIVEN = {"access_token": TOKEN, "token_type": "Bearer", "good_until": "4000000000", "profile": "prod", "url": URL}
FINGERPRINT = Secret(TOKEN).fingerprint()


def answers(request: bytes) -> bytes:
    """Answer as a daemon with the profile prod does."""
    match request.split()[0]:
        case b"list":
            return wire.format_ok([LISTED], many=True)
        case b"status":
            return wire.format_ok([LISTED | {"fingerprint": FINGERPRINT}], many=True)
    return wire.format_ok([GIVEN], many=False)


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user."""
    user = User(tmp_path / "user")
    user.home.mkdir()
    return user


@pytest.fixture
def daemon(user: User) -> Iterator[FakeDaemon]:
    """A daemon that has a token for prod."""
    with FakeDaemon(user.socket, answers) as daemon:
        yield daemon


def helper(user: User, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run git-credential-pmcred."""
    return subprocess.run(
        [HELPER, *words], env=user.environ, input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def test_both_commands_are_one(user: User, daemon: FakeDaemon) -> None:
    """`pmcred credential` answers as git-credential-pmcred does, and asks for as much."""
    done = subprocess.run(
        [PMCRED, "credential", "get"], env=user.environ, input=ASKED, capture_output=True, text=True, check=False
    )
    expected = f"username=prod\npassword={TOKEN}\npassword_expiry_utc=4000000000\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    other = helper(user, "get", stdin=ASKED)
    assert (other.returncode, other.stdout, other.stderr) == (0, expected, "")
    assert daemon.requests == [b"list", b"get prod timeout=60"] * 2


def test_how_long_the_token_must_stay_good_can_be_said(user: User, daemon: FakeDaemon) -> None:
    """A long clone, whose token must not be replaced under it; the helper's line in git's configuration says so."""
    for words in (["--for", "20m", "--timeout", "5s", "get"], ["get", "--for", "20m", "--timeout", "5s"]):
        assert helper(user, *words, stdin=ASKED).returncode == 0
        assert daemon.requests[-1] == b"get prod timeout=5 for=1200"


@pytest.mark.usefixtures("daemon")
def test_a_url_and_the_header_in_one_question(user: User) -> None:
    """As scripts ask that speak the protocol themselves."""
    done = helper(user, "get", stdin=f"url={URL}/api/1.0/users\ncapability[]=authtype\n\nnever=read\n")
    head = "capability[]=authtype\nauthtype=Bearer\n"
    assert done.stdout == f"{head}credential={TOKEN}\nephemeral=1\npassword_expiry_utc=4000000000\n"


def test_a_length_of_time_is_not_lost_at_the_installation(user: User) -> None:
    """It belongs into the helper's line; in front of `install` it would be forgotten."""
    refused = user.run("credential", "--for", "20m", "install", "prod")
    assert refused.returncode == 2
    assert "install writes no --for" in refused.stderr


def test_capabilities_are_told(user: User) -> None:
    """In git-credential(1)'s form; that needs no daemon."""
    done = helper(user, "capability")
    assert (done.returncode, done.stdout, done.stderr) == (0, "version 0\ncapability authtype\n", "")


@pytest.mark.parametrize("operation", ["store", "remember", "get-all", ""])
@pytest.mark.parametrize("stdin", [f"{ASKED}username=x\npassword={TOKEN}\n", "", "nonsense\n"])
def test_what_is_not_for_us_is_passed_over_in_silence(user: User, operation: str, stdin: str) -> None:
    """Whatever operation comes next, and store, for the daemon knows its tokens. No daemon is needed for that."""
    done = helper(user, operation, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "stdin",
    [
        "protocol=https\nhost=other.example\n",
        "protocol=https\nhost=pm.example:8443\n",
        "protocol=http\nhost=other.example\n",
        "protocol=ssh\nhost=pm.example\n",
        "protocol=cert\npath=/home/me/key.pem\n",
        "host=pm.example\n",
        "",
    ],
)
@pytest.mark.usefixtures("daemon")
def test_other_servers_are_none_of_our_business(user: User, stdin: str) -> None:
    """A helper that is set up for every host must not disturb those that it does not know; -v tells."""
    done = helper(user, "get", stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "no profile is for that" in helper(user, "-v", "get", stdin=stdin).stderr


def test_no_daemon_is_asked_about_what_is_no_web_server(user: User) -> None:
    """A certificate's pass phrase is asked for in the same way."""
    assert helper(user, "get", stdin="protocol=cert\npath=/x\n").returncode == 0


@pytest.mark.parametrize("operation", ["get", "erase"])
@pytest.mark.parametrize("stdin", ["protocol\n", "a=\0\n", f"a={'x' * 70_000}\n", f"{ASKED}username={TOKEN}\rx=y\n"])
def test_what_is_not_the_protocol_is_told(user: User, daemon: FakeDaemon, operation: str, stdin: str) -> None:
    """On stderr, without what was sent, and with a command that is right; nothing is asked."""
    done = helper(user, operation, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not the git credential protocol" in done.stderr
    assert "pmcred credential get" in done.stderr
    assert TOKEN not in done.stderr
    assert daemon.requests == []


def test_a_closed_stdin_is_an_empty_one(user: User) -> None:
    """It is no reason for a traceback."""
    command = ["/bin/sh", "-c", f'exec "{HELPER}" get <&-']
    done = subprocess.run(command, env=user.environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("code", "status"), [("needs-login", 4), ("waiting", 5), ("unreachable", 5), ("misconfigured", 6), ("internal", 1)]
)
def test_a_failure_prints_nothing_but_what_mends_it(user: User, code: str, status: int) -> None:
    """Git uses what is on stdout whatever the exit status; stderr goes to the person."""
    error = wire.format_error(wire.Code(code), "there is no token", "pmcred login prod")
    with FakeDaemon(user.socket, lambda line: error if line.startswith(b"get") else answers(line)):
        done = helper(user, "get", stdin=ASKED)
    said = "pmcred: there is no token\n  try: pmcred login prod\n"
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_without_a_daemon(user: User) -> None:
    """The command that brings it is told, for get and for erase."""
    for operation in ("get", "erase"):
        done = helper(user, operation, stdin=f"{ASKED}username=prod\npassword={TOKEN}\n")
        assert (done.returncode, done.stdout) == (69, "")
        assert "pmcred service install" in done.stderr


def test_a_profile_that_changes_meanwhile_gives_nothing_away(user: User) -> None:
    """Between the question whose URL it is and the token, a reload may have given the name to another server."""
    moved = wire.format_ok([GIVEN | {"url": "https://elsewhere.example"}], many=False)
    with FakeDaemon(user.socket, lambda line: moved if line.startswith(b"get") else answers(line)):
        done = helper(user, "get", stdin=ASKED)
    assert (done.returncode, done.stdout) == (1, "")
    assert "prod has just been changed" in done.stderr


@pytest.mark.parametrize(
    "form", [f"username=prod\npassword={TOKEN}\n", f"authtype=Bearer\ncredential={TOKEN}\nephemeral=1\n"]
)
def test_a_refused_token_is_reported_by_its_fingerprint(user: User, daemon: FakeDaemon, form: str) -> None:
    """Exactly that one, and the token itself goes nowhere; nothing is printed."""
    done = helper(user, "erase", stdin=ASKED + form)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert daemon.requests == [b"status", f"reject prod fingerprint={FINGERPRINT} timeout=60".encode()]


def test_a_person_is_told_that_the_token_was_replaced(user: User, daemon: FakeDaemon) -> None:
    """Their command has failed, and git does not say that the next one will not."""
    script = 'printf %s "$1" | "$2" credential erase'
    stdin = f"{ASKED}username=prod\npassword={TOKEN}\n"
    with PseudoTerminal(["/bin/sh", "-c", script, "sh", stdin, PMCRED], user.environ) as terminal:
        terminal.expect("the token of prod was refused, and is replaced: try again")
        assert terminal.end() == 0
    assert len(daemon.requests) == 2


@pytest.mark.parametrize(
    "stdin",
    [
        ASKED,  # git sends no password where it knows none
        f"{ASKED}username=prod\n",
        f"{ASKED}username=prod\npassword=another-token\n",
        f"{ASKED}username=prod\npassword=a typed one!\n",
        f"{ASKED}authtype=Basic\ncredential={TOKEN}\n",
        f"{ASKED}username=mallory\npassword={TOKEN}\n",
        f"protocol=https\nhost=other.example\nusername=prod\npassword={TOKEN}\n",
        f"protocol=http\nhost=pm.example\nusername=prod\npassword={TOKEN}\n",
        f"protocol=ssh\nhost=pm.example\nusername=prod\npassword={TOKEN}\n",
    ],
)
def test_nothing_else_is_erased(user: User, daemon: FakeDaemon, stdin: str) -> None:
    """Not a token that nobody refused, nor one of another host or user."""
    done = helper(user, "erase", stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(line.startswith(b"reject") for line in daemon.requests)


def test_of_several_profiles_the_one_with_that_token_is_told(user: User) -> None:
    """A report needs no user name: the token says whose it is."""
    others = [LISTED | {"profile": "a", "fingerprint": "0" * 16}, LISTED | {"profile": "b"}]
    status = wire.format_ok([*others, LISTED | {"fingerprint": FINGERPRINT}], many=True)
    with FakeDaemon(user.socket, lambda line: status if line == b"status" else answers(line)) as daemon:
        assert helper(user, "erase", stdin=f"{ASKED}password={TOKEN}\n").returncode == 0
    assert [line.split()[:2] for line in daemon.requests] == [[b"status"], [b"reject", b"prod"]]


def test_a_token_that_lives_is_told_to_the_person(user: User) -> None:
    """The daemon has asked the server: the trouble lies elsewhere, and only the person can look there."""
    error = wire.format_error(wire.Code.NOT_REJECTED, "the token lives", "look for a proxy")
    with FakeDaemon(user.socket, lambda line: error if line.startswith(b"reject") else answers(line)):
        done = helper(user, "erase", stdin=f"{ASKED}password={TOKEN}\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pmcred: the token lives\n  try: look for a proxy\n"


def test_what_a_person_mistypes_is_told(user: User) -> None:
    """Git gives one word; two are a person's."""
    done = helper(user, "instal", "prod")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean `pmcred credential install`?" in done.stderr
    assert "--help" in helper(user, "frobnicate", "prod").stderr
    assert helper(user).returncode == 2


def test_the_helper_loads_no_more_than_it_needs() -> None:
    """It is started for every request of some tools: no event loop, no HTTP client, no TOML, no git."""
    script = (
        "import sys, pmcredd.cli.credential\n"
        "heavy = {'trio', 'httpx', 'tomllib', 'subprocess', 'asyncio', 'sqlite3', 'platformdirs', 'ssl', 'json',\n"
        "         'pmcredd.profiles'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    # Without coverage's variables: it loads some of that itself.
    done = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
