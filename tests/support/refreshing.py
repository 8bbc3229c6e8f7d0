"""A keeper of profiles that refresh, against the sandbox's own application, on the test's clock."""

import itertools
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trio

from pmcredd.account import Admit
from pmcredd.attempts import Attempts
from pmcredd.bearer import Bearer
from pmcredd.driver import Driver
from pmcredd.exchange import Exchange
from pmcredd.gate import Gate
from pmcredd.keeper import Keeper
from pmcredd.oauth import Code
from pmcredd.profiles import Config, Grant, LiteralSecret, Profile
from pmcredd.sandbox.app import create_app
from pmcredd.sandbox.instances import CODE, LOOPBACK_CALLBACK, PM3_CLIENT, USERS, Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.world import User
from pmcredd.scheduler import Scheduler
from pmcredd.secret import Secret
from pmcredd.secret_reader import SecretReader
from pmcredd.store import Store
from pmcredd.telling import HandOut
from pmcredd.upstream import Upstream
from support.keeping import config
from support.lives import WALL, Inline, TrioClock

PM4 = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.AUTHORIZATION_CODE,
    client_id=CODE.id,
    client_secret=LiteralSecret(Secret(CODE.secret)),
)
PM3 = Profile(
    name="old",
    url="http://127.0.0.1:1",
    grant=Grant.AUTHORIZATION_CODE,
    generation=3,
    workspace="workflow",
    client_id=PM3_CLIENT.id,
    client_secret=LiteralSecret(Secret(PM3_CLIENT.secret)),
)
YEAR = Settings(throttle=None)  # a server whose tokens live a year, as they do by default

_kills = itertools.count(1)


@dataclass
class Way(httpx.AsyncBaseTransport):
    """The way to the sandbox, on which answers can be lost: each request takes the next fault.

    "refused": no connection. "lost before": nothing arrives. "lost after": the server acts, and its answer is lost. A
    number is a status that a front end answers with, before the server sees anything.
    """

    inner: httpx.AsyncBaseTransport
    token_faults: list[str | int] = field(default_factory=list)
    api_faults: list[str | int] = field(default_factory=list)
    tokens: int = 0
    probes: int = 0
    hold: trio.Event | None = None  # a token request waits for it before it is sent on
    hold_api: trio.Event | None = None  # so does any other request
    seen: list[str] = field(default_factory=list)  # "GET /api/1.0/users/1", in order; a token's id is cut off

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on, or not."""
        token = request.url.path.endswith("token")
        self.tokens += token
        self.probes += not token
        self.seen.append(f"{request.method} {re.sub(r'(?<=/)[0-9a-f]{40,}$', 'ID', request.url.path)}")
        hold = self.hold if token else self.hold_api
        if hold is not None:
            await hold.wait()
        faults = self.token_faults if token else self.api_faults
        fault = faults.pop(0) if faults else None
        if fault == "refused":
            raise httpx.ConnectError("refused")
        if fault == "lost before":
            raise httpx.ReadError("closed")
        if isinstance(fault, int):
            return httpx.Response(fault, html="<h1>front end</h1>")
        answer = await self.inner.handle_async_request(request)
        if fault == "lost after":
            await answer.aread()
            raise httpx.ReadError("closed")
        return answer


@dataclass
class Refreshing:
    """A keeper at work, the server behind it, and the way between them."""

    keeper: Keeper
    store: Store
    clock: TrioClock
    sandbox: Sandbox
    way: Way
    gate: Gate
    configs: list[Config]

    async def login(self, profile: Profile = PM4, *, user: User = USERS[0], admit: Admit | None = None) -> HandOut:
        """Log in by hand, with a code that the sandbox issues."""
        world, client = (self.sandbox.pm4, CODE) if profile.generation == 4 else (self.sandbox.pm3, PM3_CLIENT)
        code = world.issue_code(client, user, redirect_uri=LOOPBACK_CALLBACK)
        return await self.keeper.login_with_code(profile.name, Code(code, redirect_uri=LOOPBACK_CALLBACK), admit=admit)

    async def proved(self, name: str = "prod") -> None:
        """Wait until the server has accepted a token once: from then on, its refusal is evidence."""
        while not self.keeper.status([name])[0].life.proved:
            await trio.lowlevel.checkpoint()

    async def get(self, lasting: float | None = None, *, name: str = "prod", timeout: float = 60.0) -> HandOut:
        """Get a hand-out."""
        return await self.keeper.get(name, lasting, timeout)

    def kill(self) -> Path:
        """Give a directory with what the disk holds now: the state that a daemon would find if ours were killed."""
        left = self.store.path.parent / f"killed-{next(_kills)}"
        left.mkdir()
        for file in self.store.path.parent.glob("state.db*"):
            shutil.copy(file, left)
        return left

    def lives(self, handed: HandOut) -> bool:
        """Whether the server accepts a token now."""
        world = self.sandbox.pm4 if handed.profile == "prod" else self.sandbox.pm3
        return world.bearer(handed.access_token.reveal()) is not None


def fingerprint(handed: HandOut) -> str:
    """Name a handed-out token."""
    return handed.access_token.fingerprint()


async def end_of_lease(world: Refreshing, handed: HandOut) -> None:
    """Wait until just before the promise of a hand-out ends."""
    assert handed.good_until is not None
    await trio.sleep(max(0.0, handed.good_until - world.clock.now().wall - 0.01))


@asynccontextmanager
async def refreshing(
    path: Path,
    *profiles: Profile,
    settings: Settings | None = None,
    sandbox: Sandbox | None = None,
    clock: TrioClock | None = None,
) -> AsyncIterator[Refreshing]:
    """Run a keeper of these profiles (by default PM4) with its store in the directory `path`."""
    clock = clock or TrioClock()
    # The server's clock is the test's, too, and never set: what an admin does to ours does not move it.
    if sandbox is None:
        sandbox = Sandbox(
            settings or Settings(throttle=None, token_lifetime=30.0, refresh_lifetime=30.0),
            clock=lambda: WALL + trio.current_time(),
        )
    way = Way(httpx.ASGITransport(create_app(sandbox), raise_app_exceptions=False))
    worker, scheduler = Inline(), Scheduler(clock)
    store = Store.open(path / "state.db")
    gate = Gate(clock, scheduler)
    upstream = Upstream(transport_for_tests=way)
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
    driver = Driver(
        store=store,
        worker=worker,
        exchange=exchange,
        bearer=bearer,
        scheduler=scheduler,
        clock=clock,
        jitter=lambda: 0.0,
    )
    configs: list[Config] = []

    async def load() -> Config:
        return configs[-1]

    keeper = Keeper(
        config(*(profiles or (PM4,))),
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
        await nursery.start(keeper.run)
        yield Refreshing(keeper, store, clock, sandbox, way, gate, configs)
        nursery.cancel_scope.cancel()
    store.close()
