"""What a request carries: text of the command line, a regular file, or whatever comes through a pipe. Blocking."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_KEPT = 8 * 1024 * 1024
"""Up to so many bytes are kept in memory: looked at as JSON, and sent twice if need be, wherever they came from."""

_CHUNK = 64 * 1024  # bytes


class BadData(Exception):
    """What was to be sent cannot be read, or has changed since it was opened."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes in memory, and where there are more of them the open descriptor that gives the `rest`.

    `length` is that of the whole in bytes, None where nobody knows before the end. `offset` is where the rest begins in
    a regular file, None for a pipe, which can be read only once.
    """

    kept: bytes = field(repr=False)
    length: int | None
    rest: int | None = None
    offset: int | None = None

    @property
    def whole(self) -> bool:
        """Tell whether all of it is in `kept`."""
        return self.rest is None

    @property
    def replayable(self) -> bool:
        """Tell whether it can be sent a second time."""
        return self.whole or self.offset is not None

    def reader(self) -> Callable[[], bytes]:
        """Give a function that gives the body in parts, and b"" at its end. It blocks, and raises BadData."""
        sent = 0

        def read() -> bytes:
            nonlocal sent
            chunk = self.kept[sent : sent + _CHUNK] or self._read(sent)
            sent += len(chunk)
            return chunk

        return read

    def _read(self, sent: int) -> bytes:
        if self.rest is None:
            return b""
        try:
            if self.offset is None or self.length is None:
                return os.read(self.rest, _CHUNK)
            left = self.length - sent  # what was written to the file since is not what was announced
            chunk = os.pread(self.rest, min(_CHUNK, left), self.offset + sent - len(self.kept)) if left else b""
        except OSError as error:
            raise BadData(f"--data cannot be read to its end: {error.strerror}") from None
        if left and not chunk:
            raise BadData("the file of --data has become shorter while it was sent")
        return chunk


def open_body(data: str, stdin: int | None) -> Body:
    """Open what `--data` names: @FILE, - or @- for standard input (a descriptor, None if it is closed), or the text.

    A file stays open as long as the process lives. Raises BadData.
    """
    if data in ("-", "@-"):
        if stdin is None:
            raise BadData("--data is to be read from standard input, which is closed")
        return _read_first(stdin, "standard input")
    if not data.startswith("@"):
        text = os.fsencode(data)
        return Body(text, len(text))
    path = data[1:]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise BadData(f"--data: cannot open {path}: {_why(error)}") from None
    return _read_first(descriptor, path)


def json_flaw(body: Body) -> str:
    """Tell why a body is not JSON (RFC 8259: in UTF-8, without a byte order mark); "" if it is."""
    if not body.whole:
        return f"is longer than {MOST_KEPT >> 20} MiB, and not looked at"
    try:
        json.loads(body.kept.decode("utf-8"), parse_constant=_no_constant, parse_int=float)
    except UnicodeDecodeError:
        return "is not JSON: it is not UTF-8"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg}, line {error.lineno}, column {error.colno}"
    except RecursionError:
        return "is not looked at: it is nested too deeply"
    except ValueError as error:
        return f"is not JSON: {error}"
    return ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number there")


def _read_first(descriptor: int, name: str) -> Body:
    kept = bytearray()
    try:
        found = os.fstat(descriptor)
        while len(kept) <= MOST_KEPT:
            chunk = os.read(descriptor, MOST_KEPT + 1 - len(kept))
            if not chunk:
                return Body(bytes(kept), len(kept))
            kept += chunk
        if not stat.S_ISREG(found.st_mode):
            return Body(bytes(kept), None, descriptor)
        here = os.lseek(descriptor, 0, os.SEEK_CUR)  # standard input may have been read before us
        return Body(bytes(kept), len(kept) + max(0, found.st_size - here), descriptor, here)
    except OSError as error:
        raise BadData(f"--data: cannot read {name}: {_why(error)}") from None


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "its name cannot be a path"
