"""The profile files on disk: made, replaced and removed whole or not at all."""

import contextlib
import errno
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pmcredd.cli.problem import Problem, from_os_error

_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def need_writable(directory: Path) -> None:
    """Make sure that files can be made in `directory`, which need not exist yet. Writes nothing.

    Raises:
        Problem: they cannot.

    """
    there = directory
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise Problem(f"cannot write profiles to {directory}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        raise Problem(
            f"cannot write profiles to {directory}: "
            + (f"{there} is on a read-only file system" if read_only else f"you may not write to {there}"),
            "make it writable, or name another place: PMCRED_CONFIG=/path/profiles.toml",
        )


def write_new(files: Sequence[tuple[Path, str]]) -> None:
    """Make these files, mode 0600, with their directories, mode 0700: all of them or none.

    Raises:
        Problem: one is there already, or the disk refuses one.

    """
    made: list[Path] = []
    with _undisturbed():
        try:
            for path, text in files:
                _make_directory(path.parent)
                _write_one(path, text)
                made.append(path)
        except BaseException:
            for path in made:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            raise


def replace(path: Path, text: str, *, expected: str) -> None:
    """Replace a file's text; owner and mode stay, and a symbolic link goes on pointing to it.

    Raises:
        Problem: the file no longer holds `expected` (somebody else changed it), or the disk refuses.

    """
    target = Path(os.path.realpath(path))
    with _undisturbed():
        try:
            if target.read_text(encoding="utf-8") != expected:
                raise Problem(f"{path} was changed by somebody else in the meantime; nothing was replaced")
            before = os.stat(target)
            temporary = _write_temporary(target, text, like=before)
            try:
                os.rename(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
            _sync_directory(target.parent)
        except OSError as error:
            raise from_os_error(f"replace {path}", error) from None


def remove(path: Path) -> None:
    """Remove a file for good.

    Raises:
        Problem: the disk refuses.

    """
    try:
        os.unlink(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise from_os_error(f"remove {path}", error) from None


def _write_one(path: Path, text: str) -> None:
    try:
        temporary = _write_temporary(path, text, like=None)
        try:
            _put_in_place(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        try:
            _sync_directory(path.parent)
        except BaseException:
            os.unlink(path)
            raise
    except FileExistsError:
        raise Problem(f"{path} is there already; it was not touched", "choose another name, or remove it") from None
    except OSError as error:
        raise from_os_error(f"write {path}", error) from None


def _put_in_place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike rename, it never replaces what somebody else just made
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)


def _write_temporary(path: Path, text: str, *, like: os.stat_result | None) -> Path:
    # Its name does not end in .toml: a daemon that reads the directory right now passes it by.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if like is not None:
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _make_directory(directory: Path) -> None:
    try:
        missing = [place for place in (directory, *directory.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
    except OSError as error:
        raise from_os_error(f"make {directory}", error) from None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the files are all there, or none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
