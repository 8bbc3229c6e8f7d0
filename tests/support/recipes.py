"""What docs/recipes.md tells people to type, and what comes of it at a sandbox."""

import json
import re
from pathlib import Path

from pmcredd.sandbox.instances import USERS
from support.sandbox import SandboxProcess

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [one.username for one in USERS]


def recipe(section: str, language: str, sandbox: SandboxProcess, *, which: int | None = None) -> str:
    """Give a block of a section, with the sandbox's address in the place of the reader's own.

    `which` of several in the same language; without it there must be but one.
    """
    text = (DOCS / "recipes.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if which is None:
        (block,) = blocks
    else:
        block = blocks[which]
    return str(block).replace("https://acme.processmaker.net", sandbox.url)


def users_in(answer: str) -> list[str]:
    """Give the names of the users in what the API has answered."""
    return [one["username"] for one in json.loads(answer)["data"]]
