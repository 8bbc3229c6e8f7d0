"""How long a token is good, and when to ask for the next one: arithmetic over moments, nothing else.

Boot time decides, because it runs on through suspend and cannot be set. The wall clock is used for what people see and
across a reboot. Whether a token is good is computed when it is asked for; no timer ever marks one as dead.
"""

from dataclasses import dataclass, replace

from pmcredd.oauth import Token
from pmcredd.processmaker import Renewal

DAY = 86_400.0
DEFAULT_LEASE = 30.0  # seconds a token is promised to live when nobody says otherwise
EARLIEST_RENEWAL = 7 * DAY  # before expiry: a year's token is not thrown away after eight months
MOST_SPREAD = 3600.0  # profiles that were asked for together do not come back together


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks: `boot` in seconds since this boot (suspend included), `wall` in unix time."""

    boot: float
    wall: float
    boot_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """A token in hand, and the moment its request was *sent*: its lifetime counts from there at the earliest.

    `saved` is False while the disk refuses it; the token is served all the same.
    """

    token: Token
    issued: Moment
    saved: bool = True


def remaining(held: Held, now: Moment) -> float | None:
    """Give the seconds the token has left (negative when expired), or None where its lifetime is unknown."""
    if held.token.expires_in is None:
        return None
    return held.token.expires_in - elapsed(held.issued, now)


def elapsed(since: Moment, now: Moment) -> float:
    """Give the seconds from one moment to another; after a reboot the wall clock is the only witness.

    A wall clock that stands before the saved moment is wrong now or was wrong then. Nothing is known, so infinity is
    the answer: a token of doubtful age is asked anew, not handed out.
    """
    if since.boot_id == now.boot_id:
        return now.boot - since.boot
    gone = now.wall - since.wall
    return gone if gone >= 0 else float("inf")


def expires_at(held: Held) -> float | None:
    """Give the unix time at which the token expires, or None where that is unknown."""
    if held.token.expires_in is None:
        return None
    return held.issued.wall + held.token.expires_in


def default_lease(held: Held) -> float:
    """Give the seconds that a `get` without `for` promises: half a minute, less for a token that lives minutes."""
    if held.token.expires_in is None:
        return DEFAULT_LEASE
    return min(DEFAULT_LEASE, held.token.expires_in / 20)


def alive(held: Held, now: Moment) -> bool:
    """Say whether the token works at this instant, as far as is known here."""
    left = remaining(held, now)
    return left is None or left > 0


def good(held: Held, now: Moment, lasting: float | None) -> bool:
    """Say whether the token may be handed out for `lasting` seconds (None: the default lease)."""
    left = remaining(held, now)
    if left is None:
        return True
    return left > 0 and left >= (default_lease(held) if lasting is None else lasting)


def renew_at(renewal: Renewal, held: Held, now: Moment, jitter: float) -> float | None:
    """Give the boot time at which the next token is to be asked for, or None for never.

    Who asks anew disturbs nobody, so it is done early: at two thirds of the lifetime, though at most seven days before
    the end. `jitter`, from 0 to 1, spreads profiles over a twentieth of the lifetime (an hour at most). Where the wall
    clock has run ahead of boot time (a restored snapshot of the machine: the server's clock went on) the renewal comes
    earlier by as much. That may be a wrong clock too, so it never makes a token count as dead.
    """
    life = held.token.expires_in
    if renewal is not Renewal.ASK_ANEW or life is None:
        return None
    early = max(life * 2 / 3, life - EARLIEST_RENEWAL)
    behind = max(0.0, (now.wall - held.issued.wall) - (now.boot - held.issued.boot))
    return held.issued.boot + early + jitter * min(life / 20, MOST_SPREAD) - behind


def rebase(held: Held, now: Moment) -> Held:
    """Express a token that was saved before a reboot in this boot's time; a token of this boot is left as it is."""
    if held.issued.boot_id == now.boot_id:
        return held
    age = elapsed(held.issued, now)
    if age == float("inf"):  # nothing is known of its age: let it count as expired, it is asked anew
        age = held.token.expires_in or 0.0
    return replace(held, issued=Moment(boot=now.boot - age, wall=now.wall - age, boot_id=now.boot_id))
