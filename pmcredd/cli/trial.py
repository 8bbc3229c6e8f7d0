"""Whether a profile works: its secrets read and one request sent, with the daemon's own code."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pmcredd import secret_sources
from pmcredd.cli.problem import for_a_draft
from pmcredd.oauth import Answer, Meaning, Refusal, read_answer, static_token, token_request
from pmcredd.processmaker import api_url
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.upstream import NotSent, Unknown, Upstream

_NEEDS_LOGIN, _UNREACHABLE, _MISCONFIGURED = 4, 5, 6

_UNREACHABLE_MEANINGS = frozenset({Meaning.THROTTLED, Meaning.MAINTENANCE, Meaning.SERVER_ERROR})
_TO_CORRECT: Mapping[Meaning, tuple[str, ...]] = {
    Meaning.BAD_CLIENT: ("client_id", "client_secret"),
    Meaning.GRANT_NOT_ALLOWED: ("client_id", "client_secret"),
    Meaning.BAD_USER: ("username", "password"),
    Meaning.NOT_JSON: ("url",),
    Meaning.REDIRECT: ("url",),
    Meaning.WRONG_URL: ("url",),
}


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a profile does not work, for people; `correct` names the keys that are the likely cause.

    `counts` tells that a server may count such tries, and lock somebody out.
    """

    sentence: str
    mend: str
    exit_status: int
    correct: tuple[str, ...] = ()
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Works:
    """A profile works; `lives` is how long its token will, in seconds, and None where that is not known."""

    lives: float | None


async def try_profile(
    upstream: Upstream,
    profile: Profile,
    known: Mapping[str, Secret],
    environ: Mapping[str, str],
    *,
    withhold: Collection[str] = (),
) -> Works | Failed:
    """Ask the server for a token as the daemon would, or have it accept a personal access token.

    Args:
        upstream: what sends.
        profile: what to try.
        known: the secrets, by key, that need not be read: they may have no file yet.
        environ: for sources that need it.
        withhold: the variables that hold secrets of any profile (profiles.secret_variables), for no command to see.

    """
    secrets = dict(known)
    for key in ("client_secret", "password", "token"):
        source = getattr(profile, key)
        if source is None or key in secrets:
            continue
        try:
            secrets[key] = await secret_sources.read(source, environ=environ, withhold=withhold)
        except secret_sources.SecretUnavailable as why:
            return Failed(why.sentence, why.mend, _MISCONFIGURED, (key,))
    if profile.grant is Grant.PERSONAL_ACCESS_TOKEN:
        outcome = await _show_token(upstream, profile, secrets["token"])
    else:
        outcome = await _ask_for_token(upstream, profile, secrets)
    if isinstance(outcome, Failed):
        return replace(outcome, mend=for_a_draft(outcome.mend, profile.name))
    return outcome


async def _ask_for_token(upstream: Upstream, profile: Profile, secrets: Mapping[str, Secret]) -> Works | Failed:
    request = token_request(profile, client_secret=secrets.get("client_secret"), password=secrets.get("password"))
    answer = await upstream.send(profile, request)
    if isinstance(answer, NotSent | Unknown):
        return Failed(answer.sentence, answer.mend, _UNREACHABLE)
    said = read_answer(profile, request, answer, now=time.time(), secrets=list(secrets.values()))
    return _refused(said) if isinstance(said, Refusal) else Works(said.expires_in)


def _refused(refusal: Refusal) -> Failed:
    status = _MISCONFIGURED
    if refusal.meaning is Meaning.BAD_USER:
        status = _NEEDS_LOGIN
    elif refusal.meaning in _UNREACHABLE_MEANINGS:
        status = _UNREACHABLE
    counts = refusal.meaning in (Meaning.BAD_USER, Meaning.BAD_CLIENT)
    return Failed(refusal.sentence, refusal.mend, status, _TO_CORRECT.get(refusal.meaning, ()), counts)


async def _show_token(upstream: Upstream, profile: Profile, secret: Secret) -> Works | Failed:
    token = static_token(profile, secret, now=time.time())
    if isinstance(token, Refusal):
        return Failed(token.sentence, token.mend, _MISCONFIGURED, ("token",))
    if token.expires_in == 0:
        return Failed("the token has expired", "make a new one in ProcessMaker", _NEEDS_LOGIN, ("token",))
    # A token may always look at itself; where it does not tell whose it is, at the list of users.
    path = f"/users/{token.sub}/tokens/{token.jti}" if token.sub and token.jti else "/users?per_page=1"
    answer = await upstream.get(profile, api_url(profile, path), secret)
    if isinstance(answer, NotSent | Unknown):
        return Failed(answer.sentence, answer.mend, _UNREACHABLE)
    return _judged(profile, answer) or Works(token.expires_in)


def _judged(profile: Profile, answer: Answer) -> Failed | None:
    if answer.status in (200, 403):  # 403: it knows whose token it is, and that this is not for them
        return None
    if answer.status == 401:
        sentence = f"{profile.url} does not accept the token (401): it was revoked, or belongs to another instance"
        return Failed(sentence, "make a new one in ProcessMaker", _NEEDS_LOGIN, ("token",))
    if answer.status == 429 or answer.status >= 500:
        return Failed(f"{profile.url} cannot answer at the moment ({answer.status})", "try again later", _UNREACHABLE)
    return Failed(
        f"{profile.url} answers ({answer.status}), but not as a ProcessMaker does", "", _MISCONFIGURED, ("url",)
    )
