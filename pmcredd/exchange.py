"""One exchange with a token endpoint, from reading the secrets to an event for the lifecycle.

In two halves, because only the first may be cancelled: `prepare` reads the secrets, waits for a slot, and looks whether
they may be tried at all; `send` commits the try, sends it and understands the answer. Whoever leaves in between has
spent nothing on the server.
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

import trio

from pmcredd import oauth, processmaker, secret_sources
from pmcredd.clock import Clock
from pmcredd.gate import Gate, Priority, Turn
from pmcredd.life import Event, Failed, Fault, Issued, Lost, Probed, ProbeFailed, Problem, Reason, Refused
from pmcredd.oauth import Ended, Meaning
from pmcredd.profiles import CommandSecret, Grant, Profile, SecretSource
from pmcredd.secret import Secret
from pmcredd.store import Stop, Store, StoreProblem, identity
from pmcredd.telling import log
from pmcredd.upstream import NotSent, Unknown, Upstream
from pmcredd.validity import Held, Moment
from pmcredd.worker import Worker

READERS = 8  # secret commands at a time
STRETCH = 4096  # scrypt's n: 4 MiB of memory, some 10 ms for each secret of a request
PAUSE_AFTER_429 = 60.0  # seconds, where the server names none: its window

_STOPS: Mapping[Meaning, Reason] = {
    Meaning.BAD_USER: Reason.BAD_CREDENTIALS,
    Meaning.BAD_CLIENT: Reason.BAD_CLIENT,
    Meaning.GRANT_NOT_ALLOWED: Reason.CONFIG,
    Meaning.BAD_SCOPE: Reason.CONFIG,
    Meaning.BAD_REQUEST: Reason.CONFIG,
    Meaning.DEAD_REFRESH_TOKEN: Reason.NEEDS_LOGIN,
    Meaning.BAD_CODE: Reason.NEEDS_LOGIN,
}
# These pass by themselves often enough (a deployment, a maintenance redirect) to go on trying, but a person who waits
# is told to look at the profile.
_MISCONFIGURED = {Meaning.WRONG_URL, Meaning.REDIRECT, Meaning.NOT_JSON}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that holds its slot and may be sent; `keys` name the secrets in it that a refusal would stop."""

    profile: Profile
    request: oauth.TokenRequest
    secrets: tuple[Secret, ...]
    keys: Mapping[Reason, str]
    spends: Secret | None = None  # the refresh token in it
    tries: int = 0  # how often that one was sent, this time included


