"""The sandbox's API of ProcessMaker 4 answers, refuses and traps as the real one does."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from support.sandbox import sandbox_without_sockets

from pmcredd.sandbox.instances import CREDENTIALS, PASSWORD, PERSONAL, USERS, Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.world import Issued

NOON = 1755172800.0
DEMO, OTHER = USERS
UNAUTHENTICATED = {"error": "Unauthenticated."}
NOT_FOUND = {"error": "Not Found"}


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(clock: Callable[[], float] | None = None, **chosen: Any) -> Sandbox:
    """Make a sandbox."""
    return Sandbox(Settings(**chosen), clock=clock or Clock())


def token_of(state: Sandbox, user_id: int | None = 1) -> Issued:
    """Issue a token without asking the token endpoint."""
    return state.pm4.issue(PASSWORD, user_id, (), refreshable=True)


async def ask(
    state: Sandbox,
    path: str,
    token: str | Issued | None,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    json: object = None,
) -> httpx.Response:
    """Ask the API as pmcredd does: Accept is application/json alone, unless `headers` say otherwise."""
    sent = {"accept": "application/json"}
    if token is not None:
        sent["authorization"] = f"Bearer {token.access_token.reveal() if isinstance(token, Issued) else token}"
    async with sandbox_without_sockets(state) as client:
        return await client.request(method, f"/api/1.0/{path}", headers={**sent, **(headers or {})}, json=json)


class TestGuard:
    @pytest.mark.parametrize("path", ["users", "users/1", "users/99", "no/such/path", ""])
    @pytest.mark.parametrize("token", [None, "", "x"])
    async def test_without_a_token_everything_is_401(self, path: str, token: str | None) -> None:
        """Unknown paths too; no reason, no WWW-Authenticate."""
        answer = await ask(box(), path, token)
        assert (answer.status_code, answer.json()) == (401, UNAUTHENTICATED)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-tenant-id"] == "none"
        assert "www-authenticate" not in answer.headers

    @pytest.mark.parametrize(
        ("query", "ids", "page"),
        [("", [1, 2], (10, 1, 1)), ("per_page=1", [1], (1, 1, 2)), ("per_page=1&page=2", [2], (1, 2, 2))],
    )
    async def test_a_list_comes_in_pages(self, query: str, ids: list[int], page: tuple[int, int, int]) -> None:
        """Ten a page unless asked otherwise."""
        state = box()
        answer = (await ask(state, f"users?{query}", token_of(state))).json()
        meta = answer["meta"]
        assert [each["id"] for each in answer["data"]] == ids
        assert (meta["per_page"], meta["current_page"], meta["total_pages"]) == page
        assert (meta["total"], meta["count"]) == (2, len(ids))

    async def test_the_scheme_is_spelled_bearer(self) -> None:
        """In lower case it is no bearer at all."""
        state = box()
        token = token_of(state).access_token.reveal()
        answer = await ask(state, "users/1", None, headers={"authorization": f"bearer {token}"})
        assert answer.status_code == 401

    async def test_each_way_to_be_dead_looks_alike(self) -> None:
        """Expired, revoked, client deleted, user deleted, never a user, not yet valid: one and the same answer."""

        def expire(_: Sandbox, clock: Clock, issued: Issued) -> None:
            clock.now = issued.row.expires

        def revoke(_: Sandbox, __: Clock, issued: Issued) -> None:
            issued.row.revoked = True

        def delete_client(state: Sandbox, _: Clock, __: Issued) -> None:
            state.pm4.delete_client(PASSWORD.id)

        def delete_user(state: Sandbox, _: Clock, __: Issued) -> None:
            state.pm4.delete_user(DEMO.id)

        def go_back(_: Sandbox, clock: Clock, __: Issued) -> None:
            clock.now -= 1

        def have_no_user(_: Sandbox, __: Clock, issued: Issued) -> None:
            issued.row.user_id = None

        for die in (expire, revoke, delete_client, delete_user, go_back, have_no_user):
            clock = Clock()
            state = box(clock)
            issued = token_of(state)
            assert (await ask(state, "users/1", issued)).status_code == 200
            die(state, clock, issued)
            answer = await ask(state, "users/1", issued)
            assert (answer.status_code, answer.json()) == (401, UNAUTHENTICATED), die.__name__

    @pytest.mark.parametrize("passport_13", [False, True])
    async def test_client_credentials_lead_nowhere(self, passport_13: bool) -> None:
        """The token is issued and then refused everywhere, even where its subject is the client's id."""
        state = box(passport_13=passport_13)
        issued = state.pm4.issue(CREDENTIALS, None, (), refreshable=False)
        assert (await ask(state, "users", issued)).json() == UNAUTHENTICATED

    @pytest.mark.parametrize(
        ("accept", "status"),
        [
            ("application/json", 401),
            ("*/*", 401),
            ("text/html", 401),
            ("", 401),
            ("text/html, application/json", 302),
            ("application/json;q=0.1, text/html", 302),
        ],
    )
    async def test_the_accept_trap(self, accept: str, status: int) -> None:
        """JSON that is accepted, but not first, gets a redirect to the login page."""
        answer = await ask(box(), "users/1", None, headers={"accept": accept})
        assert answer.status_code == status
        assert answer.headers.get("location") == ("/login" if status == 302 else None)

    async def test_cookie_and_csrf_token_together_are_another_401(self) -> None:
        """The browser's middleware answers before the bearer is looked at."""
        state = box()
        answer = await ask(state, "users/1", token_of(state), headers={"cookie": "a=b", "x-csrf-token": "x"})
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


