"""The socket protocol: what is understood, what is refused, and that both ends agree."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd import wire
from pmcredd.telling import State
from pmcredd.watching import Event
from pmcredd.wire import AnswerReader, BadLine, Block, Code, Error, Ok, Request

text = st.text(st.characters(exclude_categories=["Cs"]))
tellable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200)
keys = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1).filter(lambda key: key != "access_token")
tokens = st.from_regex(r"[A-Za-z0-9._~+/-]+=*", fullmatch=True)
blocks = st.builds(
    lambda fields, token: fields if token is None else {**fields, "access_token": token},
    st.dictionaries(keys, text, max_size=4),
    st.none() | tokens,
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that a client may send."""
    name, verb = draw(st.sampled_from(list(wire.VERBS.items())))
    target = None
    if verb.target is not wire.Target.NONE:
        target = draw(tellable if verb.target is wire.Target.REQUIRED else st.none() | tellable)
    values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200)
    args = draw(st.dictionaries(st.sampled_from(sorted(verb.keys)), values)) if verb.keys else {}
    return Request(name, target, args)


def read(data: bytes) -> list[Ok | Block | Error]:
    """Read answers that came in one piece and end where an answer ends."""
    reader = AnswerReader()
    events = list(reader.feed(data))
    assert reader.between_answers
    return events


# Requests


@given(requests())
def test_a_request_arrives_as_it_was_sent(request: Request) -> None:
    """Whatever a name, URL or argument holds, the daemon sees exactly what the client was given."""
    line = wire.format_request(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert wire.parse_request(line[:-1]) == request


@given(st.binary(max_size=300) | requests().map(lambda request: wire.format_request(request)[:-2]))
def test_bytes_that_are_not_a_request_are_told_and_nothing_else(line: bytes) -> None:
    """No bytes make the parser raise anything but its own error."""
    with contextlib.suppress(BadLine):
        wire.parse_request(line)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"hello", Request("hello")),
        (b"get prod", Request("get", "prod")),
        (b"get prod\r", Request("get", "prod")),  # typed in telnet
        (b"  get   prod   for=30m ", Request("get", "prod", {"for": "30m"})),
        (b"get https://a.b/x?y=1 timeout=5", Request("get", "https://a.b/x?y=1", {"timeout": "5"})),
        (b"get prod for=a=b", Request("get", "prod", {"for": "a=b"})),
        (b"get for%3Dx", Request("get", "for=x")),
        (b"get %C3%BC%25", Request("get", "ü%")),
        (b"status", Request("status")),
        (b"status prod", Request("status", "prod")),
    ],
)
def test_what_a_person_types_is_understood(line: bytes, request_: Request) -> None:
    """Spaces too many and a carriage return are forgiven; values may hold = and encoded bytes."""
    assert wire.parse_request(line) == request_


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "the verb is not one of"),
        (b"\r", "the verb is not one of"),
        (b"GET prod", "the verb is not one of"),
        (b"g%65t prod", "the verb is not one of"),
        (b"get", "needs a profile's name"),
        (b"get for=30m", "needs a profile's name"),
        (b"list prod", "list takes no target"),
        (b"get prod test", "one target"),
        (b"get prod for=1 test", "one target"),
        (b"get prod for=1 for=1", "for is given twice"),
        (b"get prod lasting=1", "does not know lasting; it knows for, refresh, timeout"),
        (b"hello x=1", "does not know x; it knows no keys"),
        (b"get prod FOR=1", "does not know a key"),
        (b"get prod =1", "does not know a key"),
        (b"get prod\tfor=1", "control character"),
        (b"get pr\0od", "control character"),
        (b"get prod\r\r", "control character"),
        (b"get pr%00od", "control character"),
        (b"get pr%0Aget%20test", "control character"),
        (b"get pr%C2%85od", "control character"),
        (b"get prod for=%0D", "control character"),
        (b"get prod%", "two hexadecimal digits"),
        (b"get prod%2", "two hexadecimal digits"),
        (b"get prod%+1", "two hexadecimal digits"),
        (b"get pr\xc3\xbcf", "beyond ASCII"),
        (b"get pr%FC", "not UTF-8"),
        (b"get %ED%A0%80", "not UTF-8"),  # a lone surrogate
        (b"get " + b"p" * wire.MAX_LINE, "longer than 8192"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(line: bytes, why: str) -> None:
    """Each kind of wrong line has its own sentence, and nothing is guessed or overlooked."""
    with pytest.raises(BadLine, match=why):
        wire.parse_request(line)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    """A secret pasted into the wrong place does not come back in an error that may be logged."""
    for line in (b"s3cret", b"get prod s3cret", b"get prod S3CRET=1", b"get prod for=s3cret%", b"hello s3cret"):
        with pytest.raises(BadLine) as caught:
            wire.parse_request(line)
        assert "s3cret" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request("shout"), "verb"),
        (Request("get"), "needs"),
        (Request("get", ""), "needs"),
        (Request("status", ""), "empty"),
        (Request("list", "prod"), "no target"),
        (Request("get", "a\nlist"), "control character"),
        (Request("get", "a", {"for": "1\n"}), "control character"),
        (Request("get", "a\udc80"), "surrogate"),
        (Request("get", "a", {"fro": "1"}), "does not know fro"),
        (Request("get", "é" * 3000), "longer than 8192"),
    ],
)
def test_a_client_cannot_send_a_wrong_request(request_: Request, why: str) -> None:
    """What the daemon would refuse, or take for two requests, is caught before it is sent."""
    with pytest.raises(BadLine, match=why):
        wire.format_request(request_)


