"""Whose token request goes first where the budget does not do for all."""

import pytest
import trio
from support.lives import TrioClock
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.budget import RATE, WINDOW
from pmcredd.gate import Gate, Priority, Turn
from pmcredd.scheduler import Scheduler

HERE, THERE = "https://here.example", "https://there.example"


class Door:
    """A gate, and who came through it, in order."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.clock = TrioClock()
        scheduler = Scheduler(self.clock)
        self.gate = Gate(self.clock, scheduler)
        self.through: list[str] = []
        self.sent_away: list[str] = []
        self._nursery = nursery
        nursery.start_soon(scheduler.run)

    def come(self, name: str, priority: Priority, origin: str = HERE) -> Turn:
        """Let somebody stand in the queue."""
        turn = Turn(priority)
        self._nursery.start_soon(self._wait, name, turn, origin)
        return turn

    async def _wait(self, name: str, turn: Turn, origin: str) -> None:
        (self.through if await self.gate.wait(origin, turn) else self.sent_away).append(name)

    async def shut(self, *, apart: float = 0.0) -> None:
        """Use up what may be sent this minute; so many seconds apart it will come back."""
        for _ in range(RATE):
            await trio.sleep(apart)
            assert await self.gate.wait(HERE, Turn(Priority.REST))


async def test_who_is_in_more_need_goes_first(autojump_clock: MockClock) -> None:
    """A login that would die, a person who logs in, somebody who waits, the rest: in this order, whoever came first."""
    async with trio.open_nursery() as nursery:
        door = Door(nursery)
        await door.shut(apart=1)
        for name, priority in (
            ("rest", Priority.REST),
            ("get", Priority.GET),
            ("login", Priority.LOGIN),
            ("forced", Priority.FORCED),
            ("another get", Priority.GET),
        ):
            door.come(name, priority)
            await wait_all_tasks_blocked()
        assert door.through == []
        await trio.sleep(WINDOW + 1)
        assert door.through == ["forced", "login", "get", "another get", "rest"]
        nursery.cancel_scope.cancel()


async def test_who_is_waited_for_moves_up(autojump_clock: MockClock) -> None:
    """Somebody asks for a token whose request stands at the end of the queue: it goes before those nobody waits for."""
    async with trio.open_nursery() as nursery:
        door = Door(nursery)
        await door.shut(apart=1)
        door.come("first", Priority.REST)
        await wait_all_tasks_blocked()
        turn = door.come("second", Priority.REST)
        await wait_all_tasks_blocked()
        turn.raise_to(Priority.GET)
        turn.raise_to(Priority.REST)  # and nobody takes that back
        await trio.sleep(WINDOW + 1)
        assert door.through == ["second", "first"]
        nursery.cancel_scope.cancel()


async def test_one_origin_is_not_held_up_by_another(autojump_clock: MockClock) -> None:
    """Each server has a budget of its own; what one asks for is none of the other's business."""
    async with trio.open_nursery() as nursery:
        door = Door(nursery)
        await door.shut()
        door.gate.pause(HERE, 1000.0)
        door.come("there", Priority.REST, THERE)
        await wait_all_tasks_blocked()
        assert door.through == ["there"]
        assert door.gate.paused(HERE) == 1000.0
        assert door.gate.paused(THERE) == 0.0
        nursery.cancel_scope.cancel()


async def test_a_pause_sends_all_away(autojump_clock: MockClock) -> None:
    """Nobody waits out a pause in the queue: all hear of it at once, and have spent nothing."""
    async with trio.open_nursery() as nursery:
        door = Door(nursery)
        await door.shut()
        for name in ("a", "b"):
            door.come(name, Priority.FORCED)
        await wait_all_tasks_blocked()
        door.gate.pause(HERE, 100.0)
        await wait_all_tasks_blocked()
        assert sorted(door.sent_away) == ["a", "b"]
        await trio.sleep(101)
        await door.shut()  # all of the next minute's slots are there
        nursery.cancel_scope.cancel()


async def test_who_leaves_the_queue_spends_nothing(autojump_clock: MockClock) -> None:
    """A place in the queue that is given up is nobody's slot: the next one moves up."""
    async with trio.open_nursery() as nursery:
        door = Door(nursery)
        await door.shut()
        with trio.move_on_after(1):
            await door.gate.wait(HERE, Turn(Priority.FORCED))
        door.come("next", Priority.REST)
        await trio.sleep(WINDOW)
        assert door.through == ["next"]
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await door.shut()  # one of thirty is spent
        nursery.cancel_scope.cancel()
