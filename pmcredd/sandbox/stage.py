"""Where the demo plays: a private directory and child processes, all gone when the play is over, however it ends."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

_PATIENCE = 30.0  # seconds for any one thing: a loaded machine is slow, not broken
_GLANCE = 0.02  # seconds between two looks at what is starting
_NAME = "pmcred-demo-"
_LONGEST_SOCKET = 107  # bytes of a socket's path (unix(7)); build systems have longer temporary directories
_MOST_LINES = 12  # of what a failed command wrote


class DemoFailed(Exception):
    """A step did not do what it said. `message` tells which and why, `hint` what to do about it, or is empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Told:
    """What a command wrote until it ended; a token may be in it."""

    out: str = field(repr=False)
    err: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A place of the demo's own: `directory` is private (0700), and the commands in `scripts` keep to it."""

    directory: Path
    scripts: Path
    nursery: trio.Nursery

    @property
    def socket(self) -> Path:
        """The socket of this stage's daemon."""
        return self.directory / "socket"

    @property
    def profiles(self) -> Path:
        """Its profiles file."""
        return self.directory / "profiles.toml"

    async def run(self, command: str, stdin: str = "") -> Told:
        """Run a command (words without quotes) to its end; `stdin` is what it reads.

        Raises:
            DemoFailed: its exit status is not 0, or it takes too long.

        """
        with in_time(f"`{command}` has not ended"), granted(f"run `{command}`"):
            ended = await trio.run_process(
                self._words(command),
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                cwd=self.directory,
                env=self._environ(),
                process_group=0,
            )
        told = Told(_text(ended.stdout), _text(ended.stderr))
        if ended.returncode:
            raise _ended(command, ended.returncode, told.err)
        return told

    async def start(self, command: str, *, log: str, ready: Callable[[str], bool]) -> str:
        """Start a command that stays until the play is over; give what it has written by the time it is ready.

        `ready` is called in a thread, again and again, with what the command has written so far to the file `log`.

        Raises:
            DemoFailed: it ends, or does not get ready in time.

        """
        written = self.directory / log
        with in_time(f"`{command}` is not ready"), granted(f"start `{command}`"):
            with written.open("wb") as file:
                process = await self.nursery.start(self._keep, self._words(command), file.fileno())
            while True:
                status = process.poll()  # before the reading: who has ended has written everything
                text = written.read_text(errors="replace")
                if status is not None:
                    raise _ended(command, status, text)
                if await trio.to_thread.run_sync(ready, text, abandon_on_cancel=True):
                    return text
                await trio.sleep(_GLANCE)

    async def _keep(self, words: list[str], output: int, task_status: "trio.TaskStatus[trio.Process]") -> None:
        await trio.run_process(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=self.directory,
            env=self._environ(),
            process_group=0,
            task_status=task_status,
        )

    def _words(self, command: str) -> list[str]:
        program, *arguments = command.split()
        return [str(self.scripts / program), *arguments]

    def _environ(self) -> Mapping[str, str]:
        # Whatever the user has set for their own daemon must not lead these commands to it.
        others = {name: value for name, value in os.environ.items() if not name.startswith("PMCRED")}
        return others | {
            "PMCRED_CONFIG": str(self.profiles),
            "PMCRED_SOCKET": str(self.socket),
            "PMCRED_STATE_DIR": str(self.directory / "state"),
        }


def play(story: Callable[[Stage], Awaitable[None]], scripts: Path) -> None:
    """Set a stage, play a story on it, and take everything away again.

    The first SIGINT, SIGTERM or SIGHUP ends the story; more of them do not keep us from clearing up.

    Raises:
        DemoFailed: there is no stage to be had, or it cannot be cleared.
        KeyboardInterrupt: SIGINT came.
        SystemExit: another signal came; with the status that shells give for it.
        Exception: what the story raised, of DemoFailed and OSError.

    """
    number = trio.run(_play, story, scripts)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        raise SystemExit(128 + number)


async def _play(story: Callable[[Stage], Awaitable[None]], scripts: Path) -> int | None:
    # nohup, and shells that start something in the background, have these ignored: so do we.
    heeded = [each for each in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    failed: Exception | None = None
    arrived: list[int] = []
    with trio.open_signal_receiver(signal.SIGTERM, *heeded) as arriving, _directory() as directory:
        async with trio.open_nursery() as nursery:

            async def heed(signals: AsyncIterator[int]) -> None:
                arrived.append(await anext(signals))
                nursery.cancel_scope.cancel()

            nursery.start_soon(heed, arriving)
            try:
                await story(Stage(directory, scripts, nursery))
            except (DemoFailed, OSError) as error:
                failed = error  # raised outside, or the nursery would make a group of it
            nursery.cancel_scope.cancel()  # which ends the children, and waits for them
    if failed is not None:
        raise failed
    return arrived[0] if arrived else None


@contextmanager
def _directory() -> Iterator[Path]:
    with granted("make a directory for the demo", "set TMPDIR to a directory where you may write"):
        wanted = tempfile.gettempdir()
        fits = len(os.fsencode(f"{wanted}/{_NAME}XXXXXXXX/socket")) <= _LONGEST_SOCKET
        directory = Path(tempfile.mkdtemp(prefix=_NAME, dir=wanted if fits else "/tmp"))  # noqa: S108 - mkdtemp's way
    try:
        yield directory
    finally:
        with granted(f"remove {directory}", f"rm -r {directory}"), suppress(FileNotFoundError):  # gone is gone
            shutil.rmtree(directory)


@contextmanager
def granted(attempt: str, hint: str = "") -> Iterator[None]:
    """Turn the operating system's refusal of `attempt` ("write /path") into DemoFailed."""
    try:
        yield
    except OSError as error:
        raise DemoFailed(f"cannot {attempt}: {error.strerror or error}", hint) from error


@contextmanager
def in_time(shortfall: str) -> Iterator[None]:
    """End what takes too long with DemoFailed; `shortfall` says what has not come about."""
    try:
        with trio.fail_after(_PATIENCE):
            yield
    except trio.TooSlowError:
        raise DemoFailed(f"{shortfall} within {_PATIENCE:g} s", "try again when the machine is less busy") from None


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


def _ended(command: str, status: int, wrote: str) -> DemoFailed:
    how = f"exit status {status}" if status >= 0 else f"signal {-status}"
    said = wrote.strip().splitlines()[-_MOST_LINES:]
    return DemoFailed("\n".join([f"`{command}` ended with {how}{':' if said else ''}", *said]))
