"""The socket protocol, used by both ends: parse and format, nothing else. docs/protocol.md is its specification."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

MAX_LINE = 8192
"""The longest request line in bytes, its newline included."""

MAX_ANSWER_LINE = 1 << 20
"""The longest line of an answer in bytes: a token with many scopes, or every mistake in a broken configuration."""

_KEY = re.compile(r"[a-z_]+")
_ARGUMENT = re.compile(r"[a-z_]+=")
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_PLAIN_BLOCK = re.compile(rf"(?:access_token={_B64TOKEN.pattern}\n|(?!access_token=)[a-z_]+=[!-$&-~]*\n)*")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")
_OK = re.compile(r"ok(?: (\*|0|[1-9][0-9]{0,4}))?")
_ERROR = re.compile(r"error ([a-z-]+)")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class BadLine(ValueError):
    """What came over the socket, or was to go there, is not the protocol; the message holds none of the values."""


class Code(StrEnum):
    """Why a request failed. The list is closed; a client treats a code it does not know like `internal`."""

    BAD_REQUEST = "bad-request"
    NO_SUCH_PROFILE = "no-such-profile"
    AMBIGUOUS = "ambiguous"
    NEEDS_LOGIN = "needs-login"
    UNREACHABLE = "unreachable"
    WAITING = "waiting"
    MISCONFIGURED = "misconfigured"
    NOT_REJECTED = "not-rejected"
    CANNOT_PROMISE = "cannot-promise"
    STOPPING = "stopping"
    FORBIDDEN = "forbidden"
    INTERNAL = "internal"

    @property
    def exit_status(self) -> int:
        """Give the exit status of a command that failed for this reason."""
        return _EXIT_STATUS.get(self, 1)


_EXIT_STATUS = {
    Code.BAD_REQUEST: 2,
    Code.NO_SUCH_PROFILE: 3,
    Code.AMBIGUOUS: 3,
    Code.NEEDS_LOGIN: 4,
    Code.UNREACHABLE: 5,
    Code.WAITING: 5,
    Code.MISCONFIGURED: 6,
    Code.STOPPING: 69,  # EX_UNAVAILABLE: soon there is no daemon
}


class Target(StrEnum):
    """Whether a verb takes a target: a profile's name or a URL."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb may be given."""

    target: Target = Target.NONE
    keys: frozenset[str] = frozenset()


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "hello": Verb(),
        "get": Verb(Target.REQUIRED, frozenset({"for", "timeout", "refresh"})),
        "list": Verb(),
        "status": Verb(Target.OPTIONAL, frozenset({"explain"})),
        "watch": Verb(Target.OPTIONAL, frozenset({"token"})),
        "log": Verb(Target.OPTIONAL, frozenset({"follow"})),
        "login": Verb(
            Target.REQUIRED,
            frozenset({"timeout", "as_new_user", "login", "answer", "code", "redirect_uri", "code_verifier"}),
        ),
        "logout": Verb(Target.REQUIRED, frozenset({"revoke", "forget"})),
        "reject": Verb(Target.REQUIRED, frozenset({"token", "fingerprint", "timeout"})),
        "reload": Verb(),
        "stop": Verb(),
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: a verb, perhaps a target, and arguments by key; all of it decoded."""

    verb: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)


def parse_request(line: bytes) -> Request:
    """Understand one request line, given without its newline.

    One carriage return at the end is forgiven (telnet sends it). A key that the verb does not know is an error, and
    so is one that comes twice: to overlook `for=30m` would silently break a promise.

    Raises:
        BadLine: for everything else that is not a request.
    """
    if len(line) >= MAX_LINE:
        raise BadLine(f"the line is longer than {MAX_LINE} bytes")
    text = _printable(line.removesuffix(b"\r"))
    name, *words = text.split() or [""]
    verb = VERBS.get(name)
    if verb is None:
        raise BadLine(f"the verb is not one of: {', '.join(VERBS)}")
    target = None
    if words and not _ARGUMENT.match(words[0]):
        target = _decode(words.pop(0))
    args: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise BadLine(f"{name} takes one target, and then only key=value")
        if key in args:
            raise BadLine(f"{key} is given twice")
        args[key] = _decode(value)
    request = Request(name, target, MappingProxyType(args))
    _check(request)
    return request


def format_request(request: Request) -> bytes:
    """Write a request as the line to send, newline included.

    Raises:
        BadLine: for a verb, key or number of targets that `parse_request` would refuse, a control character or a lone
            surrogate in a value, or too long a line.
    """
    _check(request)
    words = [request.verb]
    if request.target is not None:
        word = _encode(request.target, surrogates="strict")
        words.append(word.replace("=", "%3D") if _ARGUMENT.match(word) else word)
    words += [f"{key}={_encode(value, surrogates='strict')}" for key, value in request.args.items()]
    line = " ".join(words).encode("ascii") + b"\n"
    if len(line) > MAX_LINE:
        raise BadLine(f"the request is longer than {MAX_LINE} bytes")
    return line


def _check(request: Request) -> None:
    verb = VERBS.get(request.verb)
    if verb is None:
        raise BadLine(f"the verb is not one of: {', '.join(VERBS)}")
    if verb.target is Target.NONE and request.target is not None:
        raise BadLine(f"{request.verb} takes no target")
    if verb.target is Target.REQUIRED and not request.target:
        raise BadLine(f"{request.verb} needs a profile's name or a URL")
    if request.target == "":
        raise BadLine("the target is empty")
    if unknown := request.args.keys() - verb.keys:
        known = ", ".join(sorted(verb.keys)) or "no keys"
        # A key from the other side is told only if it looks like one: it could be anything.
        told = ", ".join(sorted(key for key in unknown if _KEY.fullmatch(key) and len(key) <= 32)) or "a key"
        raise BadLine(f"{request.verb} does not know {told}; it knows {known}")
    for value in (request.target or "", *request.args.values()):
        # Not even encoded: a name with a newline in it is an attack or an accident, never a name.
        if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
            raise BadLine("a value holds a control character")


def format_ok(blocks: Sequence[Mapping[str, str]], *, many: bool) -> bytes:
    """Write a whole successful answer: one block (`ok`), or as many as there are (`ok N`).

    Lone surrogates (a file name that is not UTF-8) come out as question marks.

    Raises:
        BadLine: if an access_token is not a b64token, a key is not a key, or one block is asked for and not given.
    """
    if not many and len(blocks) != 1:
        raise BadLine(f"an answer of one block was given {len(blocks)}")
    head = f"ok {len(blocks)}\n" if many else "ok\n"
    return (head + "".join(map(_format_block, blocks))).encode("ascii")


STREAM_HEAD = b"ok *\n"
"""How a streaming answer begins; blocks follow until the connection ends."""


def format_block(fields: Mapping[str, str]) -> bytes:
    """Write one block of a streaming answer.

    Raises:
        BadLine: as in `format_ok`.
    """
    return _format_block(fields).encode("ascii")


def format_error(code: Code, message: str, hint: str = "") -> bytes:
    """Write a whole failed answer; `hint` is the command that mends it, or empty."""
    fields = {"message": message, "hint": hint} if hint else {"message": message}
    return f"error {code.value}\n{_format_block(fields)}".encode("ascii")


def _format_block(fields: Mapping[str, str]) -> str:
    block = "".join([f"{key}={value}\n" for key, value in fields.items()])
    # Nearly always all of it can stay as it is, and one look tells. The count: no value brought a newline of its own.
    if not (_PLAIN_BLOCK.fullmatch(block) and block.count("\n") == len(fields)):
        block = "".join([_format_field(key, value) for key, value in fields.items()])
    return block + "\n"


def _format_field(key: str, value: str) -> str:
    if not _KEY.fullmatch(key):
        raise BadLine("a key of an answer is not made of a-z and _")
    if key != "access_token":
        return f"{key}={_encode(value, surrogates='replace')}\n"
    if not _B64TOKEN.fullmatch(value):
        raise BadLine("an access token is not a b64token (RFC 6750 section 2.1)")
    return f"{key}={value}\n"


@dataclass(frozen=True, slots=True)
class Ok:
    """A successful answer. With `streaming` it has no blocks of its own: they follow, one by one, as `Block`."""

    blocks: tuple[Mapping[str, str], ...] = field(repr=False)  # they may hold a token
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a streaming answer."""

    fields: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Error:
    """A failed answer. `code` is a plain string: a newer daemon may know more codes than this `Code`."""

    code: str
    message: str
    hint: str = ""


