"""A profile's life: what follows from what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import held, moment

from pmcredd import life as l
from pmcredd import lifecycle, validity
from pmcredd.decision import Ask, CannotPromise, Decision, Fail, Serve, Wait, decide
from pmcredd.life import Fault, Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Terms

DAY = 86_400.0
NOW = moment()
PROBLEM = Problem("the server hiccups", "wait", Fault.UNREACHABLE)
NEW = held(3600, value="token-2")

FRESH = Life(terms=Terms(Rule.ASK_ANEW), asked_at=NOW.wall)
LIVE = replace(FRESH, held=held(3600))
SENDING = replace(LIVE, renewal=Renewal.SENDING)
SAVING = replace(SENDING, pending=NEW)
WAITING = replace(LIVE, renewal=Renewal.WAITING, problem=PROBLEM, failed_at=NOW, failures=1, wake=NOW.boot + 1)
STOPPED = replace(LIVE, renewal=Renewal.STOPPED, reason=Reason.BAD_CREDENTIALS, problem=PROBLEM, failed_at=NOW)
UNSAVED = replace(LIVE, held=held(3600, saved=False), save_problem=PROBLEM)


def step(life: Life, event: l.Event, after: float = 0.0, jitter: float = 0.0) -> lifecycle.Step:
    """Let an event happen so many seconds after the beginning."""
    return lifecycle.step(life, event, moment(after), jitter)


def kinds(effects: tuple[l.Effect, ...]) -> list[type[l.Effect]]:
    """Give the effects' kinds, in order."""
    return [type(effect) for effect in effects]


def test_a_profile_without_a_token_asks_at_once() -> None:
    """A new profile is due at once, so that the first `get` finds a token."""
    life, effects = step(FRESH, l.Restored(None))

    assert effects == (l.WakeAt(NOW.boot),)
    assert step(life, l.Due())[1][0] == l.Send(life.serial)


def test_a_saved_token_is_held_and_its_renewal_planned() -> None:
    """After a start the saved token serves, and its renewal stands where it stood."""
    life, effects = step(FRESH, l.Restored(held(3600)), after=60)

    assert life.held == held(3600)
    assert effects == (l.WakeAt(NOW.boot + 2400),)


def test_single_flight() -> None:
    """While a request is under way nothing starts another one."""
    for event in (l.Asked(), l.Due(), l.Retry()):
        assert step(SENDING, event) == (SENDING, ())


def test_a_token_is_saved_before_it_is_held() -> None:
    """Nothing is handed out before it is on disk: the old token serves until then."""
    life, effects = step(SENDING, l.Issued(1, NEW))

    assert life.held == SENDING.held
    assert kinds(effects) == [l.Save]
    life, effects = step(life, l.Saved(1, NEW))
    assert life.held == NEW
    assert life.renewal is Renewal.IDLE
    assert kinds(effects) == [l.WakeAt, l.Tell]


def test_a_personal_access_token_is_not_saved() -> None:
    """A personal access token is held at once and never written to the store: its source is where it is kept."""
    life, effects = step(replace(SENDING, terms=Terms(Rule.NEVER)), l.Issued(1, NEW))

    assert life.held == NEW
    assert kinds(effects) == [l.Tell]


def test_a_full_disk_loses_no_token() -> None:
    """What cannot be saved is served from memory, told as unsaved, and saved again every five seconds."""
    life, effects = step(SAVING, l.SaveFailed(1, NEW, PROBLEM), after=1)

    assert life.held == replace(NEW, saved=False)
    assert life.save_problem == PROBLEM
    assert l.SaveAt(moment(6).boot) in effects
    assert l.Tell() in effects
    life, effects = step(life, l.SaveDue(), after=6)
    assert kinds(effects) == [l.Save]
    life, effects = step(life, l.SaveFailed(1, NEW, PROBLEM), after=6)
    assert effects == (l.SaveAt(moment(11).boot),)
    life, effects = step(life, l.Saved(1, replace(NEW, saved=False)), after=11)
    assert life.held is not None
    assert life.held.saved
    assert life.save_problem is None


def test_an_old_token_saved_late_does_not_pass_for_the_new_one() -> None:
    """A late save of the token before settles that token alone, not the one that waits for its own save."""
    life = replace(UNSAVED, renewal=Renewal.SENDING, pending=NEW)

    life, _ = step(life, l.Saved(1, held(3600, saved=False)))

    assert life.renewal is Renewal.SENDING
    assert life.pending == NEW


