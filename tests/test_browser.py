"""Logins in a real browser: Chromium at the sandbox's pages, the installed commands, a real daemon."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser, chromium, needs_chromium
from support.daemon import Daemon, running, user_at, write_profiles
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED

from pmcredd.sandbox.greeting import login_toml
from pmcredd.sandbox.instances import CODE, MIXED, Sandbox
from pmcredd.sandbox.settings import Settings

pytestmark = [needs_chromium, pytest.mark.storm]

NAME = "sandbox-login"
OUT_OF_REACH = "http://127.0.0.1:6697/callback"  # as on another machine: Chromium opens nothing on a port of IRC's


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    """Start one browser for all: it takes longer than a login."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    """Give it without a session of an earlier test."""
    one_browser.forget()
    return one_browser


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Run one sandbox for all."""
    with sandbox_process("--throttle", "off") as running_sandbox:
        yield running_sandbox


def profile(name: str, sandbox: SandboxProcess, client: str, secret: str, more: str = "") -> str:
    """Write a profile of the sandbox."""
    return (
        f'[profiles.{name}]\nurl = "{sandbox.url}"\ngrant = "authorization_code"\n'
        f'client_id = "{client}"\nclient_secret = "{secret}"\n{more}\n'
    )


@pytest.fixture
def daemon(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Daemon]:
    """Run a daemon for profiles that are well, and for those that fell into a trap."""
    sandbox.revoke(all=True)  # a living token of an earlier test would let the next one in without a question
    sandbox.change(clock_offset=None)
    user = user_at(tmp_path)
    text = login_toml(sandbox.url, Sandbox(Settings()))
    text += profile("mixed", sandbox, MIXED.id, MIXED.secret)
    text += profile("far", sandbox, CODE.id, CODE.secret, f'redirect_uri = "{OUT_OF_REACH}"')
    text += profile("elsewhere", sandbox, CODE.id, CODE.secret, 'redirect_uri = "http://127.0.0.1/elsewhere"')
    write_profiles(user, text)
    with running(user) as found:
        yield found


def login(daemon: Daemon, *arguments: str) -> PseudoTerminal:
    """Begin a login at a terminal without a browser of its own."""
    return PseudoTerminal([PMCRED, "login", "--no-browser", *arguments], daemon.user.environ)


def url_shown(terminal: PseudoTerminal) -> str:
    """Give the URL that stands on the screen, once somebody listens."""
    terminal.expect("Waiting for the login:")
    (url,) = (line for line in terminal.screen.splitlines() if line.startswith("http://"))
    return url


def callback(url: str) -> str:
    """Give the place at which the login of this URL is to end."""
    found = re.search(r"redirect_uri=http%3A%2F%2F127\.0\.0\.1%3A([0-9]+)%2F(\w+)", url)
    assert found is not None
    return f"http://127.0.0.1:{found[1]}/{found[2]}"


def allow(browser: Browser, url: str, username: str = "demo") -> None:
    """Log in at the server, and allow the access."""
    browser.open(url)
    browser.log_in(username)
    browser.press("authorize")


def test_who_approves_is_signed_in(browser: Browser, daemon: Daemon) -> None:
    """The page tells who is signed in to what, and the browser finds nothing to complain about."""
    with login(daemon, NAME) as terminal:
        url = url_shown(terminal)
        allow(browser, url)
        browser.wait_for("You are signed in")
        assert browser.text() == f"You are signed in Profile {NAME} is signed in as demo. You can close this page."
        assert browser.driver.title == "You are signed in - pmcred"
        assert browser.address().startswith(f"{callback(url)}?code=")
        assert browser.complaints() == []
        terminal.expect("You are logged in to sandbox-login as demo (user 1)")
        assert terminal.end() == 0
    assert daemon.user.run("get", NAME).stdout.startswith("eyJ")


def test_who_comes_again_is_signed_in_without_a_question(browser: Browser, daemon: Daemon) -> None:
    """ProcessMaker skips the approval while a token lives, and the browser passes straight through."""
    for question in (True, False):
        with login(daemon, NAME) as terminal:
            url = url_shown(terminal)
            if question:
                allow(browser, url)
            else:
                browser.open(url)
            browser.wait_for(f"Profile {NAME} is signed in as demo")
            assert terminal.end() == 0


