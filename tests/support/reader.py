"""A reader who does what a page says, at real terminals: types the commands, answers, and looks at the screen.

    with Reader(place, environ, {"https://acme.processmaker.net": sandbox.url}) as reader:
        for block in blocks(page):
            reader.follow(block)

With `machine` (support.box, support.user_manager) the terminals are on another machine, in the home directory there.

A block whose last command stays, such as `pmcredd`, gets a terminal of its own, and goes on when that shows what the
page says. AssertionError names the line of the page and tells what came.
"""

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pytest

from support.doc_pages import Block, Step, is_shown, plain
from support.pseudo_terminal import PseudoTerminal

# Commands come by a file: the terminal is theirs alone. What ends each is told, and is the next one's `$?`.
_SHELL = """
exec 9<>"$1"
while IFS= read -r _file <&9; do
  (exit ${_ended:-0})
  . "$_file" 9<&-
  _ended=$?
  eval "${PROMPT_COMMAND-}"
  printf "\\036%s\\036" "$_ended"
done
"""
_END = "\x1e"
_STAYS = ("pmcred sandbox", "pmcredd", "pmcred watch")
_LISTENS = ("nc -U $",)
_QUESTION = (": ", "] ")
# What a page shows of a command that fails.
_FAILED = ("pmcred: ", "pmcredd: ", "Job for ", "http: error: ", "Traceback ", "  problem  ")
_PATIENCE = 120.0  # seconds; only a test that fails waits so long
_LINES, _COLUMNS = 50, 120

needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "nc"))),
    reason="needs bash, curl and nc: apt install curl netcat-openbsd",
)


class Machine(Protocol):
    """A machine of its own, with its user: `home` is the home directory as it is seen from here."""

    @property
    def home(self) -> Path: ...

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> list[str]:
        """Give the command that runs a command there, with `more` in its environment."""


