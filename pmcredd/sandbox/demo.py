"""`pmcred demo`: the main job once, from a first token to a revoked one, told step by step while it is done."""

import http.client
import os
import shutil
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tomli_w
import trio

from pmcredd import client, wire
from pmcredd.oauth import is_b64token
from pmcredd.sandbox.greeting import READY
from pmcredd.sandbox.instances import PASSWORD, USERS
from pmcredd.sandbox.stage import DemoFailed, Stage, granted, play

_COMMANDS = ("pmcred", "pmcredd")
_SANDBOX = "pmcred sandbox --quiet --token-lifetime 10m"
_BEARER = "Authorization: Bearer "
_HTTP_SECONDS = 20.0
_WIDTH = 80


def run(emphasize: Callable[[str], str]) -> None:
    """Play the demo, telling it on stdout; `emphasize` makes a text stand out on a terminal.

    Raises:
        DemoFailed: a step did not do what it said.
        KeyboardInterrupt: Ctrl-C ended it.
        SystemExit: another signal did.
        OSError: stdout cannot be written.

    """
    scripts = _scripts()
    played: list[Path] = []

    async def story(stage: Stage) -> None:
        played.append(stage.directory)
        await _Story(stage, emphasize).tell()

    play(story, scripts)
    (directory,) = played
    _say(f"\nDone: every step did what it said. The look-alike and the daemon have ended, and\n{directory} is removed.")
    _say(f"\nNext, with your own ProcessMaker:\n  {emphasize(f'{_as_typed(scripts)} init')}")


@dataclass(frozen=True, slots=True)
class _Story:
    stage: Stage
    emphasize: Callable[[str], str]

    async def tell(self) -> None:
        _say(
            "What pmcred does, once through, with a ProcessMaker look-alike and a daemon of\n"
            "the demo's own. Their files are in a directory that is removed at the end:\n"
            f"{self.stage.directory}\n"
            "(PMCRED_CONFIG, PMCRED_SOCKET and PMCRED_STATE_DIR point into it). Your own\n"
            "profiles and your own daemon are left alone."
        )
        self._heading("1. A ProcessMaker look-alike, which only this machine can reach")
        url = await self._look_alike()
        self._heading("2. A profile says how to log in there; pmcredd does so when asked")
        await self._daemon(url)
        self._heading("3. A script asks for a token")
        token = await self._get()
        self._heading("4. It calls the API with it")
        await self._call(url, token, 200)
        self._words("It works: 200. (The demo sends what it shows as curl by itself.)")
        self._heading("5. The token is revoked on the server, long before its time")
        await self._revoke(url)
        await self._call(url, token, 401)
        self._words("It is the API call that notices: 401. ProcessMaker tells nobody, so the")
        self._words("script says so. pmcredd asks the server, and gets one new token for all:")
        renewed = await self._reject(token)
        await self._call(url, renewed, 200)
        self._words("It works again: 200. Whoever asks from now on gets the new token.")
        self._heading("6. How things stand")
        await self._status()

    async def _look_alike(self) -> str:
        self._command(f"{_SANDBOX} &")
        said = await self.stage.start(_SANDBOX, log="sandbox.log", ready=_names_itself)
        self._output(said)
        return said.removeprefix(READY).strip()

    async def _daemon(self, url: str) -> None:
        profile = {
            "url": url,
            "grant": "password",
            "client_id": PASSWORD.id,
            "client_secret": PASSWORD.secret,
            "username": USERS[0].username,
            "password": USERS[0].password,
        }
        text = tomli_w.dumps({"profiles": {"demo": profile}})
        with granted(f"write {self.stage.profiles}"):
            self.stage.profiles.touch(0o600)
            self.stage.profiles.write_text(text)
        self._words("profiles.toml (its secrets are made up):\n")
        self._output("".join(f"  {line}\n" for line in text.splitlines()))
        _say()
        self._command("pmcredd &")
        await self.stage.start("pmcredd", log="pmcredd.log", ready=lambda _: self._daemon_answers())

    def _daemon_answers(self) -> bool:
        try:
            client.call(wire.Request("hello", None, {}), timeout=_HTTP_SECONDS, socket_path=self.stage.socket)
        except client.PmcredError:
            return False
        return True

    async def _get(self) -> str:
        self._command("pmcred get demo")
        token = (await self.stage.run("pmcred get demo")).out.removesuffix("\n")
        _expect(is_b64token(token), "`pmcred get demo` did not print a token")
        self._output(f"{token[:16]}...{token[-16:]}")
        self._words(f"(Shortened for the eye: it is {len(token)} characters long.)")
        return token

    async def _call(self, url: str, token: str, status: int) -> None:
        """Show a call of the API that is to end with `status`, carrying `token`."""
        self._command(f"curl -H @<(pmcred header demo) {url}/api/1.0/users")
        header = (await self.stage.run("pmcred header demo")).out.removesuffix("\n")
        _expect(header == f"{_BEARER}{token}", "`pmcred header demo` did not print the token that is kept")
        got, body = await _ask(f"{url}/api/1.0/users", {"Authorization": header.removeprefix("Authorization: ")})
        self._output(body)
        _expect(got == status, f"the API answered {got}, not {status}")

    async def _revoke(self, url: str) -> None:
        order = '{"all": true}'
        self._command(f"curl --json '{order}' {url}/_sandbox/revoke")
        status, body = await _ask(f"{url}/_sandbox/revoke", {"Content-Type": "application/json"}, order)
        self._output(body)
        _expect(status == 200 and body.replace(" ", "") == '{"revoked":1}', "the look-alike has not revoked the token")

    async def _reject(self, old: str) -> str:
        self._command('pmcred reject demo --get <<<"$token"')
        new = (await self.stage.run("pmcred reject demo --get", old)).out.removesuffix("\n")
        _expect(is_b64token(new) and new != old, "`pmcred reject demo --get` brought no new token")
        self._output(f"{new[:16]}...{new[-16:]}")
        return new

    async def _status(self) -> None:
        self._command("pmcred status")
        told = (await self.stage.run("pmcred status")).out
        self._output(told)
        live = any(line.split()[:2] == ["demo", "live"] for line in told.splitlines())
        _expect(live, "`pmcred status` does not show the profile as live")

    def _heading(self, text: str) -> None:
        _say(f"\n{self.emphasize(text)}")

    def _words(self, text: str) -> None:
        _say(f" {text}")

    def _command(self, line: str) -> None:
        _say(f" $ {self.emphasize(line)}")

    def _output(self, text: str) -> None:
        for line in text.splitlines():
            _say(f" {line if len(line) < _WIDTH else f'{line[: _WIDTH - 5]} ...'}")


