"""What comes of a report that a token was refused, beside the usual (test_keeper_report.py)."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from support.keeping import Server, config, keeping, token
from support.lives import profile
from support.refreshing import PM4, Refreshing, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import arrival, attempts, keeper, lifecycle, scheduler
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import PERSONAL, USERS
from pmcredd.sandbox.settings import Settings
from pmcredd.secret import Secret
from pmcredd.telling import Failure, HandOut, State
from pmcredd.wire import Code

YEAR = Settings(throttle=None)
DAY = 86_400.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing, and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


async def revoked(world: Refreshing, handed: HandOut) -> HandOut:
    """Have the token revoked on the server, and report it."""
    world.sandbox.pm4.revoke_all(access=True, refresh=False)
    return await world.keeper.reject("prod", handed.access_token.fingerprint(), 30.0)


async def test_a_gateway_that_always_says_no_kills_no_token(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Something before the server answers 401 to our question, always: that is no evidence, and a lease is kept."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        world.way.api_faults = [401] * 1000
        handed = await world.login()
        await trio.sleep(60)
        leased = await world.get(3600.0)
        for _ in range(3):
            with pytest.raises(Failure, match="could not be checked") as caught:
                await world.keeper.reject("prod", handed.access_token.fingerprint(), 30.0)
            assert caught.value.code is Code.NOT_REJECTED
            assert "pmcred login prod" in caught.value.hint
        assert world.way.tokens == 1
        assert world.lives(leased)
        assert world.lives(await world.get())


async def test_where_a_renewal_disturbs_nobody_no_evidence_is_needed(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A grant that asks anew gives another token at once, whatever a gateway says; the reported one is not called dead.

    It may live: while the server fails it is still the best there is.
    """
    async with keeping(tmp_path, profile("prod"), server=Server()) as world:
        assert await world.get() == "token-1"
        report = Secret("token-1").fingerprint()
        assert (await world.keeper.reject("prod", report, 5.0)).access_token.reveal() == "token-2"
        assert world.keeper.status(["prod"])[0].life.rejections == 1


