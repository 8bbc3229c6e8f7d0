"""docs/recipes.md: curl, direnv, Postman, Bruno, Guzzle and a notebook with the real tools, as the page has them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.daemon import running, user_at, write_profiles
from support.elsewhere import elsewhere
from support.fake_daemon import FakeDaemon
from support.npm import BRU, NEWMAN, npm_program
from support.recipes import (
    DOCS,
    NAMES,
    recipe,
    users_in,
    write_bruno_collection,
    write_guzzle_project,
    write_postman_collection,
)
from support.sandbox import SandboxProcess, sandbox_process
from support.user import User
from support.wheels import quiet

pytestmark = pytest.mark.storm

BIN = Path(sys.prefix, "bin")
# In the place of a program: writes down what others can see of it, its words and its environment, and becomes it.
WITNESS = """#!/bin/sh
{ printf '%s\\n' "$@"; env; } >>WITNESSED
exec PROGRAM "$@"
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where somebody works: a directory with files, and a daemon that knows `prod`."""

    user: User
    sandbox: SandboxProcess
    here: Path

    @property
    def token(self) -> str:
        """Give the token that the daemon hands out now."""
        return self.user.run("get", "prod").stdout.strip()

    def provide(self, name: str, program: Path | str | None = None) -> None:
        """Put a program on the PATH of this desk, watched."""
        program = program or shutil.which(name)
        if program is None:
            pytest.skip(f"needs {name}: apt install {name}")
        watched = self.user.home / "bin" / name
        watched.parent.mkdir(exist_ok=True)
        watched.write_text(WITNESS.replace("WITNESSED", str(self.witnessed)).replace("PROGRAM", str(program)))
        watched.chmod(0o755)

    @property
    def witnessed(self) -> Path:
        """Name the file of what others could see."""
        return self.user.home / "witnessed"

    def run(self, *command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command here, with the programs of this desk and pmcred first on the PATH."""
        path = f"{self.user.home / 'bin'}:{BIN}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            env=self.user.environ | {"PATH": path} | more,
            cwd=self.here,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def recipe(self, section: str, language: str, which: int | None = None) -> str:
        """Give a block of docs/recipes.md for this sandbox."""
        return recipe(section, language, self.sandbox, which=which)

    def kept_secret(self, token: str) -> bool:
        """Tell whether a token was in no word and no variable of the programs."""
        seen = self.witnessed.read_text()
        assert "PATH=" in seen
        return token not in seen


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Start a sandbox and a daemon."""
    with sandbox_process("--throttle", "off") as sandbox:
        user = user_at(tmp_path)
        write_profiles(user, sandbox.profiles_toml().replace("[profiles.sandbox]", "[profiles.prod]"))
        here = user.home / "project"
        here.mkdir()
        with running(user):
            yield Desk(user, sandbox, here)


# --- curl and direnv --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "language", "which"), [("bash", "bash", 0), ("zsh", "bash", 0), ("sh", "sh", 0), ("bash", "sh", 0)]
)
def test_curl(desk: Desk, shell: str, language: str, which: int) -> None:
    """In each shell that the page names; nobody else can see the token; without one, curl fails."""
    desk.provide("curl")
    desk.provide(shell)
    script = desk.recipe("curl", language, which)
    done = desk.run(shell, "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert users_in(done.stdout) == NAMES
    assert desk.kept_secret(desk.token)

    desk.user.run("logout", "prod")
    failed = desk.run(shell, "-c", script)
    assert failed.returncode != 0
    assert "pmcred login prod" in failed.stderr


def test_curl_and_a_refused_token(desk: Desk) -> None:
    """The script reports it and goes on with the next one; without another one it fails, and says why."""
    desk.provide("curl")
    desk.provide("pmcred", BIN / "pmcred")
    script = desk.recipe("curl", "bash", 1)
    report = desk.here / "users.json"
    old = desk.token
    for revoked in (False, True):
        if revoked:
            desk.sandbox.revoke(all=True)
            report.unlink()
        done = desk.run("bash", "-c", script)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert users_in(report.read_text()) == NAMES
    assert desk.token != old
    assert desk.kept_secret(old)
    assert desk.kept_secret(desk.token)

    desk.user.run("logout", "prod")
    failed = desk.run("bash", "-c", script)
    assert failed.returncode == 4
    assert "pmcred login prod" in failed.stderr


def test_direnv(desk: Desk) -> None:
    """In the directory, once it is allowed, no profile has to be named; and there is no token in the environment."""
    desk.provide("direnv")
    (desk.here / ".envrc").write_text(desk.recipe("direnv", "sh", 0))
    assert desk.run("pmcred", "get").returncode == 2
    assert desk.run("direnv", "allow").returncode == 0
    got = desk.run("direnv", "exec", ".", "pmcred", "get")
    assert got.stdout.strip() == desk.token
    assert desk.token not in desk.run("direnv", "exec", ".", "env").stdout


# --- Postman and Bruno ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def newman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what runs Postman's collections."""
    return npm_program(NEWMAN, "newman", tmp_path_factory)


