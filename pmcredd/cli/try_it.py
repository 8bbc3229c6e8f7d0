"""`pmcred demo` and `pmcred sandbox`: what can be tried without a ProcessMaker, wired to pmcredd.sandbox."""

import os
import sys
from typing import TYPE_CHECKING

from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import BOLD, Cell, colour_wanted, paint, say
from pmcredd.sandbox import command

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command line."""
    demo = subparsers.add_parser(
        "demo",
        description="Show in a few seconds what pmcred does: a token, its use, its revocation and its replacement, "
        "with a look-alike ProcessMaker and a daemon of the demo's own. Nothing is left afterwards.",
    )
    demo.set_defaults(run=_demo)
    sandbox = subparsers.add_parser(
        "sandbox", description="Run a look-alike ProcessMaker, both generations, on a loopback port until Ctrl-C."
    )
    command.add_arguments(sandbox)
    sandbox.set_defaults(run=command.run)


def _demo(_: "argparse.Namespace") -> int:
    from pmcredd.sandbox.demo import run  # here: the sandbox itself has no use for it
    from pmcredd.sandbox.stage import DemoFailed

    colour = colour_wanted(sys.stdout, os.environ)
    try:
        run(lambda text: paint(Cell(text, BOLD), colour=colour))
    except DemoFailed as failed:
        raise Problem(f"the demo has failed: {failed.message}", failed.hint) from None
    except KeyboardInterrupt:
        say("\nStopped. Nothing of the demo is left.")
        return _INTERRUPTED
    return 0
