"""What a server's certificate, its clock and its answer to an empty request for a token mean. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

from pmcredd import dialects
from pmcredd.cli.doctor.finding import Area, Finding
from pmcredd.human_time import duration
from pmcredd.oauth import Answer, Meaning, Refusal, rate_remaining
from pmcredd.profiles import Profile

_DAY = 86400.0
_SOON = 14 * _DAY  # before a certificate's end; the usual ones are replaced earlier
_SOON_SHARE = 0.2  # of its life, where it is one of those that live for days
_SLIGHT, _FAR = 30.0, 300.0  # seconds that a clock may be off
_FEW = 1 / 6  # of the requests that the server allows in a minute

_ANSWERED_AS_OAUTH = frozenset(
    {Meaning.GRANT_NOT_ALLOWED, Meaning.BAD_REQUEST, Meaning.BAD_CLIENT, Meaning.BAD_USER, Meaning.BAD_SCOPE}
)
_PASSES = frozenset({Meaning.MAINTENANCE, Meaning.SERVER_ERROR})


@dataclass(frozen=True, slots=True)
class Certificate:
    """The server's certificate, verified, and how it was shown; both times are unix time."""

    tls: str  # the protocol, as ssl calls it
    begins: float
    ends: float


def certificate(area: Area, found: Certificate, now: float) -> Finding:
    """Judge how long the server can be trusted as it is."""
    left = found.ends - now
    tls = found.tls.replace("TLSv", "TLS ")
    if left < min(_SOON, (found.ends - found.begins) * _SOON_SHARE):
        sentence = f"{tls}, but the server's certificate ends in {duration(max(left, 0))}"
        return area.warning("tls", sentence, "have the server's certificate renewed")
    return area.ok("tls", f"{tls}, the certificate is trusted and ends in {duration(left)}")


def clock(area: Area, date: float | None, *, sent: float, received: float) -> Finding:
    """Compare the clocks; the server told its own, in whole seconds, between two moments of ours (unix times)."""
    if date is None:
        return area.ok("clock", "the server does not tell its time (no Date header)")
    ahead = max(sent - (date + 1), date - received, 0.0)  # by how much it must be off
    if ahead <= _SLIGHT:
        return area.ok("clock", "the server's clock and ours agree")
    ours = "behind" if date > received else "ahead of"
    sentence = f"this machine's clock is {duration(ahead)} {ours} the server's"
    mend = "timedatectl set-ntp true; if this machine is right, have the server's clock set"
    if ahead <= _FAR:
        return area.warning("clock", sentence, mend)
    return area.problem("clock", f"{sentence}: tokens seem to end too early or too late", mend)


def speaks_oauth(answer: Answer, refusal: Refusal) -> bool:
    """Tell whether this is a token endpoint's own answer (RFC 6749 section 5.2)."""
    said = dialects.listen(answer)
    return refusal.meaning in _ANSWERED_AS_OAUTH and bool(said.error) and bool(said.text)


def endpoint(profile: Profile, area: Area, answer: Answer, refusal: Refusal, elsewhere: int | None = None) -> Finding:
    """Judge what answers where the profile asks for tokens.

    Args:
        profile: one of those that ask there.
        area: of the findings.
        answer: to a request that names no grant and carries no credentials.
        refusal: what it means.
        elsewhere: the generation that answers at the same address, where this is no token endpoint.
    """
    edit = f"pmcred profile edit {profile.name}"
    if speaks_oauth(answer, refusal):
        spoken = _generation(answer)
        if spoken not in {profile.generation, None}:
            sentence = f"ProcessMaker {spoken} answers, and profile {profile.name} says generation {profile.generation}"
            return area.problem("endpoint", sentence, f"set generation = {spoken}: {edit}")
        return _throttle(area, f"ProcessMaker {profile.generation} answers", answer)
    if refusal.meaning is Meaning.THROTTLED:
        wait = "" if refusal.retry_after is None else f"; it lets us in again in {duration(refusal.retry_after)}"
        mend = "wait; if it stays so, see who else asks from the same address"
        return area.warning("endpoint", f"{refusal.sentence}{wait}", mend)
    if refusal.meaning in _PASSES:
        wait = "" if refusal.retry_after is None else f"; it says to come back in {duration(refusal.retry_after)}"
        mend = refusal.mend or "wait for its administrator; the daemon goes on trying by itself"
        return area.problem("endpoint", f"{refusal.sentence}{wait}", mend)
    if elsewhere not in {profile.generation, None}:
        more = " and workspace" if elsewhere == 3 else ""
        sentence = f"ProcessMaker {elsewhere} answers there, and profile {profile.name} is for {profile.generation}"
        return area.problem("endpoint", sentence, f"set generation = {elsewhere}{more}: {edit}")
    return area.problem("endpoint", refusal.sentence, refusal.mend or f"check url and token_path: {edit}")


def _generation(answer: Answer) -> int | None:
    """Tell the generation by its words for a request without a grant; None if they are not known."""
    said = dialects.listen(answer)
    if said.text.lower().startswith("the grant type was not specified"):  # bshaffer/oauth2-server
        return 3
    league = said.error == "unsupported_grant_type" and "authorization grant type" in said.text.lower()
    return 4 if league or "x-ratelimit-limit" in answer.headers else None


def _throttle(area: Area, sentence: str, answer: Answer) -> Finding:
    left, limit = rate_remaining(answer), _limit(answer.headers)
    if left is None or not limit:
        return area.ok("endpoint", sentence)
    told = f"{sentence}; {left} of {limit} requests for tokens are left in this minute"
    if left < limit * _FEW:
        return area.warning("endpoint", told, "see who else asks from the same address")
    return area.ok("endpoint", told)


def _limit(headers: Mapping[str, str]) -> int | None:
    text = headers.get("x-ratelimit-limit", "")
    return int(text) if text.isascii() and text.isdecimal() else None
