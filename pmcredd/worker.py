"""Blocking calls, one at a time, in a thread: a stalled disk must stall neither the sockets nor the watchdog."""

from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Worker(Protocol):
    """Runs blocking calls."""

    async def do(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run one call to its end (it is not abandoned when we are cancelled) and give what it gives or raises."""
        ...


class Thread:
    """Runs them in a worker thread, never two together."""

    def __init__(self) -> None:
        self._one = trio.CapacityLimiter(1)

    async def do(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run one call to its end and give what it gives or raises."""
        return await trio.to_thread.run_sync(call, *args, limiter=self._one)
