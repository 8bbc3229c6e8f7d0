"""pmcredd.cli.trial: every way in which a profile can fail before it is written; and Ctrl-C in the midst of it."""

import base64
import json
import os
import time

import httpx
import pytest
import trio

from pmcredd.cli.errands import run_async
from pmcredd.cli.trial import Failed, Works, try_profile
from pmcredd.profiles import CommandSecret, FileSecret, Grant, LiteralSecret, Profile
from pmcredd.secret import Secret
from pmcredd.upstream import Upstream

URL = "https://h.example"
SECRET = Secret("s3cret")
CLIENT = Profile("p", URL, Grant.CLIENT_CREDENTIALS, client_id="3", client_secret=LiteralSecret(SECRET))
PERSONAL = Profile("p", URL, Grant.PERSONAL_ACCESS_TOKEN, token=FileSecret("/nowhere"))


def jwt(**claims: object) -> Secret:
    """Make a token that says this, signed by nobody."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return Secret(".".join([*parts, "c2ln"]))


def server(*answers: httpx.Response | Exception) -> tuple[Upstream, list[httpx.Request]]:
    """A server that answers so, once each; and the list of what it was asked."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Upstream(transport_for_tests=httpx.MockTransport(handle)), asked


def failed(outcome: Works | Failed) -> Failed:
    """Take it that it failed; no secret is ever in what is told."""
    assert isinstance(outcome, Failed)
    assert SECRET.reveal() not in repr(outcome)
    return outcome


@pytest.mark.parametrize(
    ("answer", "status", "correct", "counts"),
    [
        (httpx.Response(401, json={"error": "invalid_client"}), 6, ("client_id", "client_secret"), True),
        (httpx.Response(400, json={"error": "unsupported_grant_type"}), 6, ("client_id", "client_secret"), False),
        (httpx.Response(400, json={"error": "invalid_scope"}), 6, (), False),
        (httpx.Response(429, json={"message": "Too Many Attempts."}), 5, (), False),
        (httpx.Response(503, json={"message": "Service Unavailable"}), 5, (), False),
        (httpx.Response(500, json={"message": "Server Error"}), 5, (), False),
        (httpx.Response(302, headers={"location": f"{URL}/login"}), 6, ("url",), False),
        (httpx.Response(404, html="Not found"), 6, ("url",), False),
        (httpx.Response(200, html="Hello"), 6, ("url",), False),
        (httpx.ConnectError("refused"), 5, (), False),
    ],
)
async def test_each_refusal_says_what_to_correct(
    answer: httpx.Response | Exception, status: int, correct: tuple[str, ...], counts: bool
) -> None:
    """And is asked for once only."""
    upstream, asked = server(answer)
    outcome = failed(await try_profile(upstream, CLIENT, {}, {}))
    assert (outcome.exit_status, outcome.correct, outcome.counts) == (status, correct, counts)
    assert outcome.sentence
    assert len(asked) == 1


async def test_it_is_told_how_long_the_token_lives() -> None:
    """As the server says, or the token itself."""
    upstream, _ = server(httpx.Response(200, json={"access_token": "a", "token_type": "Bearer", "expires_in": 86400}))
    assert await try_profile(upstream, CLIENT, {}, {}) == Works(86400)
    upstream, _ = server(httpx.Response(200, json={}))
    outcome = await try_profile(upstream, PERSONAL, {"token": jwt(sub="7", jti="ab", exp=time.time() + 1000)}, {})
    assert isinstance(outcome, Works)
    assert outcome.lives is not None
    assert 900 < outcome.lives <= 1000


async def test_a_wrong_password_is_the_users() -> None:
    """Exit status 4: it needs somebody to log in."""
    profile = Profile(
        "p",
        URL,
        Grant.PASSWORD,
        client_id="3",
        client_secret=LiteralSecret(SECRET),
        username="u",
        password=FileSecret("/no"),
    )
    upstream, asked = server(httpx.Response(400, json={"error": "invalid_grant"}))
    outcome = failed(await try_profile(upstream, profile, {"password": Secret("hunter2")}, {}))
    assert (outcome.exit_status, outcome.correct, outcome.counts) == (4, ("username", "password"), True)
    assert b"hunter2" in asked[0].content


