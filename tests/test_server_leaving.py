"""The server leaves: who waits hears an answer, and nobody keeps the daemon."""

import os
from dataclasses import replace

import trio
from support.serving import QUICK, ask, asked, closed, connect, rest, serving, tell, told

from pmcredd import server
from pmcredd.listening import Listener
from pmcredd.peer import Peer
from pmcredd.wire import Request


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
