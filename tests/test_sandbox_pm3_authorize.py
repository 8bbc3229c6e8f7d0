"""The sandbox's ProcessMaker 3 in the browser, and its way to end a token: other than ProcessMaker 4 throughout."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx
import pytest
from support.sandbox import sandbox_without_sockets
from support.visitor import forms_of, log_in

from pmcredd.sandbox.instances import FIXED_CALLBACK, PM3_CLIENT, PM3_LIMITED, USERS, Sandbox
from pmcredd.sandbox.settings import Settings

NOON = 1755172800.0
DEMO, OTHER = USERS
LOGIN_PAGE = "/sysworkflow/en/neoclassic/login/login"


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(clock: Callable[[], float] | None = None, **chosen: Any) -> Sandbox:
    """Make a sandbox."""
    return Sandbox(Settings(**chosen), clock=clock or Clock())


@asynccontextmanager
async def browser(state: Sandbox | None = None, username: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a sandbox, logged in if a user is named."""
    async with sandbox_without_sockets(state or box()) as http:
        if username is not None:
            await http.post("/_sandbox/session", json={"username": username})
        yield http


def url(**changed: str | None) -> str:
    """Write an authorize URL, with some parameters changed, or away if None."""
    asked: dict[str, str | None] = {
        "response_type": "code",
        "client_id": PM3_CLIENT.id,
        "redirect_uri": FIXED_CALLBACK,
        "state": "s1",
        **changed,
    }
    return "/workflow/oauth2/authorize?" + urlencode(
        {name: value for name, value in asked.items() if value is not None}
    )


def told(address: str) -> dict[str, str]:
    """Read what the client is told."""
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))


async def redeem(http: httpx.AsyncClient, address: str, **changed: str) -> httpx.Response:
    """Exchange the code of an address at the token endpoint."""
    form = {
        "grant_type": "authorization_code",
        "client_id": PM3_CLIENT.id,
        "client_secret": PM3_CLIENT.secret,
        "redirect_uri": FIXED_CALLBACK,
        "code": told(address)["code"],
        **changed,
    }
    return await http.post("/workflow/oauth2/token", data=form)


