"""What a refusal means in words: a sentence for people and the command or act that mends it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, urljoin, urlsplit

from pmcredd import processmaker
from pmcredd.dialects import Answer, Meaning, Said
from pmcredd.profiles import FileSecret, Grant, Profile, SecretSource

_PARAMETER = re.compile(r"Check the `([a-z_]{1,40})` parameter")
_BOILERPLATE = "The request is missing a required parameter, includes"  # RFC 6749's words for any invalid_request
_OURS = ("client_id", "client_secret", "username", "password", "scope")  # parameters that a profile sets


@dataclass(frozen=True, slots=True)
class Case:
    """One refusal: what was asked where, what came back, what it means. `words` makes a text fit for people."""

    profile: Profile
    url: str
    grant_type: str
    answer: Answer
    said: Said
    meaning: Meaning
    words: Callable[[str], str]
    problem: str = ""
    """What a token in the answer lacked."""


def sentence(case: Case) -> str:
    """Say what the server refused, and quote it."""
    parts = [case.said.text.rstrip(". "), case.said.hint]
    if case.said.hint and case.said.text.startswith(_BOILERPLATE):
        del parts[0]
    quoted = case.words("; ".join(part for part in parts if part)) if case.meaning is not Meaning.REDIRECT else ""
    code = case.words(case.said.error)[:60]
    status = f"({case.answer.status} {code})" if code else f"({case.answer.status})"
    return f'{_head(case)}: "{quoted}" {status}' if quoted else f"{_head(case)} {status}"


def _head(case: Case) -> str:
    profile, asked = case.profile, urlsplit(case.url)
    host = _host(asked)
    match case.meaning:
        case Meaning.DEAD_REFRESH_TOKEN:
            return f"{host} no longer takes the refresh token of profile {profile.name}"
        case Meaning.BAD_CODE:
            return f"{host} did not take the login's code"
        case Meaning.BAD_CLIENT:
            return f"{host} refused the client {profile.client_id}"
        case Meaning.BAD_USER:
            return f"{host} refused the username or the password of {profile.username}"
        case Meaning.GRANT_NOT_ALLOWED:
            return f"{host} does not allow the grant {case.grant_type}"
        case Meaning.BAD_SCOPE:
            return f"{host} refused the scope {profile.scope}"
        case Meaning.BAD_REQUEST:
            return f"{host} did not accept the request for a token"
        case Meaning.THROTTLED:
            return f"{host} counts too many requests from this address"
        case Meaning.MAINTENANCE:
            return f"{host} is not available at the moment"
        case Meaning.SERVER_ERROR:
            return f"{host} failed while it answered the request for a token"
        case Meaning.NOT_JSON:
            return f"{host}{asked.path} answered the request for a token with something else than JSON"
        case Meaning.REDIRECT:
            target = _target(case)
            where = "nowhere" if target is None else case.words(f"{target.scheme}://{_host(target)}{target.path}")
            return f"{host} redirects the request for a token to {where}"
        case Meaning.WRONG_URL:
            return f"{host} has no token endpoint at {asked.path}"
        case Meaning.BAD_ANSWER:
            return f"{host} answered without a usable token ({case.problem})"


def where(source: SecretSource | None) -> str:
    """Name the file that holds a secret: the profile itself, when it is edited, shows no more than that name."""
    return f" (it stands in {source.path})" if isinstance(source, FileSecret) else ""


def mend(case: Case) -> str:
    """Say what to do about it; "" if there is nothing to do but wait."""
    profile = case.profile
    edit = f"pmcred profile edit {profile.name}"
    clients = processmaker.generation(profile).clients_page
    match case.meaning:
        case Meaning.DEAD_REFRESH_TOKEN:
            return f"pmcred login {profile.name}"
        case Meaning.BAD_CODE:
            return f"{_code_trap(case)}pmcred login {profile.name}"
        case Meaning.BAD_CLIENT if case.grant_type == "authorization_code" and profile.generation == 4:
            # league/oauth2-server has taken client_id and redirect_uri before it sent the browser back with a code.
            return (
                f"the browser was let in, so client_id is right: {_client_trap(case, clients)} (use one client for "
                f"each grant); if that is so, check client_secret: {edit}"
            )
        case Meaning.BAD_CLIENT:
            secret = f"client_secret{where(profile.client_secret)}"
            return f"check client_id and {secret}: {edit}; {_client_trap(case, clients)}{_other_generation(case)}"
        case Meaning.BAD_USER:
            return (
                f"check username (not the e-mail address) and password{where(profile.password)}: {edit}; a user of SSO "
                'or LDAP has no password of ProcessMaker\'s own: use grant = "authorization_code"'
            )
        case Meaning.GRANT_NOT_ALLOWED if case.said.error == "unauthorized_client":
            return f"allow the client this grant in {clients}, or use another client: {edit}"
        case Meaning.GRANT_NOT_ALLOWED if profile.grant is Grant.PASSWORD and profile.generation == 4:
            return (
                "ProcessMaker 4.14.0 and 4.14.1 switch the password grant off: upgrade the server to 4.14.2, or use "
                f'grant = "authorization_code": {edit}'
            )
        case Meaning.GRANT_NOT_ALLOWED:
            return f"use another grant: {edit}; if the server does have this one, a front end drops the request's body"
        case Meaning.BAD_SCOPE:
            return f"remove scope, ProcessMaker needs none: {edit}"
        case Meaning.BAD_REQUEST if case.said.error == "redirect_uri_mismatch":  # bshaffer/oauth2-server
            return (
                f"in {clients} the callback URL must be the profile's redirect_uri, port included: {edit}; then "
                f"pmcred login {profile.name}"
            )
        case Meaning.BAD_REQUEST:
            named = _PARAMETER.search(case.said.hint)
            if named and named[1] in _OURS:
                return f"look at {named[1]}, which may not be empty: {edit}"
            return f"check url and token_path: {edit}; if they are right, a front end alters requests"
        case Meaning.THROTTLED | Meaning.MAINTENANCE:
            return ""
        case Meaning.SERVER_ERROR:
            return "if it stays so, look into the server's own log"
        case Meaning.REDIRECT:
            return _mend_redirect(case, edit)
        case Meaning.NOT_JSON if case.answer.status in (401, 403):
            return f"a front end (proxy, firewall) turned pmcredd away: have it let through, or check url: {edit}"
        case Meaning.NOT_JSON | Meaning.WRONG_URL | Meaning.BAD_ANSWER:
            return _mend_path(case, edit)


# What a server says of a code that it does not take, and what has happened then.
_CODE_TRAPS: Mapping[str, str] = MappingProxyType(
    {
        "expired": "a code lives ten minutes at most, so finish the login at once: ",
        "revoked": "a code works once, and this one was used before: ",
        "doesn't exist": "a code works once, and this one was used before, or belongs to another client: ",
        "issued to this client": "client_id was changed while the login waited: ",
        "decrypt": "the address was not copied whole, or the server has a new key: ",
        "code_verifier": "the code is from another login than the one it was handed to: ",
    }
)


def _code_trap(case: Case) -> str:
    said = f"{case.said.text} {case.said.hint}".lower()
    return next((trap for word, trap in _CODE_TRAPS.items() if word in said), "")


def _client_trap(case: Case, clients: str) -> str:
    """Name the box in the user interface whose wrong state looks just like a wrong secret."""
    match case.profile.grant:
        case Grant.PASSWORD if case.profile.generation == 4:
            return f"in {clients} the client needs the Password box ticked"
        case Grant.AUTHORIZATION_CODE if case.profile.generation == 4:
            return f"in {clients} the client needs the Authorization Code box ticked and no other"
        case _:
            return f"the client must exist in {clients}"


def _mend_path(case: Case, edit: str) -> str:
    if urlsplit(case.url).path.endswith("/oauth/token/refresh"):
        return f"set token_path to /oauth/token (/oauth/token/refresh renews a browser's cookie, not a token): {edit}"
    return f"check url and token_path: {edit}{_other_generation(case)}"


def _other_generation(case: Case) -> str:
    """Advise to try the other generation, unless the answer is this one's own way of refusing a client."""
    mine = processmaker.generation(case.profile)
    if case.meaning is Meaning.BAD_CLIENT and case.answer.status == mine.invalid_client_status:
        return ""
    if mine.number == 4:
        return "; if this is ProcessMaker 3, set generation = 3 and workspace"
    return "; if this is ProcessMaker 4, set generation = 4"


