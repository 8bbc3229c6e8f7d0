"""What the process is to the system."""

import platform
import subprocess
import sys

import pytest


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