def test_backoff_doubles_is_jittered_and_ends_at_five_minutes() -> None:
    """Failures that pass are tried again, ever more slowly, from half to the whole of the doubled delay."""
    life, waits = SENDING, []
    for _ in range(12):
        life, effects = step(replace(life, renewal=Renewal.SENDING), l.Failed(1, PROBLEM), jitter=1.0)
        waits.append(next(effect.boot for effect in effects if isinstance(effect, l.WakeAt)) - NOW.boot)
    _, low = step(SENDING, l.Failed(1, PROBLEM), jitter=0.0)

    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == 300
    assert low[0] == l.WakeAt(NOW.boot + 0.5)


def test_retry_after_is_obeyed() -> None:
    """A server that names a time gets it; a shorter one than our own delay does not hurry us."""
    _, effects = step(SENDING, l.Failed(1, PROBLEM, retry_after=1234.0))
    assert effects[0] == l.WakeAt(NOW.boot + 1234)
    _, effects = step(replace(SENDING, failures=8), l.Failed(1, PROBLEM, retry_after=1.0), jitter=1.0)
    assert effects[0] == l.WakeAt(NOW.boot + 256)


def test_a_get_does_not_jump_a_backoff() -> None:
    """Asking does not hurry a back-off: the server is not hammered by impatient scripts."""
    assert step(WAITING, l.Asked()) == (WAITING, ())


def test_success_forgets_the_failures() -> None:
    """After a success the next failure starts from one second again."""
    life, _ = step(replace(SAVING, failures=9, problem=PROBLEM), l.Saved(1, NEW))

    assert life.failures == 0
    assert life.problem is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SECRET_UNAVAILABLE])
def test_a_refusal_stops_for_good_and_keeps_the_token(reason: Reason) -> None:
    """A wrong password is tried once; the token that still works is kept; only a person starts another try."""
    life, effects = step(SENDING, l.Refused(1, reason, PROBLEM))

    assert life.held == SENDING.held
    assert kinds(effects) == [l.Tell]
    assert step(life, l.Asked(), after=10 * DAY) == (life, ())
    assert kinds(step(life, l.Retry())[1]) == [l.Send, l.Tell]


def test_a_locked_secret_is_tried_again_slowly() -> None:
    """A secret that could not be read is retried by a timer after a quarter of an hour, on demand once a minute."""
    life, effects = step(SENDING, l.Refused(1, Reason.SECRET_UNAVAILABLE, PROBLEM))

    assert l.WakeAt(NOW.boot + 900) in effects
    assert step(life, l.Asked(), after=59)[0].renewal is Renewal.STOPPED
    assert step(life, l.Asked(), after=60)[0].renewal is Renewal.SENDING


def test_a_profile_nobody_asked_for_is_let_go() -> None:
    """After thirty days without a `get` nothing is sent; it goes on once somebody asks."""
    forgotten = replace(LIVE, asked_at=NOW.wall - 31 * DAY)

    life, effects = step(forgotten, l.Due())
    assert effects == (l.WakeAt(NOW.boot + DAY),)
    assert kinds(step(replace(life, asked_at=NOW.wall), l.Due())[1]) == [l.Send, l.Tell]


@pytest.mark.parametrize(
    "event", [l.Issued(7, NEW), l.Saved(7, NEW), l.Failed(7, PROBLEM), l.Refused(7, Reason.CONFIG, PROBLEM)]
)
@pytest.mark.parametrize("life", [LIVE, SENDING, WAITING, STOPPED])
def test_an_answer_with_an_old_serial_is_absorbed(life: Life, event: l.Event) -> None:
    """What was asked for before a login or logout changes nothing when it arrives after it."""
    assert step(life, event) == (life, ())


@pytest.mark.parametrize(
    ("life", "event"),
    [
        (LIVE, l.Issued(1, NEW)),
        (LIVE, l.Failed(1, PROBLEM)),
        (WAITING, l.Refused(1, Reason.CONFIG, PROBLEM)),
        (STOPPED, l.Issued(1, NEW)),
        (SENDING, l.Restored(None)),
    ],
)
def test_nonsense_raises_and_changes_nothing(life: Life, event: l.Event) -> None:
    """An answer that nobody asked for is our own bug, and is not papered over."""
    with pytest.raises(lifecycle.NonsenseError):
        step(life, event)


