"""The sandbox's own paths under /_sandbox: faults, settings, codes and the log, by request."""

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest
from support.sandbox import sandbox_in_process, sandbox_without_sockets

from pmcredd.sandbox.instances import CODE, LOOPBACK_CALLBACK, PASSWORD, PM3_CLIENT, Sandbox
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.settings import Settings

NOON = 1755172800.0
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
LOGIN = {
    "grant_type": "password",
    "client_id": "2",
    "client_secret": PASSWORD.secret,
    "username": "demo",
    "password": "demo-password",
}


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def box(**chosen: Any) -> Sandbox:
    """Make a sandbox."""
    return Sandbox(Settings(**chosen), clock=Clock())


async def tell(state: Sandbox, path: str, order: object = None, *, method: str = "POST") -> httpx.Response:
    """Send one order."""
    async with sandbox_without_sockets(state) as client:
        return await client.request(method, f"/_sandbox/{path}", content=None if order is None else json.dumps(order))


class TestFaults:
    async def test_set_see_and_clear(self) -> None:
        """Orders add to the end of the queue; each answer is the queue as it stands."""
        state = box()
        first = await tell(state, "faults", {"faults": ["lose-answer:3,grant_type=refresh_token"]})
        assert first.status_code == 200
        await tell(state, "faults", {"faults": ["503@10%", "500,on=api"]})
        seen = await tell(state, "faults", method="GET")
        assert seen.json() == {
            "faults": [
                {"fault": "lose-answer:3,grant_type=refresh_token", "left": 3, "struck": 0},
                {"fault": "503@10%", "left": None, "struck": 0},
                {"fault": "500,on=api", "left": None, "struck": 0},
            ]
        }
        assert (await tell(state, "faults", method="DELETE")).json() == {"faults": []}
        assert not state.faults

    @pytest.mark.parametrize(
        "order", [None, [], {}, {"faults": []}, {"faults": "500"}, {"faults": [5]}, {"faults": ["500", "explode"]}]
    )
    async def test_one_wrong_fault_and_none_is_set(self, order: object) -> None:
        """400 says what is wrong."""
        state = box()
        answer = await tell(state, "faults", order)
        assert answer.status_code == 400
        assert "lose-answer" in answer.json()["error"]
        assert not state.faults


class TestSettings:
    async def test_what_is_changed_holds_from_now_on(self) -> None:
        """Lifetimes, throttle and clock, written as on the command line or as numbers; null is the default."""
        state = box()
        old = state.pm4.issue(PASSWORD, 1, (), refreshable=True)
        order = {"token_lifetime": "30s", "refresh_lifetime": 20, "throttle": 1, "clock_offset": "-10m"}
        answer = await tell(state, "settings", order)
        assert answer.json() == {
            "token_lifetime": 30.0,
            "refresh_lifetime": 20.0,
            "personal_lifetime": None,
            "throttle": 1,
            "clock_offset": -600.0,
            "now": NOON - 600,
        }
        new = state.pm4.issue(PASSWORD, 1, (), refreshable=True)
        assert (old.row.expires, new.row.expires) == (NOON + 31536000, NOON - 600 + 30)
        assert new.refresh_token is not None
        row = state.pm4.find_refresh(new.refresh_token.reveal())
        assert row is not None
        assert row.expires == NOON - 600 + 20
        assert state.pm4.bearer(old.access_token.reveal()) is None  # not valid yet, by the server's clock
        three = state.pm3.issue(PM3_CLIENT, 1, (), refreshable=True)
        assert three.expires_in == 30
        async with sandbox_without_sockets(state) as client:
            statuses = [(await client.post("/oauth/token", data=LOGIN)).status_code for _ in range(2)]
            assert statuses == [200, 429]
            await tell(state, "settings", dict.fromkeys(order))
            assert (await client.post("/oauth/token", data=LOGIN)).status_code == 200
        assert state.settings == Settings()
        assert (await tell(state, "settings", method="GET")).json()["throttle"] == 60

    async def test_the_throttle_can_be_off(self) -> None:
        """The word is the command line's."""
        state = box(throttle=1)
        await tell(state, "settings", {"throttle": "off"})
        async with sandbox_without_sockets(state) as client:
            assert [(await client.post("/oauth/token", data=LOGIN)).status_code for _ in range(3)] == [200] * 3

    @pytest.mark.parametrize(
        ("order", "told"),
        [
            (None, "send JSON"),
            ([], "send JSON"),
            ({}, "send JSON"),
            ({"throttle": 5, "version": "4.1"}, "version cannot be changed: there are token_lifetime"),
            ({"throttle": 5, "token_lifetime": "soon"}, "token_lifetime: not a length of time"),
            ({"throttle": 5, "token_lifetime": 0}, "token_lifetime: a lifetime is longer than nothing"),
            ({"throttle": True}, "throttle: a number of requests a minute, or off"),
            ({"clock_offset": ["x"]}, "clock_offset: not a length of time"),
        ],
    )
    async def test_one_wrong_value_and_nothing_changes(self, order: object, told: str) -> None:
        """400 says which and why."""
        state = box()
        answer = await tell(state, "settings", order)
        assert answer.status_code == 400
        assert told in answer.json()["error"]
        assert state.settings == Settings()


