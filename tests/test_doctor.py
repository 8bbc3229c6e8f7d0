"""pmcred doctor as a person has it: the command, real daemons, real servers, real files."""

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, running, user_at, write_profiles
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

import pmcredd
from pmcredd import wire
from pmcredd.cli.doctor import checkup, files
from pmcredd.cli.doctor.files import Read, look_at_files, look_at_socket
from pmcredd.cli.doctor.finding import Finding, Level
from pmcredd.profiles import Config, Settings

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxProcess]:
    """A ProcessMaker look-alike for the tests that leave it as it is."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, shared: SandboxProcess) -> User:
    """A user with the two profiles of the sandbox."""
    user = user_at(tmp_path)
    write_profiles(user, shared.profiles_toml())
    return user


def examine(user: User, *words: str, status: int | None = None) -> list[Row]:
    """Run the doctor; gives what it found. Whatever happens, nothing is said on stderr, and the status fits."""
    done = user.run("doctor", "--json", *words)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["problems"] else 0)
    if status is not None:
        assert done.returncode == status, done.stdout
    rows: list[Row] = told["findings"]
    return rows


def found(rows: list[Row], area: str, check: str, subject: str | None = None) -> Row:
    """Give the one finding of this name."""
    (row,) = [
        each for each in rows if (each["area"], each["check"]) == (area, check) and subject in (None, each["subject"])
    ]
    return row


def token(daemon: Daemon, name: str) -> str:
    """Get a token of the daemon's."""
    (found,) = [line for line in daemon.ask(f"get {name}").splitlines() if line.startswith("access_token=")]
    return found.removeprefix("access_token=")


@contextmanager
def fake(user: User, *profiles: Mapping[str, str], **hello: str) -> Iterator[FakeDaemon]:
    """A daemon that has these profiles and says this of itself."""
    self = {"version": pmcredd.__version__, "protocol": "1", "pid": str(os.getpid()), "started": "1"} | hello

    def answer(line: bytes) -> bytes:
        request = wire.parse_request(line)
        some = [each for each in profiles if request.target in (None, each["profile"])]
        if request.verb == "hello":
            return wire.format_ok([self], many=False)
        if request.verb == "status":
            return wire.format_ok(some, many=True)
        assert request.verb == "watch"
        return wire.STREAM_HEAD + b"".join(map(wire.format_block, some))

    with FakeDaemon(user.socket, answer) as daemon:
        user.socket.chmod(0o600)
        yield daemon


def block(shared: SandboxProcess, **more: str) -> dict[str, str]:
    """The status of the profile `sandbox`."""
    base = {"profile": "sandbox", "url": shared.url, "generation": "4", "grant": "password", "state": "live"}
    return base | more


# --- where all is well ------------------------------------------------------------------------------------------------


def test_all_is_well(user: User, shared: SandboxProcess) -> None:
    """With a daemon at work every part is looked at and found good; the daemon has the same token afterwards."""
    with running(user) as daemon:
        tokens = [token(daemon, name) for name in ("sandbox", "sandbox3")]
        seen = len(shared.log())
        rows = examine(user, status=0)
        asked = shared.log()[seen:]
        assert [token(daemon, name) for name in ("sandbox", "sandbox3")] == tokens
    assert {row["level"] for row in rows} == {"ok"}
    for area, check in [
        ("profiles", "profiles"),
        ("files", "state"),
        ("files", "socket"),
        ("daemon", "version"),
        ("daemon", "memory"),
    ]:
        assert found(rows, area, check)
    for name in ("sandbox", "sandbox3"):
        for check in ("client_secret", "password", "state", "api"):
            assert found(rows, "profile", check, name)
    for subject in (shared.url, f"{shared.url}, workspace workflow"):
        assert found(rows, "server", "endpoint", subject)
        assert found(rows, "server", "clock", subject)
    # One request a server, which names no grant and so can get nothing.
    assert {row["generation"] for row in asked} == {3, 4}
    assert len(asked) == 2
    assert {row["grant"] for row in asked} == {"?"}


