"""Where a secret comes from: a file, a command, the environment, a systemd credential, the keyring.

Whatever goes wrong there becomes a SecretUnavailable, which never contains the secret.
"""

import os
import shlex
import stat
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import trio

from pmcredd import keyring_source, programs
from pmcredd.keyring_source import Outcome
from pmcredd.masking import clean
from pmcredd.profiles import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    LiteralSecret,
    SecretSource,
    secret_flaw,
)
from pmcredd.regular_file import read_regular_file
from pmcredd.secret import Secret

MAX_BYTES = 64 * 1024
FILE_SECONDS = 30.0  # a file answers in microseconds, or its file system hangs
_MAX_COMPLAINT = 4096  # bytes of stderr that are kept
_LAST_LINES = 3  # of stderr: why a program gave up is said at the end

# What the daemon's environment says to the daemon alone. PMCRED_*: a command that asked the daemon for a token would
# wait for itself. The rest is systemd's: a child must not announce itself as ready in our name.
_OURS = ("PMCRED_", "LISTEN_", "WATCHDOG_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")


class SecretUnavailable(Exception):
    """A secret cannot be had: `sentence` tells why, for people; `mend` is what to do about it."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend


async def read(source: SecretSource, *, environ: Mapping[str, str], withhold: Collection[str] = ()) -> Secret:
    """Read a secret where it is now; nothing is remembered.

    `withhold` names the variables that hold secrets of any profile (profiles.secret_variables): a command does not
    inherit them. Takes at most FILE_SECONDS or the source's own time limit; before that of a keyring comes its turn, as
    only one read at a time may make it ask a person. Raises SecretUnavailable.
    """
    match source:
        case LiteralSecret(value):
            return value
        case FileSecret(path):
            return _secret(await _file(path, f"the secret file {path}", guarded=True), f"the secret file {path}")
        case CommandSecret():
            what = f'the secret that the command "{source.argv[0]}" printed'
            return _secret(await _command(source, child_environment(environ, withhold)), what)
        case EnvSecret(variable):
            return _secret(_variable(variable, environ), f"the secret in the environment variable {variable}")
        case CredentialSecret(name):
            what = f'the systemd credential "{name}"'
            content = await _file(_credential_path(name, environ), what, guarded=False, mend=_load_credential(name))
            return _secret(content, what)
        case KeyringSecret(service, username):
            what = f"the secret in the keyring's entry {shlex.join((service, username))}"
            return _secret(await _keyring(source, child_environment(environ, withhold)), what)
        case _:
            assert_never(source)


def child_environment(environ: Mapping[str, str], withhold: Collection[str] = ()) -> dict[str, str]:
    """Give a secret command what it needs (HOME, PATH, GNUPGHOME, the session bus, the display) and nothing of ours."""
    return {name: value for name, value in environ.items() if not name.startswith(_OURS) and name not in withhold}


def _secret(content: bytes, what: str) -> Secret:
    if len(content) > MAX_BYTES:
        raise SecretUnavailable(
            f"{what} is longer than {MAX_BYTES // 1024} KiB", "keep the secret there and nothing else"
        )
    flaw: str | None = "is not UTF-8"
    text = ""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        pass  # raised below: the error holds the secret's bytes and would be the context of ours
    else:
        text = text.removesuffix("\n")
        flaw = secret_flaw(text)
    if flaw is not None:
        raise SecretUnavailable(f"{what} {flaw}", "keep the secret there, in one line, and nothing else")
    return Secret(text)


# The environment


def _variable(name: str, environ: Mapping[str, str]) -> bytes:
    if _started_by_systemd(environ) and "PMCRED_ONESHOT" not in environ:
        raise SecretUnavailable(
            f"a secret in the environment variable {name} is not for a pmcredd that systemd starts: everybody "
            "who can talk to systemd can read it",
            f'write {{ credential = "{name}" }} and add LoadCredential={name}:/PATH/OF/THE/FILE to the unit',
        )
    if name not in environ:
        raise SecretUnavailable(
            f"the environment variable {name} is not set",
            "set it for this command; in CI, see whether this branch and this job are given it"
            if "PMCRED_ONESHOT" in environ
            else "start pmcredd from a shell that has it, or write { file = ... } or { command = [...] }",
        )
    return os.fsencode(environ[name])


def _started_by_systemd(environ: Mapping[str, str]) -> bool:
    # INVOCATION_ID alone would not do: every shell in a terminal that is itself a user service inherits it. systemd
    # 248 and later also name the process that they started.
    if started := environ.get("SYSTEMD_EXEC_PID"):
        return started == str(os.getpid())
    return "INVOCATION_ID" in environ


# Files


def _credential_path(name: str, environ: Mapping[str, str]) -> str:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise SecretUnavailable(
            f'the systemd credential "{name}" is not there: pmcredd was started without credentials',
            _load_credential(name),
        )
    return os.path.join(directory, name)


def _load_credential(name: str) -> str:
    return f"add LoadCredential={name}:/PATH/OF/THE/FILE to the unit (systemctl --user edit pmcredd) and restart it"


# One read of a path at a time: a thread that hangs in a dead file system cannot be ended, so it must not be joined by
# others. Per event loop, as trio's limiters are.
_reading: trio.lowlevel.RunVar[dict[str, trio.CapacityLimiter]] = trio.lowlevel.RunVar("pmcredd_reading")


async def _file(path: str, what: str, *, guarded: bool, mend: str = "") -> bytes:
    try:
        limiters = _reading.get()
    except LookupError:
        _reading.set(limiters := {})
    limiter = limiters.setdefault(path, trio.CapacityLimiter(1))
    with trio.move_on_after(FILE_SECONDS):
        read_it = partial(_read_file, path, what, guarded=guarded, mend=mend)
        return await trio.to_thread.run_sync(read_it, abandon_on_cancel=True, limiter=limiter)
    raise SecretUnavailable(
        f"reading {what} took longer than {FILE_SECONDS:g} s", f"look at its file system: df {shlex.quote(path)}"
    )


def _read_file(path: str, what: str, *, guarded: bool, mend: str) -> bytes:
    try:
        content, status = read_regular_file(path, limit=MAX_BYTES)
    except OSError as error:
        raise SecretUnavailable(f"{what} cannot be read: {error.strerror}", mend or _mend(path, error)) from None
    if guarded:
        _check_guarded(path, what, status)
    return content


def _check_guarded(path: str, what: str, status: os.stat_result) -> None:
    """Refuse a file that others can read or could have written, as ssh does with a private key.

    A file of root's is root's decision (/run/secrets is mounted readable for all), but never one that all can write.
    """
    if status.st_uid not in {os.geteuid(), 0}:
        raise SecretUnavailable(
            f"{what} belongs to another user (uid {status.st_uid})", f"chown {os.geteuid()} {shlex.quote(path)}"
        )
    forbidden = 0o077 if status.st_uid == os.geteuid() else 0o022
    if status.st_mode & forbidden:
        raise SecretUnavailable(
            f"{what} is open to others (mode {stat.S_IMODE(status.st_mode):04o})", f"chmod 600 {shlex.quote(path)}"
        )


def _mend(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"install -m 600 /dev/null {shlex.quote(path)}, then write the secret into it"
    if isinstance(error, PermissionError):
        return f"chmod 600 {shlex.quote(path)}, and look at the directories above it"
    return "put the secret into a plain file of its own"


# Programs: commands and the keyring


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a program ended: its exit status, or None where it was killed at its time limit or for its endless output.

    `left_early` tells that it had ended by then, and what it left behind kept its output open.
    """

    status: int | None
    left_early: bool
    output: bytes = field(repr=False)
    complaint: bytes = field(repr=False)


