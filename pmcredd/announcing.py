"""Tells systemd how the daemon is: a sign of life for its watchdog, and one line for `systemctl status`."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio

from pmcredd.driver import Driver, Row
from pmcredd.keeper import Keeper
from pmcredd.systemd import Manager
from pmcredd.telling import State, Status

SETTLE = 1.0  # seconds: what changes together is told together
LOOK_AGAIN = 30.0  # seconds: profiles that cannot be read, and tokens that have run out, make no change
_NAMED = 3  # profiles that the line names
_FOR_PEOPLE = (State.NEEDS_LOGIN, State.STOPPED)  # what no time heals


class Announcing:
    """Tells the manager, as long as the daemon serves.

    Args:
        manager: who started us; where that is nobody, nothing is told.
        keeper: knows how the profiles are.
        driver: tells of every change.
    """

    def __init__(self, manager: Manager, keeper: Keeper, driver: Driver) -> None:
        self._manager = manager
        self._keeper = keeper
        self._driver = driver
        self._changed = trio.Event()

    def line(self) -> str:
        """Give the line, as things are now."""
        return summary(self._keeper.status([]), self._keeper.config_problem)

    async def reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Tell of a reload by signal, for which the manager waits: its end too, whatever came of it."""
        self._manager.reloading()
        try:
            await reload()
        finally:
            self._manager.ready(self.line())

    async def run(self) -> None:
        """Tell until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._manager.watchdog is not None:
                # From the loop that serves: what stops it stops this, too.
                nursery.start_soon(self._show_life, self._manager.watchdog / 2)
            if self._manager.address is not None:
                nursery.start_soon(self._keep_status)

    async def _show_life(self, every: float) -> None:
        while True:
            self._manager.alive()
            await trio.sleep(every)

    async def _keep_status(self) -> None:
        told = None
        self._driver.listeners.append(self._hear)
        try:
            while True:
                self._changed = trio.Event()
                if (line := self.line()) != told:
                    self._manager.status(line)
                    told = line
                with trio.move_on_after(LOOK_AGAIN):
                    await self._changed.wait()
                    await trio.sleep(SETTLE)
        finally:
            self._driver.listeners.remove(self._hear)

    def _hear(self, _: Row) -> None:
        self._changed.set()


def summary(states: Sequence[Status], config_problem: str | None) -> str:
    """Say in one line how the profiles are: what only a person can mend comes with names."""
    if not states:
        told = "no profile yet"
    else:
        counts = Counter(state.state for state in states)
        parts = [f"{counts[each]} {each}{_names(states, each)}" for each in State if counts[each]]
        told = f"{len(states)} profile{'' if len(states) == 1 else 's'}: {', '.join(parts)}"
    # The mistakes themselves may be many lines, and are in the log.
    return told if config_problem is None else f"{told}; the profiles have mistakes, the old ones serve (pmcred reload)"


def _names(states: Sequence[Status], state: State) -> str:
    if state not in _FOR_PEOPLE:
        return ""
    names = [each.profile.name for each in states if each.state is state]
    more = ", ..." if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})"
