"""A logout lasts until a login: no reload, no restart and no `get` brings a token back."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import config
from support.leaving import SCRIPT, assert_logged_out, on_disk
from support.lives import DAY, TrioClock, disk_full
from support.refreshing import PM4, YEAR, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.telling import Failure, Revoked
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_logout_lasts_until_a_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """No reload, no restart, no reboot and no `get` brings a token back; a login does."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        left = await first.keeper.logout("prod")
        assert (left.profile, left.revoked) == ("prod", Revoked.REVOKED)
        await assert_logged_out(first)
        first.configs.append(config(replace(PM4, timeout=20)))
        await first.keeper.reload()
        await assert_logged_out(first)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox, clock=TrioClock(boot_id="after-a-reboot")) as second:
        await trio.sleep(400 * DAY)
        await assert_logged_out(second)
        assert second.way.seen == []
        again = await second.login()
        assert (await second.get()).access_token == again.access_token
    async with refreshing(tmp_path, sandbox=sandbox) as third:
        assert (await third.get()).access_token == again.access_token


async def test_a_password_is_not_used_before_a_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What needs no person to log in waits for one all the same, over reloads and restarts, whatever the timers say."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as first:
        await first.get()
        assert (await first.keeper.logout("prod")).revoked is Revoked.REVOKED
        asked = first.way.tokens
        first.configs.append(config(SCRIPT))
        await first.keeper.reload()
        await trio.sleep(400 * DAY)
        await assert_logged_out(first)
        assert first.way.tokens == asked
        sandbox = first.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as second:
        await trio.sleep(DAY)
        await assert_logged_out(second)
        assert second.way.tokens == 0
        handed = await second.keeper.login("prod", 30.0)
        assert second.lives(handed)
        sandbox = second.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as third:
        assert (await third.get()).access_token == handed.access_token


async def test_a_login_that_fails_leaves_the_logout_all_the_same(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A person has said that there shall be a token: if the server is down just then, it goes on by itself."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as first:
        await first.get()
        await first.keeper.logout("prod")
        first.way.token_faults = ["refused"] * 3
        with pytest.raises(Failure, match="cannot reach"):
            await first.keeper.login("prod", 30.0)
        sandbox = first.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as second:
        assert second.lives(await second.get())


async def test_a_login_without_a_browser_does_not_end_a_logout(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Where a code is needed, `login` without one changes nothing, and says what is the case."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        await world.keeper.logout("prod")
        with pytest.raises(Failure, match="somebody has logged out"):
            await world.keeper.login("prod", 30.0)
        await assert_logged_out(world)


async def test_who_waits_hears_of_the_logout(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A `get` and a login that wait for a token are told at once that there will be none."""
    async with refreshing(tmp_path, SCRIPT) as world:
        world.way.hold = trio.Event()
        failed: list[str] = []

        async def wait(ask: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(Failure, match="somebody has logged out") as caught:
                await ask()
            failed.append(caught.value.hint)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, world.get)
            nursery.start_soon(wait, lambda: world.keeper.login("prod", 30.0))
            await wait_all_tasks_blocked()
            with trio.fail_after(1):
                await world.keeper.logout("prod")
        assert failed == ["pmcred login prod"] * 2
        world.way.hold.set()


async def test_a_logout_on_a_full_disk_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would not last is not told: the token serves on, and lives."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        monkeypatch.setattr(world.store, "log_out", disk_full)
        with pytest.raises(Failure, match="prod is not logged out, nothing has changed: the disk is full") as caught:
            await world.keeper.logout("prod")
        assert (caught.value.code, caught.value.hint) == (Code.INTERNAL, "df -h")
        assert (await world.get()).access_token == handed.access_token
        assert world.lives(handed)


async def test_a_login_that_cannot_be_recorded_leaves_the_logout(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the next daemon would not know of it, so it is refused and says why."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:
        await world.get()
        await world.keeper.logout("prod")
        monkeypatch.setattr(world.store, "log_in", disk_full)
        with pytest.raises(Failure, match="the disk is full"):
            await world.keeper.login("prod", 30.0)
        await assert_logged_out(world)
