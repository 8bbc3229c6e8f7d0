"""The sandbox's faults: their grammar, their queue, and what each does on a real socket."""

import json
import os
import random
import select
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.sandbox import SandboxHere, sandbox_in_process, sandbox_without_sockets

from pmcredd.sandbox.faults import _KINDS, BadFault, Fault, Faults, Target, parse_fault
from pmcredd.sandbox.instances import CODE, PASSWORD, PM3_CLIENT, Sandbox
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.serve import HOST
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.world import Issued, World, digest

REFRESH = Note(4, "refresh_token", "3", "demo")
STAND_INS = ["429", "429-date=5", "500", "502", "503", "503-date=5", "504", "login", "html"]
STATUS = {"429": 429, "500": 500, "502": 502, "503": 503, "504": 504, "login": 302, "html": 200}


def faults(*texts: str) -> Faults:
    """Make a queue of faults, with the same luck in every run."""
    queue = Faults(random.Random(1).randbytes)
    for text in texts:
        queue.add(parse_fault(text))
    return queue


def kinds(queue: Faults, note: Note = REFRESH, *, target: Target = Target.TOKEN, path: str = "/oauth/token") -> str:
    """Let one request run into the queue; tells what struck it."""
    return " ".join(queue.strike(target, path, lambda: note).kinds)


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("lose-answer", Fault("lose-answer")),
            ("lose-answer:3", Fault("lose-answer", count=3)),
            ("503@10%", Fault("503", percent=10.0)),
            ("503=30s:2@0.5%", Fault("503", 30.0, 2, 0.5)),
            ("429-date=5m", Fault("429-date", 300.0)),
            (
                "delay-answer=0.25,on=api,username=demo",
                Fault("delay-answer", 0.25, conditions=(("on", "api"), ("username", "demo"))),
            ),
            ("html-answer,path=/api/1.0/users/*", Fault("html-answer", conditions=(("path", "/api/1.0/users/*"),))),
        ],
    )
    def test_what_can_be_written(self, text: str, fault: Fault) -> None:
        """Kind, time, count, chance and conditions, in this order, all but the first optional."""
        assert parse_fault(text) == fault

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "write it like lose-answer:3"),
            ("lose-answer:", "write it like"),
            ("503@10", "write it like"),
            ("503,", "write it like"),
            ("503@10%:2", "write it like"),
            ("explode", "no such fault: explode: there are lose-request"),
            ("lose-answer=3s", "lose-answer takes no length of time"),
            ("500=3s", "500 takes no length of time"),
            ("delay-answer", "delay-answer needs a length of time: delay-answer=2s"),
            ("429-date", "429-date needs a length of time"),
            ("delay-answer=soon", "delay-answer: not a length of time"),
            ("delay-answer=999999999d", "thirty years"),
            ("503:0", "a fault that strikes no request"),
            ("503@0%", "a chance is more than 0% and at most 100%"),
            ("503@101%", "a chance is more than 0% and at most 100%"),
            ("503,colour=red", "not a condition: colour=red: there are on, path"),
            ("503,username", "not a condition: username"),
            ("503,username=", "not a condition: username="),
            ("503,username=a,username=b", "not a condition: username=b"),
            ("503,on=web", "on=web: it is token, api or all"),
        ],
    )
    def test_what_cannot(self, text: str, told: str) -> None:
        """The message says what is wrong and what there is."""
        with pytest.raises(BadFault) as caught:
            parse_fault(text)
        assert told in str(caught.value)

    @given(
        kind=st.sampled_from(sorted(_KINDS)),
        milliseconds=st.integers(0, 10**9),
        count=st.none() | st.integers(1, 10**9 - 1),
        percent=st.integers(1, 10**5),
        conditions=st.dictionaries(
            st.sampled_from(["path", "username", "client_id"]), st.from_regex(r"[^,]+", fullmatch=True)
        ),
    )
    def test_its_text_reads_back(
        self, kind: str, milliseconds: int, count: int | None, percent: int, conditions: dict[str, str]
    ) -> None:
        """What a sandbox lists can be given to another."""
        seconds = milliseconds / 1000 if _KINDS[kind].value == "needed" else None
        fault = Fault(kind, seconds, count, percent / 1000, tuple(conditions.items()))
        assert parse_fault(str(fault)) == fault

    @given(st.text())
    def test_any_text_is_a_fault_or_a_bad_one(self, text: str) -> None:
        """There is no third way."""
        with suppress(BadFault):
            assert str(parse_fault(text))


