"""What is asked about a token, and what each answer is taken for."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from support.lives import TrioClock, held, profile
from trio.testing import MockClock

from pmcredd.bearer import Bearer, Stranger
from pmcredd.life import Event, Probed, ProbeFailed
from pmcredd.oauth import Token
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.telling import User
from pmcredd.upstream import Upstream

PM4 = profile("prod", grant=Grant.AUTHORIZATION_CODE)
PM3 = profile("prod", grant=Grant.AUTHORIZATION_CODE, generation=3, workspace="work flow")
TOKEN = Token(Secret("the-token"), "Bearer", 3600.0, sub="7", jti="abc")
HELD = replace(held(), token=TOKEN)
GONE = httpx.ConnectError("refused")
LOST = httpx.ReadError("closed")
Said = httpx.Response | Exception


def answer(status: int, body: object = None) -> httpx.Response:
    """Answer as the API does."""
    return httpx.Response(status, json=body)


def bearer(*script: Said) -> tuple[Bearer, list[str]]:
    """Give a Bearer whose server answers in turn, and what it has been asked."""
    left, seen = list(script), list[str]()

    def serve(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer the-token"
        seen.append(f"{request.method} {request.url.raw_path.decode()}")
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    return Bearer(Upstream(transport_for_tests=httpx.MockTransport(serve)), TrioClock()), seen


PAGE = httpx.Response(200, text="<h1>Log in</h1>")
LIVES = answer(200, {"id": "abc", "revoked": False})
REVOKED = answer(200, {"id": "abc", "revoked": True})
REFUSED = answer(401, {"error": "Unauthenticated."})


@pytest.mark.parametrize(
    ("said", "event", "passed"),
    [
        pytest.param(LIVES, Probed, True, id="it lives"),
        pytest.param(REVOKED, Probed, False, id="it is revoked"),
        pytest.param(REFUSED, Probed, False, id="it is refused"),
        pytest.param(answer(200, {"id": "another"}), Probed, None, id="another token's row"),
        pytest.param(PAGE, Probed, None, id="a page"),
        pytest.param(answer(403), Probed, None, id="forbidden"),
        pytest.param(answer(404), Probed, None, id="no such route"),
        pytest.param(answer(503), ProbeFailed, None, id="down"),
        pytest.param(LOST, ProbeFailed, None, id="no answer"),
    ],
)
async def test_whether_a_token_lives(
    autojump_clock: MockClock, said: Said, event: type[Event], passed: bool | None
) -> None:
    """A row of its own or a refusal says so; anything else says nothing."""
    asking, _ = bearer(said)
    found = await asking.probe(PM4, HELD, 3)
    assert isinstance(found, event)
    assert isinstance(found, Probed | ProbeFailed)
    assert found.serial == 3
    assert not isinstance(found, Probed) or found.passed is passed


async def test_a_token_that_cannot_be_asked_about(autojump_clock: MockClock) -> None:
    """ProcessMaker 3 knows no such question: nothing is sent."""
    asking, seen = bearer()
    found = await asking.probe(PM3, HELD, 3)
    assert isinstance(found, Probed)
    assert found.passed is None
    assert seen == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param([answer(204)], None, id="done"),
        pytest.param([answer(200)], None, id="done, by an older release"),
        pytest.param([answer(500), REFUSED], None, id="500 after it was done"),
        pytest.param([answer(500), REVOKED], None, id="500, and the row says so"),
        pytest.param([answer(500), LIVES], "the server answered 500, and the token still lives", id="500 before it"),
        pytest.param([LOST, REFUSED], None, id="done, and the answer is lost"),
        pytest.param([LOST, LIVES], "and the token still lives", id="nothing arrived"),
        pytest.param([answer(502), answer(502)], "answered 502, and did not tell whether the token lives", id="down"),
        pytest.param([answer(500), GONE], "did not tell whether the token lives", id="down just then"),
        pytest.param([REFUSED, REFUSED], None, id="it was dead"),
        pytest.param([answer(403)], "the server answered 403", id="forbidden"),
        pytest.param([answer(404)], "the server answered 404", id="no such route"),
        pytest.param([GONE], "cannot reach", id="away"),
    ],
)
async def test_whether_processmaker_4_has_revoked(
    autojump_clock: MockClock, script: list[Said], why: str | None
) -> None:
    """Only what the server shows counts, and its 500 after success is looked through; nothing is sent twice."""
    asking, seen = bearer(*script)
    found = await asking.revoke(PM4, HELD)
    assert (found is None) == (why is None)
    assert why is None or why in (found or "")
    place = "/api/1.0/users/7/tokens/abc"
    assert seen == [f"DELETE {place}", f"GET {place}"][: len(script)]


async def test_a_refusal_is_no_evidence_where_nothing_ever_passed(autojump_clock: MockClock) -> None:
    """A proxy that strips the header makes every token look dead."""
    asking, _ = bearer(REFUSED)
    found = await asking.revoke(PM4, HELD, proved=False)
    assert "takes off its Authorization header" in (found or "")


@pytest.mark.parametrize(
    ("script", "revoked"),
    [
        pytest.param([answer(200), REFUSED], True, id="done"),
        pytest.param([answer(400), REFUSED], True, id="there was none"),
        pytest.param([answer(200), answer(200, {"data": []})], False, id="it says so, and it lives"),
        pytest.param([answer(404), answer(503)], False, id="nobody knows"),
    ],
)
async def test_whether_processmaker_3_has_revoked(autojump_clock: MockClock, script: list[Said], revoked: bool) -> None:
    """Its own word is not enough: the token is tried afterwards."""
    asking, seen = bearer(*script)
    assert (await asking.revoke(PM3, HELD) is None) == revoked
    assert seen == [
        "DELETE /work%20flow/oauth2/the-token",
        "GET /api/1.0/work%20flow/cases/draft/paged?limit=1",
    ]


@pytest.mark.parametrize(("sub", "jti"), [("", "abc"), (None, "abc"), ("7", None)])
async def test_a_token_that_does_not_name_itself_is_not_sent_anywhere(
    autojump_clock: MockClock, sub: str | None, jti: str | None
) -> None:
    """No route of ProcessMaker 4 leads to it."""
    asking, seen = bearer()
    found = await asking.revoke(PM4, replace(HELD, token=replace(TOKEN, sub=sub, jti=jti)))
    assert "does not tell its user and its id" in (found or "")
    assert seen == []


@pytest.mark.parametrize(
    "said",
    [
        answer(401),
        answer(200, {"id": 8, "username": "b.jones"}),
        answer(200, {"id": 7}),
        answer(200, {"id": 7, "username": ""}),
        answer(200, {"id": 7, "username": ["a.smith"]}),
        answer(200, ["a.smith"]),
        PAGE,
        GONE,
        LOST,
    ],
)
async def test_what_tells_no_name_is_none(autojump_clock: MockClock, said: Said) -> None:
    """Another user, no user, a page: the id stays, and where a name is expected it could not be found out."""
    asking, seen = bearer(said, said)
    assert await asking.user(PM4, TOKEN) == User("7")
    stranger = await asking.check(replace(PM4, expect_user="a.smith"), TOKEN, None)
    assert isinstance(stranger, Stranger)
    assert stranger.unknown
    assert "could not be found out" in stranger.problem.sentence
    assert seen == ["GET /api/1.0/users/7"] * 2


async def test_a_token_without_a_user_has_no_name(autojump_clock: MockClock) -> None:
    """Nobody is asked about it."""
    asking, seen = bearer()
    assert await asking.user(PM4, replace(TOKEN, sub="")) is None
    assert await asking.user(PM3, TOKEN) == User("7")
    assert seen == []


def _expecting(user: str | None, **changes: object) -> Profile:
    return replace(PM4, expect_user=user, **changes)  # type: ignore[arg-type]  # the fields are checked where they are used


@pytest.mark.parametrize(
    ("expected", "known", "found", "questions"),
    [
        pytest.param(None, None, None, 0, id="nobody in particular"),
        pytest.param("7", None, None, 0, id="the id"),
        pytest.param("a.smith", None, User("7", "a.smith"), 1, id="the name"),
        pytest.param("a.smith", User("7", "a.smith"), User("7", "a.smith"), 0, id="the one before"),
        pytest.param("a.smith", User("8", "a.smith"), User("7", "a.smith"), 1, id="another one before"),
        pytest.param("a.smith", User("7"), User("7", "a.smith"), 1, id="one without a name before"),
    ],
)
async def test_who_is_expected(
    autojump_clock: MockClock, expected: str | None, known: User | None, found: User | None, questions: int
) -> None:
    """The server is asked only where the token alone does not tell."""
    asking, seen = bearer(answer(200, {"id": 7, "username": "a.smith"}))
    assert await asking.check(_expecting(expected), TOKEN, known) == found
    assert len(seen) == questions


def _name(username: str) -> Callable[[], httpx.Response]:
    return lambda: answer(200, {"id": 7, "username": username})


@pytest.mark.parametrize("username", ["A.Smith", "a.smith2", "a.smith\n", "a.smith\u200b", "7"])
async def test_a_name_is_compared_to_the_letter(autojump_clock: MockClock, username: str) -> None:
    """A name that only looks like the expected one is another user's."""
    asking, _ = bearer(_name(username)())
    stranger = await asking.check(_expecting("a.smith"), TOKEN, None)
    assert isinstance(stranger, Stranger)
    assert not stranger.unknown