class TestLogin:
    async def test_from_the_first_page_to_the_api(self) -> None:
        """Login, Accept, code and state at the client, a token that is the user's; once."""
        state = box()
        async with browser(state) as http:
            address = await log_in(http, url(scope="view_processes"), "other")
            assert address.startswith(f"{FIXED_CALLBACK}?code=")
            assert told(address)["state"] == "s1"
            pair = await redeem(http, address)
            assert (pair.status_code, pair.json()["scope"]) == (200, "view_processes")
            row = state.pm3.find_access(pair.json()["access_token"])
            assert row is not None
            assert row.user_id == OTHER.id
            assert (await redeem(http, address)).json()["error"] == "invalid_grant"

    async def test_each_step_as_the_browser_sees_it(self) -> None:
        """Its own login page at its own address, its own cookie, and one form with two buttons."""
        async with browser() as http:
            first = await http.get(url())
            assert (first.status_code, first.headers["location"]) == (302, f"{LOGIN_PAGE}?u={quote(url(), safe='')}")
            assert first.headers["set-cookie"].startswith("PHPSESSID=")
            page = await http.get(first.headers["location"])
            (form,) = forms_of(page)
            assert set(form.fields) == {"username", "password"}
            sent = await http.post(form.action, data=form.data(username="demo", password=DEMO.password))
            assert (sent.status_code, sent.headers["location"]) == (302, url())
            asked = await http.get(url())
            assert "Dana Demo" in asked.text
            assert PM3_CLIENT.name in asked.text
            (form,) = forms_of(asked)
            assert form.action == url()
            assert form.buttons == {"allow": ("approve", "Accept"), "deny": ("cancel", "Deny")}

    async def test_a_wrong_password_shows_the_form_again(self) -> None:
        """With a message and the user name."""
        async with browser() as http:
            page = await http.post(LOGIN_PAGE, data={"username": '"demo', "password": "fake-wrong"})
        assert (page.status_code, "Wrong user or password." in page.text) == (200, True)
        assert "fake-wrong" not in page.text
        assert forms_of(page)[0].fields["username"] == '"demo'

    async def test_whoever_is_logged_in_may_come_as_somebody_else(self) -> None:
        """The approval page has a link to the login page, which leads back to the same request."""
        async with browser(username="demo") as http:
            page = await http.get(url())
            again = f"{LOGIN_PAGE}?u={quote(url(), safe='')}"
            assert f'<a href="{again}">' in page.text
            sent = await http.post(again, data={"username": "other", "password": OTHER.password})
            assert sent.headers["location"] == url()
            assert "Otis Other" in (await http.get(url())).text

    @pytest.mark.parametrize(
        "wanted", ["", "https://evil.test/workflow/oauth2/authorize", "//evil.test/x", "/elsewhere", "http://["]
    )
    async def test_a_login_leads_nowhere_else(self, wanted: str) -> None:
        """Only to the authorize page of this server."""
        async with browser() as http:
            page = f"{LOGIN_PAGE}?u={quote(wanted, safe='')}"
            sent = await http.post(page, data={"username": "demo", "password": DEMO.password})
        assert sent.headers["location"] == "/workflow/oauth2/authorize"

    async def test_the_two_generations_do_not_know_each_others_logins(self) -> None:
        """Two cookies, two sessions."""
        async with browser() as http:
            await log_in(http, url())
            assert (await http.get("/_sandbox/session")).json() == {"4": None, "3": "demo"}

    async def test_who_is_asked_is_asked_each_time(self) -> None:
        """A live token does not speak for itself here."""
        async with browser() as http:
            assert (await redeem(http, await log_in(http, url()))).status_code == 200
            assert (await http.get(url())).status_code == 200

    async def test_there_is_no_pkce(self) -> None:
        """Challenge and verifier are not looked at; the code is."""
        async with browser() as http:
            address = await log_in(http, url(code_challenge="x" * 43, code_challenge_method="S256"))
            assert (await redeem(http, address, code_verifier="wrong")).status_code == 200

    async def test_a_code_lives_thirty_seconds(self) -> None:
        """The library's default."""
        clock = Clock()
        async with browser(box(clock)) as http:
            early, late = await log_in(http, url()), await log_in(http, url())
            clock.now += 29
            assert (await redeem(http, early)).status_code == 200
            clock.now += 1
            answer = await redeem(http, late)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_the_only_redirect_uri_may_be_left_out(self) -> None:
        """In both requests."""
        state = box()
        state.pm3.register_redirect(PM3_CLIENT.id, FIXED_CALLBACK)
        async with browser(state) as http:
            address = await log_in(http, url(redirect_uri=None, state=None))
            assert set(told(address)) == {"code"}
            assert (await redeem(http, address, redirect_uri="")).status_code == 200


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({"client_id": None}, "Invalid request. The 'client_id' parameter is missing!"),
            ({"response_type": None}, "Invalid request. The 'response_type' parameter is missing!"),
            ({"client_id": "x"}, "Error, unknown client. The client with id 'x' is not registered"),
        ],
    )
    async def test_before_anybody_is_asked(self, changed: dict[str, str | None], text: str) -> None:
        """400 of Restler's, with the error as an object."""
        async with browser(username="demo") as http:
            answer = await http.get(url(**changed))
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": {"code": 400, "message": f"Bad Request: {text}"}},
        )

    @pytest.mark.parametrize(
        ("changed", "registered", "error"),
        [
            ({"redirect_uri": "http://127.0.0.1:8915/callback"}, None, "redirect_uri_mismatch"),
            ({"redirect_uri": FIXED_CALLBACK + "/"}, None, "redirect_uri_mismatch"),
            ({"redirect_uri": FIXED_CALLBACK + "#x"}, None, "invalid_uri"),
            ({"redirect_uri": None}, None, "invalid_uri"),
            ({"redirect_uri": None}, "", "invalid_uri"),
            ({"client_id": None}, None, "invalid_client"),
            ({"client_id": "x"}, None, "invalid_client"),
        ],
    )
    async def test_after_somebody_has_accepted(
        self, changed: dict[str, str | None], registered: str | None, error: str
    ) -> None:
        """The redirect URI is looked at late, and exactly: JSON in the browser, which goes nowhere."""
        state = box()
        if registered is not None:
            state.pm3.register_redirect(PM3_CLIENT.id, registered)
        async with browser(state, "demo") as http:
            answer = await http.post(url(**changed), data={"approve": "Accept"})
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert "location" not in answer.headers

    @pytest.mark.parametrize(
        ("changed", "button", "error"),
        [
            ({}, "cancel", "access_denied"),
            ({"response_type": "token"}, "approve", "invalid_request"),
            ({"scope": "nonsense"}, "approve", "invalid_scope"),
            ({"client_id": PM3_LIMITED.id}, "approve", "unauthorized_client"),
        ],
    )
    async def test_what_the_client_is_told(self, changed: dict[str, str | None], button: str, error: str) -> None:
        """Error, description and state at the redirect URI."""
        async with browser(username="demo") as http:
            answer = await http.post(url(**changed), data={button: "x"})
        assert answer.status_code == 302
        assert answer.headers["location"].startswith(f"{FIXED_CALLBACK}?error={error}&error_description=")
        assert told(answer.headers["location"])["state"] == "s1"

    async def test_the_deny_button(self) -> None:
        """From the page on."""
        async with browser() as http:
            address = await log_in(http, url(), approve=False)
        assert told(address)["error_description"] == "The user denied access to your application"

    async def test_nobody_decides_who_is_not_logged_in(self) -> None:
        """400, in words."""
        async with browser() as http:
            answer = await http.post(url(), data={"approve": "Accept"})
        assert (answer.status_code, "user session is not started" in answer.text) == (400, True)

    async def test_other_methods_and_other_workspaces(self) -> None:
        """405 and 404."""
        async with browser() as http:
            assert (await http.put(url())).status_code == 405
            assert (await http.get("/sysother/en/neoclassic/login/login")).status_code == 404
            assert (await http.delete("/other/oauth2/x")).status_code == 404


