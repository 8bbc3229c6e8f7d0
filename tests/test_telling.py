"""What is told of a profile: its state in one word, its times, and what only a person can mend."""

import logging
from dataclasses import replace

import pytest
from support.lives import BOOT, WALL, held, moment, profile

from pmcredd import telling
from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant
from pmcredd.telling import User
from pmcredd.validity import DAY, Terms
from pmcredd.wire import Code

ASK, REFRESH, NEVER = Terms(Rule.ASK_ANEW), Terms(Rule.REFRESH_DISRUPTIVELY), Terms(Rule.NEVER)
DOWN = Problem("the server is down", "wait")


@pytest.mark.parametrize(
    ("life", "state"),
    [
        pytest.param(Life(ASK), "no-token", id="nothing was asked for yet"),
        pytest.param(Life(ASK, renewal=Renewal.SENDING), "renewing", id="the first one is asked for"),
        pytest.param(Life(ASK, held=held()), "live", id="a token that works"),
        pytest.param(Life(ASK, held=held(60, at=-100)), "no-token", id="one that has ended"),
        pytest.param(Life(ASK, held=held(), dead=True), "no-token", id="one that the server calls dead"),
        pytest.param(Life(ASK, held=held(), renewal=Renewal.SENDING), "live", id="a renewal that nobody feels"),
        pytest.param(
            Life(ASK, held=held(), renewal=Renewal.SENDING, problem=DOWN), "renewing", id="one more try after a failure"
        ),
        pytest.param(
            Life(REFRESH, held=held(), renewal=Renewal.SENDING), "renewing", id="a renewal that kills the token in use"
        ),
        pytest.param(Life(ASK, held=held(), renewal=Renewal.WAITING), "waiting", id="trouble before the living token"),
        pytest.param(Life(REFRESH, held=held(), renewal=Renewal.DOUBTFUL), "doubtful", id="an answer that is lost"),
        pytest.param(
            Life(ASK, held=held(), renewal=Renewal.STOPPED, reason=Reason.NEEDS_LOGIN), "needs-login", id="a person"
        ),
        pytest.param(
            Life(ASK, held=held(), renewal=Renewal.STOPPED, reason=Reason.BAD_CLIENT), "stopped", id="the profile"
        ),
        pytest.param(Life(ASK, renewal=Renewal.STOPPED, reason=Reason.LOGGED_OUT), "logged-out", id="a logout"),
    ],
)
def test_the_state(life: Life, state: str) -> None:
    """One word that people and monitors can go by; trouble is never hidden by a token that still works."""
    assert telling.status(profile(), life, moment()).state == state


def test_a_profile_in_trouble_is_told_with_all_that_is_known() -> None:
    """What ails it and what mends it, beside the token that still works; nothing is made up."""
    life = Life(ASK, held=held(value="t"), renewal=Renewal.WAITING, problem=DOWN, wake=BOOT + 60, save_problem=DOWN)

    assert telling.fields(telling.status(profile(), life, moment(30))) == {
        "profile": "prod",
        "url": "http://127.0.0.1:1",
        "generation": "4",
        "grant": "password",
        "state": "waiting",
        "fingerprint": "e3b98a4da31a127d",  # printf t | sha256sum
        "expires_at": str(int(WALL + 3600)),
        "good_until": str(int(WALL + 3600)),
        "renew_at": str(int(WALL + 60)),
        "last_error": "the server is down",
        "hint": "wait",
        "unsaved": "the server is down",
    }


@pytest.mark.parametrize("reason", Reason)
def test_the_reason_of_a_stop_is_told(reason: Reason) -> None:
    """A monitor can tell a dead login from a secret that is locked; and only while it is stopped."""
    life = Life(ASK, renewal=Renewal.STOPPED, reason=reason)

    assert telling.fields(telling.status(profile(), life, moment()))["reason"] == reason.value
    assert "reason" not in telling.fields(telling.status(profile(), replace(life, renewal=Renewal.SENDING), moment()))


def test_a_dead_token_has_no_end_to_wait_for() -> None:
    """A token that the server calls dead is not told as one that lives for months."""
    told = telling.fields(telling.status(profile(), Life(ASK, held=held(), dead=True), moment()))

    assert told.keys() == {"profile", "url", "generation", "grant", "state"}


