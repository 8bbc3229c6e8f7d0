"""What a browser may cost a login: so many bytes, so much time, so many connections."""

import pytest
import trio
from support.login_desk import DONE, HOST, desk, get
from trio.testing import MockClock, memory_stream_pair

from pmcredd.callback import HEAD_LIMIT, MOST_CONNECTIONS, TIME_LIMIT


async def test_a_head_without_an_end_is_cut_off() -> None:
    """A megabyte of header ends with 431, long before it has all come."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: " + "x" * 1_000_000)
        assert (await browser.answer()).status == 431
        assert not here.answered()


async def test_a_head_with_other_peoples_cookies_is_not_too_long() -> None:
    """Cookies know no port: what runs on this machine beside us puts its own into every request."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good, more=f"Cookie: x={'x' * (HEAD_LIMIT - 2000)}\r\n"))
        await here.callback.answer()


@pytest.mark.parametrize("begun", ["", "GET /callback?", f"GET / HTTP/1.1\r\nHost: {HOST}\r\n"])
async def test_who_sends_nothing_more_is_dropped(begun: str, autojump_clock: MockClock) -> None:
    """After its time, and without a word: browsers open connections that they may not need."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(begun)
        assert await browser.rest() == b""
        assert trio.current_time() == pytest.approx(TIME_LIMIT)
        await trio.testing.wait_all_tasks_blocked()
        assert not here.callback._open


async def test_who_sends_byte_by_byte_is_dropped_in_time(autojump_clock: MockClock) -> None:
    """The time is that of the whole head: a byte now and then does not buy more of it."""
    async with desk() as here:
        browser = here.connect()

        async def trickle() -> None:
            while True:
                await browser.send(b"x")
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            assert await browser.rest() == b""
            nursery.cancel_scope.cancel()
        assert trio.current_time() <= TIME_LIMIT + 1


async def test_the_exchange_may_take_longer_than_a_request(autojump_clock: MockClock) -> None:
    """The browser that brought the answer is kept as long as the login takes, a question to its user included."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good))
        await here.callback.answer()
        await trio.sleep(300)
        await here.callback.finish(DONE)
        assert (await browser.answer()).status == 200


async def test_a_browser_that_does_not_read_is_left(autojump_clock: MockClock) -> None:
    """The end of a login does not hang on it."""
    async with desk() as here:
        ours, theirs = memory_stream_pair()
        theirs.send_stream.send_all_hook = trio.sleep_forever
        here._nursery.start_soon(here.callback.serve, theirs)
        await ours.send_all(get(here.good).encode())
        await here.callback.answer()
        await here.callback.finish(DONE)
        assert trio.current_time() == pytest.approx(TIME_LIMIT)


async def test_many_silent_connections_do_not_keep_the_browser_out(autojump_clock: MockClock) -> None:
    """The oldest of them makes room, and no more are held than the limit."""
    async with desk() as here:
        silent = []
        for _ in range(MOST_CONNECTIONS + 10):
            silent.append(here.connect())
            await trio.testing.wait_all_tasks_blocked()
        assert len(here.callback._open) == MOST_CONNECTIONS
        for browser in silent[:10]:
            assert await browser.rest() == b""
        assert trio.current_time() == 0  # they went when the others came, and not after their time
        bearer = here.connect()
        await bearer.send(get(here.good))
        await here.callback.answer()
        for _ in range(2 * MOST_CONNECTIONS):
            here.connect()
        await trio.testing.wait_all_tasks_blocked()
        await here.callback.finish(DONE)
        assert (await bearer.answer()).status == 200  # it is never the one to go


async def test_one_page_is_not_asked_for_without_end() -> None:
    """Who knows the address cannot hold more connections than anybody else."""
    async with desk() as here:
        for _ in range(MOST_CONNECTIONS):
            await here.connect().send(get(here.good))
        await trio.testing.wait_all_tasks_blocked()
        assert (await here.ask(get(here.good))).status == 503


async def test_what_a_client_still_sends_does_not_cost_it_the_answer(autojump_clock: MockClock) -> None:
    """It is read for a moment, and then the connection ends."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n")
        assert (await browser.answer()).status == 405
        await browser.stream.send_all(b"x" * 1_000_000)  # nobody hangs up on it
        await trio.testing.wait_all_tasks_blocked()
