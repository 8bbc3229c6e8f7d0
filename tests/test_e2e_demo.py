"""`pmcred demo` as people run it: what it shows, what it checks, and that nothing of it is left, however it ends."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest
import trio
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User
from trio.testing import MockClock

from pmcredd.sandbox.stage import DemoFailed, in_time

# The one thing of a virtual environment that is not on the path of who has not activated it.
BESIDE = Path(sys.executable).parent
STEPS = ("1. ", "2. ", "3. ", "4. ", "5. ", "6. ")

# A command that is caught in the middle: it tells so, and ends when it is told to and when it may.
HANGS = """
import os, signal, sys
def asked(*_):
    os.write(asking, b"asked\\n")
    os.read(allowing, 1)
    os._exit(0)
asking, allowing = os.open(sys.argv[1], os.O_WRONLY), os.open(sys.argv[2], os.O_RDWR)
signal.signal(signal.SIGTERM, asked)
os.write(asking, b"caught\\n")
while True:
    signal.pause()
"""

# A look-alike that gives a token and answers everything else with its first argument.
ODD_LOOK_ALIKE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))  # unread, it would cost the caller the answer
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"token_type": "Bearer", "expires_in": 600, "access_token": "made.up.token"}')
    def do_GET(self):
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"sandbox ready: http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> User:
    return User(tmp_path / "home")


@pytest.fixture(name="spare")
def _spare(tmp_path: Path) -> Path:
    """Where the demo makes its directory, and nobody else anything."""
    directory = tmp_path / "t"
    directory.mkdir()
    return directory


@pytest.fixture(name="environ")
def _environ(user: User, spare: Path) -> dict[str, str]:
    # The user's own daemon would be at places that do not exist: whoever goes there, fails.
    own = {"PMCRED_CONFIG": "/nowhere/profiles.toml", "PMCRED_STATE_DIR": "/nowhere/state", "PMCRED_PROFILE": "prod"}
    return user.environ | own | {"TMPDIR": str(spare), "PATH": f"{BESIDE}:{os.environ['PATH']}"}


def running(session: int) -> dict[int, str]:
    """Give pid and name of the processes of a session (proc(5), stat), but for those that only wait to be reaped."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, fields = (entry / "stat").read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, its_session, *_ = fields.split()
        if int(its_session) == session and state != "Z":
            found[int(entry.name)] = name
    return found


