"""What is asked for a token, and the token that the answer holds: the same for every client. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pmcredd import wire


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
        if hint:
            self.add_note(f"try: {hint}")  # a traceback shows it

    def __reduce__(self) -> tuple[object, ...]:
        # By itself an exception is made again of its args, the message alone: a worker process could not raise it.
        return _made_again, (type(self), self.message, self.__dict__)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that works now.

    `expires_at` is when the server lets it expire and `good_until` until when the daemon will not replace it, both in
    unix time; None means that nobody knows. `url` is the instance that it is for. Neither repr() nor str() tells it.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: int | None
    good_until: int | None
    profile: str
    url: str

    @property
    def authorization(self) -> str:
        """Give the value of the Authorization header (RFC 6750 section 2.1)."""
        return f"{self.token_type} {self.access_token}"

    @property
    def fingerprint(self) -> str:
        """Give the name by which `pmcred log` and `pmcred status` tell of it: 16 hexadecimal digits of its SHA-256."""
        import hashlib  # here: OpenSSL takes milliseconds to load, and most only want the token

        # Whatever a program hands back can be named: an error about its characters would carry the token along.
        return hashlib.sha256(self.access_token.encode(errors="surrogatepass")).hexdigest()[:16]


def get_request(
    profile: str | None,
    *,
    lasting: float | None,
    timeout: float,
    refresh: bool,
    environ: Mapping[str, str],
) -> wire.Request:
    """Write a `get`; `lasting` and `timeout` in seconds. Raises PmcredError for what cannot be asked."""
    args = {"timeout": _seconds(timeout)}
    if lasting is not None:
        args["for"] = _seconds(lasting)
    if not refresh:
        args["refresh"] = "no"
    return wire.Request("get", _target(profile, environ), args)


def reject_request(
    refused: AccessToken | str, profile: str | None, *, timeout: float, environ: Mapping[str, str]
) -> wire.Request:
    """Write a `reject`, which names the token by its fingerprint. Raises PmcredError for what cannot be asked."""
    if isinstance(refused, str):
        refused = AccessToken(refused, "Bearer", None, None, "", "")
    target = _target(profile or refused.profile, environ)
    return wire.Request("reject", target, {"fingerprint": refused.fingerprint, "timeout": _seconds(timeout)})


def token_in(blocks: Sequence[Mapping[str, str]], request: wire.Request) -> AccessToken:
    """Read the token that the answer to `request` holds. Raises PmcredError if it holds none."""
    try:
        (fields,) = blocks
        return AccessToken(
            access_token=fields["access_token"],
            token_type=fields.get("token_type", "Bearer"),
            expires_at=_unix_time(fields, "expires_at"),
            good_until=_unix_time(fields, "good_until"),
            profile=fields.get("profile", request.target or ""),
            url=fields.get("url", ""),
        )
    except (KeyError, ValueError):
        raise not_understood("it holds no token") from None


def format_line(request: wire.Request) -> bytes:
    """Give a request as it is sent. Raises PmcredError if it cannot be."""
    try:
        return wire.format_request(request)
    except wire.BadLine as bad:
        raise PmcredError(wire.Code.BAD_REQUEST, str(bad)) from None


def not_understood(why: str) -> PmcredError:
    """Give the error for an answer that is none."""
    return PmcredError(wire.Code.INTERNAL, f"the daemon's answer makes no sense: {why}", "pmcred --version")


def _made_again(kind: type[PmcredError], message: str, told: Mapping[str, object]) -> PmcredError:
    error = kind.__new__(kind, message)
    error.__dict__.update(told)
    return error


def _target(profile: str | None, environ: Mapping[str, str]) -> str:
    target = profile or environ.get("PMCRED_PROFILE")
    if not target:
        raise PmcredError(wire.Code.BAD_REQUEST, "no profile is named", "set PMCRED_PROFILE, or name one")
    return target


def _seconds(length: float) -> str:
    try:
        return wire.format_duration(length)
    except wire.BadLine as bad:
        raise PmcredError(wire.Code.BAD_REQUEST, str(bad)) from None


def _unix_time(fields: Mapping[str, str], key: str) -> int | None:
    return int(fields[key]) if key in fields else None
