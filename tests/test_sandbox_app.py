"""The sandbox over real sockets: routes, switches, and what a look-alike must survive."""

import json
import socket
from typing import Any

import httpx
import pytest
import trio
from support.sandbox import sandbox_in_process, sandbox_without_sockets

from pmcredd.sandbox import passport
from pmcredd.sandbox.instances import PASSWORD, PM3_CLIENT, Sandbox
from pmcredd.sandbox.serve import HOST, ListenError, listen, url_of
from pmcredd.sandbox.settings import Settings

LOGIN = {
    "grant_type": "password",
    "client_id": "2",
    "client_secret": PASSWORD.secret,
    "username": "demo",
    "password": "demo-password",
}
LOGIN_3 = {**LOGIN, "client_id": PM3_CLIENT.id, "client_secret": PM3_CLIENT.secret}


def client_for(url: str) -> httpx.AsyncClient:
    """A plain HTTP client."""
    return httpx.AsyncClient(base_url=url, trust_env=False, headers={"accept": "application/json"}, timeout=30)


def box() -> Sandbox:
    """Make a sandbox without a throttle."""
    return Sandbox(Settings(throttle=None))


class TestOverSockets:
    async def test_a_token_from_each_generation_opens_its_api(self) -> None:
        """The main job over real HTTP."""
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:
            four = (await client.post("/oauth/token", data=LOGIN)).json()
            three = (await client.post("/workflow/oauth2/token", data=LOGIN_3)).json()
            as_four = {"authorization": f"Bearer {four['access_token']}"}
            as_three = {"authorization": f"Bearer {three['access_token']}"}
            me = await client.get("/api/1.0/users/1", headers=as_four)
            drafts = await client.get("/api/1.0/workflow/cases/draft/paged?limit=1", headers=as_three)
        assert (me.status_code, me.json()["username"]) == (200, "demo")
        assert (drafts.status_code, drafts.json()["limit"]) == (200, 1)

    async def test_revoked_now_is_refused_now(self) -> None:
        """By token, by fingerprint and all at once; the log names what was issued."""
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:

            async def living() -> bool:
                answer = await client.get("/api/1.0/users/1", headers={"authorization": f"Bearer {token}"})
                return answer.status_code == 200

            for kind in ("token", "fingerprint", "all"):
                token = (await client.post("/oauth/token", data=LOGIN)).json()["access_token"]
                log = (await client.get("/_sandbox/log")).json()
                order: dict[str, object] = {"token": token, "fingerprint": log[-1]["issued"], "all": True}
                assert await living()
                answer = await client.post("/_sandbox/revoke", json={kind: order[kind]})
                assert (answer.status_code, answer.json()) == (200, {"revoked": 1})
                assert not await living()

    async def test_a_client_that_leaves_in_the_middle_harms_nobody(self) -> None:
        """Half a request and a closed connection: the next one is served."""
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:
            port = int(sandbox.url.rpartition(":")[2])
            async with await trio.open_tcp_stream(HOST, port) as stream:
                await stream.send_all(b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
            assert (await client.post("/oauth/token", data=LOGIN)).status_code == 200

    async def test_many_at_once(self) -> None:
        """Two hundred requests over twenty connections are all answered, and each token is another."""
        tokens: set[str] = set()
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:

            async def login_often() -> None:
                for _ in range(10):
                    tokens.add((await client.post("/oauth/token", data=LOGIN)).json()["access_token"])

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(login_often)
            assert len(sandbox.state.journal.notes()) == 200
        assert len(tokens) == 200

    async def test_no_task_is_left_behind(self) -> None:
        """After the block everything that served is gone, connections kept open by a client included."""
        before = trio.lowlevel.current_statistics().tasks_living
        async with sandbox_in_process() as sandbox:
            port = int(sandbox.url.rpartition(":")[2])
            lazy = await trio.open_tcp_stream(HOST, port)
        assert await lazy.receive_some() == b""
        await lazy.aclose()
        assert trio.lowlevel.current_statistics().tasks_living == before

    async def test_hypercorn_does_not_name_itself(self) -> None:
        """The answer is the look-alike's."""
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:
            assert "server" not in (await client.get("/login")).headers


class TestListener:
    def test_it_listens_on_loopback_only(self) -> None:
        """There is no way to another address."""
        with listen(0) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"
            assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"

    def test_a_taken_port_is_named(self) -> None:
        """The error says which port and why."""
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
                listen(port)


class TestRoutes:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_get_on_the_token_endpoint_redirects_to_the_login_page(self, method: str) -> None:
        """As does any unknown page."""
        async with sandbox_without_sockets(box()) as client:
            for path in ("/oauth/token", "/oauth/token/refresh", "/nothing"):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.headers["location"]) == (302, "/login")

    @pytest.mark.parametrize(("accept", "kind"), [("application/json", "application/json"), ("*/*", "text/html")])
    async def test_other_methods_on_the_token_endpoint(self, accept: str, kind: str) -> None:
        """405, in JSON for who wants it; methods nobody has heard of too."""
        async with sandbox_without_sockets(box()) as client:
            for method in ("PUT", "FROBNICATE"):
                answer = await client.request(method, "/oauth/token", headers={"accept": accept})
                assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
                assert answer.headers["content-type"].startswith(kind)

    async def test_oauth_token_refresh_is_no_refresh(self) -> None:
        """It answers text with status 200: a trap for who guesses the path."""
        async with sandbox_without_sockets(box()) as client:
            answer = await client.post("/oauth/token/refresh", data={"refresh_token": "x"})
        assert (answer.status_code, answer.text) == (200, "Refreshed.")
        assert answer.headers["content-type"].startswith("text/html")

    async def test_the_login_page_is_a_page_and_other_posts_find_nothing(self) -> None:
        """Whoever follows the redirect gets 200 with HTML."""
        async with sandbox_without_sockets(box()) as client:
            page, post = await client.get("/login"), await client.post("/nothing")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=UTF-8")
        assert post.status_code == 404

    async def test_a_huge_body_is_refused_and_the_next_request_served(self) -> None:
        """It is read to its end, so that the answer arrives and the connection stays usable."""
        async with sandbox_in_process() as sandbox, client_for(sandbox.url) as client:
            answer = await client.post("/oauth/token", content=b"x" * 2_000_000)
            assert answer.status_code == 413
            assert (await client.post("/oauth/token", data=LOGIN)).status_code == 200

    @pytest.mark.parametrize(("accept", "kind"), [("application/json", "application/json"), ("*/*", "text/html")])
    async def test_what_breaks_inside_is_laravels_server_error(
        self, accept: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No traceback reaches the client."""

        def broken(*_: object) -> None:
            raise RuntimeError("broken on purpose")

        monkeypatch.setattr(passport, "answer", broken)
        async with sandbox_without_sockets(box()) as client:
            answer = await client.post("/oauth/token", data=LOGIN, headers={"accept": accept})
        assert answer.status_code == 500
        assert answer.headers["content-type"].startswith(kind)
        assert "on purpose" not in answer.text

    async def test_of_a_repeated_header_the_first_counts(self) -> None:
        """Two Authorization headers do not add up."""
        async with sandbox_without_sockets(box()) as client:
            token = (await client.post("/oauth/token", data=LOGIN)).json()["access_token"]
            headers = [("authorization", f"Bearer {token}"), ("authorization", "Bearer x")]
            assert (await client.get("/api/1.0/users/1", headers=headers)).status_code == 200


class TestSwitches:
    @pytest.mark.parametrize(
        "order",
        ["", "{", "[]", "{}", '{"token": 5}', '{"token": ""}', '{"fingerprint": "xyz"}', '{"all": false}', '"all"'],
    )
    async def test_an_order_that_cannot_be_understood(self, order: str) -> None:
        """400 says how to write it; nothing is revoked."""
        state = box()
        issued = state.pm4.issue(PASSWORD, 1, (), refreshable=True)
        async with sandbox_without_sockets(state) as client:
            answer = await client.post("/_sandbox/revoke", content=order)
        assert answer.status_code == 400
        assert "send JSON" in answer.json()["error"]
        assert not issued.row.revoked

    @pytest.mark.parametrize(("kind", "hit"), [(True, 2), ("access", 2), ("refresh", 2), ("both", 4)])
    async def test_all_kinds(self, kind: Any, hit: int) -> None:
        """Both generations' tokens go; refresh tokens only if asked for."""
        state = box()
        state.pm4.issue(PASSWORD, 1, (), refreshable=True)
        state.pm3.issue(PM3_CLIENT, 1, (), refreshable=True)
        async with sandbox_without_sockets(state) as client:
            answer = await client.post("/_sandbox/revoke", json={"all": kind})
        assert answer.json() == {"revoked": hit}

    async def test_the_log_holds_fingerprints_and_no_secret(self) -> None:
        """Everything asked for is there; no token, secret or password is."""
        async with sandbox_without_sockets(box()) as client:
            issued = (await client.post("/oauth/token", data=LOGIN)).json()
            answer = await client.get("/_sandbox/log")
        (note,) = answer.json()
        assert (note["generation"], note["grant"], note["client_id"], note["status"]) == (4, "password", "2", 200)
        text = json.dumps(answer.json())
        for secret in (issued["access_token"], issued["refresh_token"], PASSWORD.secret, "demo-password"):
            assert secret not in text
