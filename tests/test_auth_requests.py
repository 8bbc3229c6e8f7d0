"""What PmcredAuth does with requests' own ways: sessions, files, hooks, netrc."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.api_server import NEW, OLD, House, Reply, house

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
