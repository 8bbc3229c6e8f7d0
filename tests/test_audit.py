"""The audit: what is noted of who asks for tokens, how repeats are counted, what the log says, and never a token."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.house import Block, House, Watcher, house
from support.keeping import WRONG_PASSWORD, config
from support.lives import profile

from pmcredd import audit, server, wire
from pmcredd.audit import Audit
from pmcredd.listening import close_listener, open_listener
from pmcredd.peer import Peer
from pmcredd.profiles import Grant
from pmcredd.secret import Secret

BROWSER = profile("browser", grant=Grant.AUTHORIZATION_CODE, username=None, password=None)
SCRIPT = Peer(
    1000,
    2211,
    certain=True,
    program="python",
    exe="/usr/bin/python3",
    parent="backup.sh",
    parent_pid=2208,
    unit="b.service",
)
FINGERPRINT = "4dd59ca0a64ed1e0"


class Desk:
    """An audit at a time that the test sets."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.audit = Audit(lambda: self.time)

    def get(self, peer: Peer = SCRIPT, name: str = "prod", *, after: float = 0.0) -> None:
        """Note a get, so many seconds after the last."""
        self.time += after
        self.audit.note(peer, "get", name, fingerprint=FINGERPRINT)

    def told(self, *keys: str) -> list[tuple[str | None, ...]]:
        """Give these fields of all entries."""
        return [tuple(entry.fields().get(key) for key in keys) for entry in self.audit.entries(None)]


