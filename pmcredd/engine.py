"""Puts together what keeps tokens: one way for the daemon and for a process that answers one request and leaves."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from pmcredd import config_files, paths
from pmcredd.attempts import Attempts
from pmcredd.bearer import Bearer
from pmcredd.clock import Clock, SystemClock
from pmcredd.driver import Driver
from pmcredd.exchange import Exchange
from pmcredd.gate import Gate
from pmcredd.keeper import Keeper
from pmcredd.profiles import Config, Storage
from pmcredd.scheduler import Scheduler
from pmcredd.secret_reader import SecretReader
from pmcredd.state_lock import StateProblem
from pmcredd.store import Store
from pmcredd.telling import log
from pmcredd.upstream import Upstream
from pmcredd.worker import Thread


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that others work with; `notice` is what people should know about this start, or None.

    Whoever opens it runs the keeper.
    """

    keeper: Keeper
    driver: Driver
    upstream: Upstream
    clock: Clock
    notice: str | None


@asynccontextmanager
async def open_engine(
    directory: Path,
    config: Config,
    environ: Mapping[str, str],
    *,
    only: str | None = None,
    leases_known: bool = False,
) -> AsyncIterator[Engine]:
    """Put everything together around the store of a state directory, whose lock the caller holds.

    Args:
        directory: the state directory.
        config: the profiles to begin with.
        environ: of the user, for secrets and for reading the profiles again.
        only: the name of the one profile to keep, or all.
        leases_known: no lease runs but those that are on disk (StateLock.inherited_in_order).

    Raises:
        StoreProblem: the store cannot be opened.
    """
    clock = SystemClock()
    store = Store.open(directory / "state.db")
    try:
        notice = None
        if store.set_aside is not None:
            notice = f"the state file was damaged; it is set aside as {store.set_aside}, and tokens are asked for anew"
            log.error("%s", notice)
        upstream, scheduler, worker = Upstream(), Scheduler(clock), Thread()
        gate = Gate(clock, scheduler)
        reader, attempts = SecretReader(environ), Attempts(store, worker, Thread())
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
        driver = Driver(store=store, worker=worker, exchange=exchange, bearer=bearer, scheduler=scheduler, clock=clock)
        keeper = Keeper(
            config,
            load=partial(_load, environ),
            store=store,
            worker=worker,
            reader=reader,
            exchange=exchange,
            bearer=bearer,
            driver=driver,
            clock=clock,
            only=only,
            leases_known=leases_known,
        )
        try:
            yield Engine(keeper, driver, upstream, clock, notice)
        finally:
            with trio.CancelScope(shield=True):
                await upstream.aclose()
    finally:
        store.close()


async def _load(environ: Mapping[str, str]) -> Config:
    # A thread of its own that may be left behind: a home directory that hangs must stall neither saves nor the end.
    return await trio.to_thread.run_sync(config_files.load, environ, abandon_on_cancel=True)


def state_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """Give the directory that the configuration wants the state in.

    Raises:
        StateProblem: it wants a runtime directory, or a home directory, and there is none.
    """
    if config.settings.storage is Storage.DISK:
        found = paths.state_dir(environ)
        if found.is_relative_to(paths.NO_HOME):
            raise StateProblem(
                f"there is nowhere to keep tokens: HOME is not set, and uid {os.geteuid()} is not in /etc/passwd",
                "set HOME, or name a directory of yours that outlives this process in PMCRED_STATE_DIR",
            )
        return found
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if not Path(runtime).is_dir():
        raise StateProblem(
            f'storage = "runtime" needs a runtime directory, and {runtime} is none',
            'set XDG_RUNTIME_DIR to a directory of yours (mode 0700), or storage = "disk"',
        )
    return Path(runtime, "pmcred", "state")
