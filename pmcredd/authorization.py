"""A login in the browser, seen from the wire: the authorization request, and what the browser brings back. No I/O.

RFC 6749 section 4.1.1 and 4.1.2, PKCE by RFC 7636, loopback redirects by RFC 8252 section 7.3.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pmcredd import dialects, processmaker
from pmcredd.dialects import Answer
from pmcredd.masking import clean
from pmcredd.oauth import Code
from pmcredd.profiles import Profile
from pmcredd.secret import Secret

__all__ = [
    "ANY_PORT",
    "Authorization",
    "Denied",
    "Granted",
    "Stranger",
    "begin",
    "read_preview",
    "read_redirect",
    "redirect_uri",
    "registered_uri",
]

ANY_PORT = "http://127.0.0.1/callback"
"""What an administrator registers once: ProcessMaker from 4.3 on compares a loopback address without its port."""

_LONGEST_ANSWER = 16_384  # characters; ProcessMaker's are below 1000
_MOST_PARAMETERS = 50
_ENTROPY = 32  # bytes: 43 characters, the shortest verifier that RFC 7636 section 4.1 allows
_WRAPPED = re.compile(r"\s*[\r\n]\s*")  # how a terminal breaks a long line
_UNKNOWN_CLIENT = frozenset({"invalid_client", "redirect_uri_mismatch"})
_QUOTES = ("'", '"', "`")
_HERE = ("127.0.0.1", "localhost", "[::1]")
_VSCHARS = re.compile(r"[\x20-\x7e]{1,8192}")  # RFC 6749 appendix A.11
_CODE_NAME = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,60}")  # RFC 6749 section 4.1.2.1


@dataclass(frozen=True, slots=True)
class Authorization:
    """One authorization request, and what its answer must fit.

    `url` is for the browser: it holds the state and the challenge, and no secret. `verifier` is None for ProcessMaker
    3, which knows no PKCE.
    """

    url: str = field(repr=False)
    redirect_uri: str
    state: Secret
    verifier: Secret | None
    profile: Profile


@dataclass(frozen=True, slots=True)
class Granted:
    """The user came back with a code, and everything that its exchange needs."""

    code: Code


@dataclass(frozen=True, slots=True)
class Denied:
    """The server answered this login with an error: a title, a sentence, and what to do, all fit for people."""

    title: str
    sentence: str
    mend: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Not the answer to this login, which goes on waiting: why, and what was wanted instead."""

    sentence: str


def redirect_uri(profile: Profile, port: int | None) -> str:
    """Give the address at which this login's browser is to end.

    Args:
        profile: its `redirect_uri` counts, where it has one.
        port: where somebody listens; it fills the port that the profile leaves open. None leaves it open.

    """
    uri = profile.redirect_uri or ANY_PORT
    if port is None or profile.redirect_port is not None:
        return uri
    return f"http://127.0.0.1:{port}{urlsplit(uri).path}"


def registered_uri(profile: Profile) -> str:
    """Give the redirect URI that the client must have in ProcessMaker, to the letter."""
    return redirect_uri(profile, None)


def begin(profile: Profile, redirect_uri: str, entropy: Callable[[int], bytes] = os.urandom) -> Authorization:
    """Make the request that sends a browser to ProcessMaker's login (RFC 6749 section 4.1.1).

    response_type must be there: ProcessMaker 4 answers 400 without it. The challenge is always S256, since "plain" is
    what servers take a missing method for (RFC 7636 section 4.3). A scope goes out only if the profile names one.

    Args:
        profile: of the grant authorization_code.
        redirect_uri: where the browser is to end; the exchange of the code repeats it to the letter.
        entropy: gives that many random bytes.

    Raises:
        ValueError: the profile has no client_id, or no workspace where one is needed; its reader lets neither pass.

    """
    if profile.client_id is None:
        raise ValueError(f"profile {profile.name}: client_id is missing")
    state = Secret(_base64url(entropy(_ENTROPY)))
    verifier = Secret(_base64url(entropy(_ENTROPY))) if profile.generation == 4 else None
    query = {
        "response_type": "code",
        "client_id": profile.client_id,
        "redirect_uri": redirect_uri,
        "state": state.reveal(),
    }
    if verifier is not None:
        query["code_challenge"] = _base64url(hashlib.sha256(verifier.reveal().encode("ascii")).digest())
        query["code_challenge_method"] = "S256"
    if profile.scope:
        query["scope"] = profile.scope
    url = f"{processmaker.authorize_url(profile)}?{urlencode(query, quote_via=quote)}"
    return Authorization(url, redirect_uri, state, verifier, profile)


