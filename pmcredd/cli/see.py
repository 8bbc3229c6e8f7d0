"""`pmcred status`: each profile's token, what ails it and what mends it."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pmcredd
from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
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
    say,
    table,
)
from pmcredd.human_time import duration, when

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Block = Mapping[str, str]

COLOURS = {
    "live": GREEN,
    "renewing": YELLOW,
    "waiting": YELLOW,
    "doubtful": YELLOW,
    "needs-login": RED,
    "logged-out": YELLOW,
    "stopped": RED,
}
_TROUBLED = frozenset({"waiting", "doubtful", "needs-login", "stopped"})
_TIMES = frozenset({"expires_at", "good_until", "renew_at", "started"})
_EXPLAINED_TIMES = frozenset({"issued_at", "renew_from", "renew_by", "leased_until", "failed_at", "asked_at"})
_COUNTS = frozenset({"generation", "pid", "rejections", "failures", "outage_now", "outage_at_renewal"})
_NUMBERS = _TIMES | _EXPLAINED_TIMES | _COUNTS

_NEEDS_LOGIN, _NOT_VALID = 4, 5  # exit statuses
_FOR_A_PERSON = frozenset({"needs-login", "logged-out", "bad-credentials"})  # reasons: what `get` calls needs-login


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    status = subparsers.add_parser("status", description="Show each profile's token, what ails it and what mends it.")
    status.add_argument("names", metavar="NAME", nargs="*", help="only these profiles")
    status.add_argument("--json", action="store_true", help="for programs; times are unix seconds")
    more = status.add_mutually_exclusive_group()
    more.add_argument("--explain", action="store_true", help="say what comes next for each token, when, and why")
    more.add_argument(
        "--min-valid",
        metavar="DURATION",
        type=ask.seconds,
        help="for cron and CI: print nothing and exit with 0 if every token is valid for so long (8h, 2d); else name "
        "those that are not on stderr, and exit with 4 if one of them needs a login, with 5 if none does",
    )
    status.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    (daemon,) = ask.ask(args, "hello")
    arguments = {"explain": "yes"} if args.explain else {}
    blocks = [block for name in args.names or [None] for block in ask.ask(args, "status", name, arguments)]
    note = _Note(columns(sys.stdout), colour_wanted(sys.stdout, os.environ))
    if args.json:
        print(_as_json(daemon, blocks))
    elif args.explain:
        print("\n".join([*_own_problems(daemon, blocks, note), *_explained(blocks, note)]))
    elif args.min_valid is None:
        print("\n".join(_lines(daemon, blocks, note, now=time.time())))
    return 0 if args.min_valid is None else _tell_invalid(blocks, args.min_valid, now=time.time())


def _tell_invalid(blocks: Sequence[Block], wanted: float, *, now: float) -> int:
    """Name the profiles without a token that is valid for `wanted` seconds; gives the exit status."""
    if not blocks:
        raise Problem("there is no profile whose token could be valid", "pmcred init", exit_status=3)
    status = 0
    for block in blocks:
        expiry = _moment(block, "expires_at")
        if "fingerprint" in block and (expiry is None or expiry - now >= wanted):
            continue
        needs_login = block.get("reason") in _FOR_A_PERSON
        status = _NEEDS_LOGIN if needs_login else status or _NOT_VALID
        why = (
            "it has no token" if expiry is None else f"its token {_ends(expiry, now)}, not {duration(wanted)} from now"
        )
        error = f": {block['last_error']}" if "last_error" in block else ""
        say(clean(f"pmcred: {block.get('profile', '?')}: {block.get('state', '?')}, {why}{error}"))
        if hint := block.get("hint"):
            say(clean(f"  try: {hint}"))
    return status


def _explained(blocks: Sequence[Block], note: "_Note") -> list[str]:
    lines = []
    for block in blocks:
        state = block.get("state", "?")
        lines += note(f"{block.get('profile', '?')}: {state} ({block.get('url', '?')})", COLOURS.get(state, ""))
        for sentence in block.get("explanation", "").splitlines():
            lines += note(f"  {sentence}", hang=2)
    return lines


def _as_json(daemon: Block, blocks: Sequence[Block]) -> str:
    import json  # here: people do not pay for it

    client = {"version": pmcredd.__version__}
    answer = {"version": 1, "client": client, "daemon": typed(daemon), "profiles": [typed(block) for block in blocks]}
    return json.dumps(answer, indent=2)


def typed(block: Block) -> dict[str, str | int]:
    """Make numbers of what the protocol writes in digits."""
    return {key: int(value) if key in _NUMBERS and value.isdecimal() else value for key, value in block.items()}


def user_of(block: Block) -> str:
    """Name the user of a token, as `a.smith (user 7)`; empty if nobody knows."""
    number, name = clean(block.get("user", "")), clean(block.get("user_name", ""))
    return f"{name} (user {number})" if name and number else f"user {number}" if number else ""


def _lines(daemon: Block, blocks: Sequence[Block], note: "_Note", *, now: float) -> list[str]:
    lines = _own_problems(daemon, blocks, note)
    if not blocks:
        return [*lines, *note("No profiles yet. To make one: pmcred init")]
    titles, rows = ["PROFILE", "STATE", "TOKEN", "RENEWS", "URL"], [_row(block, now) for block in blocks]
    users = [user_of(block) for block in blocks]
    if any(users):  # ProcessMaker 3 tells nobody's
        titles.insert(-1, "USER")
        for row, user in zip(rows, users, strict=True):
            row.insert(-1, Cell(user) if user else Cell("-", DIM))
    first, *rest = table([[Cell(title, BOLD) for title in titles], *rows], colour=note.colour)
    lines.append(first)
    for line, block in zip(rest, blocks, strict=True):
        lines.append(line)
        if living := _living(block, now):
            lines += note(f"    {block['state']}; {living}")
        if error := block.get("last_error"):
            lines += note(f"    {error}", COLOURS.get(block.get("state", ""), RED))
        if warning := block.get("warning"):
            lines += note(f"    {warning}", YELLOW)
        if hint := block.get("hint"):
            lines += note(f"    try: {hint}")
    return lines


def _own_problems(daemon: Block, blocks: Sequence[Block], note: "_Note") -> list[str]:
    lines = _older_or_newer(daemon, note)
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


def _older_or_newer(daemon: Block, note: "_Note") -> list[str]:
    """Say that the daemon is of another version than this command, as after an upgrade; empty if it is not."""
    if (runs := daemon.get("version", "?")) == pmcredd.__version__:
        return []
    from pmcredd.cli import restart  # here: hardly ever needed, and costs trio's import
    from pmcredd.cli.doctor.host import read_process

    anew = restart.command(read_process(daemon.get("pid", "")))
    return [
        *note(f"The daemon that answers is pmcredd {runs}; {pmcredd.__version__} is installed here.", YELLOW),
        *note(f"    It keeps the tokens as before.  try: {anew}"),
    ]


@dataclass(frozen=True, slots=True)
class _Note:
    """Makes lines of a text: harmless, no wider than `width` columns (0: any), in colour where `colour` allows."""

    width: int
    colour: bool

    def __call__(self, text: str, code: str = "", *, hang: int = 0) -> list[str]:
        lines = fold(clean(text), self.width, hang=hang).split("\n")
        return [paint(Cell(line, code), colour=self.colour) for line in lines]


def _row(block: Block, now: float) -> list[Cell]:
    state = block.get("state", "?")
    renewal = _moment(block, "renew_at")
    if renewal is not None:
        renews = when(max(renewal, now), now)
    else:
        renews = "never" if block.get("grant") == "personal_access_token" else "-"
    return [
        Cell(clean(block.get("profile", "?"))),
        Cell(clean(state), COLOURS.get(state, "")),
        _token(block, now),
        Cell(renews, DIM),
        Cell(clean(block.get("url", "?"))),
    ]


def _token(block: Block, now: float) -> Cell:
    expiry = _moment(block, "expires_at")
    if expiry is None:
        # A server need not say how long its tokens live (RFC 6749 section 5.1).
        return Cell("end unknown") if block.get("state") == "live" else Cell("-", DIM)
    return Cell(_ends(expiry, now), "" if expiry > now else YELLOW)


def _ends(expiry: int, now: float) -> str:
    return f"{'ends' if expiry > now else 'expired'} {when(expiry, now)}"


def _living(block: Block, now: float) -> str:
    """Say that a token still works although its renewal does not; empty where there is nothing to say."""
    expiry = _moment(block, "expires_at")
    if block.get("state") not in _TROUBLED or expiry is None or expiry <= now:
        return ""
    return f"the token still works until {time.strftime('%Y-%m-%d %H:%M', time.localtime(expiry))}"


def _moment(block: Block, key: str) -> int | None:
    value = block.get(key, "")
    return int(value) if value.isdecimal() else None
