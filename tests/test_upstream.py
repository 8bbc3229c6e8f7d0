"""The way to the servers, against real sockets on loopback wherever a user has real sockets."""

import errno
import io
import logging
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
import trustme
from support import hostile
from support.hostile import Behaviour, Conversation
from support.hostile import hostile as serving

from pmcredd import oauth, trust
from pmcredd.oauth import Answer, TokenRequest
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.transport import MAX_BODY
from pmcredd.upstream import NotSent, Unknown, Upstream

CLIENT_SECRET = Secret("client-secret-0123456789")
PASSWORD = Secret("correct horse/battery?staple")
SECRETS = (CLIENT_SECRET.reveal(), PASSWORD.reveal())
TOKEN = b'{"token_type":"Bearer","expires_in":3600,"access_token":"abc.def-ghi"}'


def _profile_for(url: str, *, timeout: float = 20.0) -> Profile:
    return Profile("prod", url, Grant.PASSWORD, client_id="3", username="integration", timeout=timeout)


def _request_for(profile: Profile) -> TokenRequest:
    return oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)


async def _ask(profile: Profile) -> Answer | NotSent | Unknown:
    return await Upstream().send(profile, _request_for(profile))


async def _answering(talk: Conversation, body: bytes = TOKEN, headers: bytes = b"", status: str = "200 OK") -> None:
    await talk.answer(body, headers=headers, status=status)


def _assert_for_people(result: object, host: str) -> None:
    """A failure names the host, and tells no secret."""
    assert isinstance(result, NotSent | Unknown)
    assert host in result.sentence
    told = f"{result!r} {result.sentence} {result.mend}"
    assert not any(secret in told for secret in SECRETS)
    assert "Traceback" not in told


# ---- a good server ---------------------------------------------------------------------------------------------------


async def test_an_answer_comes_back_whole() -> None:
    """Status, headers by lower-case name and the body as it was sent."""
    async with serving(
        partial(_answering, status="400 Bad Request", headers=b"Retry-AFTER: 7\r\nX-A: 1\r\nX-A: 2\r\n")
    ) as s:
        answer = await _ask(_profile_for(s.url))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (400, TOKEN)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-a"] == "1, 2"


async def test_a_request_says_what_it_must_and_no_more() -> None:
    """JSON alone is accepted (else Laravel sends web pages), nothing compressed, nothing kept; Python goes unsaid."""
    async with serving(_answering) as server:
        profile = _profile_for(server.url + "/pm")
        await _ask(profile)
    head, _, body = bytes(server.requests[0]).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "POST /pm/oauth/token HTTP/1.1"
    assert headers.pop("user-agent").startswith("pmcredd/")
    assert headers.pop("authorization").startswith("Basic ")
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": str(len(body)),
    }
    assert body == _request_for(profile).body


async def test_no_cookie_and_no_connection_is_kept() -> None:
    """What one answer sets, the next request does not bring back; each request comes on a connection of its own."""
    upstream = Upstream()
    async with serving(partial(_answering, headers=b"Set-Cookie: laravel_token=1; Path=/\r\n")) as server:
        profile = _profile_for(server.url)
        for _ in range(3):
            assert isinstance(await upstream.send(profile, _request_for(profile)), Answer)
    await upstream.aclose()
    assert len(server.requests) == 3
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_a_redirect_is_an_answer() -> None:
    """It is handed back and not followed: the secrets would follow it."""
    async with serving(_answering) as elsewhere:
        location = f"Location: {elsewhere.url}/login\r\n".encode()
        async with serving(partial(_answering, status="302 Found", headers=location)) as server:
            answer = await _ask(_profile_for(server.url))
    assert isinstance(answer, Answer)
    assert answer.status == 302
    assert elsewhere.requests == []


