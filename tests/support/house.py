"""A keeper behind a real socket: everything real but the servers it asks."""

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import trio

from pmcredd import server, wire
from pmcredd.audit import Audit
from pmcredd.driver import Driver
from pmcredd.listening import close_listener, open_listener
from pmcredd.logins import Logins
from pmcredd.profiles import Profile
from pmcredd.secret import Secret
from pmcredd.verbs import Verbs
from pmcredd.watching import Watching
from support.keeping import Server, World, keeping
from support.lives import profile

Block = dict[str, str]


class Watcher:
    """A client that watches over a connection of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._reader = wire.AnswerReader()
        self._blocks: list[Block] = []

    async def next(self, number: int = 1) -> list[Block]:
        """Read so many blocks more; fewer if the stream ends."""
        with trio.fail_after(30):
            while len(self._blocks) < number:
                data = bytes(await self.stream.receive_some())
                if not data:
                    assert self._reader.between_answers
                    break
                for event in self._reader.feed(data):
                    assert not isinstance(event, wire.Error), event
                    if isinstance(event, wire.Block):
                        self._blocks.append(dict(event.fields))
        found, self._blocks = self._blocks[:number], self._blocks[number:]
        return found


@dataclass(frozen=True, slots=True)
class BrowserLogin:
    """A login that waits for its browser: the client that asked, and what it was told first."""

    client: Watcher
    begun: Block

    @property
    def id(self) -> str:
        return self.begun["login"]

    @property
    def state(self) -> str:
        (state,) = parse_qs(urlsplit(self.begun["authorize_url"]).query)["state"]
        return state

    def redirect(self, **fields: str) -> str:
        """Give the address to which the server sends the browser."""
        return f"{self.begun['redirect_uri']}?{urlencode({'state': self.state, **fields})}"

    async def browse(self, **fields: str) -> httpx.Response:
        """Go there, as the browser does."""
        async with httpx.AsyncClient(trust_env=False) as browser:
            return await browser.get(self.redirect(**fields))

    async def end(self) -> Block:
        """Read the last block."""
        (last,) = await self.client.next()
        assert await self.client.next() == []
        return last


@dataclass
class House:
    """A keeper that is watched, and its socket."""

    world: World
    path: Path
    clients: list[trio.SocketStream]
    watching: Watching
    audit: Audit
    stop: trio.Event

    @property
    def driver(self) -> Driver:
        """Give who tells."""
        return self.world.keeper._driver

    def heard(self) -> bool:
        """Tell whether anybody hears what the driver tells."""
        return bool(self.driver.listeners)

    async def connect(self, line: bytes) -> trio.SocketStream:
        """Connect and send a request."""
        stream = await trio.open_unix_socket(os.fspath(self.path))
        self.clients.append(stream)
        await stream.send_all(line)
        return stream

    async def watch(self, line: bytes = b"watch\n") -> Watcher:
        """Watch as one client does."""
        return Watcher(await self.connect(line))

    async def log_in(self, line: bytes) -> "BrowserLogin":
        """Begin a login in a browser."""
        client = await self.watch(line)
        (begun,) = await client.next()
        assert begun["event"] == "begun", begun
        return BrowserLogin(client, begun)

    async def now(self, name: str = "prod") -> str:
        """Give the fingerprint of a profile's token."""
        return Secret(await self.world.get(name)).fingerprint()

    async def ask(self, line: bytes) -> wire.Ok | wire.Error:
        """Ask as a script does."""
        stream = await self.connect(line)
        reader = wire.AnswerReader()
        while True:
            for event in reader.feed(bytes(await stream.receive_some())):
                assert not isinstance(event, wire.Block)
                return event


@asynccontextmanager
async def house(upstream: Server | None = None, *names: str, more: Sequence[Profile] = ()) -> AsyncIterator[House]:
    """Serve a keeper of these profiles (by default prod and staging) on a real socket; `more` get no token."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "run", "socket")
        listener = open_listener(path)
        upstream = upstream or Server()
        profiles = [profile(name) for name in ("prod", "staging")]
        # One origin for each, or its budget would be spent.
        profiles = [profile(name, url=f"http://127.0.0.1:{port}") for port, name in enumerate(names, 1)] or profiles
        async with keeping(Path(directory), *profiles, *more, server=upstream) as world:
            seen = Watching(world.keeper, world.keeper._driver, world.clock)
            stop = trio.Event()
            logins = Logins(world.keeper, world.keeper._driver, world.upstream, world.clock)
            audit = Audit()
            verbs = Verbs(world.keeper, seen, logins, audit, clock=world.clock, stop=stop.set, started=0.0, notice=None)
            serve = partial(server.serve, listener.socket, verbs.answer, ready=verbs.ready, uid=os.geteuid())
            async with trio.open_nursery() as nursery:
                await nursery.start(logins.run)
                await nursery.start(serve)
                for each in profiles:
                    await world.get(each.name)
                built = House(world, path, [], seen, audit, stop)
                yield built
                for client in built.clients:
                    await client.aclose()
                nursery.cancel_scope.cancel()
        close_listener(listener)
