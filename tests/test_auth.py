"""PmcredAuth, the same promises under httpx, its async client on both event loops, and requests; on real sockets."""

import io
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
import requests
from support.api_server import NEW, NEWER, OLD, House, Reply, house

from pmcredd import NoDaemon, PmcredError, wire
from pmcredd.auth import ForeignUrl
from pmcredd.auth.httpx import PmcredAuth as HttpxAuth
from pmcredd.auth.requests import PmcredAuth as RequestsAuth


@dataclass(frozen=True, slots=True)
class Order:
    """A request: `pieces` make a body that comes from a generator."""

    url: str
    method: str = "GET"
    body: bytes | None = None
    pieces: tuple[bytes, ...] = ()
    file: io.BytesIO | None = None
    headers: tuple[tuple[str, str], ...] = ()
    follow: bool = False


Send = Callable[[Order], int]


def with_httpx(order: Order) -> int:
    """Send it by httpx.Client; gives the status."""
    with httpx.Client(auth=HttpxAuth("prod"), trust_env=False, follow_redirects=order.follow) as client:
        content = iter(order.pieces) if order.pieces else order.body
        files = {"file": order.file} if order.file else None
        return client.request(
            order.method, order.url, content=content, files=files, headers=dict(order.headers)
        ).status_code


def with_requests(order: Order) -> int:
    """Send it by requests; gives the status."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = RequestsAuth("prod")
        data = iter(order.pieces) if order.pieces else order.file or order.body
        return session.request(
            order.method, order.url, data=data, headers=dict(order.headers), allow_redirects=order.follow
        ).status_code


def with_async(backend: str) -> Send:
    """Send it by httpx.AsyncClient in an event loop."""

    async def send(order: Order) -> int:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in order.pieces:
                yield piece

        async with httpx.AsyncClient(auth=HttpxAuth("prod"), trust_env=False, follow_redirects=order.follow) as client:
            content = pieces() if order.pieces else order.body
            files = {"file": order.file} if order.file else None
            answer = await client.request(
                order.method, order.url, content=content, files=files, headers=dict(order.headers)
            )
            return answer.status_code

    return lambda order: anyio.run(send, order, backend=backend)


@pytest.fixture(params=["httpx", "asyncio", "trio", "requests"])
def send(request: pytest.FixtureRequest) -> Send:
    """Give each way to send a request."""
    ways: dict[str, Send] = {"httpx": with_httpx, "requests": with_requests}
    return ways.get(request.param) or with_async(request.param)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[House]:
    """Serve an API whose good token is NEW, and a daemon that has OLD first."""
    with house(tmp_path / "run" / "pmcred" / "socket") as found:
        yield found


def refusal(code: wire.Code) -> bytes:
    """Give the daemon's answer that a reject is of no use."""
    return wire.format_error(code, "that is how it is", "pmcred mend prod")


# What a 401 does


def test_a_good_token_is_sent_and_that_is_all(send: Send, world: House) -> None:
    """The daemon is asked once for each request, and nothing is reported."""
    world.api.good = {OLD}
    assert send(Order(world.api.url + "/api/1.0/users?a=b")) == 200
    assert world.api.bearers() == [OLD]
    assert world.asked() == ["get"]


def test_a_refused_token_is_reported_and_the_request_sent_once_more(send: Send, world: House) -> None:
    """The caller sees the second answer; the next request begins with the fresh token."""
    assert send(Order(world.api.url)) == 200
    assert world.api.bearers() == [OLD, NEW]
    assert world.asked() == ["get", "reject"]
    assert send(Order(world.api.url)) == 200
    assert world.api.bearers() == [OLD, NEW, NEW]


def test_there_is_no_third_try(send: Send, world: House, caplog: pytest.LogCaptureFixture) -> None:
    """A server that refuses everybody gets two requests, and the caller its 401 and where to look."""
    world.api.good = {NEWER}
    assert send(Order(world.api.url)) == 401
    assert world.api.bearers() == [OLD, NEW]
    assert world.asked() == ["get", "reject"]
    assert "a fresh token was refused as well: see `pmcred status --explain prod`" in caplog.text


