"""Deadlines are met, by a clock that stands still while the machine sleeps."""

import logging

import pytest
import trio
from support.lives import TrioClock
from trio.testing import MockClock

from pmcredd.scheduler import Scheduler


async def test_what_came_due_in_a_suspend_comes_soon_after(autojump_clock: MockClock) -> None:
    """The clock of trio stands still while the machine sleeps; nothing that came due is half a minute late for it."""
    clock, called = TrioClock(), trio.Event()
    scheduler = Scheduler(clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run)
        scheduler.at(clock.now().boot + 7 * 3600, called.set)
        await trio.sleep(10)
        clock.suspend(7 * 3600)
        with trio.fail_after(30):
            await called.wait()
        nursery.cancel_scope.cancel()


async def test_deadlines_come_in_their_order(autojump_clock: MockClock) -> None:
    """Neither the order of their planning nor a deadline that comes before the one waited for disturbs that."""
    clock = TrioClock()
    scheduler = Scheduler(clock)
    begin, came = clock.now().boot, list[tuple[str, float]]()

    def plan(name: str, after: float) -> None:
        scheduler.at(begin + after, lambda: came.append((name, clock.now().boot - begin)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run)
        plan("last", 50)
        await trio.sleep(1)
        plan("first", 5)
        plan("second", 5)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert came == [("first", 5), ("second", 5), ("last", 50)]


async def test_a_bug_in_one_deadline_ends_no_other(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """What one profile's deadline breaks is told, and the next profile's comes."""
    caplog.set_level(logging.ERROR, "pmcredd")
    clock, called = TrioClock(), trio.Event()
    scheduler = Scheduler(clock)

    def break_down() -> None:
        raise KeyError("a token, perhaps")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run)
        scheduler.at(clock.now().boot + 1, break_down)
        scheduler.at(clock.now().boot + 2, called.set)
        with trio.fail_after(3):
            await called.wait()
        nursery.cancel_scope.cancel()
    assert "KeyError" in caplog.text
    assert "a token, perhaps" not in caplog.text
