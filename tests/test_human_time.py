"""Lengths of time and moments as people say them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd.human_time import clock_time, duration, when

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (HOUR, "1 h"),
        (3 * HOUR + 20 * 60 + 59, "3 h 20 min"),
        (DAY, "1 day"),
        (DAY + HOUR, "1 day 1 h"),
        (13 * DAY, "13 days"),
        (14 * DAY + 5 * HOUR, "14 days"),
        (60 * DAY, "60 days"),
        (61 * DAY, "2 months"),
        (31_536_000 - 20 * DAY, "11 months"),
        (31_536_000, "12 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float, said: str) -> None:
    """No more than two units, and none that is nothing."""
    assert duration(seconds) == said


@given(st.floats(min_value=0, max_value=1e10), st.floats(min_value=0, max_value=1e10))
def test_a_longer_time_is_never_said_in_a_smaller_unit(one: float, other: float) -> None:
    """Units only grow with time: nobody reads 90 min as less than 1 h."""
    units = ["s", "min", "h", "day", "days", "months", "years"]
    ranks = [units.index(duration(seconds).split()[1]) for seconds in sorted((one, other))]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("moment", "said"), [(1000, "now"), (1090, "in 1 min"), (880, "2 min ago"), (1000.5, "now"), (1002, "in 2 s")]
)
def test_a_moment_is_said_by_its_distance(moment: float, said: str) -> None:
    """People read "in 3 h", not unix times."""
    assert when(moment, 1000) == said


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (1_800_000_020, "08:00:20 (in 20 s)"),
        (1_799_998_800, "07:40:00 (20 min ago)"),
        (1_800_003_600, "2027-01-15 09:00 UTC (in 1 h)"),
        (1_800_000_000 - DAY, "2027-01-14 08:00 UTC (1 day ago)"),
    ],
)
def test_a_moment_is_said_by_the_clock_and_its_distance(
    monkeypatch: pytest.MonkeyPatch, moment: float, said: str
) -> None:
    """To the second where seconds matter; with date and time zone where they do."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert clock_time(moment, 1_800_000_000) == said
