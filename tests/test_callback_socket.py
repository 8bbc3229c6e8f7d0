"""A login's listener on real sockets: which port, who can connect, and that nothing is left behind."""

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from support.login_desk import DONE, PROFILE, Browser

from pmcredd import authorization
from pmcredd.authorization import Authorization, Granted
from pmcredd.callback import Callback, CallbackProblem, listen
from pmcredd.profiles import Profile


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
