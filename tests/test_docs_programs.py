"""docs/git.md, exec.md, python.md and examples/README.md are typed as they stand there, with the real programs."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemon import running, user_at, write_profiles
from support.doc_pages import DOCS, blocks
from support.git_server import GitServer, git_server
from support.gits import Git, program
from support.reader import Reader, needs_programs
from support.recipes import NAMES, users_in
from support.sandbox import SandboxProcess, sandbox_process
from support.typed import name_of, read, sections
from support.user import User

from pmcredd.sandbox.instances import PASSWORD

pytestmark = [pytest.mark.storm, needs_programs]

BIN = Path(sys.executable).parent
ACME = "https://acme.processmaker.net"
GIT, EXEC, PYTHON, EXAMPLES = (DOCS / name for name in ("git.md", "exec.md", "python.md", "examples/README.md"))
CODE = ("python", "js", "php")
PROFILE = """
[profiles.{name}]
url = "{url}"
grant = "password"
client_id = "{client.id}"
client_secret = "{client.secret}"
username = "demo"
password = "demo-password"
"""


@dataclass(frozen=True, slots=True)
class World:
    """A user whose daemon knows `prod`, and pmcred among the first programs on their PATH."""

    user: User
    sandbox: SandboxProcess
    place: Path

    def reload(self, url: str, *names: str) -> None:
        """Let the daemon have profiles of these names instead."""
        write_profiles(self.user, profiles(url, *names))
        told = self.user.run("reload")
        assert told.returncode == 0, told.stderr

    def revoke(self, name: str) -> None:
        """Let the server refuse the token of a profile from now on; the daemon does not know that yet."""
        assert self.sandbox.revoke(token=self.user.run("get", name).stdout.strip()) == 1

    def reader(
        self,
        *,
        first: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
        replace: Mapping[str, str] | None = None,
    ) -> Reader:
        """Give somebody who types; `first` are directories that come first on their PATH."""
        path = {"PATH": ":".join(map(str, [*first, BIN, "/usr/bin", "/bin"]))}
        home = self.user.home
        here = {"/home/USER/.local/bin": str(BIN), "/home/me": str(home), ACME: self.sandbox.url} | dict(replace or {})
        return Reader(self.place / "terminals", home, self.user.environ | path | dict(environ or {}), here)


def profiles(url: str, *names: str) -> str:
    """Give a profiles.toml."""
    return "".join(PROFILE.format(name=name, url=url, client=PASSWORD) for name in names)


@pytest.fixture
def world(tmp_path: Path, short_path: Path) -> Iterator[World]:
    """Serve a ProcessMaker look-alike, and run a daemon."""
    with sandbox_process("--throttle", "off") as sandbox:
        found = World(user_at(short_path), sandbox, tmp_path)
        write_profiles(found.user, profiles(sandbox.url, "prod"))
        with running(found.user):
            yield found


def needs(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")


@pytest.mark.parametrize("page", [EXEC, PYTHON, EXAMPLES], ids=name_of)
def test_every_program_of_a_page_is_saved_and_run(page: Path) -> None:
    """None is a piece that works only in somebody's head."""
    steps = [step.command for block in blocks(page) for step in block.steps]
    for block in blocks(page):
        if block.language in CODE:
            assert block.save_as, f"line {block.line}: save it as what?"
            assert any(block.save_as in step for step in steps), f"line {block.line}: {block.save_as} is never run"


# --- git --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(world: World) -> Iterator[GitServer]:
    """Serve a repository `tools` in front of the look-alike, for whom the daemon has a token."""
    with git_server(world.place / "served", world.sandbox.url) as serving:
        serving.repository.with_name("tools.git").symlink_to(serving.repository)
        world.reload(serving.url, "prod")
        yield serving


@pytest.mark.parametrize("which", ["machine", "newer"])
def test_the_page_of_git(world: World, server: GitServer, which: str) -> None:
    """With the git of this machine, and with one that knows headers: what `install` tells and the header need that."""
    git = Git(program(which), world.user)

    def see_users() -> None:
        assert users_in((world.user.home / "users.json").read_text()) == NAMES

    def refuse_everybody() -> None:
        world.reload(server.url, "prod")
        server.deaf = True

    before: dict[str, dict[str, Callable[[], None]]] = {
        "What it is good for": {"git clone": see_users},
        "Several profiles on one host": {"printf": lambda: world.reload(server.url, "prod", "admin")},
        "When a server refuses the token": {"git -C tools pull": refuse_everybody},
    }
    reader = world.reader(
        first=[Path(git.program).parent] if which == "newer" else [],
        environ={"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0"},
        replace={
            ACME: server.url,
            ACME.removeprefix("https://"): server.url.removeprefix("http://"),
            "protocol=https": "protocol=http",
        },
    )
    with reader:
        if not git.bearer:
            assert world.user.run("credential", "install", "prod").returncode == 0
        for section in sections(GIT):
            if git.bearer or section not in {"", "A header or a password"}:
                read(reader, GIT, before.get(section), section=section)
    assert (world.user.home / "tools" / "hello").exists()


# --- commands with a token --------------------------------------------------------------------------------------------


def test_the_page_of_exec(world: World) -> None:
    """The reader's own programs, in Python, sh and Node.js, and direnv."""
    needs("node", "direnv")
    world.reload(world.sandbox.url, "prod", "dev")
    before = {"pmcred exec prod -- sh users.sh": lambda: world.revoke("prod")}
    with world.reader() as reader:
        reader.here.finish(reader.here.start(f'''eval "$({shutil.which("direnv")} hook bash)"'''))
        read(reader, EXEC, before)


# --- programs ---------------------------------------------------------------------------------------------------------


def test_the_page_of_python(world: World) -> None:
    """In an environment where the packages are installed, so that `pip install` has nothing to fetch."""
    needs("jq")
    quiet = world.user.config.parent / "httpie" / "config.json"
    quiet.parent.mkdir()
    quiet.write_text(json.dumps({"disable_update_warnings": True}))
    with world.reader(environ={"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}) as reader:
        read(reader, PYTHON, dict.fromkeys(["python3 users.py", "python3 refused.py"], lambda: world.revoke("prod")))
    assert "does not provide the extra" not in reader.here.screen


def test_the_page_of_the_other_languages(world: World) -> None:
    """In a directory with copies of the files."""
    needs("node", "php")
    for file in [*EXAMPLES.parent.glob("node/*"), *EXAMPLES.parent.glob("php/*")]:
        shutil.copy(file, world.user.home)
    with world.reader() as reader:
        read(reader, EXAMPLES)