# Answers


@given(st.lists(blocks, max_size=3), st.integers(1, 7))
def test_an_answer_arrives_as_it_was_given(given_blocks: list[Mapping[str, str]], size: int) -> None:
    """Whatever the values hold and however the bytes are cut, the client reads the same blocks."""
    data = wire.format_ok(given_blocks, many=True)
    assert data.isascii()
    reader = AnswerReader()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert [event for piece in pieces for event in reader.feed(piece)] == [Ok(tuple(given_blocks))]
    assert reader.between_answers


@given(st.sampled_from(Code), text, text)
def test_an_error_arrives_as_it_was_given(code: Code, message: str, hint: str) -> None:
    """Code, message and hint survive the way, newlines and all."""
    assert read(wire.format_error(code, message, hint)) == [Error(code, message, hint)]


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: b"ok\n" + tail))
def test_bytes_that_are_no_answer_are_told_and_nothing_else(data: bytes) -> None:
    """A broken daemon, or something else on the socket, gives the reader's own error at worst."""
    with contextlib.suppress(BadLine):
        list(AnswerReader().feed(data))


def test_answers_of_every_form_follow_each_other() -> None:
    """One connection carries one block, counted blocks, none, an error, and at last a stream."""
    data = (
        wire.format_ok([{"a": "1"}], many=False)
        + wire.format_ok([{"a": "1"}, {"b": "2"}], many=True)
        + wire.format_ok([], many=True)
        + wire.format_error(Code.WAITING, "later")
        + b"ok *\na=1\n\na=2\n\n"
    )
    assert read(data) == [
        Ok(({"a": "1"},)),
        Ok(({"a": "1"}, {"b": "2"})),
        Ok(()),
        Error("waiting", "later"),
        Ok((), streaming=True),
        Block({"a": "1"}),
        Block({"a": "2"}),
    ]


def test_an_answer_has_the_form_that_the_specification_shows() -> None:
    """Programs in other languages read these very bytes."""
    assert wire.format_ok([{"access_token": "a.b==", "url": "https://x y%"}], many=False) == (
        b"ok\naccess_token=a.b==\nurl=https://x%20y%25\n\n"
    )
    assert wire.format_error(Code.NEEDS_LOGIN, "prod: log in", "pmcred login prod") == (
        b"error needs-login\nmessage=prod:%20log%20in\nhint=pmcred%20login%20prod\n\n"
    )


def test_unknown_and_repeated_keys_and_codes_of_an_answer_are_let_pass() -> None:
    """An older client understands a newer daemon; of a repeated key the first counts."""
    assert read(b"ok\nnew_thing=1\naccess_token=a\naccess_token=b\n\n") == [
        Ok(({"new_thing": "1", "access_token": "a"},))
    ]
    assert read(b"error new-code\n\n") == [Error("new-code", "")]


def test_a_good_answer_before_broken_bytes_is_not_lost() -> None:
    """What was complete is given before the error is raised."""
    events = AnswerReader().feed(b"ok\na=1\n\nnonsense\n")
    assert next(events) == Ok(({"a": "1"},))
    with pytest.raises(BadLine):
        next(events)


@pytest.mark.parametrize(
    "data",
    [
        b"okay\n",
        b"ok \n",
        b"ok 01\n",
        b"ok 100000\n",
        b"ok -1\n",
        b"ok 1 2\n",
        b"error\n",
        b"error Not A Code\n",
        b"ok\r\n",
        b"ok\nnot a field\n",
        b"ok\nKey=1\n",
        b"ok\nkey=a b\n",
        b"ok\nkey=\xc3\xbc\n",
        b"ok\nkey=%FF\n",
        b"ok\naccess_token=a%20b\n",
        b"ok\naccess_token=\n",
        b"ok\nkey=" + b"x" * wire.MAX_ANSWER_LINE,
        b"ok\nkey=" + b"x" * wire.MAX_ANSWER_LINE + b"\n",
    ],
)
def test_an_answer_that_is_not_the_protocol_is_refused(data: bytes) -> None:
    """Nothing that only resembles an answer is taken for one, and no answer eats the client's memory."""
    with pytest.raises(BadLine):
        list(AnswerReader().feed(data))


