"""Whether the profiles would still be right with one file more, or changed: asked before anything is written."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pmcredd import config_files
from pmcredd.cli.problem import Problem, no_such_profile
from pmcredd.paths import config_file
from pmcredd.profile_reader import read_config
from pmcredd.profiles import BadConfig, Config, Mistake, Profile, SourceFile


def load(environ: Mapping[str, str]) -> Config:
    """Read all profiles.

    Raises:
        Problem: they have mistakes; the message lists every one.

    """
    try:
        return config_files.load(environ)
    except BadConfig as bad:
        raise misconfigured(bad.mistakes) from None


def misconfigured(mistakes: Sequence[Mistake]) -> Problem:
    """Give the error that lists these mistakes."""
    lines = [f"the profiles have {counted(mistakes)}:", *map(str, mistakes)]
    return Problem("\n".join(lines), "mend that, then `pmcredd --check`", exit_status=6)


def counted(mistakes: Sequence[Mistake]) -> str:
    """Say how many they are."""
    return "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"


@dataclass(frozen=True, slots=True)
class Checker:
    """The files as they are now; tells what would be wrong if one of them had another text.

    They may have mistakes: who mends one file, or adds one, is not held up by what is wrong in another.
    `unreadable` tells which files cannot be read at all.
    """

    files: tuple[SourceFile, ...]
    unreadable: tuple[Mistake, ...]
    home: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Checker":
        """Read the files.

        One that $PMCRED_CONFIG names and that is not there yet is no mistake here: the first profile that is written
        makes it.
        """
        files, unreadable = config_files.sources(environ)
        main = os.path.abspath(config_file(environ))
        if not os.path.lexists(main):
            unreadable = tuple(one for one in unreadable if one.file != main)
        return cls(files, unreadable, config_files.home(environ))

    def mistakes(self) -> tuple[Mistake, ...]:
        """Tell what is wrong with the files as they are."""
        try:
            read_config(self.files, home=self.home)
        except BadConfig as bad:
            return (*self.unreadable, *bad.mistakes)
        return self.unreadable

    def sound(self) -> Config:
        """Read the profiles that have no mistakes."""
        return self._sound(self.files)

    def find(self, name: str) -> Profile:
        """Read the profile of that name, whatever is wrong with others.

        Raises:
            Problem: there is none, or it has mistakes itself.

        """
        profiles = self.sound().profiles
        if name not in profiles:
            self.file_of(name)
            raise misconfigured(self.mistakes())
        return profiles[name]

    def with_text(self, path: Path, text: str, *, mode: int) -> Config:
        """Read all files as if `path` held `text`; what is wrong in others is left out.

        Raises:
            BadConfig: this text is wrong, by itself or beside the other files.

        """
        others = [file for file in self.files if file.path != str(path)]
        ours = next((file.ours for file in self.files if file.path == str(path)), True)
        changed = SourceFile(path=str(path), text=text.removeprefix("\ufeff"), mode=mode, ours=ours)
        try:
            return read_config([*others, changed], home=self.home)
        except BadConfig as bad:
            before = self.mistakes()
            new = tuple(one for one in bad.mistakes if one.file == str(path) or one not in before)
            if new:
                raise BadConfig(new) from None
            return self._sound([*others, changed])

    def names(self) -> Mapping[str, Path]:
        """Give the file of each profile, also of those with mistakes."""
        return {name: Path(file.path) for file in self.files for name in _names(file)}

    def file_of(self, name: str) -> SourceFile:
        """Find the file in which a profile stands, even if it cannot be parsed at the moment.

        Raises:
            Problem: no file has it.

        """
        for file in self.files:
            if name in _names(file):
                return file
        if self.unreadable:  # it may well stand in one of those
            raise misconfigured(self.unreadable)
        raise no_such_profile(name, self.names())

    def _sound(self, files: Iterable[SourceFile]) -> Config:
        """Read what is left without the profiles that are wrong, and without the files where more than those is."""
        files = list(files)
        while True:
            try:
                return read_config(files, home=self.home)
            except BadConfig as bad:
                # A file gets smaller or goes, so this ends; what needed its [defaults] goes in the next round.
                files = [sound for file in files if (sound := _without(file, bad.mistakes)) is not None]


def _without(file: SourceFile, mistakes: Iterable[Mistake]) -> SourceFile | None:
    wrong = {one.profile for one in mistakes if one.file == file.path}
    if not wrong:
        return file
    if None in wrong:
        return None
    import tomli_w  # here: only mistakes need it

    tables = tomllib.loads(file.text)
    profiles = tables["profiles"]
    tables["profiles"] = {name: table for name, table in profiles.items() if name not in wrong}
    return replace(file, text=tomli_w.dumps(tables)) if len(tables["profiles"]) < len(profiles) else None


def _names(file: SourceFile) -> list[str]:
    try:
        profiles = tomllib.loads(file.text).get("profiles")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        header = r"""^\s*\[\s*profiles\s*\.\s*["']?([A-Za-z0-9._-]+?)["']?\s*(?:\]|$)"""
        stem = [Path(file.path).stem] if file.ours else []  # what pmcred called it
        return list(dict.fromkeys(re.findall(header, file.text, re.MULTILINE) + stem))
    return list(profiles) if isinstance(profiles, dict) else []