class AnswerReader:
    """Reads answers out of whatever pieces the socket gives; any number of answers, one after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # no newline before this offset
        self._head: str | None = None  # "ok", "error", or None: the next line opens an answer
        self._code = ""
        self._left = 0  # blocks still to come
        self._streaming = False
        self._blocks: list[Mapping[str, str]] = []
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Ok | Block | Error]:
        """Take bytes, give what they complete. After `BadLine` the reader is of no more use.

        Raises:
            BadLine: (while iterating) if the bytes are not an answer.
        """
        self._buffer += data
        return self._read()

    @property
    def between_answers(self) -> bool:
        """Whether the connection may end here without an answer being cut."""
        return not self._buffer and (self._head is None or (self._streaming and not self._fields))

    def _read(self) -> Iterator[Ok | Block | Error]:
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            if end >= MAX_ANSWER_LINE:
                raise BadLine("a line of the answer is too long")
            line = _printable(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
            self._scanned = 0
            event = self._open(line) if self._head is None else self._line(line)
            if event is not None:
                yield event
        self._scanned = len(self._buffer)
        if self._scanned >= MAX_ANSWER_LINE:
            raise BadLine("a line of the answer is too long")

    def _open(self, line: str) -> Ok | None:
        if error := _ERROR.fullmatch(line):
            self._head, self._code, self._left = "error", error[1], 1
            return None
        ok = _OK.fullmatch(line)
        if ok is None:
            raise BadLine("the answer begins with neither ok nor error")
        self._streaming = ok[1] == "*"
        self._left = 1 if ok[1] is None else 0 if self._streaming else int(ok[1])
        if self._left or self._streaming:
            self._head = "ok"
        return None if self._left else Ok((), streaming=self._streaming)

    def _line(self, line: str) -> Ok | Block | Error | None:
        if not line:
            return self._block_ends()
        key, equals, value = line.partition("=")
        if not equals or " " in value or not _KEY.fullmatch(key):
            raise BadLine("a line of the answer is not key=value")
        if key == "access_token" and not _B64TOKEN.fullmatch(value):
            raise BadLine("the access token in the answer is not a b64token (RFC 6750 section 2.1)")
        self._fields.setdefault(key, _decode(value))
        return None

    def _block_ends(self) -> Ok | Block | Error | None:
        fields, self._fields = self._fields, {}
        if self._streaming:
            return Block(fields)
        self._blocks.append(fields)
        self._left -= 1
        if self._left:
            return None
        head, blocks = self._head, tuple(self._blocks)
        self._head, self._blocks = None, []
        if head == "error":
            return Error(self._code, fields.get("message", ""), fields.get("hint", ""))
        return Ok(blocks)


def parse_duration(text: str) -> float:
    """Understand a length of time in seconds: "90", "90s", "30m", "8h", "2d", with decimals if need be.

    Raises:
        BadLine: if it is not one.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadLine("not a length of time: write it like 90, 90s, 30m, 8h or 2d")
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Write a length of time so that `parse_duration` reads it, to the millisecond.

    Raises:
        BadLine: if it is negative, not a number, or over thirty years.
    """
    if not 0 <= seconds <= 999_999_999:
        raise BadLine("a length of time must lie between 0 and thirty years")
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _printable(line: bytes) -> str:
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        raise BadLine("a byte beyond ASCII is not percent-encoded") from None
    if not text.isprintable():
        raise BadLine("a control character is not percent-encoded")
    return text


def _encode(value: str, *, surrogates: str) -> str:
    if value.isascii() and value.isprintable() and "%" not in value and " " not in value:
        return value  # nearly always
    try:
        raw = value.encode("utf-8", surrogates)
    except UnicodeEncodeError:
        raise BadLine("a value holds a lone surrogate, which UTF-8 cannot say") from None
    return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in raw)


def _decode(value: str) -> str:
    if "%" not in value:
        return value
    if any(match[1] is None for match in _PERCENT.finditer(value)):
        raise BadLine("a % is not followed by two hexadecimal digits")
    raw = _PERCENT.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLine("a percent-encoded value is not UTF-8") from None
