"""A model of a machine with a daemon on it, and of its users: whom tokens are promised to, and who reports them.

Each promise about a single happening is asserted where it happens.
"""

import math
from dataclasses import dataclass, field, replace

from pmcredd import life as l
from pmcredd import telling, transition
from pmcredd.decision import Ask, CannotPromise, Fail, Serve, Wait, decide
from pmcredd.life import Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from support.model_daemon import Daemon
from support.model_parts import ProbeFate

UNWRITTEN_LEASE = 60.0  # seconds: leases as short as this are not on disk
NOTE_ASKED_EVERY = 6 * 3600.0


@dataclass(frozen=True)
class Lease:
    """A promise to a user: this token lives until then (seconds since the test's beginning)."""

    access: str
    until: float
    written: bool
    process: int


@dataclass
class Machine(Daemon):
    """The machine, the daemon on it, and everybody who uses it."""

    leases: list[Lease] = field(default_factory=list)
    waiting: list[float | None] = field(default_factory=list)
    served: int = 0

    def crash(self, *, reboot: bool, down: float, wall_off: float) -> None:
        """Kill the daemon; who waited for it is gone, and with a reboot so are those who had been promised a token."""
        self.waiting = []
        if reboot:
            self.leases.clear()
        Daemon.crash(self, reboot=reboot, down=down, wall_off=wall_off)

    def told(self) -> None:
        """Everybody who waits looks again."""
        waiting, self.waiting = self.waiting, []
        for lasting in waiting:
            self.get(lasting)

    def get(self, lasting: float | None) -> str | None:
        """Ask for a token as the keeper does, and use it; gives it, or None where there is none or none yet."""
        asked = False
        if self.moment().wall - self.life.asked_at > NOTE_ASKED_EVERY:
            self.life = replace(self.life, asked_at=self.moment().wall)
        while True:
            now = self.moment()
            match decide(self.life, now, lasting):
                case Serve(lease):
                    return self._serve(lease, lasting)
                case Ask():
                    if asked:
                        return None
                    self.happen(l.Asked())
                    asked = self.life.renewal is Renewal.SENDING
                case Wait():
                    self.waiting.append(lasting)
                    return None
                case CannotPromise(most):
                    assert lasting is not None
                    assert lasting > most, "what could be promised was refused"
                    return None
                case Fail():
                    assert self.life.problem or self.life.save_problem, "a get failed without a reason"
                    return None

    def _serve(self, lease: float | None, lasting: float | None) -> str:
        held = self.life.held
        assert held is not None
        assert not self.life.dead, "a token known dead was handed out"
        assert not self.logged_out, "a token was handed out after a logout"
        access = held.token.access_token.reveal()
        assert access in self.saved or not held.saved, "handed out before it was saved"
        assert held.saved or self.life.save_problem is not None, "an unsaved token was not told as such"
        self.served += 1
        self._use(access)
        if lease is not None:
            now = self.moment().boot
            assert lease > now, "a lease of nothing"
            assert lasting is None or lease >= now + lasting, "a promise was bent"
            self.life = replace(self.life, leased_until=max(self.life.leased_until, lease))
            forced = transition.forced(self.life)
            to_disk = (lasting is not None and lasting > UNWRITTEN_LEASE) or lease > forced
            written = not to_disk or not self.disk.full
            if to_disk:
                rounded = max(lease, min(math.ceil(lease / 60) * 60.0, forced))
                self.leased_on_disk = max(self.leased_on_disk, rounded)
                self._note()
            if lease != float("inf"):
                self.leases.append(Lease(access, lease + self.booted_at, written, self.processes))
        return access

    def _use(self, access: str) -> None:
        if self.server.lives(access, self.now):
            return
        cause = self.server.access[access].cause
        if cause == "admin":
            return
        assert cause != "logout", "a token that was revoked for good was handed out"
        if cause == "refresh":  # by a try whose answer was lost: nobody here knows
            refreshes = self.life.held is not None and self.life.held.token.refresh_token is not None
            # A login that is on its way to the disk ends the doubt about the old pair without an answer.
            known = refreshes and self.life.tries == 0 and self.life.pending is None
            assert not known, "a token that our own renewal had killed was handed out"
            return
        # Expired: only a wall clock may have been wrong about that, and only after a reboot.
        assert self.clock_was_wrong, "an expired token was handed out"
        assert self.issued_in[access] != self.boots, "an expired token was handed out within a boot"

    def sent(self, refresh: str) -> None:
        """See what a refresh that leaves the machine is about to kill; when it arrives, another boot may have begun."""
        for access in self.server.dying_with(refresh, self.now):
            known = self.date_seen or self.issued_in[access] == self.boots or not self.names_tokens
            # After a lost answer it is not the clock that decides.
            assert known or self.life.tries > 1, "a wrong clock may kill a token"

    def hit(self) -> None:
        """See whom a refresh has hit."""
        for access in self.server.killed:
            for lease in self.leases:
                kept = lease.written or lease.process == self.processes
                # Whoever uses the token just before the lease ends must not find it dead.
                assert not (lease.access == access and kept and lease.until - 0.001 > self.now), "a lease was broken"
        self.server.killed.clear()

    def lose_patience(self) -> None:
        """Somebody who has waited for a renewal too long gets the token in hand, as the keeper gives it."""
        if None not in self.waiting:
            return
        now = self.moment()
        if (held := transition.living(self.life, now)) is None:
            return
        self.waiting.remove(None)
        access = held.token.access_token.reveal()
        self._use(access)
        good_until = telling.good_until(self.life, held, now)
        assert good_until is not None
        self.leases.append(Lease(access, self.now + (good_until - now.wall), written=False, process=self.processes))

    def reject(self, fate: ProbeFate = "answered") -> None:
        """Report the token in hand as refused, as the keeper does."""
        life = self.life
        held = life.held
        if held is None or life.renewal is not Renewal.IDLE:
            return
        dead = life.dead
        if not dead and transition.askable(life):
            while self.questions:  # one at a time
                self.question(fate)
            if self.life.held is not held or self.life.renewal is not Renewal.IDLE:
                return
            event = self._ask_about(held, self.life.serial, fate)
            assert isinstance(event, l.Probed | l.ProbeFailed)
            self.date_seen = self.date_seen or event.skew is not None
            self.happen(event)
            if isinstance(event, l.Probed) and event.passed:
                return
            dead = isinstance(event, l.Probed) and event.passed is False and self.life.proved
            if self.life.held is not held or self.life.renewal is not Renewal.IDLE:
                return
        if not dead and life.terms.rule is Rule.REFRESH_DISRUPTIVELY:
            return
        self.happen(l.Rejected(self.life.serial, dead))

    def log_in(self) -> None:
        """A person logs in with a code."""
        if self.busy():
            return
        pair = self.server.log_in(self.now)
        self.happen(l.LoggedIn(self._held(pair, self.moment())))

    def forgive(self) -> None:
        """A person says that the password may be tried, or to a profile without one, to try again."""
        if self.busy():
            return
        if self.life.reason is Reason.LOGGED_OUT:
            if self.life.terms.rule is not Rule.ASK_ANEW or self.disk.full:
                return  # that takes a code, or the disk
            self.disk.logged_out, self.logged_out = 0, False
        if not self.disk.full:
            self.disk.secret_tries[self.secret] = 0
            self.disk.refused_secrets.discard(self.secret)
            self.server.refused_passwords.clear()
            self.rough = False
        self.happen(l.Retry())
