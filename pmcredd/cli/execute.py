"""`pmcred exec` and `pmcred env`: an instance and its token in the environment of a command, or of a shell.

`exec` becomes the command (execve), and does not stay beside it as its parent: so its exit status, its signals, Ctrl-Z
and `fg`, its process id for a service manager, even `kill -9` are the command's own, exactly and for free. What a
parent would be needed for, to hold the token for as long as the command runs, a process beside it does (lease.py).
"""

import argparse
import errno
import fcntl
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pmcredd import environment
from pmcredd.cli import use
from pmcredd.cli.problem import Problem, from_os_error
from pmcredd.cli.terminal import clean, say
from pmcredd.client import AccessToken, PmcredError
from pmcredd.environment import Shell

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_USAGE, _CANNOT_RUN, _NOT_FOUND = 2, 126, 127  # exit statuses; the last two are those of env(1)
_STDERR = 2
_NAMED_VARIABLE = re.compile(r"""\benv["']?\s*=\s*["']([^"'\n]+)["']""")  # how a profile names one
_NOT_HERE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT}  # execvp(3): go on
_MFD_NOEXEC_SEAL = 8  # memfd_create(2), since Linux 6.3
_EXPOSED = (
    "A variable is seen by every process that the command starts, by other processes of yours (/proc/PID/environ, "
    "`ps e`), and by what writes environments down: crash reports, `docker inspect`, sudo's log, printenv in a CI job."
)


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command line."""
    execute = subparsers.add_parser(
        "exec",
        usage="pmcred exec [NAME] [options] -- COMMAND [ARGUMENT ...]",
        description=f"Run a command with {environment.URL} and {environment.TOKEN} in its environment. No renewal "
        "replaces the token while the command runs, as far as that can be promised: until "
        f"{environment.GOOD_UNTIL} (unix time), where that is told.",
        epilog=f"exit status: the command's; {_NOT_FOUND} if it is not found, {_CANNOT_RUN} if it cannot be run; "
        f"without a token as everywhere. {_EXPOSED} --fd keeps the token out of there; so does, for curl, "
        "-H @<(pmcred header NAME).",
    )
    use.add_target(execute, _exec)
    execute.add_argument("command", metavar="-- COMMAND", nargs="*", help="what to run, with its arguments")
    execute.set_defaults(ending=" -- COMMAND")
    _add_script_task(execute)
    execute.add_argument(
        "--fd",
        action="store_true",
        help=f"hand the token over in an open file, not in the environment; {environment.TOKEN_FD} has its number",
    )
    execute.parse_known_args = partial(_cut, execute.parse_known_args)  # type: ignore[method-assign, assignment]
    env = subparsers.add_parser(
        "env",
        description="Print the variables that `pmcred exec` sets, as commands for a shell: "
        'eval "$(pmcred env NAME)", in .envrc for direnv too; in fish: pmcred env NAME --shell fish | source. '
        "Nothing is printed where there is no token.",
        epilog=f"{_EXPOSED} And a token in a shell grows old: after {environment.GOOD_UNTIL} it may be replaced. "
        "`pmcred exec` holds it for one command and `pmcred exec --fd` keeps it out of the environment; "
        "for curl: -H @<(pmcred header NAME).",
    )
    use.add_target(env, _env)
    _add_script_task(env)
    env.add_argument("--shell", choices=[*map(str, Shell)], default="sh", help="whose commands (default: sh)")
    env.add_argument("--unset", action="store_true", help="print the commands that take the variables away")


def _add_script_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--script-task",
        action="store_true",
        help=f"also set what ProcessMaker 4 gives its script tasks: {', '.join(environment.SCRIPT_TASK)}",
    )


def _cut(
    parse: Callable[..., tuple[argparse.Namespace, list[str]]],
    args: Sequence[str],
    namespace: argparse.Namespace | None = None,
) -> tuple[argparse.Namespace, list[str]]:
    """Parse what stands before the first --; all behind it is the command, and none of our business."""
    words = list(args)
    end = words.index("--") if "--" in words else len(words)
    found, unknown = parse(words[:end], namespace)
    astray = [*found.command, *(word for word in unknown if not word.startswith("-"))]
    if astray and end == len(words):
        meant = " ".join(map(clean, (found.name, "--", *astray)))
        raise Problem("-- says where the command begins", f"pmcred exec {meant}", exit_status=_USAGE)
    unknown = [*found.command, *unknown]
    found.command = words[end + 1 :]
    return found, unknown


# --- exec -------------------------------------------------------------------------------------------------------------


def _exec(args: argparse.Namespace) -> NoReturn:
    if not args.command:
        raise Problem("no command is named", "pmcred exec NAME -- COMMAND", exit_status=_USAGE)
    if args.fd and args.script_task:
        raise Problem(
            "--fd keeps the token out of the environment, and --script-task puts it there",
            "use one of them: scripts made for ProcessMaker read API_TOKEN from the environment",
            exit_status=_USAGE,
        )
    program = args.command[0]
    if not _is_there(program):
        raise _cannot_run(program, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    environ = environment.of_command(_given(), _withheld())
    token = use.token(args, _in_a_process_of_its_own)
    if args.script_task:
        _check_generation(token)
    token, good_until = _hold(args, token, environ)
    if args.fd:
        try:
            told = environment.told_by_descriptor(token.url, _open_file(token), good_until)
        except OSError as error:
            raise from_os_error("make a file in memory for the token", error) from None
    else:
        told = environment.told(token.url, token.access_token, good_until)
    if args.script_task:
        told |= environment.script_task(token.url, token.access_token)
    # So that `pmcred get` and `pmcred reject`, run by the command, mean this profile and this daemon.
    told["PMCRED_PROFILE"] = token.profile
    if args.socket:
        told["PMCRED_SOCKET"] = os.path.abspath(args.socket)
    _become(args.command, environ | told)


def _withheld() -> set[str]:
    """Name the variables with passwords and the like: the command gets a token, not what can get any number of them."""
    from pmcredd.cli import validate
    from pmcredd.profiles import secret_variables

    checker = validate.Checker.of(os.environ)
    found = set(secret_variables(checker.sound().profiles.values()))
    if checker.mistakes():  # a typing error does not make a secret of one less
        found.update(name for file in checker.files for name in _NAMED_VARIABLE.findall(file.text))
    return found


def _given() -> dict[str, str]:
    """Give the environment as it was given to us: in the C locale, Python adds a variable to its own (PEP 538)."""
    environ = dict(os.environ)
    with suppress(OSError):  # a container without /proc
        if b"\0LC_CTYPE=" not in b"\0" + Path("/proc/self/environ").read_bytes():
            environ.pop("LC_CTYPE", None)
    return environ


def _is_there(program: str) -> bool:
    """Say whether there is such a file, or something in the way: if not, no token is asked for."""
    missing = (errno.ENOENT,) if "/" in program else (errno.ENOENT, errno.ENOTDIR)
    for file in _files(program):
        try:
            os.lstat(file)
        except OSError as error:
            if error.errno in missing:
                continue
        return True
    return False


def _files(program: str) -> list[str]:
    """Give the files that a program's name may mean, best first."""
    if "/" in program:
        return [program]
    return [os.path.join(place, program) for place in os.get_exec_path()] if program else []


