"""The HTTP face of the sandbox: Starlette routes that turn requests into plain values and replies into responses."""

from collections.abc import Callable
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pmcredd.sandbox import api, authorize, mishap, passport, pm3, pm3_authorize, switches
from pmcredd.sandbox.faults import Ending, Target
from pmcredd.sandbox.hang_up import HangUp
from pmcredd.sandbox.inbound import Inbound, Reply, html_reply
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.mishap import Door
from pmcredd.sandbox.recognise import recognise_bearer

_MOST_BYTES = 1_000_000

Answer = Callable[[Sandbox, Inbound], Reply]
Find = Callable[[Sandbox, Inbound, dict[str, str]], Door | Reply]


def create_app(sandbox: Sandbox) -> Starlette:
    """Make the ASGI application of one sandbox; it holds no state beside it."""

    def route(path: str, find: Find, method: str | None = None) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                inbound = await _read(request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            if inbound is None:
                return send(html_reply(413, "Payload Too Large"), Ending.WHOLE)
            found = find(sandbox, inbound, dict(request.path_params))
            if isinstance(found, Reply):
                return send(found, Ending.WHOLE)
            return send(*await mishap.pass_through(sandbox, inbound, found))

        made = Route(path, endpoint, methods=[method] if method is not None else None)
        if method is None:
            made.methods = None  # every method there is: what a wrong one gets is part of the look-alike
        return made

    def switch(path: str, method: str, answer: Answer) -> Route:
        return route(f"/_sandbox/{path}", lambda state, request, _: answer(state, request), method)

    def send(reply: Reply, ending: Ending) -> Response:
        if ending is Ending.NOTHING:
            return HangUp()
        # The server's Date is the sandbox's to tell: its clock may be off.
        reply = reply.plus(("date", formatdate(sandbox.now(), usegmt=True)))
        if ending is Ending.HALF:
            return HangUp(reply)
        response = Response(reply.body, reply.status)
        for name, value in reply.headers:
            response.headers.append(name, value)
        return response

    def page(path: str, answer: Answer) -> Route:
        return route(path, lambda state, request, _: answer(state, request))

    def broken(request: Request, _: Exception) -> Response:
        return send(api.server_error(_without_body(request)), Ending.WHOLE)

    routes = [
        route("/oauth/token", _token),
        route("/oauth/token/refresh", _not_a_refresh),
        page("/oauth/authorize", authorize.authorize),
        page("/login", authorize.login),
        page("/logout", authorize.logout),
        route("/{workspace}/oauth2/token", _pm3_token),
        route("/{workspace}/oauth2/authorize", _pm3_authorize),
        route("/sys{workspace}/{language}/{skin}/login/login", _pm3_login),
        route("/{workspace}/oauth2/{token}", _pm3_end_token),
        route("/{workspace}/oauth2/{token}/expire", _pm3_end_token),
        route("/api/1.0/{path:path}", _api),
        switch("revoke", "POST", switches.revoke),
        switch("log", "GET", switches.see_log),
        switch("faults", "GET", switches.see_faults),
        switch("faults", "POST", switches.add_faults),
        switch("faults", "DELETE", switches.clear_faults),
        switch("settings", "GET", switches.see_settings),
        switch("settings", "POST", switches.change_settings),
        switch("code", "POST", switches.issue_code),
        switch("clients", "GET", switches.see_clients),
        switch("clients", "POST", switches.change_client),
        switch("session", "GET", switches.see_session),
        switch("session", "POST", switches.change_session),
        page("/{path:path}", authorize.elsewhere),
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


# -- ProcessMaker 4


def _token(sandbox: Sandbox, request: Inbound, _: dict[str, str]) -> Door | Reply:
    if request.method != "POST":
        return passport.wrong_method(request)

    def describe() -> Note:
        return passport.describe(sandbox.pm4, request)

    def act() -> tuple[Reply, Note]:
        verdict = sandbox.throttle.hit(request.address)
        if verdict is not None and verdict.refused:
            return passport.too_many(request).plus(*verdict.headers()), describe()
        reply, note = passport.answer(sandbox.pm4, sandbox.dialect, request)
        return (reply if verdict is None else reply.plus(*verdict.headers())), note

    return Door(Target.TOKEN, describe, act)


def _not_a_refresh(_: Sandbox, request: Inbound, __: dict[str, str]) -> Reply:
    # It renews a browser's session cookie; people take it for the refresh grant.
    if request.method != "POST":
        return passport.wrong_method(request)
    return Reply(200, (("content-type", "text/html; charset=UTF-8"), *passport.TENANT), b"Refreshed.")


def _api(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Door:
    first, _, rest = parameters["path"].partition("/")
    three = first == sandbox.settings.workspace

    def describe() -> Note:
        generation, world = (3, sandbox.pm3) if three else (4, sandbox.pm4)
        return recognise_bearer(generation, world, request.bearer(any_case=three))

    def act() -> tuple[Reply, None]:
        if three:
            return pm3.api(sandbox.pm3, request, rest.strip("/")), None
        return api.answer(sandbox.pm4, sandbox.dialect, request, parameters["path"]), None

    return Door(Target.API, describe, act)


# -- ProcessMaker 3


def _pm3_token(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Door | Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    return Door(
        Target.TOKEN,
        describe=lambda: pm3.describe(sandbox.pm3, request),
        act=lambda: pm3.answer(sandbox.pm3, request),
    )


def _pm3_authorize(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    return pm3_authorize.authorize(sandbox, request)


def _pm3_login(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    return pm3_authorize.login(sandbox, request)


def _pm3_end_token(sandbox: Sandbox, request: Inbound, parameters: dict[str, str]) -> Door | Reply:
    if parameters["workspace"] != sandbox.settings.workspace:
        return pm3.not_found()
    token, expire = parameters["token"], request.path.endswith("/expire")
    return Door(
        Target.API,
        describe=lambda: recognise_bearer(3, sandbox.pm3, token),
        act=lambda: (pm3.end_token(sandbox.pm3, request, token, expire=expire), None),
    )
