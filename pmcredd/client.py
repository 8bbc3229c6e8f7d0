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
from pathlib import Path

from pmcredd import wire
from pmcredd.asking import AccessToken as AccessToken
from pmcredd.asking import PmcredError as PmcredError
from pmcredd.asking import format_line, get_request, not_understood, reject_request, token_in
from pmcredd.paths import StrPath, socket_candidates

_NOBODY = 65534  # user_namespaces(7): every uid that is not mapped into a user namespace looks like this one there
_UID_MAP = Path("/proc/self/uid_map")
CONNECT_SECONDS = 10.0
SLACK_SECONDS = 10.0  # on top of the time the daemon was given: let its own, better error come first


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


def get_token(
    profile: str | None = None,
    *,
    lasting: float | None = None,
    timeout: float = 60.0,
    refresh: bool = True,
    socket_path: StrPath | None = None,
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
    request = get_request(profile, lasting=lasting, timeout=timeout, refresh=refresh, environ=os.environ)
    return token_in(call(request, timeout=timeout + SLACK_SECONDS, socket_path=socket_path), request)


def reject_token(
    refused: AccessToken | str,
    profile: str | None = None,
    *,
    timeout: float = 60.0,
    socket_path: StrPath | None = None,
) -> AccessToken:
    """Tell the daemon that the server refused a token (with a 401), and get the one to use instead.

    Any number of reports of one token cost the server one renewal; who reports an older one is given the current one.
    Only the token's fingerprint is sent.

    Args:
        refused: what `get_token` gave, or the token itself.
        profile: whose token it is; by default what an AccessToken says, else $PMCRED_PROFILE.
        timeout: how many seconds to wait for the new one.
        socket_path: the daemon's socket, where it is not in one of the usual places.

    Raises:
        PmcredError: there is no other one; `hint` says what to do about it. `code` is "not-rejected" if the token
            lives, so that the trouble lies elsewhere.
        NoDaemon: there is no daemon to ask.

    """
    request = reject_request(refused, profile, timeout=timeout, environ=os.environ)
    return token_in(call(request, timeout=timeout + SLACK_SECONDS, socket_path=socket_path), request)


def call(
    request: wire.Request, *, timeout: float | None = None, socket_path: StrPath | None = None
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
    line = format_line(request)
    with connect(socket_path) as connection, told(timeout):
        answer = _exchange(connection, line, timeout)
    return blocks_of(answer)


def stream(
    request: wire.Request,
    *,
    timeout: float | None = 60.0,
    socket_path: StrPath | None = None,
    output: int | None = None,
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
    line = format_line(request)
    with connect(socket_path) as connection:
        with told(timeout):
            connection.settimeout(timeout)
            send(connection, line)
        reader = wire.AnswerReader()
        begun = False
        while True:
            if begun and output is not None:
                _wait_for(connection, output)
            with told(timeout):
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


@contextlib.contextmanager
def told(timeout: float | None) -> Iterator[None]:
    """Tell what goes wrong on a connection in our own words: as a PmcredError."""
    try:
        yield
    except TimeoutError:
        raise PmcredError(wire.Code.WAITING, f"the daemon has not answered within {timeout:g} s") from None
    except wire.BadLine as bad:
        raise not_understood(str(bad)) from None
    except OSError as failed:
        # It was ended or killed: as good as stopping, which --oneshot takes as its turn.
        raise PmcredError(
            wire.Code.STOPPING, f"the connection to the daemon broke: {failed.strerror}", "pmcred status"
        ) from None


def _exchange(connection: socket.socket, line: bytes, timeout: float | None) -> wire.Ok | wire.Error:
    deadline = None if timeout is None else time.monotonic() + timeout
    connection.settimeout(timeout)
    send(connection, line)
    reader = wire.AnswerReader()
    while True:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(65536)
        if answer := take(reader, data):
            return answer


def take(reader: wire.AnswerReader, data: bytes) -> wire.Ok | wire.Error | None:
    """Take what was received, b"" at the connection's end; gives the answer once it is whole. For use within told()."""
    if not data:
        raise _cut()
    for event in reader.feed(data):
        if isinstance(event, wire.Error) or (isinstance(event, wire.Ok) and not event.streaming):
            return event
        raise wire.BadLine("it streams, and nobody asked for that")
    return None


def blocks_of(answer: wire.Ok | wire.Error) -> list[dict[str, str]]:
    """Give the blocks of an answer. Raises PmcredError if it is an error."""
    if isinstance(answer, wire.Error):
        raise PmcredError(answer.code, answer.message, answer.hint)
    return [dict(block) for block in answer.blocks]


def send(connection: socket.socket, line: bytes) -> None:
    """Send a request."""
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


def connect(socket_path: StrPath | None, *, blocking: bool = True) -> socket.socket:
    """Connect to the first socket whose listener may be trusted.

    Raises:
        NoDaemon: there is none.
        BlockingIOError: not `blocking`, and the listener cannot take the connection at once.

    """
    uid = os.geteuid()
    tried = []
    for path in (Path(socket_path),) if socket_path else socket_candidates(os.environ, uid):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Not settimeout(): without blocking, a listener with a full queue would look like a failure.
            timeval = struct.pack("@ll", int(CONNECT_SECONDS), int(CONNECT_SECONDS % 1 * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
            connection.setblocking(blocking)
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
        if not connection.getblocking():
            raise
        return f"the daemon has not taken the connection within {CONNECT_SECONDS:g} s"
    except OSError as failed:
        return failed.strerror or str(failed)  # "AF_UNIX path too long" comes without a number
    _, listener, _ = struct.unpack("@iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    # Under socket activation this is the user manager's uid: the same.
    return "" if listener == uid else f"the process that listens belongs to uid {listener}, not to you"
