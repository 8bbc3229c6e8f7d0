"""How a body looks on a terminal."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pmcredd.cli.body_view import TextFlow, Veil, is_text, is_web_page, lay_out_json, visible
from pmcredd.secret import Secret

TOKEN = Secret("abc/def+ghi==")
VEIL = Veil(TOKEN)


def test_json_is_laid_out() -> None:
    """An entry a line, two spaces for each depth; what is empty stays on its line."""
    text = '{"a":[1,{"b":[]},{}],"c":{"d":"e, [f]: {g}"},"h":true}'
    assert lay_out_json(text, VEIL, colour=False) == json.dumps(json.loads(text), indent=2)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_JSON, st.booleans(), st.sampled_from([None, 3]))
def test_laying_out_changes_nothing(value: object, ascii_only: bool, indent: int | None) -> None:
    """Whatever the value and the server's spelling of it: what is shown is JSON with the same meaning, and harmless."""
    shown = lay_out_json(
        json.dumps(value, ensure_ascii=ascii_only, indent=indent), Veil(Secret("*" * 50)), colour=False
    )
    assert shown is not None
    assert json.loads(shown) == value
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.10", "1.10"),
        ("1E400", "1E400"),
        ("9" * 5000, "9" * 5000),
        ('{"a":1,"a":2}', '{\n  "a": 1,\n  "a": 2\n}'),
        (r'"https:\/\/caf\u00e9"', '"https://café"'),
        (r'"\u001b[2J\u202e\ud800 \ud83d\ude00"', '"\\u001b[2J\\u202e\\ud800 \U0001f600"'),
        ('"a\x1b\tb"', None),
        ('{"a":', None),
        ("", None),
        ("[" * 100_000, None),
        ("<html>", None),
    ],
)
def test_numbers_keep_their_digits_and_nothing_is_lost(text: str, shown: str | None) -> None:
    """PHP's escapes are read, a terminal's are not; what is no JSON is for others to show."""
    assert lay_out_json(text, VEIL, colour=False) == shown


def test_keys_are_bold_where_colour_is_wanted() -> None:
    """And values are not."""
    assert lay_out_json('{"a":"b"}', VEIL, colour=True) == '{\n  \x1b[1m"a"\x1b[0m: "b"\n}'


@pytest.mark.parametrize("spelling", [TOKEN.reveal(), "abc%2Fdef%2Bghi%3D%3D"])
def test_the_token_is_taken_out(spelling: str) -> None:
    """As it is and percent-encoded, in keys and values, however JSON escapes it."""
    shown = lay_out_json(json.dumps({spelling: f"x{spelling}y"}).replace("/", "\\/"), VEIL, colour=False)
    assert shown == '{\n  "****": "x****y"\n}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\r\nand more\n", "plain\ttext\nand more\n"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\x9b1m", r"over\rwritten\x9b1m"),
        ("\u202eabc\U000e0041", r"\u202eabc\U000e0041"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text: str, shown: str) -> None:
    """Tabs and new lines stay."""
    assert visible(text) == shown


@given(st.text(), st.lists(st.integers(min_value=0, max_value=200)))
@example("0" * 20, [])  # what is held back begins between the two characters of a line's end
def test_a_text_in_parts_is_shown_as_the_whole(text: str, cuts: list[int]) -> None:
    """Wherever it is cut: in the middle of a letter, of the token, of an end of line."""
    data = f"{text}{TOKEN.reveal()}\r\n{text}".encode("utf-8", "replace")
    flow = TextFlow("text/plain", VEIL)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    parts = [data[start:end] for start, end in itertools.pairwise(places)]
    shown = "".join(flow.feed(part) for part in parts) + flow.feed(b"", last=True)
    assert shown == visible(VEIL.over(data.decode()))
    assert TOKEN.reveal() not in shown


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("text/csv; charset=iso-8859-1", b"caf\xe9", "café"),
        ('text/csv; charset="UTF-16LE"', "é".encode("utf-16-le"), "é"),
        ("text/plain", b"caf\xe9", r"caf\xe9"),
        ("text/plain; charset=nonsense", b"caf\xe9", r"caf\xe9"),
        ("text/plain; charset=zip", b"caf\xe9", r"caf\xe9"),
    ],
)
def test_the_server_s_charset_counts(kind: str, data: bytes, shown: str) -> None:
    """If it is one; a byte that fits nowhere is written out."""
    assert TextFlow(kind, VEIL).feed(data, last=True) == shown


@pytest.mark.parametrize(
    ("kind", "beginning", "text"),
    [
        ("application/json", b"", True),
        ("application/problem+json; charset=utf-8", b"", True),
        ("TEXT/CSV", b"\0", True),
        ("application/xml", b"", True),
        ("image/svg+xml", b"", True),
        ("application/pdf", b"%PDF", False),
        ("application/octet-stream", b"text", False),
        ("", b"text", True),
        ("", b"\x7fELF\0", False),
    ],
)
def test_people_are_shown_what_they_can_read(kind: str, beginning: bytes, text: bool) -> None:
    """The server's word counts; where it says nothing, the body is looked at."""
    assert is_text(kind, beginning) is text


def test_a_web_page_is_known_by_its_type() -> None:
    """With parameters, in any case."""
    assert is_web_page("Text/HTML; charset=UTF-8")
    assert not is_web_page("text/plain")
