"""Who types the pages: every command of the documentation is typed by a test, or stands here with why it is not.

    read(reader, page, {"pmcred log": make_events})

types a page from top to bottom. tests/test_docs_commands.py types all pages that READ_BY does not give to another one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from support.doc_pages import TREE, Block, blocks
from support.reader import Reader

# A page that needs a world of its own, and the test that types it there.
READ_BY = {
    "README.md": "test_docs_readme",
    "docs/api.md": "test_docs_api",
    "docs/audit.md": "test_docs_audit",
    "docs/doctor.md": "test_docs_doctor",
    "docs/examples/README.md": "test_docs_programs",
    "docs/exec.md": "test_docs_programs",
    "docs/git.md": "test_docs_programs",
    "docs/profiles.md": "test_docs_profiles",
    "docs/python.md": "test_docs_programs",
    "docs/recipes.md": "test_docs_recipes",
    "docs/systemd.md": "test_docs_systemd",
}

# A page, the beginning of a command there, why it is typed nowhere, and the test that does what the page tells.
NOT_TYPED = (
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install -q '.[sandbox]'", "a clone", "test_docs_tutorial"),
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install -q '.[test]'", "the check itself", "../.ci/run"),
    ("docs/sandbox.md", "pip install", "from a registry, not from here", "test_docs_tutorial"),
    ("docs/systemd.md", "loginctl", "the whole machine's logind", "test_systemd_service"),
    ("docs/tutorial.md", "", "three terminals and a clone", "test_docs_tutorial"),
)


def name_of(page: Path) -> str:
    """Give a page's path in the repository."""
    return str(page.relative_to(TREE))


def to_type(page: Path, section: str | None = None) -> list[Block]:
    """Give the blocks that a reader types or saves, of the whole page or below one heading."""
    left_out = [command for where, command, _, _ in NOT_TYPED if where == name_of(page)]
    found = []
    for block in blocks(page):
        steps = [step for step in block.steps if not any(step.command.startswith(each) for each in left_out)]
        if (steps or block.save_as) and section in (None, block.section):
            found.append(block.only(steps))
    return found


def sections(page: Path) -> list[str]:
    """Give the headings below which there is something to type or to save."""
    return list(dict.fromkeys(block.section for block in to_type(page)))


def read(
    reader: Reader,
    page: Path,
    before: Mapping[str, Callable[[], object]] | None = None,
    *,
    section: str | None = None,
) -> None:
    """Do what a page says, or one section of it.

    `before` says what happens in the world, unseen by the page, each time before a command that begins so is typed.
    AssertionError if the page has no such command.
    """
    happenings = dict(before or {})
    happened = set()

    def about_to_type(command: str) -> None:
        for beginning, happen in happenings.items():
            if command.startswith(beginning):
                happened.add(beginning)
                happen()

    for block in to_type(page, section):
        reader.follow(block, about_to_type)
    assert happened == happenings.keys(), f"{name_of(page)} has no {', '.join(happenings.keys() - happened)}"
