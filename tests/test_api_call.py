"""The conversation of `pmcred api`, with a server and a daemon on real sockets."""

import os
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
import trustme
from support import hostile
from support.fake_daemon import FakeDaemon
from support.hostile import Behaviour, Conversation, Hostile

from pmcredd import request_body, wire
from pmcredd.api_call import CallFailed, Outcome, Tokens, perform
from pmcredd.api_exchange import Call, Head
from pmcredd.client import PmcredError
from pmcredd.profiles import Grant, Profile
from pmcredd.request_body import Body, open_body
from pmcredd.secret import Secret

OLD, NEW = "old-token-0123456789", "new-token-0123456789"
PROFILE = Profile("prod", "", Grant.PASSWORD)
UNAUTHENTICATED = b'{"error":"Unauthenticated."}'


@dataclass
class Recorder:
    """A receiver that keeps everything."""

    heads: list[Head] = field(default_factory=list)
    bearers: list[str] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def begin(self, head: Head, bearer: Secret) -> None:
        self.heads.append(head)
        self.bearers.append(bearer.reveal())

    def receive(self, chunk: bytes) -> None:
        self.body += chunk


@dataclass
class Issuer:
    """What a daemon answers: `tokens` in turn, the last one for ever; `rejects` and `promises` may be errors."""

    url: str
    tokens: list[str] = field(default_factory=lambda: [OLD, NEW])
    rejects: bytes = b""
    promises: bytes = b""

    def __call__(self, line: bytes) -> bytes:
        """Answer a request."""
        if line.startswith(b"reject "):
            if not self.rejects and len(self.tokens) > 1:
                del self.tokens[0]
            return self.rejects or self._block()
        if b" for=" in line and self.promises:
            return self.promises
        return self._block()

    def _block(self) -> bytes:
        return wire.format_ok([{"access_token": self.tokens[0], "profile": "prod", "url": self.url}], many=False)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Treat each connection as the next behaviour says, and all after that as the last one."""
    left = list(behaviours)

    async def behave(talk: Conversation) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(talk)

    return behave


def answering(status: str, body: bytes = b"{}", headers: bytes = b"") -> Behaviour:
    """Answer every request so."""

    async def behave(talk: Conversation) -> None:
        await talk.answer(body, status=status, headers=headers)

    return behave


REFUSING = answering("401 Unauthorized", UNAUTHENTICATED)
GOOD = answering("200 OK", b'{"data":[]}')


@dataclass
class World:
    """A server, a daemon, and what was told."""

    server: Hostile
    daemon: FakeDaemon
    issuer: Issuer
    profile: Profile
    told: list[str] = field(default_factory=list)
    received: Recorder = field(default_factory=Recorder)

    async def call(
        self,
        method: str = "GET",
        body: Body | None = None,
        *,
        limit: float = 20.0,
        headers: Sequence[tuple[str, str]] = (),
        receiver: Recorder | None = None,
    ) -> Outcome:
        """Make a call of /users."""
        url = f"{self.profile.url}/api/1.0/users"
        kind = [("Content-Type", "application/json")] if body else []
        call = Call(self.profile, method, url, [*kind, *headers], body, limit)
        tokens = Tokens(self.profile, limit, socket_path=self.daemon.path, tell=self.told.append)
        return await perform(call, receiver or self.received, tokens)

    def requests(self) -> list[bytes]:
        """Give what reached the server."""
        return [bytes(request) for request in self.server.requests]

    def bearers(self) -> list[str]:
        """Give the tokens that reached the server."""
        return [request.partition(b"earer ")[2].partition(b"\r\n")[0].decode() for request in self.requests()]


@asynccontextmanager
async def world(tmp_path: Path, behave: Behaviour, profile: Profile = PROFILE) -> AsyncIterator[World]:
    """Run a server that behaves so, and a daemon that has tokens for it."""
    async with hostile.hostile(behave) as server:
        issuer = Issuer(server.url)
        with FakeDaemon(tmp_path / "run" / "socket", issuer) as daemon:
            yield World(server, daemon, issuer, replace(profile, url=server.url))


def piped(content: bytes) -> int:
    """Give the reading end of a pipe with that content."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write).start()
    return reading


def refusal(code: wire.Code) -> bytes:
    """Refuse as the daemon does."""
    return wire.format_error(code, "the reason", "the mend")


# ---- one call --------------------------------------------------------------------------------------------------------


