"""The user's browser: whether there is one at hand, and how a page is opened in it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext


def at_hand(environ: Mapping[str, str]) -> bool:
    """Tell whether a browser can come up here: a display, or $BROWSER. Over plain ssh there is neither."""
    return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def open_page(url: str, environ: Mapping[str, str]) -> bool:
    """Open a page; False if no browser takes it."""
    import webbrowser  # here: it looks for every browser there is

    # One that $BROWSER names may be a text browser, and live in the terminal; what others write there is noise.
    with nullcontext() if environ.get("BROWSER") else _silence():
        try:
            return webbrowser.open(url)
        except webbrowser.Error:
            return False


@contextmanager
def _silence() -> Iterator[None]:
    null, kept = os.open(os.devnull, os.O_WRONLY), [os.dup(1), os.dup(2)]
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(null)
