"""Credentials for units, without systemd: who gets a token, and that everybody else gets what fails a start."""

import errno
import itertools
import logging
import os
import re
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from support.keeping import Server, World, keeping
from support.lives import profile

from pmcredd import bridge, daemon, listening
from pmcredd.audit import Audit
from pmcredd.bridge import Bridge, Wanted, read_address
from pmcredd.listening import Listener, SocketProblem, close_listener, open_listener
from pmcredd.systemd import Manager

LONGEST = 1024 * 1024  # bytes of a credential
PROD = profile("prod", bridge=True)
CLOSED = profile("closed")
_numbers = itertools.count(os.getpid() << 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where units connect."""
    return tmp_path / "units" / "credentials"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    """An open listener."""
    opened = open_listener(path)
    yield opened
    close_listener(opened)


@asynccontextmanager
async def bridging(
    tmp_path: Path,
    listener: Listener,
    *,
    server: Server | None = None,
    uid: int | None = None,
    store: Callable[[str, int], None] = lambda _, __: None,
    stored: tuple[socket.socket, ...] = (),
) -> AsyncIterator[tuple[World, Audit]]:
    """Answer units out of a keeper that has two profiles."""
    audit = Audit()
    async with keeping(tmp_path, PROD, CLOSED, server=server) as world, trio.open_nursery() as nursery:
        made = Bridge(world.keeper, audit, uid=os.geteuid() if uid is None else uid, store=store)
        await nursery.start(made.serve, listener.socket, stored)
        yield world, audit
        nursery.cancel_scope.cancel()


def address(credential: str = "prod", unit: str = "job.service") -> str:
    """Give an address like the manager's."""
    return f"\0{next(_numbers):x}/unit/{unit}/{credential}"


async def connect(path: Path, bound: str | None) -> trio.socket.SocketType:
    """Connect from an address, and say nothing."""
    client = trio.socket.socket(socket.AF_UNIX)
    if bound is not None:
        await client.bind(bound)
    await client.connect(str(path))
    client.shutdown(socket.SHUT_WR)
    return client


async def rest(client: trio.socket.SocketType) -> bytes:
    """Read to the end."""
    found = bytearray()
    while piece := await client.recv(1 << 20):
        found += piece
    client.close()
    return bytes(found)


async def ask(path: Path, bound: str | None) -> bytes:
    """Load a credential as the manager does, with all the time in the world."""
    with trio.fail_after(60):
        return await rest(await connect(path, bound))


def hung_up(descriptor: int) -> bool:
    """Wait until the other end has closed; reads nothing."""
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return bool(waiting.poll(60_000))


def got(answer: bytes) -> bool:
    """Tell whether an answer is a token, and nothing else."""
    return re.fullmatch(rb"token-[0-9]", answer) is not None


def refused(answer: bytes, why: str) -> bool:
    """Tell whether an answer fails a start, and says why in its first line."""
    return len(answer) > LONGEST and why in answer.partition(b"\n")[0].decode()


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (b"\0adf9d86b6eda275e/unit/foobar.service/credx", Wanted("foobar.service", "credx")),
        (b"\0" + b"f/unit/a@b\\x2dc:1.service/acme.prod", Wanted("a@b\\x2dc:1.service", "acme.prod")),
        (b"adf9d86b6eda275e/unit/foobar.service/credx", None),
        (b"\0adf9/unit/foobar.service/", None),
        (b"\0adf9/unit//credx", None),
        (b"\0adf9/unit/a/b/c", None),
        (b"\0adf9/unit/a.service/b\nc", None),
        (b"\0adf9/unit/a.service/b\n", None),
        (b"\0adf9/unit/a.service/\x1b[2J", None),
        (b"\0xyz/unit/a.service/b", None),
        (b"\x0000001", None),  # bound by the kernel
        (b"", None),
        ("/run/user/1000/a", None),
        ("", None),
        (None, None),
    ],
)
def test_the_address_names_unit_and_credential(given: object, understood: Wanted | None) -> None:
    """systemd.exec(5) tells the form; anything else is no manager, and no name can break a line of the log."""
    assert read_address(given) == understood


async def test_the_token_alone_is_the_credential(tmp_path: Path, path: Path, listener: Listener) -> None:
    """No newline, nothing else; the audit knows what was handed out."""
    async with bridging(tmp_path, listener) as (world, audit):
        token = (await world.get()).encode()
        assert await ask(path, address()) == token
        assert await ask(path, address()) == token

        [entry] = audit.entries("prod")
        assert (entry.verb, entry.outcome, entry.count) == ("credential", "ok", 2)
        assert entry.fingerprint == (await world.keeper.get("prod", None, 1)).access_token.fingerprint()


