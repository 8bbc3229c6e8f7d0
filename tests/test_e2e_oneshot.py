"""`--oneshot`: processes that do the daemon's work for one request, many at once, beside a daemon and without one."""

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.daemon import Daemon, fail_to_start, running, user_at, write_profiles
from support.sandbox import Row, SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd import config_files
from pmcredd.sandbox.instances import CODE
from pmcredd.state_lock import StateLock, holder
from pmcredd.store import Store, identity

pytestmark = pytest.mark.storm

AT_ONCE = 20
ONESHOT = ("get", "prod", "--oneshot", "--for", "10s")


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike whose access tokens live 30 s."""
    with sandbox_process("--token-lifetime", "30s", "--refresh-lifetime", "1h", "--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user who is logged in to `prod`, a profile that refreshes; no daemon runs."""
    return logged_in(tmp_path, sandbox)


def logged_in(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Make such a user."""
    found = user_at(tmp_path)
    prod = f'url = "{sandbox.url}"\ngrant = "authorization_code"\nclient_id = "{CODE.id}"\n'
    write_profiles(found, f'{sandbox.profiles_toml()}\n[profiles.prod]\n{prod}client_secret = "{CODE.secret}"\n')
    with running(found) as daemon:
        assert daemon.ask(f"login prod code={sandbox.code()}").startswith("ok\n")
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process printed, and what the API said to its token at once."""

    status: int
    token: str
    stderr: str
    accepted: int


def api(sandbox: SandboxProcess, token: str) -> int:
    """Use a token; gives the HTTP status."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(sandbox.url + "/api/1.0/users", headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def all_at_once(user: User, sandbox: SandboxProcess) -> list[Answer]:
    """Run twenty processes at the same time; each uses its token as soon as it has it."""
    answers = []

    def one() -> None:
        done = user.run(*ONESHOT)
        token = done.stdout.strip()
        answers.append(Answer(done.returncode, token, done.stderr, api(sandbox, token) if token else 0))

    threads = [threading.Thread(target=one) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def state(user: User) -> Path:
    """Give the user's state directory."""
    return user.home / ".local" / "state" / "pmcred"


def let_it_age(user: User, seconds: float = 26.0) -> None:
    """Make `prod` look as if so many seconds had passed since its token was issued: it is due at once."""
    profile = config_files.load(user.environ).profiles["prod"]
    lock = StateLock.take(state(user), None)
    store = Store.open(state(user) / "state.db")
    saved = store.load([identity(profile)])[identity(profile)]
    issued = replace(saved.held.issued, boot=saved.held.issued.boot - seconds, wall=saved.held.issued.wall - seconds)
    store.save(
        profile, replace(saved.held, issued=issued), serial=saved.serial, asked_at=saved.asked_at, past=saved.past
    )
    store.close()
    lock.release()


def refreshes(sandbox: SandboxProcess) -> list[Row]:
    """Give the requests that spent a refresh token."""
    return [row for row in sandbox.log() if row["grant"] == "refresh_token"]


def check(answers: list[Answer], sandbox: SandboxProcess) -> None:
    """See that every process got a token that works, and that no refresh token was spent twice or in vain."""
    assert [each for each in answers if (each.status, each.stderr, each.accepted) != (0, "", 200)] == []
    assert len(answers) == AT_ONCE
    spent = [str(row["spent"]) for row in refreshes(sandbox)]
    assert len(spent) == len(set(spent))
    assert {row["status"] for row in refreshes(sandbox)} <= {200}


# --- many at once -----------------------------------------------------------------------------------------------------


def test_twenty_processes_without_a_daemon(user: User, sandbox: SandboxProcess) -> None:
    """Twenty processes find the token due at the same time: one of them refreshes, and all have the new one."""
    for number in (1, 2):
        let_it_age(user)
        check(all_at_once(user, sandbox), sandbox)
        assert len(refreshes(sandbox)) >= number
    assert holder(state(user)).pid is None


def test_twenty_processes_and_a_daemon(user: User, sandbox: SandboxProcess) -> None:
    """A daemon starts in the midst of twenty processes, is killed, and is gone for twenty more; then one starts again.

    Nobody spends what somebody else has spent, and nobody is left without a token.
    """
    let_it_age(user)
    answers: list[Answer] = []
    crowd = threading.Thread(target=lambda: answers.extend(all_at_once(user, sandbox)))
    crowd.start()
    try:
        with running(user) as daemon:
            crowd.join()
            check(answers, sandbox)
            daemon.end(signal.SIGKILL)
    finally:
        crowd.join()
    assert holder(state(user)).pid == daemon.pid, "its label is still there, and its socket"
    let_it_age(user)
    check(all_at_once(user, sandbox), sandbox)
    with running(user):
        check(all_at_once(user, sandbox), sandbox)


@pytest.mark.long
def test_twenty_processes_for_long(user: User, sandbox: SandboxProcess) -> None:
    """The same for ten refreshes in real time, with a daemon every other time that is stopped or killed."""
    turn = 0
    while len(refreshes(sandbox)) < 10:
        turn += 1
        daemon: AbstractContextManager[Daemon | None] = running(user) if turn % 2 else nullcontext()
        with daemon as started:
            check(all_at_once(user, sandbox), sandbox)
            if started is not None:
                started.end(signal.SIGKILL if turn % 4 == 1 else signal.SIGTERM)


# --- when it renews, and when not -------------------------------------------------------------------------------------

AN_HOUR, WINDOW = 3600, 360  # seconds: such a token is renewed in its last tenth, and at the latest half-way through it


@pytest.fixture
def hourly(tmp_path: Path) -> Iterator[tuple[User, SandboxProcess]]:
    """Give a user who is logged in to `prod` with a token of an hour, and their ProcessMaker; no daemon runs."""
    with sandbox_process("--token-lifetime", "1h", "--refresh-lifetime", "2h", "--throttle", "off") as sandbox:
        yield logged_in(tmp_path, sandbox), sandbox


def pass_by(user: User, seconds: float) -> None:
    """Make everything that is saved so much older; promises stay as they are."""
    with closing(sqlite3.connect(state(user) / "state.db")) as database, database:
        database.execute(
            "UPDATE credential SET issued_boot = issued_boot - ?, issued_wall = issued_wall - ?", (seconds, seconds)
        )


def test_a_token_that_nobody_holds_is_renewed_as_soon_as_it_is_due(hourly: tuple[User, SandboxProcess]) -> None:
    """Where every process before left in good order no promise is unknown, and none is waited for."""
    user, sandbox = hourly
    pass_by(user, AN_HOUR - WINDOW + 60)
    done = user.run("get", "prod", "--oneshot", "--for", "10m", "--timeout", "20s")

    assert (done.returncode, done.stderr, len(refreshes(sandbox))) == (0, "", 1)
    assert api(sandbox, done.stdout.strip()) == 200


def test_a_promise_that_was_not_asked_for_is_kept(hourly: tuple[User, SandboxProcess]) -> None:
    """A token is handed out for half a minute; the process is gone, and the next one does not break that."""
    user, sandbox = hourly
    pass_by(user, AN_HOUR - WINDOW - 1800)
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    token = user.run("get", "prod", "--oneshot").stdout
    pass_by(user, 1860)
    long = user.run("get", "prod", "--oneshot", "--for", "10m", "--timeout", "3s")

    if time.clock_gettime(time.CLOCK_BOOTTIME) < began + 30:  # else the machine was too slow to tell
        assert (long.returncode, refreshes(sandbox)) == (5, [])
        assert api(sandbox, token.strip()) == 200


def test_after_a_kill_a_promise_is_assumed(hourly: tuple[User, SandboxProcess]) -> None:
    """Nobody knows what a killed process has promised: for a minute nothing is renewed before it must be."""
    user, sandbox = hourly
    pass_by(user, AN_HOUR - WINDOW + 60)
    lock = StateLock.take(state(user), None)
    label = (state(user) / "lock").read_bytes()
    lock.release()
    (state(user) / "lock").write_bytes(label)  # who is killed leaves it
    done = user.run("get", "prod", "--oneshot", "--for", "10m", "--timeout", "3s")
    assert (done.returncode, refreshes(sandbox)) == (5, [])


def test_no_refresh_takes_what_is_there(hourly: tuple[User, SandboxProcess]) -> None:
    """A job that must not renew has the token that others have got, and sends nothing to find that out."""
    user, sandbox = hourly
    before = user.run("get", "sandbox", "--oneshot", "--no-refresh")
    assert (before.returncode, before.stdout) == (5, "")
    assert "there is no token for sandbox in hand" in before.stderr
    token = user.run("get", "sandbox", "--oneshot").stdout
    assert user.run("get", "sandbox", "--oneshot", "--no-refresh").stdout == token
    header = user.run("header", "sandbox", "--oneshot", "--no-refresh")
    assert header.stdout == f"Authorization: Bearer {token}"
    with running(user):
        assert user.run("get", "sandbox", "--no-refresh").stdout == token
    assert [row["grant"] for row in sandbox.log() if row["generation"] == 4] == ["authorization_code", "password"]
    assert user.run("get", "sandbox", "--no-refresh").returncode == 69


def test_no_refresh_does_not_refresh(hourly: tuple[User, SandboxProcess]) -> None:
    """What is due is left to others as long as the token lives, and then the error says what is the case."""
    user, sandbox = hourly
    token = user.run("get", "prod", "--oneshot").stdout
    pass_by(user, AN_HOUR - WINDOW + 60)
    assert user.run("get", "prod", "--oneshot", "--no-refresh").stdout == token
    told = user.run("get", "prod", "--oneshot", "--no-refresh", "--for", "10m")
    pass_by(user, WINDOW)
    expired = user.run("get", "prod", "--oneshot", "--no-refresh")

    assert (told.returncode, expired.returncode, refreshes(sandbox)) == (5, 5, [])
    assert "cannot be promised for 10 min" in told.stderr
    assert "is no longer good" in expired.stderr
    assert "without --no-refresh" in expired.stderr


def test_no_refresh_where_there_is_no_login_and_where_none_is_needed(user: User, sandbox: SandboxProcess) -> None:
    """Without a login the mend is to log in. A personal access token is never renewed: it is read where it is kept."""
    text = (
        f'[profiles.prod]\nurl = "{sandbox.url}"\ngrant = "authorization_code"\nclient_id = "4"\nclient_secret = "x"\n'
    )
    own = f'[profiles.own]\nurl = "{sandbox.url}"\ngrant = "personal_access_token"\ntoken = "a-token-of-its-own"\n'
    write_profiles(user, text + own)
    done = user.run("get", "prod", "--oneshot", "--no-refresh")

    assert (done.returncode, done.stdout) == (4, "")
    assert "pmcred login prod" in done.stderr
    assert user.run("get", "own", "--oneshot", "--no-refresh").stdout == "a-token-of-its-own\n"
    too_long = user.run("get", "prod", "--oneshot", "--no-refresh", "--for", "10000d")
    assert too_long.returncode == 4


# --- one process ------------------------------------------------------------------------------------------------------


def test_a_daemon_that_answers_is_asked(user: User) -> None:
    """With a daemon, --oneshot is an ordinary `get`: nothing else touches the state."""
    with running(user) as daemon:
        done = user.run(*ONESHOT)
        assert done.returncode == 0
        assert done.stdout == user.run("get", "prod").stdout
        assert holder(state(user)).pid == daemon.pid


def test_a_daemon_with_another_socket_is_found(user: User) -> None:
    """A daemon that listens elsewhere is found by the label of the lock that it holds."""
    elsewhere = user.home / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    with running(user, "--socket", str(elsewhere / "socket")):
        nobody = user.run("get", "prod")
        assert nobody.returncode == 69
        assert "pmcred get prod --oneshot" in " ".join(nobody.stderr.split())
        assert user.run(*ONESHOT).returncode == 0


def test_header_and_json(user: User, sandbox: SandboxProcess) -> None:
    """What is printed has the same form as with a daemon, and names the same token."""
    token = user.run(*ONESHOT).stdout.strip()
    header = user.run("header", "prod", "--oneshot")
    told = json.loads(user.run("get", "--json", "--oneshot", sandbox.url + "/x", PMCRED_PROFILE="").stdout or "{}")

    assert header.stdout == f"Authorization: Bearer {token}\n"
    assert told == {}, "three profiles are for this URL"
    told = json.loads(user.run("get", "--json", "--oneshot", PMCRED_PROFILE="prod").stdout)
    assert told["access_token"] == token
    assert told["good_until"] <= told["expires_at"]


def test_what_it_promised_is_written_down(user: User) -> None:
    """However short the promise of --for: the process that made it is gone, and the next one must keep it."""
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert user.run(*ONESHOT).returncode == 0
    profile = config_files.load(user.environ).profiles["prod"]
    store = Store.open(state(user) / "state.db")
    (saved,) = store.load([identity(profile)]).values()
    store.close()

    assert saved.leased_until >= began + 10


MISTAKES = ("nope", "wrong", "away", "hidden", "nobody")


def test_failures_are_told_as_by_a_daemon(user: User, sandbox: SandboxProcess) -> None:
    """Exit status and words are the same with a daemon and without: no such profile, a refused password, nobody there,
    no secret, no login.
    """
    text = sandbox.profiles_toml()
    one = text.partition("[profiles.sandbox3]")[0]
    profiles = {
        "wrong": one.replace("demo-password", "not-the-password"),
        "away": one.replace(sandbox.url, "http://127.0.0.1:1"),
        "hidden": one.replace('password = "demo-password"', 'password = { file = "/nonexistent/secret" }'),
        "nobody": f'[profiles.sandbox]\nurl = "{sandbox.url}"\ngrant = "authorization_code"\nclient_id = "3"\n'
        'client_secret = "x"\n',
    }
    write_profiles(
        user, "\n".join(text.replace("profiles.sandbox", f"profiles.{name}") for name, text in profiles.items())
    )
    alone = [user.run("get", name, "--oneshot") for name in MISTAKES]
    (state(user) / "state.db").unlink()
    with running(user):
        asked = [user.run("get", name) for name in MISTAKES]

    assert [done.returncode for done in alone] == [3, 4, 5, 6, 4]
    for mine, theirs in zip(alone, asked, strict=True):
        assert (mine.returncode, mine.stdout, mine.stderr) == (theirs.returncode, "", theirs.stderr)


def test_broken_profiles(user: User) -> None:
    """With mistakes in the profiles files every one of them is told, as `pmcredd` would."""
    write_profiles(user, '[profiles.a]\nurl = "https://h"\n[profiles.b]\ngrant = "pasword"\n')

    done = user.run("get", "a", "--oneshot")

    assert done.returncode == 6
    assert "[profiles.a]" in done.stderr
    assert "[profiles.b]" in done.stderr
    assert "pmcredd --check" in done.stderr


def test_a_secret_of_the_environment(user: User, sandbox: SandboxProcess) -> None:
    """A job's own environment may hold the secret, under systemd too: it is the job that asks, no service."""
    text = sandbox.profiles_toml().replace('"demo-password"', '{ env = "JOB_PASSWORD" }')
    write_profiles(user, text)

    done = user.run("get", "sandbox", "--oneshot", JOB_PASSWORD="demo-password", INVOCATION_ID="1234")

    assert done.returncode == 0, done.stderr
    assert api(sandbox, done.stdout.strip()) == 200


def test_a_damaged_state_file(user: User, sandbox: SandboxProcess) -> None:
    """A damaged state file is set aside and told; what can be asked for anew is."""
    (state(user) / "state.db").write_bytes(b"rubbish " * 1000)

    done = user.run("get", "sandbox", "--oneshot")

    assert done.returncode == 0
    assert "damaged" in done.stderr
    assert api(sandbox, done.stdout.strip()) == 200


def test_an_unusable_state_directory(user: User) -> None:
    """A state directory that cannot be made is a clear error with the mend."""
    done = user.run("get", "sandbox", "--oneshot", PMCRED_STATE_DIR="/proc/pmcred")

    assert done.returncode == 1
    assert "/proc/pmcred" in done.stderr
    assert "PMCRED_STATE_DIR" in done.stderr
    runtime = 'storage = "runtime"\n'
    write_profiles(user, f"[daemon]\n{runtime}" + (user.config / "profiles.toml").read_text())
    done = user.run("get", "sandbox", "--oneshot", XDG_RUNTIME_DIR="/nonexistent")
    assert done.returncode == 1
    assert "XDG_RUNTIME_DIR" in done.stderr


def test_verbose_tells_what_it_does_and_no_secret(user: User, sandbox: SandboxProcess) -> None:
    """With -v the log of what a daemon would do comes on stderr, without the token."""
    (state(user) / "state.db").unlink()
    done = user.run("-v", "get", "sandbox", "--oneshot")

    assert "new token" in done.stderr
    assert done.stdout.strip() not in done.stderr
    assert "demo-password" not in done.stderr


# --- one process that is disturbed ------------------------------------------------------------------------------------


@pytest.fixture
def refreshing(user: User, sandbox: SandboxProcess) -> "Iterator[subprocess.Popen[str]]":
    """Give a process whose refresh the server has acted on and not answered yet."""
    let_it_age(user)
    sandbox.fault("delay-answer=3s:1,grant_type=refresh_token")
    with subprocess.Popen(
        [PMCRED, *ONESHOT], env=user.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not refreshes(sandbox):
            assert process.poll() is None, process.communicate()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_refresh_under_way_is_finished(
    user: User, sandbox: SandboxProcess, refreshing: "subprocess.Popen[str]", number: int
) -> None:
    """Told to end (by `timeout`, say) it waits for the answer that is on its way, saves it, and leaves: the next one
    has the new pair.
    """
    refreshing.send_signal(number)
    output, errors = refreshing.communicate(timeout=60)

    status = -number if number == signal.SIGINT else 128 + number
    assert (refreshing.returncode, output) == (status, "")
    assert "Traceback" not in errors
    assert api(sandbox, user.run(*ONESHOT).stdout.strip()) == 200
    assert len(refreshes(sandbox)) == 1


def test_a_client_without_patience_loses_no_login(user: User, sandbox: SandboxProcess) -> None:
    """When --timeout is over the answer that is on its way is still taken and saved."""
    let_it_age(user)
    sandbox.fault("delay-answer=3s:1,grant_type=refresh_token")

    done = user.run(*ONESHOT, "--timeout", "1s")

    assert done.returncode == 5
    assert api(sandbox, user.run(*ONESHOT).stdout.strip()) == 200
    assert len(refreshes(sandbox)) == 1


def test_a_daemon_waits_for_it(user: User, refreshing: "subprocess.Popen[str]") -> None:
    """A daemon that starts meanwhile says whom it waits for, starts when that one is done, and has what it saved."""
    with running(user) as daemon:
        token = user.run("get", "prod").stdout
        assert token
        assert f"a pmcred --oneshot (process {refreshing.pid})" in daemon.logged()
        assert refreshing.communicate(timeout=60)[0] == token


def test_others_wait_for_it_and_say_who_it_was(user: User, refreshing: "subprocess.Popen[str]") -> None:
    """Another process waits as long as --timeout allows, and names the one that it waited for."""
    refreshing.send_signal(signal.SIGSTOP)  # it holds what it holds, however long the other takes to start
    done = user.run(*ONESHOT, "--timeout", "0.2s")
    refreshing.send_signal(signal.SIGCONT)

    assert done.returncode == 5
    assert f"process {refreshing.pid}" in done.stderr
    assert user.run(*ONESHOT).stdout == refreshing.communicate(timeout=60)[0]


def test_a_second_daemon_does_not_wait(user: User) -> None:
    """A daemon that finds another one refuses at once, with a command that ends the other."""
    with running(user) as daemon:
        done = fail_to_start(user)

    assert done.returncode == 1
    assert str(daemon.pid) in done.stderr
    assert "pmcred stop" in done.stderr
    assert "waiting" not in done.stderr


def test_a_daemon_that_leaves_is_waited_for(user: User, sandbox: SandboxProcess) -> None:
    """After `pmcred stop` a daemon may finish what was sent; the next one waits for that, and so does --oneshot."""
    let_it_age(user)
    sandbox.fault("delay-answer=3s:1,grant_type=refresh_token")
    with running(user) as first:
        while not refreshes(sandbox):
            os.sched_yield()
        first.process.terminate()
        while user.socket.exists():
            os.sched_yield()
        with running(user) as second:
            assert "a pmcredd that leaves" in second.logged()
            assert api(sandbox, user.run("get", "prod").stdout.strip()) == 200
    assert len(refreshes(sandbox)) == 1
