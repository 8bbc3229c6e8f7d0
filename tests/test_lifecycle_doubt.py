"""Doubt: a refresh token went out, and no answer came back."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import BOOT, moment
from support.pairs import pair

from pmcredd import life as l
from pmcredd import lifecycle
from pmcredd.decision import Serve, decide
from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.transition import Step
from pmcredd.validity import Terms

TIMEOUT = 30.0
NOW = moment()
LOST = Problem("the connection was closed")
DOWN = Problem("no route to host")
PAIR = pair(36_000)

PM4 = Terms(Rule.REFRESH_DISRUPTIVELY, timeout=TIMEOUT, probes=True)
PM3 = Terms(Rule.REFRESH_QUIETLY, timeout=TIMEOUT)
SENDING = Life(terms=PM4, held=PAIR, renewal=Renewal.SENDING, tries=1, proved=True, asked_at=NOW.wall)
UNPROVED = replace(SENDING, proved=False)
SENDING3 = replace(SENDING, terms=PM3)
SECOND = replace(SENDING, tries=2)
UNNAMED = replace(SENDING, held=pair(36_000, named=False))


def step(life: Life, event: l.Event, after: float) -> Step:
    """Let an event happen so many seconds after the answer was lost."""
    return lifecycle.step(life, event, moment(after), 0.0)


@dataclass(frozen=True)
class Asked:
    """The server was asked about the token, at `at`, and answered then; None says neither that it lives nor not."""

    at: float
    passed: bool | None


@dataclass(frozen=True)
class Failed:
    """It could not be asked."""

    at: float


def probe(life: Life, *answers: Asked | Failed) -> Life:
    """Let time pass and questions be answered; what is due meanwhile happens."""
    for answer in answers:
        while life.wake is not None and life.wake <= BOOT + answer.at:
            life, _ = step(life, l.Due(), life.wake - BOOT)
        event: l.Event = l.ProbeFailed(life.serial, DOWN)
        if isinstance(answer, Asked):
            event = l.Probed(life.serial, BOOT + answer.at, answer.passed, 0.0)
        life, _ = step(life, event, answer.at)
    return life


def lost(life: Life = SENDING) -> Life:
    """Lose the answer."""
    return step(life, l.Lost(1, LOST), 0.0)[0]


# --- ProcessMaker 4: the server is asked ------------------------------------------------------------------------------


def test_a_lost_answer_is_doubt_and_the_server_is_asked() -> None:
    """A lost answer to a refresh is no back-off: nothing is sent again before the server was asked about the token."""
    life, effects = step(SENDING, l.Lost(1, LOST), 0.0)

    assert life.renewal is Renewal.DOUBTFUL
    assert life.problem == LOST
    assert life.wake is None
    assert effects == (l.Probe(1), l.Tell())


def test_two_proofs_a_timeout_apart_end_the_doubt() -> None:
    """A token that lives now, and lives after a request could have been under way, was never refreshed."""
    life = lost()

    life, effects = step(life, l.Probed(1, BOOT + 1, passed=True, skew=0.0), 2)
    assert life.renewal is Renewal.DOUBTFUL
    assert effects == (l.WakeAt(BOOT + 2 + TIMEOUT),)
    life, effects = step(life, l.Due(), 32)
    assert effects == (l.Probe(1),)
    life, effects = step(life, l.Probed(1, BOOT + 32, passed=True, skew=0.0), 33)
    assert (life.renewal, life.tries) == (Renewal.WAITING, 0)
    assert effects == (l.Unspend(1), l.WakeAt(BOOT + 34), l.Tell())  # tried again, with a back-off of its own
    assert step(life, l.Due(), 34)[1][0] == l.Send(1, tries=1)


@pytest.mark.parametrize(
    ("life", "answers", "renewal", "tries", "dead"),
    [
        pytest.param(SENDING, [Asked(1, True)], Renewal.DOUBTFUL, 1, False, id="one proof may have overtaken it"),
        pytest.param(SENDING, [Asked(1, True), Asked(31, True)], Renewal.WAITING, 0, False, id="two"),
        pytest.param(SENDING, [Asked(1, True), Asked(30.9, True)], Renewal.DOUBTFUL, 1, False, id="two, too near"),
        pytest.param(
            SENDING, [Asked(1, True), Failed(31), Asked(32, True)], Renewal.WAITING, 0, False, id="the first one stands"
        ),
        pytest.param(SENDING, [Asked(-1, False)], Renewal.DOUBTFUL, 1, False, id="asked before"),
        pytest.param(SENDING, [Asked(1, False)], Renewal.SENDING, 2, True, id="refused: it arrived; once more"),
        pytest.param(SENDING, [Asked(1, True), Asked(31, False)], Renewal.SENDING, 2, True, id="refused later"),
        pytest.param(UNPROVED, [Asked(1, False)], Renewal.DOUBTFUL, 1, False, id="refused, never passed"),
        pytest.param(UNPROVED, [Asked(1, False), Asked(30, False)], Renewal.SENDING, 2, False, id="nothing: once more"),
        pytest.param(SENDING, [Asked(1, None)], Renewal.DOUBTFUL, 1, False, id="403 or 404: it may be under way"),
        pytest.param(SENDING, [Asked(1, None), Asked(30, None)], Renewal.SENDING, 2, False, id="403 or 404: once more"),
        pytest.param(SENDING, [Asked(31, None)], Renewal.SENDING, 2, False, id="403 or 404, late"),
        pytest.param(SENDING, [Failed(1)], Renewal.DOUBTFUL, 1, False, id="could not be asked"),
        pytest.param(SENDING, [Failed(1), Failed(9), Failed(99)], Renewal.DOUBTFUL, 1, False, id="for long: ask later"),
        pytest.param(
            SENDING, [Failed(1), Asked(9, True), Asked(40, True)], Renewal.WAITING, 0, False, id="asked at last"
        ),
        pytest.param(
            UNPROVED, [Asked(1, True), Asked(31, False)], Renewal.SENDING, 2, True, id="proved by the first question"
        ),
        # after the second try
        pytest.param(SECOND, [Asked(1, False)], Renewal.STOPPED, 2, True, id="second: refused"),
        pytest.param(SECOND, [Asked(1, None)], Renewal.DOUBTFUL, 2, False, id="second: under way"),
        pytest.param(SECOND, [Asked(31, None)], Renewal.STOPPED, 2, False, id="second: open"),
        pytest.param(SECOND, [Failed(1), Failed(99)], Renewal.DOUBTFUL, 2, False, id="second: ask later"),
        pytest.param(SECOND, [Asked(1, True), Asked(31, True)], Renewal.WAITING, 0, False, id="second: proof"),
    ],
)
def test_what_the_questions_lead_to(
    life: Life, answers: list[Asked | Failed], renewal: Renewal, tries: int, dead: bool
) -> None:
    """Proof ends the doubt; evidence that it is spent, or none, leads to one more try, and never to a third."""
    life = probe(lost(life), *answers)

    assert (life.renewal, life.tries, life.dead) == (renewal, tries, dead)
    if renewal is Renewal.STOPPED:
        assert life.reason is Reason.NEEDS_LOGIN
        assert life.problem is not None


def test_a_server_that_cannot_be_asked_is_asked_again_ever_more_slowly() -> None:
    """An outage after a lost answer is waited out: nothing is spent, and the server is not hammered."""
    life, waits = lost(), []
    for _ in range(6):
        life, effects = step(life, l.ProbeFailed(1, DOWN), 1)
        assert life.wake is not None
        waits.append(life.wake - BOOT - 1)
        assert effects == (l.WakeAt(life.wake),)
        life, effects = step(life, l.Due(), 1)
        assert effects == (l.Probe(1),)

    assert waits == [1, 2, 4, 8, 16, 32]
    assert life.problem == DOWN


def test_somebody_else_s_question_disturbs_no_back_off() -> None:
    """A probe for a reject, answered while we wait to ask or to send again, neither hurries nor delays that."""
    life, _ = step(lost(), l.ProbeFailed(1, DOWN), 1)

    for event in (l.ProbeFailed(1, DOWN), l.Probed(1, BOOT + 1, passed=None, skew=0.0)):
        assert step(life, event, 1.1) == (life, ())


# --- what the second try leads to -------------------------------------------------------------------------------------


def test_revoked_after_doubt_means_the_answer_was_lost() -> None:
    """The first request did arrive: the only pair that lives is lost, and so is the token in hand."""
    second = probe(lost(), Asked(1, False))
    life, _ = step(second, l.Refused(1, Reason.NEEDS_LOGIN, Problem("revoked")), 2)

    assert (life.renewal, life.reason) == (Renewal.STOPPED, Reason.NEEDS_LOGIN)
    assert life.dead
    assert life.tries == 0
    assert life.held is not None
    assert life.held.token.refresh_token is None


def test_revoked_without_doubt_leaves_the_access_token() -> None:
    """An administrator, or time, ended the login: the access token may live, and is served until it is reported."""
    life, _ = step(SENDING, l.Refused(1, Reason.NEEDS_LOGIN, Problem("revoked")), 1)

    assert life.renewal is Renewal.STOPPED
    assert not life.dead


def test_revoked_after_doubt_leaves_processmaker_3_its_access_token() -> None:
    """There a refresh kills nothing: the access token is served to its expiry."""
    second = replace(SENDING3, tries=2)
    life, _ = step(second, l.Refused(1, Reason.NEEDS_LOGIN, Problem("revoked")), 1)

    assert life.renewal is Renewal.STOPPED
    assert not life.dead


@pytest.mark.parametrize(
    ("event", "renewal"),
    [
        pytest.param(l.Failed(1, DOWN), Renewal.DOUBTFUL, id="not sent"),
        pytest.param(l.Failed(1, DOWN, retry_after=90.0), Renewal.DOUBTFUL, id="throttled"),
        pytest.param(l.Refused(1, Reason.SECRET_UNAVAILABLE, DOWN), Renewal.STOPPED, id="the secret is locked"),
        pytest.param(l.Refused(1, Reason.BAD_CLIENT, DOWN), Renewal.STOPPED, id="the client secret is wrong"),
    ],
)
def test_a_second_try_that_did_not_reach_the_refresh_token_is_none(event: l.Event, renewal: Renewal) -> None:
    """The first one is still in doubt then, and the second may be made later; but no more than that."""
    second = probe(lost(), Asked(1, False))
    assert second.tries == 2
    life, _ = step(second, event, 2)
    assert (life.renewal, life.tries) == (renewal, 1)

    if renewal is Renewal.STOPPED:
        life, effects = step(life, l.Retry(), 500)
        assert l.Probe(1) in effects
    else:
        wait = life.wake
        assert wait is not None
        assert wait - BOOT >= (92 if isinstance(event, l.Failed) and event.retry_after else 3)
        early = l.Probed(1, wait - 0.1, passed=True, skew=0.0)
        assert lifecycle.step(life, early, moment(wait - BOOT), 0.0) == (life, ())
        life, effects = step(life, l.Due(), wait - BOOT)
        assert effects == (l.Probe(1),)
    assert life.renewal is Renewal.DOUBTFUL


@given(st.lists(st.sampled_from(["lost", "failed", "due", "passed", "refused", "open", "unasked", "retry", "restart"])))
def test_never_a_third_try_without_a_proof(happenings: list[str]) -> None:
    """Whatever happens, a refresh token goes out twice at most between two proofs that it is not spent."""
    now, life, sent, committed = 0.0, SENDING, 1, 1
    for happening in happenings:
        now += 31.0
        events: dict[str, l.Event] = {
            "lost": l.Lost(1, LOST),
            "failed": l.Failed(1, DOWN),
            "due": l.Due(),
            "passed": l.Probed(1, BOOT + now, passed=True, skew=0.0),
            "refused": l.Probed(1, BOOT + now, passed=False, skew=0.0),
            "open": l.Probed(1, BOOT + now, passed=None, skew=0.0),
            "unasked": l.ProbeFailed(1, DOWN),
            "retry": l.Retry(),
            "restart": l.Restored(PAIR),
        }
        if happening == "restart":
            life = Life(terms=PM4, proved=life.proved, tries=committed, asked_at=NOW.wall)
        if (life.renewal, type(events[happening])) not in lifecycle.TABLE or (happening == "due" and not life.wake):
            continue  # it cannot happen
        if happening == "failed":
            sent, committed = sent - 1, committed - 1
        life, effects = step(life, events[happening], now)
        for effect in effects:
            if isinstance(effect, l.Unspend):
                sent = committed = 0
            if isinstance(effect, l.Send):
                sent, committed = sent + 1, effect.tries
        assert sent <= 2
        assert life.tries == committed == sent


# --- where nothing can be asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [SENDING3, UNNAMED])
def test_where_nothing_can_be_asked_it_is_tried_once_more(life: Life) -> None:
    """ProcessMaker 3, or a token without a name in it: one more try, when the first one must have ended."""
    life, effects = step(life, l.Lost(1, LOST), 0.0)
    assert effects == (l.WakeAt(BOOT + 60), l.Tell())

    life, effects = step(life, l.Due(), 60)
    assert effects[0] == l.Send(1, tries=2)
    life, _ = step(life, l.Lost(1, LOST), 61)
    life, effects = step(life, l.Due(), 121)
    assert (life.renewal, life.reason, life.dead) == (Renewal.STOPPED, Reason.NEEDS_LOGIN, False)
    assert effects == (l.Tell(),)


def test_a_slow_server_is_given_its_time() -> None:
    """Where requests may take minutes the second try waits for as long."""
    life = lost(replace(SENDING3, terms=replace(PM3, timeout=300.0)))

    assert life.wake == BOOT + 300


def test_a_person_may_hurry_the_second_try() -> None:
    """`pmcred login` tries at once; but not while the first request may still be under way."""
    _, effects = step(lost(SENDING3), l.Retry(), 5)
    assert effects == (l.WakeAt(BOOT + TIMEOUT),)

    _, effects = step(lost(SENDING3), l.Retry(), 35)
    assert effects[0] == l.Send(1, tries=2)


def test_a_person_may_hurry_the_question() -> None:
    """`pmcred login` asks the server at once."""
    life, _ = step(lost(), l.ProbeFailed(1, DOWN), 1)
    life, effects = step(life, l.Retry(), 1.5)

    assert effects == (l.Probe(1), l.Tell())
    assert life.wake is None


# --- a restart --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tries", [1, 2])
def test_a_daemon_killed_in_the_middle_comes_back_in_doubt(tries: int) -> None:
    """The intent was on disk before the request went out: who comes after asks first, and tells why."""
    life, effects = step(Life(terms=PM4, tries=tries, proved=True, asked_at=NOW.wall), l.Restored(PAIR), 5)

    assert life.renewal is Renewal.DOUBTFUL
    assert life.problem is not None
    assert effects == (l.Probe(1), l.Tell())
    refused = probe(life, Asked(6, False))
    assert refused.renewal is (Renewal.SENDING if tries == 1 else Renewal.STOPPED)
    assert refused.dead


def test_a_restart_in_doubt_does_not_hurry_past_a_request_under_way() -> None:
    """What the process before us sent may still be on its way, and what it promised may still be in use."""
    life, _ = step(Life(terms=PM4, tries=1, asked_at=NOW.wall), l.Restored(PAIR), 5)

    assert probe(life, Asked(6, None)).renewal is Renewal.DOUBTFUL
    assert probe(life, Asked(6, None), Asked(35, None)).renewal is Renewal.DOUBTFUL
    assert probe(life, Asked(6, None), Asked(66, None)).renewal is Renewal.SENDING


def test_a_restart_in_doubt_with_processmaker_3() -> None:
    """There the second try comes after a while, and the token serves."""
    life, effects = step(Life(terms=PM3, tries=1, asked_at=NOW.wall), l.Restored(PAIR), 5)

    assert life.renewal is Renewal.DOUBTFUL
    assert effects == (l.WakeAt(BOOT + 65), l.Tell())


def test_a_login_ends_the_doubt() -> None:
    """A new pair is no more in doubt, and late news of the old one changes nothing."""
    new = pair(36_000, value="token-2")
    life, _ = step(lost(), l.LoggedIn(new), 1)

    assert life.tries == 0
    assert step(life, l.Probed(1, BOOT + 1, passed=False, skew=0.0), 2) == (life, ())


@pytest.mark.parametrize("life", [SECOND, replace(UNNAMED, tries=2)], ids=["asked about", "not asked about"])
def test_doubt_breaks_no_promise_that_was_made_meanwhile(life: Life) -> None:
    """The client was refused after an answer was lost; what lives is served, leased. When somebody has mended it and
    says so, the token is not spent before the promise ends.
    """
    life, _ = step(life, l.Refused(1, Reason.BAD_CLIENT, LOST), 0.0)
    assert (life.renewal, life.tries) == (Renewal.STOPPED, 1)
    decision = decide(life, moment(100), 1000.0)
    assert decision == Serve(BOOT + 1100)
    life, effects = step(replace(life, leased_until=BOOT + 1100), l.Retry(), 110)
    happened = list(effects)
    while life.wake is not None and life.wake < BOOT + 1100:
        life, effects = step(life, l.Due(), life.wake - BOOT)
        happened += effects
    life, effects = step(life, l.Probed(1, BOOT + 500, None, 0.0), 500)
    happened += effects
    assert l.Send(1, 2) not in happened
    life, effects = step(life, l.Due(), 1101)
    happened += effects
    if l.Probe(1) in effects:
        life, effects = step(life, l.Probed(1, BOOT + 1101, None, 0.0), 1101)
    assert l.Send(1, 2) in effects