def _mend_redirect(case: Case, edit: str) -> str:
    target, asked = _target(case), urlsplit(case.url)
    base = urlsplit(case.profile.url).path.rstrip("/")
    endpoint = asked.path.removeprefix(base)
    if target is None:
        return f"check url: {edit}"
    if target.scheme == "http" and asked.scheme == "https":
        return f"a front end leads to plain http, where secrets must not go: have it mended, or check url: {edit}"
    if target.path.endswith(endpoint):
        url = case.words(f"{target.scheme}://{_host(target)}{target.path.removesuffix(endpoint)}")
        return f'if that is your server, set url = "{url}": {edit}'
    if target.path.rstrip("/").endswith("/login"):
        return f"the server is in maintenance, or url or token_path is wrong: {edit}{_other_generation(case)}"
    return f"check url and token_path: {edit}{_other_generation(case)}"


def _target(case: Case) -> SplitResult | None:
    """Give where a redirect leads, None if nobody could follow it."""
    location = case.answer.headers.get("location", "")
    try:
        target = urlsplit(urljoin(case.url, location))
        _ = target.port  # raises if it is no number
    except ValueError:
        return None
    return target if location and target.scheme in ("http", "https") and target.hostname else None


def _host(url: SplitResult) -> str:
    """Give host and, if it is there, port: never what may stand before an @."""
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.port is None else f"{host}:{url.port}"
