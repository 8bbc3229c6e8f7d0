"""The state file: private, kept when damaged, brought forward."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from support.lives import WALL, held, profile

from pmcredd import state_file
from pmcredd.store import Account, Store, StoreProblem, identity
from pmcredd.telling import User

PROD = profile("prod")
SETTINGS = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}  # 2: FULL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a state file that is not there yet."""
    return tmp_path / "state.db"


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


def test_what_is_written_is_on_disk_and_what_is_deleted_is_gone(path: Path) -> None:
    """With SQLite's own defaults a power cut would take the last pair, and old tokens would stay in the file."""
    connection, _ = state_file.open_state_file(path)
    with closing(connection):
        found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in SETTINGS}
    assert found == SETTINGS


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
    with closing(sqlite3.connect(path)) as db, db:
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
    monkeypatch.setitem(
        state_file.MIGRATIONS, len(state_file.MIGRATIONS), "ALTER TABLE credential ADD COLUMN extra TEXT; SELECT 1"
    )

    Store.open(path).close()

    store = Store.open(path)
    assert store.load([identity(PROD)])


def test_what_the_first_schema_held_is_all_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of schema 1, with a token and a doubt about it: both are found, and whose the token is becomes known."""
    with monkeypatch.context() as patch:
        patch.delitem(state_file.MIGRATIONS, 1)
        connection, _ = state_file.open_state_file(path)
    with closing(connection):
        connection.execute(
            "INSERT INTO credential (identity, profile, access_token, token_type, sub, issued_boot, issued_wall, "
            "issued_boot_id, serial, asked_at, past, proved) "
            "VALUES (?, 'prod', 't', 'Bearer', '7', 1.0, ?, 'b', 3, 0, '', 1)",
            (identity(PROD), WALL),
        )
        connection.execute("INSERT INTO intent (identity, tries, padding) VALUES (?, 1, x'')", (identity(PROD),))

    store = Store.open(path)

    found = store.load([identity(PROD)])[identity(PROD)]
    assert (found.serial, found.tries, found.held.token.sub) == (3, 1, "7")
    assert store.accounts([identity(PROD)]) == {identity(PROD): Account(User("7"))}


def test_a_broken_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half way leaves the old schema, and the program says so."""
    Store.open(path).close()
    monkeypatch.setitem(
        state_file.MIGRATIONS, len(state_file.MIGRATIONS), "ALTER TABLE credential ADD COLUMN extra TEXT; NONSENSE"
    )

    with pytest.raises(StoreProblem):
        Store.open(path)

    monkeypatch.undo()
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A store that cannot be made says on what it failed."""
    with pytest.raises(StoreProblem) as caught:
        Store.open(tmp_path / "missing" / "state.db")

    assert "missing" in caught.value.message


def test_rubbish_without_a_log_is_set_aside(path: Path) -> None:
    """A damaged file that has no -wal is set aside alone."""
    path.touch(mode=0o600)
    path.write_bytes(b"rubbish " * 1000)

    store = Store.open(path)

    assert store.set_aside is not None
    assert store.set_aside.read_bytes() == b"rubbish " * 1000


def test_a_schema_before_the_first_is_damage(path: Path) -> None:
    """A version that no pmcredd ever wrote is a flipped bit: the file is set aside, and a fresh one serves."""
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = -1")
    db.close()

    store = Store.open(path)

    assert store.set_aside is not None
    store.save(PROD, held(), serial=1, asked_at=WALL)


def test_a_file_that_lacks_a_table(path: Path) -> None:
    """What another tool took away is told as a problem of that file, not as a traceback."""
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE meta")
    db.close()

    with pytest.raises(StoreProblem, match="no such table"):
        Store.open(path)
