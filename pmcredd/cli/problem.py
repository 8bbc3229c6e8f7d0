"""What a person is told when a verb cannot do its work; `main` prints it, nobody else."""

import re
from collections.abc import Iterable


class Problem(Exception):
    """A verb failed for a reason that its user can understand and mend.

    `message` may have several lines, `hint` is a command or an act (or empty), `exit_status` is the process's:
    1 error, 2 usage, 3 no such profile, 4 needs login, 5 unreachable or waiting, 6 misconfigured, 69 no daemon.
    """

    def __init__(self, message: str, hint: str = "", *, exit_status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_status = exit_status


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give the known word that looks most like `word`, or an empty string."""
    from difflib import get_close_matches  # here: only a mistake pays for it

    return next(iter(get_close_matches(word, list(known), n=1)), "")


def no_such_profile(name: str, known: Iterable[str]) -> Problem:
    """Give the error for a name that no profile has."""
    near = did_you_mean(name, known)
    hint = f"did you mean {near}?" if near else "pmcred profile list"
    return Problem(f"there is no profile {name}", hint, exit_status=3)


def for_a_draft(mend: str, name: str) -> str:
    """Take the advice to edit a profile out of a text: this one is not written yet."""
    return re.sub(rf"(?:: *|; *|^)`?pmcred profile edit {re.escape(name)}`?(?![A-Za-z0-9._-])", "", mend)


def from_os_error(attempt: str, error: OSError) -> Problem:
    """Give the error for what the operating system refused; `attempt` reads like "write /path"."""
    return Problem(f"cannot {attempt}: {error.strerror or error}")
