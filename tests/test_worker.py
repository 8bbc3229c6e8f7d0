"""What may block does so in a thread, one call at a time."""

import threading

import pytest
import trio

from pmcredd.worker import Thread


async def test_two_calls_are_never_under_way_together() -> None:
    """An old token's save that is slow is not overtaken by the next one's."""
    worker, meeting, met = Thread(), threading.Barrier(2), list[bool]()

    def call() -> None:
        try:
            meeting.wait(1)  # for the other one, which is not to come
        except threading.BrokenBarrierError:
            return
        met.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.do, call)
        nursery.start_soon(worker.do, call)
    assert met == []


async def test_a_call_is_not_abandoned() -> None:
    """Whoever is cancelled while a save is under way leaves when it has ended: it may not go on behind our back."""
    worker, begun, ended = Thread(), threading.Event(), list[bool]()

    def save() -> None:
        begun.set()
        release.wait(20)
        ended.append(True)

    release = threading.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.do, save)
            while not begun.is_set():
                await trio.lowlevel.checkpoint()
            scope.cancel()
            release.set()
    assert ended == [True]


async def test_what_a_call_raises_comes_back() -> None:
    """An error of the thread is the caller's."""
    with pytest.raises(ZeroDivisionError):
        await Thread().do(divmod, 1, 0)
