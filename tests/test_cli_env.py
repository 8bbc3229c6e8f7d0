"""pmcred env: the variables for a shell, and docs/exec.md, whose ways to use them are run as they stand there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import user_at
from support.fake_daemon import TOKEN, FakeDaemon
from support.user import PMCRED, User

DOCS = Path(__file__).parents[1] / "docs" / "exec.md"
TOLD = {
    "PROCESSMAKER_URL": "https://pm.example",
    "PROCESSMAKER_TOKEN": TOKEN,
    "PROCESSMAKER_TOKEN_GOOD_UNTIL": "1999999990",
}
SCRIPT_TASK = {
    "API_TOKEN": TOKEN,
    "API_HOST": "https://pm.example/api/1.0",
    "HOST_URL": "https://pm.example",
    "APP_URL": "https://pm.example",
    "API_SSL_VERIFY": "1",
}


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give a user who has `pmcred` on their PATH."""
    found = user_at(tmp_path)
    (found.home / "bin").mkdir()
    (found.home / "bin" / "pmcred").symlink_to(PMCRED)
    return found


@pytest.fixture
def fake(user: User) -> Iterator[FakeDaemon]:
    """Run a daemon that has a token for whatever is asked."""
    with FakeDaemon(user.socket) as daemon:
        yield daemon


def shell(user: User, argv: list[str], script: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a script as a shell of the user's would."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"needs {argv[0]}")
    environ = user.environ | {"PATH": f"{user.home}/bin:/usr/bin:/bin"} | more
    return subprocess.run(
        [*argv, script], env=environ, cwd=user.home, capture_output=True, text=True, check=False, timeout=60
    )


def documented(first_cell: str) -> str:
    """Give the code in the row of a table of docs/exec.md that begins like this."""
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| {first_cell} | `")]
    code = row.removeprefix(f"| {first_cell} | ").removesuffix(" |").strip("`")
    return code.replace("\\|", "|")


def variables(printed: str) -> dict[str, str]:
    """Give what `env -0` has printed."""
    return dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)


SHELLS = {
    "sh": (["sh", "-c"], "sh, bash, zsh"),
    "bash": (["bash", "-c"], "sh, bash, zsh"),
    "zsh": (["zsh", "-f", "-c"], "sh, bash, zsh"),
    "fish": (["fish", "--no-config", "-c"], "fish"),
}


@pytest.mark.parametrize("kind", SHELLS)
def test_a_shell_has_the_variables(user: User, fake: FakeDaemon, kind: str) -> None:
    """As docs/exec.md says it, in each shell; what was there before is replaced or taken away."""
    argv, row = SHELLS[kind]
    ran = shell(user, argv, f"{documented(row)}\nenv -0", PROCESSMAKER_TOKEN="old", PROCESSMAKER_TOKEN_FD="7")
    found = variables(ran.stdout)
    assert {name: value for name, value in found.items() if name.startswith("PROCESSMAKER")} == TOLD
    assert ran.stderr == ""
    assert "PMCRED_PROFILE" not in found  # what `pmcred get` means in this shell is for its user to say


@pytest.mark.parametrize("kind", SHELLS)
def test_a_shell_can_be_rid_of_them(user: User, fake: FakeDaemon, kind: str) -> None:
    """No daemon is asked, and no profile has to be named."""
    argv, _ = SHELLS[kind]
    remove = "pmcred env --unset --script-task --shell fish | source"
    if kind != "fish":
        remove = documented("take them away again").replace("--unset", "--unset --script-task")
    ran = shell(user, argv, f"{remove}\nenv -0", **TOLD, **SCRIPT_TASK)
    assert ran.stderr == ""
    assert not variables(ran.stdout).keys() & {*TOLD, *SCRIPT_TASK}
    assert fake.requests == []


def test_a_script_task_is_told_in_a_shell_too(user: User, fake: FakeDaemon) -> None:
    """ProcessMaker's own names come beside ours."""
    ran = shell(user, ["sh", "-c"], 'eval "$(pmcred env prod --script-task)" && env -0')
    assert TOLD.items() | SCRIPT_TASK.items() <= variables(ran.stdout).items()


def test_without_a_token_nothing_is_printed_and_a_script_stops(user: User) -> None:
    """The reason is on stderr, the exit status tells it, and the form for scripts looks at that."""
    ran = user.run("env", "prod")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "pmcred env prod --oneshot" in ran.stderr
    ran = shell(user, ["sh", "-c"], f"{documented('in a script')}\necho went on")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "no daemon answers" in ran.stderr


def test_an_unknown_shell_is_a_mistake(user: User, fake: FakeDaemon) -> None:
    """It is told which there are."""
    ran = user.run("env", "prod", "--shell", "csh")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "fish" in ran.stderr
    assert fake.requests == []


@pytest.mark.parametrize(
    ("language", "argv", "program"),
    [
        ("sh", ["sh", "-c"], '{code}\nprintf %s "$token"'),
        ("Python", [sys.executable, "-c"], "import os\n{code}\nprint(token, end='')"),
        ("Node.js", ["node", "-e"], "const fs = require('fs');\n{code};\nprocess.stdout.write(token);"),
        ("PHP", ["php", "-r"], "{code}\necho $token;"),
    ],
)
def test_each_language_reads_the_file(
    user: User, fake: FakeDaemon, language: str, argv: list[str], program: str
) -> None:
    """The lines of docs/exec.md give the token, and nothing but it."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"needs {argv[0]}")
    code = program.replace("{code}", documented(language))
    ran = user.run("exec", "prod", "--fd", "--", *argv, code)
    assert (ran.returncode, ran.stdout) == (0, TOKEN), ran.stderr


def envrc() -> str:
    """Give the recipe for direnv."""
    section = DOCS.read_text().partition("\n### direnv\n")[2]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


def direnv(user: User, script: str) -> "subprocess.CompletedProcess[str]":
    """Do something with direnv in a directory with the recipe's .envrc."""
    if shutil.which("direnv") is None:
        pytest.skip("needs direnv")
    project = user.home / "acme"
    project.mkdir()
    (project / ".envrc").write_text(envrc())
    return shell(user, ["bash", "-c"], f"cd acme && {script}")


def test_direnv_sets_the_variables_where_its_directory_is_entered(user: User, fake: FakeDaemon) -> None:
    """And takes them away where it is left."""
    hook = 'eval "$(direnv export bash 2>/dev/null)"'
    ran = direnv(user, f'direnv allow && {hook} && env -0 && printf "next\\0" && cd .. && {hook} && env -0')
    inside, _, outside = ran.stdout.partition("next\0")
    assert TOLD.items() <= variables(inside).items(), ran.stderr
    assert variables(outside)
    assert not variables(outside).keys() & TOLD.keys()


def test_direnv_tells_why_there_is_no_token(user: User) -> None:
    """Its user sees the reason, and no half of the variables."""
    ran = direnv(user, "direnv allow && direnv export bash")
    assert "no daemon answers" in ran.stderr
    assert "PROCESSMAKER" not in ran.stdout
