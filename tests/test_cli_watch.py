"""pmcred watch: what people and pipes read as it happens."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User, user_here

from pmcredd import wire
from pmcredd.cli import main, watch

NOW = 1_800_000_000
PROD = {
    "event": "present",
    "profile": "prod",
    "url": "https://acme.processmaker.net",
    "generation": "4",
    "grant": "password",
    "state": "live",
    "fingerprint": "4dd59ca0a64ed1e0",
    "expires_at": str(NOW + 7200),
    "renew_at": str(NOW + 3600),
}
TROUBLE = {
    "event": "state",
    "profile": "legacy",
    "state": "stopped",
    "last_error": "the server\trefused\x1b[31m\nthe user",
    "hint": "pmcred profile edit legacy",
}
GONE = {"event": "removed", "profile": "old"}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user, and this process in that user's place, at a fixed time."""
    user = user_here(tmp_path, monkeypatch)
    monkeypatch.setattr("pmcredd.cli.watch.time.time", lambda: float(NOW))
    return user


def streaming(user: User, *blocks: Mapping[str, str], leaves: bool = True) -> FakeDaemon:
    """A daemon that tells this to every watcher, and then leaves."""
    answer = wire.STREAM_HEAD + b"".join(map(wire.format_block, blocks))
    return FakeDaemon(user.socket, lambda _: answer, hang_up=leaves)


@pytest.fixture
def busy(user: User) -> Iterator[FakeDaemon]:
    """A daemon that has something to tell, and stays."""
    with streaming(user, PROD, leaves=False) as daemon:
        yield daemon


def test_a_pipe_gets_columns(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """One line for each event, tabs between the columns, a dash for what is not there; nothing breaks a line."""
    with streaming(user, PROD, TROUBLE, GONE) as daemon:
        assert main(["watch"]) == 69
    out, err = capfd.readouterr()
    assert [line.split("\t") for line in out.splitlines()] == [
        [str(NOW), "prod", "present", "live", "4dd59ca0a64ed1e0", str(NOW + 7200), str(NOW + 3600), "-"],
        [str(NOW), "legacy", "state", "stopped", "-", "-", "-", "the server?refused?[31m?the user"],
        [str(NOW), "old", "removed", "-", "-", "-", "-", "-"],
    ]
    assert err == "pmcred: the daemon has left\n  try: pmcred watch, once it is back\n"
    assert daemon.requests == [b"watch"]


def test_programs_get_an_object_on_each_line(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """Times are numbers, nothing is left out, and the line has a version."""
    with streaming(user, PROD, GONE):
        assert main(["watch", "--json"]) == 69
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    numbers = {"generation": 4, "expires_at": NOW + 7200, "renew_at": NOW + 3600}
    assert first == {"version": 1, "time": NOW, **PROD, **numbers}
    assert second == {"version": 1, "time": NOW, **GONE}


def test_the_token_is_told_only_to_who_asks(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """--token asks the daemon for it, and puts it in place of the fingerprint."""
    with streaming(user, PROD | {"access_token": "s3cret"}) as daemon:
        main(["watch", "prod", "--token"])
    assert capfd.readouterr().out.split("\t")[4] == "s3cret"
    assert daemon.requests == [b"watch prod token=yes"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (PROD, "live; token 4dd59ca0a64ed1e0, ends in 2 h"),
        (PROD | {"event": "token", "access_token": "abc"}, "live; new token abc, ends in 2 h"),
        (
            PROD | {"event": "added", "expires_at": str(NOW - 60)},
            "live; added: token 4dd59ca0a64ed1e0, ended 1 min ago",
        ),
        ({"event": "token", "state": "live", "fingerprint": "f"}, "live; new token f"),
        (
            PROD | {"warning": "ends soon", "hint": "make a new one", "unsaved": "disk full"},
            "live; token 4dd59ca0a64ed1e0, ends in 2 h; ends soon; UNSAVED: disk full; try: make a new one",
        ),
        (TROUBLE, "stopped; the server\trefused\x1b[31m\nthe user; try: pmcred profile edit legacy"),
        (GONE, "is no longer among the profiles"),
    ],
)
def test_a_person_reads_what_happened(block: Mapping[str, str], said: str) -> None:
    """In words: the state, the token and its end, what ails it and what mends it."""
    assert watch._happened(block, NOW) == said


@pytest.mark.usefixtures("busy")
def test_a_terminal_gets_time_colour_and_words(user: User) -> None:
    """Line by line as it comes, until Ctrl-C, which ends it as it ends `tail -f`."""
    with PseudoTerminal([PMCRED, "watch"], user.environ | {"TERM": "xterm"}) as terminal:
        terminal.expect("prod")
        terminal.expect("\x1b[32mlive; token 4dd59ca0a64ed1e0")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.screen


@pytest.mark.usefixtures("busy")
def test_ctrl_c_ends_a_loop_around_it(user: User) -> None:
    """A shell goes on with its loop unless the command dies of the signal."""
    loop = f"for i in 1 2; do {PMCRED} watch; echo went-on; done"
    with PseudoTerminal(["/bin/bash", "-c", loop], user.environ) as terminal:
        terminal.expect("prod")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
    assert "went-on" not in terminal.screen


@pytest.mark.usefixtures("busy")
def test_a_line_is_there_when_it_happens(user: User) -> None:
    """Nothing waits in a buffer for the next event; a signal ends it without a traceback."""
    command = [PMCRED, "watch"]
    with subprocess.Popen(
        command, env=user.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split("\t")[1] == "prod"
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
    assert (watching.returncode, err.strip()) == (-signal.SIGINT, "")


@pytest.mark.usefixtures("busy")
def test_it_ends_with_its_reader(user: User) -> None:
    """`pmcred watch | head -1` is over with the first line, though nothing more happens."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f"{PMCRED} watch | head -n 1"], env=user.environ, capture_output=True, timeout=60, check=True
    )
    assert ended.stdout.count(b"\n") == 1
    assert ended.stderr == b""


def test_without_a_daemon_it_says_so(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """And with one that refuses, what it says."""
    assert main(["watch"]) == 69
    with FakeDaemon(user.socket, lambda _: wire.format_error(wire.Code.NO_SUCH_PROFILE, "no such", "look")):
        assert main(["watch", "nowhere"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "no daemon answers" in err
    assert err.endswith("pmcred: no such\n  try: look\n")


def test_an_old_daemon_is_told(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    """One that does not know the verb yet says which ones it knows."""
    old = wire.format_error(wire.Code.BAD_REQUEST, "the verb is not one of: hello, get")
    with FakeDaemon(user.socket, lambda _: old):
        assert main(["watch"]) == 2
    assert "not one of" in capfd.readouterr().err


def test_a_full_disk_ends_it(user: User) -> None:
    """`pmcred watch > file` does not go on for a year without its file."""
    with streaming(user, PROD, leaves=False), open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [PMCRED, "watch"], env=user.environ, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr == b"pmcred: cannot write the output: No space left on device\n"
    assert os.path.exists("/dev/full")
