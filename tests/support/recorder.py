"""Commands of `on_event` that tell their test what they were told, and wait where the test wants them to."""

import contextlib
import json
import os
import select
import shlex
from pathlib import Path

import trio

Told = dict[str, object]


class Recorder:
    """A FIFO into which commands write the line that they read, and our end of it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = shlex.quote(str(path))
        # Open for writing, too: else it would be at its end whenever no command runs.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""

    def command(self, script: str = "") -> tuple[str, ...]:
        """Give a command that writes what it was told, and then does what the script says."""
        return ("sh", "-c", f"cat > {self._path}; {script}")

    async def next(self) -> Told:
        """Wait for a command to begin; gives what it was told."""
        with trio.fail_after(1e6):  # a clock may be moved while we wait
            while (found := self._take()) is None:
                await trio.lowlevel.wait_readable(self._descriptor)
        return found

    def wait(self) -> Told:
        """Wait for a command to begin, without trio."""
        while (found := self._take()) is None:
            ready, _, _ = select.select([self._descriptor], [], [], 60)
            assert ready, "no command has begun"
        return found

    def _take(self) -> Told | None:
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._descriptor, 65_536)
        line, end, rest = self._rest.partition(b"\n")
        if not end:
            return None
        self._rest = rest
        found: Told = json.loads(line)
        return found

    def close(self) -> None:
        """Let go of our end."""
        os.close(self._descriptor)


class Gate:
    """A FIFO at which commands wait, each until it is let go."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.script = f"read line < {shlex.quote(str(path))}"
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def let_go(self) -> None:
        """Let one of them go, now or when it comes."""
        os.write(self._descriptor, b"go\n")

    def close(self) -> None:
        """Let go of our end."""
        os.close(self._descriptor)
