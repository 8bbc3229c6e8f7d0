"""What a profile is: its values and its name, and what can be wrong with them. Its URL is urls'.

How TOML becomes profiles is profile_reader's, which keys there are is profile_keys'.
"""

import re
from collections.abc import Iterable, Mapping
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


class EventName(StrEnum):
    """What can happen to a profile that a command of `on_event` may run for."""

    NEEDS_LOGIN = "needs-login"
    RENEWED = "renewed"
    FAILING = "failing"
    EXPIRING = "expiring"


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


@dataclass(frozen=True, slots=True)
class KeyringSecret:
    """An entry of the desktop's keyring, by what `keyring set SERVICE USERNAME` calls it; `timeout` in seconds."""

    service: str
    username: str
    timeout: float = 60.0


SecretSource = LiteralSecret | FileSecret | CommandSecret | EnvSecret | CredentialSecret | KeyringSecret


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
    expect_user: str | None = None  # an id (digits) or a username
    password: SecretSource | None = None
    token: SecretSource | None = None
    scope: str | None = None
    token_path: str | None = None
    authorize_path: str | None = None
    redirect_uri: str | None = None  # to the letter as the server has it
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None  # a URL, or "environment"
    timeout: float = 30.0
    renew_margin: float | None = None  # seconds before the end
    refresh_token_lifetime: float | None = None  # seconds
    bridge: bool = False  # whether units may have the token as a credential
    file: str = field(default="", compare=False)  # where it is defined: for messages, not part of what it is

    @property
    def redirect_port(self) -> int | None:
        """Give the port that `redirect_uri` names; None if it leaves the port open, or is not there."""
        if self.redirect_uri is None:
            return None
        port = self.redirect_uri.split("/")[2].partition(":")[2]
        return int(port) if port else None


@dataclass(frozen=True, slots=True)
class EventCommand:
    """A command that runs when something happens; `timeout` in seconds, `token` lets it have the access token."""

    argv: tuple[str, ...]
    timeout: float = 10.0
    token: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The [daemon] table."""

    storage: Storage = Storage.DISK
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    on_event: Mapping[EventName, EventCommand] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in one place, and what to write instead."""

    file: str
    profile: str | None
    key: str | None
    wrong: str
    mend: str

    def __str__(self) -> str:
        name = f'"{self.profile}"' if self.profile and "." in self.profile else self.profile  # as TOML wants it
        place = ": ".join(part for part in (self.file, name and f"[profiles.{name}]", self.key) if part)
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
    """A profiles file as it was read.

    `path` is absolute; `mode` is its permission bits; `ours` tells that it lies in profiles.d, where `pmcred` writes.
    """

    path: str
    text: str = field(repr=False)
    mode: int
    ours: bool = False


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# What Laravel's TrimStrings cuts from both ends of a request's values, beside what Python calls a space.
_TRIMMED = "\ufeff\u200b\u200e"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def valid_name(name: str) -> bool:
    """Tell whether this can be a profile's name: it must be safe as a file name, a word on a line and a shell word."""
    return NAME.fullmatch(name) is not None


def secret_flaw(text: str) -> str | None:
    """Tell what is wrong with the text of a secret, without quoting it; None if it can be one.

    A secret that cannot be right must not be sent: a wrong password counts towards a lock-out. ProcessMaker trims
    what it receives, so a secret with a space at an end would be checked as another one.
    """
    if not text:
        return "is empty"
    if text[0].isspace() or text[0] in _TRIMMED or text[-1].isspace() or text[-1] in _TRIMMED:
        return "has a space or an invisible character at its start or its end, which ProcessMaker would cut off"
    if "\n" in text:
        return "has more than one line"
    if _CONTROL.search(text):
        return "has a control character in it"
    if _SURROGATE.search(text):
        return "is not UTF-8"
    return None


def secret_variables(profiles: Iterable[Profile]) -> frozenset[str]:
    """Name the environment variables that hold secrets of these profiles, which no child process may inherit."""
    return frozenset(
        source.variable
        for profile in profiles
        for source in (profile.client_secret, profile.password, profile.token)
        if isinstance(source, EnvSecret)
    )
