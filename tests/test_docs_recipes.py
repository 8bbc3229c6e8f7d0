"""docs/recipes.md is done as it stands there: every command is typed at a terminal, every file saved, in its order."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.box import PATH, RUNTIME, box, installed
from support.container import put_docker
from support.daemon import running, user_at, write_profiles
from support.doc_pages import DOCS
from support.npm import BRU, NEWMAN, npm_program
from support.reader import Reader, needs_programs
from support.recipes import NAMES, users_in, write_bruno_collection, write_guzzle_project, write_postman_collection
from support.sandbox import SandboxProcess, sandbox_process
from support.ssh_server import needs_sshd, ssh_server
from support.typed import read, sections
from support.user import User

needs_direnv = pytest.mark.skipif(shutil.which("direnv") is None, reason="needs direnv: apt install direnv")
pytestmark = [pytest.mark.storm, needs_programs, needs_direnv]

PAGE = DOCS / "recipes.md"
AWAY = ("cron", "ssh")  # the sections of those who come to a machine without a login
REPLACED = {"7 a.smith": "2 other", "1 admin": "1 demo"}


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(short_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user with the profile `prod` and pmcred where pipx puts it."""
    found = user_at(short_path)
    installed(found.home)
    write_profiles(found, sandbox.profiles_toml().replace("[profiles.sandbox]", "[profiles.prod]"))
    return found


@pytest.fixture
def tools(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with the tools of the page that Debian does not have."""
    found = put_docker(tmp_path / "bin").parent
    for package, name in ((NEWMAN, "newman"), (BRU, "bru")):
        (found / name).symlink_to(npm_program(package, name, tmp_path_factory))
    return found


def test_every_command_of_the_page_works(user: User, sandbox: SandboxProcess, tools: Path, tmp_path: Path) -> None:
    """From curl to GitLab, with the files that the page says to save and the things that it takes for granted."""
    home = user.home
    happenings: dict[str, dict[str, Callable[[], None]]] = {
        "Postman": {"newman run": lambda: write_postman_collection(home, sandbox.url)},
        "Bruno": {
            "pmcred exec": lambda: write_bruno_collection(home, "{{process.env.PROCESSMAKER_URL}}"),
            "bru run": lambda: write_bruno_collection(home, sandbox.url, checked=True),
        },
        "Guzzle": {"php ": lambda: write_guzzle_project(home)},
    }
    environ = user.environ | {"PATH": f"{tools}:{home}/.local/bin:{PATH}"}
    replace = {"https://acme.processmaker.net": sandbox.url, **REPLACED}
    with running(user), Reader(tmp_path / "terminals", home, environ, replace) as reader:
        for section in sections(PAGE):
            if section not in AWAY:
                read(reader, PAGE, happenings.pop(section, {}), section=section)
    assert not happenings


@needs_sshd
def test_without_a_login(user: User, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """What the page says of cron and ssh, where nobody has set XDG_RUNTIME_DIR or a PATH with ~/.local/bin."""
    with (
        box(user.home) as machine,
        machine.background(f"{sys.prefix}/bin/pmcredd", more={"XDG_RUNTIME_DIR": RUNTIME}) as daemon,
    ):
        assert daemon.stderr is not None
        assert any("listening on" in line for line in daemon.stderr)
        replace = {"https://acme.processmaker.net": sandbox.url}
        with (
            ssh_server(machine),
            Reader(tmp_path / "terminals", user.home, {}, replace, machine=machine) as reader,
        ):
            for section in AWAY:
                read(reader, PAGE, section=section)

        done = machine.run("bin/report")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert users_in((user.home / "users.json").read_text()) == NAMES
