"""What a browser is shown at the end of a login: small pages that need nothing but themselves. No I/O.

No script, no cookie, nothing loaded: the address of such a page holds a code, so it must lead nowhere and be kept
nowhere.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Page", "failed", "not_found", "signed_in", "undecided"]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP answer: its status, its headers (names in lower case, without content-length) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def signed_in(profile: str, user: str | None) -> Page:
    """Say that it worked, for which profile, and as whom, if that is known."""
    who = f" as {_name(user)}" if user else ""
    return _page(200, "You are signed in", f"<p>Profile {_name(profile)} is signed in{who}.</p>{_CLOSE}", _GOOD)


def undecided(profile: str, user: str) -> Page:
    """Say that the terminal has a question: it is another user than last time."""
    body = (
        f"<p>The browser has logged in {_name(user)}, and last time profile {_name(profile)} was somebody else. "
        "The terminal asks whether that is meant.</p>"
    )
    return _page(200, "One question is left", body + _CLOSE, _BAD)


def failed(title: str, sentence: str, mend: str, *, status: int = 400) -> Page:
    """Say what went wrong and what to do about it ("" if there is nothing); commands and addresses in it stand out."""
    body = f"<p>{_prose(sentence, _TYPED)}</p>"
    if mend:
        body += f"<h2>What to do</h2><p>{_prose(mend, _TYPED_IN_A_MEND)}</p>"
    return _page(status, title, body + _CLOSE, _BAD)


def not_found() -> Page:
    """Say that there is nothing at this address."""
    return _page(
        404, "Nothing is here", "<p>This address waits for the end of a login, and for nothing else.</p>", _BAD
    )


# Contrast is at least 7:1 for text (WCAG 2.2, 1.4.6) in both schemes. The browser's own high-contrast colours replace
# ours where a user has set them: nothing here is told by colour alone.
_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f3f4f6; --card: #fff; --edge: #d5d9df; --ink: #1b1f24; --soft: #414a55; --code: #eceff3;
  --good: #0b5c2c; --bad: #9b1c14;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #101316; --card: #1a1e23; --edge: #343b44; --ink: #e9ebee; --soft: #b9c1ca; --code: #2b323a;
    --good: #82d9a3; --bad: #ffb3a8;
  }
}
* { box-sizing: border-box }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 system-ui, sans-serif;
}
main {
  width: 100%; max-width: 36rem; padding: 2.25rem 2.5rem 2rem; border: 1px solid var(--edge); border-radius: .75rem;
  background: var(--card); overflow-wrap: anywhere;
}
svg { display: block; width: 2.75rem; height: 2.75rem; margin: 0 0 1rem }
.good svg { color: var(--good) }
.bad svg { color: var(--bad) }
h1 { margin: 0 0 .75rem; font-size: 1.6rem; line-height: 1.25 }
h2 { margin: 1.5rem 0 .25rem; font-size: 1.0625rem }
p { margin: 0 0 .5rem }
.close { margin-top: 1.5rem; color: var(--soft) }
code {
  padding: .1em .35em; border-radius: .3em; background: var(--code); font: .94em ui-monospace, monospace;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; user-select: all; -webkit-user-select: all;
}
@media (max-width: 30rem) {
  body { place-items: start stretch; padding: 0; background: var(--card) }
  main { padding: 1.75rem 1.25rem; border: 0; border-radius: 0 }
}
"""

_GOOD = ("good", '<path d="m7.5 12.5 3 3 6-7"/>')
_BAD = ("bad", '<path d="M12 7v6"/><path d="M12 16.5v.1"/>')
_CLOSE = '<p class="close">You can close this page.</p>'

_SHOUTED = re.compile(r"[a-z]+(?=[ ,])(?<!pmcred)")  # a sentence's first word, unless it is a host or a command
# A command ends a phrase or is followed by the next one: `..., then do this: pmcred login prod; if ...`. Alone it may
# begin a mend, but a sentence that begins with pmcred is about it.
_COMMAND = r"pmcred [^;,()]*[^;,() ]"
_TYPED = re.compile(rf'(?<=: ){_COMMAND}|https?://[^\s;,()"]*[^\s;,()".?]')
_TYPED_IN_A_MEND = re.compile(rf"^{_COMMAND}|{_TYPED.pattern}")


def _page(status: int, title: str, body: str, kind: tuple[str, str]) -> Page:
    name, drawing = kind
    document = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)} - pmcred</title>
<style>{_STYLE}</style>
</head>
<body>
<main class="{name}">
<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"\
 stroke-linejoin="round" aria-hidden="true"><circle cx="12" cy="12" r="10.5"/>{drawing}</svg>
<h1>{_text(title)}</h1>
{body}
</main>
</body>
</html>
"""
    return Page(status, _HEADERS, document.encode())


def _text(text: str) -> str:
    """Write text as HTML, without what is invisible in it: it may come from a server."""
    return html.escape("".join(char if char.isprintable() else " " for char in text))


def _name(name: str) -> str:
    """Write a name, which must not turn the line around if its letters run from right to left."""
    return f"<strong><bdi>{_text(name)}</bdi></strong>"


def _prose(text: str, known: re.Pattern[str]) -> str:
    """Make a sentence of a message of ours, and set off what is known to be typed or copied."""
    first = _SHOUTED.match(text)
    if first:
        text = text[0].upper() + text[1:]
    parts, end = [], 0
    for typed in known.finditer(text):
        parts += [_text(text[end : typed.start()]), f"<code>{_text(typed[0])}</code>"]
        end = typed.end()
    parts.append(_text(text[end:]))
    if parts[-1] and parts[-1][-1] not in ".!?":
        parts.append(".")
    return "".join(parts)


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
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "connection": "close",
    }
)
