"""A call to the API with the daemon's token: a lease while it runs, and after a 401 one more try with a fresh token."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from pmcredd import client, wire
from pmcredd.client import PmcredError
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.processmaker import foreign_scheme
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

if TYPE_CHECKING:
    from pmcredd.api_exchange import Call, Head, Receiver

T = TypeVar("T")

_UNAUTHORIZED = 401
_MOST_WITHHELD = 1024 * 1024  # bytes of a 401's body; the real one has 29
_HARMLESS = ("GET", "HEAD", "OPTIONS")  # RFC 9110 section 9.2.1: safe methods


class CallFailed(Exception):
    """There is no complete answer; `mend` is the command or act that helps, or ""."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an answer is still a 401, and what mends it."""

    sentence: str
    mend: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: the head of the answer that was passed on, and for a 401 what was tried."""

    head: "Head"
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where tokens come from: the daemon.

    `lasting` is for how many seconds from now a token must stay good, where the daemon can promise that; `patience` how
    many it may take to get one. `tell` hears what is asked.
    """

    profile: Profile
    lasting: float
    patience: float = 60.0
    socket_path: Path | None = None
    tell: Callable[[str], None] = field(default=lambda _: None)

    async def get(self) -> Secret:
        """Get the token.

        Raises:
            PmcredError: there is none, or not for the instance that the profile in the file is for.
        """
        try:
            found = await self._get(self.lasting)
        except PmcredError as error:
            if error.code != wire.Code.CANNOT_PROMISE:
                raise
            found = await self._get(None)
        if found.url != self.profile.url:
            name = self.profile.name
            raise PmcredError(
                wire.Code.MISCONFIGURED,
                f"the daemon's profile {name} is for {found.url}, and the one in the file for {self.profile.url}",
                "pmcred reload",
            )
        return Secret(found.access_token)

    async def reject(self, refused: Secret) -> None:
        """Tell the daemon that the server refused a token, and have it get another one. Raises PmcredError."""
        self.tell(f"asking the daemon: reject {self.profile.name} fingerprint={refused.fingerprint()}")
        patience = {"timeout": wire.format_duration(self.patience)}
        request = wire.Request("reject", self.profile.name, {"fingerprint": refused.fingerprint(), **patience})
        wait = self.patience + client.SLACK_SECONDS
        await _in_thread(partial(client.call, request, timeout=wait, socket_path=self.socket_path))

    async def _get(self, lasting: float | None) -> client.AccessToken:
        promise = "" if lasting is None else f" for={wire.format_duration(lasting)}"
        self.tell(f"asking the daemon: get {self.profile.name}{promise}")
        asking = partial(client.get_token, self.profile.name, lasting=lasting, timeout=self.patience)
        return await _in_thread(partial(asking, socket_path=self.socket_path))


async def perform(call: "Call", receiver: "Receiver", tokens: Tokens) -> Outcome:
    """Make a call; the answer that counts is given to `receiver`, and no other.

    Raises:
        CallFailed: no complete answer came; of one that was cut, what came has been passed on.
        PmcredError: the daemon gives no token, or no other one after a 401.
    """
    token = await tokens.get()
    first = _Withheld(receiver)
    head = await _send(call, token, first, tokens.tell)
    if head.status != _UNAUTHORIZED:
        return Outcome(head)
    fresh = await _replace(call, head, token, tokens)
    if isinstance(fresh, Refused):
        first.release()
        return Outcome(head, fresh)
    head = await _send(call, fresh, receiver, tokens.tell)
    return Outcome(head, _refused_again(call.profile) if head.status == _UNAUTHORIZED else None)


async def _send(call: "Call", token: Secret, receiver: "Receiver", tell: Callable[[str], None]) -> "Head":
    from pmcredd import api_exchange  # here: whoever gets no token needs no HTTP client

    tell(f"{call.method} {call.url} with the token {token.fingerprint()}")
    result = await api_exchange.exchange(call, token, receiver)
    if isinstance(result, NotSent):
        raise CallFailed(result.sentence, result.mend)
    if isinstance(result, Unknown):
        acted = "" if call.method in _HARMLESS else "look whether it was done before you send it again"
        raise CallFailed(result.sentence, "; ".join(filter(None, (acted, result.mend))))
    tell(f"the answer was {result.status} {result.reason}".rstrip())
    return result


async def _replace(call: "Call", head: "Head", token: Secret, tokens: Tokens) -> Secret | Refused:
    """Get another token for a refused one, where that can help."""
    if scheme := foreign_scheme(head.get("www-authenticate")):
        return Refused(
            f"something in front of ProcessMaker asks for {scheme} authentication, so the token was not reported",
            "have the front end let the API through",
        )
    try:
        await tokens.reject(token)
    except PmcredError as error:
        if error.code != wire.Code.NOT_REJECTED:
            raise
        return Refused(error.message, error.hint)
    fresh = await tokens.get()
    if fresh == token:
        return Refused("the daemon has no other token", f"pmcred status --explain {call.profile.name}")
    if call.body is not None and not call.body.replayable:
        return Refused(
            "there is a fresh token now, but what came through the pipe cannot be sent twice", "run it again"
        )
    return fresh


def _refused_again(profile: Profile) -> Refused:
    sentence = "a fresh token was refused as well"
    if profile.generation == 4 and profile.grant is Grant.CLIENT_CREDENTIALS:
        return Refused(
            f"{sentence}: ProcessMaker 4 knows no user for a client_credentials token",
            f'use grant = "password" or a personal access token: pmcred profile edit {profile.name}',
        )
    return Refused(
        sentence,
        "see whether a proxy strips the Authorization header, url names the right instance, the user still exists and "
        f"the server's clock is right; pmcred status --explain {profile.name}",
    )


class _Withheld:
    """A receiver that keeps a 401 to itself until it is released, and passes on everything else."""

    def __init__(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._begin: Callable[[], None] | None = None
        self._body = bytearray()

    def begin(self, head: "Head", bearer: Secret) -> None:
        begin = partial(self._receiver.begin, head, bearer)
        if head.status == _UNAUTHORIZED:
            self._begin = begin
        else:
            begin()

    def receive(self, chunk: bytes) -> None:
        if self._begin is None:
            self._receiver.receive(chunk)
        else:
            self._body += chunk[: _MOST_WITHHELD - len(self._body)]

    def release(self) -> None:
        if self._begin is not None:
            self._begin()
            self._receiver.receive(bytes(self._body))


async def _in_thread(ask: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
