"""What happens to the profiles, pushed to those who watch: one short memory for all watchers, whatever their number.

A watcher remembers only how far it has been told. What it has not been told yet is looked up when it takes it, so that
a slow one is told the latest of each profile and nothing piles up. While nobody watches, this costs nothing.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import trio

from pmcredd import telling, wire
from pmcredd.clock import Clock
from pmcredd.driver import Driver, Row
from pmcredd.keeper import Keeper
from pmcredd.telling import Status

AT_A_TIME = 64  # profiles in one piece: what is made for a watcher, and not yet taken by it, stays small


class Event(StrEnum):
    """What a watcher is told of."""

    PRESENT = "present"
    TOKEN = "token"  # noqa: S105 - an event's name
    STATE = "state"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(slots=True)
class _News:
    """The latest of a profile; `status` is None once the profile is gone."""

    status: Status | None
    number: int = 0  # of the last change; 0 is what was there when the first watcher came
    token_number: int = 0  # of the last change that brought another token
    came_number: int = 0
    token: str | None = None  # the fingerprint of the last one
    blocks: dict[tuple[Event, bool], bytes] = field(default_factory=dict)  # made once for all watchers

    def event(self, seen: int) -> Event:
        """Say what is new to somebody who was told everything up to `seen`."""
        if self.status is None:
            return Event.REMOVED
        if self.came_number > seen:
            return Event.ADDED
        return Event.TOKEN if self.token_number > seen else Event.STATE

    def block(self, name: str, event: Event, *, token: bool) -> bytes:
        """Give the block that tells it; with `token`, the access token too, if there is one."""
        key = (event, token)
        if key not in self.blocks:
            self.blocks[key] = _format(name, event, self.status, token=token)
        return self.blocks[key]


class Watching:
    """Hears what the driver tells, and passes it on.

    Args:
        keeper: knows how the profiles are at first.
        driver: tells of every change; this listens to it while anybody watches.
        clock: time.
    """

    def __init__(self, keeper: Keeper, driver: Driver, clock: Clock) -> None:
        self._keeper = keeper
        self._driver = driver
        self._clock = clock
        self._news: dict[str, _News] = {}  # by profile, in the order of their last changes
        self._numbers = itertools.count(1)
        self._last = 0
        self._watchers: set[Watch] = set()
        self._waiting = trio.lowlevel.ParkingLot()

    def watch(self, target: str | None, *, token: bool, told: Callable[[Status], None] = lambda _: None) -> "Watch":
        """Begin to watch one profile, or all; with `token`, access tokens are told too, and `told` hears of each.

        Raises:
            Failure: there is no such profile.
        """
        states = self._keeper.status([] if target is None else [target])
        if not self._watchers:
            everything = states if target is None else self._keeper.status([])
            self._news = {state.profile.name: _News(state, token=state.fingerprint) for state in everything}
            self._driver.listeners.append(self._hear)
        watch = Watch(self, states, all_profiles=target is None, token=token, told=told)
        self._watchers.add(watch)
        return watch

    @property
    def last(self) -> int:
        """Give the number of the last change."""
        return self._last

    def _hear(self, row: Row) -> None:
        name = row.profile.name
        status = None if row.retired else telling.status(row.profile, row.life, self._clock.now())
        news = self._news.get(name)
        old = None if news is None else news.status
        if news is None:
            news = self._news[name] = _News(None)
        news.status = status
        news.blocks.clear()
        if old is None and status is None:
            return
        if old is not None and status is not None and _face(old) == _face(status):
            return  # told of next time, with what is new by then
        self._last = news.number = next(self._numbers)
        if old is None:
            news.came_number = news.number
        if status is not None and status.fingerprint not in {None, news.token}:
            news.token, news.token_number = status.fingerprint, news.number
        self._news[name] = self._news.pop(name)
        self._waiting.unpark_all()

    def since(self, seen: int, only: str | None) -> list[tuple[str, _News]]:
        """Give what has changed since the change number `seen`, oldest first; `only` about this profile."""
        if only is not None:
            one = self._news.get(only)
            return [(only, one)] if one is not None and one.number > seen else []
        found = [*itertools.takewhile(lambda item: item[1].number > seen, reversed(self._news.items()))]
        found.reverse()
        return found

    async def change(self) -> None:
        """Wait until something has changed, or a watcher is to end."""
        await self._waiting.park()

    def leave(self, watch: "Watch") -> None:
        """Forget a watcher; with the last one, everything."""
        self._watchers.discard(watch)
        if not self._watchers:
            self._driver.listeners.remove(self._hear)
            self._news = {}
        self._waiting.unpark_all()


class Watch:
    """One watcher's answer: first how its profiles are, then what happens to them. A Stream, as server.py has it."""

    def __init__(
        self,
        watching: Watching,
        states: list[Status],
        *,
        all_profiles: bool,
        token: bool,
        told: Callable[[Status], None],
    ) -> None:
        self._watching = watching
        self._present = states  # of the moment it came, still to be told
        self._only = None if all_profiles else states[0].profile.name
        self._token = token
        self._told = told
        self._seen = watching.last
        self._begun = False
        self._ended = False

    def __aiter__(self) -> Self:
        """Give itself."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for something new; gives it in whole blocks."""
        if not self._begun:
            self._begun = True
            return wire.STREAM_HEAD + self._tell_present()
        if self._present:
            return self._tell_present()
        while not self._ended:
            if piece := self._tell_new():
                return piece
            await self._watching.change()
        raise StopAsyncIteration

    def end(self) -> None:
        """End after what was there when the watcher came."""
        if not self._ended:
            self._ended = True
            self._watching.leave(self)

    def _tell_present(self) -> bytes:
        states, self._present = self._present[:AT_A_TIME], self._present[AT_A_TIME:]
        self._note_tokens(states)
        return b"".join(_format(state.profile.name, Event.PRESENT, state, token=self._token) for state in states)

    def _tell_new(self) -> bytes:
        found = self._watching.since(self._seen, self._only)[:AT_A_TIME]
        seen = self._seen
        if found:
            self._seen = found[-1][1].number
        self._note_tokens([news.status for _, news in found])
        return b"".join(news.block(name, news.event(seen), token=self._token) for name, news in found)

    def _note_tokens(self, states: Iterable[Status | None]) -> None:
        for state in states if self._token else ():
            if state is not None and state.token is not None:
                self._told(state)


def _format(name: str, event: Event, status: Status | None, *, token: bool) -> bytes:
    if status is None:
        return wire.format_block({"event": event.value, "profile": name})
    fields = {"event": event.value, **telling.fields(status)}
    if token and status.token is not None:
        fields["access_token"] = status.token.reveal()
    return wire.format_block(fields)


def _face(status: Status) -> tuple[str | None, ...]:
    """Give what watchers want to hear of; that a renewal was put off a little is not worth a line."""
    problem, save_problem = status.life.problem, status.life.save_problem
    return (
        status.state,
        status.fingerprint,
        problem.sentence if problem else None,
        save_problem.sentence if save_problem else None,
    )
