"""Doubt: a refresh token went out, no answer came back, and nobody here knows whether it is spent.

ProcessMaker 4 revokes the pair in hand before it issues the next one, so a token that still lives is proof that the
request did not arrive: if it lives a while later too, for the first question may have overtaken the request. Where no
proof is to be had, the refresh token is spent once more, and never a third time. If the server then calls it revoked,
the first request did arrive, and its answer, with the only pair that lives, is lost: somebody has to log in.
"""

from dataclasses import replace

from pmcredd.life import Event, Life, Lost, Probed, ProbeFailed, Problem, Reason, Renewal, Tell, Unspend
from pmcredd.transition import Step, askable, delay, failed, learn, leased, probe, send, wake
from pmcredd.validity import Moment

MOST_TRIES = 2  # for one refresh token, unless it was proved in between that it is not spent
SECOND_TRY_AFTER = 60.0  # seconds, where nothing can be asked: past a restart of the server, at least
CUT_SHORT = Problem("pmcredd ended while a renewal was under way, before its answer was seen")


def lose(life: Life, event: Event, now: Moment, _jitter: float) -> Step:
    """The answer is lost."""
    assert isinstance(event, Lost)
    return begin(failed(life, Renewal.DOUBTFUL, event.problem, now), now)


def begin(life: Life, now: Moment) -> Step:
    """Find out whether the refresh token is spent: ask the server, or wait and try once more."""
    life = replace(
        life,
        renewal=Renewal.DOUBTFUL,
        reason=None,
        problem=life.problem or CUT_SHORT,
        failed_at=life.failed_at or now,
        wanted=False,
        proof=None,
    )
    life, effects = wake(life, None if askable(life) else now.boot + max(SECOND_TRY_AFTER, life.terms.timeout))
    return life, (*probe(life), *effects, Tell())


def retry(life: Life, _event: Event, now: Moment, _jitter: float) -> Step:
    """A person does not want to wait."""
    return begin(life, now) if askable(life) else _last_resort(life, now)


def due(life: Life, _event: Event, now: Moment, _jitter: float) -> Step:
    """Time for the next question, or for the second try."""
    if not askable(life):
        return _last_resort(life, now)
    return replace(life, wake=None), probe(life)


def probed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """The server answered."""
    assert isinstance(event, Probed)
    if event.at < _earliest(life):
        return life, ()
    # Refused counts as evidence only where it has passed before: a proxy may strip the header for ever.
    evidence = event.passed is False and life.proved
    life = learn(life, event, now)
    if not event.passed:
        return _last_resort(replace(life, dead=life.dead or evidence), now)
    if life.proof is None:
        return wake(replace(life, proof=event.at), now.boot + life.terms.timeout)
    life, effects = wake(replace(life, renewal=Renewal.WAITING, tries=0, proof=None), now.boot + delay(life, jitter))
    return life, (Unspend(life.serial), *effects, Tell())


def unasked(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """The server could not be asked; it is asked again."""
    assert isinstance(event, ProbeFailed)
    life = learn(life, event, now)
    if life.wake is not None:  # this was somebody else's question; ours is planned
        return life, ()
    return wake(failed(life, Renewal.DOUBTFUL, event.problem, now), now.boot + delay(life, jitter))


def _earliest(life: Life) -> float:
    """Give the boot time from which on a question tells something: one asked before it may have overtaken."""
    moments = [_lost_at(life)]
    if life.wake is not None:
        moments.append(life.wake)
    if life.proof is not None:
        moments.append(life.proof + life.terms.timeout)
    return max(moments)


def _lost_at(life: Life) -> float:
    return life.failed_at.boot if life.failed_at else 0.0


def _last_resort(life: Life, now: Moment) -> Step:
    """Spend it once more, or give up; not while the request in doubt may still be on its way to kill the token."""
    ended = _lost_at(life) + life.terms.timeout
    if now.boot < ended and not life.dead:
        return wake(life, ended)
    if life.tries < MOST_TRIES:
        # What lives in doubt may have been promised, while it was not tried again because of something else.
        return wake(life, life.leased_until) if leased(life, now) else send(life)
    problem = Problem("the last two renewals got no answer, and a third could do harm")
    life = replace(failed(life, Renewal.STOPPED, problem, now), reason=Reason.NEEDS_LOGIN, wake=None)
    return life, (Tell(),)
