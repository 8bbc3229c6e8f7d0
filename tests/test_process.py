"""What the process is to the system."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pmcredd.process import StateLock, StateProblem, machine_id


def test_hardened() -> None:
    """A hardened process is not dumpable, leaves no core, and makes private files."""
    script = """
import os, resource
from pmcredd import process
process.harden()
import ctypes
print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "0 (0, 0) 0o77\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a habit of glibc's")
def test_freed_memory_goes_back_to_the_system() -> None:
    """What a thread took for scrypt's sake is not the process's any more when it is done."""
    script = """
import hashlib, os, threading
from pathlib import Path
from pmcredd import process
process.return_freed_memory()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def stretch():
    for _ in range(3):
        hashlib.scrypt(b"", salt=b"", n=4096, r=8, p=1)
    grown.append(resident() - before)
grown = []
before = resident()
thread = threading.Thread(target=stretch)
thread.start()
thread.join()
print(*grown)
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 2 * 1024 * 1024


def test_one_process_may_spend(tmp_path: Path) -> None:
    """The second process is refused, told who holds the lock and how to end it; after the first is gone it may."""
    first = StateLock.take(tmp_path / "state", Path("/run/socket"))
    with pytest.raises(StateProblem) as caught:
        StateLock.take(tmp_path / "state", Path("/run/other"))

    assert str(os.getpid()) in caught.value.message
    assert "pmcred stop" in caught.value.hint
    first.release()
    StateLock.take(tmp_path / "state", Path("/run/other")).release()


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    """A missing state directory is made, for its owner alone."""
    StateLock.take(tmp_path / "a" / "state", Path("/s")).release()

    assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705])
def test_a_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A state directory that others may enter is not used; the message has the chmod."""
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(mode)

    with pytest.raises(StateProblem) as caught:
        StateLock.take(directory, Path("/s"))

    assert caught.value.hint == f"chmod 700 {directory}"


def test_a_file_in_its_place(tmp_path: Path) -> None:
    """A state directory that is a file is a clear error."""
    (tmp_path / "state").write_text("")

    with pytest.raises(StateProblem) as caught:
        StateLock.take(tmp_path / "state", Path("/s"))

    assert "PMCRED_STATE_DIR" in caught.value.hint


def test_a_lock_file_with_nonsense_in_it(tmp_path: Path) -> None:
    """What stands in the lock file is only a label: nonsense there keeps nobody out and crashes nothing."""
    first = StateLock.take(tmp_path, Path("/s"))
    (tmp_path / "lock").write_text("[nonsense")

    with pytest.raises(StateProblem, match="another pmcredd keeps"):
        StateLock.take(tmp_path, Path("/s"))

    first.release()


def test_the_machine_has_an_id_or_none() -> None:
    """The machine's id is a line of hexadecimal digits, or empty."""
    assert all(digit in "0123456789abcdef" for digit in machine_id())
