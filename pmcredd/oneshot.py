"""`--oneshot`: one request is answered without a daemon, by what a daemon is made of; then the process leaves.

It does nothing that a daemon would not do: the same lock, the same store, the same rules of renewal.
"""

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from pmcredd import client, config_files, lifecycle, process, processmaker, telling
from pmcredd.client import AccessToken, NoDaemon, PmcredError
from pmcredd.clock import SystemClock
from pmcredd.decision import CannotPromise, Serve, decide_as_it_is
from pmcredd.engine import Engine, open_engine, state_directory
from pmcredd.profiles import BadConfig, Config, Profile
from pmcredd.rows import find, revive
from pmcredd.state_lock import Holder, Patience, StateBusy, StateLock, StateProblem
from pmcredd.store import Store, StoreProblem, identity
from pmcredd.telling import Failure, HandOut, log
from pmcredd.wire import Code


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: a token that stays good for `lasting` seconds, within `timeout` seconds.

    Without `refresh`, one that is there already: then nothing is sent to a server.
    """

    lasting: float | None = None
    timeout: float = 60.0
    refresh: bool = True


def get_token(
    target: str, wish: Wish, *, environ: Mapping[str, str], say: Callable[[str], None], verbose: bool = False
) -> AccessToken:
    """Get an access token where no daemon answers; for a process that does nothing else.

    A daemon that begins meanwhile is asked instead. SIGINT, SIGTERM and SIGHUP end it as soon as a request that was
    sent is answered and saved: a refresh whose answer nobody takes costs the login.

    Args:
        target: a profile's name or URL.
        wish: what kind of token.
        environ: of the user; secrets in it may be used.
        say: tells people what they should know beside the token.
        verbose: log to stderr what is done.

    Raises:
        PmcredError: there is none, with code, message and hint as from a daemon.
        SystemExit: a signal came.
    """
    process.harden()
    logging.lastResort = logging.NullHandler()  # other libraries' warnings were never looked through for secrets
    if verbose:
        log.addHandler(logging.StreamHandler(sys.stderr))
        log.setLevel(logging.DEBUG)
    environ = {**environ, "PMCRED_ONESHOT": "1"}  # what secret_sources.py looks for
    try:
        config = config_files.load(environ)
        profile = find(list(config.profiles.values()), target)
        found = trio.run(partial(_get, config, profile, wish, environ, say=say))
    except BadConfig as error:
        message = "\n".join(map(str, error.mistakes))
        raise PmcredError(Code.MISCONFIGURED, message, "pmcredd --check") from None
    except Failure as failure:
        raise PmcredError(failure.code, failure.message, failure.hint) from None
    except StateBusy as busy:
        raise PmcredError(Code.WAITING, busy.message, busy.hint) from None
    except (StateProblem, StoreProblem) as problem:
        raise PmcredError(Code.INTERNAL, problem.message, problem.hint) from None
    if isinstance(found, signal.Signals):
        raise SystemExit(128 + found)  # as shells count
    return found


async def _get(
    config: Config, profile: Profile, wish: Wish, environ: Mapping[str, str], *, say: Callable[[str], None]
) -> AccessToken | signal.Signals:
    deadline = trio.current_time() + wish.timeout
    directory = state_directory(config, environ)
    lock = await _lock(directory, profile, wish, deadline)
    if isinstance(lock, AccessToken):
        return lock
    known = lock.inherited_in_order
    try:
        # A personal access token is never renewed: it is read where it is kept.
        if not wish.refresh and processmaker.renewal(profile) is not processmaker.Renewal.NEVER:
            return _hand_out(_in_hand(directory, profile, wish.lasting, leases_known=known))
        async with open_engine(directory, config, environ, only=profile.name, leases_known=known) as engine:
            if engine.notice is not None:
                say(engine.notice)
            wish = replace(wish, timeout=max(0.0, deadline - trio.current_time()))
            lock.leaves_in_order = False  # until it has
            found = await _keep(engine, profile.name, wish)
            lock.leaves_in_order = engine.keeper.leases_written
            (state,) = engine.keeper.status([profile.name])
            if (unsaved := state.life.save_problem) is not None:
                say(f"the new token of {profile.name} is lost after this use: {unsaved.sentence}")
    finally:
        lock.release()
    if isinstance(found, Failure):
        raise found
    return found if isinstance(found, signal.Signals) else _hand_out(found)


async def _lock(directory: Path, profile: Profile, wish: Wish, deadline: float) -> StateLock | AccessToken:
    """Take the lock, or the answer of the daemon that has it."""
    patience = Patience(profile.timeout)
    while True:
        try:
            return StateLock.take(directory, None)
        except StateBusy as busy:
            left = deadline - trio.current_time()
            if left <= 0:
                raise
            answer = await _ask(busy.holder, profile.name, replace(wish, timeout=left))
            if answer is not None:
                return answer
            await patience.wait(busy)


async def _ask(holder: Holder, target: str, wish: Wish) -> AccessToken | None:
    """Ask the daemon that holds the lock; None if it is none, does not listen yet or has stopped listening."""
    if holder.socket is None:
        return None
    asking = partial(
        client.get_token,
        target,
        lasting=wish.lasting,
        timeout=wish.timeout,
        refresh=wish.refresh,
        socket_path=holder.socket,
    )
    try:
        return await trio.to_thread.run_sync(asking, abandon_on_cancel=True)
    except NoDaemon:
        return None
    except PmcredError as error:
        if error.code == Code.STOPPING:
            return None
        raise


def _in_hand(directory: Path, profile: Profile, lasting: float | None, *, leases_known: bool) -> HandOut:
    """Give the token that is saved, if it will do.

    A profile comes to life as always, and nothing is done of what its life would have done next.

    Raises:
        Failure: it will not do, or there is none.
        StoreProblem: the store cannot be read, or the promise not be written down.
    """
    store = Store.open(directory / "state.db")
    try:
        now, key = SystemClock().now(), identity(profile)
        life, restored = revive(
            profile, store.load([key]).get(key), store.accounts([key]).get(key), now, leases_known=leases_known
        )
        life, _ = lifecycle.step(life, restored, now, 0.0)
        life = replace(life, wake=None)
        decision = decide_as_it_is(life, now, lasting)
        if isinstance(decision, CannotPromise):
            raise telling.cannot_promise(profile, decision.most)
        if not isinstance(decision, Serve) or life.held is None:
            raise telling.as_it_is(profile, life, now, lasting)
        if decision.lease is not None and decision.lease > restored.leased_until:
            store.note(key, proved=life.proved, dead=life.dead, leased_until=decision.lease)
        ready = telling.hand_out(profile, life.held, life.user)
        return ready if decision.lease is None else replace(ready, good_until=int(telling.wall(decision.lease, now)))
    finally:
        store.close()


async def _keep(engine: Engine, name: str, wish: Wish) -> HandOut | Failure | signal.Signals:
    """Run the keeper until it has answered; a request that was sent is answered and saved before this returns."""
    arrived: list[signal.Signals] = []

    async def watch_signals(leave: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as arriving:
            async for number in arriving:
                arrived.append(signal.Signals(number))
                leave.cancel()
                return  # a second one finds the system's own way in force

    found: list[HandOut | Failure] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_signals, nursery.cancel_scope)
        await nursery.start(engine.keeper.run)
        try:
            found.append(await engine.keeper.get(name, wish.lasting, wish.timeout))
        except Failure as failure:
            found.append(failure)
        nursery.cancel_scope.cancel()
    return found[0] if found else arrived[0]


def _hand_out(found: HandOut) -> AccessToken:
    return AccessToken(
        access_token=found.access_token.reveal(),
        token_type=found.token_type,
        expires_at=found.expires_at,
        good_until=found.good_until,
        profile=found.profile,
        url=found.url,
    )