@pytest.mark.parametrize(
    ("leased", "lifetime", "promised"),
    [
        pytest.param(0.0, 3600.0, 100.0, id="no lease: it may be replaced now"),
        pytest.param(BOOT + 400, 3600.0, 400.0, id="until the last lease ends"),
        pytest.param(BOOT + 3590, 3600.0, 3420.0, id="but no lease runs past the forced moment"),
        pytest.param(BOOT + 400, None, 400.0, id="a token of unknown lifetime"),
    ],
)
def test_a_token_is_promised_only_while_it_is_leased(leased: float, lifetime: float | None, promised: float) -> None:
    """Where a renewal kills the token in use, its expiry is no promise."""
    life = Life(REFRESH, held=held(lifetime), leased_until=leased)

    assert telling.status(profile(), life, moment(100)).good_until == WALL + promised


@pytest.mark.parametrize(
    ("days_left", "said"),
    [
        pytest.param(14.1, None, id="not yet"),
        pytest.param(13.5, "the personal access token ends in 13 days 12 h, and nothing can renew it", id="in time"),
        pytest.param(-2, "the personal access token ended 2 days ago, and nothing can renew it", id="too late"),
        pytest.param(None, None, id="no end is known"),
    ],
)
def test_what_only_a_person_can_renew_is_told_in_time(days_left: float | None, said: str | None) -> None:
    """From 14 days before its end a personal access token is warned of, with what to do."""
    mine = profile(grant=Grant.PERSONAL_ACCESS_TOKEN)
    life = Life(NEVER, held=held(None if days_left is None else 100 * DAY))
    now = moment(0 if days_left is None else (100 - days_left) * DAY)

    told = telling.fields(telling.status(mine, life, now))

    assert told.get("warning") == said
    assert ("pmcred login prod" in told.get("hint", "")) is (said is not None)


def test_what_renews_itself_is_not_warned_of() -> None:
    """Nobody is bothered with a password's token that ends in an hour."""
    assert telling.status(profile(), Life(ASK, held=held()), moment()).warning is None


def test_an_error_is_more_urgent_than_a_warning() -> None:
    """There is one hint, and it mends what is wrong now."""
    life = Life(NEVER, held=held(DAY), problem=DOWN)

    told = telling.fields(telling.status(profile(grant=Grant.PERSONAL_ACCESS_TOKEN), life, moment()))

    assert (told["hint"], "warning" in told) == ("wait", True)


def test_a_status_shows_no_token() -> None:
    """It passes through many hands, and one of them may print it."""
    status = telling.status(profile(), Life(ASK, held=held(value="s3cret")), moment())

    assert "s3cret" not in repr(status)
    assert "s3cret" not in repr(replace(status, renew_at=None))


def test_the_user_is_told_with_a_token_and_after_it() -> None:
    """By id, by name where that is known; and a hand-out never names another user than its own."""
    life = Life(ASK, held=held(), user=User("7", "a.smith"))
    fields = telling.fields(telling.status(profile(), life, moment()))
    assert (fields["user"], fields["user_name"]) == ("7", "a.smith")
    assert "user_name" not in telling.fields(telling.status(profile(), replace(life, user=User("7")), moment()))
    named = replace(held(), token=replace(held().token, sub="7"))
    assert telling.hand_out(profile(), named, User("7", "a.smith")).user == User("7", "a.smith")
    assert telling.hand_out(profile(), named, User("8", "b.jones")).user is None


def test_a_login_is_what_helps_where_nothing_else_is_known() -> None:
    """A failure that only a login mends names the command."""
    life = Life(REFRESH, renewal=Renewal.STOPPED, reason=Reason.NEEDS_LOGIN, problem=Problem("the answer was lost"))
    failure = telling.failure(profile(), life, "", Code.WAITING)
    assert (failure.code, failure.hint) == (Code.NEEDS_LOGIN, "pmcred login prod")


def test_a_logout_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody wanted it so: the log has it at its usual level."""
    caplog.set_level(logging.INFO)
    after = Life(ASK, renewal=Renewal.STOPPED, reason=Reason.LOGGED_OUT, problem=telling.logged_out(profile()))
    telling.log_change(profile(), Life(ASK, held=held()), after)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "prod: somebody has logged out (pmcred login prod)")
