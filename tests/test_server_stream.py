"""Answers that go on: what a watcher hears, how it ends, and that watchers keep nobody else waiting."""

from dataclasses import replace

import pytest
import trio
from support.serving import QUICK, Answer, ask, asked, closed, connect, rest, serving, told

from pmcredd import wire
from pmcredd.listening import Listener
from pmcredd.server import Limits
from pmcredd.wire import Code, Request


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
