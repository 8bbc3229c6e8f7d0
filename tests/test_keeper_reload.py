"""The profiles change under the keeper: only what changed is touched."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import PROD, Server, config, keeping
from support.lives import profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.profiles import BadConfig, Mistake, Settings, Storage
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_reload_disturbs_nobody_else(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Adding, changing and removing profiles leaves the others' tokens alone."""
    async with keeping(tmp_path, PROD, profile("old", username="old")) as world:
        token_before = await world.get()
        await wait_all_tasks_blocked()
        slower = replace(PROD, timeout=99.0)
        world.configs.append(config(slower, profile("new", username="new")))

        report = await world.keeper.reload()

        assert (report.added, report.changed, report.removed, report.unchanged) == (("new",), ("prod",), ("old",), ())
        assert await world.get() == token_before
        assert await world.get("new") == "token-3"
        with pytest.raises(Failure):
            await world.get("old")
        assert [each.name for each in world.keeper.profiles()] == ["new", "prod"]


async def test_a_broken_file_changes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """With mistakes in the files everything stays as it was, every mistake is told, and told until it is mended."""
    mistakes = (
        Mistake("f.toml", "prod", "url", "is wrong", "write https"),
        Mistake("g.toml", None, None, "is odd", ""),
    )
    async with keeping(tmp_path, PROD) as world:
        await world.get()
        world.configs.append(BadConfig(mistakes))
        with pytest.raises(Failure) as caught:
            await world.keeper.reload()

        assert caught.value.code is Code.MISCONFIGURED
        for mistake in mistakes:
            assert str(mistake) in caught.value.message
        assert world.keeper.config_problem == caught.value.message
        assert await world.get() == "token-1"
        world.configs.append(config(PROD))
        await world.keeper.reload()
        assert world.keeper.config_problem is None


async def test_a_typo_for_ten_seconds_costs_no_token(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile that pointed elsewhere for a moment has its old token when it points back."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        world.configs.append(config(replace(PROD, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        assert await world.get() == "token-2", "another server: never the first one's token"
        await trio.sleep(10)
        world.configs.append(config(PROD))
        await world.keeper.reload()

        assert await world.get() == "token-1"


async def test_a_token_that_comes_for_a_changed_profile_is_not_served(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """An answer that arrives after its profile was pointed elsewhere is dropped; who waited asks again."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Failure, match="changed or removed"):
                await world.get()

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        world.configs.append(config(replace(PROD, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        assert server.held is not None
        server.held.set()
        assert await world.get() == "token-2"


async def test_a_changed_daemon_table_waits_for_the_next_start(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Storage cannot change under a running daemon: the reload says so."""
    async with keeping(tmp_path, PROD) as world:
        world.configs.append(config(PROD, settings=Settings(storage=Storage.RUNTIME)))
        report = await world.keeper.reload()

    assert any("started again" in warning for warning in report.warnings)
