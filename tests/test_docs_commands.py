"""What the pages tell a reader to type is typed: in a world with the names of the pages, and shows what they show."""

import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import man
from support.daemon import running, user_at, write_profiles
from support.doc_pages import TREE, blocks, inline, pages
from support.reader import Reader, needs_programs
from support.sandbox import SandboxProcess, sandbox_process
from support.typed import NOT_TYPED, READ_BY, name_of, read, sections
from support.user import PMCRED, User

from pmcredd.sandbox.instances import CODE, PASSWORD

# A reader has used prod before; the name of its user comes a little later than its first token.
PRELUDE = 'token=$(pmcred get prod); until pmcred status --json | grep -q "demo"; do :; done'

ACME = "https://acme.processmaker.net"
PROFILES = """
[defaults]
url = "{url}"

[profiles.prod]
grant = "password"
client_id = "{password.id}"
client_secret = "{password.secret}"
username = "demo"
password = "demo-password"

[profiles.me]
grant = "authorization_code"
client_id = "{code.id}"
client_secret = "{code.secret}"
"""


@dataclass(frozen=True, slots=True)
class World:
    """Where the pages are true: `prod` is a password's profile, `me` a person's; the daemon runs."""

    user: User
    sandbox: SandboxProcess
    place: Path

    def reader(self) -> Reader:
        """Give somebody who types."""
        home = self.user.home
        visit = shlex.join([sys.executable, str(Path(__file__).parent / "support" / "visit.py"), "demo"])
        environ = self.user.environ | {"BROWSER": f"{visit} %s &", "PATH": f"{Path(PMCRED).parent}:/usr/bin:/bin"}
        replace = {
            ACME: self.sandbox.url,
            ACME.partition("//")[2]: self.sandbox.url.partition("//")[2],
            "127.0.0.1:PORT": self.sandbox.url.partition("//")[2],
            "/run/user/1000": str(home / "run"),
            "/home/me": str(home),
            "a.smith (user 7)": "demo (user 1)",
            "pmcred get sandbox": "pmcred get prod",
            "client_id=7": f"client_id={CODE.id}",
            "user_name=integration": "user_name=demo",
        }
        return Reader(self.place / "terminals", home, environ, replace)


@pytest.fixture
def world(tmp_path: Path, short_path: Path) -> Iterator[World]:
    """Give the world of the pages."""
    user = user_at(short_path)
    with sandbox_process("--throttle", "off") as sandbox:
        write_profiles(user, PROFILES.format(url=sandbox.url, password=PASSWORD, code=CODE))
        with running(user):
            yield World(user, sandbox, tmp_path)


def of_its_own(page: Path) -> bool:
    """Tell whether a page has a test of its own, or nothing that could be typed."""
    return name_of(page) in READ_BY or not sections(page)


_CALL = re.compile(r"(?:^|[(|&;])\s*pmcred (?P<words>[a-z][\w-]*(?: [a-z][\w-]*)?)(?P<rest>[^|;&)`#\n]*)", re.MULTILINE)
_OPTION = re.compile(r"(?<!\S)(--[a-z][\w-]*|-[a-zA-Z])(?![\w-])")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_page_names_a_verb_or_an_option_that_there_is_not(page: Path) -> None:
    """Also in running text, and where a command cannot be typed here: what is written in backticks exists."""
    verbs = man.verbs()
    written = [(number, text) for number, text in inline(page)]
    written += [(step.line, step.command) for block in blocks(page) for step in block.steps]
    wrong = []
    for number, text in written:
        for call in _CALL.finditer(text):
            parser = verbs.get(call["words"]) or verbs.get(call["words"].split()[0])
            known = parser._option_string_actions if parser else {}
            options = _OPTION.findall(call["rest"].partition(" -- ")[0])
            if parser is None or not set(options) <= set(known):
                wrong.append(f"line {number}: {call[0]}")
    assert not wrong


@needs_programs
@pytest.mark.storm
@pytest.mark.parametrize("page", [page for page in pages() if not of_its_own(page)], ids=name_of)
def test_what_a_page_tells_to_type_shows_what_the_page_shows(page: Path, world: World) -> None:
    """Every command works as it stands there, one after the other; where the page shows what comes, that comes."""
    with world.reader() as reader:
        reader.here.finish(reader.here.start(PRELUDE))
        revoke = {"token=$(pmcred reject": lambda: world.sandbox.revoke(all=True)}
        read(reader, page, revoke if name_of(page) == "docs/commands.md" else {})


def read_in(test: str) -> set[str]:
    """Give the pages that the tests of a module read, by the names that stand there for them."""
    module = importlib.import_module(test)
    return {
        name_of(getattr(module, ast.unparse(call.args[1])))
        for function in ast.parse(inspect.getsource(module)).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == read.__name__
    }


@pytest.mark.parametrize("page", READ_BY)
def test_a_page_that_is_not_typed_here_is_typed_by_the_test_that_is_named(page: str) -> None:
    """A test there calls `read` for that page."""
    assert TREE / page in pages()
    assert page in read_in(READ_BY[page])


def test_what_is_not_typed_is_done_by_another_test() -> None:
    """The list is of commands that stand in the pages, and of tests that there are."""
    for where, command, reason, test in NOT_TYPED:
        steps = [step.command for block in blocks(TREE / where) for step in block.steps]
        assert any(step.startswith(command) for step in steps), f"{where} has no {command}"
        there = TREE / "tests" / test
        assert reason
        assert there.exists() or there.with_name(f"{test}.py").exists(), f"there is no {test}"