async def test_a_call_is_made_with_a_token_that_is_promised_for_its_time(tmp_path: Path) -> None:
    """The daemon is asked for a lease as long as the limit, and the answer is passed on."""
    async with world(tmp_path, GOOD) as there:
        outcome = await there.call(limit=20)
    assert there.daemon.requests == [b"get prod timeout=60 for=20"]
    assert (outcome.head.status, outcome.refused) == (200, None)
    assert there.bearers() == [OLD]
    assert there.received.heads == [outcome.head]
    assert (there.received.bearers, bytes(there.received.body)) == ([OLD], b'{"data":[]}')
    assert outcome.head.get("content-type") == "application/json"
    assert outcome.head.get("x-nothing") == ""


async def test_a_request_says_what_it_must_and_what_it_was_told(tmp_path: Path) -> None:
    """JSON alone is accepted unless somebody says otherwise; a header that is given twice is sent twice."""
    async with world(tmp_path, GOOD) as there:
        await there.call()
        await there.call(
            "PUT", open_body('{"a": 1}', None), headers=[("ACCEPT", "text/csv"), ("X-A", "1"), ("X-A", "2")]
        )
        await there.call("POST")
    plain, told, empty = (request.decode().partition("\r\n\r\n") for request in there.requests())
    heads = [sorted(line.lower() for line in part[0].split("\r\n")[1:]) for part in (plain, told, empty)]
    common = {f"host: 127.0.0.1:{there.server.port}", "accept-encoding: identity", "connection: close"}
    common |= {f"authorization: bearer {OLD}"}
    assert plain[0].startswith("GET /api/1.0/users HTTP/1.1\r\n")
    assert [line for line in heads[0] if line not in common and "user-agent" not in line] == [
        "accept: application/json"
    ]
    assert told[0].startswith("PUT ")
    assert told[2] == '{"a": 1}'
    assert [line for line in heads[1] if line not in common and "user-agent" not in line] == [
        "accept: text/csv",
        "content-length: 8",
        "content-type: application/json",
        "x-a: 1",
        "x-a: 2",
    ]
    assert "content-length: 0" in heads[2]


async def test_no_redirect_is_followed(tmp_path: Path) -> None:
    """The token would go along."""
    async with hostile.hostile(GOOD) as elsewhere:
        moved = answering("302 Found", headers=f"Location: {elsewhere.url}/login\r\n".encode())
        async with world(tmp_path, moved) as there:
            outcome = await there.call()
    assert outcome.head.status == 302
    assert elsewhere.requests == []


async def test_a_body_is_passed_on_while_it_comes(tmp_path: Path) -> None:
    """However long it is, nobody has to have room for it: the first part is here before the last one is sent."""
    seen = trio.Event()

    async def wait_for_reader(talk: Conversation) -> None:
        await talk.request()
        await talk.stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await seen.wait()
        await talk.stream.send_all(b"4\r\nlast\r\n0\r\n\r\n")

    class Reader(Recorder):
        def receive(self, chunk: bytes) -> None:
            super().receive(chunk)
            seen.set()

    async with world(tmp_path, wait_for_reader) as there:
        reader = Reader()
        with trio.fail_after(60):
            await there.call(receiver=reader)
    assert reader.body == b"firstlast"


async def test_a_body_that_goes_on_has_no_limit(tmp_path: Path) -> None:
    """A download may take longer than the server may be silent."""

    class Enough(Exception):
        pass

    class Patient(Recorder):
        def receive(self, chunk: bytes) -> None:
            super().receive(chunk)
            if trio.current_time() > begun + 2.5:
                raise Enough

    async with world(tmp_path, hostile.drip) as there:
        begun = trio.current_time()
        with pytest.raises(Enough), trio.fail_after(60):
            await there.call(limit=2, receiver=Patient())


@pytest.mark.parametrize("when", ["begin", "receive"])
async def test_what_the_receiver_raises_comes_out(tmp_path: Path, when: str) -> None:
    """A pipe that nobody reads is no fault of the server's, and ends the call at once."""

    class Broken(Recorder):
        def begin(self, head: Head, bearer: Secret) -> None:
            super().begin(head, bearer)
            if when == "begin":
                raise BrokenPipeError

        def receive(self, chunk: bytes) -> None:
            super().receive(chunk)
            assert when == "receive"  # and after a failure nothing more is handed over
            raise BrokenPipeError

    for behave in (GOOD, hostile.endless_body):
        async with world(tmp_path, behave) as there:
            with pytest.raises(BrokenPipeError), trio.fail_after(60):
                await there.call(limit=600, receiver=Broken())


