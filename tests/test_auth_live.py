"""PmcredAuth with all parts real, and HTTPie's plugin."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
import requests
from support.api_server import house
from support.api_user import read_block
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import SandboxProcess, sandbox_process

from pmcredd import get_token, wire
from pmcredd.auth.httpx import PmcredAuth as HttpxAuth
from pmcredd.auth.requests import PmcredAuth as RequestsAuth
from pmcredd.sandbox.instances import USERS

pytestmark = pytest.mark.storm

HTTPIE = [sys.executable, "-m", "httpie", "--ignore-stdin", "--check-status"]
NAMES = [user.username for user in USERS]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off", "--token-lifetime", "2h") as serving:
        yield serving


@pytest.fixture
def daemon(tmp_path: Path, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Run a daemon with profiles prod and sandbox3, and let this process find it."""
    user = user_at(tmp_path)
    write_profiles(user, sandbox.profiles_toml().replace("[profiles.sandbox]", "[profiles.prod]"))
    set_up(user.socket, monkeypatch)
    with running(user) as started:
        yield started


def set_up(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and HTTPie find the daemon and no proxy; HTTPie is not to look for news of itself."""
    quiet = socket.parents[2] / ".config" / "httpie" / "config.json"
    quiet.parent.mkdir(parents=True)
    quiet.write_text(json.dumps({"disable_update_warnings": True}))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PMCRED_SOCKET", str(socket))


def by_httpx(url: str, profile: str) -> list[str]:
    """Ask for the users by httpx."""
    return names(httpx.get(url, auth=HttpxAuth(profile)).raise_for_status().text)


def by_requests(url: str, profile: str) -> list[str]:
    """Ask for the users by requests."""
    answer = requests.get(url, auth=RequestsAuth(profile), timeout=60)
    answer.raise_for_status()
    return names(answer.text)


def by_trio(url: str, profile: str) -> list[str]:
    """Ask for the users by httpx under trio."""

    async def get() -> str:
        async with httpx.AsyncClient(auth=HttpxAuth(profile)) as client:
            return (await client.get(url)).raise_for_status().text

    return names(anyio.run(get, backend="trio"))


def by_httpie(url: str, profile: str) -> list[str]:
    """Ask for the users by HTTPie."""
    done = httpie("-A", "pmcred", "-a", profile, url)
    assert (done.returncode, done.stderr) == (0, "")
    return names(done.stdout)


def httpie(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the real HTTPie."""
    config = Path(os.environ["PMCRED_SOCKET"]).parents[2] / ".config" / "httpie"
    return subprocess.run(
        [*HTTPIE, *words],
        env=dict(os.environ) | {"HTTPIE_CONFIG_DIR": str(config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def names(text: str) -> list[str]:
    """Give the names of the users in an answer of either generation."""
    found = json.loads(text)
    return [user["username"] for user in found["data"]] if "data" in found else [user["usr_username"] for user in found]


@pytest.mark.parametrize("ask", [by_httpx, by_requests, by_trio, by_httpie])
def test_a_revoked_token_is_replaced_without_a_word(
    daemon: Daemon, sandbox: SandboxProcess, ask: Callable[[str, str], list[str]]
) -> None:
    """The server lets every token go, as an administrator does: the next request has its answer all the same."""
    url = f"{sandbox.url}/api/1.0/users"
    assert ask(url, "prod") == NAMES
    before = read_block(daemon.ask("get prod"))["access_token"]
    assert sandbox.revoke(all=True)
    assert ask(url, "prod") == NAMES
    assert read_block(daemon.ask("get prod"))["access_token"] != before
    assert "verb=reject" in daemon.ask("log prod").splitlines()


@pytest.mark.usefixtures("daemon")
def test_a_token_that_lives_survives_a_401_of_something_else(
    sandbox: SandboxProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """A front end that strips the header is no reason to renew: the daemon asks the server, and the log says so."""
    before = get_token("prod")

    def strip(request: httpx.Request) -> httpx.Response:
        return httpx.get(request.url, headers={"Accept": "application/json"})

    with httpx.Client(auth=HttpxAuth("prod"), transport=httpx.MockTransport(strip)) as client:
        assert client.get(f"{sandbox.url}/api/1.0/users").status_code == 401
    assert "401 for profile prod: " in caplog.text
    assert "Authorization header" in caplog.text
    assert get_token("prod") == before


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_loop_goes_on_while_the_daemon_takes_three_seconds(sandbox: SandboxProcess, backend: str) -> None:
    """The server lets the daemon wait for a token, and the other tasks of the program have their turns meanwhile."""
    get_token("prod")  # what the daemon asks for by itself is over
    sandbox.revoke(all=True)
    sandbox.fault("delay-answer=3s:1,generation=4")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async def main() -> None:
        async with httpx.AsyncClient(auth=HttpxAuth("prod")) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            assert (await client.get(f"{sandbox.url}/api/1.0/users")).status_code == 200
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert not sandbox.faults()
    assert ticks > 10


# HTTPie


@pytest.mark.usefixtures("daemon")
def test_httpie_offers_the_plugin_by_its_name(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found without any set-up, asks for no password, and knows $PMCRED_PROFILE."""
    assert "a ProcessMaker profile, by pmcredd" in httpie("--help").stdout
    monkeypatch.setenv("PMCRED_PROFILE", "prod")
    assert names(httpie("-A", "pmcred", f"{sandbox.url}/api/1.0/users").stdout) == NAMES


@pytest.mark.usefixtures("daemon")
def test_httpie_keeps_no_token_in_its_session(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Its file holds the profile's name, and serves for the next request."""
    url, session = f"{sandbox.url}/api/1.0/users", tmp_path / "session.json"
    assert httpie("-A", "pmcred", "-a", "prod", "--session", str(session), url).returncode == 0
    assert json.loads(session.read_text())["auth"]["raw_auth"] == "prod"
    assert get_token("prod").access_token not in session.read_text()
    assert names(httpie("--session", str(session), url).stdout) == NAMES


@pytest.mark.usefixtures("daemon")
def test_httpie_tells_an_error_and_its_mend(sandbox: SandboxProcess) -> None:
    """In one line, and nothing is sent elsewhere."""
    done = httpie("-A", "pmcred", "-a", "prod", sandbox.url.replace("127.0.0.1", "localhost"))
    assert done.returncode != 0
    assert "ForeignUrl: the token of profile prod goes to" in done.stderr
    assert "try: name the profile of that instance: pmcred profile list" in done.stderr
    assert "Traceback" not in done.stderr


def test_httpie_tells_the_mend_after_a_401_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the daemon says instead of another token: why, and what to do, each once."""
    socket = tmp_path / "run" / "pmcred" / "socket"
    set_up(socket, monkeypatch)
    with house(socket) as world:
        world.issuer.rejects = wire.format_error(wire.Code.WAITING, "its last tokens were refused", "pmcred mend prod")
        done = httpie("-A", "pmcred", "-a", "prod", world.api.url)
        assert world.asked() == ["get", "reject"]
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert told.endswith(" error: PmcredError: its last tokens were refused; try: pmcred mend prod")