def test_who_denies_is_told_how_to_come_back(browser: Browser, daemon: Daemon) -> None:
    """In the browser and in the terminal, and nothing is saved."""
    with login(daemon, NAME) as terminal:
        browser.open(url_shown(terminal))
        browser.log_in("demo")
        browser.press("cancel")
        browser.wait_for("Access was denied")
        assert f"pmcred login {NAME}" in browser.text()
        terminal.expect("was not allowed")
        assert terminal.end() == 4
    assert daemon.user.run("get", NAME).returncode == 4


def test_the_address_of_a_finished_login_is_worth_nothing(browser: Browser, daemon: Daemon) -> None:
    """Who opens it again, from the history, meets nobody, and the token lives on."""
    with login(daemon, NAME) as terminal:
        allow(browser, url_shown(terminal))
        browser.wait_for("You are signed in")
        assert terminal.end() == 0
    token = daemon.user.run("get", NAME).stdout
    browser.open(browser.address())
    browser.wait_for("ERR_CONNECTION_REFUSED")
    assert daemon.user.run("get", NAME).stdout == token


def test_who_comes_late_meets_nobody(browser: Browser, daemon: Daemon) -> None:
    """The login's time is over, the terminal has said so, and what the browser brings is for nobody."""
    with login(daemon, NAME, "--timeout", "1") as terminal:
        url = url_shown(terminal)
        terminal.expect("nobody has logged in")
        assert terminal.end() == 4
    allow(browser, url)
    browser.wait_for("ERR_CONNECTION_REFUSED")
    assert browser.address().startswith(callback(url))
    assert daemon.user.run("get", NAME).returncode == 4


@pytest.mark.usefixtures("fixed_ports")
def test_a_login_of_before_does_not_finish_another_one(browser: Browser, daemon: Daemon) -> None:
    """The page of an earlier login, finished in an old tab, is told that it is the wrong one."""
    with login(daemon, "sandbox3-login") as first:
        old = url_shown(first)
        first.type("\x03", enter=False)
        assert first.end() == 130
    with login(daemon, "sandbox3-login") as terminal:
        url = url_shown(terminal)
        assert callback(url) == callback(old)  # ProcessMaker 3 knows one place only
        browser.open(old)
        browser.log_in("demo")
        browser.press("allow")
        browser.wait_for("belongs to another login")
        assert "400" in " ".join(browser.complaints())
        browser.open(url)
        browser.press("allow")
        browser.wait_for("You are signed in")
        assert terminal.end() == 0


@pytest.mark.usefixtures("fixed_ports")
def test_the_address_bar_is_pasted_where_the_browser_is_elsewhere(browser: Browser, daemon: Daemon) -> None:
    """The browser cannot open the last address, as on another machine, and still shows it to be copied."""
    with login(daemon, "far") as terminal:
        url = url_shown(terminal)
        browser.open(url)
        terminal.type(browser.address())  # too early: it is still the server's
        terminal.expect("the browser is still at 127.0.0.1")
        browser.log_in("demo")
        browser.press("authorize")
        browser.wait(lambda: browser.address().startswith(OUT_OF_REACH))
        terminal.type(browser.address())
        terminal.expect("You are logged in to far as demo")
        assert terminal.end() == 0


@pytest.mark.usefixtures("fixed_ports")
def test_a_code_that_was_pasted_too_late_says_so(browser: Browser, daemon: Daemon, sandbox: SandboxProcess) -> None:
    """A code lives ten minutes; the way on is another login."""
    with login(daemon, "far") as terminal:
        url = url_shown(terminal)
        allow(browser, url)
        browser.wait(lambda: browser.address().startswith(OUT_OF_REACH))
        sandbox.change(clock_offset="11m")
        terminal.type(browser.address())
        terminal.expect("Authorization code has expired")
        terminal.expect("a code lives ten minutes at most, so finish the login at once: pmcred login far")
        assert terminal.end() == 4


def test_a_redirect_uri_that_is_not_registered_opens_no_page(daemon: Daemon) -> None:
    """The server would keep the browser with a bare error; the terminal tells what to register, to the letter."""
    with login(daemon, "elsewhere") as terminal:
        terminal.expect("or not this redirect URI")
        terminal.expect("in Admin > Auth Clients the redirect URL of the client 3 must be exactly http://127.0.0.1/els")
        assert terminal.end() == 6


