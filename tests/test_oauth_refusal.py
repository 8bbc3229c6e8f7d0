"""What each refusal of a ProcessMaker means: a row for each thing that one says."""

from dataclasses import replace
from typing import Any

import pytest
from support.token_answers import HTML, JSON, PM3, PM4, html_answer, json_answer, read

from pmcredd.oauth import Answer, Ended, Meaning, Refusal
from pmcredd.profiles import FileSecret, Grant, Profile


def league(status: int, error: str, text: str, hint: str | None = None) -> Answer:
    """Answer as league/oauth2-server 8 does: the text twice, the hint or none."""
    fields = {"error": error, "error_description": text, "message": text}
    return json_answer(status, fields if hint is None else {**fields, "hint": hint})


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
    return json_answer(code, {"error": {"code": code, "message": message}})


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
        league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        mend="in Admin > Auth Clients the client needs the Password box ticked",
    ),
    _row(
        "Authorization Code ticked together with Password: the code exchange gives 401 invalid_client",
        league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=CODE,
        grant_type=EXCHANGE,
        mend="the browser was let in, so client_id is right: in Admin > Auth Clients the client needs the "
        "Authorization Code box ticked and no other (use one client for each grant); if that is so, check",
    ),
    _row(
        "Delete client: refresh => 401 invalid_client",
        league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=CODE,
        grant_type=REFRESH,
        mend="check client_id and client_secret: pmcred profile edit prod",
    ),
    _row(
        "client_credentials with a wrong secret: 401 invalid_client",
        league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=SYSTEM,
        mend="the client must exist in Admin > Auth Clients",
    ),
    _row(
        "missing client_id etc.: 400 invalid_request, hint Check the `x` parameter",
        league(400, "invalid_request", INVALID, "Check the `client_id` parameter"),
        Meaning.BAD_REQUEST,
        mend="look at client_id",
    ),
    _row(
        "empty username reads as missing: 400 invalid_request",
        league(400, "invalid_request", INVALID, "Check the `username` parameter"),
        Meaning.BAD_REQUEST,
        mend="look at username, which may not be empty: pmcred profile edit prod",
    ),
    _row(
        "empty refresh_token reads as missing: 400 invalid_request is no dead token",
        league(400, "invalid_request", INVALID, "Check the `refresh_token` parameter"),
        Meaning.BAD_REQUEST,
        profile=CODE,
        grant_type=REFRESH,
        mend="a front end alters requests",
    ),
    _row(
        "unknown/disabled grant, no grant_type, unparsed body: 400 unsupported_grant_type (password: 4.14.0, 4.14.1)",
        league(400, "unsupported_grant_type", UNSUPPORTED, "Check that all required parameters have been provided"),
        Meaning.GRANT_NOT_ALLOWED,
        mend="4.14.0 and 4.14.1 switch the password grant off",
    ),
    _row(
        "unsupported_grant_type for another grant",
        league(400, "unsupported_grant_type", UNSUPPORTED, "Check that all required parameters have been provided"),
        Meaning.GRANT_NOT_ALLOWED,
        profile=SYSTEM,
        mend="a front end drops the request's body",
    ),
    _row(
        "bad user password (>= 4.3): 400 invalid_grant",
        league(400, "invalid_grant", USER),
        Meaning.BAD_USER,
        mend="SSO or LDAP",
    ),
    _row(
        'hint may be present as "" in some invalid_grant answers',
        league(400, "invalid_grant", USER, ""),
        Meaning.BAD_USER,
        mend="not the e-mail address",
    ),
    _row(
        "bad user password (4.0-4.1.x): 401 invalid_credentials",
        league(401, "invalid_credentials", USER),
        Meaning.BAD_USER,
        mend="check username",
    ),
    *(
        _row(
            f"dead refresh token (every PM4 so far): 401 invalid_request, {hint}",
            league(401, "invalid_request", DEAD, hint),
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
        json_answer(401, {"error": "invalid_request", "hint": "Token has been revoked"}),
        Meaning.DEAD_REFRESH_TOKEN,
        profile=CODE,
        grant_type=REFRESH,
        mend="pmcred login prod",
    ),
    _row(
        "an invalid_request on a refresh that says nothing of the token keeps the token",
        json_answer(401, {"error": "invalid_request"}),
        Meaning.BAD_REQUEST,
        profile=CODE,
        grant_type=REFRESH,
    ),
    *(
        _row(
            f"bad, expired, reused auth code: 400 invalid_request, {hint}",
            league(400, "invalid_request", INVALID, hint),
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
        league(400, "invalid_grant", INVALID, "Failed to verify `code_verifier`."),
        Meaning.BAD_CODE,
        profile=CODE,
        grant_type=EXCHANGE,
        mend="the code is from another login than the one it was handed to: pmcred login prod",
    ),
    _row(
        "unknown scope: 400 invalid_scope, hint Check the `x` scope",
        league(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed", "Check the `x` scope"),
        Meaning.BAD_SCOPE,
        profile=replace(PM4, scope="x"),
        mend="remove scope",
    ),
    _row(
        "broken keys, DB down: 500 JSON",
        json_answer(500, {"message": "Server Error"}),
        Meaning.SERVER_ERROR,
        Ended.UNKNOWN,
        mend="the server's own log",
    ),
    _row("broken keys, DB down: 500 HTML", html_answer(500, "Server Error"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("throttled: 429 JSON", json_answer(429, {"message": "Too Many Attempts."}), Meaning.THROTTLED),
    _row("throttled: 429 HTML", html_answer(429, "Too Many Requests"), Meaning.THROTTLED),
    _row("maintenance: 503 JSON", json_answer(503, {"message": "Service Unavailable"}), Meaning.MAINTENANCE),
    _row("maintenance: 503 HTML", html_answer(503, "Service Unavailable"), Meaning.MAINTENANCE),
    _row(
        "maintenance --render: a bare HTML body could be any front end's",
        html_answer(503, "We are back soon"),
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
        json_answer(401, {"error": "Unauthenticated."}),
        Meaning.WRONG_URL,
        mend="check url and token_path",
    ),
    _row(
        "/oauth/token/refresh by mistake: the cookie's endpoint asks for a session",
        json_answer(401, {"error": "Unauthenticated."}),
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
    _row("Another 401: {message: Unauthorized}", json_answer(401, {"message": "Unauthorized"}), Meaning.WRONG_URL),
    _row("api fallback 404: {error: Not Found}", json_answer(404, {"error": "Not Found"}), Meaning.WRONG_URL),
    _row("404 HTML", html_answer(404, "Page not found"), Meaning.WRONG_URL, mend="set generation = 3"),
    _row(
        "405 of Laravel", json_answer(405, {"message": LARAVEL_405}), Meaning.WRONG_URL, mend="check url and token_path"
    ),
    _row("419: the guard of web forms", json_answer(419, {"message": "CSRF token mismatch."}), Meaning.WRONG_URL),
    _row(
        "403 {message}: permission", json_answer(403, {"message": "This action is unauthorized."}), Meaning.BAD_REQUEST
    ),
    _row("422 {message, errors}", json_answer(422, {"message": "x", "errors": {"a": ["b"]}}), Meaning.BAD_REQUEST),
    _row("400 Invalid Host Header", Answer(400, HTML, b"Invalid Host Header"), Meaning.NOT_JSON, mend="check url"),
    # ProcessMaker 3: bshaffer/oauth2-server and Restler
    _row(
        "3.x wrong client => 400 invalid_client (not 401)",
        json_answer(400, {"error": "invalid_client", "error_description": "The client credentials are invalid"}),
        Meaning.BAD_CLIENT,
        profile=PM3,
        mend="Admin > REST applications",
    ),
    *(
        _row(
            f"3.x dead refresh => 400 invalid_grant {text}",
            json_answer(400, {"error": "invalid_grant", "error_description": text}),
            Meaning.DEAD_REFRESH_TOKEN,
            profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
            grant_type=REFRESH,
            mend="pmcred login legacy",
        )
        for text in ("Invalid refresh token", "Refresh token has expired")
    ),
    _row(
        "3.x bad password => 400 invalid_grant",
        json_answer(400, {"error": "invalid_grant", "error_description": "Invalid username and password combination"}),
        Meaning.BAD_USER,
        profile=PM3,
        mend="pmcred profile edit legacy",
    ),
    _row(
        "3.x bad code => 400 invalid_grant, with error_uri",
        json_answer(400, {"error": "invalid_grant", "error_description": "x", "error_uri": "http://tools.ietf.org/x"}),
        Meaning.BAD_CODE,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
    ),
    *(
        _row(
            f"3.x bad code => 400 invalid_grant {text}",
            json_answer(400, {"error": "invalid_grant", "error_description": text}),
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
        json_answer(400, {"error": "redirect_uri_mismatch", "error_description": "x"}),
        Meaning.BAD_REQUEST,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
        mend="in Admin > REST applications the callback URL must be the profile's redirect_uri, port included",
    ),
    _row(
        "3.x wrong secret at the exchange of a code",
        json_answer(400, {"error": "invalid_client", "error_description": "The client credentials are invalid"}),
        Meaning.BAD_CLIENT,
        profile=replace(PM3, grant=Grant.AUTHORIZATION_CODE),
        grant_type=EXCHANGE,
        mend="check client_id and client_secret: pmcred profile edit legacy",
    ),
    _row(
        "3.x unsupported_grant_type 400",
        json_answer(400, {"error": "unsupported_grant_type", "error_description": "Grant type not supported"}),
        Meaning.GRANT_NOT_ALLOWED,
        profile=PM3,
        mend="use another grant",
    ),
    _row(
        "3.x unauthorized_client 400",
        json_answer(400, {"error": "unauthorized_client", "error_description": "The grant type is unauthorized"}),
        Meaning.GRANT_NOT_ALLOWED,
        profile=PM3,
        mend="allow the client this grant in Admin > REST applications",
    ),
    _row(
        "3.x non-POST 405",
        json_answer(405, {"error": "invalid_request", "error_description": "The request method must be POST"}),
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
        json_answer(400, {"error": "invalid_client", "error_description": "x"}),
        Meaning.BAD_CLIENT,
        mend="if this is ProcessMaker 3, set generation = 3",
    ),
    _row(
        "generation 3 asked of a ProcessMaker 4: 405",
        json_answer(405, {"message": LARAVEL_405}),
        Meaning.WRONG_URL,
        profile=PM3,
        mend="if this is ProcessMaker 4, set generation = 4",
    ),
    _row("generation 3 gets 404 HTML", html_answer(404, "Oops"), Meaning.WRONG_URL, profile=PM3, mend="generation = 4"),
    _row(
        "generation 3 gets 401 invalid_client",
        league(401, "invalid_client", CLIENT),
        Meaning.BAD_CLIENT,
        profile=PM3,
        mend="if this is ProcessMaker 4, set generation = 4",
    ),
    # league/oauth2-server 9
    _row(
        "league 9: dead refresh => 400 invalid_grant, message field gone",
        json_answer(400, {"error": "invalid_grant", "error_description": DEAD, "hint": "Token has been revoked"}),
        Meaning.DEAD_REFRESH_TOKEN,
        profile=CODE,
        grant_type=REFRESH,
        mend="pmcred login prod",
    ),
    _row(
        "league 9: bad code => invalid_grant",
        json_answer(400, {"error": "invalid_grant", "hint": "Authorization code has expired"}),
        Meaning.BAD_CODE,
        profile=CODE,
        grant_type=EXCHANGE,
    ),
    _row(
        "league 9: unauthorized_client may appear",
        json_answer(400, {"error": "unauthorized_client", "error_description": "x"}),
        Meaning.GRANT_NOT_ALLOWED,
        mend="allow the client this grant in Admin > Auth Clients",
    ),
    # front ends
    _row("502 of a front end", html_answer(502, "502 Bad Gateway"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("504 of a front end", html_answer(504, "504 Gateway Time-out"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("520 of a front end", html_answer(520, "x"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("408 of a front end", html_answer(408, "408 Request Time-out"), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("503 of Varnish", html_answer(503, "503 Backend fetch failed"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("503 of Apache", html_answer(503, "503 Service Unavailable"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("503 of Envoy", Answer(503, {}, b"upstream connect error"), Meaning.MAINTENANCE, Ended.UNKNOWN),
    _row("403 of a firewall", html_answer(403, "Forbidden"), Meaning.NOT_JSON, mend="a front end (proxy, firewall)"),
    _row(
        "401 of a front end's own login",
        html_answer(401, "Authorization Required"),
        Meaning.NOT_JSON,
        mend="a front end",
    ),
    _row("413 HTML", html_answer(413, "Too Large"), Meaning.NOT_JSON),
    _row(
        "200 HTML: wrong URL",
        html_answer(200, "Welcome"),
        Meaning.NOT_JSON,
        Ended.UNKNOWN,
        mend="check url and token_path",
    ),
    _row("204", Answer(204, {}, b""), Meaning.NOT_JSON, Ended.UNKNOWN),
    _row("101", Answer(101, {}, b""), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    # errors of no known kind
    _row("an unknown error", json_answer(400, {"error": "no_such_word"}), Meaning.BAD_REQUEST),
    _row("slow_down", json_answer(400, {"error": "slow_down"}), Meaning.THROTTLED),
    _row("temporarily_unavailable", json_answer(400, {"error": "temporarily_unavailable"}), Meaning.MAINTENANCE),
    _row("server_error in a 400", json_answer(400, {"error": "server_error"}), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row("server_error in a 500", json_answer(500, {"error": "server_error"}), Meaning.SERVER_ERROR, Ended.UNKNOWN),
    _row(
        "invalid_grant for client_credentials",
        json_answer(400, {"error": "invalid_grant"}),
        Meaning.BAD_REQUEST,
        profile=SYSTEM,
    ),
    _row("error is a list", json_answer(400, {"error": ["invalid_client"]}), Meaning.BAD_REQUEST),
    _row(
        "error is a number",
        json_answer(400, {"error": 7, "error_description": 8, "hint": 9, "message": []}),
        Meaning.BAD_REQUEST,
    ),
    _row("error object without words", json_answer(400, {"error": {"message": 7}}), Meaning.BAD_REQUEST),
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
    found = read(answer, profile=profile, grant_type=grant_type)
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (meaning, ended)
    assert found.sentence.startswith(profile.url.removeprefix("https://"))
    assert f"({answer.status}" in found.sentence
    assert mend in found.mend
    assert bool(found.mend) is (meaning not in {Meaning.THROTTLED, Meaning.MAINTENANCE})


def test_the_file_of_a_refused_secret_is_named() -> None:
    """Whoever edits the profile finds only its name there."""
    profile = replace(PM4, client_secret=FileSecret("/s/prod-client_secret"), password=FileSecret("/s/prod-password"))
    for error, named in (
        ("invalid_client", "client_secret (it stands in /s/prod-client_secret)"),
        ("invalid_grant", "password (it stands in /s/prod-password)"),
    ):
        found = read(league(401, error, CLIENT if error == "invalid_client" else USER), profile=profile)
        assert isinstance(found, Refusal)
        assert f"{named}: pmcred profile edit prod" in found.mend


def test_the_server_s_own_words_are_quoted() -> None:
    """Error, description and hint reach the person who has to mend it."""
    found = read(league(401, "invalid_request", DEAD, "Token has been revoked"), profile=CODE, grant_type=REFRESH)
    assert isinstance(found, Refusal)
    assert found.sentence == (
        "acme.processmaker.net no longer takes the refresh token of profile prod: "
        '"The refresh token is invalid; Token has been revoked" (401 invalid_request)'
    )


def test_a_hint_is_quoted_without_the_boilerplate_before_it() -> None:
    """Three lines of RFC 6749 that say nothing do not hide the word that does."""
    found = read(league(400, "invalid_request", INVALID, "Check the `username` parameter"))
    assert isinstance(found, Refusal)
    assert ': "Check the `username` parameter" (400 invalid_request)' in found.sentence
