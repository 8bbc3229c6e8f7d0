"""ProcessMaker 3: its token endpoint (bshaffer/oauth2-server-php) and a few paths of its API (Restler)."""

from dataclasses import replace
from urllib.parse import parse_qs

from pmcredd.sandbox.inbound import Fields, Inbound, Reply, json_reply
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.recognise import GRANTS, recognise
from pmcredd.sandbox.world import Client, Issued, World

_SCOPES = frozenset({"view_processes", "edit_processes", "*"})
_RFC = "http://tools.ietf.org/html/rfc6749"


class OAuthError(Exception):
    """A refusal of bshaffer/oauth2-server-php; `section` is that of RFC 6749 which it refers to."""

    def __init__(self, error: str, description: str, *, status: int = 400, section: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description
        self.section = section


def answer(world: World, request: Inbound) -> tuple[Reply, Note]:
    """Answer any request to /{workspace}/oauth2/token, and say what happened."""
    fields = request.fields()
    note = recognise(3, world, fields, _credentials(request, fields)[0])
    try:
        issued = _grant(world, request, fields)
    except OAuthError as error:
        return refusal(error), replace(note, status=error.status, error=error.error)
    answer: dict[str, object] = {
        "access_token": issued.access_token.reveal(),
        "expires_in": issued.expires_in,
        "token_type": "bearer",
        "scope": " ".join(issued.row.scopes) or None,
    }
    if issued.refresh_token is not None:
        answer["refresh_token"] = issued.refresh_token.reveal()
    headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
    return json_reply(200, answer, headers), note.issue(issued)


def refusal(error: OAuthError) -> Reply:
    """Tell a refusal as JSON, in a browser too."""
    body = {"error": error.error, "error_description": error.description}
    if error.section:
        body["error_uri"] = f"{_RFC}#section-{error.section}"
    headers = (("cache-control", "no-store"), *((("allow", "POST"),) if error.status == 405 else ()))
    return json_reply(error.status, body, headers)


def redirect_matches(client: Client, uri: str) -> bool:
    """Compare a redirect URI with what the client registered, a list split at spaces."""
    return uri in client.redirect.split(" ")


def describe(world: World, request: Inbound) -> Note:
    """Say who sends a token request, and with what, before anything is done about it."""
    fields = request.fields()
    return recognise(3, world, fields, _credentials(request, fields)[0])


def _grant(world: World, request: Inbound, fields: Fields) -> Issued:
    if request.method != "POST":
        text = "The request method must be POST when requesting an access token"
        raise OAuthError("invalid_request", text, status=405, section="3.2")
    grant = text_of(fields, "grant_type")
    if grant is None:
        raise OAuthError("invalid_request", "The grant type was not specified in the request")
    if grant not in GRANTS:
        raise OAuthError("unsupported_grant_type", f'Grant type "{grant}" not supported')
    client = _client(world, request, fields)
    if client.grants is not None and grant not in client.grants:
        raise OAuthError("unauthorized_client", "The grant type is unauthorized for this client_id")
    if grant == "client_credentials":
        return world.issue(client, None, scopes_of(fields), refreshable=False)
    if grant == "password":
        return _password(world, client, fields)
    if grant == "refresh_token":
        return _refresh(world, client, fields)
    return _redeem(world, client, fields)


def _credentials(request: Inbound, fields: Fields) -> tuple[str | None, str | None]:
    # Here Basic wins over the body: the other way round than ProcessMaker 4.
    return request.basic(any_case=True) or (text_of(fields, "client_id"), text_of(fields, "client_secret"))


def _client(world: World, request: Inbound, fields: Fields) -> Client:
    client_id, secret = _credentials(request, fields)
    if client_id is None:
        raise OAuthError("invalid_client", "Client credentials were not found in the headers or body")
    client = world.clients.get(client_id)
    if not secret:
        raise OAuthError("invalid_client", "This client is invalid or must authenticate using a client secret")
    if client is None or client.secret != secret:
        raise OAuthError("invalid_client", "The client credentials are invalid")
    return client


def _password(world: World, client: Client, fields: Fields) -> Issued:
    username, password = text_of(fields, "username"), text_of(fields, "password")
    if not username or not password:
        raise OAuthError("invalid_request", 'Missing parameters: "username" and "password" required')
    user = world.authenticate(username, password)
    if user is None:
        raise OAuthError("invalid_grant", "Invalid username and password combination")
    return world.issue(client, user.id, scopes_of(fields), refreshable=True)


def _refresh(world: World, client: Client, fields: Fields) -> Issued:
    text = text_of(fields, "refresh_token")
    if not text:
        raise OAuthError("invalid_request", 'Missing parameter: "refresh_token" is required')
    row = world.find_refresh(text)
    if row is None or row.revoked:
        raise OAuthError("invalid_grant", "Invalid refresh token")
    if row.expires <= world.now():
        raise OAuthError("invalid_grant", "Refresh token has expired")
    if row.access.client_id != client.id:
        raise OAuthError("invalid_grant", "refresh_token doesn't exist or is invalid for the client")
    scopes = scopes_of(fields) or row.access.scopes
    if not set(scopes) <= set(row.access.scopes):
        raise OAuthError("invalid_scope", "The scope requested is invalid for this request")
    return world.refresh(row, client, scopes)


def _redeem(world: World, client: Client, fields: Fields) -> Issued:
    text = text_of(fields, "code")
    if not text:
        raise OAuthError("invalid_request", 'Missing parameter: "code" is required')
    row = world.find_code(text)
    if row is None or row.client_id != client.id:
        raise OAuthError("invalid_grant", "Authorization code doesn't exist or is invalid for the client")
    if row.redirect_uri is not None and row.redirect_uri != text_of(fields, "redirect_uri"):
        text = "The redirect URI is missing or do not match"
        raise OAuthError("redirect_uri_mismatch", text, section="4.1.3")
    if row.expires <= world.now():
        raise OAuthError("invalid_grant", "The authorization code has expired")
    return world.redeem(row, client, row.scopes)


def scopes_of(fields: Fields) -> tuple[str, ...]:
    """Read the scopes of a request; OAuthError if one is not known."""
    scopes = tuple((text_of(fields, "scope") or "").split())
    if not _SCOPES.issuperset(scopes):
        raise OAuthError("invalid_scope", "An unsupported scope was requested")
    return scopes


def text_of(fields: Fields, name: str) -> str | None:
    """Read a parameter; what is not a text is not there."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


# -- the API


def end_token(world: World, request: Inbound, token: str, *, expire: bool) -> Reply:
    """Answer DELETE /{workspace}/oauth2/{token}, and POST to its /expire: nobody has to show a token for that."""
    if request.method != ("POST" if expire else "DELETE"):
        return restler(405, "Method Not Allowed")
    hit = world.expire_access(token) if expire else world.delete_access(token)
    if not hit:
        text = f'The row "{token}" in table OAUTH_ACCESS_TOKENS doesn\'t exist!'
        return restler(400, f"Bad Request: {text}")
    return Reply(200, (("content-type", "application/json; charset=utf-8"),), b"")


def api(world: World, request: Inbound, path: str) -> Reply:
    """Answer a request to /api/1.0/{workspace}/{path}: a token that lives is all that most of it asks for.

    A client_credentials token passes, but has no user: what is asked about the user comes back forbidden or empty.
    """
    bearer = request.bearer(any_case=True)
    row = world.bearer(bearer) if bearer else None
    if row is None:
        return restler(401, "Unauthorized")
    if request.method not in {"GET", "HEAD"}:
        return restler(405, "Method Not Allowed")
    if path == "cases/draft/paged":
        page = parse_qs(request.query)
        start, limit = (_number(page.get(name), default) for name, default in (("start", 0), ("limit", 25)))
        return json_reply(200, {"total": 0, "start": start, "limit": limit, "data": []})
    if path == "users":
        user = world.users.get(row.user_id) if row.user_id is not None else None
        if user is None or not user.administrator:
            return restler(403, "Forbidden")
        found = [
            {
                "usr_uid": f"{one.id:032x}",
                "usr_username": one.username,
                "usr_firstname": one.firstname,
                "usr_lastname": one.lastname,
                "usr_status": "ACTIVE",
            }
            for one in world.users.values()
        ]
        return json_reply(200, found)
    return not_found()


def not_found() -> Reply:
    """Restler's answer to an unknown path."""
    return restler(404, "Not Found")


def restler(code: int, text: str) -> Reply:
    """A refusal of Restler's."""
    return json_reply(code, {"error": {"code": code, "message": text}})


def _number(values: list[str] | None, default: int) -> int:
    try:
        return int(values[0]) if values else default
    except ValueError:
        return default
