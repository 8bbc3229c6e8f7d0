"""The wheel of this tree, another one of a later version, and a venv that either can be installed in."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
LATER = "99.0"
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
# Writes down every module whose import begins in the daemon itself, found or not. A .pth file's line starts it.
_TELL_IMPORTS = """
import os, sys
if place := os.environ.get("IMPORTS_TOLD"):
    kept = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sys.addaudithook(lambda event, found: event == "import" and os.write(kept, found[0].encode() + b"\\n"))
"""


def build(place: Path) -> tuple[Path, Path]:
    """Build this tree's wheel, and one that differs from it in the version alone, which is `LATER`."""
    tools, later = place / "tools", place / "later"
    needed = tomllib.loads((TREE / "pyproject.toml").read_text())["build-system"]["requires"]
    quiet("pip", "install", "--target", str(tools), *needed)
    shutil.copytree(TREE, later, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    module = later / "pmcredd" / "__init__.py"
    module.write_text(_VERSION.sub(f'__version__ = "{LATER}"', module.read_text(), count=1))
    found: list[Path] = []
    for tree, to in ((TREE, place / "this"), (later, place / "other")):
        quiet("hatchling", "build", "-t", "wheel", "-d", str(to), cwd=tree, PYTHONPATH=str(tools))
        found += to.glob("pmcredd-*.whl")
    this, other = found
    return this, other


def make_venv(place: Path) -> Path:
    """Make a venv with what pmcredd needs at run time, copied from here: nothing is downloaded. Gives its packages."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    for name in _needed("pmcredd", set()):
        _copy(importlib.metadata.distribution(name), packages)
    (packages / "tell_imports.py").write_text(_TELL_IMPORTS)
    (packages / "tell_imports.pth").write_text("import tell_imports\n")
    return packages


def install(place: Path, wheel: Path) -> None:
    """Install the wheel in this venv, over whatever version is there."""
    options = ["--no-deps", "--no-index", "--force-reinstall", "--no-compile"]
    quiet("pip", "--python", str(place / "bin" / "python"), "install", *options, str(wheel))


def quiet(module: str, *argv: str, cwd: Path | None = None, **environ: str) -> None:
    """Run a Python program; what it says is shown only if it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", module, *argv],
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", **environ},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout.decode()


def _needed(name: str, known: set[str]) -> Iterator[str]:
    """Give what a distribution needs without its extras, and what that needs in turn."""
    for requirement in importlib.metadata.requires(name) or ():
        words = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert words is not None
        if words[0] in known or "extra ==" in requirement:
            continue
        try:
            importlib.metadata.distribution(words[0])
        except importlib.metadata.PackageNotFoundError:  # for another system, or another Python
            continue
        known.add(words[0])
        yield words[0]
        yield from _needed(words[0], known)


def _copy(found: importlib.metadata.Distribution, packages: Path) -> None:
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            to = packages / str(file)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), to)
