"""Hypercorn under trio, on the loopback address and nowhere else."""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from starlette.applications import Starlette

if TYPE_CHECKING:
    from hypercorn.typing import Framework

HOST = "127.0.0.1"  # never another: the secrets in here are printed on the screen
_GRACE = 0.5  # seconds that open connections get at the end
_IDLE = 30.0  # seconds until an idle connection is closed
_BACKLOG = 1024  # connections waiting to be taken: hundreds of clients come at once in a test


class ListenError(Exception):
    """The port is taken or forbidden; the text says which and why."""


def listen(port: int) -> socket.socket:
    """Open the listener; port 0 for any free one. Raises ListenError."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {HOST}:{port}: {error.strerror}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of an open listener."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


async def serve(
    app: Starlette,
    listener: socket.socket,
    *,
    stop: Callable[[], Awaitable[None]],
    task_status: "trio.TaskStatus[list[str]]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` returns; takes over the listener and closes it."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG  # hypercorn listens again, with its own number
    config.accesslog = None
    config.errorlog = logging.getLogger("pmcredd.sandbox")  # its level keeps hypercorn's small talk out
    config.graceful_timeout = _GRACE
    config.keep_alive_timeout = _IDLE
    config.include_server_header = False
    config.include_date_header = False  # the application tells it: its clock may be off
    # Starlette types the ASGI messages as plain mappings, hypercorn as typed ones: the same protocol.
    await hypercorn_serve(cast("Framework", app), config, shutdown_trigger=stop, task_status=task_status)
