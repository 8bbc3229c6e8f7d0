"""A ProcessMaker look-alike for tests: a process of its own, or in the test's own trio loop; both on real sockets.

In a process, for synchronous tests and whole commands:

    with sandbox_process("--token-lifetime", "30s") as sandbox:
        sandbox.url, sandbox.profiles_toml(), sandbox.revoke(all=True), sandbox.log(after=0)
        sandbox.fault("lose-answer:1"), sandbox.change(throttle="off"), sandbox.code()

In the test's own loop, where its state can be looked at and its clock is the test's:

    async with sandbox_in_process(Settings(throttle=None), clock=clock) as sandbox:
        sandbox.url, sandbox.state.pm4, sandbox.state.pm3, sandbox.state.journal, sandbox.fault("lose-answer:1")
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import trio

from pmcredd.sandbox.app import create_app
from pmcredd.sandbox.faults import parse_fault
from pmcredd.sandbox.greeting import READY, profiles_toml
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.serve import listen, serve, url_of
from pmcredd.sandbox.settings import Settings

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class SandboxProcess:
    """A sandbox in a process of its own; every call here blocks, so use it from synchronous tests or a thread."""

    url: str
    process: subprocess.Popen[str]

    def profiles_toml(self) -> str:
        """Profiles `sandbox` (ProcessMaker 4) and `sandbox3` for this sandbox (of the default workspace)."""
        return profiles_toml(self.url, Sandbox(Settings()))

    def revoke(self, **order: object) -> int:
        """Revoke now: token="...", fingerprint="..." or all=True; says how many tokens that hit."""
        return int(str(self._tell("revoke", order)["revoked"]))

    def log(self, *, after: int = 0) -> list[Row]:
        """The token requests so far whose `seq` is over `after`."""
        rows: list[Row] = []
        while True:
            page = self._ask(f"log?after={after}&limit=10000")
            assert isinstance(page, list)
            if not page:
                return rows
            rows += page
            after = page[-1]["seq"]

    def fault(self, *faults: str) -> None:
        """Put faults at the end of the queue: "lose-answer:1", "503@10%,grant_type=refresh_token"."""
        self._tell("faults", {"faults": faults})

    def faults(self) -> list[str]:
        """The faults that are not used up."""
        answer = self._ask("faults")
        assert isinstance(answer, dict)
        return [row["fault"] for row in answer["faults"]]

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._ask("faults", method="DELETE")

    def change(self, **settings: object) -> Row:
        """Change settings while it runs: throttle="off", refresh_lifetime="20s", clock_offset="-10m"; None: default."""
        return self._tell("settings", settings)

    def code(self, client_id: str = "3", username: str = "demo", **more: str) -> str:
        """An authorization code, as from a login in the browser: redirect_uri, code_challenge (S256), scope."""
        return str(self._tell("code", {"client_id": client_id, "username": username, **more})["code"])

    def _tell(self, path: str, order: Mapping[str, object]) -> Row:
        answer = self._ask(path, json.dumps(order).encode(), method="POST")
        assert isinstance(answer, dict)
        return answer

    def _ask(self, path: str, body: bytes | None = None, *, method: str = "GET") -> object:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def sandbox_process(*options: str) -> Iterator[SandboxProcess]:
    """Start a sandbox on a free loopback port; it is ended by its own pid."""
    command = [sys.executable, "-P", "-m", "pmcredd.sandbox", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith(READY), f"the sandbox did not start: {line!r}"
            yield SandboxProcess(line.removeprefix(READY).strip(), process)
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True, slots=True)
class SandboxHere:
    """A sandbox in the test's own process: `state` can be looked at and changed."""

    url: str
    state: Sandbox

    def profiles_toml(self) -> str:
        """Profiles `sandbox` (ProcessMaker 4) and `sandbox3` for this sandbox."""
        return profiles_toml(self.url, self.state)

    def fault(self, *faults: str) -> None:
        """Put faults at the end of the queue: "lose-answer:1", "503@10%,grant_type=refresh_token"."""
        for fault in faults:
            self.state.faults.add(parse_fault(fault))


@asynccontextmanager
async def sandbox_in_process(
    settings: Settings | None = None, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[SandboxHere]:
    """Serve a sandbox on a free loopback port as long as the block runs; `clock` gives the unix time it believes in."""
    state = Sandbox(settings or Settings(throttle=None), clock=clock)
    listener = listen(0)
    url = url_of(listener)
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        async def server(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(create_app(state), listener, stop=ended.wait, task_status=task_status)

        await nursery.start(server)
        try:
            yield SandboxHere(url, state)
        finally:
            ended.set()


@asynccontextmanager
async def sandbox_without_sockets(state: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that calls the sandbox's application directly: for tables of many cases."""
    transport = httpx.ASGITransport(create_app(state), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox.test") as client:
        yield client
