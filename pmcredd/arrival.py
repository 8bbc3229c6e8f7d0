"""A token arrives: it is saved, and only then held and handed out.

If the disk refuses it, it is served from memory, told as unsaved, and the disk is tried again.
"""

from dataclasses import replace

from pmcredd import validity
from pmcredd.life import (
    Event,
    Identify,
    Issued,
    Life,
    LoggedIn,
    Named,
    Problem,
    Renewal,
    Save,
    SaveAt,
    Saved,
    SaveFailed,
    Tell,
    User,
)
from pmcredd.processmaker import Renewal as Rule
from pmcredd.transition import SAVE_RETRY, Step, probe, wake
from pmcredd.validity import Held, Moment

DEAD_ON_ARRIVAL = 60.0  # seconds: a server whose tokens end before they arrive is not asked in a circle
PAST_KEPT = 16


def issued(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """The server answered with a token."""
    assert isinstance(event, Issued)
    life = replace(life, user=event.user or life.user)
    if life.terms.rule is Rule.NEVER:  # its source is where it is kept; a copy in our store would only outlive it there
        return _settle(life, event.held, None, now, jitter)
    return replace(life, pending=event.held), (Save(life.serial, event.held, past(life)),)


def logged_in(life: Life, event: Event, _now: Moment, _jitter: float) -> Step:
    """A person brings a new pair. The old one serves until it is saved."""
    assert isinstance(event, LoggedIn)
    serial = life.serial + 1  # what is still under way for the old pair carries the old one
    life = replace(
        life,
        serial=serial,
        renewal=Renewal.SENDING,
        pending=event.held,
        reason=None,
        wake=None,
        wanted=False,
        proved=False,
        proof=None,
        tries=0,
        rejections=0,
        user=event.user or life.user,
    )
    return life, (Save(serial, event.held, past(life)),)


def saved(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """A token is on disk."""
    assert isinstance(event, Saved)
    if life.pending is not None and life.pending.token == event.held.token:
        return _settle(life, replace(life.pending, saved=True), None, now, jitter)
    if life.held is not None and life.held.token == event.held.token:
        return replace(life, held=replace(life.held, saved=True), save_problem=None, save_at=None), (Tell(),)
    return life, ()  # an older token, saved late: the newer one goes its own way


def save_failed(life: Life, event: Event, now: Moment, jitter: float) -> Step:
    """The disk refused a token."""
    assert isinstance(event, SaveFailed)
    again = now.boot + SAVE_RETRY
    if life.pending is not None and life.pending.token == event.held.token:
        life, effects = _settle(life, replace(life.pending, saved=False), event.problem, now, jitter)
        return replace(life, save_at=again), (SaveAt(again), *effects)
    if life.held is not None and life.held.token == event.held.token:
        return replace(life, save_problem=event.problem, save_at=again), (SaveAt(again),)
    return life, ()  # an older token: the newer one goes its own way


def save_due(life: Life, _event: Event, now: Moment, _jitter: float) -> Step:
    """Time to try the disk again."""
    if life.save_at is None or now.boot < life.save_at:
        return life, ()  # it was put off, or the token is on disk: every refusal planned its own next try
    if life.held is None or life.held.saved or life.pending is not None:
        return replace(life, save_at=None), ()  # never after the next token: on disk the old one would replace it
    return replace(life, save_at=None), (Save(life.serial, life.held, life.past),)


def named(life: Life, event: Event, _now: Moment, _jitter: float) -> Step:
    """The server told the name of the token's user."""
    assert isinstance(event, Named)
    if life.user is None or life.user.id != event.user.id:
        return life, ()  # the next token, asked for with the same credential, is another user's
    return replace(life, user=event.user), (Tell(),)


def past(life: Life) -> tuple[str, ...]:
    """Give the fingerprints of the tokens before the next one, newest first."""
    if life.held is None:
        return life.past
    return (life.held.token.access_token.fingerprint(), *life.past)[:PAST_KEPT]


def _settle(life: Life, held: Held, save_problem: Problem | None, now: Moment, jitter: float) -> Step:
    # A personal access token is read where it is kept, and is the same most times.
    again = life.held is not None and life.held.token.access_token == held.token.access_token
    life = replace(
        life,
        held=held,
        past=life.past if again else past(life),
        user=user_of(life, held),
        dead=False,
        dated=True,
        leased_until=0.0,
        wanted=False,
        save_problem=save_problem,
        save_at=None,
        pending=None,
        renewal=Renewal.IDLE,
        tries=0,
        proof=None,
        reason=None,
        problem=None,
        failed_at=None,
        failures=0,
    )
    due = validity.renew_at(life.terms, held, now, jitter)
    if due is not None and not validity.alive(held, now):
        due = now.boot + DEAD_ON_ARRIVAL  # the next one would be as dead: only a `get` hurries it
    life, effects = wake(life, due)
    # A probe that passes now makes a later refusal evidence, where much hangs on it.
    asked = probe(life) if life.terms.rule in {Rule.REFRESH_DISRUPTIVELY, Rule.NEVER} and not life.proved else ()
    unnamed = life.terms.probes and life.user is not None and life.user.name is None and bool(held.token.sub)
    who = (Identify(life.serial),) if unnamed else ()
    return life, (*effects, *asked, *who, Tell())


def user_of(life: Life, held: Held) -> User | None:
    """Give whose a token is; a name that is known stays with its id."""
    known, sub = life.user, held.token.sub
    return known if not sub or (known is not None and known.id == sub) else User(sub)
