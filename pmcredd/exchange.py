"""One exchange with a token endpoint, from reading the secrets to an event for the lifecycle.

In this order: secrets read; nothing refused before; a slot in the origin's budget; the try committed to disk; sent; the
answer understood; the event done with, its save included. Only up to the commit may it be cancelled: whoever leaves
before has spent nothing, and what was sent is answered or timed out, and kept.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVarTuple

import trio

from pmcredd import oauth, processmaker, telling
from pmcredd.attempts import Attempts, Keys
from pmcredd.attempts import Refusal as Stopped
from pmcredd.bearer import Bearer, Stranger
from pmcredd.clock import Clock
from pmcredd.explain import where
from pmcredd.gate import Gate, Priority, Turn
from pmcredd.life import Event, Failed, Fault, Issued, Lost, Probed, Problem, Reason, Refused, User
from pmcredd.oauth import Ended, Meaning
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.secret_reader import SecretReader
from pmcredd.secret_sources import SecretUnavailable
from pmcredd.store import Store, StoreProblem, identity
from pmcredd.telling import log
from pmcredd.upstream import NotSent, Unknown, Upstream
from pmcredd.validity import Held, Moment
from pmcredd.worker import Worker

PAUSE_AFTER_429 = 60.0  # seconds, where the server names none: its window
SHORT_PAUSE = 2.0  # seconds that a request waits for its turn rather than fail

_STOPS = {
    Meaning.BAD_USER: Reason.BAD_CREDENTIALS,
    Meaning.BAD_CLIENT: Reason.BAD_CLIENT,
    Meaning.GRANT_NOT_ALLOWED: Reason.CONFIG,
    Meaning.BAD_SCOPE: Reason.CONFIG,
    Meaning.BAD_REQUEST: Reason.CONFIG,
    Meaning.DEAD_REFRESH_TOKEN: Reason.NEEDS_LOGIN,
    Meaning.BAD_CODE: Reason.NEEDS_LOGIN,
}
# The first pass by themselves often enough (a deployment, a maintenance redirect) to go on trying, but a person who
# waits is told to look at the profile.
_FAULTS = {
    Meaning.WRONG_URL: Fault.MISCONFIGURED,
    Meaning.REDIRECT: Fault.MISCONFIGURED,
    Meaning.NOT_JSON: Fault.MISCONFIGURED,
    Meaning.THROTTLED: Fault.WAITING,
    Meaning.MAINTENANCE: Fault.WAITING,
}

Ts = TypeVarTuple("Ts")
Result = oauth.Token | oauth.Refusal | NotSent | Unknown
Done = Callable[[Event, float | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be asked for: a profile's next token.

    `held` is the token in hand, `user` whose it is; `dead` if its server refused it. `tries` counts how often its
    refresh token is sent, this time included; 0 asks anew.
    """

    profile: Profile
    serial: int
    held: Held | None = None
    tries: int = 0
    user: User | None = None
    dead: bool = False

    @property
    def spends(self) -> Secret | None:
        """Give the refresh token that is to be spent."""
        return self.held.token.refresh_token if self.held is not None and self.tries > 0 else None


@dataclass(frozen=True, slots=True)
class _Prepared:
    order: Order
    request: oauth.TokenRequest
    secrets: tuple[Secret, ...]
    keys: Keys


