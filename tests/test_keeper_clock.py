"""Keeping tokens on a machine whose clocks jump; here nobody makes the sleeps longer than they are."""

from pathlib import Path

import pytest
import trio
from support.keeping import keeping
from support.lives import profile
from trio.testing import MockClock

from pmcredd import attempts

PROD = profile("prod")


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing."""
    monkeypatch.setattr(attempts, "STRETCH", 2)


async def test_a_renewal_that_came_due_in_a_suspend_is_made_up_for(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The machine slept through the renewal: half a minute after it woke the next token is there, before any get."""
    async with keeping(tmp_path, PROD) as world:
        await trio.sleep(10)
        world.clock.suspend(3000)
        await trio.sleep(31)
        ready = world.keeper.hand_out("prod", None)
        assert ready is not None
        assert ready.access_token.reveal() == "token-2"


async def test_a_restored_snapshot_is_noticed(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The wall clock ran ahead of boot time: the machine was paused, its token is older, and a new one is fetched."""
    async with keeping(tmp_path, PROD) as world:
        await trio.sleep(10)
        world.clock.set_wall(3000)
        await trio.sleep(31)
        ready = world.keeper.hand_out("prod", None)
        assert ready is not None
        assert ready.access_token.reveal() == "token-2"