def read_redirect(authorization: Authorization, target: str) -> Granted | Denied | Stranger:
    """Understand the address on which a browser ended (RFC 6749 section 4.1.2).

    Only the state makes an answer this login's; it is compared in constant time. What people do to an address on its
    way is forgiven: quotes and brackets around it, line breaks, a fragment, a missing http://, the query alone, and
    "localhost" for 127.0.0.1. No text makes it raise.

    Args:
        authorization: the request that is to be answered.
        target: the request target that a browser sent, or the whole address that a person has copied.

    """
    if len(target) > _LONGEST_ANSWER:
        return Stranger("this is too long to be the address of a finished login")
    text = _unwrapped(target)
    if not text:
        return Stranger("there is no address in this")
    if text.startswith("{"):
        return _unfinished(authorization, at_the_start=True)
    place, _, query = text.partition("#")[0].partition("?")
    if not query and "=" in place:  # the query alone
        place, query = "", place
    elsewhere = _elsewhere(authorization, place)
    if elsewhere is not None:
        return elsewhere
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return Stranger("this address has too many parameters to be that of a finished login")
    found = dict(pairs)
    if len(found) < len(pairs):  # RFC 6749 section 3.1
        return Stranger("this address has a parameter twice, which no server sends")
    return _answer(authorization, found)


def read_preview(authorization: Authorization, answer: Answer) -> Denied | None:
    """See whether the server would turn this request away before anybody could log in; None if it does not say so.

    A server that does not know the client or its redirect URI keeps the browser (RFC 6749 section 4.1.2.1), and nobody
    here would hear of it. ProcessMaker from 4.8 on says it to anybody who asks, before the login.
    """
    if answer.status not in {400, 401} or dialects.listen(answer).error not in _UNKNOWN_CLIENT:
        return None
    profile = authorization.profile
    clients = processmaker.generation(profile).clients_page
    return Denied(
        "The client or its redirect URI is not known",
        f"{_host(authorization)} does not know the client {profile.client_id}, or not this redirect URI",
        f"in {clients} the redirect URL of the client {profile.client_id} must be exactly {registered_uri(profile)}; "
        f"or correct client_id: pmcred profile edit {profile.name}",
    )


def _answer(authorization: Authorization, found: dict[str, str]) -> Granted | Denied | Stranger:
    code, error, state = found.get("code", ""), found.get("error", ""), found.get("state", "")
    if not state:
        return _stateless(authorization, code, error)
    if not hmac.compare_digest(state.encode("utf-8", "surrogatepass"), authorization.state.reveal().encode()):
        return Stranger(
            "this address belongs to another login (its state differs): use the page that this login opened, and close "
            "those of earlier ones"
        )
    if code and error:
        return Stranger("this address holds a code and an error at once, which no server sends")
    if code and _VSCHARS.fullmatch(code):
        return Granted(Code(Secret(code), authorization.redirect_uri, authorization.verifier))
    if error and _CODE_NAME.fullmatch(error):
        return _denied(authorization, error, found)
    return Stranger("this address holds neither a code nor an error: copy it once more, all of it")


def _stateless(authorization: Authorization, code: str, error: str) -> Stranger:
    if error == "invalid_scope":
        # league/oauth2-server sends this to the registered redirect URI, without port and without state.
        return Stranger(
            f"{_host(authorization)} refused the scope {_words(authorization, authorization.profile.scope or '')!r}: "
            f"remove scope, ProcessMaker needs none: pmcred profile edit {authorization.profile.name}"
        )
    if code or error:
        return Stranger("this address has lost its state, so nobody can tell whose it is: copy all of it")
    return Stranger("this is not the address of a finished login: it has neither code nor state")


def _elsewhere(authorization: Authorization, place: str) -> Stranger | None:
    """Say what an address is that is not our own; None for our own, or for no address at all."""
    if not place:
        return None
    wanted = urlsplit(authorization.redirect_uri).path
    try:
        parts = urlsplit(place if "://" in place or place.startswith("/") else f"http://{place}")
        host, port, path = parts.hostname or "", parts.port, parts.path
    except ValueError:
        return Stranger("this is not an address: copy all of the browser's address bar")
    host = f"[{host}]" if ":" in host else host
    if not parts.netloc and place.startswith("/"):
        return None if path == wanted else Stranger(f"nothing but {wanted} is answered here")
    server = urlsplit(authorization.url)
    if host == server.hostname and port == server.port:
        return _unfinished(authorization, at_the_start=path == server.path)
    if host not in _HERE:
        if "." not in host and "/" not in place:
            return Stranger("this is not an address: the code alone is not enough, copy all of the address bar")
        return Stranger(f"the login ends at {authorization.redirect_uri}?..., and this is another address")
    if path != wanted:
        return Stranger(f"the login ends at {authorization.redirect_uri}?..., and this is another path")
    return None


