"""A keeper with everything real but the network and the clock."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
import trio

from pmcredd import attempts, keeper, scheduler
from pmcredd.attempts import Attempts
from pmcredd.bearer import Bearer
from pmcredd.driver import Driver
from pmcredd.events import Events
from pmcredd.exchange import Exchange
from pmcredd.gate import Gate
from pmcredd.keeper import Keeper
from pmcredd.profiles import BadConfig, Config, EventCommand, EventName, LiteralSecret, Profile, Settings
from pmcredd.scheduler import Scheduler
from pmcredd.secret import Secret
from pmcredd.secret_reader import SecretReader
from pmcredd.store import Store
from pmcredd.upstream import Upstream
from support.lives import Inline, TrioClock, profile

PROD = profile("prod")
NO_SOCKET = "/nowhere/socket"  # of this keeper: nobody serves it
Answer = Callable[[dict[str, str]], httpx.Response]


@pytest.fixture
def quick_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing, and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


def secret(value: str) -> LiteralSecret:
    """Give a secret as if it stood in the profile."""
    return LiteralSecret(Secret(value))


def token(value: str, lifetime: float | None = 3600) -> httpx.Response:
    """Answer as a token endpoint does."""
    body: dict[str, object] = {"token_type": "Bearer", "access_token": value}
    if lifetime is not None:
        body["expires_in"] = lifetime
    return httpx.Response(200, json=body)


def oauth_error(status: int, error: str, description: str = "") -> httpx.Response:
    """Refuse as a token endpoint does."""
    return httpx.Response(status, json={"error": error, "error_description": description, "message": description})


WRONG_PASSWORD = oauth_error(400, "invalid_grant", "The user credentials were incorrect.")
WRONG_CLIENT = oauth_error(401, "invalid_client", "Client authentication failed")


@dataclass
class Server:
    """A token endpoint: counts, remembers, and answers `script` in turn, then a fresh token for ever.

    Of a browser's pages it has one, the login: who gets an authorize URL is sent there, unless `authorizes` says else.
    """

    script: list[httpx.Response | Answer | Exception] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lifetime: float | None = 3600
    delay: float = 0.0  # seconds
    held: trio.Event | None = None  # answers wait for it
    authorizes: httpx.Response | Exception | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.url.path.endswith("/authorize"):
            if isinstance(self.authorizes, Exception):
                raise self.authorizes
            return self.authorizes or httpx.Response(302, headers={"location": "/login"})
        fields = {key: values[0] for key, values in parse_qs(request.content.decode()).items()}
        self.requests.append(fields)
        self.times.append(trio.current_time())
        number = len(self.requests)
        await trio.sleep(self.delay)
        if self.held is not None:
            await self.held.wait()
        answer = self.script.pop(0) if self.script else token(f"token-{number}", self.lifetime)
        if isinstance(answer, Exception):
            raise answer
        return answer(fields) if callable(answer) else answer


@dataclass
class World:
    """A keeper at work, and what it works with."""

    keeper: Keeper
    server: Server
    upstream: Upstream
    store: Store
    clock: TrioClock
    gate: Gate
    configs: list[Config | BadConfig]
    events: Events

    async def get(self, target: str = "prod", lasting: float | None = None, timeout: float = 30.0) -> str:
        """Get a token's text."""
        return (await self.keeper.get(target, lasting, timeout)).access_token.reveal()


def config(*profiles: Profile, settings: Settings | None = None) -> Config:
    """Give a configuration of these profiles."""
    return Config(settings or Settings(), {each.name: each for each in profiles})


@asynccontextmanager
async def keeping(
    path: Path,
    *profiles: Profile,
    server: Server | None = None,
    clock: TrioClock | None = None,
    on_event: Mapping[EventName, EventCommand] | None = None,
) -> AsyncIterator[World]:
    """Run a keeper of these profiles with its store in the directory `path`, and the commands of `on_event`."""
    server = server or Server()
    clock = clock or TrioClock()
    worker = Inline()
    store = Store.open(path / "state.db")
    scheduler = Scheduler(clock)
    gate = Gate(clock, scheduler)
    upstream = Upstream(transport_for_tests=httpx.MockTransport(server))
    reader, attempts = SecretReader({}), Attempts(store, worker, worker)
    bearer = Bearer(upstream, clock)
    exchange = Exchange(
        upstream=upstream,
        bearer=bearer,
        store=store,
        worker=worker,
        reader=reader,
        attempts=attempts,
        gate=gate,
        clock=clock,
    )
    configs: list[Config | BadConfig] = []

    async def load() -> Config:
        found = configs[-1]
        if isinstance(found, BadConfig):
            raise found
        return found

    driver = Driver(
        store=store,
        worker=worker,
        exchange=exchange,
        bearer=bearer,
        scheduler=scheduler,
        clock=clock,
        jitter=lambda: 0.0,
    )
    keeper = Keeper(
        config(*profiles, settings=Settings(on_event=on_event or {})),
        load=load,
        store=store,
        worker=worker,
        reader=reader,
        exchange=exchange,
        bearer=bearer,
        driver=driver,
        clock=clock,
    )
    async with trio.open_nursery() as nursery:
        events = Events(keeper, driver, clock, environ=os.environ, socket=NO_SOCKET)
        if on_event is not None:
            await nursery.start(events.run)
        await nursery.start(keeper.run)
        yield World(keeper, server, upstream, store, clock, gate, configs, events)
        nursery.cancel_scope.cancel()
    store.close()
