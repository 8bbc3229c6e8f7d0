"""A refresh whose answer is lost, by the network, a kill or the disk: what may be spent is not sent blindly."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.lives import DAY, disk_full
from support.refreshing import PM3, PM4, YEAR, fingerprint, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.store import identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_an_answer_lost_before_the_server_acted(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The probe passes twice: nothing was spent. The token serves on, and the renewal is made up for."""
    async with refreshing(tmp_path, replace(PM4, timeout=5.0), settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        world.way.token_faults = ["lost before"]
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY + 1)
        again = await world.get()
        assert fingerprint(again) == fingerprint(handed) or world.lives(again)
        await trio.sleep(60)
        renewed = await world.get()
        assert fingerprint(renewed) != fingerprint(handed)
        assert world.lives(renewed)


async def test_an_answer_lost_after_the_server_acted(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The probe is refused: one more try, which says "revoked". The login is lost, told, and nothing more is sent."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        world.way.token_faults = ["lost after"]
        before = world.way.tokens
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY + 1)
        with pytest.raises(Failure) as caught:
            await world.get()
        assert caught.value.code is Code.NEEDS_LOGIN
        assert "pmcred login prod" in caught.value.hint
        await trio.sleep(30 * DAY)
        assert world.way.tokens == before + 2
        assert world.lives(await world.login())
        assert world.lives(await world.get())


async def test_an_outage_of_the_front_end_costs_no_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Ten minutes of 502 are ten minutes of doubt, each time resolved by asking: the login lives on."""
    async with refreshing(tmp_path, replace(PM4, timeout=2.0), settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        world.way.token_faults = [502] * 12
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY + 1)
        for _ in range(60):
            await trio.sleep(60)
            assert world.lives(await world.get())
        assert fingerprint(await world.get()) != fingerprint(handed)


@pytest.mark.parametrize("fault", ["refused", 429, 503])
async def test_what_was_not_acted_on_is_no_doubt(autojump_clock: MockClock, tmp_path: Path, fault: str | int) -> None:
    """No connection, a throttle, maintenance: simply tried again, with the living token served meanwhile."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        assert handed.expires_at is not None
        world.way.token_faults = [fault]
        await trio.sleep(handed.expires_at - world.clock.now().wall - 3 * DAY + 0.2)
        assert world.lives(await world.get())
        await trio.sleep(180)
        assert fingerprint(await world.get()) != fingerprint(handed)


async def test_killed_before_the_answer(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A daemon killed between sending and saving leaves the intent on disk: the next one doubts, asks, and recovers."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        await first.login()
        await trio.sleep(1)
        first.store.begin_spend(identity(PM4), 2, 1)
        sandbox = first.sandbox
    async with refreshing(tmp_path, replace(PM4, timeout=5.0), sandbox=sandbox) as second:
        assert second.keeper.status(["prod"])[0].state == "doubtful"
        assert second.lives(await second.get())
        assert second.way.probes >= 2
        assert second.way.tokens == 0, "it was proved unspent, and is not due"


async def test_processmaker_3_in_doubt_serves_to_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """ProcessMaker 3 cannot be asked; its access token lives on whatever became of the refresh: it is served."""
    async with refreshing(tmp_path, PM3, settings=YEAR) as world:
        old = await world.login(PM3)
        world.way.token_faults = ["lost after"]
        await trio.sleep(DAY * 2 / 3 + 3700)
        assert fingerprint(await world.get(name="old")) == fingerprint(old)
        assert world.lives(old)
        assert world.keeper.status(["old"])[0].state == "needs-login"
        await trio.sleep(DAY / 3)
        with pytest.raises(Failure) as caught:
            await world.get(name="old")
        assert caught.value.code is Code.NEEDS_LOGIN
        assert world.way.tokens == 3


async def test_a_dead_refresh_token_is_not_sent_again_after_a_restart(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """What the server called dead is forgotten: the next daemon asks for a login, and the server for nothing."""
    async with refreshing(tmp_path) as first:
        await first.login()
        first.sandbox.pm4.revoke_all(access=True, refresh=True)
        await trio.sleep(40)
        sandbox, sent = first.sandbox, first.way.tokens
    assert sent == 2
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        with pytest.raises(Failure) as caught:
            await second.get()
        assert caught.value.code is Code.NEEDS_LOGIN
        assert second.way.tokens == 0


async def test_a_pair_that_cannot_be_saved_is_served_and_not_spent(autojump_clock: MockClock, tmp_path: Path) -> None:
    """With a full disk the new pair serves from memory, nothing more is spent, and it is saved when there is room."""
    async with refreshing(tmp_path) as world:
        await world.login()
        save, begin = world.store.save, world.store.begin_spend
        world.store.save = disk_full  # type: ignore[method-assign]
        await trio.sleep(22)
        world.store.begin_spend = disk_full  # type: ignore[method-assign]
        handed = await world.get()
        assert world.lives(handed)
        sent = world.way.tokens
        await trio.sleep(25)
        assert world.way.tokens == sent
        world.store.save, world.store.begin_spend = save, begin  # type: ignore[method-assign]
        await trio.sleep(10)
        assert world.keeper.status(["prod"])[0].life.save_problem is None


async def test_an_old_answer_takes_no_new_intent_back(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The old pair's request ends while the new pair's is under way: a crash then still finds the latter's intent."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        await world.login()
        serial = world.store.load([identity(PM4)])[identity(PM4)].serial
        world.store.begin_spend(identity(PM4), serial, 1)
        world.way.token_faults = [429]
        held.set()
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].tries == 1


async def test_the_intent_is_on_disk_before_the_token_is_sent(autojump_clock: MockClock, tmp_path: Path) -> None:
    """While the server works on a refresh, the disk knows of it: whoever comes after a crash doubts."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        assert world.way.tokens == 2, "it is under way"
        assert world.store.load([identity(PM4)])[identity(PM4)].tries == 1
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].tries == 0


async def test_what_cannot_be_committed_is_not_sent(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Where the disk refuses the intent the refresh token stays here: a crash would not know that it is spent."""
    async with refreshing(tmp_path) as world:
        handed = await world.login()
        begin = world.store.begin_spend
        world.store.begin_spend = disk_full  # type: ignore[method-assign]
        await trio.sleep(26)
        assert world.way.tokens == 1
        assert world.lives(handed)
        world.store.begin_spend = begin  # type: ignore[method-assign]
        await trio.sleep(3)
        assert world.way.tokens == 2
