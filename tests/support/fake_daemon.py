"""A daemon of a few lines for tests of clients: a real socket, a thread, and answers that the test writes."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

TOKEN = "eyJ0eXAi.fake-token_" + "x" * 1000 + "~+/=="
"""As long as a real one, with every kind of character that a b64token may hold."""


def answer_get(request: bytes) -> bytes:
    """Answer every `get` with TOKEN, and all else as a daemon that knows only `get`."""
    verb, _, rest = request.decode().partition(" ")
    if verb != "get":
        return b"error bad-request\nmessage=only%20get\n\n"
    name = rest.split(" ")[0]
    fields = f"profile={name}\nurl=https://pm.example\nexpires_at=2000000000\ngood_until=1999999990"
    return f"ok\naccess_token={TOKEN}\ntoken_type=Bearer\n{fields}\n\n".encode()


class FakeDaemon:
    """Listens on `path` within a `with` block and answers each line with what `answer` gives.

    With `hang_up` it hangs up after each answer, and after an empty answer always. `requests` holds the lines that
    came, in order.
    """

    def __init__(self, path: Path, answer: Callable[[bytes], bytes] = answer_get, *, hang_up: bool = False) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self._answer = answer
        self._hang_up = hang_up
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listener.bind(os.fspath(self.path))
        self._listener.listen()
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close does not
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # its client went first, and its thread has closed it
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            self._run(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    self.requests.append(line.removesuffix(b"\n"))
                    reply = self._answer(self.requests[-1])
                    connection.sendall(reply)
                    if self._hang_up or not reply:
                        break
            except OSError:
                pass  # the client went away
            finally:
                self._open.discard(connection)
