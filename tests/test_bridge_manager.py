"""Units that start with a token as a credential: real ones, of a real user manager. None ever starts without."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.pat import Pat, a_pat, link_commands
from support.sandbox import SandboxProcess, sandbox_process
from support.user_manager import RUNTIME

pytestmark = pytest.mark.storm

CREDENTIALS = f"{RUNTIME}/pmcred/credentials"
UNIT = """
[Service]
Type=oneshot
{loading}
ExecStart=cp -r --no-preserve=mode %d %h/%N
"""
CREDENTIALS_FAILED = "243"  # EXIT_CREDENTIALS of systemd.exec(5)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands, where a package would put them."""
    return link_commands(tmp_path_factory.mktemp("bin"))


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


def bridged(sandbox: SandboxProcess) -> str:
    """Give profiles that units may have."""
    return re.sub(r"^(\[profiles\..*\])$", r"\1\nbridge = true", sandbox.profiles_toml(), flags=re.MULTILINE)


@pytest.fixture
def pat(commands: Path, sandbox: SandboxProcess) -> Iterator[Pat]:
    """A user whose socket waits, and whose profiles are for units."""
    with a_pat(commands, sandbox) as found:
        found.write_profiles(bridged(sandbox))
        found.manager.systemctl("start", "pmcredd.socket")
        yield found


def write(pat: Pat, *names: str, unit: str = "job.service") -> None:
    """Write a unit that needs these credentials, and keeps what it was given."""
    loading = "\n".join(f"LoadCredential={name}:%t/pmcred/credentials" for name in names)
    pat.manager.write_unit(unit, UNIT.format(loading=loading))


def start(pat: Pat, unit: str = "job.service") -> dict[str, bytes]:
    """Start a unit, which has to succeed, and give the credentials that it found."""
    pat.manager.systemctl("start", unit)
    given = pat.manager.home / unit.removesuffix(".service")
    return {path.name: path.read_bytes() for path in given.iterdir()}


def fail(pat: Pat, unit: str = "job.service") -> str:
    """Start a unit, which must not run at all; gives the log."""
    done = pat.manager.run("systemctl", "--user", "start", unit)
    return failed(pat, done.returncode, unit)


def failed(pat: Pat, status: int, unit: str = "job.service") -> str:
    """Look whether a unit did not run at all; gives the log."""
    assert status != 0
    assert pat.manager.show(unit, "ExecMainStatus") == CREDENTIALS_FAILED
    assert not (pat.manager.home / unit.removesuffix(".service")).exists()
    return pat.manager.logged()


# --- a token ----------------------------------------------------------------------------------------------------------


def test_a_unit_starts_with_the_token(pat: Pat) -> None:
    """Byte for byte, without a newline; the log says which unit it was, and never the token."""
    write(pat, "sandbox")

    given = start(pat)

    token = pat.token()
    assert given == {"sandbox": token.encode()}
    log = pat.manager.logged()
    assert re.search(r"audit: credential sandbox [0-9a-f]{16}: ok, asked by .*\(job\.service\)", log)
    assert token not in log


def test_the_first_unit_starts_the_daemon(pat: Pat) -> None:
    """Where no daemon runs, the connection starts one, and the unit waits for it."""
    assert pat.manager.show("pmcredd.service", "ActiveState") == "inactive"
    write(pat, "sandbox")

    assert start(pat)["sandbox"]

    assert pat.manager.show("pmcredd.service", "ActiveState") == "active"


def test_a_unit_may_have_several(pat: Pat) -> None:
    """Each credential is the token of the profile of its name."""
    write(pat, "sandbox", "sandbox3")

    given = start(pat)

    assert given["sandbox"] == pat.token().encode()
    assert given["sandbox3"] == pat.manager.run("pmcred", "get", "sandbox3").stdout.strip().encode()


def test_twenty_units_at_once(pat: Pat, sandbox: SandboxProcess) -> None:
    """All have the one token, and the server was asked once."""
    sandbox.fault("delay-answer=1s:1")
    units = [f"job{number}.service" for number in range(20)]
    for unit in units:
        (pat.manager.units / unit).write_text(UNIT.format(loading=f"LoadCredential=sandbox:{CREDENTIALS}"))
    pat.manager.systemctl("daemon-reload")

    pat.manager.systemctl("start", *units)

    given = {(pat.manager.home / unit.removesuffix(".service") / "sandbox").read_text() for unit in units}
    assert given == {pat.token()}
    assert len(sandbox.log()) == 2  # one for each profile


def test_a_living_token_needs_no_server(pat: Pat, sandbox: SandboxProcess) -> None:
    """The server is down: what is in hand is given."""
    token = pat.token()
    sandbox.process.terminate()
    sandbox.process.wait(60)
    write(pat, "sandbox")

    assert start(pat) == {"sandbox": token.encode()}


