"""A daemon that is killed at random instants while it renews, and what its disk and the server's journal say of it.

The server hands out tokens of seconds and revokes on refresh; its answers are late by some milliseconds, so that kills
fall between what it does and what the daemon learns of it. Before each kill and after it the moment is taken, on the
clock that the journal uses; after it the store is read as the next daemon will find it.
"""

import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pmcredd.client import call
from pmcredd.sandbox.instances import CODE
from pmcredd.secret import Secret
from pmcredd.wire import Request
from support.daemon import PMCREDD, Daemon, running, write_profiles
from support.sandbox import Row, SandboxProcess
from support.user import User

CALLBACK = "http://127.0.0.1/callback"
LATE_REQUEST = 0.05  # seconds, at most
LATE_ANSWER = 0.13
FAULTS = (
    "delay-request=0.05s@20%,grant_type=refresh_token",
    "delay-request=0.005s@30%,grant_type=refresh_token",
    "delay-answer=0.1s@30%,grant_type=refresh_token",
    "delay-answer=0.03s@60%,grant_type=refresh_token",
)
SANDBOX = ("--token-lifetime", "6s", "--refresh-lifetime", "10m", "--throttle", "off")
SLACK = 0.25  # seconds: two processes and this one share two cores; taking a moment and acting are not one

