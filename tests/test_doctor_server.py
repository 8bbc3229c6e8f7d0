"""pmcred doctor's look at servers and at the API: TLS, proxies, servers that hang, tokens that change meanwhile."""

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from support.fake_daemon import FakeDaemon
from support.hostile import Behaviour, Conversation, close_after_reading, hang, hang_after_reading
from support.hostile import hostile as serving

from pmcredd import wire
from pmcredd.cli.doctor import daemon
from pmcredd.cli.doctor.checkup import look
from pmcredd.cli.doctor.files import Read
from pmcredd.cli.doctor.finding import Finding, Level
from pmcredd.cli.doctor.judge_daemon import Answers, NoAnswer
from pmcredd.cli.doctor.server import look_at_server, servers
from pmcredd.cli.doctor.token import look_at_token
from pmcredd.profiles import Config, Grant, Profile, Settings
from pmcredd.upstream import Upstream

REFUSAL = json.dumps(
    {
        "error": "unsupported_grant_type",
        "error_description": "The authorization grant type is not supported by the authorization server.",
    }
).encode()
NOW = datetime.now(UTC)


def profile_for(url: str, *, timeout: float = 20.0) -> Profile:
    """A profile whose secrets are of no interest."""
    return Profile("prod", url, Grant.PASSWORD, client_id="3", username="u", timeout=timeout)


async def processmaker(talk: Conversation) -> None:
    """Refuse what names no grant, as ProcessMaker 4 does."""
    date = f"Date: {formatdate(usegmt=True)}\r\n".encode()
    await talk.answer(REFUSAL, status="400 Bad Request", headers=date)


@pytest.fixture
def authority() -> trustme.CA:
    """A CA of our own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate, in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def context(cert: trustme.LeafCert) -> ssl.SSLContext:
    """A server's own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(made)
    return made