def test_a_daemon_started_by_hand_serves_units_too(pat: Pat) -> None:
    """Without the socket unit the daemon makes the socket itself, and takes it away again."""
    pat.manager.systemctl("stop", "pmcredd.socket")
    write(pat, "sandbox")
    by_hand = subprocess.Popen(pat.manager.command("pmcredd"), stderr=subprocess.PIPE, text=True)
    assert by_hand.stderr is not None
    try:
        while "listening on" not in by_hand.stderr.readline():
            pass

        assert start(pat) == {"sandbox": pat.token().encode()}

        assert pat.pmcred("stop").returncode == 0
        by_hand.communicate(timeout=60)
        assert not pat.manager.run("ls", f"{RUNTIME}/pmcred").stdout.count("credentials\n")
    finally:
        by_hand.kill()
        by_hand.communicate()
    shutil.rmtree(pat.manager.home / "job")
    fail(pat)


# --- no token: no start -----------------------------------------------------------------------------------------------


def test_a_profile_that_is_not_for_units(pat: Pat, sandbox: SandboxProcess) -> None:
    """Without bridge = true the unit does not start, the log says what to write, and a reload is enough then."""
    pat.write_profiles(sandbox.profiles_toml())
    write(pat, "sandbox")

    log = fail(pat)

    assert "job.service does not start: no credential sandbox: " in log
    assert "write bridge = true into [profiles.sandbox], then: pmcred reload" in log
    pat.write_profiles(bridged(sandbox))
    assert pat.pmcred("reload").returncode == 0
    assert start(pat) == {"sandbox": pat.token().encode()}


def test_a_profile_that_there_is_not(pat: Pat) -> None:
    """A misspelt id fails the start, and the log knows what may be meant."""
    write(pat, "sandbix")

    assert "no profile is named sandbix; try: did you mean sandbox?" in fail(pat)


def test_one_of_several_that_is_missing(pat: Pat) -> None:
    """A unit starts with all of its credentials or not at all."""
    write(pat, "sandbox", "nothing")

    assert "no profile is named nothing" in fail(pat)


def test_a_login_that_is_needed(pat: Pat, sandbox: SandboxProcess) -> None:
    """A profile that only a person can bring back fails the start at once, with the command that does."""
    pat.token()
    assert pat.pmcred("logout", "sandbox").returncode == 0
    write(pat, "sandbox")

    assert "pmcred login sandbox" in fail(pat)


def test_a_server_that_is_down(pat: Pat, sandbox: SandboxProcess) -> None:
    """Without a token in hand the unit does not start, and the log says that the server is not there."""
    sandbox.process.terminate()
    sandbox.process.wait(60)
    write(pat, "sandbox")

    assert "job.service does not start: no credential sandbox: " in fail(pat)


def test_profiles_with_mistakes(pat: Pat) -> None:
    """A daemon that cannot start refuses those who wait: it is not started over and over, and the unit does not run."""
    pat.write_profiles("[profiles.sandbox]\nurl = 1\n")
    write(pat, "sandbox")

    fail(pat)

    pat.manager.wait_for("pmcredd.service", "ActiveState", "failed")
    assert pat.manager.show("pmcredd.socket", "ActiveState") == "active"
    assert pat.manager.show("pmcredd.service", "NRestarts") == "0"


# --- a token that takes its time --------------------------------------------------------------------------------------


@contextmanager
def waiting(pat: Pat, sandbox: SandboxProcess, *, delay: str = "25s") -> Iterator["subprocess.Popen[bytes]"]:
    """Start a unit while the server takes its time, and come back once it waits for the token."""
    pat.write_profiles(bridged(sandbox).partition("[profiles.sandbox3]")[0])
    sandbox.fault(f"delay-answer={delay}:1")
    write(pat, "sandbox")
    starting = subprocess.Popen(pat.manager.command("systemctl", "--user", "start", "job.service"))
    try:
        pat.manager.wait_for("pmcredd.service", "NFileDescriptorStore", "1")
        while not sandbox.log():
            assert starting.poll() is None
        yield starting
    finally:
        starting.kill()
        starting.wait()


def test_a_start_waits_for_the_token(pat: Pat, sandbox: SandboxProcess) -> None:
    """A slow server delays the unit, and nothing of the wait stays behind with systemd."""
    with waiting(pat, sandbox, delay="2s") as starting:
        assert starting.wait(60) == 0

    assert (pat.manager.home / "job" / "sandbox").read_text() == pat.token()
    pat.manager.wait_for("pmcredd.service", "NFileDescriptorStore", "0")


def test_a_killed_daemon_leaves_no_unit_with_nothing(pat: Pat, sandbox: SandboxProcess) -> None:
    """Kill -9 while a unit waits: systemd holds the connection, and the next daemon answers it."""
    with waiting(pat, sandbox) as starting:
        pat.manager.systemctl("kill", "--signal=KILL", "pmcredd.service")
        assert starting.wait(60) == 0, pat.manager.logged()

    assert (pat.manager.home / "job" / "sandbox").read_text() == pat.token()
    assert pat.manager.show("pmcredd.service", "NRestarts") == "1"


