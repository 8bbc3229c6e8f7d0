"""The state of one fake instance: clients, users, tokens, and what issuing, rotating and revoking do to them.

Pure but for its own tables: the clock and the source of randomness are passed in. How a generation *says* things is the
business of passport.py and pm3.py; what it *does* to its rows is here, as `Rules`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pmcredd.sandbox.mint import Entropy, Mint
from pmcredd.secret import Secret


@dataclass(frozen=True, slots=True)
class User:
    """Someone with a password."""

    id: int
    username: str
    password: str = field(repr=False)
    firstname: str
    lastname: str
    administrator: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """An Auth Client (ProcessMaker 4) or REST application (3).

    `personal_access` and `password` are Passport's boxes; `grants` limits a client of ProcessMaker 3 to some grants.
    """

    id: str
    name: str
    secret: str = field(repr=False)
    redirect: str = ""
    personal_access: bool = False
    password: bool = False
    grants: frozenset[str] | None = None

    @property
    def first_party(self) -> bool:
        """Passport's word for a client with one of the boxes ticked; such a client may not redeem codes."""
        return self.personal_access or self.password


@dataclass(frozen=True, slots=True)
class Rules:
    """What a generation does to its rows; lifetimes in seconds, None for Passport's calendar year."""

    access_lifetime: float | None
    refresh_lifetime: float | None
    personal_lifetime: float | None
    code_lifetime: float
    refresh_revokes_access: bool  # ProcessMaker 4: yes, at once; 3: the old token lives to its end
    forgets_expired: bool  # ProcessMaker 3 deletes expired rows whenever it issues; 4 keeps all rows for ever
    checks_not_before: bool  # a JWT's iat and nbf are checked without leeway; an opaque token has none


PASSPORT_RULES = Rules(
    access_lifetime=None,
    refresh_lifetime=None,
    personal_lifetime=None,
    code_lifetime=600.0,  # Passport's ten minutes
    refresh_revokes_access=True,
    forgets_expired=False,
    checks_not_before=True,
)
PM3_RULES = Rules(
    access_lifetime=86400.0,
    refresh_lifetime=1209600.0,
    personal_lifetime=None,
    code_lifetime=30.0,  # the default of bshaffer/oauth2-server-php, which ProcessMaker 3 leaves as it is
    refresh_revokes_access=False,
    forgets_expired=True,
    checks_not_before=False,
)


@dataclass(slots=True, eq=False)
class AccessToken:
    """A row of issued access tokens; times are unix time."""

    id: str
    digest: str
    client_id: str
    user_id: int | None
    scopes: tuple[str, ...]
    created: float
    expires: float
    name: str | None = None
    revoked: bool = False


@dataclass(slots=True, eq=False)
class RefreshToken:
    """A row of issued refresh tokens; `access` is the token issued with it."""

    digest: str
    access: AccessToken
    expires: float
    revoked: bool = False


@dataclass(slots=True, eq=False)
class Code:
    """An authorization code that waits to be redeemed; `challenge` is PKCE's (RFC 7636), `method` plain or S256."""

    digest: str
    client_id: str
    user_id: int
    redirect_uri: str | None
    scopes: tuple[str, ...]
    challenge: str | None
    method: str
    expires: float
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh token pair; `expires_in` in whole seconds; `revoked` is the access token that died for it."""

    row: AccessToken
    access_token: Secret
    refresh_token: Secret | None
    expires_in: int
    revoked: AccessToken | None = None


def digest(text: str) -> str:
    """Name a token: SHA-256, of which a fingerprint is the first 16 digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def year_after(moment: float) -> float:
    """The same moment a calendar year later (P1Y): 366 days where they span 29 February."""
    at = datetime.fromtimestamp(moment, UTC)
    try:
        later = at.replace(year=at.year + 1)
    except ValueError:  # 29 February: PHP rolls over to 1 March
        later = at.replace(year=at.year + 1, month=3, day=1)
    return moment + round((later - at).total_seconds())


