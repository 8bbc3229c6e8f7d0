"""A good answer, and a personal access token: what becomes a Token, and what is known of it."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_answers import HTML, JSON, NOW, PM3, PM4, REFRESH_TOKEN, json_answer, read

from pmcredd import oauth
from pmcredd.oauth import Answer, Ended, Meaning, Refusal, Token
from pmcredd.secret import Secret


def jwt(**claims: object) -> str:
    """Give an access token that tells these things of itself."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'typ': 'JWT', 'alg': 'RS256'})}.{part(claims)}.{'s' * 40}"


def success(**changes: object) -> Answer:
    """Answer with a token; `...` takes a field away."""
    fields: dict[str, object] = {"token_type": "Bearer", "expires_in": 31536000, "access_token": "abc.def-ghi"}
    fields.update(changes)
    return json_answer(200, {name: value for name, value in fields.items() if value is not ...})


# --- what a token endpoint gives ---


def test_success_of_processmaker_4() -> None:
    """Success 200 of generation 4: token_type, expires_in, access_token, refresh_token; a JWT names user and token."""
    token = jwt(aud="3", jti="a1" * 40, iat=NOW + 0.123456, nbf=NOW, exp=NOW + 31536000.123456, sub="1", scopes=[])
    found = read(success(access_token=token, refresh_token=REFRESH_TOKEN.reveal(), expires_in=31622400))
    assert found == Token(
        Secret(token), "Bearer", 31622400.0, REFRESH_TOKEN, None, "1", "a1" * 40, NOW + 31536000.123456
    )


def test_success_of_client_credentials_has_no_user() -> None:
    """refresh_token is absent for client_credentials, and sub "" is the proof that the token has no user."""
    found = read(success(access_token=jwt(jti="a1", exp=NOW + 9, sub="")))
    assert isinstance(found, Token)
    assert found.refresh_token is None
    assert found.sub == ""


def test_success_of_processmaker_3() -> None:
    """Success of generation 3: token_type "bearer" in lower case, scope (may be null), opaque tokens."""
    access, refresh = "0f" * 20, "1e" * 20
    answer = json_answer(
        200,
        {"access_token": access, "expires_in": 86400, "token_type": "bearer", "scope": None, "refresh_token": refresh},
    )
    assert read(answer, profile=PM3) == Token(Secret(access), "Bearer", 86400.0, Secret(refresh))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600.0),
        (31535999, 31535999.0),
        (3599.5, 3599.5),
        ("3600", 3600.0),
        (" 3600 ", 3600.0),
        ("3600.5", 3600.5),
        (..., None),
        (None, None),
        (True, None),
        (0, None),
        (-1, None),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e5", None),
        ("inf", None),
        ("١٢", None),
        (float("nan"), None),
        (float("inf"), None),
        ([3600], None),
        ({}, None),
        (10**12, 100 * 365 * 86400.0),
        (10**400, None),
        (10**6000, None),
    ],
    ids=lambda value: f"{str(value)[:12]!r}" if not isinstance(value, int) or value < 10**20 else "huge",
)
def test_expires_in(value: object, seconds: float | None) -> None:
    """Numbers and numeric strings count, nonsense is unknown, and no lifetime overflows a date."""
    text = json.dumps({"token_type": "Bearer", "access_token": "abc", **({} if value is ... else {"expires_in": 0})})
    number = "1" + "0" * 6000 if value == 10**6000 else json.dumps(value) if value is not ... else ""
    found = read(Answer(200, JSON, text.replace('"expires_in": 0', f'"expires_in": {number}').encode()))
    assert isinstance(found, Token)
    assert found.expires_in == seconds


def test_the_lifetime_is_read_off_the_token_if_nothing_else_tells_it() -> None:
    """Exp less iat, both by the server's clock, stands in for a missing expires_in, and only for a missing one."""
    token = jwt(iat=NOW - 10_000, exp=NOW - 9_400, sub="1")
    missing, told = read(success(access_token=token, expires_in=...)), read(success(access_token=token))
    assert isinstance(missing, Token)
    assert isinstance(told, Token)
    assert (missing.expires_in, told.expires_in) == (600.0, 31536000.0)