Torment = Callable[[Daemon], None]


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill: it fell between the two moments (CLOCK_MONOTONIC); `on_disk` are the refresh tokens found, by profile."""

    before: float
    after: float
    on_disk: dict[str, str]


@dataclass(frozen=True, slots=True)
class Loss:
    """A profile that needed somebody to log in again; `code` began the login that was lost, `told` is why."""

    name: str
    code: str
    told: str = ""

    @property
    def twice_cut_short(self) -> bool:
        """Whether two kills in a row met its renewal: a third try is not made, acted on or not."""
        return "last two renewals got no answer" in self.told


# Coverage would slow the daemon down tenfold, and its own file meets the full disk, too.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}


@dataclass(slots=True)
class Torture:
    """One daemon after another on one state directory.

    Args:
        rng: decides about every instant.
        directory: where the state is, as this process sees it.
        command, more: how the daemon is started, and with which variables.
    """

    rng: random.Random
    sandbox: SandboxProcess
    user: User
    directory: Path
    names: tuple[str, ...]
    command: Sequence[str] = (PMCREDD,)
    more: dict[str, str] = field(default_factory=lambda: dict(UNMEASURED))
    kills: list[Kill] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    codes: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write the profiles, and make the server slow."""
        profile = (
            f'url = "{self.sandbox.url}"\ngrant = "authorization_code"\nclient_id = "{CODE.id}"\n'
            f'client_secret = "{CODE.secret}"\ntimeout = 1\n'
        )
        write_profiles(self.user, "".join(f"[profiles.{name}]\n{profile}" for name in self.names))
        self.sandbox.fault(*FAULTS)

    def live_and_die(self, most: float, torment: Torment | None = None) -> None:
        """Let a daemon live for a random time, `most` seconds at most, and kill it; one in six while it starts.

        With a torment, which strikes several times in a life, one in three is ended by SIGTERM: then the next one
        begins without a log, and needs room for it.
        """
        if self.codes and self.rng.random() < 1 / 6:
            with self.user.home.joinpath("pmcredd.log").open("ab") as log:
                process = subprocess.Popen(
                    [*self.command, "-v"], env=self.user.environ | self.more, stdin=subprocess.DEVNULL, stderr=log
                )
                pause(process, self.rng.uniform(0.0, 0.4))
                self._kill(process)
            return
        with running(self.user, "-v", more=self.more, command=self.command) as daemon:
            self.mend(daemon)
            steps = 1 if torment is None else self.rng.randint(2, 6)
            for _ in range(steps):
                pause(daemon.process, self.rng.uniform(0.0, most / steps))
                if torment is not None:
                    torment(daemon)
            if torment is not None and self.rng.random() < 1 / 3:
                assert daemon.end() == 0
            else:
                self._kill(daemon.process)

    def refused_writes(self) -> int:
        """Count how often a daemon met a disk that would not take what it had to write."""
        log = self.user.home.joinpath("pmcredd.log").read_text()
        return log.count("cannot be written: ") + log.count("cannot be used: ")

    def mend(self, daemon: Daemon) -> None:
        """Log in wherever somebody has to, and note what that says."""
        for status in statuses(daemon):
            if status.get("reason") == "needs-login" or status["state"] == "needs-login":
                self.log_in(daemon, status["profile"], status.get("last_error", ""))

    def log_in(self, daemon: Daemon, name: str, told: str) -> None:
        """Log in with a new code."""
        if (lost := self.codes.get(name)) is not None:
            self.losses.append(Loss(name, lost, told))
        code = self.sandbox.code(CODE.id, "demo", redirect_uri=CALLBACK)
        self.codes[name] = Secret(code).fingerprint()
        call(Request("login", name, {"code": code, "redirect_uri": CALLBACK}), socket_path=daemon.user.socket)

    def settle(self) -> dict[str, str]:
        """Let a last daemon come to rest, and give the fingerprints of the access tokens it keeps."""
        self.sandbox.clear_faults()
        with running(self.user, "-v", more=self.more, command=self.command) as daemon:
            give_up = time.monotonic() + 120
            while True:
                self.mend(daemon)
                found = statuses(daemon)
                if all(status["state"] == "live" and "unsaved" not in status for status in found):
                    assert daemon.end() == 0
                    return {status["profile"]: status["fingerprint"] for status in found}
                assert time.monotonic() < give_up, f"it does not come to rest: {found}"
                pause(daemon.process, 0.05)

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        before = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        after = time.monotonic()
        self.kills.append(Kill(before, after, self._on_disk()))

    def _on_disk(self) -> dict[str, str]:
        """Read a copy of the store, as a daemon would find it; what is there must not be touched."""
        copy = self.user.home / "copy.db"
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.copyfile(self.directory / f"state.db{suffix}", f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as database:
            (sound,) = database.execute("PRAGMA quick_check").fetchone()
            assert sound == "ok", f"the store is damaged: {sound}"
            try:
                rows = database.execute("SELECT profile, refresh_token FROM credential").fetchall()
            except sqlite3.OperationalError:
                rows = []  # killed before the first table was made
        return {name: Secret(token).fingerprint() for name, token in rows if token is not None}


def pause(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Let a process live for so long; that it ends by itself is a failure."""
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(seconds)
        message = f"the daemon ended by itself, with {status}"
        raise AssertionError(message)


def statuses(daemon: Daemon) -> list[dict[str, str]]:
    """Ask how the profiles are."""
    return call(Request("status"), timeout=60, socket_path=daemon.user.socket)


class Journal:
    """What the server did, by fingerprints."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._spending = {str(row["spent"]): row for row in rows if row["acted"]}
        self._issuing = {str(row["issued_refresh"]): row for row in rows if row["acted"]}

    def last(self, code: str) -> Row:
        """Give the request that issued the last pair of the login that began with a code."""
        row = self._spending[code]
        while (following := self._spending.get(str(row["issued_refresh"]))) is not None:
            row = following
        return row

    def spent_too_often(self) -> list[str]:
        """Find refresh tokens sent more than twice. Here every request that arrives acts: no probe passes between."""
        sent = [str(row["spent"]) for row in self.rows if row["grant"] == "refresh_token"]
        return [token for token in sorted(set(sent)) if sent.count(token) > 2]

    def spent_after_its_successor(self) -> list[str]:
        """Find refresh tokens that were sent after the one that took their place had been."""
        used: set[str] = set()
        wrong = []
        for row in self.rows:
            if row["spent"] in used:
                wrong.append(str(row["spent"]))
            # Whoever spends a token had received it: the one before it is over.
            if (issuer := self._issuing.get(str(row["spent"]))) is not None:
                used.add(str(issuer["spent"]))
        return wrong

    def spent_after_saving_its_successor(self, kills: Sequence[Kill]) -> list[str]:
        """Find refresh tokens that were sent although the one in their place had been found on disk before."""
        over: dict[str, float] = {}
        for kill in kills:
            for token in kill.on_disk.values():
                if (row := self._issuing.get(token)) is not None:
                    over.setdefault(str(row["spent"]), kill.after)
        return [
            str(row["spent"])
            for row in self.rows
            if number(row["monotonic"]) > over.get(str(row["spent"]), float("inf"))
        ]


def number(value: object) -> float:
    """Give a number of the journal as one."""
    assert isinstance(value, int | float)
    return float(value)


def saves(log: str) -> list[float]:
    """Give the milliseconds from each answer to its pair on disk, as the daemon logged them."""
    words = [line.split(": on disk ")[1].split()[0] for line in log.splitlines() if ": on disk " in line]
    return [float(word) for word in words]


def figures(log: str) -> str:
    """Tell how long a pair was in danger."""
    measured = saves(log)
    if not measured:
        return "nothing was saved"
    return (
        f"from the answer to the disk: median {statistics.median(measured):.1f} ms, "
        f"max {max(measured):.1f} ms of {len(measured)} saves"
    )
