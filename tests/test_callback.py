"""The listener of one login: a real one for what concerns the machine, streams in memory for what concerns time."""

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from pmcredd import authorization, pages
from pmcredd.authorization import Authorization, Denied, Granted
from pmcredd.callback import HEAD_LIMIT, MOST_CONNECTIONS, TIME_LIMIT, Callback, CallbackProblem, listen
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

PROFILE = Profile("prod", "https://acme.processmaker.net", Grant.AUTHORIZATION_CODE, client_id="3")
HERE = "http://127.0.0.1:4711/callback"
HOST = "127.0.0.1:4711"
DONE = pages.signed_in("prod", "a.smith")


@dataclass(frozen=True)
class Answer:
    """What a client was answered, taken apart by nobody's library but this line."""

    status: int
    headers: dict[str, str]
    body: str


def taken_apart(raw: bytes) -> Answer:
    """Read an HTTP/1.1 answer whose end is the connection's."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    return Answer(int(status), headers, body.decode())


class Browser:
    """One client on a stream in memory: it can stop in the middle of anything."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream

    async def send(self, data: bytes | str) -> None:
        """Send, if the other end still listens."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data if isinstance(data, bytes) else data.encode("latin-1"))

    async def rest(self) -> bytes:
        """Read until the other end closes; what never ends fails."""
        parts = []
        with trio.fail_after(60), suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some():
                parts.append(bytes(data))
        return b"".join(parts)

    async def answer(self) -> Answer:
        """Read the answer."""
        return taken_apart(await self.rest())


class Desk:
    """A listener without a socket, which connections are brought to by hand."""

    def __init__(self, nursery: trio.Nursery, *, expecting: bool = True) -> None:
        self.callback = Callback(HERE, 4711)
        self.login = authorization.begin(PROFILE, HERE)
        if expecting:
            self.callback.begin(self.login)
        self._nursery = nursery

    @property
    def good(self) -> str:
        """Give the target that is the answer."""
        return f"/callback?code=c0de&state={self.login.state.reveal()}"

    def connect(self) -> Browser:
        """Open a connection."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.callback.serve, theirs)
        return Browser(ours)

    async def ask(self, request: bytes | str) -> Answer:
        """Send one request on a connection of its own, and read what comes."""
        browser = self.connect()
        await browser.send(request)
        answer = await browser.answer()
        await browser.stream.aclose()
        return answer

    def answered(self) -> bool:
        """Tell whether there has been an answer."""
        return self.callback._answered.is_set()


@asynccontextmanager
async def desk(*, expecting: bool = True) -> AsyncIterator[Desk]:
    """Open a desk, and close it whatever is still under way."""
    async with trio.open_nursery() as nursery:
        opened = Desk(nursery, expecting=expecting)
        try:
            yield opened
        finally:
            opened.callback.end(DONE)
            nursery.cancel_scope.cancel()


def get(target: str, host: str = HOST, version: str = "1.1", more: str = "") -> str:
    """Write a request."""
    return f"GET {target} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n"


# The one answer


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


# What is not the answer


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


# Limits


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


# The machine


def listening(port: int) -> bool:
    """Tell whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def port_of(uri: str) -> int:
    """Give the port of an address."""
    port = urlsplit(uri).port
    assert port is not None
    return port


@asynccontextmanager
async def login(profile: Profile = PROFILE) -> AsyncIterator[tuple[Callback, Authorization]]:
    """Begin a login with a real listener."""
    async with listen(profile) as here:
        begun = authorization.begin(profile, here.redirect_uri)
        here.begin(begun)
        yield here, begun


async def fetch(url: str, **fields: str) -> httpx.Response:
    """Be a browser."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.get(url, params=fields)


