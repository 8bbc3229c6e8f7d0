"""The API of ProcessMaker 4 under /api/1.0: users and their tokens, with the bodies of the real refusals."""

from datetime import UTC, datetime

from pmcredd.sandbox.inbound import Inbound, Reply, accepts_any_json, html_reply, json_reply
from pmcredd.sandbox.passport import TENANT, Dialect, to_login
from pmcredd.sandbox.world import AccessToken, User, World

_LONGEST_NAME = 255


def answer(world: World, speaks: Dialect, request: Inbound, path: str) -> Reply:
    """Answer a request to /api/1.0/{path}; the bearer is looked at before the path is."""
    return _answer(world, speaks, request, path).plus(*TENANT)


def _answer(world: World, speaks: Dialect, request: Inbound, path: str) -> Reply:
    if request.header("cookie") and request.header("x-csrf-token"):
        return json_reply(401, {"message": "Unauthorized"})
    me = _user(world, request)
    if me is None:
        return _unauthenticated(request)
    match path.strip("/").split("/"):
        case ["users"]:
            return _users(world, request, me) if _reads(request) else _wrong_method(request, "GET, HEAD")
        case ["users", user_id, *rest]:
            user = world.users.get(_number(user_id))
            if user is None:
                return not_found()
            return _of_user(world, speaks, request, me, user, rest)
        case _:
            return not_found()


def _of_user(world: World, speaks: Dialect, request: Inbound, me: User, user: User, rest: list[str]) -> Reply:
    if not (me.administrator or me.id == user.id):
        return json_reply(403, {"message": "Not authorized to update this user."})
    match rest, request.method:
        case [], "GET" | "HEAD":
            return json_reply(200, _profile(user))
        case ["tokens"], "GET" | "HEAD":
            return _tokens(world, request, user)
        case ["tokens"], "POST":
            return _new_token(world, request, user)
        case ["tokens", token_id], "GET" | "HEAD":
            row = _token(world, user, token_id)
            return json_reply(404, []) if row is None else json_reply(200, _token_row(row))
        case ["tokens", token_id], "DELETE":
            return _delete_token(speaks, _token(world, user, token_id))
        case [], _:
            return _wrong_method(request, "GET, HEAD")
        case ["tokens"], _:
            return _wrong_method(request, "GET, HEAD, POST")
        case ["tokens", _], _:
            return _wrong_method(request, "GET, HEAD, DELETE")
        case _:
            return not_found()


def not_found() -> Reply:
    """The API's answer to a path or a row that is not there."""
    return json_reply(404, {"error": "Not Found"})


def server_error(request: Inbound) -> Reply:
    """Laravel's answer to anything that broke inside."""
    if request.wants_json():
        return json_reply(500, {"message": "Server Error"}).plus(*TENANT)
    return html_reply(500, "Server Error").plus(*TENANT)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def _reads(request: Inbound) -> bool:
    return request.method in {"GET", "HEAD"}


def _user(world: World, request: Inbound) -> User | None:
    # A client_credentials token lives, but leads to no user: that is as good as no token here.
    text = request.bearer(any_case=False)
    row = world.bearer(text) if text else None
    return world.users.get(row.user_id) if row is not None and row.user_id is not None else None


def _unauthenticated(request: Inbound) -> Reply:
    # ProcessMaker puts JSON first only where no JSON is accepted at all; where it is, but not first, Laravel redirects.
    accept = request.header("accept")
    if accepts_any_json(accept) and not request.wants_json():
        return to_login()
    return json_reply(401, {"error": "Unauthenticated."})


def _wrong_method(request: Inbound, allowed: str) -> Reply:
    text = f"The {request.method} method is not supported for route {request.path.strip('/')}. "
    return json_reply(405, {"message": f"{text}Supported methods: {allowed}."}, (("allow", allowed),))


def _users(world: World, request: Inbound, me: User) -> Reply:
    if not me.administrator:
        return json_reply(403, {"message": "This action is unauthorized."})
    return _page(request, [_profile(user) for user in world.users.values()])


def _tokens(world: World, request: Inbound, user: User) -> Reply:
    clients = world.clients
    return _page(
        request,
        [
            _token_row(row)
            for row in world.tokens_of(user.id)
            if not row.revoked and row.client_id in clients and clients[row.client_id].personal_access
        ],
    )


def _page(request: Inbound, rows: list[dict[str, object]]) -> Reply:
    asked = request.query_fields()
    size, number = _count(asked.get("per_page"), 10), _count(asked.get("page"), 1)
    shown = rows[(number - 1) * size : number * size]
    pages = max(1, -(-len(rows) // size))
    meta = {"total": len(rows), "count": len(shown), "per_page": size, "current_page": number, "total_pages": pages}
    return json_reply(200, {"data": shown, "meta": meta})


def _count(text: object, default: int) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() and 0 < int(text) <= 1000 else default


def _new_token(world: World, request: Inbound, user: User) -> Reply:
    fields = request.laravel_fields()
    name, scopes = fields.get("name"), fields.get("scopes")
    wrong: dict[str, list[str]] = {}
    if name is None:
        wrong["name"] = ["The name field is required."]
    elif len(str(name)) > _LONGEST_NAME:
        wrong["name"] = [f"The name field must not be greater than {_LONGEST_NAME} characters."]
    if scopes is not None and not isinstance(scopes, list):
        wrong["scopes"] = ["The scopes field must be an array."]
    elif scopes:
        wrong["scopes"] = ["The selected scopes is invalid."]  # none is defined, so none can be selected
    if wrong:
        first = next(iter(wrong.values()))[0]
        return json_reply(422, {"message": first, "errors": wrong})
    client = next((client for client in world.clients.values() if client.personal_access), None)
    if client is None:
        return server_error(request)
    issued = world.issue_personal(user, str(name), client)
    return json_reply(200, {"accessToken": issued.access_token.reveal(), "token": _token_row(issued.row)})


def _token(world: World, user: User, token_id: str) -> AccessToken | None:
    row = world.find_access_by_id(token_id)
    return row if row is not None and row.user_id == user.id else None


def _delete_token(speaks: Dialect, row: AccessToken | None) -> Reply:
    if row is None:
        return not_found()
    row.revoked = True
    if row.name is None and speaks.delete_trap:
        # The event told after the revocation wants a name, which only personal access tokens have: it is done, yet 500.
        return json_reply(500, {"message": "Server Error"})
    return Reply(204, (), b"")


def _profile(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "username": user.username,
        "email": f"{user.username}@example.com",
        "firstname": user.firstname,
        "lastname": user.lastname,
        "fullname": f"{user.firstname} {user.lastname}",
        "status": "ACTIVE",
        "is_administrator": user.administrator,
    }


def _token_row(row: AccessToken) -> dict[str, object]:
    return {
        "id": row.id,
        "user_id": row.user_id,
        "client_id": int(row.client_id),
        "name": row.name,
        "scopes": list(row.scopes),
        "revoked": row.revoked,
        "created_at": _timestamp(row.created),
        "updated_at": _timestamp(row.created),
        "expires_at": _timestamp(row.expires),
    }


def _timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
