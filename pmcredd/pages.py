"""What a browser is shown at the end of a login: small pages that need nothing but themselves. No I/O.

No script, no cookie, nothing loaded: the address of such a page holds a code, so it must lead nowhere and be kept
nowhere.
"""

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_STYLE = """
:root { color-scheme: light dark }
body { margin: 0; font: 1.125rem/1.5 system-ui, sans-serif }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP answer: its status, its headers (names in lower case, without content-length) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def signed_in(profile: str, user: str | None) -> Page:
    """Say that it worked."""
    who = f" as {user}" if user else ""
    return _page(200, "Signed in", f"pmcred is signed in to {profile}{who}.", "You can close this window.", "good")


def failed(title: str, sentence: str, mend: str, *, status: int = 400) -> Page:
    """Say what went wrong and what to do about it ("" if there is nothing)."""
    return _page(status, title, sentence, mend, "bad")


def not_found() -> Page:
    """Say that there is nothing at this address."""
    return _page(404, "Nothing here", "This address waits for the end of a login, and for nothing else.", "", "bad")


def _page(status: int, title: str, sentence: str, mend: str, kind: str) -> Page:
    body = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f'<main class="{kind}"><h1>{html.escape(title)}</h1><p>{html.escape(sentence)}</p>'
        f"<p>{html.escape(mend)}</p></main>\n"
    )
    return Page(status, _HEADERS, body.encode())


_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "connection": "close",
    }
)