async def _run(argv: tuple[str, ...], timeout: float, env: dict[str, str]) -> _Ended:
    """Run a program to its end, and to the end of its output. Raises OSError where it cannot be started."""
    process = await programs.start(argv, env)
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - for mypy: both are pipes
    output, complaint = bytearray(), bytearray()
    reaped = False
    try:
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                silent = trio.Event()
                nursery.start_soon(_listen, process.stderr, complaint, silent)
                async for chunk in process.stdout:
                    output += chunk
                    if len(output) > MAX_BYTES:
                        break
                else:
                    await process.wait()
                    reaped = True
                    if process.returncode:  # what it left in the background may hold stderr open for ever
                        with trio.move_on_after(programs.CLOSING_SECONDS):
                            await silent.wait()
                nursery.cancel_scope.cancel()
    finally:
        # Until it is reaped its process group cannot become somebody else's.
        left_early = not reaped and programs.has_exited(process.pid)
        await programs.end(process, reaped=reaped)
    return _Ended(process.returncode if reaped else None, left_early, bytes(output), bytes(complaint))


async def _listen(stream: trio.abc.ReceiveStream, heard: bytearray, silent: trio.Event) -> None:
    async for chunk in stream:  # read to its end: a full pipe would stop the command
        heard += chunk
        del heard[:-_MAX_COMPLAINT]
    silent.set()


