"""`pmcred status`: each profile's token, what ails it and what mends it."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.terminal import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    Cell,
    clean,
    colour_wanted,
    columns,
    fold,
    paint,
    table,
)
from pmcredd.human_time import when

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Block = Mapping[str, str]

_COLOURS = {
    "live": GREEN,
    "renewing": YELLOW,
    "waiting": YELLOW,
    "needs-login": RED,
    "stopped": RED,
}
_TROUBLED = frozenset({"waiting", "needs-login", "stopped"})
_TIMES = frozenset({"expires_at", "good_until", "renew_at", "started"})
_NUMBERS = _TIMES | {"generation", "pid"}


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    status = subparsers.add_parser("status", description="Show each profile's token, what ails it and what mends it.")
    status.add_argument("names", metavar="NAME", nargs="*", help="only these profiles")
    status.add_argument("--json", action="store_true", help="for programs; times are unix seconds")
    status.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    (daemon,) = ask.ask(args, "hello")
    blocks = [block for name in args.names or [None] for block in ask.ask(args, "status", name)]
    if args.json:
        print(_as_json(daemon, blocks))
    else:
        colour = colour_wanted(sys.stdout, os.environ)
        print("\n".join(_lines(daemon, blocks, _Note(columns(sys.stdout), colour), now=time.time())))
    return 0


def _as_json(daemon: Block, blocks: Sequence[Block]) -> str:
    import json  # here: people do not pay for it

    answer = {"version": 1, "daemon": _typed(daemon), "profiles": [_typed(block) for block in blocks]}
    return json.dumps(answer, indent=2)


def _typed(block: Block) -> dict[str, str | int]:
    return {key: int(value) if key in _NUMBERS and value.isdecimal() else value for key, value in block.items()}


def _lines(daemon: Block, blocks: Sequence[Block], note: "_Note", *, now: float) -> list[str]:
    lines = _own_problems(daemon, blocks, note)
    if not blocks:
        return [*lines, *note("No profiles yet. To make one: pmcred init")]
    head = [Cell(title, BOLD) for title in ("PROFILE", "STATE", "TOKEN", "RENEWS", "URL")]
    first, *rest = table([head, *(_row(block, now) for block in blocks)], colour=note.colour)
    lines.append(first)
    for line, block in zip(rest, blocks, strict=True):
        lines.append(line)
        if living := _living(block, now):
            lines += note(f"    {block['state']}; {living}")
        if error := block.get("last_error"):
            lines += note(f"    {error}", _COLOURS.get(block.get("state", ""), RED))
        if hint := block.get("hint"):
            lines += note(f"    try: {hint}")
    return lines


def _own_problems(daemon: Block, blocks: Sequence[Block], note: "_Note") -> list[str]:
    lines = []
    if problem := daemon.get("config_problem"):
        lines += note("The profiles were changed and have mistakes:", RED)
        for one in problem.splitlines():
            lines += note(f"    {one}")
        lines += note("    The profiles as they were before are in use.  try: pmcredd --check")
    if notice := daemon.get("notice"):
        lines += note(notice, YELLOW)
    for block in blocks:
        if why := block.get("unsaved"):
            lines += note(
                f"UNSAVED: the new token of {block.get('profile', '?')} would be lost with the daemon: {why}", RED
            )
            lines += note("    Saving is tried again by itself; make room in the state directory.")
    return [*lines, ""] if lines else []


@dataclass(frozen=True, slots=True)
class _Note:
    """Makes lines of a text: harmless, no wider than `width` columns (0: any), in colour where `colour` allows."""

    width: int
    colour: bool

    def __call__(self, text: str, code: str = "") -> list[str]:
        return [paint(Cell(line, code), colour=self.colour) for line in fold(clean(text), self.width).split("\n")]


def _row(block: Block, now: float) -> list[Cell]:
    state = block.get("state", "?")
    renewal = _moment(block, "renew_at")
    if renewal is not None:
        renews = when(max(renewal, now), now)
    else:
        renews = "never" if block.get("grant") == "personal_access_token" else "-"
    return [
        Cell(clean(block.get("profile", "?"))),
        Cell(clean(state), _COLOURS.get(state, "")),
        _token(block, now),
        Cell(renews, DIM),
        Cell(clean(block.get("url", "?"))),
    ]


def _token(block: Block, now: float) -> Cell:
    expiry = _moment(block, "expires_at")
    if expiry is None:
        # A server need not say how long its tokens live (RFC 6749 section 5.1).
        return Cell("end unknown") if block.get("state") == "live" else Cell("-", DIM)
    return Cell(f"ends {when(expiry, now)}") if expiry > now else Cell(f"expired {when(expiry, now)}", YELLOW)


def _living(block: Block, now: float) -> str:
    """Say that a token still works although its renewal does not; empty where there is nothing to say."""
    expiry = _moment(block, "expires_at")
    if block.get("state") not in _TROUBLED or expiry is None or expiry <= now:
        return ""
    return f"the token still works until {time.strftime('%Y-%m-%d %H:%M', time.localtime(expiry))}"


def _moment(block: Block, key: str) -> int | None:
    value = block.get(key, "")
    return int(value) if value.isdecimal() else None
