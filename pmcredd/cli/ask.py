"""Where the verbs talk to the daemon: a request out, blocks in, and the client's errors as Problems."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pmcredd import client, wire
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import clean, say


class NoDaemon(Problem):
    """There is no daemon to ask: some verbs can do without."""


def name_of(args: argparse.Namespace) -> str:
    """Give the profile that was named: NAME, else $PMCRED_PROFILE; nothing else, so that prod is never hit by accident.

    Raises:
        Problem: neither names one, or what does holds a password.

    """
    if name := args.name or os.environ.get("PMCRED_PROFILE"):
        if "://" in str(name):
            _check_target(str(name))
        return str(name)
    raise Problem(
        "no profile is named, and PMCRED_PROFILE is not set", "`pmcred profile list` shows the names", exit_status=2
    )


def _check_target(url: str) -> None:
    from pmcredd.urls import has_userinfo  # here: a profile's name does not pay for it

    if has_userinfo(url):  # what is named is repeated in messages, in hints and by -v
        hint = "leave it out: the profile says who logs in"
        raise Problem("the URL has a user name or a password in it", hint, exit_status=2)


def seconds(text: str) -> float:
    """Read a duration of the command line: 90, 90s, 30m, 8h, 2d. For argparse."""
    try:
        return wire.parse_duration(text)
    except wire.BadLine as bad:
        raise argparse.ArgumentTypeError(str(bad)) from None


def token(
    args: argparse.Namespace, target: str, *, lasting: float | None, timeout: float, refresh: bool = True
) -> client.AccessToken:
    """Get a profile's access token; `lasting` and `timeout` in seconds; without `refresh`, one that is there already.

    Raises:
        Problem: there is none, or no daemon.

    """
    with _told(args, f"get {target}"):
        return client.get_token(target, lasting=lasting, timeout=timeout, refresh=refresh, socket_path=_socket(args))


def ask(
    args: argparse.Namespace,
    verb: str,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
    *,
    timeout: float = 60,
) -> list[dict[str, str]]:
    """Ask the daemon and give the blocks of its answer; `timeout` in seconds.

    Raises:
        Problem: it refused, or there is none (`NoDaemon`).

    """
    with _told(args, f"{verb} {target}" if target else verb):
        return client.call(wire.Request(verb, target, arguments or {}), timeout=timeout, socket_path=_socket(args))


def warn_of_unsaved(args: argparse.Namespace, name: str | None = None) -> None:
    """Say which tokens are in the daemon's memory alone, of one profile or all: they end with it. Raises Problem."""
    for block in ask(args, "status", name):
        if why := block.get("unsaved"):
            profile = clean(block.get("profile", ""))
            say(f"  warning: the token of {profile} is in memory alone, and is lost when the daemon ends: {clean(why)}")


def stream(
    args: argparse.Namespace,
    verb: str,
    target: str | None,
    arguments: Mapping[str, str],
    *,
    timeout: float = 60,
    output: int | None = None,
) -> Iterator[dict[str, str]]:
    """Ask the daemon for what goes on, and give its blocks as they come, until it ends.

    The answer must begin within `timeout` seconds; its blocks are passed on to the descriptor `output`, if any.

    Raises:
        Problem: it refused, or there is none (`NoDaemon`).
        BrokenPipeError: nobody reads any more what is written to the descriptor `output`.

    """
    with _told(args, f"{verb} {target}" if target else verb):
        request = wire.Request(verb, target, arguments)
        yield from client.stream(request, timeout=timeout, socket_path=_socket(args), output=output)


def reload(args: argparse.Namespace) -> list[str]:
    """Have the daemon read the profiles again, and say how that went; gives what it warns of.

    Raises:
        Problem: it refused, or there is none (`NoDaemon`).

    """
    (report,) = ask(args, "reload")
    counts = [
        f"{report[key]} {key}" for key in ("added", "changed", "removed", "unchanged") if report.get(key, "0") != "0"
    ]
    say(f"The daemon has read the profiles again: {', '.join(counts) or 'there are none'}.")
    return [clean(one) for one in report.get("warnings", "").splitlines()]


@contextmanager
def _told(args: argparse.Namespace, request: str) -> Iterator[None]:
    if args.verbose:
        say(f"pmcred: asking {_socket(args) or 'the daemon at its usual place'}: {clean(request)}")
    try:
        yield
    except client.NoDaemon as absent:
        raise NoDaemon(absent.message, absent.hint, exit_status=absent.exit_status) from None
    except client.PmcredError as error:
        # It may have several lines (a mistake on each): all but the first are indented where they are told, so that no
        # message from the other side looks like two of ours.
        raise Problem(error.message, error.hint, exit_status=error.exit_status) from None


def exit_status(code: str) -> int:
    """Give the exit status of an error's code."""
    return client.PmcredError(code, "").exit_status


def _socket(args: argparse.Namespace) -> Path | None:
    return Path(args.socket) if args.socket else None
