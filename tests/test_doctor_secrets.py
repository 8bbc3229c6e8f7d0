"""pmcred doctor's look at secrets: read as the daemon would, asking nobody."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from support.desktop import Desktop, desktop, needs_keyring, nobody_at_the_screen

from pmcredd.cli.doctor import secrets as module
from pmcredd.cli.doctor.finding import Level
from pmcredd.cli.doctor.secrets import Where, judge, look_at_secrets
from pmcredd.profiles import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    Grant,
    KeyringSecret,
    LiteralSecret,
    Profile,
)
from pmcredd.secret import Secret

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
CANARY = "correct-horse-battery"
ENTRY = KeyringSecret("pmcred", "prod password")


def private(path: Path, text: str, mode: int = 0o600) -> FileSecret:
    """A file with a secret."""
    path.write_text(text)
    path.chmod(mode)
    return FileSecret(str(path))


async def test_a_file(tmp_path: Path) -> None:
    """It is read and judged as the daemon does: missing, empty, open to others."""
    where = Where({})
    good = await judge(private(tmp_path / "good", CANARY), where)
    assert (good.level, good.sentence) == (OK, f"is in the file {tmp_path / 'good'}")
    for source, words in (
        (private(tmp_path / "open", CANARY, 0o644), "open to others"),
        (private(tmp_path / "empty", ""), "is empty"),
        (FileSecret(str(tmp_path / "gone")), "No such file"),
    ):
        found = await judge(source, where)
        assert found.level is PROBLEM
        assert words in found.sentence
        assert found.mend


async def test_a_command_gets_nothing_to_ask_with(tmp_path: Path) -> None:
    """Neither a terminal nor a display nor another profile's secret: what needs a person fails at once."""
    log = tmp_path / "log"
    script = f'echo "$DISPLAY$WAYLAND_DISPLAY$GPG_TTY$OTHER" >{shlex.quote(str(log))}; tty -s && exit 1; echo {CANARY}'
    environ = {"PATH": "/usr/bin:/bin", "DISPLAY": ":0", "WAYLAND_DISPLAY": "w", "GPG_TTY": "/t", "OTHER": "x"}
    found = await judge(CommandSecret(("sh", "-c", script)), Where(environ, withhold=["OTHER"]))
    assert (found.level, found.sentence) == (OK, 'is what the command "sh" prints')
    assert log.read_text() == "\n"


async def test_a_command_that_fails_and_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is told in its own words; one that may wait for a person is a warning, as the daemon waits longer."""
    where = Where({"PATH": "/usr/bin:/bin"})
    failed = await judge(CommandSecret(("sh", "-c", "echo locked >&2; exit 2")), where)
    assert failed.level is PROBLEM
    assert "exit status 2: locked" in failed.sentence
    assert "by hand" in failed.mend
    own = await judge(CommandSecret(("sleep", "600"), timeout=1), where)
    assert own.level is PROBLEM
    assert "time limit of 1 s" in own.sentence
    monkeypatch.setattr(module, "LIMIT", 1.0)
    waits = await judge(CommandSecret(("sleep", "600")), where)
    assert waits.level is WARNING
    assert "did not come within 1 s" in waits.sentence
    assert "unlock" in waits.mend


@pytest.mark.parametrize(
    ("environ", "where", "level", "words"),
    [
        ({"PM": CANARY}, {}, OK, "is in the environment variable PM here"),
        ({"PM": ""}, {}, PROBLEM, "is empty"),
        ({}, {}, WARNING, "PM is not set here"),
        ({}, {"running": True}, OK, "the daemon's own environment"),
        ({"PM": CANARY}, {"unit": "pmcredd.service"}, PROBLEM, "not for a pmcredd that systemd starts"),
        ({"PM": CANARY, "INVOCATION_ID": "1"}, {}, OK, "here"),
    ],
)
async def test_a_variable(environ: dict[str, str], where: dict[str, str], level: Level, words: str) -> None:
    """The daemon has an environment of its own, and none that counts under systemd."""
    found = await judge(EnvSecret("PM"), Where(environ, **where))  # type: ignore[arg-type]
    assert found.level is level
    assert words in found.sentence
    assert CANARY not in f"{found}"


async def test_a_credential_of_systemd(tmp_path: Path) -> None:
    """It is looked at where the user manager puts it, if the daemon runs; else nobody but the daemon can read it."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    source = CredentialSecret("pm-prod")
    assert (await judge(source, Where(environ))).level is WARNING
    assert "only the daemon" in (await judge(source, Where(environ, running=True))).sentence
    folder = tmp_path / "credentials" / "pmcredd.service"
    folder.mkdir(parents=True)
    missing = await judge(source, Where(environ, unit="pmcredd.service", running=True))
    assert missing.level is PROBLEM
    assert "LoadCredential=pm-prod" in missing.mend
    (folder / "pm-prod").write_text(CANARY)
    assert (await judge(source, Where(environ, unit="pmcredd.service", running=True))).level is OK


