"""The sandbox as people run it: options, first line, greeting, signals, and a clear word when it cannot start."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.sandbox import sandbox_process

from pmcredd.profile_reader import read_config
from pmcredd.profiles import SourceFile
from pmcredd.sandbox import command
from pmcredd.sandbox.faults import Fault
from pmcredd.sandbox.greeting import READY, greeting, login_toml, profiles_toml, ready_line
from pmcredd.sandbox.instances import CODE, FIXED_CALLBACK, PASSWORD, PM3_CLIENT, Sandbox
from pmcredd.sandbox.settings import Settings

COMMAND = [sys.executable, "-P", "-m", "pmcredd.sandbox"]
LOGIN = {
    "grant_type": "password",
    "client_id": "2",
    "client_secret": PASSWORD.secret,
    "username": "demo",
    "password": "demo-password",
}


def parse(*argv: str) -> Settings:
    """Read options into settings."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.settings_of(parser.parse_args(argv))


@contextmanager
def started() -> Iterator[subprocess.Popen[str]]:
    """Start a sandbox with pipes; a failing test does not leave it running."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def login(url: str) -> int:
    """Ask for a token; gives the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/oauth/token", urllib.parse.urlencode(LOGIN).encode(), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class TestOptions:
    def test_the_defaults_are_the_settings_defaults(self) -> None:
        """Without options it behaves as a real server does."""
        assert parse() == Settings()

    def test_everything_can_be_chosen(self) -> None:
        """Each option reaches its setting."""
        chosen = parse(
            *("--pm4-version", "4.1", "--passport-13", "--workspace", "sales", "--throttle", "off"),
            *("--token-lifetime", "30s", "--refresh-lifetime", "8h", "--personal-lifetime", "2d"),
        )
        assert chosen == Settings(
            version="4.1",
            passport_13=True,
            workspace="sales",
            throttle=None,
            token_lifetime=30.0,
            refresh_lifetime=28800.0,
            personal_lifetime=172800.0,
        )
        assert parse("--throttle", "5").throttle == 5
        assert (parse("--clock-offset", "10m").clock_offset, parse("--clock-offset=-2m").clock_offset) == (600, -120)
        faults = parse("--fault", "lose-answer:3", "--fault", "503@10%").faults
        assert faults == (Fault("lose-answer", count=3), Fault("503", percent=10.0))

    @pytest.mark.parametrize(
        ("option", "value", "told"),
        [
            ("--port", "70000", "a port is a number from 0 to 65535"),
            ("--port", "http", "a port is a number from 0 to 65535"),
            ("--workspace", "a/b", "a workspace is letters and digits"),
            ("--workspace", "users", "a workspace is letters and digits"),
            ("--token-lifetime", "soon", "not a length of time"),
            ("--token-lifetime", "0s", "a lifetime is longer than nothing"),
            ("--throttle", "0", "a number of requests a minute, or off"),
            ("--throttle", "many", "a number of requests a minute, or off"),
            ("--clock-offset", "soon", "not a length of time"),
            ("--clock-offset", "9999d", "a clock is off by ten years at most"),
            ("--fault", "explode", "no such fault: explode: there are lose-request, lose-answer"),
        ],
    )
    def test_nonsense_is_a_usage_error(
        self, option: str, value: str, told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Exit status 2, and a line that says what is wrong with which option."""
        with pytest.raises(SystemExit) as ended:
            parse(option, value)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert told in error
        assert option in error


class TestGreeting:
    def test_the_profiles_are_toml_for_both_generations(self) -> None:
        """What is printed can be pasted."""
        url = "http://127.0.0.1:4711"
        profiles = tomllib.loads(profiles_toml(url, Sandbox(Settings(workspace="sales"))))["profiles"]
        four, three = profiles["sandbox"], profiles["sandbox3"]
        assert {profile["url"] for profile in (four, three)} == {url}
        assert (four["client_id"], four["client_secret"], four["grant"]) == ("2", PASSWORD.secret, "password")
        assert (three["generation"], three["workspace"]) == (3, "sales")

    @pytest.mark.parametrize("version", ["4.1", "4.15"])
    def test_the_daemon_takes_the_profiles_as_they_are(self, version: str) -> None:
        """Not one mistake or warning in them."""
        sandbox = Sandbox(Settings(version=version))
        text = profiles_toml("http://127.0.0.1:4711", sandbox) + login_toml("http://127.0.0.1:4711", sandbox)
        config = read_config([SourceFile("/p/profiles.d/sandbox.toml", text, 0o600, ours=True)], home="/h")
        assert set(config.profiles) == {"sandbox", "sandbox3", "sandbox-login", "sandbox3-login"}
        assert not config.warnings

    @pytest.mark.parametrize(("version", "port"), [("4.1", "fixed"), ("4.15", "any")])
    def test_the_profiles_that_log_in_have_a_redirect_uri_that_is_registered(self, version: str, port: str) -> None:
        """Where the port counts, it is fixed: it does at ProcessMaker 3, and at 4 before 4.3."""
        sandbox = Sandbox(Settings(version=version))
        profiles = tomllib.loads(login_toml("http://127.0.0.1:4711", sandbox))["profiles"]
        fixed = FIXED_CALLBACK if port == "fixed" else None
        assert profiles["sandbox-login"].get("redirect_uri") == fixed
        assert profiles["sandbox3-login"]["redirect_uri"] == FIXED_CALLBACK
        assert fixed is None or fixed in sandbox.pm4.clients[CODE.id].redirect.split(",")
        assert FIXED_CALLBACK in PM3_CLIENT.redirect.split(" ")

    def test_it_tells_all_there_is(self) -> None:
        """Users, clients, endpoints, the switch and the profiles."""
        url = "http://127.0.0.1:4711"
        text = greeting(url, Sandbox(Settings()))
        pages = (f"{url}/oauth/authorize", f"{url}/logout", f"{url}/workflow/oauth2/authorize")
        people = ("demo / demo-password", "other / other-password")
        clients = (PASSWORD.secret, CODE.secret, "redirect URI http://127.0.0.1/callback", "[profiles.sandbox-login]")
        for part in (*people, *clients, *pages, f"{url}/_sandbox/revoke"):
            assert part in text
        assert profiles_toml(url, Sandbox(Settings())) in text


class TestProcess:
    def test_faults_and_clock_from_the_command_line(self) -> None:
        """They hold from the first request on; requests turn them while it runs."""
        with sandbox_process("--fault", "503:1", "--clock-offset=-10m") as sandbox:
            assert [login(sandbox.url) for _ in range(2)] == [503, 200]
            sandbox.fault("500:1", "429=5s,username=other")
            assert [login(sandbox.url) for _ in range(2)] == [500, 200]
            assert sandbox.faults() == ["429=5s,username=other"]
            sandbox.clear_faults()
            assert sandbox.faults() == []
            assert [row["fault"] for row in sandbox.log()] == ["503", "", "500", ""]
            assert [row["seq"] for row in sandbox.log(after=2)] == [3, 4]
            now = sandbox.change(clock_offset=None)["now"]
            assert isinstance(now, float)
            assert now > min(float(str(row["time"])) for row in sandbox.log())

    def test_it_serves_until_it_is_told_to_end(self) -> None:
        """The first line has the URL; options, switch and log work from outside; SIGTERM ends it with 0."""
        with sandbox_process("--throttle", "2") as sandbox:
            assert [login(sandbox.url) for _ in range(3)] == [200, 200, 429]
            assert sandbox.revoke(all=True) == 2
            assert [row["status"] for row in sandbox.log()] == [200, 200, 429]
            assert sandbox.url in sandbox.profiles_toml()
        assert sandbox.process.returncode == 0

    def test_ctrl_c_ends_it_cleanly_and_stderr_has_the_requests(self) -> None:
        """A greeting on stdout, one line a request on stderr, no traceback, no secret, no small talk of the server."""
        with started() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().removeprefix(READY).strip()
            assert login(url) == 200
            process.send_signal(signal.SIGINT)
            # Not communicate(): it reads the pipe, past what the line above left in the buffer.
            out, err = process.stdout.read(), process.stderr.read()
            process.wait(60)
        assert process.returncode == 0
        assert "[profiles.sandbox]" in out
        (line,) = err.splitlines()
        assert " PM4 password client=2 200 access=" in line
        assert PASSWORD.secret not in err

    def test_it_survives_a_reader_that_leaves(self) -> None:
        """Closing both pipes after the first line must not end it."""
        with started() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().removeprefix(READY).strip()
            process.stdout.close()
            process.stderr.close()
            assert [login(url) for _ in range(3)] == [200, 200, 200]
            process.terminate()
            assert process.wait(60) == 0

    def test_a_taken_port(self) -> None:
        """It says so and how to go on, without a traceback."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            ended = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"pmcred: cannot listen on 127.0.0.1:{port}: Address already in use\n  try: ")
        assert ended.stdout == ""

    def test_a_release_that_never_was(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A usage error that shows how a release is written."""
        assert command.main(["--pm4-version", "5"]) == 2
        told = capsys.readouterr().err
        assert told == "pmcred: not a release of ProcessMaker 4: 5\n  try: --pm4-version 4.15\n"

    def test_without_the_extra_it_says_what_to_install(self, tmp_path: Path) -> None:
        """One friendly line instead of a ModuleNotFoundError."""
        (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError(name='starlette')\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr) == (1, f"pmcred: {command.EXTRA_MISSING}\n")

    def test_a_broken_installation_is_not_hidden(self, tmp_path: Path) -> None:
        """Another missing module is not blamed on the extra."""
        (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError('anyio is gone', name='anyio')\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert "anyio is gone" in ended.stderr

    def test_ctrl_c_before_it_stands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No traceback then either."""

        def interrupted(_: argparse.Namespace) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(command, "run", interrupted)
        assert command.main([]) == 130

    def test_the_first_line(self) -> None:
        """Programs depend on it."""
        assert ready_line("http://127.0.0.1:1") == "sandbox ready: http://127.0.0.1:1"
