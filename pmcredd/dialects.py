"""What a token endpoint's answer says and what it means, in every dialect that ProcessMaker has spoken.

The dialects are told apart by meaning and never by the profile's generation: a ProcessMaker 4 on league/oauth2-server 9
says what ProcessMaker 3 always said (`invalid_grant` for a dead refresh token).
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SHOWN = 16384  # bytes of a web page that are looked at
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,500})", re.IGNORECASE)
_LARAVEL_DOWN = re.compile(r"<title>\s{0,80}Service Unavailable\s{0,80}</title>")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `headers` by lower-case name. Body and headers (cookies) do not show in its repr."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Meaning(enum.Enum):
    """Why there is no token."""

    DEAD_REFRESH_TOKEN = "dead-refresh-token"  # noqa: S105 - a word
    BAD_CODE = "bad-code"
    BAD_CLIENT = "bad-client"
    BAD_USER = "bad-user"
    GRANT_NOT_ALLOWED = "grant-not-allowed"
    BAD_SCOPE = "bad-scope"
    BAD_REQUEST = "bad-request"
    THROTTLED = "throttled"
    MAINTENANCE = "maintenance"
    SERVER_ERROR = "server-error"
    NOT_JSON = "not-json"
    REDIRECT = "redirect"
    WRONG_URL = "wrong-url"
    BAD_ANSWER = "bad-answer"


class Ended(enum.Enum):
    """Whether the server may have acted on the request: issued a token, spent a refresh token or a code."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    NOT_SENT = "not-sent"


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says, in one shape. `fields` is its JSON object, None if it is not one; texts are "" if absent."""

    fields: Mapping[str, object] | None = field(repr=False)
    error: str = ""
    text: str = ""
    hint: str = ""


def listen(answer: Answer) -> Said:
    """Read an answer's words: OAuth's JSON, Laravel's, Restler's, or a web page's title. None of them is trusted."""
    fields = json_object(answer)
    if fields is None:
        title = _TITLE.search(answer.body[:_SHOWN].decode("utf-8", "replace"))
        return Said(None, text=title[1] if title else "")
    error = fields.get("error")
    if isinstance(
        error, dict
    ):  # Restler, which speaks for ProcessMaker 3's API: {"error": {"code": 401, "message": ...}}
        return Said(fields, text=_text(error.get("message")))
    text = _text(fields.get("error_description")) or _text(fields.get("message"))
    return Said(fields, _text(error), text, _text(fields.get("hint")))


def json_object(answer: Answer) -> Mapping[str, object] | None:
    """Give the JSON object in a body whose content-type says that it is JSON; every number in it is a float.

    A key that comes twice: the last one counts, as with every PHP and JavaScript client of the same server. A byte that
    is not UTF-8 must not cost the meaning of an error, so it is replaced; no token survives that. A byte order mark in
    front is a common accident of PHP files.
    """
    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not re.fullmatch(r"application/[a-z0-9.-]+\+json", kind):
        return None
    text = answer.body.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        value = json.loads(text, parse_int=float, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_BY_ERROR: Mapping[str, Meaning] = {
    "invalid_client": Meaning.BAD_CLIENT,
    "invalid_credentials": Meaning.BAD_USER,  # league/oauth2-server before 8.3
    "unsupported_grant_type": Meaning.GRANT_NOT_ALLOWED,
    "unauthorized_client": Meaning.GRANT_NOT_ALLOWED,
    "invalid_scope": Meaning.BAD_SCOPE,
    "invalid_request": Meaning.BAD_REQUEST,
    "slow_down": Meaning.THROTTLED,
    "temporarily_unavailable": Meaning.MAINTENANCE,
    "server_error": Meaning.SERVER_ERROR,
}
_INVALID_GRANT: Mapping[str, Meaning] = {
    "refresh_token": Meaning.DEAD_REFRESH_TOKEN,
    "authorization_code": Meaning.BAD_CODE,
    "password": Meaning.BAD_USER,
}
# league/oauth2-server 7 and 8 call a dead refresh token or code an invalid request: only the hint tells the difference.
_DEAD_REFRESH_HINTS = (
    "cannot decrypt the refresh token",
    "token is not linked to client",
    "token has expired",
    "token has been revoked",
)
_BAD_CODE_HINTS = (
    "cannot decrypt the authorization code",
    "authorization code has expired",
    "authorization code has been revoked",
    "authorization code was not issued to this client",
)
_API_REFUSALS = ("unauthenticated.", "unauthorized")
_WRONG_PLACE = (404, 405, 410, 419)  # 419: Laravel's guard of its web forms, which the token endpoint does not have


def understand(grant_type: str, answer: Answer, said: Said) -> tuple[Meaning, Ended]:
    """Tell what an answer without a token means, and whether the server can have acted.

    A status from before the token controller (a redirect, no such route, the throttle), or a 4xx in OAuth's own words,
    proves that nothing was spent. What a front end answers for a server behind it (502, 504, 408, a 503 that Laravel
    did not write), a server error and any kind of success prove nothing.
    """
    status = answer.status
    if 300 <= status < 400:
        return Meaning.REDIRECT, Ended.REFUSED
    if status == 429:
        return Meaning.THROTTLED, Ended.REFUSED
    if status == 503:
        return Meaning.MAINTENANCE, Ended.REFUSED if _is_maintenance(answer, said) else Ended.UNKNOWN
    if 200 <= status < 300:
        return Meaning.NOT_JSON if said.fields is None else Meaning.BAD_ANSWER, Ended.UNKNOWN
    if not 400 <= status < 500 or status == 408:
        return Meaning.SERVER_ERROR, Ended.UNKNOWN
    if (meaning := _by_error(grant_type, said)) is not None:
        return meaning, Ended.UNKNOWN if meaning is Meaning.SERVER_ERROR else Ended.REFUSED
    if status in _WRONG_PLACE or (said.error or said.text).lower() in _API_REFUSALS:
        return Meaning.WRONG_URL, Ended.REFUSED
    return Meaning.NOT_JSON if said.fields is None else Meaning.BAD_REQUEST, Ended.REFUSED


def _by_error(grant_type: str, said: Said) -> Meaning | None:
    if said.error == "invalid_grant":
        return _INVALID_GRANT.get(grant_type, Meaning.BAD_REQUEST)
    if said.error == "invalid_request":
        text, hint = said.text.lower(), said.hint.lower()
        dead = "refresh token is invalid" in text or hint.startswith(_DEAD_REFRESH_HINTS)
        if grant_type == "refresh_token" and dead:
            return Meaning.DEAD_REFRESH_TOKEN
        if grant_type == "authorization_code" and hint.startswith(_BAD_CODE_HINTS):
            return Meaning.BAD_CODE
    return _BY_ERROR.get(said.error)


def _is_maintenance(answer: Answer, said: Said) -> bool:
    """Tell whether a 503 is the application's own, given before anything else ran.

    Front ends say 503 too (Varnish, Envoy, mod_proxy_fcgi), even for a request that the application got and acted on.
    """
    if said.fields is not None:
        return said.text.startswith("Service Unavailable")
    return _LARAVEL_DOWN.search(answer.body[:_SHOWN].decode("utf-8", "replace")) is not None
