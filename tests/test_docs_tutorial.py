"""docs/tutorial.md is done as it stands there, in a clone, from the first command to the last."""

import os
import random
import shlex
import shutil
import socket
import sys
from pathlib import Path

import pytest
from support.daemon import user_at
from support.doc_pages import DOCS, TREE, blocks
from support.reader import Reader, needs_programs

pytestmark = [pytest.mark.storm, needs_programs]

PAGE = DOCS / "tutorial.md"
PORT = "4711"
THE_READERS_OWN = "## Your own instance"  # from here on it takes a real ProcessMaker, and a systemd


def a_port() -> str:
    """Give a free port that the kernel gives to nobody who asks for any."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return str(port)
    raise AssertionError("no port is free")


def clone(place: Path) -> Path:
    """Copy what git would: a clone has nothing of what was built or is ignored."""
    return shutil.copytree(TREE, place, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "tests"))


def test_every_command_of_the_tutorial_shows_what_the_page_shows(tmp_path: Path, short_path: Path) -> None:
    """Somebody who has nothing but a clone and types what is written there sees what is shown there."""
    user, place, port = user_at(short_path), clone(tmp_path / "clone"), a_port()
    programs = tmp_path / "bin"
    programs.mkdir()
    # The reader's python3, and not the one of the venv that the tests run in.
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')  # type: ignore[attr-defined]
    (programs / "python3").chmod(0o755)
    visit = Path(__file__).parent / "support" / "visit.py"
    environ = {name: value for name, value in os.environ.items() if name.startswith("PIP_")} | {
        "HOME": str(user.home),
        "PATH": f"{programs}:/usr/bin:/bin",
        "XDG_RUNTIME_DIR": str(user.home / "run"),
        "LC_ALL": "C.UTF-8",
        "BROWSER": f"{shlex.join([sys.executable, str(visit), 'demo'])} %s &",
    }
    last = PAGE.read_text().partition(f"\n{THE_READERS_OWN}\n")[0].count("\n") + 1
    replace = {PORT: port, "/run/user/1000": str(user.home / "run"), "/home/me": str(user.home)}
    with Reader(tmp_path / "terminals", user.home, environ, replace, cwd=place) as reader:
        for block in blocks(PAGE):
            if block.line < last and (block.language == "console" or block.save_as):
                reader.follow(block)
