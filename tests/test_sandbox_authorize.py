"""The sandbox's ProcessMaker 4 in the browser: login, approval, and the way back to the client, release by release."""

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from support.sandbox import sandbox_in_process, sandbox_process, sandbox_without_sockets
from support.visitor import address_of, forms_of, log_in

from pmcredd.sandbox.inbound import Inbound
from pmcredd.sandbox.instances import CODE, FIXED_CALLBACK, LOOPBACK_CALLBACK, MIXED, PASSWORD, USERS, Sandbox
from pmcredd.sandbox.sessions import LIFETIME
from pmcredd.sandbox.settings import Settings

NOON = 1755172800.0
DEMO, OTHER = USERS
CALLBACK = "http://127.0.0.1:4711/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
DENIED = "The resource owner or authorization server denied the request."


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(clock: Callable[[], float] | None = None, **chosen: Any) -> Sandbox:
    """Make a sandbox."""
    return Sandbox(Settings(**{"throttle": None, **chosen}), clock=clock or Clock())


@asynccontextmanager
async def browser(state: Sandbox | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a sandbox; its Accept is a browser's."""
    async with sandbox_without_sockets(state or box()) as http:
        http.headers["accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        yield http


def url(**changed: str | None) -> str:
    """Write an authorize URL: that of CODE with S256, with some parameters changed, or away if None."""
    asked: dict[str, str | None] = {
        "response_type": "code",
        "client_id": CODE.id,
        "redirect_uri": CALLBACK,
        "state": "s1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changed,
    }
    return "/oauth/authorize?" + urlencode({name: value for name, value in asked.items() if value is not None})


def told(address: str) -> list[tuple[str, str]]:
    """Read what the client is told."""
    return parse_qsl(urlsplit(address).query, keep_blank_values=True)


async def redeem(http: httpx.AsyncClient, address: str, **changed: str) -> httpx.Response:
    """Exchange the code of an address at the token endpoint."""
    form = {
        "grant_type": "authorization_code",
        "client_id": CODE.id,
        "client_secret": CODE.secret,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        "code": dict(told(address))["code"],
        **changed,
    }
    return await http.post("/oauth/token", data=form, headers={"accept": "application/json"})


class TestLogin:
    async def test_from_the_first_page_to_the_api(self) -> None:
        """Over sockets: login, approval, code and state at the client, a token that is the user's."""
        async with (
            sandbox_in_process() as sandbox,
            httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=30) as http,
        ):
            address = await log_in(http, url(), "other")
            assert address.startswith(f"{CALLBACK}?")
            assert [name for name, _ in told(address)] == ["code", "state"]
            assert dict(told(address))["state"] == "s1"
            pair = (await redeem(http, address)).json()
            bearer = {"authorization": f"Bearer {pair['access_token']}", "accept": "application/json"}
            http.cookies.clear()  # it is the token's user who is asked for
            assert (await http.get("/api/1.0/users/2", headers=bearer)).json()["username"] == "other"
            assert (await http.get("/api/1.0/users/1", headers=bearer)).status_code == 403
            again = await redeem(http, address)
            assert (again.status_code, again.json()["hint"]) == (400, "Authorization code has been revoked")

    def test_in_a_process_of_its_own(self) -> None:
        """What `pmcred sandbox` starts has the pages, and a wrong password leads nowhere."""
        with sandbox_process() as sandbox:
            assert address_of(sandbox.url + url()).startswith(f"{CALLBACK}?code=")
            with pytest.raises(AssertionError, match="These credentials do not match our records"):
                address_of(sandbox.url + url(), "demo", "wrong")

    async def test_each_step_as_the_browser_sees_it(self) -> None:
        """302 to /login, 302 back, the page, 302 to the client; the session's id changes with the login."""
        async with browser() as http:
            first = await http.get(url())
            assert (first.status_code, first.headers["location"]) == (302, "/login")
            cookie = first.headers["set-cookie"]
            assert cookie.startswith("processmaker_session=")
            assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
            page = await http.get("/login")
            assert page.headers["cache-control"] == "no-cache, private"
            assert page.headers["x-tenant-id"] == "none"
            (form,) = forms_of(page)
            assert (form.action, set(form.fields)) == ("/login", {"_token", "username", "password"})
            sent = await http.post("/login", data=form.data(username="demo", password=DEMO.password))
            assert (sent.status_code, sent.headers["location"]) == (302, url())
            assert sent.headers["set-cookie"] != cookie
            asked = await http.get(url())
            assert asked.status_code == 200
            assert "Authorization code" in asked.text
            assert "<strong>demo</strong>" in asked.text
            approve, deny = forms_of(asked)
            assert set(approve.fields) == {"_token", "state", "client_id", "auth_token"}
            assert deny.fields == {**approve.fields, "_method": "DELETE"}

    async def test_a_wrong_password_shows_the_form_again(self) -> None:
        """With a message once, the user name kept, the password not; then the right one leads on."""
        async with browser() as http:
            await http.get(url())
            (form,) = forms_of(await http.get("/login"))
            sent = await http.post("/login", data=form.data(username="demo", password="fake-wrong"))
            assert (sent.status_code, sent.headers["location"]) == (302, "/login")
            page = await http.get("/login")
            assert "These credentials do not match our records." in page.text
            assert "fake-wrong" not in page.text
            assert forms_of(page)[0].fields["username"] == "demo"
            assert "These credentials" not in (await http.get("/login")).text
            assert (await log_in(http, url())).startswith(CALLBACK)

    async def test_a_login_that_nobody_waits_for_leads_home(self) -> None:
        """Home names the user, other pages are not there, /login leads home, and after /logout all lead to /login."""
        async with browser() as http:
            (form,) = forms_of(await http.get("/login"))
            sent = await http.post("/login", data=form.data(username="other", password=OTHER.password))
            assert sent.headers["location"] == "/"
            home = await http.get("/")
            assert (home.status_code, "<strong>other</strong>" in home.text) == (200, True)
            assert (await http.get("/nothing")).status_code == 404
            assert (await http.get("/login")).headers["location"] == "/"
            assert (await http.get("/logout")).headers["location"] == "/login"
            for path in ("/", "/nothing"):
                assert (await http.get(path)).headers["location"] == "/login"

    @pytest.mark.parametrize("path", ["/login", "/oauth/authorize"])
    async def test_a_form_of_another_session_is_expired(self, path: str) -> None:
        """419 without the session's own token, and nothing happens."""
        async with browser() as http:
            answer = await http.post(path, data={"_token": "x", "username": "demo", "password": DEMO.password})
            assert (answer.status_code, "Page Expired" in answer.text) == (419, True)
            assert (await http.get("/")).headers["location"] == "/login"

    async def test_a_session_ends_after_two_hours_without_a_request(self) -> None:
        """Then the login page comes first again."""
        clock = Clock()
        async with browser(box(clock)) as http:
            await log_in(http, url())
            clock.now += LIFETIME
            assert (await http.get("/")).status_code == 200
            clock.now += LIFETIME + 1
            assert (await http.get("/")).headers["location"] == "/login"

    async def test_who_is_deleted_is_logged_in_no_more(self) -> None:
        """The session leads to nobody."""
        state = box()
        async with browser(state) as http:
            await log_in(http, url())
            state.pm4.delete_user(DEMO.id)
            assert (await http.get("/")).headers["location"] == "/login"

    async def test_what_is_typed_is_never_markup(self) -> None:
        """State and user name come back as text."""
        async with browser() as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            page = await http.get(url(state='"><script>x</script>'))
            assert "<script" not in page.text
            assert forms_of(page)[0].fields["state"] == '"><script>x</script>'
            await http.get("/logout")
            (form,) = forms_of(await http.get("/login"))
            await http.post("/login", data=form.data(username='"><b>', password="x"))
            assert forms_of(await http.get("/login"))[0].fields["username"] == '"><b>'

    async def test_the_pages_ask_nobody_else_for_anything(self) -> None:
        """No script, no picture, no style sheet; a policy that would refuse them, and language, title and heading."""
        async with browser() as http:
            pages = [await http.get("/login")]
            await http.post("/_sandbox/session", json={"username": "demo"})
            pages += [await http.get(url()), await http.get("/"), await http.get("/nothing")]
        for page in pages:
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert '<html lang="en">' in page.text
            assert page.text.count("<h1>") == page.text.count("<title>") == 1
            for word in ("<script", "<img", "<link", "src=", "url(", "http://", "https://"):
                assert word not in page.text

    async def test_many_browsers_are_not_kept_for_ever(self) -> None:
        """A program without cookies does not fill the memory: the session longest unused is forgotten."""
        state = box()
        async with browser(state) as http:
            await log_in(http, url())
            for strangers, status in ((9_999, 200), (10_000, 302)):
                for _ in range(strangers):
                    state.pm4_sessions.of(Inbound("GET", "/"))
                assert (await http.get("/")).status_code == status


class TestRefusalsWithoutARedirect:
    @pytest.mark.parametrize("known", [False, True], ids=["guest", "logged in"])
    @pytest.mark.parametrize(
        ("changed", "status", "error", "hint"),
        [
            ({"response_type": None}, 400, "unsupported_grant_type", "Check that all required parameters"),
            ({"response_type": "token"}, 400, "unsupported_grant_type", "Check that all required parameters"),
            ({"client_id": None}, 400, "unsupported_grant_type", "Check that all required parameters"),
            ({"client_id": " "}, 400, "unsupported_grant_type", "Check that all required parameters"),
            ({"client_id": "99"}, 401, "invalid_client", None),
            ({"client_id": PASSWORD.id}, 401, "invalid_client", None),
            ({"client_id": PASSWORD.id, "redirect_uri": None}, 401, "invalid_client", None),
            ({"redirect_uri": "http://localhost:4711/callback"}, 401, "invalid_client", None),
            ({"redirect_uri": "http://127.0.0.1:4711/other"}, 401, "invalid_client", None),
            ({"redirect_uri": "http://[::1]:4711/callback"}, 401, "invalid_client", None),
            ({"redirect_uri": "https://127.0.0.1/callback"}, 401, "invalid_client", None),
            ({"code_challenge_method": "s256"}, 400, "invalid_request", "Code challenge method must be one of"),
            ({"code_challenge": "short"}, 400, "invalid_request", "Code challenge must follow"),
        ],
    )
    async def test_json_in_the_browser(
        self, changed: dict[str, str | None], status: int, error: str, hint: str | None, known: bool
    ) -> None:
        """The client hears nothing of it: the browser stays, with neither redirect nor state, before any login."""
        async with browser() as http:
            if known:
                await http.post("/_sandbox/session", json={"username": "demo"})
            answer = await http.get(url(**changed))
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert "location" not in answer.headers
        body = answer.json()
        assert body["error"] == error
        assert body["message"] == body["error_description"]
        assert body.get("hint", "").startswith(hint) if hint else "hint" not in body

    async def test_arrays_fit_nothing(self) -> None:
        """client_id[]=3 is no client 3."""
        async with browser() as http:
            assert (await http.get("/oauth/authorize?response_type=code&client_id[]=3")).status_code == 401

    @pytest.mark.parametrize(("accept", "kind"), [("application/json", "application/json"), ("*/*", "text/html")])
    async def test_other_methods(self, accept: str, kind: str) -> None:
        """405, in JSON for who wants it."""
        async with browser() as http:
            for path, allowed in (("/oauth/authorize", "GET, HEAD, POST, DELETE"), ("/login", "GET, HEAD, POST")):
                answer = await http.put(path, headers={"accept": accept})
                assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
                assert answer.headers["content-type"].startswith(kind)


class TestRedirectUri:
    @pytest.mark.parametrize(
        ("version", "uri", "matches"),
        [
            ("4.15", "http://127.0.0.1:1/callback", True),
            ("4.3", "http://127.0.0.1:1/callback", True),
            ("4.1", "http://127.0.0.1:1/callback", False),
            ("4.1", LOOPBACK_CALLBACK, True),
            ("4.1", FIXED_CALLBACK, True),
        ],
    )
    async def test_the_port_by_release(self, version: str, uri: str, matches: bool) -> None:
        """Any port since 4.3; before, only what is registered: several URIs stand in one column, split at commas."""
        async with browser(box(version=version)) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            assert (await http.get(url(redirect_uri=uri))).status_code == (200 if matches else 401)

    async def test_several_are_registered(self) -> None:
        """Each fits; without one in the request there is none to choose."""
        state = box()
        state.pm4.register_redirect(CODE.id, "https://a.test/cb,http://[::1]/cb")
        async with browser(state) as http:
            for uri in ("https://a.test/cb", "http://[::1]:99/cb"):
                assert (await log_in(http, url(redirect_uri=uri))).startswith(f"{uri}?code=")
            assert (await http.get(url(redirect_uri=None))).status_code == 401

    async def test_the_only_one_may_be_left_out(self) -> None:
        """Then it may be left out at the token endpoint, too, and a query it has is kept."""
        state = box()
        state.pm4.register_redirect(CODE.id, "http://127.0.0.1/callback?a=b")
        async with browser(state) as http:
            address = await log_in(http, url(redirect_uri=None))
            assert address.startswith("http://127.0.0.1/callback?a=b&code=")
            assert (await redeem(http, address, redirect_uri="")).status_code == 200

    async def test_it_must_be_repeated_exactly(self) -> None:
        """Another port is another URI at the token endpoint."""
        async with browser() as http:
            address = await log_in(http, url())
            wrong = await redeem(http, address, redirect_uri="http://127.0.0.1:1/callback")
            assert (wrong.status_code, wrong.json()["hint"]) == (400, "Invalid redirect URI")
            assert (await redeem(http, address)).status_code == 200


class TestCode:
    @pytest.mark.parametrize(
        ("challenge", "method", "verifier", "status"),
        [
            (CHALLENGE, "S256", VERIFIER, 200),
            (CHALLENGE, "S256", "w" * 43, 400),
            (VERIFIER, "plain", VERIFIER, 200),
            (VERIFIER, None, VERIFIER, 200),  # plain is what is meant by nothing
            (CHALLENGE, None, VERIFIER, 400),
            (None, None, "", 200),
            (None, "nonsense", "", 200),  # without a challenge nobody looks at the method
            (None, None, VERIFIER, 400),
        ],
    )
    async def test_pkce(self, challenge: str | None, method: str | None, verifier: str, status: int) -> None:
        """The challenge is kept with the code, and compared by its method."""
        async with browser() as http:
            address = await log_in(http, url(code_challenge=challenge, code_challenge_method=method))
            assert (await redeem(http, address, code_verifier=verifier)).status_code == status

    async def test_it_lives_ten_minutes(self) -> None:
        """Then it is 400, whatever the browser did."""
        clock = Clock()
        async with browser(box(clock)) as http:
            early, late = await log_in(http, url()), await log_in(http, url())
            clock.now += 599
            assert (await redeem(http, early)).status_code == 200
            clock.now += 1
            answer = await redeem(http, late)
            assert (answer.status_code, answer.json()["hint"]) == (400, "Authorization code has expired")

    async def test_a_client_that_mixes_grants_is_a_trap(self) -> None:
        """Login and approval are fine, and then the code is worth nothing."""
        async with browser() as http:
            address = await log_in(http, url(client_id=MIXED.id))
            answer = await redeem(http, address, client_id=MIXED.id, client_secret=MIXED.secret)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
            login = {"username": "demo", "password": DEMO.password, "grant_type": "password"}
            login |= {"client_id": MIXED.id, "client_secret": MIXED.secret}
            assert (await http.post("/oauth/token", data=login)).status_code == 200

    async def test_the_star_is_dropped_from_the_token(self) -> None:
        """`*` is fine to ask for."""
        state = box()
        async with browser(state) as http:
            pair = (await redeem(http, await log_in(http, url(scope="*")))).json()
        row = state.pm4.find_access(pair["access_token"])
        assert row is not None
        assert row.scopes == ()

    async def test_a_state_is_given_back_as_it_was_or_not_at_all(self) -> None:
        """Reserved characters survive; without a state there is none."""
        async with browser() as http:
            assert dict(told(await log_in(http, url(state="a b&c=%20+é"))))["state"] == "a b&c=%20+é"
            assert [name for name, _ in told(await log_in(http, url(state=None)))] == ["code"]


class TestDenial:
    async def test_the_client_is_told(self) -> None:
        """Error, description, hint, message and state; nothing is issued, and next time somebody is asked again."""
        async with browser() as http:
            address = await log_in(http, url(), approve=False)
            assert address.startswith(f"{CALLBACK}?")
            assert dict(told(address)) == {
                "error": "access_denied",
                "error_description": DENIED,
                "hint": "The user denied the request",
                "message": DENIED,
                "state": "s1",
            }
            assert (await http.get(url())).status_code == 200
            assert "state" not in dict(told(await log_in(http, url(state=None), approve=False)))

    async def test_the_method_delete_itself(self) -> None:
        """It is what the form's `_method` stands for."""
        async with browser() as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            form = forms_of(await http.get(url()))[0]
            answer = await http.request("DELETE", "/oauth/authorize", data=form.data())
            assert "error=access_denied" in answer.headers["location"]

    @pytest.mark.parametrize(
        ("redirect_uri", "where"),
        [(CALLBACK, LOOPBACK_CALLBACK), (LOOPBACK_CALLBACK, LOOPBACK_CALLBACK), (None, LOOPBACK_CALLBACK)],
    )
    async def test_before_4_8_it_goes_to_what_is_registered(self, redirect_uri: str | None, where: str) -> None:
        """Not to the port that was asked for, where somebody listens; and without a reason."""
        async with browser(box(version="4.7")) as http:
            address = await log_in(http, url(redirect_uri=redirect_uri), approve=False)
        assert address == f"{where}?error=access_denied&state=s1"

    async def test_an_unknown_scope_is_told_without_the_state(self) -> None:
        """The library looks at the state only afterwards."""
        async with browser() as http:
            answer = await http.get(url(scope="* view"))
        assert answer.headers["location"].startswith(f"{CALLBACK}?error=invalid_scope&")
        assert dict(told(answer.headers["location"]))["hint"] == "Check the `view` scope"
        assert "state" not in dict(told(answer.headers["location"]))

    async def test_a_form_works_once(self) -> None:
        """The second time there is no request left to decide on: 500."""
        async with browser() as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            form = forms_of(await http.get(url()))[0]
            del form.fields["auth_token"]  # older pages have none
            assert (await http.post("/oauth/authorize", data=form.data())).status_code == 302
            assert (await http.post("/oauth/authorize", data=form.data())).status_code == 500

    @pytest.mark.parametrize(("accept", "kind"), [("application/json", "application/json"), ("*/*", "text/html")])
    async def test_the_form_of_an_older_request_is_refused(self, accept: str, kind: str) -> None:
        """Two tabs: what is approved is never the other tab's request."""
        async with browser() as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            old = forms_of(await http.get(url(state="old")))[0]
            await http.get(url(state="new"))
            answer = await http.post("/oauth/authorize", data=old.data(), headers={"accept": accept})
            assert (answer.status_code, "auth token" in answer.text) == (403, True)
            assert answer.headers["content-type"].startswith(kind)

    async def test_logged_out_meanwhile(self) -> None:
        """A user who is gone decides nothing."""
        state = box()
        async with browser(state) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            form = forms_of(await http.get(url()))[0]
            state.pm4.delete_user(DEMO.id)
            assert (await http.post("/oauth/authorize", data=form.data())).headers["location"] == "/login"


class TestSkippedApproval:
    async def test_a_live_token_of_the_client_speaks_for_itself(self) -> None:
        """The second login is silent while the first token lives, for this user and client only."""
        clock = Clock()
        state = box(clock, token_lifetime=3600.0)
        async with browser(state) as http:
            assert (await redeem(http, await log_in(http, url()))).status_code == 200
            silent = await http.get(url(state="s2"))
            assert silent.status_code == 302
            assert dict(told(silent.headers["location"]))["state"] == "s2"
            assert (await http.get(url(client_id=MIXED.id))).status_code == 200
            await http.post("/_sandbox/session", json={"username": "other"})
            assert (await http.get(url())).status_code == 200
            await http.post("/_sandbox/session", json={"username": "demo"})
            clock.now += 3600
            assert (await http.get(url())).status_code == 200

    async def test_a_revoked_or_other_token_does_not(self) -> None:
        """Somebody is asked again after a revocation; a token with a scope is not one without."""
        state = box()
        async with browser(state) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            issued = state.pm4.issue(CODE, DEMO.id, (), refreshable=True)
            assert (await http.get(url())).status_code == 302
            issued.row.revoked = True
            assert (await http.get(url())).status_code == 200
            state.pm4.issue(CODE, DEMO.id, ("*",), refreshable=True)
            assert (await http.get(url())).status_code == 200


class TestPrompt:
    async def test_consent_asks_although_a_token_lives(self) -> None:
        """prompt=consent shows the page."""
        state = box()
        state.pm4.issue(CODE, DEMO.id, (), refreshable=True)
        async with browser(state) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            assert (await http.get(url(prompt="consent"))).status_code == 200

    async def test_login_asks_who_it_is_once(self) -> None:
        """prompt=login logs out, asks for the password, and goes on as whoever came."""
        state = box()
        async with browser(state) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            address = await log_in(http, url(prompt="login"), "other")
            pair = (await redeem(http, address)).json()
            row = state.pm4.find_access(pair["access_token"])
            assert row is not None
            assert row.user_id == OTHER.id
            assert (await http.get(url(prompt="login"))).headers["location"] == "/login"

    @pytest.mark.parametrize(
        ("passport_13", "username", "error", "hint"),
        [
            (False, None, "access_denied", "Unauthenticated"),
            (False, "demo", "access_denied", "The user denied the request"),
            (True, None, "login_required", "The user is not authenticated"),
            (True, "demo", "consent_required", None),
        ],
    )
    async def test_none_shows_no_page(
        self, passport_13: bool, username: str | None, error: str, hint: str | None
    ) -> None:
        """Where somebody would have to be asked, the client is told instead."""
        async with browser(box(passport_13=passport_13)) as http:
            await http.post("/_sandbox/session", json={"username": username})
            answer = await http.get(url(prompt="none"))
        found = dict(told(answer.headers["location"]))
        assert (found["error"], found.get("hint"), found["state"]) == (error, hint, "s1")

    async def test_none_is_silent_where_a_token_lives(self) -> None:
        """A code, as without it."""
        state = box()
        state.pm4.issue(CODE, DEMO.id, (), refreshable=True)
        async with browser(state) as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            assert "code=" in (await http.get(url(prompt="none"))).headers["location"]

    async def test_before_4_8_it_is_not_heeded(self) -> None:
        """And the login page comes first, even for a request that is refused afterwards."""
        state = box(version="4.7")
        state.pm4.issue(CODE, DEMO.id, (), refreshable=True)
        async with browser(state) as http:
            assert (await http.get(url(prompt="none"))).headers["location"] == "/login"
            assert (await http.get(url(response_type=None))).headers["location"] == "/login"
            await http.post("/_sandbox/session", json={"username": "demo"})
            assert (await http.get(url(response_type=None))).status_code == 400
            for prompt in ("login", "consent"):
                assert "code=" in (await http.get(url(prompt=prompt))).headers["location"]


class TestSomebodyElse:
    async def test_from_the_approval_page(self) -> None:
        """Its link logs out; whoever logs in then decides on the same request. A decided one is not come back to."""
        async with browser() as http:
            await http.post("/_sandbox/session", json={"username": "demo"})
            page = await http.get(url())
            assert '<a href="/logout">' in page.text
            await http.get("/logout")
            (form,) = forms_of(await http.get("/login"))
            sent = await http.post("/login", data=form.data(username="other", password=OTHER.password))
            assert sent.headers["location"] == url()
            await log_in(http, url(), "other")
            await http.get("/logout")
            (form,) = forms_of(await http.get("/login"))
            sent = await http.post("/login", data=form.data(username="demo", password=DEMO.password))
            assert sent.headers["location"] == "/"
