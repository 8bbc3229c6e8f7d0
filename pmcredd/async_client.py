"""The client for programs with an event loop, asyncio's or trio's: `from pmcredd import get_token_async`.

No thread waits for the daemon: any number of tasks may ask at once, and one that is cancelled hangs up.
"""

import os
import socket

import anyio

from pmcredd import client, wire
from pmcredd.asking import AccessToken, format_line, get_request, reject_request, token_in
from pmcredd.paths import StrPath

_RETRY_SECONDS = 0.05  # a listener whose queue is full cannot be waited for without a thread


async def get_token_async(
    profile: str | None = None,
    *,
    lasting: float | None = None,
    timeout: float = 60.0,
    refresh: bool = True,
    socket_path: StrPath | None = None,
) -> AccessToken:
    """Ask the daemon for an access token that works now; the arguments and the errors are those of `get_token`."""
    request = get_request(profile, lasting=lasting, timeout=timeout, refresh=refresh, environ=os.environ)
    return token_in(await _call(request, timeout + client.SLACK_SECONDS, socket_path), request)


async def reject_token_async(
    refused: AccessToken | str,
    profile: str | None = None,
    *,
    timeout: float = 60.0,
    socket_path: StrPath | None = None,
) -> AccessToken:
    """Tell the daemon that the server refused a token, and get the one to use instead; all else as `reject_token`."""
    request = reject_request(refused, profile, timeout=timeout, environ=os.environ)
    return token_in(await _call(request, timeout + client.SLACK_SECONDS, socket_path), request)


async def _call(request: wire.Request, patience: float, socket_path: StrPath | None) -> list[dict[str, str]]:
    line = format_line(request)
    with await _connect(socket_path) as connection, client.told(patience):
        client.send(connection, line)  # a few hundred bytes into an empty buffer: never blocks
        reader = wire.AnswerReader()
        with anyio.fail_after(patience):
            while True:
                await anyio.wait_readable(connection)
                if answer := client.take(reader, connection.recv(65536)):
                    return client.blocks_of(answer)


async def _connect(socket_path: StrPath | None) -> socket.socket:
    deadline = anyio.current_time() + client.CONNECT_SECONDS
    while True:
        try:
            return client.connect(socket_path, blocking=False)
        except BlockingIOError:
            if anyio.current_time() > deadline:
                raise client.PmcredError(
                    wire.Code.WAITING,
                    f"the daemon has not taken the connection within {client.CONNECT_SECONDS:g} s",
                    "pmcred status",
                ) from None
        await anyio.sleep(_RETRY_SECONDS)
