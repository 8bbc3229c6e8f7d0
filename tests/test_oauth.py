"""What is asked of a token endpoint, and what its answers mean: a row for each thing that a ProcessMaker says."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd import oauth
from pmcredd.oauth import MAX_WAIT, Answer, Ended, Meaning, Refusal, Token, TokenRequest
from pmcredd.profiles import ClientAuth, Grant, Profile
from pmcredd.secret import Secret

NOW = 1_800_000_000.0
CLIENT_SECRET = Secret("k9Qh3nXv7LmWz2RtYb6Pc8DfGj4SaEuo1Ti5HxNq")
PASSWORD = Secret('p&ss "wörd"/1<2')
REFRESH_TOKEN = Secret("def502" + "00ab" * 175)
PM4 = Profile("prod", "https://acme.processmaker.net", Grant.PASSWORD, client_id="3", username="integration")
PM3 = Profile(
    "legacy",
    "https://bpm.example.org",
    Grant.PASSWORD,
    generation=3,
    workspace="workflow",
    client_id="x-pm-local-client",
    username="admin",
)
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=UTF-8"}


def _request(profile: Profile, grant_type: str) -> TokenRequest:
    if grant_type == "refresh_token":
        return oauth.token_request(profile, client_secret=CLIENT_SECRET, refresh_token=REFRESH_TOKEN)
    if grant_type == "authorization_code":  # the login makes this one
        code = oauth.token_request(profile, client_secret=CLIENT_SECRET, refresh_token=Secret("code"))
        return replace(code, grant_type=grant_type)
    return oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)


def _read(
    answer: Answer, *, profile: Profile = PM4, grant_type: str | None = None, now: float = NOW
) -> Token | Refusal:
    request = _request(profile, grant_type or profile.grant)
    return oauth.read_answer(profile, request, answer, now=now, secrets=[CLIENT_SECRET, PASSWORD, REFRESH_TOKEN])


def _json(status: int, fields: object, headers: Mapping[str, str] = JSON) -> Answer:
    return Answer(status, headers, json.dumps(fields).encode())


def _html(status: int, title: str) -> Answer:
    return Answer(
        status, HTML, f"<!DOCTYPE html><html><head><title>{title}</title></head><body></body></html>".encode()
    )


def _league(status: int, error: str, text: str, hint: str | None = None) -> Answer:
    """Answer as league/oauth2-server 8 does: the text twice, the hint or none."""
    fields = {"error": error, "error_description": text, "message": text}
    return _json(status, fields if hint is None else {**fields, "hint": hint})


def _jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'typ': 'JWT', 'alg': 'RS256'})}.{part(claims)}.{'s' * 40}"


def _success(**changes: object) -> Answer:
    fields: dict[str, object] = {"token_type": "Bearer", "expires_in": 31536000, "access_token": "abc.def-ghi"}
    fields.update(changes)
    return _json(200, {name: value for name, value in fields.items() if value is not ...})


# ---- requests --------------------------------------------------------------------------------------------------------


def _form(request: TokenRequest) -> dict[str, str]:
    fields = parse_qs(request.body.decode("ascii"), strict_parsing=True, keep_blank_values=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def test_a_password_request_by_basic() -> None:
    """The client goes into the header, as it is, since the server does not url-decode it; the user into the form."""
    request = oauth.token_request(PM4, client_secret=Secret("s:cr%t+é"), password=PASSWORD)
    headers = dict(request.headers)
    assert request.url == "https://acme.processmaker.net/oauth/token"
    assert request.grant_type == "password"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    scheme, _, encoded = headers["authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode() == "3:s:cr%t+é"
    assert _form(request) == {"grant_type": "password", "username": "integration", "password": PASSWORD.reveal()}


def test_a_request_by_body() -> None:
    """With client_auth = "body" nothing is in the header."""
    profile = replace(PM4, client_auth=ClientAuth.BODY, client_id="a:b")
    request = oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)
    assert "authorization" not in dict(request.headers)
    assert _form(request) == {
        "grant_type": "password",
        "username": "integration",
        "password": PASSWORD.reveal(),
        "client_id": "a:b",
        "client_secret": CLIENT_SECRET.reveal(),
    }


def test_a_client_without_a_secret_says_its_name_in_the_body() -> None:
    """RFC 6749 section 3.2.1: a public client has nothing for HTTP Basic."""
    request = oauth.token_request(PM4, client_secret=None, password=PASSWORD)
    assert "authorization" not in dict(request.headers)
    assert _form(request)["client_id"] == "3"


def test_client_credentials() -> None:
    """The grant has no fields of its own."""
    request = oauth.token_request(replace(PM4, grant=Grant.CLIENT_CREDENTIALS), client_secret=CLIENT_SECRET)
    assert _form(request) == {"grant_type": "client_credentials"}


@pytest.mark.parametrize("grant", [Grant.AUTHORIZATION_CODE, Grant.PASSWORD])
def test_a_refresh(grant: Grant) -> None:
    """Whatever the grant, a refresh sends the refresh token and no scope: the old one is meant."""
    request = oauth.token_request(
        replace(PM4, grant=grant, scope="*"), client_secret=CLIENT_SECRET, refresh_token=REFRESH_TOKEN
    )
    assert request.grant_type == "refresh_token"
    assert _form(request) == {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN.reveal()}


@pytest.mark.parametrize(("scope", "sent"), [(None, None), ("", None), ("*", "*"), ("a b", "a b")])
def test_scope_is_sent_if_the_profile_names_one(scope: str | None, sent: str | None) -> None:
    """ProcessMaker 4 answers any scope but * with an error: none is sent unasked."""
    request = oauth.token_request(replace(PM4, scope=scope), client_secret=CLIENT_SECRET, password=PASSWORD)
    assert _form(request).get("scope") == sent


@pytest.mark.parametrize(
    ("changes", "password", "why"),
    [
        ({"grant": Grant.PERSONAL_ACCESS_TOKEN}, None, "without a person"),
        ({"grant": Grant.AUTHORIZATION_CODE}, None, "without a person"),
        ({}, None, "password"),
        ({"username": None}, PASSWORD, "username"),
        ({"client_id": None}, PASSWORD, "client_id"),
        ({"client_id": "a:b"}, PASSWORD, "colon"),
    ],
)
def test_what_cannot_be_asked_is_our_mistake(changes: dict[str, Any], password: Secret | None, why: str) -> None:
    """What the reader of profiles does not let pass raises, and the text tells no secret."""
    with pytest.raises(ValueError, match=why) as caught:
        oauth.token_request(replace(PM4, **changes), client_secret=CLIENT_SECRET, password=password)
    assert CLIENT_SECRET.reveal() not in str(caught.value)


@given(
    secret=st.text(st.characters(exclude_categories=["Cs"])),
    client_id=st.text(st.characters(codec="ascii", exclude_characters=":")),
)
def test_basic_is_what_the_server_splits_at_the_first_colon(secret: str, client_id: str) -> None:
    """For every id without a colon and every secret, the server reads back what we meant."""
    request = oauth.token_request(replace(PM4, client_id=client_id), client_secret=Secret(secret), password=PASSWORD)
    encoded = dict(request.headers)["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode().split(":", 1) == [client_id, secret]


@given(
    username=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    password=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_the_form_is_read_back_as_it_was_meant(username: str, password: str) -> None:
    """For every username and password, PHP's reading of a form gives the same."""
    request = oauth.token_request(
        replace(PM4, username=username), client_secret=CLIENT_SECRET, password=Secret(password)
    )
    assert _form(request) == {"grant_type": "password", "username": username, "password": password}


