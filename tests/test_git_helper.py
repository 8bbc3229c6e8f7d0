"""The helper under real gits: the machine's, and one that knows `authtype`; the daemon is played.

What git's own suite expects of every helper (lib-credential.sh) is here in our words, as far as it is for a helper that
only reads: it answers for the right protocol, host, path and user and for no other, keeps nothing that git tells it to
store, and lets go of nothing but what was refused.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.fake_daemon import FakeDaemon
from support.git_world import World
from support.gits import HELPER, Git, attributes, program
from support.user import User

if TYPE_CHECKING:
    from subprocess import CompletedProcess

URLS = {
    "prod": "https://pm.example",
    "admin": "https://pm.example",
    "old": "https://pm.example/old",
    "port": "https://pm.example:8443",
    "lone": "https://lone.example",
}


@pytest.fixture
def world() -> World:
    """Five profiles, three of them on one host."""
    return World(URLS)


@pytest.fixture
def daemon(git: Git, world: World) -> Iterator[FakeDaemon]:
    """Play the daemon of that world."""
    with FakeDaemon(git.user.socket, world.answer) as daemon:
        yield daemon


@pytest.fixture(params=["machine", "newer"])
def git(request: pytest.FixtureRequest, tmp_path: Path) -> Git:
    """Each git, with pmcred as its helper."""
    return configured(request.param, tmp_path)


@pytest.fixture
def newer(tmp_path: Path) -> Git:
    """The newer git alone."""
    return configured("newer", tmp_path)


def configured(which: str, tmp_path: Path) -> Git:
    """Set pmcred up as the helper for every host."""
    git = Git(program(which), User(tmp_path / "user"))
    git.user.home.mkdir()
    assert git.run("config", "--global", "credential.helper", HELPER).returncode == 0
    return git


def token(done: "CompletedProcess[str]", git: Git) -> str:
    """Give the token that a `fill` ended with, in the form that this git should have."""
    assert done.returncode == 0, done.stderr
    found = attributes(done.stdout)
    if git.bearer:
        assert (found["authtype"], found["ephemeral"]) == ("Bearer", "1")
        assert "password" not in found
        return found["credential"]
    assert "credential" not in found
    return found["password"]


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["url=https://lone.example"], "lone"),
        (["protocol=https", "host=lone.example"], "lone"),
        (["protocol=https", "host=LONE.example"], "lone"),
        (["url=https://lone.example:443/x/y.git"], "lone"),
        (["url=https://pm.example:8443/x"], "port"),
        (["url=https://prod@pm.example"], "prod"),
        (["url=https://admin@pm.example/x.git"], "admin"),
        (["protocol=https", "host=pm.example", "username=user-of-old"], "old"),
        (["url=https://oauth2@lone.example"], "lone"),
    ],
)
def test_a_token_is_given_for_what_was_asked(git: Git, lines: list[str], name: str) -> None:
    """Each profile's own, decided by host, port and user; git passes on what it was given."""
    assert token(git.credential("fill", *lines), git) == f"token-of-{name}.1"


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    "url",
    [
        "https://other.example",
        "http://other.example",
        "https://lone.example:8443",
        "https://lone.example.org",
        "https://nobody@lone.example",
        "http://lone.example",
        "https://pm.example",
    ],
)
def test_nothing_is_given_for_anything_else(git: Git, url: str) -> None:
    """Another protocol, host, port or user: git fails, as nobody can be asked."""
    done = git.credential("fill", f"url={url}")
    assert done.returncode != 0
    assert "token-of" not in done.stdout + done.stderr


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("path", "name"), [("old", "old"), ("old/x.git", "old"), ("/old", "old"), ("older", None), ("x/old", None)]
)
def test_a_path_counts_where_git_sends_it(git: Git, path: str, name: str | None) -> None:
    """With useHttpPath, by whole segments; what is not below it is ambiguous here."""
    git.run("config", "--global", "credential.https://pm.example.useHttpPath", "true")
    done = git.credential("fill", f"url=https://pm.example/{path}")
    if name is None:
        assert done.returncode != 0
        assert "several profiles are for https://pm.example: admin, prod" in done.stderr
    else:
        assert token(done, git) == f"token-of-{name}.1"


@pytest.mark.usefixtures("daemon")
def test_the_advice_for_an_ambiguous_host_works(git: Git) -> None:
    """The command on stderr, run as it stands, decides it."""
    done = git.credential("fill", "url=https://pm.example")
    assert "admin, old, prod" in done.stderr
    (hint,) = [line for line in done.stderr.splitlines() if line.startswith("  try: ")]
    first, second = hint.removeprefix("  try: ").split(", or ")
    assert git.run(*second.partition(",")[0].split()[1:]).returncode == 0
    assert token(git.credential("fill", "url=https://pm.example/old/x"), git) == "token-of-old.1"
    assert git.run(*first.split()[1:]).returncode == 0
    chosen = first.split()[-1]
    assert token(git.credential("fill", "url=https://pm.example"), git) == f"token-of-{chosen}.1"


