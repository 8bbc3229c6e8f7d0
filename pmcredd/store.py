"""What must outlive the process: tokens, and the passwords that must not be tried again; in SQLite.

Every method is blocking and is called from one worker thread at a time (a stalled disk must not stall the daemon).
What is written is on disk when the method returns: WAL with synchronous=FULL. Only the process that holds the state
directory's lock (state_lock.py) may open the store.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pmcredd.life import User
from pmcredd.profiles import Profile
from pmcredd.saved_row import COLUMNS, MARKS, Saved, columns, number, read_row, text
from pmcredd.state_file import StoreProblem, mapped, open_state_file
from pmcredd.validity import DAY, Held

__all__ = ["Account", "Saved", "Stop", "Store", "StoreProblem", "identity"]

TRIES_WITHOUT_ANSWER = 2
PADDING = 65536  # bytes: several times what a pair of tokens takes
PARKED_FOR = 30 * DAY  # a row that no profile matches any more is forgotten after this

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose the last token was, and whether somebody has logged out: the serial that this began with, or 0."""

    user: User | None
    logged_out: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """A secret that must not be tried again by itself, and why (text for people)."""

    reason: str | None  # None: the tries never ended
    sentence: str


def identity(profile: Profile) -> str:
    """Name what a saved token belongs to: two profiles that differ in any of these may not share a token."""
    parts = (
        profile.name,
        profile.generation,
        profile.url,
        profile.token_path,
        profile.workspace,
        profile.grant,
        profile.client_id,
        profile.username,
        profile.scope,
    )
    # Left out where it is not set: rows that were saved before there was such a key are found.
    return json.dumps(parts if profile.expect_user is None else (*parts, profile.expect_user))


