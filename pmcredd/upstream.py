"""Sends requests to servers, within limits on time and size; whatever goes wrong is NotSent or Unknown."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import trio

from pmcredd import network_errors, trust
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.oauth import Answer, TokenRequest, clean, server_date
from pmcredd.profiles import BadUrl, Profile, Url, parse_url
from pmcredd.secret import Secret

if TYPE_CHECKING:
    import httpx

__all__ = ["MAX_BODY", "NotSent", "Unknown", "Upstream", "preload"]

MAX_BODY = 256 * 1024
"""The longest body in bytes that is read; a token answer is 2 KiB."""


class Upstream:
    """The way to the servers.

    Every request has its own connection, its own TLS context and no retry: what was sent was sent once, and a CA or
    client certificate that is replaced on disk counts from the next request on. There is no cookie jar, no redirect is
    followed, no body is decompressed, and the environment has no say but for `proxy = "environment"`.
    """

    def __init__(self, *, transport_for_tests: "httpx.AsyncBaseTransport | None" = None) -> None:
        self._transport_for_tests = transport_for_tests
        _quieten()

    async def send(self, profile: Profile, request: TokenRequest) -> Answer | NotSent | Unknown:
        """Send a request for a token, within `profile.timeout` seconds from name resolution to the body's last byte."""
        return await self._exchange(profile, "POST", request.url, request.headers, request.body)

    async def get(self, profile: Profile, url: str, bearer: Secret) -> Answer | NotSent | Unknown:
        """Get a resource of the profile's own server with a token, within the same limits.

        Raises:
            ValueError: `url` is of another origin than the profile's, where its token must not go.
        """
        if parse_url(url).origin != parse_url(profile.url).origin:
            raise ValueError(f"profile {profile.name}: its token was about to go to another server")
        return await self._exchange(profile, "GET", url, [("authorization", f"Bearer {bearer.reveal()}")], b"")

    async def aclose(self) -> None:
        """End the use of it; no connection is open between requests."""
        if self._transport_for_tests is not None:
            await self._transport_for_tests.aclose()

    async def _exchange(
        self, profile: Profile, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer | NotSent | Unknown:
        edit = f"pmcred profile edit {profile.name}"
        try:
            target = parse_url(url)
        except BadUrl as error:
            return NotSent(f"the URL of profile {profile.name} {error.wrong}", f"check url and token_path: {edit}")
        if target.scheme == "http" and not target.loopback:
            return NotSent(f"{_host(target)} would get the secrets in plain http", f"set url to https://...: {edit}")
        try:
            transport, proxy = self._open(profile, target)
        except trust.Unusable as error:
            return NotSent(str(error), error.mend)
        way = _Way(_host(target), proxy, in_doubt=self._transport_for_tests is not None)
        with trio.move_on_after(profile.timeout):
            try:
                return await _talk(transport, _request(method, url, headers, body, way), way)
            except Exception as error:  # noqa: BLE001 - whatever a library raises: may the request have arrived?
                return network_errors.failure(error, profile, host=way.host, peer=way.peer, sent=way.sent)
            finally:
                if transport is not self._transport_for_tests:
                    await _close(transport)
        if way.sent:
            return Unknown(
                f"no complete answer from {way.host} within {profile.timeout:g} s",
                f"if the server is just slow, raise timeout: {edit}",
            )
        return NotSent(f"cannot reach {way.peer}: no connection within {profile.timeout:g} s", "check the network")

    def _open(self, profile: Profile, target: Url) -> "tuple[httpx.AsyncBaseTransport, str | None]":
        """Give the transport for one request, and the name of the proxy that it goes through."""
        if self._transport_for_tests is not None:
            return self._transport_for_tests, None
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        verify = trust.identified(profile)
        url = trust.proxy_url(profile, target)
        if url is None:
            return httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits), None
        try:
            # The proxy has no business with the client certificate.
            proxy = httpx.Proxy(url, ssl_context=trust.trusting(profile))
            transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits, proxy=proxy)
        except ImportError:
            raise trust.Unusable(
                f"the proxy of profile {profile.name} speaks SOCKS, which needs a package that is not installed",
                "install socksio beside pmcredd, or use an http proxy",
            ) from None
        except (httpx.InvalidURL, ValueError):
            # Not chained and not quoted: the URL may hold the proxy's password.
            raise trust.Unusable(
                f"the proxy of profile {profile.name} is not a URL such as http://proxy.example.com:3128",
                f"check proxy: pmcred profile edit {profile.name}",
            ) from None
        return transport, f"the proxy {proxy.url.host}" + (f":{proxy.url.port}" if proxy.url.port else "")


