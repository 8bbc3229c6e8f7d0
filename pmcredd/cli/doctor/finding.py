"""What `pmcred doctor` finds, as values: where, how bad it is, a sentence for people and what mends it. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; only a problem makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `mend` is the command or act that helps, or ""."""

    area: "Area"
    check: str
    level: Level
    sentence: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Area:
    """What findings are about: a kind ("server"), and which one where there are several (its URL)."""

    kind: str
    subject: str = ""

    def ok(self, check: str, sentence: str) -> Finding:
        """Make a finding that all is well."""
        return Finding(self, check, Level.OK, sentence)

    def warning(self, check: str, sentence: str, mend: str = "") -> Finding:
        """Make a finding that something may go wrong, or is not as it should be and works all the same."""
        return Finding(self, check, Level.WARNING, sentence, mend)

    def problem(self, check: str, sentence: str, mend: str = "") -> Finding:
        """Make a finding that something does not work."""
        return Finding(self, check, Level.PROBLEM, sentence, mend)


PROFILES = Area("profiles")
FILES = Area("files")
DAEMON = Area("daemon")
SERVICE = Area("service")


def count(findings: Iterable[Finding], level: Level) -> int:
    """Count the findings of a level."""
    return sum(finding.level is level for finding in findings)
