"""Hold a token for as long as a command runs: promise after promise, asked for by a small process beside it.

Only where a renewal kills the token in use (ProcessMaker 4 with a login) is there anything to hold. There a promise can
be made longer as long as the renewal is not due; once it is, every promise ends where it ended, at the latest when the
renewal is forced. So promises are short, and asked for again while the command lives, so that a command of one second
does not hold up a renewal for a day; and the last one before the renewal is due reaches as far as any may.

The process beside is told by the kernel when the command ends (a pidfd, which outlives exec), and ends then too. It
shares nothing with the command: another session, no terminal, none of its descriptors, not its directory; nor is it the
command's child, for that may wait for all it has (so a container's first process, which adopts orphans, has none beside
it). It knows the token by its fingerprint only.
"""

import fcntl
import os
import select
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pmcredd import client, process, wire
from pmcredd.client import AccessToken, PmcredError

PROMISE = 600.0  # seconds; asked for again when half of it is over
_AGAIN = 30.0  # seconds after a daemon was not there, at most: it is restarted or upgraded
_PATIENCE = 5.0  # seconds for an answer that is ready, or not to be had
_PIDFD = 3  # where the process beside finds it


@dataclass(frozen=True, slots=True)
class Held:
    """A token that has been promised for as long as may be promised now.

    `until` is the unix time up to which it can be held by asking on, or None where there is nothing more to be had.
    """

    token: AccessToken
    until: int | None


def prolong(token: AccessToken, socket_path: Path | None = None, *, promise: float = PROMISE) -> Held:
    """Have the daemon promise more of a token that it has just handed out, `promise` seconds if it may.

    Gives what it hands out now: another token, if that one has been replaced.

    Raises:
        PmcredError: the daemon promises no more, or is gone; the promises that it made stand.
    """
    offer = _offer(token.profile, token.fingerprint, socket_path, promise)
    if offer is None:
        return Held(token, None)
    return Held(_promised(token.profile, offer.lasting, socket_path), offer.until)


def hold_beside(token: AccessToken, environ: Mapping[str, str], socket_path: Path | None = None) -> bool:
    """Start the process that goes on holding a token until this process ends, whatever program it runs by then.

    Gives False where there can be none (the kernel, before Linux 5.3, does not tell of that end; the user may have no
    more processes): the promises that were made stand.
    """
    if os.getpid() == 1:
        return False  # a container's first process adopts all orphans: the command would have a child it does not know
    words = [token.profile, token.fingerprint, *([] if socket_path is None else [os.path.abspath(socket_path)])]
    try:
        ourselves = os.pidfd_open(os.getpid())
    except OSError:
        return False
    try:
        between = os.fork()
        if between == 0:
            try:
                _leave(ourselves, words, environ)
            finally:
                os._exit(1)
        _, status = os.waitpid(between, 0)
    except ChildProcessError:  # SIGCHLD is ignored: it is gone already
        return True
    except OSError:
        return False
    finally:
        os.close(ourselves)
    return status == 0


def _leave(ourselves: int, words: list[str], environ: Mapping[str, str]) -> None:
    os.setsid()
    kept = fcntl.fcntl(ourselves, fcntl.F_DUPFD, _PIDFD + 1)  # out of the way: ours may have had no stdin
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.dup2(kept, _PIDFD)
    # A pipe that we kept open would never end for who reads it. The limit is not the end: it may have been lowered.
    last = os.sysconf("SC_OPEN_MAX")
    with suppress(OSError):  # a container without /proc
        last = max(map(int, os.listdir("/proc/self/fd")))
    os.closerange(_PIDFD + 1, last + 1)
    if os.fork():  # only now: when we are gone, nobody holds a lock or a pipe of the command's
        os._exit(0)  # whoever adopts orphans has the other one now
    command = [sys.executable, "-P", "-m", "pmcredd.lease", *words]
    os.execve(sys.executable, command, dict(environ))  # noqa: S606 - we are the process that it is to be


def keep(
    profile: str,
    of: str,
    ended: int,
    socket_path: Path | None = None,
    *,
    promise: float = PROMISE,
    pause: float = PROMISE / 2,
) -> None:
    """Hold the token with the fingerprint `of` until the descriptor `ended` says so, or there is nothing to hold.

    It is promised `promise` seconds more every `pause` seconds. Errors are not told: nobody would see them, and the
    daemon has told what ails the profile.
    """
    end = select.poll()
    end.register(ended, select.POLLIN)
    wait = pause
    while not end.poll(wait * 1000):
        try:
            offer = _offer(profile, of, socket_path, promise)
            if offer is None:
                return
            _promised(profile, offer.lasting, socket_path)
        except PmcredError:
            wait = min(_AGAIN, pause)
            continue
        if offer.until is None:
            return
        wait = pause


@dataclass(frozen=True, slots=True)
class _Offer:
    """For how many seconds a token can be promised now, and up to what unix time later on (None: for no longer)."""

    lasting: float
    until: int | None


def _offer(profile: str, of: str, socket_path: Path | None, promise: float) -> _Offer | None:
    """See what can be promised of the token with that fingerprint; None: nothing, or nothing needs to be."""
    request = wire.Request("status", profile, {"explain": "yes"})
    (status,) = client.call(request, timeout=_PATIENCE, socket_path=socket_path)
    try:
        begins, forced = int(status["renew_from"]), int(status["renew_by"])
    except (KeyError, ValueError):
        return None  # no renewal of ours is planned
    now = time.time()
    if status.get("rule") != "refresh-disruptively" or status.get("fingerprint") != of or now >= begins:
        return None
    if now + promise < begins:
        return _Offer(promise, forced)
    lasting = forced - now - 1  # these are whole seconds, rounded down, and asking takes a moment
    return _Offer(lasting, None) if lasting > 0 else None


def _promised(profile: str, lasting: float, socket_path: Path | None) -> AccessToken:
    # refresh=no: to hold a token must never be what replaces it.
    return client.get_token(profile, lasting=lasting, timeout=_PATIENCE, refresh=False, socket_path=socket_path)


def main() -> None:
    """Be the process beside: profile, fingerprint and perhaps the socket are in argv."""
    with suppress(OSError):  # for `ps` and `pmcred log`
        Path("/proc/self/comm").write_text("pmcred-lease", encoding="ascii")
    process.harden()
    if named := os.environ.get("PMCRED_SOCKET"):
        os.environ["PMCRED_SOCKET"] = os.path.abspath(named)
    os.chdir("/")  # or the command's file system could not be unmounted
    profile, of, *socket_path = sys.argv[1:]
    keep(profile, of, _PIDFD, Path(socket_path[0]) if socket_path else None)


if __name__ == "__main__":
    main()
