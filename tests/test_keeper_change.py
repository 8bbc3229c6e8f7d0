"""The clock, the profile or the login changes while tokens are kept: no login is lost to it."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import config
from support.lives import DAY, TrioClock
from support.refreshing import PM4, YEAR, fingerprint, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import budget, processmaker
from pmcredd.gate import Priority, Turn
from pmcredd.sandbox.settings import Settings
from pmcredd.store import identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


@pytest.mark.parametrize("off", [-30 * DAY, 362.5 * DAY], ids=["a month behind", "a year ahead"])
async def test_a_wrong_clock_after_a_reboot_kills_no_token(
    autojump_clock: MockClock, tmp_path: Path, off: float
) -> None:
    """After a reboot with a wrong wall clock nothing is refreshed before a Date of the server was seen."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        await trio.sleep(DAY)
        sandbox = first.sandbox
    clock = TrioClock(boot_id="after-a-reboot")
    clock.set_wall(DAY + off)
    async with refreshing(tmp_path, sandbox=sandbox, clock=clock) as second:
        await trio.sleep(3600)
        assert second.lives(handed)
        assert second.way.tokens == 0
        assert fingerprint(await second.get()) == fingerprint(handed)


async def test_a_reload_during_a_refresh_loses_no_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A typo in the url while a refresh is under way: its answer is kept, and there when the url is right again."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        world.configs.append(config(replace(PM4, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        world.way.hold.set()
        await wait_all_tasks_blocked()
        world.configs.append(config(PM4))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
        assert world.lives(await world.get())
        assert world.way.tokens == 2


@pytest.mark.parametrize("meanwhile", ["kept", "parked"])
async def test_a_reload_moves_the_renewal(autojump_clock: MockClock, tmp_path: Path, meanwhile: str) -> None:
    """Somebody says that refresh tokens live for a month here: the renewal that was planned for next year comes then.

    So it does where the profile was gone for a while between.
    """
    month = Settings(throttle=None, refresh_lifetime=30 * DAY)
    async with refreshing(tmp_path, settings=month) as world:
        await world.login()
        await trio.sleep(DAY)
        if meanwhile == "parked":
            world.configs.append(config())
            await world.keeper.reload()
        world.configs.append(config(replace(PM4, refresh_token_lifetime=30 * DAY)))
        await world.keeper.reload()
        for _ in range(12):
            await trio.sleep(30 * DAY)
            assert world.lives(await world.get()), world.keeper.status(["prod"])[0].life.problem
        assert world.way.tokens > 12


async def test_a_wider_margin_counts_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After a reload `status` tells the new date, and what was promised before it is kept."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        leased = await world.get(3600.0)
        before = world.keeper.status(["prod"])[0].renew_at
        world.configs.append(config(replace(PM4, renew_margin=60 * DAY)))
        await world.keeper.reload()
        after = world.keeper.status(["prod"])[0].renew_at
        assert before is not None
        assert after is not None
        assert before - after == 57 * DAY
        await trio.sleep(3590)
        assert world.lives(leased)


async def test_a_login_while_a_refresh_is_under_way(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A login replaces the credential; the answer to the old one's refresh, when it comes, changes nothing."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        handed = await world.login()
        held.set()
        await wait_all_tasks_blocked()
        assert fingerprint(await world.get()) == fingerprint(handed)
        assert world.lives(handed)


@pytest.mark.parametrize("all_dead", [True, False], ids=["all its tokens", "its refresh token"])
async def test_a_login_outlives_what_is_said_of_the_old_pair(
    autojump_clock: MockClock, tmp_path: Path, all_dead: bool
) -> None:
    """The server calls the old refresh token dead after somebody has logged in again: on disk the new one stays."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        world.sandbox.pm4.revoke_all(access=all_dead, refresh=True)
        await world.login()
        held.set()
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].held.token.refresh_token is not None
        sandbox, clock = world.sandbox, world.clock
    async with refreshing(tmp_path, sandbox=sandbox, clock=clock) as second:
        await trio.sleep(60)
        assert second.lives(await second.get()), "the login was lost at the restart"


async def test_a_login_that_fails_changes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A code that the server refuses leaves the token in use as it was."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        world.way.token_faults = [503]
        with pytest.raises(Failure):
            await world.login()
        assert fingerprint(await world.get()) == fingerprint(handed)


async def test_no_code_is_sent_in_a_pause(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The server asks for a pause while a login waits for its turn: the person is told, and nothing is sent."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        origin = processmaker.origin(PM4)
        for _ in range(budget.RATE - 1):
            assert await world.gate.wait(origin, Turn(Priority.REST))
        failures: list[Failure] = []

        async def log_in() -> None:
            with pytest.raises(Failure, match="asked for a pause") as caught:
                await world.login()
            failures.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            await wait_all_tasks_blocked()
            world.gate.pause(origin, 300.0)
        await log_in()
        assert [each.code for each in failures] == [Code.WAITING, Code.WAITING]
        assert all("pmcred login prod" in each.hint for each in failures)
        assert world.way.tokens == 1
        await trio.sleep(301)
        assert world.lives(await world.login())
