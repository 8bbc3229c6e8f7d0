"""The command `pmcred-cli`, which `pmcred` hands everything to that is not its fast path.

A verb's module is imported only when that verb is asked for: programs run `pmcred get` thousands of times a day.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

import pmcredd
from pmcredd.cli.problem import Problem, did_you_mean

# group -> verb -> (module, what it does); the order is the order of the help
_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "use a token": {
        "get": ("use", "print a living access token"),
        "header": ("use", "print it as an Authorization header, for curl -H @<(pmcred header NAME)"),
        "exec": ("execute", "run a command with the token in its environment: pmcred exec NAME -- COMMAND"),
        "env": ("execute", 'print the same for a shell: eval "$(pmcred env NAME)"'),
        "api": ("api", "call the instance with the token: pmcred api NAME GET /users"),
        "reject": ("reject", "tell that a server refused a token (read from stdin): get another one"),
    },
    "see what is going on": {
        "status": ("see", "show each profile's token and what ails it"),
        "doctor": ("doctor.command", "look at everything that a token needs, and say what mends what is wrong"),
        "watch": ("watch", "tell of every new token and every change, as it happens"),
        "log": ("log", "tell who asked for which token, when, and what came of it"),
    },
    "account": {
        "login": ("account", "log in, in the browser where that is how it goes; try now, whatever stopped it"),
        "logout": ("account", "forget the tokens, and revoke the access token where the server can"),
    },
    "set up": {
        "init": ("init", "make a profile by answering questions, and test it"),
        "profile": ("profile", "list, show, add, edit or remove profiles"),
        "service": ("service", "install or uninstall the daemon as a service of systemd"),
        "shell-init": ("shell_init", 'a faster pmcred and completion for your shell: eval "$(pmcred shell-init bash)"'),
    },
    "the daemon (pmcredd)": {
        "reload": ("control", "read the profiles again"),
        "stop": ("control", "end the daemon"),
    },
    "for tools": {
        "credential": ("credential", "be git's credential helper: pmcred credential install NAME"),
    },
    "try it without a ProcessMaker": {
        "demo": ("try_it", "see all of it work in a few seconds, and leave nothing behind"),
        "sandbox": ("try_it", "run a look-alike ProcessMaker on this machine"),
    },
}

_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_NOBODY_READS = 141  # 128 + SIGPIPE


def script() -> NoReturn:
    """Be the command. After Ctrl-C, when all is cleared up, it dies of that, or a shell's loop would go on."""
    status = main()
    if status == _INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give the exit status. What a user can cause never ends in a traceback."""
    if sys.stderr is None:  # it was closed; print() would take stdout instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as we live
    if sys.stdout is None:  # the next socket or file would become descriptor 1, and be printed to
        return _tell(Problem("stdout is closed", "to have nothing printed: >/dev/null"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal in another encoding is no reason to fail
    try:
        try:
            status = _run(list(sys.argv[1:] if argv is None else argv))
        except SystemExit as ended:  # argparse, after --help
            status = int(ended.code or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        return _drop_stdout(_NOBODY_READS)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _drop_stdout(_INTERRUPTED)
    except Problem as problem:
        return _tell(problem)
    except EOFError:
        return _tell(Problem("the input ended before every question was answered; nothing was changed"))
    except OSError as error:  # every other OSError is a Problem by now: what is left is stdout itself
        _drop_stdout(1)
        return _tell(Problem(f"cannot write the output: {error.strerror or error}"))
    return status


def _run(argv: list[str]) -> int:
    parser = _Parser(prog="pmcred", add_help=False)
    parser.add_argument("-h", "--help", action=_Say, const=_help)
    parser.set_defaults(socket=None, verbose=False)
    name = _verb(argv)
    if name is None:
        parser.parse_args(argv)
        # Not on stdout: `TOKEN=$(pmcred $forgotten)` must not take the help for a token.
        print(_help(), file=sys.stderr)
        return 2
    verbs = {verb: module for group in _GROUPS.values() for verb, (module, _) in group.items()}
    if name not in verbs:
        near = did_you_mean(name, verbs)
        hint = f"did you mean `pmcred {near}`?" if near else "pmcred --help"
        raise Problem(f"there is no verb {name}", hint, exit_status=2)
    family = import_module(f"pmcredd.cli.{verbs[name]}")
    family.add(parser.add_subparsers(required=True))
    args, astray = parser.parse_known_args(argv)
    if astray:
        raise Problem(_tell_astray(name, astray), f"pmcred {name} --help", exit_status=2)
    status: int = args.run(args)
    return status


def _tell_astray(verb: str, words: Sequence[str]) -> str:
    """Say what nobody asked for, without what may be a secret: somebody may have tried `--password hunter2`."""
    options = [word.partition("=")[0] for word in words if word.startswith("-") and word.strip("-")]
    if options:
        return f"{verb} has no option {', '.join(options)}"
    return f"{verb} takes fewer words: there {'is one' if len(words) == 1 else f'are {len(words)}'} too many"


def _verb(argv: Sequence[str]) -> str | None:
    words = iter(argv)
    for word in words:
        if word == "--socket":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are Problems, and which knows the options that every verb has.

    argparse makes the parsers of the verbs, and of their verbs, with the class of the first one.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]  # argparse's own keywords
        # No defaults of their own: what stands before the verb would be overwritten by what is missing after it.
        self.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="where the daemon listens")
        self.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="tell on stderr what is asked"
        )
        self.add_argument("--version", action=_Say, const=_version, help="print the version")

    def error(self, message: str) -> NoReturn:
        # argparse repeats the value; it may be a secret, as in --password-stdin=hunter2.
        message = re.sub("ignored explicit argument .*", "it takes no value", message, flags=re.DOTALL)
        raise Problem(message, f"{self.prog} --help", exit_status=2)


class _Say(argparse.Action):
    """An option that prints what its `const` gives, and ends the command."""

    const: Callable[[], str]

    def __init__(self, option_strings: Sequence[str], dest: str, const: Callable[[], str], help: str = "") -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, const=const, default=argparse.SUPPRESS, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse calls it so
        values: object,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> NoReturn:
        print(self.const())
        parser.exit()


def _version() -> str:
    return f"pmcred {pmcredd.__version__}"


def _help() -> str:
    lines = ["pmcred: fresh access tokens for ProcessMaker, kept by the daemon pmcredd", ""]
    for group, verbs in _GROUPS.items():
        lines += [f"{group}:", *(f"  {verb:<12}{about}" for verb, (_, about) in verbs.items()), ""]
    return "\n".join(
        [
            *lines,
            "everywhere: --socket PATH, -v, --version; pmcred VERB --help tells more.",
            "NAME may be left out where PMCRED_PROFILE is set.",
            "To begin: pmcred demo",
        ]
    )


def _tell(problem: Problem) -> int:
    from pmcredd.cli.terminal import clean, say  # here: only failures pay for it

    first, *more = problem.message.splitlines() or [""]
    say(f"pmcred: {clean(first)}", hang=2)
    for line in more:
        say(f"  {clean(line)}", hang=2)
    if problem.hint:
        say(f"  try: {clean(problem.hint)}", hang=5)
    return problem.exit_status


def _drop_stdout(status: int) -> int:
    # The interpreter flushes stdout once more at its end, and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
