"""How the commands ask: a line, a secret, yes or no, a choice; on stderr, for stdout belongs to results."""

import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import say
from pmcredd.profiles import secret_flaw
from pmcredd.secret import Secret


def interactive() -> bool:
    """Tell whether somebody is there to answer questions."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@dataclass(frozen=True, slots=True)
class Respondent:
    """Who answers: a `person`, or nobody but the flags; `yes` takes each default without asking."""

    person: bool
    yes: bool

    def answer(self, flag: str, question: str, *, default: str = "") -> str:
        """Ask, or take the default.

        Raises:
            Problem: nobody is there, and there is no default; `flag` is what could have answered.

        """
        if default and (self.yes or not self.person):
            return default
        if not self.person:
            raise need_answer(flag)
        return ask(question, default=default)


def ask(question: str, *, default: str = "") -> str:
    """Ask until there is an answer; an empty one takes `default`.

    Raises EOFError where the input ends.
    """
    while True:
        answer = _line(f"{question} [{default}]: " if default else f"{question}: ") or default
        if answer:
            return answer


def ask_secret(question: str) -> Secret:
    """Ask for a secret without showing what is typed; asks again for one that cannot be right.

    Raises EOFError where the input ends.
    """
    while True:
        typed = getpass.getpass(f"{question} (not shown): ")
        flaw = secret_flaw(typed)
        if flaw is None:
            return Secret(typed)
        say(f"  What was typed {flaw}.")


def confirm(question: str, *, default: bool) -> bool:
    """Ask for yes or no; an empty answer is `default`. Raises EOFError where the input ends."""
    while True:
        answer = _line(f"{question} [{'Y/n' if default else 'y/N'}] ").lower()
        if not answer:
            return default
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no"):
            return False


def choose(question: str, options: Sequence[tuple[str, str]], *, default: str) -> str:
    """Let a person choose one of (word, explanation) by its number, its word or the word's beginning."""
    width = max(len(word) for word, _ in options)
    for number, (word, explanation) in enumerate(options, 1):
        say(f"  {number}  {word:<{width}}  {explanation}".rstrip(), hang=len(f"{number}  ") + width + 2)
    words = [word for word, _ in options]
    while True:
        answer = ask(question, default=default)
        if answer.isdecimal() and 1 <= int(answer) <= len(words):
            return words[int(answer) - 1]
        if answer in words:
            return answer
        if len(near := [word for word in words if word.startswith(answer)]) == 1:
            return near[0]
        say(f"  Answer with a number from 1 to {len(words)}, or with the word.")


def need_answer(flag: str) -> Problem:
    """Give the usage error for a question that nobody is there to answer."""
    return Problem(f"there is no terminal to ask on: give {flag}", exit_status=2)


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        say()  # what is told next begins a line
        raise EOFError
    return line.strip()