# ---- success ---------------------------------------------------------------------------------------------------------


def test_success_of_processmaker_4() -> None:
    """Success 200 of generation 4: token_type, expires_in, access_token, refresh_token; a JWT names user and token."""
    token = _jwt(aud="3", jti="a1" * 40, iat=NOW + 0.123456, nbf=NOW, exp=NOW + 31536000.123456, sub="1", scopes=[])
    found = _read(_success(access_token=token, refresh_token=REFRESH_TOKEN.reveal(), expires_in=31622400))
    assert found == Token(
        Secret(token), "Bearer", 31622400.0, REFRESH_TOKEN, None, "1", "a1" * 40, NOW + 31536000.123456
    )


def test_success_of_client_credentials_has_no_user() -> None:
    """refresh_token is absent for client_credentials, and sub "" is the proof that the token has no user."""
    found = _read(_success(access_token=_jwt(jti="a1", exp=NOW + 9, sub="")))
    assert isinstance(found, Token)
    assert found.refresh_token is None
    assert found.sub == ""


def test_success_of_processmaker_3() -> None:
    """Success of generation 3: token_type "bearer" in lower case, scope (may be null), opaque tokens."""
    access, refresh = "0f" * 20, "1e" * 20
    answer = _json(
        200,
        {"access_token": access, "expires_in": 86400, "token_type": "bearer", "scope": None, "refresh_token": refresh},
    )
    assert _read(answer, profile=PM3) == Token(Secret(access), "Bearer", 86400.0, Secret(refresh))


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
    found = _read(Answer(200, JSON, text.replace('"expires_in": 0', f'"expires_in": {number}').encode()))
    assert isinstance(found, Token)
    assert found.expires_in == seconds


def test_the_lifetime_is_read_off_the_token_if_nothing_else_tells_it() -> None:
    """Exp less iat, both by the server's clock, stands in for a missing expires_in, and only for a missing one."""
    token = _jwt(iat=NOW - 10_000, exp=NOW - 9_400, sub="1")
    missing, told = _read(_success(access_token=token, expires_in=...)), _read(_success(access_token=token))
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
    found = _read(_success(access_token=_jwt(**claims)))
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
    found = _read(_success(access_token=token))
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
    found = _read(_success(**changes))
    assert found == Token(Secret("abc.def-ghi"), "Bearer", 31536000.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(_success(access_token=...), "access_token is missing", id="no access_token"),
        pytest.param(_success(access_token=None), "access_token is missing", id="null"),
        pytest.param(_success(access_token=""), "access_token is missing", id="empty"),
        pytest.param(_success(access_token=["abc"]), "access_token is missing", id="a list"),
        pytest.param(_success(access_token="a b"), "no bearer token may hold", id="a space"),
        pytest.param(_success(access_token="a\r\nX-Evil: 1"), "no bearer token may hold", id="a header"),
        pytest.param(_success(access_token="abc\n"), "no bearer token may hold", id="a newline at the end"),
        pytest.param(_success(access_token="a=b"), "no bearer token may hold", id="= inside"),
        pytest.param(_success(access_token="tökén"), "no bearer token may hold", id="not ASCII"),
        pytest.param(_success(token_type="mac"), "token_type is not Bearer", id="mac"),
        pytest.param(_success(token_type=None), "token_type is not Bearer", id="null type"),
        pytest.param(_success(token_type=7), "token_type is not Bearer", id="type 7"),
        pytest.param(_json(200, {"error": "invalid_grant"}), "access_token is missing", id="an error in a 200"),
        pytest.param(_json(201, {}), "access_token is missing", id="201"),
    ],
)
def test_a_success_without_a_usable_token_is_in_doubt(answer: Answer, why: str) -> None:
    """The server acted, or may have, and what it gave cannot be used."""
    found = _read(answer)
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
    found = _read(Answer(200, JSON, body))
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
    assert isinstance(_read(replace(_success(), headers={"content-type": kind})), Token)