@pytest.mark.parametrize(
    ("grant", "mend"),
    [
        (Grant.AUTHORIZATION_CODE, "log out of http://127.0.0.1:1 in the browser, then as b.jones: pmcred login prod"),
        (Grant.PASSWORD, "correct username and password (pmcred profile edit prod)"),
        (Grant.PERSONAL_ACCESS_TOKEN, "put in a token of b.jones, then: pmcred login prod"),
    ],
)
async def test_what_helps_against_a_stranger(autojump_clock: MockClock, grant: Grant, mend: str) -> None:
    """Both users are named, and what to do about it depends on how the token came."""
    asking, _ = bearer(_name("a.smith")())
    stranger = await asking.check(_expecting("b.jones", grant=grant), TOKEN, None)
    assert isinstance(stranger, Stranger)
    assert stranger.problem.sentence == "this token is of a.smith (user 7), and expect_user says b.jones"
    assert stranger.problem.mend == f"{mend}; or correct expect_user: pmcred profile edit prod"


async def test_a_stranger_whose_name_is_not_told_is_one_all_the_same(autojump_clock: MockClock) -> None:
    """The id is enough to refuse; the name is for the message."""
    asking, _ = bearer(GONE)
    stranger = await asking.check(_expecting("8"), TOKEN, None)
    assert isinstance(stranger, Stranger)
    assert not stranger.unknown
    assert stranger.problem.sentence == "this token is of user 7, and expect_user says user 8"


async def test_a_secret_in_a_name_is_masked(autojump_clock: MockClock) -> None:
    """A server that echoes the token as a name does not get it into a message."""
    asking, _ = bearer(_name("x the-token x")())
    assert await asking.user(PM4, TOKEN) == User("7", "x **** x")