class TestCode:
    async def test_a_login_by_hand_on_processmaker_4(self) -> None:
        """The code is exchanged over the wire with PKCE (S256), once; the pair works and refreshes."""
        async with sandbox_in_process() as sandbox, httpx.AsyncClient(base_url=sandbox.url, trust_env=False) as client:
            order = {"client_id": "3", "username": "demo", "redirect_uri": "http://127.0.0.1:4711/callback"}
            made = await client.post("/_sandbox/code", json={**order, "code_challenge": CHALLENGE})
            form = {
                "grant_type": "authorization_code",
                "client_id": "3",
                "client_secret": CODE.secret,
                "redirect_uri": order["redirect_uri"],
                "code": made.json()["code"],
            }
            wrong = await client.post("/oauth/token", data={**form, "code_verifier": "w" * 43})
            assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
            pair = (await client.post("/oauth/token", data={**form, "code_verifier": VERIFIER})).json()
            again = await client.post("/oauth/token", data={**form, "code_verifier": VERIFIER})
            assert (again.status_code, again.json()["hint"]) == (400, "Authorization code has been revoked")
            me = await client.get("/api/1.0/users", headers={"authorization": f"Bearer {pair['access_token']}"})
            assert me.status_code == 200
            form = {"grant_type": "refresh_token", "client_id": "3", "client_secret": CODE.secret}
            fresh = await client.post("/oauth/token", data={**form, "refresh_token": pair["refresh_token"]})
            assert fresh.status_code == 200
            told = [(note.grant, note.username, note.acted) for note in sandbox.state.journal.notes()]
            code, refresh = "authorization_code", "refresh_token"
            assert told == [(code, "demo", n == 1) for n in range(3)] + [(refresh, "demo", True)]

    async def test_a_login_by_hand_on_processmaker_3(self) -> None:
        """The client's id says which generation; there is no PKCE there."""
        async with sandbox_in_process() as sandbox, httpx.AsyncClient(base_url=sandbox.url, trust_env=False) as client:
            order = {"client_id": PM3_CLIENT.id, "username": "other", "redirect_uri": LOOPBACK_CALLBACK, "scope": "*"}
            code = (await client.post("/_sandbox/code", json=order)).json()["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": LOOPBACK_CALLBACK}
            form |= {"client_id": PM3_CLIENT.id, "client_secret": PM3_CLIENT.secret}
            pair = await client.post("/workflow/oauth2/token", data=form)
            assert (pair.status_code, pair.json()["scope"]) == (200, "*")
            row = sandbox.state.pm3.find_access(pair.json()["access_token"])
            assert row is not None
            assert row.user_id == 2
            assert (await client.post("/workflow/oauth2/token", data=form)).json()["error"] == "invalid_grant"

    async def test_plain_pkce_and_no_redirect_uri(self) -> None:
        """Both may be asked for."""
        state = box()
        order = {"client_id": "3", "username": "demo", "code_challenge": VERIFIER, "code_challenge_method": "plain"}
        code = (await tell(state, "code", order)).json()["code"]
        form = {"grant_type": "authorization_code", "client_id": "3", "client_secret": CODE.secret, "code": code}
        async with sandbox_without_sockets(state) as client:
            answer = await client.post("/oauth/token", data={**form, "code_verifier": VERIFIER})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("order", "told"),
        [
            (None, "send JSON"),
            ({"client_id": 3}, "all of it text"),
            ({"username": "demo"}, "no such client"),
            ({"client_id": "3"}, "no such user"),
            ({"client_id": "3", "username": "demo", "state": "x"}, "not known here: state"),
            (
                {"client_id": "3", "username": "demo", "redirect_uri": "https://evil.example/"},
                "client 3 has the redirect_uri http://127.0.0.1/callback, not https://evil.example/",
            ),
            (
                {"client_id": PM3_CLIENT.id, "username": "demo", "redirect_uri": "http://127.0.0.1:1/callback"},
                "has the redirect_uri http://127.0.0.1/callback",
            ),
            ({"client_id": "3", "username": "demo", "code_challenge_method": "S512"}, "is S256 or plain"),
        ],
    )
    async def test_an_order_that_cannot_be_filled(self, order: object, told: str) -> None:
        """400 says why."""
        answer = await tell(box(), "code", order)
        assert answer.status_code == 400
        assert told in answer.json()["error"]