@pytest.fixture
def desk() -> Desk:
    """An empty audit."""
    return Desk()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Give what the log has been told since the last time, from level info on."""
    caplog.set_level(logging.INFO, "pmcredd.audit")

    def take() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == "pmcredd.audit"]
        caplog.clear()
        return found

    return take


def test_an_entry_has_everything_that_is_known(desk: Desk) -> None:
    """What is not known is not there; times are unix times."""
    desk.get()
    desk.audit.note(Peer(1000, 0), "get", None, outcome="no-such-profile")
    common = {"time": "1800000000", "verb": "get", "count": "1", "first": "1800000000", "uid": "1000"}
    known, unknown = [entry.fields() for entry in desk.audit.entries(None)]
    assert known == common | {
        "profile": "prod",
        "fingerprint": FINGERPRINT,
        "outcome": "ok",
        "pid": "2211",
        "program": "python",
        "exe": "/usr/bin/python3",
        "parent": "backup.sh",
        "parent_pid": "2208",
        "unit": "b.service",
        "certain": "yes",
    }
    assert unknown == common | {"outcome": "no-such-profile", "certain": "no"}


def test_a_loop_is_one_entry(desk: Desk) -> None:
    """A request every second by a new process each time: counted, with the first and the last time and the last pid."""
    for number in range(3000):
        desk.get(Peer(1000, number + 1, certain=True, program="sh", parent="cron", parent_pid=number), after=1)
    assert desk.told("count", "first", "time", "pid") == [("3000", "1800000001", "1800003000", "3000")]


def test_two_loops_in_turns_are_two_entries(desk: Desk) -> None:
    """They need not be consecutive, or two scripts would push out everything else; the latest comes last."""
    for _ in range(5):
        desk.get(name="prod", after=1)
        desk.get(name="staging", after=1)
    desk.get(name="prod", after=1)
    assert desk.told("profile", "count") == [("staging", "5"), ("prod", "6")]


def test_after_a_silence_it_is_a_new_entry(desk: Desk) -> None:
    """A job that runs every hour is seen every hour; the entry of before stays as it was."""
    desk.get()
    desk.get(after=audit.REPEATS_WITHIN - 1)
    desk.get(after=audit.REPEATS_WITHIN)
    desk.get(after=1)
    assert desk.told("count") == [("2",), ("2",)]


OTHERS = [
    {"peer": Peer(1001, 2211, certain=True, program="python", exe="/usr/bin/python3")},
    {"verb": "login"},
    {"profile": "staging"},
    {"fingerprint": "0" * 16},
    {"outcome": "waiting"},
    {"rejected": "0" * 16},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_what_differs_is_not_a_repeat(desk: Desk, other: dict[str, object]) -> None:
    """Another user, verb, profile, token or outcome is news, and that is what one looks for."""
    note: Callable[..., None] = desk.audit.note
    usual: dict[str, object] = {"peer": SCRIPT, "verb": "get", "profile": "prod", "fingerprint": FINGERPRINT}
    note(**usual)
    note(**usual | other)
    assert desk.told("count") == [("1",), ("1",)]


@pytest.mark.parametrize("name", ["program", "exe", "parent", "unit"])
def test_another_program_is_not_a_repeat(desk: Desk, name: str) -> None:
    """Nor is the same one in another place."""
    desk.get()
    fields = {"program": "python", "exe": "/usr/bin/python3", "parent": "backup.sh", "unit": "b.service"}
    desk.get(Peer(1000, 2211, certain=True, parent_pid=2208, **fields | {name: "other"}))
    assert desk.told("count", name) == [("1", fields[name]), ("1", "other")]


def test_the_last_thousand_are_kept(desk: Desk) -> None:
    """The oldest go first, and what they were is forgotten: nothing grows."""
    for number in range(audit.SIZE + 10):
        desk.get(name=f"p{number}")
    assert desk.told("profile") == [(f"p{number}",) for number in range(10, audit.SIZE + 10)]
    assert len(desk.audit._latest) == audit.SIZE
    desk.get(name="p0")
    assert desk.told("profile", "count")[-1] == ("p0", "1")


def test_an_old_entry_that_goes_takes_no_younger_one_along(desk: Desk) -> None:
    """After a silence there are two entries of one kind: the repeats are still counted when the older one has gone."""
    desk.get()
    desk.get(after=audit.REPEATS_WITHIN)
    for number in range(audit.SIZE - 1):
        desk.get(name=f"p{number}")
    desk.get()
    assert desk.told("profile", "count")[-1] == ("prod", "2")
    assert len(desk.audit._latest) == audit.SIZE


def test_what_is_no_fingerprint_is_not_kept(desk: Desk) -> None:
    """`reject` takes one from the client, who may have given the token instead."""
    for said in ("eyJ0eXAi", "A" * 16, "a" * 40, "0123456789abcde\n", ""):
        desk.audit.note(SCRIPT, "reject", "prod", rejected=said)
    desk.audit.note(SCRIPT, "reject", "prod", rejected=FINGERPRINT)
    assert desk.told("rejected", "count") == [(None, "5"), (FINGERPRINT, "1")]


def test_the_log_tells_what_is_new_and_counts_the_rest(desk: Desk, lines: Callable[[], list[str]]) -> None:
    """One line at first, and one an hour while it goes on: a loop must not flood the journal."""
    asked = "asked by python[2211] of backup.sh[2208] (b.service)"
    for _ in range(7200):
        desk.get(after=1)
    assert lines() == [
        f"audit: get prod {FINGERPRINT}: ok, {asked}",
        f"audit: get prod {FINGERPRINT}: ok, {asked}, 3601 times in 1 h",
    ]
    desk.audit.note(SCRIPT, "reject", "prod", fingerprint="0" * 16, rejected=FINGERPRINT)
    desk.audit.note(SCRIPT, "get", None, outcome="no-such-profile")
    assert lines() == [
        f"audit: reject prod {'0' * 16} instead of {FINGERPRINT}: ok, {asked}",
        f"audit: get: no-such-profile, {asked}",
    ]


def test_at_level_debug_the_log_has_every_request(
    desk: Desk, lines: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """For whoever wants to know exactly."""
    caplog.set_level(logging.DEBUG, "pmcredd.audit")
    for _ in range(3):
        desk.get(after=1)
    assert [line.rpartition(", ")[2] for line in lines()][1:] == ["2 times in 1 s", "3 times in 2 s"]


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        (Peer(1000, 12, program="sh"), "sh[12?]"),
        (Peer(1000, 12), "a program[12?], uid 1000"),
        (Peer(1000, 0), "a program[?], uid 1000"),
    ],
)
def test_a_guess_is_shown_as_one(desk: Desk, lines: Callable[[], list[str]], peer: Peer, name: str) -> None:
    """Where the pid may be another process's by now, it has a question mark."""
    desk.get(peer)
    assert lines() == [f"audit: get prod {FINGERPRINT}: ok, asked by {name}"]


