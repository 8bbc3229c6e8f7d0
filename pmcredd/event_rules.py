"""What of a profile's life is an event that a command of `on_event` runs for: each trouble is told once.

Pure: what was seen before and what is the case now go in, what is to be remembered and what happened come out.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import EventName
from pmcredd.secret import Secret
from pmcredd.transition import living
from pmcredd.validity import Moment

PATIENCE_WITHOUT_TOKEN = 60.0  # seconds: the network of a machine that was just started or opened needs that long
PATIENCE_WITH_TOKEN = 300.0  # nobody misses anything yet, and most servers that fail are back by then
TROUBLES = frozenset({EventName.NEEDS_LOGIN, EventName.FAILING})

# A password that was refused is not tried again either, and a `get` is answered with the same error.
_MENDED_BY_LOGIN = frozenset({Reason.NEEDS_LOGIN, Reason.BAD_CREDENTIALS})
_NOTHING: frozenset[EventName] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a profile: the last token in hand, and of its trouble the beginning and what was told.

    `since` is of a clock that stands still while the machine sleeps: a night in a bag is no night of trouble.
    """

    token: Secret | None = None
    since: float | None = None
    told: frozenset[EventName] = _NOTHING


def look(
    seen: Seen | None, life: Life, now: Moment, awake: float, wanted: Collection[EventName]
) -> tuple[Seen, tuple[EventName, ...]]:
    """Find out what has happened.

    Args:
        seen: what was remembered the last time, or None at the first: what is there then is no news, trouble is.
        life: what is known of the profile.
        now: this moment.
        awake: the same in seconds, on a clock that stands still while the machine sleeps.
        wanted: the events that have commands; what is not wanted is not told, and may be later.
    """
    held = None if life.dead else life.held
    token = None if held is None else held.token.access_token
    happened = []
    if seen is None:
        seen = Seen(token)
    elif seen.token is None and life.terms.rule is Rule.NEVER:
        pass  # a personal access token is read at every start, from where it has been all the time
    elif token is not None and token is not seen.token and token != seen.token:
        happened.append(EventName.RENEWED)
    token = token or seen.token
    if trouble(life) is None:
        return Seen(token), tuple(event for event in happened if event in wanted)
    seen = replace(seen, token=token, since=awake if seen.since is None else seen.since)
    if (event := _which(seen, life, now, awake)) is not None and event not in seen.told:
        happened.append(event)
    happened = [event for event in happened if event in wanted]
    return replace(seen, told=seen.told | TROUBLES.intersection(happened)), tuple(happened)


def trouble(life: Life) -> Problem | None:
    """Give what is wrong, from the first try that fails to the next token; a person who logged out has no trouble."""
    if life.renewal is Renewal.STOPPED and life.reason is Reason.LOGGED_OUT:
        return None
    return (life.problem if life.renewal is not Renewal.IDLE else None) or life.save_problem


def _which(seen: Seen, life: Life, now: Moment, awake: float) -> EventName | None:
    if life.renewal is Renewal.STOPPED:  # no time heals that
        return EventName.NEEDS_LOGIN if life.reason in _MENDED_BY_LOGIN else EventName.FAILING
    patience = PATIENCE_WITHOUT_TOKEN if living(life, now) is None else PATIENCE_WITH_TOKEN
    return EventName.FAILING if seen.since is not None and awake - seen.since >= patience else None
