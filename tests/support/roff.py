"""Makes a manual page, in the man(7) macros, out of the plain Markdown that the documentation is written in.

Of Markdown it knows what we use: headings, paragraphs, lists, tables, code, `code`, **bold**, *italic* and links; and
besides, a line followed by one that begins with `:   `, as a term and its meaning.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator

_SPAN = re.compile(
    r"(?P<code>`[^`]+`)|\*\*(?P<bold>(?:[^*`]|`[^`]+`)+)\*\*|\*(?P<italic>[A-Za-z'\[][^*`]*)\*"
    r"|\[(?P<text>(?:[^\]`]|`[^`]+`)+)\]\((?P<to>[^)\s]+)\)|(?<![\w$/.-])(?P<option>--?[a-z][\w-]*)"
)
_ESCAPES = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha", "-": r"\-"}
_ITEM = re.compile(r"(-|\d+\.) +(.*)")
_LONG = 34  # a column of a table with a cell longer than that is filled, as a paragraph is
# What people copy must not be broken at a hyphen of the formatter's own. .EE and .TE set both back to what is usual.
_NO_HYPHENS = (".nh", ".ad l")
_WIDTH = 110  # of the lines in the file; what people see is as wide as their terminal


def page(name: str, section: int, version: str, markdown: str) -> str:
    """Give the page whole. It holds no date: the same text gives the same bytes on any day."""
    lines = [
        "'\\\" t",  # man(1) runs tbl(1) over what begins like this
        f'.TH {name.upper()} {section} "" "pmcredd {version}" "pmcredd"',
        *_NO_HYPHENS,
        *_blocks(markdown.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def text(markdown: str) -> str:
    """Give a run of text with its fonts, on one line."""
    out, at = [], 0
    for found in _SPAN.finditer(markdown):
        out.append(_prose(markdown[at : found.start()]))
        out.append(_span(found))
        at = found.end()
    out.append(_prose(markdown[at:]))
    return "".join(out)


def _span(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "code":
            return _font("B", found["code"][1:-1])
        case "bold":
            return _font("B", found["bold"].replace("`", ""))
        case "italic":
            return _font("I", found["italic"])
        case "option":
            return _font("B", found["option"])
        case _:
            return _link(found["text"], found["to"])


def _link(shown: str, to: str) -> str:
    if to.startswith("http"):
        return f"{text(shown)} ({_literal(to)})" if shown != to else _literal(to)
    return _literal(f"docs/{shown}") if shown.endswith(".md") else text(shown)


def _font(name: str, plain: str) -> str:
    return f"\\f{name}{_literal(plain)}\\fR"


def _literal(plain: str) -> str:
    """Write characters that people copy: none may become a typographer's version of itself."""
    return "".join(_ESCAPES.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in plain)


def _prose(plain: str) -> str:
    # A hyphen within a word is one, and any other a minus.
    return re.sub(r"(?<=[A-Za-z])\\-(?=[A-Za-z])", "-", _literal(plain))


def _filled(lines: Iterable[str]) -> list[str]:
    """Give the lines of a paragraph; as in Markdown, a backslash at a line's end breaks it there."""
    filled: list[str] = []
    for n, part in enumerate("\n".join(map(str.strip, lines)).split("\\\n")):
        filled += [".br"] if n else []
        wrapped = textwrap.wrap(text(part.replace("\n", " ")), _WIDTH, break_long_words=False, break_on_hyphens=False)
        filled += [_guarded(line) for line in wrapped]
    return filled


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    after_heading = True
    while at < len(lines):
        line = lines[at]
        end = at + 1
        heading = False
        if line.startswith("#"):
            marks, _, title = line.partition(" ")
            yield f".SH {text(title).upper()}" if len(marks) == 2 else f'.SS "{text(title)}"'
            heading = True
        elif line.startswith("```"):
            end = lines.index("```", at + 1) + 1
            yield from _example(lines[at + 1 : end - 1])
        elif line.startswith("    "):
            while end < len(lines) and (lines[end].startswith("    ") or (not lines[end] and _goes_on(lines, end))):
                end += 1
            yield from _example(lines[at:end])
        elif line.startswith("|"):
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            yield from _table(lines[at:end], after_heading=after_heading)
        elif line.strip():
            while end < len(lines) and _same_paragraph(lines[end]):
                end += 1
            yield from _paragraph(lines[at:end], after_heading=after_heading)
        else:
            heading = after_heading
        after_heading = heading
        at = end


def _goes_on(lines: list[str], at: int) -> bool:
    return at + 1 < len(lines) and lines[at + 1].startswith("    ")


def _same_paragraph(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", "```", "|")) and not _ITEM.match(line)


def _paragraph(lines: list[str], *, after_heading: bool) -> Iterator[str]:
    if item := _ITEM.match(lines[0]):
        mark = r"\(bu" if item[1] == "-" else item[1]
        yield f".IP {mark} 3"
        yield from _filled([item[2], *lines[1:]])
    elif len(lines) > 1 and lines[1].startswith(":   "):
        yield ".TP"
        yield _guarded(text(lines[0]))
        yield from _filled([lines[1][4:], *lines[2:]])
    else:
        if not after_heading:
            yield ".PP"
        yield from _filled(lines)


def _example(lines: list[str]) -> Iterator[str]:
    yield ".IP"
    yield ".EX"
    for line in textwrap.dedent("\n".join(lines)).splitlines():
        yield _guarded(_literal(line))
    yield from (".EE", *_NO_HYPHENS)


def _table(lines: list[str], *, after_heading: bool) -> Iterator[str]:
    # A `|` within code is no border.
    rows = [[cell.strip() for cell in re.findall(r"(?:[^|`]|`[^`]*`)+", line.strip("|\n"))] for line in lines]
    head, body = rows[0], rows[2:]
    long = [any(len(row[n]) > _LONG for row in body if n < len(row)) for n in range(len(head))]
    if not after_heading:
        yield ".PP"
    yield ".TS"
    if any(head):
        yield " ".join("lb" for _ in head)
    yield " ".join("lx" if filled else "l" for filled in long) + "."
    if any(head):
        yield _guarded("\t".join(text(cell) for cell in head))
    for row in body:
        yield _guarded("\t".join(_cell(cell, filled=filled) for cell, filled in zip(row, long, strict=True)))
    yield from (".TE", *_NO_HYPHENS)


def _cell(markdown: str, *, filled: bool) -> str:
    if not filled:
        return text(markdown) or r"\&"
    return "\n".join(["T{", *_filled([markdown]), "T}"])