class TestUsers:
    async def test_who_am_i(self) -> None:
        """Oneself is always allowed."""
        state = box()
        answer = await ask(state, "users/2", token_of(state, 2))
        assert (answer.status_code, answer.json()["username"], answer.json()["id"]) == (200, "other", 2)
        assert "password" not in answer.json()

    async def test_the_list_is_for_administrators(self) -> None:
        """Others get a 403 that no new token mends."""
        state = box()
        answer = await ask(state, "users", token_of(state))
        assert [user["username"] for user in answer.json()["data"]] == ["demo", "other"]
        assert answer.json()["meta"]["total"] == 2
        refused = await ask(state, "users", token_of(state, 2))
        assert (refused.status_code, refused.json()) == (403, {"message": "This action is unauthorized."})

    @pytest.mark.parametrize("path", ["users/1", "users/1/tokens", "users/1/tokens/x"])
    async def test_somebody_else_is_forbidden(self, path: str) -> None:
        """The words of the real refusal."""
        state = box()
        answer = await ask(state, path, token_of(state, 2))
        assert (answer.status_code, answer.json()) == (403, {"message": "Not authorized to update this user."})

    @pytest.mark.parametrize(
        "path", ["users/99", "users/x", "users/" + "9" * 5000, "users/1/nothing", "users/1/tokens/x/y", "nothing", ""]
    )
    async def test_unknown_paths(self, path: str) -> None:
        """404 with the API's body."""
        state = box()
        answer = await ask(state, path, token_of(state))
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("users", "GET, HEAD"),
            ("users/1", "GET, HEAD"),
            ("users/1/tokens", "GET, HEAD, POST"),
            ("users/1/tokens/x", "GET, HEAD, DELETE"),
        ],
    )
    async def test_wrong_method(self, path: str, allowed: str) -> None:
        """405 says which methods there are."""
        state = box()
        answer = await ask(state, path, token_of(state), method="PATCH")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert "PATCH method is not supported" in answer.json()["message"]


