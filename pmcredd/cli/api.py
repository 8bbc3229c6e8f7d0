"""`pmcred api`: call the instance with the profile's token, and show what it answers."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pmcredd.cli import ask
from pmcredd.cli.problem import Problem
from pmcredd.cli.terminal import clean, say

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from pmcredd.api_call import Outcome
    from pmcredd.api_exchange import Call
    from pmcredd.cli.api_output import Output
    from pmcredd.request_body import Body

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
_BY_CLASS = {2: 0, 3: 30, 4: 40, 5: 50}  # first digit of an HTTP status -> exit status
_USAGE, _UNREACHABLE = 2, 5  # exit statuses
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\t -~]*)")  # RFC 9110 sections 5.1 and 5.5, in ASCII
# Ours: the token's, those that pick the tenant, and those that say where a body ends.
_OURS = {
    "authorization": "the token is the daemon's to give",
    "proxy-authorization": "put user and password of the proxy into the profile's proxy",
    "host": "it is the profile's url that picks the instance",
    **dict.fromkeys(
        ("connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "keep-alive"),
        "it is part of how the request is sent, not of what it says",
    ),
    "accept-encoding": "a body is passed on as it comes, and never inflated",
}


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    api = subparsers.add_parser(
        "api",
        usage="pmcred api [NAME] [METHOD] PATH [options]",
        description="Call the ProcessMaker of a profile with its token, and print the answer: JSON laid out on a "
        "terminal, every byte as it came into a pipe or a file.",
        epilog="exit status: 0 for 2xx, 30 for 3xx, 40 for 4xx, 50 for 5xx; else as everywhere. "
        "example: pmcred api prod GET '/users?per_page=1'",
    )
    api.add_argument(
        "words",
        metavar="[NAME] [METHOD] PATH",
        nargs="+",
        help="NAME: a profile, default $PMCRED_PROFILE; METHOD: default GET; PATH: below /api/1.0 (ProcessMaker 3: "
        "/api/1.0/WORKSPACE), or a whole URL of the same instance",
    )
    api.add_argument("--data", metavar="TEXT", help="what to send; @FILE reads a file, - or @- standard input")
    api.add_argument("--header", metavar="'K: V'", action="append", default=[], help="send this header, too")
    api.add_argument("--include", action="store_true", help="print the status and the headers first")
    api.add_argument("--raw", action="store_true", help="print every byte as it came, on a terminal too")
    api.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=ask.seconds,
        help="how long the answer may take to begin, and to pause (default: the profile's timeout)",
    )
    api.set_defaults(run=_api)
    api.parse_known_args = partial(_in_any_order, api.parse_known_args)  # type: ignore[method-assign, assignment]


def _in_any_order(
    parse: Callable[..., tuple[argparse.Namespace, list[str]]],
    args: Sequence[str] | None = None,
    namespace: argparse.Namespace | None = None,
) -> tuple[argparse.Namespace, list[str]]:
    """Parse `prod --include GET /users`, too: argparse takes words from one place only and calls the others unknown."""
    found, unknown = parse(args, namespace)
    found.words += [word for word in unknown if not word.startswith("-")]
    return found, [word for word in unknown if word.startswith("-")]


def _api(args: argparse.Namespace) -> int:
    name, method, path = _words(args)
    headers = [_header(text) for text in args.header]
    # From here on it costs: the words were right.
    from pmcredd import process
    from pmcredd.api_address import BadPath, call_url
    from pmcredd.api_call import CallFailed, Tokens, perform
    from pmcredd.api_exchange import Call
    from pmcredd.cli import errands, validate
    from pmcredd.cli.api_output import Pipe, Screen
    from pmcredd.client import PmcredError

    profile = validate.Checker.of(os.environ).find(name)
    try:
        url = call_url(profile, path)
    except BadPath as bad:
        raise Problem(f"PATH {bad.wrong}", bad.mend, exit_status=_USAGE) from None
    body = _body(args, method, headers)
    limit = args.timeout or profile.timeout
    call = Call(profile, method, url, headers, body, limit)
    tokens = Tokens(
        profile,
        lasting=limit,
        patience=args.timeout or 60.0,
        socket_path=Path(args.socket) if args.socket else None,
        tell=(lambda text: say(f"pmcred: {clean(text)}")) if args.verbose else (lambda _: None),
    )
    kind = Pipe if args.raw or not sys.stdout.isatty() else Screen
    output = kind(include=args.include or method == "HEAD")
    process.harden()  # after --data was opened: /dev/fd would be closed to us
    try:
        outcome = errands.run_async(lambda: perform(call, output, tokens))
    except CallFailed as failed:
        output.finish()
        raise Problem(f"{method} {path}: {failed.sentence}", failed.mend, exit_status=_UNREACHABLE) from None
    except PmcredError as error:
        raise Problem(error.message, error.hint, exit_status=error.exit_status) from None
    output.finish()
    return _status(call, outcome, output)


def _with_path(before: Sequence[str], word: str) -> str:
    # What was meant as the PATH gets its slash; after a lone NAME or a METHOD an example follows.
    meant = before and word.upper() not in _METHODS
    return " ".join([*before, shlex.quote(f"/{word}")] if meant else [*before, word, "/users"])


def _words(args: argparse.Namespace) -> tuple[str, str, str]:
    """Tell NAME, METHOD and PATH apart. Of two words, the first is a METHOD if it is one in capitals, else a NAME."""
    *before, path = args.words
    if len(before) > 2:
        raise Problem("there are too many words", "pmcred api NAME METHOD PATH", exit_status=_USAGE)
    if not path.startswith(("/", "http://", "https://")):
        raise Problem(
            f"PATH comes last and begins with /, and {clean(path)} does not",
            f"pmcred api {clean(_with_path(before, path))}",
            exit_status=_USAGE,
        )
    method = before.pop() if before and (len(before) == 2 or before[0] in _METHODS) else ""
    if method.upper() not in ("", *_METHODS):
        raise Problem(f"there is no method {clean(method)}", ", ".join(_METHODS), exit_status=_USAGE)
    if not method and args.data is not None:
        raise Problem(
            "with --data, METHOD has to be named",
            "POST to make something, PUT or PATCH to change it",
            exit_status=_USAGE,
        )
    args.name = before[0] if before else None
    return ask.name_of(args), method.upper() or "GET", path


def _header(text: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(text)
    if found is None:
        # Not quoted: it may hold a secret.
        raise Problem("a --header is not like 'Name: value', in ASCII", "--header 'Accept: text/csv'", exit_status=2)
    if why := _OURS.get(found[1].lower()):
        raise Problem(f"--header cannot set {found[1]}", why, exit_status=_USAGE)
    return found[1], found[2].rstrip()


def _body(args: argparse.Namespace, method: str, headers: list[tuple[str, str]]) -> "Body | None":
    """Open what is to be sent, and see that its type is told: `headers` may get one more."""
    from pmcredd.request_body import BadData, json_flaw, open_body

    if args.data is None:
        return None
    if method in _WITHOUT_BODY:
        raise Problem(f"{method} sends no --data", "put it into PATH, behind a ?", exit_status=_USAGE)
    try:
        body = open_body(args.data, None if sys.stdin is None else sys.stdin.fileno())
    except BadData as bad:
        raise Problem(str(bad), exit_status=_USAGE) from None
    if not any(name.lower() == "content-type" for name, _ in headers):
        if flaw := json_flaw(body):
            raise Problem(
                f"--data {flaw}",
                "correct it, or name its type: --header 'Content-Type: application/x-www-form-urlencoded'",
                exit_status=_USAGE,
            )
        headers.append(("Content-Type", "application/json"))
    return body


def _status(call: "Call", outcome: "Outcome", output: "Output") -> int:
    """Give the exit status of a success. Raises Problem for all else."""
    head = outcome.head
    if 200 <= head.status < 300:
        if not any(name.lower() == "accept" for name, _ in call.headers):
            output.remark()
        return 0
    trouble = output.explain(call)
    lines, mend = [trouble.sentence, *trouble.details], trouble.mend
    if outcome.refused is not None:
        lines[0] += f"; {outcome.refused.sentence}"
        mend = outcome.refused.mend
    raise Problem("\n".join(lines), mend, exit_status=_BY_CLASS.get(head.status // 100, 1))
