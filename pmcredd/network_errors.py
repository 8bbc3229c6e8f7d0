"""Foreign errors of the network in plain words, and whether a request can have arrived in spite of them."""

import errno
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pmcredd.masking import clean
from pmcredd.profiles import Profile


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request has left this machine, or nothing that the server's application can have seen."""

    sentence: str
    mend: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have arrived, and no answer that can be read came back: the server may have acted on it."""

    sentence: str
    mend: str


def failure(error: Exception, profile: Profile, *, host: str, peer: str, sent: bool) -> NotSent | Unknown:
    """Turn whatever went wrong into one of the two failures. In doubt the request may have arrived.

    Args:
        error: what httpx, or anything below it, raised.
        profile: whose request it was.
        host: the server.
        peer: whom an error of the network is about, if the request had not left: the server or a proxy.
        sent: whether a byte of the request may have left.
    """
    import httpx  # in functions here: to be imported at the daemon's start costs too much

    causes = list(_causes(error))
    never_left = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    if not sent or isinstance(error, never_left) or _client_refused(causes):
        why, mend = _explain_not_sent(causes, host, profile)
        return NotSent(f"cannot reach {peer}: {why}", mend)
    return Unknown(f"no complete answer from {host}: {_explain_unknown(causes)}", "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that it came from, outermost first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting.extend(cause for cause in (current.__cause__, current.__context__) if cause is not None)


# Alerts by which a server refuses our certificate, or that there is none. In TLS 1.3 they arrive after we have begun to
# send, but the server's handshake has failed, so no application has seen a byte (RFC 8446 section 6.2).
_CLIENT_ALERTS = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_",  # required, revoked, expired, unknown
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
)


def _client_refused(causes: Sequence[BaseException]) -> bool:
    reasons = [_reason(error) for error in causes if isinstance(error, ssl.SSLError)]
    return any(alert in reason for reason in reasons for alert in _CLIENT_ALERTS)


def _reason(error: ssl.SSLError) -> str:
    """Give OpenSSL's name for an error; "" if it has none (Python's own lack even the attribute)."""
    return getattr(error, "reason", None) or ""


def _explain_not_sent(causes: Sequence[BaseException], host: str, profile: Profile) -> tuple[str, str]:
    """Say in plain words why there was no connection, and what mends it."""
    import httpx

    edit = f"pmcred profile edit {profile.name}"
    if _client_refused(causes):
        if profile.client_cert is None:
            return "it asks for a client certificate", f"set client_cert and client_key: {edit}"
        return "it does not accept the client certificate", f"check client_cert and client_key: {edit}"
    for error in causes:
        match error:
            case httpx.ProxyError() if "407" in str(error):
                return (
                    "it asks for a user name and a password",
                    f"put them into proxy, http://USER:PASSWORD@...: {edit}",
                )
            case httpx.ProxyError():
                return f"it refused to connect to {host} ({clean(str(error), ())})", f"check proxy: {edit}"
            case socket.gaierror(errno=socket.EAI_AGAIN):
                return "its name cannot be looked up at the moment", "check this machine's network and DNS"
            case socket.gaierror():
                return "its name is not known", f"check the host in url (or proxy): {edit}"
            case ssl.SSLCertVerificationError():
                return _explain_certificate(error, edit)
            case ssl.SSLError(reason=str(reason)) if reason in _NOT_TLS:
                return "it does not speak TLS at this port", f"check the port in url: {edit}"
            case ssl.SSLError(reason=str(reason)) if "PROTOCOL" in reason:
                return "it offers nothing newer than TLS 1.1", "have TLS 1.2 switched on at the server"
            case ssl.SSLError() if "EOF" in _reason(error):
                break
            case ssl.SSLError() if "HANDSHAKE_FAILURE" in _reason(error):
                # So TLS 1.2 says it, where 1.3 has an alert of its own for a missing client certificate.
                return (
                    "it broke off the TLS handshake: it wants a client certificate, or offers no cipher that we take",
                    f"set client_cert and client_key: {edit}; or look into the server's log",
                )
            case ssl.SSLError():
                return f"the TLS handshake failed ({_reason(error) or 'no reason given'})", "look into the server's log"
            case OSError(errno=int(number)) if number in _NETWORK:
                return _NETWORK[number], f"check the network, and url: {edit}"
            case UnicodeError():
                return "its name cannot be one", f"check the host in url: {edit}"
            case _:
                continue
    return "the connection broke before it was set up", f"check url, and what stands between: {edit}"


_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL",
)

_NETWORK = {
    errno.ECONNREFUSED: "nothing listens there (connection refused)",
    errno.ECONNRESET: "the connection was reset",
    errno.ENETUNREACH: "there is no route to its network",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ETIMEDOUT: "it does not answer",
    errno.EMFILE: "this process has too many open files",
    errno.EACCES: "this machine does not allow it (firewall)",
    errno.EPERM: "this machine does not allow it (firewall)",
}

# OpenSSL's X509_V_ERR_ codes
_UNTRUSTED = (18, 19, 20, 21)
_EXPIRED = 10
_NOT_YET = 9
_WRONG_HOST = (62, 64)


def _explain_certificate(error: ssl.SSLCertVerificationError, edit: str) -> tuple[str, str]:
    code = error.verify_code
    if code in _WRONG_HOST:
        return "its certificate is for another host", f"check the host in url: {edit}"
    if code == _EXPIRED:
        return "its certificate has expired", "have it renewed; if it is good, set this machine's clock"
    if code == _NOT_YET:
        return "its certificate is not valid yet", "set this machine's clock"
    if code in _UNTRUSTED:
        return "its certificate is signed by nobody we trust", f"if that is your own CA, name it in ca_file: {edit}"
    return f"its certificate does not pass ({error.verify_message})", "have the server's certificate mended"


def _explain_unknown(causes: Sequence[BaseException]) -> str:
    """Say what happened, without a word of the server's: what it sent may hold anything."""
    import httpx

    for error in causes:
        match error:
            case httpx.RemoteProtocolError() if "disconnected" in str(error) or "peer closed" in str(error):
                return "the server closed the connection too early"
            case httpx.RemoteProtocolError():
                return "what it sent is not HTTP"
            case httpx.LocalProtocolError():
                return "the request could not be written as HTTP"
            case httpx.TimeoutException():
                return "it took too long"
            case OSError(errno=errno.ECONNRESET):
                return "the connection was reset"
            case _:
                continue
    return "the connection broke"
