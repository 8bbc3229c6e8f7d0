"""What PmcredAuth costs a request: by httpx and requests, over kept connections, against the same with a fixed header.

Run it in tests/: python -m benchmarks.bench_python
Bar: 2.50 times the smallest request there is, to this machine and a server that does nothing: under a millisecond.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import requests
import trio

from benchmarks.interleave import Bar, measure, report
from pmcredd import get_token, wire
from pmcredd.audit import Audit
from pmcredd.auth.httpx import PmcredAuth as HttpxAuth
from pmcredd.auth.requests import PmcredAuth as RequestsAuth
from pmcredd.listening import open_listener
from pmcredd.peer import Peer
from pmcredd.server import serve

BATCH = 20  # requests a figure
BODY = b'{"data":[]}'


async def both(path: str) -> None:
    """Serve a daemon's answers on `path`, and an API that answers everything; prints the API's URL."""
    (api,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{api.socket.getsockname()[1]}"
    audit = Audit()

    def ready(request: wire.Request, peer: Peer) -> bytes:
        audit.note(peer, request.verb, request.target, fingerprint="4dd59ca0a64ed1e0")
        return wire.format_ok([{"access_token": "t" * 1000, "profile": "prod", "url": url}], many=False)

    async def answer(request: wire.Request, peer: Peer) -> bytes:
        return ready(request, peer)

    async def attend(stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen = b""
        async for data in stream:
            seen += data
            *requests_seen, seen = seen.split(b"\r\n\r\n")
            for _ in requests_seen:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)

    listener = open_listener(Path(path))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, attend, [api])
        print(url, flush=True)
        await serve(listener.socket, answer, ready=ready, uid=os.geteuid())


def batch(ask: Callable[[], object]) -> Callable[[], float]:
    """Make a contestant: seconds a request."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(BATCH):
            ask()
        return (time.perf_counter() - start) / BATCH

    return run


def main() -> int:
    """Measure, print, and give 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(both, options.serve)
        return 0
    with tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch:
        path = Path(scratch, "run", "socket")
        command = [sys.executable, "-m", "benchmarks.bench_python", "--serve", str(path)]
        with _serving(command) as url:
            return 0 if _compare(url, path, options.rounds) else 1


def _compare(url: str, path: Path, rounds: int) -> bool:
    header = {"Authorization": get_token("prod", socket_path=path).authorization}
    with httpx.Client(trust_env=False) as plain, requests.Session() as session:
        session.trust_env = False
        auth, other = HttpxAuth("prod", socket_path=path), RequestsAuth("prod", socket_path=path)
        met = report(
            measure(
                {
                    "httpx, a fixed header": batch(lambda: plain.get(url, headers=header)),
                    "httpx, PmcredAuth": batch(lambda: plain.get(url, auth=auth)),
                },
                rounds,
            ),
            [Bar("httpx, PmcredAuth", 2.5)],
        )
        return met & report(
            measure(
                {
                    "requests, a fixed header": batch(lambda: session.get(url, headers=header)),
                    "requests, PmcredAuth": batch(lambda: session.get(url, auth=other)),
                    "get_token alone": batch(lambda: get_token("prod", socket_path=path)),
                },
                rounds,
            ),
            [Bar("requests, PmcredAuth", 2.5)],
        )


@contextmanager
def _serving(command: list[str]) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
