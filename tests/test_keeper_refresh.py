"""Keeping tokens that refresh, in the normal course: when it is done, and that no job notices."""

import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from support.lives import DAY
from support.refreshing import PM3, PM4, YEAR, end_of_lease, fingerprint, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import budget, oauth, processmaker
from pmcredd.gate import Priority, Turn
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.telling import Failure, HandOut
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_login_is_kept_over_restarts(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The pair of a login is saved; after a restart the token serves, and its renewal goes on."""
    async with refreshing(tmp_path) as first:
        with pytest.raises(Failure) as caught:
            await first.get()
        assert caught.value.code is Code.NEEDS_LOGIN
        await first.login()
        before = await first.get()
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        assert fingerprint(await second.get()) == fingerprint(before)
        await trio.sleep(40)
        assert second.lives(await second.get())


async def test_no_job_ever_sees_its_token_refused(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Over hundreds of refreshes that kill the token in use, every lease is kept to its last hundredth of a second."""
    refused: list[HandOut] = []
    async with refreshing(tmp_path) as world:
        await world.login()

        async def work(pause: float, lasting: float | None) -> None:
            while True:
                handed = await world.get(lasting)
                if not world.lives(handed):
                    refused.append(handed)
                await end_of_lease(world, handed)
                if not world.lives(handed):
                    refused.append(handed)
                await trio.sleep(pause)

        with trio.move_on_after(3600):
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(work, 0.1 + number * 0.7, None)
                for lasting in (3.0, 10.0, 15.0):
                    nursery.start_soon(work, 1.0, lasting)
        assert world.way.tokens > 120
    assert refused == []


async def test_a_years_token_is_renewed_late(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A refresh that kills the token in use comes three days before the end, not months."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        life = handed.expires_at - world.clock.now().wall
        await trio.sleep(life - 3 * DAY - 60)
        assert fingerprint(await world.get()) == fingerprint(handed)
        await trio.sleep(120)
        assert fingerprint(await world.get()) != fingerprint(handed)


async def test_two_hundred_gets_at_expiry_make_one_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    """However many ask when the renewal is due, the refresh token is spent once, and all get the new token."""
    async with refreshing(tmp_path) as world:
        await world.login()
        before = world.way.tokens
        world.way.hold = trio.Event()
        await trio.sleep(24)
        got: set[str] = set()

        async def ask() -> None:
            got.add(fingerprint(await world.get()))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            world.way.hold.set()
        assert len(got) == 1
        assert world.way.tokens == before + 1


async def test_processmaker_3_is_renewed_early_and_quietly(autojump_clock: MockClock, tmp_path: Path) -> None:
    """On ProcessMaker 3 a refresh leaves the old access token alone: it is done early, and disturbs no job."""
    async with refreshing(tmp_path, PM3, settings=YEAR) as world:
        old = await world.login(PM3)
        await trio.sleep(DAY * 2 / 3 + 3700)
        new = await world.get(name="old")
        assert fingerprint(new) != fingerprint(old)
        assert world.lives(old)
        await trio.sleep(60 * DAY)
        assert world.lives(await world.get(name="old")), "kept alive over months, though nobody asked"


async def test_the_window_of_a_refresh_is_measured_from_the_answer(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the log calls the time from the answer to the disk has everything in it, the reading of the answer too."""
    caplog.set_level(logging.DEBUG, "pmcredd")
    read = oauth.read_answer
    async with refreshing(tmp_path) as world:
        await world.login()

        def slowly(*args: Any, **more: Any) -> oauth.Token | oauth.Refusal:
            world.clock.suspend(1.5)
            return read(*args, **more)

        monkeypatch.setattr(oauth, "read_answer", slowly)
        await trio.sleep(26)
    assert "prod: on disk 1500.0 ms after the answer" in caplog.messages


async def test_a_forced_renewal_goes_before_all_who_wait(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The budget is spent and dozens wait: a renewal that cannot be put off any more goes first, though nobody asked.

    It stood behind them since before it was forced, and its login would have died there.
    """
    async with refreshing(
        tmp_path, settings=Settings(throttle=None, token_lifetime=600, refresh_lifetime=600)
    ) as world:
        await world.login()
        origin = processmaker.origin(PM4)
        await trio.sleep(538)  # two seconds before the window of the last minute, which is forced in its middle
        order: list[int] = []

        async def wait(number: int) -> None:
            assert await world.gate.wait(origin, Turn(Priority.GET))
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(4 * budget.RATE):
                nursery.start_soon(wait, number)
            await trio.sleep(59)
            assert world.way.tokens == 1, "it has to wait, too"
            await trio.sleep(3)
            assert world.way.tokens == 2
            assert len(order) < 3 * budget.RATE
            assert world.lives(await world.get())


async def test_for_beyond_any_token_is_refused(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What no token can be promised for is refused at once, with what could be."""
    async with refreshing(tmp_path) as world:
        await world.login()
        with pytest.raises(Failure, match="25 s at most") as caught:
            await world.get(26)
        assert caught.value.code is Code.CANNOT_PROMISE


def test_the_sandbox_is_the_real_thing() -> None:
    """These tests stand on the sandbox's rotation, which has tests of its own."""
    assert Sandbox(YEAR).pm4.rules != Sandbox(YEAR).pm3.rules
