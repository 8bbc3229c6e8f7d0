"""The browser's way through ProcessMaker 4: login, approval, and the redirect back to the client (Laravel Passport)."""

from urllib.parse import urlencode

from pmcredd.sandbox import api, templates
from pmcredd.sandbox.inbound import Fields, Inbound, Reply, html_reply, json_reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.passport import (
    TENANT,
    VERIFIER,
    OAuthError,
    bad_request,
    bad_scope,
    redirect_matches,
    refusal,
    unknown_client,
    unsupported_grant,
)
from pmcredd.sandbox.sessions import Asked, Session
from pmcredd.sandbox.world import User

_WRONG_PASSWORD = "These credentials do not match our records."  # noqa: S105 - a message


def authorize(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer /oauth/authorize: GET asks, POST approves, DELETE (or a form's `_method`) denies."""
    session = sandbox.pm4_sessions.of(request)
    fields = request.laravel_fields()
    method = request.method
    if method == "POST" and str(fields.get("_method")).upper() == "DELETE":
        method = "DELETE"
    if method in {"GET", "HEAD"}:
        return _ask(sandbox, request, session)
    if method in {"POST", "DELETE"}:
        return _decide(sandbox, request, session, fields, approved=method == "POST")
    return _done(sandbox, session, _method_refused(request, "GET, HEAD, POST, DELETE"))


def login(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer /login: the form, and what is sent with it."""
    session = sandbox.pm4_sessions.of(request)
    if _user(sandbox, session) is not None:
        return _done(sandbox, session, redirect_to("/"))
    if request.method in {"GET", "HEAD"}:
        alert, session.alert = session.alert, ""
        return _done(sandbox, session, templates.login_four(csrf=session.csrf, alert=alert, typed=session.typed))
    if request.method != "POST":
        return _done(sandbox, session, _method_refused(request, "GET, HEAD, POST"))
    fields = request.laravel_fields()
    if not _is_own_form(session, fields):
        return _done(sandbox, session, _expired())
    username, password = _text(fields, "username") or "", _text(fields, "password") or ""
    user = sandbox.pm4.authenticate(username, password)
    if user is None:
        session.alert, session.typed = _WRONG_PASSWORD, username
        return _done(sandbox, session, redirect_to("/login"))
    sandbox.pm4_sessions.log_in(session, user.id)
    session.typed = ""
    intended, session.intended = session.intended, ""
    return _done(sandbox, session, redirect_to(intended or "/"))


def logout(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer /logout, by whatever method; a request that awaits a decision awaits that of the next user."""
    session = sandbox.pm4_sessions.of(request)
    intended = session.intended
    session = sandbox.pm4_sessions.log_out(session)
    session.intended = intended
    return _done(sandbox, session, redirect_to("/login"))


def elsewhere(sandbox: Sandbox, request: Inbound) -> Reply:
    """Answer any other page: who is not logged in is sent to the login page."""
    if request.method not in {"GET", "HEAD"}:
        return templates.notice(404, "Not Found").plus(*TENANT)
    session = sandbox.pm4_sessions.of(request)
    user = _user(sandbox, session)
    if user is None:
        return _done(sandbox, session, redirect_to("/login"))
    return _done(sandbox, session, templates.home(user) if request.path == "/" else templates.notice(404, "Not Found"))


def redirect_to(where: str) -> Reply:
    """A redirect to a page of one's own, or to a client."""
    return html_reply(302, "Redirecting", (("location", where),))


def with_query(uri: str, parameters: dict[str, str | None]) -> str:
    """Append parameters as PHP's http_build_query writes them: a null one is left out, its `?` or `&` is not."""
    told = {name: value for name, value in parameters.items() if value is not None}
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(told)}"


def _ask(sandbox: Sandbox, request: Inbound, session: Session) -> Reply:
    speaks = sandbox.dialect
    fields = request.laravel_query()
    prompt = _text(fields, "prompt") if speaks.prompts else None
    user = _user(sandbox, session)
    if user is None and not speaks.prompts:  # the middleware stands before the controller
        return _to_login(sandbox, request, session)
    try:
        asked = _read(sandbox, fields)
        if user is None and prompt == "none":
            raise _unasked(sandbox, asked, "login_required")
    except OAuthError as error:
        return _done(sandbox, session, _refused(sandbox, request, error))
    if prompt == "login" and not session.prompted:
        session, user = sandbox.pm4_sessions.log_out(session), None
    if user is None:
        session.prompted = True
        return _to_login(sandbox, request, session)
    session.prompted = False
    scopes = tuple(scope for scope in asked.scopes if scope != "*")  # Passport drops it silently for this grant
    if prompt != "consent" and sandbox.pm4.has_live_token(user, asked.client, scopes):
        return _done(sandbox, session, _approve(sandbox, asked, user))
    if prompt == "none":
        return _done(sandbox, session, _refused(sandbox, request, _unasked(sandbox, asked, "consent_required")))
    session.asked, session.auth_token = asked, sandbox.pm4_sessions.token()
    session.intended = _here(request)
    state = asked.state or ""
    page = templates.approval_four(asked.client, user, csrf=session.csrf, state=state, auth_token=session.auth_token)
    return _done(sandbox, session, page)


def _read(sandbox: Sandbox, fields: Fields) -> Asked:
    """Look at an authorization request; OAuthError says what is wrong with it."""
    if fields.get("response_type") != "code" or fields.get("client_id") is None:
        raise unsupported_grant()
    client = sandbox.pm4.clients.get(_text(fields, "client_id") or "")
    if client is None:
        raise unknown_client()
    redirect_uri = _text(fields, "redirect_uri")
    if redirect_uri is None:
        if not client.redirect or "," in client.redirect:
            raise unknown_client()
    elif not redirect_matches(client, redirect_uri, any_loopback_port=sandbox.dialect.any_loopback_port):
        raise unknown_client()
    state = _text(fields, "state")
    scopes = tuple((_text(fields, "scope") or "").split())
    for scope in scopes:
        if scope != "*":  # the state is not told: the library looks at it only afterwards
            raise bad_scope(scope, redirect_uri=redirect_uri or client.redirect)
    challenge, method = _text(fields, "code_challenge"), _text(fields, "code_challenge_method")
    method = "plain" if method is None else method
    if challenge is not None:
        if method not in {"S256", "plain"}:
            raise bad_request("Code challenge method must be one of `S256`, `plain`")
        if VERIFIER.fullmatch(challenge) is None:
            raise bad_request("Code challenge must follow the specifications of RFC-7636.")
    return Asked(client, redirect_uri, state, scopes, challenge, method)


def _decide(sandbox: Sandbox, request: Inbound, session: Session, fields: Fields, *, approved: bool) -> Reply:
    if not _is_own_form(session, fields):
        return _done(sandbox, session, _expired())
    user = _user(sandbox, session)
    if user is None:
        return _done(sandbox, session, redirect_to("/login"))
    auth_token, asked = session.auth_token, session.asked
    session.auth_token, session.asked, session.intended = "", None, ""
    if "auth_token" in fields and fields["auth_token"] != auth_token:  # another tab has asked since
        return _done(sandbox, session, _forbidden(request))
    if asked is None:  # decided already, with an old form
        return _done(sandbox, session, api.server_error(request))
    if approved:
        return _done(sandbox, session, _approve(sandbox, asked, user))
    if sandbox.dialect.tells_of_denial:
        return _done(sandbox, session, _refused(sandbox, request, _denial(asked, "The user denied the request")))
    # Passport 10 knows nothing of loopback ports here: a URI that is not literally registered is not where it goes.
    registered = asked.client.redirect.split(",")
    where = asked.redirect_uri if asked.redirect_uri in registered else registered[0]
    state = _text(fields, "state")
    return _done(sandbox, session, redirect_to(with_query(where, {"error": "access_denied", "state": state or ""})))


def _approve(sandbox: Sandbox, asked: Asked, user: User) -> Reply:
    code = sandbox.pm4.issue_code(
        asked.client,
        user,
        redirect_uri=asked.redirect_uri,
        scopes=asked.scopes,
        challenge=asked.challenge,
        method=asked.method,
    )
    return redirect_to(with_query(_goal(asked), {"code": code.reveal(), "state": asked.state}))


def _goal(asked: Asked) -> str:
    return asked.redirect_uri or asked.client.redirect


def _denial(asked: Asked, hint: str) -> OAuthError:
    text = "The resource owner or authorization server denied the request."
    where = with_query(_goal(asked), {"state": asked.state})
    return OAuthError(401, "access_denied", text, hint, redirect_uri=where)


def _unasked(sandbox: Sandbox, asked: Asked, error: str) -> OAuthError:
    """What prompt=none comes to where somebody would have to be asked."""
    guest = error == "login_required"
    if not sandbox.dialect.names_missing_consent:
        return _denial(asked, "Unauthenticated" if guest else "The user denied the request")
    text = f"The authorization server requires end-user {'authentication' if guest else 'consent'}."
    where = with_query(_goal(asked), {"state": asked.state})
    return OAuthError(401, error, text, "The user is not authenticated" if guest else None, redirect_uri=where)


def _refused(sandbox: Sandbox, request: Inbound, error: OAuthError) -> Reply:
    if error.redirect_uri is None:
        return refusal(error, sandbox.dialect, request)
    return redirect_to(with_query(error.redirect_uri, {**error.payload(sandbox.dialect)}))


def _to_login(sandbox: Sandbox, request: Inbound, session: Session) -> Reply:
    session.intended = _here(request)
    return _done(sandbox, session, redirect_to("/login"))


def _here(request: Inbound) -> str:
    return f"{request.path}?{request.query}"


def _user(sandbox: Sandbox, session: Session) -> User | None:
    return None if session.user_id is None else sandbox.pm4.users.get(session.user_id)


def _is_own_form(session: Session, fields: Fields) -> bool:
    return fields.get("_token") == session.csrf


def _expired() -> Reply:
    return templates.notice(419, "Page Expired")


def _forbidden(request: Inbound) -> Reply:
    text = "The provided auth token for the request is different from the session auth token."
    return json_reply(403, {"message": text}) if request.wants_json() else templates.notice(403, text)


def _method_refused(request: Inbound, allowed: str) -> Reply:
    text = f"The {request.method} method is not supported for route {request.path.strip('/')}. "
    headers = (("allow", allowed),)
    if request.wants_json():
        return json_reply(405, {"message": f"{text}Supported methods: {allowed}."}, headers)
    return templates.notice(405, "Method Not Allowed").plus(*headers)


def _text(fields: Fields, name: str) -> str | None:
    """A parameter's text, None where it is missing; an array (`name[]`) is there, but fits nothing."""
    value = fields.get(name)
    return value if value is None or isinstance(value, str) else ""


def _done(sandbox: Sandbox, session: Session, reply: Reply) -> Reply:
    tenant = () if ("x-tenant-id", "none") in reply.headers else TENANT
    return reply.plus(sandbox.pm4_sessions.header(session), *tenant)