def test_nothing_secret_is_told(user: User, shared: SandboxProcess) -> None:
    """Neither a secret of a profile nor a token, in whichever form and however much is asked for."""
    import tomllib

    profiles = tomllib.loads(shared.profiles_toml())["profiles"].values()
    secrets = [profile[key] for profile in profiles for key in ("client_secret", "password")]
    with running(user) as daemon:
        secrets += [token(daemon, name) for name in ("sandbox", "sandbox3")]
        runs = [user.run("doctor", *words) for words in ([], ["--json"], ["-v"])]
    assert len(secrets) == 6
    for done in runs:
        assert not any(secret in done.stdout + done.stderr for secret in secrets if len(secret) > 6)


def test_nothing_is_asked_that_could_renew(user: User, shared: SandboxProcess) -> None:
    """A `get` may renew, and a renewal may kill a token in use: the doctor asks only what changes nothing."""
    with fake(user, block(shared, fingerprint="ab", access_token="abc.def")) as daemon:
        rows = examine(user, "sandbox")
    assert {line.split()[0] for line in daemon.requests} == {b"hello", b"status", b"watch"}
    assert found(rows, "profile", "api")["level"] == "problem"  # it is no token of this server


def test_one_profile_is_looked_at_alone(user: User) -> None:
    """With a name: its server, its secrets and no others; a name that nobody has is an error of its own."""
    rows = examine(user, "sandbox3")
    assert {row["subject"] for row in rows if row["area"] == "profile"} == {"sandbox3"}
    assert [row["check"] for row in rows if row["area"] == "server"] == ["endpoint", "clock"]
    done = user.run("doctor", "sandbx")
    assert done.returncode == 3
    assert "did you mean sandbox?" in done.stderr


