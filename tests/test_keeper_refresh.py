"""Keeping tokens that refresh: nothing but the network and the clock is the test's, the server is the sandbox."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.keeping import config
from support.lives import TrioClock
from support.refreshing import PM3, PM4, Refreshing, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import attempts, budget, keeper, oauth, processmaker, scheduler
from pmcredd.gate import Priority, Turn
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.store import StoreProblem, identity
from pmcredd.telling import Failure, HandOut
from pmcredd.wire import Code

DAY = 86_400.0
YEAR = Settings(throttle=None)


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing, and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


def fingerprint(handed: HandOut) -> str:
    """Name a handed-out token."""
    return handed.access_token.fingerprint()


async def end_of_lease(world: Refreshing, handed: HandOut) -> None:
    """Wait until just before the promise of a hand-out ends."""
    assert handed.good_until is not None
    await trio.sleep(max(0.0, handed.good_until - world.clock.now().wall - 0.01))


# --- in the normal course ---------------------------------------------------------------------------------------------


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


# --- lost answers -----------------------------------------------------------------------------------------------------


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

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.save = full  # type: ignore[method-assign]
        await trio.sleep(22)
        world.store.begin_spend = full  # type: ignore[method-assign]
        handed = await world.get()
        assert world.lives(handed)
        sent = world.way.tokens
        await trio.sleep(25)
        assert world.way.tokens == sent
        world.store.save, world.store.begin_spend = save, begin  # type: ignore[method-assign]
        await trio.sleep(10)
        assert world.keeper.status(["prod"])[0].life.save_problem is None


async def test_a_lease_of_an_unsaved_token_outlives_a_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What was promised of a token, and what was learned of it, goes to the disk with it, late as it may be."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.expires_at is not None
        save, note = first.store.save, first.store.note

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        first.store.save = first.store.note = full  # type: ignore[method-assign]
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

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        if not room:
            world.store.note = full  # type: ignore[method-assign]
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


# --- rejections -------------------------------------------------------------------------------------------------------


async def test_a_living_token_cannot_be_rejected(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A broken job that rejects all the time changes nothing for the others: the server says that the token lives."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        sent, probes, begun = world.way.tokens, world.way.probes, trio.current_time()

        async def report() -> None:
            with pytest.raises(Failure) as caught:
                await world.keeper.reject("prod", fingerprint(handed), 30.0)
            assert caught.value.code is Code.NOT_REJECTED

        for _ in range(50):
            await report()
            await trio.sleep(0.1)
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(report)
        assert world.way.tokens == sent
        assert world.lives(handed)
        assert world.way.probes - probes <= (trio.current_time() - begun) / keeper.PROBE_EVERY + 3


async def test_a_token_that_dies_right_after_it_was_proved_alive_is_replaced(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """What the server said before a report proves nothing about it: it is asked again, however short ago that was."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await world.proved()
        await trio.sleep(0.1)
        world.sandbox.pm4.revoke_all(access=True, refresh=False)
        assert world.lives(await world.keeper.reject("prod", fingerprint(handed), 30.0))


async def test_two_hundred_reports_of_a_dead_token_make_one_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A token revoked on the server is replaced once for everybody who reports it."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await world.proved()
        sent = world.way.tokens
        world.sandbox.pm4.revoke_all(access=True, refresh=False)
        got: set[str] = set()

        async def report() -> None:
            got.add(fingerprint(await world.keeper.reject("prod", fingerprint(handed), 30.0)))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(report)
        assert len(got) == 1
        assert got != {fingerprint(handed)}
        assert world.way.tokens == sent + 1
        late = await world.keeper.reject("prod", fingerprint(handed), 30.0)
        assert {fingerprint(late)} == got, "an older token: the answer is the current one"


async def test_a_stranger_is_refused(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A token that was never handed out is not ours to renew for."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        with pytest.raises(Failure, match="none of the last ones") as caught:
            await world.keeper.reject("prod", "0123456789abcdef", 30.0)
        assert caught.value.code is Code.NOT_REJECTED


async def test_tokens_refused_in_a_row_end_in_an_explanation(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Where fresh tokens are refused one after the other, new ones would not help: it stops, and says what may be."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await world.proved()
        for _ in range(2):
            world.sandbox.pm4.revoke_all(access=True, refresh=False)
            handed = await world.keeper.reject("prod", fingerprint(handed), 30.0)
        world.sandbox.pm4.revoke_all(access=True, refresh=False)
        sent = world.way.tokens
        with pytest.raises(Failure, match="in a row") as caught:
            await world.keeper.reject("prod", fingerprint(handed), 30.0)
        assert "Authorization header" in caught.value.hint
        with pytest.raises(Failure, match="in a row"):  # the server has just said that it is dead: nobody gets it
            await world.get()
        assert world.way.tokens == sent, "nor does every get make one more"
        await trio.sleep(601)
        assert world.lives(await world.get()), "scheduled renewals go on, with ten minutes between"
        assert world.way.tokens == sent + 1
        assert world.lives(await world.login())


async def test_a_reject_that_cannot_be_checked_kills_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """While the server cannot be asked whether the token lives, a report of it renews nothing."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await trio.sleep(60)
        world.way.api_faults = ["refused"]
        with pytest.raises(Failure, match="could not be checked"):
            await world.keeper.reject("prod", fingerprint(handed), 30.0)
        assert world.lives(handed)


# --- time and change --------------------------------------------------------------------------------------------------


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


async def test_a_login_outlives_what_is_said_of_the_old_pair(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The server calls the old refresh token dead after somebody has logged in again: on disk the new one stays."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        world.sandbox.pm4.revoke_all(access=True, refresh=True)
        await world.login()
        held.set()
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].held.token.refresh_token is not None
        sandbox, clock = world.sandbox, world.clock
    async with refreshing(tmp_path, sandbox=sandbox, clock=clock) as second:
        await trio.sleep(60)
        assert second.lives(await second.get()), "the login was lost at the restart"


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

        def full(*_: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.begin_spend = full  # type: ignore[method-assign, assignment]
        await trio.sleep(26)
        assert world.way.tokens == 1
        assert world.lives(handed)
        world.store.begin_spend = begin  # type: ignore[method-assign]
        await trio.sleep(3)
        assert world.way.tokens == 2


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


# --- the budget -------------------------------------------------------------------------------------------------------


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
