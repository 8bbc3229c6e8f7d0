"""The installed daemon with its secrets where people keep them: a real keyring, a real `pass`, locked and unlocked."""

import os
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import tomli_w
from support.daemon import Daemon, running, user_at, write_profiles
from support.desktop import Desktop, desktop, needs_keyring
from support.pass_store import PassStore, needs_pass, pass_store
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

pytestmark = pytest.mark.storm

KEPT = ("client_secret", "password")  # these secrets of the profile `sandbox` are kept elsewhere


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


def secrets_of(sandbox: SandboxProcess) -> dict[str, str]:
    """Give the secrets of the profile `sandbox`."""
    profile = tomllib.loads(sandbox.profiles_toml())["profiles"]["sandbox"]
    return {key: profile[key] for key in KEPT}


def asked(sandbox: SandboxProcess) -> int:
    """Count the token requests of the profile `sandbox`."""
    return len([row for row in sandbox.log() if row["generation"] == 4])


def user_with(folder: Path, sandbox: SandboxProcess, source: Callable[[str], Mapping[str, object]]) -> User:
    """Give a user whose profile `sandbox` names the source of each secret; `sandbox3` holds its own."""
    user = user_at(folder)
    document = tomllib.loads(sandbox.profiles_toml())
    document["profiles"]["sandbox"] |= {key: source(key) for key in KEPT}
    write_profiles(user, tomli_w.dumps(document))
    return user


def refused(user: User, *said: str) -> None:
    """See that `get` and `status` tell what is the matter."""
    got = user.run("get", "sandbox")
    assert (got.returncode, got.stdout) == (6, "")
    status = user.run("status", "sandbox")
    for words in said:
        assert words in got.stderr
        assert words in " ".join(status.stdout.split())  # it may be wrapped


