"""`pmcred sandbox`: a look-alike ProcessMaker, wired to pmcredd.sandbox."""

from typing import TYPE_CHECKING

from pmcredd.sandbox import command

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    sandbox = subparsers.add_parser(
        "sandbox", description="Run a look-alike ProcessMaker, both generations, on a loopback port until Ctrl-C."
    )
    command.add_arguments(sandbox)
    sandbox.set_defaults(run=command.run)
