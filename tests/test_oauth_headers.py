"""The headers of an answer: how long to wait, what the server's time is, how many requests are left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_answers import NOW, read

from pmcredd import oauth
from pmcredd.oauth import MAX_WAIT, Answer, Refusal

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "86400"}, MAX_WAIT),
        ({"retry-after": "99999999"}, MAX_WAIT),
        ({"retry-after": "9" * 90}, MAX_WAIT),
        ({"retry-after": "9" * 9000}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 7"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT"}, 60.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT", "date": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT", "date": "rubbish"}, 60.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 15 Jan 2094 08:00:00 GMT"}, MAX_WAIT),
        ({"retry-after": "Fri, 99 Jan 99999 99:99:99 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date (by the server's own clock), and never a wait that nobody can mean."""
    found = read(Answer(429, headers, b""))
    assert isinstance(found, Refusal)
    assert found.retry_after == seconds


@given(st.text())
def test_no_header_is_too_odd(text: str) -> None:
    """Whatever a header holds, it becomes a number within bounds or nothing."""
    answer = Answer(503, {"retry-after": text, "date": text, "x-ratelimit-remaining": text, "location": text}, b"")
    found = read(answer)
    assert isinstance(found, Refusal)
    assert found.retry_after is None or 0 <= found.retry_after <= MAX_WAIT
    remaining = oauth.rate_remaining(answer)
    assert remaining is None or 0 <= remaining < 10**9


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (DATE, NOW),
        ("Friday, 15-Jan-27 08:00:00 GMT", NOW),
        ("Fri Jan 15 08:00:00 2027", NOW),
        ("Fri, 15 Jan 2027 09:00:00 +0100", NOW),
        ("", None),
        ("now", None),
        ("Fri, 15 Jan 2027 08:00:00 GMT" + " " * 90, None),
        ("Fri, 15 Jän 2027 08:00:00 GMT", None),
    ],
)
def test_server_date(text: str, moment: float | None) -> None:
    """The three forms of RFC 9110 section 5.6.7 are understood, rubbish is no date."""
    assert oauth.server_date(Answer(200, {"date": text}, b"")) == moment


@pytest.mark.parametrize(
    ("text", "count"), [("57", 57), ("0", 0), (" 3 ", 3), ("-1", None), ("", None), ("x", None), ("1" * 10, None)]
)
def test_rate_remaining(text: str, count: int | None) -> None:
    """The throttle's header is a small natural number or nothing."""
    assert oauth.rate_remaining(Answer(200, {"x-ratelimit-remaining": text}, b"")) == count
