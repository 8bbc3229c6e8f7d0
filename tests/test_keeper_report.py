"""A report that a token was refused: a dead one is replaced, once; a living one is not."""

from pathlib import Path

import pytest
import trio
from support.refreshing import YEAR, fingerprint, refreshing
from trio.testing import MockClock

from pmcredd import keeper
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


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
