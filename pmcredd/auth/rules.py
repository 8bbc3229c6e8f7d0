"""Where a token may be sent: one rule for every HTTP library. No I/O."""

from pmcredd.asking import AccessToken, PmcredError
from pmcredd.urls import AUTHORITY, BadUrl, match_url, parse_url
from pmcredd.wire import Code


class ForeignUrl(PmcredError):
    """A request goes elsewhere than to the profile's own instance, and so without its token: nothing was sent."""


def authorization(token: AccessToken, url: str, host: str | None = None) -> str:
    """Give the Authorization header of a request to `url`, whose Host header is `host` (None: the URL's own).

    Raises:
        ForeignUrl: the token is not for that place.
    """
    if belongs(token, url, host):
        return token.authorization
    raise ForeignUrl(
        Code.BAD_REQUEST,
        f"the token of profile {token.profile} goes to {token.url} and what is below, and not to {_told(url, host)}",
        "name the profile of that instance: pmcred profile list",
    )


def belongs(token: AccessToken, url: str, host: str | None = None) -> bool:
    """Tell whether a request to `url` is one to the token's own instance.

    As the daemon finds a profile for a URL: same scheme, host and port, and the path below by whole segments. A Host
    header of its own would have the server pick another tenant.
    """
    return bool(match_url([token], url)) and (host is None or _same_origin(url, host))


def _same_origin(url: str, host: str) -> bool:
    target = parse_url(url)
    if not AUTHORITY.fullmatch(host):
        return False
    try:
        return parse_url(f"{target.scheme}://{host}").origin == target.origin
    except BadUrl:
        return False


def _told(url: str, host: str | None) -> str:
    """Name the place without what may be a secret in it: password and query."""
    try:
        target = parse_url(url)
    except BadUrl as bad:
        return f"a URL that {bad.wrong}"
    if target.userinfo is not None:
        return "a URL that has a user name or password in it"
    if host is not None and not _same_origin(url, host):
        return f"{target.origin} with a Host header that names another"
    return str(target)
