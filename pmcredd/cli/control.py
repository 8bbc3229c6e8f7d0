"""`pmcred reload` and `pmcred stop`."""

import argparse
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import say

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MISCONFIGURED = 6  # exit status


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command line."""
    reload = subparsers.add_parser("reload", description="Have the daemon read the profiles again.")
    reload.set_defaults(run=_reload)
    stop = subparsers.add_parser("stop", description="End the daemon. Stored tokens stay for its next start.")
    stop.set_defaults(run=_stop)


def _reload(args: argparse.Namespace) -> int:
    try:
        warnings = ask.reload(args)
    except Problem as problem:
        if problem.exit_status == _MISCONFIGURED:
            problem.message += "\nthe daemon keeps the profiles that it has"
        raise
    for warning in warnings:
        say(f"  warning: {warning}")
    return 0


def _stop(args: argparse.Namespace) -> int:
    try:
        ask.warn_of_unsaved(args)
        ask.ask(args, "stop")
    except ask.NoDaemon as absent:
        absent.hint = ""  # how to start one is not what was asked
        raise
    say("The daemon ends.")
    return 0
