"""What goes wrong on demand: a fault as text, and the queue of faults that requests run into."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pmcredd import wire

if TYPE_CHECKING:
    from pmcredd.sandbox.journal import Note

HOW_TO_WRITE = "write it like lose-answer:3 or 503@10% or delay-answer=2s,grant_type=refresh_token"

_ANSWER = "-answer"  # the end of the name of every fault that strikes after the server has acted


class BadFault(ValueError):
    """A text that is no fault; the message says why and how to write one."""


class Target(StrEnum):
    """What a request asks: the token endpoint of either generation, or the API."""

    TOKEN = "token"  # noqa: S105 - the name of an endpoint
    API = "api"


class Ending(Enum):
    """How much of an answer reaches the client before the connection is closed."""

    WHOLE = "whole"  # all of it, and the connection stays
    HALF = "half"  # the head and half of the body
    NOTHING = "nothing"  # not a byte


class _Time(Enum):
    """Whether a fault takes a length of time."""

    NEEDED = "needed"
    ALLOWED = "allowed"
    REFUSED = "refused"


# Answers that stand in for the real one; the time is what Retry-After tells.
_STAND_INS = {
    "429": _Time.ALLOWED,
    "429-date": _Time.NEEDED,
    "500": _Time.REFUSED,
    "502": _Time.REFUSED,
    "503": _Time.ALLOWED,
    "503-date": _Time.NEEDED,
    "504": _Time.REFUSED,
    "login": _Time.REFUSED,
    "html": _Time.REFUSED,
}
_KINDS = {
    "lose-request": _Time.REFUSED,
    "lose-answer": _Time.REFUSED,
    "cut-answer": _Time.REFUSED,
    "delay-request": _Time.NEEDED,
    "delay-answer": _Time.NEEDED,
    **_STAND_INS,
    **{name + _ANSWER: time for name, time in _STAND_INS.items()},
}
_CONDITIONS = ("on", "path", "generation", "grant_type", "client_id", "username")
_FAULT = re.compile(r"([a-z0-9-]+)(?:=([^:@,]+))?(?::([0-9]{1,9}))?(?:@([0-9]{1,3}(?:\.[0-9]{1,6})?)%)?((?:,[^,]+)*)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: `str()` gives the text that `parse_fault` reads.

    `seconds` is a delay or what Retry-After tells; `count` is how many requests are struck, None for all until the
    fault is cleared; `percent` is the chance of each to be struck; `conditions` are (name, value), all of them needed.
    """

    kind: str
    seconds: float | None = None
    count: int | None = None
    percent: float = 100.0
    conditions: tuple[tuple[str, str], ...] = ()

    @property
    def acts(self) -> bool:
        """Whether the server acts on the request all the same."""
        return self.kind.endswith(_ANSWER)

    @property
    def delays(self) -> bool:
        """Whether it only delays: the request goes on to the next fault that fits."""
        return self.kind.startswith("delay-")

    @property
    def ending(self) -> Ending:
        """How the answer ends."""
        if self.kind.startswith("lose-"):
            return Ending.NOTHING
        return Ending.HALF if self.kind == "cut-answer" else Ending.WHOLE

    @property
    def stand_in(self) -> str | None:
        """The name of the answer that stands in for the real one, if one does."""
        name = self.kind.removesuffix(_ANSWER)
        return name if name in _STAND_INS else None

    def fits(self, target: Target, path: str, note: "Note") -> bool:
        """Whether it is meant for a request; without `on` and `path` it is for token requests."""
        given = dict(self.conditions)
        if "path" not in given:
            given.setdefault("on", Target.TOKEN)
        told = {
            "on": target.value,
            "generation": str(note.generation),
            "grant_type": note.grant,
            "client_id": note.client_id,
            "username": note.username,
        }
        return all(
            fnmatchcase(path, value) if name == "path" else told[name] == value
            for name, value in given.items()
            if (name, value) != ("on", "all")
        )

    def __str__(self) -> str:
        seconds = "" if self.seconds is None else f"={wire.format_duration(self.seconds)}s"
        count = "" if self.count is None else f":{self.count}"
        percent = "" if self.percent == 100 else f"@{f'{self.percent:.6f}'.rstrip('0').rstrip('.')}%"
        return f"{self.kind}{seconds}{count}{percent}" + "".join(f",{name}={value}" for name, value in self.conditions)


