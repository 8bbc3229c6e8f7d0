"""The two generations of ProcessMaker as data: their endpoints, and what a refresh does to the token in use."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote, urlsplit

from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of the server. In the paths `{workspace}` stands for the profile's workspace."""

    number: int
    token_path: str
    authorize_path: str
    api_base: str
    refresh_revokes: bool
    """Whether a refresh revokes the access token in use: league/oauth2-server does, bshaffer/oauth2-server does not."""
    invalid_client_status: int
    """The status beside the error `invalid_client`: both are in the field, RFC 6749 section 5.2 allows both."""
    refresh_lifetime: float | None
    """How many seconds a refresh token lives unused, where it is not as long as the access token."""
    tells_tokens: bool
    """Whether a token tells its user, and GET /users/{sub} and /users/{sub}/tokens/{jti} tell more, with that token."""
    revoke_path: str
    """Where a DELETE revokes an access token: `{sub}` and `{jti}` are the token's claims, `{token}` is the token."""
    living_path: str
    """A small resource of the API that any living token may read."""
    clients_page: str
    """Where an administrator finds the OAuth clients, in the words of the user interface."""


GENERATIONS: Mapping[int, Generation] = MappingProxyType(
    {
        4: Generation(
            number=4,
            token_path="/oauth/token",  # noqa: S106 - a path
            authorize_path="/oauth/authorize",
            api_base="/api/1.0",
            refresh_revokes=True,
            invalid_client_status=401,
            refresh_lifetime=None,
            tells_tokens=True,
            revoke_path="/api/1.0/users/{sub}/tokens/{jti}",
            living_path="/users/{sub}/tokens/{jti}",
            clients_page="Admin > Auth Clients",
        ),
        3: Generation(
            number=3,
            token_path="/{workspace}/oauth2/token",  # noqa: S106 - a path
            authorize_path="/{workspace}/oauth2/authorize",
            api_base="/api/1.0/{workspace}",
            refresh_revokes=False,
            invalid_client_status=400,
            refresh_lifetime=14 * 86_400.0,
            tells_tokens=False,
            revoke_path="/{workspace}/oauth2/{token}",
            living_path="/cases/draft/paged?limit=1",
            clients_page="Admin > REST applications",
        ),
    }
)


class Renewal(enum.Enum):
    """What it takes to get the next token, and whom it disturbs."""

    ASK_ANEW = "ask-anew"
    """The grant is simply repeated; tokens that are out live on."""
    REFRESH_QUIETLY = "refresh-quietly"
    """The refresh token is spent; the access token in use lives on."""
    REFRESH_DISRUPTIVELY = "refresh-disruptively"
    """The refresh token is spent, and the access token in use dies with it, in everybody's hands."""
    NEVER = "never"
    """A personal access token: a person makes the next one."""


def generation(profile: Profile) -> Generation:
    """Give the generation that a profile is for."""
    return GENERATIONS[profile.generation]


def renewal(profile: Profile) -> Renewal:
    """Tell how this profile's token is renewed."""
    match profile.grant:
        case Grant.PERSONAL_ACCESS_TOKEN:
            return Renewal.NEVER
        case Grant.CLIENT_CREDENTIALS | Grant.PASSWORD:
            return Renewal.ASK_ANEW
        case Grant.AUTHORIZATION_CODE:
            return Renewal.REFRESH_DISRUPTIVELY if generation(profile).refresh_revokes else Renewal.REFRESH_QUIETLY


def token_info_url(profile: Profile, sub: str | None, jti: str | None) -> str | None:
    """Give the URL that tells whether a token lives, or None where there is none: no user, no id, ProcessMaker 3."""
    if not (generation(profile).tells_tokens and sub and jti):
        return None
    return api_url(profile, f"/users/{quote(sub, safe='')}/tokens/{quote(jti, safe='')}")


def user_url(profile: Profile, sub: str | None) -> str | None:
    """Give the URL that tells of a token's own user, or None where there is none."""
    if not (generation(profile).tells_tokens and sub):
        return None
    return api_url(profile, f"/users/{quote(sub, safe='')}")


def revocation_urls(profile: Profile, sub: str | None, jti: str | None, token: Secret) -> tuple[str, str] | None:
    """Give the URL whose DELETE revokes an access token, and one that a GET with it can only read while it lives.

    None where the token does not tell what the URL needs. The one of ProcessMaker 3 has the token itself in it.
    """
    server = generation(profile)
    if "{jti}" in server.revoke_path and not (sub and jti):
        return None
    parts = {"{sub}": sub or "", "{jti}": jti or "", "{token}": token.reveal()}
    revoke, living = server.revoke_path, server.living_path
    for name, value in parts.items():
        revoke, living = (path.replace(name, quote(value, safe="")) for path in (revoke, living))
    return _join(profile, revoke), api_url(profile, living)


def token_url(profile: Profile) -> str:
    """Give the URL that tokens are asked from.

    A `token_path` in the profile is relative to the profile's url, with or without a leading slash: an instance under
    https://host/pm has its token endpoint at https://host/pm/oauth/token.
    """
    return _join(profile, profile.token_path or generation(profile).token_path)


def authorize_url(profile: Profile) -> str:
    """Give the URL where a person logs in; `authorize_path` is relative to the profile's url, like `token_path`."""
    return _join(profile, profile.authorize_path or generation(profile).authorize_path)


def api_url(profile: Profile, path: str) -> str:
    """Give the URL of a REST resource, such as /users; the caller has percent-encoded what it puts into `path`."""
    return _join(profile, f"{generation(profile).api_base}/{path.lstrip('/')}")


def origin(profile: Profile) -> str:
    """Give scheme, host and port of the token endpoint, such as https://acme.processmaker.net:443.

    The server counts requests by address, so this is the key under which they are counted: host in lower case, port
    always there.
    """
    parts = urlsplit(token_url(profile))
    host = parts.hostname or ""
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"


def foreign_scheme(challenge: str | None) -> str:
    """Give the scheme that a 401 asks for where it is not about our token, "" where it is.

    `challenge` is its WWW-Authenticate header (RFC 9110 section 11.6.1), which ProcessMaker never sends. Where it asks
    for another scheme first, something in front of ProcessMaker wants to know who comes, and to renew a good token
    would help nobody.
    """
    scheme = (challenge or "").replace(",", " ").strip().partition(" ")[0]
    return "" if scheme.lower() == "bearer" else scheme


def _join(profile: Profile, path: str) -> str:
    # The host stays as the profile has it: ProcessMaker picks the tenant by it.
    if "{workspace}" in path:
        if profile.workspace is None:
            raise ValueError(f"profile {profile.name}: ProcessMaker {profile.generation} needs a workspace")
        path = path.replace("{workspace}", quote(profile.workspace, safe=""))
    return f"{profile.url.rstrip('/')}/{path.lstrip('/')}"
