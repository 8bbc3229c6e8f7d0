"""What the sandbox remembers of token requests: never a secret, only fingerprints."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from pmcredd.sandbox.world import Issued

_KEPT = 10_000  # entries
_FINGERPRINT = 16  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Note:
    """One token request; fingerprints are the first 16 hexadecimal digits of a SHA-256, "" where there is none.

    `grant` and `client_id` are "?" unless they are known ones: what people paste into wrong fields stays out of here.
    `time` is unix time.
    """

    generation: int
    grant: str = "?"
    client_id: str = "?"
    status: int = 200
    error: str = ""
    spent: str = ""
    issued: str = ""
    issued_refresh: str = ""
    time: float = 0.0

    def spend(self, digest: str) -> "Note":
        """The same, with the refresh token or code that was spent."""
        return replace(self, spent=digest[:_FINGERPRINT])

    def issue(self, issued: Issued) -> "Note":
        """The same, with what was issued."""
        refresh = issued.refresh_token.fingerprint() if issued.refresh_token is not None else ""
        return replace(self, issued=issued.row.digest[:_FINGERPRINT], issued_refresh=refresh)

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.time))
        words = [clock, f"PM{self.generation}", self.grant, f"client={self.client_id}", str(self.status), self.error]
        words += [f"{key}={value}" for key, value in (("spent", self.spent), ("access", self.issued)) if value]
        words += [f"refresh={self.issued_refresh}"] if self.issued_refresh else []
        return " ".join(word for word in words if word)


class Journal:
    """The last token requests, oldest first; each is also told to `tell` as a line, if given."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._tell = tell
        self._notes: deque[Note] = deque(maxlen=_KEPT)

    def add(self, note: Note) -> None:
        """Take a note of a request that was just answered."""
        note = replace(note, time=self._clock())
        self._notes.append(note)
        if self._tell is not None:
            self._tell(str(note))

    def notes(self) -> list[Note]:
        """Everything that is remembered."""
        return list(self._notes)

    def as_json(self) -> list[dict[str, object]]:
        """Everything that is remembered, as plain values."""
        return [asdict(note) for note in self._notes]
