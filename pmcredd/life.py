"""The values of a profile's life: what is known (Life), what can happen (events), what is to be done (effects).

What follows from what is lifecycle.py's.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from pmcredd.validity import Held, Moment, Terms


class Renewal(Enum):
    """What we are doing about the next token."""

    IDLE = "idle"
    SENDING = "sending"  # a request is under way, from reading its secrets to saving its answer
    DOUBTFUL = "doubtful"  # a refresh token went out and no answer came back: it may be spent
    WAITING = "waiting"  # it failed in a way that passes; back-off
    STOPPED = "stopped"  # it failed in a way that only somebody can mend


class Reason(StrEnum):
    """Why a renewal is stopped."""

    NEEDS_LOGIN = "needs-login"
    LOGGED_OUT = "logged-out"
    BAD_CREDENTIALS = "bad-credentials"
    BAD_CLIENT = "bad-client"
    SECRET_UNAVAILABLE = "secret-unavailable"  # noqa: S105 - a reason's name
    CONFIG = "config"


class Fault(Enum):
    """Whose turn it is: decides the error code that a `get` is answered with."""

    UNREACHABLE = "unreachable"
    WAITING = "waiting"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the last try failed, for people: `sentence` says it, `mend` is the command or act that helps (or empty)."""

    sentence: str
    mend: str = ""
    fault: Fault = Fault.UNREACHABLE


@dataclass(frozen=True, slots=True)
class User:
    """A user of ProcessMaker: the `sub` of a token, and the username for people, where the server has told it."""

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """Everything there is to know about a profile's token and its renewal. Boot times in seconds."""

    terms: Terms
    serial: int = 1
    held: Held | None = None
    dead: bool = False  # the server said that the held token does not live: it is not handed out
    proved: bool = False  # a probe of this credential has passed before, so that a refused one is evidence
    dated: bool = True  # the held token's age is known; after a reboot, only once a server's Date was seen
    leased_until: float = 0.0  # no renewal of ours that disturbs comes before this
    wanted: bool = False  # somebody waits for the next token: at the first moment without a lease
    renewal: Renewal = Renewal.IDLE
    pending: Held | None = None  # answered, not yet saved, not yet handed out
    tries: int = 0  # how often the refresh token went out without our knowing that it was not spent
    proof: float | None = None  # DOUBTFUL: the boot time at which the first probe that passed was asked
    reason: Reason | None = None  # STOPPED: why
    problem: Problem | None = None  # the last failure, until the next success
    save_problem: Problem | None = None  # why `held` is not on disk
    save_at: float | None = None  # the next SaveDue
    failed_at: Moment | None = None
    failures: int = 0  # in a row
    rejections: int = 0  # tokens in a row that were reported as refused
    past: tuple[str, ...] = ()  # fingerprints of the tokens before, newest first
    wake: float | None = None  # the next Due
    asked_at: float = 0.0  # wall time of the last get
    user: User | None = None  # whose the last token was, also after its end


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """The profile has come to life, with what the store still had of it (in the life already: tries, proved, past).

    `leased_until` is the boot time of a saved lease, or 0; `leases_known` says that no other one runs; `logged_out`
    says that somebody did, if somebody did.
    """

    held: Held | None
    leased_until: float = 0.0
    logged_out: Problem | None = None
    leases_known: bool = False


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
class LoggedIn:
    """A person logged in: a new credential, whatever was going on with the old one."""

    held: Held
    user: User | None = None


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """A person logged out, and it is on disk: nothing is handed out or renewed before the next login."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Named:
    """The server told the name of the token's user."""

    serial: int
    user: User


@dataclass(frozen=True, slots=True)
class Changed:
    """The profile says something else about its renewal; whom it logs in, and where, is as it was."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class Rejected:
    """The held token was reported as refused; `dead` if the server says so too."""

    serial: int
    dead: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A refresh token went out, and nothing came back that says what became of it."""

    serial: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Probed:
    """The server was asked whether the held token lives. `passed` is None where its answer says neither.

    `at` is the boot time at which it was asked; `skew` is how far (seconds) the server's clock is ahead of ours, where
    it told its Date.
    """

    serial: int
    at: float
    passed: bool | None
    skew: float | None


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """The server could not be asked, or did not answer what it was asked; `skew` as in Probed."""

    serial: int
    problem: Problem
    skew: float | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """The server answered with a token; `user` is whose it is, where the server was asked."""

    serial: int
    held: Held
    user: User | None = None


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
    """The try ended in a way that only somebody can mend; `spent` if it cost the refresh token all the same."""

    serial: int
    reason: Reason
    problem: Problem
    spent: bool = False


Event = (
    Restored
    | Asked
    | Due
    | Retry
    | LoggedIn
    | LoggedOut
    | Named
    | Changed
    | Rejected
    | Issued
    | Saved
    | SaveFailed
    | SaveDue
    | Failed
    | Refused
    | Lost
    | Probed
    | ProbeFailed
)


# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the server for a token, with this serial; `tries` counts how often its refresh token went out (0: none)."""

    serial: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the server whether the held token lives, and say Probed or ProbeFailed."""

    serial: int


@dataclass(frozen=True, slots=True)
class Identify:
    """Ask the server for the name of the token's user, and say Named if it tells."""

    serial: int


@dataclass(frozen=True, slots=True)
class Unspend:
    """Take back on disk that the refresh token may be spent: it was proved that it is not."""

    serial: int


@dataclass(frozen=True, slots=True)
class Save:
    """Write this token to disk with the fingerprints of those before, and say Saved or SaveFailed."""

    serial: int
    held: Held
    past: tuple[str, ...] = ()


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


Effect = Send | Probe | Identify | Unspend | Save | WakeAt | SaveAt | Tell
