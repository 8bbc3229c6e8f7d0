"""`pmcred init`: a first profile by question and answer, tested before it is written. Every answer can be a flag."""

import argparse
import os
from typing import TYPE_CHECKING

from pmcredd.cli import errands, files
from pmcredd.cli.draft import Draft, add_flags
from pmcredd.cli.interview import Interview, called
from pmcredd.cli.problem import Problem
from pmcredd.cli.profile import Told, check, tell_daemon, warn_of_others
from pmcredd.cli.questions import choose, confirm
from pmcredd.cli.terminal import clean, say
from pmcredd.cli.trial import Failed, Works
from pmcredd.cli.validate import Checker
from pmcredd.human_time import duration
from pmcredd.profiles import Grant, secret_variables

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "init",
        description="Make a profile by answering questions. The profile is tested against the server and then written. "
        "Every answer can be given as a flag; without a terminal they all must.",
    )
    parser.add_argument("--name", metavar="NAME", help="of the profile (default: from the address)")
    add_flags(parser)
    parser.add_argument("--no-test", action="store_true", help="send nothing to the server")
    parser.add_argument("--yes", action="store_true", help="where a question has a default, take it")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # Before the first question: whoever has typed a secret must not hear that it cannot be kept.
    files.need_writable(Draft("new").path(os.environ).parent)
    checker = Checker.of(os.environ)
    if mistakes := checker.mistakes():
        warn_of_others(mistakes)
        say("You can go on, but no daemon takes the new profile until that is mended.")
    interview = Interview(args, checker)
    draft = interview.draft()
    check(draft, checker)
    with_browser = draft.keys["grant"] == Grant.AUTHORIZATION_CODE.value
    if with_browser:
        say("Whether it works, the login will show.")
    elif not args.no_test:
        _test(interview, draft, checker)
    draft.write(os.environ)
    say(f"Wrote {draft.path(os.environ)}.")
    told = tell_daemon(args)
    say()
    match told:
        case Told.READ:
            say("Next:")
        case Told.KEPT:
            say("Next, when that is mended:\n  pmcred reload")
        case Told.ABSENT:
            _offer_service(args, interview)
    print(f"  pmcred {'login' if with_browser else 'get'} {draft.name}")
    return 0


def _offer_service(args: argparse.Namespace, interview: Interview) -> None:
    """Offer to run the daemon from now on; not to a script, which says so itself if it wants that."""
    from pmcredd.cli import service  # here: most profiles are made beside a daemon that runs

    offered = interview.person and not args.yes and service.reachable()
    if offered and confirm("Run the daemon as a service, now and after every boot?", default=True):
        service.install(args)
        say("\nNext:")
        return
    say("Next, to run the daemon as a service:\n  pmcred service install")
    say("or in a terminal of its own:\n  pmcredd\nThen:")


def _test(interview: Interview, draft: Draft, checker: Checker) -> None:
    """Try the profile until it works, or a person will have it as it is. Each try is a person's: they may be counted.

    Raises:
        Problem: it does not work, and is not to be written.

    """
    while True:
        profiles = check(draft, checker).profiles
        profile = profiles[draft.name]
        say(f"Testing the profile against {profile.url} ...")
        outcome = errands.try_out(profile, interview.known, secret_variables(profiles.values()))
        if isinstance(outcome, Works):
            say("It works." if outcome.lives is None else f"It works; its token is good for {duration(outcome.lives)}.")
            return
        if not interview.person:
            raise Problem(f"{outcome.sentence}; nothing was written", outcome.mend, exit_status=outcome.exit_status)
        match _what_now(outcome):
            case "correct":
                interview.correct(draft, outcome.correct)
            case "write":
                return
            case "quit":
                raise Problem("nothing was written")
            case _:
                pass


def _what_now(failed: Failed) -> str:
    say(f"It does not work: {clean(failed.sentence)}")
    if failed.mend:
        say(f"  try: {clean(failed.mend)}")
    if failed.counts:
        say("  Each try counts: a server may lock a user out after a few wrong ones.")
    options = [
        ("again", "test the same once more"),
        ("write", "write the profile as it is"),
        ("quit", "write nothing"),
    ]
    if failed.correct:
        options.insert(0, ("correct", f"type {' and '.join(map(called, failed.correct))} anew, then test"))
    return choose("What now?", options, default=options[0][0])
