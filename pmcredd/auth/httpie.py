"""HTTPie: `http -A pmcred -a prod https://acme.processmaker.net/api/1.0/users`."""

from httpie.plugins import AuthPlugin
from requests import PreparedRequest

from pmcredd.asking import PmcredError
from pmcredd.auth.requests import PmcredAuth


class PmcredPlugin(AuthPlugin):
    """`-a` names the profile, by default $PMCRED_PROFILE does: there is no user and no password, and none is asked."""

    name = "pmcred"
    description = "the token of a ProcessMaker profile, by pmcredd; -a is the profile's name"
    auth_type = "pmcred"
    auth_require = False
    auth_parse = False

    def get_auth(self, **_: str | None) -> PmcredAuth:
        """Give what authenticates the request."""
        return _Auth(self.raw_auth)


class _Auth(PmcredAuth):
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        try:
            return super().__call__(request)
        except PmcredError as error:
            # HTTPie prints an exception's name and its text, and nothing else of it.
            error.args = ("; try: ".join(filter(None, (error.message, error.hint))),)
            raise