async def test_only_a_wait_is_kept_by_systemd(tmp_path: Path, path: Path, listener: Listener) -> None:
    """What is answered at once costs systemd nothing."""
    server, kept = Server(held=trio.Event()), []

    def store(name: str, _: int) -> None:
        kept.append(name)
        assert server.held is not None
        server.held.set()

    async with bridging(tmp_path, listener, server=server, store=store):
        assert got(await ask(path, address()))
        assert got(await ask(path, address()))

    assert kept == [bridge.STORED]


@pytest.mark.parametrize(
    ("bound", "why", "code", "about"),
    [
        (address("closed"), "closed is not for units", "forbidden", "closed"),
        (address("prd"), "no profile is named prd", "no-such-profile", None),
        (None, "answers only systemd's LoadCredential=", "bad-request", None),
        (f"\0test-{os.getpid()}", "answers only systemd's LoadCredential=", "bad-request", None),
    ],
    ids=["not for units", "no profile", "no address", "another address"],  # the addresses differ from run to run
)
async def test_no_token_fails_the_start(
    tmp_path: Path, path: Path, listener: Listener, bound: str | None, why: str, code: str, about: str | None
) -> None:
    """Never an empty answer; the audit has the reason, and no name that is not a profile's."""
    async with bridging(tmp_path, listener) as (_, audit):
        assert refused(await ask(path, bound), why)

        [entry] = audit.entries(None)
        assert (entry.outcome, entry.profile) == (code, about)


async def test_another_user_gets_nothing(tmp_path: Path, path: Path, listener: Listener) -> None:
    """Whatever address it has."""
    async with bridging(tmp_path, listener, uid=os.geteuid() + 1) as (_, audit):
        assert refused(await ask(path, address()), "serves uid")

        assert [entry.verb for entry in audit.entries(None)] == ["connect"]


