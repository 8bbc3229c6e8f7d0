"""What the API says with an answer that is no success: a sentence for people, and what mends it. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin

from pmcredd.dialects import Answer, listen
from pmcredd.masking import clean
from pmcredd.processmaker import api_url
from pmcredd.profiles import Profile
from pmcredd.secret import Secret
from pmcredd.urls import BadUrl, parse_url

_MOST_FIELDS = 10  # of a refused form that are told


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a call had no success: what was attempted and what came, details a line each, and what mends it or ""."""

    sentence: str
    details: tuple[str, ...]
    mend: str


def explain(profile: Profile, method: str, url: str, answer: Answer, secrets: Sequence[Secret]) -> Trouble:
    """Explain a redirect, a refusal or a server's error.

    Args:
        profile: whose token was used.
        method: of the request.
        url: that was called; its query is not told.
        answer: its body may be the beginning of a longer one.
        secrets: what must not be told, should the server repeat it.
    """
    place = parse_url(url)
    host = place.origin.partition("://")[2]
    sentence = f"{method} {clean(place.path, secrets)} at {host} gave {name(answer.status)}"
    if 300 <= answer.status < 400:
        return _redirect(sentence, url, answer, secrets)
    said = listen(answer)
    errors = said.fields.get("errors") if said.fields is not None else None
    details = _fields(errors, secrets) if isinstance(errors, Mapping) else ()
    quoted = clean(said.text or said.error, secrets)
    known = [name(answer.status), *details]  # Laravel's message is that of the first field, or the status's name
    if quoted and not any(quoted.rstrip(".").lower() in one.lower() for one in known):
        sentence += f': a web page, "{quoted}"' if said.fields is None else f": {quoted}"
    return Trouble(sentence, details, _mend(profile, method, answer, secrets))


def name(status: int) -> str:
    """Name a status in HTTP's own words: 404 Not Found."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def page_title(answer: Answer) -> str:
    """Give the title of a web page, or "" if there is none; not fit for people before it is cleaned."""
    said = listen(answer)
    return said.text if said.fields is None else ""


def _fields(errors: Mapping[str, object], secrets: Sequence[Secret]) -> tuple[str, ...]:
    """Tell what is wrong field by field, from Laravel's {"errors": {"name": ["The name field is required."]}}."""
    told = []
    for field, wrong in list(errors.items())[:_MOST_FIELDS]:
        texts = [str(one) for one in (wrong if isinstance(wrong, list) else [wrong])]
        told.append(f"{clean(field, secrets)[:60]}: {clean(' '.join(texts), secrets)}")
    more = len(errors) - len(told)
    return (*told, f"and {more} more") if more else tuple(told)


def _redirect(sentence: str, url: str, answer: Answer, secrets: Sequence[Secret]) -> Trouble:
    location = answer.headers.get("location", "")
    if not location:
        return Trouble(sentence, (), "")
    try:
        target = parse_url(urljoin(url, location))
    except (BadUrl, ValueError):
        return Trouble(f"{sentence}, which leads nowhere", (), "")
    told = f"{sentence}, which leads to {clean(str(target), secrets)}"
    if target.path.endswith("/login"):
        return Trouble(told, (), "again later, it may be in maintenance; and without --header 'Accept: ...'")
    call = "call that place yourself, if it is right: no redirect is followed, as the token would go along"
    return Trouble(told, (), call)


def _mend(profile: Profile, method: str, answer: Answer, secrets: Sequence[Secret]) -> str:
    wait = clean(answer.headers.get("retry-after", ""), secrets)
    match answer.status:
        case 403:
            return "have the user given the permission, or use another user: another token of this one would not help"
        case 404:
            return f"check the path, which is relative to {api_url(profile, '').rstrip('/')}, and the id in it"
        case 405:
            allowed = clean(answer.headers.get("allow", ""), secrets)
            return f"{allowed}, which it takes" if allowed else ""
        case 415:
            return "name the type of --data: --header 'Content-Type: ...'"
        case 422:
            return "correct --data"
        case 429 | 503:
            return f"again after {wait}" + (" s" if wait.isdecimal() else "") if wait else "again later"
        case 502 | 504 if method not in ("GET", "HEAD", "OPTIONS"):
            return "look whether it was done before you send it again: that was a gateway's answer"
        case 500 | 502 | 504:
            return "again later; if it stays so, look into the server's own log"
        case _:
            return ""
