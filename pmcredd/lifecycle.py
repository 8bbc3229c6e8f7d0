"""A profile's life as a table: (renewal, event) -> what becomes of it and what is to be done.

Two independent values make up a life. The *token* is none or held, and whether a held one is good is computed when it
is asked for (decision.py). The *renewal* says what we are doing about the next one, and the table is over it alone: so
a permanent refusal to renew never throws away a token that still works.

Pure: `step` takes a life, an event and the time, and returns the new life with effects for the driver to carry out in
order. Every answer carries the serial of the credential that it started from. One with an old serial is absorbed; one
with the current serial that makes no sense in its state is a bug of ours: it raises, and nothing has changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pmcredd import validity
from pmcredd.life import (
    Asked,
    Due,
    Effect,
    Event,
    Failed,
    Issued,
    Life,
    LoggedIn,
    Lost,
    Probe,
    Probed,
    ProbeFailed,
    Problem,
    Reason,
    Refused,
    Rejected,
    Renewal,
    Restored,
    Retry,
    Save,
    SaveAt,
    Saved,
    SaveDue,
    SaveFailed,
    Send,
    Tell,
    Unspend,
    WakeAt,
)
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Moment

BACK_OFF_FIRST = 1.0  # seconds
BACK_OFF_MOST = 300.0
SECRET_RETRY = 900.0  # by a timer: a prompt that nobody answers must not come up every few minutes
SECRET_RETRY_ON_DEMAND = 60.0
SAVE_RETRY = 5.0
DEAD_ON_ARRIVAL = 60.0  # a server whose tokens end before they arrive is not asked in a circle
FORGOTTEN_AFTER = 30 * validity.DAY  # nobody asked: let the token go, the next `get` asks anew
MOST_TRIES = 2  # for one refresh token, unless it was proved in between that it is not spent
SECOND_TRY_AFTER = 60.0  # where nothing can be asked: past a restart of the server, at least
PROOFS_WANTED = 2  # at least a timeout apart: the first may have overtaken the request in doubt
PAST_KEPT = 16
IN_A_ROW = 600.0  # a token that lived this long before it was rejected ends the row
MOST_REJECTIONS = 2  # in a row; then something else is wrong, and new tokens would not mend it

Step = tuple[Life, tuple[Effect, ...]]


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


# --- coming to life, and being due ------------------------------------------------------------------------------------


def _restore(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Restored)
    if event.held is None:
        # At once, but after the `get`s that may already stand at the door: the budget sorts them.
        return _wake(life, now.boot)
    held = validity.rebase(event.held, now)
    # Nobody knows which leases ran when we were killed: the default one is assumed.
    leased = max(event.leased_until, now.boot + validity.default_lease(held)) if _disruptive(life) else 0.0
    life = replace(life, held=held, leased_until=leased, dated=event.held.issued.boot_id == now.boot_id)
    if life.tries > 0:
        return _doubt(life, now)
    if not validity.alive(held, now):
        return _wake(life, now.boot)
    life, effects = _wake(life, validity.renew_at(life.terms, held, now, jitter))
    return life, (*effects, *(() if life.dated else _probe(life)))


def _send(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    spends = life.held is not None and life.held.token.refresh_token is not None
    tries = life.tries + 1 if spends else 0
    life = replace(life, renewal=Renewal.SENDING, reason=None, wake=None, wanted=False, tries=tries)
    return life, (Send(life.serial, tries), Tell())


def _asked(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if not _leased(life, now):
        return _send(life, event, now, jitter)
    # Somebody needs a longer life than this token has left, and somebody else was promised that it lives on.
    return _wake(replace(life, wanted=True), _end_of_leases(life))


def _due(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if life.terms.rule is Rule.ASK_ANEW and now.wall - life.asked_at > FORGOTTEN_AFTER:
        return _wake(life, now.boot + validity.DAY)  # somebody may ask again, and then it goes on
    if _leased(life, now):
        return _wake(life, _end_of_leases(life))
    if not life.dated and _disruptive(life) and validity.alive_in(life.held, now):
        # How old the token is only the server's Date can tell: a wrong clock must not kill it in everybody's hands.
        life, effects = _wake(life, now.boot + _delay(life, jitter))
        return replace(life, failures=life.failures + 1), (*_probe(life), *effects)
    return _send(life, event, now, jitter)


def _disruptive(life: Life) -> bool:
    return life.terms.rule is Rule.REFRESH_DISRUPTIVELY


def _leased(life: Life, now: Moment) -> bool:
    """Whether a renewal would break a promise. No lease runs past the forced moment, or protects a dead token."""
    if not _disruptive(life) or life.held is None or life.dead or not validity.alive(life.held, now):
        return False
    return now.boot < _end_of_leases(life)


def _end_of_leases(life: Life) -> float:
    assert life.held is not None
    found = validity.window(life.terms, life.held)
    return life.leased_until if found is None else min(life.leased_until, found.forced)


def _stay(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    return life, ()


# --- a token comes ----------------------------------------------------------------------------------------------------


def _issue(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Issued)
    if life.terms.rule is Rule.NEVER:  # its source is where it is kept; a copy in our store would only outlive it there
        return _settle(life, event.held, None, now, jitter)
    return replace(life, pending=event.held), (Save(life.serial, event.held, _past(life)),)


def _log_in(life: Life, event: Event, _now: Moment, _jitter: float) -> Step:
    assert isinstance(event, LoggedIn)
    # The old pair serves until the new one is saved; what is still under way for it carries the old serial.
    serial = life.serial + 1
    life = replace(
        life, serial=serial, renewal=Renewal.SENDING, pending=event.held, reason=None, wake=None, proved=False, tries=0
    )
    return life, (Save(serial, event.held, _past(life)),)


def _past(life: Life) -> tuple[str, ...]:
    if life.held is None:
        return life.past
    return (life.held.token.access_token.fingerprint(), *life.past)[:PAST_KEPT]


def _saved(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Saved)
    if life.pending is not None and life.pending.token == event.held.token:
        return _settle(life, replace(life.pending, saved=True), None, now, jitter)
    if life.held is not None and life.held.token == event.held.token:
        return replace(life, held=replace(life.held, saved=True), save_problem=None), (Tell(),)
    return life, ()  # an older token, saved late: the newer one goes its own way


def _save_failed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, SaveFailed)
    again = SaveAt(now.boot + SAVE_RETRY)
    if life.pending is not None and life.pending.token == event.held.token:
        life, effects = _settle(life, replace(life.pending, saved=False), event.problem, now, jitter)
        return life, (again, *effects)
    return replace(life, save_problem=event.problem), (again,)


def _save_due(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    if life.held is None or life.held.saved:
        return life, ()
    return life, (Save(life.serial, life.held, life.past),)


def _settle(life: Life, held: Held, save_problem: Problem | None, now: Moment, jitter: float) -> Step:
    life = replace(
        life,
        held=held,
        past=_past(life),
        dead=False,
        dated=True,
        leased_until=0.0,
        wanted=False,
        save_problem=save_problem,
        pending=None,
        renewal=Renewal.IDLE,
        tries=0,
        proofs=0,
        reason=None,
        problem=None,
        failed_at=None,
        failures=0,
    )
    due = validity.renew_at(life.terms, held, now, jitter)
    if due is not None and not validity.alive(held, now):
        due = now.boot + DEAD_ON_ARRIVAL  # the next one would be as dead: only a `get` hurries it
    life, effects = _wake(life, due)
    # A probe that passes now makes a later refusal evidence.
    probe = _probe(life) if _disruptive(life) and not life.proved else ()
    return life, (*effects, *probe, Tell())


# --- a try fails ------------------------------------------------------------------------------------------------------


def _back_off(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Failed)
    delay = _delay(life, jitter)
    if event.retry_after is not None:
        delay = max(delay, event.retry_after)
    # This try did not reach the refresh token; an earlier one may have.
    tries = max(0, life.tries - 1)
    life = _failed(life, Renewal.DOUBTFUL if tries else Renewal.WAITING, event.problem, now)
    life, effects = _wake(replace(life, tries=tries), now.boot + delay)
    return life, (*effects, Tell())


def _stop(life: Life, event: Event, now: Moment, _jitter: float) -> Step:
    assert isinstance(event, Refused)
    spent = life.tries >= MOST_TRIES and event.reason is Reason.NEEDS_LOGIN
    # Refused after a try in doubt: that one did reach the server, and its answer was lost. On ProcessMaker 4 it has
    # killed the access token too.
    life = replace(
        _failed(life, Renewal.STOPPED, event.problem, now),
        reason=event.reason,
        dead=life.dead or (spent and _disruptive(life)),
        tries=max(0, life.tries - 1),
    )
    life, effects = _wake(life, now.boot + SECRET_RETRY if event.reason is Reason.SECRET_UNAVAILABLE else None)
    return life, (*effects, Tell())


def _failed(life: Life, renewal: Renewal, problem: Problem, now: Moment) -> Life:
    return replace(
        life, renewal=renewal, problem=problem, failed_at=now, failures=life.failures + 1, pending=None, proofs=0
    )


def _delay(life: Life, jitter: float) -> float:
    # From half to the whole of the doubled delay: machines that lost one server together do not return together.
    return min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** min(life.failures, 30)) * (0.5 + jitter / 2)


def _ask_stopped(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if not may_ask_again(life, now):
        return life, ()
    return _send(life, event, now, jitter)


def _retry(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    life = replace(life, rejections=0)
    if life.tries > 0:
        return _doubt(life, now)
    return _send(life, event, now, jitter)


# --- doubt ------------------------------------------------------------------------------------------------------------


def _lose(life: Life, event: Event, now: Moment, _jitter: float) -> Step:
    assert isinstance(event, Lost)
    return _doubt(_failed(life, Renewal.DOUBTFUL, event.problem, now), now)


def _doubt(life: Life, now: Moment) -> Step:
    """Find out whether the refresh token is spent: ask the server, or wait and try once more."""
    life = replace(life, renewal=Renewal.DOUBTFUL, reason=None, proofs=0)
    if life.terms.probes:
        life, effects = _wake(life, None)
        return life, (*_probe(life), *effects, Tell())
    life, effects = _wake(life, now.boot + SECOND_TRY_AFTER)
    return life, (*effects, Tell())


def _doubt_retried(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    return _doubt(life, now) if life.terms.probes else _spend_again(life, event, now, jitter)


def _doubt_due(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if life.terms.probes:
        return replace(life, wake=None), _probe(life)
    return _spend_again(life, event, now, jitter)


def _spend_again(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if life.tries < MOST_TRIES:
        return _send(life, event, now, jitter)
    told = life.problem.sentence if life.problem else "it was cut short"
    problem = Problem(f"the last two renewals got no answer ({told}), and a third could do harm", "")
    life = replace(_failed(life, Renewal.STOPPED, problem, now), reason=Reason.NEEDS_LOGIN, wake=None)
    return life, (Tell(),)


def _doubt_probed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Probed)
    began = life.failed_at.boot if life.failed_at else 0.0
    if event.at < (began if life.wake is None else life.wake):
        return life, ()  # asked before the doubt, or too soon after the first proof: it says nothing
    if not event.passed:
        # Refused counts as evidence only where it has passed before: a proxy may strip the header for ever.
        evidence = event.passed is False and life.proved
        return _spend_again(replace(life, dead=life.dead or evidence), event, now, jitter)
    life = replace(_learned(life, event), proofs=life.proofs + 1)
    if life.proofs < PROOFS_WANTED:
        return _wake(life, now.boot + life.terms.timeout)
    life = replace(life, renewal=Renewal.WAITING, tries=0, proofs=0)
    life, effects = _wake(life, now.boot + _delay(life, jitter))
    return life, (Unspend(life.serial), *effects, Tell())


def _doubt_unasked(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, ProbeFailed)
    life, effects = _wake(_failed(life, Renewal.DOUBTFUL, event.problem, now), now.boot + _delay(life, jitter))
    return life, effects


# --- what a probe tells besides ---------------------------------------------------------------------------------------


def _probe(life: Life) -> tuple[Effect, ...]:
    return (Probe(life.serial),) if life.terms.probes and life.held is not None else ()


def _probed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Probed)
    known = life.dated
    life = _learned(life, event)
    if known or not life.dated or life.held is None:
        return life, ()
    return _wake(replace(life, failures=0), validity.renew_at(life.terms, life.held, now, jitter))


def _learned(life: Life, event: Probed) -> Life:
    life = replace(life, proved=life.proved or bool(event.passed), rejections=0 if event.passed else life.rejections)
    if life.dated or life.held is None or event.skew is None:
        return life
    held = life.held
    if abs(event.skew) > validity.WRONG_CLOCK:
        # The wall clock, which dated this token after a reboot, is wrong: the server's counts.
        moved = replace(held.issued, boot=held.issued.boot - event.skew, wall=held.issued.wall - event.skew)
        held = replace(held, issued=moved)
    return replace(life, held=held, dated=True)


def _reject(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Rejected)
    lived = validity.elapsed(life.held.issued, now) if life.held else 0.0
    row = life.rejections if lived < IN_A_ROW else 0
    life = replace(life, rejections=row + 1, dead=life.dead or event.dead)
    if life.renewal is not Renewal.IDLE:
        return life, ()
    return _send(life, event, now, jitter)


def _wake(life: Life, boot: float | None) -> Step:
    return replace(life, wake=boot), () if boot is None else (WakeAt(boot),)


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
    (IDLE, Restored): _to(_restore, IDLE, DOUBTFUL),
    (IDLE, Asked): _to(_asked, SENDING, IDLE),
    (IDLE, Due): _to(_due, SENDING, IDLE),
    (IDLE, Retry): _to(_retry, SENDING),
    (IDLE, Rejected): _to(_reject, SENDING),
    (IDLE, LoggedIn): _to(_log_in, SENDING),
    (IDLE, Saved): _to(_saved, IDLE),
    (IDLE, SaveFailed): _to(_save_failed, IDLE),
    (IDLE, SaveDue): _to(_save_due, IDLE),
    (IDLE, Probed): _to(_probed, IDLE),
    (IDLE, ProbeFailed): _to(_stay, IDLE),
    (SENDING, Asked): _to(_stay, SENDING),
    (SENDING, Due): _to(_stay, SENDING),
    (SENDING, Retry): _to(_stay, SENDING),
    (SENDING, Rejected): _to(_reject, SENDING),
    (SENDING, LoggedIn): _to(_log_in, SENDING),
    (SENDING, Issued): _to(_issue, SENDING, IDLE),
    (SENDING, Saved): _to(_saved, IDLE, SENDING),
    (SENDING, SaveFailed): _to(_save_failed, IDLE, SENDING),
    (SENDING, SaveDue): _to(_save_due, SENDING),
    (SENDING, Failed): _to(_back_off, WAITING, DOUBTFUL),
    (SENDING, Refused): _to(_stop, STOPPED),
    (SENDING, Lost): _to(_lose, DOUBTFUL),
    (SENDING, Probed): _to(_probed, SENDING),
    (SENDING, ProbeFailed): _to(_stay, SENDING),
    (DOUBTFUL, Asked): _to(_stay, DOUBTFUL),
    (DOUBTFUL, Due): _to(_doubt_due, DOUBTFUL, SENDING, STOPPED),
    (DOUBTFUL, Retry): _to(_doubt_retried, DOUBTFUL, SENDING, STOPPED),
    (DOUBTFUL, Rejected): _to(_reject, DOUBTFUL),
    (DOUBTFUL, LoggedIn): _to(_log_in, SENDING),
    (DOUBTFUL, Saved): _to(_saved, DOUBTFUL),
    (DOUBTFUL, SaveFailed): _to(_save_failed, DOUBTFUL),
    (DOUBTFUL, SaveDue): _to(_save_due, DOUBTFUL),
    (DOUBTFUL, Probed): _to(_doubt_probed, DOUBTFUL, SENDING, STOPPED, WAITING),
    (DOUBTFUL, ProbeFailed): _to(_doubt_unasked, DOUBTFUL),
    (WAITING, Asked): _to(_stay, WAITING),
    (WAITING, Due): _to(_due, SENDING, WAITING),
    (WAITING, Retry): _to(_retry, SENDING),
    (WAITING, Rejected): _to(_reject, WAITING),
    (WAITING, LoggedIn): _to(_log_in, SENDING),
    (WAITING, Saved): _to(_saved, WAITING),
    (WAITING, SaveFailed): _to(_save_failed, WAITING),
    (WAITING, SaveDue): _to(_save_due, WAITING),
    (WAITING, Probed): _to(_probed, WAITING),
    (WAITING, ProbeFailed): _to(_stay, WAITING),
    (STOPPED, Asked): _to(_ask_stopped, SENDING, STOPPED),
    (STOPPED, Due): _to(_due, SENDING, STOPPED),
    (STOPPED, Retry): _to(_retry, SENDING, DOUBTFUL),
    (STOPPED, Rejected): _to(_reject, STOPPED),
    (STOPPED, LoggedIn): _to(_log_in, SENDING),
    (STOPPED, Saved): _to(_saved, STOPPED),
    (STOPPED, SaveFailed): _to(_save_failed, STOPPED),
    (STOPPED, SaveDue): _to(_save_due, STOPPED),
    (STOPPED, Probed): _to(_probed, STOPPED),
    (STOPPED, ProbeFailed): _to(_stay, STOPPED),
}


def may_ask_again(life: Life, now: Moment) -> bool:
    """Say whether a `get` may start a try that is stopped: only for a secret that could not be read, once a minute."""
    return (
        life.reason is Reason.SECRET_UNAVAILABLE
        and life.failed_at is not None
        and now.boot - life.failed_at.boot >= SECRET_RETRY_ON_DEMAND
    )
