"""Asks the daemon how it is and which tokens it has; nothing that is asked here renews or promises anything."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from pmcredd import client, paths, wire
from pmcredd.cli.doctor.judge_daemon import Answers, Block, NoAnswer
from pmcredd.client import NoDaemon, PmcredError

_LIMIT = 5.0  # seconds for an answer: none of these waits for a server


async def ask_daemon(environ: Mapping[str, str], named: str | None, only: str | None) -> Answers | NoAnswer:
    """Find the daemon and ask it how it is; `named` is the socket that the command line names."""
    tried: list[tuple[Path, str]] = []
    for path in (Path(named),) if named else paths.socket_candidates(environ, os.geteuid()):
        try:
            hello = await _call(path, wire.Request("hello", None, {}))
            states = await _states(path, only)
        except NoDaemon as absent:
            tried += absent.tried
            continue
        except PmcredError as error:
            return NoAnswer(said=f"{error.message} ({path})")
        return Answers(path, hello[0] if hello else {}, states)
    return NoAnswer(tuple(tried))


async def _states(path: Path, only: str | None) -> Mapping[str, Block]:
    try:
        blocks = await _call(path, wire.Request("status", only, {}))
    except PmcredError as error:
        if error.code != wire.Code.NO_SUCH_PROFILE:
            raise
        blocks = []
    return {block.get("profile", "?"): block for block in blocks}


async def _call(path: Path, request: wire.Request) -> list[dict[str, str]]:
    asking = partial(client.call, request, timeout=_LIMIT, socket_path=path)
    return await trio.to_thread.run_sync(asking, abandon_on_cancel=True)


async def token_in_hand(path: Path, name: str) -> Block | None:
    """Give the status of a profile with its token, as `watch` tells it: unlike `get`, that never renews anything."""

    def first() -> Block | None:
        blocks = client.stream(wire.Request("watch", name, {"token": "yes"}), timeout=_LIMIT, socket_path=path)
        try:
            return next(blocks, None)
        finally:
            blocks.close()

    with trio.move_on_after(_LIMIT):  # the client has no limit once a stream has begun
        try:
            return await trio.to_thread.run_sync(first, abandon_on_cancel=True)
        except PmcredError:
            return None
    return None
