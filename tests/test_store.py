"""What must outlive the process."""

import os
import resource
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.lives import WALL, held, profile

from pmcredd import store as store_module
from pmcredd.oauth import Token
from pmcredd.secret import Secret
from pmcredd.store import Stop, Store, StoreProblem, identity
from pmcredd.validity import Held, Moment

PROD = profile("prod")
FULL = Held(
    Token(Secret("a" * 40), "Bearer", 31536000.0, Secret("def502" + "b" * 40), "*", "1", "c" * 80, WALL + 31536000.0),
    Moment(boot=12.5, wall=WALL, boot_id="boot"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a store that is not there yet."""
    return tmp_path / "state.db"


def test_what_was_saved_is_there_after_a_restart(path: Path) -> None:
    """A token comes back whole: every field, the moment of its request, serial and last use."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=3, asked_at=WALL + 5)
    store.close()

    found = Store.open(path).load([identity(PROD), "unknown"])

    assert found == {identity(PROD): store_module.Saved(FULL, 3, WALL + 5)}


def test_a_token_belongs_to_its_identity(path: Path) -> None:
    """A profile that points elsewhere, or is somebody else, does not get the old token."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)

    for changes in (
        {"url": "https://other.example"},
        {"client_id": "9"},
        {"username": "boss"},
        {"scope": "*"},
        {"generation": 3},
        {"token_path": "/x"},
        {"workspace": "w"},
    ):
        other = identity(profile("prod", **changes))
        assert store.load([other]) == {}
    assert store.load([identity(replace(PROD, timeout=5.0))])


def test_a_new_token_replaces_the_old_one(path: Path) -> None:
    """There is one token for each identity, and the old one's bytes are gone from the files."""
    store = Store.open(path)
    store.save(PROD, held(value="old-token-value"), serial=1, asked_at=WALL)
    store.save(PROD, held(value="new-token-value"), serial=1, asked_at=WALL)

    (found,) = store.load([identity(PROD)]).values()
    assert found.held.token.access_token.reveal() == "new-token-value"
    store.close()
    assert b"old-token-value" not in path.read_bytes()


def test_it_is_private_from_its_first_moment(path: Path) -> None:
    """The file and its companions are 0600 whatever the umask."""
    old = os.umask(0)
    try:
        store = Store.open(path)
        store.save(PROD, held(), serial=1, asked_at=WALL)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("state.db*")}
    finally:
        os.umask(old)

    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


def test_a_store_open_to_others_is_refused(path: Path) -> None:
    """A state file that others can read is not used; the message has the chmod."""
    Store.open(path).close()
    path.chmod(0o644)

    with pytest.raises(StoreProblem) as caught:
        Store.open(path)

    assert f"chmod 600 {path}" in caught.value.hint


def test_a_link_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    """A symbolic link where the state file should be is not followed."""
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreProblem):
        Store.open(path)


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to look like one" * 50])
def test_a_damaged_file_is_set_aside_and_kept(path: Path, damage: bytes) -> None:
    """A damaged store is put out of the way together with its -wal, never deleted, and a fresh one serves."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)
    store.close()
    path.write_bytes(damage or path.read_bytes()[:5000] + b"\xff" * 20000)
    Path(f"{path}-wal").write_bytes(b"the wal of it")

    store = Store.open(path)

    assert store.set_aside is not None
    assert store.set_aside.exists()
    assert Path(f"{store.set_aside}-wal").read_bytes() == b"the wal of it"
    store.save(PROD, held(), serial=1, asked_at=WALL)
    assert store.load([identity(PROD)])


def test_a_newer_schema_is_left_untouched(path: Path) -> None:
    """A file that a newer pmcredd wrote is refused, not damaged, not set aside."""
    Store.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()

    with pytest.raises(StoreProblem, match="newer pmcredd"):
        Store.open(path)

    assert path.read_bytes() == before


def test_an_older_schema_is_brought_forward(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration runs once, inside a transaction with its version, and keeps the rows."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)
    store.close()
    monkeypatch.setattr(store_module, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(store_module.MIGRATIONS, 1, "ALTER TABLE credential ADD COLUMN extra TEXT; SELECT 1")

    Store.open(path).close()

    store = Store.open(path)
    assert store.load([identity(PROD)])


def test_a_broken_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half way leaves the old schema, and the program says so."""
    Store.open(path).close()
    monkeypatch.setattr(store_module, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(store_module.MIGRATIONS, 1, "ALTER TABLE credential ADD COLUMN extra TEXT; NONSENSE")

    with pytest.raises(StoreProblem):
        Store.open(path)

    monkeypatch.undo()
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)


def test_parked_rows_come_back_and_are_forgotten_after_thirty_days(path: Path) -> None:
    """A typo in a url for ten seconds costs no token; a row that no profile matched for 30 days is deleted."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)
    day = 86400.0

    store.park(set(), WALL)
    store.park({identity(PROD)}, WALL + 29 * day)
    store.park(set(), WALL + 40 * day)
    assert store.load([identity(PROD)]), "matched again in between: the thirty days begin anew"
    store.park(set(), WALL + 71 * day)
    assert store.load([identity(PROD)]) == {}


def test_the_last_use_is_remembered(path: Path) -> None:
    """When somebody last asked outlives the process."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)

    store.asked(identity(PROD), WALL + 99)

    assert store.load([identity(PROD)])[identity(PROD)].asked_at == WALL + 99


def test_tries(path: Path) -> None:
    """One unanswered try (we were killed) may be repeated, two are a stop; an answer clears or stops for good."""
    store = Store.open(path)
    assert store.stop("key") is None
    store.begin_tries(["key"])
    assert store.stop("key") is None
    store.begin_tries(["key"])
    stop = store.stop("key")
    assert stop is not None
    assert stop.reason is None
    store.end_tries({"key": None})
    assert store.stop("key") is None
    store.begin_tries(["key"])
    store.end_tries({"key": Stop("bad-credentials", "refused")})
    store.close()
    assert Store.open(path).stop("key") == Stop("bad-credentials", "refused")


def test_the_salt_stays(path: Path) -> None:
    """The salt that names stopped secrets is random, and the same after a restart."""
    store = Store.open(path)
    salt = store.salt
    store.close()

    assert Store.open(path).salt == salt
    assert Store.open(path.with_name("other.db")).salt != salt


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A store that cannot be made says on what it failed."""
    with pytest.raises(StoreProblem) as caught:
        Store.open(tmp_path / "missing" / "state.db")

    assert "missing" in caught.value.message


def test_a_full_disk_is_told_as_one_and_loses_nothing(path: Path) -> None:
    """When the file may not grow the write fails with a clear message, and what was saved before is still there."""
    script = """
import resource, signal, sys
from pathlib import Path
from support.lives import held, profile
from pmcredd.store import Store, StoreProblem, identity
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
store = Store.open(path)
store.save(profile("prod"), held(), serial=1, asked_at=0.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
try:
    for number in range(50):
        store.save(profile(f"big-{number}"), held(value="x" * 100000), serial=1, asked_at=0.0)
except StoreProblem as problem:
    print(problem.message)
print(sorted(store.load([identity(profile("prod"))])) == [identity(profile("prod"))])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, path],
        env={"PYTHONPATH": os.path.dirname(__file__), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "cannot be" in done.stdout
    assert done.stdout.endswith("True\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
