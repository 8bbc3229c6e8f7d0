"""Browser sessions: who is logged in, and what the login and approval pages remember from one request to the next."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pmcredd.sandbox.inbound import Inbound
from pmcredd.sandbox.mint import Entropy
from pmcredd.sandbox.world import Client

LIFETIME = 7200.0  # seconds without a request; Laravel's two hours
_MOST = 10_000  # a program without cookies opens one with each request


@dataclass(frozen=True, slots=True)
class Asked:
    """An authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3) that awaits its user's decision."""

    client: Client
    redirect_uri: str | None
    state: str | None
    scopes: tuple[str, ...]
    challenge: str | None
    method: str


@dataclass(slots=True, eq=False)
class Session:
    """What one browser has done so far; `last_used` is unix time.

    `csrf` stands in every form of the session, `auth_token` in that of the request `asked` only. `intended` is where a
    login leads to, `prompted` that it was asked for by prompt=login. `alert` and `typed` (a user name) are for the next
    login form.
    """

    id: str = field(repr=False)
    csrf: str = field(repr=False)
    last_used: float
    user_id: int | None = None
    intended: str = ""
    prompted: bool = False
    asked: Asked | None = None
    auth_token: str = field(default="", repr=False)
    alert: str = ""
    typed: str = ""


class Sessions:
    """The sessions of one instance, each known by its cookie."""

    def __init__(self, cookie: str, clock: Callable[[], float], entropy: Entropy) -> None:
        self._cookie = cookie
        self._clock = clock
        self._entropy = entropy
        self._sessions: dict[str, Session] = {}  # the longest unused first

    def of(self, request: Inbound) -> Session:
        """Find the session of a request, or begin one."""
        now = self._clock()
        session = self._sessions.pop(request.cookie(self._cookie), None)
        if session is None or now - session.last_used > LIFETIME:
            session = Session(self.token(), self.token(), now)
        session.last_used = now
        self._sessions[session.id] = session
        while len(self._sessions) > _MOST:
            del self._sessions[next(iter(self._sessions))]
        return session

    def log_in(self, session: Session, user_id: int) -> None:
        """Let a session be a user's from now on, under another id."""
        self._sessions.pop(session.id, None)
        session.id, session.user_id = self.token(), user_id
        self._sessions[session.id] = session

    def log_out(self, session: Session) -> Session:
        """End a session; gives the fresh one that takes its place."""
        self._sessions.pop(session.id, None)
        fresh = Session(self.token(), self.token(), self._clock())
        self._sessions[fresh.id] = fresh
        return fresh

    def header(self, session: Session) -> tuple[str, str]:
        """The header that has the browser keep the session."""
        return "set-cookie", f"{self._cookie}={session.id}; Path=/; HttpOnly; SameSite=Lax"

    def token(self) -> str:
        """Make a token for a form."""
        return self._entropy(20).hex()
