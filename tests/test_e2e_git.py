"""Real gits, the installed daemon and a ProcessMaker look-alike: clones from a server that wants the token."""

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, running, user_at, write_profiles
from support.git_server import GitServer, git_server
from support.gits import Git, attributes, program
from support.sandbox import SandboxProcess, sandbox_process
from support.user import User

pytestmark = pytest.mark.storm

BASIC_ONLY = ('Basic realm="pm"',)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def front(request: pytest.FixtureRequest, tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GitServer]:
    """Serve a repository in front of it, on one host with it."""
    with git_server(tmp_path / "served", sandbox.url, *getattr(request, "param", [])) as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess, front: GitServer) -> User:
    """Give a user with two profiles of that host, `sandbox` and `sandbox3`, and the first as git's helper."""
    found = user_at(tmp_path)
    write_profiles(found, sandbox.profiles_toml().replace(sandbox.url, front.url))
    assert found.run("credential", "install", "sandbox").returncode == 0
    return found


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """Run this user's daemon."""
    with running(user) as started:
        yield started


@pytest.fixture(params=["machine", "newer"])
def git(request: pytest.FixtureRequest, user: User) -> Git:
    """Each git."""
    return Git(program(request.param), user)


def held(user: User) -> str:
    """Give the token that the daemon holds."""
    done = user.run("get", "sandbox")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def clone(git: Git, front: GitServer, name: str = "clone", url: str = "") -> str:
    """Clone, and give what git said; it must have worked."""
    done = git.run("clone", "-q", url or front.clone_url, name)
    assert done.returncode == 0, done.stderr
    assert (git.user.home / name / "hello").read_text() == "hello\n"
    return done.stderr


def as_password(name: str, token: str) -> str:
    """Give the header that a user name and a password become."""
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


@pytest.mark.usefixtures("daemon")
def test_a_clone_is_let_in_with_the_daemons_token(git: Git, front: GitServer) -> None:
    """As a header where git knows how, else as a password; nobody is asked anything, and nothing is kept on disk."""
    assert clone(git, front) == ""
    token = held(git.user)
    assert front.seen[0] == ""  # git asks its helper only after a 401
    # curl asks without first where it does not know yet which scheme is taken.
    assert set(front.seen) - {""} == {f"Bearer {token}" if git.bearer else as_password("sandbox", token)}
    state = git.user.home / ".local" / "state"  # the daemon's own
    files = [path for path in git.user.home.rglob("*") if path.is_file() and state not in path.parents]
    assert [path for path in files if token.encode() in path.read_bytes()] == []


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("front", [[BASIC_ONLY]], indirect=True)
def test_a_server_that_knows_passwords_alone_gets_one(git: Git, front: GitServer) -> None:
    """A git that could send the header does not: the server has said what it takes."""
    clone(git, front)
    assert front.seen[-1] == as_password("sandbox", held(git.user))


@pytest.mark.usefixtures("daemon")
def test_a_user_name_in_the_url_chooses_the_profile(git: Git, front: GitServer) -> None:
    """The other profile of the host is one word away; its token is another."""
    done = git.credential("fill", f"url={front.url.replace('://', '://sandbox3@')}/git/x.git")
    assert done.returncode == 0, done.stderr
    found = attributes(done.stdout)
    given = found["credential"] if git.bearer else found["password"]
    assert given == git.user.run("get", "sandbox3").stdout.strip() != held(git.user)


@pytest.mark.usefixtures("daemon")
def test_a_revoked_token_costs_one_failure(git: Git, front: GitServer, sandbox: SandboxProcess) -> None:
    """Git reports it, the daemon asks the server, gets another one, and the next clone works."""
    old = held(git.user)
    assert sandbox.revoke(token=old) == 1
    failed = git.run("clone", "-q", front.clone_url, "failed")
    assert failed.returncode != 0
    clone(git, front)
    assert held(git.user) != old


@pytest.mark.usefixtures("daemon")
def test_a_server_that_takes_no_token_kills_none(git: Git, front: GitServer, sandbox: SandboxProcess) -> None:
    """The token lives: it is not replaced, and the person is told that the trouble lies elsewhere."""
    token = held(git.user)
    before = len(sandbox.log())
    front.deaf = True
    failed = git.run("clone", "-q", front.clone_url, "failed")
    assert failed.returncode != 0
    assert "pmcred: " in failed.stderr
    assert token not in failed.stderr
    front.deaf = False
    clone(git, front)
    assert held(git.user) == token
    assert len(sandbox.log()) == before


def test_without_a_daemon_git_fails_and_says_why(git: Git, front: GitServer) -> None:
    """No prompt, no hang; the command that mends it is on stderr."""
    done = git.run("clone", "-q", front.clone_url, "failed")
    assert done.returncode != 0
    assert "no daemon answers" in done.stderr
    assert "pmcred service install" in done.stderr


@pytest.mark.usefixtures("daemon")
def test_the_script_of_the_page_gets_in_and_reports_a_dead_token(
    git: Git, front: GitServer, sandbox: SandboxProcess
) -> None:
    """As docs/git.md has it: it works, fails after a revocation, and works."""
    page = (Path(__file__).parents[1] / "docs" / "git.md").read_text()
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    script = script.replace("https://acme.processmaker.net", front.url) + 'printf %s "$status"'
    statuses = []
    for _ in range(3):
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            env=git.environ,
            cwd=git.user.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        statuses.append(done.stdout)
        if len(statuses) == 1:
            assert sandbox.revoke(token=held(git.user)) == 1
    assert statuses == ["200", "401", "200"]
