"""One profile as the daemon keeps it: its life, who waits for it, and its token as it is handed out."""

from dataclasses import dataclass, replace

import trio

from pmcredd import telling, transition, validity
from pmcredd.gate import Turn
from pmcredd.life import Life
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Profile
from pmcredd.telling import HandOut
from pmcredd.validity import Held, Moment


@dataclass(slots=True, eq=False)
class Row:
    """A profile and its life. A task exists for it only while it talks to a server."""

    profile: Profile
    life: Life
    turn: Turn | None = None  # its place in the queue, while a request waits for a slot
    waiters: trio.lowlevel.ParkingLot | None = None
    ready: HandOut | None = None  # made once for each token: `get` is the hot path
    ready_for: Held | None = None
    leased_on_disk: float = 0.0  # boot time: the end of the held token's long leases, as the disk is to have it
    proved_at: float = 0.0  # boot time of the last probe that passed
    one_probe: trio.Lock | None = None
    one_reject: trio.Lock | None = None
    one_login: trio.Lock | None = None  # or logout: what is on disk and what is here change together
    retired: bool = False  # no longer in the configuration: what still arrives for it is not served
    forgotten: bool = False  # its profile is about to be removed for good: nothing of it is kept

    def hand_out(self, held: Held, now: Moment, lease: float | None = None) -> HandOut:
        """Give a token as it is handed out.

        Args:
            held: the token.
            now: the moment.
            lease: the boot time until which it is promised to whom it is given; without one no more is promised than
                others were promised already, where a renewal of ours would kill it.
        """
        if self.ready is None or self.ready_for is not held:
            self.ready, self.ready_for = telling.hand_out(self.profile, held, self.life.user), held
        if self.life.terms.rule is not Rule.REFRESH_DISRUPTIVELY:
            return self.ready  # renewals disturb no token that is out: it is good until it expires
        until = telling.wall(self.life.leased_until if lease is None else lease, now)
        return replace(self.ready, good_until=None if until == float("inf") else int(until))

    def forced_at(self) -> float | None:
        """Give the boot time from which the login is at stake if its renewal is not sent; None where none ever is."""
        life = self.life
        if life.held is None or not transition.kills(life):
            return None
        window = validity.window(life.terms, life.held)
        return None if window is None else window.forced

    def of_the_held_token(self, held: Held) -> bool:
        """Whether this is the token in hand, whatever was learned about its age and its save meanwhile."""
        return self.life.held is not None and self.life.held.token == held.token
