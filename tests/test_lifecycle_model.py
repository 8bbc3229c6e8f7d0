"""A profile's life put to a model: whatever happens, in whatever order, a list of promises holds.

Hypothesis makes up histories of a machine, a server and people, with a crash, a full disk, a wrong clock or a lost
answer wherever there can be one, and shrinks the history that breaks a promise. The promises about single happenings
are checked where they happen (support/model_machine.py); those about every moment and about the end are here.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.model_machine import Machine
from support.model_parts import Fate, ProbeFate
from support.model_server import TIMEOUT, ModelServer

from pmcredd import life as l
from pmcredd.life import Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import DAY, Terms

FATES: tuple[Fate, ...] = (
    "answered",
    "answered",
    "not sent",
    "throttled",
    "bad client",
    "lost before",
    "lost after",
    "late",
    "died",
)
LOST: tuple[Fate, ...] = ("lost before", "lost after", "late", "late", "died")
PROBE_FATES: tuple[ProbeFate, ...] = ("answered", "answered", "failed", "failed with a date", "false 401")
LASTING = st.none() | st.sampled_from([1.0, 20.0, 45.0, 59.0, 61.0, 300.0, 3600.0, 20 * 3600.0])
WALL_STEPS = st.sampled_from([0.0, 0.0, -400 * DAY, -DAY, -200.0, 200.0, DAY, 400 * DAY])
HEALTHY = 2000.0  # seconds without any trouble: longer than every back-off, and than a row of rejections


class History(RuleBasedStateMachine):
    """What can happen."""

    machine: Machine
    revoked = False
    logins = 0

    @initialize(
        kind=st.sampled_from(["pm4", "pm4", "pm4", "pm4 without names", "pm4 behind a proxy", "pm3", "password"]),
        lifetime=st.sampled_from([30.0, 600.0, DAY]),
    )
    def begin(self, kind: str, lifetime: float) -> None:
        """A profile is set up, and somebody logs in."""
        pm4 = kind.startswith("pm4")
        refresh_lifetime = lifetime if pm4 else 14 * DAY
        rule_ = Rule.REFRESH_DISRUPTIVELY if pm4 else Rule.REFRESH_QUIETLY if kind == "pm3" else Rule.ASK_ANEW
        self.kind = kind
        self.terms = Terms(
            rule=rule_,
            refresh_lifetime=refresh_lifetime if kind == "pm3" else None,
            timeout=TIMEOUT,
            probes=pm4,
        )
        self.machine = Machine(
            terms=self.terms,
            server=ModelServer(kills=pm4, lifetime=lifetime, refresh_lifetime=refresh_lifetime),
            probes_tell=kind != "pm4 behind a proxy",
            names_tokens=kind != "pm4 without names",
        )
        self.lifetime = lifetime
        if rule_ is not Rule.ASK_ANEW:
            self.machine.log_in()
            self.machine.save()

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 29.0, 31.0, 65.0, 400.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.machine.pass_time(seconds)

    @rule(part=st.sampled_from([0.3, 0.6, 0.85]))
    def much_of_a_lifetime_passes(self, part: float) -> None:
        self.machine.pass_time(part * self.lifetime)

    @rule()
    def the_next_timer_fires(self) -> None:
        if self.machine.timers:
            self.machine.pass_time(self.machine.next_timer() - self.machine.now)

    @rule(seconds=st.sampled_from([60.0, 7200.0]))
    def the_machine_sleeps(self, seconds: float) -> None:
        self.machine.pass_time(seconds, asleep=True)

    @rule(off=WALL_STEPS)
    def the_wall_clock_is_set(self, off: float) -> None:
        self.machine.set_wall(off)

    # --- the daemon at work, step by step -----------------------------------------------------------------------------

    @precondition(lambda self: self.machine.request is not None)
    @rule(fate=st.sampled_from(FATES))
    def the_request_goes_on(self, fate: Fate) -> None:
        self.machine.go_on(fate)

    @precondition(lambda self: self.machine.request is not None)
    @rule(fate=st.sampled_from(FATES))
    def the_request_is_carried_through(self, fate: Fate) -> None:
        for _ in range(3):
            self.machine.go_on(fate)
        self.machine.save()

    @rule(fate=st.sampled_from(FATES), steps=st.sampled_from([1, 2, 3, 3, 3]))
    def a_renewal_comes(self, fate: Fate, steps: int) -> None:
        """Time passes to the next renewal, and it goes as far as so many steps."""
        for _ in range(8):
            if self.machine.request is None and self.machine.timers:
                self.machine.pass_time(self.machine.next_timer() - self.machine.now)
        for _ in range(steps):
            self.machine.go_on(fate)

    @rule(fate=st.sampled_from(LOST), fates=st.lists(st.sampled_from(PROBE_FATES), max_size=4))
    def a_renewal_is_lost(self, fate: Fate, fates: list[ProbeFate]) -> None:
        """Time passes to the next renewal, its answer is lost, and doubt takes its course for a while."""
        self.a_renewal_comes(fate, 3)
        self.doubt_takes_its_course(fates)

    @rule(fates=st.lists(st.sampled_from(PROBE_FATES), min_size=1, max_size=3))
    def doubt_takes_its_course(self, fates: list[ProbeFate]) -> None:
        """What is asked of the server is answered, and asked again when it is time."""
        for fate in fates:
            if not self.machine.questions and self.machine.life.renewal is Renewal.DOUBTFUL:
                self.machine.pass_time(self.machine.next_timer() - self.machine.now)
            self.machine.question(fate)
            self.machine.question(fate)

    @precondition(lambda self: self.machine.saves)
    @rule()
    def the_worker_saves(self) -> None:
        self.machine.save()

    @precondition(lambda self: self.machine.questions)
    @rule(fate=st.sampled_from(PROBE_FATES))
    def the_probe_goes_on(self, fate: ProbeFate) -> None:
        self.machine.question(fate)

    # --- trouble ------------------------------------------------------------------------------------------------------

    @rule(reboot=st.booleans(), down=st.sampled_from([0.0, 2.0, 100.0]), off=WALL_STEPS)
    def the_daemon_is_killed(self, reboot: bool, down: float, off: float) -> None:
        self.machine.crash(reboot=reboot, down=down, wall_off=off)

    @precondition(lambda self: not self.machine.disk.full)
    @rule()
    def the_disk_fills_up(self) -> None:
        self.machine.disk.full = True
        self.machine.rough = True

    @precondition(lambda self: self.machine.disk.full)
    @rule()
    def there_is_room_again(self) -> None:
        self.machine.disk.full = False

    @rule()
    def the_secret_is_locked_or_unlocked(self) -> None:
        self.machine.secret_readable = not self.machine.secret_readable

    @precondition(lambda self: self.kind in {"pm4", "pm3", "password"} and not self.revoked)
    @rule(refresh_too=st.booleans())
    def an_administrator_revokes(self, refresh_too: bool) -> None:
        self.revoked = True  # once is enough for a history
        self.machine.server.revoke(refresh_too=refresh_too)

    @precondition(lambda self: self.kind == "password")
    @rule(right=st.booleans())
    def the_password_changes(self, right: bool) -> None:
        self.machine.server.password = "password-2"
        if right:
            self.machine.secret = "password-2"

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(lasting=LASTING)
    def somebody_gets(self, lasting: float | None) -> None:
        self.machine.get(lasting)

    @rule(lasting=LASTING)
    def somebody_gets_just_before_something_is_due(self, lasting: float | None) -> None:
        if self.machine.timers:
            self.machine.pass_time(max(0.0, self.machine.next_timer() - self.machine.now - 0.5))
        self.machine.get(lasting)

    @rule(lasting=LASTING, down=st.sampled_from([0.0, 0.2, 2.0]))
    def the_daemon_is_killed_after_a_late_get(self, lasting: float | None, down: float) -> None:
        """What it has promised a moment ago is not on disk, and the next one finds a renewal that is due."""
        self.somebody_gets_just_before_something_is_due(lasting)
        self.machine.crash(reboot=False, down=down, wall_off=0.0)

    @precondition(lambda self: self.machine.request is not None or self.machine.waiting)
    @rule()
    def somebody_waits_in_vain(self) -> None:
        """A renewal takes longer than anybody waits for it; that it still comes is another rule's."""
        self.machine.get(None)
        self.machine.lose_patience()

    @rule(fate=st.sampled_from(PROBE_FATES))
    def somebody_rejects(self, fate: ProbeFate) -> None:
        self.machine.reject(fate)

    @precondition(lambda self: self.terms.rule is not Rule.ASK_ANEW)
    @precondition(lambda self: self.logins < 2 or self.machine.life.renewal is Renewal.STOPPED)
    @rule()
    def somebody_logs_in(self) -> None:
        self.logins += 1
        self.machine.log_in()

    @rule(revocable=st.booleans())
    def somebody_logs_out(self, revocable: bool) -> None:
        self.machine.revocable = revocable
        self.machine.log_out()

    @precondition(lambda self: self.machine.leaving)
    @rule()
    def the_logout_is_told(self) -> None:
        self.machine.left()

    @rule()
    def somebody_says_try_again(self) -> None:
        self.machine.forgive()

    @rule(margin=st.sampled_from([None, 12.0, 0.1, 0.3]))
    def the_profile_is_edited(self, margin: float | None) -> None:
        wanted = margin if margin is None or margin > 1 else margin * self.lifetime
        self.machine.terms = self.terms = replace(self.terms, margin=wanted)
        self.machine.happen(l.Changed(self.terms))

    # --- promises about every moment ----------------------------------------------------------------------------------

    @invariant()
    def there_is_progress_or_a_reason(self) -> None:
        """A request is under way, or something is planned, or a reason is told; and what is planned is scheduled."""
        machine, life = self.machine, self.machine.life
        asking = any(question.serial == life.serial for question in machine.questions)
        match life.renewal:
            case Renewal.SENDING:
                requested = machine.request is not None and machine.request.send.serial == life.serial
                saving = any(save.serial == life.serial and save.held == life.pending for save in self._saves())
                assert requested != saving, "one request under way, or one token on its way to the disk"
            case Renewal.DOUBTFUL:
                assert life.wake is not None or asking
            case Renewal.WAITING:
                assert life.wake is not None
                assert life.problem is not None
            case Renewal.STOPPED:
                assert life.reason is not None
                assert life.problem is not None
            case Renewal.IDLE:
                assert life.wake is not None
        if life.wake is not None:
            assert any(at == life.wake and isinstance(event, l.Due) for at, _, event in machine.timers)

    @invariant()
    def what_is_not_on_disk_is_told_and_saved_again(self) -> None:
        """A token that the disk refused is told as unsaved, and there is one next try, not many."""
        machine, life = self.machine, self.machine.life
        if life.held is None or life.held.saved:
            return
        assert life.save_problem is not None
        again = any(isinstance(event, l.SaveDue) and at == life.save_at for at, _, event in machine.timers)
        saving = sum(save.held == life.held for save in self._saves())
        assert again + saving == 1 or life.pending is not None

    @invariant()
    def after_a_logout_there_is_nothing_until_a_login(self) -> None:
        """No token is held, on its way or on disk, and none is asked for; no crash and no answer changes that."""
        machine, life = self.machine, self.machine.life
        if machine.logged_out:
            assert (life.held, life.pending, life.renewal) == (None, None, Renewal.STOPPED)
            assert life.reason is Reason.LOGGED_OUT
            assert machine.disk.held is None
            assert life.wake is None
            assert life.save_at is None
            assert machine.request is None or machine.request.send.serial < life.serial
            assert all(save.serial < life.serial for save in self._saves())

    @invariant()
    def no_token_is_left_at_large(self) -> None:
        """Every token that came is kept, was replaced, or is dead on the server; else it was told that it lives on."""
        machine = self.machine
        assert not any(machine.server.lives(access, machine.now) for access in machine.at_large - machine.kept())

    @invariant()
    def no_account_is_locked_out(self) -> None:
        """A password that was refused is not tried again by itself; a crash may hide one refusal, not two."""
        machine = self.machine
        most = 2 if machine.rough else 1
        assert all(times <= most for times in machine.server.refused_passwords.values())

    @invariant()
    def only_the_server_says_that_a_token_is_dead(self) -> None:
        """A token that lives is not called dead, and what is refused is no reason to give one up."""
        life = self.machine.life
        if life.dead:
            assert life.held is not None
            assert not self.machine.server.lives(life.held.token.access_token.reveal(), self.machine.now)

    # --- promises about the end ---------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """When all is well again, everything recovers by itself that can; for the rest a reason is told, and true."""
        if not hasattr(self, "machine"):
            return
        machine = self.machine
        machine.disk.full, machine.secret_readable, machine.probes_tell = False, True, True
        machine.secret = machine.server.password
        machine.set_wall(0.0)
        self._live_on()
        if machine.life.renewal is Renewal.STOPPED:
            self._check_the_reason()
            machine.forgive()
            if machine.life.reason in {Reason.NEEDS_LOGIN, Reason.LOGGED_OUT}:
                machine.log_in()
            self._live_on()
            if machine.life.reason is Reason.NEEDS_LOGIN:  # the question that came first was answered: it is spent
                machine.log_in()
                self._live_on()
        assert self._served(), f"no token after all is well: {machine.life}"
        assert not machine.waiting, "somebody waits, and was not told"

    def _live_on(self) -> None:
        machine = self.machine
        until = machine.now + max(HEALTHY, 8 * self.lifetime)
        self._finish()
        while machine.now < until:
            if not self._served():
                machine.reject()
                self._finish()
            asked_again = machine.now + max(self.lifetime / 7, HEALTHY / 50)
            while machine.now < asked_again:
                machine.pass_time(min(machine.next_timer(), asked_again) - machine.now)
                self._finish()

    def _saves(self) -> list[l.Save]:
        return [save for save in self.machine.saves if isinstance(save, l.Save)]

    def _finish(self) -> None:
        """Let everything under way come to its end, at once and well."""
        machine = self.machine
        for _ in range(200):
            machine.left()
            if machine.request is None and not machine.saves and not machine.questions:
                return
            machine.go_on("answered")
            machine.save()
            machine.question("answered")
        raise AssertionError("requests go in a circle")

    def _served(self) -> bool:
        """Whether somebody who asks now gets a token that lives, at the latest when what is under way has ended."""
        machine = self.machine
        before = machine.served
        access = machine.get(None)
        self._finish()
        if access is None and machine.served > before:
            assert machine.life.held is not None
            access = machine.life.held.token.access_token.reveal()
        return access is not None and machine.server.lives(access, machine.now)

    def _check_the_reason(self) -> None:
        machine, life = self.machine, self.machine.life
        match life.reason:
            case Reason.NEEDS_LOGIN:
                refresh = life.held.token.refresh_token if life.held else None
                if refresh is not None and machine.server.spendable(refresh.reveal(), machine.now):
                    assert machine.spends[refresh.reveal()] == 2, "nobody needs to log in"
            case Reason.BAD_CREDENTIALS | Reason.BAD_CLIENT:
                pass  # only a person can say that it is mended
            case Reason.LOGGED_OUT:
                assert machine.logged_out
            case reason:
                raise AssertionError(f"stopped for ever because of {reason}")


def run(examples: int, steps: int) -> None:
    """Make up so many histories."""
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.storm
def test_the_promises_hold_in_every_history() -> None:
    """Whatever happens to the machine, the server and the disk, the promises above hold."""
    run(examples=500, steps=40)


@pytest.mark.long
def test_the_promises_hold_in_very_many_histories() -> None:
    """The same, for as many histories as a machine gets through in some minutes."""
    run(examples=10_000, steps=60)
