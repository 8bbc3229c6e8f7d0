"""What a server is asked with the very token that it is about: whether it lives, whose it is, and that it may die.

All of it is beside the keeping of tokens: bounded in time, never tried twice, and nothing here fails what is in hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import trio

from pmcredd import masking, oauth, processmaker, telling
from pmcredd.clock import Clock
from pmcredd.life import Event, Fault, Probed, ProbeFailed, Problem, User
from pmcredd.profiles import Grant, Profile
from pmcredd.upstream import NotSent, Unknown, Upstream
from pmcredd.validity import Held

REVOKE_WITHIN = 30.0  # seconds: somebody waits to hear what became of the token
LONGEST_NAME = 64  # characters of a username that are shown


@dataclass(frozen=True, slots=True)
class Stranger:
    """A token that is not of the user whom the profile expects, or, `unknown`, of nobody knows whom."""

    problem: Problem
    unknown: bool = False


class Bearer:
    """Asks servers about tokens.

    Args:
        upstream: the way to the servers.
        clock: time.
    """

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock

    async def probe(self, profile: Profile, held: Held, serial: int) -> Event:
        """Ask the server whether a token lives."""
        at = self._clock.now().boot
        url = processmaker.token_info_url(profile, held.token.sub, held.token.jti)
        if url is None:
            return Probed(serial, at, None, None)
        answer = await self._upstream.get(profile, url, held.token.access_token)
        if isinstance(answer, NotSent | Unknown):
            return ProbeFailed(serial, Problem(answer.sentence, answer.mend))
        date = oauth.server_date(answer)
        skew = None if date is None else date - self._clock.now().wall
        if answer.status == HTTPStatus.OK:
            return Probed(serial, at, _tells_this_token(answer, held.token), skew)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return Probed(serial, at, passed=False, skew=skew)
        if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            return Probed(serial, at, None, skew)
        return ProbeFailed(serial, Problem(f"the server answered {answer.status} when asked about the token"))

    # --- whose it is --------------------------------------------------------------------------------------------------

    async def user(self, profile: Profile, token: oauth.Token) -> User | None:
        """Give whose a token is: without a name if the server does not tell it, None if the token has no user."""
        if not token.sub:
            return None
        name = await self._username(profile, token)
        return User(token.sub) if isinstance(name, Problem) else _shown(token, name)

    async def check(self, profile: Profile, token: oauth.Token, known: User | None) -> User | Stranger | None:
        """See whether a token is of the user whom the profile expects, if it expects one.

        An id is compared with what the token says of itself; for a name the server is asked, unless it is `known`: the
        user of the token before. Gives the user where the name is known now, None where nobody needed to ask.
        """
        expected = profile.expect_user
        if expected is None:
            return None
        if not token.sub:
            sentence = f"this token does not tell whose it is, and expect_user says {expected}"
            return Stranger(Problem(sentence, _mend(profile, expected), Fault.MISCONFIGURED))
        by_id = _is_id(expected)
        if by_id and token.sub == expected:
            return None
        if not by_id and known is not None and (known.id, known.name) == (token.sub, expected):
            return known
        name = await self._username(profile, token)
        if not by_id and name == expected:
            return _shown(token, expected)
        if isinstance(name, Problem) and not by_id:
            sentence = (
                f"whether this token is of {expected}, as expect_user says, could not be found out: {name.sentence}"
            )
            return Stranger(Problem(sentence, name.mend), unknown=True)
        whose = telling.whose(User(token.sub) if isinstance(name, Problem) else _shown(token, name))
        sentence = f"this token is of {whose}, and expect_user says {'user ' if by_id else ''}{expected}"
        return Stranger(Problem(sentence, _mend(profile, expected), Fault.MISCONFIGURED))

    async def _username(self, profile: Profile, token: oauth.Token) -> str | Problem:
        """Give the username of a token's user, as the server tells it."""
        url = processmaker.user_url(profile, token.sub)
        if url is None:
            return Problem("its server tells nothing of users")
        answer = await self._upstream.get(profile, url, token.access_token)
        if isinstance(answer, NotSent | Unknown):
            return Problem(answer.sentence, answer.mend)
        row = _row(answer) if answer.status == HTTPStatus.OK else None
        if row is None or str(row.get("id")) != token.sub:
            return Problem(f"the server answered {answer.status} when asked about the user, and told none")
        name = row.get("username")
        return name if isinstance(name, str) and name else Problem("the server told a user without a username")

    # --- its end ------------------------------------------------------------------------------------------------------

    async def revoke(self, profile: Profile, held: Held, *, proved: bool = True) -> str | None:
        """Have the server revoke an access token. Gives None once it is dead there, or else why it may live on.

        ProcessMaker 4 answers 500 after it has revoked a token without a name, and nobody has written down what
        ProcessMaker 3 answers: so what became of the token is asked with it.

        Args:
            profile: whose token it is.
            held: the token.
            proved: a 401 is evidence: the token has been accepted before, so nothing on the way strips the header.
        """
        with trio.move_on_after(REVOKE_WITHIN):
            return await self._revoke(profile, held, proved=proved)
        return f"{profile.url} did not answer within {REVOKE_WITHIN:g} s"

    async def _revoke(self, profile: Profile, held: Held, *, proved: bool) -> str | None:
        token = held.token
        urls = processmaker.revocation_urls(profile, token.sub, token.jti, token.access_token)
        if urls is None:
            return "the token does not tell its user and its id, which the server wants to know for that"
        answer = await self._upstream.delete(profile, urls[0], token.access_token)
        if isinstance(answer, NotSent):
            return answer.sentence
        if isinstance(answer, oauth.Answer) and processmaker.generation(profile).tells_tokens:
            if answer.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
                return None
            if answer.status == HTTPStatus.UNAUTHORIZED and not proved:
                return "the server refuses it: it is dead, or something on the way takes off its Authorization header"
            if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
                return f"the server answered {answer.status}"
        said = f"the server answered {answer.status}" if isinstance(answer, oauth.Answer) else answer.sentence
        after = await self._upstream.get(profile, urls[1], token.access_token)
        if isinstance(after, oauth.Answer):
            row = _row(after)
            if after.status == HTTPStatus.UNAUTHORIZED or (row is not None and row.get("revoked") is True):
                return None
            if after.status == HTTPStatus.OK:
                return f"{said}, and the token still lives"
        return f"{said}, and did not tell whether the token lives"


def _is_id(expected: str) -> bool:
    return expected.isascii() and expected.isdigit()


def _shown(token: oauth.Token, name: str) -> User:
    return User(token.sub or "", masking.clean(name, [token.access_token])[:LONGEST_NAME])


def _mend(profile: Profile, expected: str) -> str:
    match profile.grant:
        case Grant.AUTHORIZATION_CODE:
            right = f"log out of {profile.url} in the browser, then as {expected}: pmcred login {profile.name}"
        case Grant.PERSONAL_ACCESS_TOKEN:
            right = f"put in a token of {expected}, then: pmcred login {profile.name}"
        case _:
            right = f"correct username and password (pmcred profile edit {profile.name})"
    return f"{right}; or correct expect_user: pmcred profile edit {profile.name}"


def _row(answer: oauth.Answer) -> Mapping[str, object] | None:
    """Give the object that a JSON answer is, or None if it is something else (a login page)."""
    try:
        row = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _tells_this_token(answer: oauth.Answer, token: oauth.Token) -> bool | None:
    """Whether the server's row is this token's and says that it lives; None if it is something else."""
    row = _row(answer)
    return not row.get("revoked") if row is not None and row.get("id") == token.jti else None
