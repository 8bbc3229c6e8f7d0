"""`pmcred login`: one try now, whatever stopped a profile."""

import argparse
import time
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.terminal import clean, say
from pmcredd.human_time import when
from pmcredd.wire import format_duration

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_SLACK = 10.0  # seconds on top of what the daemon is given: let its own, better error come first


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    login = subparsers.add_parser(
        "login", description="Have the daemon get a new token now, also after a refused password or client secret."
    )
    login.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    login.add_argument(
        "--timeout", metavar="SECONDS", type=ask.seconds, default=60.0, help="how long to wait (default: 60)"
    )
    login.set_defaults(run=_login)


def _login(args: argparse.Namespace) -> int:
    name = ask.name_of(args)
    patience = {"timeout": format_duration(args.timeout)}
    (token,) = ask.ask(args, "login", name, patience, timeout=args.timeout + _SLACK)
    expiry = token.get("expires_at", "")
    ends = f", which ends {when(int(expiry), time.time())}" if expiry.isdecimal() else ""
    say(f"{clean(token.get('profile', name))} has a token{ends}.")
    return 0
