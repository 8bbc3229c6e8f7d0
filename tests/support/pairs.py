"""Pairs of tokens, as the grant that refreshes gets them."""

from dataclasses import replace

from pmcredd.secret import Secret
from pmcredd.validity import Held
from support.lives import held


def pair(
    lifetime: float | None,
    *,
    at: float = 0.0,
    value: str = "token-1",
    refresh: bool = True,
    saved: bool = True,
    named: bool = True,
) -> Held:
    """Give a token with a refresh token; `named` means that the server can be asked about it."""
    found = held(lifetime, at=at, value=value, saved=saved)
    return replace(
        found,
        token=replace(
            found.token,
            refresh_token=Secret(f"refresh-of-{value}") if refresh else None,
            sub="7" if named else None,
            jti="1" if named else None,
        ),
    )
