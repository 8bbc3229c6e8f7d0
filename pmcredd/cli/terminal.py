"""How the commands look: colour, tables, and text from elsewhere made harmless."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"


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


def say(text: str = "", *, hang: int = 0) -> None:
    """Tell a person something; on stderr, for stdout belongs to results.

    On a terminal, lines that are too long are broken between words; what follows is indented as the line is, and by
    `hang` columns more.
    """
    width = columns(sys.stderr)
    print("\n".join(fold(line, width, hang=hang) for line in text.split("\n")), file=sys.stderr)


def columns(stream: TextIO) -> int:
    """Give the width of the terminal that `stream` is; 0 if it is none, or does not tell."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except OSError:
        return 0


def fold(line: str, width: int, *, hang: int = 0) -> str:
    """Break a line between words so that it fits into `width` columns (0: any); paths and URLs stay whole."""
    if not width or len(line) <= width:
        return line
    import textwrap  # here: most lines fit

    words = line.lstrip(" ")
    start = " " * (len(line) - len(words))
    return textwrap.fill(
        words,
        width,
        initial_indent=start,
        subsequent_indent=start + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
