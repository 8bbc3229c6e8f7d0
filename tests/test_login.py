"""Logins in a browser, over the daemon's real socket and a real listener; only the server is a stand-in."""

import socket
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio
from support.house import House, house
from support.keeping import config
from support.lives import profile

from pmcredd import wire
from pmcredd.profiles import Config, Grant, Profile
from pmcredd.secret import Secret

BROWSER = profile("browser", grant=Grant.AUTHORIZATION_CODE, username=None, password=None)


def pair(fields: dict[str, str]) -> httpx.Response:
    """Answer a code with a pair that shows the code."""
    body = {"token_type": "Bearer", "expires_in": 3600, "access_token": f"for.{fields['code']}", "refresh_token": "r"}
    return httpx.Response(200, json=body)


def refuse(_: dict[str, str]) -> httpx.Response:
    """Refuse a code."""
    return httpx.Response(400, json={"error": "invalid_request", "hint": "Authorization code has expired"})


def with_browser(here: House, browser: Profile) -> Config:
    """Give the house's profiles, with this one in place of the browser's."""
    return config(*(each for each in here.world.keeper.profiles() if each.name != browser.name), browser)


async def token(here: House) -> str:
    """Give the token in hand."""
    answer = await here.ask(b"get browser\n")
    assert isinstance(answer, wire.Ok), answer
    return answer.blocks[0]["access_token"]


async def refused(here: House, line: str) -> wire.Error:
    """Ask for what is refused."""
    answer = await here.ask(line.encode())
    assert isinstance(answer, wire.Error), answer
    return answer


def paste(login: str, address: str) -> str:
    """Write the request that hands in an address."""
    request = wire.Request("login", "browser", {"login": login, "answer": address})
    return wire.format_request(request).decode()


async def test_a_browser_logs_in() -> None:
    """The browser is sent to the server with PKCE, its answer is exchanged, and both ends are told."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        sent = {key: values[0] for key, values in parse_qs(urlsplit(login.begun["authorize_url"]).query).items()}
        assert sent["redirect_uri"] == login.begun["redirect_uri"]
        assert sent["code_challenge_method"] == "S256"
        page = await login.browse(code="c0de")
        last = await login.end()
        assert last["event"] == "done"
        assert last["profile"] == "browser"
        assert page.status_code == 200
        assert "browser" in page.text
        exchanged = here.world.server.requests[-1]
        assert exchanged["redirect_uri"] == sent["redirect_uri"]
        assert len(exchanged["code_verifier"]) >= 43
        assert await token(here) == "for.c0de"


async def test_no_secret_is_told_to_the_client() -> None:
    """Neither verifier nor token nor the client's secret is in anything that the client hears."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        await login.browse(code="c0de")
        heard = str([login.begun, await login.end()])
        exchanged = here.world.server.requests[-1]
        assert "for.c0de" not in heard
        assert exchanged["code_verifier"] not in heard
        assert isinstance(BROWSER.client_secret, object)


async def test_a_refused_access_is_told_at_both_ends() -> None:
    """Who says no in the browser changes nothing."""
    async with house(more=[BROWSER]) as here:
        login = await here.log_in(b"login browser\n")
        page = await login.browse(error="access_denied")
        last = await login.end()
        assert (last["event"], last["code"]) == ("failed", "needs-login")
        assert "nothing was saved" in last["message"]
        assert "nothing was saved" in page.text
        assert (await refused(here, "get browser\n")).code == "needs-login"


async def test_a_code_that_is_refused_leaves_the_old_token() -> None:
    """The old pair serves until the new one is saved."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair, refuse]
        await here.ask(b"login browser code=first\n")
        login = await here.log_in(b"login browser\n")
        page = await login.browse(code="late")
        last = await login.end()
        assert (last["event"], last["code"]) == ("failed", "needs-login")
        assert "expired" in last["message"]
        assert "expired" in page.text
        assert await token(here) == "for.first"


async def test_another_state_is_not_this_logins() -> None:
    """An answer that this login did not ask for is turned away, and the right one still counts."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        assert (await login.browse(code="forged", state="guessed")).status_code == 400
        await login.browse(code="right")
        assert (await login.end())["event"] == "done"
        assert await token(here) == "for.right"


async def test_the_address_can_be_handed_in_by_hand() -> None:
    """A browser on another machine ends on an address that a person carries over."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        assert isinstance(await here.ask(paste(login.id, login.redirect(code="c0de")).encode()), wire.Ok)
        assert (await login.end())["event"] == "done"
        assert await token(here) == "for.c0de"


async def test_a_wrong_address_is_told_and_the_login_waits_on() -> None:
    """To paste the wrong thing costs nothing."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        for address in ("nonsense", "http://127.0.0.1/callback?code=x&state=other"):
            assert (await refused(here, paste(login.id, address))).code == "bad-request"
        await here.ask(paste(login.id, login.redirect(code="c0de")).encode())
        assert (await login.end())["event"] == "done"


