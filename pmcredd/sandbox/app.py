"""The HTTP face of the sandbox: Starlette routes that turn requests into plain values and replies into responses."""

import json
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pmcredd.sandbox import api, passport, pm3
from pmcredd.sandbox.inbound import Inbound, Reply, html_reply, json_reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.world import digest

_MOST_BYTES = 1_000_000

Answer = Callable[[Sandbox, Inbound, dict[str, str]], Reply]


def create_app(sandbox: Sandbox) -> Starlette:
    """Make the ASGI application of one sandbox; it holds no state beside it."""

    def route(path: str, answer: Answer, method: str | None = None) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                inbound = await _read(request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            if inbound is None:
                return _send(html_reply(413, "Payload Too Large"))
            # Faults on demand belong here: every request passes, before it is acted on and after.
            return _send(answer(sandbox, inbound, dict(request.path_params)))

        made = Route(path, endpoint, methods=[method] if method is not None else None)
        if method is None:
            made.methods = None  # every method there is: what a wrong one gets is part of the look-alike
        return made

    def broken(request: Request, _: Exception) -> Response:
        return _send(api.server_error(_without_body(request)))

    routes = [
        route("/_sandbox/revoke", _revoke, "POST"),
        route("/_sandbox/log", _log, "GET"),
        route("/oauth/token", _token),
        route("/oauth/token/refresh", _not_a_refresh),
        route("/oauth/authorize", _authorize),
        route("/{workspace}/oauth2/token", _pm3_token),
        route("/{workspace}/oauth2/authorize", _pm3_authorize),
        route("/api/1.0/{path:path}", _api),
        route("/{path:path}", _web),
    ]
    app = Starlette(routes=routes, exception_handlers={Exception: broken})
    app.router.redirect_slashes = False
    return app


async def _read(request: Request) -> Inbound | None:
    body = bytearray()
    length = 0
    async for chunk in request.stream():  # to its end: a connection closed on unread data loses the answer
        length += len(chunk)
        if length <= _MOST_BYTES:
            body += chunk
    if length > _MOST_BYTES:
        return None
    inbound = _without_body(request)
    return Inbound(inbound.method, inbound.path, inbound.headers, bytes(body), inbound.query, inbound.address)


def _without_body(request: Request) -> Inbound:
    headers = dict(reversed(request.headers.items()))  # of a repeated header the first one counts
    address = request.client.host if request.client is not None else "unknown"
    return Inbound(request.method, request.url.path, headers, b"", request.url.query, address)


def _send(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    for name, value in reply.headers:
        response.headers[name] = value
    return response


# -- ProcessMaker 4


def _token(sandbox: Sandbox, request: Inbound, _: dict[str, str]) -> Reply:
    if request.method != "POST":
        return passport.wrong_method(request)
    verdict = sandbox.throttle.hit(request.address)
    if verdict is not None and verdict.refused:
        return passport.too_many(request).plus(*verdict.headers())
    reply, note = passport.answer(sandbox.pm4, sandbox.dialect, request)
    sandbox.journal.add(note)
    return reply if verdict is None else reply.plus(*verdict.headers())


def _not_a_refresh(_: Sandbox, request: Inbound, __: dict[str, str]) -> Reply:
    # It renews a browser's session cookie; people take it for the refresh grant.
    if request.method != "POST":
        return passport.wrong_method(request)
    return Reply(200, (("content-type", "text/html; charset=UTF-8"), *passport.TENANT), b"Refreshed.")


def _authorize(_: Sandbox, __: Inbound, ___: dict[str, str]) -> Reply:
    note = b"The sandbox has no login page yet: use the password grant, or a personal access token.\n"
    return Reply(501, (("content-type", "text/plain; charset=UTF-8"),), note)


def _api(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Reply:
    first, _, rest = parameters["path"].partition("/")
    if first == sandbox.settings.workspace:
        return pm3.api(sandbox.pm3, request, rest.strip("/"))
    return api.answer(sandbox.pm4, sandbox.dialect, request, parameters["path"])


def _web(_: Sandbox, request: Inbound, __: dict[str, str]) -> Reply:
    if request.path == "/login":
        return html_reply(200, "Log in").plus(*passport.TENANT)
    if request.method in {"GET", "HEAD"}:
        return passport.to_login()
    return html_reply(404, "Not Found").plus(*passport.TENANT)


# -- ProcessMaker 3


def _pm3_token(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    reply, note = pm3.answer(sandbox.pm3, request)
    sandbox.journal.add(note)
    return reply


def _pm3_authorize(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    return _authorize(sandbox, request, parameters)


# -- the switches


def _log(sandbox: Sandbox, _: Inbound, __: dict[str, str]) -> Reply:
    return json_reply(200, sandbox.journal.as_json())


def _revoke(sandbox: Sandbox, request: Inbound, _: dict[str, str]) -> Reply:
    """Revoke now: {"token": ...}, {"fingerprint": ...}, or {"all": "access" | "refresh" | "both" | true}."""
    try:
        order = json.loads(request.body)
    except ValueError:
        order = None
    match order:
        case {"token": str(token)} if token:
            hit = sum(world.revoke_named(digest(token)) for world in (sandbox.pm4, sandbox.pm3))
        case {"fingerprint": str(name)} if _is_fingerprint(name):
            hit = sum(world.revoke_named(name) for world in (sandbox.pm4, sandbox.pm3))
        case {"all": True | "access" | "refresh" | "both" as kind}:
            access, refresh = kind != "refresh", kind in ("refresh", "both")
            hit = sum(world.revoke_all(access=access, refresh=refresh) for world in (sandbox.pm4, sandbox.pm3))
        case _:
            help_text = 'send JSON: {"token": "..."}, {"fingerprint": "16 hex digits"} or {"all": true}'
            return json_reply(400, {"error": help_text})
    return json_reply(200, {"revoked": hit})


def _is_fingerprint(name: str) -> bool:
    return len(name) == 16 and all(digit in "0123456789abcdef" for digit in name)
