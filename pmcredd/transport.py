"""One exchange over httpx: the only module that imports it when loaded, and therefore loaded only when one is due."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, cast

import httpx
import trio

import pmcredd
from pmcredd import trust
from pmcredd.masking import clean
from pmcredd.network_errors import Unknown
from pmcredd.oauth import Answer
from pmcredd.profiles import Profile
from pmcredd.urls import Url

MAX_BODY = 256 * 1024
"""The longest body in bytes that is read; a token answer is 2 KiB."""


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Way:
    """How far a request has come: `sent` is true from the moment the first byte of it may have left."""

    def __init__(self, host: str, proxy: str | None, *, sent: bool) -> None:
        self.host = host
        self.peer = proxy or host  # whom an error of the network is about
        self.sent = sent
        self.connection: _Closable | None = None

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Follow httpcore's trace; a CONNECT to a proxy carries nothing of ours."""
        if event == "connection.connect_tcp.complete":
            self.connection = cast("_Closable", info["return_value"])
        if event == "proxy.start_tls.started":
            self.peer = self.host
        if event == "http11.send_request_headers.started" and getattr(info["request"], "method", b"") != b"CONNECT":
            self.peer = self.host
            self.sent = True


def open_transport(profile: Profile, target: Url) -> tuple[httpx.AsyncBaseTransport, str | None]:
    """Give a transport for one request, and the name of the proxy that it goes through if it does.

    It keeps no connection and tries nothing twice. Every request makes its own: a CA or client certificate that was
    replaced on disk counts at once.

    Raises:
        Unusable: a file or the proxy that the profile names does not serve.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    tls = trust.identified(profile) if target.scheme == "https" else trust.trusting_nobody()
    url = trust.proxy_url(profile, target)
    if url is None:
        return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits), None
    try:
        proxy = httpx.Proxy(url)
        if not proxy.url.host:
            raise ValueError("a proxy without a host")
        if proxy.url.scheme == "https":
            # httpx's default would trust other CAs. The proxy has no business with the client certificate.
            proxy = httpx.Proxy(url, ssl_context=trust.trusting(profile))
        transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, proxy=proxy)
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


def request(
    profile: Profile, way: Way, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
) -> httpx.Request:
    """Make a request that is traced by `way`.

    Raises:
        Unusable: httpx takes the URL for none.
    """
    ours = [
        ("accept", "application/json"),  # alone: beside another type Laravel answers with web pages and redirects
        ("accept-encoding", "identity"),
        ("connection", "close"),
        ("user-agent", f"pmcredd/{pmcredd.__version__}"),
    ]
    try:
        # No "timeout" extension: the caller bounds the whole exchange.
        made = httpx.Request(method, url, headers=[*ours, *headers], content=body, extensions={"trace": way.trace})
    except (httpx.InvalidURL, UnicodeError):  # the latter for punycode that decodes to nothing
        raise trust.Unusable(
            f"the URL of profile {profile.name} cannot be used", f"check url: pmcred profile edit {profile.name}"
        ) from None
    made.stream = _Body(body)
    return made


async def talk(transport: httpx.AsyncBaseTransport, request: httpx.Request, way: Way) -> Answer | Unknown:
    """Send one request and read its answer; what httpx and those below it raise passes through."""
    response = await transport.handle_async_request(request)
    try:
        coding = response.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            # Not asked for, and never inflated: a few bytes can become gigabytes.
            return Unknown(
                f"{way.host} compressed its answer ({clean(coding, ())[:40]}), which pmcredd did not allow",
                "a front end alters what goes through it: have it leave this address alone",
            )
        content = await _read(response)
        if content is None:
            return Unknown(
                f"{way.host} sent an answer longer than {MAX_BODY // 1024} KiB",
                "check url and token_path: no token endpoint says so much",
            )
        return Answer(response.status_code, dict(response.headers), content)
    finally:
        await close(response)


async def close(thing: _Closable | None) -> None:
    """Close it, whatever happens: a complete answer must not be lost to a deadline or an error on the way out."""
    if thing is not None:
        with trio.CancelScope(shield=True), suppress(Exception):  # it only closes descriptors: it waits for no peer
            await thing.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body. httpx's own is a generator, which a connection that breaks would leave unfinished."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


async def _read(response: httpx.Response) -> bytes | None:
    """Read a body; None if it is longer than MAX_BODY."""
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy: a transport for trio gives no other
    body = bytearray()
    too_long = False
    with trio.CancelScope() as reading:
        async for chunk in response.stream:
            body += chunk
            if len(body) > MAX_BODY:
                # Cancelled, not left by break: so the library's nested generators end in good order, here and now.
                too_long = True
                reading.cancel()
                body.clear()
    return None if too_long else bytes(body)