def _hold(args: argparse.Namespace, token: AccessToken, environ: Mapping[str, str]) -> tuple[AccessToken, int | None]:
    """Hold the token for as long as the command runs; gives the one to use, and until when it is good."""
    if token.good_until is None or token.good_until == token.expires_at:
        return token, token.good_until  # no renewal kills it
    from pmcredd import lease

    socket_path = Path(args.socket) if args.socket else None
    try:
        held = lease.prolong(token, socket_path)
    except PmcredError as error:
        if args.verbose:
            say(f"pmcred: no more is promised than a short lease: {clean(error.message)}")
        return token, token.good_until
    if held.until is not None and lease.hold_beside(held.token, environ, socket_path):
        return held.token, held.until
    if held.token.access_token == token.access_token:  # --for may have got the longer promise
        return token, max(token.good_until, held.token.good_until or 0)
    return held.token, held.token.good_until


def _open_file(token: AccessToken) -> int:
    """Put the token into a file in memory that the command inherits, and give its number.

    Not into a pipe: what has been read from one is gone, so a second reader (a worker, a retry, a library that wants
    /dev/fd/N by name) would find an empty token. The file holds the token and no newline, cannot be changed, and is
    gone with the last process that has it open.
    """
    try:
        descriptor = os.memfd_create("pmcred", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
    except OSError:  # an older kernel
        descriptor = os.memfd_create("pmcred", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.fchmod(descriptor, 0o400)
    os.write(descriptor, token.access_token.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    sealed = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, sealed)
    if descriptor > _STDERR:
        fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
        return descriptor
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, _STDERR + 1)  # one of the standard ones was closed


def _become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    # Python ignores these from its start on, and a program inherits that: `... -- yes | head` would not end quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C that Python only notes for later would get lost in exec
    program = command[0]
    error: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    # As execvp(3), which env(1) calls; Python's own passes over a script without its #! line, to one further on.
    for file in _files(program):
        try:
            _try(file, command, environ)
        except OSError as failed:
            if failed.errno not in _NOT_HERE:
                raise _cannot_run(program, failed) from None
            error = failed if error.errno != errno.EACCES else error
    raise _cannot_run(program, error)


def _try(file: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
    try:
        os.execve(file, list(command), environ)  # noqa: S606 - to become it is what we are here for
    except OSError as failed:
        if failed.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["sh", file, *command[1:]], environ)  # noqa: S606


def _cannot_run(program: str, error: OSError) -> Problem:
    status = _NOT_FOUND if error.errno == errno.ENOENT else _CANNOT_RUN
    return Problem(f"cannot run {clean(program)}: {error.strerror}", exit_status=status)


# --- env --------------------------------------------------------------------------------------------------------------


def _env(args: argparse.Namespace) -> int:
    shell = Shell(args.shell)
    if args.unset:
        names = environment.OURS + (environment.SCRIPT_TASK if args.script_task else ())
        print("\n".join(environment.unset_line(shell, name) for name in names))
        return 0
    token = use.token(args)
    told = environment.told(token.url, token.access_token, token.good_until)
    if args.script_task:
        _check_generation(token)
        told |= environment.script_task(token.url, token.access_token)
    lines = [environment.unset_line(shell, name) for name in environment.stale(os.environ, told)]
    lines += [environment.set_line(shell, *pair) for pair in told.items()]
    print("\n".join(lines))
    return 0


# --- what both need ---------------------------------------------------------------------------------------------------


def _check_generation(token: AccessToken) -> None:
    from pmcredd.cli import validate

    profile = validate.Checker.of(os.environ).sound().profiles.get(token.profile)
    if profile is not None and profile.generation != 4:
        raise Problem(
            f"--script-task is for ProcessMaker 4, and {token.profile} is a ProcessMaker {profile.generation}",
            f"leave it out: {environment.URL} and {environment.TOKEN} are set anyway",
            exit_status=_USAGE,
        )


def _in_a_process_of_its_own(args: argparse.Namespace, target: str) -> AccessToken:
    """Do a daemon's work in another process: what it sets (umask, limits, signals) the command must not inherit."""
    import json
    import subprocess  # here: both are for this alone

    words = ["get", "--json", "--oneshot", "--timeout", f"{args.timeout:g}"]
    words += [] if args.lasting is None else ["--for", f"{args.lasting:g}"]
    words += [] if args.refresh else ["--no-refresh"]
    words += ["--verbose"] * args.verbose + [f"--socket={args.socket}"] * bool(args.socket)
    words += ["--", target]  # $PMCRED_PROFILE may hold anything: it is no option
    main = "import sys; from pmcredd.cli import main; sys.exit(main())"
    # Where a parent left it ignored, nobody would learn how the process ended.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Not subprocess.run: after Ctrl-C it would kill what may just be spending a refresh token.
    with subprocess.Popen([sys.executable, "-P", "-c", main, *words], stdout=subprocess.PIPE, text=True) as process:
        answer, _ = process.communicate()
    signal.signal(signal.SIGCHLD, before)
    if process.returncode < 0:
        raise Problem(
            f"the process that gets a token without a daemon was ended by signal {-process.returncode}",
            "do it again",
            exit_status=128 - process.returncode,
        )
    if process.returncode != 0:
        raise SystemExit(process.returncode)  # it has told why
    fields = json.loads(answer)
    del fields["version"]
    return AccessToken(**fields)
