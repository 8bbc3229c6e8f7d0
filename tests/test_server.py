"""The daemon's socket at work: who may connect, and that no client can spoil it for the others."""

import errno
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from pmcredd import server, wire
from pmcredd.listening import Listener, close_listener, open_listener
from pmcredd.peer import Peer
from pmcredd.server import Limits
from pmcredd.wire import Code, Request

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A socket path in a directory that does not exist yet."""
    return tmp_path / "run" / "pmcred" / "socket"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    """An open listener."""
    opened = open_listener(path)
    yield opened
    with suppress(OSError):
        close_listener(opened)


Answer = Callable[[Request], Awaitable["bytes | server.Stream"]]
QUICK = Limits(sweep=0.01, courtesy=0.01)


def told(request: Request) -> bytes:
    """Answer with what was asked."""
    return wire.format_ok([{"verb": request.verb, "target": request.target or ""}], many=False)


async def tell(request: Request) -> bytes:
    """Answer likewise, but not at once."""
    await trio.lowlevel.checkpoint()
    return told(request)


@asynccontextmanager
async def serving(
    listener: Listener,
    answer: Answer = tell,
    *,
    ready: Callable[[Request], bytes | None] = lambda _: None,
    limits: Limits = QUICK,
    uid: int | None = None,
) -> AsyncIterator[trio.CancelScope]:
    """Serve within an `async with` block, which must end by itself; give the scope that ends the serving."""
    async with trio.open_nursery() as nursery:
        mine = os.geteuid() if uid is None else uid
        await nursery.start(
            partial(
                server.serve,
                listener.socket,
                lambda request, _: answer(request),
                ready=lambda request, _: ready(request),
                uid=mine,
                limits=limits,
            )
        )
        with trio.fail_after(30):
            yield nursery.cancel_scope
        nursery.cancel_scope.cancel()


async def connect(listener: Listener) -> trio.SocketStream:
    """Connect to it."""
    return await trio.open_unix_socket(os.fspath(listener.path))


async def ask(listener: Listener, data: bytes) -> list[wire.Ok | wire.Block | wire.Error]:
    """Send all of it, half-close, and read until the server closes."""
    async with await connect(listener) as client:
        await client.send_all(data)
        await client.send_eof()
        return await rest(client)


async def rest(client: trio.SocketStream) -> list[wire.Ok | wire.Block | wire.Error]:
    """Read complete answers until the server closes."""
    reader = wire.AnswerReader()
    events = [event async for data in client for event in reader.feed(bytes(data))]
    assert reader.between_answers
    return events


async def one(client: trio.SocketStream) -> wire.Ok | wire.Block | wire.Error:
    """Read one answer."""
    reader = wire.AnswerReader()
    while True:
        data = await client.receive_some()
        assert data, "closed before the answer"
        for event in reader.feed(bytes(data)):
            assert reader.between_answers
            return event


async def closed(client: trio.SocketStream) -> None:
    """Wait until the server has closed the connection."""
    with suppress(trio.BrokenResourceError):
        while await client.receive_some():
            pass


def asked(verb: str, target: str = "") -> wire.Ok:
    """Give the answer that `told` gives."""
    return wire.Ok(({"verb": verb, "target": target},))


async def test_a_request_is_answered(listener: Listener) -> None:
    """One line in, one answer out, whether it is ready or has to be waited for."""
    async with serving(listener):
        assert await ask(listener, b"get prod\n") == [asked("get", "prod")]
    async with serving(listener, ready=told):
        assert await ask(listener, b"get prod\n") == [asked("get", "prod")]


async def test_what_is_ready_does_not_wait_for_what_is_not(listener: Listener) -> None:
    """Answers come in the order of the requests, some at once and some later."""

    def ready(request: Request) -> bytes | None:
        return told(request) if request.target == "held" else None

    async with serving(listener, ready=ready):
        events = await ask(listener, b"get held\nget other\nget held\nlist\n")
    assert events == [asked("get", "held"), asked("get", "other"), asked("get", "held"), asked("list")]


async def test_a_connection_carries_any_number_of_requests(listener: Listener) -> None:
    """One after the other, in pieces, or hundreds without waiting."""
    async with serving(listener, ready=told), await connect(listener) as client:
        for piece in (b"ge", b"t pr", b"od\nli", b"st\n"):
            await client.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        reader = wire.AnswerReader()
        events: list[object] = []
        while len(events) < 2:
            events += reader.feed(bytes(await client.receive_some()))
        assert events == [asked("get", "prod"), asked("list")]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"get prod\n" * 5000)
            while len(events) < 5002:
                events += reader.feed(bytes(await client.receive_some()))


async def test_a_wrong_line_does_not_end_the_connection(listener: Listener) -> None:
    """The error says what is wrong, and the next request is answered."""
    async with serving(listener):
        error, answer = await ask(listener, b"gimme\nlist\n")
    assert isinstance(error, wire.Error)
    assert (error.code, "verb" in error.message) == (Code.BAD_REQUEST, True)
    assert answer == asked("list")


@pytest.mark.parametrize("line", [b"x" * 1_000_000, b"x" * 10_000 + b"\nlist\n", b"list\n" + b"x" * 10_000])
async def test_an_endless_line_is_refused_and_the_connection_closed(listener: Listener, line: bytes) -> None:
    """A megabyte without a newline is not collected; the client learns why, even while it still sends."""
    async with serving(listener), await connect(listener) as client:

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                await client.send_all(line)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            reader = wire.AnswerReader()
            events: list[wire.Ok | wire.Block | wire.Error] = []
            with suppress(trio.BrokenResourceError):  # reset: it has not taken all we sent
                async for data in client:
                    events += reader.feed(bytes(data))
        assert isinstance(events[-1], wire.Error)
        assert "longer than 8192 bytes" in events[-1].message
        assert await ask(listener, b"list\n") == [asked("list")]


async def test_a_line_too_long_by_a_little_is_refused_too(listener: Listener) -> None:
    """The limit holds for a line that comes in pieces with its newline, and what fits is let through."""
    async with serving(listener):
        fits = b"get " + b"p" * (wire.MAX_LINE - 5)
        assert await ask(listener, fits + b"\n") == [asked("get", "p" * (wire.MAX_LINE - 5))]
        async with await connect(listener) as client:
            await client.send_all(fits)
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(b"p\nlist\n")
            error = await one(client)
            assert isinstance(error, wire.Error)
            assert "longer than 8192 bytes" in error.message
            await closed(client)


async def test_half_a_line_is_never_taken_for_a_whole_one(listener: Listener) -> None:
    """A client killed while it wrote for=30m must not have asked for 30 seconds."""
    async with serving(listener):
        answer, error = await ask(listener, b"list\nget prod for=30")
    assert answer == asked("list")
    assert isinstance(error, wire.Error)
    assert "newline" in error.message


async def test_another_user_is_refused(listener: Listener) -> None:
    """Whoever is not the daemon's user is told so, gets nothing else, and is hung up on."""
    async with serving(listener, uid=os.geteuid() + 1), await connect(listener) as client:
        (error,) = await rest(client)
    assert isinstance(error, wire.Error)
    assert error.code == Code.FORBIDDEN


