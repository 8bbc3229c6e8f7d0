"""Runs one command of `on_event`: what it is told, what it may see, how long it may take. Nothing waits for it here."""

import contextlib
import json
import subprocess
from collections.abc import Collection, Mapping

import trio

from pmcredd import programs, telling
from pmcredd.life import Problem
from pmcredd.profiles import EventCommand, EventName
from pmcredd.telling import Status

# What a program needs to find its files and the desktop, and nothing that could hold a secret.
_HANDED_ON = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TZ",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
    }
)
_HANDED_ON_PREFIXES = ("LC_", "XDG_")
_TIMES = ("expires_at", "good_until", "renew_at")
_RENEWED = Problem("there is a new token")
_BY_HAND = "run it by hand in a terminal"


def message(event: EventName, status: Status) -> Problem:
    """Say in a sentence what has happened, and what to do about it."""
    troubles = {
        EventName.RENEWED: _RENEWED,
        EventName.EXPIRING: status.warning,
        EventName.NEEDS_LOGIN: status.life.problem,
        EventName.FAILING: status.life.problem or status.life.save_problem,
    }
    return troubles[event] or Problem(f"the profile is {status.state.value}", f"pmcred status {status.profile.name}")


def told(event: EventName, status: Status, *, token: bool) -> bytes:
    """Give what a command reads from its input: a line of JSON, with the access token only if it may have it."""
    said = message(event, status)
    given: dict[str, str | int] = {"event": event.value, "message": said.sentence, **telling.fields(status)}
    given.update({key: int(given[key]) for key in _TIMES if key in given})
    given.pop("hint", None)
    if said.mend:
        given["hint"] = said.mend
    if token and status.token is not None:
        given["access_token"] = status.token.reveal()
    return json.dumps(given).encode() + b"\n"


def environment(
    event: EventName, status: Status, environ: Mapping[str, str], *, withhold: Collection[str], socket: str
) -> dict[str, str]:
    """Give a command its environment.

    Args:
        event: what it runs for.
        status: how the profile is.
        environ: the daemon's own.
        withhold: names of variables that hold secrets of any profile, whatever they are called.
        socket: where this daemon listens, so that `pmcred` in a command asks no other.
    """
    said = message(event, status)
    kept = {
        name: value
        for name, value in environ.items()
        if (name in _HANDED_ON or name.startswith(_HANDED_ON_PREFIXES)) and name not in withhold
    }
    return {
        **kept,
        "PMCRED_SOCKET": socket,
        "PMCRED_EVENT": event.value,
        "PMCRED_PROFILE": status.profile.name,
        "PMCRED_MESSAGE": _harmless(said.sentence),
        "PMCRED_HINT": _harmless(said.mend),
    }


async def run(command: EventCommand, given: bytes, env: Mapping[str, str], limit: trio.CancelScope) -> Problem | None:
    """Run a command until it ends, or until `limit` is over: then it is killed with all that it started.

    Gives what went wrong, or None. `limit` is not entered yet; its deadline may be brought forward meanwhile.
    """
    program = command.argv[0]
    try:
        process = await programs.start(command.argv, env, stdin=subprocess.PIPE, output=subprocess.DEVNULL)
    except OSError as error:
        return Problem(*programs.not_started("it", program, error, env, otherwise=_BY_HAND))
    reaped = False
    try:
        with limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, process, given)
                await process.wait()
                reaped = True
                nursery.cancel_scope.cancel()  # it has ended without reading all of it
    finally:
        await programs.end(process, reaped=reaped)
    if not reaped:
        return Problem("it did not end in time and was killed", f"{_BY_HAND}, or let it put its work in the background")
    status = process.returncode or 0
    if status == 0:
        return None
    how = f"failed with exit status {status}" if status > 0 else f"was killed by signal {-status}"
    return Problem(f"it {how}", _BY_HAND)


async def _tell(process: trio.Process, given: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
    with contextlib.suppress(trio.BrokenResourceError):  # it does not want to know
        await process.stdin.send_all(given)
    await process.stdin.aclose()


def _harmless(text: str) -> str:
    """Make a text fit for the environment, which knows neither NUL nor half a character."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode()