def works(user: User, sandbox: SandboxProcess) -> None:
    """See that there is a token, and that the server takes it."""
    got = user.run("get", "sandbox")
    assert got.returncode == 0, got.stderr
    headers = {"Authorization": f"Bearer {got.stdout.strip()}", "Accept": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{sandbox.url}/api/1.0/users", headers=headers)) as response:
        assert response.status == 200
    assert "live" in user.run("status", "sandbox").stdout


def nowhere(daemon: Daemon, secrets: Mapping[str, str]) -> None:
    """See that no secret is in the log or in a file of the daemon."""
    files = [path for path in daemon.user.home.rglob("*") if path.is_file() and path.name != "profiles.toml"]
    assert any(path.name == "state.db" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not [key for key, secret in secrets.items() if secret.encode() in content], path


# The keyring


@pytest.fixture
def session(sandbox: SandboxProcess) -> Iterator[Desktop]:
    """Give a session whose keyring holds the secrets, and is locked."""
    with desktop() as session:
        session.unlock()
        for key, secret in secrets_of(sandbox).items():
            session.run(["keyring", "set", "pmcred", f"sandbox {key}"], secret)
        session.lock()
        yield session


@pytest.fixture
def user_of_keyring(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user whose secrets are in the keyring."""
    return user_with(tmp_path, sandbox, lambda key: {"keyring": "pmcred", "username": f"sandbox {key}"})


def on(session: Desktop) -> dict[str, str]:
    """Give what a program needs to find the session's keyring."""
    return {name: session.environ[name] for name in ("DBUS_SESSION_BUS_ADDRESS", "PATH")}


@needs_keyring
def test_a_keyring_locked_at_start_and_unlocked_later(
    user_of_keyring: User, session: Desktop, sandbox: SandboxProcess
) -> None:
    """Locked: told with the mend, and nothing is sent. Unlocked: `pmcred login` tries at once, and all is well."""
    user, before = user_of_keyring, asked(sandbox)
    with running(user, "-v", more=on(session)) as daemon:
        refused(user, "the keyring is locked", "gnome-keyring-daemon --replace --unlock")
        assert asked(sandbox) == before
        session.unlock()
        login = user.run("login", "sandbox")
        assert login.returncode == 0, login.stderr
        works(user, sandbox)
        nowhere(daemon, secrets_of(sandbox))


@needs_keyring
def test_an_unlocked_keyring_needs_nobody(user_of_keyring: User, session: Desktop, sandbox: SandboxProcess) -> None:
    """The first `get` reads the secrets and gives a token; locked afterwards, the token lives on."""
    session.unlock()
    with running(user_of_keyring, more=on(session)):
        works(user_of_keyring, sandbox)
        session.lock()
        works(user_of_keyring, sandbox)


@needs_keyring
def test_an_entry_that_is_not_there_names_the_command_that_makes_it(
    user_of_keyring: User, session: Desktop, sandbox: SandboxProcess
) -> None:
    """The mend is run as it was printed."""
    session.unlock()
    session.run(["keyring", "del", "pmcred", "sandbox password"], "")
    with running(user_of_keyring, more=on(session)):
        refused(user_of_keyring, "has no entry", "keyring set pmcred 'sandbox password'")
        session.run("keyring set pmcred 'sandbox password'", secrets_of(sandbox)["password"])
        assert user_of_keyring.run("login", "sandbox").returncode == 0
        works(user_of_keyring, sandbox)


@needs_keyring
def test_a_keyring_that_hangs_disturbs_no_other_profile_and_no_end(
    user_of_keyring: User, session: Desktop, sandbox: SandboxProcess
) -> None:
    """While one `get` waits for a keyring that never answers, another is served, and the daemon leaves when told."""
    session.unlock()
    keeper = session.keyring_pid()
    os.kill(keeper, signal.SIGSTOP)
    try:
        with running(user_of_keyring, more=on(session)) as daemon:
            command = [PMCRED, "get", "sandbox"]
            with subprocess.Popen(command, env=user_of_keyring.environ, stderr=subprocess.PIPE, text=True) as waiting:
                while "state=renewing" not in daemon.ask("status sandbox"):
                    assert waiting.poll() is None
                assert user_of_keyring.run("get", "sandbox3").returncode == 0
                assert waiting.poll() is None
                assert daemon.end() == 0
                assert waiting.communicate(timeout=60)[1]
                assert waiting.returncode == 69
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_without_a_session_bus_it_says_how_to_start_on_one(user_of_keyring: User) -> None:
    """The other profiles work all the same."""
    with running(user_of_keyring):
        refused(user_of_keyring, "without a session bus", "pmcred service install")
        assert user_of_keyring.run("get", "sandbox3").returncode == 0


# pass


@pytest.fixture
def store(sandbox: SandboxProcess) -> Iterator[PassStore]:
    """Give a password store with the secrets, locked."""
    with pass_store() as store:
        for key, secret in secrets_of(sandbox).items():
            store.insert(f"pm/{key}", secret)
        store.lock()
        yield store


@needs_pass
def test_a_store_locked_at_start_and_unlocked_later(tmp_path: Path, store: PassStore, sandbox: SandboxProcess) -> None:
    """Locked: told in gpg's words, and nothing is sent. Unlocked: `pmcred login` tries at once, and all is well."""
    user, before = (
        user_with(tmp_path, sandbox, lambda key: {"command": ["pass", "show", f"pm/{key}"]}),
        asked(sandbox),
    )
    its_own = {name: store.environ[name] for name in ("GNUPGHOME", "PASSWORD_STORE_DIR")}
    with running(user, "-v", more=its_own) as daemon:
        refused(user, 'the command "pass" for a secret failed', "gpg: ", "run it by hand in a terminal")
        assert asked(sandbox) == before
        store.unlock("pm/password")
        assert user.run("login", "sandbox").returncode == 0
        works(user, sandbox)
        nowhere(daemon, secrets_of(sandbox))
