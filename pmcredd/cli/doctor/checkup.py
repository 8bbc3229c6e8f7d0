"""Looks at the machine, the servers, the secrets and the tokens, side by side, and collects what is found."""

from collections.abc import Mapping
from functools import partial

import trio

from pmcredd.cli.doctor.files import Read, look_at_files
from pmcredd.cli.doctor.finding import FILES, Finding
from pmcredd.cli.doctor.judge_daemon import Answers
from pmcredd.cli.doctor.machine import Machine
from pmcredd.cli.doctor.secrets import look_at_secrets
from pmcredd.cli.doctor.server import Look, look_at_server, servers
from pmcredd.cli.doctor.token import look_at_token
from pmcredd.profiles import Profile
from pmcredd.upstream import Upstream

_AT_ONCE = 64  # servers
_FILES_WITHIN = 10.0  # seconds


async def look(environ: Mapping[str, str], read: Read, socket: str | None, only: str | None) -> list[Finding]:
    """Look at everything, at all servers side by side."""
    upstream = Upstream()
    looks: dict[str, Look] = {}
    by_server = servers(read.profiles)
    machine = Machine()
    files: list[Finding] = []
    secrets: dict[str, list[Finding]] = {}
    tokens: dict[str, list[Finding]] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def at_files() -> None:
        looking = partial(look_at_files, environ, read.config, read.profiles)
        with trio.move_on_after(_FILES_WITHIN):
            files.extend(await trio.to_thread.run_sync(looking, abandon_on_cancel=True))
            return
        sentence = f"the file system did not tell within {_FILES_WITHIN:g} s how its directories are"
        files.append(FILES.problem("state", sentence, "look at what is mounted: findmnt"))

    async def at_server(first: Profile, those: list[Profile]) -> None:
        async with limiter:
            look = await look_at_server(upstream, first)
        looks.update({profile.name: look for profile in those})

    async def at_host_and_secrets() -> None:
        await machine.look(environ, socket, only)
        secrets.update(await look_at_secrets(read.profiles, machine.where(environ, read)))

    async def at_token(profile: Profile) -> None:
        if isinstance(machine.answers, Answers) and looks[profile.name].answers:
            async with limiter:
                tokens[profile.name] = await look_at_token(upstream, profile, machine.answers.socket)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(at_files)
        nursery.start_soon(at_host_and_secrets)
        for first, those in by_server.items():
            nursery.start_soon(at_server, first, those)
    async with trio.open_nursery() as nursery:
        for profile in read.profiles:
            nursery.start_soon(at_token, profile)

    findings = [*read.findings, *files, *machine.findings(read, only)]
    for first in by_server:
        findings += looks[first.name].findings
    # The daemon may have some whose files cannot be read now.
    for name in dict.fromkeys([*secrets, *machine.states()]):
        findings += [*secrets.get(name, []), *machine.state(name), *tokens.get(name, [])]
    return findings