class TestEndingAToken:
    @pytest.mark.parametrize(("method", "end"), [("DELETE", ""), ("POST", "/expire")])
    async def test_it_is_dead_at_once_and_its_refresh_token_is_not(self, method: str, end: str) -> None:
        """Nobody has to show a token for it, and the answer is empty."""
        state = box()
        issued = state.pm3.issue(PM3_CLIENT, DEMO.id, (), refreshable=True)
        assert issued.refresh_token is not None
        token = issued.access_token.reveal()
        async with browser(state) as http:
            answer = await http.request(method, f"/workflow/oauth2/{token}{end}")
            assert (answer.status_code, answer.content) == (200, b"")
            bearer = {"authorization": f"Bearer {token}"}
            assert (await http.get("/api/1.0/workflow/users", headers=bearer)).status_code == 401
            form = {"grant_type": "refresh_token", "refresh_token": issued.refresh_token.reveal()}
            form |= {"client_id": PM3_CLIENT.id, "client_secret": PM3_CLIENT.secret}
            assert (await http.post("/workflow/oauth2/token", data=form)).status_code == 200

    async def test_an_unknown_token_is_named_in_the_answer(self) -> None:
        """400, and what was sent is in it: whoever logs such an answer logs a token. A deleted one is unknown."""
        state = box()
        token = state.pm3.issue(PM3_CLIENT, DEMO.id, (), refreshable=True).access_token.reveal()
        async with browser(state) as http:
            assert (await http.delete(f"/workflow/oauth2/{token}")).status_code == 200
            for answer in (
                await http.delete(f"/workflow/oauth2/{token}"),
                await http.post(f"/workflow/oauth2/{token}/expire"),
            ):
                text = f'Bad Request: The row "{token}" in table OAUTH_ACCESS_TOKENS doesn\'t exist!'
                assert (answer.status_code, answer.json()["error"]["message"]) == (400, text)

    async def test_other_methods(self) -> None:
        """405."""
        async with browser() as http:
            assert (await http.get("/workflow/oauth2/x")).status_code == 405
            assert (await http.delete("/workflow/oauth2/x/expire")).status_code == 405

    async def test_it_can_go_wrong_on_demand(self) -> None:
        """A fault meant for the API, or for its path, strikes it; the token's owner is known to it."""
        state = box()
        token = state.pm3.issue(PM3_CLIENT, OTHER.id, (), refreshable=True).access_token.reveal()
        async with browser(state) as http:
            order = {"faults": ["503:1,on=api,username=demo", "500:1,path=/workflow/oauth2/*,username=other"]}
            await http.post("/_sandbox/faults", json=order)
            assert (await http.delete(f"/workflow/oauth2/{token}")).status_code == 500
            assert (await http.delete(f"/workflow/oauth2/{token}")).status_code == 200