async def test_get_carries_the_token_to_the_profile_s_own_server_only() -> None:
    """A probe reaches its server with the token; any other origin is refused before a connection is made."""
    bearer = Secret("abc.def-ghi")
    async with serving(_answering) as server, serving(_answering) as other:
        profile = _profile_for(server.url)
        answer = await Upstream().get(profile, f"{server.url}/api/1.0/users/1", bearer)
        with pytest.raises(ValueError, match="another server"):
            await Upstream().get(profile, f"{other.url}/api/1.0/users/1", bearer)
    assert isinstance(answer, Answer)
    assert server.requests[0].startswith(b"GET /api/1.0/users/1 HTTP/1.1\r\n")
    assert b"authorization: Bearer abc.def-ghi\r\n" in bytes(server.requests[0]).replace(
        b"Authorization", b"authorization"
    )
    assert b"content-length" not in server.requests[0].lower()
    assert other.requests == []


async def test_delete_carries_the_token_to_the_profile_s_own_server_only() -> None:
    """As a get does: a revocation must not give the token to anybody else."""
    async with serving(_answering) as server, serving(_answering) as other:
        profile = _profile_for(server.url)
        answer = await Upstream().delete(profile, f"{server.url}/api/1.0/users/1/tokens/2", Secret("abc"))
        with pytest.raises(ValueError, match="another server"):
            await Upstream().delete(profile, f"{other.url}/api/1.0/users/1/tokens/2", Secret("abc"))
    assert isinstance(answer, Answer)
    assert server.requests[0].startswith(b"DELETE /api/1.0/users/1/tokens/2 HTTP/1.1\r\n")
    assert other.requests == []


@pytest.mark.parametrize(("size", "fits"), [(MAX_BODY, True), (MAX_BODY + 1, False)])
async def test_the_limit_of_a_body(size: int, fits: bool) -> None:
    """A body of exactly the limit is read, one byte more is not kept."""
    async with serving(partial(_answering, body=b"x" * size)) as server:
        result = await _ask(_profile_for(server.url))
    assert isinstance(result, Answer if fits else Unknown)
    if isinstance(result, Answer):
        assert len(result.body) == size


# ---- bad servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behave", "kind", "why", "timeout"),
    [
        pytest.param(hostile.hang, Unknown, "within 0.3 s", 0.3, id="hangs before reading"),
        pytest.param(hostile.hang_after_reading, Unknown, "within 0.3 s", 0.3, id="hangs after reading"),
        pytest.param(hostile.drip, Unknown, "within 0.3 s", 0.3, id="drips"),
        pytest.param(hostile.endless_interim, Unknown, "within 0.3 s", 0.3, id="endless 103"),
        pytest.param(hostile.close_at_once, Unknown, "", 20, id="closes at once"),
        pytest.param(
            hostile.close_after_reading, Unknown, "closed the connection too early", 20, id="closes after reading"
        ),
        pytest.param(hostile.reset_after_reading, Unknown, "the connection was reset", 20, id="resets after reading"),
        pytest.param(
            hostile.close_mid_headers, Unknown, "closed the connection too early", 20, id="closes mid-headers"
        ),
        pytest.param(hostile.close_mid_body, Unknown, "closed the connection too early", 20, id="closes mid-body"),
        pytest.param(hostile.endless_body, Unknown, "longer than 256 KiB", 20, id="endless body"),
        pytest.param(hostile.endless_headers, Unknown, "not HTTP", 20, id="endless headers"),
        pytest.param(hostile.garbage, Unknown, "not HTTP", 20, id="garbage"),
        pytest.param(
            partial(_answering, body=b"\x1f\x8b" * 100, headers=b"Content-Encoding: gzip\r\n"),
            Unknown,
            "compressed its answer (gzip)",
            20,
            id="compressed",
        ),
    ],
)
async def test_a_bad_server_is_told_by_whether_the_request_may_have_arrived(
    behave: Behaviour, kind: type[NotSent | Unknown], why: str, timeout: float
) -> None:
    """Each misbehaviour ends within the limits, in the right one of the two failures and with a reason for people."""
    async with serving(behave) as server:
        result = await _ask(_profile_for(server.url, timeout=timeout))
    assert isinstance(result, kind)
    _assert_for_people(result, f"127.0.0.1:{server.port}")
    assert why in result.sentence


