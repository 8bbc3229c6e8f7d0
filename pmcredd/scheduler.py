"""One heap of deadlines for all profiles: ten thousand cost a list, not ten thousand sleeping tasks."""

import heapq
import itertools
from collections.abc import Callable

import trio

from pmcredd import telling
from pmcredd.clock import LONGEST_SLEEP, Clock
from pmcredd.telling import log


class Scheduler:
    """Calls back at boot times. Nothing is ever taken out of the heap: a callback checks whether it still matters."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sooner = trio.Event()

    def at(self, boot: float, call: Callable[[], None]) -> None:
        """Call `call` once boot time has reached `boot` (seconds); it must not block."""
        if not self._heap or boot < self._heap[0][0]:
            self._sooner.set()
        heapq.heappush(self._heap, (boot, next(self._order), call))

    async def run(self) -> None:
        """Run for ever."""
        while True:
            self._sooner = trio.Event()
            now = self._clock.now().boot
            # Only what was due when we looked: a callback that schedules itself at once must not starve the loop.
            due = []
            while self._heap and self._heap[0][0] <= now:
                due.append(heapq.heappop(self._heap)[2])
            for call in due:
                try:
                    call()
                except Exception as bug:  # noqa: BLE001 - a bug with one profile must not end the deadlines of all
                    log.error("a deadline failed: %s", telling.mistake(bug).sentence)
            if due:
                await trio.lowlevel.checkpoint()
                continue
            wait = min(self._heap[0][0] - now, LONGEST_SLEEP) if self._heap else LONGEST_SLEEP
            with trio.move_on_after(wait):
                await self._sooner.wait()
