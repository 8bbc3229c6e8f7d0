"""A profile's life when somebody logs out of it, and whose its tokens are."""

from dataclasses import replace

import pytest
from support.lives import held, moment
from support.pairs import pair

from pmcredd import life as l
from pmcredd import lifecycle
from pmcredd.decision import Fail, decide
from pmcredd.life import Life, Problem, Reason, Renewal, User
from pmcredd.processmaker import Renewal as Rule
from pmcredd.transition import Step
from pmcredd.validity import Terms

NOW = moment()
GONE = Problem("somebody has logged out", "pmcred login prod")
DOWN = Problem("the server is down")
PM4 = Terms(Rule.REFRESH_DISRUPTIVELY, probes=True)
ASK = Terms(Rule.ASK_ANEW, probes=True)
PAIR, NEXT = pair(36_000.0), pair(36_000.0, value="token-2")
SMITH = User("7", "a.smith")

LIVE = Life(PM4, held=PAIR, wake=NOW.boot + 9, asked_at=NOW.wall, user=SMITH, leased_until=NOW.boot + 60, proved=True)
EVERYWHERE = [
    pytest.param(LIVE, id="idle"),
    pytest.param(replace(LIVE, held=replace(PAIR, saved=False), save_problem=DOWN, save_at=NOW.boot + 5), id="unsaved"),
    pytest.param(replace(LIVE, renewal=Renewal.SENDING, tries=1, wake=None), id="sending"),
    pytest.param(replace(LIVE, renewal=Renewal.SENDING, tries=1, wake=None, pending=NEXT), id="saving"),
    pytest.param(replace(LIVE, renewal=Renewal.DOUBTFUL, tries=1, problem=DOWN, failed_at=NOW), id="doubtful"),
    pytest.param(replace(LIVE, renewal=Renewal.WAITING, problem=DOWN, failed_at=NOW, failures=3), id="waiting"),
    pytest.param(replace(LIVE, renewal=Renewal.STOPPED, reason=Reason.BAD_CLIENT, problem=DOWN), id="stopped"),
    pytest.param(replace(LIVE, dead=True, rejections=2), id="dead"),
]


def step(life: Life, event: l.Event, after: float = 0.0) -> Step:
    """Let an event happen so many seconds after the beginning."""
    return lifecycle.step(life, event, moment(after), 0.0)


def left(life: Life = LIVE) -> Life:
    """Give a life after a logout."""
    return step(life, l.LoggedOut(GONE))[0]


@pytest.mark.parametrize("life", EVERYWHERE)
def test_a_logout_drops_everything_whatever_goes_on(life: Life) -> None:
    """No token, no promise, no doubt, no timer; what is known beside them stays."""
    after, effects = step(life, l.LoggedOut(GONE))

    assert effects == (l.Tell(),)
    assert after == Life(
        PM4,
        serial=life.serial + 1,
        renewal=Renewal.STOPPED,
        reason=Reason.LOGGED_OUT,
        problem=GONE,
        past=(PAIR.token.access_token.fingerprint(),),
        asked_at=NOW.wall,
        user=SMITH,
    )
    assert decide(after, NOW, None) == decide(after, NOW, 60.0) == Fail()


