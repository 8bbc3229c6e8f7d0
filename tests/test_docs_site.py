"""The pages of docs/ become a site without a warning; it needs no other host, and no link of it leads nowhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support import man
from support.browser import Browser, chromium, needs_chromium
from support.doc_pages import DOCS, TREE, pages
from support.pictures import LARGEST

_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?P<to>[^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT_OR_CODE = re.compile(r"<!--.*?-->|`[^`\n]*`", re.DOTALL)


class _Page(HTMLParser):
    """What a page of the site has: its anchors, where it leads, and what the browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif "src" in found or (tag == "link" and "href" in found):
            self.loaded.append(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as anybody would, with no way out to other hosts."""
    out = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(out)]
    built = subprocess.run(
        command, env={**os.environ, **nowhere, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False
    )
    assert not built.stderr, built.stderr
    assert built.returncode == 0
    return out


@pytest.fixture(scope="module")
def built(site: Path) -> Mapping[str, _Page]:
    """Every page of the site by its path."""
    return {str(path.relative_to(site)): _Page(path.read_text()) for path in site.rglob("*.html")}


def test_the_site_has_every_page(built: Mapping[str, _Page]) -> None:
    """Nothing that was written is left out, and the first page leads to each of them."""
    written = {str(page.relative_to(DOCS).with_suffix(".html")) for page in pages() if page.is_relative_to(DOCS)}
    assert written <= set(built)
    assert written - {"index.html"} <= {urlsplit(link).path for link in built["index.html"].links}


def test_no_link_of_the_site_leads_nowhere(site: Path, built: Mapping[str, _Page]) -> None:
    """Pages, headings on them and files: all that the site links to inside of it is there."""
    dead = []
    for name, page in built.items():
        for link in [*page.links, *page.loaded]:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            path = (site / name).parent / unquote(to.path) if to.path else site / name
            there = os.path.relpath(path.resolve(), site)
            anchors = built[there].anchors if there in built else set()
            if not path.exists() or (to.fragment and there in built and unquote(to.fragment) not in anchors):
                dead.append(f"{name}: {link}")
    assert not dead


def test_the_site_loads_nothing_from_other_hosts(site: Path, built: Mapping[str, _Page]) -> None:
    """It can be read on a machine without a network, and tells nobody who reads it."""
    foreign = [f"{name}: {each}" for name, page in built.items() for each in page.loaded if urlsplit(each).netloc]
    for style in site.rglob("*.css"):
        foreign += [
            f"{style.name}: {found}"
            for found in re.findall(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]+)", style.read_text())
        ]
    assert not foreign


def links(page: Path) -> Iterator[str]:
    """Give the links of a page as it is written."""
    text = _COMMENT_OR_CODE.sub("", _FENCED.sub("", page.read_text()))
    yield from (found["to"] for found in _LINK.finditer(text))


def anchors(page: Path) -> set[str]:
    """Give the anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ +(.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*pages(), TREE / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(TREE)))
def test_no_link_of_a_page_on_a_forge_leads_nowhere(page: Path) -> None:
    """The same pages are read as they are: there, links lead to files of the repository and their headings."""
    dead = []
    for link in links(page):
        to = urlsplit(link)
        if to.scheme:
            continue
        path = page.parent / unquote(to.path) if to.path else page
        if not path.exists() or (to.fragment and to.fragment not in anchors(path)):
            dead.append(link)
    assert not dead


def test_each_picture_is_small_and_shown_with_words_for_who_does_not_see_it() -> None:
    """A clone stays small; no picture lies about that no page shows, and none is shown without a text of its own."""
    shown = {}
    for page in pages():
        for found in re.finditer(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            shown[(page.parent / found[2]).resolve()] = found[1]
    shown |= {path.with_name(path.name.replace("-light.", "-dark.")): words for path, words in shown.items()}
    pictures = {path: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert set(pictures) == set(shown)
    assert all(len(words) > 20 for words in shown.values())
    assert max(pictures.values()) < LARGEST
    assert sum(pictures.values()) < 6 * LARGEST


def test_the_commands_page_is_made_of_the_programs() -> None:
    """Whoever changes a verb or an option is told how to write the page anew."""
    assert man.COMMANDS.read_text() == man.commands(), f"docs/commands.md is stale; write it anew: {man.COMMAND}"


@needs_chromium
@pytest.mark.storm
def test_every_page_can_be_read_on_a_phone(site: Path, built: Mapping[str, _Page]) -> None:
    """At 320 pixels no page is wider than the screen: what is wide scrolls in its own box."""
    with chromium() as browser:
        wide = [name for name in sorted(built) if not _fits(browser, site / name, width=320)]
        assert not wide
        assert not browser.complaints()


def _fits(browser: Browser, page: Path, *, width: int) -> bool:
    browser.open(page.as_uri())
    browser.look(width=width, height=700)
    boxes = "[document.documentElement, ...document.querySelectorAll('.content')]"
    return bool(browser.run(f"return {boxes}.every(box => box.scrollWidth <= box.clientWidth)"))
