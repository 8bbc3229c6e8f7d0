"""The two clocks; the one place that knows about suspend.

trio's own clock is CLOCK_MONOTONIC, which stands still while a laptop sleeps. Nothing about a token's life may be
measured with it, and no sleep may be longer than LONGEST_SLEEP: after a resume we look again within that time.
"""

import time
from typing import Protocol

from pmcredd.validity import Moment

LONGEST_SLEEP = 30.0  # seconds


class Clock(Protocol):
    """Where moments come from."""

    def now(self) -> Moment:
        """Give this instant on both clocks."""
        ...


class SystemClock:
    """The machine's clocks: CLOCK_BOOTTIME, which runs on through suspend, and the wall clock."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def now(self) -> Moment:
        """Give this instant on both clocks."""
        return Moment(boot=time.clock_gettime(time.CLOCK_BOOTTIME), wall=time.time(), boot_id=self._boot_id)


def _read_boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        # Without it no saved boot time can be trusted: an id of this process's own makes the wall clock decide.
        return f"unknown-{time.time_ns()}"
