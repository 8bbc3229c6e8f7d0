"""What `pmcred init` does outside: look at a server, read a command's secret, try a profile. Blocking.

Each errand has an event loop of its own, which Ctrl-C ends.
"""

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

import trio

from pmcredd import secret_sources
from pmcredd.cli.detect import Address, Found, detect
from pmcredd.cli.trial import Failed, Works, try_profile
from pmcredd.profiles import CommandSecret, Profile
from pmcredd.secret import Secret
from pmcredd.upstream import Upstream

T = TypeVar("T")


def look_at(start: Address, transport: Profile) -> Found:
    """Find out which ProcessMaker answers; `transport` is a profile that says how to reach it."""
    return run_async(lambda: _with_upstream(lambda upstream: detect(upstream, start, transport)))


def try_out(profile: Profile, known: Mapping[str, Secret], withhold: Collection[str]) -> Works | Failed:
    """Try a profile, with the secrets that are `known`; `withhold` as in `try_profile`."""

    def attempt(upstream: Upstream) -> Awaitable[Works | Failed]:
        return try_profile(upstream, profile, known, _environ(), withhold=withhold)

    return run_async(lambda: _with_upstream(attempt))


def read_command(argv: Sequence[str], withhold: Collection[str]) -> Secret:
    """Read the secret that a command prints. Raises SecretUnavailable."""
    source = CommandSecret(tuple(argv))
    return run_async(lambda: secret_sources.read(source, environ=_environ(), withhold=withhold))


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run one piece of work in an event loop of its own; Ctrl-C ends it."""
    try:
        return trio.run(work)
    except BaseExceptionGroup as group:
        # Ctrl-C inside a nursery comes out wrapped.
        if group.subgroup(KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _environ() -> Mapping[str, str]:
    """Give the environment for secret commands: they may ask on the terminal of the person who runs us.

    They have no terminal of their own (a daemon has none), but gpg-agent asks on the one that GPG_TTY names.
    """
    if "GPG_TTY" not in os.environ and sys.stdin.isatty():
        with contextlib.suppress(OSError):  # a terminal that has no name in this container
            return {**os.environ, "GPG_TTY": os.ttyname(sys.stdin.fileno())}
    return os.environ


async def _with_upstream(work: Callable[[Upstream], Awaitable[T]]) -> T:
    upstream = Upstream()
    try:
        return await work(upstream)
    finally:
        await upstream.aclose()