def test_nothing_is_sent_again_if_there_is_no_other_token(
    send: Send, world: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that can only give the refused token again does not cause a second refusal."""
    world.issuer.tokens = [OLD]
    assert send(Order(world.api.url)) == 401
    assert world.api.bearers() == [OLD]
    assert "the daemon has no other token" in caplog.text


def test_a_token_that_lives_is_not_replaced_and_the_caller_is_told(
    send: Send, world: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon's advice (a stripped header, another host) is logged beside the 401, and no token ever is."""
    caplog.set_level(logging.DEBUG)
    world.issuer.rejects = refusal(wire.Code.NOT_REJECTED)
    assert send(Order(world.api.url)) == 401
    assert world.api.bearers() == [OLD]
    assert "that is how it is; pmcred mend prod" in caplog.text
    assert OLD not in caplog.text


@pytest.mark.parametrize("code", [wire.Code.NEEDS_LOGIN, wire.Code.MISCONFIGURED, wire.Code.WAITING])
def test_what_the_daemon_says_instead_of_a_token_is_the_error(send: Send, world: House, code: wire.Code) -> None:
    """More of use than the 401: it says which command mends it."""
    world.issuer.rejects = refusal(code)
    with pytest.raises(PmcredError) as caught:
        send(Order(world.api.url))
    assert (caught.value.code, caught.value.hint) == (code, "pmcred mend prod")


def test_without_a_daemon_nothing_is_sent(send: Send, world: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of get_token, and no request goes out without a token."""
    monkeypatch.setenv("PMCRED_SOCKET", "/nonexistent/socket")
    with pytest.raises(NoDaemon):
        send(Order(world.api.url))
    assert world.api.seen == []


def test_a_front_end_that_wants_another_login_says_nothing_of_the_token(
    send: Send, world: House, caplog: pytest.LogCaptureFixture
) -> None:
    """ProcessMaker sends no WWW-Authenticate; to renew because a proxy wants Basic would help nobody."""
    world.api.special["/"] = Reply(401, (("WWW-Authenticate", 'Basic realm="x"'),))
    assert send(Order(world.api.url + "/")) == 401
    assert world.asked() == ["get"]
    assert "something in front of ProcessMaker asks for 'Basic'" in caplog.text


@pytest.mark.parametrize("status", [400, 403, 404, 419, 500])
def test_no_other_status_is_about_the_token(send: Send, world: House, status: int) -> None:
    """A 403 is about what the user may do: nothing is reported and nothing sent twice."""
    world.api.special["/"] = Reply(status)
    assert send(Order(world.api.url + "/")) == status
    assert world.asked() == ["get"]
    assert len(world.api.seen) == 1


# Bodies


def test_a_body_in_memory_is_sent_again(send: Send, world: House) -> None:
    """To the byte."""
    assert send(Order(world.api.url, "POST", body=b"\x00 body")) == 200
    assert [seen.body for seen in world.api.seen] == [b"\x00 body"] * 2


def test_a_file_is_sent_again(send: Send, world: House) -> None:
    """From where it began."""
    assert send(Order(world.api.url, "POST", file=io.BytesIO(b"content of the file"))) == 200
    first, second = (seen.body for seen in world.api.seen)
    assert b"content of the file" in first
    assert b"content of the file" in second


def test_what_a_generator_gave_is_not_sent_again(send: Send, world: House, caplog: pytest.LogCaptureFixture) -> None:
    """Half a body, or none, would be worse than the 401. The token is reported, so that the next request works."""
    order = Order(world.api.url, "POST", pieces=(b"one ", b"two"))
    assert send(order) == 401
    assert [seen.body for seen in world.api.seen] == [b"one two"]
    assert world.asked() == ["get", "reject"]
    assert "this body cannot be sent twice: send the request again" in caplog.text
    assert send(order) == 200


# Where the token goes


@pytest.mark.parametrize(
    "change", [("127.0.0.1", "localhost"), ("http://", "http://user:secret@"), ("http:", "https:")]
)
def test_no_token_goes_elsewhere(send: Send, world: House, change: tuple[str, str]) -> None:
    """Nothing at all is sent; the error names both places, and no secret in them."""
    with pytest.raises(ForeignUrl) as caught:
        send(Order((world.api.url + "/api/1.0/users?secret=1").replace(*change)))
    assert world.api.url in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.exit_status == 2
    assert world.api.seen == []


def test_no_token_goes_to_the_neighbour_on_the_same_host(send: Send, world: House) -> None:
    """A path is compared by whole segments, as the daemon does."""
    world.issuer.url = world.api.url + "/acme"
    for path in ("/", "/acme2/api", "/other", "/acme/../other/%2e%2e/x"):
        with pytest.raises(ForeignUrl):
            send(Order(world.api.url + path))
    assert world.api.seen == []
    assert send(Order(world.api.url + "/acme/api/1.0/users")) == 200


def test_no_token_goes_to_another_tenant_of_the_same_server(send: Send, world: House) -> None:
    """A Host header of the caller's would pick one."""
    with pytest.raises(ForeignUrl, match="Host header"):
        send(Order(world.api.url, headers=(("Host", "other.example"),)))
    assert world.api.seen == []
    assert send(Order(world.api.url, headers=(("Host", urlsplit(world.api.url).netloc),))) == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_instance_keeps_the_token(send: Send, world: House, status: int) -> None:
    """And a refusal at its end is mended as any other, without a second go at the first place."""
    world.api.special["/first"] = Reply(status, (("Location", "/second"),))
    assert send(Order(world.api.url + "/first", "POST", body=b"data", follow=True)) == 200
    assert [(seen.path, seen.authorization) for seen in world.api.seen] == [
        ("/first", f"Bearer {OLD}"),
        ("/second", f"Bearer {OLD}"),
        ("/second", f"Bearer {NEW}"),
    ]
    assert len({seen.body for seen in world.api.seen[1:]}) == 1


def test_a_redirect_to_another_host_loses_the_token(send: Send, world: House) -> None:
    """What that one says of it is not held against the token."""
    world.api.good = {OLD}
    elsewhere = world.api.url.replace("127.0.0.1", "localhost") + "/second"
    world.api.special["/first"] = Reply(302, (("Location", elsewhere),))
    assert send(Order(world.api.url + "/first", follow=True)) == 401
    assert world.api.bearers() == [OLD, None]
    assert world.asked() == ["get"]


def test_a_redirect_to_the_neighbour_on_the_same_host_loses_the_token(send: Send, world: House) -> None:
    """Both libraries would send it along: scheme, host and port are the same."""
    world.issuer.url = world.api.url + "/acme"
    world.api.good = {OLD}
    world.api.special["/acme/first"] = Reply(302, (("Location", "/other/"),))
    assert send(Order(world.api.url + "/acme/first", follow=True)) == 401
    assert world.api.bearers() == [OLD, None]
    assert world.asked() == ["get"]


def test_a_redirect_after_a_fresh_token_has_the_fresh_one(send: Send, world: House) -> None:
    """Not the refused one, which the libraries have still in hand; and it is not sent elsewhere either."""
    world.issuer.url = world.api.url + "/acme"
    replies = iter([Reply(401), Reply(302, (("Location", "/acme/second"),))])
    plain = world.api.reply
    world.api.reply = lambda request: next(replies) if request.path == "/acme/first" else plain(request)  # type: ignore[method-assign]
    assert send(Order(world.api.url + "/acme/first", follow=True)) == 200
    assert world.api.bearers() == [OLD, NEW, NEW]

    replies = iter([Reply(401), Reply(302, (("Location", "/other"),))])
    world.issuer.tokens = [OLD, NEW]
    assert send(Order(world.api.url + "/acme/first", follow=True)) == 401
    assert world.api.bearers()[3:] == [OLD, NEW, None]


# Many at once


@pytest.mark.parametrize("library", ["httpx", "requests"])
def test_one_object_serves_many_threads(world: House, library: str) -> None:
    """Nothing of one request shows in another; each refusal is reported, and every request succeeds."""
    count, together = 8, threading.Barrier(8)
    pair = HttpxAuth("prod"), RequestsAuth("prod")

    def one(number: int) -> int:
        together.wait()
        url = f"{world.api.url}/{number}"
        if library == "httpx":
            return httpx.post(url, auth=pair[0], content=str(number), trust_env=False).status_code
        return requests.post(url, auth=pair[1], data=str(number), proxies={"no": "proxy"}).status_code

    with ThreadPoolExecutor(count) as pool:
        assert list(pool.map(one, range(count))) == [200] * count
    assert all(seen.path == f"/{seen.body.decode()}" for seen in world.api.seen)
    assert world.issuer.tokens[0] == NEW


@pytest.mark.parametrize("auth", [HttpxAuth("prod"), RequestsAuth("prod")])
def test_what_it_is_for_shows_and_nothing_else(auth: object) -> None:
    """In a notebook, say."""
    assert repr(auth) == "PmcredAuth('prod')"
