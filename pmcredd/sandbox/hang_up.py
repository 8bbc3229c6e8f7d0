"""Closing a connection that the ASGI server holds: ASGI itself has no word for leaving without an answer."""

import os
import socket
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pmcredd.sandbox.inbound import Reply

_OPEN_FILES = "/proc/self/fd"


class HangUp(Response):
    """No answer: the connection is closed without a byte, or after the head and half of the body of `cut`."""

    def __init__(self, cut: "Reply | None" = None) -> None:
        super().__init__(b"" if cut is None else cut.body, 200 if cut is None else cut.status)
        for name, value in () if cut is None else cut.headers:
            self.headers[name] = value  # the length that is told is that of the whole body

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send what is to be sent and close; returns when the server has noticed."""
        if self.body:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            half = bytes(self.body[: len(self.body) // 2])
            await send({"type": "http.response.body", "body": half, "more_body": True})
        _shut_down(tuple(scope["client"]), tuple(scope["server"]))
        # To return before the server knows would have it send a 500 of its own, into the closed connection.
        while (await receive())["type"] != "http.disconnect":
            pass


def _shut_down(client: tuple[str, int], server: tuple[str, int]) -> None:
    """Shut down this process's end of the TCP connection between two addresses.

    The server sees the end of its input, as if the client had left; the client sees a connection that is closed.
    """
    for name in os.listdir(_OPEN_FILES):
        try:
            borrowed = socket.socket(fileno=int(name))
        except OSError:  # not a socket, or closed meanwhile
            continue
        try:
            if (borrowed.getpeername(), borrowed.getsockname()) == (client, server):
                borrowed.shutdown(socket.SHUT_RDWR)
                return
        except OSError:  # not connected
            continue
        finally:
            borrowed.detach()  # closing it is its owner's business
    message = f"no connection of this process leads from {client} to {server}"
    raise RuntimeError(message)