class World:
    """One instance."""

    def __init__(
        self,
        *,
        users: Iterable[User],
        clients: Iterable[Client],
        rules: Rules,
        mint: Mint,
        clock: Callable[[], float],
        entropy: Entropy,
    ) -> None:
        self._users = {user.id: user for user in users}
        self._clients = {client.id: client for client in clients}
        self.rules = rules
        self.now = clock
        self._mint = mint
        self._entropy = entropy
        # By digest, in the order of issue, which is also the order in which tokens of one kind expire (unless lifetimes
        # are changed meanwhile: then some rows stay longer than they need to).
        self._access: dict[str, AccessToken] = {}
        self._access_by_id: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._codes: dict[str, Code] = {}

    # -- people and clients

    @property
    def users(self) -> Mapping[int, User]:
        """The users, by id."""
        return self._users

    @property
    def clients(self) -> Mapping[str, Client]:
        """The clients that are not deleted, by id."""
        return self._clients

    def authenticate(self, username: str, password: str) -> User | None:
        """Find the user of exactly this username, if the password is right."""
        for user in self._users.values():
            if user.username == username:
                return user if user.password == password else None
        return None

    def delete_user(self, user_id: int) -> None:
        """Take a user away: tokens stay rows, but no longer lead to anybody."""
        self._users.pop(user_id, None)

    def delete_client(self, client_id: str) -> None:
        """Take a client away, as an administrator does: its access tokens are revoked with it."""
        self._clients.pop(client_id, None)
        for row in self._access.values():
            if row.client_id == client_id:
                row.revoked = True

    def register_redirect(self, client_id: str, redirect: str) -> None:
        """Edit a client's redirect URI, as an administrator does: id and secret stay; KeyError if it is not there."""
        self._clients[client_id] = replace(self._clients[client_id], redirect=redirect)

    # -- issuing

    def issue(self, client: Client, user_id: int | None, scopes: tuple[str, ...], *, refreshable: bool) -> Issued:
        """Issue a token, with a refresh token if `refreshable`; older tokens stay as they are."""
        self._forget_expired()
        access_token, row = self._new_access(client, user_id, scopes, lifetime=self.rules.access_lifetime, name=None)
        refresh_token: Secret | None = None
        if refreshable:
            refresh_token = Secret(self._mint.refresh())
            name = digest(refresh_token.reveal())
            expires = self._after(row.created, self.rules.refresh_lifetime)
            self._refresh[name] = RefreshToken(digest=name, access=row, expires=expires)
        return Issued(row, access_token, refresh_token, int(row.expires) - int(row.created))

    def issue_personal(self, user: User, name: str, client: Client) -> Issued:
        """Issue a personal access token: it has a name and no refresh token."""
        access_token, row = self._new_access(client, user.id, (), lifetime=self.rules.personal_lifetime, name=name)
        return Issued(row, access_token, None, int(row.expires) - int(row.created))

    def refresh(self, spent: RefreshToken, client: Client, scopes: tuple[str, ...]) -> Issued:
        """Spend a refresh token: what dies, dies before the new pair is issued, and nothing brings it back.

        A user deleted meanwhile does not matter here: only the guard of the API looks at users.
        """
        revoked = spent.access if self.rules.refresh_revokes_access and not spent.access.revoked else None
        if revoked is not None:
            revoked.revoked = True
        spent.revoked = True
        if self.rules.forgets_expired:
            self._refresh.pop(spent.digest, None)  # deleted, not marked: it is unknown from now on
        return replace(self.issue(client, spent.access.user_id, scopes, refreshable=True), revoked=revoked)

    def issue_code(
        self,
        client: Client,
        user: User,
        *,
        redirect_uri: str | None,
        scopes: tuple[str, ...] = (),
        challenge: str | None = None,
        method: str = "plain",
    ) -> Secret:
        """Issue an authorization code, as an approved login does."""
        text = Secret(self._mint.code())
        name = digest(text.reveal())
        self._codes[name] = Code(
            digest=name,
            client_id=client.id,
            user_id=user.id,
            redirect_uri=redirect_uri,
            scopes=scopes,
            challenge=challenge,
            method=method,
            expires=self.now() + self.rules.code_lifetime,
        )
        return text

    def redeem(self, code: Code, client: Client, scopes: tuple[str, ...]) -> Issued:
        """Turn a code into a token pair, once."""
        code.revoked = True
        if self.rules.forgets_expired:
            self._codes.pop(code.digest, None)
        return self.issue(client, code.user_id, scopes, refreshable=True)

    # -- finding

    def find_access(self, text: str) -> AccessToken | None:
        """Find the row of exactly this access token, dead or alive."""
        return self._access.get(digest(text))

    def find_access_by_id(self, token_id: str) -> AccessToken | None:
        """Find an access token by its jti."""
        return self._access_by_id.get(token_id)

    def find_refresh(self, text: str) -> RefreshToken | None:
        """Find the row of exactly this refresh token, dead or alive."""
        return self._refresh.get(digest(text))

    def find_code(self, text: str) -> Code | None:
        """Find the row of exactly this code, dead or alive."""
        return self._codes.get(digest(text))

    def bearer(self, text: str) -> AccessToken | None:
        """Find a living token: not expired, not revoked, its client still there. It may have no user."""
        row, now = self.find_access(text), self.now()
        if row is None or row.revoked or row.client_id not in self._clients:
            return None
        if self.rules.checks_not_before and now < row.created:
            return None
        return row if now < row.expires else None

    def tokens_of(self, user_id: int) -> Iterator[AccessToken]:
        """All access tokens ever issued to a user."""
        return (row for row in self._access.values() if row.user_id == user_id)

    def has_live_token(self, user: User, client: Client, scopes: tuple[str, ...]) -> bool:
        """Whether the newest living token that this client has of this user is for exactly these scopes."""
        now = self.now()
        rows = (row for row in self.tokens_of(user.id) if row.client_id == client.id)
        newest = max(
            (row for row in rows if not row.revoked and now < row.expires), key=lambda row: row.expires, default=None
        )
        return newest is not None and newest.scopes == scopes

    # -- revoking by hand

    def expire_access(self, text: str) -> bool:
        """Let an access token have ended a minute ago; whether there is such a row."""
        row = self.find_access(text)
        if row is not None:
            row.expires = self.now() - 60
        return row is not None

    def delete_access(self, text: str) -> bool:
        """Delete an access token's row; whether there was one."""
        row = self._access.pop(digest(text), None)
        if row is not None:
            del self._access_by_id[row.id]
        return row is not None

    def revoke_named(self, name: str) -> int:
        """Revoke the access and refresh tokens of this digest or fingerprint; says how many that hit."""
        rows: list[AccessToken | RefreshToken] = [*self._access.values(), *self._refresh.values()]
        return self._revoke(row for row in rows if row.digest[: len(name)] == name)

    def revoke_all(self, *, access: bool, refresh: bool) -> int:
        """Revoke every access token, as the server's mass-revoke command does, every refresh token, or both."""
        rows: list[AccessToken | RefreshToken] = []
        if access:
            rows += self._access.values()
        if refresh:
            rows += self._refresh.values()
        return self._revoke(rows)

    @staticmethod
    def _revoke(rows: Iterable[AccessToken | RefreshToken]) -> int:
        hit = 0
        for row in rows:
            if not row.revoked:
                row.revoked = True
                hit += 1
        return hit

    # -- inside

    def _new_access(
        self, client: Client, user_id: int | None, scopes: tuple[str, ...], *, lifetime: float | None, name: str | None
    ) -> tuple[Secret, AccessToken]:
        now = self.now()
        expires = self._after(now, lifetime)
        token_id = self._entropy(40).hex()
        text = self._mint.access(
            jti=token_id, client_id=client.id, user_id=user_id, scopes=scopes, now=now, expires=expires
        )
        row = AccessToken(
            id=token_id,
            digest=digest(text),
            client_id=client.id,
            user_id=user_id,
            scopes=scopes,
            created=now,
            expires=expires,
            name=name,
        )
        self._access[row.digest] = row
        self._access_by_id[token_id] = row
        return Secret(text), row

    @staticmethod
    def _after(moment: float, lifetime: float | None) -> float:
        return year_after(moment) if lifetime is None else moment + lifetime

    def _forget_expired(self) -> None:
        if not self.rules.forgets_expired:
            return
        now = self.now()
        while self._access and (row := next(iter(self._access.values()))).expires <= now:
            del self._access[row.digest]
            del self._access_by_id[row.id]
        while self._refresh and (old := next(iter(self._refresh.values()))).expires <= now:
            del self._refresh[old.digest]
        while self._codes and (code := next(iter(self._codes.values()))).expires <= now:
            del self._codes[code.digest]
