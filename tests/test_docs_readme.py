"""README.md is done as it stands there: from the first `pmcred init` to the day when all of it is removed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doc_pages import TREE
from support.pat import link_commands
from support.reader import Reader, needs_programs
from support.sandbox import SandboxProcess, sandbox_process
from support.typed import read, sections
from support.user_manager import HOME, UserManager, user_manager

from pmcredd.sandbox.instances import PASSWORD, USERS

pytestmark = [pytest.mark.storm, needs_programs]

PAGE = TREE / "README.md"
FIRST, INSTANCE, LAST = "", "Your own instance", "Remove everything"
TRACES = (".config/pmcred", ".local/state/pmcred", ".venv", ".config/systemd/user/pmcredd.service")


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def manager() -> Iterator[UserManager]:
    """Give somebody who has installed it in a clone, and nothing else yet."""
    with user_manager() as booted:
        made = booted.run(sys.executable, "-m", "venv", "--without-pip", f"{HOME}/.venv")
        assert made.returncode == 0, made.stderr
        link_commands(booted.home / ".venv" / "bin")
        yield booted


def test_every_command_works_and_nothing_is_left_at_the_end(
    manager: UserManager, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """The instance is set up first, since the page begins with what that is good for; git is given the token too."""
    knows = {
        "Address of your ProcessMaker (as in the browser):": sandbox.url,
        "Name of the profile:": "prod",
        "Grant [password]:": "",
        "Client id:": PASSWORD.id,
        "Keep it in [file]:": "",
        "Client secret (not shown):": PASSWORD.secret,
        "User name:": USERS[0].username,
        "Run the daemon as a service, now and after every boot? [Y/n]": "n",  # the page has a command for it
        "Password (not shown):": USERS[0].password,
    }
    replace = {"https://acme.processmaker.net": sandbox.url, "uninstall NAME": "uninstall prod"}
    assert sorted(sections(PAGE)) == sorted((FIRST, INSTANCE, LAST))

    def give_git() -> None:
        assert manager.run(f"{HOME}/.venv/bin/pmcred", "credential", "install", "prod").returncode == 0
        assert "pmcred" in (manager.home / ".gitconfig").read_text()
        assert all((manager.home / trace).exists() for trace in TRACES)

    with Reader(tmp_path / "terminals", manager.home, {}, replace, machine=manager, knows=knows) as reader:
        read(reader, PAGE, section=INSTANCE)
        read(reader, PAGE, section=FIRST)
        read(reader, PAGE, {"pmcred logout": give_git}, section=LAST)

    assert not any((manager.home / trace).exists() for trace in TRACES)
    assert "pmcred" not in (manager.home / ".gitconfig").read_text()
    assert manager.show("pmcredd.service", "ActiveState") == "inactive"
