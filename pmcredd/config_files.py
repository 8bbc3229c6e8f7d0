"""Finds and reads the profiles files: profiles.toml and, beside it, profiles.d/*.toml. Blocking.

OSError and UnicodeError end here: each becomes a Mistake, told together with what is wrong in the other files.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator, Mapping

from pmcredd import paths
from pmcredd.profile_reader import read_config
from pmcredd.profiles import BadConfig, Config, Mistake, SourceFile
from pmcredd.regular_file import read_regular_file

MAX_BYTES = 16 * 1024 * 1024  # 10,000 profiles are 3 MB; what is larger is no profiles file


class _Unreadable(Exception):
    """Why a path cannot be used, and what mends it."""

    def __init__(self, path: str, wrong: str, mend: str) -> None:
        super().__init__(wrong)
        self.mistake = Mistake(path, None, None, wrong, mend)


def load(environ: Mapping[str, str]) -> Config:
    """Read the profiles of the user whose environment this is.

    No file at all is a Config without profiles, unless $PMCRED_CONFIG names one that is not there. Raises BadConfig
    with every mistake of all files.
    """
    files, mistakes = sources(environ)
    try:
        config = read_config(files, home=home(environ))
    except BadConfig as bad:
        raise BadConfig((*mistakes, *bad.mistakes)) from None
    if mistakes:
        raise BadConfig(mistakes)
    return config


def sources(environ: Mapping[str, str]) -> tuple[tuple[SourceFile, ...], tuple[Mistake, ...]]:
    """Give the profiles files as they are, unparsed, in the order in which they are read; and why others are not.

    A file in the second part (missing, no regular file, not UTF-8, somebody else's...) is not in the first.
    """
    files: list[SourceFile] = []
    mistakes: list[Mistake] = []
    for path, ours in _candidates(environ, mistakes):
        try:
            files.append(_read(path, ours=ours))
        except _Unreadable as unreadable:
            mistakes.append(unreadable.mistake)
    return tuple(files), tuple(mistakes)


def home(environ: Mapping[str, str]) -> str:
    """Give what ~ stands for: $HOME, else the home directory of the password database, else an empty text."""
    if (named := environ.get("HOME", "")).startswith("/"):
        return named
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's uid that nobody entered
        return ""


def _candidates(environ: Mapping[str, str], mistakes: list[Mistake]) -> Iterator[tuple[str, bool]]:
    main = os.path.abspath(paths.config_file(environ))
    # lexists: a link that leads nowhere is there, and somebody expects profiles from it
    if environ.get("PMCRED_CONFIG") or os.path.lexists(main):
        yield main, False
    folder = os.path.abspath(paths.profiles_dir(environ))
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        mistakes.append(_unreadable(folder, error).mistake)
        return
    for name in names:
        # A leading dot is an editor's lock or a file half-written by `pmcred`.
        if name.endswith(".toml") and not name.startswith("."):
            yield os.path.join(folder, name), True


def _read(path: str, *, ours: bool) -> SourceFile:
    try:
        content, status = read_regular_file(path, limit=MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None
    _check(path, status)
    if len(content) > MAX_BYTES:
        raise _Unreadable(path, f"is larger than {MAX_BYTES >> 20} MiB", "split it into files of profiles.d")
    try:
        text = content.decode("utf-8-sig")  # some editors put a byte order mark first
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = f"is not UTF-8 (at line {line})"
    else:
        return SourceFile(path=path, text=text, mode=stat.S_IMODE(status.st_mode), ours=ours)
    # Not in the handler: the error holds the whole file, secrets included, and would be this one's context.
    raise _Unreadable(path, wrong, "save it as UTF-8")


def _check(path: str, status: os.stat_result) -> None:
    """Refuse what somebody else could have written: a profile names commands that we run."""
    if status.st_uid not in {os.geteuid(), 0}:
        wrong = f"belongs to another user (uid {status.st_uid})"
        raise _Unreadable(path, wrong, f"chown {os.geteuid()} {shlex.quote(path)}")
    if status.st_mode & stat.S_IWOTH:
        wrong = f"can be written by everybody (mode {stat.S_IMODE(status.st_mode):04o})"
        raise _Unreadable(path, wrong, f"chmod 600 {shlex.quote(path)}")


def _unreadable(path: str, error: OSError) -> _Unreadable:
    match error:
        case FileNotFoundError():
            mend = "write it with `pmcred init`, or put PMCRED_CONFIG right"
        case PermissionError():
            mend = f"chmod u+rX {shlex.quote(path)}, and look at the directories above it"
        case _:
            mend = "put a readable file there"
    return _Unreadable(path, f"cannot be read: {error.strerror}", mend)
