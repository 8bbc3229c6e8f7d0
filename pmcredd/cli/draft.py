"""A profile in the making: its keys as TOML has them, and the secrets that get a file of their own."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmcredd.cli import files, schema
from pmcredd.cli.problem import Problem
from pmcredd.cli.questions import ask_secret
from pmcredd.paths import config_file, profiles_dir
from pmcredd.profile_keys import PROFILE_KEYS, Key, Kind
from pmcredd.profiles import secret_flaw
from pmcredd.secret import Secret

SECRETS = tuple(name for name, key in PROFILE_KEYS.items() if key.kind is Kind.SECRET)
"""The keys whose values are secrets."""


@dataclass(slots=True)
class Draft:
    """What will be written to profiles.d/NAME.toml, and beside it.

    `keys` holds plain values and the tables that name where a secret is; `filed` the secrets that get a file of their
    own, by key, and `literal` those that stand in the profile itself.
    """

    name: str
    keys: dict[str, object] = field(default_factory=dict)
    filed: dict[str, Secret] = field(default_factory=dict)
    literal: dict[str, Secret] = field(default_factory=dict)

    def path(self, environ: Mapping[str, str]) -> Path:
        """Give the file that the profile will have."""
        return Path(os.path.abspath(profiles_dir(environ)), f"{self.name}.toml")

    def text(self, environ: Mapping[str, str]) -> str:
        """Give the profile as TOML."""
        import tomli_w  # here: only what writes pays for it

        filed = {key: {"file": str(secret_file(environ, self.name, key))} for key in self.filed}
        literal = {key: secret.reveal() for key, secret in self.literal.items()}
        text = tomli_w.dumps({"profiles": {self.name: {**self.keys, **literal, **filed}}})
        return f"{schema.directive(environ)}# Made by pmcred. To change it: pmcred profile edit {self.name}\n{text}"

    def write(self, environ: Mapping[str, str]) -> None:
        """Write the profile and its secrets' files: all or none.

        Raises:
            Problem: one of them exists, or the disk refuses.

        """
        secrets = [(secret_file(environ, self.name, key), f"{secret.reveal()}\n") for key, secret in self.filed.items()]
        missing = []
        if (named := environ.get("PMCRED_CONFIG")) and not os.path.lexists(named):
            # A daemon that is told of a file expects it to be there.
            missing.append((Path(named), "# Profiles of your own; those that pmcred writes are in profiles.d.\n"))
        files.write_new([*missing, *secrets, (self.path(environ), self.text(environ))])


def secret_file(environ: Mapping[str, str], name: str, key: str) -> Path:
    """Give the file for a secret that `pmcred` keeps."""
    return Path(os.path.abspath(config_file(environ))).parent / "secrets" / f"{name}-{key}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every key of a profile. No flag takes a secret: every user of a machine sees all arguments."""
    for name, key in PROFILE_KEYS.items():
        if key.kind is Kind.SECRET:
            _add_secret_flags(parser, name, key)
        elif key.kind is Kind.CHOICE:
            kind = int if isinstance(key.choices[0], int) else str
            parser.add_argument(flag(name), type=kind, choices=key.choices, help=_about(key))
        elif key.kind is Kind.YES_OR_NO:
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, help=_about(key))
        elif key.kind in {Kind.SECONDS, Kind.LENGTH}:
            parser.add_argument(flag(name), type=float, metavar="SECONDS", help=_about(key))
        else:
            parser.add_argument(flag(name), metavar=name.rpartition("_")[2].upper(), help=_about(key))
    parser.add_argument(
        "--store-secrets",
        choices=["file", "profile"],
        help="where secrets that are typed or piped in go: each to a file of its own (default), or into the profile",
    )


