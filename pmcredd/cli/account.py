"""`pmcred login` and `pmcred logout`: begin anew whatever stopped a profile, and end it."""

import argparse
import time
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.see import user_of
from pmcredd.cli.terminal import clean, say
from pmcredd.client import SLACK_SECONDS
from pmcredd.human_time import when
from pmcredd.wire import format_duration

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_TIMEOUT = 60.0  # seconds for a login that needs no person
REVOCATION = 90.0  # seconds: a logout waits for the server's word, and the daemon gives up before this


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command line."""
    _add_login(subparsers)
    _add_logout(subparsers)


def _add_login(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    login = subparsers.add_parser(
        "login",
        description="Log in. A profile with the grant authorization_code opens your browser; every other one has the "
        "daemon try once now, also after a refused password or client secret.",
    )
    login.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    login.add_argument(
        "--no-browser",
        action="store_true",
        help="print the URL for a browser elsewhere, and take the address that it ends on",
    )
    login.add_argument(
        "--as-new-user",
        action="store_true",
        help="take whoever the browser logs in, also if it was somebody else before",
    )
    login.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=ask.seconds,
        help="how long to wait (default: 60; for a browser ten minutes)",
    )
    login.set_defaults(run=_login)


def _add_logout(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    logout = subparsers.add_parser(
        "logout",
        description="Forget a profile's tokens, and revoke the access token where the server can do that. Nothing is "
        "renewed until the next login.",
    )
    logout.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    logout.add_argument("--all", action="store_true", help="log out of every profile")
    logout.add_argument(
        "--revoke",
        action="store_true",
        help="revoke a personal access token too, which only a person can replace (other access tokens are anyway)",
    )
    logout.set_defaults(run=_logout)


def _login(args: argparse.Namespace) -> int:
    name = ask.name_of(args)
    arguments = {} if args.timeout is None else {"timeout": format_duration(args.timeout)}
    if args.as_new_user:
        arguments["as_new_user"] = "yes"
    patience = (_TIMEOUT if args.timeout is None else args.timeout) + SLACK_SECONDS
    blocks = ask.stream(args, "login", name, arguments, timeout=patience)
    first = next(blocks, {})
    if "authorize_url" in first:
        from pmcredd.cli import browser_login  # here: the other grants do without it

        first = browser_login.follow(args, first, blocks)
    if first.get("event") == "failed":
        code, message, hint = (first.get(key, "") for key in ("code", "message", "hint"))
        raise Problem(message, hint, exit_status=ask.exit_status(code))
    if "profile" not in first:
        raise Problem("the daemon has left before the login was done", "pmcred status", exit_status=69)
    say(_done(first))
    ask.warn_of_unsaved(args, first["profile"])
    return 0


def _done(token: dict[str, str]) -> str:
    profile = clean(token["profile"])
    user = user_of(token)
    what = f"You are logged in to {profile} as {user}" if user else f"{profile} has a token"
    expiry = token.get("expires_at", "")
    if not expiry.isdecimal():
        return f"{what}."
    moment = int(expiry)
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    return f"{what}, until {until} ({when(moment, time.time())})."


def _logout(args: argparse.Namespace) -> int:
    if args.all and args.name:
        raise Problem("a name and --all are two different wishes", "pmcred logout --help", exit_status=2)
    names = [block["profile"] for block in ask.ask(args, "list")] if args.all else [ask.name_of(args)]
    arguments = {"revoke": "yes"} if args.revoke else {}
    failed: Problem | None = None
    for name in names:
        try:
            (left,) = ask.ask(args, "logout", name, arguments, timeout=REVOCATION)
        except Problem as problem:
            if not args.all or isinstance(problem, ask.NoDaemon):
                raise
            say(f"{clean(name)}: {clean(problem.message)}")
            failed = problem
        else:
            say(f"{clean(left.get('profile', name))}: {clean(left.get('message', 'logged out'))}")
    if failed is not None:
        raise Problem("not every logout worked: see above", "pmcred logout --all", exit_status=failed.exit_status)
    return 0
