"""A profile's life as a table: (renewal, event) -> what becomes of it and what is to be done.

Two independent values make up a life. The *token* is none or held, and whether a held one is good is computed when it
is asked for (decision.py). The *renewal* says what we are doing about the next one, and the table is over it alone: so
a permanent refusal to renew never throws away a token that still works.

Pure: `step` takes a life, an event and the time, and returns the new life with effects for the driver to carry out in
order. Every answer carries the serial of the credential that it started from. One with an old serial is absorbed; one
with the current serial that makes no sense in its state is a bug of ours: it raises, and nothing has changed.

Here are the table, and the transitions that start a try or hear that it failed. How a token arrives is arrival.py's,
what happens when an answer is lost doubt.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pmcredd import arrival, doubt, validity
from pmcredd.life import (
    Asked,
    Changed,
    Due,
    Event,
    Failed,
    Fault,
    Issued,
    Life,
    LoggedIn,
    LoggedOut,
    Lost,
    Named,
    Probed,
    ProbeFailed,
    Problem,
    Reason,
    Refused,
    Rejected,
    Renewal,
    Restored,
    Retry,
    Saved,
    SaveDue,
    SaveFailed,
    Tell,
)
from pmcredd.processmaker import Renewal as Rule
from pmcredd.transition import Step, date, delay, failed, kills, learn, plan, renew, undated, wake
from pmcredd.validity import Moment

SECRET_RETRY = 900.0  # seconds, by a timer: a prompt that nobody answers must not come up every few minutes
SECRET_RETRY_ON_DEMAND = 60.0
FORGOTTEN_AFTER = 30 * validity.DAY  # nobody asked: let the token go, the next `get` asks anew
ASSUMED_LEASE = 60.0  # seconds, after a kill: no lease that is as short as this is on disk
IN_A_ROW = 600.0  # a token that lived this long before it was rejected ends the row
MOST_REJECTIONS = 2  # in a row; then something else is wrong, and new tokens would not mend it
IN_VAIN = Problem(
    "its last tokens were refused in a row, each within minutes of its issue; a new one would not help",
    "see whether the profile's url is the right tenant, a proxy strips the Authorization header, the server's clock is "
    "off, the user was deleted, or the grant is client_credentials (such a token has no user); then log in again",
    Fault.MISCONFIGURED,
)


class NonsenseError(Exception):
    """An event that cannot happen in this state: a bug of ours."""


def step(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """Let an event happen.

    Args:
        life: what is known.
        event: what happened.
        now: when.
        jitter: a random number from 0 to 1, fresh for each call.

    Raises:
        NonsenseError: the event makes no sense in this state; nothing has changed.
    """
    if getattr(event, "serial", life.serial) != life.serial:
        return life, ()
    transition = TABLE.get((life.renewal, type(event)))
    if transition is None:
        message = f"{type(event).__name__} while {life.renewal.value}"
        raise NonsenseError(message)
    return transition.happen(life, event, now, jitter)


def may_ask_again(life: Life, now: Moment) -> bool:
    """Say whether a `get` may start a try that is stopped: only for a secret that could not be read, once a minute."""
    return (
        life.reason is Reason.SECRET_UNAVAILABLE
        and life.failed_at is not None
        and now.boot - life.failed_at.boot >= SECRET_RETRY_ON_DEMAND
    )


# --- coming to life, and being due ------------------------------------------------------------------------------------


def _restore(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Restored)
    if event.logged_out is not None:
        return _rest(life, event.logged_out)
    if event.held is None:
        # At once, but after the `get`s that may already stand at the door: the budget sorts them.
        return wake(life, now.boot)
    held = validity.rebase(event.held, now)
    life = replace(life, held=held, dated=event.held.issued.boot_id == now.boot_id)
    life = replace(life, leased_until=_leases_found(life, held, event, now))
    if life.tries > 0:
        return doubt.begin(life, now)
    return date(life, now, jitter) if undated(life) else plan(life, now, jitter)


def _leases_found(life: Life, held: validity.Held, event: Restored, now: Moment) -> float:
    """Give the end of the leases that may run: short ones are written down only by those who leave in good order."""
    if life.terms.rule is not Rule.REFRESH_DISRUPTIVELY:
        return 0.0
    if event.leases_known:
        return event.leased_until
    assumed = now.boot + ASSUMED_LEASE
    # Where the token's age is in doubt, so is its window; leases were given all the same.
    window = validity.window(life.terms, held) if life.dated else None
    return max(event.leased_until, assumed if window is None else min(assumed, window.forced))


def _asked(life: Life, _event: Event, now: Moment, jitter: float) -> Step:
    return renew(life, now, jitter)


def _due(life: Life, _event: Event, now: Moment, jitter: float) -> Step:
    if life.reason is Reason.LOGGED_OUT:
        return life, ()
    if life.terms.rule is Rule.ASK_ANEW and now.wall - life.asked_at > FORGOTTEN_AFTER:
        # Somebody may ask again, and then it goes on: a back-off of a day would be in the way.
        idle = Renewal.IDLE if life.renewal is Renewal.WAITING else life.renewal
        return wake(replace(life, renewal=idle), now.boot + validity.DAY)
    return renew(life, now, jitter)


def _ask_stopped(life: Life, _event: Event, now: Moment, jitter: float) -> Step:
    return renew(life, now, jitter) if may_ask_again(life, now) else (life, ())


def _retry(life: Life, _event: Event, now: Moment, jitter: float) -> Step:
    life = replace(life, rejections=0)
    return doubt.begin(life, now) if life.tries > 0 else renew(life, now, jitter)


def in_vain(life: Life, now: Moment) -> bool:
    """Say whether the token in hand is one too many that is reported soon after its issue: the next would be, too."""
    return _row(life, now) >= MOST_REJECTIONS


def _row(life: Life, now: Moment) -> int:
    """Give how many tokens before this one were refused in a row."""
    lived = validity.elapsed(life.held.issued, now) if life.held else 0.0
    return life.rejections if lived < IN_A_ROW else 0


def _reject(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Rejected)
    row = _row(life, now)
    life = replace(life, dead=life.dead or event.dead)
    if row < MOST_REJECTIONS:
        life = replace(life, rejections=row + 1)
        return renew(life, now, jitter) if life.renewal is Renewal.IDLE else (life, ())
    if life.held is None or not life.dead or life.renewal is not Renewal.IDLE:
        return life, ()
    # It is not handed out any more; and no next one for every `get`: one may be tried when the row would have ended.
    life, effects = wake(failed(life, Renewal.WAITING, IN_VAIN, now), life.held.issued.boot + IN_A_ROW)
    return life, (*effects, Tell())


def _change(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Changed)
    life = replace(life, terms=event.terms, rejections=0)
    if life.renewal is not Renewal.IDLE or life.held is None or undated(life):
        return life, (Tell(),)
    # Leases stand, also where the renewal would now be forced before they end: a promise was made.
    life, effects = plan(replace(life, wanted=False), now, jitter)
    return life, (*effects, Tell())


def _stay(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    return life, ()


def _log_out(life: Life, event: Event, _now: Moment, _jitter: float) -> Step:
    assert isinstance(event, LoggedOut)
    # What is still under way carries the old serial: its answer is absorbed.
    return _rest(replace(life, serial=life.serial + 1), event.problem)


def _rest(life: Life, problem: Problem) -> Step:
    """Hold nothing and do nothing until somebody logs in."""
    life = Life(
        life.terms,
        serial=life.serial,
        renewal=Renewal.STOPPED,
        reason=Reason.LOGGED_OUT,
        problem=problem,
        past=arrival.past(life),  # a token that is reported as refused may be of the time before
        asked_at=life.asked_at,
        user=life.user,
    )
    return life, (Tell(),)


# --- a try fails ------------------------------------------------------------------------------------------------------


def _back_off(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Failed)
    after = delay(life, jitter) if event.retry_after is None else max(delay(life, jitter), event.retry_after)
    # This try did not reach the refresh token; an earlier one may have.
    tries = max(0, life.tries - 1)
    life = failed(life, Renewal.DOUBTFUL if tries else Renewal.WAITING, event.problem, now)
    life, effects = wake(replace(life, tries=tries), now.boot + after)
    return life, (*effects, Tell())


def _stop(life: Life, event: Event, now: Moment, _jitter: float) -> Step:
    assert isinstance(event, Refused)
    spent = life.tries
    life = replace(failed(life, Renewal.STOPPED, event.problem, now), reason=event.reason, tries=max(0, life.tries - 1))
    if event.reason is Reason.NEEDS_LOGIN and life.held is not None and life.held.token.refresh_token is not None:
        # Called dead after a try in doubt: that one did arrive. On ProcessMaker 4 it has killed the access token too.
        answer_lost = (event.spent or spent >= doubt.MOST_TRIES) and kills(life)
        token = replace(life.held.token, refresh_token=None)  # called dead once, it is never sent again
        life = replace(life, held=replace(life.held, token=token), dead=life.dead or answer_lost, tries=0)
    life, effects = wake(life, now.boot + SECRET_RETRY if event.reason is Reason.SECRET_UNAVAILABLE else None)
    return life, (*effects, Tell())


# --- the server is asked about a token, outside of doubt --------------------------------------------------------------


def _probed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Probed | ProbeFailed)
    waited = undated(life)
    # It may have been revoked while nobody looked.
    refused = isinstance(event, Probed) and event.passed is False and life.proved
    life = learn(life, event, now)
    if refused and life.terms.rule is Rule.NEVER and life.renewal is Renewal.IDLE:
        return renew(replace(life, dead=True), now, jitter)  # a person may have put in another one
    if not waited or undated(life) or life.renewal is not Renewal.IDLE:
        return life, ()
    life, effects = plan(replace(life, dead=life.dead or refused, wanted=False, failures=0), now, jitter)
    return life, (*effects, Tell())


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transition:
    """What an event does, and the renewals that it can lead to (the diagram in the docs is drawn from these)."""

    happen: Callable[[Life, Event, Moment, float], Step]
    to: frozenset[Renewal]


def _to(happen: Callable[[Life, Event, Moment, float], Step], *to: Renewal) -> Transition:
    return Transition(happen, frozenset(to))


IDLE, SENDING, DOUBTFUL, WAITING, STOPPED = Renewal

TABLE: dict[tuple[Renewal, type[Event]], Transition] = {
    (IDLE, Restored): _to(_restore, IDLE, DOUBTFUL, STOPPED),
    (IDLE, Asked): _to(_asked, SENDING, IDLE),
    (IDLE, Due): _to(_due, SENDING, IDLE),
    (IDLE, Retry): _to(_retry, SENDING, IDLE),
    (IDLE, Changed): _to(_change, IDLE),
    (IDLE, Rejected): _to(_reject, SENDING, IDLE, WAITING),
    (IDLE, LoggedIn): _to(arrival.logged_in, SENDING),
    (IDLE, LoggedOut): _to(_log_out, STOPPED),
    (IDLE, Named): _to(arrival.named, IDLE),
    (IDLE, Saved): _to(arrival.saved, IDLE),
    (IDLE, SaveFailed): _to(arrival.save_failed, IDLE),
    (IDLE, SaveDue): _to(arrival.save_due, IDLE),
    (IDLE, Probed): _to(_probed, IDLE, SENDING),
    (IDLE, ProbeFailed): _to(_probed, IDLE),
    (SENDING, Asked): _to(_stay, SENDING),
    (SENDING, Due): _to(_stay, SENDING),
    (SENDING, Retry): _to(_stay, SENDING),
    (SENDING, Changed): _to(_change, SENDING),
    (SENDING, Rejected): _to(_reject, SENDING),
    (SENDING, LoggedIn): _to(arrival.logged_in, SENDING),
    (SENDING, LoggedOut): _to(_log_out, STOPPED),
    (SENDING, Named): _to(arrival.named, SENDING),
    (SENDING, Issued): _to(arrival.issued, SENDING, IDLE),
    (SENDING, Saved): _to(arrival.saved, IDLE, SENDING),
    (SENDING, SaveFailed): _to(arrival.save_failed, IDLE, SENDING),
    (SENDING, SaveDue): _to(arrival.save_due, SENDING),
    (SENDING, Failed): _to(_back_off, WAITING, DOUBTFUL),
    (SENDING, Refused): _to(_stop, STOPPED),
    (SENDING, Lost): _to(doubt.lose, DOUBTFUL),
    (SENDING, Probed): _to(_probed, SENDING),
    (SENDING, ProbeFailed): _to(_probed, SENDING),
    (DOUBTFUL, Asked): _to(_stay, DOUBTFUL),
    (DOUBTFUL, Due): _to(doubt.due, DOUBTFUL, SENDING, STOPPED),
    (DOUBTFUL, Retry): _to(doubt.retry, DOUBTFUL, SENDING, STOPPED),
    (DOUBTFUL, Changed): _to(_change, DOUBTFUL),
    (DOUBTFUL, Rejected): _to(_reject, DOUBTFUL),
    (DOUBTFUL, LoggedIn): _to(arrival.logged_in, SENDING),
    (DOUBTFUL, LoggedOut): _to(_log_out, STOPPED),
    (DOUBTFUL, Named): _to(arrival.named, DOUBTFUL),
    (DOUBTFUL, SaveDue): _to(arrival.save_due, DOUBTFUL),
    (DOUBTFUL, Probed): _to(doubt.probed, DOUBTFUL, SENDING, STOPPED, WAITING),
    (DOUBTFUL, ProbeFailed): _to(doubt.unasked, DOUBTFUL),
    (WAITING, Asked): _to(_stay, WAITING),
    (WAITING, Due): _to(_due, SENDING, WAITING, IDLE),
    (WAITING, Retry): _to(_retry, SENDING, WAITING),
    (WAITING, Changed): _to(_change, WAITING),
    (WAITING, Rejected): _to(_reject, WAITING),
    (WAITING, LoggedIn): _to(arrival.logged_in, SENDING),
    (WAITING, LoggedOut): _to(_log_out, STOPPED),
    (WAITING, Named): _to(arrival.named, WAITING),
    (WAITING, Saved): _to(arrival.saved, WAITING),
    (WAITING, SaveFailed): _to(arrival.save_failed, WAITING),
    (WAITING, SaveDue): _to(arrival.save_due, WAITING),
    (WAITING, Probed): _to(_probed, WAITING),
    (WAITING, ProbeFailed): _to(_probed, WAITING),
    (STOPPED, Asked): _to(_ask_stopped, SENDING, STOPPED),
    (STOPPED, Due): _to(_due, SENDING, STOPPED),
    (STOPPED, Retry): _to(_retry, SENDING, DOUBTFUL, STOPPED),
    (STOPPED, Changed): _to(_change, STOPPED),
    (STOPPED, Rejected): _to(_reject, STOPPED),
    (STOPPED, LoggedIn): _to(arrival.logged_in, SENDING),
    (STOPPED, LoggedOut): _to(_log_out, STOPPED),
    (STOPPED, Named): _to(arrival.named, STOPPED),
    (STOPPED, Saved): _to(arrival.saved, STOPPED),
    (STOPPED, SaveFailed): _to(arrival.save_failed, STOPPED),
    (STOPPED, SaveDue): _to(arrival.save_due, STOPPED),
    (STOPPED, Probed): _to(_probed, STOPPED),
    (STOPPED, ProbeFailed): _to(_probed, STOPPED),
}
