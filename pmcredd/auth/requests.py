"""requests (the extra `requests`): `session.auth = PmcredAuth("prod")`."""

from typing import Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

from pmcredd.asking import AccessToken
from pmcredd.auth import rules, tokens


class PmcredAuth(tokens.MadeOfTokens, AuthBase):
    """Sends a profile's token along, and once a fresh one if the server refuses it.

    The daemon is asked for each request that is prepared. A PreparedRequest that is sent again has the token that it
    had last, until that one is refused. One object may serve any number of sessions and threads.

    A 401 is reported to the daemon, and the request is sent once more if there is another token and the body can be
    sent twice: bytes, text, JSON, a form, a file that can seek. What a generator gave cannot; then the 401 is the
    answer, and the next request has the fresh token. Why a 401 stays one is logged (`pmcredd.auth`).

    The token goes to the profile's own instance alone, by redirects too.

    A request raises, beside requests' own errors:
        ForeignUrl: it is not for the profile's instance; nothing was sent.
        PmcredError: the daemon has no token, or no other one after a 401; `hint` says what to do about it.
        NoDaemon: there is no daemon to ask.

    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PmcredAuth) and other._tokens == self._tokens

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Give a request its token, and look at its answer."""
        token = self._tokens.get()
        _carry(request, token)
        request.register_hook("response", _Watch(self._tokens, token, request))
        return request


class _Watch:
    """Looks at each answer to a request, those on the way of its redirects too: they keep its hooks.

    So does a request that is sent again: nothing may outlive an exchange but the token.
    """

    def __init__(self, source: tokens.Tokens, token: AccessToken, first: requests.PreparedRequest) -> None:
        self._source = source
        self._token = token
        self._first = first
        self._again = False

    def __call__(self, response: requests.Response, **sending: Any) -> requests.Response:  # noqa: ANN401 - what goes on to the adapter as it came
        if self._refused(response):
            response = self._retry(response, sending)
        _guard(response, self._token)
        if not response.is_redirect:
            self._again = False
        return response

    def _retry(self, refused: requests.Response, sending: dict[str, Any]) -> requests.Response:
        if self._again:
            tokens.explain_second(self._token)
            return refused
        try:
            fresh = self._source.replace(self._token)
        except BaseException:
            refused.close()
            raise
        if fresh is None or not _rewound(refused.request, fresh):
            return refused
        self._token = fresh
        _ = refused.content  # so that its connection can be used again
        refused.close()
        _carry(refused.request, fresh)  # the object itself: a redirect copies it
        _carry(self._first, fresh)  # which may be sent again, and after a redirect is another object
        response = refused.connection.send(refused.request, **sending)
        self._again = True  # not before: an error ends the exchange
        response.history = [*refused.history, refused]
        return self._retry(response, sending) if self._refused(response) else response

    def _refused(self, response: requests.Response) -> bool:
        sent = response.request
        if sent.headers.get("Authorization") != self._token.authorization:
            return False  # a redirect has led elsewhere
        return tokens.is_refusal(self._token, response.status_code, response.headers.get("WWW-Authenticate"))


def _carry(request: requests.PreparedRequest, token: AccessToken) -> None:
    """Give a request its token. Raises ForeignUrl."""
    host = request.headers.get("Host")
    host = host.decode("latin-1") if isinstance(host, bytes) else host
    request.headers["Authorization"] = rules.authorization(token, request.url or "", host)


def _guard(response: requests.Response, token: AccessToken) -> None:
    """Take the token from a request that is being redirected elsewhere, before requests makes the next one of it.

    By itself it lets the header go wherever scheme, host and port stay: to the neighbour of an instance that shares its
    host too.
    """
    if response.is_redirect and not rules.belongs(token, urljoin(response.url, response.headers["location"])):
        response.request.headers.pop("Authorization", None)


def _rewound(request: requests.PreparedRequest, fresh: AccessToken) -> bool:
    """Have a body ready to be sent again, and explain it if that cannot be."""
    if request.body is None or isinstance(request.body, bytes | str):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        tokens.explain_unsent(fresh)
        return False
    return True