class Terminal(PseudoTerminal):
    """A terminal with a shell that stays from one command to the next; all that runs there ends with the block."""

    def __init__(
        self, place: Path, cwd: Path | str, environ: Mapping[str, str], machine: Machine | None = None
    ) -> None:
        place.mkdir()
        self._place, self._commands = place, 0
        self._pipe = place / "commands"
        os.mkfifo(self._pipe)
        more = {"COLUMNS": str(_COLUMNS), "LINES": str(_LINES), "TERM": "xterm"}
        shell = ["/bin/bash", "-c", _SHELL, "bash", str(self._pipe)]
        if machine is not None:
            program, *words = machine.command(*shell, more={**environ, **more})
            super().__init__([shutil.which(program) or program, *words], os.environ)
        else:
            super().__init__(shell, {**environ, **more})
        self.start(f"cd {cwd}")
        self.finish(0)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self._session():
            with contextlib.suppress(ProcessLookupError):
                self._end(pid)
        super().__exit__(kind, value, trace)

    def start(self, command: str) -> int:
        """Give a command to the shell; gives where on the screen its output begins."""
        self.drain()
        begun = len(self.screen)
        self._commands += 1
        file = self._place / f"{self._commands}.sh"
        file.write_text(command + "\n")
        with self._pipe.open("w") as pipe:
            pipe.write(f"{file}\n")
        return begun

    def finish(
        self, begun: int, shown: Sequence[str] = (), answers: Mapping[str, str] | None = None
    ) -> tuple[str, int]:
        """Answer what is asked as the page shows it, until the command ends; gives its output and its exit status."""
        deadline = time.monotonic() + _PATIENCE
        left, asked = list(shown), -1
        while self.screen.count(_END, begun) < 2:
            assert self._read(deadline), f"the shell has ended:\n{self.screen[begun:]}"
            question = self.screen[begun:].rpartition("\n")[2]
            if question.endswith(_QUESTION) and asked < (asked := len(self.screen)):
                answer = _answer(question.strip(), left, answers or {})
                self.type(answer)
        output, status, after = self.screen[begun:].split(_END, 2)
        return output + after, int(status)

    def wait_until_shown(self, begun: int, shown: Sequence[str]) -> None:
        """Wait until the screen shows what the page does; the command goes on."""
        deadline = time.monotonic() + _PATIENCE
        while not is_shown(shown, self.screen[begun:], begins=True):
            assert _END not in self.screen[begun:], f"it has ended:\n{self.screen[begun:]}"
            assert self._read(deadline)

    def interrupt(self) -> None:
        """End what runs."""
        for pid in self._session()[1:]:
            self._end(pid)

    def drain(self) -> None:
        """Read what is there, so that nobody has to wait for a reader."""
        while select.select([self._master], [], [], 0)[0]:
            if not self._read(time.monotonic() + _PATIENCE):
                break

    def _end(self, pid: int) -> None:
        descriptor = os.pidfd_open(pid)
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            while not ended.poll(50):
                self.drain()  # it may have a last word
        finally:
            os.close(descriptor)

    def _session(self) -> list[int]:
        """Give the processes that were started here, the shell first."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = status.read_text().rpartition(")")[2].split()  # proc_pid_stat(5)
                if int(fields[3]) == self._process.pid and fields[0] != "Z":
                    found.append(int(status.parent.name))
        return sorted(found)


class Reader:
    """Somebody with a page before them: `replace` maps what the page says to what it is here.

    `home` is where a page's `~` is and where they begin, unless `cwd` is another directory. `knows` maps questions that
    a page leaves to its reader to their answers.
    """

    def __init__(
        self,
        place: Path,
        home: Path,
        environ: Mapping[str, str],
        replace: Mapping[str, str],
        *,
        cwd: Path | None = None,
        machine: Machine | None = None,
        knows: Mapping[str, str] | None = None,
    ) -> None:
        self._place, self._environ, self._replace, self._machine = place, environ, replace, machine
        self._home, self._cwd, self._knows = home, cwd or home, knows or {}
        self._terminals: list[Terminal] = []
        self._stack = ExitStack()
        place.mkdir()

    def __enter__(self) -> Self:
        self.here = self._terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self, block: Block, before: Callable[[str], None] = lambda _: None) -> None:
        """Do what a block says, and compare what comes with what it shows; `before` is told each command first."""
        if block.save_as:
            self.save(block.save_as, block.text)
        steps = list(block.steps)
        stays = bool(steps) and steps[-1].command.startswith(_STAYS) and not steps[-1].command.endswith("&")
        terminal = self._terminal() if stays else self.here
        for step in steps[:-1] if stays else steps:
            before(step.command)
            self._take(terminal, step, block.answers)
        if stays:
            before(steps[-1].command)
            shown = [self._here(line) for line in steps[-1].shown]
            terminal.wait_until_shown(terminal.start(self._here(steps[-1].command)), shown)

    def save(self, name: str, text: str) -> None:
        """Save a file as the page says; what begins with `#!` can be run."""
        path = self._cwd / Path(name.replace("~", str(self._home), 1) if name.startswith("~/") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text) + "\n")
        if text.startswith("#!"):
            path.chmod(0o755)

    def _take(self, terminal: Terminal, step: Step, answers: Mapping[str, str]) -> None:
        for each in self._terminals:
            each.drain()
        shown = [self._here(line) for line in step.shown]
        if step.command.startswith(_LISTENS):
            self._converse(terminal, step)
            return
        typed = {name: self._here(value) for name, value in {**self._knows, **answers}.items()}
        output, status = terminal.finish(terminal.start(self._here(step.command)), shown, typed)
        told = self._there(plain(output))
        may_fail = any(line.startswith(_FAILED) for line in step.shown)
        assert status == 0 or may_fail, f"line {step.line}: {step.command}\nended with {status}:\n{told}"
        assert not step.shown or is_shown(step.shown, told), (
            f"line {step.line}: {step.command}\nshows:\n" + "\n".join(step.shown) + f"\n\nbut here came:\n{told}"
        )

    def _converse(self, terminal: Terminal, step: Step) -> None:
        """Type into a command that goes on what the page shows at first, and below each empty line."""
        begun = terminal.start(self._here(step.command))
        typed = True
        for number, line in enumerate(step.shown):
            if typed:
                terminal.type(self._here(line))
            typed = not line
            terminal.wait_until_shown(begun, [self._here(each) for each in step.shown[: number + 1]])
        terminal.interrupt()
        terminal.finish(begun)

    def _terminal(self) -> Terminal:
        place = self._place / f"terminal{len(self._terminals)}"
        cwd = self._cwd if self._machine is None else "~"
        terminal = self._stack.enter_context(Terminal(place, cwd, self._environ, self._machine))
        self._terminals.append(terminal)
        return terminal

    def _here(self, text: str) -> str:
        for theirs, ours in self._replace.items():
            text = text.replace(theirs, ours)
        return text

    def _there(self, text: str) -> str:
        for theirs, ours in self._replace.items():
            text = text.replace(ours, theirs)
        return text


def _answer(question: str, shown: list[str], answers: Mapping[str, str]) -> str:
    """Give what the page says to type; what is shown up to there is done with."""
    if question in answers:
        return answers[question]
    while shown:
        line = shown.pop(0).strip()
        if line.startswith(question):
            name = question.removesuffix(" (not shown):")
            return answers[name] if name != question else line.removeprefix(question).strip()
    raise AssertionError(f"the page does not say that it asks: {question}")
