"""Programs from the npm registry, for the tests of recipes that use them."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

NEWMAN, BRU = "newman@6", "@usebruno/cli@4"


def npm_program(package: str, name: str, temporary: pytest.TempPathFactory) -> Path:
    """Give a program of a package ("newman@6"), which is installed once however many processes run the tests."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm: apt install npm")
    base = temporary.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base  # pytest-xdist gives each process one of its own
    place = shared / "npm" / name
    program = place / "node_modules" / ".bin" / name
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            options = ["--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(place)]
            ran = subprocess.run([npm, "install", *options, package], capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
    return program
