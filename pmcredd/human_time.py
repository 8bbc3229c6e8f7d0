"""Lengths of time and moments as people say them."""

import time

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MONTH, _YEAR = 30.44 * _DAY, 365.25 * _DAY


def duration(seconds: float) -> str:
    """Say a length of time as people do, in at most two units: 45 s, 3 h 20 min, 11 months."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    if whole < 14 * _DAY:
        days = whole // _DAY
        return _two(days, "day" if days == 1 else "days", whole % _DAY // _HOUR, "h")
    if whole < 2 * _MONTH:
        return f"{whole // _DAY} days"
    if whole < 2 * _YEAR:
        return f"{round(whole / _MONTH)} months"  # a token of 365 days lives 12 of them
    return f"{int(whole / _YEAR)} years"


def when(moment: float, now: float) -> str:
    """Say a moment by its distance: "in 3 h 20 min", "2 min ago"; both in unix time."""
    distance = moment - now
    if abs(distance) < 1:
        return "now"
    return f"in {duration(distance)}" if distance > 0 else f"{duration(-distance)} ago"


def clock_time(moment: float, now: float) -> str:
    """Say a moment by the local clock and by its distance: "09:00:12 (in 20 s)", "2027-01-15 09:00 CET (in 2 days)"."""
    form = "%H:%M:%S" if abs(moment - now) < _HOUR else "%Y-%m-%d %H:%M %Z"
    return f"{time.strftime(form, time.localtime(moment))} ({when(moment, now)})"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit}" + (f" {small} {small_unit}" if small else "")
