"""Looks at the profiles, and at the owners and modes of the files and directories that the daemon uses. Blocking."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from pmcredd import paths, state_lock
from pmcredd.cli.doctor.finding import FILES, PROFILES, Finding
from pmcredd.cli.problem import no_such_profile
from pmcredd.cli.validate import Checker
from pmcredd.engine import state_directory
from pmcredd.profiles import Config, Mistake, Profile
from pmcredd.state_lock import StateProblem

_LITTLE = 1024 * 1024  # bytes on the disk: a database and its journal still fit
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Read:
    """The profiles without mistakes (all, or the one that was named), what else the files say, and what was found."""

    profiles: tuple[Profile, ...]
    config: Config
    findings: tuple[Finding, ...]


def read_profiles(environ: Mapping[str, str], only: str | None) -> Read:
    """Read the profiles as far as they can be read.

    Raises:
        Problem: `only` is the name of no profile.
    """
    checker = Checker.of(environ)
    mistakes = checker.mistakes()
    config = checker.sound()
    if only is not None and only not in checker.names() and not mistakes:
        raise no_such_profile(only, checker.names())
    profiles = [profile for name, profile in config.profiles.items() if only in (None, name)]
    warnings = [one for one in config.warnings if only is None or one.profile in (None, only)]
    findings = [PROFILES.problem("mistake", _place(one), one.mend) for one in mistakes]
    findings += [PROFILES.warning("warning", _place(one), one.mend) for one in warnings]
    place = paths.config_file(environ).parent
    if not mistakes and not config.profiles:
        findings.append(PROFILES.warning("profiles", f"there are none in {place}", "pmcred init"))
    elif not mistakes:
        number = len(config.profiles)
        findings.append(PROFILES.ok("profiles", f"{number} profile{'s' * (number > 1)} in {place}, without mistakes"))
    return Read(tuple(profiles), config, tuple(findings))


def _place(one: Mistake) -> str:
    return str(Mistake(one.file, one.profile, one.key, one.wrong, ""))


def look_at_files(environ: Mapping[str, str], config: Config, profiles: tuple[Profile, ...]) -> list[Finding]:
    """Look at all but the files of secrets, which are judged where they are read."""
    folder = os.path.abspath(paths.config_file(environ).parent)
    found = [*_guarded(folder), *_guarded(os.path.abspath(paths.profiles_dir(environ)))]
    keys = {key for each in profiles if (key := each.client_key or each.client_cert) is not None}
    for key in sorted(keys):
        found += _private_key(key)
    found = found or [FILES.ok("profiles", f"nobody else can write in {folder}")]
    return [*found, *_state(environ, config)]


def _guarded(folder: str) -> list[Finding]:
    """Find fault with a directory in which others could put profiles: those name commands that we run."""
    status = _status(folder)
    if status is None:
        return []
    if status.st_uid not in {os.geteuid(), 0}:
        mend = f"chown {os.geteuid()} {quote(folder)}"
        return [FILES.problem("profiles", f"{folder} belongs to another user (uid {status.st_uid})", mend)]
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        sentence = f"others can put profiles, which name commands to run, into {folder} ({_mode(status)})"
        return [FILES.problem("profiles", sentence, f"chmod go-w {quote(folder)}")]
    return []


def _private_key(path: str) -> list[Finding]:
    status = _status(path)
    if status is None or not status.st_mode & 0o077:
        return []  # one that is missing is told by TLS
    return [FILES.warning("client_key", f"others can read {path} ({_mode(status)})", f"chmod 600 {quote(path)}")]


def _state(environ: Mapping[str, str], config: Config) -> list[Finding]:
    try:
        directory = state_directory(config, environ)
    except StateProblem as problem:
        return [FILES.problem("state", problem.message, problem.hint)]
    status = _status(directory)
    if status is None:
        return [FILES.ok("state", f"{directory} is not there yet: the daemon makes it")]
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return [FILES.problem("state", f"{directory} is not a directory of yours", "name one in PMCRED_STATE_DIR")]
    found = []
    if status.st_mode & 0o077:
        sentence = f"others can enter the state directory {directory} ({_mode(status)})"
        found.append(FILES.problem("state", sentence, f"chmod 700 {quote(str(directory))}"))
    file = _status(directory / "state.db")
    if file is not None and (file.st_mode & 0o077 or file.st_uid != os.geteuid()):
        sentence = f"the state file {directory / 'state.db'} is not yours alone ({_mode(file)}, uid {file.st_uid})"
        found.append(FILES.problem("state", sentence, f"chmod 600 {quote(str(directory / 'state.db'))}"))
    return [*found, *_disk(directory, status)] or [FILES.ok("state", f"{directory} is yours alone")]


def _disk(directory: Path, status: os.stat_result) -> list[Finding]:
    found = []
    try:
        space = os.statvfs(directory)
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if space.f_bavail * space.f_frsize < _LITTLE:
        sentence = f"the disk of {directory} is full: a new token could not be saved"
        found.append(FILES.problem("state", sentence, f"df -h {quote(str(directory))}"))
    if kind := state_lock.network_file_system(mounts, status.st_dev):
        sentence = f"{directory} is on a network file system ({kind}), where another machine may spend the same tokens"
        found.append(FILES.warning("state", sentence, "name a directory on a local disk in PMCRED_STATE_DIR"))
    return found


def look_at_socket(path: Path) -> list[Finding]:
    """Look whether only this user can reach a socket."""
    found = []
    for place, forbidden, mend in ((path.parent, 0o077, "700"), (path, 0o177, "600")):
        status = _status(place)
        if status is None:
            continue
        if status.st_uid != os.geteuid():
            found.append(
                FILES.problem("socket", f"{place} belongs to another user (uid {status.st_uid})", f"ls -ld {place}")
            )
        elif status.st_mode & forbidden:
            sentence = f"others can reach {place} ({_mode(status)})"
            found.append(FILES.problem("socket", sentence, f"chmod {mend} {quote(str(place))}"))
    return found or [FILES.ok("socket", f"{path} can be reached by you alone")]


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _mode(status: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(status.st_mode):04o}"
