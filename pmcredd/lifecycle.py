"""A profile's life as a table: (renewal, event) -> what becomes of it and what is to be done.

Two independent values make up a life. The *token* is none or held, and whether a held one is good is computed when it
is asked for (validity.py). The *renewal* says what we are doing about the next one, and the table is over it alone: so
a permanent refusal to renew never throws away a token that still works.

Pure: `step` takes a life, an event and the time, and returns the new life with effects for the keeper to carry out in
order. Every answer carries the serial of the credential that it started from. One with an old serial is absorbed; one
with the current serial that makes no sense in its state is a bug of ours: it raises, and nothing has changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from pmcredd import validity
from pmcredd.life import (
    Asked,
    Due,
    Effect,
    Event,
    Failed,
    Issued,
    Life,
    Problem,
    Reason,
    Refused,
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


# --- transitions -------------------------------------------------------------------------------------------------


def _restore(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Restored)
    held = event.held and validity.rebase(event.held, now)
    life = replace(life, held=held)
    if held is None or not validity.alive(held, now):
        # At once, but after the `get`s that may already stand at the door: the budget sorts them.
        return _wake(life, now.boot)
    return _wake(life, validity.renew_at(life.rule, held, now, jitter))


def _send(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    return replace(life, renewal=Renewal.SENDING, reason=None, wake=None), (Send(life.serial), Tell())


def _due(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if now.wall - life.asked_at > FORGOTTEN_AFTER:
        return _wake(life, now.boot + validity.DAY)  # somebody may ask again, and then it goes on
    return _send(life, event, now, jitter)


def _stay(life: Life, _event: Event, _now: Moment, _jitter: float) -> Step:
    return life, ()


def _save(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Issued)
    if life.rule is Rule.NEVER:  # its source is where it is kept; a copy in our store would only outlive it there
        return _settle(life, event.held, None, now, jitter)
    return replace(life, pending=event.held), (Save(life.serial, event.held),)


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
    return life, (Save(life.serial, life.held),)


def _settle(life: Life, held: Held, save_problem: Problem | None, now: Moment, jitter: float) -> Step:
    life = replace(
        life,
        held=held,
        save_problem=save_problem,
        pending=None,
        renewal=Renewal.IDLE,
        reason=None,
        problem=None,
        failed_at=None,
        failures=0,
    )
    due = validity.renew_at(life.rule, held, now, jitter)
    if due is not None and not validity.alive(held, now):
        due = now.boot + DEAD_ON_ARRIVAL  # the next one would be as dead: only a `get` hurries it
    life, effects = _wake(life, due)
    return life, (*effects, Tell())


def _back_off(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    assert isinstance(event, Failed)
    # From half to the whole of the doubled delay: machines that lost one server together do not return together.
    delay = min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** min(life.failures, 30)) * (0.5 + jitter / 2)
    if event.retry_after is not None:
        delay = max(delay, event.retry_after)
    life = replace(
        life, renewal=Renewal.WAITING, problem=event.problem, failed_at=now, failures=life.failures + 1, pending=None
    )
    life, effects = _wake(life, now.boot + delay)
    return life, (*effects, Tell())


def _stop(life: Life, event: Event, now: Moment, _jitter: float) -> Step:
    assert isinstance(event, Refused)
    life = replace(
        life,
        renewal=Renewal.STOPPED,
        reason=event.reason,
        problem=event.problem,
        failed_at=now,
        failures=life.failures + 1,
        pending=None,
    )
    life, effects = _wake(life, now.boot + SECRET_RETRY if event.reason is Reason.SECRET_UNAVAILABLE else None)
    return life, (*effects, Tell())


def _ask_stopped(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    if not may_ask_again(life, now):
        return life, ()
    return _send(life, event, now, jitter)


def _wake(life: Life, boot: float | None) -> Step:
    return replace(life, wake=boot), () if boot is None else (WakeAt(boot),)


@dataclass(frozen=True, slots=True)
class Transition:
    """What an event does, and the renewals that it can lead to (the diagram in the docs is drawn from these)."""

    happen: Callable[[Life, Event, Moment, float], Step]
    to: frozenset[Renewal]


def _to(happen: Callable[[Life, Event, Moment, float], Step], *to: Renewal) -> Transition:
    return Transition(happen, frozenset(to))


IDLE, SENDING, WAITING, STOPPED = Renewal.IDLE, Renewal.SENDING, Renewal.WAITING, Renewal.STOPPED

TABLE: dict[tuple[Renewal, type[Event]], Transition] = {
    (IDLE, Restored): _to(_restore, IDLE),
    (IDLE, Asked): _to(_send, SENDING),
    (IDLE, Due): _to(_due, SENDING, IDLE),
    (IDLE, Retry): _to(_send, SENDING),
    (IDLE, Saved): _to(_saved, IDLE),
    (IDLE, SaveFailed): _to(_save_failed, IDLE),
    (IDLE, SaveDue): _to(_save_due, IDLE),
    (SENDING, Asked): _to(_stay, SENDING),
    (SENDING, Due): _to(_stay, SENDING),
    (SENDING, Retry): _to(_stay, SENDING),
    (SENDING, Issued): _to(_save, SENDING, IDLE),
    (SENDING, Saved): _to(_saved, IDLE, SENDING),
    (SENDING, SaveFailed): _to(_save_failed, IDLE, SENDING),
    (SENDING, SaveDue): _to(_save_due, SENDING),
    (SENDING, Failed): _to(_back_off, WAITING),
    (SENDING, Refused): _to(_stop, STOPPED),
    (WAITING, Asked): _to(_stay, WAITING),
    (WAITING, Due): _to(_due, SENDING, WAITING),
    (WAITING, Retry): _to(_send, SENDING),
    (WAITING, Saved): _to(_saved, WAITING),
    (WAITING, SaveFailed): _to(_save_failed, WAITING),
    (WAITING, SaveDue): _to(_save_due, WAITING),
    (STOPPED, Asked): _to(_ask_stopped, SENDING, STOPPED),
    (STOPPED, Due): _to(_due, SENDING, STOPPED),
    (STOPPED, Retry): _to(_send, SENDING),
    (STOPPED, Saved): _to(_saved, STOPPED),
    (STOPPED, SaveFailed): _to(_save_failed, STOPPED),
    (STOPPED, SaveDue): _to(_save_due, STOPPED),
}


# --- what a get is answered with -------------------------------------------------------------------------------------


class Verdict(Enum):
    """What to do about a `get`, now."""

    SERVE = "serve"  # hand out the token in hand
    ASK = "ask"  # let Asked happen, then wait
    WAIT = "wait"  # a request is under way
    FAIL = "fail"  # answer with the known problem
    CANNOT_PROMISE = "cannot promise"  # no token of this server lives as long as was asked for


def decide(life: Life, now: Moment, lasting: float | None) -> Verdict:
    """Decide about a `get` that wants a token good for `lasting` seconds (None: the default lease).

    A token that still lives is served while its renewal fails, unless more was asked for by name than it has left: a
    promise is kept or refused, never bent.
    """
    held = life.held
    if held is not None and validity.good(held, now, lasting):
        return Verdict.SERVE
    if lasting is not None and held is not None and _outlasts(lasting, held) and validity.alive(held, now):
        return Verdict.CANNOT_PROMISE
    if life.renewal is Renewal.SENDING:
        return Verdict.WAIT
    if life.renewal is Renewal.IDLE or (life.renewal is Renewal.STOPPED and may_ask_again(life, now)):
        return Verdict.ASK
    if lasting is None and held is not None and validity.alive(held, now):
        return Verdict.SERVE
    return Verdict.FAIL


def may_ask_again(life: Life, now: Moment) -> bool:
    """Say whether a `get` may start a try that is stopped: only for a secret that could not be read, once a minute."""
    return (
        life.reason is Reason.SECRET_UNAVAILABLE
        and life.failed_at is not None
        and now.boot - life.failed_at.boot >= SECRET_RETRY_ON_DEMAND
    )


def _outlasts(lasting: float, held: Held) -> bool:
    return held.token.expires_in is not None and lasting > held.token.expires_in