@contextmanager
def demo(environ: dict[str, str], *command: str, cwd: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Start the demo in a session of its own, without a terminal; afterwards nothing of it may run."""
    with subprocess.Popen(
        [*(command or [PMCRED]), "demo"],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
            process.wait(60)
            assert running(process.pid) == {}
        finally:
            for pid in running(process.pid):
                os.kill(pid, signal.SIGKILL)


def play(environ: dict[str, str], *command: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run the demo to its end; gives exit status, stdout and stderr."""
    with demo(environ, *command, cwd=cwd) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def swapped(directory: Path, verbs: dict[str, str]) -> str:
    """Lay out the commands as installed, but for some verbs of `pmcred`, each given as shell; gives the command."""
    directory.mkdir()
    real = shlex.quote(str(BESIDE / "pmcred"))
    cases = "\n".join(f"{verb}) {script}; exit ;;" for verb, script in verbs.items())
    scripts = {
        "pmcred": f'#!/bin/sh\ncase $1 in\n{cases}\nesac\nexec {real} "$@"\n',
        "pmcred-cli": f"#!{sys.executable}\nimport sys\nfrom pmcredd.cli import main\nsys.exit(main())\n",
        "pmcredd": f'#!/bin/sh\n{verbs.get("daemon", "")}\nexec {shlex.quote(str(BESIDE / "pmcredd"))} "$@"\n',
    }
    for name, text in scripts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return str(directory / "pmcred-cli")


class TestStory:
    def test_each_step_is_shown_and_nothing_is_left(self, environ: dict[str, str], spare: Path) -> None:
        """Told from the first token to the last status, with exit status 0; then the directory is gone."""
        status, out, err = play(environ)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert [line[:3] for line in lines if line[:3] in STEPS] == list(STEPS)
        commands = [re.sub(r"http://127.0.0.1:\d+", "URL", line[3:]) for line in lines if line.startswith(" $ ")]
        call = "curl -H @<(pmcred header demo) URL/api/1.0/users"
        assert commands == [
            "pmcred sandbox --quiet --token-lifetime 10m &",
            "pmcredd &",
            "pmcred get demo",
            call,
            "curl --json '{\"all\": true}' URL/_sandbox/revoke",
            call,
            'pmcred reject demo --get <<<"$token"',
            call,
            "pmcred status",
        ]
        assert out.index("It works: 200") < out.index('{"error":"Unauthenticated."}') < out.index("It works again: 200")
        assert list(spare.iterdir()) == []

    def test_it_fits_a_terminal_and_ends_in_the_next_command(self, environ: dict[str, str]) -> None:
        """80 columns are enough, there is no colour where nobody can see it, and the next step is the last line."""
        _, out, _ = play(environ)
        directory = re.compile(r"\S*/pmcred-demo-\w+")
        assert [line for line in out.splitlines() if len(directory.sub("", line)) > 80] == []
        assert "\x1b" not in out
        assert out.splitlines()[-1] == "  pmcred init"

    def test_no_whole_token_is_shown(self, environ: dict[str, str]) -> None:
        """A token on the screen is shortened, and says so."""
        _, out, _ = play(environ)
        shown = re.search(r"pmcred get demo\n (\S+)\n \(Shortened for the eye: it is (\d+) characters long.\)", out)
        assert shown is not None
        assert len(shown[1]) < int(shown[2])
        assert shown[1].startswith("eyJ")

    def test_it_needs_no_path(self, environ: dict[str, str], tmp_path: Path) -> None:
        """`.venv/bin/pmcred demo` works without activation, and the next command is written so that it works too."""
        unactivated = environ | {"PATH": "/usr/bin:/bin"}
        status, out, err = play(unactivated, cwd=tmp_path)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == f"  {BESIDE}/pmcred init"
        status, out, err = play(unactivated, f"{BESIDE.name}/pmcred-cli", cwd=BESIDE.parent)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == f"  {BESIDE.name}/pmcred init"

    def test_a_long_temporary_directory(self, environ: dict[str, str], spare: Path) -> None:
        """Where $TMPDIR is too long for a socket, the demo goes to /tmp."""
        deep = spare / ("d" * 90)
        deep.mkdir()
        status, out, err = play(environ | {"TMPDIR": str(deep)})
        assert (status, err) == (0, "")
        assert (directory := re.search(r"^/tmp/pmcred-demo-\w+$", out, re.MULTILINE))
        assert not Path(directory[0]).exists()

    def test_the_help_begins_with_it(self, user: User) -> None:
        """Who asks for help is sent to the demo first."""
        told = user.run("--help").stdout
        assert told.splitlines()[-1] == "To begin: pmcred demo"

    def test_a_terminal_gets_what_stands_out(self, environ: dict[str, str], spare: Path) -> None:
        """Headings and commands are bold on a terminal, unless NO_COLOR is set."""
        with PseudoTerminal([PMCRED, "demo"], environ | {"TERM": "xterm"}) as terminal:
            assert terminal.end() == 0
        assert "\n $ \x1b[1mpmcred get demo\x1b[0m\n" in terminal.screen
        with PseudoTerminal([PMCRED, "demo"], environ | {"TERM": "xterm", "NO_COLOR": "1"}) as terminal:
            assert terminal.end() == 0
        assert "\n $ pmcred get demo\n" in terminal.screen
        assert list(spare.iterdir()) == []

    def test_its_files_are_private(self, environ: dict[str, str], spare: Path, tmp_path: Path) -> None:
        """While it runs, its directory is open to nobody else, and no secret is in the arguments of a process."""
        with caught(environ, tmp_path) as held:
            (directory,) = spare.iterdir()
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert stat.S_IMODE((directory / "profiles.toml").stat().st_mode) == 0o600
            arguments = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in running(held.process.pid))
            assert b"pmcredd" in arguments
            assert b"fake-secret" not in arguments
            assert b"password" not in arguments
            os.kill(held.process.pid, signal.SIGTERM)
            held.let_go()


@dataclass(frozen=True, slots=True)
class Held:
    """A demo in the middle of its third step, whose `pmcred get` hangs and ends only when it may."""

    process: "subprocess.Popen[str]"
    asking: TextIO
    allowing: Path

    def wait_until_asked(self) -> None:
        """Wait until the hanging command is told to end."""
        assert self.asking.readline() == "asked\n"

    def let_go(self) -> None:
        """Let it end, once it is told to."""
        self.wait_until_asked()
        self.allowing.write_bytes(b"!")


@contextmanager
def caught(environ: dict[str, str], tmp_path: Path) -> Iterator[Held]:
    """Run the demo up to its third step."""
    asking, allowing = tmp_path / "asking", tmp_path / "allowing"
    os.mkfifo(asking)
    os.mkfifo(allowing)
    (tmp_path / "hangs.py").write_text(HANGS)
    words = (sys.executable, str(tmp_path / "hangs.py"), str(asking), str(allowing))
    command = swapped(tmp_path / "bin", {"get": f"exec {shlex.join(words)}"})
    with demo(environ, command) as process, asking.open() as told:
        assert told.readline() == "caught\n"
        yield Held(process, told, allowing)


