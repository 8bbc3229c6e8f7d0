"""The token endpoint of ProcessMaker 4: Laravel Passport over league/oauth2-server, release by release."""

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from pmcredd.sandbox.inbound import Fields, Inbound, Reply, html_reply, json_reply
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.recognise import recognise
from pmcredd.sandbox.world import Client, Code, Issued, RefreshToken, World

TENANT = (("x-tenant-id", "none"), ("x-tenant-name", "No tenant"))  # what a server without multi-tenancy sends

_BAD_REQUEST = (
    "The request is missing a required parameter, includes an invalid parameter value, "
    "includes a parameter more than once, or is otherwise malformed."
)
_BAD_GRANT = (
    "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token "
    "is invalid, expired, revoked, does not match the redirection URI used in the authorization request, "
    "or was issued to another client."
)
_BAD_SCOPE = "The requested scope is invalid, unknown, or malformed"
VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 section 4.1; a challenge has the same shape (4.2)
_VERSION = re.compile(r"4\.(\d{1,2})(?:\.(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between releases of ProcessMaker 4."""

    bad_user: tuple[int, str] = (400, "invalid_grant")
    dead_refresh: tuple[int, str] = (401, "invalid_request")
    bad_code: str = "invalid_request"
    repeats_message: bool = True  # an error's "message" beside "error_description"
    float_times: bool = True  # iat, nbf, exp with microseconds
    any_loopback_port: bool = True  # http://127.0.0.1 and http://[::1] match whatever their port
    password_grant: bool = True
    downgrade_guard: bool = True  # a verifier for a code without a challenge is refused
    delete_trap: bool = True  # DELETE of a nameless token answers 500 after revoking it
    names_forbidden_grant: bool = False  # unauthorized_client, where older releases say invalid_client
    client_as_subject: bool = False
    prompts: bool = True  # Passport 11: `prompt` is heeded, and a request is looked at before the login
    tells_of_denial: bool = True  # Passport 11: a denial goes to the URI asked for, and says why
    names_missing_consent: bool = False  # prompt=none fails with login_required, consent_required (OpenID Connect)


def dialect(version: str, *, passport_13: bool = False) -> Dialect:
    """Find the dialect of a release, such as "4.15" or "4.14.1"; ValueError if there is no such release."""
    match = _VERSION.fullmatch(version)
    if match is None:
        message = f"not a release of ProcessMaker 4: {version}"
        raise ValueError(message)
    minor, patch = int(match[1]), int(match[2] or 99)  # "4.14" means its newest patch
    found = Dialect(
        bad_user=(400, "invalid_grant") if minor >= 3 else (401, "invalid_credentials"),
        repeats_message=minor >= 1,
        float_times=minor >= 3,
        any_loopback_port=minor >= 3,
        password_grant=not (minor == 14 and patch < 2),
        downgrade_guard=minor >= 7,
        delete_trap=minor >= 8,
        prompts=minor >= 8,
        tells_of_denial=minor >= 8,
    )
    if passport_13:
        found = replace(
            found,
            dead_refresh=(400, "invalid_grant"),
            bad_code="invalid_grant",
            repeats_message=False,
            names_forbidden_grant=True,
            client_as_subject=True,
            names_missing_consent=True,
        )
    return found


class OAuthError(Exception):
    """A refusal of league/oauth2-server; with a `redirect_uri` the browser is sent there with it."""

    def __init__(
        self, status: int, error: str, description: str, hint: str | None = None, *, redirect_uri: str | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description
        self.hint = hint
        self.redirect_uri = redirect_uri

    def payload(self, speaks: Dialect) -> dict[str, str]:
        """What is told about it, in the order in which it is told."""
        told = {"error": self.error, "error_description": self.description}
        if self.hint is not None:
            told["hint"] = self.hint
        if speaks.repeats_message:
            told["message"] = self.description
        return told


def bad_request(hint: str) -> OAuthError:
    """A request that is wrong in itself."""
    return OAuthError(400, "invalid_request", _BAD_REQUEST, hint)


def bad_scope(scope: str, *, redirect_uri: str | None = None) -> OAuthError:
    """A scope that nobody has defined, or that was not granted."""
    return OAuthError(400, "invalid_scope", _BAD_SCOPE, f"Check the `{scope}` scope", redirect_uri=redirect_uri)


def unknown_client() -> OAuthError:
    """One refusal for all that can be wrong with a client: id, secret, redirect URI, boxes that are not ticked."""
    return OAuthError(401, "invalid_client", "Client authentication failed")


def unsupported_grant() -> OAuthError:
    """No grant feels responsible for a request."""
    return OAuthError(
        400,
        "unsupported_grant_type",
        "The authorization grant type is not supported by the authorization server.",
        "Check that all required parameters have been provided",
    )


def answer(world: World, speaks: Dialect, request: Inbound) -> tuple[Reply, Note]:
    """Answer POST /oauth/token, and say what happened."""
    fields = request.laravel_fields()
    note = recognise(4, world, fields, _client_id(request, fields))
    try:
        issued = _grant(world, speaks, request, fields, note.grant)
    except OAuthError as error:
        return refusal(error, speaks, request), replace(note, status=error.status, error=error.error)
    body: dict[str, object] = {
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "access_token": issued.access_token.reveal(),
    }
    if issued.refresh_token is not None:
        body["refresh_token"] = issued.refresh_token.reveal()
    headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
    return json_reply(200, body, headers, kind="application/json; charset=UTF-8").plus(*TENANT), note.issue(issued)


def describe(world: World, request: Inbound) -> Note:
    """Say who sends a token request, and with what, before anything is done about it."""
    fields = request.laravel_fields()
    return recognise(4, world, fields, _client_id(request, fields))


def wrong_method(request: Inbound) -> Reply:
    """Answer anything but POST: GET falls through to the web pages' redirect, the rest is refused."""
    if request.method in {"GET", "HEAD"}:
        return to_login()
    text = f"The {request.method} method is not supported for route oauth/token. Supported methods: POST."
    headers = (("allow", "POST"),)
    if request.wants_json():
        return json_reply(405, {"message": text}, headers).plus(*TENANT)
    return html_reply(405, "Method Not Allowed", headers).plus(*TENANT)


def to_login() -> Reply:
    """The redirect that a lost request ends in."""
    return html_reply(302, "Redirecting to /login", (("location", "/login"),)).plus(*TENANT)


def too_many(request: Inbound) -> Reply:
    """The throttle's refusal: JSON only for who wants JSON first."""
    if request.wants_json():
        return json_reply(429, {"message": "Too Many Attempts."}).plus(*TENANT)
    return html_reply(429, "Too Many Requests").plus(*TENANT)


def redirect_matches(client: Client, uri: str, *, any_loopback_port: bool) -> bool:
    """Compare a redirect URI with what the client registered, a list split at commas."""
    registered = client.redirect.split(",")
    if uri in registered:
        return True
    return any_loopback_port and any(_same_but_port(uri, one) for one in registered)


def _same_but_port(uri: str, registered: str) -> bool:
    try:
        ours, theirs = urlsplit(uri), urlsplit(registered)
    except ValueError:
        return False
    return (
        ours.scheme == theirs.scheme == "http"
        and ours.hostname in {"127.0.0.1", "::1"}
        and ours.hostname == theirs.hostname
        and (ours.path, ours.query) == (theirs.path, theirs.query)
    )


def _grant(world: World, speaks: Dialect, request: Inbound, fields: Fields, grant: str) -> Issued:
    if grant == "?" or (grant == "password" and not speaks.password_grant):
        raise unsupported_grant()
    client = _client(world, speaks, request, fields, grant)
    if grant == "client_credentials":
        return world.issue(client, None, _scopes(fields, ()), refreshable=False)
    if grant == "password":
        return _password(world, speaks, client, fields)
    if grant == "refresh_token":
        return _refresh(world, speaks, client, fields)
    return _redeem(world, speaks, client, fields)


def _client_id(request: Inbound, fields: Fields) -> object:
    # The body wins over Basic, and over a Basic that is there for something else.
    basic = request.basic(any_case=False)
    found = fields.get("client_id")
    return basic[0] if found is None and basic is not None else found


def _client(world: World, speaks: Dialect, request: Inbound, fields: Fields, grant: str) -> Client:
    client_id = _client_id(request, fields)
    if client_id is None:
        raise _missing("client_id")
    basic = request.basic(any_case=False)
    secret = fields.get("client_secret")
    secret = basic[1] if secret is None and basic is not None else secret
    if secret is not None and not isinstance(secret, str):
        raise _missing("client_secret")
    # Client ids are numbers in the database: a JSON number finds one as well as its text does.
    usable = isinstance(client_id, str | int) and not isinstance(client_id, bool)
    client = world.clients.get(str(client_id)) if usable else None
    if client is None or client.secret != secret:
        raise unknown_client()
    if not _may(client, grant):
        if speaks.names_forbidden_grant:
            text = "The authenticated client is not authorized to use this authorization grant type."
            raise OAuthError(400, "unauthorized_client", text)
        raise unknown_client()
    redirect_uri = fields.get("redirect_uri")
    if redirect_uri is not None:
        if not isinstance(redirect_uri, str):
            raise _missing("redirect_uri")
        if not redirect_matches(client, redirect_uri, any_loopback_port=speaks.any_loopback_port):
            raise unknown_client()
    return client


def _may(client: Client, grant: str) -> bool:
    if grant == "password":
        return client.password
    return not (grant == "authorization_code" and client.first_party)


def _password(world: World, speaks: Dialect, client: Client, fields: Fields) -> Issued:
    scopes = _scopes(fields, ())
    username, password = _text(fields, "username"), _text(fields, "password")
    user = world.authenticate(username, password)
    if user is None:
        raise OAuthError(*speaks.bad_user, "The user credentials were incorrect.")
    return world.issue(client, user.id, scopes, refreshable=True)


def _refresh(world: World, speaks: Dialect, client: Client, fields: Fields) -> Issued:
    row = world.find_refresh(_text(fields, "refresh_token"))
    problem = _dead(row, client, world.now())
    if row is None or problem is not None:
        raise OAuthError(*speaks.dead_refresh, "The refresh token is invalid.", problem)
    scopes = _scopes(fields, row.access.scopes)
    for scope in scopes:
        if scope not in row.access.scopes:
            raise bad_scope(scope)
    return world.refresh(row, client, scopes)


def _dead(row: RefreshToken | None, client: Client, now: float) -> str | None:
    if row is None:
        return "Cannot decrypt the refresh token"
    if row.access.client_id != client.id:
        return "Token is not linked to client"
    if row.expires <= now:
        return "Token has expired"
    return "Token has been revoked" if row.revoked else None


def _redeem(world: World, speaks: Dialect, client: Client, fields: Fields) -> Issued:
    row = world.find_code(_text(fields, "code"))
    problem = _dead_code(row, client, world.now())
    if row is None or problem is not None:
        raise _bad_code(speaks, problem)
    redirect_uri = fields.get("redirect_uri")
    if row.redirect_uri is not None and redirect_uri is None:
        raise _missing("redirect_uri")
    if row.redirect_uri != redirect_uri:
        raise bad_request("Invalid redirect URI")
    _check_verifier(speaks, row, fields.get("code_verifier"))
    scopes = tuple(scope for scope in row.scopes if scope != "*")  # Passport drops it silently for this grant
    return world.redeem(row, client, scopes)


def _dead_code(row: Code | None, client: Client, now: float) -> str | None:
    if row is None:
        return "Cannot decrypt the authorization code"
    if row.expires <= now:
        return "Authorization code has expired"
    if row.revoked:
        return "Authorization code has been revoked"
    return None if row.client_id == client.id else "Authorization code was not issued to this client"


def _bad_code(speaks: Dialect, hint: str | None) -> OAuthError:
    text = _BAD_REQUEST if speaks.bad_code == "invalid_request" else _BAD_GRANT
    return OAuthError(400, speaks.bad_code, text, hint)


def _check_verifier(speaks: Dialect, row: Code, verifier: object) -> None:
    if row.challenge is None:
        if verifier is not None and speaks.downgrade_guard:
            raise bad_request("code_verifier received when no code_challenge is present")
        return
    if verifier is None:
        raise _missing("code_verifier")
    if not isinstance(verifier, str) or VERIFIER.fullmatch(verifier) is None:
        raise bad_request("Code Verifier must follow the specifications of RFC-7636.")
    if row.method == "S256":
        hashed = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
    if verifier != row.challenge:
        raise OAuthError(400, "invalid_grant", _BAD_GRANT, "Failed to verify `code_verifier`.")


def _scopes(fields: Fields, default: tuple[str, ...]) -> tuple[str, ...]:
    # ProcessMaker defines no scope; Passport itself knows "*", and only that.
    value = fields.get("scope")
    if value is None:
        return default
    if not isinstance(value, str):
        raise _missing("scope")
    scopes = tuple(value.split())
    for scope in scopes:
        if scope != "*":
            raise bad_scope(scope)
    return scopes


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _missing(name)
    return value


def _missing(name: str) -> OAuthError:
    return bad_request(f"Check the `{name}` parameter")


def refusal(error: OAuthError, speaks: Dialect, request: Inbound) -> Reply:
    """Tell a refusal as JSON, in a browser too."""
    headers: tuple[tuple[str, str], ...] = ()
    authorization = request.header("authorization")
    if error.error == "invalid_client" and authorization:
        scheme = "Bearer" if authorization.startswith("Bearer") else "Basic"
        headers = (("www-authenticate", f'{scheme} realm="OAuth"'),)
    return json_reply(error.status, error.payload(speaks), headers).plus(*TENANT)