@pytest.mark.parametrize("headers", [{}, HTML, {"content-type": "text/json"}, {"content-type": "text/plain"}])
def test_what_does_not_say_json_is_none(headers: dict[str, str]) -> None:
    """A page that happens to hold JSON is not taken for an answer of the token endpoint."""
    found = _read(replace(_success(), headers=headers))
    assert isinstance(found, Refusal)
    assert found.meaning is Meaning.NOT_JSON


def test_small_accidents_of_encoding_cost_no_token() -> None:
    """A byte order mark is overlooked; of a key that comes twice the last counts, as for PHP and JavaScript."""
    body = b'\xef\xbb\xbf{"access_token":"old","access_token":"new","token_type":"Bearer"}'
    found = _read(Answer(200, JSON, body))
    assert isinstance(found, Token)
    assert found.access_token == Secret("new")


# ---- every refusal ---------------------------------------------------------------------------------------------------

CLIENT = "Client authentication failed"
INVALID = (
    "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than "
    "once, or is otherwise malformed."
)
DEAD = "The refresh token is invalid."
USER = "The user credentials were incorrect."
UNSUPPORTED = "The authorization grant type is not supported by the authorization server."
LARAVEL_405 = "The POST method is not supported for route workflow/oauth2/token. Supported methods: GET, HEAD."
CODE = replace(PM4, grant=Grant.AUTHORIZATION_CODE)
SYSTEM = replace(PM4, grant=Grant.CLIENT_CREDENTIALS)
REFRESH = "refresh_token"
EXCHANGE = "authorization_code"


def _restler(code: int, message: str) -> Answer:
    return _json(code, {"error": {"code": code, "message": message}})


def _row(
    row: str,
    answer: Answer,
    meaning: Meaning,
    ended: Ended = Ended.REFUSED,
    *,
    profile: Profile = PM4,
    grant_type: str | None = None,
    mend: str = "",
) -> Any:
    return pytest.param(answer, meaning, ended, profile, grant_type, mend, id=row)