@pytest.mark.storm
class TestEndings:
    @pytest.mark.parametrize("group", [True, False], ids=["the terminal's whole group", "the demo alone"])
    def test_ctrl_c_in_the_middle_leaves_nothing(
        self, environ: dict[str, str], spare: Path, tmp_path: Path, group: bool
    ) -> None:
        """Ctrl-C ends the demo, its daemon, its look-alike and the command that hangs, and removes its files."""
        with caught(environ, tmp_path) as held:
            if group:
                os.killpg(held.process.pid, signal.SIGINT)
            else:
                os.kill(held.process.pid, signal.SIGINT)
            held.let_go()
            out, err = held.process.communicate(timeout=60)
        assert held.process.returncode == 130
        assert out.splitlines()[-1] == " $ pmcred get demo"
        assert err == "\nStopped. Nothing of the demo is left.\n"
        assert list(spare.iterdir()) == []

    def test_ctrl_c_at_a_terminal(self, environ: dict[str, str], spare: Path) -> None:
        """Typed as people do, at any moment."""
        with PseudoTerminal([PMCRED, "demo"], environ) as terminal:
            terminal.expect("1. ")
            terminal.type("\x03", enter=False)
            assert terminal.end() == 130
        assert terminal.screen.endswith("\nStopped. Nothing of the demo is left.\n")
        assert list(spare.iterdir()) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_other_signals_leave_nothing_either(
        self, environ: dict[str, str], spare: Path, tmp_path: Path, number: signal.Signals
    ) -> None:
        """SIGTERM, and the SIGHUP of a closed terminal, clear up and end it with the status shells give for them."""
        with caught(environ, tmp_path) as held:
            os.kill(held.process.pid, number)
            held.let_go()
        assert held.process.returncode == 128 + number
        assert list(spare.iterdir()) == []

    def test_an_impatient_second_ctrl_c_leaves_nothing(
        self, environ: dict[str, str], spare: Path, tmp_path: Path
    ) -> None:
        """While it clears up, more of Ctrl-C does not stop it."""
        with caught(environ, tmp_path) as held:
            os.kill(held.process.pid, signal.SIGINT)
            held.wait_until_asked()
            os.kill(held.process.pid, signal.SIGINT)
            held.allowing.write_bytes(b"!")
        assert held.process.returncode == 130
        assert list(spare.iterdir()) == []

    def test_nohup_is_obeyed(self, environ: dict[str, str], spare: Path, tmp_path: Path) -> None:
        """A SIGHUP that was to be ignored is: what ends the demo is the SIGTERM after it."""
        command = tmp_path / "nohup-pmcred"
        command.write_text('#!/bin/sh\ntrap "" HUP\nexec "$REAL" "$@"\n')
        command.chmod(0o755)
        lies = {"get": 'kill -HUP "$PPID"; exec "$NEXT" "$@"'}
        real = swapped(tmp_path / "bin", lies)
        status, _, err = play(environ | {"REAL": real, "NEXT": str(BESIDE / "pmcred")}, str(command))
        assert (status, err) == (0, "")
        assert list(spare.iterdir()) == []

    def test_a_reader_who_leaves_ends_it(self, environ: dict[str, str], spare: Path) -> None:
        """`pmcred demo | head -1` ends quietly, as by SIGPIPE."""
        with demo(environ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 141
        assert list(spare.iterdir()) == []

    def test_nowhere_to_show_it(self, environ: dict[str, str], spare: Path) -> None:
        """With standard output closed, or full, it says so and leaves nothing."""
        for redirection, why in (
            (">&-", "stdout is closed\n  try: to have nothing printed: >/dev/null"),
            (">/dev/full", "cannot write the output: No space left on device"),
        ):
            status, _, err = play(environ, "sh", "-c", f'"$0" "$@" {redirection}', PMCRED)
            assert (status, err) == (1, f"pmcred: {why}\n")
        assert list(spare.iterdir()) == []


@pytest.mark.storm
class TestFailures:
    def test_a_daemon_that_cannot_start(self, environ: dict[str, str], spare: Path, tmp_path: Path) -> None:
        """What pmcredd says is passed on, with status 1."""
        status, out, err = play(environ, swapped(tmp_path / "bin", {"daemon": ': >"$PMCRED_STATE_DIR"'}))
        assert status == 1
        assert out.splitlines()[-1] == " $ pmcredd &"
        assert err.startswith("pmcred: the demo has failed: `pmcredd` ended with exit status 1:\n")
        assert "state cannot be used: File exists" in err
        assert list(spare.iterdir()) == []

    def test_a_missing_extra(self, environ: dict[str, str], spare: Path, tmp_path: Path) -> None:
        """Without the extra `sandbox`, the command that installs it is named."""
        hidden = tmp_path / "hidden" / "starlette"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text("raise ModuleNotFoundError('hidden', name='starlette')\n")
        status, _, err = play(environ | {"PYTHONPATH": str(hidden.parent)})
        assert status == 1
        assert "pip install 'pmcredd[sandbox]'" in err
        assert list(spare.iterdir()) == []

    @pytest.mark.parametrize(
        ("lies", "complaint"),
        [
            ({"sandbox": "kill -KILL $$"}, "`pmcred sandbox --quiet --token-lifetime 10m` ended with signal 9"),
            ({"sandbox": "echo 'sandbox ready: http://127.0.0.1:1'; exec sleep 60"}, "`pmcred get demo` ended with"),
            ({"get": "echo 'no token at all'"}, "`pmcred get demo` did not print a token"),
            ({"get": "echo 'it broke' >&2; exit 5"}, "`pmcred get demo` ended with exit status 5:\n  it broke"),
            ({"header": "echo 'Authorization: Bearer x'"}, "`pmcred header demo` did not print the token that is kept"),
            ({"reject": "cat"}, "`pmcred reject demo --get` brought no new token"),
            ({"status": "echo 'demo  waiting'"}, "`pmcred status` does not show the profile as live"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
    )
    def test_a_step_that_does_not_do_what_it_says(
        self, environ: dict[str, str], spare: Path, tmp_path: Path, lies: dict[str, str], complaint: str
    ) -> None:
        """Each step is looked at: one that went wrong is named, with status 1, and nothing is left."""
        status, out, err = play(environ, swapped(tmp_path / "bin", lies))
        assert status == 1
        assert err.startswith(f"pmcred: the demo has failed: {complaint}")
        assert "Done" not in out
        assert list(spare.iterdir()) == []

    @pytest.mark.parametrize(
        ("answer", "complaint"),
        [
            ("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", "the API answered 500, not 200"),
            ("this is not HTTP\r\n\r\n", "cannot reach http://127.0.0.1:"),
            ("", "cannot reach http://127.0.0.1:"),
        ],
        ids=["500", "not HTTP", "nothing"],
    )
    def test_an_api_that_answers_otherwise(
        self, environ: dict[str, str], spare: Path, tmp_path: Path, answer: str, complaint: str
    ) -> None:
        """An answer that is not the one announced ends the demo with status 1, and no traceback."""
        (tmp_path / "odd.py").write_text(ODD_LOOK_ALIKE)
        words = (sys.executable, str(tmp_path / "odd.py"), answer)
        status, _, err = play(environ, swapped(tmp_path / "bin", {"sandbox": f"exec {shlex.join(words)}"}))
        assert status == 1
        assert err.startswith(f"pmcred: the demo has failed: {complaint}")
        assert len(err.splitlines()) == 1
        assert list(spare.iterdir()) == []

    def test_commands_that_are_not_there(self, environ: dict[str, str], tmp_path: Path) -> None:
        """A program that is gone by the time it is needed is named."""
        command = swapped(tmp_path / "bin", {"sandbox": 'rm "$(dirname "$0")/pmcredd"; exec "$NEXT" "$@"'})
        status, _, err = play(environ | {"NEXT": str(BESIDE / "pmcred")}, command)
        assert (status, err) == (
            1,
            "pmcred: the demo has failed: cannot start `pmcredd`: No such file or directory\n",
        )

    def test_a_directory_that_went_away(self, environ: dict[str, str], tmp_path: Path) -> None:
        """Somebody who tidies up under the demo makes it fail, and is not told to tidy up."""
        command = swapped(tmp_path / "bin", {"get": 'rm -r "$PWD"; exit 1'})
        status, _, err = play(environ, command)
        assert (status, err) == (1, "pmcred: the demo has failed: `pmcred get demo` ended with exit status 1\n")

    def test_a_directory_that_cannot_be_removed(self, environ: dict[str, str], tmp_path: Path) -> None:
        """What is left is named, with the command that removes it."""
        command = swapped(tmp_path / "bin", {"get": 'rm -r "$PWD"; : >"$PWD"; exit 1'})
        status, _, err = play(environ, command)
        assert status == 1
        assert re.fullmatch(
            r"pmcred: the demo has failed: cannot remove (/\S+): Not a directory\n  try: rm -r \1\n", err
        )


async def test_what_never_gets_ready_is_given_up(autojump_clock: MockClock) -> None:
    """Nothing is waited for without an end."""
    with pytest.raises(DemoFailed, match="`pmcredd` is not ready within 30 s"), in_time("`pmcredd` is not ready"):
        await trio.sleep_forever()
