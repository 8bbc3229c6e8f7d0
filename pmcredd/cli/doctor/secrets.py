"""Reads the secrets of profiles as the daemon would, where that asks nobody and spends nothing; shows none of them."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

import trio

from pmcredd import programs, secret_sources
from pmcredd.cli.doctor import quiet_keyring
from pmcredd.cli.doctor.finding import Area, Finding, Level
from pmcredd.keyring_source import Failure, Outcome, explain
from pmcredd.profiles import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    LiteralSecret,
    Profile,
    SecretSource,
)
from pmcredd.secret_sources import SecretUnavailable

LIMIT = 10.0  # seconds for a source, if its own limit is not shorter
_KEYS = ("client_secret", "password", "token")
_AT_ONCE = 8
# By these a program finds a person to ask: one that needs a person is to fail here instead of popping something up.
_TO_ASK = ("DISPLAY", "WAYLAND_DISPLAY", "GPG_TTY", "SSH_ASKPASS")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of one source, whoever's it is."""

    level: Level
    sentence: str
    mend: str = ""

    def finding(self, area: Area, key: str) -> Finding:
        """Say it of a profile's key."""
        return Finding(area, key, self.level, self.sentence, self.mend)


@dataclass(frozen=True, slots=True)
class Where:
    """Where secrets are read: `environ` is ours; `unit` is the daemon's service, None if it was started by hand.

    `running` tells whether there is a daemon at all, `withhold` names the variables that hold secrets.
    """

    environ: Mapping[str, str]
    withhold: Collection[str] = field(default=())
    unit: str | None = None
    running: bool = False


async def look_at_secrets(profiles: Collection[Profile], where: Where) -> dict[str, list[Finding]]:
    """Read every source once, some at a time; gives the findings by profile."""
    sources = {source for profile in profiles for _, source in _sources(profile)}
    judged: dict[SecretSource, Judgement] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def look(source: SecretSource) -> None:
        async with limiter:
            judged[source] = await judge(source, where)

    async with trio.open_nursery() as nursery:
        for source in sources:
            nursery.start_soon(look, source)
    return {
        profile.name: [judged[source].finding(Area("profile", profile.name), key) for key, source in _sources(profile)]
        for profile in profiles
    }


def _sources(profile: Profile) -> list[tuple[str, SecretSource]]:
    found = ((key, getattr(profile, key)) for key in _KEYS)
    return [(key, source) for key, source in found if source is not None]


async def judge(source: SecretSource, where: Where) -> Judgement:
    """Find out whether a source gives a secret, within its limit and LIMIT."""
    match source:
        case LiteralSecret():
            return Judgement(Level.OK, "is written in the profile itself")
        case FileSecret(path):
            return await _read(source, where.environ, f"is in the file {path}")
        case EnvSecret(variable):
            return await _variable(source, variable, where)
        case CredentialSecret(name):
            return await _credential(source, name, where)
        case CommandSecret():
            environ = {name: value for name, value in where.environ.items() if name not in _TO_ASK}
            told = f'is what the command "{source.argv[0]}" prints'
            return await _read(source, environ, told, limit=source.timeout, withhold=where.withhold)
        case KeyringSecret():
            return await _keyring(source, where)
        case _:
            assert_never(source)


async def _read(
    source: SecretSource,
    environ: Mapping[str, str],
    told: str,
    *,
    limit: float = LIMIT,
    withhold: Collection[str] = (),
) -> Judgement:
    with trio.move_on_after(min(limit + 1, LIMIT)):  # the source's own limit has the better words
        try:
            await secret_sources.read(source, environ=environ, withhold=withhold)
        except SecretUnavailable as why:
            return Judgement(Level.PROBLEM, why.sentence, why.mend)
        return Judgement(Level.OK, told)
    sentence = f"it {told}, and did not come within {LIMIT:g} s"
    return Judgement(
        Level.WARNING, sentence, "it may wait for a person to unlock something: try it by hand in a terminal"
    )


async def _variable(source: EnvSecret, variable: str, where: Where) -> Judgement:
    if where.unit is not None:
        sentence = f"the environment variable {variable} is not for a pmcredd that systemd starts ({where.unit})"
        return Judgement(
            Level.PROBLEM, sentence, f'write {{ credential = "{variable}" }}, and LoadCredential= in the unit'
        )
    if variable in where.environ:
        told = f"is in the environment variable {variable} here; the daemon goes by its own environment"
        return await _read(source, {**where.environ, "PMCRED_ONESHOT": "1"}, told)
    if where.running:
        return Judgement(Level.OK, f"is in the daemon's own environment ({variable}), which nobody else can read")
    sentence = f"the environment variable {variable} is not set here"
    return Judgement(Level.WARNING, sentence, "start pmcredd from a shell that has it")


async def _credential(source: CredentialSecret, name: str, where: Where) -> Judgement:
    if (directory := _credentials(where)) is not None:
        environ = {**where.environ, "CREDENTIALS_DIRECTORY": str(directory)}
        return await _read(source, environ, f'is the systemd credential "{name}"')
    if where.running:
        return Judgement(Level.OK, f'is the systemd credential "{name}", which only the daemon can read')
    sentence = f'the systemd credential "{name}" is there only while systemd runs pmcredd'
    return Judgement(Level.WARNING, sentence, "systemctl --user start pmcredd.service")


def _credentials(where: Where) -> Path | None:
    """Find where a user manager puts the credentials of the daemon's unit (systemd.exec(5))."""
    runtime = where.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    directory = Path(runtime, "credentials", where.unit or "pmcredd.service")
    return directory if directory.is_dir() else None


async def _keyring(source: KeyringSecret, where: Where) -> Judgement:
    env = secret_sources.child_environment(where.environ, where.withhold)
    entry = f"is the entry {source.service} {source.username} of the keyring"
    limit = min(source.timeout, LIMIT)
    with trio.move_on_after(limit):
        try:
            done = await _run(quiet_keyring.command(source), env)
        except OSError:
            done = Outcome.FAILED.value, ""
        status, said = done
        if status == quiet_keyring.NOT_LOOKED:
            return Judgement(Level.OK, f"{entry}, which is not read here, as it might ask somebody")
        failure = Failure(Outcome(status) if status in set(Outcome) else Outcome.FAILED, said)
        if failure.outcome is Outcome.FOUND:
            return Judgement(Level.OK, entry)
        return Judgement(Level.PROBLEM, *explain(failure, source, env))
    return Judgement(Level.WARNING, *explain(Failure(Outcome.SLOW, ""), replace(source, timeout=limit), env))


async def _run(argv: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    process = await programs.start(argv, env)
    reaped = False
    try:
        assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        said = b"".join([chunk async for chunk in process.stdout])
        status = await process.wait()
        reaped = True
    finally:
        await programs.end(process, reaped=reaped)
    return status, " ".join(said.decode(errors="replace").split())
