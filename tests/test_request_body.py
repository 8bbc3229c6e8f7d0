"""What --data names, and whether it can be sent twice."""

import os
import threading
from pathlib import Path

import pytest

from pmcredd import request_body
from pmcredd.request_body import BadData, Body, json_flaw, open_body


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep 10 bytes, and read 4 at a time."""
    monkeypatch.setattr(request_body, "MOST_KEPT", 10)
    monkeypatch.setattr(request_body, "_CHUNK", 4)


def read_all(body: Body) -> bytes:
    """Read it as it is sent."""
    return b"".join(iter(body.reader(), b""))


def piped(content: bytes) -> int:
    """Give the reading end of a pipe with that content."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write).start()
    return reading


def test_a_text_is_sent_as_it_was_typed() -> None:
    """Bytes beyond UTF-8 too, as the shell passed them on."""
    body = open_body("{'é': \udcff}", None)
    assert read_all(body) == b"{'\xc3\xa9': \xff}"
    assert (body.length, body.replayable) == (9, True)


@pytest.mark.parametrize("dash", ["-", "@-"])
def test_standard_input_that_fits_is_kept(dash: str) -> None:
    """So a pipe can be sent twice, too; its length is known."""
    descriptor = piped(b'{"a": 1}')
    body = open_body(dash, descriptor)
    os.close(descriptor)
    assert (body.length, body.whole, body.replayable) == (8, True, True)
    assert read_all(body) == read_all(body) == b'{"a": 1}'


@pytest.mark.usefixtures("little_memory")
def test_a_long_pipe_is_sent_once() -> None:
    """What was read to look at it goes first, then what comes; nobody knows how much."""
    content = bytes(range(50))
    body = open_body("-", piped(content))
    assert (body.length, body.whole, body.replayable) == (None, False, False)
    assert len(body.kept) == 11
    assert read_all(body) == content


@pytest.mark.usefixtures("little_memory")
def test_a_long_file_is_sent_from_the_disk_as_often_as_need_be(tmp_path: Path) -> None:
    """Its length is announced; what is written to it afterwards is not sent."""
    path = tmp_path / "big"
    path.write_bytes(bytes(range(50)))
    body = open_body(f"@{path}", None)
    assert (body.length, body.whole, body.replayable) == (50, False, True)
    assert read_all(body) == bytes(range(50))
    with path.open("ab") as more:
        more.write(b"late")
    assert read_all(body) == bytes(range(50))


@pytest.mark.usefixtures("little_memory")
def test_a_file_on_standard_input_is_sent_from_where_it_stands(tmp_path: Path) -> None:
    """As `(read line; pmcred api ... --data -) <file` leaves it."""
    path = tmp_path / "big"
    path.write_bytes(bytes(range(50)))
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 7)
    body = open_body("-", descriptor)
    assert body.length == 43
    assert read_all(body) == read_all(body) == bytes(range(7, 50))


@pytest.mark.usefixtures("little_memory")
def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    """The server waits for as much as was announced: to send less would hang, or be taken for all of it."""
    path = tmp_path / "big"
    path.write_bytes(bytes(range(50)))
    body = open_body(f"@{path}", None)
    os.truncate(path, 20)
    with pytest.raises(BadData, match="shorter"):
        read_all(body)


@pytest.mark.usefixtures("little_memory")
def test_a_descriptor_that_breaks_is_told() -> None:
    """Instead of sending what came as if it were all."""
    descriptor = piped(bytes(50))
    body = open_body("-", descriptor)
    os.close(descriptor)
    with pytest.raises(BadData, match="to its end: Bad file descriptor"):
        read_all(body)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("@{}/nothing", "cannot open .*/nothing: No such file"),
        ("@{}", "cannot read .*: Is a directory"),
        ("@", "cannot open : No such file"),
        ("@a\0b", "its name cannot be a path"),
        ("-", "standard input, which is closed"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, data: str, why: str) -> None:
    """With the name of the file, and the system's reason."""
    with pytest.raises(BadData, match=why):
        open_body(data.format(tmp_path), None)


@pytest.mark.parametrize("text", ["{}", '{"a": [1, 2.5, null]}', '"é"', " 1 ", "9" * 5000])
def test_json_is_json(text: str) -> None:
    """Of any kind, with as many digits as one likes."""
    assert json_flaw(open_body(text, None)) == ""


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "is not JSON: Expecting value, line 1, column 1"),
        ("a=1&b=2", "is not JSON: Expecting value, line 1, column 1"),
        ('{"a": 1,\n "b": }', "is not JSON: Expecting value, line 2, column 7"),
        ("\ufeff{}", "is not JSON: Unexpected UTF-8 BOM"),
        ('{"a": NaN}', "is not JSON: NaN is no number there"),
        ('"\udcff"', "is not JSON: it is not UTF-8"),
        ("[" * 100_000, "is not looked at: it is nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(text: str, flaw: str) -> None:
    """PHP takes such a body for an empty one, and complains about fields that are there."""
    assert json_flaw(open_body(text, None)).startswith(flaw)


@pytest.mark.usefixtures("little_memory")
def test_what_is_too_long_is_not_looked_at() -> None:
    """Then its type has to be named."""
    assert "is longer than" in json_flaw(open_body("-", piped(b" " * 50)))
