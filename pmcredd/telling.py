"""What the keeper tells: hand-outs and failures to those who ask, states to people, changes to the log."""

import logging
import traceback
from dataclasses import dataclass
from enum import StrEnum

from pmcredd import validity
from pmcredd.human_time import duration
from pmcredd.life import Fault, Life, Problem, Reason, Renewal
from pmcredd.life import User as User  # for those who speak of users, and know nothing of lives
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.validity import Held, Moment
from pmcredd.wire import Code

log = logging.getLogger("pmcredd")

WARN_BEFORE = 14 * validity.DAY  # the end of a token that only a person can replace


class Failure(Exception):
    """A request that fails, as the client is told: code, message, and the command that mends it."""

    def __init__(self, code: Code, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class HandOut:
    """A token as it is handed out; `expires_at` and `good_until` in unix time, None where unknown."""

    profile: str
    url: str
    access_token: Secret
    token_type: str
    expires_at: int | None
    good_until: int | None
    user: User | None = None


class Revoked(StrEnum):
    """What became of an access token on its server when somebody logged out."""

    REVOKED = "revoked"
    NOT_REVOKED = "not-revoked"  # it lives on there
    NOTHING = "nothing"  # there was none
    KEPT = "kept"  # a personal access token: a person made it, a person ends it


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """What a logout has done; `sentence` tells people what became of the token on the server."""

    profile: str
    revoked: Revoked
    sentence: str


class State(StrEnum):
    """How a profile is, in one word. Trouble comes first: a token that lives on is seen by its expires_at."""

    LIVE = "live"
    RENEWING = "renewing"
    WAITING = "waiting"
    DOUBTFUL = "doubtful"
    NEEDS_LOGIN = "needs-login"
    LOGGED_OUT = "logged-out"
    STOPPED = "stopped"
    NO_TOKEN = "no-token"  # noqa: S105 - a state's name


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a profile, for people and monitors; times are unix times."""

    profile: Profile
    state: State
    life: Life
    token: Secret | None
    """The token in hand, unless it is known to be dead."""
    fingerprint: str | None
    expires_at: float | None
    good_until: float | None
    """Until when we do not replace the token: the end of its leases, where a renewal kills it."""
    renew_at: float | None
    warning: Problem | None

    @property
    def user(self) -> User | None:
        """Whose the token is, or the last one was."""
        return self.life.user


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What a reload did, by profile name."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    warnings: tuple[str, ...]


def hand_out(profile: Profile, held: Held, user: User | None = None) -> HandOut:
    """Make a hand-out of a token that no renewal of ours kills; `user` is the last user that is known."""
    expiry = validity.expires_at(held)
    whole = None if expiry is None else int(expiry)
    return HandOut(
        profile=profile.name,
        url=profile.url,
        access_token=held.token.access_token,
        token_type=held.token.token_type,
        expires_at=whole,
        good_until=whole,
        user=user if user is not None and user.id == held.token.sub else None,
    )


def not_rejected(profile: Profile) -> Failure:
    """Make the failure of a `reject` whose token lives."""
    return Failure(
        Code.NOT_REJECTED,
        f"the token of {profile.name} lives: its server has just accepted it",
        f"send it to {profile.url} alone; look for another host, or a proxy that strips the Authorization header",
    )


def refused(profile: Profile, problem: Problem) -> Failure:
    """Make the failure of a `reject` after which a new token would be refused like the ones before."""
    mend = f"{problem.mend}: pmcred login {profile.name}"
    return Failure(Code.MISCONFIGURED, f"{profile.name}: {problem.sentence}", mend)


def irreplaceable(profile: Profile) -> Failure:
    """Make the failure of a `reject` of a personal access token: where it is kept there is no other one."""
    return Failure(
        Code.NEEDS_LOGIN,
        f"the personal access token of {profile.name} was reported as refused, and nothing can renew it",
        personal_mend(profile),
    )


def unproven(profile: Profile) -> Failure:
    """Make the failure of a `reject` that could not be checked, where a renewal would kill a token that may live."""
    return Failure(
        Code.NOT_REJECTED,
        f"whether the token of {profile.name} lives could not be checked, and to renew it would kill it for everybody",
        f"ask again in a while; if it stays refused: pmcred login {profile.name}",
    )


def whose(user: User) -> str:
    """Name a user for people."""
    return f"user {user.id}" if user.name is None else f"{user.name} (user {user.id})"


def logged_out(profile: Profile) -> Problem:
    """Say why there is no token after a logout."""
    return Problem("somebody has logged out", f"pmcred login {profile.name}")


def stranger(profile: Profile) -> Failure:
    """Make the failure of a `reject` of a token that we did not hand out."""
    return Failure(
        Code.NOT_REJECTED,
        f"that token is none of the last ones of {profile.name}",
        f"pmcred get {profile.name}",
    )


def status(profile: Profile, life: Life, now: Moment) -> Status:
    """Tell how a profile is."""
    held = None if life.dead else life.held
    expiry = None if held is None else validity.expires_at(held)
    return Status(
        profile=profile,
        state=_state(life, now),
        life=life,
        token=None if held is None else held.token.access_token,
        fingerprint=None if held is None else held.token.access_token.fingerprint(),
        expires_at=expiry,
        good_until=None if held is None else good_until(life, held, now),
        renew_at=None if life.wake is None else wall(life.wake, now),
        warning=_warning(profile, held, now),
    )


def fields(status: Status) -> dict[str, str]:
    """Put a status into the words of the protocol."""
    profile, problem, save_problem = status.profile, status.life.problem, status.life.save_problem
    trouble = problem or status.warning
    given = {
        "profile": profile.name,
        "url": profile.url,
        "generation": str(profile.generation),
        "grant": profile.grant.value,
        "user": status.user.id if status.user else None,
        "user_name": status.user.name if status.user else None,
        "state": status.state.value,
        "reason": _reason(status.life),
        "fingerprint": status.fingerprint,
        "expires_at": _whole(status.expires_at),
        "good_until": _whole(status.good_until),
        "renew_at": _whole(status.renew_at),
        "last_error": problem.sentence if problem else None,
        "warning": status.warning.sentence if status.warning else None,
        "hint": (trouble.mend or None) if trouble else None,
        "unsaved": save_problem.sentence if save_problem else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _reason(life: Life) -> str | None:
    return life.reason.value if life.renewal is Renewal.STOPPED and life.reason is not None else None


def wall(boot: float, now: Moment) -> float:
    """Give a boot time in unix time; what is past counts as now."""
    return now.wall + max(0.0, boot - now.boot)


def _whole(moment: float | None) -> str | None:
    return None if moment is None else str(int(moment))


def good_until(life: Life, held: Held, now: Moment) -> float | None:
    """Give the unix time until which we do not replace a token: where that kills it, the end of its leases, or now."""
    if life.terms.rule is not Rule.REFRESH_DISRUPTIVELY:
        return validity.expires_at(held)
    window = validity.window(life.terms, held)
    leased = life.leased_until if window is None else min(life.leased_until, window.forced)
    return wall(leased, now)


def _warning(profile: Profile, held: Held | None, now: Moment) -> Problem | None:
    """Warn of what nothing here can renew, early enough for a person to do it."""
    if profile.grant is not Grant.PERSONAL_ACCESS_TOKEN or held is None:
        return None
    left = validity.remaining(held, now)
    if left is None or left > WARN_BEFORE:
        return None
    ends = f"ends in {duration(left)}" if left > 0 else f"ended {duration(-left)} ago"
    return Problem(
        f"the personal access token {ends}, and nothing can renew it",
        personal_mend(profile),
    )


def personal_mend(profile: Profile) -> str:
    """Say what helps where a personal access token has ended."""
    return f"make a new one in ProcessMaker, put it where the profile reads it, then: pmcred login {profile.name}"


def failure(profile: Profile, life: Life, otherwise: str, code: Code) -> Failure:
    """Make a failure of the last problem; `otherwise` and `code` are for where none is known."""
    problem = life.problem
    if problem is None:
        return Failure(code, otherwise, f"pmcred status {profile.name}")
    told = _code(life, problem)
    mend = problem.mend or (f"pmcred login {profile.name}" if told is Code.NEEDS_LOGIN else "")
    if not mend and life.renewal in {Renewal.WAITING, Renewal.DOUBTFUL}:
        mend = f"the daemon tries again by itself; when, tells pmcred status --explain {profile.name}"
    return Failure(told, f"{profile.name}: {problem.sentence}", mend)


def cannot_promise(profile: Profile, most: float) -> Failure:
    """Make the failure of a `get --for` that no token of this server can keep; `most` seconds it could."""
    length = f"{most / validity.DAY:.0f} days" if most > 2 * validity.DAY else f"{most:.0f} s"
    return Failure(
        Code.CANNOT_PROMISE,
        f"a token of {profile.name} can be promised for {length} at most, not as long as asked for",
        f"pmcred get {profile.name}, with a shorter --for or none",
    )


def as_it_is(profile: Profile, life: Life, now: Moment, lasting: float | None) -> Failure:
    """Make the failure of a `get` for which no token is to be asked for, and the one in hand will not do."""
    if life.problem is not None and life.renewal is not Renewal.DOUBTFUL:
        return failure(profile, life, "", Code.WAITING)
    name, mend = profile.name, f"pmcred get {profile.name}, without --no-refresh"
    held = life.held
    if held is None and profile.grant is Grant.AUTHORIZATION_CODE:
        return Failure(Code.NEEDS_LOGIN, f"{name}: nobody is logged in", f"pmcred login {name}")
    if held is None:
        why = f"there is no token for {name} in hand"
    elif life.dead or not validity.alive(held, now):
        why = f"the token of {name} in hand is no longer good"
    elif life.renewal is Renewal.DOUBTFUL:
        why = f"a renewal of {name} got no answer, so that the token in hand may be dead"
    elif lasting is None:
        why = f"the token of {name} in hand is about to be replaced"
    else:
        why = f"the token of {name} in hand cannot be promised for {duration(lasting)}"
    return Failure(Code.WAITING, f"{why}, and no other is to be asked for", mend)


_STOPPED: dict[Reason | None, State] = {Reason.NEEDS_LOGIN: State.NEEDS_LOGIN, Reason.LOGGED_OUT: State.LOGGED_OUT}


def _state(life: Life, now: Moment) -> State:
    if life.renewal is Renewal.DOUBTFUL:
        return State.DOUBTFUL
    if life.renewal is Renewal.STOPPED:
        return _STOPPED.get(life.reason, State.STOPPED)
    if life.renewal is Renewal.WAITING:
        return State.WAITING
    living = life.held is not None and not life.dead and validity.alive(life.held, now)
    if life.renewal is Renewal.SENDING:
        # A renewal that disturbs nobody, and has not failed before, is none of anybody's business.
        quiet = living and life.problem is None and life.terms.rule is not Rule.REFRESH_DISRUPTIVELY
        return State.LIVE if quiet else State.RENEWING
    return State.LIVE if living else State.NO_TOKEN


def _code(life: Life, problem: Problem) -> Code:
    if life.renewal is Renewal.STOPPED and life.reason in {
        Reason.NEEDS_LOGIN,
        Reason.LOGGED_OUT,
        Reason.BAD_CREDENTIALS,
    }:
        return Code.NEEDS_LOGIN
    return {Fault.MISCONFIGURED: Code.MISCONFIGURED, Fault.WAITING: Code.WAITING}.get(problem.fault, Code.UNREACHABLE)


def counts(report: ReloadReport) -> str:
    """Put a reload into a few words."""
    return (
        f"{len(report.added)} added, {len(report.changed)} changed, {len(report.removed)} removed, "
        f"{len(report.unchanged)} unchanged"
    )


def log_change(profile: Profile, before: Life, after: Life) -> None:
    """Tell the log what a person would want to know, once, at the change."""
    if (
        after.held is not None
        and (before.held is None or before.held.token.access_token != after.held.token.access_token)
        and after.held.saved
        and before.renewal is Renewal.SENDING
    ):
        log.info("%s: new token %s", profile.name, after.held.token.access_token.fingerprint())
    if after.save_problem is not None and before.save_problem is None:
        log.error("%s: the new token is not saved: %s", profile.name, after.save_problem.sentence)
    if after.save_problem is None and before.save_problem is not None:
        log.info("%s: the token is saved", profile.name)
    if after.problem is not None and after.problem != before.problem:
        level = logging.ERROR if after.renewal is Renewal.STOPPED else logging.WARNING
        if after.reason is Reason.LOGGED_OUT:
            level = logging.INFO
        log.log(
            level,
            "%s: %s%s",
            profile.name,
            after.problem.sentence,
            f" ({after.problem.mend})" if after.problem.mend else "",
        )


def mistake(error: Exception) -> Problem:
    """Tell of a bug of ours by its place alone: nobody looked through its text and values for secrets."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} in {frame.name}, line {frame.lineno}"
    return Problem(f"pmcredd itself made a mistake ({place})", "please report it")
