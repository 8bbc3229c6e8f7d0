"""What can be chosen about a sandbox, at its start and while it runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pmcredd import wire
from pmcredd.sandbox.faults import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the two instances behave; lifetimes in seconds, None meaning what a real server does.

    `version` is the ProcessMaker 4 release whose dialect is spoken; `passport_13` puts the dialect of Laravel Passport
    13 on top of it. `throttle` is the number of requests a minute that the token endpoint of ProcessMaker 4 takes from
    one address, None for no limit. `clock_offset` is by how many seconds the servers' clocks are ahead, or behind if
    negative. `faults` are those in force from the start.
    """

    version: str = "4.15"
    passport_13: bool = False
    workspace: str = "workflow"
    token_lifetime: float | None = None
    refresh_lifetime: float | None = None
    personal_lifetime: float | None = None
    throttle: int | None = 60
    clock_offset: float = 0.0
    faults: tuple[Fault, ...] = ()


def read_lifetime(text: str) -> float:
    """Read a lifetime, "30s" or "8h", in seconds; ValueError says what is wrong with it."""
    seconds = _seconds(text)
    if not 0 < seconds < math.inf:
        raise ValueError("a lifetime is longer than nothing")
    return seconds


def read_throttle(text: str) -> int | None:
    """Read a number of requests a minute, or "off"; ValueError says what is wrong with it."""
    if text == "off":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1_000_000):
        raise ValueError("a number of requests a minute, or off")
    return int(text)


def read_offset(text: str) -> float:
    """Read by how much a clock is ahead, "10m", or behind, "-10m", in seconds; ValueError says what is wrong."""
    seconds = _seconds(text.removeprefix("-"))
    if seconds > _FARTHEST:
        raise ValueError("a clock is off by ten years at most")
    return -seconds if text.startswith("-") else seconds


_FARTHEST = 315_360_000.0
_READERS: Final[Mapping[str, Callable[[str], float | None]]] = {
    "token_lifetime": read_lifetime,
    "refresh_lifetime": read_lifetime,
    "personal_lifetime": read_lifetime,
    "throttle": read_throttle,
    "clock_offset": read_offset,
}


def changed(settings: Settings, order: Mapping[str, object]) -> Settings:
    """The settings with those of `order` changed: a text as on the command line, a number, or None for the default.

    Raises:
        ValueError: if one cannot be changed while the sandbox runs, or its value is wrong; the message says which.
    """
    found: dict[str, Any] = {}
    for name, value in order.items():
        if name not in _READERS:
            raise ValueError(f"{name} cannot be changed: there are {', '.join(_READERS)}")
        if value is None:
            found[name] = getattr(Settings(), name)
            continue
        try:
            found[name] = _READERS[name](str(value))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return replace(settings, **found)


def changeable(settings: Settings) -> dict[str, object]:
    """What `changed` can change, as it is now."""
    return {name: getattr(settings, name) for name in _READERS}


def _seconds(text: str) -> float:
    try:
        return wire.parse_duration(text)
    except wire.BadLine as error:
        raise ValueError(str(error)) from None
