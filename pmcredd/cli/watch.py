"""`pmcred watch`: a line for every new token and every change, as it happens."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.see import COLOURS, typed
from pmcredd.cli.terminal import DIM, Cell, clean, colour_wanted, paint
from pmcredd.human_time import when

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Block = Mapping[str, str]

_COLUMNS = "TIME PROFILE EVENT STATE FINGERPRINT EXPIRES_AT RENEW_AT LAST_ERROR"


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    watch = subparsers.add_parser(
        "watch",
        description="Tell how each profile is, and then of every new token and every change of state, until "
        "interrupted. Away from a terminal a line has these columns, with a tab between them, times in unix seconds "
        f"and - for what there is not: {_COLUMNS}. EVENT is present, token, state, added or removed.",
    )
    watch.add_argument("name", metavar="NAME", nargs="?", help="only this profile, or the one for this URL")
    watch.add_argument("--token", action="store_true", help="give the access token in place of its fingerprint")
    watch.add_argument("--json", action="store_true", help="an object on each line; times are unix seconds")
    watch.set_defaults(run=_watch)


def _watch(args: argparse.Namespace) -> int:
    tell = _json if args.json else _on_terminal() if sys.stdout.isatty() else _columns
    arguments = {"token": "yes"} if args.token else {}
    for block in ask.stream(args, "watch", args.name, arguments, output=sys.stdout.fileno()):
        print(tell(block, time.time()), flush=True)
    raise Problem("the daemon has left", "pmcred watch, once it is back", exit_status=69)


def _json(block: Block, now: float) -> str:
    import json  # here: people do not pay for it

    return json.dumps({"version": 1, "time": int(now), **typed(block)})


def _columns(block: Block, now: float) -> str:
    # Values come without tabs and line ends: clean() has made them harmless.
    token = block.get("access_token") or block.get("fingerprint")
    values = [block.get("profile"), block.get("event"), block.get("state"), token]
    values += [block.get(key) for key in ("expires_at", "renew_at", "last_error")]
    return "\t".join([str(int(now)), *(clean(value) if value else "-" for value in values)])


def _on_terminal() -> Callable[[Block, float], str]:
    colour = colour_wanted(sys.stdout, os.environ)

    def tell(block: Block, now: float) -> str:
        state = block.get("state", "")
        cells = [
            Cell(time.strftime("%H:%M:%S", time.localtime(now)), DIM),
            Cell(clean(block.get("profile", "?"))),
            Cell(clean(_happened(block, now)), COLOURS.get(state, "")),
        ]
        return "  ".join(paint(cell, colour=colour) for cell in cells)

    return tell


def _happened(block: Block, now: float) -> str:
    event = block.get("event", "?")
    if event == "removed":
        return "is no longer among the profiles"
    token = block.get("access_token") or block.get("fingerprint")
    new = {"token": "new token", "added": "added: token"}.get(event, "token")
    parts = [block.get("state", "?")]
    if token:
        parts.append(f"{new} {token}{_end(block, now)}")
    if error := block.get("last_error"):
        parts.append(error)
    elif warning := block.get("warning"):
        parts.append(warning)
    if unsaved := block.get("unsaved"):
        parts.append(f"UNSAVED: {unsaved}")
    if hint := block.get("hint"):
        parts.append(f"try: {hint}")
    return "; ".join(parts)


def _end(block: Block, now: float) -> str:
    expiry = block.get("expires_at", "")
    if not expiry.isdecimal():
        return ""
    return f", {'ends' if int(expiry) > now else 'ended'} {when(int(expiry), now)}"
