"""Tells from outside whether processes live that no test could wait for: they hold a FIFO open."""

import os
import select
import shlex
from pathlib import Path

import trio


class LifeLine:
    """A FIFO that processes hold open as long as they live, and our end of it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = shlex.quote(str(path))
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    async def hear(self) -> bytes:
        """Wait for what they write, or for the end of the last of them (nothing)."""
        with trio.fail_after(20):
            await trio.lowlevel.wait_readable(self._descriptor)
        return os.read(self._descriptor, 100)

    def wait_for_end(self) -> None:
        """Wait, without trio, until the last of them has ended."""
        while True:
            ready, _, _ = select.select([self._descriptor], [], [], 20)
            assert ready, "a process of this test lives on"
            if not os.read(self._descriptor, 100):
                break

    def close(self) -> None:
        """Let go of our end."""
        os.close(self._descriptor)
