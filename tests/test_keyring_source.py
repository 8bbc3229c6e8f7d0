"""Secrets from a real gnome-keyring: unlocked, locked, absent and hung, each told apart and with what mends it."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio
from support.desktop import Desktop, desktop, needs_keyring, nobody_at_the_screen

from pmcredd.profiles import KeyringSecret
from pmcredd.secret import Secret
from pmcredd.secret_sources import MAX_BYTES, SecretUnavailable, read

CANARY = "hunter2-canary"
ENTRY = KeyringSecret("pmcred", "prod password", timeout=30)
SET = "keyring set pmcred 'prod password'"


@pytest.fixture
def locked() -> Iterator[Desktop]:
    """Give a desktop whose keyring holds the entry, and is locked."""
    with desktop() as session:
        session.unlock()
        session.run(SET, CANARY)
        session.lock()
        yield session


@pytest.fixture
def unlocked(locked: Desktop) -> Desktop:
    """Give the same one, unlocked."""
    locked.unlock()
    return locked


async def refused(environ: Mapping[str, str], source: KeyringSecret = ENTRY) -> SecretUnavailable:
    """Read a secret that cannot be had, and give the reason."""
    with pytest.raises(SecretUnavailable) as caught:
        await read(source, environ=environ)
    assert caught.value.mend
    assert CANARY not in repr(caught.value) + caught.value.sentence + caught.value.mend
    return caught.value


@needs_keyring
async def test_an_entry_gives_its_password(unlocked: Desktop) -> None:
    """What `keyring set` took is what a profile gets."""
    assert await read(ENTRY, environ=unlocked.environ) == Secret(CANARY)


@needs_keyring
async def test_an_entry_that_is_not_there_is_told_with_the_command_that_makes_it(unlocked: Desktop) -> None:
    """Absent is not locked; the mend, run as it stands, mends it."""
    other = KeyringSecret("pmcred", "it's new", timeout=30)
    error = await refused(unlocked.environ, other)
    assert f"has no entry {error.mend.removeprefix('keyring set ')}" in error.sentence
    assert "SecretService" in error.sentence
    unlocked.run(error.mend, "another")
    assert await read(other, environ=unlocked.environ) == Secret("another")


@needs_keyring
async def test_a_locked_keyring_is_not_an_absent_entry(locked: Desktop) -> None:
    """Where no prompt can be shown it is told at once; the mend for a machine without a desktop mends it."""
    error = await refused(locked.environ)
    assert "the keyring is locked" in error.sentence
    assert "has no entry" not in error.sentence
    assert error.mend.startswith("keyring get pmcred 'prod password' >/dev/null")
    assert "gnome-keyring-daemon --replace --unlock" in error.mend
    locked.unlock()
    assert await read(ENTRY, environ=locked.environ) == Secret(CANARY)


@needs_keyring
async def test_a_keyring_that_was_never_made_is_told_as_that() -> None:
    """A fresh account has none, and nobody is there to choose its password."""
    with desktop() as session:
        error = await refused(session.environ)
        assert "the keyring cannot be opened" in error.sentence
        assert "collection" in error.sentence
        session.unlock()  # makes it
        assert "has no entry" in (await refused(session.environ)).sentence


@needs_keyring
async def test_a_prompt_that_nobody_answers_ends_at_the_time_limit(locked: Desktop) -> None:
    """Its owner is away: an error in time; once it is unlocked, the next read finds it so."""
    with nobody_at_the_screen(locked) as prompts:
        error = await refused(locked.environ, KeyringSecret("pmcred", "prod password", timeout=2))
        assert prompts() == 1
    assert "within the time limit of 2 s: it may wait for somebody to unlock it" in error.sentence
    assert "keyring get pmcred 'prod password' >/dev/null" in error.mend
    locked.unlock()
    assert await read(ENTRY, environ=locked.environ) == Secret(CANARY)


@needs_keyring
async def test_a_keyring_that_hangs_holds_nobody_beyond_the_time_limit(unlocked: Desktop) -> None:
    """Its process is stopped: an error in time, and the next read works as soon as it runs again."""
    keeper = unlocked.keyring_pid()
    os.kill(keeper, signal.SIGSTOP)
    try:
        error = await refused(unlocked.environ, KeyringSecret("pmcred", "prod password", timeout=2))
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert "within the time limit of 2 s" in error.sentence
    assert await read(ENTRY, environ=unlocked.environ) == Secret(CANARY)


@needs_keyring
async def test_the_bus_is_found_after_a_login_by_ssh(unlocked: Desktop) -> None:
    """Nobody names the bus there, but it stands in the runtime directory."""
    environ = {name: value for name, value in unlocked.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    assert await read(ENTRY, environ=environ) == Secret(CANARY)


@needs_keyring
async def test_a_bus_without_a_keyring_is_told_as_that() -> None:
    """A bus there is, and nobody on it keeps secrets."""
    with desktop(with_keyring=False) as session:
        error = await refused(session.environ)
    assert "no program on the session bus keeps one" in error.sentence
    assert "gnome-keyring" in error.mend


@needs_keyring
@pytest.mark.parametrize("content", ["two\nlines", " space", "x" * (MAX_BYTES + 1)])
async def test_an_entry_that_cannot_be_a_secret_is_refused(unlocked: Desktop, content: str) -> None:
    """As from every other source: it is never sent."""
    unlocked.run(SET, content)
    error = await refused(unlocked.environ)
    assert "the secret in the keyring's entry pmcred 'prod password'" in error.sentence


@needs_keyring
def test_who_reads_does_not_load_the_keyring(unlocked: Desktop) -> None:
    """The daemon neither pays for the package keyring nor lets its backends in, not even while a profile uses it."""
    script = (
        "import os, sys, trio\n"
        "from pmcredd.profiles import KeyringSecret\n"
        "from pmcredd.secret_sources import read\n"
        "async def main():\n"
        "    print((await read(KeyringSecret('pmcred', 'prod password'), environ=os.environ)).reveal())\n"
        "trio.run(main)\n"
        "print({'keyring', 'secretstorage', 'jeepney', 'cryptography', 'ctypes'} & {*sys.modules} - {*before})\n"
    )
    script = f"import sys, trio, subprocess; before = {{*sys.modules}}\n{script}"
    assert unlocked.run([sys.executable, "-c", script], "").splitlines() == [CANARY, "set()"]


# Without a desktop


async def test_no_bus_is_told_with_how_to_start_on_one(tmp_path: Path) -> None:
    """Cron, a container, a login by ssh without a user manager."""
    error = await refused({"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert "without a session bus" in error.sentence
    assert "pmcred service install" in error.mend


async def test_a_missing_package_is_told_with_how_to_install_it(tmp_path: Path) -> None:
    """The extra was not installed: the error names it."""
    error = await refused(with_module(tmp_path, "keyring", "raise ModuleNotFoundError('gone', name='keyring')"))
    assert "the Python package keyring is not installed" in error.sentence
    assert "pip install 'pmcredd[keyring]'" in error.mend


async def test_a_package_with_a_part_missing_is_told_as_that(tmp_path: Path) -> None:
    """Installing the extra once more would not be the mend."""
    error = await refused(with_module(tmp_path, "keyring", "import no_such_thing"))
    assert "No module named 'no_such_thing'" in error.sentence
    assert "keyring get pmcred 'prod password'" in error.mend


def with_module(folder: Path, name: str, text: str) -> dict[str, str]:
    """Give an environment in which Python finds this module first."""
    (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHON_KEYRING_BACKEND": f"{name}.Keyring"}


def with_backend(folder: Path, body: str) -> dict[str, str]:
    """Give an environment in which the keyring is this one; `body` gets a password."""
    return with_module(
        folder,
        "backend_of_ours",
        "import ctypes, os, sys\n"
        "from keyring import backend, errors\n"
        "class Keyring(backend.KeyringBackend):\n"
        "    priority = 9\n"
        "    def set_password(self, service, username, password): ...\n"
        f"    def get_password(self, service, username):\n        {body}\n",
    )


async def test_what_a_backend_prints_is_not_the_secret(tmp_path: Path) -> None:
    """It may greet, warn and debug as it likes."""
    environ = with_backend(tmp_path, f"print('hello'); os.write(1, b'hello'); return '{CANARY}'")
    assert await read(ENTRY, environ=environ) == Secret(CANARY)


async def test_the_program_is_as_closed_as_the_daemon(tmp_path: Path) -> None:
    """Nobody can look into its memory, and other profiles' secrets are not in its environment."""
    environ = with_backend(tmp_path, "return f'{ctypes.CDLL(None).prctl(3)} {sorted({*os.environ} & {*\"AB\"})}'")
    secret = await read(ENTRY, environ={**environ, "A": CANARY, "B": "b"}, withhold={"A"})
    assert secret.reveal() == "0 ['B']"  # prctl(PR_GET_DUMPABLE)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('the vault\\nburns')", "failed to give .*: RuntimeError: the vault burns"),
        (f"return '{CANARY}'.encode('utf-16').decode()", "failed to give .*: UnicodeDecodeError$"),
        ("os.kill(os.getpid(), 9)", "failed to give"),
        ("os._exit(3)", "failed to give"),
        ("raise errors.KeyringLocked('no')", "the keyring is locked"),
        ("raise errors.InitError('no vault')", "cannot be opened for .*: no vault"),
        ("return None", r"the keyring \(backend of ours Keyring\) has no entry"),
        ("return ''", "is empty"),
        ("return '\\udcff'", "is not UTF-8"),
    ],
)
async def test_whatever_a_backend_does_has_an_end(tmp_path: Path, body: str, said: str) -> None:
    """Each way has its sentence, and none shows the secret."""
    error = await refused(with_backend(tmp_path, body))
    assert re.search(said, error.sentence), error.sentence


async def test_an_upgrade_that_takes_our_python_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon runs on while its virtual environment is made anew."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    error = await refused({"PATH": os.environ["PATH"]})
    assert f"{tmp_path}/python: No such file or directory" in error.sentence


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ("raise errors.KeyringLocked('no')", 1),
        ("return None", 3),
        ("raise RuntimeError('this one')", 3),
    ],
)
async def test_a_locked_keyring_is_asked_once_for_all_who_wait(tmp_path: Path, body: str, asked: int) -> None:
    """Ten profiles wait for one prompt, and not ten times as long; what is so for one entry is not said of others."""
    log = tmp_path / "asked"
    environ = with_backend(tmp_path, f"print(username, file=open({str(log)!r}, 'a')); {body}")
    told: dict[str, str] = {}

    async def want(name: str) -> None:
        told[name] = (await refused(environ, KeyringSecret("pmcred", name))).sentence

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(want, name)
    assert len(log.read_text().splitlines()) == asked
    assert all(f"entry pmcred {name}" in sentence for name, sentence in told.items())
    assert len(told) == 3
    await want("a")
    assert len(log.read_text().splitlines()) == asked + 1  # asked for anew, it is looked at anew
