"""A server that fails or asks for a pause is spared, and whoever has a living token does not notice."""

from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import PROD, Server, config, keeping, token
from support.lives import profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_living_token_is_served_while_the_server_fails(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An outage shorter than a third of the lifetime is noticed by nobody; one that outlasts the token is told."""
    server = Server(script=[token("token-1")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
        server.script = [httpx.Response(502)] * 10_000
        await trio.sleep(3500)
        assert await world.get() == "token-1"
        with pytest.raises(Failure) as promised:
            await world.get(lasting=600)
        await trio.sleep(200)
        with pytest.raises(Failure) as caught:
            await world.get()

        for failure in (promised.value, caught.value):
            assert failure.code is Code.UNREACHABLE
            assert "502" in failure.message
        server.script = []
        await trio.sleep(301)
        assert (await world.get()).startswith("token-")


async def test_the_backoff_spares_the_server(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An hour of outage and impatient scripts costs the server some twenty requests, not thousands."""
    server = Server(script=[httpx.ConnectError("refused")] * 10_000)
    async with keeping(tmp_path, PROD, server=server) as world:
        for _ in range(3600):
            with pytest.raises(Failure):
                await world.get()
            await trio.sleep(1)

        assert 10 < len(server.requests) < 40


async def test_a_429_pauses_the_whole_origin(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Who was throttled once asks nothing of that origin, for any profile, until Retry-After is over; nobody hangs."""
    server = Server(
        script=[httpx.Response(429, headers={"Retry-After": "120"}, json={"message": "Too Many Attempts."})]
    )
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        world.configs.append(config(PROD, profile("second", username="second")))
        await world.keeper.reload()
        for name in ("prod", "second"):
            with trio.fail_after(5), pytest.raises(Failure) as caught:
                await world.get(name)
            assert caught.value.code is Code.WAITING
        await trio.sleep(121)
        assert await world.get("second") in {"token-2", "token-3"}

    assert server.times[1] - server.times[0] >= 120


async def test_a_pause_that_the_server_names_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Maintenance with a Retry-After: no try comes before it is over, and one comes soon after."""
    busy = httpx.Response(503, headers={"Retry-After": "600"}, json={"message": "Service Unavailable"})
    async with keeping(tmp_path, PROD, server=Server(script=[busy])) as world:
        await trio.sleep(599)
        assert len(world.server.requests) == 1
        await trio.sleep(2)
        assert len(world.server.requests) == 2
        assert await world.get() == "token-2"


async def test_a_remaining_allowance_is_heeded(autojump_clock: MockClock, tmp_path: Path) -> None:
    """X-RateLimit-Remaining lowers our own budget: half of what is left is ours."""
    little = httpx.Response(
        200,
        json={"token_type": "Bearer", "access_token": "a", "expires_in": 3600},
        headers={"X-RateLimit-Remaining": "2"},
    )
    server = Server(script=[little])
    many = [profile(f"p{number}", username=f"u{number}") for number in range(3)]
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        world.configs.append(config(PROD, *many))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
        assert len(server.requests) == 2
        await trio.sleep(61)
        assert len(server.requests) == 4


async def test_five_hundred_profiles_start_inside_the_budget(autojump_clock: MockClock, tmp_path: Path) -> None:
    """At the start an origin sees thirty requests a minute, and a `get` on demand goes before the rest."""
    many = [profile(f"p{number:03}", username=f"u{number}") for number in range(500)]
    async with keeping(tmp_path, *many) as world:
        await wait_all_tasks_blocked()
        assert len(world.server.requests) == 30

        served = {request["username"] for request in world.server.requests}
        waiting = next(each for each in many if each.username not in served)
        await world.get(waiting.name, timeout=90)
        await wait_all_tasks_blocked()

        assert waiting.username in [request["username"] for request in world.server.requests[30:]]
        assert len(world.server.requests) == 60
        await trio.sleep(20 * 60)
        assert len(world.server.requests) == 500
        for start in world.server.times:
            assert sum(start <= moment < start + 60 for moment in world.server.times) <= 30
