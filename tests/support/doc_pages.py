"""What a page of the documentation tells its reader to do: the commands, what is shown for them, the files to save.

for block in blocks(page):
    block.save_as, block.answers, block.text
    for step in block.steps:
        step.command, is_shown(step.shown, what_came)
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from shlex import quote
from textwrap import dedent

TREE = Path(__file__).resolve().parents[2]
DOCS = TREE / "docs"
_HEADING = "## "
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>.*)$")
_SAVE = re.compile(r"[Ss]ave this as `(?P<name>[^`]+)`")
_ROW = re.compile(r"^\| (?P<name>[^|]+) \| `(?P<value>[^`]+)` \|$")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_PROMPT = "$ "
_COLOURS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>])")  # and what a pager does to the keypad
_SHELLS = ("sh", "bash")
_OTHER_SHELLS = ("zsh", "fish")
_TYPED = re.compile(r"(pmcredd?|curl|git|pip|pipx|python3|systemctl|loginctl|journalctl|token=\S+|\.|rm) ?")
_SYNOPSIS = re.compile(r"\[[A-Z]{2,}\]")  # pmcred api [NAME] ...

# What differs from one run to the next, and what stands for it.
_VARIABLE = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"eyJ[A-Za-z0-9_.-]+", "TOKEN"),
        (r"(?<![0-9a-zA-Z])[0-9a-f]{16}(?![0-9a-zA-Z])", "FINGERPRINT"),
        (r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d,\d+)?( UTC)?", "DATE"),
        (r"(?<![\d:])\d\d:\d\d:\d\d(?![\d:])", "TIME"),
        (r"(127\.0\.0\.1)(:|%3A)\d+", "127.0.0.1:PORT"),
        (r"\b\d+ (s|min|h|days?|months?)( \d+ (s|min|h|days?))?(?!\w)", "DURATION"),
        (r"\b\d+:\d\d left", "TIME left"),
        (r"\[\d+\??\]", "[PID]"),
        (r"(?<==)'?\d{10}\b'?", "UNIX_TIME"),
        (r"\b(pid|version)=[\d.]+", r"\1=NUMBER"),
        (r"\bprocess \d+", "process PID"),
        (r"pmcred-demo-\w+", "pmcred-demo-X"),
        (r"/home/(me|USER)\b", "HOME"),
        (r"/run/user/\d+", "RUNTIME"),
        (r"[ \t]+", " "),
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the lines shown below it; `line` is its own in the page, from 1."""

    line: int
    command: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `save_as` is the file that the page says it is; `answers` what a table above says to type.

    `section` is the heading that it stands below, "" before the first.
    """

    line: int
    language: str
    text: str
    section: str
    save_as: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Step, ...] | None = None

    def only(self, steps: Sequence[Step]) -> "Block":
        """Give the same block with these steps alone."""
        return replace(self, kept=tuple(steps))

    @property
    def is_script(self) -> bool:
        """Tell whether it is to be typed or saved as it stands: shell, and not the session of a terminal."""
        typed = self.language in _SHELLS or (not self.language and _TYPED.match(self.text) is not None)
        return typed and not self.save_as and not self.text.startswith(_PROMPT) and _SYNOPSIS.search(self.text) is None

    @property
    def steps(self) -> Iterator[Step]:
        """Give each command of a console; a script is one, unless each of its lines is a command by itself."""
        if self.kept is not None:
            yield from self.kept
            return
        if self.language in _OTHER_SHELLS:
            yield Step(self.line + 1, f"{self.language} -c {quote(self.text)}", ())
        if self.is_script and all(_TYPED.match(line) for line in self.text.splitlines()):
            for number, line in enumerate(self.text.splitlines(), self.line + 1):
                yield Step(number, line, ())
        elif self.is_script:
            yield Step(self.line + 1, f"({self.text}\n)" if "exit" in self.text else self.text, ())
        lines = self.text.splitlines()
        starts = [at for at, line in enumerate(lines) if line.startswith(_PROMPT)]
        for at, end in pairwise([*starts, len(lines)]):
            last = at
            while lines[last].endswith("\\"):
                last += 1
            command = "\n".join(lines[at : last + 1]).removeprefix(_PROMPT)
            yield Step(self.line + 1 + at, command, tuple(lines[last + 1 : end]))


def pages() -> list[Path]:
    """Give every page of the documentation."""
    return [TREE / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("examples/*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Give the blocks of code of a page, fenced or indented, in their order."""
    lines = [*page.read_text().splitlines(), ""]
    section, save_as, answers, at = "", "", dict[str, str](), 0
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.match(line):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```")
            text = "\n".join(each.removeprefix(fence["indent"]) for each in lines[at + 1 : end])
            yield Block(at + 1, fence["language"], text, section, save_as, answers)
        elif line.startswith("    ") and line.strip() and not lines[at - 1].strip():
            end = next(n for n in range(at, len(lines)) if lines[n].strip() and not lines[n].startswith("    "))
            text = dedent("\n".join(lines[at:end])).rstrip()
            yield Block(at, "", text, section, save_as, answers)
            end -= 1
        else:
            if line.startswith(_HEADING):
                section = line.removeprefix(_HEADING)
            if found := _SAVE.search(line):
                save_as = found["name"]
            if row := _ROW.match(line):
                answers[row["name"]] = row["value"]
            at += 1
            continue
        save_as, answers, at = "", {}, end + 1


def inline(page: Path) -> Iterator[tuple[int, str]]:
    """Give what stands in backticks in running text, with the number of its line."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fenced ^= bool(_FENCE.match(line))
        if not fenced:
            yield from ((number, found[1]) for found in _INLINE.finditer(line))


def plain(text: str) -> str:
    """Give what a terminal shows, without its colours."""
    return _COLOURS.sub("", text)


def alike(text: str) -> list[str]:
    """Give the lines that are not empty, with what differs from run to run replaced; a line once that is repeated."""
    found: list[str] = []
    for line in re.split(r"[\r\n]", plain(text)):  # what is written over itself is shown line after line
        for pattern, name in _VARIABLE:
            line = pattern.sub(name, line)
        if line.strip() and [line.strip()] != found[-1:]:
            found.append(line.strip())
    return found


def is_shown(shown: Iterable[str], real: str, *, begins: bool = False) -> bool:
    """Tell whether a page shows what really came, where `...` stands for the rest of a line, or for lines.

    `begins`: more may follow that the page does not show.
    """
    pattern = ""
    for line in alike("\n".join(shown)):
        pattern += r"(?:.*\n)*?" if line == "..." else r".*?".join(map(re.escape, line.split("..."))) + r"\n"
    whole = "".join(f"{line}\n" for line in alike(real))
    found = re.match(pattern, whole) if begins else re.fullmatch(pattern, whole)
    return found is not None
