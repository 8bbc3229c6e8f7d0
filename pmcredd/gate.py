"""Who may send a token request next: one queue an origin, in order of urgency, inside the origin's budget."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum

import trio

from pmcredd.budget import Budget
from pmcredd.clock import Clock
from pmcredd.scheduler import Scheduler


class Priority(IntEnum):
    """The order in which requests get their slots; lower goes first."""

    FORCED = 0  # a token is about to die in somebody's hands
    LOGIN = 1
    GET = 2  # somebody waits
    REST = 3


@dataclass(slots=True, eq=False)
class Turn:
    """A place in the queue; `priority` may be raised while it stands there."""

    priority: Priority
    order: int = 0
    called: trio.Event = field(default_factory=trio.Event)
    granted: bool = False

    def raise_to(self, priority: Priority) -> None:
        """Let it go before others: somebody has come who waits for it."""
        self.priority = min(self.priority, priority)


@dataclass(slots=True)
class _Origin:
    budget: Budget = field(default_factory=Budget)
    queue: list[Turn] = field(default_factory=list)
    next_look: float = 0.0  # the boot time of a scheduled look at the queue: one is enough for all who wait


class Gate:
    """The budgets of all origins."""

    def __init__(self, clock: Clock, scheduler: Scheduler) -> None:
        self._clock = clock
        self._scheduler = scheduler
        self._origins: defaultdict[str, _Origin] = defaultdict(_Origin)
        self._order = itertools.count()

    async def wait(self, origin: str, turn: Turn) -> bool:
        """Wait for a slot; False if the origin asks for a pause meanwhile, which nobody waits out in the queue.

        A slot is spent when this returns; who is cancelled before has spent nothing.
        """
        place = self._origins[origin]
        turn.order = next(self._order)
        place.queue.append(turn)
        try:
            self._admit(origin)
            await turn.called.wait()
            return turn.granted
        finally:
            if turn in place.queue:
                place.queue.remove(turn)

    def told_left(self, origin: str, left: int) -> None:
        """Learn what the server says remains of its own allowance this minute."""
        place = self._origins[origin]
        place.budget = place.budget.told(self._clock.now().boot, left)

    def paused(self, origin: str) -> float:
        """Give the seconds for which nothing may be sent to this origin; 0.0 where the queue is all there is."""
        return max(0.0, self._origins[origin].budget.paused_until - self._clock.now().boot)

    def pause(self, origin: str, seconds: float) -> None:
        """Send nothing to this origin for `seconds`: it answered 429."""
        place = self._origins[origin]
        place.budget = place.budget.pause(self._clock.now().boot, seconds)
        for turn in place.queue:
            turn.called.set()

    def _admit(self, origin: str) -> None:
        place = self._origins[origin]
        while place.queue:
            now = self._clock.now().boot
            if (delay := place.budget.wait(now)) > 0:
                if not now < place.next_look <= now + delay:
                    place.next_look = now + delay
                    self._scheduler.at(place.next_look, lambda: self._admit(origin))
                return
            turn = min(place.queue, key=lambda each: (each.priority, each.order))
            place.queue.remove(turn)
            place.budget = place.budget.spend(now)
            turn.granted = True
            turn.called.set()
