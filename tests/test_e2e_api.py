"""pmcred api with all parts real: the installed commands, a daemon, and a ProcessMaker look-alike."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.api_user import read_block
from support.daemon import Daemon, running, user_at, write_profiles
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd.secret import Secret

pytestmark = pytest.mark.storm

GENERATIONS = ["sandbox", "sandbox3"]  # the profiles of ProcessMaker 4 and 3


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off", "--token-lifetime", "2h") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[User]:
    """Give a user with the profiles of the sandbox, and leave no fault behind."""
    found = user_at(tmp_path)
    text = sandbox.profiles_toml()
    plain = re.search(r"\[profiles\.sandbox\].*?(?=\n\[|\Z)", text, re.DOTALL)
    assert plain is not None
    other = plain[0].replace("[profiles.sandbox]", "[profiles.other]").replace('"demo"', '"other"')
    write_profiles(found, f"{text}\n{other.replace('demo-password', 'other-password')}\n")
    yield found
    sandbox.clear_faults()


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """Run this user's daemon."""
    with running(user) as started:
        yield started


def api(daemon: Daemon, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `pmcred api`."""
    return subprocess.run(
        [PMCRED, "api", *words],
        env=daemon.user.environ,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def token_of(daemon: Daemon, name: str) -> str:
    """Give the token that the daemon has."""
    return read_block(daemon.ask(f"get {name}"))["access_token"]


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_list_comes_back_as_json(daemon: Daemon, name: str) -> None:
    """The same command for both generations, whose APIs lie at different places."""
    done = api(daemon, name, "GET", "/users?per_page=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo" in done.stdout
    assert json.loads(done.stdout)


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_token_that_the_server_has_revoked_costs_nothing(daemon: Daemon, sandbox: SandboxProcess, name: str) -> None:
    """The call works all the same; whoever asks next has the new token, and neither is told anywhere."""
    old = token_of(daemon, name)
    assert sandbox.revoke(token=old) == 1
    done = api(daemon, name, "/users", "-v")
    new = token_of(daemon, name)
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert old != new
    assert f"reject {name} fingerprint={Secret(old).fingerprint()}" in done.stderr
    for text in (done.stderr, daemon.logged()):
        assert old not in text
        assert new not in text


def test_what_was_sent_is_sent_again_whole(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """From a pipe, which is read once; and the server makes one thing, not two."""
    before = len(json.loads(api(daemon, "sandbox", "/users/2/tokens").stdout)["data"])
    sandbox.revoke(token=token_of(daemon, "sandbox"))
    done = api(daemon, "sandbox", "POST", "/users/2/tokens", "--data", "@-", stdin='{"name": "from a script"}')
    assert done.returncode == 0
    assert json.loads(done.stdout)["token"]["name"] == "from a script"
    assert len(json.loads(api(daemon, "sandbox", "/users/2/tokens").stdout)["data"]) == before + 1


def test_the_token_is_promised_for_the_time_of_the_call(daemon: Daemon) -> None:
    """Nobody's renewal breaks into it; more than the server's tokens live cannot be promised, and is no hindrance."""
    for time in ("90s", "3h"):
        assert api(daemon, "sandbox", "/users", "--timeout", time).returncode == 0
    refused = daemon.ask("get sandbox for=3h")
    assert refused.startswith("error cannot-promise\n")


def test_each_refusal_has_its_reason(daemon: Daemon) -> None:
    """What the real server says about permission, path, method and form."""
    forbidden = api(daemon, "other", "/users")
    missing = api(daemon, "sandbox", "/nothing/here")
    method = api(daemon, "sandbox", "DELETE", "/users")
    form = api(daemon, "sandbox", "POST", "/users/1/tokens", "--data", '{"scopes": "all"}')
    assert [done.returncode for done in (forbidden, missing, method, form)] == [40] * 4
    assert "403 Forbidden: This action is unauthorized." in forbidden.stderr
    assert "404 Not Found\n" in missing.stderr
    assert "GET, HEAD, which it takes" in method.stderr
    assert "\n  name: The name field is required.\n  scopes: The scopes field must be an array.\n" in form.stderr
    assert json.loads(form.stdout)["errors"]["name"]


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        ("503=20", 50, "503 Service Unavailable"),
        ("502", 50, "502 Bad Gateway"),
        ("login", 30, "which leads to"),
        ("html", 0, "a web page"),
        ("lose-answer", 5, "the server closed the connection too early"),
    ],
)
def test_a_server_in_trouble_is_told_from_a_refusal(
    daemon: Daemon, sandbox: SandboxProcess, fault: str, status: int, told: str
) -> None:
    """By the exit status, and in words on a terminal that fit on it."""
    sandbox.fault(f"{fault},on=api")
    with PseudoTerminal([PMCRED, "api", "sandbox", "/users"], daemon.user.environ | {"TERM": "dumb"}) as terminal:
        assert terminal.end() == status
        assert told in " ".join(terminal.screen.split())
        assert "<" not in terminal.screen


def test_without_a_token_the_status_is_the_usual_one(daemon: Daemon) -> None:
    """That of `pmcred get`: 4, somebody has to log in; other profiles go on."""
    assert daemon.user.run("logout", "other").returncode == 0
    done = api(daemon, "other", "/users")
    assert done.returncode == 4
    assert "somebody has logged out" in done.stderr
    assert api(daemon, "sandbox", "/users").returncode == 0
