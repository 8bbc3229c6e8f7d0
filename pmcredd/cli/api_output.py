"""Where `pmcred api` puts an answer: byte for byte into a pipe, or fit for people on a terminal."""

import os
import sys
from typing import TYPE_CHECKING

from pmcredd.api_answer import Trouble, explain, name, page_title
from pmcredd.cli.body_view import TextFlow, Veil, is_text, is_web_page, lay_out_json
from pmcredd.cli.terminal import clean, colour_wanted, say
from pmcredd.dialects import Answer
from pmcredd.secret import Secret

if TYPE_CHECKING:
    from pmcredd.api_exchange import Call, Head

_MOST_LAID_OUT = 4 * 1024 * 1024  # bytes of JSON; a longer body is shown as it comes
_MOST_EXPLAINED = 64 * 1024  # bytes of a body that are looked at for the server's own words


class Output:
    """A receiver of an answer, which keeps how it begins: there the server says why."""

    def __init__(self, *, include: bool) -> None:
        self._include = include
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._token = Secret("")
        self._beginning = bytearray()

    def begin(self, head: "Head", bearer: Secret) -> None:
        """Take the head."""
        self._status, self._headers, self._token = head.status, head.headers, bearer
        if self._include:
            lines = [f"HTTP/1.1 {head.status} {head.reason}".rstrip()]
            self._show_head([*lines, *(f"{key}: {value}" for key, value in head.headers), ""])

    def receive(self, chunk: bytes) -> None:
        """Take a part of the body."""
        self._beginning += chunk[: _MOST_EXPLAINED - len(self._beginning)]
        self._show(chunk)

    def finish(self) -> None:
        """Show what is left, be the answer complete or cut."""

    def explain(self, call: "Call") -> Trouble:
        """Say why the call had no success."""
        return explain(call.profile, call.method, call.url, self._answer(), [self._token])

    def remark(self) -> None:
        """Tell of what came with a success and is not what was asked for: a web page."""
        if is_web_page(self._content_type):
            say(f"pmcred: {name(self._status)}, but the body is {self._page()}: check PATH, and url in the profile")

    @property
    def _content_type(self) -> str:
        return self._answer().headers.get("content-type", "")

    def _answer(self) -> Answer:
        return Answer(self._status, {key.lower(): value for key, value in self._headers}, bytes(self._beginning))

    def _page(self) -> str:
        title = clean(Veil(self._token).over(" ".join(page_title(self._answer()).split())))[:80]
        return f'a web page, "{title}"' if title else "a web page"

    def _show_head(self, lines: list[str]) -> None:
        raise NotImplementedError

    def _show(self, chunk: bytes) -> None:
        raise NotImplementedError


class Pipe(Output):
    """Writes every byte as it came, and at once: whoever reads may be waiting for just that part."""

    def _show_head(self, lines: list[str]) -> None:
        self._show("".join(f"{line}\r\n" for line in lines).encode("utf-8"))

    def _show(self, chunk: bytes) -> None:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


class Screen(Output):
    """Shows JSON laid out, other text as it comes, and of web pages and binary bodies only what they are."""

    def __init__(self, *, include: bool) -> None:
        super().__init__(include=include)
        self._size = 0  # bytes
        self._json: bytearray | None = None  # what there is of it, until it is complete or too long
        self._flow: TextFlow | None = None
        self._last = "\n"  # character that was shown

    def finish(self) -> None:
        """Show what is left, be the answer complete or cut."""
        if self._json is not None:
            colour = colour_wanted(sys.stdout, os.environ)
            laid_out = lay_out_json(self._json.decode("utf-8", "replace"), Veil(self._token), colour=colour)
            if laid_out is None:
                self._let_flow()
            else:
                self._print(laid_out)
        if self._flow is not None:
            self._print(self._flow.feed(b"", last=True))
        if self._last != "\n":
            self._print("\n")
        if self._size and self._json is None and self._flow is None and not is_web_page(self._content_type):
            kind = clean(self._content_type)[:60] or "binary"
            say(f"pmcred: the body is {kind}, {self._size} bytes, and not shown; > FILE keeps it")
        if not self._size and 200 <= self._status < 300 and not self._include:
            say(f"pmcred: {name(self._status)}, without a body")

    def _show_head(self, lines: list[str]) -> None:
        veil = Veil(self._token)
        self._print("".join(f"{clean(veil.over(line))}\n" for line in lines))

    def _show(self, chunk: bytes) -> None:
        if not self._size:
            self._choose(chunk)
        self._size += len(chunk)
        if self._json is not None:
            self._json += chunk
            if len(self._json) > _MOST_LAID_OUT:
                self._let_flow()
        elif self._flow is not None:
            self._print(self._flow.feed(chunk))

    def _choose(self, chunk: bytes) -> None:
        kind = self._content_type
        if is_web_page(kind) or not is_text(kind, chunk):
            return
        if kind.partition(";")[0].strip().lower().endswith("json"):
            self._json = bytearray()
        else:
            self._flow = TextFlow(kind, Veil(self._token))

    def _let_flow(self) -> None:
        """Show as text what was to be laid out."""
        self._flow = TextFlow("", Veil(self._token))
        self._print(self._flow.feed(bytes(self._json or b"")))
        self._json = None

    def _print(self, text: str) -> None:
        if text:
            print(text, end="", flush=True)
            self._last = text[-1]