# ---- the daemon ------------------------------------------------------------------------------------------------------


async def test_where_nothing_can_be_promised_the_token_is_used_all_the_same(tmp_path: Path) -> None:
    """A server with short-lived tokens must not be out of reach for long calls."""
    async with world(tmp_path, GOOD) as there:
        there.issuer.promises = refusal(wire.Code.CANNOT_PROMISE)
        assert (await there.call()).head.status == 200
    assert there.daemon.requests == [b"get prod timeout=60 for=20", b"get prod timeout=60"]


async def test_without_a_token_nothing_is_sent(tmp_path: Path) -> None:
    """The daemon's reason comes out."""
    async with world(tmp_path, GOOD) as there:
        there.issuer.promises = refusal(wire.Code.NEEDS_LOGIN)
        with pytest.raises(PmcredError) as refused:
            await there.call()
    assert (refused.value.code, refused.value.hint) == ("needs-login", "the mend")
    assert there.requests() == []


async def test_a_token_goes_to_its_own_instance_only(tmp_path: Path) -> None:
    """Who has edited the url and not told the daemon yet would send one instance's token to another."""
    async with world(tmp_path, GOOD) as there:
        there.issuer.url = "https://staging.example"
        with pytest.raises(PmcredError, match=r"is for https://staging\.example, and the one in the file") as refused:
            await there.call()
    assert (refused.value.exit_status, refused.value.hint) == (6, "pmcred reload")
    assert there.requests() == []


# ---- a 401 -----------------------------------------------------------------------------------------------------------


async def test_a_refused_token_is_reported_and_the_call_made_once_more(tmp_path: Path) -> None:
    """By its fingerprint; whoever waits sees nothing of the first answer."""
    async with world(tmp_path, in_turn(REFUSING, GOOD)) as there:
        outcome = await there.call("POST", open_body('{"a": 1}', None))
    assert there.bearers() == [OLD, NEW]
    assert [request.endswith(b'{"a": 1}') for request in there.requests()] == [True, True]
    reject = f"reject prod fingerprint={Secret(OLD).fingerprint()} timeout=60".encode()
    assert there.daemon.requests == [b"get prod timeout=60 for=20", reject, b"get prod timeout=60 for=20"]
    assert (outcome.head.status, outcome.refused) == (200, None)
    assert (there.received.bearers, bytes(there.received.body)) == ([NEW], b'{"data":[]}')
    told = "\n".join(there.told)
    assert "401" in told
    assert Secret(NEW).fingerprint() in told
    assert OLD not in told
    assert NEW not in told


@pytest.mark.parametrize(
    ("profile", "mend"),
    [
        (Profile("prod", "", Grant.PASSWORD), "strips the Authorization header"),
        (Profile("prod", "", Grant.CLIENT_CREDENTIALS), 'use grant = "password"'),
        (Profile("prod", "", Grant.CLIENT_CREDENTIALS, generation=3, workspace="w"), "strips the Authorization header"),
    ],
)
async def test_a_fresh_token_that_is_refused_too_ends_it(tmp_path: Path, profile: Profile, mend: str) -> None:
    """Two tries, one report, and the likely cause."""
    async with world(tmp_path, REFUSING, profile) as there:
        outcome = await there.call()
    assert there.bearers() == [OLD, NEW]
    assert [request.split()[0] for request in there.daemon.requests] == [b"get", b"reject", b"get"]
    assert (outcome.head.status, bytes(there.received.body)) == (401, UNAUTHENTICATED)
    assert outcome.refused is not None
    assert "fresh token was refused" in outcome.refused.sentence
    assert mend in outcome.refused.mend


async def test_a_token_that_lives_is_not_replaced(tmp_path: Path) -> None:
    """The server's answer is passed on, with what the daemon says about it."""
    async with world(tmp_path, REFUSING) as there:
        there.issuer.rejects = refusal(wire.Code.NOT_REJECTED)
        outcome = await there.call()
    assert there.bearers() == [OLD]
    assert outcome.refused is not None
    assert (outcome.refused.sentence, outcome.refused.mend) == ("the reason", "the mend")
    assert (there.received.bearers, bytes(there.received.body)) == ([OLD], UNAUTHENTICATED)


