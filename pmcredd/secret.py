"""A string that does not print itself.

Every secret travels as a `Secret` from the place where it is read to the place where it is sent. A plain `str` would
sooner or later end up in an f-string, a dataclass repr or a traceback.
"""

import hashlib
import hmac
from typing import NoReturn, final


@final
class Secret:
    """A secret value; only `reveal()` gives it away, so that every use can be found by that word."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the secret itself: call this only where it is sent, saved or compared."""
        return self._value

    def fingerprint(self) -> str:
        """Name the secret without telling it: the first 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self._value.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return "Secret('****')"

    def __str__(self) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        # A pickle (multiprocessing, a cache) would write the secret to a place nobody guards.
        message = "a Secret cannot be pickled"
        raise TypeError(message)
