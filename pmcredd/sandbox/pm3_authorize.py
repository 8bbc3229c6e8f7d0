"""The browser's way through ProcessMaker 3: login, Accept or Deny, and the redirect back (bshaffer/oauth2-server-php).

It has no PKCE, asks for approval each time, and looks at the redirect URI only once somebody has accepted or denied.
"""

from urllib.parse import quote, urlsplit

from pmcredd.sandbox import templates
from pmcredd.sandbox.authorize import redirect_to, with_query
from pmcredd.sandbox.inbound import Inbound, Reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.pm3 import OAuthError, redirect_matches, refusal, restler, scopes_of, text_of
from pmcredd.sandbox.sessions import Session
from pmcredd.sandbox.world import Client, User

_WRONG_PASSWORD = "Wrong user or password."  # noqa: S105 - a message


def authorize(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer /{workspace}/oauth2/authorize: GET asks, POST decides."""
    session = sandbox.pm3_sessions.of(request)
    if request.method in {"GET", "HEAD"}:
        reply = _ask(sandbox, request, session)
    elif request.method == "POST":
        reply = _decide(sandbox, request, session)
    else:
        reply = restler(405, "Method Not Allowed")
    return reply.plus(sandbox.pm3_sessions.header(session))


def login(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer /sys{workspace}/{lang}/{skin}/login/login?u=PATH: whoever is logged in may come as somebody else."""
    session = sandbox.pm3_sessions.of(request)
    alert = ""
    typed = ""
    if request.method == "POST":
        fields = request.fields()
        typed = text_of(fields, "username") or ""
        user = sandbox.pm3.authenticate(typed, text_of(fields, "password") or "")
        if user is not None:
            sandbox.pm3_sessions.log_in(session, user.id)
            return redirect_to(_wanted(sandbox, request)).plus(sandbox.pm3_sessions.header(session))
        alert = _WRONG_PASSWORD
    action = f"{request.path}?{request.query}"
    page = templates.login_three(action=action, alert=alert, typed=typed)
    return page.plus(sandbox.pm3_sessions.header(session))


def _wanted(sandbox: Sandbox, request: Inbound) -> str:
    """Where a login leads: what `u` says, but never to another server."""
    authorize_page = f"/{sandbox.settings.workspace}/oauth2/authorize"
    wanted = text_of(request.query_fields(), "u") or ""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return authorize_page
    ours = not parts.scheme and not parts.netloc and parts.path == authorize_page
    return wanted if ours else authorize_page


def _ask(sandbox: Sandbox, request: Inbound, session: Session) -> Reply:
    user = _user(sandbox, session)
    here = f"{request.path}?{request.query}"
    login_page = f"/sys{sandbox.settings.workspace}/en/neoclassic/login/login?u={quote(here, safe='')}"
    if user is None:
        return redirect_to(login_page)
    fields = request.query_fields()
    for name in ("client_id", "response_type"):
        if name not in fields:
            return restler(400, f"Bad Request: Invalid request. The '{name}' parameter is missing!")
    client = sandbox.pm3.clients.get(text_of(fields, "client_id") or "")
    if client is None:
        text = f"Error, unknown client. The client with id '{text_of(fields, 'client_id')}' is not registered"
        return restler(400, f"Bad Request: {text}")
    return templates.approval_three(client, user, action=here, login=login_page)


def _decide(sandbox: Sandbox, request: Inbound, session: Session) -> Reply:
    user = _user(sandbox, session)
    if user is None:
        return restler(400, "Bad Request: Local Authentication Error, user session is not started.")
    query = request.query_fields()
    state = text_of(query, "state")
    try:
        client, redirect_uri = _whither(sandbox, request)
    except OAuthError as error:
        return refusal(error)
    where = redirect_uri or client.redirect
    try:
        if text_of(query, "response_type") != "code":
            raise OAuthError("invalid_request", "Invalid or missing response type")
        if client.grants is not None and "authorization_code" not in client.grants:
            raise OAuthError("unauthorized_client", "The grant type is unauthorized for this client_id")
        scopes = scopes_of(query)
        if "cancel" in request.fields() or "cancel" in query:
            raise OAuthError("access_denied", "The user denied access to your application")
    except OAuthError as error:
        told = {"error": error.error, "error_description": error.description, "state": state}
        return redirect_to(with_query(where, told))
    code = sandbox.pm3.issue_code(client, user, redirect_uri=redirect_uri, scopes=scopes)
    return redirect_to(with_query(where, {"code": code.reveal(), "state": state}))


def _whither(sandbox: Sandbox, request: Inbound) -> tuple[Client, str | None]:
    """Find the client and the redirect URI that was asked for; OAuthError where the browser cannot be sent anywhere."""
    query = request.query_fields()
    client_id, redirect_uri = text_of(query, "client_id"), text_of(query, "redirect_uri") or None
    if not client_id:
        raise OAuthError("invalid_client", "No client id supplied")
    client = sandbox.pm3.clients.get(client_id)
    if client is None:
        raise OAuthError("invalid_client", "The client id supplied is invalid")
    if redirect_uri is None:
        if not client.redirect:
            raise OAuthError("invalid_uri", "No redirect URI was supplied or stored")
        if " " in client.redirect:
            text = "A redirect URI must be supplied when multiple redirect URIs are registered"
            raise OAuthError("invalid_uri", text, section="3.1.2.3")
        return client, None
    if "#" in redirect_uri:
        raise OAuthError("invalid_uri", "The redirect URI must not contain a fragment")
    if client.redirect and not redirect_matches(client, redirect_uri):
        text = "The redirect URI provided is missing or does not match"
        raise OAuthError("redirect_uri_mismatch", text, section="3.1.2")
    return client, redirect_uri


def _user(sandbox: Sandbox, session: Session) -> User | None:
    return None if session.user_id is None else sandbox.pm3.users.get(session.user_id)