@root_only
async def test_another_user_is_refused_at_a_socket_opened_to_all() -> None:
    """With directory and socket made 0777 by mistake, the uid check alone keeps another user's process out."""
    script = "import socket as s; c=s.socket(1); c.connect(__import__('sys').argv[1]); print(c.recv(99).decode())"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "socket")
        listener = open_listener(path)
        os.chmod(directory, 0o777)
        os.chmod(path, 0o777)
        async with serving(listener):
            command = ["/usr/bin/python3", "-c", script, str(path)]
            ran = await trio.run_process(command, capture_stdout=True, user=NOBODY, cwd="/")
        close_listener(listener)
    assert ran.stdout.startswith(b"error forbidden\n")


async def test_a_bug_in_one_answer_spoils_no_other(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told, the log says where but not what, and the connection goes on."""

    def ready(request: Request) -> bytes | None:
        if request.target == "a":
            raise ValueError("s3cret")
        return None

    async def answer(request: Request) -> bytes:
        if request.target == "b":
            raise KeyError("s3cret")
        return told(request)

    async with serving(listener, answer, ready=ready):
        first, second, third = await ask(listener, b"get a\nget b\nget c\n")
    for event in (first, second):
        assert isinstance(event, wire.Error)
        assert event.code == Code.INTERNAL
        assert "s3cret" not in event.message
    assert third == asked("get", "c")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "ValueError" in caplog.text
    assert "test_server.py:" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_client_that_leaves_before_its_answer_harms_nobody(listener: Listener) -> None:
    """The request is carried through; the next client is served."""
    started, go_on, done = trio.Event(), trio.Event(), trio.Event()

    async def answer(request: Request) -> bytes:
        if request.verb == "get":
            started.set()
            await go_on.wait()
            done.set()
        return told(request)

    async with serving(listener, answer):
        client = await connect(listener)
        await client.send_all(b"get prod\n")
        await started.wait()
        await client.aclose()
        go_on.set()
        await done.wait()
        assert await ask(listener, b"list\n") == [asked("list")]


async def test_one_who_waits_delays_nobody(listener: Listener) -> None:
    """While one get waits for a renewal, every other request is answered; no deadline ends the waiting."""
    go_on = trio.Event()

    async def answer(request: Request) -> bytes:
        if request.target == "slow":
            await go_on.wait()
        return told(request)

    limits = replace(QUICK, idle=0.02, half_line=0.02, unread=0.02)
    async with serving(listener, answer, limits=limits), await connect(listener) as slow:
        await slow.send_all(b"get slow\n")
        async with await connect(listener) as idle:
            await closed(idle)  # the sweeper has been by since
        assert await ask(listener, b"get other\n") == [asked("get", "other")]
        go_on.set()
        assert await one(slow) == asked("get", "slow")


async def test_a_large_answer_arrives_whole(listener: Listener) -> None:
    """Larger than any socket buffer, read slowly."""
    blocks = [{"profile": f"p{number}", "last_error": "x" * 1000} for number in range(3000)]

    async def answer(_: Request) -> bytes:
        return wire.format_ok(blocks, many=True)

    async with serving(listener, answer):
        assert await ask(listener, b"status\n") == [wire.Ok(tuple(blocks))]


async def test_200_silent_clients_keep_nobody_out(listener: Listener) -> None:
    """With the limits as shipped, every get is answered while 200 connections say nothing or half a line."""
    async with serving(listener, limits=Limits()):
        silent = [await connect(listener) for _ in range(200)]
        for client in silent[::2]:
            await client.send_all(b"get pr")
        for _ in range(50):
            assert await ask(listener, b"get prod\n") == [asked("get", "prod")]
        for client in silent:
            await client.aclose()


async def test_at_the_cap_the_oldest_silent_connection_makes_room(listener: Listener) -> None:
    """Any number of silent connections keeps nobody out, and the youngest of them are still there."""
    async with serving(listener, limits=replace(QUICK, connections=10)):
        silent = [await connect(listener) for _ in range(30)]
        for _ in range(3):
            assert await ask(listener, b"get prod\n") == [asked("get", "prod")]
        for client in silent[:20]:
            await closed(client)
        await silent[-1].send_all(b"list\n")
        assert await one(silent[-1]) == asked("list")
        for client in silent:
            await client.aclose()


async def test_clients_that_asked_and_left_keep_nobody_out(listener: Listener) -> None:
    """Every place is taken by requests that wait, and whose clients are gone: the next client is served at once."""

    async def never(request: Request) -> bytes:
        if request.verb == "login":
            await trio.sleep_forever()
        return told(request)

    async with serving(listener, never, limits=replace(QUICK, connections=5)):
        for _ in range(5):
            gone = await connect(listener)
            await gone.send_all(b"login prod\n")
            await gone.aclose()
        assert await ask(listener, b"get prod\n") == [asked("get", "prod")]


async def test_a_connection_that_waits_for_us_is_not_closed_for_another(listener: Listener) -> None:
    """With every place taken by requests under way, the next client waits in turn and is then served."""
    go_on = trio.Event()
    begun = []

    async def answer(request: Request) -> bytes:
        begun.append(request.target)
        await go_on.wait()
        return told(request)

    async with serving(listener, answer, limits=replace(QUICK, connections=3, courtesy=10)):
        clients = [await connect(listener) for _ in range(6)]
        for number, client in enumerate(clients):
            await client.send_all(b"get p%d\n" % number)
        await trio.testing.wait_all_tasks_blocked()
        assert begun == ["p0", "p1", "p2"]
        go_on.set()
        for number, client in enumerate(clients):
            assert await one(client) == asked("get", f"p{number}")
            await client.aclose()


async def test_a_burst_of_clients_is_answered_to_the_last(listener: Listener) -> None:
    """More at once than there are places: all are answered, none is closed before it was heard."""
    answers = []

    async def client() -> None:
        answers.extend(await ask(listener, b"get prod\n"))

    async with serving(listener, limits=replace(QUICK, connections=20, courtesy=10)), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(client)
    assert answers == [asked("get", "prod")] * 100


@pytest.mark.parametrize(
    ("limits", "first"),
    [
        (replace(QUICK, idle=0.05), b""),
        (replace(QUICK, half_line=0.05), b"get pr"),
        (replace(QUICK, half_line=0.05), b"list\nget pr"),
        (replace(QUICK, idle=0.05), b"list\n"),
    ],
)
async def test_a_client_that_says_nothing_is_closed(listener: Listener, limits: Limits, first: bytes) -> None:
    """At once, after half a line, or after an answer."""
    async with serving(listener, limits=limits), await connect(listener) as client:
        if first:
            await client.send_all(first)
        await closed(client)


async def test_a_client_that_dribbles_is_closed(listener: Listener) -> None:
    """A byte now and then does not put off the end: the line has one deadline, from its first byte."""
    async with serving(listener, limits=replace(QUICK, half_line=0.2)), await connect(listener) as client:

        async def dribble() -> None:
            while True:
                await client.send_all(b"x")
                with trio.move_on_after(0.01):
                    await closed(client)

        with pytest.raises(trio.BrokenResourceError):
            await dribble()


async def test_a_client_that_never_reads_is_closed(listener: Listener) -> None:
    """Its answers do not pile up in the daemon, and others are served meanwhile."""
    async with serving(listener, ready=told, limits=replace(QUICK, unread=0.05)), await connect(listener) as client:

        async def insist() -> None:
            while True:
                await client.send_all(b"get prod\n" * 1000)

        with pytest.raises(trio.BrokenResourceError):
            await insist()
        assert await ask(listener, b"list\n") == [asked("list")]


async def test_without_descriptors_the_daemon_waits_and_goes_on(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EMFILE is told once, makes a silent connection give way, and is over when it is over."""
    refusals = iter([errno.EMFILE, errno.ENFILE])
    accept = socket.socket.accept

    def short_of_descriptors(self: socket.socket) -> tuple[socket.socket, object]:
        if number := next(refusals, 0):
            raise OSError(number, os.strerror(number))
        return accept(self)

    async with serving(listener):
        silent = await connect(listener)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(socket.socket, "accept", short_of_descriptors)
        assert await ask(listener, b"list\n") == [asked("list")]
        await closed(silent)
        await silent.aclose()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot take a connection: Too many open files; trying again"
    ]


