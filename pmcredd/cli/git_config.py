"""`pmcred credential install` and `uninstall`: the lines of git's configuration that name pmcred for a URL."""

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pmcredd import config_files
from pmcredd.cli import installation
from pmcredd.cli.problem import Problem, no_such_profile
from pmcredd.cli.terminal import clean, say
from pmcredd.profiles import BadConfig, Profile
from pmcredd.urls import BadUrl, parse_url

_COMMAND = "git-credential-pmcred"
_BEARER_SINCE = (2, 46)  # git's RelNotes: `authtype`
_SECONDS = 60
_NOTHING_DONE = (1, 5)  # git-config(1): the key is not there; nothing to unset
_MISCONFIGURED = 6  # exit status


@dataclass(frozen=True, slots=True)
class Section:
    """What git is told about a URL: who helps, and what tells the profiles of one host apart."""

    url: str
    helper: str
    username: str | None = None
    use_path: bool = False

    def __str__(self) -> str:
        """Give it as it stands in git's configuration."""
        lines = [f"[credential {_quoted(self.url, always=True)}]", "\thelper =", f"\thelper = {_quoted(self.helper)}"]
        if self.username is not None:
            lines.append(f"\tusername = {self.username}")
        if self.use_path:
            lines.append("\tuseHttpPath = true")
        return "\n".join(lines)


def install(args: argparse.Namespace) -> int:
    """Make pmcred the only helper for the URLs of profiles, and print the lines; gives the exit status.

    Raises:
        Problem: a name is no profile's, two are for one URL, or git or its configuration cannot be used.

    """
    sections = _sections(_named(args), _profiles(), helper_line(_command()))
    if args.show:
        print("\n".join(map(str, sections)))
        return 0
    git = _Git(args)
    for section in sections:
        _write(git, section)
    print("\n".join(map(str, sections)))
    say(f"Written with {git}; to undo it: {_undo(args)}")
    for section in sections:
        _warn(git, section)
    return 0


def uninstall(args: argparse.Namespace) -> int:
    """Take out what `install` wrote; gives the exit status.

    Raises:
        Problem: a name is neither a profile's nor a URL, or git or its configuration cannot be used.

    """
    git = _Git(args)
    profiles: dict[str, Profile] | None = None
    for name in _named(args):
        try:
            url = str(parse_url(name))  # of a profile that is gone
        except BadUrl:
            profiles = profiles or _profiles()
            if name not in profiles:
                raise no_such_profile(clean(name), profiles) from None
            url = profiles[name].url
        say(f"credential.{url}: {'taken out' if _take_out(git, url) else 'there is nothing of pmcred'}")
    return 0


def helper_line(command: Path) -> str:
    """Write the path of the helper as `credential.helper` has to have it.

    It is absolute: cron, an IDE and a service have another PATH than the shell it is installed from. git hands it to
    the shell with the operation behind it; what does not begin with a slash needs the ! to be no name of a subcommand.
    """
    path = str(command)
    return path if shlex.quote(path) == path else f"!{shlex.quote(path)}"


def _sections(names: Sequence[str], profiles: dict[str, Profile], helper: str) -> list[Section]:
    sections: dict[str, Section] = {}
    chosen: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name not in profiles:
            raise no_such_profile(clean(name), profiles)
        url = profiles[name].url
        if url in chosen:
            scheme, _, rest = url.partition("://")
            raise Problem(
                f"{chosen[url]} and {name} are both for {url}: git can be told of one",
                f"pmcred credential install {chosen[url]}, and write {scheme}://{name}@{rest} where {name} is meant",
                exit_status=2,
            )
        chosen[url] = name
        origin = parse_url(url).origin
        beside = [each for each in profiles.values() if each.name != name and parse_url(each.url).origin == origin]
        sections[url] = Section(
            url,
            helper,
            username=name if any(each.url == url for each in beside) else None,
            use_path=url != origin or any(each.url != url for each in beside),
        )
    return list(sections.values())


def _write(git: "_Git", section: Section) -> None:
    key = f"credential.{section.url}.helper"
    found = git.values(key)
    ours = [value for value in found if _is_ours(value)]
    (command,) = _words(section.helper)
    for stale in dict.fromkeys(ours):
        old, *options = _words(stale)
        if old != command:  # of an installation that has moved; --for and the like stay
            git.run(
                "--fixed-value", "--replace-all", key, " ".join([section.helper, *map(shlex.quote, options)]), stale
            )
    if not ours:
        git.run("--add", key, "")  # who is asked before us would go on giving a token that has died
        git.run("--add", key, section.helper)
    if section.username is not None:
        git.run("--replace-all", f"credential.{section.url}.username", section.username)
    elif ours:
        git.run("--unset-all", f"credential.{section.url}.username")  # it chose among profiles that were more once
    if section.use_path:
        git.run("--replace-all", f"credential.{section.url}.useHttpPath", "true")


