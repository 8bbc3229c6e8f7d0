"""How the body of an HTTP answer looks on a terminal: JSON laid out, no character that a terminal obeys, no token."""

import codecs
import json
import re
from collections.abc import Callable
from urllib.parse import quote

from pmcredd.cli.terminal import BOLD, Cell, paint
from pmcredd.secret import Secret

_MASK = "****"
_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_TEXT_KINDS = re.compile(r"text/.*|.*[/+](?:json|xml|javascript|yaml|x-www-form-urlencoded|graphql)")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)


def is_text(content_type: str, beginning: bytes) -> bool:
    """Tell whether people can read a body. One without a type is looked at; a NUL is in no text."""
    kind = content_type.partition(";")[0].strip().lower()
    return _TEXT_KINDS.fullmatch(kind) is not None if kind else b"\0" not in beginning


def is_web_page(content_type: str) -> bool:
    """Tell whether a body is HTML."""
    return content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


class Veil:
    """Takes a token out of a text, as it is and percent-encoded."""

    def __init__(self, token: Secret) -> None:
        spellings = {token.reveal(), quote(token.reveal(), safe="")}
        self._found = re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))))
        self.longest = max(map(len, spellings))
        """The longest spelling, in characters."""

    def over(self, text: str) -> str:
        """Give the text without it."""
        return self._found.sub(_MASK, text)


def visible(text: str) -> str:
    r"""Write what could move the cursor, change colours or hide text as Python does: \x1b. Tabs and new lines stay."""
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _python_escape(char) for char in text)


def lay_out_json(text: str, veil: Veil, *, colour: bool) -> str | None:
    """Lay JSON out over lines, keys in bold; None if it is no JSON.

    Nothing but spaces and the spelling of strings changes: numbers keep their digits, and a key that comes twice stays
    twice. What is shown is JSON still: what cannot be shown is written in its own escapes.
    """
    try:
        json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None
    lines: list[str] = []
    line, depth = "", 0
    parts = _JSON_PART.findall(text)
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        if part in "[{":
            line += part
            if following not in "]}":
                depth += 1
                lines.append(line)
                line = "  " * depth
        elif part in "]}":
            if not line.endswith(("[", "{")):
                depth -= 1
                lines.append(line)
                line = "  " * depth
            line += part
        elif part == ",":
            lines.append(f"{line},")
            line = "  " * depth
        elif part == ":":
            line += ": "
        elif part.startswith('"'):
            shown = _shown_string(part, veil)
            line += paint(Cell(shown, BOLD), colour=colour) if following == ":" else shown
        else:
            line += part
    return "\n".join([*lines, line])


class TextFlow:
    """A text that comes in parts, made fit for a terminal part by part."""

    def __init__(self, content_type: str, veil: Veil) -> None:
        named = _CHARSET.search(content_type)
        self._decoder = codecs.getincrementaldecoder(_known(named[1] if named else "utf-8"))("backslashreplace")
        self._veil = veil
        self._held = ""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Give what can be shown. The end is held back until the last part: a token, or a line's end, may go on."""
        text = self._veil.over(self._held + self._decoder.decode(data, last))
        here = len(text) if last else max(0, len(text) - self._veil.longest)
        if text[:here].endswith("\r") and not last:
            here -= 1
        self._held = text[here:]
        return visible(text[:here])


def _shown_string(part: str, veil: Veil) -> str:
    value = veil.over(str(json.loads(part, strict=False)))
    written = json.dumps(value, ensure_ascii=False)
    return written if written.isprintable() else _each(written, _json_escape)


def _each(text: str, escape: Callable[[str], str]) -> str:
    return "".join(char if char.isprintable() else escape(char) for char in text)


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1]


def _python_escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _known(charset: str) -> str:
    try:
        found = codecs.lookup(charset)
    except LookupError:
        return "utf-8"
    # Python has codecs that are none for text (zip, rot13).
    return found.name if found._is_text_encoding else "utf-8"  # noqa: SLF001