def test_what_git_stores_is_kept_nowhere(git: Git, daemon: FakeDaemon) -> None:
    """Neither a token of ours nor a password that somebody typed; the daemon hears nothing of it."""
    for secret in ("token-of-lone.1", "typed"):
        done = git.credential("approve", "url=https://lone.example", "username=lone", f"password={secret}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert daemon.requests == []
    assert token(git.credential("fill", "url=https://lone.example"), git) == "token-of-lone.1"
    kept = [path for path in git.user.home.rglob("*") if path.is_file() and path.name != ".gitconfig"]
    assert kept == []


def test_what_was_refused_is_replaced(git: Git, world: World, daemon: FakeDaemon) -> None:
    """Git hands back all that it was given, and the next question is answered with another token."""
    filled = git.credential("fill", "url=https://lone.example")
    refused = git.credential("reject", *filled.stdout.splitlines())
    assert (refused.returncode, refused.stdout, refused.stderr) == (0, "", "")
    assert sum(line.startswith(b"reject lone ") for line in daemon.requests) == 1
    assert token(git.credential("fill", "url=https://lone.example"), git) == "token-of-lone.11"
    untouched = {name: f"token-of-{name}.1" for name in URLS if name != "lone"}
    assert {name: kept for name, kept in world.tokens.items() if name != "lone"} == untouched


@pytest.mark.parametrize(
    "lines",
    [
        ["url=https://lone.example"],
        ["url=https://lone.example", "username=lone"],
        ["url=https://lone.example", "username=lone", "password=another"],
        ["url=https://lone.example", "username=nobody", "password=token-of-lone.1"],
        ["url=https://other.example", "username=lone", "password=token-of-lone.1"],
        ["url=http://lone.example", "username=lone", "password=token-of-lone.1"],
        ["url=https://pm.example", "username=prod", "password=token-of-admin.1"],
    ],
)
def test_nothing_else_is_given_up(git: Git, daemon: FakeDaemon, lines: list[str]) -> None:
    """Another password, user, host or protocol, or none at all: a refusal concerns what was refused."""
    assert git.credential("reject", *lines).returncode == 0
    assert not any(line.startswith(b"reject") for line in daemon.requests)


def test_of_several_users_the_refused_one_is_replaced(git: Git, world: World, daemon: FakeDaemon) -> None:
    """And the other one of the same host stays."""
    filled = git.credential("fill", "url=https://admin@pm.example")
    git.credential("reject", *filled.stdout.splitlines())
    assert (world.tokens["admin"], world.tokens["prod"]) == ("token-of-admin.11", "token-of-prod.1")
    assert any(line.startswith(b"reject admin ") for line in daemon.requests)


@pytest.mark.usefixtures("daemon")
def test_an_expiry_is_told_and_a_token_to_use_at_once_is_not_thrown_away(git: Git, world: World) -> None:
    """Git (from 2.40 on) drops what has expired; where a renewal is under way nothing is promised, and it is used."""
    filled = git.credential("fill", "url=https://lone.example")
    told = attributes(filled.stdout).get("password_expiry_utc")
    assert told in {"4000000000", None}
    assert told is not None or not git.bearer
    world.good_until = int(time.time()) - 5
    assert token(git.credential("fill", "url=https://lone.example"), git) == "token-of-lone.1"


def test_git_goes_on_to_the_next_helper_when_we_have_nothing(git: Git) -> None:
    """Without a daemon nothing is printed that git could use; the person is told why."""
    other = "!f() { test \"$1\" = get && printf 'username=u\\npassword=from-the-other\\n'; }; f"
    done = git.credential("fill", "url=https://lone.example", helpers=[other])
    assert done.returncode == 0
    assert attributes(done.stdout)["password"] == "from-the-other"
    assert "no daemon answers" in done.stderr


def test_who_does_not_offer_authtype_gets_a_password(newer: Git) -> None:
    """A script of before 2.46 goes on working when git is upgraded."""
    with FakeDaemon(newer.user.socket, World(URLS).answer):
        done = newer.run("credential", "fill", stdin="url=https://lone.example\n\n")
    assert attributes(done.stdout)["password"] == "token-of-lone.1"


def test_a_cache_that_is_asked_first_keeps_nothing(newer: Git) -> None:
    """The token is marked as ephemeral: after a renewal the cache must not go on giving the old one."""
    world = World(URLS)
    with tempfile.TemporaryDirectory() as place, FakeDaemon(newer.user.socket, world.answer):
        cache = f"cache --socket={place}/socket"
        newer.run("config", "--global", "--replace-all", "credential.helper", cache)
        newer.run("config", "--global", "--add", "credential.helper", HELPER)
        try:
            # That the cache does keep what it may shows that it is at work.
            newer.credential("approve", "url=https://other.example", "username=u", "password=kept")
            kept = newer.credential("fill", "url=https://other.example")
            assert attributes(kept.stdout)["password"] == "kept"
            filled = newer.credential("fill", "url=https://lone.example")
            newer.credential("approve", *filled.stdout.splitlines())
            world.tokens["lone"] = "renewed"
            assert token(newer.credential("fill", "url=https://lone.example"), newer) == "renewed"
        finally:
            newer.run("credential-cache", f"--socket={place}/socket", "exit")
            assert not os.path.exists(f"{place}/socket")
