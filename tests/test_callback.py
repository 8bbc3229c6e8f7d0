"""What a browser brings to the listener of a login: the one answer, and all that is none."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.login_desk import DONE, HOST, Browser, desk, get
from trio.testing import memory_stream_pair

from pmcredd import pages
from pmcredd.authorization import Denied, Granted
from pmcredd.callback import Callback
from pmcredd.secret import Secret

# --- the one answer ---


async def test_the_browser_that_brings_the_answer_waits_for_the_last_page() -> None:
    """Its code is exchanged while it waits, so that its page can tell how that went."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good))
        found = await here.callback.answer()
        assert isinstance(found, Granted)
        assert found.code.code == Secret("c0de")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.callback.finish, DONE)
            answer = await browser.answer()
        assert (answer.status, answer.body) == (200, DONE.body.decode())
        assert {name: answer.headers[name] for name in DONE.headers} == DONE.headers


async def test_finish_waits_until_the_browser_has_the_page() -> None:
    """Or the listener would be gone before the page is."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good))
        await here.callback.answer()
        done = trio.Event()

        async def finish() -> None:
            await here.callback.finish(DONE)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            await browser.answer()
            await done.wait()


async def test_finish_without_a_browser_does_not_wait() -> None:
    """The answer may have come by hand."""
    async with desk() as here:
        await here.callback.finish(DONE)


async def test_an_error_of_the_server_is_an_answer_too() -> None:
    """A login that was denied is over, and need not wait for its time."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(f"/callback?error=access_denied&state={here.login.state.reveal()}"))
        assert isinstance(await here.callback.answer(), Denied)
        await here.callback.finish(pages.failed("t", "s", "m"))
        assert (await browser.answer()).status == 400


async def test_the_same_address_again_is_shown_the_same_page() -> None:
    """Browsers prefetch and people reload: before the page is there, and after."""
    async with desk() as here:
        first, second = here.connect(), here.connect()
        await first.send(get(here.good))
        await second.send(get(here.good))
        await trio.testing.wait_all_tasks_blocked()
        await here.callback.finish(DONE)
        for browser in (first, second):
            assert (await browser.answer()).status == 200
        assert (await here.ask(get(here.good))).body == DONE.body.decode()
        await here.callback.finish(pages.failed("another", "page", ""))  # the first one counts
        assert (await here.ask(get(here.good))).body == DONE.body.decode()


async def test_a_second_answer_changes_nothing() -> None:
    """The first one counts, whatever the second says."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good))
        first = await here.callback.answer()
        for other in (here.good.replace("c0de", "other"), here.good.replace("code=c0de", "error=access_denied")):
            refused = await here.ask(get(other))
            assert refused.status == 400
            assert "has had its answer" in refused.body
        assert await here.callback.answer() == first
        await here.callback.finish(DONE)
        assert (await browser.answer()).status == 200


async def test_a_browser_that_left_takes_nothing_with_it() -> None:
    """The answer counts, and the end does not wait for who is gone."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good))
        await here.callback.answer()
        await browser.stream.aclose()
        await here.callback.finish(DONE)
        assert (await here.ask(get(here.good))).status == 200


# --- what is not the answer ---


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /favicon.ico HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET /robots.txt?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET /callback/?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET //callback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET /x/../callback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET /c%61llback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET http://127.0.0.1:4711/callback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET http://evil.example/callback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 404),
        ("GET /callback HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        ("GET /callback?code=c0de HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        ("GET /callback?code=c0de&state=wrong HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        ("GET /callback?{query}&code=2 HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        ("GET /callback?error=access_denied HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        # a name that leads here by DNS, another port, nobody's name, two names
        ("GET /callback?{query} HTTP/1.1\r\nHost: evil.example:4711\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost: 127.0.0.1.evil.example:4711\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost: 127.0.0.1:4712\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost: 0.0.0.0:4711\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost: x@127.0.0.1:4711\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\nHost:\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.0\r\n\r\n", 421),
        ("GET /callback?{query} HTTP/1.1\r\n\r\n", 400),
        ("GET /callback?{query} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n", 400),
        ("GET /callback?{query} HTTP/1.0\r\nHost: {host}\r\nHost: {host}\r\n\r\n", 400),
        # other methods
        ("POST /callback?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi", 405),
        ("PUT /callback?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n", 405),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n", 405),
        ("get /callback?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n", 405),
        # no HTTP
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        ("GET /callback?{query}\r\n\r\n", 400),
        ("GET /callback?{query} HTTP/1.1\r\nHost: {host}\r\nX\x00: 1\r\n\r\n", 400),
        ("GET /callback?{query} HTTP/1.1\r\nHost : {host}\r\n\r\n", 400),
        ("\r\n\r\n\r\n\r\n", 400),
    ],
)
async def test_whatever_else_comes_changes_nothing(request_text: str, status: int) -> None:
    """Another path, another state, another host, another method, another protocol: a page, and no answer."""
    async with desk() as here:
        text = request_text.format(host=HOST, query=here.good.partition("?")[2])
        refused = await here.ask(text)
        assert refused.status == status
        assert refused.headers.get("connection", "close") == "close"  # HTTP/1.0 has no other way
        assert refused.headers["cache-control"] == "no-store"
        assert here.login.state.reveal() not in refused.body
        assert not here.answered()
        # and the login is still there
        browser = here.connect()
        await browser.send(get(here.good))
        assert isinstance(await here.callback.answer(), Granted)


@pytest.mark.parametrize("host", ["127.0.0.1:4711", "localhost:4711", "LocalHost:4711"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_loopback_host_is_answered(host: str, version: str) -> None:
    """Also where somebody wrote localhost, and in either version of HTTP/1."""
    async with desk() as here:
        browser = here.connect()
        await browser.send(get(here.good, host, version))
        await here.callback.answer()
        await here.callback.finish(DONE)
        assert (await browser.answer()).status == 200


async def test_port_80_needs_no_port_in_the_host() -> None:
    """Browsers leave out a scheme's own port."""
    async with trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(Callback("http://127.0.0.1:80/callback", 80).serve, theirs)
        browser = Browser(ours)
        await browser.send(get("/", "127.0.0.1"))
        assert (await browser.answer()).status == 404  # and not 421
        await ours.aclose()


async def test_head_gets_no_body() -> None:
    """RFC 9110 section 9.3.2, also for what is refused; Allow tells what is not (section 15.5.6)."""
    async with desk() as here:
        refused = await here.ask(f"HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
        assert (refused.status, refused.body, refused.headers["allow"]) == (405, "", "GET")


async def test_nothing_is_an_answer_before_the_request_is_known() -> None:
    """There is nothing yet that it could answer."""
    async with desk(expecting=False) as here:
        assert (await here.ask(get(here.good))).status == 404


async def test_a_request_that_comes_byte_by_byte_is_understood() -> None:
    """How a request is cut into packets says nothing."""
    async with desk() as here:
        browser = here.connect()
        for byte in get(here.good).encode():
            await browser.send(bytes([byte]))
        await here.callback.answer()


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """What comes is answered or not, but ends nothing but its own connection."""

    async def run() -> bool:
        async with desk() as here:
            browser = here.connect()
            await browser.send(data)
            await browser.stream.send_eof()
            await browser.rest()
            await browser.stream.aclose()
            return here.answered()

    assert not trio.run(run)
