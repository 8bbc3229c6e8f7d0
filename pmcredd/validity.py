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
WRONG_CLOCK = 300.0  # a wall clock this far off a server's Date is not believed
LONGEST_MARGIN = 3 * DAY
SHORTEST_MARGIN = 10.0
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


@dataclass(frozen=True, slots=True)
class Terms:
    """What a profile says about its renewal; lengths in seconds, None for the rule's own."""

    rule: Renewal
    margin: float | None = None
    refresh_lifetime: float | None = None
    timeout: float = 30.0
    probes: bool = False
    """Whether the server can be asked if a token lives."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a disruptive renewal happens, in boot time: at the first moment without a lease from `start` on, at the
    latest at `forced`.
    """

    start: float
    forced: float


def remaining(held: Held, now: Moment) -> float | None:
    """Give the seconds the token has left (negative when expired), or None where its lifetime is unknown."""
    if held.token.expires_in is None:
        return None
    return held.token.expires_in - elapsed(held.issued, now)


def elapsed(since: Moment, now: Moment) -> float:
    """Give the seconds from one moment to another; after a reboot the wall clock is the only witness.

    A moment that seems to lie ahead was dated by a wall clock that was wrong then or is wrong now. Nothing is known, so
    infinity is the answer: a token of doubtful age is asked anew, not handed out.
    """
    gone = now.boot - since.boot if since.boot_id == now.boot_id else now.wall - since.wall
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


def window(terms: Terms, held: Held) -> Window | None:
    """Give the window of a disruptive renewal, or None where no end is known.

    It lies before the end by a margin of a tenth of the lifetime, at most three days and at least ten seconds: late,
    because the renewal kills the token in everybody's hands, but not too late, because the refresh token dies about
    when the access token does. It is never longer than a third of the lifetime.
    """
    ends = [end for end in (held.token.expires_in, terms.refresh_lifetime) if end is not None]
    if not ends:
        return None
    end = min(ends)
    margin = min(LONGEST_MARGIN, ends[0] / 10) if terms.margin is None else terms.margin
    margin = min(max(margin, SHORTEST_MARGIN), end / 3)
    start = held.issued.boot + end - margin
    return Window(start, start + margin / 2)


def renew_at(terms: Terms, held: Held, now: Moment, jitter: float) -> float | None:
    """Give the boot time at which the next token is to be asked for, or None for never.

    Where it disturbs nobody it is done early: at two thirds of the lifetime, though at most seven days before the end,
    and well before the refresh token, if there is one, dies of idleness. `jitter`, from 0 to 1, spreads profiles over
    a tenth of that time (an hour at most). Where the wall clock has run ahead of boot time (a restored snapshot
    of the machine: the server's clock went on) such a renewal comes earlier by as much. That may be a wrong clock too,
    so it never makes a token count as dead, and never advances a renewal that does disturb.
    """
    if terms.rule is Renewal.NEVER:
        return None
    if terms.rule is Renewal.REFRESH_DISRUPTIVELY:
        found = window(terms, held)
        return None if found is None else found.start
    life = held.token.expires_in
    moments = [] if life is None else [max(life * 2 / 3, life - EARLIEST_RENEWAL)]
    if terms.refresh_lifetime is not None:
        moments.append(terms.refresh_lifetime * 2 / 3)
    if not moments:
        return None
    early = min(moments)
    behind = max(0.0, (now.wall - held.issued.wall) - (now.boot - held.issued.boot))
    return held.issued.boot + early + jitter * min(early / 10, MOST_SPREAD) - behind


def rebase(held: Held, now: Moment) -> Held:
    """Express a token that was saved before a reboot in this boot's time; a token of this boot is left as it is.

    Where nothing is known of its age it counts as expired, until a server's Date says more (`redated`).
    """
    if held.issued.boot_id == now.boot_id:
        return held
    return _aged(held, now, elapsed(held.issued, now))


def redated(held: Held, now: Moment, skew: float) -> Held:
    """Date a token from before a reboot by the server's clock, which is `skew` seconds ahead of ours.

    What the token says of its own end is by that clock as well, whatever ours said when the token came. Without such
    a word, and where the two agree, the wall clock's stands as it is now (it may have been set since the token was
    rebased); a few seconds between them are the way of the answer.
    """
    if held.token.exp is not None and held.token.expires_in is not None:
        left = held.token.exp - (now.wall + skew)
        return _aged(held, now, max(0.0, held.token.expires_in - left))
    agree = abs(skew) <= WRONG_CLOCK and now.wall >= held.issued.wall
    age = now.wall - held.issued.wall + (0.0 if agree else skew)
    return _aged(held, now, age if age >= 0 else float("inf"))


def _aged(held: Held, now: Moment, age: float) -> Held:
    if age == float("inf"):
        age = held.token.expires_in or 0.0
    # The wall time of its issue stays as it was written down: a later, better clock is to be compared with it.
    return replace(held, issued=Moment(boot=now.boot - age, wall=held.issued.wall, boot_id=now.boot_id))