@pytest.mark.parametrize(
    ("life", "after", "lasting", "expected"),
    [
        pytest.param(LIVE, 0, None, Serve(), id="good"),
        pytest.param(LIVE, 3590, None, Ask(), id="about to end: ask anew"),
        pytest.param(LIVE, 4000, None, Ask(), id="dead: ask anew"),
        pytest.param(FRESH, 0, None, Ask(), id="none: ask"),
        pytest.param(SENDING, 0, None, Serve(), id="good while the next is under way"),
        pytest.param(SENDING, 4000, None, Wait(), id="dead while the next is under way"),
        pytest.param(WAITING, 3590, None, Serve(), id="failing: what lives is served"),
        pytest.param(WAITING, 4000, None, Fail(), id="failing and dead"),
        pytest.param(WAITING, 3000, 1800, Fail(), id="failing: a promise is not bent"),
        pytest.param(STOPPED, 3590, None, Serve(), id="stopped: what lives is served"),
        pytest.param(STOPPED, 4000, None, Fail(), id="stopped and dead"),
        pytest.param(LIVE, 3000, 1800, Ask(), id="not long enough: ask anew"),
        pytest.param(LIVE, 0, 7200, CannotPromise(3600), id="longer than any token of that server"),
        pytest.param(replace(STOPPED, reason=Reason.SECRET_UNAVAILABLE), 4000, None, Ask(), id="locked a while ago"),
    ],
)
def test_decide(life: Life, after: float, lasting: float | None, expected: Decision) -> None:
    """What a `get` is answered with follows from the token, the renewal and the promise asked for."""
    assert decide(life, moment(after), lasting) == expected


lives = st.builds(
    Life,
    terms=st.builds(Terms, st.sampled_from(Rule)),
    held=st.none() | st.builds(held, st.floats(1, 1e6) | st.none()),
    renewal=st.sampled_from(Renewal),
    problem=st.just(PROBLEM),
    reason=st.sampled_from(Reason),
    failed_at=st.just(NOW),
    asked_at=st.just(NOW.wall),
)


@given(lives, st.floats(0, 2e6), st.none() | st.floats(0, 2e6))
def test_a_dead_token_is_never_served(life: Life, after: float, lasting: float | None) -> None:
    """Whatever the renewal is doing, SERVE means a token that lives, and as long as was asked for."""
    now = moment(after)

    if isinstance(decide(life, now, lasting), Serve):
        assert life.held is not None
        left = validity.remaining(life.held, now)
        assert left is None or left > 0
        assert left is None or lasting is None or left >= lasting


events = st.sampled_from(
    [
        l.Asked(),
        l.Due(),
        l.Retry(),
        l.SaveDue(),
        l.Issued(1, NEW),
        l.Saved(1, NEW),
        l.SaveFailed(1, NEW, PROBLEM),
        l.Failed(1, PROBLEM, 5.0),
        *(l.Refused(1, reason, PROBLEM) for reason in Reason),
    ]
)


@given(lives, st.lists(st.tuples(events, st.floats(0, 4000)), max_size=30))
def test_every_step_leads_where_the_table_says(life: Life, happenings: list[tuple[l.Event, float]]) -> None:
    """No event leads to a renewal that its row of the table does not name, and a living token is never dropped."""
    now = 0.0
    for event, gap in happenings:
        now += gap
        before = life
        try:
            life, effects = step(before, event, after=now)
        except lifecycle.NonsenseError:
            continue
        assert life.renewal in lifecycle.TABLE[before.renewal, type(event)].to
        if before.held is not None:
            assert life.held is not None
        if life.renewal is Renewal.WAITING and before.renewal is Renewal.SENDING:
            assert any(isinstance(effect, l.WakeAt) for effect in effects), "waiting needs an end"


def test_the_table_names_no_state_in_vain() -> None:
    """Every renewal is entered and left by some row: none is a dead end, none is dead code."""
    for renewal in Renewal:
        if renewal is not Renewal.IDLE:
            assert any(renewal in row.to and start is not renewal for (start, _), row in lifecycle.TABLE.items())
        assert any(start is renewal and row.to - {renewal} for (start, _), row in lifecycle.TABLE.items())


def test_a_held_token_knows_nothing_of_its_secret() -> None:
    """The repr of a life, as a log or a failing test would show it, holds no token."""
    assert "token-1" not in repr(LIVE)
    assert isinstance(LIVE.held, Held)
