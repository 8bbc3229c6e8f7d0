"""A person at a browser, without a browser: opens the sandbox's pages, fills in the forms, and says where it ended.

    async with httpx.AsyncClient(trust_env=False) as http:
        address = await log_in(http, authorize_url)                     # as demo, approving
        address = await log_in(http, authorize_url, "other", approve=False)

The address is that of the client, with code and state or with an error; nobody asks there. Cookies stay in `http`, so
the same client is the same browser: a second login may pass without a page. From a synchronous test: `address_of(url)`.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx
import trio

from pmcredd.sandbox.instances import USERS

_APPROVE = ("authorize", "allow")  # ids of buttons, ProcessMaker 4's and 3's
_DENY = ("cancel", "deny")
_MOST_STEPS = 20


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes, its fields, and its buttons by id with what they send."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)

    def data(self, button: str = "", **typed: str) -> dict[str, str]:
        """What the browser sends when this button is pressed."""
        name, value = self.buttons.get(button, ("", ""))
        return {**self.fields, **typed, **({name: value} if name else {})}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert found["method"] == "post"
            self.forms.append(Form(found["action"]))
        elif tag == "input":
            self.forms[-1].fields[found["name"]] = found.get("value", "")
        elif tag == "button":
            self.forms[-1].buttons[found["id"]] = (found.get("name", ""), found.get("value", ""))


def forms_of(page: httpx.Response) -> list[Form]:
    """Read the forms of a page."""
    parser = _Forms()
    parser.feed(page.text)
    return parser.forms


async def log_in(
    http: httpx.AsyncClient, url: str, username: str = "demo", password: str | None = None, *, approve: bool = True
) -> str:
    """Open an authorize URL and do what the pages ask for; gives the address of the client that the browser is sent to.

    AssertionError with the status and the text of a page that leads no further: a refusal, or a wrong password.
    """
    secrets = {user.username: user.password for user in USERS}
    page = await http.get(url)
    for _ in range(_MOST_STEPS):
        here = str(page.url)
        if page.has_redirect_location:
            there = urljoin(here, page.headers["location"])
            if urlsplit(there).netloc != urlsplit(here).netloc:
                return there
            page = await http.get(there)
            continue
        found = {button: form for form in forms_of(page) for button in form.buttons}
        pressed = next((button for button in ("login", *(_APPROVE if approve else _DENY)) if button in found), None)
        assert pressed is not None, f"{page.status_code} {page.text}"
        assert 'role="alert"' not in page.text, page.text
        typed = {"username": username, "password": password or secrets[username]} if pressed == "login" else {}
        form = found[pressed]
        page = await http.post(urljoin(here, form.action), data=form.data(pressed, **typed))
    raise AssertionError(f"the browser goes round in circles at {page.url}")


def address_of(url: str, username: str = "demo", password: str | None = None, *, approve: bool = True) -> str:
    """Do the same in a browser of its own, from a synchronous test or a thread."""

    async def visit() -> str:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            return await log_in(http, url, username, password, approve=approve)

    return trio.run(visit)
