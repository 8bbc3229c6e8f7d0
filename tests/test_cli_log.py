"""pmcred log: what people, pipes and programs read of who asked for tokens."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User, user_here

from pmcredd import wire
from pmcredd.cli import log, main

SGR = re.compile(r"\x1b\[[0-9;]*m")
NOW = 1_800_000_000
ASKED = {
    "time": str(NOW),
    "verb": "get",
    "profile": "prod",
    "fingerprint": "4dd59ca0a64ed1e0",
    "outcome": "ok",
    "count": "312",
    "first": str(NOW - 619),
    "uid": "1000",
    "pid": "2211",
    "program": "python",
    "exe": "/usr/bin/python3.11",
    "parent": "backup.sh",
    "parent_pid": "2208",
    "unit": "backup.service",
    "certain": "yes",
}
REFUSED = {
    "time": str(NOW),
    "verb": "get",
    "outcome": "no-such-profile",
    "count": "1",
    "first": str(NOW),
    "uid": "1000",
    "pid": "99",
    "program": "x\t\x1b[31m\nprod",
    "certain": "no",
}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user, and this process in that user's place, in Greenwich."""
    user = user_here(tmp_path, monkeypatch)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return user


def knowing(user: User, *blocks: Mapping[str, str]) -> FakeDaemon:
    """A daemon that knows this."""
    return FakeDaemon(user.socket, lambda _: wire.format_ok(blocks, many=True))


def streaming(user: User, *blocks: Mapping[str, str], leaves: bool) -> FakeDaemon:
    """A daemon that tells this to whoever follows."""
    answer = wire.STREAM_HEAD + b"".join(map(wire.format_block, blocks))
    return FakeDaemon(user.socket, lambda _: answer, hang_up=leaves)


PIPED = [
    [
        *(str(NOW), "get", "prod", "4dd59ca0a64ed1e0", "ok", "312", str(NOW - 619)),
        *("1000", "2211", "python", "2208", "backup.sh", "backup.service", "/usr/bin/python3.11", "-", "yes"),
    ],
    [
        *(str(NOW), "get", "-", "-", "no-such-profile", "1", str(NOW)),
        *("1000", "99", "x??[31m?prod", "-", "-", "-", "-", "-", "no"),
    ],
]


def test_a_pipe_gets_columns(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that --help names, with tabs between them and a dash for what is not known; no name breaks a line."""
    with knowing(user, ASKED, REFUSED) as daemon:
        assert main(["log"]) == 0
        assert [line.split("\t") for line in capfd.readouterr().out.splitlines()] == PIPED
        assert main(["log", "prod"]) == 0
    assert daemon.requests == [b"log", b"log prod"]
    with pytest.MonkeyPatch.context() as wide:
        wide.setenv("COLUMNS", "1000")
        capfd.readouterr()
        assert main(["log", "--help"]) == 0
    assert len(capfd.readouterr().out.partition("known: ")[2].partition(".")[0].split()) == len(PIPED[0])


def test_who_follows_in_a_pipe_gets_the_same(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """Line by line; when the daemon leaves it is over, and that is an error."""
    with streaming(user, ASKED, REFUSED, leaves=True) as daemon:
        assert main(["log", "-f", "prod"]) == 69
    out, err = capfd.readouterr()
    assert [line.split("\t") for line in out.splitlines()] == PIPED
    assert err == "pmcred: the daemon has left\n  try: pmcred log -f, once it is back\n"
    assert daemon.requests == [b"log prod follow=yes"]


def test_programs_get_an_object_on_each_line(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is left out, and numbers are numbers."""
    with knowing(user, ASKED, REFUSED):
        assert main(["log", "--json"]) == 0
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    numbers = {key: int(ASKED[key]) for key in ("time", "first", "count", "uid", "pid", "parent_pid")}
    assert first == {"version": 1, **ASKED, **numbers}
    assert second["program"] == REFUSED["program"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (ASKED, "ok, 312 times since 07:49:41"),
        (ASKED | {"count": "1"}, "ok"),
        (ASKED | {"first": str(NOW - 86400)}, "ok, 312 times since 2027-01-14 08:00:00"),
        (ASKED | {"count": "1", "rejected": "0" * 16}, f"ok, instead of {'0' * 16}"),
        (
            ASKED | {"count": "1", "rejected": "0" * 16, "outcome": "not-rejected"},
            f"not-rejected, refused was {'0' * 16}",
        ),
        (ASKED | {"first": "soon"}, "ok, 312 times since ?"),
        (REFUSED | {"outcome": "forbidden"}, "forbidden, uid 1000"),
        (REFUSED, "no-such-profile"),
    ],
)
@pytest.mark.usefixtures("user")
def test_a_person_reads_what_came_of_it(block: Mapping[str, str], said: str) -> None:
    """In words; a day is told only where it is not today's."""
    assert log._came_of_it(block, block["outcome"], NOW) == said


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (ASKED, "python[2211] of backup.sh[2208] (backup.service)"),
        ({"pid": "7", "program": "nc", "certain": "yes"}, "nc[7]"),
        ({"pid": "7", "program": "nc", "certain": "no"}, "nc[7?]"),
        ({"pid": "7", "certain": "no"}, "?[7?]"),
        ({}, "?[?]"),
    ],
)
def test_a_person_reads_who_it_was(block: Mapping[str, str], said: str) -> None:
    """A pid that may be another's by now has a question mark."""
    assert log._who(block) == said