# --- the verbs --------------------------------------------------------------------------------------------------------


async def log(here: House, line: bytes = b"log\n") -> list[Block]:
    """Ask for the audit."""
    answer = await here.ask(line)
    assert isinstance(answer, wire.Ok), answer
    return [dict(block) for block in answer.blocks]


def brief(blocks: list[Block], *keys: str) -> list[tuple[str | None, ...]]:
    """Give these fields of each."""
    return [tuple(block.get(key) for key in keys) for block in blocks]


async def test_requests_for_tokens_are_noted_with_what_came_of_them() -> None:
    """get, reject, login and logout, good and refused, by name and by URL; always under the profile's own name."""
    async with house() as here:
        first = await here.now()
        await here.ask(b"get prod\n")
        await here.ask(b"get http://127.0.0.1:1/api\n")  # two profiles are there
        await here.ask(f"reject prod fingerprint={first}\n".encode())
        second = await here.now()
        await here.ask(b"get prod for=soon\n")
        await here.ask(b"reject prod fingerprint=nonsense\n")
        await here.ask(b"login prod\n")
        third = await here.now()
        here.world.server.script = [WRONG_PASSWORD]
        await here.ask(b"login prod\n")
        await here.ask(b"logout prod\n")
        await here.ask(b"get prod\n")
        await here.ask(b"logout nowhere\n")
        assert brief(await log(here), "verb", "profile", "fingerprint", "rejected", "outcome") == [
            ("get", "prod", first, None, "ok"),
            ("get", None, None, None, "ambiguous"),
            ("reject", "prod", second, first, "ok"),
            ("get", "prod", None, None, "bad-request"),
            ("reject", "prod", None, None, "not-rejected"),
            ("login", "prod", third, None, "ok"),
            ("login", "prod", None, None, "needs-login"),
            ("logout", "prod", third, None, "ok"),
            ("get", "prod", None, None, "needs-login"),
            ("logout", None, None, None, "no-such-profile"),
        ]


async def test_a_get_that_waits_is_noted_like_one_that_does_not() -> None:
    """With the token that it got in the end."""
    async with house() as here:
        await here.world.keeper.logout("prod")
        await here.world.keeper.login("prod", 30)
        await here.ask(b"get prod for=10m\n")
        assert brief(await log(here), "verb", "fingerprint", "outcome") == [("get", await here.now(), "ok")]


async def test_what_hands_out_no_token_is_not_noted() -> None:
    """Looking is free, for monitors look every few seconds; and so is the log itself."""
    async with house() as here:
        for line in (b"hello\n", b"list\n", b"status prod\n", b"log\n", b"nonsense\n", b"watch x\n"):
            await here.ask(line)
        await (await here.watch()).next(2)
        assert await log(here) == []


async def test_each_token_that_a_watcher_is_told_is_noted() -> None:
    """Those at first, those that come, and a refusal."""
    async with house() as here:
        old, staging = await here.now(), await here.now("staging")
        watcher = await here.watch(b"watch token=yes\n")
        await watcher.next(2)
        await here.world.keeper.login("prod", 30)
        await watcher.next()
        await here.ask(b"watch nowhere token=yes\n")
        assert brief(await log(here), "verb", "profile", "fingerprint", "outcome") == [
            ("watch", "prod", old, "ok"),
            ("watch", "staging", staging, "ok"),
            ("watch", "prod", await here.now(), "ok"),
            ("watch", None, None, "no-such-profile"),
        ]