async def test_older_tokens_are_known_and_strangers_are_not(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Whoever reports one of the last tokens gets the current one; the one before those is nobody's we know."""
    async with keeping(tmp_path, profile("prod"), server=Server()) as world:
        for number in range(1, arrival.PAST_KEPT + 2):
            token = await world.get()
            assert token == f"token-{number}"
            await world.keeper.reject("prod", Secret(token).fingerprint(), 5.0)
            await trio.sleep(lifecycle.IN_A_ROW)
        for number in (2, 3, arrival.PAST_KEPT + 1):
            given = await world.keeper.reject("prod", Secret(f"token-{number}").fingerprint(), 5.0)
            assert given.access_token.reveal() == await world.get()
        assert arrival.PAST_KEPT == 16
        with pytest.raises(Failure, match="none of the last ones"):
            await world.keeper.reject("prod", Secret("token-1").fingerprint(), 5.0)


async def test_a_stranger_gets_nothing_without_a_token_in_hand(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A report of what was never handed out fetches no token, also where there is none yet."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, profile("prod"), server=server) as world:
        with pytest.raises(Failure, match="none of the last ones") as caught:
            await world.keeper.reject("prod", "0123456789abcdef", 5.0)
        assert caught.value.code is Code.NOT_REJECTED
        assert server.held is not None
        server.held.set()


async def test_a_personal_access_token_is_replaced_by_a_person(autojump_clock: MockClock, tmp_path: Path) -> None:
    """It is read once more where it is kept; if it is the same there, the answer says who can make another one."""
    given = LiteralSecret(Secret("personal-1"))
    static = profile("report", grant=Grant.PERSONAL_ACCESS_TOKEN, token=given, password=None)
    async with keeping(tmp_path, static) as world:
        await world.get("report")
        for _ in range(2):
            with pytest.raises(Failure, match="nothing can renew it") as caught:
                await world.keeper.reject("report", Secret("personal-1").fingerprint(), 5.0)
            assert caught.value.code is Code.NEEDS_LOGIN
            assert caught.value.hint.startswith("make a new one in ProcessMaker")
        assert await world.get("report") == "personal-1", "one report is no proof"


async def test_a_server_that_gives_the_same_token_again_is_no_success(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The token in hand is not one of the past, however often it came: a script would go round in a circle."""
    always = [token("the-one") for _ in range(9)]
    async with keeping(tmp_path, profile("prod"), server=Server(script=[*always])) as world:
        assert await world.get() == "the-one"
        for _ in range(2):
            with pytest.raises(Failure, match="there is no other token"):
                await world.keeper.reject("prod", Secret("the-one").fingerprint(), 30.0)


def personal(world: Refreshing) -> Profile:
    """Give a profile with a personal access token that the sandbox has just issued."""
    issued = world.sandbox.pm4.issue_personal(USERS[0], "scripts", PERSONAL)
    return replace(
        PM4,
        grant=Grant.PERSONAL_ACCESS_TOKEN,
        client_id=None,
        client_secret=None,
        token=LiteralSecret(Secret(issued.access_token.reveal())),
    )


async def served(world: Refreshing) -> HandOut:
    """Have a personal access token served, a moment after its server has accepted it for the first time."""
    world.configs.append(config(personal(world)))
    await world.keeper.reload()
    handed = await world.get()
    await world.proved()
    await trio.sleep(1)
    return handed


async def test_a_personal_access_token_that_its_server_refuses_is_not_handed_out(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Who reports it hears who can make another one, and so does everybody else; a new one serves at once."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await served(world)
        with pytest.raises(Failure) as living:
            await world.keeper.reject("prod", handed.access_token.fingerprint(), 30.0)
        assert living.value.code is Code.NOT_REJECTED
        for _ in range(2):
            with pytest.raises(Failure, match="refuses the personal access token") as dead:
                await revoked(world, handed)
            assert dead.value.code is Code.NEEDS_LOGIN
            assert dead.value.hint.startswith("make a new one in ProcessMaker")
        with pytest.raises(Failure, match="refuses the personal access token"):
            await world.get()
        (status,) = world.keeper.status(["prod"])
        assert status.state is State.NEEDS_LOGIN
        world.configs.append(config(personal(world)))
        await world.keeper.reload()
        assert world.lives(await world.get())


async def test_a_personal_access_token_that_was_refused_by_mistake_serves_after_a_login(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """A server that was ill is asked once more when a person says so; without a word from it nothing changes."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await served(world)
        world.way.api_faults = [401, 401, 503]
        for attempt in (partial(world.keeper.reject, "prod", handed.access_token.fingerprint()), partial(login, world)):
            with pytest.raises(Failure, match="refuses the personal access token"):
                await attempt(30.0)
        assert world.lives(await login(world, 30.0))
        assert world.lives(await world.get())


async def login(world: Refreshing, timeout: float) -> HandOut:
    """Say that it is to be tried once more."""
    return await world.keeper.login("prod", timeout)


async def test_a_row_of_rejections_ends_with_a_person(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After two tokens refused in a row nothing is renewed, and a `login` that passes begins anew."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await world.proved()
        handed = await revoked(world, await revoked(world, handed))
        with pytest.raises(Failure, match="in a row"):
            await revoked(world, handed)
        handed = await world.login()
        await world.proved()
        assert world.lives(await revoked(world, handed))


async def test_scheduled_renewals_go_on_after_a_row_of_rejections(autojump_clock: MockClock, tmp_path: Path) -> None:
    """That reports renew nothing any more is no reason to let a login die: its renewals come when they are due."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        await world.proved()
        handed = await revoked(world, await revoked(world, handed))
        assert world.keeper.status(["prod"])[0].life.rejections == lifecycle.MOST_REJECTIONS
        sent = world.way.tokens
        assert handed.expires_at is not None
        await trio.sleep(handed.expires_at - world.clock.now().wall - DAY)
        assert world.way.tokens == sent + 1
        assert world.lives(await world.get())


async def test_a_token_refused_in_vain_stays_dead_over_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What the server called dead is noted, so that the next daemon does not hand it out either."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        await first.proved()
        handed = await revoked(first, await revoked(first, handed))
        with pytest.raises(Failure, match="in a row"):
            await revoked(first, handed)
        await wait_all_tasks_blocked()
        sandbox, clock = first.sandbox, first.clock
    async with refreshing(tmp_path, PM4, sandbox=sandbox, clock=clock) as second:
        got = await second.get()
        assert second.lives(got)
        assert got.access_token.fingerprint() != handed.access_token.fingerprint()
