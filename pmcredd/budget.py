"""How many token requests an origin may still get this minute: plain arithmetic on a sliding window.

ProcessMaker 4 allows 60 token requests a minute per client address, successes included, and everybody behind one NAT
shares them. We take half of that at most, and less where the server says that little remains.
"""

from dataclasses import dataclass, replace

RATE = 30  # requests a window
WINDOW = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Budget:
    """The requests of one origin; all times are boot times in seconds."""

    sent: tuple[float, ...] = ()  # the requests of the last window, oldest first
    paused_until: float = 0.0
    told_left: int | None = None  # what the server said remains, less what was sent since
    told_at: float = 0.0

    def wait(self, now: float) -> float:
        """Give the seconds until a request may be sent: 0.0 means now."""
        waits = [0.0, self.paused_until - now]
        recent = [moment for moment in self.sent if moment > now - WINDOW]
        if len(recent) >= RATE:
            waits.append(recent[len(recent) - RATE] + WINDOW - now)
        if self.told_left is not None and self.told_left <= 0:
            waits.append(self.told_at + WINDOW - now)
        return max(waits)

    def spend(self, now: float) -> "Budget":
        """Count a request that is sent now."""
        left = None if self.told_left is None or now >= self.told_at + WINDOW else self.told_left - 1
        recent = tuple(moment for moment in self.sent if moment > now - WINDOW)
        return replace(self, sent=(*recent, now), told_left=left)

    def told(self, now: float, left: int) -> "Budget":
        """Learn what X-RateLimit-Remaining said. Half of it is left to the others behind our address."""
        return replace(self, told_left=left // 2, told_at=now)

    def pause(self, now: float, seconds: float) -> "Budget":
        """Send nothing to this origin for a while: it answered 429."""
        return replace(self, paused_until=max(self.paused_until, now + seconds))