def _take_out(git: "_Git", url: str) -> bool:
    key = f"credential.{url}.helper"
    found = git.values(key)
    ours = [value for value in found if _is_ours(value)]
    for value in dict.fromkeys(ours):
        git.run("--fixed-value", "--unset-all", key, value)
    if ours:
        if found.count("") == 1:  # the empty line is ours: what stands before it shall help again
            git.run("--unset-all", key, "^$")
        git.run("--unset-all", f"credential.{url}.username")
        git.run("--fixed-value", "--unset-all", f"credential.{url}.useHttpPath", "true")  # false is none of ours
    return bool(ours)


def _warn(git: "_Git", section: Section) -> None:
    """Tell of other helpers that git asks for this URL too, and of a git that is too old for a header."""
    for value in git.effective_helpers(section.url):
        if not _is_ours(value):
            say(
                f"  warning: git also runs the helper {clean(value)} for {section.url}: it may keep a token and go on "
                "giving it when it is dead. `git config --show-origin --get-regexp 'credential.*helper'` shows where."
            )
    version = git.version()
    if version < _BEARER_SINCE:
        say(
            f"  git {version[0]}.{version[1]} passes the token on as a password. For `Authorization: Bearer`, which is "
            "what ProcessMaker wants, git 2.46 is needed; `git credential fill` works with both."
        )


class _Git:
    """`git config`, for one of its files."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._file = ("--local",) if args.local else ("--file", args.file) if args.file else ("--global",)

    def __str__(self) -> str:
        return shlex.join(["git", "config", *self._file])

    def run(self, *words: str) -> None:
        """Change something; that there was nothing to unset is no failure."""
        done = _git("config", *self._file, *words)
        if done.returncode not in {0, *_NOTHING_DONE}:
            raise _failed(f"{self}", done)

    def values(self, key: str) -> list[str]:
        """Give all the values of a key in this file."""
        done = _git("config", *self._file, "--null", "--get-all", key)
        if done.returncode not in {0, *_NOTHING_DONE}:
            raise _failed(f"{self}", done)
        return done.stdout.split("\0")[:-1]

    def effective_helpers(self, url: str) -> list[str]:
        """Give the helpers that git asks for a URL from here, of all its files; an empty one drops those before it."""
        # What --file names need not be read by git at all: it is added at the end.
        done = _git("config", "--null", "--get-regexp", r"^credential\..*helper$")
        listed = done.stdout.split("\0")[:-1]
        if self._file[0] == "--file":
            listed += _git("config", *self._file, "--null", "--get-regexp", r"^credential\..*helper$").stdout.split(
                "\0"
            )
        found: list[str] = []
        for key, _, value in (each.partition("\n") for each in listed):
            place = key.removeprefix("credential").removesuffix("helper").strip(".")
            if not f"{url}/".startswith(f"{place.rstrip('/')}/") and place:
                continue
            found = [*found, value] if value else []
        return found

    def version(self) -> tuple[int, int]:
        """Give git's version, the two numbers that count."""
        found = re.search(r"(\d+)\.(\d+)", _git("version").stdout)
        return (int(found[1]), int(found[2])) if found else _BEARER_SINCE


def _git(*words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["git", *words],  # noqa: S607 - the one on PATH, which is the one that will ask
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise Problem(f"git cannot be run: {error.strerror}", "install git, or --show prints what to write") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"git {words[0]} takes too long") from None


def _failed(attempt: str, done: "subprocess.CompletedProcess[str]") -> Problem:
    why = done.stderr.strip() or f"exit status {done.returncode}"
    return Problem(
        f"{clean(attempt)} failed: {clean(why)}", "--show prints what to write; --file FILE writes elsewhere"
    )


def _named(args: argparse.Namespace) -> list[str]:
    names = args.names or [name for name in [os.environ.get("PMCRED_PROFILE")] if name]
    if not names:
        raise Problem(
            "no profile is named, and PMCRED_PROFILE is not set", f"pmcred credential {args.verb} NAME", exit_status=2
        )
    return names


def _profiles() -> dict[str, Profile]:
    try:
        return dict(config_files.load(os.environ).profiles)
    except BadConfig as bad:
        lines = "\n".join(map(str, bad.mistakes))
        raise Problem(f"the profiles have mistakes:\n{lines}", "pmcredd --check", exit_status=_MISCONFIGURED) from None


def _command() -> Path:
    return installation.commands(_COMMAND, then="pmcred credential install") / _COMMAND


def _is_ours(value: str) -> bool:
    try:
        word = next(iter(_words(value)), "")
    except ValueError:  # an open quote: somebody else's
        return False
    return PurePath(word).name == _COMMAND or (word == "pmcred" and not value.startswith("!"))


def _words(helper: str) -> list[str]:
    return shlex.split(helper.removeprefix("!"))


def _undo(args: argparse.Namespace) -> str:
    where = ["--local"] if args.local else ["--file", args.file] if args.file else []
    return shlex.join(["pmcred", "credential", "uninstall", *_named(args), *where])


def _quoted(value: str, *, always: bool = False) -> str:
    if not always and not re.search(r'[\s"\\;#]', value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
