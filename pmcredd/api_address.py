"""Which URL of a profile's own instance a path means that a person has typed or pasted, and what is none. No I/O."""

import re
from urllib.parse import quote, unquote

from pmcredd.processmaker import api_url
from pmcredd.profiles import Profile
from pmcredd.urls import BadUrl, parse_url

_ABSOLUTE = re.compile(r"(?P<base>[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)(?P<rest>.*)", re.DOTALL)
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What RFC 3986 allows in a path or a query, and the brackets of PHP's filter[name]=x, which every server takes.
_AS_GIVEN = "-._~!$&'()*+,;=:@/?%[]"


class BadPath(ValueError):
    """A text that must not be called; `mend` says what to write instead."""

    def __init__(self, wrong: str, mend: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.mend = mend


def call_url(profile: Profile, text: str) -> str:
    """Give the URL to call.

    A path is relative to the API's base, /api/1.0 (ProcessMaker 3: /api/1.0/{workspace}); one that begins with /api/ is
    taken as it stands below the profile's url, so that what was copied from a browser or the documentation works, and
    other versions of the API can be reached. So is a URL of the profile's own scheme, host and port. The query stays
    as it was given; characters that no URL may hold (spaces, quotes, letters beyond ASCII) are percent-encoded.

    Raises:
        BadPath: it leads elsewhere, or may be read in two ways.
    """
    absolute, text = _own(profile, _spelled(text))
    path, mark, query = text.partition("?")
    if not path.startswith("/") or path.startswith("//"):
        raise BadPath("does not begin with one /", "write it like /users")
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path))):
        raise BadPath("has a . or .. in it", "write the path that is meant, from its beginning")
    base = parse_url(profile.url).path
    inside = path.startswith(f"{base}/api/")
    if absolute and not inside:
        raise BadPath(f"is not below {profile.url}/api/", "write a path of the API, like /users")
    if inside:
        path = path.removeprefix(base)
    if path.startswith("/api/"):
        _check_workspace(profile, path)
        return f"{profile.url}{path}{mark}{query}"
    return f"{api_url(profile, path)}{mark}{query}"


def _spelled(text: str) -> str:
    if not text.isprintable():
        raise BadPath("has a character in it that cannot be seen", "percent-encode it")
    if "#" in text:
        raise BadPath("has a # in it, and what follows one is never sent", "write %23 if it is part of the value")
    if _LONE_PERCENT.search(text):
        raise BadPath("has a % that is not followed by two hexadecimal digits", "write %25 for a percent sign")
    if "\\" in text.partition("?")[0]:
        raise BadPath("has a backslash in its path", "write /")
    return quote(text, safe=_AS_GIVEN)


def _own(profile: Profile, text: str) -> tuple[bool, str]:
    """Tell whether it is a URL; and give its path and query, if it is one of the profile's own instance."""
    found = _ABSOLUTE.fullmatch(text)
    if found is None:
        return False, text
    try:
        url = parse_url(found["base"])
    except BadUrl as bad:
        raise BadPath(f"is a URL that {bad.wrong}", "write a path like /users") from None
    if url.userinfo is not None:  # never quoted: it may be a secret
        raise BadPath("has a user name or password in it", "leave that out: the profile says who calls")
    if url.origin != parse_url(profile.url).origin:
        raise BadPath(
            f"is for {url.origin}, and profile {profile.name} is for {profile.url}: its token goes nowhere else",
            "name the profile of that instance: pmcred profile list",
        )
    return True, found["rest"]


def _check_workspace(profile: Profile, path: str) -> None:
    """Refuse another workspace of ProcessMaker 3: it knows nothing of this one's tokens."""
    _, _, _, *below = path.split("/")
    if profile.generation == 3 and unquote("".join(below[:1])) != profile.workspace:
        raise BadPath(
            f"names another workspace than {profile.workspace}, which profile {profile.name} is for",
            "write a path below /api/1.0/WORKSPACE, like /users",
        )