@pytest.mark.parametrize(
    ("claims", "sub", "jti", "exp"),
    [
        ({"sub": 7, "jti": "a_b-C", "exp": 5}, "7", "a_b-C", 5.0),
        ({"sub": "../../x", "jti": "a/b", "exp": "soon"}, None, None, None),
        ({"sub": 1.5, "jti": "", "exp": -1}, None, None, None),
        ({"sub": True, "jti": 5, "exp": True}, None, None, None),
        ({"sub": None, "jti": "x" * 129, "exp": 1e300}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_claims_are_taken_as_text_of_a_stranger(
    claims: dict[str, object], sub: str | None, jti: str | None, exp: float | None
) -> None:
    """What would become part of a URL is plain or not there; times are numbers."""
    found = read(success(access_token=jwt(**claims)))
    assert isinstance(found, Token)
    assert (found.sub, found.jti, found.exp) == (sub, jti, exp)


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "a.b",
        "a.W10.c",
        "a.eyJzdWIiOg.c",
        "a." + base64.urlsafe_b64encode(b"[" * 20000).decode().rstrip("=") + ".c",
        "a." + base64.urlsafe_b64encode(b'{"exp":' + b"9" * 9000 + b"}").decode().rstrip("=") + ".c",
        "a.____.c",
        "..",
    ],
    ids=range(8),
)
def test_what_only_looks_like_a_jwt_is_an_opaque_token(token: str) -> None:
    """Nothing in a token's middle keeps it from being used."""
    found = read(success(access_token=token))
    assert isinstance(found, Token)
    assert (found.sub, found.jti, found.exp) == (None, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"refresh_token": None},
        {"refresh_token": ""},
        {"refresh_token": 7},
        {"refresh_token": "a\nb"},
        {"refresh_token": "\udcff"},
        {"scope": ["*"]},
        {"scope": "a\x1b[31m"},
        {"token_type": ...},
        {"token_type": "BEARER"},
    ],
)
def test_a_token_beside_which_something_is_odd_is_still_a_token(changes: dict[str, object]) -> None:
    """Only what the access token itself needs can keep it from being used; the odd part counts as absent."""
    found = read(success(**changes))
    assert found == Token(Secret("abc.def-ghi"), "Bearer", 31536000.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(success(access_token=...), "access_token is missing", id="no access_token"),
        pytest.param(success(access_token=None), "access_token is missing", id="null"),
        pytest.param(success(access_token=""), "access_token is missing", id="empty"),
        pytest.param(success(access_token=["abc"]), "access_token is missing", id="a list"),
        pytest.param(success(access_token="a b"), "no bearer token may hold", id="a space"),
        pytest.param(success(access_token="a\r\nX-Evil: 1"), "no bearer token may hold", id="a header"),
        pytest.param(success(access_token="abc\n"), "no bearer token may hold", id="a newline at the end"),
        pytest.param(success(access_token="a=b"), "no bearer token may hold", id="= inside"),
        pytest.param(success(access_token="tökén"), "no bearer token may hold", id="not ASCII"),
        pytest.param(success(token_type="mac"), "token_type is not Bearer", id="mac"),
        pytest.param(success(token_type=None), "token_type is not Bearer", id="null type"),
        pytest.param(success(token_type=7), "token_type is not Bearer", id="type 7"),
        pytest.param(json_answer(200, {"error": "invalid_grant"}), "access_token is missing", id="an error in a 200"),
        pytest.param(json_answer(201, {}), "access_token is missing", id="201"),
    ],
)
def test_a_success_without_a_usable_token_is_in_doubt(answer: Answer, why: str) -> None:
    """The server acted, or may have, and what it gave cannot be used."""
    found = read(answer)
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (Meaning.BAD_ANSWER, Ended.UNKNOWN)
    assert why in found.sentence


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"access_token":"abc","token_type":', id="cut"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
        pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
    ],
)
def test_a_success_that_is_no_json_object_is_in_doubt(body: bytes) -> None:
    """Whatever the body is, it becomes a value, and the server may have acted."""
    found = read(Answer(200, JSON, body))
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (Meaning.NOT_JSON, Ended.UNKNOWN)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf-8",
        "application/vnd.api+json",
    ],
)
def test_json_is_what_says_so(kind: str) -> None:
    """The content-type decides, in any case and with any parameter."""
    assert isinstance(read(replace(success(), headers={"content-type": kind})), Token)


@pytest.mark.parametrize("headers", [{}, HTML, {"content-type": "text/json"}, {"content-type": "text/plain"}])
def test_what_does_not_say_json_is_none(headers: dict[str, str]) -> None:
    """A page that happens to hold JSON is not taken for an answer of the token endpoint."""
    found = read(replace(success(), headers=headers))
    assert isinstance(found, Refusal)
    assert found.meaning is Meaning.NOT_JSON


def test_small_accidents_of_encoding_cost_no_token() -> None:
    """A byte order mark is overlooked; of a key that comes twice the last counts, as for PHP and JavaScript."""
    body = b'\xef\xbb\xbf{"access_token":"old","access_token":"new","token_type":"Bearer"}'
    found = read(Answer(200, JSON, body))
    assert isinstance(found, Token)
    assert found.access_token == Secret("new")


# --- what a person pastes ---


def test_a_personal_access_token_tells_its_own_life() -> None:
    """Its JWT says whose it is and when it ends; one past its end has no second left."""
    token = Secret(jwt(sub="5", jti="ff00", exp=NOW + 1000.5))
    assert oauth.static_token(PM4, token, now=NOW) == Token(
        token, "Bearer", 1000.5, sub="5", jti="ff00", exp=NOW + 1000.5
    )
    late = oauth.static_token(PM4, token, now=NOW + 2000)
    assert isinstance(late, Token)
    assert late.expires_in == 0.0


def test_an_opaque_token_lives_nobody_knows_how_long() -> None:
    """What is no JWT is used as it is."""
    assert oauth.static_token(PM4, Secret("0f" * 20), now=NOW) == Token(Secret("0f" * 20), "Bearer", None)


@pytest.mark.parametrize("text", ["", "Bearer abc", "abc\ndef", "<html>", "tökén", '"abc"'])
def test_what_no_server_could_be_sent_is_refused(text: str) -> None:
    """A pasted line too many is told, with the mend and without the text."""
    found = oauth.static_token(PM4, Secret(text), now=NOW)
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (Meaning.BAD_ANSWER, Ended.NOT_SENT)
    assert "pmcred profile edit prod" in found.mend
    assert not text or text not in found.sentence + found.mend


@given(st.text())
def test_a_bearer_token_is_what_rfc_6750_says(text: str) -> None:
    """b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="."""
    letters = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")
    body = text.rstrip("=")
    assert oauth.is_b64token(text) is (bool(body) and set(body) <= letters)