def pair(fields: dict[str, str]) -> httpx.Response:
    """Answer a code with a pair."""
    body = {"token_type": "Bearer", "expires_in": 3600, "access_token": "t-1", "refresh_token": "r-1"}
    return httpx.Response(200, json=body)


async def test_a_login_in_a_browser_is_noted_when_it_ends() -> None:
    """Done, denied, or left by its client: once each, and under who asked for it."""
    async with house(more=[BROWSER]) as here:
        login = await here.log_in(b"login browser\n")
        await login.browse(error="access_denied")
        await login.end()
        left = await here.log_in(b"login browser\n")
        await left.client.stream.send_eof()
        await left.end()
        here.world.server.script = [pair]
        login = await here.log_in(b"login browser\n")
        await login.browse(code="c0de")
        assert (await login.end())["event"] == "done"
        found = await log(here)
        assert brief(found, "verb", "profile", "fingerprint", "outcome") == [
            ("login", "browser", None, "needs-login"),
            ("login", "browser", None, "stopping"),
            ("login", "browser", Secret("t-1").fingerprint(), "ok"),
        ]
        assert {block["pid"] for block in found} == {str(os.getpid())}


async def test_the_log_of_one_profile() -> None:
    """By name or URL; also of one that a reload has taken away. A name that was never heard of is an error."""
    async with house(None, "prod", "staging") as here:
        await here.ask(b"get prod\n")
        await here.ask(b"get staging\n")
        assert brief(await log(here, b"log http://127.0.0.1:1\n"), "profile") == [("prod",)]
        here.world.configs.append(config(profile("prod")))
        await here.world.keeper.reload()
        assert brief(await log(here, b"log staging\n"), "profile") == [("staging",)]
        refused = await here.ask(b"log nowhere\n")
        assert isinstance(refused, wire.Error)
        assert refused.code == "no-such-profile"
        assert (await here.world.keeper.reload()) is not None
        assert len(await log(here)) == 2


