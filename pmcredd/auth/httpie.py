"""HTTPie: `http -A pmcred -a prod https://acme.processmaker.net/api/1.0/users`."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpie.plugins import AuthPlugin
from requests import PreparedRequest

from pmcredd.asking import PmcredError
from pmcredd.auth.requests import PmcredAuth


class PmcredPlugin(AuthPlugin):
    """`-a` names the profile, by default $PMCRED_PROFILE does: there is no user and no password, and none is asked."""

    name = auth_type = "pmcred"
    description = "the token of a ProcessMaker profile, by pmcredd; -a is the profile's name"
    auth_require = auth_parse = False

    def get_auth(self, **_: str | None) -> PmcredAuth:
        """Give what authenticates the request."""
        return _Auth(self.raw_auth)


@contextmanager
def _hint_told() -> Iterator[None]:
    try:
        yield
    except PmcredError as error:
        error.args = ("; try: ".join(filter(None, (error.message, error.hint))),)  # all that HTTPie prints
        raise


class _Auth(PmcredAuth):
    @_hint_told()
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        super().__call__(request)
        request.hooks["response"] = [_hint_told()(hook) for hook in request.hooks["response"]]
        return request