@pytest.mark.parametrize("life", EVERYWHERE)
@pytest.mark.parametrize(
    "event",
    [
        l.Issued(1, NEXT),
        l.Saved(1, NEXT),
        l.SaveFailed(1, NEXT, DOWN),
        l.Failed(1, DOWN),
        l.Refused(1, Reason.CONFIG, DOWN),
        l.Lost(1, DOWN),
        l.Probed(1, NOW.boot, passed=True, skew=0.0),
        l.ProbeFailed(1, DOWN),
        l.Rejected(1, dead=True),
        l.Named(1, User("7", "b.jones")),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_was_under_way_changes_nothing(life: Life, event: l.Event) -> None:
    """Every answer carries the serial of before; none of them raises, and none brings anything back."""
    after = left(life)
    assert step(after, event, 100.0) == (after, ())


@pytest.mark.parametrize(
    "event",
    [l.Asked(), l.Due(), l.SaveDue(), l.Changed(PM4), l.Probed(2, NOW.boot, passed=False, skew=None)],
    ids=lambda event: type(event).__name__,
)
def test_nothing_but_a_login_ends_it(event: l.Event) -> None:
    """A `get`, a timer, an edited profile: none of them asks for a token, not after a year either."""
    for after in (0.0, 400 * 86_400.0):
        life, effects = step(left(), event, after)
        assert life == left()
        assert set(effects) <= {l.Tell()}


def test_a_login_ends_it() -> None:
    """With a code, or, for the grants that ask anew, with a person's word."""
    life, effects = step(left(), l.LoggedIn(NEXT, User("8", "b.jones")))
    assert effects == (l.Save(3, NEXT, (PAIR.token.access_token.fingerprint(),)),)
    life, _ = step(life, l.Saved(3, NEXT))
    assert (life.held, life.renewal, life.reason, life.problem) == (NEXT, Renewal.IDLE, None, None)

    life, effects = step(left(replace(LIVE, terms=ASK, held=held())), l.Retry())
    assert life.renewal is Renewal.SENDING
    assert l.Send(2) in effects


def test_a_logout_is_restored() -> None:
    """A daemon that starts again knows of it from the disk, whatever tokens it may find there."""
    life, effects = step(Life(PM4, serial=5, user=SMITH), l.Restored(PAIR, logged_out=GONE))
    assert (life.held, life.renewal, life.reason, life.serial) == (None, Renewal.STOPPED, Reason.LOGGED_OUT, 5)
    assert life.user == SMITH
    assert effects == (l.Tell(),)


# --- whose they are ---------------------------------------------------------------------------------------------------


def arrive(before: Life, user: User | None = None) -> Step:
    """Let the next token of user 7 arrive."""
    life, _ = step(replace(before, renewal=Renewal.SENDING), l.Issued(before.serial, NEXT, user))
    return step(life, l.Saved(life.serial, NEXT))


def test_a_token_tells_its_user_and_the_server_the_name() -> None:
    """The name is asked for once a token is in hand, and not again while it is the same user's."""
    life, effects = arrive(replace(LIVE, user=None))
    assert life.user == User("7")
    assert l.Identify(1) in effects
    life, effects = step(life, l.Named(1, SMITH))
    assert (life.user, effects) == (SMITH, (l.Tell(),))
    life, effects = arrive(life)
    assert life.user == SMITH
    assert l.Identify(1) not in effects


def test_the_name_goes_with_the_user() -> None:
    """A token of another user has another name, which is asked for anew; an answer about the one before is late."""
    life, effects = arrive(replace(LIVE, user=User("8", "b.jones")))
    assert life.user == User("7")
    assert l.Identify(1) in effects
    assert step(life, l.Named(1, User("8", "b.jones"))) == (life, ())


def test_a_name_that_is_known_on_arrival_is_not_asked_for() -> None:
    """Where it had to be found out before the save, nobody asks again."""
    life, effects = arrive(replace(LIVE, user=None), SMITH)
    assert life.user == SMITH
    assert l.Identify(1) not in effects


@pytest.mark.parametrize(
    ("terms", "sub"), [(ASK, ""), (ASK, None), (replace(ASK, probes=False), "7")], ids=["none", "opaque", "mute server"]
)
def test_who_cannot_be_named_is_not_asked_for(terms: Terms, sub: str | None) -> None:
    """client_credentials has no user, ProcessMaker 3 tells none."""
    token = replace(NEXT, token=replace(NEXT.token, sub=sub))
    life, _ = step(Life(terms, renewal=Renewal.SENDING), l.Issued(1, token))
    life, effects = step(life, l.Saved(1, token))
    assert not any(isinstance(effect, l.Identify) for effect in effects)
    assert life.user == (User("7") if sub else None)


def test_a_refresh_that_the_server_took_for_nothing_has_killed_the_token() -> None:
    """Its answer was of no use, and the pair before is spent: on ProcessMaker 4 the token in hand is dead."""
    sending = replace(LIVE, renewal=Renewal.SENDING, tries=1)
    life, _ = step(sending, l.Refused(1, Reason.NEEDS_LOGIN, DOWN, spent=True))
    assert life.dead
    assert not step(sending, l.Refused(1, Reason.NEEDS_LOGIN, DOWN))[0].dead
