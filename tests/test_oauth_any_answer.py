"""Whatever comes becomes a value, and reading it costs no more time and no more modules than it must."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_answers import CLIENT_SECRET, HTML, JSON, PASSWORD, json_answer, read

from pmcredd import oauth
from pmcredd.oauth import Answer, Refusal, Token


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "eyJ", "def502", "<title>", "a", "\x1b]0", "****"])
def test_a_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    """A quarter of a megabyte made to slow the patterns down is cleaned in one pass (else this takes hours)."""
    text = piece * (262144 // len(piece))
    assert len(oauth.clean(text, [CLIENT_SECRET, PASSWORD])) <= 200
    found = read(Answer(503, HTML, text.encode()))
    assert isinstance(found, Refusal)


@given(body=st.binary(max_size=200), status=st.integers(100, 599), json_type=st.booleans())
def test_every_answer_becomes_a_value(body: bytes, status: int, json_type: bool) -> None:
    """Whatever bytes come with whatever status, nothing is raised."""
    assert isinstance(read(Answer(status, JSON if json_type else HTML, body)), Token | Refusal)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "scope",
    "error",
    "error_description",
    "message",
    "hint",
]


@given(
    fields=st.dictionaries(st.sampled_from(NAMES), JSON_VALUES),
    status=st.sampled_from([200, 400, 401, 404, 429, 500, 503]),
)
def test_every_json_answer_becomes_a_value(fields: dict[str, object], status: int) -> None:
    """Whatever JSON stands where OAuth has strings and numbers, nothing is raised and every text is fit for people."""
    found = read(json_answer(status, fields))
    if isinstance(found, Refusal):
        assert found.sentence.isprintable()
        assert len(found.sentence) < 500
    else:
        assert oauth.is_b64token(found.access_token.reveal())


def test_it_is_cheap_to_load() -> None:
    """The daemon's start pays for what every run needs, and for nothing that few answers need."""
    late = "{'email.utils', 'logging', 'httpx', 'trio', 'socket', 'ssl'}"
    code = f"import sys; before = set(sys.modules); import pmcredd.oauth; print(*{late} & set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