class TestQueue:
    def test_the_next_three(self) -> None:
        """A count is used up, and the fault gone; the next in the queue takes over."""
        queue = faults("lose-answer:3", "503:1")
        assert [kinds(queue) for _ in range(5)] == ["lose-answer", "lose-answer", "lose-answer", "503", ""]
        assert not queue

    def test_without_a_count_it_stays_until_it_is_cleared(self) -> None:
        """And it is told how often it struck."""
        queue = faults("500")
        assert [kinds(queue) for _ in range(3)] == ["500"] * 3
        assert queue.as_json() == [{"fault": "500", "left": None, "struck": 3}]
        queue.clear()
        assert kinds(queue) == ""

    def test_a_chance(self) -> None:
        """Each request throws its own dice; those that escape run into the next fault."""
        queue = faults("503@10%", "500")
        struck = [kinds(queue) for _ in range(10_000)]
        assert 800 < struck.count("503") < 1200
        assert struck.count("500") == 10_000 - struck.count("503")

    def test_delays_add_up_and_let_the_request_go_on(self) -> None:
        """The first other fault decides, and those behind it wait for their turn."""
        queue = faults("delay-request=2", "delay-answer=3", "delay-request=4:1", "lose-answer:1", "500")
        strike = queue.strike(Target.TOKEN, "/oauth/token", lambda: REFRESH)
        assert (strike.before, strike.after, strike.fault) == (6.0, 3.0, Fault("lose-answer", count=1))
        assert kinds(queue) == "delay-request delay-answer 500"

    @pytest.mark.parametrize(
        ("condition", "note", "fits"),
        [
            ("grant_type=refresh_token", REFRESH, True),
            ("grant_type=password", REFRESH, False),
            ("client_id=3,username=demo", REFRESH, True),
            ("client_id=3,username=other", REFRESH, False),
            ("generation=4", REFRESH, True),
            ("generation=3", REFRESH, False),
            ("on=token", REFRESH, True),
            ("on=all", REFRESH, True),
            ("on=api", REFRESH, False),
            ("path=/oauth/*", REFRESH, True),
            ("path=/api/*", REFRESH, False),
        ],
    )
    def test_conditions(self, condition: str, note: Note, fits: bool) -> None:
        """All of them must hold; who does not fit uses nothing up."""
        queue = faults(f"500:1,{condition}")
        assert kinds(queue, note) == ("500" if fits else "")
        assert bool(queue) is not fits

    def test_without_on_and_path_it_is_for_token_requests(self) -> None:
        """A script that uses its token is not disturbed unless asked for."""
        path = "/api/1.0/users/1/tokens/abc"
        assert kinds(faults("500"), target=Target.API, path=path) == ""
        for condition in ("on=api", "on=all", "path=/api/1.0/users/*/tokens/*"):
            assert kinds(faults(f"500,{condition}"), target=Target.API, path=path) == "500"


@asynccontextmanager
async def serving(*texts: str, **chosen: Any) -> AsyncIterator[SandboxHere]:
    """Serve a sandbox with faults."""
    settings = Settings(throttle=None, faults=tuple(parse_fault(text) for text in texts), **chosen)
    async with sandbox_in_process(settings) as sandbox:
        yield sandbox