class TestTokens:
    async def test_a_token_can_look_at_itself(self) -> None:
        """The row tells whose it is, and whether it is revoked."""
        state = box()
        issued = token_of(state)
        answer = await ask(state, f"users/1/tokens/{issued.row.id}", issued)
        assert answer.json() == {
            "id": issued.row.id,
            "user_id": 1,
            "client_id": 2,
            "name": None,
            "scopes": [],
            "revoked": False,
            "created_at": "2025-08-14T12:00:00.000000Z",
            "updated_at": "2025-08-14T12:00:00.000000Z",
            "expires_at": "2026-08-14T12:00:00.000000Z",
        }

    async def test_a_dead_token_is_seen_by_a_living_one(self) -> None:
        """Its row stays, marked revoked."""
        state = box()
        dead, living = token_of(state), token_of(state)
        dead.row.revoked = True
        answer = await ask(state, f"users/1/tokens/{dead.row.id}", living)
        assert answer.json()["revoked"] is True

    async def test_unknown_token_and_another_users_token(self) -> None:
        """GET answers an empty list with 404, DELETE the API's body."""
        state = box()
        mine, others = token_of(state), token_of(state, 2)
        for token_id in ("x", others.row.id):
            shown = await ask(state, f"users/1/tokens/{token_id}", mine)
            deleted = await ask(state, f"users/1/tokens/{token_id}", mine, method="DELETE")
            assert (shown.status_code, shown.json()) == (404, [])
            assert (deleted.status_code, deleted.json()) == (404, NOT_FOUND)
        assert not others.row.revoked

    @pytest.mark.parametrize(("version", "status"), [("4.7", 204), ("4.8", 500), ("4.15", 500)])
    async def test_delete_says_500_after_success(self, version: str, status: int) -> None:
        """A token without a name is revoked all the same; its refresh token lives on."""
        state = box(version=version)
        issued = token_of(state)
        answer = await ask(state, f"users/1/tokens/{issued.row.id}", issued, method="DELETE")
        assert answer.status_code == status
        assert issued.row.revoked
        assert (await ask(state, "users/1", issued)).status_code == 401
        assert issued.refresh_token is not None
        row = state.pm4.find_refresh(issued.refresh_token.reveal())
        assert row is not None
        assert not row.revoked

    async def test_a_personal_access_token(self) -> None:
        """Made, listed among personal ones only, used, deleted with 204, gone from the list."""
        state = box()
        login = token_of(state)
        made = await ask(state, "users/1/tokens", login, method="POST", json={"name": " report "})
        assert made.status_code == 200
        assert list(made.json()) == ["accessToken", "token"]
        row = made.json()["token"]
        assert (row["name"], row["client_id"], row["user_id"]) == ("report", 1, 1)
        personal = made.json()["accessToken"]
        listed = await ask(state, "users/1/tokens", personal)
        assert [item["id"] for item in listed.json()["data"]] == [row["id"]]
        gone = await ask(state, f"users/1/tokens/{row['id']}", personal, method="DELETE")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await ask(state, "users/1/tokens", login)).json()["data"] == []
        assert (await ask(state, "users/1", personal)).status_code == 401

    @pytest.mark.parametrize(
        ("body", "errors"),
        [
            ({}, {"name": ["The name field is required."]}),
            ({"name": "  "}, {"name": ["The name field is required."]}),
            ({"name": "n" * 256}, {"name": ["The name field must not be greater than 255 characters."]}),
            ({"name": "n", "scopes": "*"}, {"scopes": ["The scopes field must be an array."]}),
            ({"name": "n", "scopes": ["view"]}, {"scopes": ["The selected scopes is invalid."]}),
        ],
    )
    async def test_422(self, body: dict[str, object], errors: dict[str, list[str]]) -> None:
        """What is wrong, by field."""
        state = box()
        answer = await ask(state, "users/1/tokens", token_of(state), method="POST", json=body)
        assert answer.status_code == 422
        assert answer.json() == {"message": next(iter(errors.values()))[0], "errors": errors}

    async def test_without_a_personal_access_client_it_breaks(self) -> None:
        """As the real one does, with 500; a token whose client is gone is in no list."""
        state = box()
        state.pm4.issue_personal(DEMO, "old", PERSONAL)
        state.pm4.delete_client(PERSONAL.id)
        login = token_of(state)
        answer = await ask(state, "users/1/tokens", login, method="POST", json={"name": "n"})
        assert (answer.status_code, answer.json()) == (500, {"message": "Server Error"})
        assert (await ask(state, "users/1/tokens", login)).json()["data"] == []
