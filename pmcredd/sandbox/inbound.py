"""A request as PHP and its frameworks see it, and the reply to it: plain values, no web framework of ours."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

Fields = Mapping[str, object]

# What Laravel's TrimStrings takes off beyond white space.
_INVISIBLE = "\ufeff\u200b\u200e"
_NEVER_TRIMMED = frozenset({"password", "password_confirmation", "current_password"})
_MOST_FIELDS = 1000  # PHP's max_input_vars


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request; header names are lower-case, `address` is the peer's, `query` is not decoded."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    query: str = ""
    address: str = "127.0.0.1"

    def header(self, name: str) -> str:
        """Give a header's value, "" where it is absent."""
        return self.headers.get(name, "")

    def fields(self) -> Fields:
        """Decode the body: a form or a JSON object; anything else, and anything broken, has no fields."""
        kind = self.header("content-type").lower()
        if "/json" in kind or "+json" in kind:
            try:
                value = json.loads(self.body)
            except (ValueError, RecursionError):
                return {}
            return value if isinstance(value, dict) else {}
        if kind.startswith("application/x-www-form-urlencoded"):
            return _form(self.body.decode("utf-8", "replace"))
        return {}

    def laravel_fields(self) -> Fields:
        """Decode the body as it looks behind Laravel's TrimStrings and ConvertEmptyStringsToNull."""
        return {name: _laravel(name, value) for name, value in self.fields().items()}

    def query_fields(self) -> Fields:
        """Decode the query."""
        return _form(self.query)

    def laravel_query(self) -> Fields:
        """Decode the query as it looks behind Laravel's TrimStrings and ConvertEmptyStringsToNull."""
        return {name: _laravel(name, value) for name, value in self.query_fields().items()}

    def cookie(self, name: str) -> str:
        """Give a cookie's value (RFC 6265 section 4.2.1), "" where it is absent."""
        for pair in self.header("cookie").split(";"):
            found, _, value = pair.strip().partition("=")
            if found == name:
                return value
        return ""

    def basic(self, *, any_case: bool) -> tuple[str, str] | None:
        """Read HTTP Basic credentials, not URL-decoded; the scheme is "Basic " exactly unless `any_case`."""
        value = self.header("authorization")
        scheme = value[:6].title() if any_case else value[:6]
        if scheme != "Basic ":
            return None
        try:
            text = base64.b64decode(value[6:] + "==").decode("utf-8", "replace")
        except ValueError:
            return None
        name, colon, secret = text.partition(":")
        return (name, secret) if colon else None

    def bearer(self, *, any_case: bool) -> str | None:
        """Read a bearer token (RFC 6750 section 2.1); the scheme is "Bearer " exactly unless `any_case`."""
        value = self.header("authorization").strip()
        scheme = value[:7].title() if any_case else value[:7]
        return value[7:].strip() if scheme == "Bearer " else None

    def wants_json(self) -> bool:
        """Laravel's wantsJson(): the *first* type of Accept, by quality, is a JSON one."""
        types = accepted(self.header("accept"))
        return bool(types) and _is_json(types[0])


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, ready to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    def plus(self, *headers: tuple[str, str]) -> "Reply":
        """The same answer with more headers."""
        return Reply(self.status, self.headers + headers, self.body)


def accepted(accept: str) -> list[str]:
    """The media types of an Accept header, lower-case, the most wanted first (RFC 9110 section 12.5.1)."""
    found: list[tuple[float, str]] = []
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if kind:
            found.append((quality, kind))
    return [kind for _, kind in sorted(found, key=lambda pair: -pair[0])]


def accepts_any_json(accept: str) -> bool:
    """Whether a JSON type stands anywhere in an Accept header."""
    return any(_is_json(kind) for kind in accepted(accept))


def json_reply(
    status: int, value: object, headers: tuple[tuple[str, str], ...] = (), *, kind: str = "application/json"
) -> Reply:
    """An answer in JSON, spelled as PHP's json_encode spells it."""
    text = json.dumps(value, separators=(",", ":")).replace("/", "\\/")
    return Reply(status, (("content-type", kind), *headers), text.encode())


def html_reply(status: int, title: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """An answer as a small HTML page."""
    page = f'<!DOCTYPE html>\n<html lang="en"><head><title>{title}</title></head><body>{title}</body></html>\n'
    return Reply(status, (("content-type", "text/html; charset=UTF-8"), *headers), page.encode())


def _is_json(kind: str) -> bool:
    return "/json" in kind or "+json" in kind


def _form(text: str) -> Fields:
    found: dict[str, object] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="replace")[:_MOST_FIELDS]:
        stem, bracket, _ = name.partition("[")
        found[stem] = [value] if bracket else value  # PHP makes an array of `name[]`; which one matters to nobody here
    return found


def _laravel(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name not in _NEVER_TRIMMED:
        value = _trim(value)
    return value or None


def _trim(text: str) -> str:
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text
