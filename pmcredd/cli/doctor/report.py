"""How the findings of `pmcred doctor` are shown: to people by area, to programs as JSON. No I/O."""

import json
from collections.abc import Sequence
from itertools import groupby

from pmcredd.cli.doctor.finding import Finding, Level, count
from pmcredd.cli.terminal import BOLD, GREEN, RED, YELLOW, Cell, clean, fold, paint

_COLOURS = {Level.OK: GREEN, Level.WARNING: YELLOW, Level.PROBLEM: RED}
_LEVEL = max(map(len, Level))


def lines(findings: Sequence[Finding], *, width: int, colour: bool) -> list[str]:
    """Lay the findings out, an area after the other; no line is wider than `width` columns (0: any) if that can be."""
    widest = max((len(finding.check) for finding in findings), default=0)
    shown = []
    for area, those in groupby(findings, key=lambda finding: finding.area):
        title = clean(f"{area.kind} {area.subject}".rstrip())
        shown.append(paint(Cell(title[:1].upper() + title[1:], BOLD), colour=colour))
        for finding in those:
            shown += _finding(finding, widest, width, colour=colour)
        shown.append("")
    return [*shown, _sum(findings, colour=colour)]


def _finding(finding: Finding, widest: int, width: int, *, colour: bool) -> list[str]:
    level = paint(Cell(finding.level, _COLOURS[finding.level]), colour=colour) + " " * (_LEVEL - len(finding.level))
    head = f"  {level}  {finding.check:<{widest}}  "
    indent = " " * (2 + _LEVEL + 2 + widest + 2)
    texts = [*finding.sentence.splitlines(), *([f"try: {finding.mend}"] if finding.mend else [])]
    folded = "\n".join(fold(indent + clean(text), width) for text in texts)
    return (head + folded.removeprefix(indent)).split("\n")


def _sum(findings: Sequence[Finding], *, colour: bool) -> str:
    problems, warnings = count(findings, Level.PROBLEM), count(findings, Level.WARNING)
    cells = []
    if problems:
        cells.append(Cell(f"{problems} problem{'s' * (problems > 1)}", RED))
    if warnings:
        cells.append(Cell(f"{warnings} warning{'s' * (warnings > 1)}", YELLOW))
    return ", ".join(paint(cell, colour=colour) for cell in cells or [Cell("All is well.", GREEN)])


def as_json(findings: Sequence[Finding]) -> str:
    """Give the findings for programs."""
    rows = [
        {
            "area": finding.area.kind,
            "subject": finding.area.subject,
            "check": finding.check,
            "level": finding.level,
            "sentence": finding.sentence,
            "mend": finding.mend,
        }
        for finding in findings
    ]
    sums = {"problems": count(findings, Level.PROBLEM), "warnings": count(findings, Level.WARNING)}
    return json.dumps({"version": 1, **sums, "findings": rows}, indent=2)