class Exchange:
    """What every profile's exchange shares: the server side, the store, the budgets."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        store: Store,
        worker: Worker,
        gate: Gate,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._worker = worker
        self._gate = gate
        self._clock = clock
        self._environ = environ
        # Five hundred `pass` at once would help nobody; one that hangs must not keep the rest.
        self._reading = trio.CapacityLimiter(READERS)
        self._one_reader: defaultdict[SecretSource, trio.Lock] = defaultdict(trio.Lock)
        self.withhold: Collection[str] = frozenset()
        """Environment variables that hold secrets of some profile: no secret command inherits them."""

    async def prepare(
        self, profile: Profile, serial: int, turn: Turn, held: Held | None, tries: int
    ) -> Prepared | Event:
        """Get everything ready and wait for a slot; an Event says that there is nothing to be sent, and why.

        `held` is the token in hand; `tries` counts how often its refresh token is sent, this time included, or is 0.
        """
        spends = held.token.refresh_token if held is not None and tries > 0 else None
        if profile.grant is Grant.AUTHORIZATION_CODE and spends is None:
            return Refused(serial, Reason.NEEDS_LOGIN, _needs_login(profile))
        try:
            client_secret, password, token = await self._read_secrets(profile)
        except secret_sources.SecretUnavailable as error:
            return Refused(serial, Reason.SECRET_UNAVAILABLE, Problem(error.sentence, error.mend, Fault.MISCONFIGURED))
        if token is not None:
            return self._static(profile, serial, token)
        request = oauth.token_request(profile, client_secret=client_secret, password=password, refresh_token=spends)
        await self._gate.wait(processmaker.origin(profile), turn)
        # Only now: stretching the secrets of five hundred profiles at once would keep the worker from its real work.
        keys = await self._worker.do(_keys, profile, client_secret, password, self._store.salt)
        try:
            for reason, key in keys.items():
                if stop := await self._worker.do(self._store.stop, key):
                    return Refused(serial, reason, _stopped(profile, stop, reason))
        except StoreProblem as error:
            return Failed(serial, Problem(error.message, error.hint, Fault.MISCONFIGURED))
        secrets = tuple(each for each in (client_secret, password, spends) if each)
        return Prepared(profile, request, secrets, keys, spends, tries)

    async def send(self, prepared: Prepared, serial: int) -> Event:
        """Send it and understand the answer. The caller shields this: what is sent is answered or timed out."""
        try:
            if prepared.spends is not None:
                await self._worker.do(self._store.begin_spend, identity(prepared.profile), prepared.tries)
            else:
                await self._worker.do(self._store.begin_tries, list(prepared.keys.values()))
        except StoreProblem as error:
            # What cannot be committed is not sent: a crash in the middle must cost neither an account nor a login.
            return Failed(serial, Problem(error.message, error.hint, Fault.MISCONFIGURED))
        issued = self._clock.now()
        result = await self._ask(prepared.profile, prepared.request, prepared.secrets)
        if prepared.spends is not None:
            return await self._spent(prepared, prepared.spends, serial, result, issued)
        await self._end_tries(prepared, result)
        if isinstance(result, oauth.Token):
            # These grants ask anew, which disturbs nobody; a refresh token that is never used is only one more secret.
            return Issued(serial, Held(replace(result, refresh_token=None), issued))
        if isinstance(result, NotSent | Unknown):
            return Failed(serial, Problem(result.sentence, result.mend))
        return self._refusal(prepared.profile, serial, result)

    async def redeem(self, profile: Profile, code: oauth.Code) -> Held | Problem:
        """Exchange an authorization code for the first pair. It can be spent once: what fails is not tried again."""
        try:
            client_secret, _, _ = await self._read_secrets(profile)
        except secret_sources.SecretUnavailable as error:
            return Problem(error.sentence, error.mend, Fault.MISCONFIGURED)
        request = oauth.token_request(profile, client_secret=client_secret, code=code)
        await self._gate.wait(processmaker.origin(profile), Turn(Priority.LOGIN))
        issued = self._clock.now()
        known = tuple(each for each in (client_secret, code.code, code.verifier) if each)
        result = await self._ask(profile, request, known)
        if isinstance(result, oauth.Token):
            return Held(result, issued)
        return Problem(result.sentence, result.mend)

    async def probe(self, profile: Profile, held: Held, serial: int) -> Event:
        """Ask the server whether a token lives, with that very token."""
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
            return Probed(serial, at, _tells_this_token(answer, held), skew)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return Probed(serial, at, passed=False, skew=skew)
        if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            return Probed(serial, at, None, skew)
        return ProbeFailed(serial, Problem(f"the server answered {answer.status} when asked about the token"))

    async def _ask(
        self, profile: Profile, request: oauth.TokenRequest, secrets: tuple[Secret, ...]
    ) -> oauth.Token | oauth.Refusal | NotSent | Unknown:
        answer = await self._upstream.send(profile, request)
        if isinstance(answer, NotSent | Unknown):
            return answer
        self._learn(profile, answer)
        return oauth.read_answer(profile, request, answer, now=self._clock.now().wall, secrets=secrets)

    async def _spent(
        self,
        prepared: Prepared,
        refresh_token: Secret,
        serial: int,
        result: oauth.Token | oauth.Refusal | NotSent | Unknown,
        issued: Moment,
    ) -> Event:
        """Say what became of a refresh token that was sent. Nothing comes between a new pair and its save."""
        if isinstance(result, oauth.Token):
            kept = result if result.refresh_token is not None else replace(result, refresh_token=refresh_token)
            return Issued(serial, Held(kept, issued))
        unknown = isinstance(result, Unknown) or (isinstance(result, oauth.Refusal) and result.ended is Ended.UNKNOWN)
        if unknown:
            return Lost(serial, Problem(result.sentence, result.mend))
        row = identity(prepared.profile)
        try:
            if isinstance(result, oauth.Refusal) and result.meaning is Meaning.DEAD_REFRESH_TOKEN:
                await self._worker.do(self._store.drop_refresh_token, row)
            else:
                await self._worker.do(self._store.end_spend, row, prepared.tries - 1)
            if isinstance(result, oauth.Refusal) and result.meaning is Meaning.BAD_CLIENT:
                await self._end_tries(prepared, result)
        except StoreProblem as error:
            log.warning("%s", error.message)  # a doubt too many on disk costs a probe after a crash, no more
        if isinstance(result, oauth.Refusal):
            return self._refusal(prepared.profile, serial, result)
        return Failed(serial, Problem(result.sentence, result.mend))

    async def forgive(self, profile: Profile) -> None:
        """Let the profile's secrets be tried again: a person said so.

        Raises:
            StoreProblem: it cannot be recorded.
            SecretUnavailable: a secret cannot be read.
        """
        client_secret, password, token = await self._read_secrets(profile)
        if token is None:
            keys = await self._worker.do(_keys, profile, client_secret, password, self._store.salt)
            await self._worker.do(self._store.end_tries, dict.fromkeys(keys.values()))

    async def _read_secrets(self, profile: Profile) -> tuple[Secret | None, Secret | None, Secret | None]:
        sources = (profile.client_secret, profile.password, profile.token)
        client_secret, password, token = [None if source is None else await self._read(source) for source in sources]
        return client_secret, password, token

    async def _read(self, source: SecretSource) -> Secret:
        if not isinstance(source, CommandSecret):
            return await secret_sources.read(source, environ=self._environ)
        # One at a time: two prompts for one passphrase would confuse the person before them.
        async with self._one_reader[source], self._reading:
            return await secret_sources.read(source, environ=self._environ, withhold=self.withhold)

    def _static(self, profile: Profile, serial: int, secret: Secret) -> Event:
        now = self._clock.now()
        token = oauth.static_token(profile, secret, now=now.wall)
        if isinstance(token, oauth.Refusal):
            return Refused(serial, Reason.CONFIG, Problem(token.sentence, token.mend, Fault.MISCONFIGURED))
        if token.exp is not None and token.exp <= now.wall:
            ended = time.strftime("%Y-%m-%d", time.localtime(token.exp))
            problem = Problem(
                f"the personal access token expired on {ended}, and such a token cannot be renewed",
                f"make a new one in ProcessMaker, put it where the profile reads it, then: pmcred login {profile.name}",
            )
            return Refused(serial, Reason.NEEDS_LOGIN, problem)
        return Issued(serial, Held(token, now))

    def _learn(self, profile: Profile, answer: oauth.Answer) -> None:
        if (left := oauth.rate_remaining(answer)) is not None:
            self._gate.told_left(processmaker.origin(profile), left)

    async def _end_tries(self, prepared: Prepared, result: oauth.Token | oauth.Refusal | NotSent | Unknown) -> None:
        refused = _STOPS.get(result.meaning) if isinstance(result, oauth.Refusal) else None
        ended = {
            key: Stop(reason, result.sentence) if reason is refused and isinstance(result, oauth.Refusal) else None
            for reason, key in prepared.keys.items()
        }
        try:
            await self._worker.do(self._store.end_tries, ended)
        except StoreProblem as error:
            # It stays "trying" on disk, which counts as a try: too careful is the right side to err on.
            log.warning("%s", error.message)

    def _refusal(self, profile: Profile, serial: int, refusal: oauth.Refusal) -> Event:
        if (reason := _STOPS.get(refusal.meaning)) is not None:
            return Refused(serial, reason, Problem(refusal.sentence, refusal.mend, Fault.MISCONFIGURED))
        if refusal.meaning is Meaning.THROTTLED:
            pause = PAUSE_AFTER_429 if refusal.retry_after is None else refusal.retry_after
            self._gate.pause(processmaker.origin(profile), pause)
        fault = Fault.MISCONFIGURED if refusal.meaning in _MISCONFIGURED else Fault.UNREACHABLE
        return Failed(serial, Problem(refusal.sentence, refusal.mend, fault), refusal.retry_after)


def _keys(profile: Profile, client_secret: Secret | None, password: Secret | None, salt: bytes) -> Mapping[Reason, str]:
    """Name the secrets of a request so that profiles which share one share its stop, without telling it."""
    endpoint = processmaker.token_url(profile)
    keys = {}
    if client_secret is not None:
        # The grant belongs to it: a client that lacks one grant's box is refused in the same words as a wrong secret.
        keys[Reason.BAD_CLIENT] = _key(salt, client_secret, endpoint, profile.client_id or "", profile.grant)
    if password is not None:
        keys[Reason.BAD_CREDENTIALS] = _key(salt, password, endpoint, profile.client_id or "", profile.username or "")
    return keys


def _key(salt: bytes, secret: Secret, *parts: str) -> str:
    # scrypt, since a password that people choose must not be guessed from the store.
    stretched = hashlib.scrypt(secret.reveal().encode(), salt=salt, n=STRETCH, r=8, p=1, dklen=32)
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + stretched).hexdigest()


def _stopped(profile: Profile, stop: Stop, reason: Reason) -> Problem:
    what = "password" if reason is Reason.BAD_CREDENTIALS else "client secret"
    return Problem(
        stop.sentence,
        f"correct the {what} (pmcred profile edit {profile.name}), or to try this one once more: "
        f"pmcred login {profile.name}",
        Fault.MISCONFIGURED,
    )


def _needs_login(profile: Profile) -> Problem:
    return Problem("nobody is logged in, or the login has ended", f"pmcred login {profile.name}", Fault.MISCONFIGURED)


def _tells_this_token(answer: oauth.Answer, held: Held) -> bool | None:
    """Whether the server's row is this token's and says that it lives; None if it is something else (a login page)."""
    try:
        row = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.get("id") != held.token.jti:
        return None
    return not row.get("revoked")
