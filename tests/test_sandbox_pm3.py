"""The sandbox's ProcessMaker 3: token endpoint and API, opposite to ProcessMaker 4 wherever the real one is."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from support.sandbox import sandbox_without_sockets

from pmcredd.sandbox.instances import LOOPBACK_CALLBACK, PM3_CLIENT, PM3_LIMITED, USERS, Sandbox
from pmcredd.sandbox.settings import Settings

NOON = 1755172800.0
DEMO = USERS[0]
CLIENT = {"client_id": PM3_CLIENT.id, "client_secret": PM3_CLIENT.secret}
LIMITED = {"client_id": PM3_LIMITED.id, "client_secret": PM3_LIMITED.secret}
LOGIN = {"grant_type": "password", "username": "demo", "password": "demo-password", **CLIENT}


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(clock: Callable[[], float] | None = None, **chosen: Any) -> Sandbox:
    """Make a sandbox with a throttle of one request, which must not bother ProcessMaker 3."""
    return Sandbox(Settings(**{"throttle": 1, **chosen}), clock=clock or Clock())


def basic(name: str, secret: str, scheme: str = "Basic") -> dict[str, str]:
    """Write an Authorization header."""
    return {"authorization": f"{scheme} {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


async def post(
    state: Sandbox, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None, workspace: str = "workflow"
) -> httpx.Response:
    """Send one request to the token endpoint."""
    async with sandbox_without_sockets(state) as client:
        return await client.post(f"/{workspace}/oauth2/token", data=form, headers=headers)


async def get(state: Sandbox, path: str, token: str, *, scheme: str = "Bearer", method: str = "GET") -> httpx.Response:
    """Ask the API."""
    async with sandbox_without_sockets(state) as client:
        return await client.request(method, f"/api/1.0/{path}", headers={"authorization": f"{scheme} {token}"})


def refresh_form(token: str, **more: str) -> dict[str, str]:
    """A refresh request."""
    return {"grant_type": "refresh_token", "refresh_token": token, **CLIENT, **more}


class TestSuccess:
    async def test_the_password_grant(self) -> None:
        """Lower-case bearer, a day, a scope that is null, opaque tokens, and no throttle."""
        answer = await post(box(), LOGIN)
        body = answer.json()
        assert answer.status_code == 200
        assert list(body) == ["access_token", "expires_in", "token_type", "scope", "refresh_token"]
        assert (body["expires_in"], body["token_type"], body["scope"]) == (86400, "bearer", None)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert "x-ratelimit-limit" not in answer.headers
        assert "x-tenant-id" not in answer.headers

    async def test_no_throttle_here(self) -> None:
        """Many requests in a minute are fine."""
        state = box()
        assert {(await post(state, LOGIN)).status_code for _ in range(5)} == {200}

    @pytest.mark.parametrize(
        ("headers", "client"),
        [
            (basic(PM3_CLIENT.id, PM3_CLIENT.secret), {}),
            (basic(PM3_CLIENT.id, PM3_CLIENT.secret, "basic"), {}),
            ({}, CLIENT),
            (basic(PM3_CLIENT.id, PM3_CLIENT.secret), {"client_id": "x", "client_secret": "y"}),
        ],
        ids=["basic", "basic in lower case", "body", "basic wins over body"],
    )
    async def test_ways_to_authenticate_the_client(self, headers: dict[str, str], client: dict[str, str]) -> None:
        """Either way, in any case, and Basic first."""
        login = {name: value for name, value in LOGIN.items() if not name.startswith("client_")}
        assert (await post(box(), {**login, **client}, headers=headers)).status_code == 200

    async def test_json_bodies_and_scopes(self) -> None:
        """A scope that is known comes back."""
        async with sandbox_without_sockets(box()) as client:
            answer = await client.post("/workflow/oauth2/token", json={**LOGIN, "scope": "view_processes *"})
        assert answer.json()["scope"] == "view_processes *"

    async def test_client_credentials_have_no_refresh_token(self) -> None:
        """The library leaves it out for this grant."""
        answer = await post(box(), {"grant_type": "client_credentials", **LIMITED})
        assert answer.status_code == 200
        assert "refresh_token" not in answer.json()


REFUSALS: list[tuple[str, dict[str, str], str, str]] = [
    ("wrong secret", {**LOGIN, "client_secret": "x"}, "invalid_client", "The client credentials are invalid"),
    ("unknown client", {**LOGIN, "client_id": "x"}, "invalid_client", "The client credentials are invalid"),
    (
        "no client",
        {"grant_type": "password"},
        "invalid_client",
        "Client credentials were not found in the headers or body",
    ),
    (
        "no secret",
        {**LOGIN, "client_secret": ""},
        "invalid_client",
        "This client is invalid or must authenticate using a client secret",
    ),
    ("no grant", CLIENT, "invalid_request", "The grant type was not specified in the request"),
    (
        "unknown grant",
        {**LOGIN, "grant_type": "device"},
        "unsupported_grant_type",
        'Grant type "device" not supported',
    ),
    (
        "grant not for this client",
        {**LOGIN, **LIMITED},
        "unauthorized_client",
        "The grant type is unauthorized for this client_id",
    ),
    ("bad password", {**LOGIN, "password": "x"}, "invalid_grant", "Invalid username and password combination"),
    (
        "spaces are not trimmed",
        {**LOGIN, "username": " demo"},
        "invalid_grant",
        "Invalid username and password combination",
    ),
    (
        "no password",
        {**LOGIN, "password": ""},
        "invalid_request",
        'Missing parameters: "username" and "password" required',
    ),
    ("unknown scope", {**LOGIN, "scope": "x"}, "invalid_scope", "An unsupported scope was requested"),
    ("dead refresh token", refresh_form("x"), "invalid_grant", "Invalid refresh token"),
    ("no refresh token", refresh_form(""), "invalid_request", 'Missing parameter: "refresh_token" is required'),
    (
        "no code",
        {"grant_type": "authorization_code", **CLIENT},
        "invalid_request",
        'Missing parameter: "code" is required',
    ),
    (
        "stranger as code",
        {"grant_type": "authorization_code", "code": "x", **CLIENT},
        "invalid_grant",
        "Authorization code doesn't exist or is invalid for the client",
    ),
]


class TestRefusals:
    @pytest.mark.parametrize(("form", "error", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
    async def test_every_refusal_is_a_400(self, form: dict[str, str], error: str, text: str) -> None:
        """A wrong client too, where ProcessMaker 4 says 401; no hint, no message, no WWW-Authenticate."""
        answer = await post(box(), form, headers={"x-nothing": "1"})
        assert (answer.status_code, answer.json()) == (400, {"error": error, "error_description": text})
        assert "www-authenticate" not in answer.headers

    async def test_anything_but_post_is_a_405(self) -> None:
        """It says which section of RFC 6749 it means."""
        async with sandbox_without_sockets(box()) as client:
            answer = await client.get("/workflow/oauth2/token")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["error"] == "invalid_request"
        assert answer.json()["error_uri"] == "http://tools.ietf.org/html/rfc6749#section-3.2"

    @pytest.mark.parametrize("path", ["token", "authorize"])
    async def test_another_workspace_is_not_there(self, path: str) -> None:
        """Only the workspace of the settings exists, and it can be chosen."""
        async with sandbox_without_sockets(box(workspace="sales")) as client:
            statuses = [
                (await client.post(f"/{name}/oauth2/{path}", data=LOGIN)).status_code for name in ("workflow", "sales")
            ]
        assert statuses == [404, 200 if path == "token" else 400]


class TestRefresh:
    async def test_rotation_keeps_the_access_token_and_forgets_the_refresh_token(self) -> None:
        """Both access tokens work afterwards; the spent refresh token is unknown."""
        state = box()
        old = (await post(state, {**LOGIN, "scope": "*"})).json()
        new = (await post(state, refresh_form(old["refresh_token"]))).json()
        assert new["scope"] == "*"
        for token in (old["access_token"], new["access_token"]):
            assert (await get(state, "workflow/cases/draft/paged", token)).status_code == 200
        again = await post(state, refresh_form(old["refresh_token"]))
        assert (again.status_code, again.json()["error_description"]) == (400, "Invalid refresh token")

    async def test_two_idle_weeks_end_it(self) -> None:
        """A refresh token expires after 14 days, said in its own words."""
        clock = Clock()
        state = box(clock)
        old = (await post(state, LOGIN)).json()
        clock.now += 14 * 86400
        answer = await post(state, refresh_form(old["refresh_token"]))
        assert answer.json() == {"error": "invalid_grant", "error_description": "Refresh token has expired"}
        clock.now -= 1
        assert (await post(state, refresh_form(old["refresh_token"]))).status_code == 200

    async def test_another_clients_refresh_token_and_a_wider_scope(self) -> None:
        """Refused, and nothing is spent."""
        state = box()
        other = state.pm3.issue(PM3_LIMITED, 1, (), refreshable=True).refresh_token
        assert other is not None
        answer = await post(state, refresh_form(other.reveal()))
        assert answer.json()["error_description"] == "refresh_token doesn't exist or is invalid for the client"
        old = (await post(state, {**LOGIN, "scope": "view_processes"})).json()
        wider = await post(state, refresh_form(old["refresh_token"], scope="*"))
        assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")
        assert (await post(state, refresh_form(old["refresh_token"]))).status_code == 200

    async def test_a_refresh_token_revoked_by_hand_is_unknown(self) -> None:
        """The sandbox's switch works on this generation too."""
        state = box()
        old = (await post(state, LOGIN)).json()
        state.pm3.revoke_all(access=False, refresh=True)
        answer = await post(state, refresh_form(old["refresh_token"]))
        assert answer.json()["error_description"] == "Invalid refresh token"


