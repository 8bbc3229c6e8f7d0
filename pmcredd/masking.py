"""A server's text made fit for people: secrets masked, nothing in it that a terminal or a log obeys."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, quote_plus

from pmcredd.secret import Secret

_MASK = "****"
_LONGEST = 200  # characters that reach people
_SHORT = 4  # a secret below this many characters cannot be cut out of a text without giving it away

# What ProcessMaker's tokens look like: JWT, Defuse ciphertext, and the hexadecimal ones of ProcessMaker 3.
_TOKENS = re.compile(r"eyJ[A-Za-z0-9_.=+/-]{5,}|def502[0-9a-f]{10,}|[0-9a-f]{40,}", re.IGNORECASE)
# CSI and OSC sequences, bounded: a text full of beginnings must not cost more than one pass.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]{0,256}(?:\x07|\x1b\\|\x9c)"
)


def clean(text: str, secrets: Sequence[Secret]) -> str:
    """Mask secrets and tokens, replace what is not printable, cut at 200 characters.

    Secrets are found as they are and as they travel: percent-encoded, base64, JSON- and HTML-escaped, in any case. A
    text that holds a secret shorter than four characters is withheld whole.
    """
    spellings = {spelling for secret in secrets for spelling in _spellings(secret.reveal())}
    if any(len(spelling) < _SHORT and spelling in text for spelling in spellings):
        return "(withheld: it holds a secret)"
    # Longest first: one secret may be the beginning of another.
    long = sorted((spelling for spelling in spellings if len(spelling) >= _SHORT), key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, long)) or r"(?!)", re.IGNORECASE)
    text = _TOKENS.sub(_MASK, known.sub(_MASK, text))
    text = _ESCAPES.sub("?", text)
    # isprintable() is false for controls (C0 and C1), bidirectional overrides, surrogates and all spaces but one.
    text = "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)
    # Once more: a secret that an escape sequence or a line break had split is whole again.
    text = _TOKENS.sub(_MASK, known.sub(_MASK, " ".join(text.split())))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3].rstrip() + "..."


def _spellings(value: str) -> Iterator[str]:
    """Give the ways in which a server might write a secret back."""
    if not value:
        return
    escaped = json.dumps(value)[1:-1]
    encoded = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")
    yield value
    yield escaped
    yield escaped.replace("/", "\\/")  # PHP's json_encode
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="", errors="replace")
    yield quote(value, errors="replace")
    yield quote_plus(value, errors="replace")
    yield encoded
    yield encoded.replace("+", "-").replace("/", "_")
    html = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield html
    yield html.replace('"', "&quot;").replace("'", "&#039;")  # PHP's htmlspecialchars
