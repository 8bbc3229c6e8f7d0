"""The shipped units at work, under a real user manager: nobody waits in vain, and nothing is lost."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pass_store import PASSPHRASE, needs_pass, pass_store
from support.pat import UNITS, Pat, a_pat, link_commands
from support.sandbox import SandboxProcess, sandbox_process
from support.user_manager import HOME, INSTALLED, ROOT, RUNTIME, user_manager

pytestmark = pytest.mark.storm

UNREACHABLE = """
[profiles.slow]
url = "http://127.0.0.1:{port}"
grant = "password"
client_id = "2"
client_secret = "x"
username = "x"
password = "x"
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands, where a package would put them."""
    return link_commands(tmp_path_factory.mktemp("bin"))


@pytest.fixture
def pat(commands: Path, sandbox: SandboxProcess) -> Iterator[Pat]:
    """A user whose socket waits for the first client."""
    with a_pat(commands, sandbox) as found:
        found.manager.systemctl("start", "pmcredd.socket")
        yield found


def asked(sandbox: SandboxProcess) -> int:
    """Count the token requests that the sandbox has seen."""
    return len(sandbox.log())


# --- starts and ends --------------------------------------------------------------------------------------------------


def test_the_first_connection_starts_it(pat: Pat, sandbox: SandboxProcess) -> None:
    """A client that finds no daemon waits for one, and gets a token that works."""
    assert pat.manager.show("pmcredd.service", "ActiveState") == "inactive"

    request = urllib.request.Request(sandbox.url + "/api/1.0/users", headers={"Authorization": f"Bearer {pat.token()}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200

    assert pat.manager.show("pmcredd.service", "ActiveState") == "active"
    assert pat.manager.show("pmcredd.service", "NRestarts") == "0"
    pat.manager.wait_for("pmcredd.service", "StatusText", "2 profiles: 2 live")


def test_a_boot_waits_for_no_server(pat: Pat) -> None:
    """The service is ready while a server that never answers has not been heard of."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pat.write_profiles(UNREACHABLE.format(port=silent.getsockname()[1]))

        pat.manager.systemctl("start", "pmcredd.service")

    assert pat.manager.show("pmcredd.service", "ActiveState") == "active"