def lines_of(screen: str) -> list[str]:
    """Give the lines of a terminal without colours."""
    return [line.rstrip() for line in screen.replace("\r", "").split("\n") if line.strip()]


def test_a_terminal_gets_a_table(user: User) -> None:
    """Aligned, in colours only where it can, and without a control character of anybody's name."""
    with knowing(user, ASKED, REFUSED), PseudoTerminal([PMCRED, "log"], user.environ | {"TERM": "dumb"}) as terminal:
        assert terminal.end() == 0
    title, asked, refused = lines_of(terminal.screen)
    assert title.split() == ["TIME", "WHO", "DID", "PROFILE", "TOKEN", "OUTCOME"]
    for name, known, unknown in (("WHO", "python[", "x??[31m?prod[99?]"), ("OUTCOME", "ok, 312", "no-such-profile")):
        at = title.index(name)
        assert asked[at:].startswith(known)
        assert refused[at:].startswith(unknown)
    assert "\x1b" not in terminal.screen


def test_a_terminal_that_follows_gets_aligned_columns_too(user: User) -> None:
    """As it happens, until Ctrl-C; refusals in red."""
    today = {"time": str(int(time.time()))}
    asked, refused = ASKED | today, REFUSED | today
    longer = asked | {"profile": "a-profile-with-a-long-name"}
    with (
        streaming(user, asked, longer, refused, leaves=False),
        PseudoTerminal([PMCRED, "log", "-f"], user.environ | {"TERM": "xterm"}) as terminal,
    ):
        terminal.expect("OUTCOME")
        terminal.expect("\x1b[31mno-such-profile\x1b[0m")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.screen
    title, first, second, third, *_ = (SGR.sub("", line) for line in lines_of(terminal.screen))
    assert title.index("DID") == first.rindex("get")
    assert title.index("OUTCOME") == first.index("ok, 312")
    assert second.index("ok, 312") == third.index("no-such-profile") > title.index("OUTCOME")


def test_it_ends_with_its_reader(user: User) -> None:
    """`pmcred log -f | head -1` is over with the first line, though nothing more happens."""
    with streaming(user, ASKED, leaves=False):
        ended = subprocess.run(
            ["/bin/sh", "-c", f"{PMCRED} log -f | head -n 1"],
            env=user.environ,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert ended.stdout.count(b"\n") == 1
    assert ended.stderr == b""


def test_a_line_is_there_when_it_happens(user: User) -> None:
    """Nothing waits in a buffer for the next entry; a signal ends it without a traceback."""
    with (
        streaming(user, ASKED, leaves=False),
        subprocess.Popen(
            [PMCRED, "log", "-f", "--json"],
            env=user.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as following,
    ):
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["profile"] == "prod"
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=60)
    assert (following.returncode, err.strip()) == (-signal.SIGINT, "")


def test_without_a_daemon_or_with_an_old_one_it_says_so(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """One that does not know the verb yet says which ones it knows."""
    assert main(["log"]) == 69
    assert "no daemon answers" in capfd.readouterr().err
    old = wire.format_error(wire.Code.BAD_REQUEST, "the verb is not one of: hello, get")
    with FakeDaemon(user.socket, lambda _: old):
        assert main(["log"]) == 2
    assert "not one of" in capfd.readouterr().err
