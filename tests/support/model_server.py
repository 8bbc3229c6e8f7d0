"""A model of a ProcessMaker server's tokens: what lives, what dies, and of what. Seconds since the test's beginning.

It revokes like ProcessMaker 4 (a refresh kills the access token and the refresh token at once, and then issues) or like
ProcessMaker 3 (the refresh token is spent, the access token in use lives on).
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

TIMEOUT = 30.0  # seconds that a request may be under way


@dataclass(slots=True)
class Access:
    """An access token; `cause` says of what it died before its time."""

    ends: float
    cause: str | None = None


@dataclass(slots=True)
class Refresh:
    """A refresh token and the access token that was issued with it."""

    access: str
    ends: float
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """What the server issues; `refresh` is None for the grants that ask anew."""

    access: str
    refresh: str | None
    lifetime: float


@dataclass
class ModelServer:
    """A server with one user.

    Args:
        kills: a refresh kills the access token in use (ProcessMaker 4).
        lifetime, refresh_lifetime: of what it issues, in seconds.
    """

    kills: bool
    lifetime: float
    refresh_lifetime: float
    password: str = "password-1"
    access: dict[str, Access] = field(default_factory=dict)
    refreshes: dict[str, Refresh] = field(default_factory=dict)
    refused_passwords: Counter[str] = field(default_factory=Counter)
    late: list[tuple[float, str]] = field(default_factory=list)
    """Requests under way whose client has gone: when they will be acted upon, and the refresh token in them."""
    killed: list[str] = field(default_factory=list)
    """Access tokens that a refresh has just killed while they lived; whoever watches empties it."""
    _number: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def lives(self, access: str, now: float) -> bool:
        """Say whether it accepts an access token."""
        found = self.access[access]
        return found.cause is None and now < found.ends

    def spendable(self, refresh: str, now: float) -> bool:
        """Say whether it accepts a refresh token."""
        found = self.refreshes[refresh]
        return not found.dead and now < found.ends

    def log_in(self, now: float) -> Pair:
        """Issue a pair for a code."""
        return self._issue(now, with_refresh=True)

    def ask(self, password: str, now: float) -> Pair | None:
        """Issue a token for a password, or refuse it."""
        if password == self.password:
            return self._issue(now, with_refresh=False)
        self.refused_passwords[password] += 1
        return None

    def spend(self, refresh: str, now: float, *, dies_before_issuing: bool = False) -> Pair | None:
        """Act on a refresh; None is what it says of a dead refresh token, or the end of a server that died."""
        if not self.spendable(refresh, now):
            return None
        for access in self.dying_with(refresh, now):
            self.access[access].cause = "refresh"
            self.killed.append(access)
        self.refreshes[refresh].dead = True
        return None if dies_before_issuing else self._issue(now, with_refresh=True)

    def dying_with(self, refresh: str, now: float) -> list[str]:
        """Give the access tokens that live and that spending this refresh token kills: one, or none."""
        access = self.refreshes[refresh].access
        return [access] if self.kills and self.spendable(refresh, now) and self.lives(access, now) else []

    def revoke(self, *, refresh_too: bool) -> None:
        """An administrator revokes everything."""
        for access in self.access.values():
            access.cause = access.cause or "admin"
        for refresh in self.refreshes.values():
            refresh.dead = refresh.dead or refresh_too

    def delete(self, access: str) -> None:
        """Revoke one access token: what was issued with it lives on."""
        found = self.access[access]
        found.cause = found.cause or "logout"

    def _issue(self, now: float, *, with_refresh: bool) -> Pair:
        number = next(self._number)
        access, refresh = f"access-{number}", f"refresh-{number}"
        self.access[access] = Access(now + self.lifetime)
        if not with_refresh:
            return Pair(access, None, self.lifetime)
        self.refreshes[refresh] = Refresh(access, now + self.refresh_lifetime)
        return Pair(access, refresh, self.lifetime)
