"""The client for programs with an event loop: under asyncio and trio, and with a daemon that takes its time."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from support.api_server import NEW, OLD, House, house
from support.fake_daemon import TOKEN, FakeDaemon

from pmcredd import (
    NoDaemon,
    PmcredError,
    client,
    get_token,
    get_token_async,
    reject_token,
    reject_token_async,
)
from pmcredd.auth.httpx import PmcredAuth

EVENT_LOOPS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
TICKS = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the daemon listens by default in a test."""
    return tmp_path / "run" / "pmcred" / "socket"


@pytest.fixture
def world(path: Path) -> Iterator[House]:
    """Serve an API whose good token is NEW, and a daemon that has OLD first and answers nothing before it may."""
    with house(path) as found:
        found.issuer.hold = threading.Event()
        try:
            yield found
        finally:
            found.issuer.hold.set()


async def ticks(then: threading.Event | None) -> None:
    """Go round the event loop for a while, as other tasks of a program do."""
    for _ in range(TICKS):
        await anyio.sleep(0.001)
    if then is not None:
        then.set()


@EVENT_LOOPS
def test_it_asks_and_answers_as_the_blocking_one(path: Path, backend: str) -> None:
    """The same lines, the same token; for a rejected one too."""

    async def ask() -> list[object]:
        token = await get_token_async("prod", lasting=1800, timeout=2.5, refresh=False)
        return [token, await reject_token_async(token, timeout=3), await reject_token_async("abc", "dev")]

    with FakeDaemon(path, lambda line: b"ok\naccess_token=" + line.split()[0] + b"\n\n") as daemon:
        token = get_token("prod", lasting=1800, timeout=2.5, refresh=False)
        plain = [token, reject_token(token, timeout=3), reject_token("abc", "dev")]
        assert anyio.run(ask, backend=backend) == plain
    assert daemon.requests[:3] == daemon.requests[3:]


@EVENT_LOOPS
def test_the_loop_goes_on_while_the_daemon_gets_a_token(world: House, backend: str) -> None:
    """A program's other tasks go on: only once they have had their turns does the daemon answer at all."""

    async def together() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticks, world.issuer.hold)
            assert (await get_token_async("prod")).access_token == OLD

    anyio.run(together, backend=backend)
    assert world.asked() == ["get"]


@EVENT_LOOPS
def test_the_loop_goes_on_while_a_request_waits_for_its_token(world: House, backend: str) -> None:
    """The same under httpx, for the first token and for the one after a 401."""

    async def together() -> int:
        auth = PmcredAuth("prod")
        async with httpx.AsyncClient(auth=auth, trust_env=False) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(ticks, world.issuer.hold)
            answer = await http.get(world.api.url)
        return answer.status_code

    assert anyio.run(together, backend=backend) == 200
    assert world.api.bearers() == [OLD, NEW]


@EVENT_LOOPS
def test_any_number_of_tasks_wait_at_once(world: House, backend: str) -> None:
    """Far more than there are threads in a pool: nobody waits for a turn to wait."""
    count = 120

    async def together() -> list[str]:
        found: list[str] = []

        async def one() -> None:
            found.append((await get_token_async("prod")).access_token)

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
            while len(world.daemon.requests) < count:  # noqa: ASYNC110 - the daemon is in other threads
                await anyio.sleep(0.01)
            assert world.issuer.hold is not None
            world.issuer.hold.set()
        return found

    before = threading.active_count()
    assert anyio.run(together, backend=backend) == [OLD] * count
    assert threading.active_count() <= before + count + 1  # those of the stand-in for the daemon, one a connection


@EVENT_LOOPS
def test_an_answer_may_come_in_pieces(path: Path, backend: str) -> None:
    """It is read to its end."""
    long = b"ok\naccess_token=abc\nnews=" + b"x" * 500_000 + b"\n\n"
    with FakeDaemon(path, lambda _: long):
        assert anyio.run(get_token_async, "prod", backend=backend).access_token == "abc"