async def test_a_source_is_read_once_for_all_profiles(tmp_path: Path) -> None:
    """Six profiles on one command run it once; each is told what came of it, by its own keys."""
    log = tmp_path / "log"
    command = CommandSecret(("sh", "-c", f"echo x >>{shlex.quote(str(log))}; echo {CANARY}"))
    common = {"client_id": "3", "username": "u", "client_secret": command, "password": LiteralSecret(Secret(CANARY))}
    profiles = [Profile(f"p{n}", "https://h.example", Grant.PASSWORD, **common) for n in range(6)]  # type: ignore[arg-type]
    found = await look_at_secrets(profiles, Where({"PATH": "/usr/bin:/bin"}))
    assert log.read_text() == "x\n"
    for name, findings in found.items():
        assert [each.check for each in findings] == ["client_secret", "password"]
        assert {each.area.subject for each in findings} == {name}
        assert {each.level for each in findings} == {OK}
        assert CANARY not in str(findings)


# --- the keyring ------------------------------------------------------------------------------------------------------


@pytest.fixture
def session() -> "object":
    """A desktop session whose keyring is unlocked and has the entry."""
    with desktop() as found:
        found.unlock()
        found.run([sys.executable, "-m", "keyring", "set", ENTRY.service, ENTRY.username], CANARY)
        yield found


@needs_keyring
async def test_a_keyring_is_never_made_to_ask(session: Desktop) -> None:
    """Unlocked, it tells whether it has the entry; locked, that alone is told, and no prompt comes up."""
    where = Where(session.environ)
    assert (await judge(ENTRY, where)).level is OK
    absent = await judge(KeyringSecret("pmcred", "another"), where)
    assert absent.level is PROBLEM
    assert "has no entry pmcred another" in absent.sentence
    session.lock()
    with nobody_at_the_screen(session) as prompts:
        locked = await judge(ENTRY, where)
        assert prompts() == 0
    assert locked.level is PROBLEM
    assert "the keyring is locked" in locked.sentence


@needs_keyring
async def test_an_entry_that_cannot_be_a_secret(session: Desktop) -> None:
    """As from every other source; the bus is found without its variable, as after a login by ssh."""
    session.run([sys.executable, "-m", "keyring", "set", "pmcred", "odd"], f" {CANARY}")
    environ = {name: value for name, value in session.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    found = await judge(KeyringSecret("pmcred", "odd"), Where(environ))
    assert found.level is PROBLEM
    assert "a space or an invisible character" in found.sentence
    assert CANARY not in str(found)


@needs_keyring
async def test_a_keyring_that_was_never_made() -> None:
    """A fresh account: it is not made, and its password is not asked for."""
    with desktop() as fresh, nobody_at_the_screen(fresh) as prompts:
        found = await judge(ENTRY, Where(fresh.environ))
        assert prompts() == 0
    assert found.level is PROBLEM


@needs_keyring
async def test_a_keyring_that_hangs(session: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the limit, and is a warning: the daemon waits longer."""
    monkeypatch.setattr(module, "LIMIT", 1.0)
    keeper = session.keyring_pid()
    os.kill(keeper, signal.SIGSTOP)
    try:
        found = await judge(ENTRY, Where(session.environ))
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert found.level is WARNING
    assert "within the time limit of 1 s: it may wait for somebody to unlock it" in found.sentence


@pytest.mark.parametrize(
    ("backend", "level", "words"),
    [
        ("", PROBLEM, "without a session bus"),
        ("keyring.backends.null.Keyring", OK, "not read here, as it might ask somebody"),
        ("keyring.backends.SecretService.Keyring", PROBLEM, "failed to give its entry pmcred 'prod password': "),
    ],
)
async def test_no_keyring_at_all(tmp_path: Path, backend: str, level: Level, words: str) -> None:
    """Without a bus; with another kind of keyring, of which nobody knows whether it asks; with one that fails."""
    environ = {name: value for name, value in os.environ.items() if name.startswith("COV")}
    environ |= {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    if backend:
        environ["PYTHON_KEYRING_BACKEND"] = backend
    found = await judge(ENTRY, Where(environ))
    assert found.level is level
    assert words in found.sentence


async def test_no_program_to_ask_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not installed, and our own Python is gone after an upgrade."""
    (tmp_path / "keyring.py").write_text("raise ModuleNotFoundError('gone', name='keyring')")
    environ = {name: value for name, value in os.environ.items() if name.startswith("COV")}
    where = Where({**environ, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)})
    found = await judge(ENTRY, where)
    assert found.level is PROBLEM
    assert "the Python package keyring is not installed" in found.sentence
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    assert (await judge(ENTRY, where)).level is PROBLEM
