"""The way through a proxy: which one is taken, what it sees, and how it fails."""

import socket
from dataclasses import replace
from functools import partial

import pytest
import trio
import trio.testing
import trustme
from support import hostile
from support.asking_upstream import Resolver, answering, ask, assert_for_people, profile_for, server_context, tunnel_to
from support.hostile import Behaviour, Conversation
from support.hostile import hostile as serving

from pmcredd.oauth import Answer
from pmcredd.upstream import NotSent


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_sees_the_host_and_nothing_else(scheme: str, authority: trustme.CA, ca_file: str) -> None:
    """Through a proxy, plain or in TLS itself, the server is reached and verified; the proxy reads no secret."""
    proxy_tls = server_context(authority.issue_cert("127.0.0.1")) if scheme == "https" else None
    async with (
        serving(answering, tls=server_context(authority.issue_cert("pm.example"))) as server,
        serving(tunnel_to(server.port), tls=proxy_tls) as proxy,
    ):
        profile = replace(
            profile_for("https://pm.example"),
            ca_file=ca_file,
            proxy=f"{scheme}://me:proxy-pass@127.0.0.1:{proxy.port}",
        )
        assert isinstance(await ask(profile), Answer)
    assert proxy.requests[0].startswith(b"CONNECT pm.example:443 HTTP/1.1\r\n")
    assert b"Basic bWU6cHJveHktcGFzcw==" in proxy.requests[0]
    assert b"/oauth/token" not in proxy.requests[0]
    assert b"/oauth/token" in server.requests[0]


async def test_the_environment_s_proxy_is_opt_in(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY counts only with `proxy = "environment"`, and then NO_PROXY does; loopback never goes through it."""
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def no_such_name() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no")

    trio.socket.set_custom_hostname_resolver(Resolver(no_such_name))
    async with (
        serving(answering, tls=server_context(authority.issue_cert("pm.example", "127.0.0.1"))) as server,
        serving(tunnel_to(server.port)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        profile = replace(profile_for("https://pm.example"), ca_file=ca_file)
        opted_in = replace(profile, proxy="environment")
        assert isinstance(await ask(profile), NotSent)
        assert proxy.requests == []
        assert isinstance(await ask(opted_in), Answer)
        assert len(proxy.requests) == 1
        assert isinstance(await ask(replace(opted_in, url=f"https://127.0.0.1:{server.port}")), Answer)
        assert len(proxy.requests) == 1
        monkeypatch.setenv("NO_PROXY", "pm.example")
        assert isinstance(await ask(opted_in), NotSent)
        assert len(proxy.requests) == 1
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("HTTPS_PROXY")
        assert isinstance(await ask(opted_in), Answer)


async def _refusing_proxy(talk: Conversation, status: str) -> None:
    await talk.answer(b"", status=status)


@pytest.mark.parametrize(
    ("behave", "why", "timeout"),
    [
        pytest.param(partial(_refusing_proxy, status="407 Proxy Authentication Required"), "user name", 20, id="407"),
        pytest.param(partial(_refusing_proxy, status="503 No \x1b[31mWay"), "503 No", 20, id="503"),
        pytest.param(hostile.hang_after_reading, "within 0.3 s", 0.3, id="hangs"),
        pytest.param(hostile.close_after_reading, "broke before it was set up", 20, id="closes"),
        pytest.param(hostile.garbage, "broke before it was set up", 20, id="garbage"),
    ],
)
async def test_a_proxy_that_fails_means_not_sent(behave: Behaviour, why: str, timeout: float) -> None:
    """What went to the proxy was a CONNECT and nothing of ours; the proxy is named, its password is not."""
    async with serving(behave) as proxy:
        profile = replace(
            profile_for("https://pm.example", timeout=timeout), proxy=f"http://me:proxy-pass@127.0.0.1:{proxy.port}"
        )
        result = await ask(profile)
    assert isinstance(result, NotSent)
    assert_for_people(result, f"the proxy 127.0.0.1:{proxy.port}")
    assert why in result.sentence
    assert "\x1b" not in result.sentence
    assert "proxy-pass" not in repr(result)


@pytest.mark.parametrize(
    "proxy", ["socks5://me:proxy-pass@127.0.0.1:1", "proxy-pass", "ftp://me:proxy-pass@h", "http://:3128"]
)
async def test_a_proxy_that_cannot_be(proxy: str) -> None:
    """What is no URL of a proxy that we speak to is refused without quoting it: it may hold a password."""
    result = await ask(replace(profile_for("https://pm.example"), proxy=proxy))
    assert isinstance(result, NotSent)
    assert "the proxy of profile prod" in result.sentence
    assert "proxy-pass" not in repr(result)


async def test_loopback_in_plain_http_never_goes_through_a_proxy() -> None:
    """A proxy's loopback is not ours, and it would read the secrets."""
    async with serving(answering) as server, serving(answering) as proxy:
        assert isinstance(await ask(replace(profile_for(server.url), proxy=proxy.url)), Answer)
    assert proxy.requests == []
