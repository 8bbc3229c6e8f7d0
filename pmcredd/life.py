"""The values of a profile's life: what is known (Life), what can happen (events), what is to be done (effects).

What follows from what is lifecycle.py's.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Moment


class Renewal(Enum):
    """What we are doing about the next token."""

    IDLE = "idle"
    SENDING = "sending"  # a request is under way, from reading its secrets to saving its answer
    WAITING = "waiting"  # it failed in a way that passes; back-off
    STOPPED = "stopped"  # it failed in a way that only somebody can mend


class Reason(StrEnum):
    """Why a renewal is stopped."""

    NEEDS_LOGIN = "needs-login"
    BAD_CREDENTIALS = "bad-credentials"
    BAD_CLIENT = "bad-client"
    SECRET_UNAVAILABLE = "secret-unavailable"  # noqa: S105 - a reason's name
    CONFIG = "config"


class Fault(Enum):
    """Whose turn it is: decides the error code that a `get` is answered with."""

    UNREACHABLE = "unreachable"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the last try failed, for people: `sentence` says it, `mend` is the command or act that helps (or empty)."""

    sentence: str
    mend: str = ""
    fault: Fault = Fault.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Life:
    """Everything there is to know about a profile's token and its renewal. Boot times in seconds."""

    rule: Rule
    serial: int = 1
    held: Held | None = None
    renewal: Renewal = Renewal.IDLE
    pending: Held | None = None  # answered, not yet saved, not yet handed out
    reason: Reason | None = None  # STOPPED: why
    problem: Problem | None = None  # the last failure, until the next success
    save_problem: Problem | None = None  # why `held` is not on disk
    failed_at: Moment | None = None
    failures: int = 0  # in a row
    wake: float | None = None  # the next Due
    asked_at: float = 0.0  # wall time of the last get


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """The profile has come to life, with what the store still had of it."""

    held: Held | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A `get` needs a token, and the one in hand will not do."""


@dataclass(frozen=True, slots=True)
class Due:
    """The moment came that `wake` names."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A person says: try once now, whatever stopped it (login, or a reload that may have mended it)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The server answered with a token."""

    serial: int
    held: Held


@dataclass(frozen=True, slots=True)
class Saved:
    """This token is on disk."""

    serial: int
    held: Held


@dataclass(frozen=True, slots=True)
class SaveFailed:
    """The disk refused this token."""

    serial: int
    held: Held
    problem: Problem


@dataclass(frozen=True, slots=True)
class SaveDue:
    """The moment came that SaveAt names."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The try ended in a way that passes; `retry_after` in seconds, if the server named one."""

    serial: int
    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The try ended in a way that only somebody can mend."""

    serial: int
    reason: Reason
    problem: Problem


Event = Restored | Asked | Due | Retry | Issued | Saved | SaveFailed | SaveDue | Failed | Refused


# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the server for a token, with this serial."""

    serial: int


@dataclass(frozen=True, slots=True)
class Save:
    """Write this token to disk, and say Saved or SaveFailed."""

    serial: int
    held: Held


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Say Due at this boot time."""

    boot: float


@dataclass(frozen=True, slots=True)
class SaveAt:
    """Say SaveDue at this boot time."""

    boot: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Something changed that waiting gets and watchers want to know."""


Effect = Send | Save | WakeAt | SaveAt | Tell
