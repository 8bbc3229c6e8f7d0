"""The budget of token requests."""

from hypothesis import given
from hypothesis import strategies as st

from pmcredd.budget import RATE, WINDOW, Budget


@given(st.lists(st.floats(0, 20), max_size=120))
def test_never_more_than_the_rate(gaps: list[float]) -> None:
    """However requests arrive, no minute ever sees more than thirty of them."""
    budget, now, sent = Budget(), 0.0, []
    for gap in gaps:
        now += gap
        if budget.wait(now) == 0.0:
            budget = budget.spend(now)
            sent.append(now)

    for start in sent:
        assert len([moment for moment in sent if start <= moment < start + WINDOW]) <= RATE


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_the_wait_is_long_enough(gaps: list[float]) -> None:
    """Whoever waits as long as told may send then."""
    budget, now = Budget(), 0.0
    for gap in gaps:
        now += gap
        now += budget.wait(now) + 1e-6
        assert budget.wait(now) == 0.0
        budget = budget.spend(now)


def test_a_server_that_says_little_is_left_is_believed() -> None:
    """Half of what the server says remains is ours until its minute is over."""
    budget = Budget().told(100.0, 4)

    budget = budget.spend(100.0).spend(101.0)

    assert budget.wait(102.0) == 100.0 + WINDOW - 102.0
    assert budget.wait(160.0) == 0.0
    assert budget.spend(161.0).wait(161.0) == 0.0


def test_a_pause_is_kept_and_never_shortened() -> None:
    """A 429 stops everything to its origin for as long as it said; a later, shorter one does not shorten it."""
    budget = Budget().pause(10.0, 90.0).pause(20.0, 5.0)

    assert budget.wait(99.0) == 1.0
    assert budget.wait(100.0) == 0.0
