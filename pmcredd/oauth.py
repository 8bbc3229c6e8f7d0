"""A grant becomes the request to send; an answer becomes a Token, or a Refusal that says what it means. No I/O."""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlencode

from pmcredd import dialects, explain, processmaker
from pmcredd.dialects import Answer, Ended, Meaning
from pmcredd.masking import clean
from pmcredd.profiles import ClientAuth, Grant, Profile
from pmcredd.secret import Secret

__all__ = [
    "MAX_WAIT",
    "Answer",
    "Ended",
    "Meaning",
    "Refusal",
    "Token",
    "TokenRequest",
    "clean",
    "is_b64token",
    "rate_remaining",
    "read_answer",
    "server_date",
    "static_token",
    "token_request",
]

MAX_WAIT = 86400.0
"""The longest Retry-After that is obeyed, in seconds: beyond a day a header is a mistake or an attack."""

_MAX_LIFETIME = 100 * 365 * 86400.0  # seconds; far beyond it date arithmetic overflows somewhere

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_VSCHARS = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A: what a refresh token and a scope are made of
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_ID = re.compile(r"[A-Za-z0-9_-]{0,128}")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A POST to the token endpoint, ready to send; what it carries does not show in its repr."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    grant_type: str


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code, and what its request was made with (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""

    code: Secret
    redirect_uri: str | None = None
    verifier: Secret | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and what the server said about it.

    `expires_in` is in seconds from the moment the request was sent, None when nobody knows. `sub`, `jti` and `exp`
    (unix time) are the claims of a JWT, unverified: good for naming the token to its own server and for a cross-check,
    for nothing else. `sub` is "" for a token that has no user.
    """

    access_token: Secret
    token_type: str
    expires_in: float | None
    refresh_token: Secret | None = None
    scope: str | None = None
    sub: str | None = None
    jti: str | None = None
    exp: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a token: what it means, a sentence for people, the command or act that mends it ("" if none).

    `retry_after` is in seconds, between 0 and MAX_WAIT.
    """

    meaning: Meaning
    ended: Ended
    sentence: str
    mend: str
    retry_after: float | None = None


def token_request(
    profile: Profile,
    *,
    client_secret: Secret | None,
    password: Secret | None = None,
    refresh_token: Secret | None = None,
    code: Code | None = None,
) -> TokenRequest:
    """Make the request for a token: the profile's grant, a refresh (RFC 6749 section 6), or a code's exchange (4.1.3).

    Scope goes out only if the profile names one, and never on a refresh, where the old one is meant. A redirect_uri
    never goes out here: ProcessMaker checks it on any grant. HTTP Basic carries id and secret as they are: the server
    does not url-decode them (RFC 6749 section 2.3.1 would have them encoded) and splits at the first colon, so an id
    with a colon can only travel in the body.

    Raises:
        ValueError: for what the reader of profiles does not let pass: a grant that asks nobody (personal access token)
            or needs a person (authorization code), a grant without its parts, an id with a colon under HTTP Basic.

    """
    form: dict[str, str] = {}
    if refresh_token is not None:
        form["grant_type"] = "refresh_token"
        form["refresh_token"] = refresh_token.reveal()
    elif code is not None:
        form["grant_type"] = "authorization_code"
        form["code"] = code.code.reveal()
        if code.redirect_uri is not None:  # repeated exactly if it was sent, and checked by the server
            form["redirect_uri"] = code.redirect_uri
        if code.verifier is not None:
            form["code_verifier"] = code.verifier.reveal()
    elif profile.grant is Grant.PASSWORD:
        if profile.username is None or password is None:
            raise ValueError(f"profile {profile.name}: the password grant needs username and password")
        form["grant_type"] = "password"
        form["username"] = profile.username
        form["password"] = password.reveal()
    elif profile.grant is Grant.CLIENT_CREDENTIALS:
        form["grant_type"] = "client_credentials"
    else:
        raise ValueError(f"profile {profile.name}: the grant {profile.grant} cannot be asked for without a person")
    if profile.scope and refresh_token is None and code is None:
        form["scope"] = profile.scope
    if profile.client_id is None:
        raise ValueError(f"profile {profile.name}: client_id is missing")
    headers = [("content-type", "application/x-www-form-urlencoded")]
    if client_secret is None:  # a public client says its name in the body (RFC 6749 section 3.2.1)
        form["client_id"] = profile.client_id
    elif profile.client_auth is ClientAuth.BODY:
        form["client_id"] = profile.client_id
        form["client_secret"] = client_secret.reveal()
    elif ":" in profile.client_id:
        raise ValueError(f'profile {profile.name}: a client_id with a colon needs client_auth = "body"')
    else:
        pair = f"{profile.client_id}:{client_secret.reveal()}".encode()
        # "Basic" in this case only: league/oauth2-server 8 compares it letter by letter.
        headers.append(("authorization", "Basic " + base64.b64encode(pair).decode("ascii")))
    return TokenRequest(
        url=processmaker.token_url(profile),
        headers=tuple(headers),
        body=urlencode(form).encode("ascii"),
        grant_type=form["grant_type"],
    )


def read_answer(
    profile: Profile, request: TokenRequest, answer: Answer, *, now: float, secrets: Sequence[Secret]
) -> Token | Refusal:
    """Understand the answer to a request for a token (RFC 6749 sections 5.1 and 5.2, and what servers really say).

    Args:
        profile: whose token it is.
        request: what was asked; the credentials in its headers are masked like `secrets`.
        answer: what came back.
        now: wall clock, unix time: what a Retry-After date is measured against if the server tells no Date.
        secrets: what must not appear in a text for people, even if the server echoes it.

    """
    said = dialects.listen(answer)
    found = _token(said.fields) if 200 <= answer.status < 300 and said.fields is not None else ""
    if isinstance(found, Token):
        return found
    meaning, ended = dialects.understand(request.grant_type, answer, said)
    sent = [Secret(value.removeprefix("Basic ")) for name, value in request.headers if name == "authorization"]
    case = explain.Case(
        profile,
        request.url,
        request.grant_type,
        answer,
        said,
        meaning,
        partial(clean, secrets=[*secrets, *sent]),
        found,
    )
    return Refusal(meaning, ended, explain.sentence(case), explain.mend(case), _retry_after(answer, now))


def static_token(profile: Profile, secret: Secret, *, now: float) -> Token | Refusal:
    """Make a Token of a personal access token; a Refusal if no server could be sent it.

    If it is a JWT, its own words, unverified, tell how long it lives: `expires_in` is counted from `now` (wall clock,
    unix time) and 0 if it is past its end.
    """
    value = secret.reveal()
    if not is_b64token(value):
        return Refusal(
            Meaning.BAD_ANSWER,
            Ended.NOT_SENT,
            f"the token of profile {profile.name} holds characters that no bearer token may hold",
            f"put in the token alone, on one line and without the word Bearer: pmcred profile edit {profile.name}",
        )
    claims = _claims(value)
    left = None if claims.exp is None else min(max(claims.exp - now, 0.0), _MAX_LIFETIME)
    return Token(secret, "Bearer", left, sub=claims.sub, jti=claims.jti, exp=claims.exp)


def is_b64token(text: str) -> bool:
    """Tell whether a text can stand in an Authorization header as a bearer token (RFC 6750 section 2.1)."""
    return _B64TOKEN.fullmatch(text) is not None


def server_date(answer: Answer) -> float | None:
    """Give the server's clock from its Date header, unix time."""
    return _http_date(answer.headers.get("date", ""))


def rate_remaining(answer: Answer) -> int | None:
    """Give how many requests the server's throttle still allows this minute (Laravel's X-RateLimit-Remaining)."""
    text = answer.headers.get("x-ratelimit-remaining", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _retry_after(answer: Answer, now: float) -> float | None:
    """Give the wait that the server asks for (RFC 9110 section 10.2.3), in seconds, clamped to [0, MAX_WAIT]."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[+-]?[0-9]{1,100}", text):
        return min(max(float(text), 0.0), MAX_WAIT)
    moment = _http_date(text)
    if moment is None:
        return None
    date = server_date(answer)
    return min(max(moment - (now if date is None else date), 0.0), MAX_WAIT)


def _http_date(text: str) -> float | None:
    if not text or len(text) > 64 or not text.isascii():
        return None
    import email.utils  # here: few answers need it, and it is slow to load

    try:
        moment = email.utils.parsedate_tz(text)
        return None if moment is None else float(email.utils.mktime_tz(moment))
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser is known for each of them
        return None


def _token(fields: Mapping[str, object]) -> Token | str:
    """Give the token in a success, or what keeps it from being one."""
    access_token = fields.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        return "access_token is missing"
    if not is_b64token(access_token):
        return "access_token holds characters that no bearer token may hold"
    kind = fields.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "token_type is not Bearer"
    claims = _claims(access_token)
    expires_in = _lifetime(fields.get("expires_in"))
    if expires_in is None and claims.exp is not None and claims.iat is not None:
        expires_in = _lifetime(claims.exp - claims.iat)  # both by the server's clock: ours may be off
    refresh_token = _vschars(fields.get("refresh_token"))
    return Token(
        access_token=Secret(access_token),
        token_type="Bearer",  # noqa: S106 - a type
        expires_in=expires_in,
        refresh_token=None if refresh_token is None else Secret(refresh_token),
        scope=_vschars(fields.get("scope")),
        sub=claims.sub,
        jti=claims.jti,
        exp=claims.exp,
    )


def _vschars(value: object) -> str | None:
    return value if isinstance(value, str) and _VSCHARS.fullmatch(value) else None


def _lifetime(value: object) -> float | None:
    """Give a lifetime in seconds; None for what is none. Zero is bshaffer/oauth2-server's word for "never expires"."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    # json_object() makes floats of all numbers, so an int is a bool
    if not isinstance(value, float) or not math.isfinite(value) or value <= 0:
        return None
    return min(value, _MAX_LIFETIME)


@dataclass(frozen=True, slots=True)
class _Claims:
    sub: str | None = None
    jti: str | None = None
    iat: float | None = None
    exp: float | None = None


def _claims(token: str) -> _Claims:
    """Read a JWT's claims without verifying them; what is not there, or not what it should be, is None.

    ProcessMaker writes times as floats (lcobucci/jwt 4) or integers (3), and the user's id as a string.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return _Claims()
    segment = parts[1].rstrip("=")
    try:
        payload = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)), parse_int=float)
    except (ValueError, RecursionError):
        return _Claims()
    if not isinstance(payload, dict):
        return _Claims()
    sub, jti = payload.get("sub"), payload.get("jti")
    if isinstance(sub, float) and 0 <= sub < 2**53 and sub.is_integer():
        sub = str(int(sub))
    return _Claims(
        # Both become part of a URL's path: nothing but plain characters.
        sub=sub if isinstance(sub, str) and _ID.fullmatch(sub) else None,
        jti=jti if isinstance(jti, str) and jti and _ID.fullmatch(jti) else None,
        iat=_unix_time(payload.get("iat")),
        exp=_unix_time(payload.get("exp")),
    )


def _unix_time(value: object) -> float | None:
    return value if isinstance(value, float) and 0 < value < 1e11 else None
