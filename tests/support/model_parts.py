"""What the model of a daemon works with: its disk, a request and a probe under way, and how they can end."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from pmcredd import life as l
from pmcredd.validity import Held, Moment
from support.model_server import Pair

Fate = Literal["answered", "not sent", "throttled", "bad client", "lost before", "lost after", "late", "died"]
# A "false 401" is of something before the server, which answers so as long as the path has not worked.
ProbeFate = Literal["answered", "failed", "failed with a date", "false 401"]


@dataclass
class Disk:
    """What outlives the process: one row of the store, in the store's own terms."""

    full: bool = False
    held: Held | None = None
    serial: int = 1
    past: tuple[str, ...] = ()
    proved: bool = False
    dead: bool = False
    leased_until: float = 0.0
    tries: int = 0
    logged_out: int = 0  # the serial that a logout began with
    secret_tries: Counter[str] = field(default_factory=Counter)
    refused_secrets: set[str] = field(default_factory=set)


@dataclass
class Request:
    """A token request, from reading its secrets to its answer."""

    send: l.Send
    spends: str | None
    secret: str
    stage: Literal["prepare", "send", "receive", "done"] = "prepare"
    asked: Moment | None = None
    sent_at: float = 0.0
    answer: l.Event | None = None
    pair: Pair | None = None


@dataclass
class Question:
    """A probe, from its asking to its answer."""

    serial: int
    held: Held
    since: float
    answer: l.Event | None = None
