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


@pytest.mark.parametrize("rule", [Renewal.NEVER, Renewal.ASK_ANEW])
def test_nothing_to_renew(rule: Renewal) -> None:
    """What cannot be renewed, or never ends as far as is known, has no renewal."""
    token = held(3600) if rule is Renewal.NEVER else held(None)

    assert validity.renew_at(Terms(rule), token, moment(), 0.5) is None


def test_expiry_is_told_in_unix_time() -> None:
    """The end of a token counts from the moment of sending, on the wall clock."""
    assert validity.expires_at(held(3600)) == moment(3600).wall
    assert validity.expires_at(held(None)) is None
    assert validity.default_lease(held(None)) == 30.0