async def test_two_logins_for_one_profile_do_not_mix() -> None:
    """Each has its own state and its own listener; the answer to one is none for the other."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair, pair]
        one, other = await here.log_in(b"login browser\n"), await here.log_in(b"login browser\n")
        assert one.begun["redirect_uri"] != other.begun["redirect_uri"]
        assert (await refused(here, paste(one.id, other.redirect(code="x")))).code == "bad-request"
        await other.browse(code="other")
        assert (await other.end())["event"] == "done"
        await one.browse(code="one")
        assert (await one.end())["event"] == "done"
        assert await token(here) == "for.one"


async def test_a_login_ends_with_its_client() -> None:
    """Nobody listens any more once the terminal is closed, and its id is worth nothing."""
    async with house(more=[BROWSER]) as here:
        login = await here.log_in(b"login browser\n")
        await login.client.stream.send_eof()
        assert (await login.end())["code"] == "stopping"
        with pytest.raises(httpx.ConnectError):
            await login.browse(code="late")
        assert (await refused(here, paste(login.id, login.redirect(code="late")))).code == "bad-request"


async def test_a_login_that_nobody_finishes_ends() -> None:
    """It says how long it waited."""
    async with house(more=[BROWSER]) as here:
        login = await here.log_in(b"login browser timeout=0.05\n")
        last = await login.end()
        assert (last["event"], last["code"]) == ("failed", "needs-login")
        assert "0.05 s" in last["message"]


async def test_a_login_survives_a_reload_that_leaves_its_profile_what_it_is() -> None:
    """Another timeout is no reason to begin anew."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        here.world.configs.append(with_browser(here, replace(BROWSER, timeout=7.0)))
        await here.ask(b"reload\n")
        await login.browse(code="c0de")
        assert (await login.end())["event"] == "done"


async def test_a_login_says_so_when_its_profile_becomes_another() -> None:
    """A code of one server is not sent to another; who waits hears it at once."""
    async with house(more=[BROWSER]) as here:
        login = await here.log_in(b"login browser\n")
        sent = len(here.world.server.requests)
        here.world.configs.append(with_browser(here, replace(BROWSER, url="http://127.0.0.1:77")))
        await here.ask(b"reload\n")
        last = await login.end()
        assert (last["event"], last["code"]) == ("failed", "no-such-profile")
        assert "changed or removed" in last["message"]
        assert len(here.world.server.requests) == sent


async def test_a_port_that_is_taken_is_told_before_anything_begins() -> None:
    """The profile's own redirect_uri names the port; with somebody else on it there is no login."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        fixed = replace(BROWSER, redirect_uri=f"http://127.0.0.1:{port}/callback")
        async with house(more=[fixed]) as here:
            found = await refused(here, "login browser\n")
            assert found.code == "misconfigured"
            assert str(port) in found.message


UNKNOWN = {"error": "invalid_client", "error_description": "Client authentication failed"}


async def test_a_client_that_the_server_does_not_know_is_told_before_a_browser_opens() -> None:
    """The server would keep the browser, and nobody here would hear why: so it is asked first."""
    async with house(more=[BROWSER]) as here:
        here.world.server.authorizes = httpx.Response(401, json=UNKNOWN)
        found = await refused(here, "login browser\n")
        assert found.code == "misconfigured"
        assert "Admin > Auth Clients" in found.hint
        assert "must be exactly http://127.0.0.1/callback;" in found.hint


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(401, json={"error": "Unauthenticated."}), id="somebody else's 401"),
        pytest.param(httpx.Response(503, text="<h1>Be right back</h1>"), id="maintenance"),
        pytest.param(httpx.Response(200, text="<form>"), id="a login page"),
        pytest.param(httpx.ConnectError("no way"), id="nobody there"),
    ],
)
async def test_whatever_else_the_server_says_before_the_login_is_the_browsers_to_see(
    answer: httpx.Response | Exception,
) -> None:
    """A browser may come through a proxy or a VPN that the daemon does not have."""
    async with house(more=[BROWSER]) as here:
        here.world.server.authorizes, here.world.server.script = answer, [pair]
        login = await here.log_in(b"login browser\n")
        await login.browse(code="c0de")
        assert (await login.end())["event"] == "done"


@pytest.mark.parametrize(
    "line",
    [
        "login browser answer=http://127.0.0.1/callback",
        "login browser login=0123",
        "login browser login=0123 answer=x as_new_user=yes",
        "login browser login=0123 answer=x",
        "login browser login=0123 as_new_user=yes",
        "login browser as_new_user=perhaps",
    ],
)
async def test_what_belongs_to_no_login_is_refused(line: str) -> None:
    """Neither half a request nor one for a login that is gone does anything."""
    async with house(more=[BROWSER]) as here:
        assert (await refused(here, f"{line}\n")).code == "bad-request"


async def test_a_login_of_one_profile_is_none_of_another() -> None:
    """An id counts together with its profile."""
    other = replace(BROWSER, name="other")
    async with house(more=[BROWSER, other]) as here:
        login = await here.log_in(b"login browser\n")
        line = paste(login.id, login.redirect(code="x")).replace("login browser", "login other")
        assert (await refused(here, line)).code == "bad-request"


async def test_who_hangs_up_while_the_code_is_exchanged_is_logged_in_all_the_same() -> None:
    """A code that is spent is not thrown away with the pair that it has brought."""
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [pair]
        here.world.server.held = trio.Event()
        login = await here.log_in(b"login browser\n")
        before = len(here.world.server.requests)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: login.browse(code="c0de"))
            while len(here.world.server.requests) == before:
                await trio.lowlevel.checkpoint()
            await login.client.stream.aclose()
            here.world.server.held.set()
        assert await token(here) == "for.c0de"
        assert Secret(await token(here)).fingerprint() == await here.now("browser")
