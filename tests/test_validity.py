"""How long a token is good."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import held, moment

from pmcredd import validity
from pmcredd.processmaker import Renewal
from pmcredd.validity import Terms

DAY = 86_400.0
YEAR = 365 * DAY
lifetimes = st.floats(1, 2 * YEAR)
instants = st.floats(0, 3 * YEAR)
jitters = st.floats(0, 1)


@pytest.mark.parametrize(
    ("lifetime", "after", "lasting", "expected"),
    [
        pytest.param(3600, 0, None, True, id="fresh"),
        pytest.param(3600, 3569, None, True, id="31 s left are more than the half minute promised"),
        pytest.param(3600, 3571, None, False, id="29 s left are not"),
        pytest.param(60, 56, None, True, id="a token of a minute is promised for 3 s only"),
        pytest.param(60, 58, None, False, id="and not for 2"),
        pytest.param(3600, 0, 3600, True, id="all of it"),
        pytest.param(3600, 1, 3600, False, id="a second too late"),
        pytest.param(3600, 3600, 0, False, id="dead is dead, even for nothing"),
        pytest.param(None, YEAR, 8 * 3600, True, id="an unknown lifetime is taken on trust"),
    ],
)
def test_good(lifetime: float | None, after: float, lasting: float | None, expected: bool) -> None:
    """A token is handed out only if it lives as long as it is wanted for."""
    assert validity.good(held(lifetime), moment(after), lasting) is expected


@given(lifetimes, instants, st.none() | st.floats(0, YEAR))
def test_what_is_good_lives(lifetime: float, after: float, lasting: float | None) -> None:
    """No token is good after its end, whatever is asked for."""
    token, now = held(lifetime), moment(after)

    if validity.good(token, now, lasting):
        assert validity.alive(token, now)
        assert after < lifetime + 1e-3  # the moments are sums of floats


def test_a_set_wall_clock_kills_nothing() -> None:
    """Within a boot only boot time decides: a wall clock a year ahead, or behind, changes nothing."""
    assert validity.good(held(3600), moment(60, wall_step=YEAR), None)
    assert validity.good(held(3600), moment(60, wall_step=-YEAR), None)
    assert not validity.good(held(3600), moment(3601, wall_step=-YEAR), None)


def test_after_a_reboot_the_wall_clock_decides() -> None:
    """A token saved in an earlier boot is as old as the wall clock says, whatever boot time says now."""
    saved = replace(held(3600), issued=replace(moment(), boot=9_999_999.0, boot_id="another-boot"))

    assert validity.remaining(saved, moment(600)) == pytest.approx(3000)
    assert not validity.alive(saved, moment(3601))


def test_a_wall_clock_before_the_saved_time_is_not_believed() -> None:
    """After a reboot with the clock in the past nobody knows how old a token is: it counts as expired."""
    saved = replace(held(3600), issued=moment(boot_id="another-boot"))

    assert not validity.alive(saved, moment(0, wall_step=-60))
    assert not validity.alive(validity.rebase(saved, moment(0, wall_step=-60)), moment(0, wall_step=-60))


@given(lifetimes, st.floats(0, YEAR), st.floats(0, 60 * DAY))
def test_rebase_changes_no_answer(lifetime: float, gone: float, later: float) -> None:
    """A token brought over a reboot has as much left as the wall clock says, then and later."""
    saved = replace(held(lifetime), issued=replace(moment(), boot=5.0, boot_id="another-boot"))
    now = moment(gone)

    rebased = validity.rebase(saved, now)

    assert validity.remaining(rebased, now) == pytest.approx(lifetime - gone, abs=1e-3)
    assert validity.remaining(rebased, moment(gone + later)) == pytest.approx(lifetime - gone - later, abs=1e-3)


REBOOTED = replace(held(3600), issued=moment(boot_id="another-boot"))


@pytest.mark.parametrize(
    ("wall_step", "skew", "left"),
    [
        pytest.param(0, 0, 3000, id="both clocks are right"),
        pytest.param(-60, 60, 3060, id="a minute apart: the wall clock's word stands"),
        pytest.param(-301, 301, 3000, id="further apart: the server's"),
        pytest.param(365 * DAY, -365 * DAY, 3000, id="a year ahead"),
        pytest.param(-365 * DAY, 365 * DAY, 3000, id="a year behind, before the token's own time"),
        pytest.param(-601, 601, 3000, id="a second before the token's own time"),
        pytest.param(-700, 0, 0, id="both before it: nothing is known, so it counts as expired"),
    ],
)
def test_a_token_from_before_a_reboot_is_dated_by_the_server(wall_step: float, skew: float, left: float) -> None:
    """Where the clocks differ by more than five minutes the server's decides how old the token is."""
    now = moment(600, wall_step=wall_step)

    dated = validity.redated(validity.rebase(REBOOTED, now), now, skew)

    assert validity.remaining(dated, now) == pytest.approx(left)
    assert validity.expires_at(dated) == validity.expires_at(REBOOTED)


def test_a_clock_that_was_set_right_since_is_believed() -> None:
    """A machine starts with its clock behind, and the clock is set before the server is asked: the token lives."""
    started = moment(600, wall_step=-3600)
    expired = validity.rebase(REBOOTED, started)
    assert not validity.alive(expired, started)
    now = moment(600)

    dated = validity.redated(expired, now, 0.0)

    assert validity.remaining(dated, now) == validity.remaining(validity.rebase(REBOOTED, now), now)
    assert validity.alive(dated, now)