async def test_a_broken_listener_is_not_hidden(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that waiting cannot mend ends the daemon, which is then started anew; a lost client does not."""
    failures = iter([errno.ECONNABORTED, errno.EAGAIN, errno.EINVAL])

    def broken(_: socket.socket) -> None:
        number = next(failures)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "accept", broken)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True) as caught:
        async with serving(listener), await connect(listener):
            await trio.sleep_forever()
    (failure,) = caught.value.exceptions
    assert isinstance(failure, (OSError, ExceptionGroup))
    assert next(failures, None) is None


async def test_no_descriptor_is_leaked(listener: Listener) -> None:
    """After clients of every kind, as many descriptors are open as before."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    async with serving(listener, limits=replace(QUICK, connections=5)):
        for data in (b"get prod\n", b"", b"x", b"nonsense\n"):
            await ask(listener, data)
        async with await connect(listener) as client:
            await client.send_all(b"x" * 9000)
            await closed(client)
        for client in [await connect(listener) for _ in range(20)]:
            await client.aclose()
    assert descriptors() == before


async def test_who_waits_hears_the_answer_when_the_daemon_leaves(listener: Listener) -> None:
    """Cancelled, the server still delivers what comes within its farewell; silent connections end at once."""
    asked_for, go_on = trio.Event(), trio.Event()

    async def answer(request: Request) -> bytes:
        asked_for.set()
        await go_on.wait()
        return told(request)

    async with trio.open_nursery() as clients, serving(listener, answer, limits=replace(QUICK, farewell=20)) as scope:
        waiting, silent = await connect(listener), await connect(listener)
        await waiting.send_all(b"get prod\n")
        await asked_for.wait()
        await trio.testing.wait_all_tasks_blocked()

        @clients.start_soon
        async def listen() -> None:
            with trio.CancelScope(shield=True), trio.fail_after(10):
                await closed(silent)
                go_on.set()
                assert await rest(waiting) == [asked("get", "prod")]
                await silent.aclose()
                await waiting.aclose()

        scope.cancel()


async def test_who_tells_the_daemon_to_stop_hears_that_it_does(listener: Listener) -> None:
    """The answer to the very request that ends the serving still arrives."""
    scope = trio.CancelScope()

    async def answer(request: Request, _: Peer) -> bytes:
        scope.cancel()
        await trio.lowlevel.checkpoint()
        return told(request)

    async def stoppable(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await server.serve(
                listener.socket, answer, ready=lambda *_: None, uid=os.geteuid(), task_status=task_status
            )

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(stoppable)
            assert await ask(listener, b"stop\n") == [asked("stop")]


async def test_an_answer_that_never_comes_does_not_keep_the_daemon(listener: Listener) -> None:
    """After the farewell the daemon leaves all the same."""
    asked_for = trio.Event()

    async def answer(_: Request) -> bytes:
        asked_for.set()
        await trio.sleep_forever()
        raise AssertionError

    async with serving(listener, answer, limits=replace(QUICK, farewell=0.01)):
        client = await connect(listener)
        await client.send_all(b"get prod\n")
        await asked_for.wait()
    await client.aclose()


async def test_leaving_before_the_start_is_no_deadlock(listener: Listener) -> None:
    """A server started in a scope that is cancelled already ends at once."""
    with trio.fail_after(10), trio.CancelScope() as scope:
        scope.cancel()
        await server.serve(listener.socket, lambda asks, _: tell(asks), ready=lambda *_: None, uid=os.geteuid())


async def test_leaving_while_a_client_waits_for_a_place(listener: Listener) -> None:
    """Who was accepted and found no room is hung up on, not forgotten."""
    asked_for = trio.Event()

    async def answer(_: Request) -> bytes:
        asked_for.set()
        await trio.sleep_forever()
        raise AssertionError

    async with serving(listener, answer, limits=replace(QUICK, connections=1, farewell=0.01)):
        busy = await connect(listener)
        await busy.send_all(b"get prod\n")
        await asked_for.wait()
        outside = await connect(listener)
        await trio.testing.wait_all_tasks_blocked()
    await closed(outside)
    await outside.aclose()
    await busy.aclose()


# Answers that go on


class Feed:
    """A stream that the test feeds: `ok *`, then what `say` is given; counts what was asked of it."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[bytes](1000)
        self.send.send_nowait(wire.STREAM_HEAD)
        self.taken = 0
        self.begun = trio.Event()
        self.ended = trio.Event()

    def say(self, **fields: str) -> None:
        """Have a block told."""
        self.send.send_nowait(wire.format_block(fields))

    def __aiter__(self) -> "Feed":
        return self

    async def __anext__(self) -> bytes:
        self.taken += 1
        self.begun.set()
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def end(self) -> None:
        """End after what is told already."""
        self.send.close()
        self.ended.set()


async def watch(listener: Listener, feed: Feed) -> trio.SocketStream:
    """Begin to watch, and read that it begins."""
    client = await connect(listener)
    await client.send_all(b"watch\n")
    reader = wire.AnswerReader()
    events: list[object] = []
    while not events:
        events += reader.feed(bytes(await client.receive_some()))
    assert events == [wire.Ok((), streaming=True)]
    return client


async def blocks(client: trio.SocketStream, number: int) -> list[dict[str, str]]:
    """Read so many blocks of a stream, or all until the server closes."""
    reader = wire.AnswerReader()
    assert list(reader.feed(wire.STREAM_HEAD)) == [wire.Ok((), streaming=True)]
    found: list[dict[str, str]] = []
    while len(found) < number:
        data = bytes(await client.receive_some())
        if not data:
            assert reader.between_answers
            break
        found += [dict(event.fields) for event in reader.feed(data) if isinstance(event, wire.Block)]
    return found


def feeding(*feeds: Feed) -> Answer:
    """Answer every `watch` with the next of these, and all else at once."""
    left = list(feeds)

    async def answer(request: Request) -> bytes | Feed:
        await trio.lowlevel.checkpoint()
        return left.pop(0) if request.verb == "watch" else told(request)

    return answer


async def test_a_stream_is_passed_on_as_it_comes(listener: Listener) -> None:
    """Each block at once, and when the stream ends, so does the connection."""
    feed = Feed()
    async with serving(listener, feeding(feed)), await watch(listener, feed) as client:
        feed.say(profile="a")
        assert await blocks(client, 1) == [{"profile": "a"}]
        feed.say(profile="b")
        feed.say(profile="c")
        assert await blocks(client, 2) == [{"profile": "b"}, {"profile": "c"}]
        feed.end()
        assert await blocks(client, 1) == []


async def test_a_stream_outlives_every_deadline(listener: Listener) -> None:
    """A watcher that hears nothing for long, or reads nothing for long, is not closed for it."""
    quiet, slow = Feed(), Feed()
    limits = replace(QUICK, idle=0.02, half_line=0.02, unread=0.02)
    async with (
        serving(listener, feeding(quiet, slow), limits=limits),
        await watch(listener, quiet) as listening,
        await watch(listener, slow) as stuck,
    ):
        for _ in range(1000):
            slow.say(last_error="x" * 10_000)
        for _ in range(3):
            async with await connect(listener) as idle:
                await closed(idle)  # the sweeper has been by since
        taken = slow.taken
        assert taken < 100  # what it does not read is not even made
        quiet.say(profile="a")
        assert await blocks(listening, 1) == [{"profile": "a"}]
        assert len(await blocks(stuck, 1000)) == 1000


async def test_who_half_closes_is_told_how_things_are(listener: Listener) -> None:
    """Like `echo watch | nc -N`: what was there when it asked, whole, and then the end."""
    feed = Feed()
    for number in range(500):
        feed.say(profile=f"p{number}", last_error="x" * 1000)
    async with serving(listener, feeding(feed)):
        events = await ask(listener, b"watch\n")
    assert len(events) == 501
    assert events[-1] == wire.Block({"profile": "p499", "last_error": "x" * 1000})
    assert feed.ended.is_set()


async def test_who_half_closes_and_never_reads_is_closed(listener: Listener) -> None:
    """It has said that it is done, so it gets the time that anybody has for one answer."""
    feed = Feed()
    async with (
        serving(listener, feeding(feed), limits=replace(QUICK, idle=0.05, unread=0.05)),
        await watch(listener, feed) as client,
    ):
        for _ in range(900):
            feed.say(last_error="x" * 10_000)
        await client.send_eof()
        await feed.ended.wait()
        for _ in range(3):
            async with await connect(listener) as idle:
                await closed(idle)  # the sweeper has been by since
        with pytest.raises(AssertionError):  # cut, and in the middle of a block
            assert len(await blocks(client, 900)) == 900


async def test_a_watcher_that_leaves_is_noticed_though_nothing_happens(listener: Listener) -> None:
    """Its stream is ended at once, not at the next event, whatever it said before it left."""
    feeds = [Feed(), Feed()]
    async with serving(listener, feeding(*feeds)):
        (await watch(listener, feeds[0])).socket.close()
        await feeds[0].ended.wait()
        talking = await watch(listener, feeds[1])
        await talking.send_all(b"get prod\n" * 10_000)
        await talking.aclose()
        await feeds[1].ended.wait()


async def test_watchers_hear_a_clean_end_when_the_daemon_leaves(listener: Listener) -> None:
    """Cancelled, the server ends every stream after a whole block, without its farewell's delay."""
    feeds = [Feed(), Feed()]
    patient = replace(QUICK, farewell=600)
    async with trio.open_nursery() as clients, serving(listener, feeding(*feeds), limits=patient) as scope:
        first, second = [await watch(listener, feed) for feed in feeds]
        feeds[0].say(profile="last")
        await trio.testing.wait_all_tasks_blocked()

        @clients.start_soon
        async def listen() -> None:
            with trio.CancelScope(shield=True), trio.fail_after(30):
                assert await blocks(first, 2) == [{"profile": "last"}]
                assert await blocks(second, 1) == []
                await first.aclose()
                await second.aclose()

        scope.cancel()


async def test_a_stream_that_begins_while_the_daemon_leaves_ends(listener: Listener) -> None:
    """Whoever asked before the end and is answered after it does not keep the daemon."""
    asked_for, go_on, feed = trio.Event(), trio.Event(), Feed()

    async def answer(_: Request) -> Feed:
        asked_for.set()
        await go_on.wait()
        return feed

    patient = replace(QUICK, farewell=600)
    async with trio.open_nursery() as clients, serving(listener, answer, limits=patient) as scope:
        client = await connect(listener)
        await client.send_all(b"watch\n")
        await asked_for.wait()

        @clients.start_soon
        async def listen() -> None:
            with trio.CancelScope(shield=True), trio.fail_after(30):
                await trio.testing.wait_all_tasks_blocked()
                go_on.set()
                assert await rest(client) == [wire.Ok((), streaming=True)]
                await client.aclose()

        scope.cancel()


async def test_a_bug_in_a_stream_ends_it_and_nothing_else(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    """The log says where but not what, and the next client is served."""

    class Broken(Feed):
        async def __anext__(self) -> bytes:
            if self.taken:
                raise KeyError("s3cret")
            return await super().__anext__()

    broken = Broken()
    async with serving(listener, feeding(broken)):
        async with await watch(listener, broken) as client:
            await closed(client)
        assert broken.ended.is_set()
        assert await ask(listener, b"list\n") == [asked("list")]
    assert "KeyError" in caplog.text
    assert "s3cret" not in caplog.text


async def test_watchers_leave_places_for_others(listener: Listener) -> None:
    """One watcher too many is told so, and its stream is ended; who only asks still finds a place."""
    feeds = [Feed() for _ in range(4)]
    async with serving(listener, feeding(*feeds), limits=replace(QUICK, connections=5, streams=3)):
        watchers = [await watch(listener, feed) for feed in feeds[:3]]
        (refused,) = await ask(listener, b"watch\n")
        assert isinstance(refused, wire.Error)
        assert refused.code == Code.WAITING
        assert feeds[3].ended.is_set()
        silent = [await connect(listener) for _ in range(10)]
        assert await ask(listener, b"list\n") == [asked("list")]
        for feed, watcher in zip(feeds, watchers, strict=False):
            feed.say(profile="still here")
            assert await blocks(watcher, 1) == [{"profile": "still here"}]
        for client in [*watchers, *silent]:
            await client.aclose()


async def test_200_watchers_and_200_silent_clients_delay_no_get(listener: Listener) -> None:
    """With the limits as shipped, and while every watcher is told something."""
    feeds = [Feed() for _ in range(200)]
    async with serving(listener, feeding(*feeds), limits=Limits()):
        watchers = [await watch(listener, feed) for feed in feeds]
        silent = [await connect(listener) for _ in range(200)]
        for number in range(20):
            for feed in feeds:
                feed.say(profile=f"p{number}")
            assert await ask(listener, b"get prod\n") == [asked("get", "prod")]
        for watcher in watchers:
            assert len(await blocks(watcher, 20)) == 20
        for client in [*watchers, *silent]:
            await client.aclose()
