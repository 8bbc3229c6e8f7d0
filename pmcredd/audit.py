"""Who asked for which token, when, and what came of it: told to the log, and the last of it kept to be asked for.

A script that asks every second is one entry that counts, not a thousand: a request like one of the last ten minutes
(the same program, parent and unit, profile, token and outcome; pids may differ) is a repeat of it. Otherwise a loop
would soon have pushed out of the memory, and buried in the journal, the one request that somebody looks for.
The log has a line at level info for what is new, and for repeats one an hour; at level debug, each.

Never a token, nor anything else that a client has made up: a name that is no profile's could be a token in the wrong
place.
"""

import itertools
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import trio

from pmcredd import wire
from pmcredd.human_time import duration
from pmcredd.peer import Peer

SIZE = 1000  # entries; each is about a kilobyte
REPEATS_WITHIN = 600.0  # seconds after the last
TOLD_AGAIN_AFTER = 3600.0  # seconds
AT_A_TIME = 64  # entries in one piece of a stream
GATHERED_FOR = 0.1  # seconds: who follows a busy daemon is told ten times a second, not ten thousand times
OK = "ok"

_log = logging.getLogger(__name__)
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")

_Key = tuple[str, str | None, str | None, str, str | None, int, str | None, str | None, str | None, str | None]


@dataclass(slots=True, eq=False)
class Entry:
    """A request, and those after it that were like it; times in unix time."""

    key: _Key
    peer: Peer  # the last one
    verb: str
    profile: str | None  # None: all of them, or none of ours
    fingerprint: str | None  # of the token that was handed out, or let go
    outcome: str  # `ok`, or the code of the error
    rejected: str | None  # the fingerprint of the token that was reported as refused
    first: float
    last: float
    told: float
    count: int = 1
    number: int = 0  # of its last change

    def fields(self) -> dict[str, str]:
        """Give it as the protocol has it."""
        peer = self.peer
        known = {
            "time": str(int(self.last)),
            "verb": self.verb,
            "profile": self.profile,
            "fingerprint": self.fingerprint,
            "rejected": self.rejected,
            "outcome": self.outcome,
            "count": str(self.count),
            "first": str(int(self.first)),
            "uid": str(peer.uid),
            "pid": str(peer.pid) if peer.pid else None,
            "program": peer.program,
            "exe": peer.exe,
            "parent": peer.parent,
            "parent_pid": str(peer.parent_pid) if peer.parent_pid else None,
            "unit": peer.unit,
            "certain": "yes" if peer.certain else "no",
        }
        return {key: value for key, value in known.items() if value is not None}

    def sentence(self) -> str:
        """Say it in a line of the log."""
        what = " ".join([self.verb, *filter(None, (self.profile, self.fingerprint))])
        instead = f" instead of {self.rejected}" if self.rejected else ""
        again = f", {self.count} times in {duration(max(0.0, self.last - self.first))}" if self.count > 1 else ""
        return f"audit: {what}{instead}: {self.outcome}, asked by {_name(self.peer)}{again}"


