"""How long a token was promised: no refresh comes before, not of a daemon that follows a crash either."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.lives import DAY, disk_full
from support.refreshing import PM4, YEAR, end_of_lease, fingerprint, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.store import identity

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_lease_puts_the_renewal_off(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A job that asked for a quarter of an hour has it, although the renewal came due; it comes right after."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY - 60)
        leased = await world.get(900)
        await end_of_lease(world, leased)
        assert world.lives(leased)
        assert leased.good_until is not None
        assert leased.good_until >= int(world.clock.now().wall)
        await trio.sleep(1)
        assert not world.lives(leased)
        assert world.lives(await world.get())


async def test_a_long_lease_outlives_a_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A lease of over a minute is on disk before it is promised: the daemon that comes after keeps it."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.expires_at is not None
        await trio.sleep(handed.expires_at - first.clock.now().wall - 3 * DAY - 60)
        leased = await first.get(900)
        sandbox, clock, left = first.sandbox, first.clock, first.kill()
    async with refreshing(left, sandbox=sandbox, clock=clock) as second:
        await trio.sleep(890)
        assert second.lives(leased)
        await trio.sleep(120)
        assert not second.lives(leased)


async def test_who_waited_in_vain_is_promised_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A renewal takes longer than anybody waits: the living token is given, good until now, for its end is near."""
    async with refreshing(tmp_path, replace(PM4, timeout=200.0), settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY - 10)
        world.way.hold = trio.Event()
        await trio.sleep(60)
        asked = world.clock.now().wall
        got = await world.get(timeout=150.0)
        waited = world.clock.now().wall - asked
        assert fingerprint(got) == fingerprint(handed)
        assert waited <= 30, "and nobody waits for longer than that while a token lives"
        assert got.good_until is not None
        assert got.good_until <= world.clock.now().wall
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert not world.lives(got)


async def test_a_login_promises_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What a login answers holds no promise of the year that the token may live: only a get makes one."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        assert handed.good_until is not None
        assert handed.good_until <= world.clock.now().wall
        again = await world.get(900.0)
        assert again.good_until is not None
        assert again.good_until >= int(world.clock.now().wall) + 900


async def test_a_lease_of_an_unsaved_token_outlives_a_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What was promised of a token, and what was learned of it, goes to the disk with it, late as it may be."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.expires_at is not None
        save, note = first.store.save, first.store.note
        first.store.save = first.store.note = disk_full  # type: ignore[method-assign]
        await trio.sleep(handed.expires_at - first.clock.now().wall - 3 * DAY + 1)
        unsaved = await first.get()
        assert unsaved.expires_at is not None
        await first.get(3600.0)
        first.store.save, first.store.note = save, note  # type: ignore[method-assign]
        await trio.sleep(10)
        saved = first.store.load([identity(PM4)])[identity(PM4)]
        assert saved.held.token.access_token.fingerprint() == fingerprint(unsaved)
        assert saved.leased_until >= first.clock.now().boot + 3580
        await first.get(120.0)
        saved = first.store.load([identity(PM4)])[identity(PM4)]
        assert saved.leased_until >= first.clock.now().boot + 3580, "a shorter promise shortens no longer one"


async def test_a_short_lease_past_the_forced_moment_outlives_a_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Nobody assumes one there after a crash, or logins would be lost: so it is on disk, however short."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.expires_at is not None
        first.way.token_faults.extend(["refused"] * 5000)
        await trio.sleep(handed.expires_at - first.clock.now().wall - DAY)
        leased = await first.get()
        assert first.lives(leased)
        first.way.token_faults.clear()
        sandbox, clock, left = first.sandbox, first.clock, first.kill()
    async with refreshing(left, sandbox=sandbox, clock=clock) as second:
        assert leased.good_until is not None
        await trio.sleep(max(0.0, leased.good_until - second.clock.now().wall - 0.5))
        assert second.lives(leased)
        await trio.sleep(120)
        assert not second.lives(leased)


@pytest.mark.parametrize("room", [True, False])
async def test_who_leaves_knows_whether_every_lease_is_on_disk(
    autojump_clock: MockClock, tmp_path: Path, room: bool
) -> None:
    """Short leases are written down at the end; where the disk refuses one, whoever comes next has to assume it."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        await world.get()
        if not room:
            world.store.note = disk_full  # type: ignore[method-assign]
        assert not world.keeper.leases_written
    assert world.keeper.leases_written is room


async def test_a_long_lease_outlives_two_crashes(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The daemon after a crash keeps what it found, also where it promises less itself before it is killed in turn."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.expires_at is not None
        await trio.sleep(handed.expires_at - first.clock.now().wall - 3 * DAY - 600)
        leased = await first.get(1800)
        sandbox, clock, left = first.sandbox, first.clock, first.kill()
    async with refreshing(left, sandbox=sandbox, clock=clock) as second:
        await second.get(120)
        left = second.kill()
    async with refreshing(left, sandbox=sandbox, clock=clock) as third:
        await trio.sleep(1790)
        assert third.lives(leased)