@pytest.mark.parametrize("how", ["stop", "restart"])
def test_a_daemon_that_leaves_refuses_who_waits(pat: Pat, sandbox: SandboxProcess, how: str) -> None:
    """A unit that waits while the service is stopped does not start, at once; the answer under way is not lost."""
    with waiting(pat, sandbox, delay="5s") as starting:
        stopping = subprocess.Popen(pat.manager.command("systemctl", "--user", how, "pmcredd.service"))
        status = starting.wait(60)
        assert stopping.wait(60) == 0

    assert "job.service does not start: no credential sandbox: " in failed(pat, status)
    count = len(sandbox.log())
    assert pat.token()
    assert len(sandbox.log()) == count


def test_a_daemon_that_cannot_come_back_refuses_who_waited(pat: Pat, sandbox: SandboxProcess) -> None:
    """Killed, and its profiles have mistakes now: the connection that systemd held is refused, not dropped."""
    with waiting(pat, sandbox) as starting:
        pat.write_profiles("[profiles.sandbox]\nurl = 1\n")
        pat.manager.systemctl("kill", "--signal=KILL", "pmcredd.service")
        status = starting.wait(60)

    failed(pat, status)


def test_a_start_that_is_cancelled_leaves_nothing(pat: Pat, sandbox: SandboxProcess) -> None:
    """The unit is stopped while it waits: neither systemd nor the daemon keeps anything of it."""
    with waiting(pat, sandbox, delay="3s"):
        pat.manager.systemctl("stop", "job.service")
        pat.manager.wait_for("pmcredd.service", "NFileDescriptorStore", "0")

    assert pat.token()


# --- the other way round: a credential is the secret ------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", ["LoadCredential=pm-prod-secret:%h/secret", "SetCredential=pm-prod-secret:{secret}"]
)
def test_a_credential_is_the_secret(pat: Pat, sandbox: SandboxProcess, setting: str) -> None:
    """A drop-in of pmcredd.service brings the client's secret; without it, the message says what to write."""
    secret = "fake-secret-password-xxxxxxxxxxxxxxxxxxx"
    (pat.manager.home / "secret").write_text(f"{secret}\n")
    assert f'client_secret = "{secret}"' in sandbox.profiles_toml()
    pat.write_profiles(
        sandbox.profiles_toml().replace(
            f'client_secret = "{secret}"', 'client_secret = { credential = "pm-prod-secret" }'
        )
    )

    without = pat.pmcred("get", "sandbox")
    pat.manager.write_unit("pmcredd.service.d/secret.conf", f"[Service]\n{setting.format(secret=secret)}\n")
    pat.manager.systemctl("restart", "pmcredd.service")

    assert without.returncode != 0
    assert "LoadCredential=pm-prod-secret:" in without.stderr
    assert pat.token()
    assert pat.pmcred("reload").returncode == 0
    assert pat.pmcred("login", "sandbox").returncode == 0  # the secret is read again
    assert secret not in pat.manager.logged()


# --- who is not a manager ---------------------------------------------------------------------------------------------


def test_who_is_not_the_manager_gets_no_token(pat: Pat) -> None:
    """A program that just connects is told so, in more than a credential could be."""
    token = pat.token()
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().read())"
    )

    said = pat.manager.run(sys.executable, "-c", program, CREDENTIALS).stdout

    assert said.startswith("pmcredd: no token: this socket answers only systemd's LoadCredential=")
    assert len(said) > 1024 * 1024
    assert token not in said
    assert "audit: credential: bad-request, asked by python" in pat.manager.logged()


def test_who_never_reads_keeps_nobody_waiting(pat: Pat) -> None:
    """Programs that connect and read nothing, many of them, delay no unit."""
    program = """
import socket, sys
silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for each in silent:
    each.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""
    pat.token()
    write(pat, "sandbox")
    deaf = subprocess.Popen(
        pat.manager.command(sys.executable, "-c", program, CREDENTIALS), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"connected\n"

        assert start(pat) == {"sandbox": pat.token().encode()}

        assert deaf.poll() is None
    finally:
        deaf.communicate(timeout=60)


# --- systemd itself ---------------------------------------------------------------------------------------------------


def test_the_manager_does_what_the_bridge_is_made_for(pat: Pat) -> None:
    """An end without a word is an empty credential, one in the middle a part of one, and too much fails the start."""
    answers = {"silent": 0, "half": 300_000, "most": 1024 * 1024 + 1}
    program = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
with server.accept()[0] as client:
    client.sendall(b"x" * int(sys.argv[2]))
"""
    found = {}
    for name, length in answers.items():
        path = f"{RUNTIME}/{name}"
        serving = subprocess.Popen(
            pat.manager.command(sys.executable, "-c", program, path, str(length)), stdout=subprocess.PIPE
        )
        try:
            assert serving.stdout is not None
            serving.stdout.readline()
            pat.manager.write_unit(f"{name}.service", UNIT.format(loading=f"LoadCredential=it:{path}"))
            pat.manager.run("systemctl", "--user", "start", f"{name}.service")
            copied = pat.manager.home / name / "it"
            found[name] = copied.stat().st_size if copied.exists() else None
        finally:
            serving.communicate(timeout=60)
    assert found == {"silent": 0, "half": 300_000, "most": None}