async def test_nothing_listens() -> None:
    """A refused connection is a request that was not sent."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        result = await _ask(_profile_for(f"http://127.0.0.1:{bound.getsockname()[1]}"))
    assert isinstance(result, NotSent)
    _assert_for_people(result, "127.0.0.1")
    assert "connection refused" in result.sentence
    assert "pmcred profile edit prod" in result.mend


class Resolver(trio.abc.HostnameResolver):
    """A name service that we control."""

    def __init__(self, look_up: Callable[[], Awaitable[None]]) -> None:
        self._look_up = look_up

    async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
        await self._look_up()
        return []

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("code", "why"),
    [(socket.EAI_NONAME, "its name is not known"), (socket.EAI_AGAIN, "cannot be looked up at the moment")],
)
async def test_a_name_that_cannot_be_looked_up(code: int, why: str) -> None:
    """No such name is the user's to mend, a name service that is down is not; neither sent a thing."""

    async def fail() -> None:
        raise socket.gaierror(code, "as the C library says it")

    trio.socket.set_custom_hostname_resolver(Resolver(fail))
    result = await _ask(_profile_for("https://nowhere.example"))
    assert isinstance(result, NotSent)
    _assert_for_people(result, "nowhere.example")
    assert why in result.sentence


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "xn--0.example", "\u2603" * 70 + ".example"])
async def test_a_name_that_cannot_be_one(host: str) -> None:
    """What passes for a URL and not for a host name ends as a request that was not sent, and as no error of ours."""
    result = await _ask(_profile_for(f"https://{host}"))
    assert isinstance(result, NotSent)
    assert "pmcred profile edit prod" in result.mend


async def test_the_time_limit_covers_the_name_service() -> None:
    """A look-up that hangs ends with the profile's time limit, and nothing was sent."""
    trio.socket.set_custom_hostname_resolver(Resolver(trio.sleep_forever))
    result = await _ask(_profile_for("https://nowhere.example", timeout=0.2))
    assert isinstance(result, NotSent)
    _assert_for_people(result, "nowhere.example")
    assert "within 0.2 s" in result.sentence


@pytest.mark.parametrize(
    "url",
    ["http://pm.example.com", "http://10.0.0.1:8080", "http://localhost.example.com", "https://a b.example", "ftp://h"],
)
async def test_what_may_not_be_sent_is_not(url: str) -> None:
    """Plain http beyond loopback, and what is no URL, is refused before anything is opened."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    request = TokenRequest(url, (), b"", "password")
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(_profile_for("https://x"), request)
    assert isinstance(result, NotSent)
    assert "pmcred profile edit prod" in result.mend


async def test_a_caller_that_cancels_is_obeyed() -> None:
    """A cancellation from outside is no failure of the server's: it passes through."""
    async with serving(hostile.hang_after_reading) as server, trio.open_nursery() as nursery:

        async def one() -> None:
            await _ask(_profile_for(server.url))
            raise AssertionError("it returned")

        nursery.start_soon(one)
        await server.asked.wait()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


# ---- TLS -------------------------------------------------------------------------------------------------------------


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


