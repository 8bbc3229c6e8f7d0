"""What a `get` is answered with: whether the token in hand will do, for how long it is promised, and what to do if not.

A promise is kept or refused, never bent. Where our renewal disturbs nobody a promise costs nothing. Where it kills the
token in use, every hand-out is a lease, and no lease runs past the moment at which the renewal is forced, unless there
is none to be forced: then past the moment at which the next one is tried.
"""

from dataclasses import dataclass

from pmcredd import lifecycle, transition, validity
from pmcredd.life import Life, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Moment, Window

LEAST_LEASE = 5.0  # seconds: a token that may be replaced sooner is not handed out; the next one is near


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
    held = transition.living(life, now)
    if held is not None and validity.good(held, now, lasting):
        return Serve()
    most = held.token.expires_in if held is not None else None
    if lasting is not None and most is not None and lasting > most:
        return CannotPromise(most)
    if life.renewal is Renewal.SENDING or (life.renewal is Renewal.DOUBTFUL and held is None):
        return Wait()
    if _may_ask(life, now):
        return Ask()
    return Serve() if lasting is None and held is not None else Fail()


def decide_as_it_is(life: Life, now: Moment, lasting: float | None) -> Decision:
    """Decide about a `get` that is to cause no renewal: as `decide`, but never Ask.

    A renewal that is planned for now comes by itself, and is waited for. Where none is planned (there is no daemon) a
    token that lives will do; its lease ends at the forced moment, so that no renewal is late because of it.
    """
    decision = decide(life, now, lasting)
    if not isinstance(decision, Ask):
        return decision
    if life.wake is not None and life.wake <= now.boot:
        return Wait()
    held = transition.living(life, now)
    if held is None:
        return Fail()
    if life.terms.rule is not Rule.REFRESH_DISRUPTIVELY:
        return Serve() if lasting is None else Fail()
    if lasting is not None and transition.undated(life):
        return Fail()
    window = validity.window(life.terms, held) if transition.kills(life) else None
    most = min(_end(held), float("inf") if window is None else max(window.forced, now.boot))
    until = now.boot + (validity.default_lease(held) if lasting is None else lasting)
    if lasting is None:
        return Serve(min(until, most))
    return Serve(until) if until <= most else Fail()


def _decide_leased(life: Life, now: Moment, lasting: float | None) -> Decision:
    if life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL}:
        return Wait()  # the token in hand may die at any moment, or be dead
    held = transition.living(life, now)
    # While only the server can tell how old the token is, it is asked; no promise is made meanwhile.
    if transition.undated(life) and life.wanted and (held is None or lasting is not None):
        return Wait()
    if held is None:
        return Ask() if _may_ask(life, now) else Fail()
    if transition.undated(life) and lasting is not None and life.renewal is Renewal.IDLE:
        return Ask()
    window = validity.window(life.terms, held) if transition.kills(life) else None
    until = now.boot + (validity.default_lease(held) if lasting is None else lasting)
    if life.renewal is Renewal.IDLE and transition.kills(life) and not _held_up(life):
        return _decide_due(life, held, window, now, lasting, until)
    return _decide_as_it_is(life, held, window, now, lasting, until)


def _decide_due(
    life: Life, held: Held, window: Window | None, now: Moment, lasting: float | None, until: float
) -> Decision:
    """Decide where the renewal comes when it is due, at the first moment without a lease."""
    start, forced = (window.start, window.forced) if window is not None else (float("inf"), float("inf"))
    if lasting is not None and held.issued.boot + lasting > forced:
        return CannotPromise(forced - held.issued.boot)
    due = life.wanted or now.boot >= start
    if not due and until <= forced:
        return Serve(until)
    running = life.leased_until
    if running <= now.boot:
        return Ask()
    # Clipped: the lease that runs is not made longer, or the renewal would never find its moment.
    if running - now.boot > _least_lease(held) if lasting is None else until <= running:
        return Serve(running)
    # It is renewed when the lease ends; where that is not planned yet, Asked plans it.
    return Wait() if due and life.wake is not None and life.wake <= running else Ask()


def _decide_as_it_is(
    life: Life, held: Held, window: Window | None, now: Moment, lasting: float | None, until: float
) -> Decision:
    """Decide where no renewal comes now: it fails, it is stopped, it must not be sent, or it would kill nothing."""
    end = _end(held)
    tried_again = life.renewal is not Renewal.IDLE and transition.kills(life)
    next_try = life.wake if tried_again and life.wake is not None else float("inf")
    if lasting is None:
        if next_try - now.boot <= _least_lease(held):
            return Wait()
        return Serve(min(until, next_try, end))
    if held.token.expires_in is not None and lasting > held.token.expires_in:
        return CannotPromise(held.token.expires_in)
    # Somebody may mend what stops us at any time; from the forced moment on the login would be at stake, and nobody
    # assumes a lease after a crash: one that runs past it is written down, however short (keeper.py).
    limit = min(end, next_try, end if window is None or now.boot >= window.forced else window.forced)
    return Serve(until) if until <= limit else Fail()


def _held_up(life: Life) -> bool:
    """Whether a renewal that is due cannot be sent yet."""
    return transition.unsaved(life) or transition.undated(life)


def _least_lease(held: Held) -> float:
    return min(LEAST_LEASE, validity.default_lease(held))


def _end(held: Held) -> float:
    return float("inf") if held.token.expires_in is None else held.issued.boot + held.token.expires_in


def _may_ask(life: Life, now: Moment) -> bool:
    if transition.unsaved(life):
        return False
    return life.renewal is Renewal.IDLE or (life.renewal is Renewal.STOPPED and lifecycle.may_ask_again(life, now))
