"""What PmcredAuth does with httpx's own ways: its streams, its trace extension, proxies, and other transports."""

import inspect
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import httpx
import pytest
from support.api_server import NEW, OLD, House, Reply, house

from pmcredd.auth import ForeignUrl
from pmcredd.auth.httpx import PmcredAuth


@pytest.fixture
def world(tmp_path: Path) -> Iterator[House]:
    """Serve an API whose good token is NEW, and a daemon that has OLD first."""
    with house(tmp_path / "run" / "pmcred" / "socket") as found:
        yield found


def http() -> httpx.Client:
    """Make a client."""
    return httpx.Client(auth=PmcredAuth("prod"), trust_env=False)


class Once:
    """What can be read and no more, as what comes from a network."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ({"json": {"a": 1}}, True),
        ({"data": {"a": "1"}}, True),
        ({"files": {"f": b"content"}}, True),
        ({"files": {"f": ("n.txt", "content")}, "data": {"a": "1"}}, True),
        ({"files": {"f": io.BytesIO(b"content")}}, True),
        ({"content": io.BytesIO(b"content")}, False),
    ],
)
def test_which_bodies_can_be_sent_again(world: House, options: Mapping[str, object], again: bool) -> None:
    """Of what cannot, httpx would send the rest: nothing."""
    with http() as client:
        response = client.post(world.api.url, **options)  # type: ignore[arg-type]
    bodies = [seen.body for seen in world.api.seen]
    assert response.status_code == (200 if again else 401)
    assert bodies == [bodies[0]] * (2 if again else 1)
    assert bodies[0]


def test_a_form_with_a_file_that_cannot_seek_is_not_sent_again(world: House) -> None:
    """What was read of it is gone."""
    with http() as client:
        files = {"f": ("name", Once(b"content"))}
        assert client.post(world.api.url, files=files).status_code == 401  # type: ignore[arg-type]
    assert len(world.api.seen) == 1
    assert b"content" in world.api.seen[0].body


def test_the_refused_answer_is_in_the_history(world: House) -> None:
    """As with httpx's own schemes that need two requests."""
    with http() as client:
        response = client.get(world.api.url)
    assert [each.status_code for each in response.history] == [401]
    assert response.history[0].json() == {"error": "Unauthenticated."}


def test_an_answer_can_be_streamed(world: House) -> None:
    """The refused one is read, the one that counts is the caller's to read."""
    with http() as client, client.stream("GET", world.api.url) as response:
        assert not response.is_closed
        assert b"".join(response.iter_bytes()) == b'{"data":[]}'


def test_the_token_does_not_show(world: House) -> None:
    """Httpx masks the header wherever it shows a request."""
    with http() as client:
        response = client.get(world.api.url)
    assert NEW not in repr(response.request.headers)


def test_a_trace_of_the_callers_own_goes_on(world: House) -> None:
    """It is called for everything, as without us."""
    events: list[str] = []
    with http() as client:
        client.get(world.api.url, extensions={"trace": lambda name, _: events.append(name)})
    assert events.count("http11.send_request_headers.started") == 2
    events.clear()

    async def trace(name: str, _: object) -> None:
        events.append(name)

    async def get() -> None:
        async with httpx.AsyncClient(auth=PmcredAuth("prod"), trust_env=False) as client:
            await client.get(world.api.url, extensions={"trace": trace})

    anyio.run(get)
    assert events.count("http11.send_request_headers.started") == 1


def test_a_request_that_is_sent_in_a_loop_is_traced_once_each_time(world: House) -> None:
    """Nothing of the last time is left around the caller's trace: a thousand layers would be a RecursionError."""
    depths: list[int] = []

    def trace(name: str, _: object) -> None:
        if name == "http11.send_request_headers.started":
            depths.append(len(inspect.stack(0)))

    world.api.good = {OLD}
    with http() as client:
        request = client.build_request("GET", world.api.url, extensions={"trace": trace})
        for _ in range(3):
            assert client.send(request).status_code == 200
    assert len(depths) == 3
    assert len(set(depths)) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_may_go_by_a_client_of_either_kind(world: House, backend: str) -> None:
    """What the one has put into it is not in the way of the other."""
    request = httpx.Request("GET", world.api.url)

    async def send() -> int:
        async with httpx.AsyncClient(auth=PmcredAuth("prod"), trust_env=False) as client:
            return (await client.send(request)).status_code

    for _ in range(2):
        with http() as client:
            assert client.send(request).status_code == 200
        assert anyio.run(send, backend=backend) == 200


def test_a_proxy_is_given_the_token_for_the_instance_alone(world: House) -> None:
    """A request in plain http goes to the proxy whole: it is the URL in it that counts."""
    world.api.special["http://pm.test/acme/first"] = Reply(302, (("Location", "http://pm.test/other"),))
    world.issuer.url = "http://pm.test/acme"
    auth = PmcredAuth("prod")
    with httpx.Client(auth=auth, proxy=world.api.url, follow_redirects=True) as client:
        assert client.get("http://pm.test/acme/users").status_code == 200
        assert client.get("http://pm.test/acme/first").status_code == 401
        with pytest.raises(ForeignUrl):
            client.get("http://pm.test/other")
    assert [(seen.path, seen.authorization) for seen in world.api.seen[-2:]] == [
        ("http://pm.test/acme/first", f"Bearer {NEW}"),
        ("http://pm.test/other", None),
    ]


def test_a_transport_without_sockets_works_as_well(world: House) -> None:
    """A test of the caller's own, say, with a handler in the place of the server."""
    world.issuer.url = "https://pm.test"
    came: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        came.append(request.headers["Authorization"])
        return httpx.Response(200 if request.headers["Authorization"] == f"Bearer {NEW}" else 401)

    with httpx.Client(auth=PmcredAuth("prod"), transport=httpx.MockTransport(answer)) as client:
        assert client.get("https://pm.test/api").status_code == 200
    assert came == [f"Bearer {OLD}", f"Bearer {NEW}"]


def test_a_connection_that_waits_for_the_daemon_is_not_lost(world: House) -> None:
    """When the daemon's answer is an error, the refused answer is closed and its connection free again."""
    world.issuer.rejects = b"error needs-login\nmessage=m\n\n"
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(auth=PmcredAuth("prod"), trust_env=False, limits=limits, timeout=30) as client:
        for _ in range(3):
            with pytest.raises(Exception, match="m"):
                client.get(world.api.url)
        world.api.good = {OLD}
        assert client.get(world.api.url).status_code == 200
