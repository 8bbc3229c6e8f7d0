"""How the commands look and ask: colour, tables, human times, questions."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from pmcredd.cli.problem import Problem
from pmcredd.secret import Secret

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MONTH, _YEAR = 30.44 * _DAY, 365.25 * _DAY


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of a line: its text, and its colour (an SGR code, or empty)."""

    text: str
    colour: str = ""


def colour_wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether colour may be written to `stream`: a capable terminal, and no $NO_COLOR (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(cell: Cell, *, colour: bool) -> str:
    """Give the cell's text, in its colour where colour is wanted."""
    return f"\x1b[{cell.colour}m{cell.text}\x1b[0m" if colour and cell.colour else cell.text


def table(rows: Sequence[Sequence[Cell]], *, colour: bool) -> list[str]:
    """Lay rows of equal length out in columns, two spaces apart; no line ends in spaces."""
    widths = [max(map(len, column)) for column in zip(*([cell.text for cell in row] for row in rows), strict=True)]
    lines = []
    for row in rows:
        padded = [
            # The padding follows the colour, so that codes count for nothing.
            paint(cell, colour=colour) + " " * (width - len(cell.text))
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def clean(text: str) -> str:
    """Replace what could move the cursor, change colours or hide text; for whatever came from another program."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def duration(seconds: float) -> str:
    """Say a length of time as people do, in at most two units: 45 s, 3 h 20 min, 11 months."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    if whole < 14 * _DAY:
        days = whole // _DAY
        return _two(days, "day" if days == 1 else "days", whole % _DAY // _HOUR, "h")
    if whole < 2 * _MONTH:
        return f"{whole // _DAY} days"
    if whole < 2 * _YEAR:
        return f"{int(whole / _MONTH)} months"
    return f"{int(whole / _YEAR)} years"


def when(moment: float, now: float) -> str:
    """Say a moment by its distance: "in 3 h 20 min", "2 min ago"; both in unix time."""
    distance = moment - now
    if abs(distance) < 1:
        return "now"
    return f"in {duration(distance)}" if distance > 0 else f"{duration(-distance)} ago"


def interactive() -> bool:
    """Tell whether somebody is there to answer questions."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str = "") -> None:
    """Tell a person something; on stderr, for stdout belongs to results."""
    print(text, file=sys.stderr)


def ask(question: str, *, default: str = "") -> str:
    """Ask until there is an answer; an empty one takes `default`.

    Raises EOFError where the input ends.
    """
    while True:
        answer = _line(f"{question} [{default}]: " if default else f"{question}: ") or default
        if answer:
            return answer


def ask_secret(question: str) -> Secret:
    """Ask for a secret without showing what is typed; asks again for an empty one.

    Raises EOFError where the input ends.
    """
    import getpass  # here: the verbs that programs run never ask

    while True:
        if typed := getpass.getpass(f"{question} (not shown): "):
            return Secret(typed)


def confirm(question: str, *, default: bool) -> bool:
    """Ask for yes or no; an empty answer is `default`. Raises EOFError where the input ends."""
    while True:
        answer = _line(f"{question} [{'Y/n' if default else 'y/N'}] ").lower()
        if not answer:
            return default
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no"):
            return False


def choose(question: str, options: Sequence[tuple[str, str]], *, default: str) -> str:
    """Let a person choose one of (word, explanation) by its number, its word or the word's beginning."""
    width = max(len(word) for word, _ in options)
    for number, (word, explanation) in enumerate(options, 1):
        say(f"  {number}  {word:<{width}}  {explanation}".rstrip())
    words = [word for word, _ in options]
    while True:
        answer = ask(question, default=default)
        if answer.isdecimal() and 1 <= int(answer) <= len(words):
            return words[int(answer) - 1]
        if answer in words:
            return answer
        if len(near := [word for word in words if word.startswith(answer)]) == 1:
            return near[0]
        say(f"  Answer with a number from 1 to {len(words)}, or with the word.")


def need_answer(flag: str) -> Problem:
    """Give the usage error for a question that nobody is there to answer."""
    return Problem(f"there is no terminal to ask on: give {flag}", exit_status=2)


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit}" + (f" {small} {small_unit}" if small else "")
