"""A person at a terminal: a command on a real pseudo-terminal, what it shows, and what is typed."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE = 60.0  # seconds; only a test that fails waits so long

# The command must have the terminal as its controlling one, for Ctrl-C and for /dev/tty.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class PseudoTerminal:
    """Runs `argv` (an absolute path first) on a terminal of its own; `screen` is all that it has shown so far."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self.screen = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _TAKE_TERMINAL, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environ),
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def expect(self, text: str) -> None:
        """Wait until `text` appears after what was expected before."""
        deadline = time.monotonic() + _PATIENCE
        while (found := self.screen.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} never came; the screen:\n{self.screen}")
        self._seen = found + len(text)

    def type(self, text: str, *, enter: bool = True) -> None:
        """Type, and press the enter key, once the command waits for that."""
        # A Ctrl-C between the question and the read that follows it would only count after the next key.
        deadline = time.monotonic() + _PATIENCE
        while self._process.poll() is None and not self._sleeps() and time.monotonic() < deadline:
            os.sched_yield()
        os.write(self._master, text.encode() + b"\r" * enter)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and answer it."""
        self.expect(question)
        self.type(text)

    def end(self) -> int:
        """Wait for the command to end, and give its exit status as a shell would: 130 for one that died of Ctrl-C."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        status = self._process.wait(_PATIENCE)
        return status if status >= 0 else 128 - status

    def _sleeps(self) -> bool:
        status = Path(f"/proc/{self._process.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "S"  # proc_pid_stat(5)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came; the screen:\n{self.screen}")
        data = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            data = os.read(self._master, 65536)
        self.screen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
