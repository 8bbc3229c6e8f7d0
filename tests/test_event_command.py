"""A command of `on_event`: what it is told and sees, and that however it behaves it costs a line in the log at most."""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.lifeline import LifeLine
from support.lives import WALL, held, moment, profile

from pmcredd import telling
from pmcredd.event_command import environment, message, run, told
from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import EventCommand, EventName
from pmcredd.telling import Status
from pmcredd.validity import Terms

NEEDS_LOGIN, RENEWED, FAILING, EXPIRING = EventName
CANARY = "canary-token"
HERE = {"PATH": os.environ["PATH"], "HOME": "/"}
LIVE = Life(Terms(Rule.ASK_ANEW), held=held(value=CANARY))
STOPPED = replace(
    LIVE, renewal=Renewal.STOPPED, reason=Reason.NEEDS_LOGIN, problem=Problem("it was refused", "pmcred login prod")
)


def status(life: Life = LIVE) -> Status:
    """Give how the profile `prod` is."""
    return telling.status(profile(), life, moment())


async def result(
    *argv: str, timeout: float = 20.0, given: bytes = b"{}\n", env: dict[str, str] | None = None
) -> Problem | None:
    """Run a command; gives what is said about it."""
    limit = trio.CancelScope(deadline=trio.current_time() + timeout)
    with trio.fail_after(30):
        return await run(EventCommand(argv, timeout), given, HERE if env is None else env, limit)


async def sentence(*argv: str, timeout: float = 20.0, env: dict[str, str] | None = None) -> str:
    """Run a command that is complained about; gives the complaint."""
    problem = await result(*argv, timeout=timeout, env=env)
    assert problem is not None
    assert problem.mend
    return problem.sentence


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LifeLine]:
    """Tell whether the processes of this test still live."""
    line = LifeLine(tmp_path / "line")
    yield line
    line.close()


# What it is told


def test_a_command_reads_what_status_says_and_what_has_happened() -> None:
    """One line of JSON, times as numbers, with a sentence and the command that mends it."""
    line = told(NEEDS_LOGIN, status(STOPPED), token=False)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    given = json.loads(line)
    assert given["event"] == "needs-login"
    assert given["message"] == "it was refused"
    assert given["hint"] == "pmcred login prod"
    assert (given["profile"], given["url"], given["state"]) == ("prod", "http://127.0.0.1:1", "needs-login")
    assert given["expires_at"] == int(WALL + 3600)


def test_the_token_is_told_only_to_whom_it_is_meant_for() -> None:
    """Without token = true it is in no part of it, and no other secret ever is."""
    given = told(RENEWED, status(), token=True)
    assert json.loads(given)["access_token"] == CANARY
    without = told(RENEWED, status(), token=False)
    seen = environment(RENEWED, status(), {}, withhold=(), socket="/s")
    for secret in (CANARY, "client-secret-of-the-tests", "password-of-the-tests"):
        assert secret.encode() not in without
        assert secret not in repr(seen)
    dead = telling.status(profile(), replace(LIVE, dead=True), moment())
    assert "access_token" not in json.loads(told(RENEWED, dead, token=True))


@pytest.mark.parametrize("event", EventName)
def test_every_event_has_a_sentence(event: EventName) -> None:
    """Also where the reason went away between the happening and the telling."""
    assert message(event, status()).sentence
    assert json.loads(told(event, status(), token=False))["message"]