def _names_itself(said: str) -> bool:
    return said.startswith(READY) and said.endswith("\n")


def _say(text: str = "") -> None:
    print(text, flush=True)  # at once: nobody is to wait for a step that is done, and a reader who left is noticed


def _expect(kept: bool, complaint: str) -> None:  # noqa: FBT001 - a condition, as of an assertion
    if not kept:
        raise DemoFailed(complaint)


async def _ask(url: str, headers: Mapping[str, str], body: str | None = None) -> tuple[int, str]:
    """Send a request as curl would, in a thread; gives status and body."""
    return await trio.to_thread.run_sync(_send, url, headers, body, abandon_on_cancel=True)


def _send(url: str, headers: Mapping[str, str], body: str | None) -> tuple[int, str]:
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, {"Accept": "*/*", **headers})  # noqa: S310 - the look-alike's
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know our loopback
    with granted(f"reach {url}"):
        try:
            with opener.open(request, timeout=_HTTP_SECONDS) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(f"the answer is not HTTP: {error}") from error


def _scripts() -> Path:
    """Find the directory of the commands, without $PATH: beside the one that runs, or where this Python puts them."""
    running = Path(os.path.realpath(sys.argv[0])).parent
    for directory in (running, Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if all(os.access(directory / command, os.X_OK) for command in _COMMANDS):
            return directory
    raise DemoFailed(f"the commands {' and '.join(_COMMANDS)} are not in {running}", "install pmcredd again")


def _as_typed(scripts: Path) -> str:
    """Give the way to write `pmcred` in the caller's shell: its bare name, if that leads to this installation."""
    ours, found = scripts / "pmcred", shutil.which("pmcred")
    if found and os.path.realpath(found) == os.path.realpath(ours):
        return "pmcred"
    with suppress(OSError, ValueError):  # the working directory is gone, or elsewhere
        return str(ours.relative_to(Path.cwd()))
    return str(ours)
