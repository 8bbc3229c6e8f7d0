"""Who asks, and with what: a request told in words that are safe to write down, whether it is granted or not."""

from dataclasses import replace

from pmcredd.sandbox.inbound import Fields
from pmcredd.sandbox.journal import Note
from pmcredd.sandbox.world import World, digest

GRANTS = ("password", "client_credentials", "refresh_token", "authorization_code")


def recognise(generation: int, world: World, fields: Fields, client_id: object) -> Note:
    """Take down a token request; a name that the sandbox does not know may be a secret in the wrong field."""
    grant = fields.get("grant_type")
    if not (isinstance(grant, str) and grant in GRANTS):
        grant = "?"
    # Client ids are numbers in the database: a JSON number finds one as well as its text does.
    known = str(client_id) if isinstance(client_id, str | int) and str(client_id) in world.clients else "?"
    note = Note(generation, grant, known)
    match grant:
        case "password":
            names = {user.username for user in world.users.values()}
            name = fields.get("username")
            return replace(note, username=name) if isinstance(name, str) and name in names else note
        case "refresh_token" if text := _text(fields, "refresh_token"):
            pair = world.find_refresh(text)
            return replace(note, username=_username(world, pair.access.user_id if pair else None)).spend(digest(text))
        case "authorization_code" if text := _text(fields, "code"):
            code = world.find_code(text)
            return replace(note, username=_username(world, code.user_id if code else None)).spend(digest(text))
        case _:
            return note


def recognise_bearer(generation: int, world: World, bearer: str | None) -> Note:
    """Take down a request to the API: whose token it carries, dead or alive."""
    row = world.find_access(bearer) if bearer else None
    if row is None:
        return Note(generation)
    return Note(generation, client_id=row.client_id, username=_username(world, row.user_id))


def _username(world: World, user_id: int | None) -> str:
    user = world.users.get(user_id) if user_id is not None else None
    return "?" if user is None else user.username


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