class Store:
    """The open store. `set_aside` names the damaged file that was put out of the way to open it, or is None."""

    def __init__(self, connection: sqlite3.Connection, path: Path, set_aside: Path | None) -> None:
        self._db = connection
        self.path = path
        self.set_aside = set_aside
        self.salt = self._salt()
        # Tries that a kill cut short: nobody knows what the server said, so each counts.
        self._run(lambda: self._db.execute("UPDATE stop SET cut = cut + 1, trying = 0 WHERE trying = 1"))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store at `path`, making it if it is not there; see `open_state_file`.

        Raises:
            StoreProblem: the directory cannot be written, the disk is full, or a newer pmcredd wrote the file.
        """
        connection, set_aside = open_state_file(path)
        try:
            return cls(connection, path, set_aside)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the store; SQLite moves what is in the -wal into the file."""
        self._db.close()

    def load(self, identities: Sequence[str]) -> dict[str, Saved]:
        """Find the tokens of these identities; what is not there is not in the answer."""
        query = (
            f"SELECT {COLUMNS}, past, proved, dead, leased_until, tries FROM credential "  # noqa: S608 - constant columns
            "LEFT JOIN intent USING (identity, serial) WHERE identity = ?"
        )
        found = {}
        with mapped(self.path):
            for each in identities:
                row = self._db.execute(query, (each,)).fetchone()
                if row is not None and (saved := read_row(row)) is not None:
                    found[each] = saved
        return found

    def accounts(self, identities: Sequence[str]) -> dict[str, Account]:
        """Find what is known of these accounts beside their tokens."""
        query = "SELECT user, user_name, logged_out FROM account WHERE identity = ?"
        found = {}
        with mapped(self.path):
            for each in identities:
                row = self._db.execute(query, (each,)).fetchone()
                if row is not None:
                    user = None if row[0] is None else User(str(row[0]), text(row[1]))
                    found[each] = Account(user, int(number(row[2]) or 0))
        return found

    def save(
        self,
        profile: Profile,
        held: Held,
        *,
        serial: int,
        asked_at: float,
        past: tuple[str, ...] = (),
        proved: bool = False,
        dead: bool = False,
        leased_until: float = 0.0,
        user: User | None = None,
    ) -> None:
        """Write a token in place of the one before it, with what is known of it, and clear the intent; all at once.

        A token with a serial from before a logout is late: nothing is written. Any other one ends a logout.
        """

        def work() -> bool:
            known = self._db.execute(
                "SELECT logged_out FROM account WHERE identity = ?", (identity(profile),)
            ).fetchone()
            if known is not None and serial < known[0]:
                return False
            self._db.execute(
                "INSERT OR REPLACE INTO account (identity, profile, user, user_name) VALUES (?, ?, ?, ?)",
                (identity(profile), profile.name, user.id if user else None, user.name if user else None),
            )
            spent = self._db.execute("DELETE FROM intent WHERE identity = ?", (identity(profile),)).rowcount > 0
            self._db.execute(
                f"INSERT OR REPLACE INTO credential (identity, profile, past, proved, dead, leased_until, {COLUMNS}) "  # noqa: S608 - constant columns
                f"VALUES (?, ?, ?, ?, ?, ?, {MARKS})",
                (
                    identity(profile),
                    profile.name,
                    " ".join(past),
                    proved,
                    dead,
                    leased_until,
                    *columns(held),
                    serial,
                    asked_at,
                ),
            )
            return spent

        if self._run(work):
            # This token is safe; the room is for the next one that comes back.
            with suppress(sqlite3.Error):
                self._wind_back()

    def begin_spend(self, profile_identity: str, serial: int, tries: int) -> None:
        """Commit that a refresh token is about to be sent for the `tries`th time: whoever comes after us must doubt.

        It also makes room, so that saving the new pair needs no new space on a disk that fills up meanwhile: padding
        goes in and out again, every page of it is written (secure_delete), and the log is wound back. Now the log's
        file is longer than what `save` writes, and the database has free pages. Without space for that nothing is sent.
        """

        def work() -> None:
            self._db.execute(
                "INSERT OR REPLACE INTO intent (identity, serial, tries, padding) VALUES (?, ?, ?, zeroblob(?))",
                (profile_identity, serial, tries, PADDING),
            )
            self._db.execute("UPDATE intent SET padding = x'' WHERE identity = ?", (profile_identity,))

        self._run(work)
        with mapped(self.path):
            self._wind_back()

    def end_spend(self, profile_identity: str, serial: int, tries: int) -> None:
        """Take an intent back: of the times it was sent, only `tries` are still in doubt."""
        row = (profile_identity, serial)

        def work() -> None:
            if tries == 0:
                self._db.execute("DELETE FROM intent WHERE identity = ? AND serial = ?", row)
            else:
                self._db.execute("UPDATE intent SET tries = ? WHERE identity = ? AND serial = ?", (tries, *row))

        self._run(work)

    def drop_refresh_token(self, profile_identity: str, serial: int) -> None:
        """Forget a refresh token that the server calls dead: no daemon after us sends it once more.

        The serial is of the credential that it belongs to: somebody may have logged in since it was sent.
        """
        row = (profile_identity, serial)

        def work() -> None:
            self._db.execute("UPDATE credential SET refresh_token = NULL WHERE identity = ? AND serial = ?", row)
            self._db.execute("DELETE FROM intent WHERE identity = ? AND serial = ?", row)

        self._run(work)

    def note(self, profile_identity: str, *, proved: bool, dead: bool, leased_until: float) -> None:
        """Note what was learned of the token: that a probe has passed, that it is dead, until when it is leased."""
        self._run(
            lambda: self._db.execute(
                "UPDATE credential SET proved = ?, dead = ?, leased_until = ? WHERE identity = ?",
                (proved, dead, leased_until, profile_identity),
            )
        )

    def asked(self, profile_identity: str, asked_at: float) -> None:
        """Remember (wall time) that somebody asked: after 30 days without, a token is let go."""
        self._run(
            lambda: self._db.execute(
                "UPDATE credential SET asked_at = ? WHERE identity = ?", (asked_at, profile_identity)
            )
        )

    def park(self, live: set[str], now: float) -> None:
        """Mark the rows that no profile matches (a typo in a url, for ten seconds), and forget those of 30 days ago."""

        def work() -> None:
            for table in ("credential", "account"):
                # First those that are back: a row of 31 days ago whose profile is back today is not forgotten.
                back = f"UPDATE {table} SET parked_at = NULL WHERE identity = ?"  # noqa: S608 - constant tables
                self._db.executemany(back, [(row,) for row in live])
                self._db.execute(f"DELETE FROM {table} WHERE parked_at < ?", (now - PARKED_FOR,))  # noqa: S608
                known = self._db.execute(f"SELECT identity FROM {table}").fetchall()  # noqa: S608
                mark = f"UPDATE {table} SET parked_at = ? WHERE identity = ? AND parked_at IS NULL"  # noqa: S608
                self._db.executemany(mark, [(now, row[0]) for row in known if row[0] not in live])
            self._drop_intents()

        self._run(work)

    def note_user(self, profile: Profile, user: User) -> None:
        """Note whose the last token of a profile is."""
        query = (
            "INSERT INTO account (identity, profile, user, user_name) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (identity) DO UPDATE SET user = excluded.user, user_name = excluded.user_name"
        )
        self._run(lambda: self._db.execute(query, (identity(profile), profile.name, user.id, user.name)))

    def log_out(self, profile_name: str, serials: Mapping[str, int]) -> None:
        """Forget every token of a profile's name, those of its former identities too; logged out until a login.

        Args:
            profile_name: the profile's name.
            serials: by identity, the serials that are raised by it: tokens that are asked for with a lower one, and
                arrive later, are not saved.
        """
        query = (
            "INSERT INTO account (identity, profile, logged_out) {} "
            "ON CONFLICT (identity) DO UPDATE SET logged_out = MAX(logged_out, excluded.logged_out)"
        )
        found = query.format("SELECT identity, profile, serial + 1 FROM credential WHERE profile = ?")
        given = query.format("VALUES (?, ?, ?)")

        def work() -> None:
            self._db.execute(found, (profile_name,))
            self._db.executemany(given, [(each, profile_name, serial) for each, serial in serials.items()])
            self._db.execute("DELETE FROM credential WHERE profile = ?", (profile_name,))
            self._drop_intents()

        self._run(work)
        self._wipe()

    def log_in(self, profile_identity: str) -> None:
        """End a logout: a person says that a token may be asked for again."""
        self._run(lambda: self._db.execute("UPDATE account SET logged_out = 0 WHERE identity = ?", (profile_identity,)))

    def forget(self, profile_name: str) -> bool:
        """Delete everything about a profile of this name; gives whether there was anything."""

        def work() -> int:
            tokens = self._db.execute("DELETE FROM credential WHERE profile = ?", (profile_name,)).rowcount
            accounts = self._db.execute("DELETE FROM account WHERE profile = ?", (profile_name,)).rowcount
            self._drop_intents()
            return tokens + accounts

        found = self._run(work) > 0
        self._wipe()
        return found

    def stop(self, key: str) -> Stop | None:
        """Say whether this secret must not be tried. Two tries that a kill cut short count as a refusal."""
        with mapped(self.path):
            row = self._db.execute("SELECT cut, reason, sentence FROM stop WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        cut, reason, sentence = row
        if reason is not None:
            return Stop(reason, sentence)
        if cut < TRIES_WITHOUT_ANSWER:
            return None
        return Stop(None, f"{cut} tries of this secret were cut short before the server's answer was seen")

    def begin_tries(self, keys: Sequence[str]) -> None:
        """Commit that these secrets are about to be tried: before they are sent, so that no crash hides the try."""
        query = "INSERT INTO stop (key, trying) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET trying = 1"
        self._run(lambda: self._db.executemany(query, [(key,) for key in keys]))

    def end_tries(self, keys: Sequence[str]) -> None:
        """Record that these tries ended, in whatever way but a refusal. A refusal recorded by another one stays."""
        marks = [(key,) for key in keys]
        self._run(lambda: self._db.executemany("UPDATE stop SET trying = 0 WHERE key = ?", marks))

    def refuse(self, key: str, stop: Stop) -> None:
        """Record that the server refused this secret: never again by itself."""
        query = "INSERT OR REPLACE INTO stop (key, trying, reason, sentence) VALUES (?, 0, ?, ?)"
        self._run(lambda: self._db.execute(query, (key, stop.reason, stop.sentence)))

    def clear_tries(self, keys: Sequence[str]) -> None:
        """Forget what was recorded of these secrets: one has passed, or a person says that it may be tried again."""
        self._run(lambda: self._db.executemany("DELETE FROM stop WHERE key = ?", [(key,) for key in keys]))

    def _drop_intents(self) -> None:
        self._db.execute("DELETE FROM intent WHERE identity NOT IN (SELECT identity FROM credential)")

    def _wipe(self) -> None:
        """Leave no copy of what was deleted in the log, unless somebody counts on the log's length (begin_spend)."""
        with suppress(sqlite3.Error):
            needed = self._db.execute("SELECT 1 FROM intent").fetchone()
            self._db.execute(f"PRAGMA wal_checkpoint({'RESTART' if needed else 'TRUNCATE'})")

    def _wind_back(self) -> None:
        """Move what the log holds into the database; the next transaction overwrites the log from its beginning."""
        self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def _run(self, work: Callable[[], T]) -> T:
        with mapped(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            return work()

    def _salt(self) -> bytes:
        def work() -> bytes:
            row = self._db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
            if row is not None:
                return bytes(row[0])
            salt = os.urandom(16)
            self._db.execute("INSERT INTO meta (name, value) VALUES ('salt', ?)", (salt,))
            return salt

        return self._run(work)