class TestClients:
    async def test_another_redirect_uri_holds_at_once(self) -> None:
        """As an administrator edits it; no secret is shown, and each generation has its own way to list several."""
        state = box()
        fixed = "http://127.0.0.1:4242/callback"
        for client_id in ("3", PM3_CLIENT.id):
            told = (await tell(state, "clients", {"client_id": client_id, "redirect": fixed})).json()
            assert {row["redirect"] for row in told if row["client_id"] == client_id} == {fixed}
            order = {"client_id": client_id, "username": "demo", "redirect_uri": fixed}
            assert (await tell(state, "code", order)).status_code == 200
            assert (await tell(state, "code", {**order, "redirect_uri": "http://127.0.0.1/other"})).status_code == 400
        listed = await tell(state, "clients", method="GET")
        assert [row["generation"] for row in listed.json()] == [4] * 5 + [3] * 2
        assert "secret" not in listed.text

    @pytest.mark.parametrize(
        ("order", "told"),
        [
            (None, "send JSON"),
            ({"client_id": "3"}, "send JSON"),
            ({"client_id": 3, "redirect": "x"}, "send JSON"),
            ({"client_id": "3", "redirect": "x", "secret": "y"}, "send JSON"),
            ({"client_id": "99", "redirect": "x"}, "no such client"),
        ],
    )
    async def test_an_order_that_cannot_be_filled(self, order: object, told: str) -> None:
        """400 says why, and nothing changes."""
        state = box()
        answer = await tell(state, "clients", order)
        assert (answer.status_code, told in answer.json()["error"]) == (400, True)
        assert state.pm4.clients["3"] == CODE


class TestSession:
    async def test_in_and_out_without_a_password(self) -> None:
        """At both generations, in the browser that asks and in no other."""
        async with sandbox_without_sockets(box()) as client:
            nobody = {"4": None, "3": None}
            assert (await client.get("/_sandbox/session")).json() == nobody
            for username in ("other", "demo", None):
                told = {"4": username, "3": username}
                assert (await client.post("/_sandbox/session", json={"username": username})).json() == told
                assert (await client.get("/_sandbox/session")).json() == told
            await client.post("/_sandbox/session", json={"username": "demo"})
            cookies = dict(client.cookies)
            assert set(cookies) == {"processmaker_session", "PHPSESSID"}
            client.cookies.clear()
            assert (await client.get("/_sandbox/session")).json() == nobody

    @pytest.mark.parametrize("order", [None, {}, {"username": 5}, {"username": "x"}, {"username": "demo", "a": 1}])
    async def test_an_order_that_cannot_be_filled(self, order: object) -> None:
        """400, and whoever is logged in stays."""
        async with sandbox_without_sockets(box()) as client:
            await client.post("/_sandbox/session", json={"username": "demo"})
            assert (await client.post("/_sandbox/session", json=order)).status_code == 400
            assert (await client.get("/_sandbox/session")).json() == {"4": "demo", "3": "demo"}


class TestLog:
    async def test_it_is_read_on_from_the_last_seq(self) -> None:
        """Pages of a thousand unless another limit is given, of ten thousand at most."""
        state = box()
        for _ in range(10_500):
            state.journal.add(Note(4))

        async def seqs(query: str) -> list[int]:
            return [row["seq"] for row in (await tell(state, f"log{query}", method="GET")).json()]

        assert await seqs("") == list(range(1, 1001))
        assert await seqs("?after=10498") == [10499, 10500]
        assert await seqs("?after=10500") == []
        assert await seqs("?after=7&limit=2") == [8, 9]
        assert len(await seqs("?limit=20000")) == 10_000

    @pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=x", "after=" + "9" * 20])
    async def test_nonsense(self, query: str) -> None:
        """400 shows how to ask."""
        answer = await tell(box(), f"log?{query}", method="GET")
        assert answer.status_code == 400
        assert "/_sandbox/log?after=0" in answer.json()["error"]

    async def test_a_row_has_everything(self) -> None:
        """The names that tests rely on."""
        state = box()
        state.journal.add(Note(4))
        (row,) = (await tell(state, "log", method="GET")).json()
        assert set(row) == {
            *("seq", "time", "monotonic", "generation", "grant", "client_id", "username", "status", "error"),
            *("acted", "lost", "fault", "spent", "issued", "issued_refresh", "revoked"),
        }
        assert row["time"] == NOON