async def test_a_start_does_not_wait_for_ever(
    tmp_path: Path, path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never answers fails the start in the end."""
    monkeypatch.setattr(bridge, "PATIENCE", 0.05)
    server = Server(held=trio.Event())
    async with bridging(tmp_path, listener, server=server):
        assert refused(await ask(path, address()), "no token for prod within")
        assert server.held is not None
        server.held.set()


async def test_who_waits_when_we_leave_is_refused(tmp_path: Path, path: Path, listener: Listener) -> None:
    """Also where we leave in a hurry, and nobody tells the keeper."""
    held, waits, found = trio.Event(), trio.Event(), []

    async def load(bound: str) -> None:
        found.append(await ask(path, bound))

    async with keeping(tmp_path, PROD, server=Server(held=held)) as world, trio.open_nursery() as clients:
        async with trio.open_nursery() as nursery:
            made = Bridge(world.keeper, Audit(), uid=os.geteuid(), store=lambda _, __: waits.set())
            await nursery.start(made.serve, listener.socket)
            clients.start_soon(load, address())
            await waits.wait()
            nursery.cancel_scope.cancel()
        held.set()
    assert refused(found[0], "the daemon is leaving")


async def test_who_never_reads_is_left(
    tmp_path: Path, path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while it is closed, and who came when no place was left gets one."""
    monkeypatch.setattr(bridge, "UNREAD", 0.05)
    monkeypatch.setattr(bridge, "AT_A_TIME", 3)
    async with bridging(tmp_path, listener):
        silent = [await connect(path, None) for _ in range(bridge.AT_A_TIME)]

        assert got(await ask(path, address()))

        for each in silent:
            assert await trio.to_thread.run_sync(hung_up, each.fileno())
            each.close()


async def test_who_leaves_at_once_is_no_trouble(tmp_path: Path, path: Path, listener: Listener) -> None:
    """A cancelled start ends its connection at any moment."""
    async with bridging(tmp_path, listener):
        for bound in (None, address(), address("closed")) * 20:
            (await connect(path, bound)).close()

        assert got(await ask(path, address()))


def broken_hand_out(*_: object) -> None:
    """Fail in a way that tells something."""
    raise KeyError("s3cret")


async def test_a_bug_fails_one_start(
    tmp_path: Path, path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text stays out of the log, for it could hold a secret; the next start is served."""
    async with bridging(tmp_path, listener) as (world, _):
        with monkeypatch.context() as broken:
            broken.setattr(world.keeper, "hand_out", broken_hand_out)
            assert refused(await ask(path, address()), "failed to answer (KeyError)")
        assert got(await ask(path, address()))

    assert "s3cret" not in caplog.text


async def test_what_another_daemon_left_is_answered(tmp_path: Path, path: Path, listener: Listener) -> None:
    """Connections that systemd has kept for us, even where there is no socket any more."""
    client = await connect(path, address())
    left, _ = listener.socket.accept()
    async with bridging(tmp_path, listener, stored=(left,)):
        with trio.fail_after(60):
            assert got(await rest(client))


async def test_only_what_is_stored(tmp_path: Path, path: Path, listener: Listener) -> None:
    """Without a listener there is an end to it."""
    client = await connect(path, address())
    left, _ = listener.socket.accept()
    async with keeping(tmp_path, PROD) as world:
        with trio.fail_after(60):
            await Bridge(world.keeper, Audit(), uid=os.geteuid(), store=Manager().keep).serve(None, [left])
            assert got(await rest(client))


class Exhausted(socket.socket):
    """A listening socket of a process that has too many files open, at first."""

    failures: tuple[int, ...] = (errno.EMFILE, errno.EMFILE, errno.EAGAIN)

    def accept(self) -> tuple[socket.socket, object]:
        """Fail a few times."""
        if self.failures:
            failure, self.failures = self.failures[0], self.failures[1:]
            raise OSError(failure, "no")
        return super().accept()


async def test_too_many_files_are_a_pause(tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Units wait; the log says so once."""
    path = tmp_path / "credentials"
    with Exhausted(socket.AF_UNIX) as listening_socket:
        listening_socket.bind(str(path))
        listening_socket.listen()
        listening_socket.settimeout(0)
        async with bridging(tmp_path, Listener(listening_socket, path, -1, None)):
            assert got(await ask(path, address()))

    assert caplog.text.count("trying again") == 1


async def test_a_listener_that_is_broken_is_told(tmp_path: Path, path: Path) -> None:
    """Anything else that goes wrong with it ends the daemon, instead of leaving units in front of a dead door."""
    with socket.socket(socket.AF_UNIX) as never:
        never.settimeout(0)
        with pytest.RaisesGroup(OSError, flatten_subgroups=True):
            async with bridging(tmp_path, Listener(never, path, -1, None)):
                await trio.Event().wait()


def test_a_daemon_that_does_not_start_refuses_who_waits(path: Path, listener: Listener) -> None:
    """Those at the socket and those who were kept; one that never reads holds up nobody for long."""
    with ExitStack() as undo:
        clients = [undo.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        for client in clients:
            client.connect(str(path))
        kept, _ = listener.socket.accept()
        gone = undo.enter_context(socket.socket(socket.AF_UNIX))
        gone.connect(str(path))
        gone.close()
        found: dict[int, bytes] = {}

        def read(number: int) -> None:
            found[number] = b"".join(iter(lambda: clients[number].recv(1 << 20), b""))

        reading = [threading.Thread(target=read, args=[number]) for number in range(3)]
        for each in reading:
            each.start()
        bridge.turn_away([listener.socket.dup(), kept], "profiles.toml has mistakes")
        for each in reading:
            each.join()

    assert all(refused(answer, "profiles.toml has mistakes") for answer in found.values())
    assert len(found) == 3


# --- the socket -------------------------------------------------------------------------------------------------------


def test_a_socket_that_cannot_be_made_costs_units_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon serves its clients, and the log says what units do not get, and why."""
    path.mkdir(mode=0o700, parents=True)
    path.parent.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        assert daemon._listen_for_units(path.with_name("socket"), None) is None
    assert "units get no credentials" in caplog.text
    assert f"mv {path}" in caplog.text


def test_a_socket_of_systemd_is_taken_as_it_is_or_not_at_all(path: Path) -> None:
    """One that others can reach is refused, as the clients' is."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        path.chmod(0o666)
        with pytest.raises(SocketProblem, match="0666"):
            daemon._listen_for_units(path.with_name("socket"), made.fileno())
        path.chmod(0o600)
        taken = daemon._listen_for_units(path.with_name("socket"), os.dup(made.fileno()))
    assert taken is not None
    close_listener(taken)
    assert path.is_socket()


def test_the_two_sockets_of_a_unit_are_told_apart(tmp_path: Path) -> None:
    """They have one name and two paths; what has another name, or is no socket, keeps its name."""
    with ExitStack() as undo:
        found = []
        for name in ("socket", "credentials", "x"):
            made = undo.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(str(tmp_path / name))
            found.append(made.fileno())
        main, second, _ = found
        null = os.open("/dev/null", os.O_RDONLY)
        undo.callback(os.close, null)
        handed = (("pmcredd.socket", main), ("pmcredd.socket", second), ("other", second), ("pmcredd.socket", null))

        assert [name for name, _ in listening.tell_apart(handed)] == [
            "pmcredd.socket",
            "credentials",
            "other",
            "pmcredd.socket",
        ]


def test_systemd_is_given_a_connection_to_keep() -> None:
    """sd_notify(3): a descriptor with its name; what is said to the other end comes through it."""
    here, there = socket.socketpair()
    with here, there, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("")
        name = heard.getsockname()
        Manager(address=name.decode() if isinstance(name, bytes) else name).keep("credential", here.fileno())
        said, descriptors, _, _ = socket.recv_fds(heard, 4096, 4)
        assert set(said.decode().splitlines()) == {"FDSTORE=1", "FDNAME=credential"}
        with socket.socket(fileno=descriptors[0]) as kept:
            kept.sendall(b"x")
        assert there.recv(1) == b"x"
