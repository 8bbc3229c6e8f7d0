"""The profile that is logged out of has moved, or goes: tokens of its past go with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import config
from support.leaving import a_sandbox, assert_logged_out, on_disk, personal, told
from support.lives import disk_full
from support.refreshing import PM4, YEAR, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import telling
from pmcredd.sandbox.instances import USERS
from pmcredd.store import identity
from pmcredd.telling import Failure, Revoked
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_tokens_of_a_former_url_go_too(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What the profile had under another url waits for its return: a logout ends that, and has it revoked."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        moved = replace(PM4, url="http://127.0.0.1:2")
        world.configs.append(config(moved))
        await world.keeper.reload()
        await world.keeper.logout("prod")
        await wait_all_tasks_blocked()
        assert not world.lives(handed)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        world.configs.append(config(PM4))
        await world.keeper.reload()
        await assert_logged_out(world)


async def test_a_personal_access_token_of_a_former_url_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """It is somebody's own wherever it was used."""
    sandbox = a_sandbox()
    profile = personal(sandbox)
    async with refreshing(tmp_path, profile, sandbox=sandbox) as world:
        handed = await world.get()
        world.configs.append(config(replace(profile, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        await world.keeper.logout("prod")
        await wait_all_tasks_blocked()
        assert world.lives(handed)


async def test_a_profile_that_is_forgotten_leaves_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """No token, no user, no logout: when a profile of the name comes back it is a new one."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        left = await world.keeper.forget("prod")
        assert left.revoked is Revoked.REVOKED
        assert not world.lives(handed)
        world.configs.append(config())
        await world.keeper.reload()
        assert world.store.accounts([identity(PM4)]) == {}
        assert not on_disk(tmp_path, "prod")
        world.configs.append(config(PM4))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
        assert told(world)["state"] == "needs-login"
        assert "user" not in told(world)
        assert (await world.login(user=USERS[1])).user == telling.User("2", "other")


async def test_a_profile_that_is_logged_in_after_all_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Forgotten, and then logged in again: a profile like any other; a typo in its url repeats no refresh."""
    async with refreshing(tmp_path) as world:
        await world.login()
        await world.keeper.forget("prod")
        await world.login()
        sent = world.way.tokens
        world.way.hold = trio.Event()
        await trio.sleep(26)
        for profile in (replace(PM4, url="http://127.0.0.1:2"), PM4):
            world.configs.append(config(profile))
            await world.keeper.reload()
            await wait_all_tasks_blocked()
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert world.lives(await world.get())
        assert world.way.tokens == sent + 1


async def test_a_profile_that_is_gone_already_is_forgotten_by_its_name(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Its file may have been deleted first; a name that nobody ever had is an error."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        world.configs.append(config())
        await world.keeper.reload()
        left = await world.keeper.forget("prod")
        await wait_all_tasks_blocked()
        assert left.revoked is Revoked.NOTHING
        assert not world.lives(handed)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        with pytest.raises(Failure) as caught:
            await world.keeper.forget("prod")
        assert caught.value.code is Code.NO_SUCH_PROFILE


async def test_what_cannot_be_deleted_costs_no_logout(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens are gone and revoked; only whose they were stays on a disk that fills up just then."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        monkeypatch.setattr(world.store, "forget", disk_full)
        assert (await world.keeper.forget("prod")).revoked is Revoked.REVOKED
        assert not world.lives(handed)
        await assert_logged_out(world)
