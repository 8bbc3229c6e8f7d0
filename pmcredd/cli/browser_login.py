"""A login in a browser, as its terminal sees it: the URL, the wait, the address that is pasted, one question."""

import argparse
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

from pmcredd.cli import ask, browser, questions
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import clean, say

Block = dict[str, str]

_LONGEST_LINE = 65536  # bytes of a pasted address
_CLEAR = "\r\x1b[K"


def follow(args: argparse.Namespace, begun: Block, blocks: Iterator[Block]) -> Block:
    """Lead a person through a login that has begun; gives its last block (`done` or `failed`), or {} if none came.

    Raises:
        Problem: the daemon cannot be asked any more.
    """
    login = _Login(args, begun, blocks)
    login.invite()
    try:
        return login.wait()
    except KeyboardInterrupt:
        login.line("")
        say("Cancelled: nobody was logged in, and nothing has changed.")
        raise


class _Login:
    def __init__(self, args: argparse.Namespace, begun: Block, blocks: Iterator[Block]) -> None:
        self._args = args
        self._profile = begun["profile"]
        self._id = begun.get("login", "")
        self._url = begun["authorize_url"]
        self._redirect_uri = begun.get("redirect_uri", "")
        self._ends = int(begun.get("expires_at", "0"))
        self._terminal = sys.stderr.isatty()
        self._typed = b""
        self._listens = sys.stdin is not None
        self._tick = 1  # seconds between two looks at the clock: what is typed stands in its line
        self._events: SimpleQueue[Block | BaseException] = SimpleQueue()
        # One thread reads what the daemon says, so that this one can watch the keyboard and the clock.
        self._bell, self._ring = os.pipe()
        threading.Thread(target=self._pump, args=(blocks,), daemon=True).start()

    def _pump(self, blocks: Iterator[Block]) -> None:
        try:
            for block in blocks:
                self._tell(block)
            self._tell({})
        except Exception as error:  # noqa: BLE001 - it is raised where the person waits
            self._tell(error)

    def _tell(self, event: Block | BaseException) -> None:
        self._events.put(event)
        os.write(self._ring, b".")

    def invite(self) -> None:
        """Show where to log in, and open the browser if there is one."""
        opened = not self._args.no_browser and browser.at_hand(os.environ) and browser.open_page(self._url, os.environ)
        if opened:
            say(f"Your browser opens this page to log in to {clean(self._profile)}:")
        else:
            say(f"Open this page in a browser, on any machine, and log in to {clean(self._profile)}:")
        print(f"\n{clean(self._url)}\n", file=sys.stderr)  # whole, whatever the terminal's width: it will be copied
        if opened:
            self._listens = self._listens and sys.stdin.isatty()  # what is piped in may be meant for somebody else
            return
        self._tick = 60
        say(
            f"The browser ends on an address that begins with {clean(self._redirect_uri)}. On another machine it says "
            "that it cannot open it, and that is as it should be: copy the whole address, paste it here, and press "
            "Enter."
        )

    def wait(self) -> Block:
        """Wait for the end, and pass on what is pasted meanwhile."""
        while True:
            self._count_down()
            for descriptor in self._ready():
                if descriptor == self._bell:
                    os.read(self._bell, 1)
                    event = self._events.get()
                    if isinstance(event, BaseException):
                        self.line("")
                        raise event
                    if event.get("event") != "other-user":
                        self.line("")
                        return event
                    self._choose(event)
                else:
                    self._hear()

    def _ready(self) -> list[int]:
        watched = select.poll()
        watched.register(self._bell, select.POLLIN)
        if self._listens:
            watched.register(sys.stdin.fileno(), select.POLLIN)
        return [descriptor for descriptor, _ in watched.poll(self._tick * 1000 if self._terminal else None)]

    def _count_down(self) -> None:
        if not self._terminal:
            return
        left = max(0, self._ends - int(time.time()))
        self.line(f"Waiting for the login: {left // 60}:{left % 60:02} left. Ctrl-C cancels. ")

    def line(self, text: str) -> None:
        """Show this in place of the last line."""
        if self._terminal:
            sys.stderr.write(_CLEAR + text)
            sys.stderr.flush()

    def _hear(self) -> None:
        data = os.read(sys.stdin.fileno(), _LONGEST_LINE)
        self._listens = bool(data)
        *lines, self._typed = (self._typed + data).split(b"\n")
        if not data and self._typed:  # the input ended without a newline
            lines, self._typed = [self._typed], b""
        for typed in lines:
            if address := typed.decode("utf-8", "replace").strip():
                self._paste(address)

    def _paste(self, address: str) -> None:
        try:
            ask.ask(self._args, "login", self._profile, {"login": self._id, "answer": address})
        except ask.NoDaemon:
            raise
        except Problem as problem:
            say(f"That was not it: {clean(problem.message)}.")

    def _choose(self, event: Block) -> None:
        self.line("")
        new, before = _user(event, "user"), _user(event, "before")
        say(f"The browser has logged in {new}. Last time it was {before}.")
        yes = False
        if questions.interactive():
            yes = questions.confirm(f"Shall {clean(self._profile)} be {new} from now on?", default=False)
        choice = {"login": self._id, "as_new_user": "yes" if yes else "no"}
        ask.ask(self._args, "login", self._profile, choice)


def _user(event: Block, key: str) -> str:
    number, name = clean(event.get(key, "?")), clean(event.get(f"{key}_name", ""))
    return f"{name} (user {number})" if name else f"user {number}"