def preload() -> None:
    """Load all that a request will ever need, so that an upgrade of the packages on disk cannot break a renewal."""
    import urllib.request  # noqa: F401 - for the proxies of the environment

    import httpcore  # noqa: F401 - httpx loads it with its first transport
    import httpx

    _user_agent()
    "bücher".encode("idna")
    httpx.URL("https://bücher.example")
    trust.trusting_the_system()
    # What reads an answer loads its parser of dates late.
    server_date(Answer(200, {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, b""))


class _Way:
    """How far a request has come: `sent` is true from the moment the first byte of it may have left."""

    def __init__(self, host: str, proxy: str | None, *, in_doubt: bool) -> None:
        self.host = host
        self.peer = proxy or host  # whom an error of the network is about
        self.sent = in_doubt
        self.too_long = False

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Follow httpcore's trace; a CONNECT to a proxy carries nothing of ours."""
        if event == "proxy.start_tls.started":
            self.peer = self.host
        if event == "http11.send_request_headers.started" and getattr(info["request"], "method", b"") != b"CONNECT":
            self.peer = self.host
            self.sent = True


def _request(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, way: _Way) -> "httpx.Request":
    import httpx

    ours = [
        # Alone and first: beside another type Laravel answers with web pages and redirects.
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("connection", "close"),
        ("user-agent", _user_agent()),
    ]
    # No time limits here: _exchange bounds the whole.
    return httpx.Request(method, url, headers=[*ours, *headers], content=body, extensions={"trace": way.trace})


async def _talk(
    transport: "httpx.AsyncBaseTransport", request: "httpx.Request", way: _Way
) -> Answer | NotSent | Unknown:
    import httpx

    response = await transport.handle_async_request(request)
    try:
        coding = response.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            # Not asked for, and never inflated: a few bytes can become gigabytes.
            return Unknown(
                f"{way.host} compressed its answer ({clean(coding, ())[:40]}), which pmcredd did not allow",
                "a front end alters what goes through it: have it leave this address alone",
            )
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy: transports are async here
        body = bytearray()
        with trio.CancelScope() as reading:
            async for chunk in response.stream:
                body += chunk
                if len(body) > MAX_BODY:
                    # Cancelled, not left by break: so the library's nested generators end in order, here and now.
                    way.too_long = True
                    reading.cancel()
                    body.clear()
        if way.too_long:
            return Unknown(
                f"{way.host} sent an answer longer than {MAX_BODY // 1024} KiB",
                "check url and token_path: no token endpoint says so much",
            )
        return Answer(response.status_code, dict(response.headers), bytes(body))
    finally:
        await _close(response)


async def _close(thing: "httpx.Response | httpx.AsyncBaseTransport") -> None:
    """Close it, whatever happens: a complete answer must not be lost to a deadline or an error on the way out."""
    with trio.CancelScope(shield=True), suppress(Exception):  # it only closes descriptors: it waits for no peer
        await thing.aclose()


def _host(url: Url) -> str:
    return url.origin.partition("://")[2]


@cache
def _user_agent() -> str:
    import pmcredd

    return f"pmcredd/{pmcredd.__version__}"


def _quieten() -> None:
    """Silence the HTTP libraries: they log whole URLs, and at debug level headers."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
