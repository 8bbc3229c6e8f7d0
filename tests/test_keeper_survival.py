"""What a token outlives: a restart, a full disk, a stop in the middle, a mistake of our own."""

from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import PROD, Server, keeping
from support.lives import TrioClock, disk_full, profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import oauth
from pmcredd.store import identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


async def test_a_token_survives_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A new daemon serves the saved token and asks for none: tokens live a year, and rows there are never purged."""
    server = Server()
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
    async with keeping(tmp_path, PROD, server=server) as world:
        assert await world.get() == "token-1"
        await wait_all_tasks_blocked()
    async with keeping(tmp_path, PROD, server=server, clock=TrioClock(boot_id="after-a-reboot")) as world:
        assert await world.get() == "token-1"
    assert len(server.requests) == 1


async def test_a_refresh_token_of_a_grant_that_asks_anew_is_dropped(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What will never be used is not kept: the password grant's refresh token is not in the store."""
    answer = {"token_type": "Bearer", "access_token": "t", "expires_in": 60, "refresh_token": "def502-refresh"}
    async with keeping(tmp_path, PROD, server=Server(script=[httpx.Response(200, json=answer)])) as world:
        await world.get()
        assert world.store.load([identity(PROD)])[identity(PROD)].held.token.refresh_token is None
    assert b"def502-refresh" not in (tmp_path / "state.db").read_bytes()


async def test_a_full_disk_loses_no_token(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that cannot be saved is served, shouted about, and saved once the disk has room."""
    async with keeping(tmp_path, PROD) as world:
        save = world.store.save
        world.store.save = disk_full  # type: ignore[method-assign]
        assert await world.get() == "token-1"
        (state,) = world.keeper.status(["prod"])
        assert state.life.save_problem is not None
        world.store.save = save  # type: ignore[method-assign]
        await trio.sleep(6)
        (state,) = world.keeper.status(["prod"])
        assert state.life.save_problem is None
        assert world.store.load([identity(PROD)])[identity(PROD)].held.token.access_token.reveal() == "token-1"
    assert "the new token is not saved" in caplog.text or not caplog.records


async def test_what_could_not_be_saved_is_saved_at_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The disk has room again just before the daemon leaves: the token is saved on the way out."""
    async with keeping(tmp_path, PROD) as world:
        save = world.store.save
        world.store.save = disk_full  # type: ignore[method-assign]
        assert await world.get() == "token-1"
        world.store.save = save  # type: ignore[method-assign]
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        assert world.server.requests == []


async def test_a_full_disk_does_not_end_what_works(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A password that has passed is sent again though its try cannot be committed: the profile lives on in memory."""
    async with keeping(tmp_path, PROD) as world:
        await world.get()
        world.store.begin_tries = world.store.save = disk_full  # type: ignore[method-assign]
        await trio.sleep(2 * 3600)
        assert await world.get() != "token-1"
        assert world.keeper.status(["prod"])[0].life.save_problem is not None


async def test_what_was_sent_is_awaited_and_saved_at_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A stop while a request is under way waits for its answer and saves it: the server counts it as issued."""
    server = Server(held=trio.Event())
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with keeping(tmp_path, PROD, server=server) as world:
                await wait_all_tasks_blocked()
                world.keeper.stop()
                nursery.start_soon(answer)

        async def answer() -> None:
            await wait_all_tasks_blocked()
            assert server.held is not None
            server.held.set()

        nursery.start_soon(run)
    async with keeping(tmp_path, PROD, server=server) as world:
        assert await world.get() == "token-1"
    assert len(server.requests) == 1


async def test_who_waits_is_told_that_we_leave(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A `get` that waits when the daemon stops is answered, not cut off."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Failure) as caught:
                await world.get()
            assert caught.value.code is Code.STOPPING

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        world.keeper.stop()
        assert server.held is not None
        server.held.set()


async def test_a_bug_in_one_exchange_is_told_and_ends_nothing(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own mistake with one profile is an error of that profile, without the values at hand; the rest serves on."""

    def broken(each: object, **_: object) -> None:
        raise RuntimeError("password-of-the-tests")

    async with keeping(tmp_path, PROD, profile("other", username="other")) as world:
        await world.get("other")
        await world.get("prod")
        monkeypatch.setattr(oauth, "token_request", broken)
        with pytest.raises(Failure, match="made a mistake") as caught:
            await world.keeper.login("prod", 5.0)
        assert "password-of-the-tests" not in caught.value.message
        assert await world.get("other") in {"token-1", "token-2"}
        monkeypatch.undo()
        monkeypatch.setattr(oauth, "read_answer", broken)
        with pytest.raises(Failure, match="made a mistake"):
            await world.keeper.login("prod", 5.0)
