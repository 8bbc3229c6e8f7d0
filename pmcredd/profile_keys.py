"""Every key of profiles.toml in one table: its kind, who needs it, who may use it, and a sentence of help.

The reader and the JSON Schema are made of these tables; nothing else knows which keys there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from pmcredd.profiles import ClientAuth, Grant, Storage

NOBODY: frozenset[Grant] = frozenset()
EVERY_GRANT = frozenset(Grant)
OAUTH = EVERY_GRANT - {Grant.PERSONAL_ACCESS_TOKEN}
BOTH: frozenset[int] = frozenset({3, 4})
GRANTS: Mapping[int, frozenset[Grant]] = MappingProxyType({3: OAUTH, 4: EVERY_GRANT})
"""The grants of each generation: ProcessMaker 3 has no personal access tokens."""


class Kind(Enum):
    """What a key's value is; profile_values has a function for each but those that are tables of keys."""

    CHOICE = auto()
    URL = auto()
    PROXY = auto()
    TEXT = auto()
    CLIENT_ID = auto()
    WORKSPACE = auto()
    SCOPE = auto()
    SERVER_PATH = auto()
    REDIRECT_URI = auto()
    FILE = auto()
    SECONDS = auto()
    LENGTH = auto()
    SECRET = auto()
    COMMAND = auto()
    VARIABLE = auto()
    CREDENTIAL = auto()
    YES_OR_NO = auto()
    EVENTS = auto()
    EVENT_COMMAND = auto()


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `example` is its value as TOML; `default` is what holds where it is left out, for people.

    `needed_by` and `used_by` are grants, `generations` those of ProcessMaker; `choices` belongs to Kind.CHOICE.
    `shared` keys may stand in [defaults]: neither secrets nor what says who a profile is. `limits` tells why not every
    profile can use a key, where that is not plain. `meanings` explains the choices, one by one. A key with `beside`
    means nothing without one of those in its table.
    """

    name: str
    kind: Kind
    help: str
    example: str
    default: str = ""
    needed_by: frozenset[Grant] = NOBODY
    used_by: frozenset[Grant] = EVERY_GRANT
    generations: frozenset[int] = BOTH
    choices: tuple[str | int, ...] = ()
    shared: bool = False
    limits: str = ""
    meanings: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def usable(self, grant: Grant, generation: int) -> bool:
        """Tell whether a profile of this grant and generation has a use for the key."""
        return grant in self.used_by and generation in self.generations

    def needed(self, grant: Grant, generation: int) -> bool:
        """Tell whether a profile of this grant and generation cannot do without the key."""
        return grant in self.needed_by and generation in self.generations


def _table(*keys: Key) -> Mapping[str, Key]:
    return MappingProxyType({key.name: key for key in keys})


_GRANT_MEANS: Mapping[Grant, str] = {
    Grant.CLIENT_CREDENTIALS: "The client alone; ProcessMaker 4 answers 401 to such a token on /api/1.0.",
    Grant.PASSWORD: "A user's name and password.",
    Grant.AUTHORIZATION_CODE: "A login in the browser (pmcred login NAME), refreshed from then on.",
    Grant.PERSONAL_ACCESS_TOKEN: "A token that somebody made in ProcessMaker 4; nothing can renew it.",
}

PROFILE_KEYS = _table(
    Key(
        "url",
        Kind.URL,
        "The address of the instance, as its users open it, without the path of a page.",
        '"https://acme.processmaker.net"',
        needed_by=EVERY_GRANT,
        shared=True,
    ),
    Key(
        "grant",
        Kind.CHOICE,
        "How the profile gets its token.",
        '"password"',
        needed_by=EVERY_GRANT,
        choices=tuple(str(grant) for grant in Grant),
        shared=True,
        meanings=tuple(_GRANT_MEANS[grant] for grant in Grant),
    ),
    Key(
        "generation",
        Kind.CHOICE,
        "The generation of ProcessMaker that answers at url.",
        "3",
        default="4",
        choices=(3, 4),
        shared=True,
    ),
    Key(
        "workspace",
        Kind.WORKSPACE,
        "The workspace of a ProcessMaker 3 instance.",
        '"workflow"',
        needed_by=EVERY_GRANT,
        generations=frozenset({3}),
        shared=True,
    ),
    Key(
        "client_id",
        Kind.CLIENT_ID,
        "The id of the Auth Client in ProcessMaker; in ProcessMaker 4 a number, written as a string.",
        '"3"',
        needed_by=OAUTH,
        used_by=OAUTH,
    ),
    Key(
        "client_secret",
        Kind.SECRET,
        "The secret of the Auth Client.",
        '{ command = ["pass", "show", "pm/prod"] }',
        needed_by=OAUTH,
        used_by=OAUTH,
    ),
    Key(
        "client_auth",
        Kind.CHOICE,
        "Whether client_id and client_secret travel in an HTTP Basic header or in the body of the request.",
        '"body"',
        default='"basic"',
        used_by=OAUTH,
        choices=tuple(str(way) for way in ClientAuth),
        shared=True,
    ),
    Key(
        "username",
        Kind.TEXT,
        "The name of the ProcessMaker user whose token it is.",
        '"integration"',
        needed_by=frozenset({Grant.PASSWORD}),
        used_by=frozenset({Grant.PASSWORD}),
    ),
    Key(
        "expect_user",
        Kind.TEXT,
        "Whose token it must be: a username, or the id of a user; a token of anybody else is refused.",
        '"integration"',
        default="whoever logs in",
        used_by=EVERY_GRANT - {Grant.CLIENT_CREDENTIALS},
        generations=frozenset({4}),
        limits="only a token of ProcessMaker 4 tells whose it is, and none of client_credentials has a user",
    ),
    Key(
        "password",
        Kind.SECRET,
        "The password of that user.",
        '{ file = "~/.secrets/pm-prod" }',
        needed_by=frozenset({Grant.PASSWORD}),
        used_by=frozenset({Grant.PASSWORD}),
    ),
    Key(
        "token",
        Kind.SECRET,
        "The personal access token, made in ProcessMaker.",
        '{ file = "~/.secrets/pm-report" }',
        needed_by=frozenset({Grant.PERSONAL_ACCESS_TOKEN}),
        used_by=frozenset({Grant.PERSONAL_ACCESS_TOKEN}),
    ),
    Key(
        "scope",
        Kind.SCOPE,
        "The scopes to ask for, with one space between them; ProcessMaker 4 knows none but *, so leave it out there.",
        '"view_processes edit_processes"',
        used_by=OAUTH,
        shared=True,
    ),
    Key(
        "token_path",
        Kind.SERVER_PATH,
        "The path of the token endpoint, below url, where a front end has moved it.",
        '"/sso/oauth/token"',
        used_by=OAUTH,
        shared=True,
    ),
    Key(
        "authorize_path",
        Kind.SERVER_PATH,
        "The path of the page where a browser login starts, below url, where a front end has moved it.",
        '"/sso/oauth/authorize"',
        used_by=frozenset({Grant.AUTHORIZATION_CODE}),
        shared=True,
    ),
    Key(
        "redirect_uri",
        Kind.REDIRECT_URI,
        "Where a browser login ends on this machine, to the letter as the client in ProcessMaker has it.",
        '"http://127.0.0.1:28080/callback"',
        default="http://127.0.0.1/callback, with any port",
        used_by=frozenset({Grant.AUTHORIZATION_CODE}),
        shared=True,
    ),
    Key(
        "ca_file",
        Kind.FILE,
        "A PEM file of the certificate authorities to trust instead of the system's.",
        '"~/acme-ca.pem"',
        default="the system's",
        shared=True,
    ),
    Key(
        "client_cert",
        Kind.FILE,
        "A PEM file of the TLS client certificate that the server asks for.",
        '"~/.secrets/pm-client.crt"',
        shared=True,
    ),
    Key(
        "client_key",
        Kind.FILE,
        "A PEM file of the client certificate's key, where client_cert does not hold both.",
        '"~/.secrets/pm-client.key"',
        shared=True,
    ),
    Key(
        "proxy",
        Kind.PROXY,
        'The HTTP proxy to go through; "environment" takes it from https_proxy and its kin, "none" takes none.',
        '"http://proxy.acme.example:3128"',
        default='"none"',
        shared=True,
    ),
    Key(
        "timeout",
        Kind.SECONDS,
        "How long one exchange with the server may take, in seconds, from 1 to 600.",
        "30",
        default="30",
        shared=True,
    ),
    Key(
        "renew_margin",
        Kind.LENGTH,
        "How many seconds before a token's end its refresh may come, on ProcessMaker 4, from 10.",
        "86400",
        default="a tenth of the lifetime, at most three days",
        used_by=frozenset({Grant.AUTHORIZATION_CODE}),
        generations=frozenset({4}),
        shared=True,
    ),
    Key(
        "refresh_token_lifetime",
        Kind.LENGTH,
        "How many seconds a refresh token of this server lives, where that is shorter than usual, from 10.",
        "604800",
        default="the access token's on ProcessMaker 4, 14 days on 3",
        used_by=frozenset({Grant.AUTHORIZATION_CODE}),
        shared=True,
    ),
    Key(
        "bridge",
        Kind.YES_OR_NO,
        "Whether units of systemd's user manager may have the token as a credential (LoadCredential=).",
        "true",
        default="false",
    ),
)

SECRET_KEYS = _table(
    Key("file", Kind.FILE, "The secret is the content of this file.", '"~/.secrets/pm-prod"'),
    Key(
        "command",
        Kind.COMMAND,
        "The secret is what this program prints: the program and its arguments, without a shell.",
        '["pass", "show", "pm/prod"]',
    ),
    Key(
        "env",
        Kind.VARIABLE,
        "The secret is in this environment variable; not for a pmcredd that systemd starts.",
        '"PM_PROD_SECRET"',
    ),
    Key("credential", Kind.CREDENTIAL, "The secret is the systemd credential of this name.", '"pm-prod"'),
    Key(
        "keyring",
        Kind.TEXT,
        "The secret is in the keyring, under this service and a username.",
        '"pmcred"',
        beside=("username",),
    ),
    Key(
        "username",
        Kind.TEXT,
        "The username under which the keyring has it; any name that tells it from the others.",
        '"prod-password"',
        beside=("keyring",),
    ),
    Key(
        "timeout",
        Kind.SECONDS,
        "How long the command or the keyring may take, in seconds, from 1 to 600.",
        "60",
        default="60",
        beside=("command", "keyring"),
    ),
)

SOURCES = ("file", "command", "env", "credential", "keyring")
"""The keys of a secret's table that say where it is: exactly one of them stands there."""

