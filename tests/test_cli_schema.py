"""pmcred profile schema: what is printed, and what stands beside the profiles for editors."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.doc_pages import blocks
from support.user import User, user_here

from pmcredd import config_files
from pmcredd.cli import main
from pmcredd.profile_schema import text

DOCS = Path(__file__).parent.parent / "docs" / "profiles.md"
BESIDE = Path(sys.executable).parent  # what pip has installed with us
CHECKERS = {
    "taplo": [str(BESIDE / "taplo"), "check", "--no-auto-config"],
    "tombi": [str(BESIDE / "tombi"), "lint", "--offline", "--error-on-warnings"],
}
ADD = ("profile", "add", "ci", "--url", "https://acme.processmaker.net", "--grant", "personal_access_token")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user without files and daemon, and this process in that user's place."""
    return user_here(tmp_path, monkeypatch)


@pytest.fixture
def schema(user: User) -> Path:
    """Where the schema belongs: beside the profiles file."""
    return user.config / "profiles.schema.json"


def test_it_is_printed(user: User, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON and nothing else, for a file or a pipe; nothing is written."""
    assert main(["profile", "schema"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(text())
    assert printed.err == ""
    assert not schema.exists()


def test_it_is_installed_beside_the_profiles(user: User, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line for a profiles file is all that stdout has, and names the place in full."""
    assert main(["profile", "schema", "--install"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"#:schema {schema}\n"
    assert f"Wrote {schema}." in printed.err
    assert schema.read_text() == text()


def test_an_old_one_is_replaced(user: User, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an upgrade the same command brings the new keys; a second time there is nothing to do."""
    schema.parent.mkdir(parents=True)
    schema.write_text('{"$id": "urn:pmcredd:profiles", "title": "of an older version"}\n')
    assert main(["profile", "schema", "--install"]) == 0
    assert schema.read_text() == text()
    before = schema.stat()
    capsys.readouterr()
    assert main(["profile", "schema", "--install"]) == 0
    assert f"{schema} is as it should be." in capsys.readouterr().err
    assert (schema.stat().st_ino, schema.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_no_schema_of_ours_stays(user: User, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory, bytes that are no text, or somebody's own schema at its place: told, and left alone."""
    schema.parent.mkdir(parents=True)
    for other in (b"\xff", b'{"title": "of my own"}\n', b""):
        schema.write_bytes(other)
        assert main(["profile", "schema", "--install"]) == 1
        assert f"{schema} is none that pmcred wrote; it was not touched" in capsys.readouterr().err
        assert schema.read_bytes() == other
    schema.unlink()
    schema.mkdir()
    assert main(["profile", "schema", "--install"]) == 1
    assert f"cannot read {schema}: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("installed", [True, False])
def test_a_profile_that_pmcred_writes_names_it(installed: bool, user: User, schema: Path) -> None:
    """Only where it is installed; the profile is read as before, and so are its neighbours."""
    if installed:
        assert main(["profile", "schema", "--install"]) == 0
    assert main([*ADD, "--token-env", "PM_TOKEN"]) == 0
    written = user.config / "profiles.d" / "ci.toml"
    first = f"#:schema {schema}\n\n" if installed else ""
    assert written.read_text().startswith(f"{first}# Made by pmcred.")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert tomllib.loads(written.read_text())["profiles"]["ci"]["token"] == {"env": "PM_TOKEN"}
    assert list(config_files.load(os.environ).profiles) == ["ci"]


@pytest.mark.parametrize("checker", CHECKERS)
def test_an_editor_finds_it_in_a_profile_that_pmcred_writes(checker: str, user: User) -> None:
    """What pmcred wrote is right to what is behind the editors' extensions, and a mistake in it is not."""
    command = CHECKERS[checker]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {checker}")
    assert main(["profile", "schema", "--install"]) == 0
    assert main([*ADD, "--token-env", "PM_TOKEN"]) == 0
    written = user.config / "profiles.d" / "ci.toml"
    text = written.read_text()
    for changed, good in ((text, True), (text.replace("url =", "ulr ="), False)):
        written.write_text(changed)
        ran = subprocess.run([*command, str(written)], capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) == good, ran.stdout + ran.stderr


def test_a_line_that_toml_would_not_read_is_not_written(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A directory with a newline in its name is no reason to write a broken profile."""
    monkeypatch.setenv("PMCRED_CONFIG", str(tmp_path / "a\nb" / "profiles.toml"))
    assert main(["profile", "schema", "--install"]) == 0
    assert main([*ADD, "--token-env", "PM_TOKEN"]) == 0
    assert list(config_files.load(os.environ).profiles) == ["ci"]


def test_the_documentation_shows_what_comes(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/profiles.md tells the line to copy, and where the schema is."""
    (block,) = [block for block in blocks(DOCS) if "profile schema --install" in block.text]
    (step,) = block.steps
    assert main(step.command.split()[1:]) == 0
    printed = capsys.readouterr()
    assert " ".join(step.shown) == " ".join((printed.err + printed.out).replace(str(user.home), "/home/me").split())
