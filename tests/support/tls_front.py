"""TLS before a server that speaks plain http: what a sandbox needs to be an instance of https."""

import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import trio


@contextmanager
def tls_front(url: str, context: ssl.SSLContext) -> Iterator[int]:
    """Pass on what comes on a port of the loopback interface as long as the block runs; gives the port."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None
    assert port is not None
    started = queue.SimpleQueue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]]()

    async def relay(client: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            async with client, await trio.open_tcp_stream(host, port) as server, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, client, server, nursery.cancel_scope)
                nursery.start_soon(_copy, server, client, nursery.cancel_scope)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # a client may leave

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, relay, 0, context, host="127.0.0.1")
            (listener,) = await nursery.start(serve)
            bound = listener.transport_listener.socket.getsockname()[1]
            started.put((bound, trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    thread = threading.Thread(target=trio.run, args=[main])
    thread.start()
    bound, token, scope = started.get(timeout=30)
    try:
        yield bound
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


async def _copy(origin: trio.abc.ReceiveStream, to: trio.abc.SendStream, whole: trio.CancelScope) -> None:
    async for data in origin:
        await to.send_all(data)
    whole.cancel()  # one side has ended