async def test_if_there_is_no_other_token_that_is_what_went_wrong(tmp_path: Path) -> None:
    """A script that looks for "needs login" finds it at once, and not with its next call."""
    async with world(tmp_path, REFUSING) as there:
        there.issuer.rejects = refusal(wire.Code.NEEDS_LOGIN)
        with pytest.raises(PmcredError) as refused:
            await there.call()
    assert refused.value.exit_status == 4
    assert there.received.heads == []


async def test_the_same_token_again_is_not_tried_again(tmp_path: Path) -> None:
    """It was refused a moment ago."""
    async with world(tmp_path, REFUSING) as there:
        there.issuer.tokens = [OLD]
        outcome = await there.call()
    assert there.bearers() == [OLD]
    assert outcome.refused is not None
    assert "no other token" in outcome.refused.sentence


@pytest.mark.parametrize(("challenge", "reported"), [("Basic realm=x", False), ("Bearer", True)])
async def test_a_front_end_that_wants_a_password_costs_no_token(tmp_path: Path, challenge: str, reported: bool) -> None:
    """ProcessMaker itself never says what it wants."""
    refusing = answering("401 Unauthorized", b"go away", f"WWW-Authenticate: {challenge}\r\n".encode())
    async with world(tmp_path, refusing) as there:
        outcome = await there.call()
    assert (b"reject" in b"".join(there.daemon.requests)) is reported
    assert there.received.body == b"go away"
    assert outcome.refused is not None
    assert ("asks for Basic authentication" in outcome.refused.sentence) is not reported


async def test_of_a_refusal_only_so_much_is_kept(tmp_path: Path) -> None:
    """Until it is known whether it counts, it is in memory."""
    refusing = answering("401 Unauthorized", b"x" * (2 * 1024 * 1024))
    async with world(tmp_path, refusing) as there:
        there.issuer.rejects = refusal(wire.Code.NOT_REJECTED)
        await there.call()
    assert len(there.received.body) == 1024 * 1024


# ---- bodies ----------------------------------------------------------------------------------------------------------


async def read_chunked(talk: Conversation) -> None:
    """Read a request whose end is told in the body, and answer."""
    while not talk.seen.endswith(b"\r\n0\r\n\r\n"):
        talk.seen += await talk.stream.receive_some()
    await talk.answer(b"{}")


async def read_chunked_and_refuse(talk: Conversation) -> None:
    """Read a request whose end is told in the body, and refuse it."""
    while not talk.seen.endswith(b"\r\n0\r\n\r\n"):
        talk.seen += await talk.stream.receive_some()
    await talk.answer(UNAUTHENTICATED, status="401 Unauthorized")


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep 10 bytes."""
    monkeypatch.setattr(request_body, "MOST_KEPT", 10)


@pytest.mark.usefixtures("little_memory")
async def test_a_long_pipe_is_sent_as_it_comes(tmp_path: Path) -> None:
    """Its length is not known, and it need not fit into memory."""
    async with world(tmp_path, read_chunked) as there:
        assert (await there.call("POST", open_body("-", piped(b"0123456789" * 3)))).head.status == 200
    (request,) = there.requests()
    assert b"transfer-encoding: chunked" in request.lower()
    assert b"content-length" not in request.lower()
    assert request.endswith(b"\r\n\r\nb\r\n01234567890\r\n13\r\n1234567890123456789\r\n0\r\n\r\n")


@pytest.mark.usefixtures("little_memory")
async def test_a_pipe_that_is_gone_is_not_sent_twice(tmp_path: Path) -> None:
    """The token is reported all the same, so that it works when it is run again."""
    async with world(tmp_path, read_chunked_and_refuse) as there:
        outcome = await there.call("POST", open_body("-", piped(b"0123456789" * 3)))
    assert there.bearers() == [OLD]
    assert b"reject" in b"".join(there.daemon.requests)
    assert outcome.refused is not None
    assert "cannot be sent twice" in outcome.refused.sentence
    assert there.received.body == UNAUTHENTICATED


@pytest.mark.usefixtures("little_memory")
async def test_a_file_is_sent_twice(tmp_path: Path) -> None:
    """From the disk, whole both times."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 3)
    async with world(tmp_path, in_turn(REFUSING, GOOD)) as there:
        assert (await there.call("POST", open_body(f"@{path}", None))).head.status == 200
    assert [request.endswith(b"\r\n\r\n" + b"0123456789" * 3) for request in there.requests()] == [True, True]
    assert all(b"content-length: 30" in request.lower() for request in there.requests())


