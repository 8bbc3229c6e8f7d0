"""`pmcred profile`: list, show, add, edit and remove profiles, and their JSON Schema."""

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from pmcredd.cli import ask, edit, files, schema, validate
from pmcredd.cli.account import REVOCATION
from pmcredd.cli.draft import SECRETS, Draft, add_flags, flag, given, piped, secret_file
from pmcredd.cli.problem import Problem
from pmcredd.cli.questions import confirm, interactive, need_answer
from pmcredd.cli.see import user_of
from pmcredd.cli.terminal import BOLD, Cell, clean, colour_wanted, say, table
from pmcredd.profile_keys import PROFILE_KEYS
from pmcredd.profiles import (
    BadConfig,
    CommandSecret,
    Config,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    Grant,
    KeyringSecret,
    LiteralSecret,
    Mistake,
    Profile,
    SecretSource,
    valid_name,
)

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_NO_SUCH_PROFILE, _MISCONFIGURED = 3, 6  # exit statuses


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its verbs to the command line."""
    family = subparsers.add_parser("profile", description="List, show, add, edit or remove profiles.")
    verbs = family.add_subparsers(required=True, metavar="list|show|add|edit|remove|schema")

    listing = verbs.add_parser("list", help="the profiles, by name")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_list)

    show = verbs.add_parser("show", help="one profile as it takes effect, without its secrets")
    show.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    show.set_defaults(run=_show)

    new = verbs.add_parser("add", help="write a new profile")
    new.add_argument("name", metavar="NAME")
    add_flags(new)
    new.set_defaults(run=_add)

    change = verbs.add_parser("edit", help="change a profile in your editor; it is replaced only if it is right")
    change.add_argument("name", metavar="NAME", nargs="?", help="default: $PMCRED_PROFILE")
    change.set_defaults(run=_edit)

    remove = verbs.add_parser("remove", help="remove a profile that pmcred wrote")
    remove.add_argument("name", metavar="NAME")  # no default: not what one does by accident
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(run=_remove)

    schema.add(verbs)


def new_name(name: str, checker: validate.Checker) -> str:
    """Give the name back if a new profile can have it.

    Raises:
        Problem: it cannot.

    """
    if not valid_name(name):
        raise Problem(
            f"{clean(name)} cannot be a profile's name",
            "up to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
            exit_status=2,
        )
    if name in (known := checker.names()):
        raise Problem(f"there is a profile {name} already, in {known[name]}", f"pmcred profile edit {name}")
    return name


def check(draft: Draft, checker: validate.Checker) -> Config:
    """Read all profiles as they would be with this one; those with mistakes are left out.

    Raises:
        Problem: this one would be wrong.

    """
    try:
        return checker.with_text(draft.path(os.environ), draft.text(os.environ), mode=0o600)
    except BadConfig as bad:
        raise _not_so(draft, bad) from None


def _not_so(draft: Draft, bad: BadConfig) -> Problem:
    own = str(draft.path(os.environ))
    lines = [f"{_flags(one.key)} {one.wrong}" if one.file == own and one.key else str(one) for one in bad.mistakes]
    return Problem(
        "\n".join([f"profile {draft.name} cannot be written:", *lines]), "--help shows the flags", exit_status=2
    )


def _flags(key: str) -> str:
    return f"{flag(key)}-file (or -command, -stdin, -env, -credential)" if key in SECRETS else flag(key)


class Told(Enum):
    """What became of telling the daemon about changed profiles."""

    READ = "it has read them"
    KEPT = "it keeps those that it has, since some have mistakes"
    ABSENT = "there is none"


def tell_daemon(args: argparse.Namespace, changed: Path | None = None) -> Told:
    """Have a daemon that runs read the profiles again, and say how that went.

    What was written is right in itself: mistakes in other files are told, and are no failure. Warnings are told of the
    file that was `changed`, and not those of all the others each time.

    Raises:
        Problem: the daemon refuses for another reason.

    """
    checker = validate.Checker.of(os.environ)
    for warning in checker.sound().warnings:
        if warning.file == str(changed):
            say(f"  warning: {clean(str(warning))}")
    mistakes = checker.mistakes()
    warn_of_others(mistakes)
    try:
        ask.reload(args)
    except ask.NoDaemon:
        if mistakes:
            say("No daemon runs, and none will start until that is mended: pmcredd --check")
        else:
            say("No daemon runs; it will read the profiles when it starts: pmcredd")
        return Told.ABSENT
    except Problem as problem:
        if not mistakes or problem.exit_status != _MISCONFIGURED:
            raise
        say("The daemon keeps the profiles that it has until that is mended. Then: pmcred reload")
        return Told.KEPT
    return Told.READ


def warn_of_others(mistakes: Sequence[Mistake]) -> None:
    """Tell what is wrong in files that are not being changed."""
    if mistakes:
        say(f"warning: other profiles have {validate.counted(mistakes)}:")
        for one in mistakes:
            say(f"  {clean(str(one))}")


def _list(args: argparse.Namespace) -> int:
    try:
        blocks = ask.ask(args, "list")
    except ask.NoDaemon:
        say("No daemon answers; this is what the files say.")
        profiles = validate.load(os.environ).profiles.values()
        blocks = [
            {"profile": one.name, "url": one.url, "generation": str(one.generation), "grant": one.grant.value}
            for one in profiles
        ]
    if args.json:
        import json  # here: people do not pay for it

        listed = [{**block, "generation": int(block.get("generation", "4"))} for block in blocks]
        print(json.dumps({"version": 1, "profiles": listed}, indent=2))
        return 0
    if not blocks:
        say("No profiles yet. To make one: pmcred init")
        return 0
    head = [Cell(title, BOLD) for title in ("PROFILE", "GENERATION", "GRANT", "USER", "URL")]
    rows = [
        [
            *(Cell(clean(block.get(key, "?"))) for key in ("profile", "generation", "grant")),
            Cell(user_of(block) or "-"),
            Cell(clean(block.get("url", "?"))),
        ]
        for block in blocks
    ]
    print("\n".join(table([head, *rows], colour=colour_wanted(sys.stdout, os.environ))))
    return 0


def _show(args: argparse.Namespace) -> int:
    profile = validate.Checker.of(os.environ).find(ask.name_of(args))
    rows = [[Cell(name), Cell(clean(value))] for name, value in _shown(profile)]
    print("\n".join(table(rows, colour=False)))
    return 0


def _shown(profile: Profile) -> Sequence[tuple[str, str]]:
    shown = []
    for one in fields(profile):
        value = getattr(profile, one.name)
        key = PROFILE_KEYS.get(one.name)
        if value is None or (key and profile.grant not in key.used_by):
            continue
        if one.name in SECRETS:
            shown.append((one.name, source_for_people(value)))
        else:
            shown.append((one.name, f"{value:g} s" if one.name == "timeout" else _plain(value)))
    return shown


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)  # as TOML has it


def source_for_people(source: SecretSource) -> str:
    """Say where a secret comes from, and never the secret."""
    match source:
        case LiteralSecret():
            return "****"
        case FileSecret(path):
            return f"file: {path}"
        case CommandSecret(argv):
            import shlex  # here: one verb needs it

            return f"command: {shlex.join(argv)}"
        case EnvSecret(variable):
            return f"environment variable: {variable}"
        case CredentialSecret(name):
            return f"systemd credential: {name}"
        case KeyringSecret(service, username):
            return f"keyring: {service}, {username}"


def _add(args: argparse.Namespace) -> int:
    files.need_writable(Draft(args.name).path(os.environ).parent)
    checker = validate.Checker.of(os.environ)
    name = new_name(args.name, checker)
    secrets = piped(args)
    draft = Draft(name, given(args), *(({}, secrets) if args.store_secrets == "profile" else (secrets, {})))
    profile = check(draft, checker).profiles[name]
    draft.write(os.environ)
    path = draft.path(os.environ)
    say(f"Wrote {path}.")
    if tell_daemon(args, path) is Told.READ:
        say(f"To try it: pmcred {'login' if profile.grant is Grant.AUTHORIZATION_CODE else 'get'} {name}")
    return 0


def _edit(args: argparse.Namespace) -> int:
    name = ask.name_of(args)
    if (changed := edit.edit(os.environ, name)) and tell_daemon(args, changed) is Told.READ:
        say(f"To try it: pmcred login {name}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    checker = validate.Checker.of(os.environ)
    file = checker.file_of(args.name)
    path = Path(file.path)
    if path != Draft(args.name).path(os.environ) or not _holds_just(file.text, args.name):
        raise Problem(
            f"profile {args.name} stands in {path}, which is not pmcred's to change",
            f"remove {_lines_of(file.text, args.name)} there by hand, then `pmcred reload`",
        )
    secrets = _own_secrets(args.name)
    shared = [one for one in secrets if _used_elsewhere(checker, path, one)]
    gone = [path, *(one for one in secrets if one not in shared)]
    if not args.yes:
        if not interactive():
            raise need_answer("--yes")
        say("This removes:")
        for one in gone:
            say(f"  {one}")
        if not confirm(f"Remove profile {args.name}?", default=False):
            say("Nothing was removed.")
            return 1
    _forget(args)
    for one in gone:
        files.remove(one)
        say(f"Removed {one}.")
    for one in shared:
        say(f"{one} stays: another profile may use it.")
    tell_daemon(args)
    return 0


def _forget(args: argparse.Namespace) -> None:
    """Have the daemon forget the profile's tokens while it still knows the profile."""
    try:
        (left,) = ask.ask(args, "logout", args.name, {"forget": "yes"}, timeout=REVOCATION)
    except ask.NoDaemon:
        say("No daemon runs to forget its saved tokens: one that starts later does, after 30 days.")
    except Problem as problem:
        if problem.exit_status != _NO_SUCH_PROFILE:  # the daemon has not read it yet: there is nothing to forget
            raise
    else:
        say(clean(left.get("message", "Its tokens are forgotten.")))


def _holds_just(text: str, name: str) -> bool:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    profiles = tables.get("profiles")
    return list(tables) == ["profiles"] and isinstance(profiles, dict) and list(profiles) == [name]


def _own_secrets(name: str) -> list[Path]:
    return [path for key in SECRETS if (path := secret_file(os.environ, name, key)).is_file()]


def _used_elsewhere(checker: validate.Checker, own: Path, secret: Path) -> bool:
    # By its last part: a path has many spellings. What cannot be read may well name it.
    named = any(secret.name in file.text for file in checker.files if file.path != str(own))
    return named or bool(checker.unreadable)


def _lines_of(text: str, name: str) -> str:
    """Say which lines of a file are this profile's, as far as headers tell."""
    quoted = re.escape(name)
    own = re.compile(rf"""\s*\[\[?\s*profiles\s*\.\s*(?:{quoted}|"{quoted}"|'{quoted}')\s*[\].]""")
    first = last = 0
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = own.match(line) is not None
        if inside:
            first = first or number
            if line.strip():
                last = number
    if not first:
        return f"[profiles.{name}]"
    return f"[profiles.{name}], lines {first} to {last}"
