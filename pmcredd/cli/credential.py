"""`pmcred credential`, which is git-credential-pmcred too: what git and its friends run to be given a token."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pmcredd import cli, credential
from pmcredd.cli import ask
from pmcredd.cli.problem import Problem, did_you_mean
from pmcredd.cli.terminal import clean, say
from pmcredd.secret import Secret
from pmcredd.wire import format_duration

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_SLACK = 10.0  # seconds on top of what the daemon is given: let its own, better error come first
_NO_SUCH_PROFILE = 3  # exit status
_SET_UP = ("install", "uninstall")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `git-credential-pmcred`, the command that git's configuration names; gives the exit status."""
    return cli.main(["credential", *(sys.argv[1:] if argv is None else argv)])


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "credential",
        description="Be git's credential helper. get, erase, store and capability are what git runs, with a "
        "description of the server on stdin: get answers with a token, erase tells that a server refused it, store "
        "does nothing. An operation that is none of these is passed over in silence, as git asks of its helpers. "
        "install makes pmcred the helper for the URLs of profiles, uninstall undoes that.",
        epilog="example: pmcred credential install prod; printf 'url=https://acme.processmaker.net\\n\\n' | git "
        "credential fill",
    )
    parser.add_argument(
        "operation", metavar="OPERATION", help="get, store, erase, capability (for git); install, uninstall"
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="install, uninstall: the profiles; default: $PMCRED_PROFILE"
    )
    parser.add_argument(
        "--for", dest="lasting", metavar="DURATION", type=ask.seconds, help="get: the token must stay good so long"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=ask.seconds,
        default=60.0,
        help="get, erase: how long to wait for a token (default: 60)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--local", action="store_true", help="install, uninstall: in this repository's configuration, not yours"
    )
    where.add_argument("--file", metavar="FILE", help="install, uninstall: in this file of git's configuration")
    parser.add_argument("--show", action="store_true", help="install: print the lines, and write nothing")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    match args.operation:
        case "get":
            return _get(args)
        case "erase":
            return _erase(args)
        case "store":
            return _store()
        case "capability":
            print(credential.CAPABILITIES, end="")
            return 0
    if args.operation in _SET_UP:
        from pmcredd.cli import git_config  # here: git never asks for it

        return git_config.uninstall(args) if args.operation == "uninstall" else git_config.install(args)
    if args.names:  # git gives an operation and nothing else: this is somebody at a keyboard
        near = did_you_mean(args.operation, _SET_UP)
        hint = f"did you mean `pmcred credential {near}`?" if near else "pmcred credential --help"
        raise Problem(f"pmcred credential knows no {args.operation}", hint, exit_status=2)
    return 0  # gitcredentials(7): "If a helper receives any other operation, it should silently ignore the request."


def _get(args: argparse.Namespace) -> int:
    query = _query()
    if not credential.concerns_us(query):
        return _not_ours(args)
    candidates = _candidates(ask.ask(args, "list"))
    with _told():
        chosen = credential.choose(query, candidates)
    if chosen is None:
        return _not_ours(args)
    token = ask.token(args, chosen.name, lasting=args.lasting, timeout=args.timeout)
    if token.url != chosen.url:
        raise Problem(f"profile {chosen.name} has just been changed", "do it again")
    # In one piece, and the last thing to do: git takes what is printed even from a helper that fails.
    access = Secret(token.access_token)
    print(credential.answer(query, chosen.name, access, token.good_until, now=time.time()), end="")
    return 0


def _erase(args: argparse.Namespace) -> int:
    query = _query()
    if query.refused is None or not credential.concerns_us(query):
        return _not_ours(args)
    refused = query.refused.fingerprint()
    # An older token has been replaced already, and what is no token of ours is none of our business.
    blocks = [block for block in ask.ask(args, "status") if block.get("fingerprint") == refused]
    for owner in credential.find(query, _candidates(blocks)):
        arguments = {"fingerprint": refused, "timeout": format_duration(args.timeout)}
        ask.ask(args, "reject", owner.name, arguments, timeout=args.timeout + _SLACK)
    return 0


def _store() -> int:
    with contextlib.suppress(credential.BadInput):
        credential.parse(_lines())  # read, or who writes it might be told of a broken pipe
    return 0


def _query() -> credential.Query:
    try:
        return credential.parse(_lines())
    except credential.BadInput as bad:
        raise Problem(
            f"what came on stdin is not the git credential protocol: {bad}",
            "printf 'url=https://HOST\\n\\n' | pmcred credential get",
            exit_status=2,
        ) from None


def _lines() -> Iterator[bytes]:
    if sys.stdin is not None:
        while line := sys.stdin.buffer.readline(credential.MAX_LINE + 1):
            yield line


def _candidates(blocks: Sequence[Mapping[str, str]]) -> list[credential.Candidate]:
    return [
        credential.Candidate(
            block["profile"], block["url"], tuple(block[key] for key in ("user", "user_name") if key in block)
        )
        for block in blocks
    ]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except credential.Refusal as refusal:
        raise Problem(clean(refusal.message), clean(refusal.hint), exit_status=_NO_SUCH_PROFILE) from None


def _not_ours(args: argparse.Namespace) -> int:
    if args.verbose:
        say("pmcred: no profile is for that")
    return 0
