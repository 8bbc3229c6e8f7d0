"""pmcredd.cli.detect: the base of a pasted address, and which ProcessMaker answers there."""

import json
from collections.abc import Callable, Mapping

import httpx
import pytest

from pmcredd.cli.detect import Address, address, detect
from pmcredd.profiles import Grant, Profile
from pmcredd.upstream import Upstream
from pmcredd.urls import BadUrl

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.mark.parametrize(
    ("pasted", "found"),
    [
        ("acme.processmaker.net", Address("https://acme.processmaker.net")),
        ("  https://ACME.processmaker.net/  ", Address("https://acme.processmaker.net")),
        ("https://h.example/login", Address("https://h.example")),
        ("https://h.example/login?next=%2Fadmin#top", Address("https://h.example")),
        ("https://h.example:8443/admin/users/3/edit", Address("https://h.example:8443")),
        ("https://h.example/pm/oauth/token", Address("https://h.example/pm")),
        ("https://h.example/api/1.0/users", Address("https://h.example")),
        ("https://h.example/sysworkflow/en/neoclassic/login/login", Address("https://h.example", "workflow")),
        ("h.example/syshr", Address("https://h.example", "hr")),
        ("https://h.example/bpm/syshr/de/neoclassic/main", Address("https://h.example/bpm", "hr")),
        ("https://h.example/hr/oauth2/token", Address("https://h.example", "hr")),
        ("https://h.example/api/1.0/workflow/users", Address("https://h.example", "workflow")),
        ("https://h.example/pm", Address("https://h.example/pm", path_unknown=True)),
        ("http://127.0.0.1:8080/login", Address("http://127.0.0.1:8080")),
        ("127.0.0.1:8080/login", Address("http://127.0.0.1:8080")),
        ("localhost:8080", Address("http://localhost:8080")),
        ("https://localhost:8080", Address("https://localhost:8080")),
    ],
)
def test_what_people_paste_has_a_base_in_it(pasted: str, found: Address) -> None:
    """Whatever page they were on, and with or without https://."""
    assert address(pasted) == found


@pytest.mark.parametrize(
    ("pasted", "complaint"),
    [
        ("", "usable host"),
        ("my instance", "space"),
        ("ftp://h.example", "neither https:// nor http://"),
        ("https://me:s3cret@h.example", "user name or a password"),
        ("http://h.example/login", "plain http"),
        ("https://h.example/%zz", "percent-encoded"),
    ],
)
def test_what_is_no_address_is_told_without_quoting_it(pasted: str, complaint: str) -> None:
    """It may hold a password."""
    with pytest.raises(BadUrl) as caught:
        address(pasted)
    assert complaint in caught.value.wrong
    assert "s3cret" not in str(caught.value)


def oauth_error(status: int = 400) -> httpx.Response:
    """A token endpoint's answer to a request that names no grant."""
    return httpx.Response(status, json={"error": "unsupported_grant_type", "error_description": "..."})


def page(status: int = 404, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """An ordinary web server's answer."""
    return httpx.Response(status, headers=headers, html="<title>Hello</title>")


def site(answers: Mapping[str, httpx.Response]) -> tuple[Upstream, list[httpx.Request]]:
    """A server that answers these paths, and 404 elsewhere; and the list of what it was asked."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers.get(request.url.path, page())

    return Upstream(transport_for_tests=httpx.MockTransport(handle)), asked


@pytest.mark.parametrize(
    ("start", "paths", "url", "generation", "most"),
    [
        ("h.example", ["/oauth/token"], "https://h.example", 4, 1),
        ("h.example", ["/workflow/oauth2/token"], "https://h.example", 3, 2),
        ("h.example/syshr/en", ["/hr/oauth2/token"], "https://h.example", 3, 1),
        ("h.example/sysadmin", ["/oauth/token"], "https://h.example", 4, 2),
        ("h.example/pm", ["/pm/oauth/token"], "https://h.example/pm", 4, 1),
        ("h.example/some/page", ["/oauth/token"], "https://h.example", 4, 2),
        ("h.example/some/page", ["/workflow/oauth2/token"], "https://h.example", 3, 3),
        ("h.example/pm", ["/oauth/token", "/pm/oauth/token"], "https://h.example/pm", 4, 1),
    ],
)
async def test_the_generation_is_told_by_the_endpoint_that_answers(
    start: str, paths: list[str], url: str, generation: int, most: int
) -> None:
    """At most three requests, the likeliest first, and never anything that looks like credentials."""
    upstream, asked = site({path: oauth_error() for path in paths})
    found = await detect(upstream, address(start))
    assert (found.url, found.generation, found.reachable) == (url, generation, True)
    assert str(generation) in found.sentence
    assert len(asked) == most
    for request in asked:
        assert request.method == "POST"
        assert request.content == b""
        assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page(200), "(200), but not as a ProcessMaker does"),
        (page(404), "(404), but not as a ProcessMaker does"),
        (httpx.Response(400, json=["error"]), "(400), but not"),
        (httpx.Response(400, json={"error": {"code": 400}}), "(400), but not"),
        (httpx.Response(400, headers={"content-type": "application/json"}, content=b"{"), "(400), but not"),
        (page(503), "down for maintenance"),
        (page(500), "server error (500)"),
        (page(302, {"location": "https://www.h.example/login"}), "redirect to https://www.h.example; is that its real"),
        (page(302, {"location": "https://h.example/login"}), "answers with a redirect."),
        (page(302, {"location": "\x1b[2J"}), "answers with a redirect."),
        (page(302), "answers with a redirect."),
    ],
)
async def test_what_is_no_processmaker_is_described(answer: httpx.Response, words: str) -> None:
    """By the answer of the likeliest place; it is reachable, so the address may be wrong."""
    upstream, asked = site({"/oauth/token": answer})
    found = await detect(upstream, address("h.example"))
    assert (found.generation, found.reachable) == (None, True)
    assert words in found.sentence
    assert len(asked) <= 3


async def test_a_throttled_endpoint_is_a_processmaker_4() -> None:
    """Laravel's throttle stands before the token endpoint, and nowhere else answers so."""
    throttled = httpx.Response(429, headers={"x-ratelimit-limit": "60"}, json={"message": "Too Many Attempts."})
    upstream, _ = site({"/oauth/token": throttled})
    assert (await detect(upstream, address("h.example"))).generation == 4


async def test_an_address_where_nobody_answers_is_asked_once() -> None:
    """What the network said is told; advice on a profile that is not there yet is not given."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    found = await detect(Upstream(transport_for_tests=httpx.MockTransport(refuse)), address("h.example"))
    assert (found.generation, found.reachable) == (None, False)
    assert "h.example" in found.sentence
    assert "profile edit" not in found.mend


async def test_the_servers_own_ca_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the flags say about the way to the server counts for looking at it, too."""
    seen: list[Profile] = []

    async def send(_: Upstream, profile: Profile, __: object) -> object:
        seen.append(profile)
        from pmcredd.oauth import Answer

        body = json.dumps({"error": "x", "error_description": "y"}).encode()
        return Answer(400, {"content-type": "application/json"}, body)

    monkeypatch.setattr(Upstream, "send", send)
    tls = Profile(
        "p", "", Grant.PASSWORD, ca_file="/ca.pem", client_cert="/c", client_key="/k", proxy="http://p", timeout=7
    )
    await detect(Upstream(), address("h.example"), tls)
    (used,) = seen
    assert (used.ca_file, used.client_cert, used.client_key, used.proxy, used.timeout) == (
        "/ca.pem",
        "/c",
        "/k",
        "http://p",
        7,
    )
