"""The sandbox's own paths under /_sandbox: what tests and people turn while it runs, and what they look at."""

import json
from urllib.parse import parse_qs

from pmcredd.sandbox.faults import BadFault, parse_fault
from pmcredd.sandbox.inbound import Inbound, Reply, json_reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.passport import redirect_matches
from pmcredd.sandbox.pm3 import redirect_matches as pm3_redirect_matches
from pmcredd.sandbox.sessions import Sessions
from pmcredd.sandbox.settings import changeable, changed
from pmcredd.sandbox.world import Client, World, digest

PAGE = 1_000  # rows of the log in one answer, unless `limit` asks for others
_LARGEST_PAGE = 10_000  # half a second of work: nobody else is answered meanwhile


def see_log(sandbox: Sandbox, request: Inbound) -> Reply:
    """The journal from `after` (a seq, 0 by default) on, at most `limit` rows; the next page is after the last seq."""
    query = parse_qs(request.query)
    after, limit = (query.get(name, [default])[0] for name, default in (("after", "0"), ("limit", str(PAGE))))
    if not (_is_number(after) and _is_number(limit)):
        return _wrong("after and limit are numbers: /_sandbox/log?after=0&limit=1000")
    return json_reply(200, sandbox.journal.since(int(after), min(int(limit), _LARGEST_PAGE)))


def revoke(sandbox: Sandbox, request: Inbound) -> Reply:
    """Revoke now: {"token": ...}, {"fingerprint": ...}, or {"all": "access" | "refresh" | "both" | true}."""
    match _order(request):
        case {"token": str(token)} if token:
            hit = sum(world.revoke_named(digest(token)) for world in (sandbox.pm4, sandbox.pm3))
        case {"fingerprint": str(name)} if _is_fingerprint(name):
            hit = sum(world.revoke_named(name) for world in (sandbox.pm4, sandbox.pm3))
        case {"all": True | "access" | "refresh" | "both" as kind}:
            access, refresh = kind != "refresh", kind in ("refresh", "both")
            hit = sum(world.revoke_all(access=access, refresh=refresh) for world in (sandbox.pm4, sandbox.pm3))
        case _:
            return _wrong('send JSON: {"token": "..."}, {"fingerprint": "16 hex digits"} or {"all": true}')
    return json_reply(200, {"revoked": hit})


def see_faults(sandbox: Sandbox, _: Inbound) -> Reply:
    """The faults in force, in their order."""
    return json_reply(200, {"faults": sandbox.faults.as_json()})


def add_faults(sandbox: Sandbox, request: Inbound) -> Reply:
    """Put faults at the end of the queue, all or none: {"faults": ["lose-answer:3", ...]}."""
    order = _order(request)
    texts = order.get("faults") if order is not None else None
    if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
        return _wrong('send JSON: {"faults": ["lose-answer:3", ...]}')
    try:
        faults = [parse_fault(text) for text in texts]
    except BadFault as error:
        return _wrong(str(error))
    for fault in faults:
        sandbox.faults.add(fault)
    return see_faults(sandbox, request)


def clear_faults(sandbox: Sandbox, request: Inbound) -> Reply:
    """Take all faults away."""
    sandbox.faults.clear()
    return see_faults(sandbox, request)


def see_settings(sandbox: Sandbox, _: Inbound) -> Reply:
    """What can be changed, as it is, and the server's clock."""
    return json_reply(200, {**changeable(sandbox.settings), "now": sandbox.now()})


def change_settings(sandbox: Sandbox, request: Inbound) -> Reply:
    """Change settings, all or none: {"throttle": "off", "refresh_lifetime": "20s", "clock_offset": "-10m"}."""
    order = _order(request)
    if not order:
        return _wrong('send JSON: {"throttle": "off", "refresh_lifetime": "20s", "clock_offset": "-10m", ...}')
    try:
        sandbox.change(changed(sandbox.settings, order))
    except ValueError as error:
        return _wrong(str(error))
    return see_settings(sandbox, request)


