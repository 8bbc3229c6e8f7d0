"""docs/systemd.md is done as it stands there, by a user of a real systemd with a real journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doc_pages import DOCS, blocks
from support.pat import Pat, link_commands
from support.reader import Reader
from support.sandbox import SandboxProcess, sandbox_process
from support.typed import read
from support.user_manager import HOME, user_manager

from pmcredd.sandbox.instances import PASSWORD, USERS

pytestmark = pytest.mark.storm

PAGE = DOCS / "systemd.md"
PROFILES = f"""
[profiles.prod]
url = "URL"
grant = "password"
client_id = "{PASSWORD.id}"
client_secret = {{ file = "~/secrets/pm-prod" }}
username = "{USERS[0].username}"
password = "{USERS[0].password}"
"""
# Whoever writes in the editor, where the file that systemd opens says so, what the page tells to write.
EDITOR = f'#!/bin/sh\nexec sed -i "/^### Anything between here/r {HOME}/written" "$1"\n'
REPORT = '#!/bin/sh\ncat "$1" >"$HOME/reported"\n'


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def pat(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Pat]:
    """A user with a profile, a secret in a file and a program of their own, and no service yet."""
    commands = tmp_path / "bin"
    commands.mkdir()
    with user_manager(commands=link_commands(commands), journal=True) as manager:
        found = Pat(manager)
        found.write_profiles(PROFILES.replace("URL", sandbox.url))
        for name, text in {"secrets/pm-prod": PASSWORD.secret, "bin/report": REPORT, "bin/editor": EDITOR}.items():
            path = manager.home / name
            path.parent.mkdir(exist_ok=True)
            path.touch(0o700 if text.startswith("#!") else 0o600)
            path.write_text(text)
        yield found


def test_every_command_of_the_page_shows_what_the_page_shows(pat: Pat, tmp_path: Path) -> None:
    """From the installation to a unit that does not start; what goes into the editor is in force afterwards."""
    manager = pat.manager
    to_write = iter([block.text for block in blocks(PAGE) if block.language == "ini" and not block.save_as])

    def edit() -> None:
        (manager.home / "written").write_text(next(to_write))

    def change_profile() -> None:
        credential = '{ credential = "pm-prod-secret" }'
        text = pat.profiles.read_text().replace('{ file = "~/secrets/pm-prod" }', credential)
        assert credential in text
        assert f"client_secret = {credential}" in PAGE.read_text()
        pat.write_profiles(text + "bridge = true\n")

    def look_at_report() -> None:
        assert (manager.home / "reported").read_text() == manager.run("pmcred", "get", "prod").stdout.strip()

    happenings = {
        "systemctl --user edit": edit,
        "pmcred reload": change_profile,
        "pmcred logout": look_at_report,
        "journalctl --user": lambda: manager.run("journalctl", "--sync"),
    }
    environ = {"EDITOR": f"{HOME}/bin/editor"}
    with Reader(tmp_path / "terminals", manager.home, environ, {"/home/me": HOME}, machine=manager) as reader:
        read(reader, PAGE, happenings)

    assert next(to_write, None) is None
    environment = manager.run("systemctl", "--user", "show", "pmcredd", "--property=Environment").stdout
    assert environment == f"Environment=PATH={HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin\n"
