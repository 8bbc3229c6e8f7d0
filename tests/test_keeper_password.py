"""A refused password, or one that may have been, is not sent again: no account is locked by us."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import PROD, WRONG_CLIENT, WRONG_PASSWORD, Server, config, keeping, secret, token
from support.lives import DAY, disk_full, profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


def unrecorded(keys: Sequence[str]) -> None:
    """Stand in for the end of a try that a kill keeps from the store."""


async def test_a_wrong_password_is_tried_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Lock-outs: a refused password is sent once, over any time, any number of gets, reloads and restarts."""
    server = Server(script=[WRONG_PASSWORD] * 1000)
    for _ in range(3):
        async with keeping(tmp_path, PROD, server=server) as world:
            world.configs.append(config(PROD))
            for _ in range(5):
                with pytest.raises(Failure) as caught:
                    await world.get()
                assert caught.value.code is Code.NEEDS_LOGIN
                await trio.sleep(DAY)
                await world.keeper.reload()
                await wait_all_tasks_blocked()
    assert len(server.requests) == 1


async def test_a_wrong_password_is_shared_by_its_profiles(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Two profiles with one account send its wrong password once between them, not once each."""
    server = Server(script=[WRONG_PASSWORD] * 10)
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        world.configs.append(config(PROD, profile("twin")))
        await world.keeper.reload()
        with pytest.raises(Failure) as caught:
            await world.get("twin")

    assert len(server.requests) == 1
    assert "pmcred login twin" in caught.value.hint


async def test_a_changed_password_is_tried(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The stop ends when the secret's value changes: looked at on reload."""
    server = Server(script=[WRONG_PASSWORD])
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        world.configs.append(config(replace(PROD, password=secret("the right one"))))
        await world.keeper.reload()

        assert await world.get() == "token-2"
    assert server.requests[1]["password"] == "the right one"


async def test_login_tries_once_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    """`login` means: try now, whatever stopped it; the account may have been unlocked on the server."""
    server = Server(script=[WRONG_PASSWORD, WRONG_CLIENT])
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        with pytest.raises(Failure):
            await world.keeper.login("prod", 30.0)
        handed = await world.keeper.login("prod", 30.0)

        assert handed.access_token.reveal() == "token-3"
        assert await world.get() == "token-3"


async def test_login_waits_no_longer_than_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A login against a server that does not answer ends with its timeout, and the try goes on."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world:
        with pytest.raises(Failure) as caught:
            await world.keeper.login("prod", 5.0)
        assert caught.value.code is Code.WAITING
        assert server.held is not None
        server.held.set()


async def test_a_crash_during_a_try_counts(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Killed after the password went out and before its answer: twice at most, then a person is asked."""
    sent = 0
    for _ in range(4):
        server = Server(held=trio.Event())
        killed = replace(PROD, timeout=10**6)
        with trio.move_on_after(5):
            async with keeping(tmp_path, killed, server=server) as world:
                # What a kill leaves behind: the commit before the send, and nothing after it.
                world.store.end_tries = world.store.clear_tries = unrecorded  # type: ignore[method-assign]
                await wait_all_tasks_blocked()
                sent += len(server.requests)
                assert server.held is not None
                server.script = [httpx.ReadError("killed")]
                server.held.set()
                await wait_all_tasks_blocked()
    assert sent == 2


async def test_ten_profiles_with_one_wrong_password_send_it_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Even at the start, when all of them are due at once: an account is not locked by its number of profiles."""
    server = Server(script=[WRONG_PASSWORD] * 10, delay=1)
    async with keeping(tmp_path, *(profile(f"p{number}") for number in range(10)), server=server) as world:
        for number in range(10):
            with pytest.raises(Failure):
                await world.get(f"p{number}")

    assert len(server.requests) == 1


async def test_tries_under_way_are_no_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Many users of one client whose server hangs: once it answers again all of them go on, nobody is stopped."""
    server = Server(script=[httpx.ReadTimeout("hangs")] * 12, delay=20)
    async with keeping(
        tmp_path, *(profile(f"p{number}", username=f"u{number}") for number in range(10)), server=server
    ) as world:
        await trio.sleep(3600)
        for number in range(10):
            assert (await world.get(f"p{number}", timeout=600)).startswith("token-")


async def test_a_timeout_does_not_forget_a_refusal(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What one profile heard about a password stands, whatever becomes of another's try with it."""
    server = Server(script=[WRONG_PASSWORD, httpx.ReadTimeout("hangs"), token("token-x")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await wait_all_tasks_blocked()
        world.configs.append(config(PROD, profile("other", username="other")))
        await world.keeper.reload()
        await trio.sleep(60)
        await world.keeper.reload()
        with pytest.raises(Failure):
            await world.get("prod")
    assert [each["username"] for each in server.requests].count("integration") == 1


async def test_a_try_that_cannot_be_committed_is_not_made(autojump_clock: MockClock, tmp_path: Path) -> None:
    """With an unwritable store no password goes out: a crash could hide the try and cost the account."""
    async with keeping(tmp_path, PROD) as world:
        world.store.begin_tries = disk_full  # type: ignore[method-assign]
        with pytest.raises(Failure, match="the disk is full"):
            await world.get()
        assert world.server.requests == []