DAEMON_KEYS = _table(
    Key(
        "storage",
        Kind.CHOICE,
        "Where tokens are kept: on disk, or in the runtime directory, which a reboot empties.",
        '"disk"',
        default='"disk"',
        choices=tuple(str(place) for place in Storage),
    ),
    Key(
        "log_level",
        Kind.CHOICE,
        "How much the daemon logs; secrets are never in it.",
        '"info"',
        default='"info"',
        choices=("debug", "info", "warning", "error"),
    ),
    Key(
        "on_event",
        Kind.EVENTS,
        "Commands that run when something happens to a profile.",
        '{ needs-login = ["notify-send", "A ProcessMaker login is needed"] }',
    ),
)

EVENT_KEYS = _table(
    Key(
        "needs-login",
        Kind.EVENT_COMMAND,
        "Runs when a profile gets no token any more until somebody logs in.",
        '["notify-send", "A ProcessMaker login is needed"]',
    ),
    Key(
        "renewed",
        Kind.EVENT_COMMAND,
        "Runs when a profile has a new token.",
        '{ command = ["~/bin/push-token"], token = true }',
    ),
    Key(
        "failing",
        Kind.EVENT_COMMAND,
        "Runs when a profile gets no token for another reason, and it does not pass.",
        '["notify-send", "ProcessMaker gives no token"]',
    ),
    Key(
        "expiring",
        Kind.EVENT_COMMAND,
        "Runs when a personal access token has 14 days left.",
        '["notify-send", "A ProcessMaker token is to be replaced"]',
    ),
)

EVENT_COMMAND_KEYS = _table(
    Key(
        "command",
        Kind.COMMAND,
        "The program and its arguments, without a shell.",
        '["notify-send", "A ProcessMaker login is needed"]',
        needed_by=EVERY_GRANT,
    ),
    Key(
        "timeout",
        Kind.SECONDS,
        "How long the command may run, in seconds, from 1 to 600.",
        "10",
        default="10",
    ),
    Key("token", Kind.YES_OR_NO, "Whether the command gets the access token, too.", "true", default="false"),
)

DEFAULTS_KEYS: Mapping[str, Key] = MappingProxyType({name: key for name, key in PROFILE_KEYS.items() if key.shared})
