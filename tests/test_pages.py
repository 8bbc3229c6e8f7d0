"""The pages at the end of a login: what is in them, what is not, and whether it can be read."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pmcredd import pages
from pmcredd.pages import Page

PAGES = {
    "signed in": pages.signed_in("prod", "a.smith"),
    "signed in as nobody knows whom": pages.signed_in("prod", None),
    "failed": pages.failed("Access was denied", "it was not allowed", "log in again and allow it: pmcred login prod"),
    "failed for good": pages.failed("The server failed", "acme.example.org failed", ""),
    "not found": pages.not_found(),
    "undecided": pages.undecided("prod", "b.jones"),
}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


class Read(HTMLParser):
    """Reads a page as strictly as a person would: every element is closed, in its order."""

    VOID = ("meta", "path", "circle")

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page.body.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("h1", "h2", "p"):
            self.texts.append((tag, " "))

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[str]:
        """Give what stands directly in the elements of a kind."""
        return [text for within, text in self.texts if within == tag and text.strip()]

    def shown(self) -> str:
        """Give what a person reads, on one line."""
        return " ".join("".join(text for within, text in self.texts if within not in ("style", "title")).split())


@EVERY_PAGE
def test_a_page_is_kept_nowhere_and_leads_nowhere(page: Page) -> None:
    """Its address holds a code: no cache, no referrer, no frame, no cookie, nothing loaded."""
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["connection"] == "close"
    assert "set-cookie" not in page.headers
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    (style,) = Read(page).all("style")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@EVERY_PAGE
def test_a_page_needs_nothing_but_itself(page: Page) -> None:
    """No script, no link, no image, no font, and no style that the policy would block."""
    read = Read(page)
    assert {tag for tag, _ in read.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "svg", "circle", "path"),
        *("h1", "h2", "p", "strong", "bdi", "code"),
    }
    for _, attributes in read.elements:
        assert not {"src", "href", "style", "action", "srcset", "data", "http-equiv"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    (style,) = read.all("style")
    assert "url(" not in style
    assert "@import" not in style
    assert len(page.body) < 8000


@EVERY_PAGE
def test_a_page_can_be_heard(page: Page) -> None:
    """A screen reader is told the language, a title, one heading, where the content is, and no drawing."""
    read = Read(page)
    elements = dict(reversed(read.elements))
    assert elements["html"] == {"lang": "en"}
    assert [tag for tag, _ in read.elements].count("main") == 1
    (heading,) = read.all("h1")
    assert read.all("title") == [f"{heading} - pmcred"]
    assert elements["svg"]["aria-hidden"] == "true"
    assert elements["meta"].get("charset") == "utf-8"
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read.elements


def luminance(colour: str) -> float:
    """Give the relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_a_page_can_be_seen(scheme: int) -> None:
    """Text has 7:1 against what it stands on, in either scheme (WCAG 2.2, 1.4.6)."""
    (style,) = Read(PAGES["failed"]).all("style")
    found = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(found) == 2
    colours = found[scheme]
    for ink, paper in (
        *(("ink", "card"), ("ink", "paper"), ("soft", "card"), ("ink", "code")),
        *(("good", "card"), ("bad", "card")),
    ):
        light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 7, (ink, paper)
    assert "prefers-color-scheme: dark" in style


def test_signed_in_tells_profile_and_user() -> None:
    """And that nothing is left to do; where the user is not known, nothing is said of one."""
    assert Read(PAGES["signed in"]).shown() == (
        "You are signed in Profile prod is signed in as a.smith. You can close this page."
    )
    nobody = Read(PAGES["signed in as nobody knows whom"]).shown()
    assert nobody == "You are signed in Profile prod is signed in. You can close this page."
    assert PAGES["signed in"].status == 200


def test_failed_tells_what_went_wrong_and_what_to_do() -> None:
    """A browser must not take it for a success."""
    page = pages.failed("T", "it broke", "mend it: pmcred login prod; then try again", status=503)
    assert page.status == 503
    assert PAGES["failed"].status == 400
    read = Read(page)
    assert read.shown() == (
        "T It broke. What to do Mend it: pmcred login prod; then try again. You can close this page."
    )
    assert read.all("code") == ["pmcred login prod"]
    assert "What to do" not in Read(PAGES["failed for good"]).shown()


@pytest.mark.parametrize(
    ("mend", "typed"),
    [
        ("pmcred login prod", ["pmcred login prod"]),
        ("try again: pmcred login prod", ["pmcred login prod"]),
        ("a (b, too: pmcred profile edit prod)", ["pmcred profile edit prod"]),
        ("x: pmcred profile edit a.b-c; then pmcred login a", ["pmcred profile edit a.b-c"]),
        ("register http://127.0.0.1/callback, exactly so", ["http://127.0.0.1/callback"]),
        ('write redirect_uri = "http://127.0.0.1:1/c", and so on', ["http://127.0.0.1:1/c"]),
        ("the client: http://127.0.0.1/callback (before 4.3 x)", ["http://127.0.0.1/callback"]),
        ("look at https://h/a.", ["https://h/a"]),
        ("pmcredd was not there", []),
        ("why pmcred failed: nobody knows", []),
    ],
)
def test_what_is_to_be_typed_or_copied_stands_out(mend: str, typed: list[str]) -> None:
    """Commands and addresses, without the punctuation around them."""
    assert Read(pages.failed("t", "s", mend)).all("code") == typed


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("it broke", "It broke."),
        ("it, too", "It, too."),
        ("acme.example.org refused it", "acme.example.org refused it."),
        ("pmcred was not allowed", "pmcred was not allowed."),
        ("prod: it broke", "prod: it broke."),
        ("Why?", "Why?"),
        ("Done.", "Done."),
        ('he said "no" (400 x)', 'He said "no" (400 x).'),
    ],
)
def test_a_message_becomes_a_sentence(sentence: str, shown: str) -> None:
    """Messages begin small and have no full stop; names keep their letters."""
    assert Read(pages.failed("T", sentence, "")).shown() == f"T {shown} You can close this page."


@given(st.text(), st.text(), st.text())
@example("<img src=x>", "</p><script>alert(1)</script>", "a: pmcred <b onclick=x>&amp;</code>")
def test_no_text_becomes_part_of_the_page(one: str, two: str, three: str) -> None:
    """Names and messages may come from a server: they are text, whatever is in them."""
    for page in (pages.failed(one, two, three), pages.signed_in(one, two)):
        read = Read(page)
        assert {tag for tag, _ in read.elements} <= {
            *("html", "head", "meta", "title", "style", "body", "main", "svg", "circle", "path"),
            *("h1", "h2", "p", "strong", "bdi", "code"),
        }
        assert "\x00" not in page.body.decode()


def test_what_is_invisible_is_left_out() -> None:
    """An override of the direction would turn the rest of the line around."""
    page = pages.signed_in("prod", "a\u202eb\x1b[0m\u200bc")
    assert "a b [0m c" in Read(page).shown()


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    """And not obeyed, and not lost."""
    page = pages.signed_in("prod", "<b>&amp;'\"")
    assert "is signed in as <b>&amp;'\"." in Read(page).shown()
