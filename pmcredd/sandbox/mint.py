"""What tokens look like: real shapes, no cryptography (the sandbox knows its own tokens by heart)."""

import base64
import json
from collections.abc import Callable
from typing import Protocol

Entropy = Callable[[int], bytes]

_SIGNATURE_BYTES = 512  # RS256 with the 4096-bit key that Passport makes
_REFRESH_PREFIX = "def502"  # version mark of a Defuse ciphertext
_REFRESH_LENGTH = 706


class Mint(Protocol):
    """Makes the texts of one generation's tokens."""

    def access(
        self, *, jti: str, client_id: str, user_id: int | None, scopes: tuple[str, ...], now: float, expires: float
    ) -> str:
        """Make an access token; times are unix time."""
        ...

    def refresh(self) -> str:
        """Make a refresh token."""
        ...

    def code(self) -> str:
        """Make an authorization code."""
        ...


def _segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _claims(value: object) -> str:
    return _segment(json.dumps(value, separators=(",", ":")).encode())


class PassportMint:
    """ProcessMaker 4: an RS256-shaped JWT, and refresh tokens and codes shaped like Defuse ciphertexts.

    `float_times`: iat, nbf and exp carry microseconds, as since lcobucci/jwt 4 (ProcessMaker 4.3).
    `client_as_subject`: a token without a user has the client as its `sub` (league/oauth2-server 9), not "".
    """

    def __init__(self, entropy: Entropy, *, float_times: bool, client_as_subject: bool) -> None:
        self._entropy = entropy
        self._float_times = float_times
        self._client_as_subject = client_as_subject

    def access(
        self, *, jti: str, client_id: str, user_id: int | None, scopes: tuple[str, ...], now: float, expires: float
    ) -> str:
        """Make a JWT of the claims that Passport writes; its signature is random and verifies nowhere."""
        subject = str(user_id) if user_id is not None else client_id if self._client_as_subject else ""
        claims = {
            "aud": client_id,
            "jti": jti,
            "iat": self._time(now),
            "nbf": self._time(now),
            "exp": self._time(expires),
            "sub": subject,
            "scopes": list(scopes),
        }
        signature = _segment(self._entropy(_SIGNATURE_BYTES))
        return f"{_claims({'typ': 'JWT', 'alg': 'RS256'})}.{_claims(claims)}.{signature}"

    def refresh(self) -> str:
        """Make an opaque text of the length and the first characters of the real thing."""
        return _REFRESH_PREFIX + self._entropy((_REFRESH_LENGTH - len(_REFRESH_PREFIX)) // 2).hex()

    def code(self) -> str:
        """Make a code: encrypted the same way as a refresh token."""
        return self.refresh()

    def _time(self, moment: float) -> float:
        return round(moment, 6) if self._float_times else int(moment)


class OpaqueMint:
    """ProcessMaker 3: everything is 40 hexadecimal digits."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def access(
        self, *, jti: str, client_id: str, user_id: int | None, scopes: tuple[str, ...], now: float, expires: float
    ) -> str:
        """Make an opaque text: it tells nothing of its row."""
        del jti, client_id, user_id, scopes, now, expires
        return self._entropy(20).hex()

    def refresh(self) -> str:
        """Make an opaque text."""
        return self._entropy(20).hex()

    def code(self) -> str:
        """Make an opaque text."""
        return self._entropy(20).hex()
