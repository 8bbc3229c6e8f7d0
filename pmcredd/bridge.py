"""Tokens for units: answers the user manager that loads a credential from our second socket (systemd.exec(5)).

A unit has `LoadCredential=prod:%t/pmcred/credentials`. To start it the manager connects, says nothing, and takes what
comes until the end for the credential `prod`; the address that it connects from names the unit and the credential.

So an end without a word starts the unit with an empty credential, and one in the middle with half of it. The one answer
that makes a start fail is more than a credential can be (1 MiB): who gets no token gets that, whoever it is.
"""

import contextlib
import errno
import logging
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from pmcredd import wire
from pmcredd.audit import Audit
from pmcredd.keeper import Keeper
from pmcredd.peer import Peer, Peers
from pmcredd.telling import Failure, HandOut

STORED = "credential"  # FDNAME= of a connection that systemd keeps for us
PATIENCE = 60.0  # seconds that a start waits for a new token; systemd gives it 90, where it sets it a limit at all
UNREAD = 10.0  # seconds for a manager to take an answer: it reads as fast as it can
TURNED_AWAY = 1.0  # seconds for the same, for a daemon that does not even start
AT_A_TIME = 256  # connections; the others wait in the socket
VERB = "credential"  # as the audit calls it

_TOO_MUCH = 1024 * 1024 + 1  # bytes: CREDENTIAL_SIZE_MAX of systemd, and one more
_ADDRESS = re.compile(rb"\0[0-9a-f]+/unit/([!-.0-~]+)/([!-.0-~]+)")  # printable, and no slash in either name
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the manager asks for: the unit that it starts, and the credential's id."""

    unit: str
    credential: str


def read_address(address: object) -> Wanted | None:
    r"""Understand where a connection comes from: `\\0RANDOM/unit/UNIT/ID`; None if it is not from a manager."""
    found = _ADDRESS.fullmatch(address) if isinstance(address, bytes) else None
    return None if found is None else Wanted(found[1].decode(), found[2].decode())


class Bridge:
    """Answers managers out of a keeper.

    Args:
        keeper: who has the tokens.
        audit: hears who got which.
        uid: the only user who is served.
        store: has systemd keep a connection over our death, under a name; nothing where there is no systemd.
    """

    def __init__(self, keeper: Keeper, audit: Audit, *, uid: int, store: Callable[[str, int], None]) -> None:
        self._keeper = keeper
        self._audit = audit
        self._uid = uid
        self._store = store
        self._peers = Peers()
        self._room = trio.Semaphore(AT_A_TIME)

    async def serve(
        self,
        listener: socket.socket | None,
        stored: Iterable[socket.socket] = (),
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer until cancelled; who waits then is refused, since a unit must not start with half an answer.

        Args:
            listener: a listening Unix socket that does not block; it stays the caller's. None: only what is stored.
            stored: connections that a daemon before us has left unanswered.
            task_status: told once connections are taken.

        """
        async with trio.open_nursery() as nursery:
            for connection in stored:
                await self._room.acquire()
                nursery.start_soon(self._attend, connection)
            task_status.started()
            while listener is not None:
                await self._room.acquire()
                nursery.start_soon(self._attend, await _accept(listener))

    async def _attend(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(0)
            await self._converse(connection)
        except OSError:
            pass  # it is gone: the start was cancelled
        finally:
            trio.lowlevel.notify_closing(connection)
            connection.close()
            self._room.release()

    async def _converse(self, connection: socket.socket) -> None:
        peer = self._peers.of(connection)
        if peer.uid != self._uid:
            self._audit.refused(peer)
            await _send(connection, refusal(f"this daemon serves uid {self._uid} alone"))
            return
        wanted = read_address(connection.getpeername())
        try:
            found = await self._find(connection, wanted)
            self._audit.note(peer, VERB, found.profile, fingerprint=found.access_token.fingerprint())
            await _send(connection, found.access_token.reveal().encode())
        except Failure as failure:
            await self._refuse(connection, peer, wanted, failure)
        except trio.Cancelled:
            await self._refuse(connection, peer, wanted, Failure(wire.Code.STOPPING, "the daemon is leaving", ""))
            raise
        except OSError:
            raise
        except Exception as bug:  # noqa: BLE001 - one start's bug must not end the others
            # Not the exception's text: it could hold a secret.
            why = f"the daemon failed to answer ({type(bug).__name__})"
            await self._refuse(connection, peer, wanted, Failure(wire.Code.INTERNAL, why, ""))

    async def _find(self, connection: socket.socket, wanted: Wanted | None) -> HandOut:
        if wanted is None:
            raise Failure(
                wire.Code.BAD_REQUEST, "this socket answers only systemd's LoadCredential=", "pmcred get NAME"
            )
        profile = self._keeper.status([wanted.credential])[0].profile
        if not profile.bridge:
            name = f'"{profile.name}"' if "." in profile.name else profile.name  # as TOML wants it
            raise Failure(
                wire.Code.FORBIDDEN,
                f"{profile.name} is not for units",
                f"write bridge = true into [profiles.{name}], then: pmcred reload",
            )
        if (ready := self._keeper.hand_out(profile.name, None)) is not None:
            return ready
        self._store(STORED, connection.fileno())
        return await self._keeper.get(profile.name, None, PATIENCE)

    async def _refuse(self, connection: socket.socket, peer: Peer, wanted: Wanted | None, failure: Failure) -> None:
        self._audit.note(peer, VERB, self._known(wanted), outcome=failure.code)
        why = f"{failure.message}; try: {failure.hint}" if failure.hint else failure.message
        if wanted is not None:  # else it is the audit's alone, which does not repeat itself
            by = "" if peer.unit in {None, wanted.unit} else f" (asked by {peer.unit})"
            _log.warning("%s does not start: no credential %s%s: %s", wanted.unit, wanted.credential, by, why)
        await _send(connection, refusal(why))

    def _known(self, wanted: Wanted | None) -> str | None:
        """Name the profile, if it is one: anything else could be a token in the wrong place."""
        try:
            return None if wanted is None else self._keeper.status([wanted.credential])[0].profile.name
        except Failure:
            return None


def refusal(why: str) -> bytes:
    """Give what makes a start fail; it begins with the reason, for a person who looks with other means."""
    return f"pmcredd: no token: {why}\n".encode().ljust(_TOO_MUCH, b"\n")


def turn_away(sockets: Iterable[socket.socket], why: str) -> None:
    """Refuse all who wait at a listening socket, and connections that were kept, for a daemon that does not start."""
    answer = refusal(why)
    for each in sockets:
        with each, contextlib.suppress(OSError):
            each.settimeout(0)
            if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                _turn_away(each, answer)
                continue
            while True:
                _turn_away(each.accept()[0], answer)


def _turn_away(connection: socket.socket, answer: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(TURNED_AWAY)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)


async def _accept(listener: socket.socket) -> socket.socket:
    told = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            return listener.accept()[0]
        except BlockingIOError:
            continue
        except OSError as failed:
            if failed.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                raise
            if not told:  # once, not ten times a second
                _log.error("cannot take a connection for a credential: %s; trying again", failed.strerror)
            told = True
            await trio.sleep(0.1)


async def _send(connection: socket.socket, answer: bytes) -> None:
    left = memoryview(answer)
    # Shielded: half of an answer is a credential, too.
    with trio.move_on_after(UNREAD, shield=True):
        while left:
            try:
                left = left[connection.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(connection)
        connection.shutdown(socket.SHUT_WR)  # the end, also where systemd keeps the connection for us