def test_on_a_terminal(user: User) -> None:
    """80 columns are enough, colour tells how bad it is, and NO_COLOR is obeyed."""
    write_profiles(
        user, "[profiles.a]\nurl = 'http://127.0.0.1:9'\ngrant = 'password'\nusername = 'u'\nclient_id = '3'\n"
    )
    command = ["/bin/sh", "-c", 'stty cols 80; exec "$0" doctor', PMCRED]
    with PseudoTerminal(command, user.environ | {"TERM": "xterm"}) as terminal:
        assert terminal.end() == 1
        coloured = terminal.screen
    with PseudoTerminal(command, user.environ | {"TERM": "xterm", "NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 1
    assert "\x1b[31mproblem\x1b[0m" in coloured
    assert "\x1b" not in terminal.screen
    for line in terminal.screen.splitlines():
        assert len(line) <= 80 or max(map(len, line.split())) > 50, line  # a path stays whole


# --- profiles and files -----------------------------------------------------------------------------------------------


def test_broken_profiles_hide_nothing_else(user: User, shared: SandboxProcess) -> None:
    """Each mistake is told, the profiles without any are looked at, and the daemon's states of the others too."""
    with running(user) as daemon:
        daemon.ask("get sandbox3")
        text = shared.profiles_toml().replace("[profiles.sandbox3]", "[profiles.sandbox3]\nnonsense = 1")
        write_profiles(user, text)
        daemon.ask("reload")
        rows = examine(user, status=1)
        named = examine(user, "sandbox3", status=1)
    mistake = found(rows, "profiles", "mistake")
    assert "nonsense" in mistake["sentence"]
    assert "the daemon keeps those that it has" in found(rows, "daemon", "profiles")["sentence"]
    assert found(rows, "profile", "client_secret")["subject"] == "sandbox"
    assert found(rows, "profile", "state", "sandbox3")["level"] == "ok"
    assert "nonsense" in found(named, "profiles", "mistake")["sentence"]


def test_a_user_without_profiles(tmp_path: Path) -> None:
    """Somebody who has just installed it is told how to begin."""
    rows = examine(user_at(tmp_path), status=1)
    assert found(rows, "profiles", "profiles")["mend"] == "pmcred init"
    assert "is not there yet" in found(rows, "files", "state")["sentence"]
    assert found(rows, "daemon", "socket")["level"] == "problem"


def test_profiles_that_were_not_read_again(user: User, shared: SandboxProcess) -> None:
    """A profile that was added is named, with the command that brings it to the daemon."""
    with running(user):
        more = (
            "\n[profiles.new]\nurl = 'http://127.0.0.1:9'\ngrant = 'personal_access_token'\ntoken = { env = 'NONE' }\n"
        )
        write_profiles(user, shared.profiles_toml() + more)
        row = found(examine(user, "new"), "daemon", "profiles")
    assert row["level"] == "warning"
    assert "new" in row["sentence"]
    assert row["mend"].startswith("pmcred reload")


def test_what_others_can_read_or_write(user: User, tmp_path: Path) -> None:
    """Each wrong mode is told with the command that mends it; when all were run, nothing of it is left."""
    state = user.home / ".local" / "state" / "pmcred"
    key = tmp_path / "client.key"
    key.write_text("no key")
    with running(user) as daemon:
        daemon.ask("get sandbox")
        path = user.config / "profiles.toml"
        path.write_text(path.read_text().replace("[profiles.sandbox]", f"[profiles.sandbox]\nclient_cert = '{key}'", 1))
        for place, mode in (
            (user.config, 0o777),
            (user.profiles_d, 0o770),
            (state, 0o755),
            (state / "state.db", 0o640),
            (user.socket.parent, 0o755),
            (user.socket, 0o666),
            (key, 0o644),
        ):
            if not place.exists():
                place.mkdir()
            place.chmod(mode)
        rows = [row for row in examine(user, status=1) if row["area"] == "files"]
        mends = {row["mend"] for row in rows}
        assert mends == {
            f"chmod go-w {user.config}",
            f"chmod go-w {user.profiles_d}",
            f"chmod 700 {state}",
            f"chmod 600 {state / 'state.db'}",
            f"chmod 700 {user.socket.parent}",
            f"chmod 600 {user.socket}",
            f"chmod 600 {key}",
        }
        for mend in mends:
            assert os.system(mend) == 0
        assert {row["level"] for row in examine(user) if row["area"] == "files"} == {"ok"}


def test_a_state_that_has_no_place(user: User) -> None:
    """A runtime directory that is wanted and not there, and a state directory that is a file."""
    path = user.config / "profiles.toml"
    profiles = path.read_text()
    path.write_text("[daemon]\nstorage = 'runtime'\n" + profiles)
    done = user.run("doctor", "--json", XDG_RUNTIME_DIR=str(user.home / "gone"))
    row = found(json.loads(done.stdout)["findings"], "files", "state")
    assert row["level"] == "problem"
    assert "needs a runtime directory" in row["sentence"]
    path.write_text(profiles)
    done = user.run("doctor", "--json", PMCRED_STATE_DIR=str(path))
    row = found(json.loads(done.stdout)["findings"], "files", "state")
    assert "is not a directory of yours" in row["sentence"]


# --- the daemon -------------------------------------------------------------------------------------------------------


def test_a_socket_that_a_killed_daemon_left_behind(user: User) -> None:
    """Somebody looks for the daemon at a file that is there: nobody listens."""
    user.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(user.socket))
    row = found(examine(user, status=1), "daemon", "socket")
    assert f"{user.socket}: nobody listens there" in row["sentence"]
    assert "pmcredd" in row["mend"]


def test_a_daemon_of_another_version(user: User, shared: SandboxProcess) -> None:
    """An upgrade under a running daemon: both versions, and what starts the new one. Its process is not a daemon's."""
    with fake(user, block(shared), version="0.0.9", notice="the state file was damaged", pid="none"):
        rows = examine(user, "sandbox", status=0)
    row = found(rows, "daemon", "version")
    assert row["level"] == "warning"
    assert "pmcredd 0.0.9 runs" in row["sentence"]
    assert pmcredd.__version__ in row["sentence"]
    assert "pmcred stop" in row["mend"]
    assert found(rows, "daemon", "notice")["sentence"] == "the state file was damaged"
    assert "cannot be seen" in found(rows, "daemon", "memory")["sentence"]


def test_a_daemon_that_talks_nonsense(user: User) -> None:
    """It is a problem of the daemon, and everything else is looked at all the same."""
    with FakeDaemon(user.socket, lambda _: b"hello yourself\n\n"):
        rows = examine(user, "sandbox", status=1)
    assert "does not answer as it should" in found(rows, "daemon", "socket")["sentence"]
    assert found(rows, "server", "endpoint")["level"] == "ok"


def test_a_profile_that_needs_a_login(user: User, shared: SandboxProcess) -> None:
    """What the daemon knows is told: the state, why, and the command."""
    stopped = block(shared, state="needs-login", last_error="the grant is dead", hint="pmcred login sandbox")
    with fake(user, stopped):
        row = found(examine(user, "sandbox", status=1), "profile", "state")
    assert (row["level"], row["mend"]) == ("problem", "pmcred login sandbox")
    assert "the grant is dead" in row["sentence"]


def test_another_socket_can_be_named(user: User, tmp_path: Path, shared: SandboxProcess) -> None:
    """--socket, as everywhere."""
    elsewhere = tmp_path / "else" / "socket"
    rows = examine(user, "--socket", str(elsewhere))
    assert f"{elsewhere}: there is no such directory" in found(rows, "daemon", "socket")["sentence"]


# --- the server -------------------------------------------------------------------------------------------------------


def test_a_server_that_gives_no_token_now(user: User) -> None:
    """Maintenance is a problem, a throttle that passes is a warning; both tell when to come back."""
    with sandbox_process() as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        sandbox.fault("503=90:1", "429=7:1")
        down = found(examine(user, "sandbox"), "server", "endpoint")
        busy = found(examine(user, "sandbox"), "server", "endpoint")
    assert (down["level"], busy["level"]) == ("problem", "warning")
    assert "not available" in down["sentence"]
    assert "1 min" in down["sentence"]
    assert "too many requests" in busy["sentence"]
    assert "7 s" in busy["sentence"]


def test_a_throttle_that_others_use_up(user: User) -> None:
    """The server's own count is told, before it runs out."""
    with sandbox_process("--throttle", "4") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        assert "3 of 4" in found(examine(user, "sandbox"), "server", "endpoint")["sentence"]
        for _ in range(2):
            examine(user, "sandbox")
        row = found(examine(user, "sandbox"), "server", "endpoint")
    assert row["level"] == "warning"
    assert "0 of 4" in row["sentence"]


@pytest.mark.parametrize(("offset", "level", "words"), [("2m", "warning", "behind"), ("-10m", "problem", "ahead of")])
def test_a_clock_that_is_wrong(user: User, offset: str, level: str, words: str) -> None:
    """Whose it is nobody can tell: both are named."""
    with sandbox_process(f"--clock-offset={offset}") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        row = found(examine(user, "sandbox"), "server", "clock")
    assert row["level"] == level
    assert f"this machine's clock is {offset.strip('-m')}" in row["sentence"] or "min" in row["sentence"]
    assert words in row["sentence"]
    assert "timedatectl" in row["mend"]


def test_the_wrong_generation_and_the_wrong_address(user: User, shared: SandboxProcess) -> None:
    """Which ProcessMaker really answers is found out; where nobody listens, the rest is not tried."""
    common = "grant = 'password'\nusername = 'u'\nclient_id = '3'\nclient_secret = 'x'\npassword = 'y'\n"
    write_profiles(
        user,
        f"[profiles.three]\nurl = '{shared.url}/pm'\n{common}"
        f"[profiles.path]\nurl = '{shared.url}'\ntoken_path = '/workflow/oauth2/token'\n{common}"
        f"[profiles.nobody]\nurl = 'http://127.0.0.1:9'\n{common}"
        f"[profiles.nowhere]\nurl = 'https://no-such-host.invalid'\n{common}",
    )
    rows = examine(user, status=1)
    mixed = [row for row in rows if row["area"] == "server" and row["check"] == "endpoint"]
    by_name = {row["sentence"]: row["mend"] for row in mixed}
    assert any("ProcessMaker 3 answers, and profile path says generation 4" in sentence for sentence in by_name)
    assert any("nothing listens there" in sentence for sentence in by_name)
    dns = found(rows, "server", "dns", "https://no-such-host.invalid")
    assert dns["level"] == "problem"
    assert "name" in dns["sentence"]
    assert not [row for row in rows if row["subject"] == "https://no-such-host.invalid" and row["check"] != "dns"]


# --- the token --------------------------------------------------------------------------------------------------------


def test_a_token_that_was_revoked(user: User) -> None:
    """The API refuses it: told with the command that gets another one, which then mends it."""
    with sandbox_process("--throttle", "off") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        with running(user) as daemon:
            daemon.ask("get sandbox")
            daemon.ask("get sandbox3")  # or the start would go on to ask for it
            sandbox.revoke(all=True)
            seen = len(sandbox.log())
            row = found(examine(user, "sandbox", status=1), "profile", "api")
            assert {each["grant"] for each in sandbox.log(after=seen)} == {"?"}  # nothing was renewed
            assert "does not accept the token (401)" in row["sentence"]
            assert row["mend"] == "pmcred get sandbox | pmcred reject sandbox"
            assert os.system(f"export PATH={Path(PMCRED).parent}:$PATH {_exports(user)}; {row['mend']}") == 0
            assert found(examine(user, "sandbox", status=0), "profile", "api")["level"] == "ok"


def _exports(user: User) -> str:
    return " ".join(f"{name}='{value}'" for name, value in user.environ.items() if name != "PATH")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_that_is_locked(user: User, shared: SandboxProcess, tmp_path: Path) -> None:
    """A command that fails is a problem with its own words; a missing file and an empty one are told as that."""
    locked = tmp_path / "locked"
    locked.write_text("#!/bin/sh\necho 'the store is locked' >&2\nexit 2\n")
    locked.chmod(0o700)
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    write_profiles(
        user,
        f"[profiles.a]\nurl = '{shared.url}'\ngrant = 'password'\nusername = 'u'\nclient_id = '3'\n"
        f"client_secret = {{ command = ['{locked}'] }}\npassword = {{ file = '{empty}' }}\n"
        f"[profiles.b]\nurl = '{shared.url}'\ngrant = 'personal_access_token'\n"
        f"token = {{ file = '{tmp_path}/none' }}\n",
    )
    rows = examine(user, status=1)
    told = {key: found(rows, "profile", key) for key in ("client_secret", "password", "token")}
    assert {row["level"] for row in told.values()} == {"problem"}
    assert "exit status 2: the store is locked" in told["client_secret"]["sentence"]
    assert "is empty" in told["password"]["sentence"]
    assert "No such file" in told["token"]["sentence"]
    assert "install -m 600" in told["token"]["mend"]


# --- files that only a test can make ----------------------------------------------------------------------------------


def look_here(tmp_path: Path) -> list[Finding]:
    """Look at files in this process."""
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PMCRED_STATE_DIR": str(tmp_path / "state")}
    return look_at_files(environ, Config(Settings(), {}), ())


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token could not be saved: told before one is lost."""
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setattr(files, "_LITTLE", 2**62)
    problem = look_here(tmp_path)[-1]
    assert problem.level is Level.PROBLEM
    assert "is full" in problem.sentence


def test_a_state_directory_that_machines_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning: what keeps two processes apart on one machine may not keep two machines apart."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    device = state.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / / rw - nfs4 server:/home rw\n")
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    warning = look_here(tmp_path)[-1]
    assert warning.level is Level.WARNING
    assert "network file system (nfs4)" in warning.sentence
    mounts.unlink()
    assert look_here(tmp_path)[-1].level is Level.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_somebody_else(tmp_path: Path) -> None:
    """Directories, and a socket: whose they are is told."""
    for place in ("pmcred", "state", "sockets"):
        (tmp_path / place).mkdir(mode=0o700)
        os.chown(tmp_path / place, 4711, -1)
    config, state = look_here(tmp_path)
    (socket,) = look_at_socket(tmp_path / "sockets" / "socket")
    assert {config.level, state.level, socket.level} == {Level.PROBLEM}
    assert "belongs to another user (uid 4711)" in config.sentence
    assert config.mend == f"chown 0 {tmp_path / 'pmcred'}"
    assert "not a directory of yours" in state.sentence
    assert "uid 4711" in socket.sentence


async def test_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and everything else is found all the same."""
    monkeypatch.setattr(checkup, "_FILES_WITHIN", 0.1)
    opened = threading.Event()
    monkeypatch.setattr(checkup, "look_at_files", lambda *_: opened.wait(60))
    nowhere = str(tmp_path / "none" / "socket")
    found = await checkup.look({"HOME": str(tmp_path)}, Read((), Config(Settings(), {}), ()), nowhere, None)
    opened.set()
    assert [(each.area.kind, each.check) for each in found] == [("files", "state"), ("daemon", "socket")]
    assert "findmnt" in found[0].mend
