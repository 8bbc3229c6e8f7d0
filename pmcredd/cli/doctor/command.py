"""`pmcred doctor`: looks at everything that a token needs, and says what is wrong and what mends it."""

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from pmcredd import process
from pmcredd.cli import errands
from pmcredd.cli.doctor import report
from pmcredd.cli.doctor.checkup import look
from pmcredd.cli.doctor.files import read_profiles
from pmcredd.cli.doctor.finding import Level, count
from pmcredd.cli.terminal import colour_wanted, columns

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        description="Look at the profiles, files, daemon, service, servers, secrets and tokens; say what is wrong and "
        "what mends it. Nothing is changed, no token is asked for, and no secret is shown. Exits with 1 if there is a "
        "problem; warnings do not count.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="only this profile and its server")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    process.harden()  # it reads secrets, as the daemon does
    environ = dict(os.environ)
    read = read_profiles(environ, args.name)
    findings = errands.run_async(partial(look, environ, read, args.socket, args.name))
    if args.json:
        print(report.as_json(findings))
    else:
        colour = colour_wanted(sys.stdout, os.environ)
        print("\n".join(report.lines(findings, width=columns(sys.stdout), colour=colour)))
    return 1 if count(findings, Level.PROBLEM) else 0