def _server_context(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


async def test_a_ca_file_is_trusted(authority: trustme.CA, ca_file: str) -> None:
    """A server whose CA the profile names is talked to over TLS, by name and by address."""
    tls = _server_context(authority.issue_cert("localhost", "127.0.0.1"))
    async with serving(_answering, tls=tls) as server:
        for host in ("localhost", "127.0.0.1"):
            assert isinstance(
                await _ask(replace(_profile_for(f"https://{host}:{server.port}"), ca_file=ca_file)), Answer
            )


async def test_the_system_s_store_is_trusted(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ca_file a company CA in the system's store just works, and with another ca_file it counts no more."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    other = Path(ca_file).with_name("other._pem")
    trustme.CA().cert_pem.write_to_path(other)
    async with serving(_answering, tls=_server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = _profile_for(f"https://127.0.0.1:{server.port}")
        assert isinstance(await _ask(profile), Answer)
        assert isinstance(await _ask(replace(profile, ca_file=str(other))), NotSent)


async def test_a_replaced_ca_file_counts_at_once(authority: trustme.CA, ca_file: str) -> None:
    """Nobody has to restart the daemon after a company CA has changed."""
    upstream = Upstream()
    async with serving(_answering, tls=_server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = replace(_profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        trustme.CA().cert_pem.write_to_path(ca_file)
        assert isinstance(await upstream.send(profile, _request_for(profile)), NotSent)
        authority.cert_pem.write_to_path(ca_file)
        assert isinstance(await upstream.send(profile, _request_for(profile)), Answer)


async def test_the_system_s_store_is_read_once_and_after_a_change(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it stops the daemon for 40 ms: requests share one reading, and a change of the file counts at once."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    upstream = Upstream()
    async with serving(_answering, tls=_server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = _profile_for(f"https://127.0.0.1:{server.port}")
        assert isinstance(await upstream.send(profile, _request_for(profile)), Answer)
        first = trust.trusting_the_system()
        assert isinstance(await upstream.send(profile, _request_for(profile)), Answer)
        assert trust.trusting_the_system() is first

        new = Path(ca_file).with_name("new.pem")
        trustme.CA().cert_pem.write_to_path(new)
        new.replace(ca_file)
        assert isinstance(await upstream.send(profile, _request_for(profile)), NotSent)


def test_a_client_certificate_is_nobody_else_s(
    authority: trustme.CA, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile with a client certificate has a TLS context of its own: other profiles must not show it."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    mine = replace(
        _profile_for("https://pm.example"),
        client_cert=_pem(authority.issue_cert("me@example.com"), tmp_path / "me.pem"),
    )
    assert trust.identified(mine) is not trust.identified(replace(mine, client_cert=None))
    assert trust.identified(mine) is not trust.identified(mine)


def test_a_store_in_a_place_of_its_own_is_read_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenSSL knows of no file of CAs, nothing would tell that they changed: none are kept."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    assert trust.trusting_the_system() is not trust.trusting_the_system()


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("issue", "why", "mend"),
    [
        pytest.param(lambda _: trustme.CA().issue_cert("127.0.0.1"), "nobody we trust", "ca_file", id="unknown CA"),
        pytest.param(lambda ca: ca.issue_cert("127.0.0.2"), "for another host", "host in url", id="other address"),
        pytest.param(lambda ca: ca.issue_cert("pm.example"), "for another host", "host in url", id="other name"),
        pytest.param(
            lambda ca: ca.issue_cert("127.0.0.1", not_after=NOW - timedelta(days=1)),
            "has expired",
            "renewed",
            id="expired",
        ),
        pytest.param(
            lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW + timedelta(days=1)),
            "not valid yet",
            "clock",
            id="early",
        ),
    ],
)
async def test_a_bad_certificate(
    issue: Callable[[trustme.CA], trustme.LeafCert], why: str, mend: str, authority: trustme.CA, ca_file: str
) -> None:
    """No secret goes to a server that cannot prove who it is; each kind of proof that fails has its own reason."""
    async with serving(_answering, tls=_server_context(issue(authority))) as server:
        result = await _ask(replace(_profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file))
    assert isinstance(result, NotSent)
    _assert_for_people(result, f"127.0.0.1:{server.port}")
    assert why in result.sentence
    assert mend in result.mend
    assert server.requests == [b""]


@pytest.mark.parametrize(
    ("behave", "why", "timeout"),
    [
        pytest.param(hostile.plain_error, "does not speak TLS", 20, id="plain http at the https port"),
        pytest.param(hostile.close_at_once, "broke before it was set up", 20, id="closes in the handshake"),
        pytest.param(hostile.hang, "within 0.3 s", 0.3, id="hangs in the handshake"),
    ],
)
async def test_no_tls_at_the_other_end(behave: Behaviour, why: str, timeout: float) -> None:
    """A handshake that does not come about means that nothing was sent."""
    async with serving(behave) as server:
        result = await _ask(_profile_for(f"https://127.0.0.1:{server.port}", timeout=timeout))
    assert isinstance(result, NotSent)
    _assert_for_people(result, f"127.0.0.1:{server.port}")
    assert why in result.sentence


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_given_up_connection_is_closed(scheme: str) -> None:
    """After a time limit the server sees the connection end, in the TLS handshake too: nothing is left open."""
    gone = trio.Event()

    async def wait_for_the_end(talk: Conversation) -> None:
        while await talk.stream.receive_some():
            pass
        gone.set()

    async with serving(wait_for_the_end) as server:
        await _ask(_profile_for(f"{scheme}://127.0.0.1:{server.port}", timeout=0.2))
        with trio.fail_after(30):
            await gone.wait()


async def test_an_old_tls_is_refused(authority: trustme.CA, ca_file: str) -> None:
    """A server that has TLS 1.1 at most gets nothing."""
    tls = _server_context(authority.issue_cert("127.0.0.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")
    # trio's server breaks off without the alert that OpenSSL has ready: hence a thread.
    with _stubborn(tls) as port:
        result = await _ask(replace(_profile_for(f"https://127.0.0.1:{port}"), ca_file=ca_file))
    assert isinstance(result, NotSent)
    assert "TLS 1.1" in result.sentence


@contextmanager
def _stubborn(tls: ssl.SSLContext) -> Iterator[int]:
    """Serve one connection in a thread: a handshake that fails, its alert sent, all that follows read and ignored."""
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        secure = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError):
            secure.do_handshake()
        with socket.socket(fileno=secure.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(60)
        listener.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ours", ["none", "of another CA"])
async def test_a_server_that_wants_a_client_certificate(
    version: ssl.TLSVersion, ours: str, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    """Without a good one nothing reaches its application, even where (TLS 1.3) we hear of it after we began to send."""
    tls = _server_context(authority.issue_cert("127.0.0.1"))
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    tls.minimum_version = tls.maximum_version = version
    with _stubborn(tls) as port:
        profile = replace(_profile_for(f"https://127.0.0.1:{port}"), ca_file=ca_file)
        if ours != "none":
            profile = replace(profile, client_cert=_pem(trustme.CA().issue_cert("me@example.com"), tmp_path / "me.pem"))
        result = await _ask(profile)
    assert isinstance(result, NotSent)
    _assert_for_people(result, f"127.0.0.1:{port}")
    assert "client certificate" in result.sentence
    assert "client_cert" in result.mend


def _pem(cert: trustme.LeafCert, path: Path) -> str:
    cert.private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


@pytest.mark.parametrize("apart", [False, True])
async def test_a_client_certificate_is_shown(apart: bool, authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    """Certificate and key work in one file and in two."""
    tls = _server_context(authority.issue_cert("127.0.0.1"))
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    mine = authority.issue_cert("me@example.com")
    key: str | None = None
    if apart:
        cert, key = str(tmp_path / "cert._pem"), str(tmp_path / "key._pem")
        mine.cert_chain_pems[0].write_to_path(cert)
        mine.private_key_pem.write_to_path(key)
    else:
        cert = _pem(mine, tmp_path / "me.pem")
    async with serving(_answering, tls=tls) as server:
        profile = replace(_profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        assert isinstance(await _ask(replace(profile, client_cert=cert, client_key=key)), Answer)


ENCRYPTED_KEY = """\
-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF

AAAAAAAAAAAAAAAAAAAAAA==
-----END RSA PRIVATE KEY-----
"""


@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda _: None, "No such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "not a regular file", id="directory"),
        pytest.param(os.mkfifo, "not a regular file", id="named pipe"),
        pytest.param(lambda path: path.write_text(""), "not what it should be", id="empty"),
        pytest.param(lambda path: path.write_text("secret-looking rubbish"), "not what it should be", id="rubbish"),
    ],
)
async def test_a_file_that_does_not_serve(key: str, make: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    """A bad ca_file or client_cert is named, with the reason and without its content, and nothing blocks or is sent."""
    path = tmp_path / "file._pem"
    make(path)
    async with serving(_answering) as server:
        result = await _ask(replace(_profile_for(f"https://127.0.0.1:{server.port}"), **{key: str(path)}))  # type: ignore[arg-type]
    assert isinstance(result, NotSent)
    assert str(path) in result.sentence
    assert key in result.sentence
    assert why in result.sentence
    assert "rubbish" not in result.sentence
    assert "pmcred profile edit prod" in result.mend
    assert server.requests == []


async def test_an_encrypted_key_asks_nobody(authority: trustme.CA, tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase on the terminal: it is told that there is none."""
    cert, key = tmp_path / "cert._pem", tmp_path / "key._pem"
    authority.issue_cert("me@example.com").cert_chain_pems[0].write_to_path(cert)
    key.write_text(ENCRYPTED_KEY)
    profile = replace(_profile_for("https://127.0.0.1:9"), client_cert=str(cert), client_key=str(key))
    result = await _ask(profile)
    assert isinstance(result, NotSent)
    assert "encrypted" in result.sentence
    assert str(key) in result.sentence


# ---- proxies ---------------------------------------------------------------------------------------------------------


def _tunnel_to(port: int) -> Behaviour:
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


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_sees_the_host_and_nothing_else(scheme: str, authority: trustme.CA, ca_file: str) -> None:
    """Through a proxy, plain or in TLS itself, the server is reached and verified; the proxy reads no secret."""
    proxy_tls = _server_context(authority.issue_cert("127.0.0.1")) if scheme == "https" else None
    async with (
        serving(_answering, tls=_server_context(authority.issue_cert("pm.example"))) as server,
        serving(_tunnel_to(server.port), tls=proxy_tls) as proxy,
    ):
        profile = replace(
            _profile_for("https://pm.example"),
            ca_file=ca_file,
            proxy=f"{scheme}://me:proxy-pass@127.0.0.1:{proxy.port}",
        )
        assert isinstance(await _ask(profile), Answer)
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
        serving(_answering, tls=_server_context(authority.issue_cert("pm.example", "127.0.0.1"))) as server,
        serving(_tunnel_to(server.port)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        profile = replace(_profile_for("https://pm.example"), ca_file=ca_file)
        opted_in = replace(profile, proxy="environment")
        assert isinstance(await _ask(profile), NotSent)
        assert proxy.requests == []
        assert isinstance(await _ask(opted_in), Answer)
        assert len(proxy.requests) == 1
        assert isinstance(await _ask(replace(opted_in, url=f"https://127.0.0.1:{server.port}")), Answer)
        assert len(proxy.requests) == 1
        monkeypatch.setenv("NO_PROXY", "pm.example")
        assert isinstance(await _ask(opted_in), NotSent)
        assert len(proxy.requests) == 1
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("HTTPS_PROXY")
        assert isinstance(await _ask(opted_in), Answer)


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
            _profile_for("https://pm.example", timeout=timeout), proxy=f"http://me:proxy-pass@127.0.0.1:{proxy.port}"
        )
        result = await _ask(profile)
    assert isinstance(result, NotSent)
    _assert_for_people(result, f"the proxy 127.0.0.1:{proxy.port}")
    assert why in result.sentence
    assert "\x1b" not in result.sentence
    assert "proxy-pass" not in repr(result)


@pytest.mark.parametrize(
    "proxy", ["socks5://me:proxy-pass@127.0.0.1:1", "proxy-pass", "ftp://me:proxy-pass@h", "http://:3128"]
)
async def test_a_proxy_that_cannot_be(proxy: str) -> None:
    """What is no URL of a proxy that we speak to is refused without quoting it: it may hold a password."""
    result = await _ask(replace(_profile_for("https://pm.example"), proxy=proxy))
    assert isinstance(result, NotSent)
    assert "the proxy of profile prod" in result.sentence
    assert "proxy-pass" not in repr(result)


async def test_loopback_in_plain_http_never_goes_through_a_proxy() -> None:
    """A proxy's loopback is not ours, and it would read the secrets."""
    async with serving(_answering) as server, serving(_answering) as proxy:
        assert isinstance(await _ask(replace(_profile_for(server.url), proxy=proxy.url)), Answer)
    assert proxy.requests == []


# ---- what a transport may raise --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("x"), NotSent),
        (httpx.ConnectTimeout("x"), NotSent),
        (httpx.PoolTimeout("x"), NotSent),
        (httpx.ProxyError("x"), NotSent),
        (httpx.WriteError("x"), Unknown),
        (httpx.WriteTimeout("x"), Unknown),
        (httpx.ReadError("x"), Unknown),
        (httpx.ReadTimeout("x"), Unknown),
        (httpx.CloseError("x"), Unknown),
        (httpx.RemoteProtocolError("x"), Unknown),
        (httpx.LocalProtocolError("x"), Unknown),
        (httpx.DecodingError("x"), Unknown),
        (OSError("x"), Unknown),
        (ConnectionResetError(errno.ECONNRESET, "x"), Unknown),
        (RuntimeError("x"), Unknown),
        (ExceptionGroup("x", [ssl.SSLError("x")]), Unknown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_every_error_of_a_transport_is_one_of_two(error: Exception, kind: type) -> None:
    """Whatever is raised below comes out as a value, and in doubt as Unknown."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    profile = _profile_for("https://pm.example")
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(profile, _request_for(profile))
    assert isinstance(result, kind)
    _assert_for_people(result, "pm.example")


@pytest.mark.parametrize(
    ("cause", "reason", "code", "why"),
    [
        (ssl.SSLError, "BAD_SIGNATURE", 0, "the TLS handshake failed (BAD_SIGNATURE)"),
        (ssl.SSLError, None, 0, "the TLS handshake failed (no reason given)"),
        (ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED", 23, "its certificate does not pass (revoked)"),
    ],
)
async def test_rare_failures_of_tls_say_what_openssl_says(
    cause: type[ssl.SSLError], reason: str | None, code: int, why: str
) -> None:
    """What has no words of ours is told in OpenSSL's."""
    error = cause(1, "x")
    if reason:
        error.reason = reason
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = code, "revoked"

    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("x") from error

    profile = _profile_for("https://pm.example")
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(profile, _request_for(profile))
    assert isinstance(result, NotSent)
    assert why in result.sentence


async def test_a_server_that_is_slow_is_given_up_in_doubt(autojump_clock: trio.testing.MockClock) -> None:
    """After the profile's time limit, and not before, a request that may have arrived is Unknown."""

    async def sleep(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    profile = _profile_for("https://pm.example", timeout=30)
    result = await Upstream(transport_for_tests=httpx.MockTransport(sleep)).send(profile, _request_for(profile))
    assert isinstance(result, Unknown)
    assert trio.current_time() == pytest.approx(30, abs=1)
    assert "raise timeout" in result.mend
    assert autojump_clock is not None


class BadlyClosed(httpx.AsyncByteStream):
    """A body that is complete, and a connection that cannot be closed in good order."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield TOKEN

    async def aclose(self) -> None:
        raise httpx.CloseError("the connection is in a bad state")


async def test_a_complete_answer_is_not_lost_in_closing() -> None:
    """The token is there: what goes wrong afterwards changes nothing."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=BadlyClosed()))
    upstream = Upstream(transport_for_tests=transport)
    profile = _profile_for("https://pm.example")
    answer = await upstream.send(profile, _request_for(profile))
    await upstream.aclose()
    assert isinstance(answer, Answer)
    assert answer.body == TOKEN


# ---- what must not leak, what must not be needed ---------------------------------------------------------------------


async def test_the_libraries_log_nothing(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, ca_file: str) -> None:
    """With everything at debug level neither a secret nor a URL's query is logged: not on success, not on failure."""
    log = io.StringIO()  # not caplog, which listens at loggers that do not propagate, too
    for name in ("httpx", "httpcore"):  # as they are before an Upstream is made
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(log)])
    async with AsyncExitStack() as stack:
        for name in ("", "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.DEBUG)
        server = await stack.enter_async_context(
            serving(_answering, tls=_server_context(authority.issue_cert("127.0.0.1")))
        )
        profile = replace(_profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file, token_path="/t?key=query")
        assert isinstance(await _ask(profile), Answer)
        failed = await _ask(replace(profile, ca_file=None))
    assert isinstance(failed, NotSent)
    assert log.getvalue() == ""
    assert not any(secret in repr(failed) for secret in (*SECRETS, "query"))


def test_nothing_shows_what_it_carries() -> None:
    """Requests and answers can be logged and raised: their repr tells neither credentials nor tokens nor cookies."""
    request = _request_for(_profile_for("https://pm.example"))
    answer = Answer(200, {"set-cookie": "laravel_token=cookie-secret"}, TOKEN)
    told = repr(request) + repr(answer)
    assert not any(secret in told for secret in (*SECRETS, "Basic", "cookie-secret", "abc.def-ghi", "integration"))


AFTER_AN_UPGRADE = """
    import sys

    import trio

    from pmcredd import oauth, upstream
    from pmcredd.profiles import Grant, Profile
    from pmcredd.secret import Secret

    upstream.preload()

    class NothingLeft:
        def find_spec(self, name, path=None, target=None):
            print("wanted:", name)
            raise ImportError(name)

    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [NothingLeft()]

    async def main(plain, secure, proxy, ca_file):
        for url, more in [
            (plain, {}),
            (secure, {"ca_file": ca_file}),
            (secure, {}),
            ("https://pm.example", {"ca_file": ca_file, "proxy": proxy}),
            ("https://b\\u00fccher.invalid", {"proxy": "environment"}),
            ("http://127.0.0.1:9", {}),
        ]:
            profile = Profile("p", url, Grant.PASSWORD, client_id="3", username="u", **more)
            request = oauth.token_request(profile, client_secret=Secret("s" * 9), password=Secret("p" * 9))
            answer = await upstream.Upstream().send(profile, request)
            print(type(answer).__name__)
            if isinstance(answer, oauth.Answer):
                print(type(oauth.read_answer(profile, request, answer, now=0, secrets=[])).__name__)

    trio.run(main, *sys.argv[1:])
"""


async def test_an_upgrade_on_disk_breaks_no_renewal(authority: trustme.CA, ca_file: str) -> None:
    """After preload() requests work, and fail, with every import switched off: by plain http, TLS, proxy and name."""
    late = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nRetry-After: Thu, 01 Jan 1970 00:01:00 GMT\r\nX-Name: M\xfcller\r\n"
    async with (
        serving(partial(_answering, status="429 Too Many Requests", headers=late)) as plain,
        serving(_answering, tls=_server_context(authority.issue_cert("127.0.0.1", "pm.example"))) as secure,
        serving(_tunnel_to(secure.port)) as proxy,
    ):
        command = [sys.executable, "-P", "-c", textwrap.dedent(AFTER_AN_UPGRADE)]
        result = await trio.run_process(
            [*command, plain.url, f"https://127.0.0.1:{secure.port}", proxy.url, ca_file],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert result.stdout.decode().split() == [
        *("Answer", "Refusal"),
        *("Answer", "Token"),
        "NotSent",
        *("Answer", "Token"),
        "NotSent",
        "NotSent",
    ]


def test_httpx_is_not_loaded_at_start() -> None:
    """The daemon answers its first `get` from the store before it has loaded an HTTP client."""
    late = "{'httpx', 'httpcore', 'truststore', 'email.utils'}"
    code = f"import sys; before = set(sys.modules); import pmcredd.upstream; print(*{late} & set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
