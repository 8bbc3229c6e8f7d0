"""The state file itself: private from its first moment, set aside when damaged, brought to this version's schema.

What its rows mean is the store's business (store.py).
"""

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# MIGRATIONS[n] brings schema n to n + 1, inside the transaction that also sets the version; the last is today's.
MIGRATIONS: dict[int, str] = {
    0: """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE credential (
    identity TEXT PRIMARY KEY,
    profile TEXT NOT NULL,
    access_token TEXT NOT NULL, token_type TEXT NOT NULL, expires_in REAL, refresh_token TEXT, scope TEXT,
    sub TEXT, jti TEXT, exp REAL,
    issued_boot REAL NOT NULL, issued_wall REAL NOT NULL, issued_boot_id TEXT NOT NULL,
    serial INTEGER NOT NULL, asked_at REAL NOT NULL, parked_at REAL,
    past TEXT NOT NULL, proved INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0,
    leased_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE intent (identity TEXT PRIMARY KEY, tries INTEGER NOT NULL, padding BLOB NOT NULL);
CREATE TABLE stop (
    key TEXT PRIMARY KEY, trying INTEGER NOT NULL, cut INTEGER NOT NULL DEFAULT 0, reason TEXT, sentence TEXT
) WITHOUT ROWID;
""",
    1: """
CREATE TABLE account (
    identity TEXT PRIMARY KEY, profile TEXT NOT NULL,
    user TEXT, user_name TEXT,
    logged_out INTEGER NOT NULL DEFAULT 0, parked_at REAL
) WITHOUT ROWID;
INSERT INTO account (identity, profile, user) SELECT identity, profile, sub FROM credential WHERE sub <> '';
ALTER TABLE intent ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;
UPDATE intent SET serial = COALESCE((SELECT serial FROM credential WHERE identity = intent.identity), 0);
""",
}


class StoreProblem(Exception):
    """The state file cannot be used. `message` says what failed on what, `hint` the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def open_state_file(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """Open the state file, making it (0600, never readable by others for an instant) if it is not there.

    A damaged file is set aside together with its -wal, never deleted: a newer tool may read it. Its new name comes
    back beside the connection. A file of a newer schema is left untouched. What is written over the connection is on
    disk when a transaction's commit returns (WAL, synchronous=FULL).

    Raises:
        StoreProblem: the directory cannot be written, the disk is full, or a newer pmcredd wrote the file.
    """
    with mapped(path):
        try:
            return _open(path), None
        except _DamageError as damage:
            return _open(path), damage.aside


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into a StoreProblem; everything else of theirs ends here."""
    try:
        yield
    except sqlite3.Error as error:
        raise _problem(
            path, str(error), full=getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        ) from error
    except OSError as error:
        raise _problem(path, error.strerror or str(error), full=error.errno in {errno.ENOSPC, errno.EDQUOT}) from error


def _problem(path: Path, said: str, *, full: bool) -> StoreProblem:
    if full:
        return StoreProblem(f"the state file {path} cannot be written: the disk is full", f"df -h {path.parent}")
    return StoreProblem(f"the state file {path} cannot be used: {said}", f"ls -ld {path.parent} {path}")


# Opening


def _open(path: Path) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    # A flipped bit in a text must not raise: SQLite would quote the whole text, a token perhaps, in its error.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        _prepare(connection, path)
    except BaseException as error:
        # Before the connection is closed: SQLite deletes the -wal when it closes.
        aside = _set_aside(path) if _is_damage(error) else None
        connection.close()
        if aside is not None:
            raise _DamageError(str(error), aside) from error
        raise
    return connection


def _make_private(path: Path) -> None:
    """Make the file with O_EXCL and 0600 before SQLite sees it: sqlite3 itself would follow the umask."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StoreProblem(
                f"the state file {path} is not a private file of ours",
                f"ls -l {path}; if it is yours: chmod 600 {path}",
            ) from None
    else:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA secure_delete = ON")  # an old token is overwritten, not left in a free page
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise _DamageError(str(found))
    _migrate(connection, path)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version < 0:
        raise _DamageError(f"schema {version}")
    known = len(MIGRATIONS)
    if version > known:
        raise StoreProblem(
            f"the state file {path} was written by a newer pmcredd (schema {version}, this one knows {known})",
            "pip install --upgrade pmcredd, or name another directory in PMCRED_STATE_DIR",
        )
    for old in range(version, known):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[old].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {old + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


# Damage


class _DamageError(sqlite3.DatabaseError):
    """The file is damaged; `aside` is where it was put."""

    def __init__(self, said: str, aside: Path | None = None) -> None:
        super().__init__(said)
        self.aside = aside


def _is_damage(error: BaseException) -> bool:
    if isinstance(error, _DamageError):
        return True
    code = error.sqlite_errorcode if isinstance(error, sqlite3.DatabaseError) else sqlite3.SQLITE_OK
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}")
    for suffix in ("", "-wal", "-shm"):
        try:
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        except FileNotFoundError:
            continue
    return aside