class TestCode:
    async def test_a_code_works_once(self) -> None:
        """Then it is unknown."""
        state = box()
        code = state.pm3.issue_code(PM3_CLIENT, DEMO, redirect_uri=LOOPBACK_CALLBACK).reveal()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": LOOPBACK_CALLBACK, **CLIENT}
        mismatch = await post(state, {**form, "redirect_uri": "http://127.0.0.1:1/callback"})
        assert mismatch.json()["error"] == "redirect_uri_mismatch"
        assert (await post(state, form)).status_code == 200
        assert (await post(state, form)).json()["error"] == "invalid_grant"

    async def test_a_code_expires(self) -> None:
        """Said in its own words."""
        clock = Clock()
        state = box(clock)
        code = state.pm3.issue_code(PM3_CLIENT, DEMO, redirect_uri=None).reveal()
        clock.now += 600
        answer = await post(state, {"grant_type": "authorization_code", "code": code, **CLIENT})
        assert answer.json()["error_description"] == "The authorization code has expired"


class TestApi:
    @pytest.mark.parametrize("token", ["", "x", "def502"])
    async def test_401_is_an_object_without_www_authenticate(self, token: str) -> None:
        """Restler's body, for a missing token too."""
        answer = await get(box(), "workflow/cases/draft/paged", token)
        assert (answer.status_code, answer.json()) == (401, {"error": {"code": 401, "message": "Unauthorized"}})
        assert "www-authenticate" not in answer.headers

    async def test_drafts_are_a_cheap_probe(self) -> None:
        """The scheme's case does not matter, the page is as asked, nonsense is ignored."""
        state = box()
        token = (await post(state, LOGIN)).json()["access_token"]
        answer = await get(state, "workflow/cases/draft/paged?limit=1&start=x", token, scheme="bearer")
        assert answer.json() == {"total": 0, "start": 0, "limit": 1, "data": []}

    async def test_users(self) -> None:
        """An administrator sees them with ids of 32 digits; others, and tokens without a user, do not."""
        state = box()
        admin = (await post(state, LOGIN)).json()["access_token"]
        users = (await get(state, "workflow/users", admin)).json()
        assert [(user["usr_uid"], user["usr_username"]) for user in users] == [
            ("00000000000000000000000000000001", "demo"),
            ("00000000000000000000000000000002", "other"),
        ]
        other = (await post(state, {**LOGIN, "username": "other", "password": "other-password"})).json()
        nobody = (await post(state, {"grant_type": "client_credentials", **LIMITED})).json()
        for answer in (other, nobody):
            refused = await get(state, "workflow/users", answer["access_token"])
            assert (refused.status_code, refused.json()) == (403, {"error": {"code": 403, "message": "Forbidden"}})
        assert (await get(state, "workflow/cases/draft/paged", nobody["access_token"])).status_code == 200

    async def test_unknown_path_and_method(self) -> None:
        """404 and 405 in the same shape."""
        state = box()
        token = (await post(state, LOGIN)).json()["access_token"]
        assert (await get(state, "workflow/nothing", token)).json()["error"]["code"] == 404
        assert (await get(state, "workflow/users", token, method="DELETE")).json()["error"]["code"] == 405

    async def test_the_generations_do_not_know_each_others_tokens(self) -> None:
        """A token of 3 is nothing at 4."""
        state = box()
        token = (await post(state, LOGIN)).json()["access_token"]
        assert (await get(state, "users/1", token)).status_code == 401


class TestJournal:
    async def test_notes(self) -> None:
        """Both a success and a refusal, without what was pasted into the wrong field."""
        state = box()
        await post(state, LOGIN)
        await post(state, {"grant_type": "s3cr3t", "client_id": "s3cr3t"})
        assert [(note.generation, note.grant, note.status) for note in state.journal.notes()] == [
            (3, "password", 200),
            (3, "?", 400),
        ]
        assert "s3cr3t" not in json.dumps(state.journal.since(0, 9))