def _told(ended: _Ended) -> str:
    """Give the end of what a program said on stderr, fit for one line, without what it said on stdout."""
    lines = ended.complaint.decode(errors="replace").splitlines()
    if len(ended.complaint) == _MAX_COMPLAINT:
        del lines[:1]  # cut: half a secret could not be told from other text
    secrets = [Secret(line.strip()) for line in ended.output.decode(errors="replace").splitlines() if line.strip()]
    return clean("\n".join(lines[-_LAST_LINES:]), secrets)


# Commands

# Its arguments are not told here, where they would reach the log: people do write secrets there.
_BY_HAND = "run it by hand in a terminal, where it can ask (pmcred profile show tells the whole command)"


async def _command(source: CommandSecret, env: dict[str, str]) -> bytes:
    program = source.argv[0]
    try:
        ended = await _run(source.argv, source.timeout, env)
    except OSError as error:
        what = f'the command "{program}" for a secret'
        raise SecretUnavailable(*programs.not_started(what, program, error, env, otherwise=_BY_HAND)) from None
    if len(ended.output) > MAX_BYTES:
        return ended.output  # the caller refuses it
    if ended.status is None:
        raise _too_slow(program, source.timeout, left_early=ended.left_early)
    if ended.status:
        raise _failed(program, ended.status, _told(ended))
    return ended.output


def _too_slow(program: str, timeout: float, *, left_early: bool) -> SecretUnavailable:
    if left_early:
        return SecretUnavailable(
            f'the command "{program}" for a secret has ended, but a process that it left behind held its output '
            f"open until the time limit of {timeout:g} s",
            "let it start that process with its output elsewhere: >/dev/null 2>&1",
        )
    return SecretUnavailable(
        f'the command "{program}" for a secret did not end within its time limit of {timeout:g} s and was killed',
        f"it may wait for somebody to unlock something, and it has no terminal here: {_BY_HAND}",
    )


def _failed(program: str, status: int, told: str) -> SecretUnavailable:
    how = f"failed with exit status {status}" if status > 0 else f"was killed by signal {-status}"
    said = f": {told}" if told else ""
    return SecretUnavailable(f'the command "{program}" for a secret {how}{said}', _BY_HAND)


# The keyring


@dataclass(slots=True)
class _Keyring:
    """All reads go one by one: the keyring asks a person for one password to unlock them all."""

    turn: trio.Lock = field(default_factory=trio.Lock)
    failures: int = 0  # reads that ended for a reason which concerns the others, too
    failure: keyring_source.Failure | None = None  # the last of them


_the_keyring: trio.lowlevel.RunVar[_Keyring] = trio.lowlevel.RunVar("pmcredd_keyring")


async def _keyring(source: KeyringSecret, env: dict[str, str]) -> bytes:
    try:
        shared = _the_keyring.get()
    except LookupError:
        _the_keyring.set(shared := _Keyring())
    failures = shared.failures
    async with shared.turn:
        if shared.failure and shared.failures != failures:
            # Who waited while another read found it locked does not bring the same prompt up once more.
            raise SecretUnavailable(*keyring_source.explain(shared.failure, source, env))
        found = await _ask_keyring(source, env)
        if isinstance(found, keyring_source.Failure):
            if found.outcome in keyring_source.OF_THE_WHOLE:
                shared.failures, shared.failure = shared.failures + 1, found
            raise SecretUnavailable(*keyring_source.explain(found, source, env))
        return found


async def _ask_keyring(source: KeyringSecret, env: dict[str, str]) -> bytes | keyring_source.Failure:
    try:
        ended = await _run(keyring_source.command(source), source.timeout, env)
    except OSError as error:  # an upgrade has taken our own Python away
        return keyring_source.Failure(Outcome.FAILED, f"{sys.executable}: {error.strerror}")
    if len(ended.output) > MAX_BYTES:
        return ended.output  # the caller refuses it
    outcome = keyring_source.outcome_of(ended.status)
    return ended.output if outcome is Outcome.FOUND else keyring_source.Failure(outcome, _told(ended))
