"""What a `get` is answered with: whether the token in hand will do, for how long it is promised, and what to do if not.

A promise is kept or refused, never bent. Where our renewal disturbs nobody a promise costs nothing. Where it kills the
token in use, every hand-out is a lease, and no lease runs past the moment at which the renewal is forced.
"""

from dataclasses import dataclass

from pmcredd import lifecycle, validity
from pmcredd.life import Life, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Moment

LEAST_LEASE = 5.0  # seconds: what is left of a lease is not handed out again when it is less; the next token is near


@dataclass(frozen=True, slots=True)
class Serve:
    """Hand out the token in hand; `lease` is the boot time until which no renewal of ours may break it, or None."""

    lease: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Let Asked happen, then look again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A renewal is under way or near."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with the known problem."""


@dataclass(frozen=True, slots=True)
class CannotPromise:
    """No token of this server is promised for as long as was asked for; `most` seconds would be."""

    most: float


Decision = Serve | Ask | Wait | Fail | CannotPromise


def decide(life: Life, now: Moment, lasting: float | None) -> Decision:
    """Decide about a `get` that wants a token good for `lasting` seconds (None: the default lease)."""
    if life.terms.rule is Rule.REFRESH_DISRUPTIVELY:
        return _decide_leased(life, now, lasting)
    held = _living(life, now)
    if held is not None and validity.good(held, now, lasting):
        return Serve()
    most = held.token.expires_in if held is not None else None
    if lasting is not None and most is not None and lasting > most:
        return CannotPromise(most)
    if life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL} and held is None:
        return Wait()
    if life.renewal is Renewal.SENDING:
        return Wait()
    if _may_ask(life, now):
        return Ask()
    return Serve() if lasting is None and held is not None else Fail()


def _decide_leased(life: Life, now: Moment, lasting: float | None) -> Decision:
    held = _living(life, now)
    if life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL}:
        return Wait()  # the token in hand may die at any moment, or be dead
    if held is None:
        return Ask() if _may_ask(life, now) else Fail()
    until = now.boot + (validity.default_lease(held) if lasting is None else lasting)
    if life.renewal is Renewal.IDLE:
        return _decide_idle(life, held, now, lasting, until)
    # Nothing will disturb it before the next attempt; where we are stopped there is none.
    limit = life.wake if life.renewal is Renewal.WAITING and life.wake is not None else _end(held)
    if lasting is None:
        return Serve(min(until, limit))
    return Serve(until) if until <= limit else Fail()


def _decide_idle(life: Life, held: Held, now: Moment, lasting: float | None, until: float) -> Decision:
    window = validity.window(life.terms, held)
    if window is None:  # a token of unknown lifetime is never renewed by a timer
        return Serve(until)
    most = window.forced - held.issued.boot
    if lasting is not None and lasting > most:
        return CannotPromise(most)
    due = life.wanted or now.boot >= window.start
    if not due and until <= window.forced:
        return Serve(until)
    running = min(life.leased_until, window.forced)
    if running <= now.boot:
        return Ask()
    # Clipped: the lease that runs is not made longer, or the renewal would never find its moment.
    if running - now.boot > LEAST_LEASE if lasting is None else until <= running:
        return Serve(running)
    # It is renewed when the lease ends; where that is not planned yet, Asked plans it.
    return Wait() if due and life.wake is not None else Ask()


def _living(life: Life, now: Moment) -> Held | None:
    if life.held is None or life.dead or not validity.alive(life.held, now):
        return None
    return life.held


def _end(held: Held) -> float:
    return float("inf") if held.token.expires_in is None else held.issued.boot + held.token.expires_in


def _may_ask(life: Life, now: Moment) -> bool:
    return life.renewal is Renewal.IDLE or (life.renewal is Renewal.STOPPED and lifecycle.may_ask_again(life, now))
