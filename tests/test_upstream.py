"""What is sent to a server that behaves, and what comes back: against real sockets on loopback."""

from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from support.asking_upstream import SECRETS, TOKEN, answering, ask, profile_for, request_for
from support.hostile import hostile as serving

from pmcredd.oauth import Answer
from pmcredd.secret import Secret
from pmcredd.transport import MAX_BODY
from pmcredd.upstream import Unknown, Upstream


async def test_an_answer_comes_back_whole() -> None:
    """Status, headers by lower-case name and the body as it was sent."""
    async with serving(
        partial(answering, status="400 Bad Request", headers=b"Retry-AFTER: 7\r\nX-A: 1\r\nX-A: 2\r\n")
    ) as s:
        answer = await ask(profile_for(s.url))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (400, TOKEN)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-a"] == "1, 2"


async def test_a_request_says_what_it_must_and_no_more() -> None:
    """JSON alone is accepted (else Laravel sends web pages), nothing compressed, nothing kept; Python goes unsaid."""
    async with serving(answering) as server:
        profile = profile_for(server.url + "/pm")
        await ask(profile)
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
    assert body == request_for(profile).body


async def test_no_cookie_and_no_connection_is_kept() -> None:
    """What one answer sets, the next request does not bring back; each request comes on a connection of its own."""
    upstream = Upstream()
    async with serving(partial(answering, headers=b"Set-Cookie: laravel_token=1; Path=/\r\n")) as server:
        profile = profile_for(server.url)
        for _ in range(3):
            assert isinstance(await upstream.send(profile, request_for(profile)), Answer)
    await upstream.aclose()
    assert len(server.requests) == 3
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_a_redirect_is_an_answer() -> None:
    """It is handed back and not followed: the secrets would follow it."""
    async with serving(answering) as elsewhere:
        location = f"Location: {elsewhere.url}/login\r\n".encode()
        async with serving(partial(answering, status="302 Found", headers=location)) as server:
            answer = await ask(profile_for(server.url))
    assert isinstance(answer, Answer)
    assert answer.status == 302
    assert elsewhere.requests == []


async def test_get_carries_the_token_to_the_profile_s_own_server_only() -> None:
    """A probe reaches its server with the token; any other origin is refused before a connection is made."""
    bearer = Secret("abc.def-ghi")
    async with serving(answering) as server, serving(answering) as other:
        profile = profile_for(server.url)
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
    async with serving(answering) as server, serving(answering) as other:
        profile = profile_for(server.url)
        answer = await Upstream().delete(profile, f"{server.url}/api/1.0/users/1/tokens/2", Secret("abc"))
        with pytest.raises(ValueError, match="another server"):
            await Upstream().delete(profile, f"{other.url}/api/1.0/users/1/tokens/2", Secret("abc"))
    assert isinstance(answer, Answer)
    assert server.requests[0].startswith(b"DELETE /api/1.0/users/1/tokens/2 HTTP/1.1\r\n")
    assert other.requests == []


@pytest.mark.parametrize(("size", "fits"), [(MAX_BODY, True), (MAX_BODY + 1, False)])
async def test_the_limit_of_a_body(size: int, fits: bool) -> None:
    """A body of exactly the limit is read, one byte more is not kept."""
    async with serving(partial(answering, body=b"x" * size)) as server:
        result = await ask(profile_for(server.url))
    assert isinstance(result, Answer if fits else Unknown)
    if isinstance(result, Answer):
        assert len(result.body) == size


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
    profile = profile_for("https://pm.example")
    answer = await upstream.send(profile, request_for(profile))
    await upstream.aclose()
    assert isinstance(answer, Answer)
    assert answer.body == TOKEN


def test_nothing_shows_what_it_carries() -> None:
    """Requests and answers can be logged and raised: their repr tells neither credentials nor tokens nor cookies."""
    request = request_for(profile_for("https://pm.example"))
    answer = Answer(200, {"set-cookie": "laravel_token=cookie-secret"}, TOKEN)
    told = repr(request) + repr(answer)
    assert not any(secret in told for secret in (*SECRETS, "Basic", "cookie-secret", "abc.def-ghi", "integration"))
