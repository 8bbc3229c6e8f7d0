"""Keeps every profile's token, and answers who asks.

A profile is a row here, not a task: ten thousand cost a table. Decisions are the lifecycle's, and driver.py carries
them out; this module knows which profiles there are, and waits for them on behalf of those who ask.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import trio

from pmcredd import lifecycle, oauth, processmaker, profiles, telling, transition, validity
from pmcredd.account import Accounts, Admit
from pmcredd.bearer import Bearer
from pmcredd.clock import LONGEST_SLEEP, Clock
from pmcredd.decision import Ask, CannotPromise, Fail, Serve, Wait, decide, decide_as_it_is
from pmcredd.driver import Driver
from pmcredd.exchange import Exchange
from pmcredd.gate import Priority
from pmcredd.life import Asked, Life, Probed, Rejected, Renewal, Retry
from pmcredd.profiles import BadConfig, Config, Profile, Settings
from pmcredd.row import Row
from pmcredd.rows import Rows
from pmcredd.secret_reader import SecretReader
from pmcredd.store import Store
from pmcredd.telling import Failure, HandOut, LoggedOut, ReloadReport, Status, log
from pmcredd.validity import Held, Moment
from pmcredd.wire import Code
from pmcredd.worker import Worker

LONGEST_WAIT_FOR_RENEWAL = 30.0  # seconds, while a token still lives
UNWRITTEN_LEASE = 60.0  # seconds: shorter leases are not worth a write; after a start a default lease is assumed
PROBE_EVERY = 2.0  # seconds: no job that reports a living token again and again has the server asked more often
CLOCK_STEP = 5.0  # seconds that the wall clock runs ahead of boot time before it is taken for a pause
NOTE_ASKED_EVERY = 6 * 3600.0  # seconds: "asked within 30 days" needs no finer record


class Keeper:
    """All profiles and their tokens.

    Args:
        config: the profiles to begin with.
        load: reads the configuration again; raises BadConfig.
        store: where tokens outlive the process; only ever used through `worker`.
        reader: reads secrets; told which environment variables hold some.
        exchange: asks servers for tokens.
        bearer: asks servers about tokens.
        driver: carries out what the lifecycle decides.
        clock: time.
        only: the name of the one profile that is kept; the others are known and left alone. For a process that answers
            one request and leaves.
        leases_known: no lease runs but those that are on disk: whoever kept the tokens before left in good order.
    """

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Awaitable[Config]],
        store: Store,
        worker: Worker,
        reader: SecretReader,
        exchange: Exchange,
        bearer: Bearer,
        driver: Driver,
        clock: Clock,
        only: str | None = None,
        leases_known: bool = False,
    ) -> None:
        self._config = config
        self._load = load
        self._reader = reader
        self._driver = driver
        self._clock = clock
        self._only = only
        self._leases_known = leases_known
        self.leases_written = False
        """Whether every lease that runs is on disk; before the end nobody knows."""
        # A process that is gone before its token is used may be killed before it has written down what it promised.
        self._unwritten_lease = UNWRITTEN_LEASE if only is None else 0.0
        self._rows = Rows(store=store, worker=worker, driver=driver, clock=clock)
        self._accounts = Accounts(
            rows=self._rows,
            store=store,
            worker=worker,
            exchange=exchange,
            bearer=bearer,
            driver=driver,
            clock=clock,
        )
        self._one_reload = trio.Lock()
        self.config_problem: str | None = None

    # --- life of the keeper ---------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the tokens until cancelled. Started means: every profile has what the store had of it.

        A request that was sent is not cancelled with us: we end when it is answered (or timed out) and saved.
        """
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._driver.run)
                known = self._config.profiles
                self._reader.withhold = profiles.secret_variables(known.values())
                kept = known.values() if self._only is None else [known[self._only]]
                await self._rows.open(kept, leases_known=self._leases_known)
                nursery.start_soon(self._rows.park, self._config)
                nursery.start_soon(self._watch_clock)
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):
                await self._driver.save_rest(self._rows.everything())
                self.leases_written = await self._driver.write_leases(self._rows.everything())

    async def _watch_clock(self) -> None:
        """Notice that the wall clock ran ahead of boot time: the machine was paused, and its tokens are older."""
        before = self._clock.now()
        while True:
            await trio.sleep(LONGEST_SLEEP)
            now = self._clock.now()
            if (now.wall - now.boot) - (before.wall - before.boot) > CLOCK_STEP:
                for row in self._rows:
                    self._driver.replan(row)
            before = now

    def stop(self) -> None:
        """Answer everybody who waits: we are going."""
        self._rows.stopping = True
        for row in self._rows.everything():
            self._driver.tell(row)

    # --- questions ------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """Give the [daemon] table as it was read last; of a reload only `on_event` takes effect at once."""
        return self._config.settings

    def profiles(self) -> tuple[Profile, ...]:
        """Give all profiles, by name."""
        return tuple(row.profile for row in self._rows)

    def hand_out(self, target: str, lasting: float | None) -> HandOut | None:
        """Give a token if a good one is in hand; `lasting` in seconds.

        Raises:
            Failure: there is no such profile.
        """
        row = self._rows.resolve(target)
        now = self._clock.now()
        if now.wall - row.life.asked_at > NOTE_ASKED_EVERY:
            self._driver.note_asked(row, now)
        decision = decide(row.life, now, lasting)
        if not isinstance(decision, Serve):
            return None
        if self._to_disk(row, decision, lasting):
            return None  # it is written down first
        return self._serve(row, decision, now)

    async def get(self, target: str, lasting: float | None, timeout: float, *, renew: bool = True) -> HandOut:
        """Give a token that is good for `lasting` seconds, waiting up to `timeout` seconds for a new one.

        Without `renew` this starts no renewal; one that is under way, or comes by itself now, is waited for.

        Raises:
            Failure: with what is known of why there is none.
        """
        if (ready := self.hand_out(target, lasting)) is not None:
            return ready
        row = self._rows.resolve(target)
        # A token near its end is better than none, where the renewal that is to replace it takes too long.
        patience = timeout if lasting is not None or row.life.held is None else min(timeout, LONGEST_WAIT_FOR_RENEWAL)
        with trio.move_on_after(patience):
            return await self._get(row, lasting, renew=renew)
        held = row.life.held
        if lasting is None and held is not None and not row.life.dead and validity.alive(held, self._clock.now()):
            return row.hand_out(held, self._clock.now())  # nothing is promised: the renewal is under way
        if patience < timeout:
            with trio.move_on_after(timeout - patience):
                return await self._get(row, lasting, renew=renew)
        raise telling.failure(
            row.profile, row.life, f"no token for {row.profile.name} within {timeout:g} s", Code.WAITING
        )

    def status(self, names: Sequence[str]) -> list[Status]:
        """Tell about these profiles, or all where no name is given.

        Raises:
            Failure: there is no such profile.
        """
        rows = [self._rows.resolve(name) for name in names] if names else list(self._rows)
        now = self._clock.now()
        return [telling.status(row.profile, row.life, now) for row in rows]

    async def login(self, target: str, timeout: float) -> HandOut:
        """Try once now, whatever stopped it; see Accounts.login."""
        return await self._accounts.login(target, timeout)

    async def login_with_code(self, target: str, code: oauth.Code, *, admit: Admit | None = None) -> HandOut:
        """Finish a login with an authorization code; see Accounts.login_with_code."""
        return await self._accounts.login_with_code(target, code, admit)

    async def logout(self, target: str, *, revoke_personal: bool = False) -> LoggedOut:
        """Forget a profile's tokens until somebody logs in; see Accounts.logout."""
        return await self._accounts.logout(target, revoke_personal=revoke_personal)

    async def forget(self, target: str) -> LoggedOut:
        """Log out, and delete everything about a profile; see Accounts.forget."""
        return await self._accounts.forget(target)

    async def reject(self, target: str, fingerprint: str, timeout: float) -> HandOut:
        """Hear that a server refused a token, and give the one to use instead.

        One report of a dead token renews once for everybody who reports it, and none can kill a token that lives: where
        a renewal would, the server is asked first, and without evidence that it is dead nothing is renewed.

        Args:
            target: a profile's name or URL.
            fingerprint: of the refused token (secret.py).
            timeout: seconds.

        Raises:
            Failure: the token lives (not-rejected), is none of ours, or there is no other one, and why.
        """
        row = self._rows.resolve(target)
        with trio.move_on_after(timeout):
            return await self._reject(row, fingerprint)
        raise telling.failure(
            row.profile, row.life, f"no token for {row.profile.name} within {timeout:g} s", Code.WAITING
        )

    async def _reject(self, row: Row, fingerprint: str) -> HandOut:
        reported = self._clock.now().boot
        if fingerprint != _fingerprint(row.life):  # first: a server may give the same token again
            if fingerprint not in row.life.past:
                raise telling.stranger(row.profile)
            return await self._get(row, None)
        if row.one_reject is None:
            row.one_reject = trio.Lock()
        async with row.one_reject:  # those who report the same token wait here, and find it replaced
            self._rows.check(row)
            held = row.life.held
            if held is not None and _fingerprint(row.life) == fingerprint and row.life.renewal is Renewal.IDLE:
                await self._renew_rejected(row, held, reported)
        while row.life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL} and _fingerprint(row.life) == fingerprint:
            self._rows.check(row)
            await self._driver.changed(row)
        self._rows.check(row)
        if _fingerprint(row.life) == fingerprint:
            if row.life.terms.rule is processmaker.Renewal.NEVER and row.life.renewal is Renewal.IDLE:
                raise telling.irreplaceable(row.profile)
            raise telling.failure(
                row.profile, row.life, f"there is no other token for {row.profile.name}", Code.WAITING
            )
        return await self._get(row, None)

    async def _renew_rejected(self, row: Row, held: Held, reported: float) -> None:
        life = row.life
        dead = life.dead
        if not dead and life.terms.probes:
            if row.proved_at > reported:  # asked since: one answer is proof for all who had reported it by then
                raise telling.not_rejected(row.profile)
            await trio.sleep(max(0.0, row.proved_at + PROBE_EVERY - self._clock.now().boot))
            event = await self._driver.probe(row, life.serial)
            if isinstance(event, Probed) and event.passed:
                raise telling.not_rejected(row.profile)
            # Evidence only where it has passed before: a gateway may answer so to that path alone, for ever.
            dead = isinstance(event, Probed) and event.passed is False and row.life.proved
            if row.life.held is not held or row.life.renewal is not Renewal.IDLE:
                return  # the token was replaced while we asked
        if life.terms.rule is processmaker.Renewal.NEVER:
            self._driver.happen(row, Retry())  # it may have been replaced where it comes from
            return
        if not dead and life.terms.rule is processmaker.Renewal.REFRESH_DISRUPTIVELY:
            raise telling.unproven(row.profile)
        in_vain = lifecycle.in_vain(row.life, self._clock.now())
        if not in_vain:
            self._driver.urge(row, Priority.GET)
        self._driver.happen(row, Rejected(row.life.serial, dead))
        if in_vain:
            raise telling.refused(row.profile, lifecycle.IN_VAIN)

    async def reload(self) -> ReloadReport:
        """Read the configuration again and follow it; where it is broken everything stays as it was.

        Raises:
            Failure: what is wrong with it, every mistake.
        """
        async with self._one_reload:
            try:
                config = await self._load()
            except BadConfig as error:
                self.config_problem = "\n".join(map(str, error.mistakes))
                log.error("reload: the profiles are as they were, because: %s", self.config_problem)
                raise Failure(Code.MISCONFIGURED, self.config_problem, "pmcredd --check") from None
            self.config_problem = None
            self._reader.withhold = profiles.secret_variables(config.profiles.values())
            report = await self._rows.follow(config)
            await self._rows.park(config)
            if replace(config.settings, on_event={}) != replace(self._config.settings, on_event={}):
                note = "the [daemon] table changed: it takes effect when pmcredd is started again"
                report = replace(report, warnings=(*report.warnings, note))
            self._config = config
        log.info("reload: %s", telling.counts(report))
        for warning in report.warnings:
            log.warning("%s", warning)
        return report

    # --- a get that waits -----------------------------------------------------------------------------------------

    async def _get(self, row: Row, lasting: float | None, *, renew: bool = True) -> HandOut:
        renew = renew or row.life.terms.rule is processmaker.Renewal.NEVER  # what comes from a secret is just read
        asked = False
        while True:
            self._rows.check(row)
            life, now = row.life, self._clock.now()
            decision = decide(life, now, lasting) if renew else decide_as_it_is(life, now, lasting)
            if isinstance(decision, Ask) and asked:
                # The server has just given us a token, and it is not even good for that long.
                alive = life.held is not None and not life.dead and validity.alive(life.held, now)
                decision = Serve() if alive and lasting is None else CannotPromise(0.0)
            match decision:
                case Serve(lease):
                    if lease is not None and self._to_disk(row, decision, lasting):
                        await self._driver.lease(row, lease)
                        if row.life is not life:
                            continue  # while it was written, everything may have changed
                    return self._serve(row, decision, now)
                case Ask():
                    asked = row.life.renewal is not Renewal.IDLE or not self._leased(row, now)
                    self._driver.urge(row, Priority.GET)
                    self._driver.happen(row, Asked())
                case Wait():
                    if renew:
                        self._driver.urge(row, Priority.GET)
                    await self._driver.changed(row)
                case CannotPromise(most):
                    raise telling.cannot_promise(row.profile, most)
                case Fail() if not renew:
                    raise telling.as_it_is(row.profile, life, now, lasting)
                case Fail():
                    raise telling.failure(
                        row.profile, life, f"there is no token for {row.profile.name}", Code.NEEDS_LOGIN
                    )

    def _to_disk(self, row: Row, decision: Serve, lasting: float | None) -> bool:
        """Say whether a promise has to be written down: whether it is none of those that are assumed after a crash."""
        if decision.lease is None:
            return False
        return (lasting is not None and lasting > self._unwritten_lease) or decision.lease > transition.forced(row.life)

    def _leased(self, row: Row, now: Moment) -> bool:
        return row.life.leased_until > now.boot

    def _serve(self, row: Row, decision: Serve, now: Moment) -> HandOut:
        held = row.life.held
        assert held is not None  # noqa: S101 - decide() serves what is held
        if decision.lease is not None:
            row.life = replace(row.life, leased_until=max(row.life.leased_until, decision.lease))
        return row.hand_out(held, now, decision.lease)


def _fingerprint(life: Life) -> str | None:
    return None if life.held is None else life.held.token.access_token.fingerprint()