def named(findings: tuple[Finding, ...] | list[Finding], check: str) -> Finding:
    """Give the one finding of this name."""
    (found,) = [each for each in findings if each.check == check]
    return found


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_trusted_certificate(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the profile's ca_file and by the system's store; with its protocol and its end; the name is looked up."""
    cert = authority.issue_cert("localhost", not_after=NOW + timedelta(days=90, minutes=9))
    async with serving(processmaker, tls=context(cert)) as server:
        profile = profile_for(f"https://localhost:{server.port}")
        by_file = await look_at_server(Upstream(), replace(profile, ca_file=ca_file))
        monkeypatch.setenv("SSL_CERT_FILE", ca_file)
        by_system = await look_at_server(Upstream(), profile)
    for found in (by_file, by_system):
        assert found.answers
        assert {each.level for each in found.findings} == {Level.OK}
        assert "TLS 1.3, the certificate is trusted and ends in 3 months" in named(found.findings, "tls").sentence
        assert named(found.findings, "dns").sentence.startswith("localhost is ")
        assert "ProcessMaker 4 answers" in named(found.findings, "endpoint").sentence


async def test_a_certificate_that_ends_soon_is_told_in_time(authority: trustme.CA, ca_file: str) -> None:
    """It works still: a warning."""
    cert = authority.issue_cert("127.0.0.1", not_after=NOW + timedelta(days=5))
    async with serving(processmaker, tls=context(cert)) as server:
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        found = await look_at_server(Upstream(), profile)
    assert named(found.findings, "tls").level is Level.WARNING
    assert "certificate ends in 4 days" in named(found.findings, "tls").sentence
    assert found.answers


@pytest.mark.parametrize(
    ("issue", "why", "mend"),
    [
        (lambda _: trustme.CA().issue_cert("127.0.0.1"), "nobody we trust", "name it in ca_file"),
        (lambda ca: ca.issue_cert("pm.example"), "for another host", "host in url"),
        (lambda ca: ca.issue_cert("127.0.0.1", not_after=NOW - timedelta(days=1)), "has expired", "have it renewed"),
    ],
)
async def test_a_certificate_that_does_not_pass(
    issue: Callable[[trustme.CA], trustme.LeafCert], why: str, mend: str, authority: trustme.CA, ca_file: str
) -> None:
    """Each reason has its own mend, and such a server is asked nothing."""
    async with serving(processmaker, tls=context(issue(authority))) as server:
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=ca_file)
        found = await look_at_server(Upstream(), profile)
        assert not any(server.requests)
    (tls,) = found.findings
    assert (tls.check, tls.level, found.answers) == ("tls", Level.PROBLEM, False)
    assert why in tls.sentence
    assert mend in tls.mend


async def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    """The file is named, before anybody is connected to."""
    async with serving(processmaker) as server:
        profile = replace(profile_for(f"https://127.0.0.1:{server.port}"), ca_file=str(tmp_path / "gone.pem"))
        (tls,) = (await look_at_server(Upstream(), profile)).findings
        assert server.requests == []
    assert "gone.pem cannot be used" in tls.sentence
    assert "pmcred profile edit prod" in tls.mend


async def test_a_port_where_nobody_listens() -> None:
    """Nobody listens: that is said of the server, before any certificate."""
    found = await look_at_server(Upstream(), profile_for("https://127.0.0.1:9"))
    (tls,) = found.findings
    assert (tls.check, tls.level) == ("tls", Level.PROBLEM)
    assert "nothing listens there" in tls.sentence


# --- servers that do not behave ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "check"), [("https", "network"), ("http", "endpoint")])
async def test_a_server_that_hangs_costs_its_limit(scheme: str, check: str) -> None:
    """In the handshake or after the request: it is told, with the profile's own limit, and nothing more is tried."""
    async with serving(hang if scheme == "https" else hang_after_reading) as server:
        profile = profile_for(f"{scheme}://127.0.0.1:{server.port}", timeout=1)
        found = await look_at_server(Upstream(), profile)
        assert len(server.requests) == 1
    (finding,) = found.findings
    assert (finding.check, finding.level, found.answers) == (check, Level.PROBLEM, False)
    assert "within 1 s" in finding.sentence


async def test_a_server_that_gives_tokens_to_everybody() -> None:
    """Whatever it is, its tokens are not asked for."""
    body = b'{"token_type":"Bearer","access_token":"abc"}'
    async with serving(partial(Conversation.answer, body=body)) as server:
        found = await look_at_server(Upstream(), profile_for(server.url))
    assert "that is no ProcessMaker" in named(found.findings, "endpoint").sentence
    assert not found.answers


async def test_a_processmaker_3_is_found_where_a_4_was_expected() -> None:
    """The token endpoint of the other generation is asked, if this one's is not there."""

    async def three(talk: Conversation) -> None:
        await talk.request()
        if b"/workflow/oauth2/token" in talk.seen:
            body = b'{"error":"invalid_request","error_description":"The grant type was not specified"}'
            await talk.answer(body, status="400 Bad Request")
        else:
            await talk.answer(b"{}", status="404 Not Found")

    async with serving(three) as server:
        found = await look_at_server(Upstream(), profile_for(server.url))
        assert len(server.requests) <= 4
    endpoint = named(found.findings, "endpoint")
    assert endpoint.level is Level.PROBLEM
    assert endpoint.mend == "set generation = 3 and workspace: pmcred profile edit prod"


@pytest.mark.parametrize(
    ("proxy", "told"),
    [("http://me:s3cret@127.0.0.1:9", "the proxy http://127.0.0.1:9"), ("socks5://127.0.0.1:9", "a proxy")],
)
async def test_a_proxy_looks_up_the_name(proxy: str, told: str) -> None:
    """What it does is not done here, and its password is not told; that it is not there comes with the request."""
    profile = replace(profile_for("https://pm.example"), proxy=proxy)
    found = await look_at_server(Upstream(), profile)
    assert told in named(found.findings, "proxy").sentence
    assert "s3cret" not in str(found)
    assert named(found.findings, "endpoint").level is Level.PROBLEM


async def test_a_name_beyond_ascii_is_looked_up_as_it_is_sent() -> None:
    """In its IDNA form; here it does not exist."""
    found = await look_at_server(Upstream(), profile_for("https://bücher.invalid"))
    assert [each.check for each in found.findings] == ["dns"]


def test_each_server_is_looked_at_once() -> None:
    """Profiles of one server share the look, unless they reach it in another way."""
    a = profile_for("https://h.example")
    b, c = replace(a, name="b", username="other"), replace(a, name="c", ca_file="/ca.pem")
    assert servers([a, b, c]) == {a: [a, b], c: [c]}


async def test_servers_are_looked_at_side_by_side(tmp_path: Path) -> None:
    """Each of three answers only once all three have been asked: one after the other, none would."""
    asked = 0
    everybody = trio.Event()

    async def together(talk: Conversation) -> None:
        nonlocal asked
        await talk.request()
        asked += 1
        if asked == 3:
            everybody.set()
        await everybody.wait()
        await processmaker(talk)

    async with serving(together) as one, serving(together) as two, serving(together) as three:
        profiles = [replace(profile_for(each.url, timeout=60), name=f"p{each.port}") for each in (one, two, three)]
        config = Config(Settings(), {each.name: each for each in profiles})
        environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
        found = await look(environ, Read(tuple(profiles), config, ()), str(tmp_path / "none" / "socket"), None)
    assert [each.level for each in found if each.check == "endpoint"] == [Level.OK] * 3


# --- the token --------------------------------------------------------------------------------------------------------


def holder(path: Path, url: str, *tokens: str, **more: str) -> FakeDaemon:
    """A daemon that has one token after the other, the last one for good."""
    left = list(tokens)

    def answer(line: bytes) -> bytes:
        assert wire.parse_request(line).verb == "watch"
        token = left.pop(0) if len(left) > 1 else left[0]
        fields = {"event": "present", "profile": "prod", "url": url, **more} | (
            {"access_token": token} if token else {}
        )
        return wire.STREAM_HEAD + wire.format_block(fields)

    path.parent.mkdir(mode=0o700, exist_ok=True)
    return FakeDaemon(path, answer)


def api(status: str, good: bytes = b"no such token") -> Behaviour:
    """An API that answers so, except to the token `good`."""

    async def behave(talk: Conversation) -> None:
        await talk.request()
        await talk.answer(b"{}", status="200 OK" if good in talk.seen else status)

    return behave


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        ("200 OK", Level.OK, "takes the token"),
        ("403 Forbidden", Level.OK, "takes the token"),
        ("401 Unauthorized", Level.PROBLEM, "pmcred get prod | pmcred reject prod"),
        ("429 Too Many Requests", Level.WARNING, "cannot say"),
        ("502 Bad Gateway", Level.WARNING, "cannot say"),
        ("418 Teapot", Level.WARNING, "not as a ProcessMaker"),
    ],
)
async def test_what_the_api_says_of_the_token(status: str, level: Level, words: str, tmp_path: Path) -> None:
    """A 401 alone speaks against it; who has no permission was recognised."""
    async with serving(api(status)) as server:
        with holder(tmp_path / "run" / "socket", server.url, "abc"):
            (found,) = await look_at_token(Upstream(), profile_for(server.url), tmp_path / "run" / "socket")
    assert found.level is level
    assert words in f"{found.sentence}; {found.mend}"


