"""`pmcred reject`: a server refused a token; the daemon is told which, and gives another one."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.see import typed
from pmcredd.client import SLACK_SECONDS
from pmcredd.secret import Secret
from pmcredd.wire import format_duration

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_LONGEST = 65536  # bytes
_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    reject = subparsers.add_parser(
        "reject",
        description="Tell the daemon that a server refused a token, which is read from stdin, and have it get another "
        "one. Of the refused token only the fingerprint is sent. Where the server says that the token lives, nothing "
        "is renewed, and the message tells where else to look.",
        epilog='example: token=$(pmcred reject prod --get <<<"$token")',
    )
    reject.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    reject.add_argument("--get", action="store_true", help="print the token to use instead")
    reject.add_argument("--json", action="store_true", help="print an object; with --get the token is in it")
    reject.add_argument(
        "--timeout", metavar="SECONDS", type=ask.seconds, default=60.0, help="how long to wait (default: 60)"
    )
    reject.set_defaults(run=_reject)


def _reject(args: argparse.Namespace) -> int:
    name = ask.name_of(args)
    arguments = {"fingerprint": _refused(name).fingerprint(), "timeout": format_duration(args.timeout)}
    (block,) = ask.ask(args, "reject", name, arguments, timeout=args.timeout + SLACK_SECONDS)
    token = block.pop("access_token", "")
    if args.get and not token:
        raise Problem("the daemon's answer holds no token", "pmcred --version")
    if args.json:
        import json  # here: the plain forms do not pay for it

        print(json.dumps({"version": 1, **({"access_token": token} if args.get else {}), **typed(block)}, indent=2))
    elif args.get:
        print(token)
    return 0


def _refused(name: str) -> Secret:
    """Read the refused token."""
    piped = f"printf '%s' \"$token\" | pmcred reject {name}"  # printf is the shell's own: in no process list
    if sys.stdin is None or sys.stdin.isatty():
        raise Problem("the refused token is read from stdin, and not from a terminal", piped, exit_status=2)
    text = sys.stdin.buffer.read(_LONGEST + 1).removesuffix(b"\n").removesuffix(b"\r")
    if not text:
        raise Problem("there is no token on stdin", piped, exit_status=2)
    if len(text) > _LONGEST or not _B64TOKEN.fullmatch(text):
        # Not told what it is instead: it may well be a secret.
        raise Problem("what came on stdin is not an access token, alone on one line", piped, exit_status=2)
    return Secret(text.decode("ascii"))
