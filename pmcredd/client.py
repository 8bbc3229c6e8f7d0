"""A blocking client on the standard library alone: `from pmcredd import get_token`."""

import contextlib
import errno
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pmcredd import wire
from pmcredd.paths import socket_candidates

_NOBODY = 65534  # user_namespaces(7): every uid that is not mapped into a user namespace looks like this one there
_UID_MAP = Path("/proc/self/uid_map")
_CONNECT_SECONDS = 10.0
_SLACK_SECONDS = 10.0  # on top of the time the daemon was given: let its own, better error come first


class PmcredError(Exception):
    """A request failed: `code` is the protocol's, `hint` the command that mends it, or empty."""

    def __init__(self, code: str, message: str, hint: str = "", *, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        if exit_status is None:
            known = code in wire.Code.__members__.values()
            exit_status = wire.Code(code).exit_status if known else wire.Code.INTERNAL.exit_status
        self.exit_status = exit_status


class NoDaemon(PmcredError):
    """Nobody who may be trusted listens; `tried` names each socket path and what was wrong with it."""

    def __init__(self, tried: Sequence[tuple[Path, str]]) -> None:
        paths = "".join(f"\n  {path}: {why}" for path, why in tried)
        super().__init__(
            "no-daemon",
            f"no daemon answers{paths}",
            "`pmcred service install` to have it always, or `pmcredd` in a terminal of its own",
            exit_status=69,
        )
        self.tried = tuple(tried)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that works now.

    `expires_at` is when the server lets it expire and `good_until` until when the daemon will not replace it, both in
    unix time; None means that nobody knows.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: int | None
    good_until: int | None
    profile: str
    url: str


def get_token(
    profile: str | None = None,
    *,
    lasting: float | None = None,
    timeout: float = 60.0,
    refresh: bool = True,
    socket_path: Path | None = None,
) -> AccessToken:
    """Ask the daemon for an access token that works now.

    Args:
        profile: a profile's name, or a URL that one profile answers for; by default $PMCRED_PROFILE.
        lasting: for how many seconds from now the token must stay good.
        timeout: how many seconds to wait, should the daemon have to get a new one first.
        refresh: whether the daemon may ask for a new one because of this; it goes on doing so by itself.
        socket_path: the daemon's socket, where it is not in one of the usual places.

    Raises:
        PmcredError: the daemon has none; `hint` says what to do about it.
        NoDaemon: there is no daemon to ask.

    """
    target = profile or os.environ.get("PMCRED_PROFILE")
    if not target:
        raise PmcredError(wire.Code.BAD_REQUEST, "no profile is named", "set PMCRED_PROFILE, or name one")
    try:
        args = {"timeout": wire.format_duration(timeout)}
        if lasting is not None:
            args["for"] = wire.format_duration(lasting)
        if not refresh:
            args["refresh"] = "no"
    except wire.BadLine as bad:
        raise PmcredError(wire.Code.BAD_REQUEST, str(bad)) from None
    request = wire.Request("get", target, args)
    blocks = call(request, timeout=timeout + _SLACK_SECONDS, socket_path=socket_path)
    try:
        (fields,) = blocks
        return AccessToken(
            access_token=fields["access_token"],
            token_type=fields.get("token_type", "Bearer"),
            expires_at=_unix_time(fields, "expires_at"),
            good_until=_unix_time(fields, "good_until"),
            profile=fields.get("profile", target),
            url=fields.get("url", ""),
        )
    except (KeyError, ValueError):
        raise _not_understood("it holds no token") from None


def call(
    request: wire.Request, *, timeout: float | None = None, socket_path: Path | None = None
) -> list[dict[str, str]]:
    """Send one request and give the blocks of its answer.

    Before anything is sent, the socket's directory and the process that listens must be the caller's own.

    Args:
        request: what to ask.
        timeout: how many seconds to wait for the answer; None waits as long as it takes.
        socket_path: the one socket to try; by default the usual ones, in order.

    Raises:
        PmcredError: the daemon answered with an error, not in time, or not in the protocol.
        NoDaemon: there is no daemon to ask.

    """
    line = _line(request)
    with _connect(socket_path) as connection, _told(timeout):
        answer = _exchange(connection, line, timeout)
    if isinstance(answer, wire.Error):
        raise PmcredError(answer.code, answer.message, answer.hint)
    return [dict(block) for block in answer.blocks]


def stream(
    request: wire.Request, *, timeout: float | None = 60.0, socket_path: Path | None = None, output: int | None = None
) -> Generator[dict[str, str]]:
    """Send a request whose answer goes on (`watch`, `login`), and give its blocks as they come, until it ends.

    An answer that is whole at once is given block by block too.

    Whom it trusts is as in `call`. To close the iterator is to hang up.

    Args:
        request: what to ask.
        timeout: how many seconds to wait for the answer to begin; None waits as long as it takes.
        socket_path: the one socket to try; by default the usual ones, in order.
        output: a descriptor to which the blocks are passed on.

    Raises:
        PmcredError: the daemon answered with an error, not in time, or not in the protocol; or the connection broke.
        NoDaemon: there is no daemon to ask.
        BrokenPipeError: nobody reads any more what is written to `output`.

    """
    line = _line(request)
    with _connect(socket_path) as connection:
        with _told(timeout):
            connection.settimeout(timeout)
            _send(connection, line)
        reader = wire.AnswerReader()
        begun = False
        while True:
            if begun and output is not None:
                _wait_for(connection, output)
            with _told(timeout):
                data = connection.recv(65536)
                if not data and not (begun and reader.between_answers):
                    raise _cut()
                events = list(reader.feed(data))
            if not data:
                return
            for event in events:
                if isinstance(event, wire.Error):
                    raise PmcredError(event.code, event.message, event.hint)
                if isinstance(event, wire.Block):
                    yield dict(event.fields)
                elif not event.streaming:
                    yield from map(dict, event.blocks)
                    return
                begun = True
                connection.settimeout(None)


def _line(request: wire.Request) -> bytes:
    try:
        return wire.format_request(request)
    except wire.BadLine as bad:
        raise PmcredError(wire.Code.BAD_REQUEST, str(bad)) from None


@contextlib.contextmanager
def _told(timeout: float | None) -> Iterator[None]:
    """Tell what goes wrong on a connection in our own words."""
    try:
        yield
    except TimeoutError:
        raise PmcredError(wire.Code.WAITING, f"the daemon has not answered within {timeout:g} s") from None
    except wire.BadLine as bad:
        raise _not_understood(str(bad)) from None
    except OSError as failed:
        # It was ended or killed: as good as stopping, which --oneshot takes as its turn.
        raise PmcredError(
            wire.Code.STOPPING, f"the connection to the daemon broke: {failed.strerror}", "pmcred status"
        ) from None


def _exchange(connection: socket.socket, line: bytes, timeout: float | None) -> wire.Ok | wire.Error:
    deadline = None if timeout is None else time.monotonic() + timeout
    connection.settimeout(timeout)
    _send(connection, line)
    reader = wire.AnswerReader()
    while True:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(65536)
        if not data:
            raise _cut()
        for event in reader.feed(data):
            if isinstance(event, wire.Error) or (isinstance(event, wire.Ok) and not event.streaming):
                return event
            raise wire.BadLine("it streams, and nobody asked for that")


def _send(connection: socket.socket, line: bytes) -> None:
    # A daemon that refuses us says why before it hangs up: read that.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(line)


def _wait_for(connection: socket.socket, output: int) -> None:
    """Wait until there is something to read; without this, `pmcred watch | head -1` would outlive head."""
    both = select.poll()
    both.register(connection, select.POLLIN)
    both.register(output, 0)  # poll(2): an error is told all the same, and a pipe has one once nobody reads it
    found = dict(both.poll())
    if output in found and connection.fileno() not in found:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _cut() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "it was closed before the answer was complete")


