"""One exchange with a token endpoint, from reading the secrets to an event for the lifecycle.

In two halves, because only the first may be cancelled: `prepare` reads the secrets, waits for a slot, and looks whether
they may be tried at all; `send` commits the try, sends it and understands the answer. Whoever leaves in between has
spent nothing on the server.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import trio

from pmcredd import oauth, processmaker, secret_sources
from pmcredd.clock import Clock
from pmcredd.gate import Gate, Turn
from pmcredd.life import Event, Failed, Fault, Issued, Problem, Reason, Refused
from pmcredd.oauth import Meaning
from pmcredd.profiles import CommandSecret, Grant, Profile, SecretSource
from pmcredd.secret import Secret
from pmcredd.store import Stop, Store, StoreProblem
from pmcredd.upstream import NotSent, Unknown, Upstream
from pmcredd.validity import Held
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

    async def prepare(self, profile: Profile, serial: int, turn: Turn) -> Prepared | Event:
        """Get everything ready and wait for a slot; an Event says that there is nothing to be sent, and why."""
        if profile.grant is Grant.AUTHORIZATION_CODE:
            return Refused(serial, Reason.NEEDS_LOGIN, _no_login(profile))
        try:
            client_secret, password, token = await self._read_secrets(profile)
        except secret_sources.SecretUnavailable as error:
            return Refused(serial, Reason.SECRET_UNAVAILABLE, Problem(error.sentence, error.mend, Fault.MISCONFIGURED))
        if token is not None:
            return self._static(profile, serial, token)
        request = oauth.token_request(profile, client_secret=client_secret, password=password)
        await self._gate.wait(processmaker.origin(profile), turn)
        # Only now: stretching the secrets of five hundred profiles at once would keep the worker from its real work.
        keys = await self._worker.do(_keys, profile, client_secret, password, self._store.salt)
        try:
            for reason, key in keys.items():
                if stop := await self._worker.do(self._store.stop, key):
                    return Refused(serial, reason, _stopped(profile, stop, reason))
        except StoreProblem as error:
            return Failed(serial, Problem(error.message, error.hint, Fault.MISCONFIGURED))
        return Prepared(profile, request, tuple(each for each in (client_secret, password) if each), keys)

    async def send(self, prepared: Prepared, serial: int) -> Event:
        """Send it and understand the answer. The caller shields this: what is sent is answered or timed out."""
        try:
            for key in prepared.keys.values():
                await self._worker.do(self._store.begin_try, key)
        except StoreProblem as error:
            # The try cannot be committed, so it is not made: a crash in the middle must not cost an account.
            return Failed(serial, Problem(error.message, error.hint, Fault.MISCONFIGURED))
        issued = self._clock.now()
        answer = await self._upstream.send(prepared.profile, prepared.request)
        result: oauth.Token | oauth.Refusal | NotSent | Unknown
        if isinstance(answer, NotSent | Unknown):
            result = answer
        else:
            self._learn(prepared.profile, answer)
            wall = self._clock.now().wall
            result = oauth.read_answer(prepared.profile, prepared.request, answer, now=wall, secrets=prepared.secrets)
        await self._end_tries(prepared, result)
        if isinstance(result, oauth.Token):
            # These grants ask anew, which disturbs nobody; a refresh token that is never used is only one more secret.
            return Issued(serial, Held(replace(result, refresh_token=None), issued))
        if isinstance(result, NotSent | Unknown):
            return Failed(serial, Problem(result.sentence, result.mend))
        return self._refusal(prepared.profile, serial, result)

    async def forgive(self, profile: Profile) -> None:
        """Let the profile's secrets be tried again: a person said so.

        Raises:
            StoreProblem: it cannot be recorded.
            SecretUnavailable: a secret cannot be read.
        """
        client_secret, password, token = await self._read_secrets(profile)
        if token is None:
            for key in (await self._worker.do(_keys, profile, client_secret, password, self._store.salt)).values():
                await self._worker.do(self._store.end_try, key, None)

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
        for reason, key in prepared.keys.items():
            stop = Stop(reason, result.sentence) if reason is refused and isinstance(result, oauth.Refusal) else None
            try:
                await self._worker.do(self._store.end_try, key, stop)
            except StoreProblem:
                # It stays "trying" on disk, which counts as a try: too careful is the right side to err on.
                continue

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


def _no_login(profile: Profile) -> Problem:
    return Problem(
        f'{profile.name} uses grant = "authorization_code", and this version of pmcredd has no browser login yet',
        'use grant = "password" or "personal_access_token"',
        Fault.MISCONFIGURED,
    )