def hung_up(listener: socket.socket) -> bool:
    """Take the one connection, and tell whether its client has gone after its request."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        return b"".join(iter(lambda: connection.recv(100), b"")).startswith(b"get prod")


@EVENT_LOOPS
def test_who_is_cancelled_hangs_up(path: Path, backend: str) -> None:
    """No thread goes on waiting, and the daemon sees that nobody waits any more."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        async def give_up() -> bool:
            before = threading.active_count()
            with anyio.move_on_after(0.05) as scope:
                await get_token_async("prod")
            assert threading.active_count() == before
            return scope.cancelled_caught

        assert anyio.run(give_up, backend=backend)
        assert hung_up(listener)


def test_a_cancelled_asyncio_task_hangs_up_too(path: Path) -> None:
    """Asyncio's own way to cancel, which knows nothing of scopes."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await get_token_async("prod")

        asyncio.run(give_up())
        assert hung_up(listener)


@EVENT_LOOPS
def test_errors_are_those_of_the_blocking_one(path: Path, backend: str) -> None:
    """Code, sentence and mend are the daemon's; an answer that is none, or none in time, is told."""

    def failure(answer: bytes) -> PmcredError:
        with FakeDaemon(path, lambda _: answer), pytest.raises(PmcredError) as caught:
            anyio.run(get_token_async, "prod", backend=backend)
        return caught.value

    refused = failure(b"error needs-login\nmessage=prod:%20log%20in\nhint=pmcred%20login%20prod\n\n")
    assert (refused.code, str(refused), refused.hint) == ("needs-login", "prod: log in", "pmcred login prod")
    assert failure(b"").exit_status == 69
    assert "makes no sense" in str(failure(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert "holds no token" in str(failure(b"ok\nprofile=prod\n\n"))
    with pytest.raises(NoDaemon):
        anyio.run(get_token_async, "prod", backend=backend)
    with pytest.raises(PmcredError, match="no profile is named"):
        anyio.run(get_token_async, backend=backend)


@EVENT_LOOPS
def test_a_daemon_that_does_not_answer_in_time_is_told(
    world: House, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ends when the caller said."""
    monkeypatch.setattr(client, "SLACK_SECONDS", 0.0)

    async def ask() -> None:
        await get_token_async("prod", timeout=0.05)

    with pytest.raises(PmcredError, match=r"not answered within 0\.05 s") as caught:
        anyio.run(ask, backend=backend)
    assert caught.value.exit_status == 5


@EVENT_LOOPS
def test_a_daemon_too_busy_to_take_us_is_waited_for(path: Path, backend: str) -> None:
    """A full queue blocks no loop; when there is room, the request goes out."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(os.fspath(path))
        listener.listen(0)
        other.connect(os.fspath(path))
        answered: list[bytes] = []

        async def make_room() -> None:
            await ticks(None)
            listener.accept()[0].close()
            listener.setblocking(False)
            while not answered:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    await anyio.sleep(0.01)
                    continue
                with connection:
                    await anyio.wait_readable(connection)
                    answered.append(connection.recv(100))
                    connection.sendall(f"ok\naccess_token={TOKEN}\n\n".encode())

        async def together() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(make_room)
                assert (await get_token_async("prod")).access_token == TOKEN

        anyio.run(together, backend=backend)
    assert answered == [b"get prod timeout=60\n"]


@EVENT_LOOPS
def test_a_daemon_that_stays_too_busy_is_told(path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.05)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(os.fspath(path))
        listener.listen(0)
        other.connect(os.fspath(path))
        with pytest.raises(PmcredError, match="has not taken the connection") as caught:
            anyio.run(get_token_async, "prod", backend=backend)
    assert caught.value.exit_status == 5


def test_only_who_needs_an_event_loop_loads_one() -> None:
    """`from pmcredd import get_token` stays with the standard library."""
    script = (
        "import sys; from pmcredd import get_token, reject_token, PmcredError, AccessToken\n"
        "foreign = {'anyio', 'trio', 'httpx', 'asyncio', 'ssl', 'hashlib', 'platformdirs'} & sys.modules.keys()\n"
        "from pmcredd import get_token_async\n"
        "print(foreign, sorted({'anyio', 'trio', 'httpx'} & sys.modules.keys()))"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # coverage loads more
    ran = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True, check=True)
    assert ran.stdout == "set() ['anyio']\n"
