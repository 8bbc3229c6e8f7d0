"""What docs/recipes.md tells people to type, and what comes of it at a sandbox."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pmcredd.sandbox.instances import USERS
from support.sandbox import SandboxProcess

DOCS = Path(__file__).parents[2] / "docs"
_AUTOLOADERS = Path("/usr/share/php/GuzzleHttp/autoload.php")
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


def write_postman_collection(directory: Path, url: str) -> None:
    """Put down a collection as Postman exports it, with a bearer token and a test."""
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    ask = {"method": "GET", "url": f"{url}/api/1.0/users"}
    check = {"listen": "test", "script": {"exec": ["pm.test('200', () => pm.response.to.have.status(200))"]}}
    content = {
        "info": {"name": "users", "schema": schema},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "item": [{"name": "users", "request": ask, "event": [check]}],
    }
    (directory / "users.postman_collection.json").write_text(json.dumps(content))


def write_bruno_collection(directory: Path, url: str, *, checked: bool = False) -> None:
    """Make a collection of one request in Bruno's own files, but for collection.bru.

    `checked` fails a run whose answer is not 200. Not for the safe mode: its engine may not be loaded when an answer
    is there.
    """
    (directory / "bruno.json").write_text('{"version": "1", "name": "users", "type": "collection"}')
    request = f"get {{\n  url: {url}/api/1.0/users\n  auth: inherit\n}}\n"
    check = "assert {\n  res.status: eq 200\n}\n" * checked
    (directory / "users.bru").write_text(f"meta {{\n  name: users\n  type: http\n}}\n\n{request}\n{check}")


def write_guzzle_project(directory: Path) -> None:
    """Lay out a project as Composer does, with the files that the page says to copy; skips where Guzzle is missing."""
    if not _AUTOLOADERS.exists():
        pytest.skip("needs Guzzle: apt install php-cli php-guzzlehttp-guzzle")
    for name in ("pmcred.php", "guzzle.php"):
        shutil.copy(DOCS / "examples" / "php" / name, directory)
    (directory / "vendor").mkdir()
    (directory / "vendor" / "autoload.php").write_text(f"<?php require '{_AUTOLOADERS}';")
