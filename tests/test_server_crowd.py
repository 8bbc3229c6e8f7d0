"""Many clients, and those who say nothing, dribble or never read: nobody is kept out by them."""

import errno
import os
import socket
from dataclasses import replace

import pytest
import trio
from support.serving import QUICK, ask, asked, closed, connect, one, serving, told

from pmcredd.listening import Listener
from pmcredd.server import Limits
from pmcredd.wire import Request


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
