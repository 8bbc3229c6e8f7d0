"""pmcredd.lease: a token is held for as long as a command runs, and not longer; nothing is renewed because of it."""

import errno
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.api_user import Job, at_work
from support.daemon import Daemon, running, user_at, write_profiles
from support.fake_daemon import TOKEN, FakeDaemon, answer_get
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED

from pmcredd import lease
from pmcredd.client import AccessToken, PmcredError
from pmcredd.sandbox.instances import CODE
from pmcredd.secret import Secret

MARK = Secret(TOKEN).fingerprint()
HANDED_OUT = AccessToken(TOKEN, "Bearer", 2_000_000_000, 1_999_999_990, "prod", "https://pm.example")


def answering(
    begins: float, forced: float, mark: str = MARK, rule: str = "refresh-disruptively"
) -> Callable[[bytes], bytes]:
    """Give a daemon's answers: the renewal comes from `begins` on and by `forced`, in seconds from now."""
    now = time.time()

    def answer(line: bytes) -> bytes:
        if line.startswith(b"get "):
            return answer_get(line)
        assert line == b"status prod explain=yes"
        fields = f"profile=prod\nfingerprint={mark}\nrule={rule}\n"
        return f"ok 1\n{fields}renew_from={int(now + begins)}\nrenew_by={int(now + forced)}\n\n".encode()

    return answer


