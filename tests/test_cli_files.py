"""Files are written whole or not at all, whatever the disk does."""

import errno
import os
import stat
from pathlib import Path

import pytest
from support.profile_command import put

from pmcredd.cli import files
from pmcredd.cli.problem import Problem


def test_a_set_of_files_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """The second one is refused: the first one is gone again."""
    put(tmp_path / "d" / "b", "there")
    with pytest.raises(Problem, match="is there already"):
        files.write_new([(tmp_path / "d" / "a", "new"), (tmp_path / "d" / "b", "new")])
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["b"]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is renamed into its place, and still never over another one."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    files.write_new([(tmp_path / "d" / "a", "new")])
    with pytest.raises(Problem, match="is there already"):
        files.write_new([(tmp_path / "d" / "a", "newer")])
    assert {path.name: path.read_text() for path in (tmp_path / "d").iterdir()} == {"a": "new"}


@pytest.mark.parametrize(("call", "successes"), [("link", 0), ("fsync", 0), ("fsync", 1)])
def test_a_disk_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, successes: int
) -> None:
    """The error names the file and the reason; also where only the directory could not be synced."""
    real, left = getattr(os, call), [None] * successes

    def full(*arguments: object) -> None:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(Problem, match=r"cannot write .*/a: No space left on device"):
        files.write_new([(tmp_path / "d" / "a", "new")])
    assert list((tmp_path / "d").iterdir()) == []


def test_a_directory_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse that, and need it not."""
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    files.write_new([(tmp_path / "d" / "a", "new")])
    assert (tmp_path / "d" / "a").read_text() == "new"


@pytest.mark.parametrize(("call", "said"), [("rename", "replace"), ("unlink", "remove")])
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, said: str
) -> None:
    """Replacing and removing: the file is as it was, and nothing lies beside it."""
    path = put(tmp_path / "d" / "a", "old")
    real = getattr(os, call)

    def refuse(first: object, *more: object) -> None:
        if call == "rename" or first == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(first, *more)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(Problem, match=f"cannot {said} .*/a: Input/output error"):
        files.replace(path, "new", expected="old") if said == "replace" else files.remove(path)
    assert {each.name: each.read_text() for each in (tmp_path / "d").iterdir()} == {"a": "old"}


def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    """Root mends a profile of somebody else: it stays theirs."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = put(tmp_path / "a", "old", mode=0o640)
    os.chown(path, 12345, 54321)
    files.replace(path, "new", expected="old")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o640)
    assert path.read_text() == "new"


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the directory that was meant."""
    put(tmp_path / "d", "a file")
    with pytest.raises(Problem, match=r"cannot make .*/d/e: Not a directory"):
        files.write_new([(tmp_path / "d" / "e" / "f", "new")])