@pytest.mark.parametrize("off", [-400 * validity.DAY, -3600.0, 0.0, 3600.0])
def test_what_a_token_says_of_its_end_outdoes_our_clock_of_then(off: float) -> None:
    """A token came while our clock was wrong, and since the start the clock has been set: it is as old as it is."""
    exp = validity.expires_at(REBOOTED)
    token = replace(REBOOTED.token, exp=exp)
    held = replace(REBOOTED, token=token, issued=replace(REBOOTED.issued, wall=REBOOTED.issued.wall + off))
    now = moment(600)

    dated = validity.redated(validity.rebase(held, now), now, 0.0)

    assert validity.remaining(dated, now) == validity.remaining(validity.rebase(REBOOTED, now), now)


def test_a_moment_in_the_future_is_not_believed() -> None:
    """An age cannot be negative: whoever dated that was wrong, and nothing is known."""
    assert validity.elapsed(moment(5), moment(4)) == float("inf")
    assert validity.elapsed(moment(5), moment(5)) == 0


DISRUPTIVE = Terms(Renewal.REFRESH_DISRUPTIVELY)


@pytest.mark.parametrize(
    ("terms", "lifetime", "start", "forced"),
    [
        pytest.param(DISRUPTIVE, 30, 20, 25, id="30 s: at most a third"),
        pytest.param(DISRUPTIVE, 60, 50, 55, id="a minute: at least ten seconds"),
        pytest.param(DISRUPTIVE, 3600, 3240, 3420, id="an hour: a tenth"),
        pytest.param(DISRUPTIVE, YEAR, YEAR - 3 * DAY, YEAR - 1.5 * DAY, id="a year: at most three days"),
        pytest.param(replace(DISRUPTIVE, margin=600), 3600, 3000, 3300, id="renew_margin"),
        pytest.param(replace(DISRUPTIVE, margin=1), 3600, 3590, 3595, id="renew_margin, too short"),
        pytest.param(replace(DISRUPTIVE, margin=3000), 3600, 2400, 3000, id="renew_margin, too long"),
        pytest.param(replace(DISRUPTIVE, refresh_lifetime=1800), 3600, 1440, 1620, id="the refresh token dies earlier"),
        pytest.param(replace(DISRUPTIVE, refresh_lifetime=DAY), 3600, 3240, 3420, id="the refresh token dies later"),
        pytest.param(replace(DISRUPTIVE, refresh_lifetime=3600), None, 3240, 3420, id="only its end is known"),
    ],
)
def test_the_window_of_a_disruptive_renewal(terms: Terms, lifetime: float | None, start: float, forced: float) -> None:
    """A renewal that kills comes late, but before the refresh token dies; forced after half the margin."""
    found = validity.window(terms, held(lifetime))

    assert found is not None
    assert (found.start - moment().boot, found.forced - moment().boot) == (start, forced)
    assert validity.renew_at(terms, held(lifetime), moment(), 0.7) == found.start


@given(lifetimes, st.none() | st.floats(1, YEAR), st.none() | st.floats(1, YEAR))
def test_the_window_lies_before_every_end(lifetime: float, margin: float | None, refresh: float | None) -> None:
    """Whatever the profile says, a forced renewal comes while both tokens live, and not in the first half."""
    found = validity.window(replace(DISRUPTIVE, margin=margin, refresh_lifetime=refresh), held(lifetime))

    assert found is not None
    end = min(lifetime, refresh or lifetime)
    assert moment().boot + end / 2 < found.start < found.forced < moment().boot + end


@given(lifetimes | st.none(), st.floats(1, YEAR), jitters)
def test_a_quiet_refresh_comes_before_the_refresh_token_is_idle_for_too_long(
    lifetime: float | None, refresh: float, jitter: float
) -> None:
    """ProcessMaker 3 forgets a refresh token that was not used for a while, whatever its access token does."""
    due = validity.renew_at(Terms(Renewal.REFRESH_QUIETLY, refresh_lifetime=refresh), held(lifetime), moment(), jitter)

    assert due is not None
    assert due - moment().boot < min(refresh, lifetime or refresh)


@given(lifetimes, jitters)
def test_renewal_comes_early_but_not_too_early(lifetime: float, jitter: float) -> None:
    """Who asks anew does so after two thirds of the lifetime, before its end, and at most seven days before it."""
    due = validity.renew_at(Terms(Renewal.ASK_ANEW), held(lifetime), moment(), jitter)

    assert due is not None
    gone = due - moment().boot
    assert lifetime * 2 / 3 - 1e-3 <= gone < lifetime
    assert lifetime - gone <= 7 * DAY + 1e-3


def test_a_restored_snapshot_renews_earlier() -> None:
    """Where the wall clock ran ahead of boot time the renewal comes earlier by as much."""
    due = validity.renew_at(Terms(Renewal.ASK_ANEW), held(3600), moment(10), 0.0)
    ahead = validity.renew_at(Terms(Renewal.ASK_ANEW), held(3600), moment(10, wall_step=600), 0.0)

    assert due is not None
    assert ahead == pytest.approx(due - 600)


@pytest.mark.parametrize("rule", Renewal)
def test_nothing_to_renew(rule: Renewal) -> None:
    """What cannot be renewed, or never ends as far as is known, has no renewal."""
    token = held(3600) if rule is Renewal.NEVER else held(None)

    assert validity.renew_at(Terms(rule), token, moment(), 0.5) is None


def test_expiry_is_told_in_unix_time() -> None:
    """The end of a token counts from the moment of sending, on the wall clock."""
    assert validity.expires_at(held(3600)) == moment(3600).wall
    assert validity.expires_at(held(None)) is None
    assert validity.default_lease(held(None)) == 30.0