def _connect(socket_path: Path | None) -> socket.socket:
    uid = os.geteuid()
    tried = []
    for path in (socket_path,) if socket_path else socket_candidates(os.environ, uid):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Not settimeout(): without blocking, a listener with a full queue would look like a failure.
            timeval = struct.pack("@ll", int(_CONNECT_SECONDS), int(_CONNECT_SECONDS % 1 * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
            why = _wrong_user(uid) or _wrong_directory(path.parent, uid) or _wrong_listener(connection, path, uid)
        except BaseException:
            connection.close()
            raise
        if not why:
            return connection
        connection.close()
        tried.append((path, why))
    raise NoDaemon(tried)


def _wrong_user(uid: int) -> str:
    """Say what is wrong where anybody at all could look like us: the checks that follow would say nothing."""
    if uid != _NOBODY:
        return ""
    try:
        ranges = [line.split() for line in _UID_MAP.read_text(encoding="ascii").splitlines()]
    except OSError:
        ranges = []
    if any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges):
        return ""
    return f"your uid is not mapped into this user namespace, so that you are nobody (uid {uid}), as others are"


def _wrong_directory(directory: Path, uid: int) -> str:
    try:
        found = os.lstat(directory)
    except OSError as failed:
        return "there is no such directory" if failed.errno == errno.ENOENT else f"its directory: {failed.strerror}"
    except ValueError:
        return "the path holds a NUL"
    if not stat.S_ISDIR(found.st_mode):
        return "its directory is not a directory (a symbolic link is not followed)"
    if found.st_uid != uid:
        unmapped = " (whoever is not mapped into a user namespace looks so)" if found.st_uid == _NOBODY else ""
        return f"its directory belongs to uid {found.st_uid}{unmapped}, not to you (uid {uid})"
    return ""


def _wrong_listener(connection: socket.socket, path: Path, uid: int) -> str:
    try:
        connection.connect(os.fspath(path))
    except FileNotFoundError:
        return "there is no such socket"
    except ConnectionRefusedError:
        return "nobody listens there"
    except BlockingIOError:
        return f"the daemon has not taken the connection within {_CONNECT_SECONDS:g} s"
    except OSError as failed:
        return failed.strerror or str(failed)  # "AF_UNIX path too long" comes without a number
    _, listener, _ = struct.unpack("@iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    # Under socket activation this is the user manager's uid: the same.
    return "" if listener == uid else f"the process that listens belongs to uid {listener}, not to you"


def _unix_time(fields: dict[str, str], key: str) -> int | None:
    return int(fields[key]) if key in fields else None


def _not_understood(why: str) -> PmcredError:
    return PmcredError(wire.Code.INTERNAL, f"the daemon's answer makes no sense: {why}", "pmcred --version")
