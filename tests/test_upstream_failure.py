"""A request that fails is told by whether it may have arrived, and with a reason for people."""

import errno
import socket
import ssl
from functools import partial

import httpx
import pytest
import trio
import trio.testing
from support import hostile
from support.asking_upstream import Resolver, answering, ask, assert_for_people, profile_for, request_for
from support.hostile import Behaviour
from support.hostile import hostile as serving

from pmcredd.oauth import TokenRequest
from pmcredd.upstream import NotSent, Unknown, Upstream


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
            partial(answering, body=b"\x1f\x8b" * 100, headers=b"Content-Encoding: gzip\r\n"),
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
        result = await ask(profile_for(server.url, timeout=timeout))
    assert isinstance(result, kind)
    assert_for_people(result, f"127.0.0.1:{server.port}")
    assert why in result.sentence


async def test_nothing_listens() -> None:
    """A refused connection is a request that was not sent."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        result = await ask(profile_for(f"http://127.0.0.1:{bound.getsockname()[1]}"))
    assert isinstance(result, NotSent)
    assert_for_people(result, "127.0.0.1")
    assert "connection refused" in result.sentence
    assert "pmcred profile edit prod" in result.mend


@pytest.mark.parametrize(
    ("code", "why"),
    [(socket.EAI_NONAME, "its name is not known"), (socket.EAI_AGAIN, "cannot be looked up at the moment")],
)
async def test_a_name_that_cannot_be_looked_up(code: int, why: str) -> None:
    """No such name is the user's to mend, a name service that is down is not; neither sent a thing."""

    async def fail() -> None:
        raise socket.gaierror(code, "as the C library says it")

    trio.socket.set_custom_hostname_resolver(Resolver(fail))
    result = await ask(profile_for("https://nowhere.example"))
    assert isinstance(result, NotSent)
    assert_for_people(result, "nowhere.example")
    assert why in result.sentence


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "xn--0.example", "\u2603" * 70 + ".example"])
async def test_a_name_that_cannot_be_one(host: str) -> None:
    """What passes for a URL and not for a host name ends as a request that was not sent, and as no error of ours."""
    result = await ask(profile_for(f"https://{host}"))
    assert isinstance(result, NotSent)
    assert "pmcred profile edit prod" in result.mend


async def test_the_time_limit_covers_the_name_service() -> None:
    """A look-up that hangs ends with the profile's time limit, and nothing was sent."""
    trio.socket.set_custom_hostname_resolver(Resolver(trio.sleep_forever))
    result = await ask(profile_for("https://nowhere.example", timeout=0.2))
    assert isinstance(result, NotSent)
    assert_for_people(result, "nowhere.example")
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
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(profile_for("https://x"), request)
    assert isinstance(result, NotSent)
    assert "pmcred profile edit prod" in result.mend


async def test_a_caller_that_cancels_is_obeyed() -> None:
    """A cancellation from outside is no failure of the server's: it passes through."""
    async with serving(hostile.hang_after_reading) as server, trio.open_nursery() as nursery:

        async def one() -> None:
            await ask(profile_for(server.url))
            raise AssertionError("it returned")

        nursery.start_soon(one)
        await server.asked.wait()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


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

    profile = profile_for("https://pm.example")
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(profile, request_for(profile))
    assert isinstance(result, kind)
    assert_for_people(result, "pm.example")


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

    profile = profile_for("https://pm.example")
    result = await Upstream(transport_for_tests=httpx.MockTransport(fail)).send(profile, request_for(profile))
    assert isinstance(result, NotSent)
    assert why in result.sentence


async def test_a_server_that_is_slow_is_given_up_in_doubt(autojump_clock: trio.testing.MockClock) -> None:
    """After the profile's time limit, and not before, a request that may have arrived is Unknown."""

    async def sleep(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    profile = profile_for("https://pm.example", timeout=30)
    result = await Upstream(transport_for_tests=httpx.MockTransport(sleep)).send(profile, request_for(profile))
    assert isinstance(result, Unknown)
    assert trio.current_time() == pytest.approx(30, abs=1)
    assert "raise timeout" in result.mend
    assert autojump_clock is not None
