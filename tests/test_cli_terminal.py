"""pmcredd.cli.terminal and questions: what people see, and how they are asked."""

import io
import sys
from typing import TYPE_CHECKING

import pytest

from pmcredd.cli import questions, terminal
from pmcredd.cli.terminal import Cell, clean, colour_wanted, fold, paint, table

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_columns_line_up_with_and_without_colour() -> None:
    """Colour codes take no room, and no line ends in spaces."""
    rows: Sequence[Sequence[Cell]] = [
        [Cell("prod", terminal.GREEN), Cell("live")],
        [Cell("a-long-name"), Cell("-", terminal.RED)],
    ]
    assert table(rows, colour=False) == ["prod         live", "a-long-name  -"]
    assert table(rows, colour=True) == ["\x1b[32mprod\x1b[0m         live", "a-long-name  \x1b[31m-\x1b[0m"]
    assert table([], colour=True) == []


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    """Escape sequences, line breaks and overrides of the reading direction come out as question marks."""
    assert clean("a\x1b[2Jb\nc\u202ed\x9b") == "a?[2Jb?c?d?"
    assert clean("Zürich: ordinary text") == "Zürich: ordinary text"


@pytest.mark.parametrize(
    ("line", "width", "hang", "lines"),
    [
        ("  one two three", 0, 0, ["  one two three"]),
        ("  one two three", 15, 0, ["  one two three"]),
        ("  one two three", 11, 2, ["  one two", "    three"]),
        ("see /a/very-long/path-that-is-whole now", 12, 0, ["see", "/a/very-long/path-that-is-whole", "now"]),
        ("", 1, 0, [""]),
    ],
)
def test_long_lines_are_broken_between_words(line: str, width: int, hang: int, lines: list[str]) -> None:
    """A path can still be copied."""
    assert fold(line, width, hang=hang).split("\n") == lines


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (_Tty(), {}, True),
        (_Tty(), {"NO_COLOR": ""}, True),  # no-color.org: when present and not empty
        (_Tty(), {"NO_COLOR": "1"}, False),
        (_Tty(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals_of_people_who_want_it(
    stream: io.StringIO,
    environ: dict[str, str],
    wanted: bool,
) -> None:
    """A pipe, a dumb terminal and $NO_COLOR get plain text."""
    assert colour_wanted(stream, environ) is wanted
    assert (paint(Cell("x", terminal.RED), colour=wanted) == "x") is not wanted


def test_a_terminal_that_does_not_tell_its_width_gets_whole_lines() -> None:
    """As does a pipe."""
    assert terminal.columns(_Tty()) == 0
    assert terminal.columns(io.StringIO()) == 0


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a person types; the tests of `init` type on a real terminal."""
    keys = io.StringIO()
    monkeypatch.setattr(sys, "stdin", keys)
    return keys


def _type(keys: io.StringIO, text: str) -> None:
    keys.write(text)
    keys.seek(0)


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [("\n", "b-two"), ("1\n", "a-one"), ("b-two\n", "b-two"), ("a\n", "a-one"), ("7\nx\n3\n", "b-three")],
)
def test_a_choice_is_made_by_number_word_or_beginning(typed: io.StringIO, answer: str, chosen: str) -> None:
    """What is none of them is asked again; nothing takes the default."""
    _type(typed, answer)
    options = [("a-one", "the first"), ("b-two", "the second"), ("b-three", "")]
    assert questions.choose("Which", options, default="b-two") == chosen


def test_a_beginning_that_fits_two_choices_is_asked_again(typed: io.StringIO) -> None:
    """Nothing is guessed."""
    _type(typed, "b\na\n")
    assert questions.choose("Which", [("a", ""), ("b-one", ""), ("b-two", "")], default="b-one") == "a"


@pytest.mark.parametrize(
    ("answer", "default", "yes"),
    [
        ("\n", True, True),
        ("\n", False, False),
        ("y\n", False, True),
        ("NO\n", True, False),
        ("what\nyes\n", False, True),
    ],
)
def test_a_confirmation_is_yes_or_no(
    typed: io.StringIO,
    answer: str,
    default: bool,
    yes: bool,
) -> None:
    """Anything else is asked again."""
    _type(typed, answer)
    assert questions.confirm("Sure?", default=default) is yes


def test_a_question_without_a_default_is_asked_until_answered(typed: io.StringIO) -> None:
    """And the end of the input is not an answer."""
    _type(typed, "\n\n  here \n")
    assert questions.ask("Where") == "here"
    with pytest.raises(EOFError):
        questions.ask("Where")
