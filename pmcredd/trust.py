"""Whom to trust and which way to go: the TLS contexts and the proxy of a profile."""

import errno
import os
import ssl
import stat

from pmcredd.profiles import Profile, Url


class Unusable(Exception):
    """Something that the profile names cannot be used; `mend` says what to do."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.mend = mend


def trusting(profile: Profile) -> ssl.SSLContext:
    """Make the TLS context that tells good servers from bad: TLS 1.2 or later, certificate and host name verified.

    Trusted are the system's CAs, or with `ca_file` those in that file *instead*: who names his company's CA does not
    want the instance impersonated by any other. Unlike ssl.create_default_context() this never writes TLS keys to
    $SSLKEYLOGFILE.

    Raises:
        Unusable: `ca_file` does not serve.
    """
    if profile.ca_file is None:
        return trusting_the_system()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    mend = f"name a file with CA certificates in PEM format: pmcred profile edit {profile.name}"
    try:
        context.load_verify_locations(cafile=_regular(profile.ca_file))
    except (OSError, ValueError) as error:
        raise Unusable(f"ca_file {profile.ca_file} cannot be used: {_why(error)}", mend) from error
    return context


def trusting_the_system() -> ssl.SSLContext:
    """Make a TLS context with the CAs that the system (or $SSL_CERT_FILE) trusts."""
    import truststore  # here: it is not needed to start

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def identified(profile: Profile) -> ssl.SSLContext:
    """Make the TLS context for the server itself: it trusts the same, and shows the profile's client certificate.

    Raises:
        Unusable: a file of the profile's does not serve.
    """
    context = trusting(profile)
    if profile.client_cert is None:
        return context
    key = profile.client_key or profile.client_cert
    try:
        # An encrypted key would make OpenSSL ask on the terminal, and the daemon would stand still.
        context.load_cert_chain(_regular(profile.client_cert), _regular(key), password=_no_passphrase)
    except _Encrypted:
        raise Unusable(
            f"client_key {key} is encrypted, and there is nobody to ask for its passphrase",
            "keep the key without a passphrase, in a file of mode 0600",
        ) from None
    except (OSError, ValueError) as error:
        raise Unusable(
            f"client_cert {profile.client_cert} with key {key} cannot be used: {_why(error)}",
            f"name a certificate and its private key, both in PEM format: pmcred profile edit {profile.name}",
        ) from error
    return context


class _Encrypted(Exception):
    """A private key asks for a passphrase."""


def _no_passphrase() -> str:
    raise _Encrypted


def _regular(path: str) -> str:
    """Give the path back if opening it cannot block: a named pipe would stop every profile."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path


def proxy_url(profile: Profile, target: Url) -> str | None:
    """Give the URL of the proxy to go through. Plain http is for loopback only, which no proxy can reach."""
    if profile.proxy is None or target.scheme == "http":
        return None
    if profile.proxy != "environment":
        return profile.proxy
    import urllib.request  # here: it drags in an HTTP client of its own

    proxies = urllib.request.getproxies()
    if target.loopback or urllib.request.proxy_bypass(target.origin.partition("://")[2], proxies):
        return None
    found = proxies.get("https") or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def _why(error: Exception) -> str:
    """Give the system's reason for an error with a file of the user's."""
    if isinstance(error, ssl.SSLError):
        return f"it is not what it should be ({getattr(error, 'reason', None) or 'not PEM'})"
    return error.strerror or str(error) if isinstance(error, OSError) else "its name cannot be a path"