def issue_code(sandbox: Sandbox, request: Inbound) -> Reply:
    """Issue an authorization code, as a login in the browser does; the client's id says of which generation.

    {"client_id": "3", "username": "demo", "redirect_uri": ..., "code_challenge": ..., "code_challenge_method": ...,
    "scope": ...}: the last four may be left out; the method is S256 unless it says plain (RFC 7636 section 4.3).
    """
    order = _order(request)
    if order is None or not all(isinstance(value, str) for value in order.values()):
        return _wrong('send JSON: {"client_id": "3", "username": "demo", "redirect_uri": "...", ...}, all of it text')
    text = {name: str(value) for name, value in order.items()}
    client_id, redirect_uri = text.pop("client_id", ""), text.pop("redirect_uri", None)
    username, scope = text.pop("username", ""), text.pop("scope", "")
    challenge, method = text.pop("code_challenge", None), text.pop("code_challenge_method", "S256")
    if text:
        return _wrong(f"not known here: {', '.join(text)}")
    world = sandbox.pm4 if client_id in sandbox.pm4.clients else sandbox.pm3
    client = world.clients.get(client_id)
    user = next((user for user in world.users.values() if user.username == username), None)
    if client is None or user is None:
        return _wrong(f"no such {'client' if client is None else 'user'}: see what the sandbox printed at its start")
    if redirect_uri is not None and not _matches(sandbox, client, redirect_uri):
        return _wrong(f"client {client.id} has the redirect_uri {client.redirect or '(none)'}, not {redirect_uri}")
    if method not in ("S256", "plain"):
        return _wrong("code_challenge_method is S256 or plain")
    code = world.issue_code(
        client, user, redirect_uri=redirect_uri, scopes=tuple(scope.split()), challenge=challenge, method=method
    )
    return json_reply(200, {"code": code.reveal()})


def see_clients(sandbox: Sandbox, _: Inbound) -> Reply:
    """The clients of both generations, without their secrets."""
    told = [
        {"generation": generation, "client_id": client.id, "name": client.name, "redirect": client.redirect}
        for generation, world in ((4, sandbox.pm4), (3, sandbox.pm3))
        for client in world.clients.values()
    ]
    return json_reply(200, told)


def change_client(sandbox: Sandbox, request: Inbound) -> Reply:
    """Register another redirect URI, as an administrator does: {"client_id": "3", "redirect": "http://..."}."""
    match _order(request):
        case {"client_id": str(client_id), "redirect": str(redirect), **others} if not others:
            world = sandbox.pm4 if client_id in sandbox.pm4.clients else sandbox.pm3
            if client_id not in world.clients:
                return _wrong("no such client: see what the sandbox printed at its start")
            world.register_redirect(client_id, redirect)
            return see_clients(sandbox, request)
        case _:
            return _wrong('send JSON: {"client_id": "3", "redirect": "http://127.0.0.1/callback"}')


def see_session(sandbox: Sandbox, request: Inbound) -> Reply:
    """Who is logged in, in the browser that asks (by its cookies): {"4": "demo", "3": null}."""
    told: dict[str, str | None] = {}
    for name, world, sessions in _browser(sandbox):
        user_id = sessions.of(request).user_id
        user = world.users.get(user_id) if user_id is not None else None
        told[name] = user.username if user is not None else None
    return json_reply(200, told)


def change_session(sandbox: Sandbox, request: Inbound) -> Reply:
    """Log the browser that asks in at both generations, or out: {"username": "other"}, {"username": null}."""
    order = _order(request)
    match order:
        case {"username": str() | None as username, **others} if not others:
            pass
        case _:
            return _wrong('send JSON: {"username": "other"}, or {"username": null} to log out')
    told: dict[str, str | None] = {}
    cookies: list[tuple[str, str]] = []
    for name, world, sessions in _browser(sandbox):
        user = next((user for user in world.users.values() if user.username == username), None)
        if user is None and username is not None:
            return _wrong("no such user: see what the sandbox printed at its start")
        session = sessions.log_out(sessions.of(request))
        if user is not None:
            sessions.log_in(session, user.id)
        told[name] = username
        cookies.append(sessions.header(session))
    return json_reply(200, told).plus(*cookies)


def _browser(sandbox: Sandbox) -> tuple[tuple[str, World, Sessions], ...]:
    return ("4", sandbox.pm4, sandbox.pm4_sessions), ("3", sandbox.pm3, sandbox.pm3_sessions)


def _matches(sandbox: Sandbox, client: Client, redirect_uri: str) -> bool:
    if client.id in sandbox.pm4.clients:
        return redirect_matches(client, redirect_uri, any_loopback_port=sandbox.dialect.any_loopback_port)
    return pm3_redirect_matches(client, redirect_uri)


def _order(request: Inbound) -> dict[str, object] | None:
    # Whatever the content type: curl -d sends JSON as a form.
    try:
        order = json.loads(request.body)
    except (ValueError, RecursionError):
        return None
    return order if isinstance(order, dict) else None


def _wrong(how: str) -> Reply:
    return json_reply(400, {"error": how})


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _is_fingerprint(name: str) -> bool:
    return len(name) == 16 and all(digit in "0123456789abcdef" for digit in name)
