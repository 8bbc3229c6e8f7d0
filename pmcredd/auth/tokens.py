"""Where PmcredAuth has its tokens from: the daemon, asked anew for each request, so that what others notice counts."""

import logging
from dataclasses import dataclass

from pmcredd import client
from pmcredd.asking import AccessToken, PmcredError
from pmcredd.paths import StrPath
from pmcredd.processmaker import foreign_scheme
from pmcredd.wire import Code

# A 401 that a program gets to see is always explained here; without any set-up, Python writes that to stderr.
_log = logging.getLogger("pmcredd.auth")

_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Tokens:
    """How the daemon is asked: the arguments of `get_token`."""

    profile: str | None = None
    lasting: float | None = None
    timeout: float = 60.0
    socket_path: StrPath | None = None

    def get(self) -> AccessToken:
        """Get a token. Raises PmcredError."""
        return client.get_token(self.profile, lasting=self.lasting, timeout=self.timeout, socket_path=self.socket_path)

    async def get_async(self) -> AccessToken:
        """Get a token. Raises PmcredError."""
        from pmcredd import async_client  # here: who has no event loop needs no anyio

        return await async_client.get_token_async(
            self.profile, lasting=self.lasting, timeout=self.timeout, socket_path=self.socket_path
        )

    def replace(self, refused: AccessToken) -> AccessToken | None:
        """Report a refused token, and get another one; None if the daemon finds that it lives. Raises PmcredError."""
        try:
            fresh = client.reject_token(refused, timeout=self.timeout, socket_path=self.socket_path)
        except PmcredError as error:
            _check_alive(refused, error)
            return None
        return _another(refused, fresh)

    async def replace_async(self, refused: AccessToken) -> AccessToken | None:
        """Report a refused token, and get another one; None if the daemon finds that it lives. Raises PmcredError."""
        from pmcredd import async_client

        try:
            fresh = await async_client.reject_token_async(refused, timeout=self.timeout, socket_path=self.socket_path)
        except PmcredError as error:
            _check_alive(refused, error)
            return None
        return _another(refused, fresh)


class MadeOfTokens:
    """How a PmcredAuth is made, whatever its library."""

    def __init__(
        self,
        profile: str | None = None,
        *,
        lasting: float | None = None,
        timeout: float = 60.0,
        socket_path: StrPath | None = None,
    ) -> None:
        """Say whose tokens are sent; nothing is asked yet.

        Args:
            profile: a profile's name; by default $PMCRED_PROFILE.
            lasting: for how many seconds from the start of a request its token must stay good, for long uploads.
            timeout: how many seconds to wait for a token.
            socket_path: the daemon's socket, where it is not in one of the usual places.

        """
        self._tokens = Tokens(profile, lasting, timeout, socket_path)

    def __repr__(self) -> str:
        return f"PmcredAuth({self._tokens.profile!r})"


def is_refusal(token: AccessToken, status: int, challenge: str | None) -> bool:
    """Tell whether an answer, with this WWW-Authenticate, says that the token is refused; explain any other 401."""
    if status != _UNAUTHORIZED:
        return False
    if asked := foreign_scheme(challenge)[:40]:
        _explain(token, f"something in front of ProcessMaker asks for {asked!r}: the token was not reported")
        return False
    return True


def explain_unsent(fresh: AccessToken) -> None:
    """Say why a request is not sent again, though there is another token."""
    _explain(fresh, "there is a fresh token now, but this body cannot be sent twice: send the request again")


def explain_second(fresh: AccessToken) -> None:
    """Say that a fresh token did not help."""
    _explain(fresh, f"a fresh token was refused as well: see `pmcred status --explain {fresh.profile}`")


def _explain(token: AccessToken, why: str) -> None:
    _log.warning("401 for profile %s: %s", token.profile, why)


def _check_alive(refused: AccessToken, error: PmcredError) -> None:
    """Explain that the token lives; raise what else the daemon says."""
    if error.code != Code.NOT_REJECTED:
        raise error
    _explain(refused, f"{error.message}; {error.hint}")


def _another(refused: AccessToken, fresh: AccessToken) -> AccessToken | None:
    if fresh.access_token != refused.access_token:
        return fresh
    _explain(refused, "the daemon has no other token")
    return None
