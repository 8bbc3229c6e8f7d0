"""The verbs over the socket: what each is asked with, and what it answers."""

import httpx
import pytest
from support.house import House, house
from support.keeping import Server, config
from support.lives import profile

from pmcredd import wire
from pmcredd.profiles import BadConfig, Config, Grant, Mistake, Profile, Settings
from pmcredd.secret import Secret

BROWSER = profile("browser", grant=Grant.AUTHORIZATION_CODE, username=None, password=None)


async def ok(here: House, line: bytes) -> dict[str, str]:
    """Ask for what has one block."""
    answer = await here.ask(line)
    assert isinstance(answer, wire.Ok), answer
    (block,) = answer.blocks
    return dict(block)


async def error(here: House, line: bytes) -> wire.Error:
    """Ask for what is refused."""
    answer = await here.ask(line)
    assert isinstance(answer, wire.Error), answer
    return answer


def pair(fields: dict[str, str]) -> httpx.Response:
    """Answer a code with a pair, and show in it what came."""
    told = f"{fields['code']}.{fields['redirect_uri'].rpartition(':')[2]}.{fields['code_verifier']}"
    body = {"token_type": "Bearer", "expires_in": 3600, "access_token": told, "refresh_token": "r-1"}
    return httpx.Response(200, json=body)


async def test_a_code_is_exchanged_for_the_first_pair() -> None:
    """Code, redirect_uri and verifier reach the server as they were given; the answer holds no token."""
    async with house(more=[BROWSER]) as here:
        assert (await error(here, b"get browser\n")).code == "needs-login"
        here.world.server.script = [pair]
        told = await ok(here, b"login browser code=c0de redirect_uri=http://127.0.0.1:9 code_verifier=veri.fier\n")
        assert told["profile"] == "browser"
        assert "access_token" not in told
        assert (await ok(here, b"get browser\n"))["access_token"] == "c0de.9.veri.fier"


async def test_a_get_that_causes_nothing() -> None:
    """With refresh=no the token in hand is the answer, or an error that says so; and the server hears nothing of it."""
    async with house() as here:
        token = (await ok(here, b"get prod\n"))["access_token"]
        assert (await ok(here, b"get prod refresh=no\n"))["access_token"] == token
        here.world.clock.suspend(600)
        requests = len(here.world.server.requests)
        too_long = await error(here, b"get prod for=59m refresh=no timeout=5\n")
        assert (await error(here, b"get prod for=59m refresh=never\n")).hint == "refresh=yes"

        assert len(here.world.server.requests) == requests
        assert (too_long.code, too_long.hint) == ("waiting", "pmcred get prod, without --no-refresh")
        assert "59 min" in too_long.message
        assert (await ok(here, b"get prod for=59m refresh=yes\n"))["access_token"] != token


async def test_explain_is_yes_or_no() -> None:
    """What is asked for is never half understood."""
    async with house() as here:
        assert "explanation" not in await ok(here, b"status prod\n")
        assert "explanation" not in await ok(here, b"status prod explain=no\n")
        explained = await ok(here, b"status prod explain=yes\n")
        assert explained["rule"] == "ask-anew"
        assert "Should the server fail now" in explained["explanation"]
        assert (await error(here, b"status prod explain=1\n")).hint == "explain=yes"


@pytest.mark.parametrize("named", ["token", "fingerprint"])
async def test_a_refused_token_is_named_by_value_or_fingerprint(named: str) -> None:
    """Both find it; a token of before is answered with the present one, without a renewal."""
    async with house() as here:
        old = await here.world.get("prod")
        await here.world.keeper.login("prod", 30)
        value = old if named == "token" else Secret(old).fingerprint()
        told = await ok(here, f"reject prod {named}={value}\n".encode())
        assert told["access_token"] == await here.world.get("prod")
        assert len(here.world.server.requests) == 3


@pytest.mark.parametrize("named", ["", " token=a fingerprint=b", " token=a fingerprint=b timeout=1"])
async def test_a_reject_names_one_token(named: str) -> None:
    """Neither is a guess, both could be two."""
    async with house() as here:
        assert (await error(here, f"reject prod{named}\n".encode())).code == "bad-request"


async def test_what_a_reload_warns_of_is_told() -> None:
    """Counts and warnings; a broken configuration is an error, and `hello` says so until it is mended."""
    warning = Mistake("a.toml", "prod", "url", "is odd", "")
    async with house() as here:
        good = config(profile("prod"))
        here.world.configs.append(Config(Settings(), good.profiles, (warning,)))
        told = await ok(here, b"reload\n")
        assert told == {"added": "0", "changed": "0", "removed": "1", "unchanged": "1", "warnings": str(warning)}
        here.world.configs.append(BadConfig((warning,)))
        assert (await error(here, b"reload\n")).code == "misconfigured"
        assert (await ok(here, b"hello\n"))["config_problem"] == str(warning)
        here.world.configs.append(good)
        assert "warnings" not in await ok(here, b"reload\n")
        assert "config_problem" not in await ok(here, b"hello\n")


async def test_what_there_is_is_listed() -> None:
    """`list` tells what profiles there are, `hello` which verbs; both without a token."""
    async with house() as here:
        listed = await here.ask(b"list\n")
        assert isinstance(listed, wire.Ok)
        assert listed.blocks[0] == {
            "profile": "prod",
            "url": "http://127.0.0.1:1",
            "generation": "4",
            "grant": "password",
        }
        assert (await ok(here, b"hello\n"))["capabilities"].split(",") == list(wire.VERBS)


async def test_stop_is_answered() -> None:
    """Who says it hears that it was heard."""
    async with house() as here:
        assert await ok(here, b"stop\n") == {}
        assert here.stop.is_set()


@pytest.mark.parametrize("line", ["get prod for=soon", "reject prod token=x timeout=-1", "login prod timeout=1w"])
async def test_a_length_of_time_that_is_none_is_refused(line: str) -> None:
    """Half an hour must not become thirty seconds."""
    async with house(Server()) as here:
        assert (await error(here, f"{line}\n".encode())).code == "bad-request"


async def test_a_failed_login_is_an_error() -> None:
    """A code that the server refuses changes nothing, and is told with what to do."""

    def refuse(_: dict[str, str]) -> httpx.Response:
        return httpx.Response(400, json={"error": "invalid_grant", "hint": "Authorization code has been revoked"})

    browser: Profile = BROWSER
    async with house(more=[browser]) as here:
        here.world.server.script = [refuse]
        assert (await error(here, b"login browser code=spent\n")).code == "needs-login"
        assert (await error(here, b"get browser\n")).code == "needs-login"
