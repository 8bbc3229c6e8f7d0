"""How the pages beside this file become a site: `sphinx-build -W --keep-going -b html docs OUT`.

The pages are plain Markdown, to be read on a forge too. What a site needs besides is made here, and stands in no page.
"""

import re
from pathlib import Path

from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]
from sphinx.application import Sphinx

project = "pmcredd"
author = "the authors of pmcredd"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/node_modules", "**/vendor"]  # where somebody tries the examples

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4  # `page.md#a-heading` leads where it leads on a forge
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "pmcredd"
html_copy_source = False  # every page would be shipped twice
html_show_sphinx = False
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}  # they would want the address of a forge
pygments_style = "friendly"
pygments_dark_style = "monokai"

_DOCS = Path(__file__).parent
_PART = re.compile(r"^## (?P<title>.+)\n(?P<words>(?:(?!^## ).*\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<page>[^):]+)\.md\)", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<to>[^):#]+)(?:#[^)]*)?\)")
_PICTURE = re.compile(r"(?P<start>!\[[^\]]*\]\([^)]+)-light\.png\)")


def contents(source: str) -> str:
    """Give index.md the tables of contents that its lists are: each part with its pages, in their order."""
    made = []
    for part in _PART.finditer(source):
        pages = [f"{entry['title']} <{entry['page']}>" for entry in _ENTRY.finditer(part["words"])]
        if pages:
            made += ["", "```{toctree}", ":hidden:", f":caption: {part['title']}", "", *pages, "```"]
    return source + "\n".join([*made, ""])


def without_links_outside(source: str, folder: Path) -> str:
    """Leave the words of a link that leads to a folder, or out of docs/: a site has nothing there."""

    def inside(link: re.Match[str]) -> str:
        to = (folder / link["to"]).resolve()
        return link["words"] if to.is_dir() or (to.exists() and not to.is_relative_to(_DOCS)) else link[0]

    return _LINK.sub(inside, source)


def light_and_dark(source: str) -> str:
    """Show the dark twin of a picture in the dark: a page has NAME-light.png, and NAME-dark.png lies beside it."""
    return _PICTURE.sub(r"\g<start>-light.png){.only-light}\g<start>-dark.png){.only-dark}", source)


def read(_: Sphinx, page: str, source: list[str]) -> None:
    """Change what was read of a page, in place."""
    if page == "index":
        source[0] = contents(source[0])
    source[0] = light_and_dark(without_links_outside(source[0], (_DOCS / page).parent))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read)
    for language in ("mermaid", "crontab"):  # a forge may know them; Pygments does not
        app.add_lexer(language, TextLexer)