@pytest.mark.parametrize(
    ("grant", "level", "words"),
    [
        (Grant.CLIENT_CREDENTIALS, Level.WARNING, "knows no user"),
        (Grant.PERSONAL_ACCESS_TOKEN, Level.PROBLEM, "make a new one"),
    ],
)
async def test_what_a_401_means_depends_on_the_grant(grant: Grant, level: Level, words: str, tmp_path: Path) -> None:
    """The tokens of client_credentials are always refused by ProcessMaker 4's API."""
    async with serving(api("401 Unauthorized")) as server:
        profile = replace(profile_for(server.url), grant=grant)
        with holder(tmp_path / "run" / "socket", server.url, "abc", "def"):
            (found,) = await look_at_token(Upstream(), profile, tmp_path / "run" / "socket")
        assert len(server.requests) == 2  # a second token was tried, and no third
    assert found.level is level
    assert words in f"{found.sentence}; {found.mend}"


async def test_a_token_that_was_replaced_meanwhile_is_no_problem(tmp_path: Path) -> None:
    """A renewal kills the token in use: whoever was just told it asks again."""
    async with serving(api("401 Unauthorized", good=b"Bearer new")) as server:
        with holder(tmp_path / "run" / "socket", server.url, "old", "new"):
            (found,) = await look_at_token(Upstream(), profile_for(server.url), tmp_path / "run" / "socket")
    assert found.level is Level.OK


