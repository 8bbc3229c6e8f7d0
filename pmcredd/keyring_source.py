"""The keyring: a program that prints one secret of it, and what that program's end means to people.

It runs as a process of its own, because nothing else can be ended: a locked keyring asks a person, who may not be
there, and the D-Bus call then waits without a limit, for ever if the keyring's own process dies meanwhile. Besides,
the package keyring looks for its backend once in a process's life, when the desktop may not be up yet; it takes 9 MB;
and it loads whatever backend is installed, which has no business in the process that holds everybody's tokens.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from shlex import join, quote

from pmcredd.profiles import KeyringSecret

_BUS = "DBUS_SESSION_BUS_ADDRESS"


class Outcome(IntEnum):
    """How the program ends."""

    FOUND = 0
    FAILED = 1  # also Python's own, for what nobody has foreseen
    NOT_INSTALLED = 10
    NO_BUS = 11
    NO_KEYRING = 12
    LOCKED = 13
    NOT_OPENED = 14
    ABSENT = 15
    SLOW = 16  # never an exit status: it was killed


OF_THE_WHOLE = frozenset(Outcome) - {Outcome.FOUND, Outcome.FAILED, Outcome.ABSENT}
"""What is so for every entry of the keyring."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no secret: the program's end, and what it said last."""

    outcome: Outcome
    told: str


def command(source: KeyringSecret) -> tuple[str, ...]:
    """Give the program that prints this secret, and nothing else, to its standard output."""
    return (sys.executable, "-P", "-m", "pmcredd.keyring_source", source.service, source.username)


def outcome_of(status: int | None) -> Outcome:
    """Say what an exit status means; None says that the program was killed at its time limit."""
    if status is None:
        return Outcome.SLOW
    return Outcome(status) if status in set(Outcome) else Outcome.FAILED


def explain(failure: Failure, source: KeyringSecret, environ: Mapping[str, str]) -> tuple[str, str]:
    """Say why there is no secret, and what mends it."""
    return _sentence(failure, source), _mend(failure.outcome, source, environ)


def _sentence(failure: Failure, source: KeyringSecret) -> str:
    entry = join((source.service, source.username))
    because = failure.told and f": {failure.told}"
    match failure.outcome:
        case Outcome.NOT_INSTALLED:
            return f"the keyring cannot be asked for its entry {entry}: the Python package keyring is not installed"
        case Outcome.NO_BUS:
            return f"there is no keyring to ask for the entry {entry}: pmcredd was started without a session bus"
        case Outcome.NO_KEYRING:
            return f"there is no keyring to ask for the entry {entry}: no program on the session bus keeps one"
        case Outcome.LOCKED:
            return f"the keyring is locked, and nobody has unlocked it for its entry {entry}"
        case Outcome.NOT_OPENED:
            return f"the keyring cannot be opened for its entry {entry}{because}"
        case Outcome.SLOW:
            waits = "it may wait for somebody to unlock it"
            return f"the keyring did not give its entry {entry} within the time limit of {source.timeout:g} s: {waits}"
        case Outcome.ABSENT:
            which = failure.told and f" ({failure.told})"
            return f"the keyring{which} has no entry {entry}"
        case _:
            return f"the keyring failed to give its entry {entry}{because}"


def _mend(outcome: Outcome, source: KeyringSecret, environ: Mapping[str, str]) -> str:
    by_hand = _keyring_command(environ)
    entry = join((source.service, source.username))
    match outcome:
        case Outcome.NOT_INSTALLED:
            return "pip install 'pmcredd[keyring]', or with pipx: pipx inject pmcredd keyring"
        case Outcome.NO_BUS:
            return "start it in your desktop session, or: pmcred service install"
        case Outcome.NO_KEYRING:
            return "install gnome-keyring, KWallet or KeePassXC and log in anew, or keep the secret in a file"
        case Outcome.LOCKED | Outcome.NOT_OPENED | Outcome.SLOW:
            headless = 'read -rs p; printf %s "$p" | gnome-keyring-daemon --replace --unlock'
            return f"{by_hand} get {entry} >/dev/null (in your desktop session; without a desktop: {headless})"
        case Outcome.ABSENT:
            return f"{by_hand} set {entry}"
        case _:
            return f"see by hand what happens: {by_hand} get {entry} >/dev/null"


def _keyring_command(environ: Mapping[str, str]) -> str:
    # pipx and a virtual environment that is not active have the command, but not on PATH.
    import shutil  # here: only a mistake needs it

    found = shutil.which("keyring", path=environ.get("PATH"))
    return "keyring" if found else f"{quote(sys.executable)} -m keyring"


# The program


def main(service: str, username: str) -> Outcome:
    """Print the secret to standard output, or the reason, as far as there is more to say, to standard error."""
    from pmcredd.process import harden  # here, as keyring below: what imports this module does not need it

    harden()  # the daemon's own hardening ended with exec
    _find_session_bus()
    with open(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what a backend prints is no secret
        try:
            import keyring
            from keyring import errors
        except ModuleNotFoundError as error:
            return Outcome.NOT_INSTALLED if error.name == "keyring" else _failed(error)
        try:
            secret = keyring.get_password(service, username)
        except errors.NoKeyringError:
            return Outcome.NO_KEYRING if _BUS in os.environ else Outcome.NO_BUS
        except errors.KeyringLocked:
            return Outcome.LOCKED
        except errors.InitError as error:
            _tell(str(error))
            return Outcome.NOT_OPENED
        except Exception as error:  # noqa: BLE001 - backends raise what they like
            return _failed(error)
        if secret is None:
            _tell(keyring.get_keyring().name)
            return Outcome.ABSENT
        output.write(secret.encode("utf-8", "surrogatepass"))
    return Outcome.FOUND


def _find_session_bus() -> None:
    """Do as systemd and GLib do where nobody has named the bus, such as after a login by ssh; jeepney does not."""
    usual = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/bus"
    if _BUS not in os.environ and os.path.exists(usual):
        os.environ[_BUS] = f"unix:path={usual}"


def _failed(error: Exception) -> Outcome:
    # What decodes a secret quotes it.
    _tell(type(error).__name__ if isinstance(error, UnicodeError) else f"{type(error).__name__}: {error}")
    return Outcome.FAILED


def _tell(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