async def test_a_secret_command_does_not_see_the_secrets_of_other_profiles() -> None:
    """The variables of all profiles are withheld, not only those of the one that is tried."""
    printing = CommandSecret(("sh", "-c", "printf %s-secret ${OTHERS_SECRET-without}"))
    profile = Profile("p", URL, Grant.CLIENT_CREDENTIALS, client_id="3", client_secret=printing)
    upstream, asked = server(httpx.Response(401, json={"error": "invalid_client"}))
    environ = {"PATH": os.environ["PATH"], "OTHERS_SECRET": "seen"}
    failed(await try_profile(upstream, profile, {}, environ, withhold={"OTHERS_SECRET"}))
    assert base64.b64decode(asked[0].headers["authorization"].removeprefix("Basic ")) == b"3:without-secret"


async def test_a_secret_that_cannot_be_had_is_told_and_nothing_is_sent() -> None:
    """With the key that it is for."""
    upstream, asked = server()
    outcome = failed(await try_profile(upstream, PERSONAL, {}, {}))
    assert (outcome.exit_status, outcome.correct) == (6, ("token",))
    assert "/nowhere" in outcome.sentence
    assert asked == []


@pytest.mark.parametrize(
    ("answer", "status", "correct"),
    [
        (httpx.Response(200, json={}), None, ()),
        (httpx.Response(403, json={}), None, ()),
        (httpx.Response(401, json={"error": "Unauthenticated."}), 4, ("token",)),
        (httpx.Response(429, json={}), 5, ()),
        (httpx.Response(502, html="Bad gateway"), 5, ()),
        (httpx.Response(404, html="Not found"), 6, ("url",)),
        (httpx.Response(302), 6, ("url",)),
        (httpx.ConnectError("refused"), 5, ()),
    ],
)
@pytest.mark.parametrize(
    ("token", "path"),
    [(jwt(sub="7", jti="ab12"), "/api/1.0/users/7/tokens/ab12"), (Secret("opaque-token"), "/api/1.0/users?per_page=1")],
)
async def test_a_personal_token_is_shown_to_its_server(
    token: Secret, path: str, answer: httpx.Response | Exception, status: int | None, correct: tuple[str, ...]
) -> None:
    """It may always look at itself; where it does not say whose it is, at the list of users."""
    upstream, asked = server(answer)
    outcome = await try_profile(upstream, PERSONAL, {"token": token}, {})
    if isinstance(outcome, Failed):
        assert (outcome.exit_status, outcome.correct) == (status, correct)
    else:
        assert status is None
        assert outcome == Works(None)
    (request,) = asked
    assert request.url.raw_path.decode() == path
    assert request.headers["authorization"] == f"Bearer {token.reveal()}"


async def test_a_token_that_says_itself_that_it_is_over_is_not_sent() -> None:
    """Nor one that no header can carry."""
    upstream, asked = server()
    outcome = failed(await try_profile(upstream, PERSONAL, {"token": jwt(sub="7", jti="ab", exp=1000.0)}, {}))
    assert "has expired" in outcome.sentence
    assert failed(await try_profile(upstream, PERSONAL, {"token": Secret("a b")}, {})).correct == ("token",)
    assert asked == []


@pytest.mark.parametrize(
    ("raised", "expected"), [(KeyboardInterrupt, KeyboardInterrupt), (ValueError, BaseExceptionGroup)]
)
def test_ctrl_c_comes_out_of_the_event_loop_as_itself(
    raised: type[BaseException], expected: type[BaseException]
) -> None:
    """Whatever nursery it struck; an error of ours is not hidden."""

    async def work() -> None:
        async def strike() -> None:
            raise raised

        async with trio.open_nursery() as nursery:
            nursery.start_soon(strike)

    with pytest.raises(expected):
        run_async(work)
