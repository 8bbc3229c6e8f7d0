"""What a URL is, which two are the same, and which lies above which (RFC 3986)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar


class BadUrl(Exception):
    """A text that is not an http or https URL; `wrong` tells why and never quotes it, as it may hold a password."""

    def __init__(self, wrong: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in parts: scheme and host in lower case, no default port, a path without slashes at its end.

    A host that is not ASCII is left as it was written. `userinfo` and `tail` (query and fragment) may hold secrets.
    """

    scheme: str
    host: str  # an IPv6 address keeps its brackets
    port: int | None
    path: str
    userinfo: str | None = field(default=None, repr=False)
    tail: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Give the normal form, without user name, password, query and fragment."""
        return f"{self.origin}{self.path}"

    @property
    def origin(self) -> str:
        """Give scheme, host and port, the latter only where it is not the scheme's own."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def loopback(self) -> bool:
        """Tell whether the host is this machine whatever the network says."""
        if self.host == "localhost":
            return True
        import ipaddress  # here: it costs milliseconds, and only http URLs ask

        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


_URL = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?:(?P<userinfo>[^/?#]*)@)?(?P<authority>[^/?#@]*)(?P<path>[^?#]*)(?P<tail>.*)"
)
# Beyond ASCII everything: as a range from \u0080 up it would take milliseconds to compile.
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._-]|[^\x00-\x7f])+)(?::(?P<port>[0-9]{0,5}))?")
PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")  # RFC 3986 section 3.3
# Many a server takes %2f and %5c for a slash before it looks for dots, and drops what follows a semicolon.
_DOTS = re.compile(r"(?:/|%2f|%5c)(?:\.|%2e){1,2}(?=[/;]|%2f|%5c|$)", re.IGNORECASE)
_OWN_PORT = {"http": 80, "https": 443}


def parse_url(text: str) -> Url:
    """Take an http or https URL apart (RFC 3986); raise BadUrl for all else and for what may be read in two ways."""
    if not text.isprintable() or " " in text or "\\" in text:
        raise BadUrl("has a space, a backslash or a control character in it")
    found = _URL.fullmatch(text)
    if found is None:
        raise BadUrl("is not a URL")
    scheme = found["scheme"].lower()
    if scheme not in _OWN_PORT:
        raise BadUrl("starts with neither https:// nor http://")
    authority = AUTHORITY.fullmatch(found["authority"])
    if authority is None:
        raise BadUrl("has no usable host and port")
    path = found["path"].rstrip("/")
    if not PATH.fullmatch(path):
        raise BadUrl("has a character in its path that must be percent-encoded")
    if _DOTS.search(path):
        raise BadUrl("has a . or .. in its path")
    port = int(authority["port"] or _OWN_PORT[scheme])
    if not 0 < port < 65536:
        raise BadUrl("has a port that is not between 1 and 65535")
    return Url(
        scheme=scheme,
        host=_host(authority["host"]),
        port=None if port == _OWN_PORT[scheme] else port,
        path=path,
        userinfo=found["userinfo"],
        tail=found["tail"],
    )


def _host(text: str) -> str:
    if text.startswith("["):
        import ipaddress  # here: it costs milliseconds, and hardly anybody writes an IPv6 address

        try:
            return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
        except ValueError:
            raise BadUrl("has a host that is not an IPv6 address") from None
    if any(not label for label in text.removesuffix(".").split(".")):
        raise BadUrl("has an empty part in its host name")
    return text.lower() if text.isascii() else text


class HasUrl(Protocol):
    """What can be found by its url, given in normal form."""

    @property
    def url(self) -> str:
        """Give the url as `Url` writes it."""
        ...


_Found = TypeVar("_Found", bound=HasUrl)


def has_userinfo(text: str) -> bool:
    """Tell whether a text is a URL with a user name or a password in it, which no message may repeat."""
    found = _URL.match(text)
    return found is not None and found["userinfo"] is not None


def match_url(profiles: Iterable[_Found], url: str) -> tuple[_Found, ...]:
    """Find the profiles whose url is this URL or lies above it: same scheme, host and port, and whole path segments.

    The longest url wins; several profiles with that same url are all given, in their order. A query and a fragment
    in `url` do not count. What is no URL, or carries a user name, matches nothing.
    """
    try:
        target = parse_url(url)
    except BadUrl:
        return ()
    if target.userinfo is not None:
        return ()
    place = f"{target}/"
    above = [profile for profile in profiles if place.startswith(f"{profile.url}/")]
    longest = max((len(profile.url) for profile in above), default=0)
    return tuple(profile for profile in above if len(profile.url) == longest)