def _unfinished(authorization: Authorization, *, at_the_start: bool) -> Stranger:
    """Say how to get on from a page of the server's own.

    Both generations keep the browser at the authorize URL, with a bare error, if they do not know the client or its
    redirect URI: they must not send anybody to an address that they cannot trust (RFC 6749 section 4.1.2.1).
    """
    host = _host(authorization)
    if not at_the_start:
        return Stranger(f"the browser is still at {host}: finish the login there, and copy the address that comes last")
    profile = authorization.profile
    clients = processmaker.generation(profile).clients_page
    sentence = (
        f"the browser is still at {host}: allow the access there, and copy the address that comes last; if it shows "
        f"invalid_client or redirect_uri_mismatch, put this into {clients}, exactly so, as the redirect URL of the "
        f"client {profile.client_id}: {registered_uri(profile)}"
    )
    if profile.generation == 4 and profile.redirect_port is None:
        sentence += (
            f" (before ProcessMaker 4.3 it needs a port, in redirect_uri of the profile, too: pmcred profile edit "
            f"{profile.name})"
        )
    return Stranger(sentence)


def _denied(authorization: Authorization, error: str, found: dict[str, str]) -> Denied:
    """Say what an error at the redirect means (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6)."""
    profile = authorization.profile
    clients = processmaker.generation(profile).clients_page
    again, edit = f"pmcred login {profile.name}", f"pmcred profile edit {profile.name}"
    host = _host(authorization)
    quoted = _quoted(authorization, error, found)
    match error:
        case "access_denied":
            return Denied(
                "Access was denied",
                f"pmcred was not allowed to use {host} in your name, so nothing was saved",
                f"if that was a mistake, log in again and allow it: {again}",
            )
        case "invalid_scope":
            return Denied(
                "The scope was refused",
                f"{host} does not know the scope of profile {profile.name}{quoted}",
                f"remove scope, ProcessMaker needs none: {edit}",
            )
        case "unauthorized_client" | "unsupported_response_type":
            box = "the Authorization Code box ticked" if profile.generation == 4 else "the authorization code grant"
            return Denied(
                "The client may not log people in",
                f"{host} does not let the client {profile.client_id} log anybody in with the browser{quoted}",
                f"in {clients} the client needs {box} and no other: use one client for each grant",
            )
        case "invalid_request":
            return Denied(
                "The request was refused",
                f"{host} did not accept the request for a login{quoted}",
                f"check url, authorize_path and redirect_uri: {edit}",
            )
        case "server_error":
            return Denied(
                "The server failed",
                f"{host} failed while it worked on the login{quoted}",
                f"try again: {again}; if it stays so, look into the server's own log",
            )
        case "temporarily_unavailable":
            return Denied(
                "The server is busy", f"{host} cannot log anybody in at the moment{quoted}", f"try again later: {again}"
            )
        case "login_required" | "consent_required" | "interaction_required" | "account_selection_required":
            return Denied(
                "Nobody was asked",
                f"{host} wanted to log in without asking anybody, and could not{quoted}",
                f"log in to {host} in the browser, then try again: {again}",
            )
        case _:
            return Denied("The login failed", f"{host} ended the login with an error{quoted}", f"try again: {again}")


def _quoted(authorization: Authorization, error: str, found: dict[str, str]) -> str:
    description, hint = (found.get(name, "").rstrip(". ") for name in ("error_description", "hint"))
    said = _words(authorization, "; ".join(part for part in (description, hint) if part))
    code = _words(authorization, error)
    return f': "{said}" ({code})' if said else f" ({code})"


def _words(authorization: Authorization, text: str) -> str:
    secrets = [authorization.state]
    if authorization.verifier is not None:
        secrets.append(authorization.verifier)
    return clean(text, secrets)


def _host(authorization: Authorization) -> str:
    return urlsplit(authorization.url).netloc


def _unwrapped(target: str) -> str:
    """Take off what a terminal, a chat or a document puts around and into an address."""
    text = _WRAPPED.sub("", target.strip())
    for _ in range(4):
        if len(text) > 1 and ((text[0] == text[-1] and text[0] in _QUOTES) or (text[0] == "<" and text[-1] == ">")):
            text = text[1:-1].strip()
    return text


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
