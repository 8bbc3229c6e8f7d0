"""The git credential protocol, git-credential(1): what is asked, which profile is meant, and the answer."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pmcredd.secret import Secret
from pmcredd.urls import BadUrl, Url, match_url, parse_url

MAX_LINE = 65536
"""The longest line of an attribute in bytes, its newline included (git's own buffer)."""

CAPABILITIES = "version 0\ncapability authtype\n"
"""The answer to `capability`: we can name the scheme of the Authorization header (git 2.46)."""

ANYBODY = "oauth2"
"""The user name that means no user: it is what people write beside an OAuth token in a URL."""

AT_ONCE = 10
"""Seconds for which a token counts as fresh in an answer, even where a renewal that kills it is under way: git throws
away what has expired, and here the rule is to use the token at once."""

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SINGLE = frozenset({"protocol", "host", "path", "username", "password", "authtype", "credential"})
_LISTS = frozenset({"capability[]", "wwwauth[]"})
_SCHEME = re.compile(r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)")  # RFC 9110 section 11.1: the first word of a challenge


class BadInput(ValueError):
    """What was read is not the git credential protocol; the message holds none of the values."""


class Refusal(Exception):
    """No profile can be chosen; `hint` says what would choose one."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Candidate:
    """A profile that may be meant: its name, its url in normal form, and as whom it is known to be logged in."""

    name: str
    url: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What git asks about.

    `path` and `username` are None where git sends none. With `bearer` the token goes into the header itself, else as a
    password; with `ephemeral` the asker can be told to store nothing. `refused` is what a server did not take.
    """

    protocol: str = ""
    host: str = ""
    path: str | None = None
    username: str | None = None
    bearer: bool = False
    ephemeral: bool = False
    refused: Secret | None = None


def parse(lines: Iterable[bytes]) -> Query:
    """Read attributes until an empty line or the end; what follows is left alone.

    Of a key that comes twice the last counts; `key[]=` with an empty value empties the list; unknown keys are ignored.
    A carriage return before a newline is forgiven. `url` stands for its parts, wherever it comes.

    Raises:
        BadInput: a line is too long, holds a NUL or is not key=value; a name holds a control character; `url` is none.

    """
    single: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for line in lines:
        if len(line) > MAX_LINE:
            raise BadInput(f"a line is longer than {MAX_LINE - 1} bytes")
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if not text:
            break
        if b"\0" in text:
            raise BadInput("a line holds a NUL")
        key, equals, value = text.decode("utf-8", "surrogateescape").partition("=")
        if not equals:
            raise BadInput("a line is not key=value")
        if key in _SINGLE:
            single[key] = value
        elif key == "url":
            single |= _parts(value)
        elif key in _LISTS:
            lists[key] = [*lists.get(key, []), value] if value else []
    return _query(single, lists)


def _parts(url: str) -> dict[str, str]:
    from urllib.parse import unquote  # here: git itself never sends a url

    protocol, mark, rest = url.partition("://")
    if not (protocol and mark):
        raise BadInput("url is not a URL")
    # git ends the host at the first of these too.
    authority, path = re.fullmatch(r"([^/?#]*)/*(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    userinfo, at, host = authority.rpartition("@")
    parts = {"protocol": protocol, "host": unquote(host)}
    if path:
        parts["path"] = unquote(path).rstrip("/")
    if at:
        user, colon, password = userinfo.partition(":")
        parts["username"] = unquote(user)
        if colon:
            parts["password"] = unquote(password)
    return parts


def _query(single: dict[str, str], lists: dict[str, list[str]]) -> Query:
    understood = "authtype" in lists.get("capability[]", ())
    offered = {found[1].lower() for each in lists.get("wwwauth[]", ()) if (found := _SCHEME.match(each))}
    # `authtype` says what `credential` is: another scheme's is none of ours.
    by_scheme = single.get("credential", "") if single.get("authtype", "").lower() == "bearer" else ""
    refused = by_scheme or single.get("password", "")
    if _CONTROL.search("".join(single.get(key, "") for key in ("protocol", "host", "username"))):
        raise BadInput("a name holds a control character")  # the user name is answered: it must stay on its line
    return Query(
        protocol=single.get("protocol", "").lower(),
        host=single.get("host", ""),
        path=single.get("path") or None,
        username=single.get("username") or None,
        # To a server that says it takes a password and no bearer token, the token can only go as a password.
        bearer=understood and not ("basic" in offered and "bearer" not in offered),
        ephemeral=understood,
        refused=Secret(refused) if _B64TOKEN.fullmatch(refused) else None,
    )


def concerns_us(query: Query) -> bool:
    """Tell whether a profile may be for this at all, without knowing any: it is about a web server."""
    return _place(query) is not None


def find(query: Query, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Give the profiles that a query may mean: those of its host, decided by path and user as far as it names them.

    Host and port are compared as URLs compare them, the path by whole segments, and the longest url wins. A user is a
    profile's name, else somebody a profile is known to be logged in as. http is for this machine alone.
    """
    place = _place(query)
    if place is None or (place.scheme == "http" and not place.loopback):
        return ()
    return _of_user(query, _at(query, place, candidates))


def choose(query: Query, candidates: Iterable[Candidate]) -> Candidate | None:
    """Give the one profile that a query means; None if no profile is for that host.

    Raises:
        Refusal: several are, or none of them under that user name, or the token would travel unencrypted.

    """
    place = _place(query)
    if place is None:
        return None
    known = list(candidates)
    if place.scheme == "http" and not place.loopback:
        _refuse_http(query, place, known)
        return None
    here = _at(query, place, known)
    found = _of_user(query, here)
    if here and not found:
        raise Refusal(
            f"no profile for {place.origin} is named {query.username}, or known to be logged in as that user; "
            f"there is {_listed(here)}",
            f"git config --global credential.{place.origin}.username {here[0].name}, and no user name in the URL",
        )
    if len(found) > 1:
        raise Refusal(f"several profiles are for {place.origin}: {_listed(found)}", _ways(query, place, found))
    return found[0] if found else None


def answer(query: Query, profile: str, token: Secret, good_until: int | None, *, now: float) -> str:
    """Give the attributes of a token, `good_until` (unix time; None: nobody knows) as its expiry.

    Who understands `authtype` gets the header's scheme and value, anybody else a user name, which the server is to
    overlook, and the token as the password. The name is the one that was asked for, or the profile's.
    """
    lines = ["capability[]=authtype"] if query.ephemeral else []
    if query.bearer:
        lines += ["authtype=Bearer", f"credential={token.reveal()}"]
    else:
        lines += [f"username={query.username or profile}", f"password={token.reveal()}"]
    if query.ephemeral:
        # Or a cache would go on serving the token after its end, or after a renewal that killed it.
        lines.append("ephemeral=1")
    if good_until is not None:
        lines.append(f"password_expiry_utc={max(good_until, int(now) + AT_ONCE)}")
    return "\n".join(lines) + "\n"


def _place(query: Query) -> Url | None:
    if query.protocol not in {"https", "http"} or "/" in query.host:
        return None
    path = query.path or ""
    if path:
        from urllib.parse import quote  # here: git sends a path only where it is told to

        path = "/" + quote(path.lstrip("/"), safe="/~!$&'()*+,;=:@", errors="surrogateescape")
    try:
        place = parse_url(f"{query.protocol}://{query.host}{path}")
    except BadUrl:
        return None
    return place if place.userinfo is None and not place.tail else None


def _at(query: Query, place: Url, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    if query.path is not None:
        return match_url(candidates, str(place))
    return tuple(each for each in candidates if f"{each.url}/".startswith(f"{place.origin}/"))


def _of_user(query: Query, found: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    name = query.username
    named = tuple(each for each in found if each.name == name)
    if named or name is None:
        return named or found
    return tuple(each for each in found if name in each.users) or (found if name == ANYBODY else ())


def _refuse_http(query: Query, place: Url, known: Sequence[Candidate]) -> None:
    secured = Query(protocol="https", host=query.host, path=query.path)
    beyond = _place(secured)
    if beyond is not None and (found := _at(secured, beyond, known)):
        raise Refusal(
            f"a token is not sent to {place.origin}, where everybody on the way could read it", f"use {found[0].url}"
        )


def _ways(query: Query, place: Url, found: Sequence[Candidate]) -> str:
    section = f"git config --global credential.{place.origin}"
    ways = [f"{section}.username {found[0].name}"]
    if query.path is None and len({each.url for each in found}) > 1:
        ways.append(f"{section}.useHttpPath true, which tells them by path")
    return ", or ".join(ways)


def _listed(found: Sequence[Candidate]) -> str:
    return ", ".join(sorted(each.name for each in found))