async def test_another_user_is_noted(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """Who is turned away at the door, with its uid; at level warning."""
    heard = Audit()
    listener = open_listener(tmp_path / "run" / "socket")

    async def never(_: wire.Request, __: Peer) -> bytes:
        raise AssertionError

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            stranger = os.geteuid() + 1  # the one who is served: then we are the stranger
            serve = partial(server.serve, ready=lambda *_: None, uid=stranger, refused=heard.refused)
            await nursery.start(serve, listener.socket, never)
            async with await trio.open_unix_socket(os.fspath(listener.path)) as client:
                assert (await client.receive_some()).startswith(b"error forbidden\n")
            nursery.cancel_scope.cancel()
    close_listener(listener)
    (entry,) = heard.entries(None)
    found = entry.fields()
    assert (found["verb"], found["outcome"], found["uid"]) == ("connect", "forbidden", str(os.geteuid()))
    assert [line.startswith("audit: connect: forbidden, asked by ") for line in lines()] == [True]


# --- who follows ------------------------------------------------------------------------------------------------------


async def follow(here: House, line: bytes = b"log follow=yes\n") -> Watcher:
    """Follow the log over a connection of its own."""
    return await here.watch(line)


async def test_who_follows_is_told_what_was_and_what_comes() -> None:
    """New entries, and those that changed, with their counts."""
    async with house() as here:
        await here.ask(b"get prod\n")
        follower = await follow(here)
        assert brief(await follower.next(), "profile", "count") == [("prod", "1")]
        await here.ask(b"get staging\n")
        assert brief(await follower.next(), "profile", "count") == [("staging", "1")]
        await here.ask(b"get prod\n")
        assert brief(await follower.next(), "profile", "count") == [("prod", "2")]


async def test_one_profile_is_followed_alone() -> None:
    """What others do is not told."""
    async with house() as here:
        follower = await follow(here, b"log staging follow=yes\n")
        for line in (b"get prod\n", b"get staging\n", b"get prod\n", b"logout staging\n"):
            await here.ask(line)
        assert brief(await follower.next(2), "profile", "verb") == [("staging", "get"), ("staging", "logout")]


async def test_who_half_closes_is_told_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, in small pieces, and the stream ends."""
    monkeypatch.setattr(audit, "AT_A_TIME", 4)
    names = [f"p{number}" for number in range(9)]
    async with house(None, *names) as here:
        for name in names:
            await here.ask(f"get {name}\n".encode())
        follower = await follow(here)
        await follower.stream.send_eof()
        assert brief(await follower.next(100), "profile") == [(name,) for name in names]


async def test_a_slow_follower_is_told_the_latest(autojump_clock: trio.testing.MockClock, desk: Desk) -> None:
    """However much happens while it reads nothing: each entry once, with its count."""
    desk.get()
    following = desk.audit.follow(None)
    reader = wire.AnswerReader()
    assert len(list(reader.feed(await anext(following)))) == 2
    for _ in range(1000):
        desk.get()
        desk.get(name="staging")
    told = [dict(event.fields) for event in reader.feed(await anext(following)) if isinstance(event, wire.Block)]
    assert brief(told, "profile", "count") == [("prod", "1001"), ("staging", "1000")]
    following.end()
    with pytest.raises(StopAsyncIteration):
        await anext(following)


async def test_a_busy_daemon_tells_its_followers_ten_times_a_second(
    autojump_clock: trio.testing.MockClock, desk: Desk
) -> None:
    """What comes at once is told in one go: to follow costs the same however many ask."""
    following = desk.audit.follow(None)
    await anext(following)
    pieces: list[bytes] = []

    async def read() -> None:
        pieces.extend([piece async for piece in following])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(1000):
            await trio.sleep(0.001)
            desk.get()
        await trio.sleep(1)
        following.end()
    assert 5 <= len(pieces) <= 11
    assert b"count=1000\n" in pieces[-1]


# --- never a token ----------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["prod", "staging", "browser", "TOKEN", "OLD", "http://127.0.0.1:1", "https://TOKEN", "prdo"])
REQUESTS = st.one_of(
    st.builds("get {}".format, WORDS),
    st.builds("get {} for={}".format, WORDS, st.sampled_from(["5s", "TOKEN", "9999d"])),
    st.builds("reject {} {}={}".format, WORDS, st.sampled_from(["token", "fingerprint", "timeout"]), WORDS),
    st.builds("login {}{}".format, WORDS, st.sampled_from(["", " code=TOKEN", " login=TOKEN answer=TOKEN"])),
    st.builds("logout {} forget={}".format, WORDS, st.sampled_from(["no", "TOKEN"])),
    st.builds("watch {} token=TOKEN".format, WORDS),
    st.just("TOKEN"),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(REQUESTS, min_size=5, max_size=20))
async def test_no_token_is_ever_told(requests: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a client puts one, the token in hand or an old one: neither `log` nor the daemon's log shows it."""
    caplog.set_level(logging.DEBUG, "pmcredd")
    caplog.clear()

    def token(_: dict[str, str]) -> httpx.Response:
        tokens.append(f"{len(tokens):040x}"[::-1])  # like those of ProcessMaker 3: a name of a profile could look so
        return httpx.Response(200, json={"token_type": "Bearer", "expires_in": 3600, "access_token": tokens[-1]})

    tokens: list[str] = []
    async with house(more=[BROWSER]) as here:
        here.world.server.script = [token] * 40
        await here.world.keeper.login("prod", 30)
        await here.world.keeper.login("staging", 30)
        await here.world.keeper.login("prod", 30)
        async with trio.open_nursery() as nursery:
            for request in requests:
                line = request.replace("TOKEN", tokens[-1]).replace("OLD", tokens[0])
                nursery.start_soon(_ask_anything, here, f"{line}\n".encode())
        told = "\n".join(str(block) for block in await log(here)) + caplog.text
        assert "audit: " in caplog.text
        for each in tokens:
            assert each not in told


async def _ask_anything(here: House, line: bytes) -> None:
    """Ask, and leave with the first piece of the answer."""
    stream = await here.connect(line)
    with trio.move_on_after(10):
        await stream.receive_some()
    await stream.aclose()
