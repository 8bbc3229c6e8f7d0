"""Profiles, and how TOML becomes Profiles; every mistake names file, profile, key and the mend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pmcredd.secret import Secret


class Grant(StrEnum):
    """How a profile gets its token, in the words of RFC 6749 (and ProcessMaker's personal access token)."""

    CLIENT_CREDENTIALS = "client_credentials"
    PASSWORD = "password"  # noqa: S105 - a grant's name
    AUTHORIZATION_CODE = "authorization_code"
    PERSONAL_ACCESS_TOKEN = "personal_access_token"  # noqa: S105 - a grant's name


class ClientAuth(StrEnum):
    """How the client authenticates at the token endpoint (RFC 6749 section 2.3.1)."""

    BASIC = "basic"
    BODY = "body"


class Storage(StrEnum):
    """Where tokens are kept: on disk, or in the runtime directory, which a reboot empties."""

    DISK = "disk"
    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class LiteralSecret:
    """A secret written in the profile itself."""

    value: Secret


@dataclass(frozen=True, slots=True)
class FileSecret:
    """A secret in a file of its own; `path` is absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class CommandSecret:
    """A secret that a command prints; `timeout` in seconds."""

    argv: tuple[str, ...]
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class EnvSecret:
    """A secret in an environment variable: for `--oneshot` and a daemon run by hand."""

    variable: str


@dataclass(frozen=True, slots=True)
class CredentialSecret:
    """A systemd credential: a file of this name in $CREDENTIALS_DIRECTORY."""

    name: str


SecretSource = LiteralSecret | FileSecret | CommandSecret | EnvSecret | CredentialSecret


@dataclass(frozen=True, slots=True)
class Profile:
    """One way into one ProcessMaker instance.

    `url` has no trailing slash; `timeout` is in seconds; paths are absolute. What the grant does not use is None.
    """

    name: str
    url: str
    grant: Grant
    generation: Literal[3, 4] = 4
    workspace: str | None = None
    client_id: str | None = None
    client_secret: SecretSource | None = None
    client_auth: ClientAuth = ClientAuth.BASIC
    username: str | None = None
    password: SecretSource | None = None
    token: SecretSource | None = None
    scope: str | None = None
    token_path: str | None = None
    authorize_path: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None  # a URL, or "environment"
    timeout: float = 30.0
    file: str = field(default="", compare=False)  # where it is defined: for messages, not part of what it is


@dataclass(frozen=True, slots=True)
class Settings:
    """The [daemon] table."""

    storage: Storage = Storage.DISK
    log_level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in one place, and what to write instead."""

    file: str
    profile: str | None
    key: str | None
    wrong: str
    mend: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.profile and f"[profiles.{self.profile}]", self.key) if part)
        return f"{place}: {self.wrong}" + (f"; {self.mend}" if self.mend else "")


class BadConfig(Exception):
    """The profiles cannot be used; `mistakes` holds every one that was found, in all files."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Config:
    """All that the files say; `warnings` are for people and stop nothing."""

    settings: Settings
    profiles: Mapping[str, Profile]
    warnings: tuple[Mistake, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A profiles file as it was read: its text and its permission bits."""

    path: str
    text: str
    mode: int