async def connect(sandbox: SandboxHere) -> trio.SocketStream:
    """Open a connection."""
    return await trio.open_tcp_stream(HOST, int(sandbox.url.rpartition(":")[2]))


async def until_closed(stream: trio.SocketStream) -> bytes:
    """Everything the server sends before it closes; this side never closes first."""
    received = b""
    while chunk := await stream.receive_some():
        received += chunk
    return received


async def raw(sandbox: SandboxHere, request: bytes) -> bytes:
    """Send a request over a connection of its own; everything that comes back until the server closes it."""
    async with await connect(sandbox) as stream:
        await stream.send_all(request)
        return await until_closed(stream)


def asking(form: Mapping[str, str], path: str = "/oauth/token") -> bytes:
    """Write a token request as it goes over the wire."""
    body = urlencode(form)
    head = [
        f"POST {path} HTTP/1.1",
        "host: x",
        "connection: close",
        "accept: application/json",
        "content-type: application/x-www-form-urlencoded",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*head, "", body]).encode()


def using(token: str, path: str) -> bytes:
    """Write an API request as it goes over the wire."""
    head = [f"GET {path} HTTP/1.1", "host: x", "connection: close", f"authorization: Bearer {token}"]
    return "\r\n".join([*head, "", ""]).encode()


def refresh(issued: Issued) -> bytes:
    """Write the refresh of a pair of the code client."""
    assert issued.refresh_token is not None
    form = {"grant_type": "refresh_token", "client_id": CODE.id, "client_secret": CODE.secret}
    return asking({**form, "refresh_token": issued.refresh_token.reveal()})


def login_of(sandbox: SandboxHere) -> Issued:
    """Log the user demo in with the code client, past the token endpoint."""
    return sandbox.state.pm4.issue(CODE, 1, (), refreshable=True)


def is_spent(world: World, issued: Issued) -> bool:
    """Whether the server has taken the refresh token of a pair."""
    assert issued.refresh_token is not None
    row = world.find_refresh(issued.refresh_token.reveal())
    return row is None or row.revoked


def lives(world: World, issued: Issued) -> bool:
    """Whether the API takes the access token of a pair."""
    return world.bearer(issued.access_token.reveal()) is not None


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Take an answer apart: status, headers, body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


