"""A logout, or a login, while something is under way: what comes late brings nothing back and does not live on."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest
import trio
from support.leaving import SCRIPT, assert_logged_out, told
from support.lives import BOOT, DAY, Inline, disk_full
from support.pairs import pair
from support.refreshing import PM4, YEAR, Refreshing, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.life import LoggedIn, SaveDue
from pmcredd.profiles import Profile
from pmcredd.store import identity
from pmcredd.telling import LoggedOut, Revoked

pytestmark = pytest.mark.usefixtures("quick_keeper")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def alive(world: Refreshing) -> int:
    """Count the access tokens that live on ProcessMaker 4."""
    return sum(world.sandbox.pm4.now() < row.expires and not row.revoked for row in world.sandbox.pm4._access.values())


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_what_a_request_under_way_brings_is_revoked(
    autojump_clock: MockClock, tmp_path: Path, profile: Profile
) -> None:
    """An answer that comes after the logout is neither kept nor handed out, and its token does not live on."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        await world.get(1.0) if profile is SCRIPT else None
        assert told(world)["state"] in {"renewing", "live"}
        left = await world.keeper.logout("prod")
        assert "a request for a token was under way: what it brings is revoked when it comes" in left.sentence
        before = world.way.tokens
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert world.way.tokens == before
        assert alive(world) == 0
        await assert_logged_out(world)
        assert world.store.load([identity(profile)]) == {}


async def test_an_answer_that_a_login_overtakes_is_revoked(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A refresh of the old pair that comes late leaves no token behind that nobody knows of."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        handed = await world.login()
        held.set()
        await wait_all_tasks_blocked()
        assert world.lives(handed)
        assert alive(world) == 1


async def test_a_logout_in_doubt_leaves_no_doubt_behind(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An intent to spend the old refresh token says nothing about the next login, also after a crash."""
    async with refreshing(tmp_path) as first:
        await first.login()
        first.way.token_faults = ["lost before"]
        first.way.api_faults = ["refused"] * 1000
        await trio.sleep(28)
        assert told(first)["state"] == "doubtful"
        left = await first.keeper.logout("prod")
        assert "a renewal whose answer was lost may have left a token there that nobody has seen" in left.sentence
        first.way.api_faults = []
        await first.login()
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        assert told(second)["state"] == "live"
        assert second.lives(await second.get())


class SlowDisk(Inline):
    """A disk on which calls of one name wait for an event, and everything behind them: one by one, as they came."""

    slow = "save"
    free = trio.Event()

    def __init__(self) -> None:
        self._one = trio.Lock()

    async def do(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run the call when it is its turn."""
        async with self._one:
            if getattr(getattr(call, "func", call), "__name__", "") == self.slow:
                await self.free.wait()
            return await super().do(call, *args)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> type[SlowDisk]:
    """Let keepers of this test have a slow disk; it is free at first."""
    monkeypatch.setattr("support.refreshing.Inline", SlowDisk)
    SlowDisk.slow, SlowDisk.free = "save", trio.Event()
    SlowDisk.free.set()
    return SlowDisk


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_an_answer_that_is_just_being_saved_goes_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], profile: Profile
) -> None:
    """A logout that comes between an answer and its save: the new token is dead, and none is on disk."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        slow_disk.free = trio.Event()
        await trio.sleep(26)
        assert alive(world) == (1 if profile is PM4 else 2), "on ProcessMaker 4 the refresh has killed the old one"
        left: list[LoggedOut] = []

        async def leave() -> None:
            left.append(await world.keeper.logout("prod"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        replaced = "a token that it has replaced may live on there to its end" in left[0].sentence
        assert replaced == (profile is SCRIPT)
        assert alive(world) == int(replaced)
        assert world.store.load([identity(profile)]) == {}
        await assert_logged_out(world)


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_an_answer_that_comes_while_the_logout_is_being_written_goes_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], profile: Profile
) -> None:
    """Its save stands behind the logout in the queue, and brings nothing back; whatever lives of it is revoked."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        slow_disk.slow, slow_disk.free = "log_out", trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            world.way.hold.set()
            await wait_all_tasks_blocked()
            assert alive(world) == (1 if profile is PM4 else 2)
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 0
        revoked = [each for each in world.way.seen if each.startswith("DELETE")]
        assert len(revoked) == (1 if profile is PM4 else 2), "what a refresh has killed is not asked about"
        assert world.store.load([identity(profile)]) == {}
        await assert_logged_out(world)


async def test_the_very_first_answer_may_cross_a_logout_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """There is nothing on disk yet that the logout could be written over: it counts all the same."""
    async with refreshing(tmp_path, SCRIPT) as world:
        slow_disk.slow, slow_disk.free = "log_out", trio.Event()
        world.way.hold = trio.Event()
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            world.way.hold.set()
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 0
        assert world.store.load([identity(SCRIPT)]) == {}
        assert world.store.accounts([identity(SCRIPT)])[identity(SCRIPT)].logged_out
        await assert_logged_out(world)


async def test_an_answer_that_a_login_supersedes_is_revoked(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """It came before the login and was still on its way to the disk: once the new pair is there, it is ended."""
    async with refreshing(tmp_path) as world:
        await world.login()
        slow_disk.free = trio.Event()
        await trio.sleep(26)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.login)
            await wait_all_tasks_blocked()
            assert alive(world) == 2, "on disk it may be the only one"
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 1
        assert world.lives(await world.get())


async def test_a_logout_and_a_login_at_once_are_one_after_the_other(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """Whichever comes last counts, and what is on disk is what is told."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        await first.login()
        slow_disk.free = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.login)
            await wait_all_tasks_blocked()
            nursery.start_soon(first.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await assert_logged_out(first)
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        await assert_logged_out(second)


async def test_a_save_that_is_late_brings_nothing_back(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that the disk refused is saved again by a timer: not after the logout that has forgotten it."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "save", disk_full)
            await world.get()
            assert "unsaved" in told(world)
        assert (await world.keeper.logout("prod")).revoked is Revoked.REVOKED
        await trio.sleep(60)
        assert world.store.load([identity(SCRIPT)]) == {}
        await assert_logged_out(world)


async def test_a_save_that_is_overtaken_by_a_login_replaces_nothing(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's next try with the old token begins just after the login has queued the new one: the new one stays."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "save", disk_full)
            await world.login()
            assert "unsaved" in told(world)
        driver, row = world.keeper._driver, world.keeper._rows.resolve("prod")
        assert row.life.save_at is not None
        await trio.sleep(row.life.save_at - world.clock.now().boot - 0.001)
        world.clock.suspend(0.002)
        new = pair(365 * DAY, at=world.clock.now().boot - BOOT, value="new")
        driver.happen(row, SaveDue())
        await driver.complete(row, LoggedIn(new))
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].held.token == new.token
