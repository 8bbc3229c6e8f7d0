"""Who proves to whom who they are: CAs, certificates and keys, and no secret goes out before."""

import os
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from support import hostile
from support.asking_upstream import answering, ask, assert_for_people, profile_for, request_for, server_context
from support.hostile import Behaviour, Conversation
from support.hostile import hostile as serving

from pmcredd import trust
from pmcredd.oauth import Answer
from pmcredd.upstream import NotSent, Upstream


async def test_a_ca_file_is_trusted(authority: trustme.CA, ca_file: str) -> None:
    """A server whose CA the profile names is talked to over TLS, by name and by address."""
    tls = server_context(authority.issue_cert("localhost", "127.0.0.1"))
    async with serving(answering, tls=tls) as server:
        for host in ("localhost", "127.0.0.1"):
            assert isinstance(await ask(replace(profile_for(f"https://{host}:{server.port}"), ca_file=ca_file)), Answer)


async def test_the_system_s_store_is_trusted(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ca_file a company CA in the system's store just works, and with another ca_file it counts no more."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    other = Path(ca_file).with_name("other._pem")
    trustme.CA().cert_pem.write_to_path(other)
    async with serving(answering, tls=server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = profile_for(f"https://127.0.0.1:{server.port}")
        assert isinstance(await ask(profile), Answer)
        assert isinstance(await ask(replace(profile, ca_file=str(other))), NotSent)


async def test_a_replaced_ca_file_counts_at_once(authority: trustme.CA, ca_file: str) -> None:
    """Nobody has to restart the daemon after a company CA has changed."""
    upstream = Upstream()
    async with serving(answering, tls=server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        trustme.CA().cert_pem.write_to_path(ca_file)
        assert isinstance(await upstream.send(profile, request_for(profile)), NotSent)
        authority.cert_pem.write_to_path(ca_file)
        assert isinstance(await upstream.send(profile, request_for(profile)), Answer)


async def test_the_system_s_store_is_read_once_and_after_a_change(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it stops the daemon for 40 ms: requests share one reading, and a change of the file counts at once."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    upstream = Upstream()
    async with serving(answering, tls=server_context(authority.issue_cert("127.0.0.1"))) as server:
        profile = profile_for(f"https://127.0.0.1:{server.port}")
        assert isinstance(await upstream.send(profile, request_for(profile)), Answer)
        first = trust.trusting_the_system()
        assert isinstance(await upstream.send(profile, request_for(profile)), Answer)
        assert trust.trusting_the_system() is first

        new = Path(ca_file).with_name("new.pem")
        trustme.CA().cert_pem.write_to_path(new)
        new.replace(ca_file)
        assert isinstance(await upstream.send(profile, request_for(profile)), NotSent)


def test_a_client_certificate_is_nobody_else_s(
    authority: trustme.CA, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile with a client certificate has a TLS context of its own: other profiles must not show it."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    mine = replace(
        profile_for("https://pm.example"),
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
    async with serving(answering, tls=server_context(issue(authority))) as server:
        result = await ask(replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file))
    assert isinstance(result, NotSent)
    assert_for_people(result, f"127.0.0.1:{server.port}")
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
        result = await ask(profile_for(f"https://127.0.0.1:{server.port}", timeout=timeout))
    assert isinstance(result, NotSent)
    assert_for_people(result, f"127.0.0.1:{server.port}")
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
        await ask(profile_for(f"{scheme}://127.0.0.1:{server.port}", timeout=0.2))
        with trio.fail_after(30):
            await gone.wait()


async def test_an_old_tls_is_refused(authority: trustme.CA, ca_file: str) -> None:
    """A server that has TLS 1.1 at most gets nothing."""
    tls = server_context(authority.issue_cert("127.0.0.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")
    # trio's server breaks off without the alert that OpenSSL has ready: hence a thread.
    with _stubborn(tls) as port:
        result = await ask(replace(profile_for(f"https://127.0.0.1:{port}"), ca_file=ca_file))
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
    tls = server_context(authority.issue_cert("127.0.0.1"))
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    tls.minimum_version = tls.maximum_version = version
    with _stubborn(tls) as port:
        profile = replace(profile_for(f"https://127.0.0.1:{port}"), ca_file=ca_file)
        if ours != "none":
            profile = replace(profile, client_cert=_pem(trustme.CA().issue_cert("me@example.com"), tmp_path / "me.pem"))
        result = await ask(profile)
    assert isinstance(result, NotSent)
    assert_for_people(result, f"127.0.0.1:{port}")
    assert "client certificate" in result.sentence
    assert "client_cert" in result.mend


def _pem(cert: trustme.LeafCert, path: Path) -> str:
    cert.private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


@pytest.mark.parametrize("apart", [False, True])
async def test_a_client_certificate_is_shown(apart: bool, authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    """Certificate and key work in one file and in two."""
    tls = server_context(authority.issue_cert("127.0.0.1"))
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
    async with serving(answering, tls=tls) as server:
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        assert isinstance(await ask(replace(profile, client_cert=cert, client_key=key)), Answer)


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
    async with serving(answering) as server:
        result = await ask(replace(profile_for(f"https://127.0.0.1:{server.port}"), **{key: str(path)}))  # type: ignore[arg-type]
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
    profile = replace(profile_for("https://127.0.0.1:9"), client_cert=str(cert), client_key=str(key))
    result = await ask(profile)
    assert isinstance(result, NotSent)
    assert "encrypted" in result.sentence
    assert str(key) in result.sentence
