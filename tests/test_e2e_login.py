"""Login, logout and who it is, at a real terminal: the installed commands, a real daemon, the sandbox."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.api_user import use
from support.daemon import Daemon, running, user_at, write_profiles
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User
from support.visitor import address_of

from pmcredd.sandbox.greeting import login_toml
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.settings import Settings

pytestmark = pytest.mark.storm

NAME = "sandbox-login"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Run one sandbox for all."""
    with sandbox_process("--throttle", "off") as running_sandbox:
        yield running_sandbox


@pytest.fixture
def daemon(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Daemon]:
    """Run a daemon with the sandbox's profiles that log in in the browser, and those that need none."""
    sandbox.revoke(all=True)  # a living token of an earlier test would let the next one in without a question
    user = user_at(tmp_path)
    text = login_toml(sandbox.url, Sandbox(Settings())) + sandbox.profiles_toml().replace("[profiles]\n", "")
    write_profiles(user, text)
    with running(user) as found:
        yield found


def browser(person: str) -> str:
    """Give a $BROWSER in which this person logs in; it runs beside the command."""
    visit = Path(__file__).parent / "support" / "visit.py"
    return f"{shlex.join([sys.executable, str(visit), person])} %s &"


def login(user: User, *arguments: str, **environ: str) -> PseudoTerminal:
    """Log in at a terminal."""
    return PseudoTerminal([PMCRED, "login", *arguments], user.environ | environ)


def url_shown(terminal: PseudoTerminal) -> str:
    """Give the URL that stands on the screen."""
    terminal.expect("Waiting for the login:")
    (url,) = (line for line in terminal.screen.splitlines() if line.startswith("http://"))
    return url


def states(user: User) -> dict[str, dict[str, object]]:
    """Give what `status --json` tells, by profile."""
    told = json.loads(user.run("status", "--json").stdout)
    return {each["profile"]: each for each in told["profiles"]}


def test_login_opens_the_browser_and_says_who_is_logged_in_until_when(daemon: Daemon) -> None:
    """One command; the URL is shown as well, and so is the time that is left."""
    with login(daemon.user, NAME, BROWSER=browser("demo")) as terminal:
        terminal.expect("Your browser opens this page to log in to sandbox-login:")
        terminal.expect(" left. Ctrl-C cancels.")
        terminal.expect("You are logged in to sandbox-login as demo (user 1), until 20")
        assert terminal.end() == 0
    assert daemon.user.run("get", NAME).stdout.startswith("eyJ")
    status = states(daemon.user)[NAME]
    assert (status["user"], status["user_name"], status["state"]) == ("1", "demo", "live")
    assert "demo (user 1)" in daemon.user.run("profile", "list").stdout


def test_without_a_display_the_address_is_pasted(daemon: Daemon) -> None:
    """Noticed by itself: the URL goes to any browser, and what it ends on comes back by hand, mistakes included."""
    with login(daemon.user, NAME) as terminal:
        terminal.expect("copy the whole address, paste it here")
        address = address_of(url_shown(terminal))
        terminal.type("http://127.0.0.1/callback?code=half")
        terminal.expect("That was not it:")
        terminal.type(f"  {address} ")
        terminal.expect("You are logged in to sandbox-login as demo")
        assert terminal.end() == 0


def test_a_pipe_can_paste_too(daemon: Daemon) -> None:
    """No terminal, no browser: a script hands in the address on standard input."""
    with login(daemon.user, NAME, "--no-browser", BROWSER="false") as terminal:
        address = address_of(url_shown(terminal))
        terminal.type(address)
        assert terminal.end() == 0


def test_ctrl_c_cancels_and_changes_nothing(daemon: Daemon) -> None:
    """The listener is gone with it, and so is its port."""
    with login(daemon.user, NAME) as terminal:
        url = url_shown(terminal)
        terminal.type("\x03", enter=False)
        terminal.expect("Cancelled")
        assert terminal.end() == 130
    assert daemon.user.run("get", NAME).returncode == 4
    again = daemon.user.run("login", NAME, "--no-browser", "--timeout", "0.1")
    assert again.returncode == 4
    assert url not in again.stderr


def test_who_denies_is_told_in_the_terminal(daemon: Daemon) -> None:
    """And `get` goes on saying what to do."""
    with login(daemon.user, NAME, BROWSER=browser("no-demo")) as terminal:
        terminal.expect("nothing was saved")
        assert terminal.end() == 4
    failed = daemon.user.run("get", NAME)
    assert failed.returncode == 4
    assert f"try: pmcred login {NAME}" in failed.stderr