def promised(daemon: FakeDaemon) -> list[float]:
    """Give the seconds for which the token was asked for, each time."""
    return [float(line.partition(b" for=")[2].split()[0]) for line in daemon.requests if line.startswith(b"get")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the daemon listens."""
    return tmp_path / "pm" / "socket"


def test_a_short_promise_is_asked_for_while_the_renewal_is_far(path: Path) -> None:
    """Whoever runs a command of a second does not hold up the renewal of next month."""
    with FakeDaemon(path, answering(3600, 7200)) as daemon:
        held = lease.prolong(HANDED_OUT, path)
    assert promised(daemon) == [lease.PROMISE]
    assert held.token.access_token == TOKEN
    assert held.until is not None
    assert abs(held.until - (time.time() + 7200)) < 60


def test_the_last_promise_before_the_renewal_reaches_as_far_as_any_may(path: Path) -> None:
    """Once the renewal is due no promise is made longer: so the one before goes to where it is forced."""
    with FakeDaemon(path, answering(300, 500)) as daemon:
        held = lease.prolong(HANDED_OUT, path)
    assert held.until is None
    (seconds,) = promised(daemon)
    assert 440 < seconds < 500


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answering(-10, 500), id="the renewal is due"),
        pytest.param(answering(0.9, 1), id="it is forced at once"),
        pytest.param(answering(3600, 7200, mark="0" * 16), id="it is another token by now"),
        pytest.param(answering(3600, 7200, rule="ask-anew"), id="no renewal kills it"),
        pytest.param(lambda _: b"ok 1\nprofile=prod\n\n", id="none is planned"),
    ],
)
def test_nothing_is_asked_for_where_nothing_can_be_held(path: Path, answer: Callable[[bytes], bytes]) -> None:
    """Such a question would wait for the renewal, and the command with it."""
    with FakeDaemon(path, answer) as daemon:
        assert lease.prolong(HANDED_OUT, path) == lease.Held(HANDED_OUT, None)
    assert promised(daemon) == []


def test_to_hold_a_token_never_renews_it(path: Path) -> None:
    """The question says refresh=no."""
    with FakeDaemon(path, answering(3600, 7200)) as daemon:
        lease.prolong(HANDED_OUT, path)
    assert b"refresh=no" in daemon.requests[-1].split()


def test_who_asks_once_is_told_that_there_is_no_daemon(path: Path) -> None:
    """It is for the caller to go on without."""
    with pytest.raises(PmcredError):
        lease.prolong(HANDED_OUT, path)


@pytest.mark.parametrize("missing", ["pidfd_open", "fork"])
def test_where_no_process_can_stay_beside_the_command_runs_without(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """An old kernel, or a user with no processes left: the promises that were made stand."""

    def refuse(*_: int) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was started that would never end"))
    monkeypatch.setattr(os, missing, refuse)
    assert not lease.hold_beside(HANDED_OUT, {})


@pytest.fixture
def end() -> Iterator[tuple[int, int]]:
    """Give a descriptor that tells of the end once the other one is written to."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_the_promise_is_renewed_until_the_command_ends(path: Path, end: tuple[int, int]) -> None:
    """Also when the daemon fails meanwhile; and then it stops at once."""
    answer, asked = answering(3600, 7200), threading.Semaphore(0)

    def shaky(line: bytes) -> bytes:
        asked.release()
        return b"error internal\nmessage=oops\n\n" if len(fake.requests) in (1, 3) else answer(line)

    with FakeDaemon(path, shaky) as fake:
        keeper = threading.Thread(
            target=lease.keep, args=["prod", MARK, end[0], path], kwargs={"promise": 0.5, "pause": 0.02}
        )
        keeper.start()
        for _ in range(8):
            assert asked.acquire(timeout=60)
        os.write(end[1], b"x")
        keeper.join(60)
    assert not keeper.is_alive()
    assert set(promised(fake)) == {0.5}


@pytest.mark.parametrize(
    ("begins", "mark", "times"),
    [pytest.param(3600, "0" * 16, 0, id="another token"), pytest.param(60, MARK, 1, id="all is promised")],
)
def test_it_is_not_held_in_vain(path: Path, end: tuple[int, int], begins: float, mark: str, times: int) -> None:
    """The process beside does not stay for a token that is gone, or when nothing more can be promised."""
    with FakeDaemon(path, answering(begins, 7200, mark)) as daemon:
        lease.keep("prod", MARK, end[0], path, promise=120.0, pause=0.02)
    assert len(promised(daemon)) == times


# --- a real daemon, and a real command --------------------------------------------------------------------------------


@contextmanager
def logged_in(tmp_path: Path, lifetime: str) -> Iterator[tuple[Daemon, SandboxProcess]]:
    """Run a daemon with `prod`, logged in: its tokens live so long, and a renewal kills them."""
    user = user_at(tmp_path)
    with sandbox_process("--token-lifetime", lifetime, "--throttle", "off") as sandbox:
        text = f'url = "{sandbox.url}"\ngrant = "authorization_code"\nclient_id = "{CODE.id}"\n'
        write_profiles(user, f'[profiles.prod]\n{text}client_secret = "{CODE.secret}"\n')
        with running(user) as daemon:
            assert daemon.ask(f"login prod code={sandbox.code()}").startswith("ok\n")
            yield daemon, sandbox


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Run one whose tokens live an hour."""
    with logged_in(tmp_path, "1h") as (found, _):
        yield found


def status(daemon: Daemon) -> dict[str, str]:
    """Ask how prod is."""
    lines = daemon.ask("status prod explain=yes").splitlines()[1:]
    return {name: unquote(value) for name, _, value in (line.partition("=") for line in lines)}


def beside(mark: str) -> list[Path]:
    """Give the /proc directories of the processes that hold the token with that fingerprint."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            name = (process / "comm").read_text()
        except OSError:
            continue  # it has ended
        # Its name comes last: until then it reads the files of its own program.
        if mark.encode() in words and name == "pmcred-lease\n":
            found.append(process)
    return found


def the_one_beside(mark: str) -> Path:
    """Wait for the process beside to run what it is to run; it is started before the command."""
    deadline, ticking = time.monotonic() + 60, threading.Event()
    while not (found := beside(mark)):
        assert time.monotonic() < deadline
        ticking.wait(0.02)
    (process,) = found
    return process


def started(daemon: Daemon, **more: str) -> "subprocess.Popen[str]":
    """Run a command that says when it runs, and ends when its stdin does; `more` are environment variables."""
    process = subprocess.Popen(
        [PMCRED, "exec", "prod", "--", "sh", "-c", "echo runs; exec cat"],
        env=daemon.user.environ | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    return process


def wait_for_end(descriptor: int) -> None:
    """Wait for a pidfd."""
    ready, _, _ = select.select([descriptor], [], [], 60)
    assert ready


@pytest.mark.parametrize("how", ["by itself", "killed"])
def test_a_token_is_held_while_the_command_runs(daemon: Daemon, how: str) -> None:
    """For ten minutes at first, by a process that ends when the command does, also by SIGKILL."""
    begun = time.time()
    with started(daemon) as command:
        found = status(daemon)
        assert begun + 598 < int(found["leased_until"]) <= time.time() + 600
        holder = the_one_beside(found["fingerprint"])
        watched = os.pidfd_open(int(holder.name))
        try:
            assert select.select([watched], [], [], 0) == ([], [], [])
            if how == "killed":
                command.kill()
            else:
                command.communicate()
            wait_for_end(watched)
        finally:
            os.close(watched)
    assert command.returncode == (-signal.SIGKILL if how == "killed" else 0)


def test_the_process_beside_shares_nothing_with_the_command(daemon: Daemon) -> None:
    """Neither its session, nor a descriptor (a pipe would never end), nor is it its child; and it has no token."""
    with started(daemon, PROCESSMAKER_TOKEN="of an outer command") as command:
        holder = the_one_beside(status(daemon)["fingerprint"])
        stat = (holder / "stat").read_text().rpartition(")")[2].split()
        parent, session = int(stat[1]), int(stat[3])
        assert parent != command.pid
        deadline, ticking = time.monotonic() + 60, threading.Event()
        while os.geteuid() == 0 and os.readlink(holder / "cwd") != "/":  # the command's may have to be unmounted
            assert time.monotonic() < deadline
            ticking.wait(0.02)
        assert session not in (os.getsid(command.pid), os.getsid(0))
        # It is not dumpable: who is not root cannot even look.
        if os.geteuid() == 0:
            files = {int(one.name): os.readlink(one) for one in (holder / "fd").iterdir()}
            sockets = {number: file for number, file in files.items() if file.startswith("socket:")}
            assert files.items() - sockets.items() == {
                *((number, "/dev/null") for number in range(3)),
                (3, "anon_inode:[pidfd]"),
            }
            environ = dict(line.partition("=")[::2] for line in (holder / "environ").read_text().split("\0"))
            assert not {name for name in environ if name.startswith("PROCESSMAKER")}
        command.communicate()


def test_the_process_beside_leaves_no_core(daemon: Daemon) -> None:
    """It is handed the token now and then, and keeps itself to itself as the daemon does."""
    with started(daemon) as command:
        holder = the_one_beside(status(daemon)["fingerprint"])
        deadline, ticking = time.monotonic() + 60, threading.Event()
        while not (
            "Umask:\t0077\n" in (holder / "status").read_text()
            and re.search(r"Max core file size +0 +0 ", (holder / "limits").read_text())
        ):
            assert time.monotonic() < deadline
            ticking.wait(0.02)
        command.communicate()


def test_a_lock_of_the_commands_is_free_when_it_has_ended(daemon: Daemon, tmp_path: Path) -> None:
    """The process beside has let go of what the command was given before the command runs."""
    lock = tmp_path / "lock"
    for _ in range(20):
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            subprocess.run(
                [PMCRED, "exec", "prod", "--", "true"], env=daemon.user.environ, pass_fds=[held.fileno()], check=True
            )
        with lock.open("w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_first_process_of_a_container_has_none_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It adopts all orphans: a command in its place would wait for a child that it does not know."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it would be the command's own child"))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert not lease.hold_beside(HANDED_OUT, {})


def test_a_file_above_the_limit_is_not_kept_open_either(daemon: Daemon) -> None:
    """A limit that was lowered leaves open what is above it; who reads from such a pipe waits for its end."""
    reader, writer = os.pipe()
    high = fcntl.fcntl(writer, fcntl.F_DUPFD, 200)
    os.close(writer)
    command = f"import os; os.close({high}); print('runs', flush=True); input()"
    with subprocess.Popen(
        ["sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", PMCRED, "exec", "prod", "--", sys.executable, "-c", command],
        env=daemon.user.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[high],
    ) as process:
        os.close(high)
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        the_one_beside(status(daemon)["fingerprint"])
        wait_for_end(reader)
        assert os.read(reader, 1) == b""
        process.communicate(b"\n")
    os.close(reader)


def test_where_the_renewal_is_near_all_is_promised_at_once(tmp_path: Path) -> None:
    """Then nobody stays beside the command, which is told how long its token is good."""
    with logged_in(tmp_path, "2m") as (daemon, _):
        ran = daemon.user.run("exec", "prod", "--", "printenv", "PROCESSMAKER_TOKEN_GOOD_UNTIL")
        found = status(daemon)
    assert int(found["renew_by"]) - 3 <= int(ran.stdout) <= int(found["renew_by"])
    assert found["leased_until"] == ran.stdout.strip()
    assert beside(found["fingerprint"]) == []


@pytest.mark.storm
def test_a_command_keeps_its_token_while_others_ask_for_it(tmp_path: Path) -> None:
    """Others ask all the time, also when the renewal is due: it waits until the time that the command was told."""
    with logged_in(tmp_path, "24s") as (daemon, sandbox):
        before = status(daemon)
        with at_work(daemon, [Job("prod", f"{sandbox.url}/api/1.0/users")]) as (tally,):
            ran = daemon.user.run("exec", "prod", "--", sys.executable, "-c", _USE_IT_TO_THE_END)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not tally.broken
    assert int(ran.stdout) >= int(before["renew_by"]) - 3 > int(before["renew_from"])


_USE_IT_TO_THE_END = """
import http.client, os, sys, threading, time, urllib.parse
url = urllib.parse.urlsplit(os.environ["PROCESSMAKER_URL"])
uses, end = 0, int(os.environ["PROCESSMAKER_TOKEN_GOOD_UNTIL"])
while True:
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("GET", "/api/1.0/users", headers={"Authorization": "Bearer " + os.environ["PROCESSMAKER_TOKEN"]})
    status = connection.getresponse().status
    connection.close()
    if time.time() >= end:
        break
    uses += 1
    if status != 200:
        sys.exit(f"{status} after {uses} uses, {end - time.time()} s before its end")
    threading.Event().wait(0.05)
print(end)
"""
