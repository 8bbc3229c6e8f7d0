"""The manual pages tell all that the programs of this tree do, and every reader of manual pages can show them."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from support import man, roff

from pmcredd import cli, profile_keys, wire
from pmcredd.profile_keys import Key

needs_man = pytest.mark.skipif(shutil.which("man") is None, reason="needs man (man-db)")
needs_mandoc = pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")

Help = Callable[..., str]


def shown(path: Path) -> str:
    """What somebody reads who opens this page on a terminal with 80 columns; it must come without a warning."""
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "MANWIDTH": "80"}
    ran = subprocess.run(
        ["man", "-l", "-Tascii", "--warnings", str(path)], env=environ, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", ran.stdout)


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    """Every page, as people read it."""
    return {name: shown(man.FOLDER / name) for name in man.PAGES}


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """What `pmcred WORDS --help` prints."""
    monkeypatch.setenv("COLUMNS", "500")

    def ask(*words: str) -> str:
        assert cli.main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize("name", man.PAGES)
def test_the_pages_are_made_of_the_programs(name: str) -> None:
    """Whoever changes a verb, an option, a key or the protocol is told how to write the pages anew."""
    path = man.FOLDER / name
    written = path.read_text() if path.exists() else ""
    assert written == man.page(name), f"man/{name} is stale; write it anew: {man.COMMAND}"


@needs_man
def test_man_shows_them_without_a_warning(pages: Mapping[str, str]) -> None:
    """Each page has the sections that people look for, and no text has been taken for a request of the formatter."""
    for name, text in pages.items():
        title, section = name.rsplit(".", 1)
        assert text.startswith(f"{title.upper()}({section})")
        headings = re.findall(r"^([A-Z][A-Z ]+)$", text, re.MULTILINE)
        assert headings[0] == "NAME"
        assert headings[-1] == "SEE ALSO"
        assert re.search(rf"^NAME\n +{re.escape(title)} - ", text, re.MULTILINE)
        assert "{{" not in text


@needs_mandoc
@pytest.mark.parametrize("name", man.PAGES)
def test_mandoc_has_nothing_against_them(name: str) -> None:
    """The other reader of manual pages finds one thing missing, on purpose: a date would differ from build to build."""
    ran = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", str(man.FOLDER / name)], capture_output=True, text=True, check=False
    )
    assert [line for line in ran.stdout.splitlines() if not line.endswith('missing date, using "": TH')] == []
    assert ran.stderr == ""


@needs_man
def test_every_verb_and_option_of_pmcred_is_there(pages: Mapping[str, str], help_of: Help) -> None:
    """What --help of a verb names stands in the verb's own part of the page."""
    parts = dict(parts_of_verbs(pages["pmcred.1"]))
    for verb in re.findall(r"^  ([a-z-]+) ", help_of(), re.MULTILINE):
        usage = help_of(verb).partition("\n\n")[0]
        below = re.search(r" ([a-z]+(?:\|[a-z]+)+) \.\.\.$", usage)
        for words in [[verb, each] for each in below[1].split("|")] if below else [[verb]]:
            part = parts[" ".join(words)]
            if "every option of pmcred profile add" in part:
                part += parts["profile add"]
            for option in set(re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", help_of(*words), re.MULTILINE)):
                where = pages["pmcred.1"] if option in {"--help", "--socket", "--verbose", "--version"} else part
                assert re.search(rf"^ +[^\n]*{option}\b", where, re.MULTILINE), f"pmcred {' '.join(words)} {option}"


def parts_of_verbs(page: str) -> Iterable[tuple[str, str]]:
    """Each verb and what the page says below it, up to the next heading."""
    for found in re.finditer(r"^   pmcred ([a-z -]+?)(?: [\[A-Z].*)?\n((?:(?: {7}.*)?\n)+)", page, re.MULTILINE):
        yield found[1], " ".join(found[2].split(" ")).replace("\n" + " " * 7, "\n ")


@needs_man
def test_every_option_of_pmcredd_is_there(pages: Mapping[str, str]) -> None:
    """What `pmcredd --help` names stands in the daemon's page."""
    ran = subprocess.run([sys.executable, "-m", "pmcredd", "--help"], capture_output=True, text=True)
    named = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", ran.stdout, re.MULTILINE)
    assert "--check" in named
    for option in named:
        assert re.search(rf"^ {{7}}(-\w, )?{option}\b", pages["pmcredd.1"], re.MULTILINE), option


TABLES = {
    "KEYS OF A PROFILE": profile_keys.PROFILE_KEYS,
    "SECRETS": profile_keys.SECRET_KEYS,
    "THE TABLE DAEMON": profile_keys.DAEMON_KEYS,
    "COMMANDS ON EVENTS": {**profile_keys.EVENT_KEYS, **profile_keys.EVENT_COMMAND_KEYS},
}


@needs_man
@pytest.mark.parametrize(("heading", "keys"), TABLES.items())
def test_every_key_of_a_profile_is_there(pages: Mapping[str, str], heading: str, keys: Mapping[str, Key]) -> None:
    """Each key has its entry, with an example that can be copied: no line of it is broken by a hyphen."""
    _, _, rest = pages["pmcred-profiles.5"].partition(f"\n{heading}\n")
    part = re.split(r"^[A-Z]", rest, maxsplit=1, flags=re.MULTILINE)[0]
    for name, key in keys.items():
        assert re.search(rf"^ {{7}}{name}( |$)", part, re.MULTILINE), name
        assert f"Example: {name} = {key.example}" in " ".join(part.split())


@needs_man
def test_the_protocol_is_there(pages: Mapping[str, str]) -> None:
    """Each verb of the socket with its keys, and each code with its exit status, can be looked up."""
    page = pages["pmcred-protocol.7"]
    verbs, codes = (page.partition(f"\n{heading}\n")[2] for heading in ("VERBS", "ERRORS"))
    for verb, takes in wire.VERBS.items():
        assert re.search(rf"^ {{7}}{verb}  ", verbs, re.MULTILINE), verb
        assert all(re.search(rf"\b{key}\b", verbs) for key in takes.keys), verb
    for code in wire.Code:
        assert re.search(rf"^ {{7}}{code} +{code.exit_status} ", codes, re.MULTILINE), code


@needs_man
def test_every_exit_status_is_told(pages: Mapping[str, str]) -> None:
    """A script's author finds every status that an error of the daemon may lead to, and what it means."""
    part = pages["pmcred.1"].partition("\nEXIT STATUS\n")[2].partition("\nENVIRONMENT\n")[0]
    for status in {0, 69, *(code.exit_status for code in wire.Code)}:
        assert re.search(rf"^ {{7}}{status} +\w", part, re.MULTILINE), status


def test_the_pages_name_no_verb_that_is_not_there() -> None:
    """An example that is copied from a page runs."""
    known = {verb for group in cli._GROUPS.values() for verb in group}
    words = {path.name: path.read_text() for path in man.FOLDER.glob("*.md")}
    assert set(words) == {f"{name}.md" for name in man.PAGES}
    for name, text in words.items():
        named = set(re.findall(r"(?:^ +|[`(]|then |&& )pmcred ([a-z]+)", text, re.MULTILINE))
        assert named <= known, name


@needs_man
@needs_mandoc
def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Text that looks like a request, an escape or a typographer's quote arrives as it is, in prose and in code."""
    nasty = [".TH x", "'br", "\\fB\\n(dy \\\\", "don't `quote' ~ ^ -- - --no-x", '"a" @ b', "..."]
    markdown = (
        "## Name\n\nx - y\n\n```\n"
        + "\n".join(nasty)
        + "\n```\n\n.TP of 'it' \\e ~/.x-y\n\n| a | b |\n|---|---|\n| .x | `a|b` @c |\n"
    )
    path = tmp_path / "x.7"
    path.write_text(roff.page("x", 7, "1", markdown))
    mandoc = subprocess.run(["mandoc", "-Tascii", str(path)], capture_output=True, text=True, check=True).stdout
    for text in (shown(path), re.sub(r".\x08", "", mandoc)):
        lines = [line.strip() for line in text.splitlines()]
        assert set(nasty) <= set(lines)
        assert ".TP of 'it' \\e ~/.x-y" in lines
        assert any(re.fullmatch(r"\.x +a\|b @c", line) for line in lines)


def test_the_wheel_carries_them(tmp_path: Path) -> None:
    """After an installation they are where man looks: in share/man beside the bin directory of the commands.

    The schema of profiles is beside them, for packagers and for who sets up editors.
    """
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(man.TREE)],
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        check=True,
    )
    (built,) = tmp_path.glob("pmcredd-*.whl")
    with zipfile.ZipFile(built) as wheel:
        carried = {
            name.partition(".data/data/")[2]: wheel.read(name).decode()
            for name in wheel.namelist()
            if "share/man" in name or "share/pmcred" in name
        }
    pages = {f"share/man/man{name[-1]}/{name}": (man.FOLDER / name).read_text() for name in man.PAGES}
    schema = (man.TREE / "docs" / "profiles.schema.json").read_text()
    assert carried == {**pages, "share/pmcred/profiles.schema.json": schema}