def test_it_comes_with_the_boot(commands: Path, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Enabled, it runs after a reboot before anybody connects: renewals must not wait for a client."""
    home = tmp_path / "pat"
    home.mkdir()
    with a_pat(commands, sandbox, home) as pat:
        pat.manager.systemctl("enable", "--now", "pmcredd.socket", "pmcredd.service")
        before = pat.token()
        pat.pmcred("get", "sandbox3")
    count = asked(sandbox)

    with user_manager(commands=commands, home=home) as manager:
        manager.wait_for("pmcredd.service", "ActiveState", "active")  # nobody has asked yet
        assert manager.show("pmcredd.socket", "ActiveState") == "active"
        assert Pat(manager).token() == before

    assert asked(sandbox) == count


@pytest.mark.parametrize("storage", ["disk", "runtime"])
def test_a_restart_keeps_the_tokens_and_turns_nobody_away(pat: Pat, sandbox: SandboxProcess, storage: str) -> None:
    """Clients that come while it restarts wait and get the token that was there; no server is asked again."""
    pat.write_profiles(f'[daemon]\nstorage = "{storage}"\n' + sandbox.profiles_toml())
    before = pat.token()
    pat.pmcred("get", "sandbox3")
    count = asked(sandbox)
    done = threading.Event()
    seen = []

    def keep_asking() -> None:
        while not done.is_set():
            seen.append(pat.pmcred("get", "sandbox").stdout.strip())

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        for _ in range(3):
            pat.manager.systemctl("restart", "pmcredd.service")
    finally:
        done.set()
        asking.join()

    assert set(seen) == {before}
    assert asked(sandbox) == count


@pytest.mark.parametrize("storage", ["disk", "runtime"])
def test_a_killed_daemon_comes_back(pat: Pat, sandbox: SandboxProcess, storage: str) -> None:
    """A kill -9 costs a second, and no token."""
    pat.write_profiles(f'[daemon]\nstorage = "{storage}"\n' + sandbox.profiles_toml())
    before = pat.token()
    pat.pmcred("get", "sandbox3")
    count = asked(sandbox)

    pat.manager.systemctl("kill", "--signal=KILL", "pmcredd.service")
    pat.manager.wait_for("pmcredd.service", "NRestarts", "1")

    assert pat.token() == before
    assert asked(sandbox) == count


def test_a_frozen_daemon_is_replaced(pat: Pat) -> None:
    """A loop that stands still gives no sign of life: systemd ends the daemon and starts another one."""
    pat.manager.write_unit("pmcredd.service.d/test.conf", "[Service]\nWatchdogSec=1s\n")
    before = pat.token()
    first = pat.main_pid()

    pat.manager.systemctl("kill", "--signal=STOP", "--kill-who=main", "pmcredd.service")
    pat.manager.wait_for("pmcredd.service", "NRestarts", "1")

    assert pat.token() == before
    assert pat.main_pid() != first


def test_the_watchdog_leaves_a_busy_daemon_alone(pat: Pat) -> None:
    """Signs of life come in time while it serves, for longer than the watchdog waits."""
    pat.manager.write_unit("pmcredd.service.d/test.conf", "[Service]\nWatchdogSec=500ms\n")
    first = pat.token()
    begun = int(pat.manager.show("pmcredd.service", "ExecMainStartTimestampMonotonic"))

    def later(stamp: str) -> bool:
        assert pat.token() == first
        return int(stamp) > begun + 2_000_000

    pat.manager.wait_for("pmcredd.service", "WatchdogTimestampMonotonic", later)

    assert pat.manager.show("pmcredd.service", "NRestarts") == "0"


def test_stop_leaves_nothing_behind(pat: Pat, sandbox: SandboxProcess) -> None:
    """Neither a process nor a socket, also where a secret command has started something that lives on."""
    pat.write_profiles(
        sandbox.profiles_toml().replace(
            'client_secret = "fake-secret-password-xxxxxxxxxxxxxxxxxxx"',
            'client_secret = { command = ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & '
            'echo fake-secret-password-xxxxxxxxxxxxxxxxxxx"] }',
        )
    )
    pat.token()
    assert len(pat.manager.processes("pmcredd.service")) == 2

    pat.manager.systemctl("stop", "pmcredd.socket")

    assert pat.manager.show("pmcredd.service", "ActiveState") == "inactive"
    assert pat.manager.show("pmcredd.service", "Result") == "success"
    assert pat.manager.processes("pmcredd.service") == []
    assert "sleep 1000" not in pat.manager.run("ps", "-eo", "args").stdout
    assert not (pat.manager.runtime / "pmcred" / "socket").exists()
    assert pat.pmcred("get", "sandbox").returncode == 69


def test_a_refresh_that_was_sent_is_waited_for(pat: Pat, sandbox: SandboxProcess) -> None:
    """A stop comes while the server takes its time: the answer is the next login, so it is taken and saved first."""
    token = pat.token()
    pat.pmcred("get", "sandbox3")
    sandbox.fault("delay-answer=3s:1")
    count = asked(sandbox)
    asking = subprocess.Popen(pat.manager.command("pmcred", "login", "sandbox"), stderr=subprocess.PIPE)
    while asked(sandbox) == count:
        pass  # it has not arrived yet

    pat.manager.systemctl("stop", "pmcredd.service")

    asking.communicate(timeout=60)
    assert pat.manager.show("pmcredd.service", "Result") == "success"
    sandbox.change(throttle="off")
    count = asked(sandbox)
    assert pat.token() != token  # the new one is there
    assert asked(sandbox) == count


def test_pmcred_stop_is_no_failure(pat: Pat) -> None:
    """Who ends the daemon ends it: it stays down until somebody asks."""
    before = pat.token()
    assert pat.pmcred("stop").returncode == 0
    pat.manager.wait_for("pmcredd.service", "ActiveState", "inactive")

    assert pat.manager.show("pmcredd.service", "NRestarts") == "0"
    assert pat.token() == before


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_reload_reads_the_profiles(pat: Pat, sandbox: SandboxProcess) -> None:
    """When `systemctl reload` returns, the new profile is there."""
    pat.token()
    pat.write_profiles(sandbox.profiles_toml().replace("[profiles.sandbox3]", "[profiles.other]"))

    pat.manager.systemctl("reload", "pmcredd.service")

    assert pat.pmcred("get", "other").returncode == 0
    assert pat.pmcred("get", "sandbox3").returncode == 3


def test_reload_tells_of_mistakes_and_the_old_profiles_serve(pat: Pat) -> None:
    """`systemctl reload` fails, the service stays up with what it had, and the status line says so."""
    before = pat.token()
    first = pat.main_pid()
    pat.write_profiles("[profiles.sandbox]\nurl = 1\n")

    done = pat.manager.run("systemctl", "--user", "reload", "pmcredd.service")

    assert done.returncode != 0
    assert pat.manager.show("pmcredd.service", "ActiveState") == "active"
    assert (pat.token(), pat.main_pid()) == (before, first)
    pat.manager.systemctl("kill", "--signal=HUP", "--kill-who=main", "pmcredd.service")
    pat.manager.wait_for("pmcredd.service", "StatusText", lambda line: "mistakes" in line)
    pat.manager.wait_for("pmcredd.service", "SubState", "running")


def test_profiles_with_mistakes_are_told_to_who_waits(pat: Pat, sandbox: SandboxProcess) -> None:
    """A daemon that cannot start tells the waiting client why, does not start over and over, and is soon mended."""
    pat.write_profiles("[profiles.sandbox]\nurl = 1\n")

    done = pat.pmcred("get", "sandbox")

    assert done.returncode == 6, done.stderr
    assert "profiles.toml" in done.stderr
    pat.manager.wait_for("pmcredd.service", "ActiveState", "failed")
    assert pat.manager.show("pmcredd.socket", "ActiveState") == "active"
    pat.write_profiles(sandbox.profiles_toml())
    pat.token()


def test_a_socket_open_to_others_is_refused(pat: Pat) -> None:
    """A drop-in that opens the socket to other users keeps the daemon from serving there, and the log says why."""
    pat.manager.write_unit("pmcredd.socket.d/open.conf", "[Socket]\nSocketMode=0666\n")
    pat.manager.systemctl("restart", "pmcredd.socket")

    assert pat.pmcred("get", "sandbox").returncode != 0

    assert "SocketMode=0600" in pat.manager.logged()


def test_a_second_socket_is_refused(pat: Pat) -> None:
    """A drop-in that adds a path instead of replacing it is told: half of the clients would wait for ever."""
    pat.manager.write_unit("pmcredd.socket.d/more.conf", "[Socket]\nListenStream=%t/pmcred/second\n")
    pat.manager.systemctl("restart", "pmcredd.socket")

    done = pat.pmcred("get", "sandbox")

    assert done.returncode == 1
    assert "2 sockets named pmcredd.socket" in done.stderr


def test_a_daemon_started_by_hand_does_not_get_in_the_way(pat: Pat) -> None:
    """Who starts pmcredd beside the service is told that it runs, and the service serves on."""
    before = pat.token()

    done = pat.manager.run("pmcredd")

    assert done.returncode == 1
    assert "another pmcredd" in done.stderr
    assert pat.token() == before


# --- secrets ----------------------------------------------------------------------------------------------------------


def drop_in(pat: Pat, name: str) -> None:
    """Install a drop-in as it is shipped, and what its head says has to exist.

    Where this Python and the package are below /tmp, they stay to be seen there.
    """
    for directory in (".local/state/pmcred", ".gnupg"):
        (pat.manager.home / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = " ".join(path for path in INSTALLED if path.startswith(("/tmp/", "/var/tmp/")))
    pat.manager.write_unit("pmcredd.service.d/test.conf", f"[Service]\nBindReadOnlyPaths={seen}\n")
    pat.manager.write_unit(f"pmcredd.service.d/{name}", (UNITS / "drop-ins" / name).read_text())


@needs_pass
@pytest.mark.parametrize("sandboxed", [False, True], ids=["as shipped", "sandbox.conf"])
def test_pass_works_inside(pat: Pat, sandbox: SandboxProcess, sandboxed: bool) -> None:
    """The hardening leaves `pass` and its gpg-agent, unlocked elsewhere in the session, alone."""
    if sandboxed:
        drop_in(pat, "sandbox.conf")
    with pass_store() as store:
        store.insert("pm/password", "demo-password")
        home = pat.manager.home
        shutil.copytree(
            store.environ["GNUPGHOME"], home / ".gnupg", ignore=shutil.ignore_patterns("S.*"), dirs_exist_ok=True
        )
        shutil.copytree(store.environ["PASSWORD_STORE_DIR"], home / ".password-store")
    pat.write_profiles(
        sandbox.profiles_toml().replace(
            'password = "demo-password"', 'password = { command = ["pass", "show", "pm/password"] }', 1
        )
    )
    unlock = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"]
    done = pat.manager.run(*unlock, "-d", f"{HOME}/.password-store/pm/password.gpg", given=PASSPHRASE)
    assert done.returncode == 0, done.stderr

    pat.token()

    assert "demo-password" not in pat.manager.logged()


def test_a_credential_of_systemd_is_a_secret(pat: Pat, sandbox: SandboxProcess) -> None:
    """LoadCredential= in a drop-in brings the secret, and the profile names it."""
    secret = pat.manager.home / "secret"
    secret.touch(mode=0o600)
    secret.write_text("demo-password\n")
    pat.manager.write_unit("pmcredd.service.d/secret.conf", "[Service]\nLoadCredential=pm-password:%h/secret\n")
    pat.write_profiles(
        sandbox.profiles_toml().replace('password = "demo-password"', 'password = { credential = "pm-password" }')
    )

    pat.token()


# --- hardening, measured from inside ----------------------------------------------------------------------------------

_MEASURE = """#!/bin/sh
{{
  grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status
  echo "umask: $(umask)"
  echo "core: $(ulimit -H -c)"
  for place in "$HOME" "$HOME/.local/state/pmcred" {RUNTIME} /tmp /usr/local/bin; do
    touch "$place/measured-$$" 2>/dev/null && echo "writable: $place" && rm "$place/measured-$$"
  done
  [ -e {witness} ] && echo "others: seen"
  unshare --user true 2>/dev/null && echo "namespaces: yes"
  setarch i686 true 2>/dev/null && echo "personality: yes"
  {python} -c 'import socket; socket.socket(socket.AF_PACKET)' 2>&1 | tail -1 | sed 's/^/packet: /'
  {python} -c 'import os; os.chmod("{RUNTIME}/report", 0o4700)' 2>&1 | tail -1 | sed 's/^/setuid: /'
  env | grep -E '^(NOTIFY_SOCKET|LISTEN_|WATCHDOG_|PMCRED_)' | sed 's/^/environment: /'
}} >{RUNTIME}/report
echo demo-password
"""


def measure(pat: Pat, sandbox: SandboxProcess) -> dict[str, list[str]]:
    """Let a secret command of the daemon look around; gives what it found."""
    script = pat.manager.home / "measure"
    pat.write_profiles(
        sandbox.profiles_toml().replace(
            'password = "demo-password"', f'password = {{ command = ["{HOME}/measure"] }}', 1
        )
    )
    with tempfile.NamedTemporaryFile(dir="/tmp") as witness:
        script.write_text(_MEASURE.format(RUNTIME=RUNTIME, python=sys.executable, witness=witness.name))
        script.chmod(0o700)
        pat.token()
    found: dict[str, list[str]] = {}
    for line in (pat.manager.runtime / "report").read_text().splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name, []).append(value.strip())
    return found


def test_the_hardening_is_in_force(pat: Pat, sandbox: SandboxProcess) -> None:
    """What the unit promises is measured inside it, where a secret command is: the kernel could have refused it."""
    found = measure(pat, sandbox)

    assert found["NoNewPrivs"] == ["1"]
    assert found["Seccomp"] == ["2"]
    assert found["umask"] == ["0077"]
    assert found["core"] == ["0"]
    assert "namespaces" not in found
    assert "personality" not in found
    assert "not supported by protocol" in found["packet"][0]
    assert "PermissionError" in found["setuid"][0]
    assert "environment" not in found


def test_the_sandbox_is_read_only(pat: Pat, sandbox: SandboxProcess) -> None:
    """With sandbox.conf only the state, the runtime directory and a /tmp of its own can be written, and no more."""
    drop_in(pat, "sandbox.conf")

    found = measure(pat, sandbox)

    assert set(found["writable"]) == {f"{HOME}/.local/state/pmcred", RUNTIME, "/tmp"}
    assert "others" not in found
    assert found["CapBnd"] == ["0000000000000000"]
    assert found["NoNewPrivs"] == ["1"]


def test_nobody_looks_into_the_daemon(pat: Pat) -> None:
    """Other processes of the same user can read neither its environment nor its memory."""
    pat.token()
    for file in ("environ", "mem", "maps"):
        done = pat.manager.run("head", "-c1", f"/proc/{pat.main_pid()}/{file}")
        assert "Permission denied" in done.stderr, file


# --- the tools of systemd ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["sandbox.conf"]], ids=["as shipped", "sandbox.conf"])
def test_systemd_finds_no_fault_in_the_units(pat: Pat, more: list[str]) -> None:
    """`systemd-analyze verify` is silent: no unknown key, no missing program."""
    for name in more:
        drop_in(pat, name)

    done = pat.manager.run("systemd-analyze", "--user", "verify", "pmcredd.service", "pmcredd.socket")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("more", [[], ["sandbox.conf"]], ids=["as shipped", "sandbox.conf"])
def test_the_exposure_is_what_the_docs_say(pat: Pat, more: list[str]) -> None:
    """`systemd-analyze security` gives the figure of docs/systemd.md, and every setting that is ours counts."""
    for name in more:
        drop_in(pat, name)

    done = pat.manager.run("systemd-analyze", "--user", "security", "--no-pager", "pmcredd.service")
    found = json.loads(
        pat.manager.run("systemd-analyze", "--user", "security", "--json=short", "pmcredd.service").stdout
    )

    figure = re.search(r"Overall exposure level for pmcredd.service: ([0-9.]+)", done.stdout)
    assert figure is not None, done.stderr
    if "systemd 252 " in pat.manager.run("systemctl", "--version").stdout:  # each version counts in its own way
        what = "sandbox.conf" if more else "as shipped"
        assert f"| {what} | {figure[1]} |" in (ROOT / "docs" / "systemd.md").read_text()
    bad = {row["name"] for row in found if row["set"] is False}
    assert not bad & {"NoNewPrivileges=", "RestrictRealtime=", "RestrictSUIDSGID=", "LockPersonality=", "UMask="}
    assert not {name for name in bad if name.startswith(("RestrictNamespaces", "SystemCallArchitectures"))}
