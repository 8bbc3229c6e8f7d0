"""Runs programs of the user's choice: each a session of its own, without our terminal, that is killed whole."""

import contextlib
import errno
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from functools import partial

import trio

CLOSING_SECONDS = 1.0  # how long what is over may take to be gone


async def start(
    argv: tuple[str, ...], env: Mapping[str, str], *, stdin: int = subprocess.DEVNULL, output: int = subprocess.PIPE
) -> trio.Process:
    """Start a program in the home directory that `env` names; whoever starts one calls `end`, whatever happens.

    `stdin` and `output` (for stdout and stderr) are DEVNULL or PIPE of subprocess. Raises OSError where it cannot be
    started; `not_started` puts that into words.
    """
    begin = partial(
        trio.lowlevel.open_process,
        argv,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,  # its own process group, without our terminal: it can be killed whole
        env=env,
    )
    home = env.get("HOME") or "/"
    try:
        return await begin(cwd=home)
    except OSError as error:
        if error.filename != home:
            raise
    return await begin(cwd="/")  # a user without a usable home directory


def has_exited(pid: int) -> bool:
    """Tell whether a child that was not reaped has ended."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def end(process: trio.Process, *, reaped: bool) -> None:
    """Kill the whole process group unless the program was `reaped`, and close the pipes; also when we are cancelled.

    Once it is reaped its process group may be somebody else's: what it left behind stays.
    """
    with trio.move_on_after(CLOSING_SECONDS) as scope:
        scope.shield = True
        if not reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: it became another user
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with trio.CancelScope(shield=True):
                await stream.aclose()


def not_started(what: str, program: str, error: OSError, env: Mapping[str, str], *, otherwise: str) -> tuple[str, str]:
    """Say why a program could not be started, and what to do about it.

    Args:
        what: the program, and what it is for.
        program: the first word of its command, as it is written in the profiles.
        error: what `start` raised.
        env: as it was started with.
        otherwise: what to do about anything else.
    """
    match error:
        case FileNotFoundError() if "/" in program:
            return f"{what} is not there, or the interpreter in its first line is not", f"ls -l {shlex.quote(program)}"
        case FileNotFoundError():
            where = env.get("PATH", os.defpath)
            return f"{what} is not on PATH, which is {where}", "install it, or write its whole path"
        case PermissionError():
            return f"{what} may not be run by us", f"chmod u+x {shlex.quote(program)}"
        case OSError(errno=errno.ENOEXEC):
            return f"{what} is no program", "give the script a first line such as #!/bin/sh"
        case _:
            return f"{what} cannot be started: {error.strerror}", otherwise
