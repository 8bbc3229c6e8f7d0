"""What a server says, made fit for people: no control character, no secret, no end of it."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_answers import CLIENT_SECRET, JSON, PASSWORD, PM4, html_answer, json_answer, read, request_for

from pmcredd import oauth
from pmcredd.oauth import Refusal
from pmcredd.secret import Secret


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain words", "plain words"),
        ("two\nlines\tand\r\n more  spaces", "two lines and more spaces"),
        ("red \x1b[31malert\x1b[0m", "red ?alert?"),
        ("title \x1b]0;pwned\x07 set", "title ? set"),
        ("C1 \x9b31m and \x85", "C1 ? and"),
        ("nul\0bell\x07del\x7f", "nul?bell?del?"),
        ("left \u202eright\u2066 mark\u200f", "left ?right? mark?"),
        ("zero\u200bwidth \ufeff", "zero?width ?"),
        ("line\u2028separator", "line separator"),
        ("lone \udcff surrogate", "lone ? surrogate"),
        ("contraseña ключ 🔑", "contraseña ключ 🔑"),
        ("token eyJ0eXAiOiJKV1Qi.abc-_.d=e end", "token **** end"),
        ("refresh def50200abcdef00abcdef end", "refresh **** end"),
        ("opaque " + "0f" * 20 + " end", "opaque **** end"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        ("", ""),
    ],
)
def test_a_server_s_text_is_made_fit_for_people(text: str, cleaned: str) -> None:
    """No control, no direction, no token gets through, and no more than 200 characters."""
    assert oauth.clean(text, []) == cleaned


SPELLINGS: list[Callable[[str], str]] = [
    str,
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    str.upper,
]


@pytest.mark.parametrize("spell", SPELLINGS, ids=range(len(SPELLINGS)))
def test_a_secret_is_masked_however_it_is_written(spell: Callable[[str], str]) -> None:
    """A server that repeats the password, in any of the spellings of the web, does not bring it to the screen."""
    text = f"no user with {spell(PASSWORD.reveal())} here"
    assert oauth.clean(text, [PASSWORD]).replace('"', "").rstrip("=") in {
        "no user with **** here",
        "no user with ****= here",
        "no user with ****== here",
    }


def test_the_longest_secret_is_masked_first() -> None:
    """A secret that another begins with does not leave the other's end to be read."""
    assert oauth.clean("it was hunter2-extended", [Secret("hunter2"), Secret("hunter2-extended")]) == "it was ****"


def test_a_secret_of_several_words_is_masked_across_lines() -> None:
    """A server that wraps its lines does not undo the mask."""
    assert oauth.clean("it was correct\n  horse battery", [Secret("correct horse battery")]) == "it was ****"


def test_a_text_with_a_tiny_secret_is_withheld() -> None:
    """Cutting three letters out of a sentence would only mark them."""
    assert "e" not in oauth.clean("the user credentials", [Secret("e"), Secret("")]).replace(
        "withheld: it holds a secret", ""
    )
    assert oauth.clean("the user credentials", [Secret("xyz"), Secret("")]) == "the user credentials"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500, 503])
def test_no_refusal_tells_what_was_sent(status: int) -> None:
    """A server, or a debug page, that echoes the whole request: form, header and all: nothing of it reaches people."""
    request = request_for(PM4, "password")
    echo = request.body.decode() + " " + dict(request.headers)["authorization"] + " " + PASSWORD.reveal()
    for answer in (
        json_answer(
            status, {"error": echo, "error_description": echo, "hint": echo}, {**JSON, "location": f"https://h/{echo}"}
        ),
        json_answer(status, {"error": {"message": echo}}),
        html_answer(status, quote_plus(echo) + PASSWORD.reveal()),
    ):
        found = read(answer)
        assert isinstance(found, Refusal)
        told = found.sentence + found.mend + repr(found)
        for secret in (CLIENT_SECRET.reveal(), PASSWORD.reveal(), quote_plus(PASSWORD.reveal())):
            assert secret not in told
        assert dict(request.headers)["authorization"].removeprefix("Basic ") not in told


@given(
    text=st.text(max_size=300),
    secret=st.text(min_size=4, max_size=40),
    around=st.tuples(st.text(max_size=20), st.text(max_size=20)),
)
def test_clean_keeps_its_promises_for_every_text(text: str, secret: str, around: tuple[str, str]) -> None:
    """Always printable, always short, and a secret that is no part of the mask or the marks is never in it."""
    cleaned = oauth.clean(around[0] + secret + around[1] + text, [Secret(secret)])
    assert cleaned.isprintable()
    assert len(cleaned) <= 200
    if len(set(secret) - set("*?. ")) > 1:
        assert secret not in cleaned
