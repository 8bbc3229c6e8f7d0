"""A request and its answer: who may ask, in what order answers come, and whose failure is nobody else's."""

import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.serving import QUICK, ask, asked, closed, connect, one, rest, serving, told

from pmcredd import wire
from pmcredd.listening import Listener, close_listener, open_listener
from pmcredd.wire import Code, Request

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")
NOBODY = 65534


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
