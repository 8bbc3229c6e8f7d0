"""Which command of `on_event` runs next: one at a time for a profile, a handful in all, of each event only the latest.

Pure: time goes in as seconds of any clock that does not jump. A command may bring about the very event that it runs
for (`pmcred login` brings a new token, and so the event `renewed`). What happens while a profile's command runs, or
right after, therefore counts as its doing: a few such runs in a row are let pass, each further one has to wait twice as
long as the one before. Nothing is lost meanwhile, as the latest of each event is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pmcredd.profiles import EventName

T = TypeVar("T")

AT_ONCE = 4  # commands in all
RIGHT_AFTER = 5.0  # seconds
FREE = 3  # runs in a row that each may be the doing of the one before, and need not wait
FIRST_PAUSE = 10.0  # seconds
LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A command that may run now; whoever takes it says `done`."""

    profile: str
    event: EventName
    what: T


@dataclass(slots=True)
class _Line(Generic[T]):
    """What there is for one profile."""

    running: bool = False
    ended: float | None = None  # the last one
    waiting: dict[EventName, T] = field(default_factory=dict)
    not_before: dict[EventName, float] = field(default_factory=dict)
    row: dict[EventName, int] = field(default_factory=dict)  # of runs that may be the doing of the one before

    def follows(self, now: float) -> bool:
        return self.running or (self.ended is not None and now - self.ended < RIGHT_AFTER)


class Queue(Generic[T]):
    """The commands that wait; `what` is what they are told."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[T]] = {}
        self._running = 0

    def put(self, profile: str, event: EventName, what: T, now: float) -> float:
        """Let a command wait for its turn, in place of an earlier one for the same event.

        Gives the seconds for which it is put off, as its predecessors seem to bring it about: mostly 0.
        """
        line = self._lines.setdefault(profile, _Line())
        pause = 0.0
        if event not in line.waiting:
            line.row[event] = line.row.get(event, 0) + 1 if line.follows(now) else 0
            pause = _pause(line.row[event])
            line.not_before[event] = now + pause
        line.waiting[event] = what
        return pause

    def take(self, now: float) -> Job[T] | None:
        """Give the next command that may run now, if there is one."""
        if self._running >= AT_ONCE:
            return None
        for profile, line in [*self._lines.items()]:
            if not line.running and not line.waiting and not line.follows(now):
                del self._lines[profile]  # nothing to remember
            elif not line.running:
                for event in line.waiting:
                    if line.not_before[event] <= now:
                        line.running = True
                        self._running += 1
                        return Job(profile, event, line.waiting.pop(event))
        return None

    def next_at(self) -> float:
        """Give the moment of the next one that waits for its time; infinity if none does that could run then."""
        return min(
            (
                line.not_before[event]
                for line in self._lines.values()
                if not line.running and self._running < AT_ONCE
                for event in line.waiting
            ),
            default=float("inf"),
        )

    def done(self, profile: str, now: float) -> None:
        """Hear that the running command of a profile has ended."""
        self._running -= 1
        line = self._lines[profile]
        line.running, line.ended = False, now

    def drop(self, profile: str, events: Iterable[EventName]) -> None:
        """Forget what waits for these events: they are over."""
        if (line := self._lines.get(profile)) is not None:
            for event in events:
                line.waiting.pop(event, None)


def _pause(row: int) -> float:
    return 0.0 if row <= FREE else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(row - FREE - 1, 30))