def test_a_command_sees_its_desktop_and_no_secret() -> None:
    """What is not known to be harmless stays with the daemon; a secret that is called LC_... does, too."""
    wanted = {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "LC_TIME": "de_DE.UTF-8",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "XDG_CURRENT_DESKTOP": "GNOME",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus",
        "DISPLAY": ":0",
        "WAYLAND_DISPLAY": "wayland-0",
    }
    unwanted = {
        "PM_PASSWORD": CANARY,
        "LC_TOKEN": CANARY,
        "PMCRED_ONESHOT": "1",
        "PMCRED_STATE_DIR": "/x",
        "NOTIFY_SOCKET": "/n",
        "CREDENTIALS_DIRECTORY": "/c",
        "LISTEN_FDS": "1",
        "SSH_AUTH_SOCK": "/a",
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    found = environment(NEEDS_LOGIN, status(STOPPED), wanted | unwanted, withhold={"LC_TOKEN"}, socket="/s")
    assert found == wanted | {
        "PMCRED_SOCKET": "/s",
        "PMCRED_EVENT": "needs-login",
        "PMCRED_PROFILE": "prod",
        "PMCRED_MESSAGE": "it was refused",
        "PMCRED_HINT": "pmcred login prod",
    }


async def test_a_text_that_no_environment_can_hold_does_no_harm() -> None:
    """NUL and half a character are replaced; a quote or a $ is only a character."""
    problem = Problem("a\0b\ud800 $(id) 'c", "")
    seen = environment(FAILING, status(replace(STOPPED, problem=problem)), HERE, withhold=(), socket="/s")
    script = """test "$PMCRED_MESSAGE" = "a?b? \\$(id) 'c" """
    assert await result("sh", "-c", script, env=seen) is None


# How it runs


async def test_a_command_reads_its_input_to_the_end_and_is_alone(tmp_path: Path) -> None:
    """What is told arrives whole, however long; no descriptor and no terminal of ours comes with it."""
    script = (
        "import os, sys\n"
        "def is_open(fd):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "data = sys.stdin.buffer.read()\n"
        f"with open({str(tmp_path / 'out')!r}, 'w') as out:\n"
        "    print(len(data), [fd for fd in range(3, 256) if is_open(fd) and fd != out.fileno()],\n"
        "          os.getsid(0) == os.getpid(), file=out)\n"
    )
    assert await result(sys.executable, "-c", script, given=b"x" * 300_000) is None
    assert (tmp_path / "out").read_text() == "300000 [] True\n"


FLOOD = "head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2"


@pytest.mark.parametrize("script", ["true", "exec <&-; true", FLOOD, "cat"])
async def test_what_a_command_does_with_its_input_and_output_is_its_own_business(script: str) -> None:
    """It may ignore or close its input, and say as much as it likes: nothing is complained about, nothing hangs."""
    assert await result("sh", "-c", script, given=b"x" * 300_000) is None


async def test_how_a_command_failed_is_told() -> None:
    """By its exit status or its signal, in words."""
    assert await sentence("sh", "-c", "exit 3") == "it failed with exit status 3"
    assert await sentence("sh", "-c", "kill -9 $$") == "it was killed by signal 9"


async def test_a_command_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    """Each reason by itself; its arguments, in which people write secrets, are not."""
    assert "is not on PATH" in await sentence("no-such-program-here", CANARY)
    assert "is not there" in await sentence(str(tmp_path / "gone"), CANARY)
    plain = tmp_path / "plain"
    plain.write_text("exit 0\n")
    plain.chmod(0o600)
    assert "may not be run" in await sentence(str(plain))
    plain.chmod(0o700)
    assert "is no program" in await sentence(str(plain))
    told = await sentence("sh", "-c", CANARY * 200_000)
    assert "cannot be started" in told
    assert CANARY not in told


async def test_a_command_is_killed_whole_at_its_time_limit(line: LifeLine) -> None:
    """With all that it started, and also where it heeds no signal and reads nothing."""
    script = f"trap '' TERM INT HUP; exec 4>{line.path}; (echo started >&4; sleep 1000) & wait; sleep 1000"
    told = await sentence("sh", "-c", script, timeout=2.0)
    assert "did not end in time" in told
    assert await line.hear() == b"started\n"
    assert await line.hear() == b""


async def test_a_command_that_never_reads_is_killed_too(line: LifeLine) -> None:
    """However much there is to tell."""
    problem = await result(
        "sh", "-c", f"exec 4>{line.path}; echo started >&4; exec sleep 1000", timeout=2.0, given=b"x" * 300_000
    )
    assert problem is not None
    assert await line.hear() == b"started\n"
    assert await line.hear() == b""


async def test_what_a_command_leaves_in_the_background_stays(line: LifeLine) -> None:
    """It may open a browser, or start a program that stays: it has ended when it itself has."""
    script = (
        f"exec 3<&0; sh -c 'echo $$ >&4; exec sleep 1000' <&3 4>{line.path} & exit 0"  # with the input that we fill
    )
    assert await result("sh", "-c", script, timeout=600.0, given=b"x" * 300_000) is None
    pid = int(await line.hear())
    os.kill(pid, 9)  # fails if it is gone
    assert await line.hear() == b""


async def test_a_command_runs_in_the_home_directory(tmp_path: Path) -> None:
    """Where people look for what it writes."""
    place = shlex.quote(str(tmp_path))
    assert await result("sh", "-c", f'test "$PWD" = {place}', env=HERE | {"HOME": str(tmp_path)}) is None
