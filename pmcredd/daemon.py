"""The daemon: puts the parts together, and sees to signals, reload and the way out."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from pmcredd import bridge, config_files, listening, paths, process, reminding, server, systemd, wire
from pmcredd.announcing import Announcing
from pmcredd.audit import Audit
from pmcredd.engine import Engine, open_engine, state_directory
from pmcredd.events import Events
from pmcredd.keeper import Keeper
from pmcredd.logins import Logins
from pmcredd.profiles import BadConfig, Config
from pmcredd.state_lock import Patience, StateBusy, StateLock, StateProblem
from pmcredd.store import StoreProblem
from pmcredd.telling import Failure, mistake
from pmcredd.upstream import preload
from pmcredd.verbs import Verbs
from pmcredd.watching import Watching

log = logging.getLogger("pmcredd")

MISCONFIGURED = 6  # exit status, the protocol's own for this
LOCK_PATIENCE = 30.0  # seconds: as long as a request may take, unless its profile says otherwise
PRELOAD_AFTER = 1.0  # seconds: the first answers come before the HTTP client's import


class CannotStart(Exception):
    """Why the daemon does not start, for people: `message`, and `hint`, the command that mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pmcredd`; gives its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    manager = systemd.take_over(os.environ)
    manager = replace(manager, sockets=listening.tell_apart(manager.sockets))
    environ = dict(os.environ)
    check, verbose, take_over = False, False, False
    if words:  # the parser costs a tenth of the whole start, and a service gives no options
        options = _parse(words)
        check, verbose, take_over = options.check, options.verbose, options.take_over
        if options.socket:
            environ["PMCRED_SOCKET"] = options.socket
    process.harden()
    process.return_freed_memory()
    try:
        config = config_files.load(environ)
        if check:
            return _report_check(config, environ)
        _set_up_log(config, verbose=verbose)
        # Ctrl-C before we listen to signals, or a second one while we leave, is not worth a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # "reload", before there is anything to reload
        trio.run(partial(_run, config, environ, manager, take_over=take_over))
    except BadConfig as error:
        for mistake in error.mistakes:
            print(f"pmcredd: {mistake}", file=sys.stderr)
        _turn_away(manager, wire.Code.MISCONFIGURED, f"the daemon cannot start: {error.mistakes[0]}", "pmcredd --check")
        return MISCONFIGURED
    except CannotStart as error:
        print(f"pmcredd: {error.message}\n  try: {error.hint}", file=sys.stderr)
        _turn_away(manager, wire.Code.INTERNAL, f"the daemon cannot start: {error.message}", error.hint)
        return 1
    return 0


def _parse(words: Sequence[str]) -> "Options":
    import argparse

    from pmcredd import __version__

    parser = argparse.ArgumentParser(
        prog="pmcredd",
        description="Keeps fresh ProcessMaker access tokens and hands them out over a Unix socket. "
        "Runs in the foreground and logs to stderr; SIGHUP reloads the profiles, SIGTERM ends it.",
    )
    parser.add_argument("--check", action="store_true", help="check the profiles, say what is wrong, and exit")
    parser.add_argument("--socket", metavar="PATH", help="listen here (default: $PMCRED_SOCKET, else the runtime dir)")
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="take a state directory on a network file system from a machine that is gone",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more (never a secret)")
    parser.add_argument("--version", action="version", version=f"pmcredd {__version__}")
    return parser.parse_args(words, namespace=Options())


class Options:
    """The options of the command line."""

    check: bool
    socket: str | None
    take_over: bool
    verbose: bool


def _report_check(config: Config, environ: Mapping[str, str]) -> int:
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    count = len(config.profiles)
    print(f"{count} profile{'' if count == 1 else 's'} in {paths.config_file(environ).parent}: no mistakes")
    return 0


def _set_up_log(config: Config, *, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Journal() if _under_journald() else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.lastResort = logging.NullHandler()  # other libraries' warnings were never looked through for secrets
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG if verbose else config.settings.log_level.upper())
    for warning in config.warnings:
        log.warning("%s", warning)


class _Journal(logging.Formatter):
    """Begins lines with journald's priority (sd-daemon(3)); journald adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        return f"<{7 if record.levelno <= logging.DEBUG else priority}>{record.getMessage()}"


def _under_journald() -> bool:
    # systemd.exec(5): the variable is inherited by children too; only the numbers tell that stderr is the journal.
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


async def _run(config: Config, environ: Mapping[str, str], manager: systemd.Manager, *, take_over: bool) -> None:
    try:
        inherited, second = _inherited(manager, listening.SOCKET_UNIT), _inherited(manager, listening.CREDENTIALS)
        socket_path = _socket_path(environ) if inherited is None else listening.inherited_path(inherited)
        directory = state_directory(config, environ)
        lock = await _take_lock(directory, socket_path, take_over=take_over)
        try:
            async with open_engine(directory, config, environ, leases_known=lock.inherited_in_order) as engine:
                if inherited is None:
                    listener = listening.open_listener(socket_path)
                else:
                    listener = listening.inherit_listener(inherited)
                credentials = _listen_for_units(listener.path, second)
                events = Events(
                    engine.keeper, engine.driver, engine.clock, environ=environ, socket=os.fspath(listener.path)
                )
                lock.leaves_in_order = False  # until it has
                await _keep_and_serve(engine, listener, credentials, lock, manager, events)
                lock.leaves_in_order = engine.keeper.leases_written
        finally:
            lock.release()
    except (StateProblem, StoreProblem, listening.SocketProblem) as problem:
        raise CannotStart(problem.message, problem.hint) from None
    log.info("left")


async def _take_lock(directory: Path, socket_path: Path, *, take_over: bool) -> StateLock:
    """Take the lock; a process that will soon be done is waited for, another daemon is not."""
    patience = Patience(LOCK_PATIENCE)
    told = None
    while True:
        try:
            return StateLock.take(directory, socket_path, take_over=take_over)
        except StateBusy as busy:
            if busy.holder.socket is not None:
                raise
            if busy.holder != told:
                log.info("waiting: %s", busy.message)
                told = busy.holder
            await patience.wait(busy)


def _listen_for_units(beside: Path, inherited: int | None) -> listening.Listener | None:
    """Open the socket where units get credentials; without it clients are served all the same."""
    if inherited is not None:
        return listening.inherit_listener(inherited)
    try:
        return listening.open_listener(beside.with_name(listening.CREDENTIALS))
    except listening.SocketProblem as problem:
        log.warning("units get no credentials: %s; try: %s", problem.message, problem.hint)
        return None


def _inherited(manager: systemd.Manager, name: str) -> int | None:
    try:
        return manager.socket(name)
    except ValueError as several:
        raise CannotStart(f"{several}, and one is needed", f"systemctl --user edit {listening.SOCKET_UNIT}") from None


def _turn_away(manager: systemd.Manager, code: wire.Code, message: str, hint: str) -> None:
    for name, descriptor in manager.sockets:
        if name == listening.SOCKET_UNIT:
            listening.turn_away(descriptor, wire.format_error(code, message, hint))
    waiting = [*manager.kept(listening.CREDENTIALS), *manager.kept(bridge.STORED)]
    bridge.turn_away([socket.socket(fileno=os.dup(descriptor)) for descriptor in waiting], message)


async def _keep_and_serve(
    engine: Engine,
    listener: listening.Listener,
    credentials: listening.Listener | None,
    lock: StateLock,
    manager: systemd.Manager,
    events: Events,
) -> None:
    """Keep the tokens, and answer until we are told to stop. Requests under way are finished after the last answer."""
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(events.run)
            await nursery.start(engine.keeper.run)
            await _serve(engine, listener, credentials, manager, events)
        finally:
            # Before the rest is finished: nobody is to wait at a door that stays shut.
            listening.close_listener(listener)
            if credentials is not None:
                listening.close_listener(credentials)
            lock.leaving()
            nursery.cancel_scope.cancel()


async def _serve(
    engine: Engine,
    listener: listening.Listener,
    credentials: listening.Listener | None,
    manager: systemd.Manager,
    events: Events,
) -> None:
    keeper, stop = engine.keeper, trio.Event()
    announcing = Announcing(manager, keeper, engine.driver)
    watching = Watching(keeper, engine.driver, engine.clock)
    logins = Logins(keeper, engine.driver, engine.upstream, engine.clock)
    audit = Audit()
    verbs = Verbs(
        keeper, watching, logins, audit, clock=engine.clock, stop=stop.set, started=time.time(), notice=engine.notice
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(logins.run)
        nursery.start_soon(_signals, keeper, stop, nursery, announcing)
        serving = trio.socket.from_stdlib_socket(listener.socket)
        answering = partial(server.serve, ready=verbs.ready, uid=os.geteuid(), refused=audit.refused)
        await nursery.start(answering, serving, verbs.answer)
        answering_units = bridge.Bridge(keeper, audit, uid=os.geteuid(), store=manager.keep).serve
        stored = [socket.socket(fileno=descriptor) for descriptor in manager.kept(bridge.STORED)]
        await nursery.start(answering_units, None if credentials is None else credentials.socket, stored)
        manager.ready(announcing.line())  # no server of a profile was asked for anything yet: a boot waits for none
        nursery.start_soon(announcing.run)
        count = len(keeper.profiles())
        log.info("listening on %s for %d profile%s", listener.path, count, "" if count == 1 else "s")
        if not count:
            log.info("there is no profile yet: pmcred init makes one")
        nursery.start_soon(_preload_later)
        nursery.start_soon(reminding.remind, keeper, events.expiring)
        await stop.wait()
        manager.stopping("leaving; requests under way are finished first")
        log.info("leaving; requests under way are finished first")
        keeper.stop()
        nursery.cancel_scope.cancel()


async def _signals(keeper: Keeper, stop: trio.Event, nursery: trio.Nursery, announcing: Announcing) -> None:
    with trio.open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT) as arriving:
        async for number in arriving:
            if number == signal.SIGHUP:
                # Not here: a home directory that hangs must not keep SIGTERM waiting.
                nursery.start_soon(announcing.reload, partial(_reload, keeper))
            else:
                stop.set()
                return  # a second one finds the system's own way in force, and ends us at once: nothing saved is lost


async def _reload(keeper: Keeper) -> None:
    try:
        await keeper.reload()
    except Failure:
        pass  # the keeper has logged every mistake; the old profiles serve on
    except Exception as bug:  # noqa: BLE001 - a bug in reading profiles must not end the tokens of all
        log.error("reload: %s", mistake(bug).sentence)


async def _preload_later() -> None:
    """Import now what a renewal will need: a package replaced on disk later must not break it."""
    await trio.sleep(PRELOAD_AFTER)
    try:
        await trio.to_thread.run_sync(_preload, abandon_on_cancel=True)
    except Exception as error:  # noqa: BLE001 - a half-upgraded package: what is in hand is served all the same
        log.error("the HTTP client cannot be loaded (%s); renewals will fail", type(error).__name__)
    else:
        log.debug("all is loaded that will be needed: the package may be replaced")


def _preload() -> None:
    """Load all that is imported late."""
    import difflib  # noqa: F401 - as rows.py does for a name that nobody has

    import h11  # noqa: F401 - as callback.py does

    from pmcredd import login, outlook  # noqa: F401 - as logins.py and verbs.py do

    preload()


def _socket_path(environ: Mapping[str, str]) -> Path:
    """Choose the first candidate whose directory is ours or can be made: a runtime directory that exists."""
    candidates = paths.socket_candidates(environ, os.geteuid())
    for candidate in candidates[:-1]:
        base = candidate.parent.parent
        try:
            if base.stat().st_uid == os.geteuid() and os.access(base, os.W_OK):
                return candidate
        except OSError:
            continue
    return candidates[-1]
