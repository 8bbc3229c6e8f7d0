"""What of a profile's life is an event, and when: each trouble once, none that heals by itself at once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import held, moment

from pmcredd import event_rules
from pmcredd.event_rules import PATIENCE_WITH_TOKEN, PATIENCE_WITHOUT_TOKEN, Seen, look
from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import EventName
from pmcredd.validity import Terms

NEEDS_LOGIN, RENEWED, FAILING, EXPIRING = EventName
PROBLEM = Problem("the server is away")
LIVE = Life(Terms(Rule.ASK_ANEW), held=held())
NONE_YET = replace(LIVE, held=None, renewal=Renewal.SENDING)
WAITING = replace(LIVE, renewal=Renewal.WAITING, problem=PROBLEM)
WAITING_WITHOUT = replace(WAITING, held=None)


def stopped(reason: Reason) -> Life:
    """Give a life that only somebody can go on with."""
    return replace(LIVE, renewal=Renewal.STOPPED, reason=reason, problem=PROBLEM)


def follow(
    lives: Sequence[tuple[float, Life]], wanted: Sequence[EventName] = tuple(EventName)
) -> list[tuple[float, EventName]]:
    """Look at these lives at their times (seconds), and give what happened when."""
    seen: Seen | None = None
    told = []
    for at, life in lives:
        seen, happened = look(seen, life, moment(at), at, wanted)
        told += [(at, event) for event in happened]
    return told


def test_what_was_there_at_the_start_is_no_news() -> None:
    """A daemon that comes back with the token that it had before runs nothing."""
    assert follow([(0, LIVE), (1, LIVE)]) == []


def test_each_new_token_is_an_event_once() -> None:
    """The first one, the next one, the one after a login; not one that is saved late, or lives on after all."""
    second = replace(LIVE, held=held(value="token-2", saved=False))
    saved = replace(LIVE, held=held(value="token-2"))
    dead = replace(saved, dead=True)
    found = follow([(0, NONE_YET), (1, LIVE), (2, LIVE), (3, second), (4, saved), (5, dead), (6, saved), (7, LIVE)])
    assert found == [(1, RENEWED), (3, RENEWED), (7, RENEWED)]


def test_a_personal_access_token_that_is_read_at_the_start_is_no_news() -> None:
    """It has been there all the time; another one in its place is."""
    given = replace(LIVE, terms=Terms(Rule.NEVER))
    another = replace(given, held=held(value="token-2"))
    assert follow([(0, replace(given, held=None)), (1, given), (2, another)]) == [(2, RENEWED)]


@pytest.mark.parametrize("reason", [Reason.NEEDS_LOGIN, Reason.BAD_CREDENTIALS])
def test_a_login_that_is_needed_is_told_once(reason: Reason) -> None:
    """Also at the start; a reload or a login that tries in vain is the same trouble; the next one is told again."""
    stop = stopped(reason)
    trying = replace(stop, renewal=Renewal.SENDING, reason=None)
    new = replace(LIVE, held=held(value="token-2"))
    found = follow([(0, stop), (1, trying), (2, stop), (900, stop), (901, new), (902, replace(stop, held=new.held))])
    assert found == [(0, NEEDS_LOGIN), (901, RENEWED), (902, NEEDS_LOGIN)]


def test_who_logged_out_knows() -> None:
    """A logout is no trouble, and ends the one that was."""
    out = stopped(Reason.LOGGED_OUT)
    assert follow([(0, LIVE), (1, out), (9999, out)]) == []
    need = stopped(Reason.NEEDS_LOGIN)
    assert follow([(0, need), (1, out), (2, need)]) == [(0, NEEDS_LOGIN), (2, NEEDS_LOGIN)]


@pytest.mark.parametrize("reason", [Reason.BAD_CLIENT, Reason.CONFIG, Reason.SECRET_UNAVAILABLE])
def test_what_no_time_heals_fails_at_once(reason: Reason) -> None:
    """The client was refused, the secret cannot be read: nothing is tried again soon."""
    assert follow([(0, LIVE), (1, stopped(reason)), (2, stopped(reason))]) == [(1, FAILING)]


@pytest.mark.parametrize(
    ("life", "patience"),
    [
        (WAITING_WITHOUT, PATIENCE_WITHOUT_TOKEN),
        (replace(WAITING, dead=True), PATIENCE_WITHOUT_TOKEN),
        (replace(WAITING, held=held(lifetime=1.0)), PATIENCE_WITHOUT_TOKEN),
        (WAITING, PATIENCE_WITH_TOKEN),
        (replace(WAITING, renewal=Renewal.SENDING), PATIENCE_WITH_TOKEN),
        (replace(WAITING, renewal=Renewal.DOUBTFUL), PATIENCE_WITH_TOKEN),
        (replace(LIVE, save_problem=PROBLEM), PATIENCE_WITH_TOKEN),
    ],
)
def test_what_may_heal_gets_time(life: Life, patience: float) -> None:
    """A minute where nothing works meanwhile, five where the token in hand lives on; then it is told, once."""
    times = [10.0, 11.0, 10 + patience - 1, 10 + patience, 10 + patience + 1]
    assert follow([(0, LIVE), *((at, life) for at in times)]) == [(10 + patience, FAILING)]


def test_a_try_that_fails_and_heals_is_nothing() -> None:
    """However often: the time is counted from the first failure since the last success."""
    ups_and_downs = [(at + part * 55.0, life) for at in range(0, 9000, 60) for part, life in ((0, WAITING), (1, LIVE))]
    assert follow(ups_and_downs) == []


def test_a_trouble_that_turns_into_another_one_is_told_as_that() -> None:
    """Failing, then a login is needed; and where it was told as failing, another reason is not told again."""
    need, refused = stopped(Reason.NEEDS_LOGIN), stopped(Reason.BAD_CLIENT)
    found = follow([(0, WAITING), (300, WAITING), (301, refused), (302, need), (303, refused)])
    assert found == [(300, FAILING), (302, NEEDS_LOGIN)]


def test_what_has_no_command_yet_is_told_when_it_has() -> None:
    """Whoever adds a command while a profile needs a login need not wait for the next time."""
    need = stopped(Reason.NEEDS_LOGIN)
    seen, happened = look(None, need, moment(0), 0, [RENEWED])
    assert happened == ()
    _, happened = look(seen, need, moment(1), 1, [NEEDS_LOGIN])
    assert happened == (NEEDS_LOGIN,)


LIVES = st.builds(
    lambda life, token, dead: replace(life, held=token and held(1e6, value=token), dead=dead),
    st.sampled_from([LIVE, NONE_YET, WAITING, replace(LIVE, save_problem=PROBLEM), *map(stopped, Reason)]),
    st.sampled_from([None, "one", "two"]),
    st.booleans(),
)


@given(st.lists(st.tuples(st.floats(0, 400), LIVES), max_size=30), st.sets(st.sampled_from(EventName)))
def test_between_two_of_a_kind_something_changed(steps: list[tuple[float, Life]], wanted: set[EventName]) -> None:
    """Whatever happens: a trouble comes twice only if it was over in between, a token only if it is another one."""
    seen: Seen | None = None
    told: set[EventName] = set()
    tokens: list[object] = []
    at = 0.0
    for after, life in steps:
        at += after
        seen, happened = look(seen, life, moment(at), at, wanted)
        assert wanted.issuperset(happened)
        if event_rules.trouble(life) is None:
            told = set()
        assert not told.intersection(happened)
        told |= event_rules.TROUBLES.intersection(happened)
        if RENEWED in happened:
            assert life.held is not None
            assert not life.dead
            assert tokens[-1:] != [life.held.token.access_token]
        if life.held is not None and not life.dead:
            tokens.append(life.held.token.access_token)