ROWS = [
    # ProcessMaker 4: league/oauth2-server 7 and 8 under Laravel Passport
    _row(
        "wrong id/secret, revoked client, client not allowed the grant: 401 invalid_client",
        _league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        mend="in Admin > Auth Clients the client needs the Password box ticked",
    ),
    _row(
        "Authorization Code ticked together with Password: the code exchange gives 401 invalid_client",
        _league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=CODE,
        grant_type=EXCHANGE,
        mend="the browser was let in, so client_id is right: in Admin > Auth Clients the client needs the "
        "Authorization Code box ticked and no other (use one client for each grant); if that is so, check",
    ),
    _row(
        "Delete client: refresh => 401 invalid_client",
        _league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=CODE,
        grant_type=REFRESH,
        mend="check client_id and client_secret: pmcred profile edit prod",
    ),
    _row(
        "client_credentials with a wrong secret: 401 invalid_client",
        _league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=SYSTEM,
        mend="the client must exist in Admin > Auth Clients",
    ),
    _row(
        "missing client_id etc.: 400 invalid_request, hint Check the `x` parameter",
        _league(400, "invalid_request", INVALID, "Check the `client_id` parameter"),
        Meaning.BAD_REQUEST,
        mend="look at client_id",
    ),
    _row(
        "empty username reads as missing: 400 invalid_request",
        _league(400, "invalid_request", INVALID, "Check the `username` parameter"),
        Meaning.BAD_REQUEST,
        mend="look at username, which may not be empty: pmcred profile edit prod",
    ),
    _row(
        "empty refresh_token reads as missing: 400 invalid_request is no dead token",
        _league(400, "invalid_request", INVALID, "Check the `refresh_token` parameter"),
        Meaning.BAD_REQUEST,
        profile=CODE,
        grant_type=REFRESH,
        mend="a front end alters requests",
    ),
    _row(
        "unknown/disabled grant, no grant_type, unparsed body: 400 unsupported_grant_type (password: 4.14.0, 4.14.1)",
        _league(400, "unsupported_grant_type", UNSUPPORTED, "Check that all required parameters have been provided"),
        Meaning.GRANT_NOT_ALLOWED,
        mend="4.14.0 and 4.14.1 switch the password grant off",
    ),
    _row(
        "unsupported_grant_type for another grant",
        _league(400, "unsupported_grant_type", UNSUPPORTED, "Check that all required parameters have been provided"),
        Meaning.GRANT_NOT_ALLOWED,
        profile=SYSTEM,
        mend="a front end drops the request's body",
    ),
    _row(
        "bad user password (>= 4.3): 400 invalid_grant",
        _league(400, "invalid_grant", USER),
        Meaning.BAD_USER,
        mend="SSO or LDAP",
    ),
    _row(
        'hint may be present as "" in some invalid_grant answers',
        _league(400, "invalid_grant", USER, ""),
        Meaning.BAD_USER,
        mend="not the e-mail address",
    ),
    _row(
        "bad user password (4.0-4.1.x): 401 invalid_credentials",
        _league(401, "invalid_credentials", USER),
        Meaning.BAD_USER,
        mend="check username",
    ),
    *(
        _row(
            f"dead refresh token (every PM4 so far): 401 invalid_request, {hint}",
            _league(401, "invalid_request", DEAD, hint),
            Meaning.DEAD_REFRESH_TOKEN,
            profile=CODE,
            grant_type=REFRESH,
            mend="pmcred login prod",
        )
        for hint in (
            "Cannot decrypt the refresh token",
            "Token is not linked to client",
            "Token has expired",
            "Token has been revoked",
            None,
        )
    ),
    _row(
        "dead refresh token told by its hint alone",
        _json(401, {"error": "invalid_request", "hint": "Token has been revoked"}),
        Meaning.DEAD_REFRESH_TOKEN,
        profile=CODE,
        grant_type=REFRESH,
        mend="pmcred login prod",
    ),
    _row(
        "an invalid_request on a refresh that says nothing of the token keeps the token",
        _json(401, {"error": "invalid_request"}),
        Meaning.BAD_REQUEST,
        profile=CODE,
        grant_type=REFRESH,
    ),
    *(
        _row(
            f"bad, expired, reused auth code: 400 invalid_request, {hint}",
            _league(400, "invalid_request", INVALID, hint),
            Meaning.BAD_CODE,
            profile=CODE,
            grant_type=EXCHANGE,
            mend=f"{trap}: pmcred login prod",
        )
        for hint, trap in (
            ("Cannot decrypt the authorization code", "the address was not copied whole, or the server has a new key"),
            ("Authorization code has expired", "a code lives ten minutes at most, so finish the login at once"),
            ("Authorization code has been revoked", "a code works once, and this one was used before"),
            ("Authorization code was not issued to this client", "client_id was changed while the login waited"),
        )
    ),
    _row(
        "PKCE verifier wrong: 400 invalid_grant, hint Failed to verify `code_verifier`.",
        _league(400, "invalid_grant", INVALID, "Failed to verify `code_verifier`."),
        Meaning.BAD_CODE,
        profile=CODE,
        grant_type=EXCHANGE,
        mend="the code is from another login than the one it was handed to: pmcred login prod",
    ),
    _row(
        "unknown scope: 400 invalid_scope, hint Check the `x` scope",
        _league(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed", "Check the `x` scope"),
        Meaning.BAD_SCOPE,
        profile=replace(PM4, scope="x"),
        mend="remove scope",
    ),
    _row(
        "broken keys, DB down: 500 JSON",
        _json(500, {"message": "Server Error"}),
        Meaning.SERVER_ERROR,
        Ended.UNKNOWN,
        mend="the server's own log",
    ),
    _row("broken keys, DB down: 500 HTML", _html(500, "Server Error"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("throttled: 429 JSON", _json(429, {"message": "Too Many Attempts."}), Meaning.THROTTLED),
    _row("throttled: 429 HTML", _html(429, "Too Many Requests"), Meaning.THROTTLED),
    _row("maintenance: 503 JSON", _json(503, {"message": "Service Unavailable"}), Meaning.MAINTENANCE),
    _row("maintenance: 503 HTML", _html(503, "Service Unavailable"), Meaning.MAINTENANCE),
    _row(
        "maintenance --render: a bare HTML body could be any front end's",
        _html(503, "We are back soon"),
        Meaning.MAINTENANCE,
        Ended.UNKNOWN,
    ),
    _row(
        "maintenance --redirect makes it a 302; GET /oauth/token => 302 to /login",
        Answer(302, {**HTML, "location": "https://acme.processmaker.net/login"}, b""),
        Meaning.REDIRECT,
        mend="the server is in maintenance, or url or token_path is wrong",
    ),
    _row(
        "the API's 401 {error: Unauthenticated.} at a wrong token_path",
        _json(401, {"error": "Unauthenticated."}),
        Meaning.WRONG_URL,
        mend="check url and token_path",
    ),
    _row(
        "/oauth/token/refresh by mistake: the cookie's endpoint asks for a session",
        _json(401, {"error": "Unauthenticated."}),
        Meaning.WRONG_URL,
        profile=replace(PM4, token_path="/oauth/token/refresh"),
        mend="set token_path to /oauth/token",
    ),
    _row(
        '/oauth/token/refresh by mistake answers text "Refreshed."',
        Answer(200, {"content-type": "text/html; charset=UTF-8"}, b"Refreshed."),
        Meaning.NOT_JSON,
        Ended.UNKNOWN,
        profile=replace(PM4, token_path="/oauth/token/refresh"),
        mend="set token_path to /oauth/token",
    ),
    _row("Another 401: {message: Unauthorized}", _json(401, {"message": "Unauthorized"}), Meaning.WRONG_URL),
    _row("api fallback 404: {error: Not Found}", _json(404, {"error": "Not Found"}), Meaning.WRONG_URL),
    _row("404 HTML", _html(404, "Page not found"), Meaning.WRONG_URL, mend="set generation = 3"),
    _row("405 of Laravel", _json(405, {"message": LARAVEL_405}), Meaning.WRONG_URL, mend="check url and token_path"),
    _row("419: the guard of web forms", _json(419, {"message": "CSRF token mismatch."}), Meaning.WRONG_URL),
    _row("403 {message}: permission", _json(403, {"message": "This action is unauthorized."}), Meaning.BAD_REQUEST),
    _row("422 {message, errors}", _json(422, {"message": "x", "errors": {"a": ["b"]}}), Meaning.BAD_REQUEST),
    _row("400 Invalid Host Header", Answer(400, HTML, b"Invalid Host Header"), Meaning.NOT_JSON, mend="check url"),
    # ProcessMaker 3: bshaffer/oauth2-server and Restler
    _row(
        "3.x wrong client => 400 invalid_client (not 401)",
        _json(400, {"error": "invalid_client", "error_description": "The client credentials are invalid"}),
        Meaning.BAD_CLIENT,
        profile=PM3,
        mend="Admin > REST applications",
    ),
    *(
        _row(
            f"3.x dead refresh => 400 invalid_grant {text}",
            _json(400, {"error": "invalid_grant", "error_description": text}),
            Meaning.DEAD_REFRESH_TOKEN,
            profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
            grant_type=REFRESH,
            mend="pmcred login legacy",
        )
        for text in ("Invalid refresh token", "Refresh token has expired")
    ),
    _row(
        "3.x bad password => 400 invalid_grant",
        _json(400, {"error": "invalid_grant", "error_description": "Invalid username and password combination"}),
        Meaning.BAD_USER,
        profile=PM3,
        mend="pmcred profile edit legacy",
    ),
    _row(
        "3.x bad code => 400 invalid_grant, with error_uri",
        _json(400, {"error": "invalid_grant", "error_description": "x", "error_uri": "http://tools.ietf.org/x"}),
        Meaning.BAD_CODE,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
    ),
    *(
        _row(
            f"3.x bad code => 400 invalid_grant {text}",
            _json(400, {"error": "invalid_grant", "error_description": text}),
            Meaning.BAD_CODE,
            profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
            grant_type=EXCHANGE,
            mend=f"{trap}: pmcred login legacy",
        )
        for text, trap in (
            ("Authorization code doesn't exist or is invalid for the client", "or belongs to another client"),
            ("The authorization code has expired", "a code lives ten minutes at most, so finish the login at once"),
        )
    ),
    _row(
        "3.x another redirect URI => 400 redirect_uri_mismatch",
        _json(400, {"error": "redirect_uri_mismatch", "error_description": "x"}),
        Meaning.BAD_REQUEST,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
        mend="in Admin > REST applications the callback URL must be the profile's redirect_uri, port included",
    ),
    _row(
        "3.x wrong secret at the exchange of a code",
        _json(400, {"error": "invalid_client", "error_description": "The client credentials are invalid"}),
        Meaning.BAD_CLIENT,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
        mend="check client_id and client_secret: pmcred profile edit legacy",
    ),
    _row(
        "3.x unsupported_grant_type 400",
        _json(400, {"error": "unsupported_grant_type", "error_description": "Grant type not supported"}),
        Meaning.GRANT_NOT_ALLOWED,
        profile=PM3,
        mend="use another grant",
    ),
    _row(
        "3.x unauthorized_client 400",
        _json(400, {"error": "unauthorized_client", "error_description": "The grant type is unauthorized"}),
        Meaning.GRANT_NOT_ALLOWED,
        profile=PM3,
        mend="allow the client this grant in Admin > REST applications",
    ),
    _row(
        "3.x non-POST 405",
        _json(405, {"error": "invalid_request", "error_description": "The request method must be POST"}),
        Meaning.BAD_REQUEST,
        profile=PM3,
    ),
    _row("3.x API 401: error is an OBJECT", _restler(401, "Unauthorized"), Meaning.WRONG_URL, profile=PM3),
    _row("3.x API 404: error is an OBJECT", _restler(404, "Not Found"), Meaning.WRONG_URL, profile=PM3),
    _row("3.x API 403 likewise", _restler(403, "Forbidden"), Meaning.BAD_REQUEST, profile=PM3),
    _row(
        "3.x Upgrade in progress: 503, on the token endpoint too",
        _restler(503, "Service Unavailable: upgrade in progress"),
        Meaning.MAINTENANCE,
        profile=PM3,
    ),
    # the wrong generation
    _row(
        "generation 4 asked of a ProcessMaker 3: its login page",
        Answer(302, {"location": "/sysworkflow/en/neoclassic/login/login"}, b""),
        Meaning.REDIRECT,
        mend="if this is ProcessMaker 3, set generation = 3 and workspace",
    ),
    _row("generation 4 gets an error object", _restler(401, "Unauthorized"), Meaning.WRONG_URL, mend="generation = 3"),
    _row(
        "generation 4 gets 400 invalid_client",
        _json(400, {"error": "invalid_client", "error_description": "x"}),
        Meaning.BAD_CLIENT,
        mend="if this is ProcessMaker 3, set generation = 3",
    ),
    _row(
        "generation 3 asked of a ProcessMaker 4: 405",
        _json(405, {"message": LARAVEL_405}),
        Meaning.WRONG_URL,
        profile=PM3,
        mend="if this is ProcessMaker 4, set generation = 4",
    ),
    _row("generation 3 gets 404 HTML", _html(404, "Oops"), Meaning.WRONG_URL, profile=PM3, mend="generation = 4"),
    _row(
        "generation 3 gets 401 invalid_client",
        _league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=PM3,
        mend="if this is ProcessMaker 4, set generation = 4",
    ),
    # league/oauth2-server 9
    _row(
        "league 9: dead refresh => 400 invalid_grant, message field gone",
        _json(400, {"error": "invalid_grant", "error_description": DEAD, "hint": "Token has been revoked"}),
        Meaning.DEAD_REFRESH_TOKEN,
        profile=CODE,
        grant_type=REFRESH,
        mend="pmcred login prod",
    ),
    _row(
        "league 9: bad code => invalid_grant",
        _json(400, {"error": "invalid_grant", "hint": "Authorization code has expired"}),
        Meaning.BAD_CODE,
        profile=CODE,
        grant_type=EXCHANGE,
    ),
    _row(
        "league 9: unauthorized_client may appear",
        _json(400, {"error": "unauthorized_client", "error_description": "x"}),
        Meaning.GRANT_NOT_ALLOWED,
        mend="allow the client this grant in Admin > Auth Clients",
    ),
    # front ends
    _row("502 of a front end", _html(502, "502 Bad Gateway"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("504 of a front end", _html(504, "504 Gateway Time-out"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("520 of a front end", _html(520, "x"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("408 of a front end", _html(408, "408 Request Time-out"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("503 of Varnish", _html(503, "503 Backend fetch failed"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("503 of Apache", _html(503, "503 Service Unavailable"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("503 of Envoy", Answer(503, {}, b"upstream connect error"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("403 of a firewall", _html(403, "Forbidden"), Meaning.NOT_JSON, mend="a front end (proxy, firewall)"),
    _row("401 of a front end's own login", _html(401, "Authorization Required"), Meaning.NOT_JSON, mend="a front end"),
    _row("413 HTML", _html(413, "Too Large"), Meaning.NOT_JSON),
    _row(
        "200 HTML: wrong URL", _html(200, "Welcome"), Meaning.NOT_JSON, Ended.UNKNOWN, mend="check url and token_path"
    ),
    _row("204", Answer(204, {}, b""), Meaning.NOT_JSON, Ended.UNKNOWN),
    _row("101", Answer(101, {}, b""), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    # errors of no known kind
    _row("an unknown error", _json(400, {"error": "no_such_word"}), Meaning.BAD_REQUEST),
    _row("slow_down", _json(400, {"error": "slow_down"}), Meaning.THROTTLED),
    _row("temporarily_unavailable", _json(400, {"error": "temporarily_unavailable"}), Meaning.MAINTENANCE),
    _row("server_error in a 400", _json(400, {"error": "server_error"}), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("server_error in a 500", _json(500, {"error": "server_error"}), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row(
        "invalid_grant for client_credentials",
        _json(400, {"error": "invalid_grant"}),
        Meaning.BAD_REQUEST,
        profile=SYSTEM,
    ),
    _row("error is a list", _json(400, {"error": ["invalid_client"]}), Meaning.BAD_REQUEST),
    _row(
        "error is a number",
        _json(400, {"error": 7, "error_description": 8, "hint": 9, "message": []}),
        Meaning.BAD_REQUEST,
    ),
    _row("error object without words", _json(400, {"error": {"message": 7}}), Meaning.BAD_REQUEST),
    _row(
        "a body that is not UTF-8 keeps its meaning",
        Answer(400, JSON, b'{"error":"invalid_grant","error_description":"contrase\xf1a"}'),
        Meaning.BAD_USER,
    ),
]


@pytest.mark.parametrize(("answer", "meaning", "ended", "profile", "grant_type", "mend"), ROWS)
def test_every_refusal(
    answer: Answer, meaning: Meaning, ended: Ended, profile: Profile, grant_type: str | None, mend: str
) -> None:
    """Each answer is understood by meaning, and whether the server can have acted; it names the host and a mend."""
    found = _read(answer, profile=profile, grant_type=grant_type)
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (meaning, ended)
    assert found.sentence.startswith(profile.url.removeprefix("https://"))
    assert f"({answer.status}" in found.sentence
    assert mend in found.mend
    assert bool(found.mend) is (meaning not in {Meaning.THROTTLED, Meaning.MAINTENANCE})


def test_the_server_s_own_words_are_quoted() -> None:
    """Error, description and hint reach the person who has to mend it."""
    found = _read(_league(401, "invalid_request", DEAD, "Token has been revoked"), profile=CODE, grant_type=REFRESH)
    assert isinstance(found, Refusal)
    assert found.sentence == (
        "acme.processmaker.net no longer takes the refresh token of profile prod: "
        '"The refresh token is invalid; Token has been revoked" (401 invalid_request)'
    )


def test_a_hint_is_quoted_without_the_boilerplate_before_it() -> None:
    """Three lines of RFC 6749 that say nothing do not hide the word that does."""
    found = _read(_league(400, "invalid_request", INVALID, "Check the `username` parameter"))
    assert isinstance(found, Refusal)
    assert ': "Check the `username` parameter" (400 invalid_request)' in found.sentence


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "location", "where", "mend"),
    [
        pytest.param(
            "http://localhost:8080",
            "https://localhost:8443/oauth/token",
            "to https://localhost:8443/oauth/token",
            'set url = "https://localhost:8443"',
            id="http to https",
        ),
        pytest.param(
            "https://acme.com/pm",
            "https://www.acme.com/pm/oauth/token?state=s#x",
            "to https://www.acme.com/pm/oauth/token",
            'set url = "https://www.acme.com/pm"',
            id="another name of the host",
        ),
        pytest.param(
            "https://acme.com",
            "/pm/oauth/token",
            "to https://acme.com/pm/oauth/token",
            'set url = "https://acme.com/pm"',
            id="a sub-path",
        ),
        pytest.param(
            "https://acme.com",
            "http://acme.com/oauth/token",
            "to http://acme.com/oauth/token",
            "plain http",
            id="https to http is never advised",
        ),
        pytest.param(
            "https://acme.com", "/login?next=/x", "to https://acme.com/login", "maintenance", id="the login page"
        ),
        pytest.param("https://acme.com", "//evil.example/x", "to https://evil.example/x", "check url", id="elsewhere"),
        pytest.param("https://acme.com", "https://u:p@h/x", "to https://h/x", "check url", id="a password in it"),
        pytest.param("https://acme.com", "https://[::1]:5/x", "to https://[::1]:5/x", "check url", id="IPv6"),
        pytest.param("https://acme.com", "https://h/\x1b[31m\u202ex", "to https://h/", "check url", id="escapes"),
        pytest.param("https://acme.com", "https://h/" + "y" * 900, "...", "check url", id="endless"),
        pytest.param("https://acme.com", None, "to nowhere", "check url", id="no Location"),
        pytest.param("https://acme.com", "", "to nowhere", "check url", id="empty"),
        pytest.param("https://acme.com", "https://[", "to nowhere", "check url", id="no URL"),
        pytest.param("https://acme.com", "https://h:99999/x", "to nowhere", "check url", id="no port"),
        pytest.param("https://acme.com", "javascript:alert(1)", "to nowhere", "check url", id="no http"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(url: str, location: str | None, where: str, mend: str, status: int) -> None:
    """Host and path are told, nothing else of it; if it is just a better spelling of url, that is advised."""
    answer = Answer(status, {} if location is None else {"location": location}, b"")
    found = _read(answer, profile=replace(PM4, url=url))
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (Meaning.REDIRECT, Ended.REFUSED)
    assert where in found.sentence
    assert mend in found.mend
    assert "pmcred profile edit prod" in found.mend
    told = found.sentence + found.mend
    assert told.isprintable()
    assert not any(hidden in told for hidden in ("state=", "u:p", "next="))


# ---- headers ---------------------------------------------------------------------------------------------------------

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "86400"}, MAX_WAIT),
        ({"retry-after": "99999999"}, MAX_WAIT),
        ({"retry-after": "9" * 90}, MAX_WAIT),
        ({"retry-after": "9" * 9000}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 7"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT"}, 60.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT", "date": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT", "date": "rubbish"}, 60.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 15 Jan 2094 08:00:00 GMT"}, MAX_WAIT),
        ({"retry-after": "Fri, 99 Jan 99999 99:99:99 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date (by the server's own clock), and never a wait that nobody can mean."""
    found = _read(Answer(429, headers, b""))
    assert isinstance(found, Refusal)
    assert found.retry_after == seconds


@given(st.text())
def test_no_header_is_too_odd(text: str) -> None:
    """Whatever a header holds, it becomes a number within bounds or nothing."""
    answer = Answer(503, {"retry-after": text, "date": text, "x-ratelimit-remaining": text, "location": text}, b"")
    found = _read(answer)
    assert isinstance(found, Refusal)
    assert found.retry_after is None or 0 <= found.retry_after <= MAX_WAIT
    remaining = oauth.rate_remaining(answer)
    assert remaining is None or 0 <= remaining < 10**9


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (DATE, NOW),
        ("Friday, 15-Jan-27 08:00:00 GMT", NOW),
        ("Fri Jan 15 08:00:00 2027", NOW),
        ("Fri, 15 Jan 2027 09:00:00 +0100", NOW),
        ("", None),
        ("now", None),
        ("Fri, 15 Jan 2027 08:00:00 GMT" + " " * 90, None),
        ("Fri, 15 Jän 2027 08:00:00 GMT", None),
    ],
)
def test_server_date(text: str, moment: float | None) -> None:
    """The three forms of RFC 9110 section 5.6.7 are understood, rubbish is no date."""
    assert oauth.server_date(Answer(200, {"date": text}, b"")) == moment


@pytest.mark.parametrize(
    ("text", "count"), [("57", 57), ("0", 0), (" 3 ", 3), ("-1", None), ("", None), ("x", None), ("1" * 10, None)]
)
def test_rate_remaining(text: str, count: int | None) -> None:
    """The throttle's header is a small natural number or nothing."""
    assert oauth.rate_remaining(Answer(200, {"x-ratelimit-remaining": text}, b"")) == count


# ---- personal access tokens ------------------------------------------------------------------------------------------


def test_a_personal_access_token_tells_its_own_life() -> None:
    """Its JWT says whose it is and when it ends; one past its end has no second left."""
    token = Secret(_jwt(sub="5", jti="ff00", exp=NOW + 1000.5))
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


# ---- text for people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain words", "plain words"),
        ("two\nlines\tand\r\n more  spaces", "two lines and more spaces"),
        ("red \x1b[31malert\x1b[0m", "red ?alert?"),
        ("title \x1b]0;pwned\x07 set", "title ? set"),
        ("C1 \x9b31m and \x85", "C1 ? and"),
        ("nul\0bell\x07del\x7f", "nul?bell?del?"),
        ("left \u202eright\u2066 mark\u200f", "left ?right? mark?"),
        ("zero\u200bwidth \ufeff", "zero?width ?"),
        ("line\u2028separator", "line separator"),
        ("lone \udcff surrogate", "lone ? surrogate"),
        ("contraseña ключ 🔑", "contraseña ключ 🔑"),
        ("token eyJ0eXAiOiJKV1Qi.abc-_.d=e end", "token **** end"),
        ("refresh def50200abcdef00abcdef end", "refresh **** end"),
        ("opaque " + "0f" * 20 + " end", "opaque **** end"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        ("", ""),
    ],
)
def test_a_server_s_text_is_made_fit_for_people(text: str, cleaned: str) -> None:
    """No control, no direction, no token gets through, and no more than 200 characters."""
    assert oauth.clean(text, []) == cleaned


SPELLINGS: list[Callable[[str], str]] = [
    str,
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    str.upper,
]


@pytest.mark.parametrize("spell", SPELLINGS, ids=range(len(SPELLINGS)))
def test_a_secret_is_masked_however_it_is_written(spell: Callable[[str], str]) -> None:
    """A server that repeats the password, in any of the spellings of the web, does not bring it to the screen."""
    text = f"no user with {spell(PASSWORD.reveal())} here"
    assert oauth.clean(text, [PASSWORD]).replace('"', "").rstrip("=") in {
        "no user with **** here",
        "no user with ****= here",
        "no user with ****== here",
    }


def test_the_longest_secret_is_masked_first() -> None:
    """A secret that another begins with does not leave the other's end to be read."""
    assert oauth.clean("it was hunter2-extended", [Secret("hunter2"), Secret("hunter2-extended")]) == "it was ****"


def test_a_secret_of_several_words_is_masked_across_lines() -> None:
    """A server that wraps its lines does not undo the mask."""
    assert oauth.clean("it was correct\n  horse battery", [Secret("correct horse battery")]) == "it was ****"


def test_a_text_with_a_tiny_secret_is_withheld() -> None:
    """Cutting three letters out of a sentence would only mark them."""
    assert "e" not in oauth.clean("the user credentials", [Secret("e"), Secret("")]).replace(
        "withheld: it holds a secret", ""
    )
    assert oauth.clean("the user credentials", [Secret("xyz"), Secret("")]) == "the user credentials"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500, 503])
def test_no_refusal_tells_what_was_sent(status: int) -> None:
    """A server, or a debug page, that echoes the whole request: form, header and all: nothing of it reaches people."""
    request = _request(PM4, "password")
    echo = request.body.decode() + " " + dict(request.headers)["authorization"] + " " + PASSWORD.reveal()
    for answer in (
        _json(
            status, {"error": echo, "error_description": echo, "hint": echo}, {**JSON, "location": f"https://h/{echo}"}
        ),
        _json(status, {"error": {"message": echo}}),
        _html(status, quote_plus(echo) + PASSWORD.reveal()),
    ):
        found = _read(answer)
        assert isinstance(found, Refusal)
        told = found.sentence + found.mend + repr(found)
        for secret in (CLIENT_SECRET.reveal(), PASSWORD.reveal(), quote_plus(PASSWORD.reveal())):
            assert secret not in told
        assert dict(request.headers)["authorization"].removeprefix("Basic ") not in told


@given(
    text=st.text(max_size=300),
    secret=st.text(min_size=4, max_size=40),
    around=st.tuples(st.text(max_size=20), st.text(max_size=20)),
)
def test_clean_keeps_its_promises_for_every_text(text: str, secret: str, around: tuple[str, str]) -> None:
    """Always printable, always short, and a secret that is no part of the mask or the marks is never in it."""
    cleaned = oauth.clean(around[0] + secret + around[1] + text, [Secret(secret)])
    assert cleaned.isprintable()
    assert len(cleaned) <= 200
    if len(set(secret) - set("*?. ")) > 1:
        assert secret not in cleaned


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "eyJ", "def502", "<title>", "a", "\x1b]0", "****"])
def test_a_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    """A quarter of a megabyte made to slow the patterns down is cleaned in one pass (else this takes hours)."""
    text = piece * (262144 // len(piece))
    assert len(oauth.clean(text, [CLIENT_SECRET, PASSWORD])) <= 200
    found = _read(Answer(503, HTML, text.encode()))
    assert isinstance(found, Refusal)


@given(body=st.binary(max_size=200), status=st.integers(100, 599), json_type=st.booleans())
def test_every_answer_becomes_a_value(body: bytes, status: int, json_type: bool) -> None:
    """Whatever bytes come with whatever status, nothing is raised."""
    assert isinstance(_read(Answer(status, JSON if json_type else HTML, body)), Token | Refusal)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "scope",
    "error",
    "error_description",
    "message",
    "hint",
]


@given(
    fields=st.dictionaries(st.sampled_from(NAMES), JSON_VALUES),
    status=st.sampled_from([200, 400, 401, 404, 429, 500, 503]),
)
def test_every_json_answer_becomes_a_value(fields: dict[str, object], status: int) -> None:
    """Whatever JSON stands where OAuth has strings and numbers, nothing is raised and every text is fit for people."""
    found = _read(_json(status, fields))
    if isinstance(found, Refusal):
        assert found.sentence.isprintable()
        assert len(found.sentence) < 500
    else:
        assert oauth.is_b64token(found.access_token.reveal())


def test_it_is_cheap_to_load() -> None:
    """The daemon's start pays for what every run needs, and for nothing that few answers need."""
    late = "{'email.utils', 'logging', 'httpx', 'trio', 'socket', 'ssl'}"
    code = f"import sys; before = set(sys.modules); import pmcredd.oauth; print(*{late} & set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