def test_a_cut_answer_is_known_to_be_cut() -> None:
    """The client can tell an answer that ended early from one that is complete."""
    for data in (b"o", b"ok\n", b"ok\na=1\n", b"ok\na=1\n\nx", b"ok *\na=1\n"):
        reader = AnswerReader()
        list(reader.feed(data))
        assert not reader.between_answers
    for data in (b"", b"ok\n\n", b"ok 0\n", b"ok *\n", b"ok *\na=1\n\n"):
        reader = AnswerReader()
        list(reader.feed(data))
        assert reader.between_answers


def test_an_access_token_that_would_need_encoding_is_never_sent() -> None:
    """A token is a b64token or no token: nobody has to decode one, and none can forge a line."""
    for token in ("", "=", "a b", "a%20b", "a\nexpires_at=1", "ü", "a=b"):
        with pytest.raises(BadLine, match="b64token"):
            wire.format_ok([{"access_token": token}], many=False)


def test_a_value_cannot_forge_a_line() -> None:
    """A newline in a server's text stays part of the value."""
    assert read(wire.format_ok([{"a": "1\nb=2", "c": "\n"}], many=False)) == [Ok(({"a": "1\nb=2", "c": "\n"},))]


def test_our_own_mistakes_in_an_answer_are_told() -> None:
    """A key that no client could read, or a missing block, is found where it is made."""
    with pytest.raises(BadLine, match="key"):
        wire.format_ok([{"Bad": "1"}], many=False)
    for count in (0, 2):
        with pytest.raises(BadLine, match="one block"):
            wire.format_ok([{}] * count, many=False)


def test_a_file_name_that_is_not_utf8_does_not_break_an_answer() -> None:
    """Errors quote paths, and a path may hold any byte: the answer is still sent."""
    assert read(wire.format_error(Code.MISCONFIGURED, "bad \udcff name")) == [Error("misconfigured", "bad ? name")]


def test_a_token_does_not_show_in_a_repr() -> None:
    """A logged or traced answer gives nothing away."""
    answer = Ok(({"access_token": "s3cret"},))
    assert "s3cret" not in repr(answer)
    assert "s3cret" not in repr(Block({"access_token": "s3cret"}))


# The rest


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("bad-request", 2),
        ("no-such-profile", 3),
        ("ambiguous", 3),
        ("needs-login", 4),
        ("unreachable", 5),
        ("waiting", 5),
        ("misconfigured", 6),
        ("not-rejected", 1),
        ("cannot-promise", 1),
        ("stopping", 69),
        ("forbidden", 1),
        ("internal", 1),
    ],
)
def test_each_code_has_the_documented_exit_status(code: str, status: int) -> None:
    """Scripts branch on these numbers."""
    assert Code(code).exit_status == status


def documented(heading: str) -> list[list[str]]:
    """Give the cells of the table in docs/protocol.md whose first column is headed so."""
    page = Path(__file__).resolve().parents[1].joinpath("docs", "protocol.md").read_text()
    table = page.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_specification_has_every_verb_with_its_keys() -> None:
    """A client written from the page can use all there is, and nothing that is not."""
    told = {
        verb.strip("`"): (target or "none", set(re.findall("[a-z_]+", keys)))
        for verb, target, keys, _ in documented("verb")
    }
    assert told == {name: (verb.target, set(verb.keys)) for name, verb in wire.VERBS.items()}


def test_the_specification_has_every_code_with_its_exit_status() -> None:
    """The closed list is the same in both places."""
    assert {code.strip("`"): int(status) for code, status, _ in documented("code")} == {
        code: code.exit_status for code in Code
    }


def test_the_specification_has_every_state_and_event() -> None:
    """What a monitor may come to read is on the page, and nothing that it waits for in vain."""
    assert [state.strip("`") for state, _ in documented("state")] == list(State)
    assert [event.strip("`") for event, _ in documented("event")] == list(Event)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("8h", 28800), ("2d", 172800), ("1.5h", 5400), ("0", 0), ("0.25", 0.25)],
)
def test_lengths_of_time_are_read_as_people_write_them(written: str, seconds: float) -> None:
    """A number, and s, m, h or d."""
    assert wire.parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "s", "-1", "+1", "1 h", "1w", "1e3", "inf", "nan", "1_0", ".5", "5.", "1h30m", "٣", "1\n", "9" * 10]
)
def test_what_is_no_length_of_time_is_refused(written: str) -> None:
    """Nothing is guessed: half an hour must not become thirty seconds."""
    with pytest.raises(BadLine):
        wire.parse_duration(written)


@given(st.floats(0, 999_999_999))
def test_a_length_of_time_is_written_so_that_it_can_be_read(seconds: float) -> None:
    """What Python code asks for arrives, to the millisecond."""
    assert wire.parse_duration(wire.format_duration(seconds)) == pytest.approx(seconds, abs=0.0006)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e10])
def test_what_no_client_can_mean_is_not_written(seconds: float) -> None:
    """A negative or endless time is refused before it is sent."""
    with pytest.raises(BadLine):
        wire.format_duration(seconds)
