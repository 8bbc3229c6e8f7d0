"""A saved token as a row of the state file, in both directions; what a flipped bit has spoilt is no token."""

from dataclasses import dataclass

from pmcredd.oauth import Token, is_b64token
from pmcredd.secret import Secret
from pmcredd.validity import Held, Moment

COLUMNS = (
    "access_token, token_type, expires_in, refresh_token, scope, sub, jti, exp, "
    "issued_boot, issued_wall, issued_boot_id, serial, asked_at"
)
MARKS = ", ".join("?" * len(COLUMNS.split(",")))


@dataclass(frozen=True, slots=True)
class Saved:
    """A row as it was found: the token, the serial it was saved with, and the wall time of the last `get`.

    `tries` is how often its refresh token may have been spent, `past` the fingerprints of the tokens before,
    `leased_until` a boot time of the boot it was issued in.
    """

    held: Held
    serial: int
    asked_at: float
    past: tuple[str, ...] = ()
    proved: bool = False
    dead: bool = False
    leased_until: float = 0.0
    tries: int = 0


def columns(held: Held) -> tuple[object, ...]:
    """Put a token into the columns but the last two, which are not the token's own."""
    token = held.token
    return (
        token.access_token.reveal(),
        token.token_type,
        token.expires_in,
        token.refresh_token.reveal() if token.refresh_token else None,
        token.scope,
        token.sub,
        token.jti,
        token.exp,
        held.issued.boot,
        held.issued.wall,
        held.issued.boot_id,
    )


def read_row(row: tuple[object, ...]) -> Saved | None:
    """Make a row of what was found; None if a flipped bit made it useless: one profile logs in anew, not all."""
    access, token_type, expires_in, refresh, scope, sub, jti, exp, boot, wall, boot_id, serial, asked_at = row[:13]
    past, proved, dead, leased_until, tries = row[13:]
    if not (isinstance(access, str) and is_b64token(access) and isinstance(boot, float) and isinstance(wall, float)):
        return None
    token = Token(
        access_token=Secret(str(access)),
        token_type=str(token_type),
        expires_in=number(expires_in),
        refresh_token=None if refresh is None else Secret(str(refresh)),
        scope=text(scope),
        sub=text(sub),
        jti=text(jti),
        exp=number(exp),
    )
    issued = Moment(boot=number(boot) or 0.0, wall=number(wall) or 0.0, boot_id=str(boot_id))
    return Saved(
        Held(token, issued),
        serial=int(number(serial) or 1),
        asked_at=number(asked_at) or 0.0,
        past=tuple(str(past).split()),
        proved=bool(proved),
        dead=bool(dead),
        leased_until=number(leased_until) or 0.0,
        tries=int(number(tries) or 0),
    )


def number(value: object) -> float | None:
    """Give a number, or None if it is none."""
    return float(value) if isinstance(value, int | float) else None


def text(value: object) -> str | None:
    """Give a text, or None if it is none."""
    return value if isinstance(value, str) else None
