"""The sandbox's token endpoint of ProcessMaker 4 says what the real one says, release by release."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support.sandbox import sandbox_without_sockets

from pmcredd.sandbox.instances import (
    CODE,
    CREDENTIALS,
    LOOPBACK_CALLBACK,
    PASSWORD,
    PERSONAL,
    USERS,
    Sandbox,
    fake_secret,
)
from pmcredd.sandbox.passport import dialect, redirect_matches
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.world import Client, digest

NOON = 1755172800.0
DEMO = USERS[0]
LOGIN = {
    "grant_type": "password",
    "client_id": "2",
    "client_secret": PASSWORD.secret,
    "username": "demo",
    "password": "demo-password",
}
AS_PASSWORD_CLIENT = {"client_id": "2", "client_secret": PASSWORD.secret}
AS_CODE_CLIENT = {"client_id": "3", "client_secret": CODE.secret}


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(clock: Callable[[], float] | None = None, **chosen: Any) -> Sandbox:
    """Make a sandbox without a throttle, unless one is chosen."""
    return Sandbox(Settings(**{"throttle": None, **chosen}), clock=clock or Clock())


def basic(name: str, secret: str, scheme: str = "Basic") -> dict[str, str]:
    """Write an Authorization header."""
    return {"authorization": f"{scheme} {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


async def post(
    state: Sandbox,
    form: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    content: str | bytes | None = None,
) -> httpx.Response:
    """Send one request to the token endpoint."""
    sent = {"accept": "application/json", **(headers or {})}
    async with sandbox_without_sockets(state) as client:
        return await client.post("/oauth/token", data=form, headers=sent, content=content)


def refresh_form(token: str, **more: str) -> dict[str, str]:
    """A refresh request of the password client."""
    return {"grant_type": "refresh_token", "refresh_token": token, **AS_PASSWORD_CLIENT, **more}


class TestSuccess:
    async def test_the_password_grant(self) -> None:
        """Status, headers and keys are those of a real answer; there is no scope."""
        answer = await post(box(), LOGIN)
        body = answer.json()
        assert answer.status_code == 200
        assert list(body) == ["token_type", "expires_in", "access_token", "refresh_token"]
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 31536000)
        expected = {
            "content-type": "application/json; charset=UTF-8",
            "cache-control": "no-store",
            "pragma": "no-cache",
            "x-tenant-id": "none",
            "x-tenant-name": "No tenant",
        }
        assert {name: answer.headers[name] for name in expected} == expected

    @pytest.mark.parametrize("client", [PASSWORD, CODE, CREDENTIALS, PERSONAL], ids=lambda client: client.name)
    async def test_client_credentials_work_for_every_client_and_have_no_refresh_token(self, client: Client) -> None:
        """Whatever boxes are ticked, the grant is open."""
        form = {"grant_type": "client_credentials", "client_id": client.id, "client_secret": client.secret}
        answer = await post(box(), form)
        assert answer.status_code == 200
        assert "refresh_token" not in answer.json()

    @pytest.mark.parametrize(
        ("headers", "form"),
        [
            (basic("2", PASSWORD.secret), {}),
            ({}, AS_PASSWORD_CLIENT),
            (basic("2", "wrong"), AS_PASSWORD_CLIENT),  # the body wins
            (basic("2", PASSWORD.secret), {"client_id": ""}),  # an empty string is as good as none
        ],
        ids=["basic", "body", "body wins over basic", "empty body field"],
    )
    async def test_ways_to_authenticate_the_client(self, headers: dict[str, str], form: dict[str, str]) -> None:
        """HTTP Basic and the body both work, the body first."""
        login = {name: value for name, value in LOGIN.items() if not name.startswith("client_")}
        assert (await post(box(), {**login, **form}, headers=headers)).status_code == 200

    @pytest.mark.parametrize("kind", ["application/json", "application/vnd.api+json; charset=utf-8"])
    async def test_json_bodies_work(self, kind: str) -> None:
        """JSON does what a form does, with a number as client id too."""
        content = json.dumps({**LOGIN, "client_id": 2})
        assert (await post(box(), headers={"content-type": kind}, content=content)).status_code == 200

    async def test_every_string_but_a_password_is_trimmed(self) -> None:
        """TrimStrings: outer spaces do no harm anywhere but in the password."""
        spaced = {name: f" \u200b{value}\ufeff\t" for name, value in LOGIN.items()}
        assert (await post(box(), {**spaced, "password": DEMO.password})).status_code == 200
        assert (await post(box(), {**LOGIN, "password": " demo-password"})).json()["error"] == "invalid_grant"

    async def test_the_star_scope_is_kept(self) -> None:
        """`*` is the one scope there is."""
        state = box()
        token = (await post(state, {**LOGIN, "scope": " * "})).json()["access_token"]
        row = state.pm4.find_access(token)
        assert row is not None
        assert row.scopes == ("*",)

    async def test_a_fitting_redirect_uri_is_tolerated_on_any_grant(self) -> None:
        """It is checked even where it has no business."""
        form = {"grant_type": "client_credentials", **AS_CODE_CLIENT}
        assert (await post(box(), {**form, "redirect_uri": LOOPBACK_CALLBACK})).status_code == 200


@dataclass(frozen=True)
class Case:
    """A request and the refusal it gets."""

    name: str
    form: Mapping[str, str]
    status: int
    error: str
    hint: str | None = None
    headers: Mapping[str, str] | None = None
    settings: Mapping[str, Any] | None = None


def check(name: str) -> str:
    """The hint that names a parameter."""
    return f"Check the `{name}` parameter"


WRONG_SECRET = {**LOGIN, "client_secret": "wrong"}
NO_GRANT = "Check that all required parameters have been provided"
REFUSALS = [
    Case("wrong client secret", WRONG_SECRET, 401, "invalid_client"),
    Case("no client secret", {**LOGIN, "client_secret": ""}, 401, "invalid_client"),
    Case("unknown client", {**LOGIN, "client_id": "99"}, 401, "invalid_client"),
    Case("client without the Password box", {**LOGIN, **AS_CODE_CLIENT}, 401, "invalid_client"),
    Case(
        "client without the Password box, Passport 13",
        {**LOGIN, **AS_CODE_CLIENT},
        400,
        "unauthorized_client",
        settings={"passport_13": True},
    ),
    Case("client with a box redeems a code", {**LOGIN, "grant_type": "authorization_code"}, 401, "invalid_client"),
    Case("redirect mismatch", {**LOGIN, "redirect_uri": "https://elsewhere.test/"}, 401, "invalid_client"),
    Case(
        "basic in lower case is no basic",
        {"grant_type": "client_credentials"},
        400,
        "invalid_request",
        check("client_id"),
        headers=basic("2", PASSWORD.secret, "basic"),
    ),
    Case(
        "basic is not url-decoded",
        {"grant_type": "client_credentials"},
        401,
        "invalid_client",
        headers=basic("%32", PASSWORD.secret),
    ),
    Case(
        "basic without a colon",
        {"grant_type": "client_credentials"},
        400,
        "invalid_request",
        check("client_id"),
        headers={"authorization": "Basic Mg=="},
    ),
    Case(
        "basic that is no base64",
        {"grant_type": "client_credentials"},
        400,
        "invalid_request",
        check("client_id"),
        headers={"authorization": "Basic AAAAA"},
    ),
    Case("no client id", {"grant_type": "password"}, 400, "invalid_request", check("client_id")),
    Case("array as client secret", {**LOGIN, "client_secret[]": "x"}, 400, "invalid_request", check("client_secret")),
    Case("array as client id", {**LOGIN, "client_id[]": "x"}, 401, "invalid_client"),
    Case("array as redirect_uri", {**LOGIN, "redirect_uri[]": "x"}, 400, "invalid_request", check("redirect_uri")),
    Case("array as scope", {**LOGIN, "scope[]": "x"}, 400, "invalid_request", check("scope")),
    Case("empty username", {**LOGIN, "username": " "}, 400, "invalid_request", check("username")),
    Case("empty password", {**LOGIN, "password": ""}, 400, "invalid_request", check("password")),
    Case("unknown grant", {**LOGIN, "grant_type": "device"}, 400, "unsupported_grant_type", NO_GRANT),
    Case("no grant", {**AS_PASSWORD_CLIENT}, 400, "unsupported_grant_type", NO_GRANT),
    *(
        Case(
            f"password grant turned off in {version}",
            LOGIN,
            400,
            "unsupported_grant_type",
            NO_GRANT,
            settings={"version": version},
        )
        for version in ("4.14.0", "4.14.1")
    ),
    *(
        Case(f"bad user in {version}", {**LOGIN, "password": "x"}, status, error, settings={"version": version})
        for version, status, error in (
            ("4.0", 401, "invalid_credentials"),
            ("4.1", 401, "invalid_credentials"),
            ("4.3", 400, "invalid_grant"),
            ("4.15", 400, "invalid_grant"),
        )
    ),
    Case("unknown scope", {**LOGIN, "scope": "* view"}, 400, "invalid_scope", "Check the `view` scope"),
    Case("empty refresh token", refresh_form(" "), 400, "invalid_request", check("refresh_token")),
    Case("stranger as refresh token", refresh_form("x"), 401, "invalid_request", "Cannot decrypt the refresh token"),
    Case(
        "stranger as refresh token, Passport 13",
        refresh_form("x"),
        400,
        "invalid_grant",
        "Cannot decrypt the refresh token",
        settings={"passport_13": True},
    ),
    Case("no code", {"grant_type": "authorization_code", **AS_CODE_CLIENT}, 400, "invalid_request", check("code")),
]
DESCRIPTIONS = {
    "invalid_client": "Client authentication failed",
    "unsupported_grant_type": "The authorization grant type is not supported by the authorization server.",
    "invalid_credentials": "The user credentials were incorrect.",
    "invalid_scope": "The requested scope is invalid, unknown, or malformed",
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
    async def test_each_has_its_status_error_and_hint(self, case: Case) -> None:
        """Every row of what the real servers answer, word for word where the words are known."""
        settings = case.settings or {}
        answer = await post(box(**settings), case.form, headers=case.headers)
        body = answer.json()
        assert (answer.status_code, body["error"], body.get("hint")) == (case.status, case.error, case.hint)
        assert answer.headers["content-type"] == "application/json"
        if case.error in DESCRIPTIONS:
            assert body["error_description"] == DESCRIPTIONS[case.error]
        if settings.get("passport_13") or settings.get("version") == "4.0":
            assert "message" not in body
        else:
            assert body["message"] == body["error_description"]

    async def test_bad_user_and_dead_refresh_token_have_known_words(self) -> None:
        """Clients recognise these two by their text."""
        bad_user = await post(box(), {**LOGIN, "password": "x"})
        dead = await post(box(), refresh_form("x"))
        assert bad_user.json()["error_description"] == "The user credentials were incorrect."
        assert dead.json()["error_description"] == "The refresh token is invalid."

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({}, None),
            (basic("2", "wrong"), 'Basic realm="OAuth"'),
            ({"authorization": "Bearer x"}, 'Bearer realm="OAuth"'),
        ],
    )
    async def test_www_authenticate_only_answers_an_authorization_header(
        self, headers: dict[str, str], expected: str | None
    ) -> None:
        """It is sent with invalid_client, and only if the request tried that header."""
        answer = await post(box(), WRONG_SECRET, headers=headers)
        assert answer.headers.get("www-authenticate") == expected
        other = await post(box(), {**LOGIN, "password": "x"}, headers=headers)
        assert "www-authenticate" not in other.headers

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("text/plain", "grant_type=password"),
            ("application/json", "{"),
            ("application/json", "[" * 100_000),
            ("application/json", "[1]"),
            ("application/json", '{"grant_type": ["password"]}'),
            ("application/x-www-form-urlencoded", b"\xff\xfe=\xff"),
            ("", "x"),
        ],
    )
    async def test_a_body_that_cannot_be_read_has_no_grant(self, kind: str, content: str | bytes) -> None:
        """No crash: it is a request without a grant."""
        answer = await post(box(), headers={"content-type": kind}, content=content)
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")

    async def test_a_number_as_secret_is_a_bad_request(self) -> None:
        """JSON can carry what a form cannot."""
        content = json.dumps({**LOGIN, "client_secret": 5})
        answer = await post(box(), headers={"content-type": "application/json"}, content=content)
        assert answer.json()["hint"] == check("client_secret")

    async def test_half_a_character_is_a_wrong_password_not_a_crash(self) -> None:
        """JSON can also carry a lone surrogate."""
        content = json.dumps(refresh_form("\ud800"))
        answer = await post(box(), headers={"content-type": "application/json"}, content=content)
        assert answer.json()["hint"] == "Cannot decrypt the refresh token"

    async def test_the_query_is_ignored(self) -> None:
        """Parameters in the URL do nothing."""
        async with sandbox_without_sockets(box()) as client:
            answer = await client.post("/oauth/token", params=LOGIN)
        assert answer.json()["error"] == "unsupported_grant_type"


class TestRefresh:
    async def test_rotation_over_http(self) -> None:
        """The old access token gets 401 at once, the new one 200, and the spent refresh token is revoked."""
        state = box()
        old = (await post(state, LOGIN)).json()
        new = (await post(state, refresh_form(old["refresh_token"]))).json()
        async with sandbox_without_sockets(state) as client:
            statuses = [
                (await client.get("/api/1.0/users/1", headers={"authorization": f"Bearer {token}"})).status_code
                for token in (old["access_token"], new["access_token"])
            ]
        assert statuses == [401, 200]
        again = await post(state, refresh_form(old["refresh_token"]))
        assert (again.status_code, again.json()["hint"]) == (401, "Token has been revoked")

    async def test_a_revoked_access_token_still_refreshes(self) -> None:
        """Revoking access tokens leaves the refresh tokens good."""
        state = box()
        old = (await post(state, LOGIN)).json()
        state.pm4.revoke_all(access=True, refresh=False)
        assert (await post(state, refresh_form(old["refresh_token"]))).status_code == 200

    async def test_another_clients_refresh_token(self) -> None:
        """It is not linked to this client."""
        state = box()
        old = (await post(state, LOGIN)).json()
        answer = await post(state, {**refresh_form(old["refresh_token"]), **AS_CODE_CLIENT})
        assert answer.json()["hint"] == "Token is not linked to client"

    async def test_an_expired_refresh_token(self) -> None:
        """It says so, and the access token issued with it is left alone."""
        clock = Clock()
        state = box(clock, refresh_lifetime=10.0)
        old = (await post(state, LOGIN)).json()
        clock.now += 10
        answer = await post(state, refresh_form(old["refresh_token"]))
        assert (answer.status_code, answer.json()["hint"]) == (401, "Token has expired")
        assert state.pm4.bearer(old["access_token"]) is not None

    async def test_a_wider_scope_is_refused_and_spends_nothing(self) -> None:
        """After invalid_scope the pair still works."""
        state = box()
        old = (await post(state, LOGIN)).json()
        answer = await post(state, refresh_form(old["refresh_token"], scope="*"))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        assert state.pm4.bearer(old["access_token"]) is not None
        assert (await post(state, refresh_form(old["refresh_token"]))).status_code == 200

    async def test_a_deleted_client_is_refused(self) -> None:
        """Its refresh tokens end in invalid_client."""
        state = box()
        old = (await post(state, LOGIN)).json()
        state.pm4.delete_client("2")
        answer = await post(state, refresh_form(old["refresh_token"]))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def redeem(code: str, **more: str) -> dict[str, str]:
    """A code exchange of the code client."""
    return {"grant_type": "authorization_code", "code": code, **AS_CODE_CLIENT, **more}


class TestCode:
    async def test_a_code_with_pkce_works_once(self) -> None:
        """The right verifier gets a pair; the star scope is dropped; the second try is told that it is revoked."""
        state = box()
        code = state.pm4.issue_code(
            CODE, DEMO, redirect_uri=LOOPBACK_CALLBACK, scopes=("*",), challenge=CHALLENGE, method="S256"
        ).reveal()
        form = redeem(code, redirect_uri=LOOPBACK_CALLBACK, code_verifier=VERIFIER)
        first = await post(state, form)
        assert first.status_code == 200
        row = state.pm4.find_access(first.json()["access_token"])
        assert row is not None
        assert (row.user_id, row.scopes) == (1, ())
        again = await post(state, form)
        hint = "Authorization code has been revoked"
        assert (again.status_code, again.json()["error"], again.json()["hint"]) == (400, "invalid_request", hint)

    async def test_plain_pkce_and_a_code_without_redirect_uri(self) -> None:
        """Both are allowed by the real server."""
        state = box()
        code = state.pm4.issue_code(CODE, DEMO, redirect_uri=None, challenge=VERIFIER).reveal()
        assert (await post(state, redeem(code, code_verifier=VERIFIER))).status_code == 200

    @pytest.mark.parametrize(
        ("form", "error", "hint"),
        [
            ({"code_verifier": "w" * 43}, "invalid_grant", "Failed to verify `code_verifier`."),
            (
                {"code_verifier": "short"},
                "invalid_request",
                "Code Verifier must follow the specifications of RFC-7636.",
            ),
            ({}, "invalid_request", check("code_verifier")),
            ({"code_verifier": VERIFIER, "redirect_uri": ""}, "invalid_request", check("redirect_uri")),
            (
                {"code_verifier": VERIFIER, "redirect_uri": "http://127.0.0.1:99/callback"},
                "invalid_request",
                "Invalid redirect URI",
            ),
            ({"code": "x"}, "invalid_request", "Cannot decrypt the authorization code"),
        ],
    )
    async def test_refused_codes_can_be_tried_again(self, form: dict[str, str], error: str, hint: str) -> None:
        """A wrong verifier or redirect URI is told, and does not use the code up."""
        state = box()
        code = state.pm4.issue_code(
            CODE, DEMO, redirect_uri=LOOPBACK_CALLBACK, challenge=CHALLENGE, method="S256"
        ).reveal()
        answer = await post(state, {**redeem(code, redirect_uri=LOOPBACK_CALLBACK), **form})
        assert (answer.status_code, answer.json()["error"], answer.json()["hint"]) == (400, error, hint)
        right = redeem(code, redirect_uri=LOOPBACK_CALLBACK, code_verifier=VERIFIER)
        assert (await post(state, right)).status_code == 200

    async def test_a_code_lives_ten_minutes(self) -> None:
        """Then it has expired; Passport 13 calls that invalid_grant."""
        clock = Clock()
        state = box(clock, passport_13=True)
        code = state.pm4.issue_code(CODE, DEMO, redirect_uri=None).reveal()
        clock.now += 600
        answer = await post(state, redeem(code))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert answer.json()["hint"] == "Authorization code has expired"

    async def test_another_clients_code(self) -> None:
        """It was not issued to this client."""
        state = box()
        code = state.pm4.issue_code(CREDENTIALS, DEMO, redirect_uri=None).reveal()
        assert (await post(state, redeem(code))).json()["hint"] == "Authorization code was not issued to this client"

    @pytest.mark.parametrize(("version", "status"), [("4.6", 200), ("4.7", 400)])
    async def test_a_verifier_without_a_challenge_is_refused_since_4_7(self, version: str, status: int) -> None:
        """The guard against downgraded PKCE."""
        state = box(version=version)
        code = state.pm4.issue_code(CODE, DEMO, redirect_uri=None).reveal()
        answer = await post(state, redeem(code, code_verifier=VERIFIER))
        assert answer.status_code == status

    @pytest.mark.parametrize(
        ("registered", "uri", "any_port", "matches"),
        [
            ("https://a.test/cb", "https://a.test/cb", True, True),
            ("https://a.test/cb", "https://a.test/cb/", True, False),
            ("https://a.test/cb,https://b.test/cb", "https://b.test/cb", True, True),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb", True, True),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb", False, False),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/other", True, False),
            ("http://[::1]/cb", "http://[::1]:4711/cb", True, True),
            ("http://localhost/cb", "http://localhost:4711/cb", True, False),
            ("https://127.0.0.1/cb", "https://127.0.0.1:4711/cb", True, False),
            ("http://127.0.0.1/cb", "http://[::1]:4711/cb", True, False),
            ("http://127.0.0.1/cb", "http://[broken", True, False),
        ],
    )
    def test_redirect_matching(self, registered: str, uri: str, any_port: bool, matches: bool) -> None:
        """Exact, but for the port of a loopback address since 4.3; localhost is no loopback address."""
        client = Client("9", "x", fake_secret("x"), redirect=registered)
        assert redirect_matches(client, uri, any_loopback_port=any_port) is matches


class TestDialects:
    @pytest.mark.parametrize("version", ["", "5", "3.8", "4", "4.x", "4.15.1.2", "4.\u0661"])
    def test_a_release_that_never_was(self, version: str) -> None:
        """It is refused by name."""
        with pytest.raises(ValueError, match="not a release of ProcessMaker 4"):
            dialect(version)

    def test_a_minor_release_means_its_newest_patch(self) -> None:
        """4.14 has the password grant, since 4.14.2 has it."""
        assert dialect("4.14").password_grant
        assert dialect("4.14.2").password_grant


class TestThrottle:
    async def test_headers_count_down_and_then_429(self) -> None:
        """Successes and errors count alike; the refusal carries what a client needs to come back."""
        clock = Clock()
        state = box(clock, throttle=2)
        first, second = await post(state, LOGIN), await post(state, WRONG_SECRET)
        assert [answer.headers["x-ratelimit-remaining"] for answer in (first, second)] == ["1", "0"]
        assert first.headers["x-ratelimit-limit"] == "2"
        clock.now += 10
        third = await post(state, LOGIN)
        assert (third.status_code, third.json()) == (429, {"message": "Too Many Attempts."})
        assert (third.headers["retry-after"], third.headers["x-ratelimit-reset"]) == ("50", str(int(NOON) + 60))
        assert [note.status for note in state.journal.notes()] == [200, 401, 429]
        assert [note.acted for note in state.journal.notes()] == [True, False, False]

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("application/json", "application/json"),
            ("application/json, text/html", "application/json"),
            ("text/html;q=0.5, application/json", "application/json"),
            ("text/html, application/json", "text/html; charset=UTF-8"),
            ("application/json;q=x, text/html", "text/html; charset=UTF-8"),
            ("*/*", "text/html; charset=UTF-8"),
        ],
    )
    async def test_only_json_first_gets_json(self, accept: str, kind: str) -> None:
        """Everybody else gets a page."""
        state = box(throttle=1)
        await post(state, LOGIN)
        answer = await post(state, LOGIN, headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (429, kind)


class TestJournal:
    async def test_each_request_leaves_a_note(self) -> None:
        """Grant, client, status, and which token was spent for which; a refused one too."""
        state = box()
        old = (await post(state, LOGIN)).json()
        new = (await post(state, refresh_form(old["refresh_token"]))).json()
        await post(state, {**LOGIN, "grant_type": "s3cr3t", "client_id": "s3cr3t"})
        first, second, third = state.journal.notes()
        was, now = (
            {name: hashlib.sha256(pair[name].encode()).hexdigest()[:16] for name in ("access_token", "refresh_token")}
            for pair in (old, new)
        )
        assert (first.generation, first.grant, first.client_id, first.status) == (4, "password", "2", 200)
        assert first.issued_refresh == second.spent == was["refresh_token"]
        assert first.issued == second.revoked == was["access_token"]
        assert (second.issued, second.issued_refresh) == (now["access_token"], now["refresh_token"])
        assert [note.username for note in (first, second, third)] == ["demo", "demo", "?"]
        assert [note.acted for note in (first, second, third)] == [True, True, False]
        assert (third.grant, third.client_id, third.status) == ("?", "?", 400)
        assert third.error == "unsupported_grant_type"

    async def test_a_refused_request_says_what_was_presented(self) -> None:
        """A refresh token spent twice, and a code that is used up, are recognised by their fingerprints."""
        state = box()
        pair = (await post(state, LOGIN)).json()
        code = state.pm4.issue_code(CODE, DEMO, redirect_uri=None).reveal()
        for form in (refresh_form(pair["refresh_token"]), redeem(code), redeem("x"), refresh_form("y")):
            await post(state, form)
            await post(state, form)
        told = [(note.spent, note.username, note.acted) for note in state.journal.notes()[1:]]
        names = [digest(text)[:16] for text in (pair["refresh_token"], code, "x", "y")]
        assert told == [
            *((names[0], "demo", True), (names[0], "demo", False)),
            *((names[1], "demo", True), (names[1], "demo", False)),
            *[(name, "?", False) for name in names[2:] for _ in range(2)],
        ]

    async def test_the_token_of_a_user_who_is_gone(self) -> None:
        """It refreshes as ever, in nobody's name."""
        state = box()
        pair = (await post(state, LOGIN)).json()
        state.pm4.delete_user(DEMO.id)
        await post(state, refresh_form(pair["refresh_token"]))
        assert [(note.username, note.acted) for note in state.journal.notes()] == [("demo", True), ("?", True)]