class Exchange:
    """What every profile's exchange shares: the server side, the store, the budgets."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        bearer: Bearer,
        store: Store,
        worker: Worker,
        reader: SecretReader,
        attempts: Attempts,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._bearer = bearer
        self._store = store
        self._worker = worker
        self._reader = reader
        self._attempts = attempts
        self._gate = gate
        self._clock = clock

    async def run(self, order: Order, turn: Turn, *, wanted: Callable[[], bool], done: Done) -> bool:
        """Carry out an order, and hand the event that comes of it to `done`.

        Args:
            order: what is to be asked for.
            turn: its place in the queue.
            wanted: whether the order still stands, asked before anything is sent.
            done: takes the event, and the boot time at which the server's answer was there; it is not cancelled with
                us.

        Returns:
            False if the order did not stand any more: nothing was sent, and nothing was said.
        """
        prepared = await self._prepare(order, turn)
        if not isinstance(prepared, _Prepared):
            if wanted():
                await _shielded(done, prepared)
            return wanted()
        # A refresh sends no password, and is counted by its intent: it need not wait for others with its client secret.
        async with self._attempts.one_at_a_time({} if order.spends is not None else prepared.keys):
            if not wanted():
                return False
            if (refused := await self._refused(prepared.order, prepared.keys)) is not None:
                await _shielded(done, refused)
                return True
            with trio.CancelScope(shield=True):
                await done(*await self._send(prepared))
        return True

    async def _prepare(self, order: Order, turn: Turn) -> _Prepared | Event:
        profile, serial = order.profile, order.serial
        if profile.grant is Grant.AUTHORIZATION_CODE and order.spends is None:
            return Refused(serial, Reason.NEEDS_LOGIN, _needs_login(profile))
        try:
            secrets = await self._reader.read(profile)
        except SecretUnavailable as error:
            # A `get` within the minute hears this again; only a login tries at once.
            mend = f"{error.mend}; then: pmcred login {profile.name}"
            return Refused(serial, Reason.SECRET_UNAVAILABLE, Problem(error.sentence, mend, Fault.MISCONFIGURED))
        if secrets.token is not None:
            return await self._static(order, secrets.token)
        keys = await self._attempts.keys(profile, secrets)
        # Before the queue: a refused secret needs no slot, and who waits for it hears at once.
        if (refused := await self._refused(order, keys)) is not None:
            return refused
        origin = processmaker.origin(profile)
        if self._gate.paused(origin) > SHORT_PAUSE:
            return self._paused(order)
        request = oauth.token_request(
            profile, client_secret=secrets.client_secret, password=secrets.password, refresh_token=order.spends
        )
        if not await self._gate.wait(origin, turn):
            return self._paused(order)
        known = tuple(each for each in (secrets.client_secret, secrets.password, order.spends) if each)
        return _Prepared(order, request, known, keys)

    def _paused(self, order: Order) -> Event:
        pause = self._gate.paused(processmaker.origin(order.profile))
        return Failed(order.serial, Problem(_pause(order.profile, pause), "", Fault.WAITING), pause)

    async def _refused(self, order: Order, keys: Keys) -> Event | None:
        try:
            stopped = await self._attempts.refused(keys)
        except StoreProblem as error:
            return Failed(order.serial, Problem(error.message, error.hint, Fault.MISCONFIGURED))
        if stopped is None:
            return None
        return Refused(order.serial, stopped.reason, _stopped(order.profile, stopped))

    async def _send(self, prepared: _Prepared) -> tuple[Event, float | None]:
        """Commit the try and send; gives what came of it, and the boot time of the answer, if anything was sent."""
        order = prepared.order
        try:
            if order.spends is not None:
                await self._worker.do(self._store.begin_spend, identity(order.profile), order.serial, order.tries)
            else:
                await self._attempts.begin(prepared.keys)
        except StoreProblem as error:
            # What cannot be committed is not sent: a crash in the middle must cost neither an account nor a login.
            return Failed(order.serial, Problem(error.message, error.hint, Fault.MISCONFIGURED)), None
        issued = self._clock.now()
        result, answered = await self._ask(order.profile, prepared.request, prepared.secrets)
        if order.spends is not None:
            return await self._spent(prepared, order.spends, result, issued), answered
        return await self._asked_anew(prepared, result, issued), answered

    async def _asked_anew(self, prepared: _Prepared, result: Result, issued: Moment) -> Event:
        """Say what became of a request that spent nothing."""
        order = prepared.order
        if isinstance(result, oauth.Token):
            await self._attempts.passed(prepared.keys)
            # These grants ask anew, which disturbs nobody; a refresh token that is never used is only one more secret.
            return await self._arrived(order, Held(replace(result, refresh_token=None), issued))
        await self._attempts.end(prepared.keys, _stop_of(result))
        if isinstance(result, NotSent | Unknown):
            return Failed(order.serial, Problem(result.sentence, result.mend))
        return self._refusal(order, result)

    async def redeem(self, profile: Profile, code: oauth.Code) -> Held | Problem:
        """Exchange an authorization code for the first pair. It can be spent once: what fails is not tried again."""
        try:
            secrets = await self._reader.read(profile)
        except SecretUnavailable as error:
            return Problem(error.sentence, error.mend, Fault.MISCONFIGURED)
        request = oauth.token_request(profile, client_secret=secrets.client_secret, code=code)
        origin = processmaker.origin(profile)
        if self._gate.paused(origin) > SHORT_PAUSE or not await self._gate.wait(origin, Turn(Priority.LOGIN)):
            pause = self._gate.paused(origin)
            return Problem(_pause(profile, pause), f"wait that long, then: pmcred login {profile.name}", Fault.WAITING)
        issued = self._clock.now()
        known = tuple(each for each in (secrets.client_secret, code.code, code.verifier) if each)
        result, _ = await self._ask(profile, request, known)
        if isinstance(result, oauth.Token):
            return Held(result, issued)
        return Problem(result.sentence, result.mend)

    async def personal(self, profile: Profile) -> Held | None:
        """Read a profile's personal access token where it is kept; None if it cannot be read, or is none."""
        try:
            secret = (await self._reader.read(profile)).token
        except SecretUnavailable:
            return None
        now = self._clock.now()
        token = None if secret is None else oauth.static_token(profile, secret, now=now.wall)
        return Held(token, now) if isinstance(token, oauth.Token) else None

    async def forgive(self, profile: Profile) -> None:
        """Let the profile's secrets be tried again: a person said so.

        Raises:
            StoreProblem: it cannot be recorded.
            SecretUnavailable: a secret cannot be read.
        """
        secrets = await self._reader.read(profile)
        if secrets.token is None:
            await self._attempts.forgive(await self._attempts.keys(profile, secrets))

    async def _ask(
        self, profile: Profile, request: oauth.TokenRequest, secrets: tuple[Secret, ...]
    ) -> tuple[Result, float]:
        answer = await self._upstream.send(profile, request)
        now = self._clock.now()  # before anything else: from here to the save a new pair is at stake
        if isinstance(answer, NotSent | Unknown):
            return answer, now.boot
        self._learn(profile, answer)
        return oauth.read_answer(profile, request, answer, now=now.wall, secrets=secrets), now.boot

    async def _spent(self, prepared: _Prepared, refresh_token: Secret, result: Result, issued: Moment) -> Event:
        """Say what became of a refresh token that was sent. Nothing comes between a new pair and its save."""
        order = prepared.order
        if isinstance(result, oauth.Token):
            kept = result if result.refresh_token is not None else replace(result, refresh_token=refresh_token)
            return await self._refreshed(order, Held(kept, issued))
        if isinstance(result, Unknown) or (isinstance(result, oauth.Refusal) and result.ended is Ended.UNKNOWN):
            return Lost(order.serial, Problem(result.sentence, result.mend))
        if isinstance(result, oauth.Refusal) and result.meaning is Meaning.DEAD_REFRESH_TOKEN:
            await self._record(self._store.drop_refresh_token, identity(order.profile), order.serial)
        else:
            await self._record(self._store.end_spend, identity(order.profile), order.serial, order.tries - 1)
        await self._attempts.end(prepared.keys, _stop_of(result))
        if isinstance(result, oauth.Refusal):
            return self._refusal(order, result)
        return Failed(order.serial, Problem(result.sentence, result.mend))

    async def _refreshed(self, order: Order, held: Held) -> Event:
        before = order.held.token.sub if order.held is not None else None
        if order.profile.expect_user is None or (before and held.token.sub == before):
            return Issued(order.serial, held)
        # A refresh gives the next token of the same user. One that does not is looked at like that of a login.
        event = await self._arrived(order, held)
        if isinstance(event, Issued):
            return event
        await self._record(self._store.drop_refresh_token, identity(order.profile), order.serial)
        return Refused(order.serial, Reason.NEEDS_LOGIN, event.problem, spent=True)

    async def _record(self, write: Callable[[*Ts], None], *values: *Ts) -> None:
        try:
            await self._worker.do(write, *values)
        except StoreProblem as error:
            log.warning("%s", error.message)  # a doubt too many on disk costs a probe after a crash, no more

    async def _arrived(self, order: Order, held: Held) -> Issued | Failed | Refused:
        """Look at whose token it is before anything is saved; one of the wrong user is revoked, where that can be."""
        found = await self._bearer.check(order.profile, held.token, order.user)
        if not isinstance(found, Stranger):
            return Issued(order.serial, held, found)
        if order.profile.grant is not Grant.PERSONAL_ACCESS_TOKEN:
            await self._bearer.revoke(order.profile, held)
        if found.unknown:
            return Failed(order.serial, found.problem)
        return Refused(order.serial, Reason.CONFIG, found.problem)

    async def _static(self, order: Order, secret: Secret) -> Event:
        profile, serial, now = order.profile, order.serial, self._clock.now()
        token = oauth.static_token(profile, secret, now=now.wall)
        if isinstance(token, oauth.Refusal):
            return Refused(serial, Reason.CONFIG, Problem(token.sentence, token.mend, Fault.MISCONFIGURED))
        if token.exp is not None and token.exp <= now.wall:
            ended = time.strftime("%Y-%m-%d", time.localtime(token.exp))
            problem = Problem(
                f"the personal access token expired on {ended}, and such a token cannot be renewed",
                telling.personal_mend(profile),
            )
            return Refused(serial, Reason.NEEDS_LOGIN, problem)
        held = Held(token, now)
        if order.dead and order.held is not None and order.held.token.access_token == secret:
            again = await self._bearer.probe(profile, held, serial)  # a gateway that was ill may be well again
            if not (isinstance(again, Probed) and again.passed):
                problem = Problem(
                    f"{profile.url} refuses the personal access token, and such a token cannot be renewed",
                    telling.personal_mend(profile),
                )
                return Refused(serial, Reason.NEEDS_LOGIN, problem)
        return await self._arrived(order, held)

    def _learn(self, profile: Profile, answer: oauth.Answer) -> None:
        if (left := oauth.rate_remaining(answer)) is not None:
            self._gate.told_left(processmaker.origin(profile), left)

    def _refusal(self, order: Order, refusal: oauth.Refusal) -> Event:
        if (reason := _STOPS.get(refusal.meaning)) is not None:
            return Refused(order.serial, reason, Problem(refusal.sentence, refusal.mend, Fault.MISCONFIGURED))
        if refusal.meaning is Meaning.THROTTLED:
            pause = PAUSE_AFTER_429 if refusal.retry_after is None else refusal.retry_after
            self._gate.pause(processmaker.origin(order.profile), pause)
        fault = _FAULTS.get(refusal.meaning, Fault.UNREACHABLE)
        return Failed(order.serial, Problem(refusal.sentence, refusal.mend, fault), refusal.retry_after)


async def _shielded(done: Done, event: Event) -> None:
    with trio.CancelScope(shield=True):
        await done(event, None)


def _stop_of(result: Result) -> Stopped | None:
    if not isinstance(result, oauth.Refusal) or (reason := _STOPS.get(result.meaning)) is None:
        return None
    return Stopped(reason, result.sentence)


def _stopped(profile: Profile, stopped: Stopped) -> Problem:
    what, source = (
        ("password", profile.password)
        if stopped.reason is Reason.BAD_CREDENTIALS
        else ("client secret", profile.client_secret)
    )
    return Problem(
        stopped.sentence,
        f"correct the {what}{where(source)} (pmcred profile edit {profile.name}), or to try this one once more: "
        f"pmcred login {profile.name}",
        Fault.MISCONFIGURED,
    )


def _pause(profile: Profile, seconds: float) -> str:
    return f"{profile.url} asked for a pause: nothing is sent to it for {seconds:.0f} s"


def _needs_login(profile: Profile) -> Problem:
    return Problem("nobody is logged in, or the login has ended", f"pmcred login {profile.name}", Fault.MISCONFIGURED)
