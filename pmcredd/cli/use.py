"""`pmcred get` and `pmcred header`: a token for whoever runs them. What other verbs ask for one with is here, too."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import clean, say
from pmcredd.client import AccessToken, PmcredError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

NO_DAEMON = 69  # exit status: there is none, or soon there is none


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command line."""
    get = subparsers.add_parser("get", description="Print an access token that works now, and nothing else.")
    get.add_argument("--json", action="store_true", help="print an object: token, profile, url, expiry")
    add_target(get, _get)
    header = subparsers.add_parser("header", description="Print `Authorization: Bearer TOKEN`.")
    add_target(header, _header)


def add_target(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Add NAME and the options that say what kind of token is wanted."""
    about = "a profile, or a URL of its ProcessMaker; default: $PMCRED_PROFILE"
    parser.add_argument("name", metavar="NAME", nargs="?", help=about)
    parser.add_argument(
        "--for",
        dest="lasting",
        metavar="DURATION",
        type=ask.seconds,
        help="the token must stay good so long: 90s, 30m, 8h",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=ask.seconds,
        default=60.0,
        help="how long to wait for a token (default: 60)",
    )
    parser.add_argument(
        "--oneshot", action="store_true", help="where no daemon answers, do its work for this one request"
    )
    parser.add_argument(
        "--no-refresh",
        dest="refresh",
        action="store_false",
        help="the token that is there or none: ask ProcessMaker for nothing",
    )
    parser.set_defaults(run=run, verb=parser.prog.rpartition(" ")[2], ending="")


def token(
    args: argparse.Namespace, without_daemon: "Callable[[argparse.Namespace, str], AccessToken] | None" = None
) -> AccessToken:
    """Get the token that the options ask for; `without_daemon` does it for --oneshot, by default in this process.

    Raises:
        Problem: there is none.

    """
    target = ask.name_of(args)
    try:
        return ask.token(args, target, lasting=args.lasting, timeout=args.timeout, refresh=args.refresh)
    except Problem as problem:
        if problem.exit_status != NO_DAEMON:
            raise
        if not args.oneshot:
            if isinstance(problem, ask.NoDaemon):  # not one that is just leaving
                problem.hint += f"; in CI or a container: pmcred {args.verb} {clean(target)} --oneshot{args.ending}"
            raise
    return (without_daemon or _oneshot)(args, target)


def _oneshot(args: argparse.Namespace, target: str) -> AccessToken:
    from pmcredd import oneshot  # here: it is the whole daemon

    wish = oneshot.Wish(lasting=args.lasting, timeout=args.timeout, refresh=args.refresh)
    try:
        return oneshot.get_token(target, wish, environ=os.environ, say=say, verbose=args.verbose)
    except PmcredError as error:
        raise Problem(error.message, error.hint, exit_status=error.exit_status) from None


def _get(args: argparse.Namespace) -> int:
    found = token(args)
    if not args.json:
        print(found.access_token)
        return 0
    import json  # here: the plain form is what loops call

    answer = {
        "version": 1,
        "profile": found.profile,
        "url": found.url,
        "access_token": found.access_token,
        "token_type": found.token_type,
        "expires_at": found.expires_at,
        "good_until": found.good_until,
    }
    print(json.dumps(answer, indent=2))
    return 0


def _header(args: argparse.Namespace) -> int:
    print(f"Authorization: Bearer {token(args).access_token}")
    return 0
