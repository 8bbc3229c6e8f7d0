"""docs/audit.md is typed as it stands there, after a day as it shows: a real service, and a session at a terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doc_pages import DOCS
from support.pat import Pat, link_commands
from support.reader import Reader
from support.sandbox import sandbox_process
from support.typed import read
from support.user_manager import user_manager

pytestmark = pytest.mark.storm

PAGE = DOCS / "audit.md"
BACKUP = "#!/bin/sh\ntoken=$(pmcred get prod)\n"
REPORT = f"#!{sys.executable}\nfrom pmcredd import get_token\nget_token('legacy')\n"
UNIT = "[Service]\nType=oneshot\nExecStart=%h/bin/backup.sh\n"
SESSION = """
for _ in $(seq 12); do token=$(pmcred get prod); done
pmcred logout legacy
~/bin/report
:  # or the shell would become the last one
"""


@pytest.fixture
def pat(tmp_path: Path) -> Iterator[Pat]:
    """A user with two profiles, a service that makes backups, and a program that makes reports."""
    commands = tmp_path / "bin"
    commands.mkdir()
    with (
        sandbox_process("--throttle", "off") as sandbox,
        user_manager(commands=link_commands(commands), journal=True) as manager,
    ):
        found = Pat(manager)
        profiles = sandbox.profiles_toml()
        for ours, theirs in {"sandbox": "prod", "sandbox3": "legacy"}.items():
            profiles = profiles.replace(f"[profiles.{ours}]", f"[profiles.{theirs}]")
        found.write_profiles(profiles)
        for name, text in {"backup.sh": BACKUP, "report": REPORT}.items():
            path = manager.home / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.touch(0o700)
            path.write_text(text)
        manager.write_unit("backup.service", UNIT)
        yield found


def test_the_page_tells_of_a_day_as_it_was(pat: Pat, tmp_path: Path) -> None:
    """Who asked, for what, and what came of it: in the table and in the journal."""
    manager = pat.manager
    assert pat.pmcred("service", "install").returncode == 0
    manager.wait_for("pmcredd.service", "StatusText", "2 profiles: 2 live")
    manager.systemctl("start", "backup.service")
    scope = ["systemd-run", "--user", "--scope", "--unit=session-2", "--quiet"]
    assert "pmcred login legacy" in manager.run(*scope, "bash", "-c", SESSION).stderr
    manager.run("journalctl", "--sync")

    with Reader(tmp_path / "terminals", manager.home, {}, {}, machine=manager) as reader:
        read(reader, PAGE)
