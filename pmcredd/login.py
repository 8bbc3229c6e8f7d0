"""One login in a browser, from the URL that is opened to the page that is shown at its end.

It has a state, a PKCE verifier and a listener of its own, so that two logins for one profile cannot mix. What it says
goes to its client as a stream: `begun` with the URL to open, perhaps `other-user`, then `done` or `failed`.
"""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Self

import trio

from pmcredd import authorization, callback, pages, wire
from pmcredd.authorization import Denied, Granted, Stranger
from pmcredd.callback import Callback
from pmcredd.keeper import Keeper
from pmcredd.life import User
from pmcredd.oauth import Answer
from pmcredd.profiles import Profile
from pmcredd.rows import find
from pmcredd.store import identity
from pmcredd.telling import Failure, HandOut
from pmcredd.upstream import Upstream
from pmcredd.wire import Code

PREVIEW_PATIENCE = 5.0  # seconds before the browser is opened
PAGE_PATIENCE = 5.0  # seconds for the browser to take its last page


class Login:
    """One login, and what its client is told of it: a Stream, as server.py has it."""

    def __init__(
        self,
        keeper: Keeper,
        upstream: Upstream,
        profile: Profile,
        *,
        expires: float,
        as_new_user: bool | None,
        ended: Callable[[HandOut | Failure], None],
    ) -> None:
        self.id = os.urandom(8).hex()
        self.profile = profile
        self._keeper = keeper
        self._upstream = upstream
        self._expires = expires
        self._as_new_user = as_new_user
        self._ended = ended
        self._tell, self._told = trio.open_memory_channel[bytes](math.inf)
        self._answer: Granted | Denied | Failure | None = None
        self._answered = trio.Event()
        self._choice: bool | None = None
        self._chosen = trio.Event()
        self._authorization: authorization.Authorization | None = None
        self._begun = False

    # --- the client ---------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        """Give itself."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for what happens next."""
        try:
            block = await self._told.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        head = b"" if self._begun else wire.STREAM_HEAD
        self._begun = True
        return head + block

    def end(self) -> None:
        """End it if it still waits for a person: the client has left. A code that came is exchanged all the same."""
        self._take(Failure(Code.STOPPING, "the login was cancelled, and nothing has changed"))
        self._chosen.set()

    def take(self, url: str) -> None:
        """Take the address that the browser ended on.

        Raises:
            Failure: it is not this login's answer, or there has been one.
        """
        assert self._authorization is not None  # noqa: S101 - nobody knows our id before
        found = authorization.read_redirect(self._authorization, url)
        if isinstance(found, Stranger):
            raise Failure(
                Code.BAD_REQUEST, found.sentence, "copy the whole address from the browser's address bar, and paste it"
            )
        if not self._take(found):
            raise Failure(Code.BAD_REQUEST, "this login has had its answer", f"pmcred status {self.profile.name}")

    def choose(self, *, as_new_user: bool) -> None:
        """Take a person's word."""
        self._choice = as_new_user
        self._chosen.set()

    def look(self) -> None:
        """See whether the profile is still the one that this login is for; one that has changed must not get a code."""
        if not self._stands():
            self._take(self._changed())

    def _take(self, found: Granted | Denied | Failure) -> bool:
        """Take an answer; the first one counts."""
        if self._answer is not None:
            return False
        self._answer = found
        self._answered.set()
        return True

    # --- the login ----------------------------------------------------------------------------------------------------

    async def run(self, patience: float, task_status: trio.TaskStatus[Failure | None]) -> None:
        """Carry it through. Started means: somebody listens, or the reason why nobody can."""
        try:
            async with callback.listen(self.profile) as listener:
                self._authorization = authorization.begin(self.profile, listener.redirect_uri)
                listener.begin(self._authorization)
                if (denied := await self._preview(self._authorization)) is not None:
                    task_status.started(
                        Failure(Code.MISCONFIGURED, f"{self.profile.name}: {denied.sentence}", denied.mend)
                    )
                    return
                self._say("begun", login=self.id, authorize_url=self._authorization.url, **self._times(listener))
                task_status.started(None)
                self._say(**await self._outcome(listener, patience))
        except callback.CallbackProblem as problem:
            task_status.started(Failure(Code.MISCONFIGURED, problem.message, problem.hint))
        finally:
            self._tell.close()

    async def _preview(self, request: authorization.Authorization) -> Denied | None:
        """Ask for the page that the browser is about to open: who is turned away is told there alone."""
        with trio.move_on_after(PREVIEW_PATIENCE):
            answer = await self._upstream.look(self.profile, request.url)
            if isinstance(answer, Answer):
                return authorization.read_preview(request, answer)
        return None  # the browser may know another way

    def _times(self, listener: Callback) -> dict[str, str]:
        return {"redirect_uri": listener.redirect_uri, "expires_at": str(int(self._expires))}

    async def _outcome(self, listener: Callback, patience: float) -> dict[str, str]:
        try:
            found = await self._wait(listener, patience)
            if isinstance(found, Failure):
                raise found
            if isinstance(found, Denied):
                denied = Failure(Code.NEEDS_LOGIN, f"{self.profile.name}: {found.sentence}", found.mend)
                self._ended(denied)
                await _show(listener, pages.failed(found.title, found.sentence, found.mend))
                return _failed(denied)
            if not self._stands():
                raise self._changed()
            ready = await self._keeper.login_with_code(
                self.profile.name, found.code, admit=partial(self._admit, listener)
            )
        except Failure as failure:
            self._ended(failure)
            await _show(listener, pages.failed("The login failed", failure.message, failure.hint))
            return _failed(failure)
        self._ended(ready)
        await _show(listener, pages.signed_in(self.profile.name, _name(ready.user)))
        return _done(ready)

    async def _wait(self, listener: Callback, patience: float) -> Granted | Denied | Failure:
        """Wait for the answer, whichever way it comes."""
        with trio.move_on_after(patience):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, listener)
                await self._answered.wait()
                nursery.cancel_scope.cancel()
        return self._answer or Failure(
            Code.NEEDS_LOGIN,
            f"nobody has logged in to {self.profile.name} within {patience:g} s",
            f"pmcred login {self.profile.name}",
        )

    async def _listen(self, listener: Callback) -> None:
        self._take(await listener.answer())

    async def _admit(self, listener: Callback, new: User, before: User | None) -> bool:
        """Say whether another user than last time may be logged in: the browser decides who comes, often silently."""
        if self._as_new_user is not None:
            return self._as_new_user
        asked = {"user": new.id, "user_name": new.name}
        if before is not None:
            asked |= {"before": before.id, "before_name": before.name}
        self._say("other-user", login=self.id, **{key: value for key, value in asked.items() if value is not None})
        await _show(listener, pages.undecided(self.profile.name, new.name or new.id))
        await self._chosen.wait()
        return self._choice is True

    def _stands(self) -> bool:
        try:
            return identity(find(self._keeper.profiles(), self.profile.name)) == identity(self.profile)
        except Failure:
            return False

    def _changed(self) -> Failure:
        name = self.profile.name
        return Failure(
            Code.NO_SUCH_PROFILE,
            f"the profile {name} was changed or removed while its login waited; nothing was saved",
            f"pmcred login {name}",
        )

    def _say(self, event: str, **fields: str) -> None:
        self._tell.send_nowait(wire.format_block({"event": event, "profile": self.profile.name, **fields}))


async def _show(listener: Callback, page: pages.Page) -> None:
    # The browser is owed its page also when the client has what it waited for, and hangs up.
    with trio.move_on_after(PAGE_PATIENCE, shield=True):
        await listener.finish(page)


def _name(user: User | None) -> str | None:
    return None if user is None else user.name or user.id


def _failed(failure: Failure) -> dict[str, str]:
    told = {"event": "failed", "code": failure.code.value, "message": failure.message, "hint": failure.hint}
    return {key: value for key, value in told.items() if value}


def _done(ready: HandOut) -> dict[str, str]:
    told = {
        "event": "done",
        "url": ready.url,
        "user": ready.user.id if ready.user else None,
        "user_name": ready.user.name if ready.user else None,
        "expires_at": None if ready.expires_at is None else str(ready.expires_at),
    }
    return {key: value for key, value in told.items() if value is not None}