class TestClosing:
    async def test_an_answer_is_lost_after_the_server_acted(self) -> None:
        """Not a byte comes, the connection is closed; the old pair is dead, and the journal knows the new one."""
        async with serving("lose-answer:1") as sandbox:
            old = login_of(sandbox)
            assert await raw(sandbox, refresh(old)) == b""
            (note,) = sandbox.state.journal.notes()
            world = sandbox.state.pm4
            assert is_spent(world, old)
            assert not lives(world, old)
            assert old.refresh_token is not None
            assert (note.acted, note.lost, note.status, note.fault) == (True, True, 0, "lose-answer")
            assert (note.spent, note.revoked) == (old.refresh_token.fingerprint(), old.access_token.fingerprint())
            assert [row.digest[:16] for row in world.tokens_of(1) if not row.revoked] == [note.issued]
            status, _, body = split(await raw(sandbox, refresh(old)))
            assert (status, json.loads(body)["hint"]) == (401, "Token has been revoked")
            again = sandbox.state.journal.notes()[-1]
            assert (again.spent, again.acted, again.lost, again.seq) == (note.spent, False, False, 2)

    async def test_a_request_is_lost_before_the_server_acted(self) -> None:
        """Not a byte comes either, but nothing was spent: sent again it is granted."""
        async with serving("lose-request:1") as sandbox:
            old = login_of(sandbox)
            assert await raw(sandbox, refresh(old)) == b""
            assert not is_spent(sandbox.state.pm4, old)
            assert lives(sandbox.state.pm4, old)
            assert split(await raw(sandbox, refresh(old)))[0] == 200
            first, second = sandbox.state.journal.notes()
            assert (first.acted, first.lost, first.status, first.fault) == (False, False, 0, "lose-request")
            assert first.spent == second.spent
            assert (second.acted, second.fault) == (True, "")

    async def test_an_answer_is_cut(self) -> None:
        """The head promises all of the body, and half of it comes."""
        async with serving("cut-answer:1") as sandbox:
            old = login_of(sandbox)
            status, headers, body = split(await raw(sandbox, refresh(old)))
            (note,) = sandbox.state.journal.notes()
            assert (status, len(body)) == (200, int(headers["content-length"]) // 2)
            assert body.startswith(b'{"token_type":"Bearer"')
            assert (note.acted, note.lost, note.status) == (True, True, 200)

    async def test_an_answer_without_a_body_cannot_be_cut(self) -> None:
        """It is lost as a whole; what was asked is done."""
        async with serving("cut-answer,on=api") as sandbox:
            personal = sandbox.state.pm4.issue_personal(sandbox.state.pm4.users[1], "mine", CODE)
            request = using(personal.access_token.reveal(), f"/api/1.0/users/1/tokens/{personal.row.id}")
            assert await raw(sandbox, request.replace(b"GET", b"DELETE", 1)) == b""
            assert personal.row.revoked

    async def test_processmaker_3_loses_answers_too(self) -> None:
        """There the old access token lives on."""
        async with serving("lose-answer:1,generation=3") as sandbox:
            old = sandbox.state.pm3.issue(PM3_CLIENT, 1, (), refreshable=True)
            assert old.refresh_token is not None
            form = {"grant_type": "refresh_token", "refresh_token": old.refresh_token.reveal()}
            form |= {"client_id": PM3_CLIENT.id, "client_secret": PM3_CLIENT.secret}
            assert await raw(sandbox, asking(form, "/workflow/oauth2/token")) == b""
            (note,) = sandbox.state.journal.notes()
            assert (note.generation, note.acted, note.lost, note.revoked) == (3, True, True, "")
            assert lives(sandbox.state.pm3, old)
            assert is_spent(sandbox.state.pm3, old)

    async def test_other_connections_stay_open(self) -> None:
        """Closing one harms no other, not even one that waits in the middle of its request."""
        async with serving("lose-answer:1") as sandbox:
            slow, lost = login_of(sandbox), login_of(sandbox)
            async with await connect(sandbox) as stream:
                request = refresh(slow)
                await stream.send_all(request[:-5])
                assert await raw(sandbox, refresh(lost)) == b""
                await stream.send_all(request[-5:])
                assert split(await until_closed(stream))[0] == 200

    async def test_fifty_at_once(self) -> None:
        """Each loses its answer and its connection; no task and no descriptor stays behind."""
        async with serving("lose-answer") as sandbox:
            answers: list[bytes] = []

            async def once() -> None:
                answers.append(await raw(sandbox, refresh(login_of(sandbox))))

            await raw(sandbox, refresh(login_of(sandbox)))
            before = in_use()
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(once)
            assert answers == [b""] * 50
            await settled(lambda: all(now <= then for now, then in zip(in_use(), before, strict=True)))
            assert [note.lost for note in sandbox.state.journal.notes()] == [True] * 51

    async def test_without_a_connection_it_is_an_error_inside(self) -> None:
        """An application called without a server has nothing to close, and says so instead of hanging."""
        state = Sandbox(Settings(faults=(parse_fault("lose-answer"),)))
        async with sandbox_without_sockets(state) as client:
            assert (await client.post("/oauth/token")).status_code == 500


def in_use() -> tuple[int, int]:
    """How many tasks and file descriptors there are."""
    return trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))


