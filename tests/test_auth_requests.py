"""What PmcredAuth does with requests' own ways: sessions, files, hooks, netrc."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.api_server import NEW, NEWER, OLD, House, Reply, Seen, house

from pmcredd import PmcredError
from pmcredd.auth.requests import PmcredAuth


@pytest.fixture
def world(tmp_path: Path) -> Iterator[House]:
    """Serve an API whose good token is NEW, and a daemon that has OLD first."""
    with house(tmp_path / "run" / "pmcred" / "socket") as found:
        yield found


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Give a session that knows of no proxy."""
    with requests.Session() as found:
        found.trust_env = False
        found.auth = PmcredAuth("prod")
        yield found


def test_a_file_is_sent_again_from_where_it_stood(world: House, session: requests.Session) -> None:
    """As requests sends it the first time."""
    file = io.BytesIO(b"head body")
    file.seek(5)
    assert session.post(world.api.url, data=file).status_code == 200
    assert [seen.body for seen in world.api.seen] == [b"body", b"body"]


def test_what_a_pipe_gave_is_not_sent_again(world: House, session: requests.Session) -> None:
    """It cannot be read twice."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(b"content")
    with os.fdopen(reading, "rb") as pipe:
        assert session.post(world.api.url, data=pipe).status_code == 401
    assert [seen.body for seen in world.api.seen] == [b"content"]


def test_a_form_with_files_and_json_are_sent_again(world: House, session: requests.Session) -> None:
    """Requests has them in memory."""
    assert session.post(world.api.url, files={"f": io.BytesIO(b"content")}, data={"a": "1"}).status_code == 200
    world.issuer.tokens, world.api.good = [OLD, NEW], {NEW}
    assert session.post(world.api.url, json={"a": 1}).status_code == 200
    bodies = [seen.body for seen in world.api.seen]
    assert bodies[:1] * 2 + bodies[2:3] * 2 == bodies


def test_the_refused_answer_is_in_the_history(world: House, session: requests.Session) -> None:
    """As with requests' own scheme that needs two requests; a cookie that it set is kept."""
    world.api.special["/login"] = Reply(401, (("Set-Cookie", "seen=1"),))
    response = session.get(world.api.url)
    assert [each.status_code for each in response.history] == [401]
    session.get(world.api.url + "/login")
    assert session.cookies["seen"] == "1"


def test_an_answer_can_be_streamed(world: House, session: requests.Session) -> None:
    """The refused one is read, the one that counts is the caller's to read."""
    with session.get(world.api.url, stream=True) as response:
        assert response.raw.read() == b'{"data":[]}'


@pytest.mark.parametrize("way", ["", "/first"])
def test_a_prepared_request_has_its_401_reported_each_time(
    world: House, session: requests.Session, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """However often it is sent, and whether or not a redirect leads to the refusal."""
    world.api.special["/first"] = Reply(302, (("Location", "/second"),))
    prepared = session.prepare_request(requests.Request("GET", world.api.url + way))
    for good in (NEW, NEWER):
        world.api.good = {good}
        assert session.send(prepared).status_code == 200
    world.api.good = set()
    assert session.send(prepared).status_code == 401  # there is no other token
    world.issuer.tokens, world.api.good = [NEWER, OLD], {OLD}
    assert session.send(prepared).status_code == 200
    assert world.asked() == ["get"] + ["reject"] * 4
    assert "refused as well" not in caplog.text


def test_a_fresh_token_that_is_refused_is_not_held_against_the_next_time(
    world: House, session: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    """The third token is good; one exchange alone does not go so far."""
    world.api.good = {NEWER}
    prepared = session.prepare_request(requests.Request("GET", world.api.url))
    assert session.send(prepared).status_code == 401
    assert "refused as well" in caplog.text
    assert session.send(prepared).status_code == 200
    assert world.api.bearers() == [OLD, NEW, NEW, NEWER]


def test_a_redirect_after_a_second_try_gets_no_third_one(
    world: House, session: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    """It is still the same exchange, and the fresh token is refused at its end."""
    replies = iter([Reply(401), Reply(302, (("Location", "/second"),))])
    plain = world.api.reply
    world.api.reply = lambda request: next(replies) if request.path == "/first" else plain(request)  # type: ignore[method-assign]
    world.api.good = {NEWER}
    assert session.get(world.api.url + "/first").status_code == 401
    assert world.api.bearers() == [OLD, NEW, NEW]
    assert "refused as well" in caplog.text


def test_a_connection_that_breaks_in_the_second_try_ends_the_exchange(world: House, session: requests.Session) -> None:
    """Who sends the request again has its 401 mended as if nothing had been."""
    prepared = session.prepare_request(requests.Request("GET", world.api.url))
    plain = world.api.reply

    def reply(request: Seen) -> Reply:
        if request.authorization == f"Bearer {NEW}":
            raise ConnectionResetError
        return plain(request)

    world.api.reply = reply  # type: ignore[method-assign]
    with pytest.raises(requests.ConnectionError):
        session.send(prepared)
    world.api.reply, world.api.good = plain, {NEWER}  # type: ignore[method-assign]
    assert session.send(prepared).status_code == 200
    assert world.asked() == ["get", "reject", "reject"]


def test_the_callers_own_hooks_see_what_the_caller_gets(world: House, session: requests.Session) -> None:
    """They come after ours."""
    statuses: list[int] = []
    session.get(world.api.url, hooks={"response": lambda response, **_: statuses.append(response.status_code)})
    assert statuses == [200]


def test_netrc_does_not_get_in_the_way(world: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file of passwords names the host too, it is the token that goes there."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hidden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert requests.get(world.api.url, auth=PmcredAuth("prod")).status_code == 200
    assert world.api.bearers() == [OLD, NEW]


def test_a_redirect_that_is_not_followed_is_prepared_without_the_token(world: House, session: requests.Session) -> None:
    """`response.next` is sent by many programs as it is, HTTPie too."""
    world.issuer.url = world.api.url + "/acme"
    world.api.special["/acme"] = Reply(302, (("Location", "/other"),))
    following = session.get(world.api.url + "/acme", allow_redirects=False).next
    assert following is not None
    assert "Authorization" not in following.headers


def test_an_error_of_the_daemon_frees_the_connection(world: House, session: requests.Session) -> None:
    """The refused answer is closed: an unclosed socket would be a warning, and so an error here."""
    world.issuer.rejects = b"error needs-login\nmessage=m\n\n"
    with pytest.raises(PmcredError, match="m"):
        session.get(world.api.url, stream=True)
    world.api.good = {OLD}
    assert session.get(world.api.url).status_code == 200


def test_two_for_the_same_are_equal() -> None:
    """As requests' own are."""
    assert PmcredAuth("prod") == PmcredAuth("prod")
    assert hash(PmcredAuth("prod")) == hash(PmcredAuth("prod"))
    assert PmcredAuth("prod") != PmcredAuth("dev")
    assert PmcredAuth("prod") != "prod"


def test_each_library_is_loaded_for_its_own_users() -> None:
    """A script with requests waits for no httpx, and one with httpx needs no requests."""
    script = (
        "import sys, pmcredd.auth.requests; print({'httpx', 'anyio'} & sys.modules.keys())\n"
        "sys.modules['requests'] = None; import pmcredd.auth.httpx"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
