"""Sends requests to servers, within limits on time and size; whatever goes wrong is NotSent or Unknown."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from pmcredd import network_errors, trust
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.oauth import Answer, TokenRequest, server_date
from pmcredd.profiles import Profile
from pmcredd.secret import Secret
from pmcredd.urls import BadUrl, parse_url

if TYPE_CHECKING:
    import httpx

__all__ = ["NotSent", "Unknown", "Upstream", "preload"]


class Upstream:
    """The way to the servers.

    Every request has its own connection and no retry: what was sent was sent once. There is no cookie jar, no redirect
    is followed, no body is decompressed, and the environment has no say but for `proxy = "environment"`.
    """

    def __init__(self, *, transport_for_tests: "httpx.AsyncBaseTransport | None" = None) -> None:
        self._transport_for_tests = transport_for_tests
        for name in ("httpx", "httpcore"):  # they log whole URLs, and at debug level headers
            logging.getLogger(name).propagate = False

    async def send(self, profile: Profile, request: TokenRequest) -> Answer | NotSent | Unknown:
        """Send a request for a token, within `profile.timeout` seconds from name resolution to the body's last byte."""
        return await self._exchange(profile, "POST", request.url, request.headers, request.body)

    async def get(self, profile: Profile, url: str, bearer: Secret) -> Answer | NotSent | Unknown:
        """Get a resource of the profile's own server with a token, within the same limits.

        Raises:
            ValueError: `url` is of another origin than the profile's, where its token must not go.
        """
        return await self._as_bearer(profile, "GET", url, bearer)

    async def look(self, profile: Profile, url: str) -> Answer | NotSent | Unknown:
        """Get a page as anybody may, without a token, within the same limits."""
        return await self._exchange(profile, "GET", url, (), b"")

    async def delete(self, profile: Profile, url: str, bearer: Secret) -> Answer | NotSent | Unknown:
        """Delete a resource of the profile's own server with a token, within the same limits.

        Raises:
            ValueError: as `get`.
        """
        return await self._as_bearer(profile, "DELETE", url, bearer)

    async def _as_bearer(self, profile: Profile, method: str, url: str, bearer: Secret) -> Answer | NotSent | Unknown:
        if parse_url(url).origin != parse_url(profile.url).origin:
            raise ValueError(f"profile {profile.name}: its token was about to go to another server")
        return await self._exchange(profile, method, url, [("authorization", f"Bearer {bearer.reveal()}")], b"")

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
        host = target.origin.partition("://")[2]
        if target.scheme == "http" and not target.loopback:
            return NotSent(f"{host} would get the secrets in plain http", f"set url to https://...: {edit}")
        from pmcredd import transport  # here: an HTTP client is not needed to start

        ours = self._transport_for_tests
        try:
            line, proxy = (ours, None) if ours else transport.open_transport(profile, target)
            # Nobody knows how far another transport than httpcore's is: then the request may have left.
            way = transport.Way(host, proxy, sent=ours is not None)
            request = transport.request(profile, way, method, url, headers, body)
        except trust.Unusable as error:
            return NotSent(str(error), error.mend)
        with trio.move_on_after(profile.timeout):
            try:
                return await transport.talk(line, request, way)
            except Exception as error:  # noqa: BLE001 - whatever a library raises: may the request have arrived?
                return network_errors.failure(error, profile, host=host, peer=way.peer, sent=way.sent)
            finally:
                # httpcore forgets a connection whose TLS handshake is cancelled: it would stay open.
                await transport.close(way.connection)
                await transport.close(line if line is not ours else None)
        if way.sent:
            return Unknown(
                f"no complete answer from {host} within {profile.timeout:g} s",
                f"if the server is just slow, raise timeout: {edit}",
            )
        return NotSent(f"cannot reach {way.peer}: no connection within {profile.timeout:g} s", "check the network")


def preload() -> None:
    """Load all that a request will ever need, so that an upgrade of the packages on disk cannot break a renewal."""
    import urllib.request  # noqa: F401 - for the proxies of the environment

    import httpcore  # noqa: F401 - httpx loads it with its first transport
    import truststore  # noqa: F401 - as trust.py does where the system's CAs count

    from pmcredd import transport  # noqa: F401 - and httpx with it

    "bücher".encode("idna")  # a codec that loads with the first name beyond ASCII
    # What reads an answer loads its parser of dates late.
    server_date(Answer(200, {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, b""))
