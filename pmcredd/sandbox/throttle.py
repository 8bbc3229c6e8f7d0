"""Laravel's request throttle: so many hits in a minute that starts with the first one."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

WINDOW = 60.0  # seconds
_SWEEP_AT = 1024  # addresses


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the throttle says to one request; `retry_after` (seconds) and `reset` (unix time) only with a refusal."""

    limit: int
    remaining: int
    retry_after: int | None = None
    reset: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the request is answered 429."""
        return self.retry_after is not None

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers Laravel adds to the answer."""
        found = [("x-ratelimit-limit", str(self.limit)), ("x-ratelimit-remaining", str(self.remaining))]
        if self.retry_after is not None:
            found.append(("retry-after", str(self.retry_after)))
        if self.reset is not None:
            found.append(("x-ratelimit-reset", str(self.reset)))
        return tuple(found)


class Throttle:
    """Counts hits by key (the client's address); a refused hit is not counted, successes are."""

    def __init__(self, limit: int | None, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}  # key -> (unix time the window ends, hits so far)

    def hit(self, key: str) -> Verdict | None:
        """Count a request; None where there is no limit."""
        if self._limit is None:
            return None
        now = self._clock()
        ends, hits = self._windows.get(key, (0.0, 0))
        if now >= ends:
            self._sweep(now)
            ends, hits = now + WINDOW, 0
        if hits >= self._limit:
            wait = ceil(ends - now)
            return Verdict(self._limit, 0, retry_after=wait, reset=int(now) + wait)
        self._windows[key] = (ends, hits + 1)
        return Verdict(self._limit, self._limit - hits - 1)

    def _sweep(self, now: float) -> None:
        if len(self._windows) >= _SWEEP_AT:
            self._windows = {key: window for key, window in self._windows.items() if window[0] > now}
