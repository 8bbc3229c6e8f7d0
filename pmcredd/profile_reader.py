"""Reads profiles files: TOML in, a Config or every mistake of all files out. No I/O.

Nothing is guessed and nothing is skipped: a key that does nothing is a mistake, since whoever wrote it expects
something of it.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pmcredd.profile_keys import (
    BOTH,
    DAEMON_KEYS,
    DEFAULTS_KEYS,
    EVENT_COMMAND_KEYS,
    EVENT_KEYS,
    EVERY_GRANT,
    GRANTS,
    PROFILE_KEYS,
    SECRET_KEYS,
    SOURCES,
    Key,
    Kind,
)
from pmcredd.profile_values import Flaw, Place, closest, kind_of, literal, read_value
from pmcredd.profiles import (
    BadConfig,
    ClientAuth,
    CommandSecret,
    Config,
    CredentialSecret,
    EnvSecret,
    EventCommand,
    EventName,
    FileSecret,
    Grant,
    KeyringSecret,
    LiteralSecret,
    Mistake,
    Profile,
    SecretSource,
    Settings,
    SourceFile,
    Storage,
    valid_name,
)
from pmcredd.secret import Secret

_Table = Mapping[str, object]
_TABLES = ("daemon", "defaults", "profiles")
_READABLE_BY_OTHERS = 0o044


def read_config(files: Sequence[SourceFile], *, home: str) -> Config:
    """Read all profiles files together; `home` stands for ~ in them.

    Raises BadConfig with every mistake of all files: people mend them in one go, and a daemon that reloads keeps
    what it has.
    """
    reader = _Reader(home)
    for file in files:
        reader.parse(file)
    return reader.config()


class _Reader:
    """Gathers what the files say, and what is wrong with it."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._paths: list[str] = []
        self._mistakes: list[Mistake] = []
        self._warnings: list[Mistake] = []
        self._defined: dict[str, str] = {}  # a profile's name, and the file where it was seen first
        self._profiles: list[tuple[SourceFile, str, _Table]] = []
        self._tables: dict[str, tuple[SourceFile, _Table]] = {}  # daemon and defaults
        self._exposed: set[str] = set()  # files already refused for the literal secrets in them

    def parse(self, file: SourceFile) -> None:
        self._paths.append(file.path)
        try:
            document = tomllib.loads(file.text)
        except tomllib.TOMLDecodeError as error:
            return self._wrong(file, None, None, f"is not TOML: {error}", "put that line right")
        except (RecursionError, ValueError):
            return self._wrong(file, None, None, "is not TOML: a value is too long or nested too deeply", "shorten it")
        for name, value in document.items():
            if name not in _TABLES:
                self._unknown_table(file, name, value)
            elif not isinstance(value, dict):
                example = "profiles.NAME" if name == "profiles" else name
                self._wrong(file, None, name, f"must be a table, not {kind_of(value)}", f"write [{example}]")
            elif name == "profiles":
                for profile, table in value.items():
                    self._add_profile(file, profile, table)
            elif file.ours:
                self._wrong(file, None, f"[{name}]", "has no place in a file of profiles.d", "move it to profiles.toml")
            elif name in self._tables:
                mend = f"keep the one in {self._tables[name][0].path}"
                self._wrong(file, None, f"[{name}]", "is there a second time", mend)
            else:
                self._tables[name] = (file, value)
        return None

    def config(self) -> Config:
        settings = self._settings()
        defaults = self._defaults()
        profiles: dict[str, Profile] = {}
        for file, name, table in self._profiles:
            if (profile := self._profile(file, name, table, defaults)) is not None:
                profiles[name] = profile
        if self._mistakes:
            # File by file, as people mend them.
            raise BadConfig(tuple(sorted(self._mistakes, key=lambda mistake: self._paths.index(mistake.file))))
        return Config(settings=settings, profiles=profiles, warnings=tuple(self._warnings))

    def _wrong(self, file: SourceFile, profile: str | None, key: str | None, wrong: str, mend: str) -> None:
        self._mistakes.append(Mistake(file.path, profile, key, wrong, mend))

    # Which tables there are

    def _unknown_table(self, file: SourceFile, name: str, value: object) -> None:
        meant = closest(name, _TABLES)
        if not isinstance(value, dict):
            known = next((table for table, keys in _KEYS_OF.items() if name in keys), None)
            mend = f"write it under [{known}]" if known else "remove it"
            return self._wrong(file, None, _shown(name), "stands outside of any table", mend)
        if meant == "profiles" and value and all(isinstance(child, dict) for child in value.values()):
            mend = f"did you mean [profiles.{_shown(next(iter(value)))}]?"
        elif meant and meant != "profiles":
            mend = f"did you mean [{meant}]?"
        elif PROFILE_KEYS.keys() & value.keys():
            mend = f"did you mean [profiles.{_shown(name)}]?"
        else:
            mend = "write [profiles.NAME], [defaults] or [daemon]"
        return self._wrong(file, None, f"[{_shown(name)}]", "unknown table", mend)

    def _add_profile(self, file: SourceFile, name: str, table: object) -> None:
        if not isinstance(table, dict):
            known = name in PROFILE_KEYS
            mend = "write it under [profiles.NAME]" if known else f"write [profiles.{_shown(name)}]"
            return self._wrong(file, None, f"profiles.{_shown(name)}", f"must be a table, not {kind_of(table)}", mend)
        if table and all(isinstance(value, dict) and key not in PROFILE_KEYS for key, value in table.items()):
            inner = _shown(f"{name}.{next(iter(table))}")
            wrong = "TOML takes the dot for a table within a table"
            return self._wrong(file, inner, None, wrong, f'a name with a dot needs quotes: [profiles."{inner}"]')
        if not valid_name(name):
            wrong = "is not a name for a profile"
            mend = "use 1 to 64 letters, digits, dots, - and _, with a letter or a digit first"
            self._wrong(file, _shown(name), None, wrong, mend)
        if name in self._defined:
            wrong = f"is already defined in {self._defined[name]}"
            self._wrong(file, _shown(name), None, wrong, "remove or rename one of them")
        self._defined.setdefault(name, file.path)
        self._profiles.append((file, _shown(name), table))
        return None

    # What stands in them

    def _settings(self) -> Settings:
        if "daemon" not in self._tables:
            return Settings()
        file, table = self._tables["daemon"]
        values = self._values(DAEMON_KEYS, table, file, None, "daemon.")
        if "storage" in values:
            values["storage"] = Storage(values["storage"])
        if "on_event" in values:
            values["on_event"] = {EventName(name): command for name, command in values["on_event"].items() if command}
        return Settings(**values)

    def _defaults(self) -> Mapping[str, Any]:
        if "defaults" not in self._tables:
            return {}
        file, table = self._tables["defaults"]
        return self._values(DEFAULTS_KEYS, table, file, None, "defaults.")

    def _profile(self, file: SourceFile, name: str, table: _Table, defaults: Mapping[str, Any]) -> Profile | None:
        values = self._values(PROFILE_KEYS, table, file, name, "")
        grant = values.get("grant") if "grant" in table else defaults.get("grant")
        generation = values.get("generation") if "generation" in table else defaults.get("generation", 4)
        if grant is None and "grant" not in table:
            self._missing(file, name, PROFILE_KEYS["grant"], table)
        if grant is None or generation is None:
            return None
        grant = Grant(grant)
        for key in DEFAULTS_KEYS.values():
            if key.name not in table and key.name in defaults and key.usable(grant, generation):
                values[key.name] = defaults[key.name]
        self._fitting(file, name, table, values, grant, generation)
        if self._mistakes:
            return None  # wherever they are: there will be no Config
        values["grant"] = grant
        if "client_auth" in values:
            values["client_auth"] = ClientAuth(values["client_auth"])
        profile = Profile(name=name, file=file.path, **values)
        self._warn(file, profile)
        return profile

    def _values(
        self, keys: Mapping[str, Key], table: _Table, file: SourceFile, profile: str | None, prefix: str
    ) -> dict[str, Any]:
        """Read each value of a table by its key; what is wrong is noted and left out."""
        place = Place(folder=file.path.rpartition("/")[0], home=self._home)
        values: dict[str, Any] = {}
        for name, raw in table.items():
            key = keys.get(name)
            if key is None:
                self._unknown_key(keys, name, raw, file, profile, prefix)
                continue
            try:
                match key.kind:
                    case Kind.SECRET:
                        values[name] = self._secret(key, raw, file, profile)
                    case Kind.EVENTS:
                        values[name] = self._events(key, raw, file, prefix)
                    case Kind.EVENT_COMMAND:
                        values[name] = self._event_command(key, raw, file, prefix, place)
                    case _:
                        values[name] = read_value(key, raw, place)
            except Flaw as flaw:
                self._wrong(file, profile, prefix + name, flaw.wrong, flaw.mend)
        return values

    def _unknown_key(
        self, keys: Mapping[str, Key], name: str, raw: object, file: SourceFile, profile: str | None, prefix: str
    ) -> None:
        if keys is DEFAULTS_KEYS and name in PROFILE_KEYS:
            return self._wrong(
                file, profile, prefix + name, "belongs to one profile", "write it in each [profiles.NAME]"
            )
        if name in DAEMON_KEYS and (keys is DEFAULTS_KEYS or keys is PROFILE_KEYS):
            return self._wrong(file, profile, prefix + name, "belongs to the daemon", "write it under [daemon]")
        if meant := closest(name, keys):
            mend = f"did you mean {meant}?"
        elif isinstance(raw, dict) and profile and not prefix:
            mend = f'if it is a part of the name, quote it: [profiles."{_shown(f"{profile}.{name}")}"]'
        else:
            mend = f"remove it; the keys are {', '.join(keys)}"
        return self._wrong(file, profile, prefix + _shown(name), "unknown key", mend)

    def _secret(self, key: Key, raw: object, file: SourceFile, profile: str | None) -> SecretSource | None:
        if isinstance(raw, str):
            if file.mode & _READABLE_BY_OTHERS and file.path not in self._exposed:
                self._exposed.add(file.path)
                wrong = f"a secret stands in a file that others can read (mode {file.mode & 0o7777:04o})"
                self._wrong(file, profile, key.name, wrong, f"chmod 600 {_quoted(file.path)}")
            return LiteralSecret(Secret(literal(raw)))
        if not isinstance(raw, dict):
            mend = f"write {key.name} = {key.example}"
            raise Flaw(f"must be a string or a table that names its source, not {kind_of(raw)}", mend)
        values = self._values(SECRET_KEYS, raw, file, profile, f"{key.name}.")
        named = [name for name in SOURCES if name in raw]
        if len(named) > 1:
            raise Flaw(f"names {len(named)} sources: {', '.join(named)}", "keep one of them")
        if not named:
            if all(name in SECRET_KEYS for name in raw):  # else the unknown key is what was meant
                raise Flaw("names no source", f"write one of {', '.join(SOURCES)}: {key.name} = {key.example}")
            return None
        (source,) = named
        for name, key_beside in SECRET_KEYS.items():
            if name in raw and name not in SOURCES and source not in key_beside.beside:
                raise Flaw(f"has a {name}, which only a {' or a '.join(key_beside.beside)} has", f"remove {name}")
        if source == "keyring" and "username" not in raw:
            mend = f'write {key.name} = {{ keyring = "SERVICE", username = "NAME" }}'
            raise Flaw("names no username, and the keyring finds nothing without one", mend)
        if any(name in raw and name not in values for name in (source, "username")):
            return None
        limit = {name: values[name] for name in ("timeout",) if name in values}
        match source:
            case "file":
                return FileSecret(values["file"])
            case "command":
                return CommandSecret(values["command"], **limit)
            case "keyring":
                return KeyringSecret(values["keyring"], values["username"], **limit)
            case "env":
                return EnvSecret(values["env"])
            case _:
                return CredentialSecret(values["credential"])

    def _events(self, key: Key, raw: object, file: SourceFile, prefix: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise Flaw(f"must be a table of events and their commands, not {kind_of(raw)}", f"write {_written(key)}")
        return self._values(EVENT_KEYS, raw, file, None, f"{prefix}{key.name}.")

    def _event_command(self, key: Key, raw: object, file: SourceFile, prefix: str, place: Place) -> EventCommand | None:
        if not isinstance(raw, dict):
            argv: Any = read_value(replace(key, kind=Kind.COMMAND), raw, place)
            return EventCommand(argv)
        known = len(self._mistakes)
        values = self._values(EVENT_COMMAND_KEYS, raw, file, None, f"{prefix}{key.name}.")
        if len(self._mistakes) > known:
            return None
        if "command" not in raw:
            raise Flaw("names no command", f"write {_written(key)}")
        return EventCommand(values.pop("command"), **values)

    # Whether they belong together

    def _fitting(
        self, file: SourceFile, name: str, table: _Table, values: Mapping[str, Any], grant: Grant, generation: int
    ) -> None:
        for key in PROFILE_KEYS.values():
            if key.name in table and not key.usable(grant, generation):
                self._unused(file, name, key, grant, generation)
            elif key.name not in table and key.name not in values and key.needed(grant, generation):
                self._missing(file, name, key, table, grant)
        if grant not in GRANTS[generation]:
            self._wrong(file, name, "grant", "ProcessMaker 3 has no personal access tokens", 'write grant = "password"')
        basic = values.get("client_auth", ClientAuth.BASIC) == ClientAuth.BASIC
        if basic and ":" in values.get("client_id", ""):  # RFC 7617 section 2: the first colon ends the user-id
            wrong = "has a colon in it, which HTTP Basic cannot carry"
            self._wrong(file, name, "client_id", wrong, 'write client_auth = "body"')
        if "client_key" in values and "client_cert" not in values and "client_cert" not in table:
            self._wrong(file, name, "client_key", "has no certificate", "write client_cert, too")

    def _unused(self, file: SourceFile, name: str, key: Key, grant: Grant, generation: int) -> None:
        if generation not in key.generations:
            (other,) = key.generations
            wrong = key.limits or f"ProcessMaker {generation} has no such thing"
            return self._wrong(file, name, key.name, wrong, f"remove it, or write generation = {other}")
        mend = "remove it"
        if len(key.used_by) == 1:
            mend += f', or write grant = "{next(iter(key.used_by))}"'
        return self._wrong(file, name, key.name, key.limits or f'the grant "{grant}" does not use it', mend)

    def _missing(self, file: SourceFile, name: str, key: Key, table: _Table, grant: Grant | None = None) -> None:
        if any(other not in PROFILE_KEYS and closest(other, PROFILE_KEYS) == key.name for other in table):
            return None  # the misspelt key is already told
        if key.shared and key.name in self._tables.get("defaults", (file, {}))[1]:
            return None  # it is there, and what is wrong with it is told
        why = "is missing"
        if key.generations != BOTH:
            why += ": a profile of generation 3 needs it"
        elif key.needed_by != EVERY_GRANT:
            why += f': the grant "{grant}" needs it'
        return self._wrong(file, name, key.name, why, f"write {key.name} = {key.example}")

    def _warn(self, file: SourceFile, profile: Profile) -> None:
        if profile.grant is Grant.AUTHORIZATION_CODE and profile.generation == 3 and profile.redirect_port is None:
            key = PROFILE_KEYS["redirect_uri"]
            wrong = "names no port, and ProcessMaker 3 compares it, so that no login in the browser can succeed"
            mend = f"write {key.name} = {key.example}, and the same into the application in ProcessMaker"
            self._warnings.append(Mistake(file.path, profile.name, key.name, wrong, mend))
        if profile.grant is Grant.CLIENT_CREDENTIALS and profile.generation == 4:
            wrong = "such a token has no user, so ProcessMaker 4 answers 401 to it on /api/1.0"
            mend = 'use grant = "password" or "personal_access_token"'
            self._warnings.append(Mistake(file.path, profile.name, "grant", wrong, mend))


_KEYS_OF: Mapping[str, Mapping[str, Key]] = {"daemon": DAEMON_KEYS, "profiles.NAME": PROFILE_KEYS}


def _shown(name: str) -> str:
    """Make a name from a file fit for a line on a terminal."""
    short = name if len(name) <= 80 else f"{name[:77]}..."
    return short if short.isprintable() and short else ascii(short)


def _written(key: Key) -> str:
    return f"{key.name} = {key.example}"


def _quoted(path: str) -> str:
    import shlex  # here: only a mistake needs it

    return shlex.quote(path)