def given(args: argparse.Namespace) -> dict[str, object]:
    """Give the keys that the flags say, as TOML has them; secrets from standard input are `piped`'s.

    Raises:
        Problem: a command cannot be split into words.

    """
    keys: dict[str, object] = {}
    for name, key in PROFILE_KEYS.items():
        if key.kind is Kind.SECRET:
            value: object = _source(args, name)
        elif key.kind is Kind.FILE and getattr(args, name) is not None:
            value = absolute(getattr(args, name))
        else:
            value = getattr(args, name)
        if value is not None:
            keys[name] = value
    return keys


def piped(args: argparse.Namespace) -> dict[str, Secret]:
    """Read the secrets that were promised on standard input, one a line, in the order of `SECRETS`.

    Raises:
        Problem: there are more or fewer lines, or a line cannot be a secret.
        EOFError: standard input is a terminal, and it ended.

    """
    wanted = [key for key in SECRETS if getattr(args, f"{key}_stdin")]
    if not wanted:
        return {}
    if sys.stdin.isatty():
        return {key: ask_secret(key.replace("_", " ").capitalize()) for key in wanted}
    text = sys.stdin.buffer.read(64 * 1024 * len(wanted) + 1).decode("utf-8", "surrogateescape")
    lines = text.removesuffix("\n").split("\n") if text else []
    if len(lines) != len(wanted):
        names = ", then ".join(wanted)
        raise Problem(f"standard input has {len(lines)} lines; expected: {names}, one a line", exit_status=2)
    for key, line in zip(wanted, lines, strict=True):
        if flaw := secret_flaw(line):
            raise Problem(f"the {key} on standard input {flaw}", exit_status=2)
    return {key: Secret(line) for key, line in zip(wanted, lines, strict=True)}


def words_of(command: str) -> list[str]:
    """Split a command as a shell would, without running one.

    Raises:
        Problem: a quote is not closed, or there is nothing.

    """
    try:
        words = shlex.split(command)
    except ValueError as wrong:
        raise Problem(f"the command cannot be split into words: {wrong}", exit_status=2) from None
    if not words:
        raise Problem("the command is empty", exit_status=2)
    return words


def absolute(path: str) -> str:
    """Make a path of the command line one that holds wherever the daemon runs."""
    return os.path.abspath(os.path.expanduser(path))


def _source(args: argparse.Namespace, name: str) -> dict[str, object] | None:
    kinds: dict[str, Callable[[str], object]] = {
        "file": _file_that_stays,
        "command": words_of,
        "env": str,
        "credential": str,
    }
    for kind, value_of in kinds.items():
        if (value := getattr(args, f"{name}_{kind}")) is not None:
            return {kind: value_of(value)}
    return None


def _file_that_stays(path: str) -> str:
    found = absolute(path)
    if found == "/dev/stdin" or found.startswith(("/dev/fd/", "/proc/")):  # --password-file <(pass show pm/prod)
        raise Problem(
            f"{found} is gone by the time the daemon reads the secret",
            "have the daemon run the command itself (the flag ending in -command), or pipe the secret in (-stdin)",
            exit_status=2,
        )
    return found


def _add_secret_flags(parser: argparse.ArgumentParser, name: str, key: Key) -> None:
    sources = parser.add_argument_group(flag(name)[2:], f"{_about(key)} It comes from one of:")
    one = sources.add_mutually_exclusive_group()
    one.add_argument(f"{flag(name)}-file", metavar="PATH", help="a file that holds nothing else")
    one.add_argument(f"{flag(name)}-command", metavar="COMMAND", help="what this prints: 'pass show pm/prod'")
    one.add_argument(f"{flag(name)}-stdin", action="store_true", help="one line of standard input")
    one.add_argument(f"{flag(name)}-env", metavar="VARIABLE", help="the environment of a pmcredd run by hand")
    one.add_argument(f"{flag(name)}-credential", metavar="NAME", help="a systemd credential")


def _about(key: Key) -> str:
    return key.help.replace("%", "%%")  # argparse reads % as its own


def flag(name: str) -> str:
    """Give the flag of a key: client_id becomes --client-id."""
    return f"--{name.replace('_', '-')}"
