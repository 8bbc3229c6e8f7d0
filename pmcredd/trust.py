"""Whom to trust and which way to go: the TLS contexts and the proxy of a profile."""

import errno
import functools
import os
import ssl
import stat
from contextlib import suppress

from pmcredd.profiles import Profile
from pmcredd.urls import Url


class Unusable(Exception):
    """Something that the profile names cannot be used; `mend` says what to do."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.mend = mend


def trusting(profile: Profile) -> ssl.SSLContext:
    """Give the TLS context that tells good servers from bad: TLS 1.2 or later, certificate and host name verified.

    Trusted are the system's CAs, or with `ca_file` those in that file *instead*: who names his company's CA does not
    want the instance impersonated by any other. Unlike ssl.create_default_context() this never writes TLS keys to
    $SSLKEYLOGFILE. The context may be one that others use, too: it is not to be changed.

    Raises:
        Unusable: `ca_file` does not serve.
    """
    return trusting_the_system() if profile.ca_file is None else _trusting_a_file(profile, profile.ca_file)


def trusting_the_system() -> ssl.SSLContext:
    """Give the one TLS context with the CAs that the system (or $SSL_CERT_FILE) trusts now.

    To read them takes 40 ms, in which nobody is answered, and 0.8 MB; so that is done again only after they changed.
    """
    return _system(place) if (place := _system_place()) else _read_system()


def trusting_nobody() -> ssl.SSLContext:
    """Give a TLS context for plain http, which needs none: should it ever be used, no server passes."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def identified(profile: Profile) -> ssl.SSLContext:
    """Give the TLS context for the server itself: it trusts the same, and shows the profile's client certificate.

    Raises:
        Unusable: a file of the profile's does not serve.
    """
    if profile.client_cert is None:
        return trusting(profile)
    context = _read_system() if profile.ca_file is None else _trusting_a_file(profile, profile.ca_file)
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


def _trusting_a_file(profile: Profile, path: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=_regular(path))
    except (OSError, ValueError) as error:
        raise Unusable(
            f"ca_file {path} cannot be used: {_why(error)}",
            f"name a file with CA certificates in PEM format: pmcred profile edit {profile.name}",
        ) from error
    return context


# What tells that a file or a directory is the one that was read: its path, device, inode, size and time of change.
_Seen = tuple[str, int, int, int, int]


def _system_place() -> tuple[_Seen, ...]:
    """Tell where OpenSSL finds the system's CAs, and what is there now.

    Empty if it has no file of them: then they lie where only truststore knows, or in a directory, of which OpenSSL
    reads no more than it needs.
    """
    paths = ssl.get_default_verify_paths()
    found: list[_Seen] = []
    for path in filter(None, (paths.cafile, paths.capath)) if paths.cafile else ():
        with suppress(OSError):
            seen = os.stat(path)
            found.append((path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=1)
def _system(_: tuple[_Seen, ...]) -> ssl.SSLContext:
    return _read_system()


def _read_system() -> ssl.SSLContext:
    import truststore  # here: it is not needed to start

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # truststore adds the CAs to the context below it whenever a connection is begun, every time all of them. That
    # context, once it has them, needs nothing more.
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").context


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
