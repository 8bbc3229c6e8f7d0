"""The JSON Schema of profiles files, for editors; made of the tables and the forms that the reader works with.

It refuses nothing that the reader accepts, and it knows less than the reader: it sees one file, and no file's mode, so
it cannot say what is missing where [defaults] of another file may have it. It is of draft-07, which every editor's
validator knows. Nothing on the way to a key's own schema is an `allOf`, a `$ref` or an `anyOf`: Taplo completes through
`properties` alone.
"""

import json
import re
import tomllib
from collections.abc import Mapping

from pmcredd.profile_keys import (
    BOTH,
    DAEMON_KEYS,
    DEFAULTS_KEYS,
    EVENT_COMMAND_KEYS,
    EVENT_KEYS,
    EVERY_GRANT,
    GRANTS,
    OAUTH,
    PROFILE_KEYS,
    SECRET_KEYS,
    SOURCES,
    Key,
    Kind,
)
from pmcredd.profile_values import A_PAGE, FORMS, RANGES
from pmcredd.profiles import NAME, Grant
from pmcredd.urls import AUTHORITY, PATH

Json = Mapping[str, object]

ID = "urn:pmcredd:profiles"

# One line without a space at an end: what the reader asks of every text, but for what is invisible in Unicode.
_ONE_LINE = r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"
_TEXT: Json = {"type": "string", "pattern": f"^{_ONE_LINE}$"}


def schema() -> Json:
    """Give the schema of one file as JSON's own types."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": ID,
        "title": "Profiles of pmcredd",
        "description": "The ProcessMaker instances that pmcredd keeps tokens for: profiles.toml and profiles.d/*.toml.",
        "type": "object",
        "properties": {
            "daemon": {
                "description": "What concerns the daemon as a whole; in profiles.toml only.",
                **_table(DAEMON_KEYS),
            },
            "defaults": {
                "description": "Keys for all profiles that can use them; in profiles.toml only.",
                **_table(DEFAULTS_KEYS),
            },
            "profiles": {
                "description": "The profiles: one table for each, [profiles.NAME].",
                "type": "object",
                "propertyNames": {"pattern": f"^{_portable(NAME)}$"},
                "additionalProperties": {"description": "One way into one ProcessMaker instance.", **_profile()},
            },
        },
        "additionalProperties": False,
    }


def text() -> str:
    """Give the schema as JSON text, one line for each thing."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def use(key: Key) -> str:
    """Say for which grants and generations a key is needed or usable, in Markdown; nothing where it is for all."""
    if key.needed_by:
        return f"Needed {_where(key.needed_by, key.generations) or 'always'}."
    where = _where(key.used_by, key.generations)
    return f"Only {where}." if where else ""


def _where(grants: frozenset[Grant], generations: frozenset[int]) -> str:
    parts = []
    if grants == OAUTH:
        parts.append("with every grant but `personal_access_token`")
    elif grants != EVERY_GRANT:
        *most, last = [f"`{grant}`" for grant in Grant if grant in grants]
        parts.append(f"with {', '.join(most)} or {last}" if most else f"with {last}")
    if generations != BOTH:
        parts.append(f"on ProcessMaker {', '.join(map(str, generations))}")
    return " ".join(parts)


# Tables


def _table(keys: Mapping[str, Key]) -> Json:
    return {
        "type": "object",
        "properties": {name: _key(key) for name, key in keys.items()},
        "additionalProperties": False,
    }


def _profile() -> Json:
    """Give the schema of a profile: its keys, and what its grant and its generation ask for if it names them itself.

    The conditions are in a `then`, as Taplo offers no key of a table that has an `allOf` beside its `properties`.
    """
    conditions = [_where_it_says("grant", str(grant), _of_grant(grant)) for grant in Grant]
    conditions += [_where_it_says("generation", number, _of_generation(number)) for number in sorted(BOTH)]
    return {**_table(PROFILE_KEYS), "if": True, "then": {"allOf": conditions, **_OPEN}}


def _where_it_says(name: str, value: str | int, rules: Json) -> Json:
    return {"if": {**_has(name), "properties": {name: {"const": value}}}, "then": {**rules, **_OPEN}}


# What says nothing about other keys has to say so, or Tombi warns of each.
_OPEN: Json = {"additionalProperties": True}


def _has(name: str) -> Json:
    return {"required": [name], **_OPEN}


def _of_grant(grant: Grant) -> Json:
    # What may stand in [defaults] may stand in those of another file.
    needed = [key.name for key in PROFILE_KEYS.values() if not key.shared and grant in key.needed_by]
    why = f'the grant "{grant}" does not use it'
    unusable = {name: _never(key.limits or why) for name, key in PROFILE_KEYS.items() if grant not in key.used_by}
    return {"required": needed, "properties": unusable}


