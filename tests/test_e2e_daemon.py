"""The installed daemon at work: real processes, a real socket, a ProcessMaker look-alike over real HTTP."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, fail_to_start, running, user_at, write_profiles
from support.sandbox import SandboxProcess, sandbox_process
from support.user import User

PMCREDD = Path(sys.executable).with_name("pmcredd")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user with the two profiles of the sandbox, `sandbox` and `sandbox3`."""
    found = user_at(tmp_path)
    write_profiles(found, sandbox.profiles_toml())
    return found


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """Run this user's daemon."""
    with running(user, "-v") as started:
        yield started


def api(sandbox: SandboxProcess, token: str, path: str) -> int:
    """Use a token; gives the HTTP status."""
    request = urllib.request.Request(
        sandbox.url + path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def token(user: User, name: str = "sandbox") -> str:
    """Get a token as a script does."""
    done = user.run("get", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def asked(sandbox: SandboxProcess) -> int:
    """Count the token requests that the sandbox has seen."""
    return len(sandbox.log())


def fill(path: Path) -> None:
    """Write to a file until its file system is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - anything else is not the end of the disk
    finally:
        os.close(descriptor)


# --- the main job -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [("sandbox", "/api/1.0/users"), ("sandbox3", "/api/1.0/workflow/cases/draft/paged?limit=1")],
    ids=["ProcessMaker 4", "ProcessMaker 3"],
)
def test_a_token_that_works(daemon: Daemon, sandbox: SandboxProcess, name: str, path: str) -> None:
    """`pmcred get` prints a token, alone on its line, that the instance's API accepts."""
    assert api(sandbox, token(daemon.user, name), path) == 200


def test_header_is_ready_for_curl(daemon: Daemon) -> None:
    """`pmcred header` prints one header line with the same token."""
    assert daemon.user.run("header", "sandbox").stdout == f"Authorization: Bearer {token(daemon.user)}\n"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_token_survives_the_daemon(user: User, sandbox: SandboxProcess, end: int) -> None:
    """Stopped or killed, the next daemon serves the same token and asks the server for nothing."""
    with running(user) as first:
        before = token(user)
        token(user, "sandbox3")
        first.end(end)
    count = asked(sandbox)

    with running(user):
        assert token(user) == before

    assert asked(sandbox) == count


def test_storage_runtime_keeps_nothing_on_disk(user: User, sandbox: SandboxProcess) -> None:
    """With storage = "runtime" a token outlives the process in the runtime directory, and no state is on disk."""
    write_profiles(user, '[daemon]\nstorage = "runtime"\n' + sandbox.profiles_toml())
    with running(user) as first:
        before = token(user)
        first.end(signal.SIGKILL)
    with running(user):
        assert token(user) == before

    assert not (user.home / ".local").exists()
    assert (user.home / "run" / "pmcred" / "state" / "state.db").exists()


# --- signals, start and end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_cleanly(user: User, number: int) -> None:
    """Asked to end, the daemon takes its socket away and exits with 0, without a traceback."""
    with running(user) as daemon:
        assert daemon.end(number) == 0
        assert not user.socket.exists()
        assert "Traceback" not in daemon.logged()


def test_stop_ends_it_and_is_answered(daemon: Daemon) -> None:
    """`pmcred stop` says that the daemon stops, and it does."""
    done = daemon.user.run("stop")

    assert done.returncode == 0
    assert daemon.process.wait(60) == 0
    assert daemon.user.run("get", "sandbox").returncode == 69


def test_a_second_daemon_is_refused(daemon: Daemon) -> None:
    """A second daemon says who keeps the first's state, ends with 1, and the first serves on."""
    done = fail_to_start(daemon.user)

    assert done.returncode == 1
    assert str(daemon.pid) in done.stderr
    assert "Traceback" not in done.stderr
    other = fail_to_start(daemon.user, more={"PMCRED_STATE_DIR": str(daemon.user.home / "other")})
    assert other.returncode == 1
    assert str(daemon.user.socket.parent) in other.stderr
    assert token(daemon.user)


def test_check_says_what_is_wrong(user: User) -> None:
    """`pmcredd --check` validates the profiles, tells every mistake, and starts nothing."""
    good = fail_to_start(user, "--check")
    assert (good.returncode, good.stdout.split(" in ")[0]) == (0, "2 profiles")
    write_profiles(user, '[profiles.a]\nurl = "https://h"\n[profiles.b]\ngrant = "pasword"\n')
    bad = fail_to_start(user, "--check")
    assert bad.returncode == 6
    assert "[profiles.a]" in bad.stderr
    assert "password" in bad.stderr
    assert fail_to_start(user).returncode == 6
    assert not user.socket.exists()


def test_help_and_version(user: User) -> None:
    """The daemon tells its version and options."""
    assert fail_to_start(user, "--version").stdout.startswith("pmcredd ")
    assert "SIGHUP" in fail_to_start(user, "--help").stdout
    assert fail_to_start(user, "--nonsense").returncode == 2


def test_without_any_profile_it_serves_and_says_how_to_begin(tmp_path: Path) -> None:
    """An empty configuration is no error: the daemon runs, and the first question is answered with what to do."""
    with running(user_at(tmp_path)) as daemon:
        assert daemon.user.run("get", "prod").returncode == 3
        assert "pmcred init" in daemon.logged()


def test_the_socket_option_wins(user: User) -> None:
    """`pmcredd --socket PATH` listens there; `pmcred --socket PATH` asks there."""
    directory = user.home / "elsewhere"
    directory.mkdir(mode=0o700)
    with running(user, "--socket", str(directory / "s")):
        assert user.run("--socket", str(directory / "s"), "get", "sandbox").returncode == 0
        assert not user.socket.exists()


def test_without_a_runtime_directory(short_path: Path, sandbox: SandboxProcess) -> None:
    """Cron and containers have no runtime directory: daemon and client still find each other, below the state."""
    user = user_at(short_path)
    write_profiles(user, sandbox.profiles_toml())
    if os.path.isdir(f"/run/user/{os.getuid()}"):
        pytest.skip("this machine has a runtime directory for the user, which rightly wins")
    gone = {"PMCRED_SOCKET": "", "XDG_RUNTIME_DIR": ""}
    with running(user, more=gone):
        assert user.run("get", "sandbox", **gone).returncode == 0
        assert (user.home / ".local/state/pmcred/run/socket").is_socket()


def test_ctrl_c_while_it_is_still_loading(user: User) -> None:
    """It dies of it, as a shell expects, and shows no traceback."""
    command = [sys.executable, "-X", "importtime", "-m", "pmcredd"]
    with subprocess.Popen(command, env=user.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trio._core" in line:
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in told


def test_under_journald_lines_carry_their_priority(user: User, tmp_path: Path) -> None:
    """When stderr is the journal each line begins with its priority, and has no time of its own."""
    write_profiles(
        user,
        '[profiles.x]\nurl = "https://h.example"\ngrant = "client_credentials"\nclient_id = "1"\nclient_secret = "s"\n',
    )
    log = tmp_path / "journal"
    with log.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        environ = user.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with subprocess.Popen([PMCREDD], env=environ, stderr=stderr) as process:
            while not user.socket.exists() and process.poll() is None:
                os.sched_yield()
            while user.run("stop").returncode == 69:
                os.sched_yield()
    lines = log.read_text().splitlines()
    assert lines[0].startswith("<4>")
    assert any(line.startswith("<6>listening on") for line in lines)


# --- reload -----------------------------------------------------------------------------------------------------------


def test_reload_by_command_and_by_signal(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """A new profile is there after a reload, by command or SIGHUP, and the others' tokens are as they were."""
    before = token(daemon.user)
    text = sandbox.profiles_toml()
    write_profiles(daemon.user, text + text.replace("profiles.sandbox", "profiles.more"))
    assert daemon.user.run("reload").returncode == 0
    assert token(daemon.user, "more")
    write_profiles(daemon.user, text)
    daemon.process.send_signal(signal.SIGHUP)
    while daemon.user.run("get", "more").returncode == 0:
        os.sched_yield()
    assert token(daemon.user) == before


def test_a_broken_file_on_reload_changes_nothing(daemon: Daemon) -> None:
    """With broken TOML the old profiles serve on, the reload fails with what is wrong, and status tells it too."""
    before = token(daemon.user)
    write_profiles(daemon.user, "[profiles.sandbox\nurl = 1")

    done = daemon.user.run("reload")

    assert done.returncode == 6
    assert "profiles.toml" in done.stderr
    assert token(daemon.user) == before
    daemon.process.send_signal(signal.SIGHUP)
    while daemon.logged().count("the profiles are as they were") < 2:
        os.sched_yield()
    status = daemon.user.run("status")
    assert "profiles.toml" in status.stdout + status.stderr


# --- bad input --------------------------------------------------------------------------------------------------------


def test_nobody_is_kept_waiting_by_200_silent_connections(daemon: Daemon) -> None:
    """Two hundred connections that say nothing, or half a line, delay no `get`."""
    silent = []
    try:
        for number in range(200):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(daemon.user.socket))
            if number % 2:
                connection.send(b"get sand")
            silent.append(connection)
        for _ in range(20):
            assert token(daemon.user)
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize(
    "line",
    ["x" * 1_000_000, "get \0", "get a%0Ab", "get", "status " * 100, "get sandbox for=soon", "get sandbox for=-1"],
    ids=["a megabyte", "NUL", "newline in a name", "no name", "many words", "no duration", "negative"],
)
def test_bad_lines_are_answered_with_an_error(daemon: Daemon, line: str) -> None:
    """Whatever comes over the socket, the answer is an error in the protocol, and the daemon serves on."""
    try:
        answer = daemon.ask(line)
    except OSError:
        answer = "error bad-request\n"  # the connection was closed while we still wrote our megabyte
    assert answer.startswith("error bad-request\n")
    assert token(daemon.user)


def test_an_unusable_state_directory(user: User) -> None:
    """A state directory that cannot be made is a clear error with the mend."""
    done = fail_to_start(user, more={"PMCRED_STATE_DIR": "/proc/pmcred"})

    assert done.returncode == 1
    assert "/proc/pmcred" in done.stderr
    assert "PMCRED_STATE_DIR" in done.stderr


def test_a_damaged_state_file(user: User) -> None:
    """With a damaged state file the daemon starts, says so, keeps the file, and serves."""
    state = user.home / ".local" / "state" / "pmcred"
    state.mkdir(mode=0o700, parents=True)
    (state / "state.db").touch(mode=0o600)
    (state / "state.db").write_bytes(b"rubbish " * 1000)
    with running(user) as daemon:
        assert token(user)
        (aside,) = state.glob("state.db.damaged-*")
        assert aside.read_bytes() == b"rubbish " * 1000
        assert str(aside) in daemon.logged()
        assert "damaged" in daemon.ask("hello")


def test_a_full_disk(user: User, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With a full disk what lives is served and the trouble told; with room again everything goes on."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, to mount a small file system of its own")
    state = tmp_path / "small"
    state.mkdir(mode=0o700)
    mount = f'mount -t tmpfs -o size=200k,mode=700 tmpfs {state} && exec "$@"'
    with running(
        user,
        more={"PMCRED_STATE_DIR": str(state)},
        command=["unshare", "--mount", "sh", "-c", mount, "sh", str(PMCREDD)],
    ) as daemon:
        before = token(user)
        count = asked(sandbox)
        inside = Path(f"/proc/{daemon.pid}/root{state}")
        fill(inside / "filler")
        told = ""
        while "disk is full" not in told:  # a log that was wound back has room for a few more
            told += user.run("login", "sandbox").stderr + user.run("status").stdout
        assert token(user)
        (inside / "filler").unlink()
        assert user.run("login", "sandbox").returncode == 0
        while "disk is full" in user.run("status").stdout:
            os.sched_yield()
        after = token(user)
        daemon.end(signal.SIGKILL)
        assert before != after
        assert asked(sandbox) > count


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_anywhere_but_in_the_store(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """At the most verbose, through success and failure, no secret is in the log, an argv or a status."""
    got = [token(daemon.user), token(daemon.user, "sandbox3")]
    text = sandbox.profiles_toml()
    wrong = text.replace("demo-password", "not-the-password")
    write_profiles(daemon.user, text + wrong.replace("profiles.sandbox", "profiles.wrong"))
    daemon.user.run("reload")
    outputs = [
        daemon.user.run(*words)
        for words in (["get", "wrong"], ["-v", "status"], ["status", "--json"], ["login", "wrong"], ["profile", "list"])
    ]
    told = daemon.logged() + "".join(done.stdout + done.stderr for done in outputs)
    told += Path(f"/proc/{daemon.pid}/cmdline").read_text()
    clients = [row for row in text.splitlines() if "client_secret" in row]
    secrets = [*got, "demo-password", "not-the-password", *(json.loads(row.split(" = ")[1]) for row in clients)]

    for secret in secrets:
        assert secret not in told
    assert "wrong" in told


def test_others_cannot_reach_it(daemon: Daemon) -> None:
    """The socket and everything the daemon made is its user's alone."""
    for path in (daemon.user.socket, *daemon.user.socket.parent.iterdir(), daemon.user.socket.parent):
        assert path.lstat().st_mode & 0o077 == 0
    for path in (daemon.user.home / ".local/state/pmcred").rglob("*"):
        assert path.lstat().st_mode & 0o077 == 0