async def log_in(here: Callback, begun: Authorization) -> httpx.Response:
    """Bring the answer, and finish."""
    answers: list[httpx.Response] = []

    async def browse() -> None:
        answers.append(await fetch(here.redirect_uri, code="c0de", state=begun.state.reveal()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(browse)
        assert isinstance(await here.answer(), Granted)
        await here.finish(DONE)
    return answers[0]


async def test_a_browser_logs_in_over_a_real_socket() -> None:
    """On a free port of 127.0.0.1, which is part of the redirect URI; afterwards nobody listens there."""
    async with login() as (here, begun):
        port = port_of(here.redirect_uri)
        assert here.redirect_uri == f"http://127.0.0.1:{port}/callback"
        assert (await fetch(f"http://127.0.0.1:{port}/favicon.ico")).status_code == 404
        answer = await log_in(here, begun)
        assert answer.status_code == 200
        assert answer.content == DONE.body
        assert listening(port)
    assert not listening(port)


async def test_nobody_but_this_machine_can_connect() -> None:
    """Not even this machine, by another of its addresses."""
    async with login() as (here, _):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.2", port_of(here.redirect_uri))) == errno.ECONNREFUSED


async def test_two_logins_do_not_mix() -> None:
    """Each has its own port and its own state, and takes no answer of the other."""
    async with login() as (one, begun_one), login() as (two, begun_two):
        assert one.redirect_uri != two.redirect_uri
        crossed = await fetch(one.redirect_uri, code="c0de", state=begun_two.state.reveal())
        assert crossed.status_code == 400
        assert "belongs to another login" in crossed.text
        assert (await log_in(two, begun_two)).status_code == 200
        assert (await log_in(one, begun_one)).status_code == 200


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_fixed_redirect_uri_is_listened_on_time_after_time() -> None:
    """Its port and its path; a login just after another one need not wait for TCP's last words."""
    port = free_port()
    profile = replace(PROFILE, redirect_uri=f"http://127.0.0.1:{port}/a/b/")
    for _ in range(3):
        async with login(profile) as (here, begun):
            assert here.redirect_uri == profile.redirect_uri
            assert (await fetch(f"http://127.0.0.1:{port}/a/b")).status_code == 404
            assert (await log_in(here, begun)).status_code == 200


async def test_an_open_port_keeps_the_profiles_path() -> None:
    """Only the port is ours to choose."""
    async with login(replace(PROFILE, redirect_uri="http://127.0.0.1/a/b")) as (here, begun):
        assert here.redirect_uri == f"http://127.0.0.1:{port_of(here.redirect_uri)}/a/b"
        assert (await log_in(here, begun)).status_code == 200


async def test_a_port_that_is_taken_is_told_with_the_mend() -> None:
    """By another login, as a rule; nothing is left open."""
    async with login() as (here, _):
        port = port_of(here.redirect_uri)
        with pytest.raises(CallbackProblem) as problem:
            async with listen(replace(PROFILE, redirect_uri=here.redirect_uri)):
                raise AssertionError
        assert problem.value.message == f"cannot wait for the browser on 127.0.0.1:{port}: Address already in use"
        assert f"ss -ltnp 'sport = :{port}'" in problem.value.hint
        assert problem.value.hint.endswith("pmcred profile edit prod")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "ports below 1024 are the system's: write another one into redirect_uri, and into ProcessMaker"),
        (errno.ENETDOWN, ""),
    ],
)
async def test_a_port_that_cannot_be_had_is_told(number: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every port can be had, so the system's refusal is put in its place."""

    class Refused(socket.socket):
        def bind(self, _address: object) -> None:
            raise OSError(number, "No.")

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(CallbackProblem) as problem:
        async with listen(replace(PROFILE, redirect_uri="http://127.0.0.1:80/callback")):
            raise AssertionError
    assert problem.value.message == "cannot wait for the browser on 127.0.0.1:80: No."
    assert problem.value.hint.startswith(hint)


async def test_processmaker_3_needs_a_fixed_port() -> None:
    """It compares the port, so a login from any other could only fail, after the person has logged in."""
    three = replace(PROFILE, name="legacy", generation=3, workspace="workflow")
    for uri in (None, "http://127.0.0.1/callback"):
        with pytest.raises(CallbackProblem) as problem:
            async with listen(replace(three, redirect_uri=uri)):
                raise AssertionError
        assert "compares the redirect URI with its port, and profile legacy names none" in problem.value.message
        assert 'write redirect_uri = "http://127.0.0.1:28080/callback", and the same in Admin' in problem.value.hint
        assert problem.value.hint.endswith("pmcred profile edit legacy")


async def raise_it(_: trio.CancelScope) -> None:
    """End with an error."""
    raise LookupError


async def cancel_it(scope: trio.CancelScope) -> None:
    """End as a login whose client hangs up."""
    scope.cancel()
    await trio.lowlevel.checkpoint()


async def leave_it(_: trio.CancelScope) -> None:
    """End without a page."""
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("end", [raise_it, cancel_it, leave_it])
async def test_however_a_login_ends_its_browser_is_told_and_nobody_listens(
    end: Callable[[trio.CancelScope], Awaitable[None]],
) -> None:
    """Cancelled, broken or forgotten: the browser that brought the answer learns that the login has ended."""
    answers: list[httpx.Response] = []
    ports: list[int] = []
    raised = False

    async def browse(url: str, state: str) -> None:
        answers.append(await fetch(url, code="c0de", state=state))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            try:
                async with login() as (here, begun):
                    ports.append(port_of(here.redirect_uri))
                    nursery.start_soon(browse, here.redirect_uri, begun.state.reveal())
                    await here.answer()
                    await end(scope)
            except LookupError:  # as it was raised, and not as a group
                raised = True
    assert answers[0].status_code == 400
    assert "The login has ended" in answers[0].text
    assert "pmcred login prod" in answers[0].text
    assert not listening(ports[0])
    assert raised == (end is raise_it)


async def test_the_end_does_not_wait_for_idle_connections() -> None:
    """Browsers open connections ahead of time; they are dropped at once."""
    async with login() as (here, begun):
        idle = await trio.open_tcp_stream("127.0.0.1", port_of(here.redirect_uri))
        await log_in(here, begun)
    with trio.fail_after(30):
        assert await idle.receive_some() == b""
    await idle.aclose()


async def test_a_megabyte_of_header_over_a_real_socket_gets_its_answer() -> None:
    """And the login goes on."""
    async with login() as (here, begun):
        browser = Browser(await trio.open_tcp_stream("127.0.0.1", port_of(here.redirect_uri)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.send, f"GET / HTTP/1.1\r\nHost: x\r\nX: {'x' * 1_000_000}")
            raw = await browser.rest()
            nursery.cancel_scope.cancel()
        await browser.stream.aclose()
        assert raw.startswith(b"HTTP/1.1 431 ")
        assert (await log_in(here, begun)).status_code == 200


async def test_a_crowd_over_real_sockets_does_not_keep_the_browser_out() -> None:
    """Hundreds of connections that say nothing, and the browser among them."""
    async with login() as (here, begun):
        crowd = [await trio.open_tcp_stream("127.0.0.1", port_of(here.redirect_uri)) for _ in range(300)]
        assert (await log_in(here, begun)).status_code == 200
        for one in crowd:
            await one.aclose()
