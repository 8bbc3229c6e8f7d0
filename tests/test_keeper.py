"""Getting a token from the keeper: real store, real rules; the network and the clock are the test's."""

import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import PROD, WRONG_PASSWORD, Server, keeping, token
from support.lives import DAY, profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import keeper
from pmcredd.profiles import Grant
from pmcredd.store import identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_token_is_there_before_anybody_asks(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After the start every profile gets its token; the first `get` waits for nothing."""
    async with keeping(tmp_path, PROD) as world:
        await wait_all_tasks_blocked()

        ready = world.keeper.hand_out("prod", None)

        assert ready is not None
        assert ready.access_token.reveal() == "token-1"
        assert ready.good_until == ready.expires_at == int(world.clock.now().wall + 3600)
        assert world.server.requests == [
            {"grant_type": "password", "username": "integration", "password": "password-of-the-tests"}
        ]


async def test_two_hundred_gets_make_one_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    """However many ask while there is no token, the server is asked once, and all get the same token."""
    server = Server(held=trio.Event())
    got: list[str] = []
    async with keeping(tmp_path, PROD, server=server) as world:

        async def ask() -> None:
            got.append(await world.get())

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert server.held is not None
            server.held.set()

    assert got == ["token-1"] * 200
    assert len(server.requests) == 1


async def test_renewed_early_and_quietly(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A token is replaced at two thirds of its life, with nobody waiting for it."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        await trio.sleep(2399)
        assert await world.get() == "token-1"
        await trio.sleep(2)

        assert await world.get() == "token-2"
        assert world.server.times[1] - world.server.times[0] == pytest.approx(2400)


async def test_for_is_a_promise(autojump_clock: MockClock, tmp_path: Path) -> None:
    """`for` gets a token that lives that long, a new one if need be, and is refused where no token would."""
    async with keeping(tmp_path, PROD, server=Server(delay=0.5)) as world:
        await world.get()
        await trio.sleep(1199)

        assert await world.get(lasting=2399) == "token-1"
        assert await world.get(lasting=3000) == "token-2"
        with pytest.raises(Failure) as caught:
            await world.get(lasting=3601)
        assert caught.value.code is Code.CANNOT_PROMISE
        with pytest.raises(Failure, match="not as long as asked for"):
            await world.get(lasting=3600)
        assert len(world.server.requests) == 3


async def test_tokens_dead_on_arrival_end_in_an_error(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A server whose tokens live no time at all is told about; we do not ask it for ever."""
    async with keeping(tmp_path, PROD, server=Server(lifetime=1, delay=2)) as world:
        await wait_all_tasks_blocked()
        before = len(world.server.requests)
        with pytest.raises(Failure) as caught:
            await world.get()

        assert caught.value.code is Code.CANNOT_PROMISE
        assert len(world.server.requests) <= before + 1


async def test_suspend_is_noticed(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After the machine slept through a token's life, the next `get` has a new token, not the dead one."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"

        world.clock.suspend(7 * 3600)

        assert await world.get() == "token-2"


async def test_a_set_wall_clock_breaks_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A wall clock set a year forth or back within a boot costs no token its life."""
    async with keeping(tmp_path, PROD) as world:
        await world.get()
        for step in (365 * DAY, -2 * 365 * DAY):
            world.clock.set_wall(step)
            assert await world.get() == "token-1"


async def test_unknown_names_and_urls(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile is found by its name or URL; a near miss is told what it may have meant."""
    other = profile("other", url="http://127.0.0.1:2/sub")
    async with keeping(tmp_path, PROD, other, profile("twin", url="http://127.0.0.1:2/sub")) as world:
        await wait_all_tasks_blocked()

        assert await world.get("http://127.0.0.1:1/api/1.0/users")
        for target, code, hint in (
            ("prodd", Code.NO_SUCH_PROFILE, "did you mean prod?"),
            ("zzz", Code.NO_SUCH_PROFILE, "pmcred profile list"),
            ("http://127.0.0.1:9/", Code.NO_SUCH_PROFILE, "pmcred profile list"),
            ("http://127.0.0.1:2/sub/x", Code.AMBIGUOUS, "name one of them"),
        ):
            with pytest.raises(Failure) as caught:
                await world.get(target)
            assert (caught.value.code, caught.value.hint) == (code, hint)


async def test_a_get_times_out_with_what_lives(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Out of time, a living token is better than none; without one the error says how long was waited."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, replace(PROD, timeout=1000.0), server=server) as world:
        with pytest.raises(Failure) as caught:
            await world.get(timeout=5)
        assert caught.value.code is Code.WAITING
        assert "within 5 s" in caught.value.message
        assert server.held is not None
        server.held.set()
        assert await world.get() == "token-1"
        await trio.sleep(3575)
        server.held = trio.Event()
        server.lifetime = 3600
        # The renewal at two thirds has happened; this second token is near its end, and the third never comes.
        await trio.sleep(1200)
        assert await world.get(timeout=5) == "token-2"
        server.held.set()


async def test_the_browser_login_is_not_there_yet(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile whose login needs a browser, and to which nobody has logged in, says so and asks no server."""
    async with keeping(tmp_path, replace(PROD, grant=Grant.AUTHORIZATION_CODE)) as world:
        with pytest.raises(Failure) as caught:
            await world.get()
        assert caught.value.code is Code.NEEDS_LOGIN
        assert world.server.requests == []


async def test_the_last_use_is_noted(autojump_clock: MockClock, tmp_path: Path) -> None:
    """That somebody still asks is written down a few times a day: what nobody asks for in 30 days is let go."""
    long = Server(lifetime=365 * DAY)
    async with keeping(tmp_path, PROD, server=long) as world:
        await world.get()
        await trio.sleep(DAY)
        await world.get()
        await wait_all_tasks_blocked()
        saved = world.store.load([identity(PROD)])[identity(PROD)]
        assert saved.asked_at == pytest.approx(world.clock.now().wall)


async def test_what_nobody_asks_for_is_let_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After thirty days without a `get` no token is asked for any more; the next `get` has a fresh one."""
    short = Server(lifetime=DAY)
    async with keeping(tmp_path, PROD, server=short) as world:
        await world.get()
        await trio.sleep(40 * DAY)
        count = len(short.requests)
        assert count == pytest.approx(45, abs=2)
        await trio.sleep(10 * DAY)
        assert len(short.requests) == count
        assert await world.get() == f"token-{count + 1}"


async def test_status_tells_how_each_profile_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The state of a profile in one word, with its times."""
    answers = {"live": token("token-1"), "waiting": httpx.Response(503), "stopped": WRONG_PASSWORD}
    names = list(answers)
    server = Server(script=[lambda fields: answers[fields["username"]]] * 3)
    async with keeping(tmp_path, *(profile(name, username=name) for name in names), server=server) as world:
        await wait_all_tasks_blocked()
        states = {state.profile.name: state for state in world.keeper.status([])}

        assert {name: state.state for name, state in states.items()} == {name: name for name in names}
        assert states["live"].renew_at == pytest.approx(world.clock.now().wall + 2400)
        assert states["waiting"].renew_at == pytest.approx(world.clock.now().wall, abs=2)
        assert states["stopped"].renew_at is None


async def test_no_secret_in_logs_and_reprs(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happens to a profile, neither its secrets nor its tokens are written to the log."""
    logging.getLogger("pmcredd").propagate = True
    caplog.set_level(logging.DEBUG)
    echo = httpx.Response(400, json={"error": "invalid_grant", "error_description": "no password-of-the-tests here"})
    server = Server(script=[token("secret-token"), echo, httpx.ConnectError("client-secret-of-the-tests")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
        for _ in range(2):
            with pytest.raises(Failure) as caught:
                await world.keeper.login("prod", 5.0)
            for value in ("secret-token", "password-of-the-tests", "client-secret-of-the-tests"):
                assert value not in caught.value.message + caught.value.hint + repr(world.keeper.status([]))
    for value in ("secret-token", "password-of-the-tests", "client-secret-of-the-tests"):
        assert value not in caplog.text
    assert caplog.records


def test_the_mock_clock_is_the_only_one(mock_clock: MockClock) -> None:
    """These tests take no real time: a slip to the real clock would show as a stall."""
    assert mock_clock.current_time() >= 0.0
    assert keeper.NOTE_ASKED_EVERY < DAY