def test_a_client_that_mixes_grants_is_told_after_the_approval(browser: Browser, daemon: Daemon) -> None:
    """The browser's part goes well, and only then ProcessMaker refuses: both ends name the trap."""
    trap = "the client needs the Authorization Code box ticked and no other"
    with login(daemon, "mixed") as terminal:
        allow(browser, url_shown(terminal))
        browser.wait_for("The login failed")
        assert trap in browser.text()
        terminal.expect("(401 invalid_client)")
        terminal.expect(trap)
        assert terminal.end() == 4


def test_another_users_session_is_asked_about_in_the_terminal(browser: Browser, daemon: Daemon) -> None:
    """The browser says where to look; a no keeps what was there."""
    with login(daemon, NAME) as terminal:
        allow(browser, url_shown(terminal))
        assert terminal.end() == 0
    token = daemon.user.run("get", NAME).stdout
    browser.forget()
    with login(daemon, NAME) as terminal:
        allow(browser, url_shown(terminal), "other")
        browser.wait_for("One question is left")
        assert "The browser has logged in other" in browser.text()
        terminal.answer("Shall sandbox-login be other (user 2) from now on? [y/N] ", "n")
        assert terminal.end() == 4
    assert daemon.user.run("get", NAME).stdout == token


def test_a_page_whose_name_leads_here_is_not_answered(browser: Browser, daemon: Daemon) -> None:
    """DNS rebinding: the right port, the right path, another host."""
    with login(daemon, NAME) as terminal:
        url = url_shown(terminal)
        browser.open(callback(url).replace("127.0.0.1", "rebound.example") + "?code=x&state=y")
        browser.wait_for("Misdirected Request")
        allow(browser, url)
        browser.wait_for("You are signed in")
        assert terminal.end() == 0


def names(node: dict[str, object]) -> tuple[str, str]:
    """Give role and name of a node of the accessibility tree."""
    role, name = node.get("role"), node.get("name")
    assert isinstance(role, dict)
    return str(role["value"]), str(name["value"]) if isinstance(name, dict) else ""


@pytest.fixture(scope="module")
def both_pages(
    one_browser: Browser, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Keep the two pages as the browser got them: one of success, one of failure."""
    folder = tmp_path_factory.mktemp("pages")
    user = user_at(folder)
    write_profiles(
        user, login_toml(sandbox.url, Sandbox(Settings())) + profile("mixed", sandbox, MIXED.id, MIXED.secret)
    )
    sandbox.revoke(all=True)
    sandbox.change(clock_offset=None)
    kept: dict[str, Path] = {}
    with running(user) as daemon:
        for name, text in ((NAME, "You are signed in"), ("mixed", "The login failed")):
            one_browser.forget()
            with login(daemon, name) as terminal:
                allow(one_browser, url_shown(terminal))
                one_browser.wait_for(text)
                terminal.end()
            kept[text] = folder / f"{name}.html"
            kept[text].write_text(f"<!doctype html>{one_browser.run('return document.documentElement.outerHTML')}")
    return kept


@pytest.mark.parametrize("page", ["You are signed in", "The login failed"])
@pytest.mark.parametrize("width", [320, 1400])
def test_a_page_fits_its_window_in_light_and_dark(
    page: str, width: int, browser: Browser, both_pages: dict[str, Path]
) -> None:
    """Nothing sticks out of a telephone's screen, and the scheme is the user's."""
    browser.open(both_pages[page].as_uri())
    pictures, papers = [], []
    for dark in (False, True):
        pictures.append(browser.look(dark=dark, width=width))
        papers.append(browser.style("main", "backgroundColor"))
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.style("main", "overflowWrap") == "anywhere"  # the policy has let the style through
    assert pictures[0] != pictures[1]
    assert papers == ["rgb(255, 255, 255)", "rgb(26, 30, 35)"]


@pytest.mark.parametrize("page", ["You are signed in", "The login failed"])
def test_a_page_is_told_to_a_screen_reader(page: str, browser: Browser, both_pages: dict[str, Path]) -> None:
    """The browser's own accessibility tree: one heading, one main part, and no drawing."""
    browser.open(both_pages[page].as_uri())
    browser.tell("Accessibility.enable")
    told = [names(each) for each in browser.tell("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    assert ("RootWebArea", f"{page} - pmcred") in told
    assert next(name for role, name in told if role == "heading") == page
    assert [role for role, _ in told].count("main") == 1
    assert not {"image", "img", "SvgRoot"} & {role for role, _ in told}
