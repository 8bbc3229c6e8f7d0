"""What the sandbox remembers of token requests: never a secret, only fingerprints."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import islice

from pmcredd.sandbox.world import Issued

KEPT = 200_000  # entries; about half a kilobyte each
_FINGERPRINT = 16  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Note:
    """One token request; fingerprints are the first 16 hexadecimal digits of a SHA-256, "" where there is none.

    `grant`, `client_id` and `username` are "?" unless they are known ones: what people paste into wrong fields stays
    out of here. `spent` is the refresh token or code that was presented, spent only if the server `acted`; `revoked` is
    the access token that died with it. `status` is what was answered, 0 for not a byte. `lost`: the server acted, and
    the answer with the tokens did not go out whole. `fault` names the faults that struck.

    `seq` counts from 1 in the order in which the server acted, without gaps. `time` (unix time) and `monotonic` (the
    system's CLOCK_MONOTONIC, which all processes share; seconds) are those of the moment after it acted, by the
    machine's clock and not by the offset one.
    """

    generation: int
    grant: str = "?"
    client_id: str = "?"
    username: str = "?"
    status: int = 200
    error: str = ""
    acted: bool = False
    lost: bool = False
    fault: str = ""
    spent: str = ""
    issued: str = ""
    issued_refresh: str = ""
    revoked: str = ""
    seq: int = 0
    time: float = 0.0
    monotonic: float = 0.0

    def spend(self, digest: str) -> "Note":
        """The same, with the refresh token or code that was presented."""
        return replace(self, spent=digest[:_FINGERPRINT])

    def issue(self, issued: Issued) -> "Note":
        """The same, with what was issued: the server has acted."""
        refresh = issued.refresh_token.fingerprint() if issued.refresh_token is not None else ""
        revoked = issued.revoked.digest[:_FINGERPRINT] if issued.revoked is not None else ""
        access = issued.row.digest[:_FINGERPRINT]
        return replace(self, acted=True, issued=access, issued_refresh=refresh, revoked=revoked)

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.time))
        words = [clock, f"PM{self.generation}", self.grant, f"client={self.client_id}", str(self.status), self.error]
        named = (("spent", self.spent), ("access", self.issued), ("refresh", self.issued_refresh))
        words += [f"{key}={value}" for key, value in (*named, ("fault", self.fault.replace(" ", "+"))) if value]
        words += ["lost"] if self.lost else []
        return " ".join(word for word in words if word)


_NAMES = tuple(field.name for field in fields(Note))


class Journal:
    """The last token requests, oldest first; each is also told to `tell` as a line, if given."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._tell = tell
        self._notes: deque[Note] = deque(maxlen=KEPT)
        self._seq = 0

    def add(self, note: Note) -> None:
        """Take a note of a request, in the same step in which it was acted on."""
        self._seq += 1
        note = replace(note, seq=self._seq, time=self._clock(), monotonic=time.monotonic())
        self._notes.append(note)
        if self._tell is not None:
            self._tell(str(note))

    def notes(self) -> list[Note]:
        """Everything that is remembered."""
        return list(self._notes)

    def since(self, after: int, limit: int) -> list[dict[str, object]]:
        """At most `limit` notes with a `seq` over `after`, as plain values."""
        if not self._notes:
            return []
        start = max(0, after + 1 - self._notes[0].seq)
        return [{name: getattr(note, name) for name in _NAMES} for note in islice(self._notes, start, start + limit)]
