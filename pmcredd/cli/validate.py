"""Whether the profiles would still be right with one file more, or changed: asked before anything is written."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pmcredd import config_files
from pmcredd.cli.problem import Problem, from_os_error, no_such_profile
from pmcredd.paths import config_file, profiles_dir
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


def find(environ: Mapping[str, str], name: str) -> Profile:
    """Read the profile of that name.

    Raises:
        Problem: there is none, or the files have mistakes.

    """
    profiles = load(environ).profiles
    if name not in profiles:
        raise no_such_profile(name, profiles)
    return profiles[name]


def misconfigured(mistakes: tuple[Mistake, ...]) -> Problem:
    """Give the error that lists these mistakes."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    lines = [f"the profiles have {count}:", *map(str, mistakes)]
    return Problem("\n".join(lines), "mend that, then `pmcredd --check`", exit_status=6)


@dataclass(frozen=True, slots=True)
class Checker:
    """The files as they are now; tells what would be wrong if one of them had another text."""

    files: tuple[SourceFile, ...]
    home: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Checker":
        """Read the files as they are, with the mistakes they may have: a person is about to mend them.

        Raises:
            Problem: one cannot be read at all.

        """
        return cls(tuple(_sources(environ)), config_files.home(environ))

    def config(self) -> Config:
        """Read the files as they are.

        Unlike `load`, this takes a profiles file that $PMCRED_CONFIG names and that is not there yet for an empty one.

        Raises:
            Problem: they have mistakes; the message lists every one.

        """
        try:
            return read_config(self.files, home=self.home)
        except BadConfig as bad:
            raise misconfigured(bad.mistakes) from None

    def with_text(self, path: Path, text: str, *, mode: int) -> Config:
        """Read all files as if `path` held `text`.

        What was wrong in other files before is not held against this one: they are mended one after the other.

        Raises:
            BadConfig: this text is wrong, by itself or beside the other files.

        """
        others = [file for file in self.files if file.path != str(path)]
        changed = SourceFile(
            path=str(path), text=text.removeprefix("\ufeff"), mode=mode, ours=path.parent.name == "profiles.d"
        )
        try:
            return read_config([*others, changed], home=self.home)
        except BadConfig as bad:
            before = self._mistakes()
            new = tuple(one for one in bad.mistakes if one.file == str(path) or one not in before)
            if new:
                raise BadConfig(new) from None
            return read_config([changed], home=self.home)

    def file_of(self, name: str) -> Path:
        """Find the file in which a profile stands, even if it cannot be parsed at the moment.

        Raises:
            Problem: no file has it.

        """
        known: list[str] = []
        for file in self.files:
            names = _names(file.text)
            if name in names:
                return Path(file.path)
            known += names
        raise no_such_profile(name, known)

    def _mistakes(self) -> frozenset[Mistake]:
        try:
            read_config(self.files, home=self.home)
        except BadConfig as bad:
            return frozenset(bad.mistakes)
        return frozenset()


def _names(text: str) -> list[str]:
    try:
        profiles = tomllib.loads(text).get("profiles")
    except tomllib.TOMLDecodeError:
        return re.findall(r"""^\s*\[\s*profiles\s*\.\s*["']?([A-Za-z0-9._-]+?)["']?\s*\]""", text, re.MULTILINE)
    return list(profiles) if isinstance(profiles, dict) else []


def _sources(environ: Mapping[str, str]) -> Iterator[SourceFile]:
    main, folder = Path(os.path.abspath(config_file(environ))), Path(os.path.abspath(profiles_dir(environ)))
    ours = sorted(path for path in folder.glob("*.toml") if not path.name.startswith("."))
    for path in [main, *ours]:
        try:
            text = path.read_text(encoding="utf-8-sig")  # as config_files does
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError):
                raise from_os_error(f"read {path}", error) from None
            raise Problem(f"cannot read {path}: it is not UTF-8", exit_status=6) from None
        yield SourceFile(path=str(path), text=text, mode=mode, ours=path != main)
