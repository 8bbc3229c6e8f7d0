"""A request as upstream.py sends it, servers and proxies that answer it, and a CA that signs their certificates."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from pmcredd import oauth
from pmcredd.oauth import Answer, TokenRequest
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.upstream import NotSent, Unknown, Upstream
from support.hostile import Behaviour, Conversation

CLIENT_SECRET = Secret("client-secret-0123456789")
PASSWORD = Secret("correct horse/battery?staple")
SECRETS = (CLIENT_SECRET.reveal(), PASSWORD.reveal())
TOKEN = b'{"token_type":"Bearer","expires_in":3600,"access_token":"abc.def-ghi"}'


def profile_for(url: str, *, timeout: float = 20.0) -> Profile:
    """Give a profile of the server there; `timeout` is in seconds."""
    return Profile("prod", url, Grant.PASSWORD, client_id="3", username="integration", timeout=timeout)


def request_for(profile: Profile) -> TokenRequest:
    """Give the request that asks for its token."""
    return oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)


async def ask(profile: Profile) -> Answer | NotSent | Unknown:
    """Ask for its token."""
    return await Upstream().send(profile, request_for(profile))


async def answering(talk: Conversation, body: bytes = TOKEN, headers: bytes = b"", status: str = "200 OK") -> None:
    """Be a server that answers, with a token unless told otherwise."""
    await talk.answer(body, headers=headers, status=status)


def assert_for_people(result: object, host: str) -> None:
    """A failure names the host, and tells no secret."""
    assert isinstance(result, NotSent | Unknown)
    assert host in result.sentence
    told = f"{result!r} {result.sentence} {result.mend}"
    assert not any(secret in told for secret in SECRETS)
    assert "Traceback" not in told


class Resolver(trio.abc.HostnameResolver):
    """A name service that we control."""

    def __init__(self, look_up: Callable[[], Awaitable[None]]) -> None:
        self._look_up = look_up

    async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
        await self._look_up()
        return []

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
def authority() -> trustme.CA:
    """A CA of our own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate, in a file."""
    path = tmp_path / "ca._pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(cert: trustme.LeafCert) -> ssl.SSLContext:
    """Give what a server with this certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def tunnel_to(port: int) -> Behaviour:
    """Be a proxy that leads every CONNECT to one port of loopback."""

    async def behave(talk: Conversation) -> None:
        await talk.request()
        there = await trio.open_tcp_stream("127.0.0.1", port)
        await talk.stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
            try:
                async for data in source:
                    await sink.send_all(data)
            except trio.BrokenResourceError:
                pass
            scope.cancel()

        async with there, trio.open_nursery() as nursery:
            nursery.start_soon(pump, talk.stream, there, nursery.cancel_scope)
            nursery.start_soon(pump, there, talk.stream, nursery.cancel_scope)

    return behave
