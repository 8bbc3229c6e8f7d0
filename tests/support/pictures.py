"""Takes the pictures of docs/pictures, of real programs in a real browser: `cd tests && python -m support.pictures`.

It needs Chromium and its driver, and pngquant. Look at what it has made before you keep it.
"""

import html
import re
import subprocess
import tempfile
from pathlib import Path

from support.browser import Browser, chromium
from support.daemon import running, user_at, write_profiles
from support.doc_pages import DOCS
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import sandbox_process
from support.user import PMCRED, User

PICTURES = DOCS / "pictures"
LARGEST = 100 * 1024  # bytes, of one
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_STYLES = {
    "1": "font-weight:bold",
    "2": "opacity:.6",
    "31": "color:#ff7b72",
    "32": "color:#7ee787",
    "33": "color:#f2cc60",
    "36": "color:#79c0ff",
}
_SCREEN = """<!doctype html><meta charset="utf-8"><title>terminal</title><style>
body { margin: 0; overflow: hidden; background: #0d1117; color: #e6edf3; }
pre { display: inline-block; margin: 0; padding: 16px 20px; font: 14px/1.4 "DejaVu Sans Mono", monospace; }
</style><pre>"""
# Four ways into ProcessMaker: two that are well, one that waits for its person, and one whose server is away.
_PROFILES = """
[defaults]
url = "{url}"

[profiles.prod]
grant = "password"
client_id = "2"
client_secret = "fake-secret-password-xxxxxxxxxxxxxxxxxxx"
username = "demo"
password = "demo-password"

[profiles.legacy]
generation = 3
workspace = "workflow"
grant = "password"
client_id = "SANDBOXAPPLICATIONFORALLTHEGRANT"
client_secret = "fake-secret-pm3-xxxxxxxxxxxxxxxxxxxxxxxx"
username = "demo"
password = "demo-password"

[profiles.me]
grant = "authorization_code"
client_id = "3"
client_secret = "fake-secret-code-xxxxxxxxxxxxxxxxxxxxxxx"

[profiles.staging]
url = "http://127.0.0.1:9"
grant = "client_credentials"
client_id = "4"
client_secret = "fake-secret-credentials-xxxxxxxxxxxxxxxx"
"""


def page_of(screen: str) -> str:
    """Draw what a terminal shows as a page."""
    drawn, style = [_SCREEN], ""
    for number, part in enumerate(_SGR.split(screen)):
        if number % 2:
            style = ";".join(_STYLES[code] for code in part.split(";") if code in _STYLES)
        else:
            drawn.append(f'<span style="{style}">{html.escape(part)}</span>')
    return "".join(drawn)


def shown_by(user: User, *commands: str) -> str:
    """Give what a terminal shows where these commands of pmcred are typed."""
    screen = ""
    for command in commands:
        more = {"COLUMNS": "100", "TERM": "xterm", "PATH": f"{Path(PMCRED).parent}:{user.environ['PATH']}"}
        with PseudoTerminal(["/bin/bash", "-c", f"{command}; :"], user.environ | more) as terminal:
            terminal.end()
        screen += f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\n{terminal.screen}"
    return screen.rstrip("\n")


def keep(name: str, picture: bytes) -> None:
    """Write a picture of the documentation."""
    picture = subprocess.run(["pngquant", "32", "-"], input=picture, capture_output=True, check=True).stdout
    assert len(picture) <= LARGEST, f"{name} has {len(picture)} bytes"
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / name).write_bytes(picture)


def of_a_terminal(browser: Browser, name: str, screen: str, place: Path) -> None:
    """Take a picture of a terminal."""
    page = place / "screen.html"
    page.write_text(page_of(screen))
    browser.open(page.as_uri())
    browser.look(width=1600, height=400)
    width, height = browser.run("const b = document.querySelector('pre'); return [b.offsetWidth, b.offsetHeight]")
    keep(name, browser.look(width=width, height=height))


def in_both_schemes(browser: Browser, name: str) -> None:
    """Take a picture of the page that is open, light and dark."""
    browser.look(width=640, height=420)
    height = browser.run("return document.documentElement.scrollHeight")
    for scheme in ("light", "dark"):
        keep(f"{name}-{scheme}.png", browser.look(dark=scheme == "dark", width=640, height=height))


def of_a_login(browser: Browser, user: User) -> None:
    """Log in as a person does, and take pictures on the way."""
    with PseudoTerminal([PMCRED, "login", "me", "--no-browser"], user.environ) as terminal:
        terminal.expect("redirect_uri")
        terminal.expect("\n")
        (url,) = re.findall(r"^http://\S+$", terminal.screen, re.MULTILINE)
        browser.open(url)
        in_both_schemes(browser, "login")
        browser.log_in("demo")
        browser.press("authorize")
        browser.wait_for("You are signed in")
        in_both_schemes(browser, "signed-in")
        terminal.end()


def main() -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory(prefix="pm") as directory, sandbox_process() as sandbox, chromium() as browser:
        place = Path(directory)
        user = user_at(place)
        write_profiles(user, _PROFILES.format(url=sandbox.url))
        of_a_terminal(browser, "demo.png", shown_by(user, "pmcred demo"), place)
        with running(user):
            shown_by(user, "pmcred get prod", "pmcred get prod", "pmcred get legacy", "pmcred get staging --timeout 2")
            of_a_terminal(browser, "status.png", shown_by(user, "pmcred status", "pmcred log"), place)
            of_a_login(browser, user)


if __name__ == "__main__":
    main()