async def test_a_token_goes_to_its_own_server_alone(tmp_path: Path) -> None:
    """None in hand, an expired one, one for the address before the last edit, none at all: nothing is sent."""
    socket = tmp_path / "run" / "socket"
    async with serving(api("200 OK")) as server:
        profile = profile_for(server.url)
        for each in (
            holder(socket, server.url, ""),
            holder(socket, server.url, "abc", expires_at="5"),
            holder(socket, "https://old.example", "abc"),
        ):
            with each:
                assert await look_at_token(Upstream(), profile, socket) == []
        assert await look_at_token(Upstream(), profile, socket) == []
        assert server.requests == []


async def test_an_api_that_breaks_off(tmp_path: Path) -> None:
    """It is told as the network's error that it is."""
    async with serving(close_after_reading) as server:
        with holder(tmp_path / "run" / "socket", server.url, "abc"):
            (found,) = await look_at_token(Upstream(), profile_for(server.url), tmp_path / "run" / "socket")
    assert found.level is Level.PROBLEM
    assert "closed the connection" in found.sentence


@pytest.mark.parametrize("said", [b"", b"ok *\n", b"error no-such-profile\nmessage=gone\n\n"])
async def test_a_daemon_that_does_not_tell_the_token(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs up, begins and falls silent, or has lost the profile: then there is no token to look at."""
    monkeypatch.setattr(daemon, "_LIMIT", 0.5)
    path = tmp_path / "run" / "socket"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with FakeDaemon(path, lambda _: said):
        assert await daemon.token_in_hand(path, "prod") is None


async def test_a_daemon_that_hangs_costs_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the request and never answers: told as that, and nothing more is asked."""
    monkeypatch.setattr(daemon, "_LIMIT", 0.2)
    path = tmp_path / "run" / "socket"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    released = threading.Event()

    def answer(_: bytes) -> bytes:
        released.wait(60)
        return b""

    with FakeDaemon(path, answer) as silent:
        found = await daemon.ask_daemon({}, str(path), None)
        released.set()
    assert silent.requests == [b"hello"]
    assert isinstance(found, NoAnswer)
    assert "has not answered within 0.2 s" in found.said


async def test_a_profile_that_the_daemon_has_not_got(tmp_path: Path) -> None:
    """It is one without a state; a daemon that fails to tell the states is not answering as it should."""
    path = tmp_path / "run" / "socket"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    code = wire.Code.NO_SUCH_PROFILE

    def answer(line: bytes) -> bytes:
        return wire.format_ok([{"version": "1"}], many=False) if line == b"hello" else wire.format_error(code, "no")

    with FakeDaemon(path, answer):
        found = await daemon.ask_daemon({}, str(path), "prod")
        assert isinstance(found, Answers)
        assert found.states == {}
        code = wire.Code.INTERNAL
        assert isinstance(await daemon.ask_daemon({}, str(path), "prod"), NoAnswer)