@pytest.fixture(scope="session")
def bru(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install Bruno's command line."""
    return npm_program(BRU, "bru", tmp_path_factory)


@pytest.fixture
def collection(desk: Desk) -> None:
    """Put down a collection as Postman exports it."""
    write_postman_collection(desk.here, desk.sandbox.url)


@pytest.mark.usefixtures("collection")
def test_postman(desk: Desk, newman: Path) -> None:
    """The collection passes, and nobody else can see the token; without one it fails. A report has it, as we say."""
    desk.provide("newman", newman)
    script = desk.recipe("Postman", "bash")
    done = desk.run("bash", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[200 OK" in done.stdout
    assert desk.kept_secret(desk.token)

    done = desk.run("bash", "-c", f"{script.rstrip()} -r json --reporter-json-export report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert desk.token in (desk.here / "report.json").read_text()

    desk.user.run("logout", "prod")
    failed = desk.run("bash", "-c", script)
    assert failed.returncode == 1
    assert "pmcred login prod" in failed.stderr


def bruno(desk: Desk, url: str, settings: str, *, checked: bool = False) -> None:
    """Make a collection; the recipe's part is collection.bru."""
    write_bruno_collection(desk.here, url, checked=checked)
    (desk.here / "collection.bru").write_text(settings)


def test_bruno_in_an_environment(desk: Desk, bru: Path) -> None:
    """The run has URL and token from `pmcred exec`, in the safe mode; without a token it does not begin."""
    desk.provide("bru", bru)
    bruno(desk, "{{process.env.PROCESSMAKER_URL}}", desk.recipe("Bruno", "text", 0))
    script = desk.recipe("Bruno", "sh", 0)
    done = desk.run("sh", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "users (200 " in done.stdout

    desk.user.run("logout", "prod")
    failed = desk.run("sh", "-c", script)
    assert (failed.returncode, failed.stdout) == (4, "")
    assert "pmcred login prod" in failed.stderr


def test_bruno_in_the_developer_mode(desk: Desk, bru: Path) -> None:
    """Each request asks anew: a token that was replaced meanwhile is not used again. The safe mode runs nothing.

    In a report the token is masked, as we say.
    """
    desk.provide("bru", bru)
    bruno(desk, desk.sandbox.url, desk.recipe("Bruno", "text", 1), checked=True)
    script = desk.recipe("Bruno", "sh", 1)
    done = desk.run("sh", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert desk.kept_secret(desk.token)

    desk.sandbox.revoke(all=True)
    assert desk.run("sh", "-c", "pmcred get prod | pmcred reject prod").returncode == 0
    done = desk.run("sh", "-c", f"{script.rstrip()} --reporter-json report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = (desk.here / "report.json").read_text()
    assert "Authorization" in report
    assert desk.token not in report

    assert desk.run("bru", "run").returncode != 0


# --- Guzzle -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guzzle(desk: Desk) -> None:
    """Lay out a project with the program of the page."""
    write_guzzle_project(desk.here)
    (desk.here / "users.php").write_text(desk.recipe("Guzzle", "php"))


@pytest.mark.usefixtures("guzzle")
def test_guzzle(desk: Desk) -> None:
    """As the page has it; a token that was revoked is replaced."""
    old = desk.token
    for revoked in (False, True):
        if revoked:
            desk.sandbox.revoke(all=True)
        done = desk.run("php", "users.php")
        assert (done.returncode, done.stdout, done.stderr) == (0, "1 demo\n2 other\n", "")
    assert desk.token != old


@pytest.mark.usefixtures("guzzle")
def test_guzzle_and_a_body(desk: Desk) -> None:
    """What was posted with a token that was revoked is posted again, whole; what nobody can read twice is not."""
    script = (desk.here / "users.php").read_text().partition("foreach")[0]
    headers = "'headers' => ['Content-Type' => 'application/json'], 'http_errors' => false"
    (desk.here / "post.php").write_text(f"""{script}
    $send = fn ($body) => $client->post('users/1/tokens', ['body' => $body, {headers}])->getStatusCode();
    $body = GuzzleHttp\\Psr7\\Utils::streamFor('{{"name": "x"}}');
    echo $send($argv[1] === 'once' ? new GuzzleHttp\\Psr7\\NoSeekStream($body) : $body), ' ', $send('{{"name": "y"}}');
    """)
    for body, statuses in (("again", "200 200"), ("once", "401 200")):
        assert desk.token
        desk.sandbox.revoke(all=True)
        done = desk.run("php", "post.php", body)
        assert (done.stdout, done.stderr) == (statuses, "")
        desk.user.run("login", "prod")


@pytest.mark.usefixtures("guzzle")
def test_guzzle_and_a_redirect(desk: Desk, short_path: Path) -> None:
    """The token is for the profile's own host alone."""
    with elsewhere() as (url, seen):
        answer = f"ok\naccess_token=abc\nurl={url}\n\n".encode()
        script = desk.here / "users.php"
        script.write_text(script.read_text().replace(desk.sandbox.url, url))
        with FakeDaemon(short_path / "run" / "socket", lambda _: answer) as daemon:
            done = desk.run("php", "users.php", PMCRED_SOCKET=str(daemon.path))
    assert done.returncode != 0
    assert len(seen) > 1
    assert [one.get("authorization") for one in seen] == ["Bearer abc"] + [None] * (len(seen) - 1)


# --- a notebook -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what runs notebooks, beside the packages of the tests and not among them."""
    place = tmp_path_factory.mktemp("jupyter")
    quiet("pip", "install", "--quiet", "--target", str(place), "nbclient", "ipykernel")
    return place


def test_a_notebook(desk: Desk, jupyter: Path) -> None:
    """It runs from the first cell to the last, and what is saved holds the answers and no token."""
    notebook = desk.here / "notebook.ipynb"
    shutil.copy(DOCS / "examples" / "notebook.ipynb", notebook)
    more = {"PYTHONPATH": str(jupyter), "JUPYTER_PLATFORM_DIRS": "1"}
    done = desk.run(sys.executable, str(jupyter / "bin" / "jupyter-execute"), "--inplace", notebook.name, **more)
    assert done.returncode == 0, done.stderr

    saved: dict[str, Any] = json.loads(notebook.read_text())
    cells = {cell["id"]: cell for cell in saved["cells"]}
    assert "".join(cells["client"]["source"]) + "\n" == desk.recipe("A notebook", "python")
    shown = "".join(cells["users"]["outputs"][0]["data"]["text/plain"])
    assert shown == repr(NAMES)
    assert desk.sandbox.url in json.dumps(cells["token"]["outputs"])
    assert desk.token not in notebook.read_text()
    assert desk.token[:40] not in notebook.read_text()