def parse_fault(text: str) -> Fault:
    """Read `KIND[=TIME][:COUNT][@PERCENT%][,NAME=VALUE]...`.

    Raises:
        BadFault: if it is not one.
    """
    match = _FAULT.fullmatch(text)
    if match is None:
        raise BadFault(f"not a fault: {text!r}: {HOW_TO_WRITE}")
    kind, time, count, percent, conditions = match.groups()
    if kind not in _KINDS:
        raise BadFault(f"no such fault: {kind}: there are {', '.join(_KINDS)}")
    return Fault(
        kind=kind,
        seconds=_seconds(kind, time),
        count=None if count is None else _count(count),
        percent=100.0 if percent is None else _percent(percent),
        conditions=tuple(_conditions(conditions)),
    )


def _seconds(kind: str, text: str | None) -> float | None:
    wanted = _KINDS[kind]
    if text is None:
        if wanted is _Time.NEEDED:
            raise BadFault(f"{kind} needs a length of time: {kind}=2s")
        return None
    if wanted is _Time.REFUSED:
        raise BadFault(f"{kind} takes no length of time")
    try:
        seconds = wire.parse_duration(text)
        wire.format_duration(seconds)
    except wire.BadLine as error:
        raise BadFault(f"{kind}: {error}") from None
    return seconds


def _count(text: str) -> int:
    if int(text) == 0:
        raise BadFault("a fault that strikes no request: give a number from 1, or none for every request")
    return int(text)


def _percent(text: str) -> float:
    if not 0 < float(text) <= 100:
        raise BadFault("a chance is more than 0% and at most 100%")
    return float(text)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for condition in text.split(",")[1:]:
        name, equals, value = condition.partition("=")
        if name not in _CONDITIONS or not equals or not value or name in seen:
            raise BadFault(f"not a condition: {condition}: there are {', '.join(_CONDITIONS)}, each once, with =VALUE")
        if name == "on" and value not in {*Target, "all"}:
            raise BadFault(f"on={value}: it is token, api or all")
        seen.add(name)
        yield name, value


@dataclass(slots=True)
class _Queued:
    fault: Fault
    left: int | None
    struck: int = 0


@dataclass(frozen=True, slots=True)
class Strike:
    """What one request runs into: delays in seconds before and after the server acts, and the fault that ends it."""

    before: float = 0.0
    after: float = 0.0
    fault: Fault | None = None
    kinds: tuple[str, ...] = ()


_UNHARMED = Strike()


class Faults:
    """The faults in force, in their order: delays add up, and the first other one that fits decides."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._queue: list[_Queued] = []

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, fault: Fault) -> None:
        """Put a fault at the end."""
        self._queue.append(_Queued(fault, fault.count))

    def clear(self) -> None:
        """Take all faults away."""
        self._queue.clear()

    def strike(self, target: Target, path: str, describe: "Callable[[], Note]") -> Strike:
        """Let a request run into the faults; what is used up is taken away."""
        if not self._queue:
            return _UNHARMED
        note = describe()
        before = after = 0.0
        decided: Fault | None = None
        kinds: list[str] = []
        for queued in self._queue:
            fault = queued.fault
            if not (fault.fits(target, path, note) and self._chance(fault.percent)):
                continue
            queued.struck += 1
            if queued.left is not None:
                queued.left -= 1
            kinds.append(fault.kind)
            if not fault.delays:
                decided = fault
                break
            if fault.acts:
                after += fault.seconds or 0.0
            else:
                before += fault.seconds or 0.0
        self._queue = [queued for queued in self._queue if queued.left != 0]
        return Strike(before, after, decided, tuple(kinds))

    def as_json(self) -> list[dict[str, object]]:
        """The faults in force: `left` requests to be struck (None without end), `struck` so far."""
        return [{"fault": str(queued.fault), "left": queued.left, "struck": queued.struck} for queued in self._queue]

    def _chance(self, percent: float) -> bool:
        return percent == 100 or int.from_bytes(self._entropy(6)) * 100 < percent * 2**48
