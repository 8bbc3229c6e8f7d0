"""`pmcred log`: who asked for which token, when, and what came of it."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import BOLD, DIM, RED, Cell, clean, colour_wanted, paint

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Block = Mapping[str, str]

_COLUMNS = (
    "time", "verb", "profile", "fingerprint", "outcome", "count", "first", "uid", "pid", "program", "parent_pid",
    "parent", "unit", "exe", "rejected", "certain",
)  # fmt: skip
_NUMBERS = frozenset({"time", "count", "first", "uid", "pid", "parent_pid"})
_TITLES = ("TIME", "WHO", "DID", "PROFILE", "TOKEN", "OUTCOME")


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    log = subparsers.add_parser(
        "log",
        description="Tell who asked for which token, oldest first: the last 1,000 entries since the daemon began, one "
        "for all requests that are alike and not ten minutes apart. Names of programs are hints; tokens are told by "
        "their fingerprints. Away from a terminal a line has these columns, with a tab between them, times in unix "
        f"seconds and - for what is not known: {' '.join(_COLUMNS).upper()}.",
    )
    log.add_argument("name", metavar="NAME", nargs="?", help="only this profile, or the one for this URL")
    log.add_argument("-f", "--follow", action="store_true", help="go on as things happen, until interrupted")
    log.add_argument("--json", action="store_true", help="an object on each line; times are unix seconds")
    log.set_defaults(run=_log)


def _log(args: argparse.Namespace) -> int:
    if args.follow:
        arguments = {"follow": "yes"}
        _print(args, ask.stream(args, "log", args.name, arguments, output=sys.stdout.fileno()))
        raise Problem("the daemon has left", "pmcred log -f, once it is back", exit_status=69)
    _print(args, ask.ask(args, "log", args.name))
    return 0


def _print(args: argparse.Namespace, blocks: Iterable[Block]) -> None:
    if not args.json and sys.stdout.isatty():
        _print_table(blocks)
        return
    tell: Callable[[Block], str] = _json if args.json else _tabbed
    for block in blocks:
        print(tell(block), flush=args.follow)


def _print_table(blocks: Iterable[Block]) -> None:
    """Print aligned columns. Those of a stream grow as it needs: nobody knows what comes."""
    colour = colour_wanted(sys.stdout, os.environ)
    rows: Iterable[list[Cell]]
    if isinstance(blocks, list):
        rows = [_row(block, time.time()) for block in blocks]
        widths = [max([len(title), *(len(row[at].text) for row in rows)]) for at, title in enumerate(_TITLES)]
    else:
        rows = (_row(block, time.time()) for block in blocks)
        widths = [len("00:00:00"), 48, len("logout"), 10, 16, 0]
    print(_line([Cell(title, BOLD) for title in _TITLES], widths, colour=colour), flush=True)
    for row in rows:
        print(_line(row, widths, colour=colour), flush=True)


def _line(cells: list[Cell], widths: list[int], *, colour: bool) -> str:
    for at, cell in enumerate(cells):
        widths[at] = max(widths[at], len(cell.text))
    padded = [
        paint(cell, colour=colour) + " " * (width - len(cell.text)) for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _row(block: Block, now: float) -> list[Cell]:
    outcome = block.get("outcome", "?")
    return [
        Cell(_clock(block.get("time", ""), now), DIM),
        Cell(clean(_who(block))),
        Cell(clean(block.get("verb", "?"))),
        Cell(clean(block.get("profile", "-"))),
        Cell(clean(block.get("fingerprint", "-"))),
        Cell(clean(_came_of_it(block, outcome, now)), "" if outcome == "ok" else RED),
    ]


def _who(block: Block) -> str:
    """Name who asked, as `python3[2211] of backup.sh[2208] (backup.service)`."""
    pid = block.get("pid", "")
    doubt = "?" if block.get("certain") != "yes" else ""
    name = f"{block.get('program', '?')}[{pid}{doubt}]"
    if parent := block.get("parent"):
        name += f" of {parent}[{block.get('parent_pid', '?')}]"
    if unit := block.get("unit"):
        name += f" ({unit})"
    return name


def _came_of_it(block: Block, outcome: str, now: float) -> str:
    parts = [outcome]
    if rejected := block.get("rejected"):
        parts.append(f"{'instead of' if outcome == 'ok' else 'refused was'} {rejected}")
    if outcome == "forbidden":
        parts.append(f"uid {block.get('uid', '?')}")
    if (count := block.get("count", "1")) != "1":
        parts.append(f"{count} times since {_clock(block.get('first', ''), now)}")
    return ", ".join(parts)


def _clock(moment: str, now: float) -> str:
    if not moment.isdecimal() or len(moment) > 12:
        return "?"
    then, today = time.localtime(int(moment)), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", then)


def _json(block: Block) -> str:
    import json  # here: people do not pay for it

    typed = {key: int(value) if key in _NUMBERS and value.isdecimal() else value for key, value in block.items()}
    return json.dumps({"version": 1, **typed})


def _tabbed(block: Block) -> str:
    # Values come without tabs and line ends: clean() has made them harmless.
    return "\t".join(clean(block.get(key) or "-") for key in _COLUMNS)
