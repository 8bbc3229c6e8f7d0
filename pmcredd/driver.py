"""Drives the lives of profiles: an event goes in, effects come out and are carried out in order.

What follows from what is the lifecycle's decision; there is none here.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import trio

from pmcredd import arrival, lifecycle, telling, transition, validity
from pmcredd.bearer import Bearer
from pmcredd.clock import Clock
from pmcredd.exchange import Exchange, Order
from pmcredd.gate import Priority, Turn
from pmcredd.life import (
    Due,
    Effect,
    Event,
    Failed,
    Fault,
    Identify,
    Issued,
    LoggedIn,
    Lost,
    Named,
    Probe,
    Probed,
    ProbeFailed,
    Problem,
    Renewal,
    Save,
    SaveAt,
    Saved,
    SaveDue,
    SaveFailed,
    Send,
    Tell,
    Unspend,
    WakeAt,
)
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant, Profile
from pmcredd.row import Row as Row  # for those who hear of every change
from pmcredd.scheduler import Scheduler
from pmcredd.store import Store, StoreProblem, identity
from pmcredd.telling import log
from pmcredd.validity import Held, Moment
from pmcredd.worker import Worker


class Driver:
    """Carries out what the lifecycle decides.

    Args:
        store: where tokens outlive the process; only ever used through `worker`.
        exchange: asks servers for tokens.
        bearer: asks servers about tokens.
        scheduler, clock: time.
        jitter: gives random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        store: Store,
        worker: Worker,
        exchange: Exchange,
        bearer: Bearer,
        scheduler: Scheduler,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._worker = worker
        self._exchange = exchange
        self._bearer = bearer
        self._scheduler = scheduler
        self._clock = clock
        self._jitter = jitter
        self._nursery: trio.Nursery | None = None
        self.listeners: list[Callable[[Row], None]] = []
        """Hear of every change that watchers want to know; must neither block nor raise."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive until cancelled. A request that was sent is not cancelled: we end when it is answered and saved."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._scheduler.run)
                task_status.started()
        finally:
            self._nursery = None

    async def save_rest(self, rows: Iterable[Row]) -> None:
        """Try once more to save what the disk refused: we are going, and nobody else has it."""
        for row in rows:
            if row.life.save_problem is None:
                continue
            row.life = replace(row.life, save_at=self._clock.now().boot)  # there is no later
            await self.complete(row, SaveDue())
            if row.life.save_problem is not None:
                log.error("%s: its last token is lost: %s", row.profile.name, row.life.save_problem.sentence)

    async def write_leases(self, rows: Iterable[Row]) -> bool:
        """Write down every lease that runs: we are going. Gives whether whoever comes next can know of all of them."""
        all_written = True
        for row in rows:
            disrupts = row.life.terms.rule is Rule.REFRESH_DISRUPTIVELY
            if disrupts and row.life.leased_until > max(row.leased_on_disk, self._clock.now().boot):
                row.leased_on_disk = row.life.leased_until
                all_written = await self._note(row) and all_written
        return all_written

    async def changed(self, row: Row) -> None:
        """Wait until something about this profile changes."""
        if row.waiters is None:
            row.waiters = trio.lowlevel.ParkingLot()
        await row.waiters.park()

    def urge(self, row: Row, priority: Priority) -> None:
        """Let its request, the one under way or the next one, go before those of lower priority."""
        if row.turn is None:
            row.turn = Turn(priority)
        else:
            row.turn.raise_to(priority)

    def _step(self, row: Row, event: Event) -> Save | None:
        """Let an event happen, do its effects in order, and give back the one that takes time, if there is one."""
        before = row.life
        row.life, effects = lifecycle.step(row.life, event, self._clock.now(), self._jitter())
        if isinstance(event, Issued) and event.serial != before.serial:
            self.discard(row, event.held)  # somebody has logged in or out since it was asked for
        telling.log_change(row.profile, before, row.life)
        if row.life.user is not before.user:
            row.ready = None  # it tells the name
        if row.life.held is not before.held:
            row.ready, row.ready_for = None, None
            if before.held is not None and not row.of_the_held_token(before.held):
                row.leased_on_disk = 0.0  # the new token's row begins without a lease
        elif (row.life.proved, row.life.dead) != (before.proved, before.dead) and self._nursery is not None:
            self._nursery.start_soon(self._note, row)
        slow = None
        for effect in effects:
            if isinstance(effect, Save):
                slow = effect
            else:
                self._do(row, effect)
        return slow

    def happen(self, row: Row, event: Event) -> None:
        """Let an event happen where nobody may wait for the disk: what takes time gets a task."""
        slow = self._step(row, event)
        if slow is not None and self._nursery is not None:
            self._nursery.start_soon(self._save, row, slow)

    def resume(self, row: Row) -> None:
        """Go on with a row that was parked: what came due meanwhile comes due now."""
        if row.life.wake is not None:
            self._do(row, WakeAt(row.life.wake))
        self.tell(row)

    async def complete(self, row: Row, event: Event, answered: float | None = None) -> None:
        """Let an event happen, its save included; `answered` is the boot time at which a server's answer was there."""
        superseded = row.life.pending if isinstance(event, LoggedIn) else None
        slow = self._step(row, event)
        if slow is not None:
            if not await self._save(row, slow):
                return
            if superseded is not None:
                self.discard(row, superseded)  # not before: on disk it may have stood in the place of the new one
            if answered is not None:
                gone = self._clock.now().boot - answered
                log.debug("%s: on disk %.1f ms after the answer", row.profile.name, gone * 1e3)

    def replan(self, row: Row) -> None:
        """Bring a renewal that disturbs nobody forward, after the wall clock ran ahead of boot time."""
        life = row.life
        if life.renewal is not Renewal.IDLE or life.held is None or life.terms.rule is Rule.REFRESH_DISRUPTIVELY:
            return
        due = validity.renew_at(life.terms, life.held, self._clock.now(), self._jitter())
        if due is not None and (life.wake is None or due < life.wake):
            row.life = replace(life, wake=due)
            self._do(row, WakeAt(due))

    def _do(self, row: Row, effect: Effect) -> None:
        match effect:
            case Send(serial, tries):
                assert self._nursery is not None  # noqa: S101 - rows come to life in run()
                self._nursery.start_soon(self._ask, row, serial, tries)
            case Probe(serial):
                assert self._nursery is not None  # noqa: S101 - as above
                self._nursery.start_soon(self.probe, row, serial)
            case Unspend(serial):
                assert self._nursery is not None  # noqa: S101 - as above
                self._nursery.start_soon(self._unspend, row, serial)
            case Identify(serial):
                assert self._nursery is not None  # noqa: S101 - as above
                self._nursery.start_soon(self._identify, row, serial)
            case WakeAt(boot):
                self._scheduler.at(boot, partial(self._wake, row, boot))
            case SaveAt(boot):
                self._scheduler.at(boot, partial(self.happen, row, SaveDue()))
            case Tell():
                self.tell(row)

    def note_asked(self, row: Row, now: Moment) -> None:
        """Note that somebody asked: what nobody asks for is let go."""
        row.life = replace(row.life, asked_at=now.wall)
        if self._nursery is not None:
            self._nursery.start_soon(self._write_asked, row)

    async def _write_asked(self, row: Row) -> None:
        await self._write(row, partial(self._store.asked, identity(row.profile), row.life.asked_at))

    async def _write(self, row: Row, write: Callable[[], None]) -> bool:
        """Write what may be lost: without it the next daemon has to be more careful. Gives whether it worked."""
        try:
            await self._worker.do(write)
        except StoreProblem as error:
            log.warning("%s: %s", row.profile.name, error.message)
        except Exception as error:  # noqa: BLE001 - no thread, no memory: that must not end the tokens of all
            log.error("%s: %s", row.profile.name, telling.mistake(error).sentence)
        else:
            return True
        return False

    def tell(self, row: Row) -> None:
        """Wake everybody who waits for a change of this profile."""
        if row.waiters is not None:
            row.waiters.unpark_all()
        for hear in self.listeners:
            hear(row)

    def _wake(self, row: Row, boot: float) -> None:
        # The heap forgets nothing: a wake that was put off or overtaken is none.
        if row.life.wake == boot and not row.retired:
            self.happen(row, Due())

    async def probe(self, row: Row, serial: int) -> Event:
        """Ask the server whether the held token lives, and let the answer happen; gives the event."""
        if row.one_probe is None:
            row.one_probe = trio.Lock()
        async with row.one_probe:
            held = row.life.held
            if held is None or serial != row.life.serial:
                return ProbeFailed(serial, Problem("the token was replaced meanwhile"))
            try:
                event = await self._bearer.probe(row.profile, held, serial)
            except Exception as error:  # noqa: BLE001 - a bug with one profile must not end the tokens of all
                event = ProbeFailed(serial, telling.mistake(error))
            if isinstance(event, Probed) and event.passed:
                row.proved_at = event.at
            self.happen(row, event)
            return event

    async def _identify(self, row: Row, serial: int) -> None:
        """Ask for the name of the token's user; without one its id has to do until the next token."""
        held = row.life.held
        if held is None or serial != row.life.serial:
            return
        try:
            user = await self._bearer.user(row.profile, held.token)
        except Exception as error:  # noqa: BLE001 - a bug with one profile must not end the tokens of all
            log.debug("%s: %s", row.profile.name, telling.mistake(error).sentence)
            return
        if user is None or user.name is None:
            log.debug("%s: the server does not tell the name of its user", row.profile.name)
            return
        self.happen(row, Named(serial, user))
        if row.life.user is user:
            await self._write(row, partial(self._store.note_user, row.profile, user))

    def discard(self, row: Row, held: Held) -> None:
        """Have a token revoked that came too late, or that nobody is to have; nobody waits for it."""
        if self._nursery is not None and row.profile.grant is not Grant.PERSONAL_ACCESS_TOKEN:
            self._nursery.start_soon(self._discard, row.profile, held)

    async def _discard(self, profile: Profile, held: Held) -> None:
        with trio.CancelScope(shield=True):  # it is bounded in time, and nobody else knows the token
            why = await self.revoke(profile, held)
        if why is None:
            log.info("%s: a token that came too late is revoked", profile.name)
        else:
            log.warning("%s: a token that came too late is not revoked: %s", profile.name, why)

    async def revoke(self, profile: Profile, held: Held, *, proved: bool = True) -> str | None:
        """Have the server revoke an access token; gives None, or why it may live on."""
        try:
            return await self._bearer.revoke(profile, held, proved=proved)
        except Exception as error:  # noqa: BLE001 - a bug with one profile must not end the tokens of all
            return telling.mistake(error).sentence

    async def _unspend(self, row: Row, serial: int) -> None:
        await self._write(row, partial(self._store.end_spend, identity(row.profile), serial, 0))

    async def lease(self, row: Row, until: float) -> None:
        """Write down a long lease before it is promised: a daemon that comes after a crash keeps it."""
        # Never past the forced moment, unless the promise is: the login would wait for nobody.
        rounded = max(until, min(math.ceil(until / 60) * 60.0, transition.forced(row.life)))
        if rounded <= row.leased_on_disk:
            return
        row.leased_on_disk = rounded
        await self._note(row)

    async def _note(self, row: Row) -> bool:
        life = row.life
        noted = partial(
            self._store.note,
            identity(row.profile),
            proved=life.proved,
            dead=life.dead,
            leased_until=row.leased_on_disk,
        )
        return await self._write(row, noted)

    async def _ask(self, row: Row, serial: int, tries: int) -> None:
        """Carry out a Send: again with the new profile if it changed before anything was sent."""
        while True:
            profile = row.profile
            if row.turn is None or row.turn.called.is_set():
                row.turn = Turn(Priority.REST if row.turn is None else row.turn.priority)
            self._hurry(row, row.turn)
            order = Order(profile, serial, row.life.held, tries, row.life.user, row.life.dead)
            try:
                stood = await self._exchange.run(
                    order, row.turn, wanted=partial(_stands, row, profile, serial), done=partial(self.complete, row)
                )
            except Exception as error:  # noqa: BLE001 - a bug with one profile must not end the tokens of all
                self._recover(row, serial, tries, telling.mistake(error))
                stood = True
            if stood or row.life.serial != serial:
                break
            if row.retired:
                self.happen(row, Failed(serial, Problem("the profile was changed or removed meanwhile")))
                break
        row.turn = None

    def _hurry(self, row: Row, turn: Turn) -> None:
        """Let a renewal go before all others from the moment on at which it is forced, asked for or not."""
        forced = row.forced_at()
        if forced is not None and forced <= self._clock.now().boot:
            turn.raise_to(Priority.FORCED)
        elif forced is not None:
            self._scheduler.at(forced, partial(turn.raise_to, Priority.FORCED))

    def _recover(self, row: Row, serial: int, tries: int, problem: Problem) -> None:
        """Go on after a bug of ours. A refresh token may have gone out: that is doubt, never back-off."""
        try:
            self.happen(row, Lost(serial, problem) if tries else Failed(serial, problem))
        except lifecycle.NonsenseError:
            log.error("%s: %s", row.profile.name, problem.sentence)  # the event had happened; its save had not

    async def _save(self, row: Row, save: Save) -> bool:
        if save.serial != row.life.serial:
            return False  # somebody has logged in or out since: what comes late must not replace what there is now
        again = row.of_the_held_token(save.held)  # the disk had refused it: somebody may have been promised it since
        write = partial(
            self._store.save,
            row.profile,
            save.held,
            serial=save.serial,
            asked_at=row.life.asked_at,
            past=save.past,
            proved=row.life.proved,
            dead=row.life.dead and again,
            leased_until=row.leased_on_disk if again else 0.0,
            user=arrival.user_of(row.life, save.held),
        )
        try:
            await self._worker.do(write)
        except StoreProblem as error:
            problem = Problem(error.message, error.hint, Fault.MISCONFIGURED)
        except Exception as error:  # noqa: BLE001 - no thread, no memory: the pair is kept, and saved later
            problem = telling.mistake(error)
        else:
            self.happen(row, Saved(save.serial, save.held))
            return True
        self.happen(row, SaveFailed(save.serial, save.held, problem))
        return False


def _stands(row: Row, profile: Profile, serial: int) -> bool:
    return row.profile is profile and row.life.serial == serial and not row.retired