def _of_generation(generation: int) -> Json:
    why = f"ProcessMaker {generation} has no such thing"
    foreign = {
        name: _never(key.limits or why) for name, key in PROFILE_KEYS.items() if generation not in key.generations
    }
    grants = [str(grant) for grant in Grant if grant in GRANTS[generation]]
    return {"properties": {**foreign, "grant": {"enum": grants}}}


def _never(why: str) -> Json:
    """Refuse any value; Taplo shows the title."""
    return {"not": {"title": why}}


# Keys


def _key(key: Key) -> Json:
    default = _toml(key.default)
    told = [key.help, f"Default: {key.default}." if key.default else "", use(key)]
    meanings = [f"- `{choice}`: {meaning}" for choice, meaning in zip(key.choices, key.meanings, strict=False)]
    return {
        "description": " ".join(part for part in told if part) + ("\n\n" + "\n".join(meanings) if meanings else ""),
        **_value(key),
        **({} if default is None else {"default": default}),
        "examples": [_toml(key.example)],
    }


def _value(key: Key) -> Json:
    match key.kind:
        case Kind.CHOICE:
            return _choice(key)
        case Kind.SECRET:
            return _secret()
        case Kind.COMMAND:
            return _COMMAND
        case Kind.EVENTS:
            return _table(EVENT_KEYS)
        case Kind.EVENT_COMMAND:
            return _event_command()
        case Kind.YES_OR_NO:
            return {"type": "boolean"}
        case Kind.SECONDS | Kind.LENGTH:
            least, most = RANGES[key.kind]
            # An integer is a number, but Tombi explains a key only where the very type is named.
            return {"type": ["integer", "number"], "minimum": least, "maximum": most}
        case Kind.URL:
            return {
                "type": "string",
                "pattern": f"^{_HTTP_OR_HTTPS}{_AUTHORITY}{_PATH}$",
                "not": {"anyOf": _UNFIT_URLS},
            }
        case Kind.PROXY:
            return {"type": "string", "pattern": f"^(?:none|environment|{_HTTP_OR_HTTPS}{_AUTHORITY}/*)$"}
        case Kind.FILE:
            return {**_TEXT, "not": {"title": "in the home directory of somebody else", "pattern": "^~[^/]"}}
        case Kind.TEXT:
            return _TEXT
        case _:
            return {"type": "string", "pattern": f"^(?:{_portable(FORMS[key.kind])})$"}


def _choice(key: Key) -> Json:
    kind = "string" if isinstance(key.choices[0], str) else "integer"
    meanings = {"x-taplo": {"docs": {"enumValues": list(key.meanings)}}} if key.meanings else {}
    return {"type": kind, "enum": list(key.choices), **meanings}


def _secret() -> Json:
    """Give the schema of a secret: keywords about texts do not concern tables, and the other way round."""
    beside = {name: {"anyOf": [_has(other) for other in key.beside]} for name, key in SECRET_KEYS.items() if key.beside}
    return {
        **_table(SECRET_KEYS),
        "type": ["string", "object"],
        "pattern": _TEXT["pattern"],
        "dependencies": beside,
        "if": {"type": "object", **_OPEN},
        "then": {"oneOf": [_has(source) for source in SOURCES]},
    }


_COMMAND: Json = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": r"^[^\x00]*$"}}


def _event_command() -> Json:
    return {
        **_COMMAND,
        **_table(EVENT_COMMAND_KEYS),
        "type": ["array", "object"],
        "required": [name for name, key in EVENT_COMMAND_KEYS.items() if key.needed_by],
    }


def _toml(written: str) -> object:
    """Read a value as people write it; None if it is a phrase that stands for one."""
    try:
        value: object = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        return None
    return value


# Forms


def _portable(form: re.Pattern[str]) -> str:
    """Write a regular expression as JSON Schema has it: without names of groups."""
    return re.sub(r"\(\?P<\w+>", "(?:", form.pattern)


def _any_case(word: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word)


_AUTHORITY, _PATH = _portable(AUTHORITY), _portable(PATH)
_HTTP = _any_case("http")
_HTTP_OR_HTTPS = f"{_HTTP}[sS]?://"
# Wider than the reader's: which IPv6 addresses are this machine's is more than a form.
_THIS_MACHINE = rf"(?:{_any_case('localhost')}|127\.[0-9]+\.[0-9]+\.[0-9]+|\[.*\])(?::[0-9]*)?(?:/.*)?"
_UNFIT_URLS: list[Json] = [
    {
        "title": "plain http to another machine",
        "pattern": f"^{_HTTP}://",
        "not": {"pattern": f"^{_HTTP}://{_THIS_MACHINE}$"},
    },
    {"title": "the path of a page or of the API", "pattern": f"^[^:]+://[^/]*(?:/.*)?{_portable(A_PAGE)}"},
]
