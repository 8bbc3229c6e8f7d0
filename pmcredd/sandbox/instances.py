"""The sandbox as it starts: settings become two instances, with users, clients and made-up secrets."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pmcredd.sandbox.faults import Faults
from pmcredd.sandbox.journal import Journal
from pmcredd.sandbox.mint import Entropy, OpaqueMint, PassportMint
from pmcredd.sandbox.passport import dialect
from pmcredd.sandbox.sessions import Sessions
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.throttle import Throttle
from pmcredd.sandbox.world import PASSPORT_RULES, PM3_RULES, Client, Rules, User, World

USERS: Final = (
    User(1, "demo", "demo-password", "Dana", "Demo", administrator=True),
    User(2, "other", "other-password", "Otis", "Other"),
)
LOOPBACK_CALLBACK: Final = "http://127.0.0.1/callback"
FIXED_CALLBACK: Final = "http://127.0.0.1:8914/callback"  # for servers that compare the port, too


def fake_secret(word: str) -> str:
    """Make a client secret of ProcessMaker's length (40 characters) that nobody takes for a real one."""
    return f"fake-secret-{word}-".ljust(40, "x")


PERSONAL: Final = Client("1", "Personal access", fake_secret("personal"), personal_access=True)
PASSWORD: Final = Client("2", "Password grant", fake_secret("password"), password=True)
CODE: Final = Client("3", "Authorization code", fake_secret("code"), redirect=LOOPBACK_CALLBACK)
CREDENTIALS: Final = Client("4", "Client credentials", fake_secret("credentials"))
# Looks well set up, and logs people in; only then nothing can be had for the code.
MIXED: Final = Client(
    "5", "Authorization code and password (a trap)", fake_secret("mixed"), redirect=LOOPBACK_CALLBACK, password=True
)
CLIENTS: Final = (PERSONAL, PASSWORD, CODE, CREDENTIALS, MIXED)

# ProcessMaker 3 makes ids of 32 capitals.
PM3_CLIENT: Final = Client(
    "SANDBOXAPPLICATIONFORALLTHEGRANT",
    "All grants",
    fake_secret("pm3"),
    redirect=f"{LOOPBACK_CALLBACK} {FIXED_CALLBACK}",
)
PM3_LIMITED: Final = Client(
    "SANDBOXAPPLICATIONWITHOUTAPERSON",
    "Client credentials only",
    fake_secret("pm3-limited"),
    grants=frozenset({"client_credentials"}),
)
PM3_CLIENTS: Final = (PM3_CLIENT, PM3_LIMITED)


class Sandbox:
    """Both instances with their browser sessions, faults and journal, and the throttle before ProcessMaker 4.

    `clock` gives the true unix time; `tell` takes each journal line as it is written. ValueError for a release that
    never was.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        entropy: Entropy = os.urandom,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self.dialect = dialect(settings.version, passport_13=settings.passport_13)
        mint = PassportMint(
            entropy, float_times=self.dialect.float_times, client_as_subject=self.dialect.client_as_subject
        )
        self.pm4 = World(
            users=USERS,
            clients=CLIENTS,
            rules=PASSPORT_RULES,
            mint=mint,
            clock=self.now,
            entropy=entropy,
        )
        if not self.dialect.any_loopback_port:
            for client in (CODE, MIXED):
                self.pm4.register_redirect(client.id, f"{LOOPBACK_CALLBACK},{FIXED_CALLBACK}")
        self.pm3 = World(
            users=USERS,
            clients=PM3_CLIENTS,
            rules=PM3_RULES,
            mint=OpaqueMint(entropy),
            clock=self.now,
            entropy=entropy,
        )
        # In one browser, as the real ones: a cookie for each, which all sandboxes on this machine share.
        self.pm4_sessions = Sessions("processmaker_session", self.now, entropy)
        self.pm3_sessions = Sessions("PHPSESSID", self.now, entropy)
        self.journal = Journal(clock, tell)  # by the true clock, to be compared with what others saw
        self.faults = Faults(entropy)
        for fault in settings.faults:
            self.faults.add(fault)
        self.change(settings)

    def now(self) -> float:
        """The server's clock (unix time), which may be off."""
        return self._clock() + self.settings.clock_offset

    def change(self, settings: Settings) -> None:
        """Take lifetimes, throttle and clock offset from other settings, from now on; the throttle starts afresh.

        What was issued before keeps its end.
        """
        self.settings = settings
        self.pm4.rules = _with_lifetimes(PASSPORT_RULES, settings)
        self.pm3.rules = _with_lifetimes(PM3_RULES, settings)
        self.throttle = Throttle(settings.throttle, self.now)


def _with_lifetimes(rules: Rules, settings: Settings) -> Rules:
    return replace(
        rules,
        access_lifetime=settings.token_lifetime or rules.access_lifetime,
        refresh_lifetime=settings.refresh_lifetime or rules.refresh_lifetime,
        personal_lifetime=settings.personal_lifetime or rules.personal_lifetime,
    )