@pytest.mark.usefixtures("little_memory")
async def test_a_file_that_shrinks_meanwhile_is_told(tmp_path: Path) -> None:
    """And nobody takes the half for the whole: the server gets less than was announced."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 3)
    body = open_body(f"@{path}", None)
    os.truncate(path, 15)
    async with world(tmp_path, GOOD) as there:
        with pytest.raises(CallFailed, match="has become shorter"):
            await there.call("POST", body)


async def test_a_server_that_has_heard_enough_is_understood(tmp_path: Path) -> None:
    """It answers before it has read everything."""

    async def too_large(talk: Conversation) -> None:
        talk.seen += await talk.stream.receive_some()
        await talk.stream.send_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")
        while await talk.stream.receive_some():
            pass

    async with world(tmp_path, too_large) as there:
        outcome = await there.call("POST", Body(b" " * 4_000_000, 4_000_000))
    assert outcome.head.status == 413


# ---- bad servers -----------------------------------------------------------------------------------------------------


async def stop_mid_body(talk: Conversation) -> None:
    """Begin an answer and fall silent."""
    await talk.request()
    await talk.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nthe first part")
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("behave", "why", "came", "limit"),
    [
        pytest.param(hostile.close_mid_body, "closed the connection too early", b'{"access_token":', 20, id="cut"),
        pytest.param(stop_mid_body, "was silent for 0.5 s in the middle", b"the first part", 0.5, id="silent"),
        pytest.param(hostile.hang_after_reading, "within 0.5 s", b"", 0.5, id="no answer"),
        pytest.param(hostile.close_after_reading, "closed the connection too early", b"", 20, id="closes"),
        pytest.param(hostile.reset_after_reading, "the connection was reset", b"", 20, id="resets"),
        pytest.param(hostile.garbage, "not HTTP", b"", 20, id="garbage"),
        pytest.param(hostile.endless_headers, "not HTTP", b"", 20, id="endless head"),
        pytest.param(answering("200 OK", b"x", b"Content-Encoding: gzip\r\n"), "(gzip) unasked", b"", 20, id="gzip"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(
    tmp_path: Path, behave: Behaviour, why: str, came: bytes, limit: float
) -> None:
    """What came of it is passed on; who wanted something changed is told that it may have been."""
    for method, mend in (("GET", False), ("POST", True)):
        async with world(tmp_path, behave) as there:
            with pytest.raises(CallFailed) as failed, trio.fail_after(60):
                await there.call(method, limit=limit)
            assert there.received.body == came
        assert why in failed.value.sentence
        assert OLD not in failed.value.sentence
        assert ("look whether it was done" in failed.value.mend) is mend


async def test_what_never_left_is_told_without_doubt(tmp_path: Path) -> None:
    """Nothing listens: there is nothing to look for on the server."""
    async with world(tmp_path, GOOD) as there:
        pass
    with FakeDaemon(tmp_path / "run" / "socket", there.issuer), pytest.raises(CallFailed) as failed:
        await there.call("POST")
    assert "connection refused" in failed.value.sentence
    assert "look whether" not in failed.value.mend


async def test_the_profile_says_whom_to_trust(tmp_path: Path) -> None:
    """Its CA counts, and what it names wrongly is told."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with hostile.hostile(GOOD, tls=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        issuer = Issuer(url)
        with FakeDaemon(tmp_path / "run" / "socket", issuer) as daemon:
            there = World(server, daemon, issuer, replace(PROFILE, url=url, ca_file=str(tmp_path / "ca.pem")))
            assert (await there.call()).head.status == 200
            for ca_file, why in ((None, "signed by nobody we trust"), ("/nothing", "ca_file /nothing cannot be used")):
                there.profile = replace(there.profile, ca_file=ca_file)
                with pytest.raises(CallFailed, match=why):
                    await there.call()


async def test_a_server_that_does_not_shake_hands_is_not_waited_for(tmp_path: Path) -> None:
    """Nothing was sent, and that is what is told."""
    async with hostile.hostile(hostile.hang) as server:
        url = f"https://127.0.0.1:{server.port}"
        issuer = Issuer(url)
        with FakeDaemon(tmp_path / "run" / "socket", issuer) as daemon:
            there = World(server, daemon, issuer, replace(PROFILE, url=url))
            with pytest.raises(CallFailed, match=r"no connection within 0\.5 s"), trio.fail_after(60):
                await there.call("POST", limit=0.5)
