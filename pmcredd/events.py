"""Runs the commands of `on_event` when something happens to a profile.

Nothing waits for a command: what happened is only noted where it happens, and commands run in tasks of their own.
"""

from collections.abc import Mapping
from functools import partial

import trio

from pmcredd import event_command, event_rules, profiles, telling
from pmcredd.clock import Clock
from pmcredd.driver import Driver, Row
from pmcredd.event_queue import Job, Queue
from pmcredd.keeper import Keeper
from pmcredd.profiles import EventCommand, EventName
from pmcredd.telling import Status, log

LOOK_EVERY = 5.0  # seconds, at a trouble that may last too long
LAST_SECONDS = 2.0  # for commands that run when the daemon leaves


class Events:
    """Hears what the driver tells, and runs commands.

    Args:
        keeper: knows the commands, as they are after the last reload, and the profiles.
        driver: tells of every change.
        clock: time.
        environ: the daemon's environment.
        socket: where the daemon listens.
    """

    def __init__(
        self, keeper: Keeper, driver: Driver, clock: Clock, *, environ: Mapping[str, str], socket: str
    ) -> None:
        self._keeper = keeper
        self._driver = driver
        self._clock = clock
        self._environ = environ
        self._socket = socket
        self._seen: dict[str, event_rules.Seen] = {}
        self._troubled: dict[str, Row] = {}  # may be failing for too long soon
        self._queue: Queue[Status] = Queue()
        self._limits: set[trio.CancelScope] = set()  # of the commands that run
        self._woken = trio.Event()
        self._leaving = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear and run until cancelled: what runs then gets a last moment. To be started before the keeper is."""
        async with trio.open_nursery() as nursery:
            self._driver.listeners.append(self._hear)
            try:
                task_status.started()
                await self._start_commands(nursery)
            finally:
                self._driver.listeners.remove(self._hear)
                self._leaving = True
                for limit in self._limits:
                    limit.deadline = min(limit.deadline, trio.current_time() + LAST_SECONDS)

    def expiring(self, status: Status) -> None:
        """Hear that a token nears its end that only a person can replace."""
        if EventName.EXPIRING in self._commands:
            self._put(EventName.EXPIRING, status)

    @property
    def _commands(self) -> Mapping[EventName, EventCommand]:
        return self._keeper.settings.on_event

    def _hear(self, row: Row) -> None:
        try:
            self._notice(row)
        except Exception as bug:  # noqa: BLE001 - whatever is wrong here, the renewal that tells us goes on
            log.error("%s: on_event: %s", row.profile.name, telling.mistake(bug).sentence)

    def _notice(self, row: Row) -> None:
        name = row.profile.name
        if row.retired:
            self._seen.pop(name, None)
            self._troubled.pop(name, None)
            self._queue.drop(name, EventName)
            return
        now, commands = self._clock.now(), self._commands
        seen, happened = event_rules.look(self._seen.get(name), row.life, now, trio.current_time(), commands)
        self._seen[name] = seen
        if seen.since is None:
            self._queue.drop(name, event_rules.TROUBLES)  # nobody needs to hear of what is over
        if happened:
            status = telling.status(row.profile, row.life, now)
            for event in happened:
                self._put(event, status)
        if seen.since is not None and EventName.FAILING in commands and EventName.FAILING not in seen.told:
            if not self._troubled:
                self._woken.set()
            self._troubled[name] = row
        else:
            self._troubled.pop(name, None)

    def _put(self, event: EventName, status: Status) -> None:
        pause = self._queue.put(status.profile.name, event, status, trio.current_time())
        if pause:
            log.warning(
                "%s: the on_event command for %s seems to bring it about, or is too slow: it runs again in %.0f s",
                status.profile.name,
                event.value,
                pause,
            )
        self._woken.set()

    async def _start_commands(self, nursery: trio.Nursery) -> None:
        while True:
            self._woken = trio.Event()
            for row in [*self._troubled.values()]:
                self._hear(row)
            while (job := self._queue.take(trio.current_time())) is not None:
                nursery.start_soon(self._run, job)
            look = trio.current_time() + LOOK_EVERY if self._troubled else float("inf")
            with trio.move_on_at(min(look, self._queue.next_at())):
                await self._woken.wait()

    async def _run(self, job: Job[Status]) -> None:
        try:
            command = self._commands.get(job.event)  # a reload may have taken it away
            if command is not None and not self._leaving:
                await self._run_command(job, command)
        except Exception as bug:  # noqa: BLE001 - a bug with one command must not end the tokens of all
            log.error("%s: on_event: %s", job.profile, telling.mistake(bug).sentence)
        finally:
            self._queue.done(job.profile, trio.current_time())
            self._woken.set()

    async def _run_command(self, job: Job[Status], command: EventCommand) -> None:
        env = event_command.environment(
            job.event,
            job.what,
            self._environ,
            withhold=profiles.secret_variables(self._keeper.profiles()),
            socket=self._socket,
        )
        given = event_command.told(job.event, job.what, token=command.token)
        limit = trio.CancelScope(deadline=trio.current_time() + command.timeout, shield=True)
        self._limits.add(limit)
        try:
            problem = await event_command.run(command, given, env, limit)
        finally:
            self._limits.discard(limit)
        tell = partial(log.warning if problem else log.debug, "%s: the on_event command %r for %s: %s")
        outcome = "done" if problem is None else f"{problem.sentence} ({problem.mend})"
        tell(job.profile, command.argv[0], job.event.value, outcome)