def test_another_user_than_last_time_is_asked_about(daemon: Daemon) -> None:
    """ProcessMaker asks nobody: the browser's session decides who one becomes. No keeps what was there."""
    assert login_ends(daemon.user, "demo") == 0
    first = daemon.user.run("get", NAME).stdout
    for answer, status in (("n", 4), ("y", 0)):
        with login(daemon.user, NAME, BROWSER=browser("other")) as terminal:
            terminal.expect("The browser has logged in other (user 2). Last time it was demo (user 1).")
            terminal.answer("Shall sandbox-login be other (user 2) from now on? [y/N] ", answer)
            assert terminal.end() == status
        assert (daemon.user.run("get", NAME).stdout == first) is (answer == "n")
    assert states(daemon.user)[NAME]["user_name"] == "other"


def test_a_script_says_beforehand_that_it_may_be_another_user(daemon: Daemon) -> None:
    """Without a terminal nobody can be asked: it is refused, naming the flag that allows it."""
    assert login_ends(daemon.user, "demo") == 0
    refused = daemon.user.run("login", NAME, BROWSER=browser("other"))
    assert refused.returncode == 4
    assert "--as-new-user" in refused.stderr
    assert states(daemon.user)[NAME]["user_name"] == "demo"
    assert daemon.user.run("login", NAME, "--as-new-user", BROWSER=browser("other")).returncode == 0
    assert states(daemon.user)[NAME]["user_name"] == "other"


def login_ends(user: User, person: str) -> int:
    """Log in without a terminal; gives the exit status."""
    return user.run("login", NAME, BROWSER=browser(person)).returncode


@pytest.mark.usefixtures("fixed_ports")
def test_processmaker_3_logs_in_at_its_fixed_address(daemon: Daemon) -> None:
    """Its tokens tell no user, so none is named."""
    done = daemon.user.run("login", "sandbox3-login", BROWSER=browser("demo"))
    assert done.returncode == 0, done.stderr
    assert "sandbox3-login has a token, until 20" in done.stderr


def test_logout_says_what_became_of_the_token(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """Forgotten here, revoked there, and nothing is renewed until the next login, also by a new daemon."""
    assert login_ends(daemon.user, "demo") == 0
    done = daemon.user.run("logout", NAME)
    assert done.returncode == 0
    assert "revoked" in done.stderr
    assert "refresh token" in done.stderr  # it outlives the logout on ProcessMaker 4
    assert daemon.user.run("reload").returncode == 0
    assert states(daemon.user)[NAME]["state"] == "logged-out"
    assert daemon.end() == 0
    with running(daemon.user):
        failed = daemon.user.run("get", NAME)
        assert failed.returncode == 4
        assert "logged out" in failed.stderr
        assert login_ends(daemon.user, "demo") == 0
        assert daemon.user.run("get", NAME).returncode == 0


def test_all_profiles_can_be_logged_out_at_once(daemon: Daemon) -> None:
    """Each says what became of it; then no token is left."""
    assert login_ends(daemon.user, "demo") == 0
    done = daemon.user.run("logout", "--all")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) >= 4
    assert {each["state"] for each in states(daemon.user).values()} == {"logged-out"}
    assert daemon.user.run("login", "sandbox").returncode == 0
    assert daemon.user.run("get", "sandbox").returncode == 0


def test_a_profile_that_is_removed_is_forgotten_at_once(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """Nothing of it stays in the state file."""
    user = daemon.user
    secret = user.home / "secret"
    secret.write_text("demo-password")
    secret.chmod(0o600)
    client = user.home / "client"
    client.write_text(sandbox.profiles_toml().partition('client_secret = "')[2].partition('"')[0])
    client.chmod(0o600)
    more = ("--url", sandbox.url, "--grant", "password", "--client-id", "2", "--username", "demo")
    files = ("--client-secret-file", str(client), "--password-file", str(secret))
    assert user.run("profile", "add", "gone", *more, *files).returncode == 0
    token = user.run("get", "gone").stdout.strip()
    assert token
    done = user.run("profile", "remove", "gone", "--yes")
    assert done.returncode == 0, done.stderr
    assert daemon.end() == 0
    state = user.home / ".local/state/pmcred"
    assert all(token.encode() not in path.read_bytes() for path in state.iterdir() if path.is_file())
    assert use(f"{sandbox.url}/api/1.0/users/1", token) == 401
