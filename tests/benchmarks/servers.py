"""The servers that are measured: `bare`, the least that trio needs to answer a line, and `ours`, without a keeper.

Run by file name with the interpreter to measure: `python servers.py bare|ours SOCKET`. Prints a line once it listens.
"""

import os
import socket
import sys
from pathlib import Path

import trio

TOKEN = "t" * 1000


async def bare(path: str) -> None:
    """Answer 1 KB to every line, and check nothing."""
    reply = f"ok\naccess_token={TOKEN}\n\n".encode()

    async def attend(connection: trio.socket.SocketType) -> None:
        with connection:
            rest = b""
            while data := await connection.recv(8192):
                *lines, rest = (rest + data).split(b"\n")
                for _ in lines:
                    await connection.send(reply)

    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen(1024)
        print("listening", flush=True)
        async with trio.open_nursery() as nursery:
            while True:
                connection, _ = await listener.accept()
                nursery.start_soon(attend, connection)


async def ours(path: str) -> None:
    """Serve with pmcredd's own server and audit, and an answer that is always ready."""
    from pmcredd import listening, server, wire
    from pmcredd.audit import Audit
    from pmcredd.peer import Peer

    audit = Audit()

    def ready(request: wire.Request, peer: Peer) -> bytes:
        audit.note(peer, request.verb, request.target, fingerprint="4dd59ca0a64ed1e0")
        fields = {"access_token": TOKEN, "token_type": "Bearer", "expires_at": "2000000000", "good_until": "2000000000"}
        return wire.format_ok([{**fields, "profile": request.target or "", "url": "https://pm.example"}], many=False)

    async def answer(request: wire.Request, peer: Peer) -> bytes:
        return ready(request, peer)

    listener = listening.open_listener(Path(path))
    print("listening", flush=True)
    await server.serve(listener.socket, answer, ready=ready, uid=os.geteuid())


if __name__ == "__main__":
    trio.run({"bare": bare, "ours": ours}[sys.argv[1]], sys.argv[2])