class Audit:
    """Remembers the last requests.

    Args:
        now: gives the unix time.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._entries: OrderedDict[Entry, None] = OrderedDict()  # by their last changes, oldest first
        self._latest: dict[_Key, Entry] = {}
        self._last = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def note(
        self,
        peer: Peer,
        verb: str,
        profile: str | None,
        *,
        fingerprint: str | None = None,
        outcome: str = OK,
        rejected: str | None = None,
    ) -> None:
        """Note a request.

        Args:
            peer: who asked.
            verb: what for.
            profile: the name of one of our profiles; never a word of the client's own.
            fingerprint: of the token that was handed out, or let go.
            outcome: `ok`, or the code of the error.
            rejected: the fingerprint that the client gave of a refused token; dropped if it is none.
        """
        if rejected is not None and not _FINGERPRINT.fullmatch(rejected):
            rejected = None
        key = (
            verb, profile, fingerprint, outcome, rejected, peer.uid, peer.program, peer.exe, peer.parent, peer.unit
        )  # fmt: skip
        now = self._now()
        entry = self._latest.get(key)
        if entry is not None and now - entry.last < REPEATS_WITHIN:
            entry.peer, entry.last = peer, now
            entry.count += 1
            self._entries.move_to_end(entry)
            if now - entry.told >= TOLD_AGAIN_AFTER:
                self._tell(entry)
            elif _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s", entry.sentence())
        else:
            entry = self._latest[key] = Entry(
                key, peer, verb, profile, fingerprint, outcome, rejected, first=now, last=now, told=now
            )
            self._entries[entry] = None
            self._tell(entry)
            if len(self._entries) > SIZE:
                oldest, _ = self._entries.popitem(last=False)
                if self._latest.get(oldest.key) is oldest:
                    del self._latest[oldest.key]
        self._last += 1
        entry.number = self._last
        if self._waiting:
            self._waiting.unpark_all()

    def refused(self, peer: Peer) -> None:
        """Note another user, who was turned away unheard."""
        self.note(peer, "connect", None, outcome=wire.Code.FORBIDDEN)

    def entries(self, profile: str | None) -> list[Entry]:
        """Give what is remembered, about one profile or all, oldest first."""
        return self.since(0, profile)

    def follow(self, profile: str | None) -> "Follow":
        """Give what is remembered, and then what comes."""
        return Follow(self, profile)

    @property
    def last(self) -> int:
        """Give the number of the last change."""
        return self._last

    def since(self, seen: int, profile: str | None) -> list[Entry]:
        """Give what has changed since the change number `seen`, oldest first."""
        found = [*itertools.takewhile(lambda entry: entry.number > seen, reversed(self._entries))]
        return [entry for entry in reversed(found) if profile is None or entry.profile == profile]

    async def change(self) -> None:
        """Wait until something was noted, or somebody who follows is to end."""
        await self._waiting.park()

    def wake(self) -> None:
        """Have all who follow look again."""
        self._waiting.unpark_all()

    def _tell(self, entry: Entry) -> None:
        entry.told = entry.last
        _log.log(logging.WARNING if entry.outcome == wire.Code.FORBIDDEN else logging.INFO, "%s", entry.sentence())


class Follow:
    """One follower's answer: what is remembered, and then what comes. A Stream, as server.py has it.

    A follower remembers only how far it was told. A slow one is told the latest of each entry, and nothing piles up.
    """

    def __init__(self, audit: Audit, profile: str | None) -> None:
        self._audit = audit
        self._profile = profile
        self._present = audit.entries(profile)  # of the moment it came, still to be told
        self._seen = audit.last
        self._begun = False
        self._ended = False

    def __aiter__(self) -> Self:
        """Give itself."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for something new; gives it in whole blocks."""
        if not self._begun:
            self._begun = True
            return wire.STREAM_HEAD + self._tell_present()
        if self._present:
            return self._tell_present()
        while not self._ended:
            if found := self._audit.since(self._seen, self._profile)[:AT_A_TIME]:
                self._seen = found[-1].number
                return _format(found)
            self._seen = self._audit.last
            await self._audit.change()
            await trio.sleep(GATHERED_FOR)
        raise StopAsyncIteration

    def end(self) -> None:
        """End after what was there when the follower came."""
        self._ended = True
        self._audit.wake()

    def _tell_present(self) -> bytes:
        entries, self._present = self._present[:AT_A_TIME], self._present[AT_A_TIME:]
        return _format(entries)


def _format(entries: list[Entry]) -> bytes:
    return b"".join([wire.format_block(entry.fields()) for entry in entries])


def _name(peer: Peer) -> str:
    """Name who asked: `python3[1234] of backup.sh[1200] (backup.service)`; `?` after a pid that may be another's."""
    sure = "" if peer.certain or not peer.pid else "?"
    name = f"{peer.program or 'a program'}[{peer.pid or '?'}{sure}]"
    if peer.parent:
        name += f" of {peer.parent}[{peer.parent_pid}]"
    if peer.unit:
        name += f" ({peer.unit})"
    return f"{name}, uid {peer.uid}" if peer.program is None else name
