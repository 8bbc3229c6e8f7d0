"""`pmcred credential`, which is git-credential-pmcred too: what git and its friends run to be given a token."""

import argparse
import contextlib
import sys
import time
from collections import UserDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcredd import cli, credential
from pmcredd.cli import ask
from pmcredd.cli.problem import Problem, did_you_mean
from pmcredd.cli.terminal import clean, say
from pmcredd.client import SLACK_SECONDS
from pmcredd.secret import Secret
from pmcredd.wire import format_duration

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_NO_SUCH_PROFILE = 3  # exit status


def main(argv: Sequence[str] | None = None) -> int:
    """Run `git-credential-pmcred`, the command that git's configuration names; gives the exit status."""
    return cli.main(["credential", *(sys.argv[1:] if argv is None else argv)])


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its verbs to the command line."""
    parser = subparsers.add_parser(
        "credential",
        description="Be git's credential helper. get, store, erase and capability are what git runs, with a "
        "description of the server on stdin. An operation that is none of these is passed over in silence, as git asks "
        "of its helpers.",
        epilog="example: pmcred credential install prod; printf 'url=https://acme.processmaker.net\\n\\n' | git "
        "credential fill",
    )
    parser.set_defaults(lasting=None, timeout=60.0)
    _add_lasting(parser)  # here too: git puts the operation last
    _add_timeout(parser)
    verbs = parser.add_subparsers(
        required=True, metavar="get|store|erase|capability|install|uninstall", action=_Operations
    )
    get = verbs.add_parser("get", help="answer with a token", description="Answer with the token of the profile meant.")
    _add_lasting(get)
    _add_timeout(get)
    get.set_defaults(run=_get)
    store = verbs.add_parser("store", help="do nothing", description="Do nothing: the daemon knows its tokens.")
    store.set_defaults(run=_store)
    erase = verbs.add_parser(
        "erase", help="tell that a server refused a token", description="Tell the daemon that a server refused a token."
    )
    _add_timeout(erase)
    erase.set_defaults(run=_erase)
    capability = verbs.add_parser(
        "capability", help="tell what we can", description="Tell which capabilities of git's protocol there are."
    )
    capability.set_defaults(run=_capability)
    install = verbs.add_parser(
        "install",
        help="write pmcred into git's configuration",
        description="Make pmcred git's helper for the URLs of profiles, and print the lines that are written.",
    )
    install.add_argument("--show", action="store_true", help="print the lines, and write nothing")
    uninstall = verbs.add_parser(
        "uninstall", help="take it out again", description="Take out of git's configuration what install wrote."
    )
    for verb, about in ((install, "a profile"), (uninstall, "a profile, or the URL of one that is gone")):
        verb.add_argument("names", metavar="NAME", nargs="*", help=f"{about}; default: $PMCRED_PROFILE")
        where = verb.add_mutually_exclusive_group()
        where.add_argument("--local", action="store_true", help="in this repository's configuration, not in yours")
        where.add_argument("--file", metavar="FILE", help="in this file of git's configuration")
    install.set_defaults(run=_install, verb="install")
    uninstall.set_defaults(run=_uninstall, verb="uninstall")


def _add_lasting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="lasting",
        metavar="DURATION",
        type=ask.seconds,
        default=argparse.SUPPRESS,
        help="get: the token must stay good so long: 90s, 30m, 8h",
    )


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=ask.seconds,
        default=argparse.SUPPRESS,
        help="get, erase: how long to wait for a token (default: 60)",
    )


class _Every(UserDict[str, argparse.ArgumentParser]):
    """The operations that there are; any other is one too."""

    def __contains__(self, _: object) -> bool:
        return True


class _Operations(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001 - what add_subparsers is for
    """The operations: "If a helper receives any other operation, it should silently ignore the request".

    So gitcredentials(7). argparse would refuse it before anything of ours is called.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's own keywords
        super().__init__(**options)
        known = _Every()
        known.data = self._name_parser_map  # the very same: verbs are added to it
        self.choices = known  # type: ignore[assignment]  # argparse takes any mapping

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - as argparse has it
        option_string: str | None = None,
    ) -> None:
        operation, *words = values
        if operation in self._name_parser_map:
            super().__call__(parser, namespace, values, option_string)
        elif words:  # git gives an operation and nothing else: this is somebody at a keyboard
            near = did_you_mean(operation, self._name_parser_map)
            hint = f"did you mean `pmcred credential {near}`?" if near else "pmcred credential --help"
            raise Problem(f"pmcred credential knows no {operation}", hint, exit_status=2)
        else:
            namespace.run = _ignore


def _ignore(_: argparse.Namespace) -> int:
    return 0


def _capability(_: argparse.Namespace) -> int:
    print(credential.CAPABILITIES, end="")
    return 0


def _install(args: argparse.Namespace) -> int:
    from pmcredd.cli import git_config  # here: git never asks for it

    if args.lasting is not None:
        raise Problem(
            "install writes no --for", "install it, then add --for to the helper's line: docs/git.md", exit_status=2
        )
    return git_config.install(args)


def _uninstall(args: argparse.Namespace) -> int:
    from pmcredd.cli import git_config  # here: git never asks for it

    return git_config.uninstall(args)


def _get(args: argparse.Namespace) -> int:
    query = _query()
    if not credential.concerns_us(query):
        return _not_ours(args)
    candidates = _candidates(ask.ask(args, "list", timeout=args.timeout + SLACK_SECONDS))
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
    known = ask.ask(args, "status", timeout=args.timeout + SLACK_SECONDS)
    blocks = [block for block in known if block.get("fingerprint") == refused]
    for owner in credential.find(query, _candidates(blocks)):
        arguments = {"fingerprint": refused, "timeout": format_duration(args.timeout)}
        ask.ask(args, "reject", owner.name, arguments, timeout=args.timeout + SLACK_SECONDS)
        if sys.stderr is not None and sys.stderr.isatty():  # git says only that it has failed
            say(f"pmcred: the token of {owner.name} was refused, and is replaced: try again")
    return 0


def _store(_: argparse.Namespace) -> int:
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
