"""One call over httpx with bodies of any size, both ways; loaded only when one is due, as it imports httpx."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import httpx
import trio

from pmcredd import network_errors, transport, trust
from pmcredd.masking import clean
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.profiles import Profile
from pmcredd.request_body import BadData, Body
from pmcredd.secret import Secret
from pmcredd.urls import parse_url

T = TypeVar("T")

for _name in ("httpx", "httpcore"):  # they log whole URLs, and at debug level headers
    logging.getLogger(_name).propagate = False


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins; its headers (cookies) do not show in its repr."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    reason: str = ""

    def get(self, name: str) -> str:
        """Give a header by its lower-case name, "" if it is absent."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


class Receiver(Protocol):
    """Who is given an answer as it comes; what its methods raise ends the exchange and comes out of it."""

    def begin(self, head: Head, bearer: Secret) -> None:
        """Take the head; `bearer` is what the answer must not tell people, should the server repeat it."""

    def receive(self, chunk: bytes) -> None:
        """Take a part of the body."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a profile's own instance: `url` is of call_url(), header names are not those that are ours.

    `limit` is how many seconds may pass until the answer begins, and then between its parts.
    """

    profile: Profile
    method: str
    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: Body | None
    limit: float


async def exchange(call: Call, bearer: Secret, receiver: Receiver) -> Head | NotSent | Unknown:
    """Send a call once, with this token, and pass on the answer; no redirect is followed, nothing is decompressed.

    With NotSent nothing was received, with Unknown a part of the answer may have been.
    """
    target = parse_url(call.url)
    host = target.origin.partition("://")[2]
    try:
        line, proxy = transport.open_transport(call.profile, target)
        way = transport.Way(host, proxy, sent=False)
        request = _request(call, way, bearer)
    except trust.Unusable as error:
        return NotSent(str(error), error.mend)
    delivery = _Delivery(receiver, call.limit, trio.CancelScope(deadline=trio.current_time() + call.limit))
    result: Head | NotSent | Unknown | None = None
    with delivery.scope:
        try:
            result = await _talk(line, request, host, bearer, delivery)
        except BadData as error:
            result = Unknown(str(error), "")
        except Exception as error:  # noqa: BLE001 - whatever a library raises: may the request have arrived?
            result = network_errors.failure(error, call.profile, host=host, peer=way.peer, sent=way.sent)
        finally:
            # httpcore forgets a connection whose TLS handshake is cancelled: it would stay open.
            await transport.close(way.connection)
            await transport.close(line)
    if delivery.failed is not None:
        raise delivery.failed
    if result is not None:
        return result
    longer = "give it longer: --timeout, or timeout in the profile"
    if delivery.begun:
        return Unknown(f"{host} was silent for {call.limit:g} s in the middle of its answer", longer)
    if way.sent:
        return Unknown(f"no answer from {host} within {call.limit:g} s", longer)
    return NotSent(f"cannot reach {way.peer}: no connection within {call.limit:g} s", "check the network")


def _request(call: Call, way: transport.Way, bearer: Secret) -> httpx.Request:
    own = [("authorization", f"Bearer {bearer.reveal()}")]
    request = transport.request(call.profile, way, call.method, call.url, own, b"")
    replaced = {name.lower() for name, _ in call.headers}
    kept = [(name, value) for name, value in request.headers.multi_items() if name not in replaced]
    if call.body is not None:
        kept = [(name, value) for name, value in kept if name != "content-length"]
        length = call.body.length
        kept.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
        request.stream = _Upload(call.body)
    request.headers = httpx.Headers([*kept, *call.headers])
    return request


class _Upload(httpx.AsyncByteStream):
    """A request's body as httpx wants it. A pipe may stand still for ever: a thread reads, which may be left."""

    def __init__(self, body: Body) -> None:
        self._read = body.reader()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await trio.to_thread.run_sync(self._read, abandon_on_cancel=True):
            return chunk
        raise StopAsyncIteration


@dataclass
class _Delivery:
    """The receiver, kept apart from the network: what goes wrong with it is no word about the server."""

    receiver: Receiver
    limit: float
    scope: trio.CancelScope
    begun: bool = False
    failed: Exception | None = None

    def hand(self, take: Callable[[T], None], thing: T) -> None:
        """Pass something on, unless the receiver has failed, and let the server's time begin anew."""
        if self.failed is not None:
            return  # cancelled, but what had come already is not worth a wait
        try:
            take(thing)
        except Exception as error:  # noqa: BLE001 - raised again once the connection is closed
            self.failed = error
            self.scope.cancel()
        self.scope.deadline = trio.current_time() + self.limit


async def _talk(
    line: httpx.AsyncBaseTransport, request: httpx.Request, host: str, bearer: Secret, delivery: _Delivery
) -> Head | Unknown:
    response = await line.handle_async_request(request)
    try:
        coding = response.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            # Not asked for, and never inflated: a few bytes can become gigabytes.
            return Unknown(
                f"{host} answered {response.status_code} and compressed the body ({clean(coding, ())[:40]}) unasked",
                "a front end alters what goes through it: have it leave the API alone",
            )
        head = Head(response.status_code, tuple(response.headers.multi_items()), response.reason_phrase)
        delivery.begun = True
        delivery.hand(lambda head: delivery.receiver.begin(head, bearer), head)
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy: a transport for trio gives no other
        # Never left before its end but by cancelling: so the library's nested generators end in good order.
        async for chunk in response.stream:
            delivery.hand(delivery.receiver.receive, chunk)
        return head
    finally:
        await transport.close(response)
