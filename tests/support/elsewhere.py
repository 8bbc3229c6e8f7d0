"""A server on the loopback interface that sends everybody on to another host, and remembers what it was told."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Answers every request by sending the caller on; `seen` holds the headers of all."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.headers['Host'].partition(':')[2]}/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve it; gives its URL and what it has seen."""
    seen: list[dict[str, str]] = []
    handler = type("Handler", (Elsewhere,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()
