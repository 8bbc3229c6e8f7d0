"""httpx: `httpx.Client(auth=PmcredAuth("prod"))`, and the same with AsyncClient, under asyncio and trio."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import partial
from typing import Any

import httpx

from pmcredd.asking import AccessToken
from pmcredd.auth import rules, tokens

_HEADERS_NEXT = ".send_request_headers.started"  # the trace event of httpcore, for HTTP/1.1 and HTTP/2

Trace = Callable[[str, Mapping[str, Any]], Any]


class PmcredAuth(tokens.MadeOfTokens, httpx.Auth):
    """Sends a profile's token along, and once a fresh one if the server refuses it.

    The daemon is asked for each request. One object may serve any number of clients, threads and tasks.

    A 401 is reported to the daemon, and the request is sent once more if there is another token and the body can be
    sent twice: bytes, text, JSON, a form, files that can seek. What a generator or another stream gave cannot; then
    the 401 is the answer, and the next request has the fresh token. Why a 401 stays one is logged (`pmcredd.auth`).

    The token goes to the profile's own instance alone, by redirects too.

    A request raises, beside httpx's own errors:
        ForeignUrl: it is not for the profile's instance; nothing was sent.
        PmcredError: the daemon has no token, or no other one after a 401; `hint` says what to do about it.
        NoDaemon: there is no daemon to ask.

    """

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send, and once more if need be. For httpx.Client."""
        token = self._tokens.get()
        _carry(request, token)
        request.extensions["trace"] = partial(_trace, token, _callers_trace(request))
        response = yield request
        if not _refused(response, token):
            return
        fresh = self._tokens.replace(token)
        if fresh is not None and _replayable(response.request, fresh):
            _carry(response.request, fresh)
            _look_again((yield response.request), fresh)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send, and once more if need be; the event loop goes on meanwhile. For httpx.AsyncClient."""
        token = await self._tokens.get_async()
        _carry(request, token)
        request.extensions["trace"] = partial(_trace_async, token, _callers_trace(request))
        response = yield request
        if not _refused(response, token):
            return
        fresh = await self._tokens.replace_async(token)
        if fresh is not None and _replayable(response.request, fresh):
            _carry(response.request, fresh)
            _look_again((yield response.request), fresh)


def _carry(request: httpx.Request, token: AccessToken) -> None:
    """Give a request its token. Raises ForeignUrl."""
    request.headers["Authorization"] = rules.authorization(token, str(request.url), request.headers.get("Host"))


def _refused(response: httpx.Response, token: AccessToken) -> bool:
    """Tell whether the server has refused this token: after redirects, the answer may come from elsewhere."""
    sent = response.request
    if sent.headers.get("Authorization") != token.authorization or not rules.belongs(token, str(sent.url)):
        return False
    return tokens.is_refusal(token, response.status_code, response.headers.get("WWW-Authenticate"))


def _replayable(request: httpx.Request, fresh: AccessToken) -> bool:
    """Tell whether a body can be sent twice, and explain it if not.

    httpx itself begins a form's files anew; of other files and of generators it would send what is left: nothing.
    """
    fields = getattr(request.stream, "fields", None)  # of a form with files
    if isinstance(request.stream, httpx.ByteStream) or (
        fields is not None and all(_can_seek(getattr(field, "file", b"")) for field in fields)
    ):
        return True
    tokens.explain_unsent(fresh)
    return False


def _can_seek(file: object) -> bool:
    seekable = getattr(file, "seekable", lambda: False)
    return isinstance(file, str | bytes) or bool(seekable())


def _look_again(response: httpx.Response, fresh: AccessToken) -> None:
    if _refused(response, fresh):
        tokens.explain_second(fresh)


def _callers_trace(request: httpx.Request) -> Trace | None:
    """Give the caller's own trace extension: around it, a request that is sent again still has ours of last time.

    To wrap that too would keep every old token, make a deeper call with each send, and await what is not async.
    """
    trace: Trace | None = request.extensions.get("trace")
    if isinstance(trace, partial) and trace.func in (_trace, _trace_async):
        _, trace = trace.args
    return trace


def _trace(token: AccessToken, then: Trace | None, event: str, info: Mapping[str, Any]) -> None:
    """Look at what goes out; `then` is the caller's own trace extension."""
    _guard(token, event, info)
    if then is not None:
        then(event, info)


async def _trace_async(token: AccessToken, then: Trace | None, event: str, info: Mapping[str, Any]) -> None:
    _guard(token, event, info)
    if then is not None:
        await then(event, info)


def _guard(token: AccessToken, event: str, info: Mapping[str, Any]) -> None:
    """Take the token from a request that a redirect has led elsewhere.

    httpx follows redirects without asking us, and lets the header go wherever scheme, host and port stay: to the
    neighbour of an instance that shares its host too.
    """
    if event.endswith(_HEADERS_NEXT):
        request = info["request"]
        target = request.url.target  # a whole URL where it goes through a proxy in plain http
        url = target if not target.startswith(b"/") else bytes(request.url)
        if not rules.belongs(token, url.decode("ascii")):
            request.headers[:] = [(name, value) for name, value in request.headers if name.lower() != b"authorization"]
