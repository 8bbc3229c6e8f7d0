"""Logging a profile in and out: what a person does to a credential.

One of them at a time for a profile, so that what is on disk and what is in memory change together; and it is on disk
before it is told.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import trio

from pmcredd import oauth, telling, transition, validity
from pmcredd.bearer import Bearer, Stranger
from pmcredd.clock import Clock
from pmcredd.driver import Driver
from pmcredd.exchange import Exchange
from pmcredd.gate import Priority
from pmcredd.human_time import clock_time
from pmcredd.life import Fault, Life, LoggedIn, Problem, Reason, Renewal, Retry, User
from pmcredd.life import LoggedOut as Out
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant, Profile
from pmcredd.row import Row
from pmcredd.rows import Rows
from pmcredd.secret_sources import SecretUnavailable
from pmcredd.store import Store, StoreProblem, identity
from pmcredd.telling import Failure, HandOut, LoggedOut, Revoked, log
from pmcredd.validity import Held, Moment
from pmcredd.wire import Code
from pmcredd.worker import Worker

NAME_WITHIN = 10.0  # seconds that a login waits for the name of its user, where only people want to know it

T = TypeVar("T")
Admit = Callable[[User, User | None], Awaitable[bool]]


class Accounts:
    """Who is logged in.

    Args:
        rows: the profiles.
        store: where it is made to last; only ever used through `worker`.
        exchange: asks servers for tokens.
        bearer: asks servers about tokens.
        driver: carries out what the lifecycle decides.
        clock: time.
    """

    def __init__(
        self,
        *,
        rows: Rows,
        store: Store,
        worker: Worker,
        exchange: Exchange,
        bearer: Bearer,
        driver: Driver,
        clock: Clock,
    ) -> None:
        self._rows = rows
        self._store = store
        self._worker = worker
        self._exchange = exchange
        self._bearer = bearer
        self._driver = driver
        self._clock = clock

    # --- in -----------------------------------------------------------------------------------------------------------

    async def login(self, target: str, timeout: float) -> HandOut:
        """Try once now, whatever stopped it: a person says that it may be tried.

        Raises:
            Failure: it did not work, and why.
        """
        row = self._rows.resolve(target)
        with trio.move_on_after(timeout):
            if row.life.reason is Reason.LOGGED_OUT and row.profile.grant is Grant.AUTHORIZATION_CODE:
                raise self._failure(row, timeout)  # that takes a browser
            try:
                await self._exchange.forgive(row.profile)
            except StoreProblem as error:
                raise Failure(Code.INTERNAL, error.message, error.hint) from None
            except SecretUnavailable as error:
                raise Failure(Code.MISCONFIGURED, f"{row.profile.name}: {error.sentence}", error.mend) from None
            before = await _whole(self._try_again(row))
            while row.life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL}:
                await self._driver.changed(row)
                self._rows.check(row)
            if row.life.renewal is Renewal.IDLE and row.life.held is not None and row.life.held is not before:
                return row.hand_out(row.life.held, self._clock.now())
        raise self._failure(row, timeout)

    async def _try_again(self, row: Row) -> Held | None:
        """End a logout, and try; gives the token in hand."""
        async with _alone(row):
            self._rows.check(row)
            if row.life.reason is Reason.LOGGED_OUT:
                try:
                    await self._worker.do(self._store.log_in, identity(row.profile))
                except StoreProblem as error:
                    raise Failure(Code.INTERNAL, error.message, error.hint) from None
            row.forgotten = False
            before = row.life.held
            self._driver.urge(row, Priority.LOGIN)
            self._driver.happen(row, Retry())
        return before

    def _failure(self, row: Row, timeout: float) -> Failure:
        name = row.profile.name
        return telling.failure(row.profile, row.life, f"no token for {name} within {timeout:g} s", Code.WAITING)

    async def login_with_code(self, target: str, code: oauth.Code, admit: Admit | None) -> HandOut:
        """Finish a login: exchange an authorization code for the first pair. The old pair serves until that is saved.

        Args:
            target: a profile's name or URL.
            code: the authorization code.
            admit: is asked whether another user than last time (the second) may be logged in; without it, none may.

        Raises:
            Failure: it did not work, and why; nothing has changed.
        """
        row = self._rows.resolve(target)
        # Who leaves now must not leave a code that is spent and a pair that nobody knows of.
        result = await _whole(self._exchange.redeem(row.profile, code))
        if isinstance(result, Problem):
            code_of = Code.WAITING if result.fault is Fault.WAITING else Code.NEEDS_LOGIN
            raise Failure(code_of, f"{row.profile.name}: {result.sentence}", result.mend)
        try:
            user = await self._admitted(row, result, admit)
            await _whole(self._take(row, LoggedIn(result, user)))
        except Failure as failure:
            why = await _whole(self._driver.revoke(row.profile, result))
            end = "its token is revoked again" if why is None else f"its token lives on there: {why}"
            raise Failure(failure.code, f"{failure.message}; nothing was saved, and {end}", failure.hint) from None
        except BaseException:
            self._driver.discard(row, result)
            raise
        return row.hand_out(result, self._clock.now())

    async def _take(self, row: Row, event: LoggedIn) -> None:
        async with _alone(row):
            self._rows.check(row)
            row.forgotten = False
            await self._driver.complete(row, event)

    async def _admitted(self, row: Row, held: Held, admit: Admit | None) -> User | None:
        """Give whose a new token is, if it may be. Whoever waits may leave while a person is asked, and only then.

        Raises:
            Failure: it may not.
        """
        profile, before = row.profile, row.life.user
        user = await _whole(self._whose(profile, held, before))
        if user is None or before is None or before.id == user.id or profile.expect_user is not None:
            return user
        if admit is not None and await admit(user, before):
            return user
        raise Failure(
            Code.NEEDS_LOGIN,
            f"{profile.name}: this login is of {telling.whose(user)}, the one before was of {telling.whose(before)}",
            f"log out of {profile.url} in the browser and log in again, or if it is right: "
            f"pmcred login {profile.name} --as-new-user",
        )

    async def _whose(self, profile: Profile, held: Held, before: User | None) -> User | None:
        """Give whose a new token is, as far as the server tells; expect_user is obeyed."""
        found = await self._bearer.check(profile, held.token, before)
        if isinstance(found, Stranger):
            raise Failure(Code.NEEDS_LOGIN, f"{profile.name}: {found.problem.sentence}", found.problem.mend)
        if found is None:
            with trio.move_on_after(NAME_WITHIN):
                found = await self._bearer.user(profile, held.token)
        return found if found is not None or not held.token.sub else User(held.token.sub)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def logout(self, target: str, *, revoke_personal: bool = False) -> LoggedOut:
        """Forget a profile's tokens, and have the server revoke the access token. It lasts until a login.

        Args:
            target: a profile's name or URL.
            revoke_personal: revoke a personal access token, too.

        Raises:
            Failure: there is no such profile, or the disk refuses; then nothing has changed.
        """
        row = self._rows.resolve(target)
        return await _whole(self._leave(row, revoke_personal=revoke_personal))

    async def forget(self, target: str) -> LoggedOut:
        """Log out, and delete everything about a profile, that of its former identities too: it is to be removed.

        A profile that is not in the configuration any more is found by its name.

        Raises:
            Failure: nothing is known of such a profile, or the disk refuses.
        """
        return await _whole(self._forget(target))

    async def _leave(self, row: Row, *, revoke_personal: bool) -> LoggedOut:
        before = await self._log_out(row, forget=False)
        if before.held is None and revoke_personal and row.profile.grant is Grant.PERSONAL_ACCESS_TOKEN:
            before = replace(before, held=await self._exchange.personal(row.profile))
        return await self._end(row, before, revoke_personal=revoke_personal)

    async def _forget(self, target: str) -> LoggedOut:
        try:
            row = self._rows.resolve(target)
        except Failure as failure:
            parked = self._rows.parked(target)
            if failure.code is not Code.NO_SUCH_PROFILE or not (await self._delete(target) or parked):
                raise
            self._drop(parked)
            return LoggedOut(target, Revoked.NOTHING, "what was still known of it is deleted")
        before = await self._log_out(row, forget=True)
        return await self._end(row, before, revoke_personal=False)

    async def _log_out(self, row: Row, *, forget: bool) -> Life:
        """Make it last, then let it happen; gives the life before."""
        async with _alone(row):
            self._rows.check(row)
            name, rows = row.profile.name, [row, *self._rows.parked(row.profile.name)]
            serials = {identity(each.profile): each.life.serial + 1 for each in rows}
            try:
                await self._worker.do(self._store.log_out, name, serials)
            except StoreProblem as error:
                message = f"{name} is not logged out, nothing has changed: {error.message}"
                raise Failure(Code.INTERNAL, message, error.hint) from None
            before = row.life
            self._driver.happen(row, Out(telling.logged_out(row.profile)))
            self._drop(rows[1:])
            if forget:
                await self._delete(name)
        return before

    async def _delete(self, name: str) -> bool:
        """Delete what the disk has of a name; gives whether there was anything."""
        try:
            found = await self._worker.do(self._store.forget, name)
        except StoreProblem as error:
            # What is left says no more than whose it was: the tokens are gone.
            log.warning("%s: what is known of it cannot be deleted: %s", name, error.message)
            found = True
        self._rows.forget(name)
        return found

    def _drop(self, parked: list[Row]) -> None:
        """Drop the tokens of rows that no profile matches any more."""
        for row in parked:
            for held in self._living(row.life):
                self._driver.discard(row, held)
            self._driver.happen(row, Out(telling.logged_out(row.profile)))

    def _living(self, life: Life) -> list[Held]:
        """Give the access tokens that live as far as is known: one, unless a quiet renewal is just being saved."""
        held = transition.living(life, self._clock.now())
        if life.pending is None:
            return [] if held is None else [held]
        return [life.pending] if held is None or transition.kills(life) else [life.pending, held]

    async def _end(self, row: Row, before: Life, *, revoke_personal: bool) -> LoggedOut:
        """Have the tokens of an ended life revoked, and tell what became of them."""
        profile, living = row.profile, self._living(before)
        left = _left_behind(before)

        def told(revoked: Revoked, *said: str) -> LoggedOut:
            return LoggedOut(profile.name, revoked, "; ".join(said))

        if not living:
            there = "there was no access token" if before.held is None else "its access token had ended already"
            return told(Revoked.NOTHING, there, *left)
        if profile.grant is Grant.PERSONAL_ACCESS_TOKEN and not revoke_personal:
            return told(Revoked.KEPT, _personal_kept(profile))
        whys = [await self._driver.revoke(profile, each, proved=before.proved) for each in living]
        why = next((each for each in whys if each is not None), None)
        if why is None:
            return told(Revoked.REVOKED, "its access token is revoked on the server", *left)
        return told(Revoked.NOT_REVOKED, _lives_on(living[0], why, self._clock.now()), *left)


async def _whole(doing: Awaitable[T]) -> T:
    """Carry through what is worse done by half than not at all; who asked for it may leave, and gets no answer."""
    done: list[T] = []
    with trio.CancelScope(shield=True):
        done.append(await doing)
    return done[0]


def _alone(row: Row) -> trio.Lock:
    if row.one_login is None:
        row.one_login = trio.Lock()
    return row.one_login


def _personal_kept(profile: Profile) -> str:
    """Say that a logout has left a personal access token as it is."""
    return (
        "the personal access token is left as it is on the server, and is not read again before a login; "
        f"to end it there, too: pmcred logout {profile.name} --revoke"
    )


def _lives_on(held: Held, why: str, now: Moment) -> str:
    """Say that an access token could not be revoked, and until when it lives."""
    end = validity.expires_at(held)
    until = "" if end is None else f" until {clock_time(end, now.wall)}"
    return f"its access token could not be revoked and lives on the server{until}: {why}"


def _left_behind(before: Life) -> tuple[str, ...]:
    """Say what a logout leaves on the server beside the access token: what no route of ProcessMaker ends."""
    said = []
    pairs = [held for held in (before.pending, before.held) if held is not None]
    if any(held.token.refresh_token is not None for held in pairs):
        said.append("its refresh token is forgotten here, but nothing ends it on the server before its time")
    if before.held is not None and before.past and before.terms.rule in {Rule.ASK_ANEW, Rule.REFRESH_QUIETLY}:
        said.append("a token that it has replaced may live on there to its end")
    if before.renewal is Renewal.SENDING and before.pending is None:
        said.append("a request for a token was under way: what it brings is revoked when it comes")
    if before.renewal is Renewal.DOUBTFUL:
        said.append("a renewal whose answer was lost may have left a token there that nobody has seen")
    return tuple(said)