async def settled(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other tasks bring about."""
    with trio.fail_after(60):
        while not condition():
            await trio.lowlevel.checkpoint()


class TestStandIns:
    @pytest.mark.parametrize("text", STAND_INS)
    async def test_in_place_of_acting(self, text: str) -> None:
        """The status is the fault's, and nothing was spent."""
        async with serving(text) as sandbox:
            old = login_of(sandbox)
            status, _, body = split(await raw(sandbox, refresh(old)))
            assert status == STATUS[text.partition("=")[0].removesuffix("-date")]
            assert b"access_token" not in body
            assert not is_spent(sandbox.state.pm4, old)
            (note,) = sandbox.state.journal.notes()
            assert (note.acted, note.lost, note.status) == (False, False, status)
            assert old.refresh_token is not None
            assert (note.grant, note.client_id, note.username) == ("refresh_token", "3", "demo")
            assert note.spent == old.refresh_token.fingerprint()

    @pytest.mark.parametrize("text", STAND_INS)
    async def test_after_acting(self, text: str) -> None:
        """With -answer the same is answered, but the pair is spent and the new one told to nobody."""
        kind, equals, time = text.partition("=")
        async with serving(f"{kind}-answer{equals}{time}") as sandbox:
            old = login_of(sandbox)
            status, _, body = split(await raw(sandbox, refresh(old)))
            assert status == STATUS[kind.removesuffix("-date")]
            assert b"access_token" not in body
            assert is_spent(sandbox.state.pm4, old)
            (note,) = sandbox.state.journal.notes()
            assert (note.acted, note.lost, note.status) == (True, True, status)

    @pytest.mark.parametrize("kind", ["429", "503"])
    async def test_retry_after_in_both_forms(self, kind: str) -> None:
        """Seconds, or a date of the server's clock; none unless a time is given."""
        async with serving(f"{kind}:1", f"{kind}=89.5:1", f"{kind}-date=90:1", clock_offset=86400.0) as sandbox:
            old = login_of(sandbox)
            told = [split(await raw(sandbox, refresh(old)))[1] for _ in range(3)]
        assert "retry-after" not in told[0]
        assert told[1]["retry-after"] == "90"
        ahead = parsedate_to_datetime(told[2]["retry-after"]) - parsedate_to_datetime(told[2]["date"])
        assert 90 <= ahead.total_seconds() <= 91

    async def test_their_bodies(self) -> None:
        """Maintenance, gateways and the login page are HTML whatever is accepted; 429 and 500 follow Accept."""
        expected = {
            "429:1": ("application/json", '{"message":"Too Many Attempts."}'),
            "500:1": ("application/json", '{"message":"Server Error"}'),
            "502:1": ("text/html; charset=utf-8", "502 Bad Gateway"),
            "503:1": ("text/html; charset=utf-8", "Service Unavailable"),
            "504:1": ("text/html; charset=utf-8", "504 Gateway Time-out"),
            "html:1": ("text/html; charset=utf-8", "Log in"),
        }
        async with serving(*expected, "login:1") as sandbox:
            old = login_of(sandbox)
            for kind, text in expected.values():
                _, headers, body = split(await raw(sandbox, refresh(old)))
                assert headers["content-type"] == kind
                assert text in body.decode()
            assert split(await raw(sandbox, refresh(old)))[1]["location"] == "/login"

    async def test_on_the_api(self) -> None:
        """By token's client, user and generation, by path, and never in the journal of token requests."""
        rules = ["500,on=api,username=other", "502,path=/api/1.0/users/*/tokens/*", "503,on=api,generation=3"]
        async with serving(*rules) as sandbox:
            state = sandbox.state
            mine = state.pm4.issue(PASSWORD, 1, (), refreshable=True)
            others = state.pm4.issue(PASSWORD, 2, (), refreshable=True)
            nobodys = state.pm4.issue(PASSWORD, None, (), refreshable=False)
            threes = state.pm3.issue(PM3_CLIENT, 1, (), refreshable=True)

            async def status(issued: Issued, path: str) -> int:
                return split(await raw(sandbox, using(issued.access_token.reveal(), f"/api/1.0/{path}")))[0]

            assert await status(mine, "users") == 200
            assert await status(others, "users/2") == 500
            assert await status(nobodys, "users") == 401
            assert await status(mine, f"users/1/tokens/{mine.row.id}") == 502
            assert await status(threes, "workflow/users") == 503
            assert split(await raw(sandbox, using("x", "/api/1.0/users")))[0] == 401
            assert not state.journal.notes()


class TestDelays:
    async def test_before_acting(self) -> None:
        """While the request waits nothing is spent, and others are served."""
        async with serving("delay-request=1h:1") as sandbox, await connect(sandbox) as stream:
            slow, quick = login_of(sandbox), login_of(sandbox)
            await stream.send_all(refresh(slow))
            await settled(lambda: not sandbox.state.faults)
            assert split(await raw(sandbox, refresh(quick)))[0] == 200
            assert not is_spent(sandbox.state.pm4, slow)
            assert [note.fault for note in sandbox.state.journal.notes()] == [""]

    async def test_after_acting(self) -> None:
        """The pair is spent and noted while the answer waits."""
        async with serving("delay-answer=1h:1") as sandbox, await connect(sandbox) as stream:
            slow = login_of(sandbox)
            await stream.send_all(refresh(slow))
            await settled(lambda: len(sandbox.state.journal.notes()) == 1)
            (note,) = sandbox.state.journal.notes()
            assert (note.acted, note.lost, note.fault) == (True, False, "delay-answer")
            assert is_spent(sandbox.state.pm4, slow)
            assert select.select([stream.socket.fileno()], [], [], 0)[0] == []

    @pytest.mark.parametrize("kind", ["delay-request", "delay-answer"])
    async def test_then_the_answer_comes(self, kind: str) -> None:
        """Late, but whole."""
        async with serving(f"{kind}=0.05") as sandbox:
            start = trio.current_time()
            status, _, body = split(await raw(sandbox, refresh(login_of(sandbox))))
            assert trio.current_time() - start >= 0.05
        assert (status, json.loads(body)["token_type"]) == (200, "Bearer")

    async def test_a_client_that_does_not_wait_is_served_all_the_same(self) -> None:
        """As PHP goes on when the browser is closed: the token is spent though nobody hears of it."""
        async with serving("delay-request=0.05") as sandbox:
            old = login_of(sandbox)
            async with await connect(sandbox) as stream:
                await stream.send_all(refresh(old))
                await settled(lambda: sandbox.state.faults.as_json()[0]["struck"] == 1)
            await settled(lambda: len(sandbox.state.journal.notes()) == 1)
            assert is_spent(sandbox.state.pm4, old)


class TestClock:
    @pytest.mark.parametrize("offset", [600.0, -600.0])
    async def test_the_servers_clock_is_off(self, offset: float) -> None:
        """The token's times and Date follow it; the journal keeps the true time, and the token is good."""
        true = 1755172800.5
        async with sandbox_in_process(Settings(clock_offset=offset), clock=lambda: true) as sandbox:
            old = login_of(sandbox)
            _, headers, body = split(await raw(sandbox, refresh(old)))
            row = sandbox.state.pm4.find_access(json.loads(body)["access_token"])
            assert row is not None
            assert (row.created, row.expires) == (true + offset, true + offset + 31536000)
            assert parsedate_to_datetime(headers["date"]).timestamp() == int(true + offset)
            assert [note.time for note in sandbox.state.journal.notes()] == [true]
            assert split(await raw(sandbox, using(json.loads(body)["access_token"], "/api/1.0/users")))[0] == 200

    async def test_fingerprints_are_those_of_the_tokens(self) -> None:
        """The first 16 digits of SHA-256, as pmcredd names tokens."""
        async with serving() as sandbox:
            body = json.loads(split(await raw(sandbox, refresh(login_of(sandbox))))[2])
            (note,) = sandbox.state.journal.notes()
        assert note.issued == digest(body["access_token"])[:16]
        assert note.issued_refresh == digest(body["refresh_token"])[:16]
