"""The logins in browsers that are under way: one for each client that asked, and it ends when that client leaves."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from pmcredd.clock import Clock
from pmcredd.driver import Driver, Row
from pmcredd.keeper import Keeper
from pmcredd.profiles import Grant
from pmcredd.rows import find
from pmcredd.telling import Failure, HandOut
from pmcredd.upstream import Upstream
from pmcredd.wire import Code

if TYPE_CHECKING:
    from pmcredd.login import Login

DEFAULT_PATIENCE = 600.0  # seconds for a person to log in: as long as ProcessMaker's codes live


class Logins:
    """All logins that wait for a browser.

    Args:
        keeper: exchanges the codes.
        driver: tells which profiles are gone.
        upstream: the way to the servers.
        clock: time.
    """

    def __init__(self, keeper: Keeper, driver: Driver, upstream: Upstream, clock: Clock) -> None:
        self._keeper = keeper
        self._upstream = upstream
        self._clock = clock
        self._under_way: dict[str, Login] = {}
        self._driver = driver
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the logins until cancelled; whoever waits for one is told that we leave."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def needs_browser(self, target: str) -> bool:
        """Say whether a profile's login takes a browser.

        Raises:
            Failure: there is no such profile.
        """
        return find(self._keeper.profiles(), target).grant is Grant.AUTHORIZATION_CODE

    async def begin(
        self,
        target: str,
        *,
        patience: float | None,
        as_new_user: bool | None,
        ended: Callable[[str, HandOut | Failure], None],
    ) -> "Login":
        """Begin a login; its listener is there when this returns.

        Args:
            target: a profile's name or URL.
            patience: seconds until it is given up.
            as_new_user: whether it may be another user than last time; None asks.
            ended: told the profile's name and what came of the login, unless it never began.

        Raises:
            Failure: there is no such profile, or nobody can listen where its redirect_uri says.
        """
        from pmcredd.login import Login  # here: a browser is rare, and this would cost every start

        profile = find(self._keeper.profiles(), target)
        assert self._nursery is not None  # noqa: S101 - nothing is served before run() has begun
        login = Login(
            self._keeper,
            self._upstream,
            profile,
            expires=self._clock.now().wall + _patience(patience),
            as_new_user=as_new_user,
            ended=partial(ended, profile.name),
        )
        problem = await self._nursery.start(self._carry_through, login, _patience(patience))
        if problem is not None:
            raise problem
        return login

    async def _carry_through(
        self, login: "Login", patience: float, *, task_status: trio.TaskStatus[Failure | None]
    ) -> None:
        if not self._under_way:  # only while one waits: every listener hears every change of every profile
            self._driver.listeners.append(self._hear)
        self._under_way[login.id] = login
        try:
            await login.run(patience, task_status)
        finally:
            del self._under_way[login.id]
            if not self._under_way:
                self._driver.listeners.remove(self._hear)

    def answer(self, target: str, login: str, url: str) -> None:
        """Take the address that the browser ended on, as a person has copied it.

        Raises:
            Failure: no such login waits, or this is not its answer.
        """
        self._find(target, login).take(url)

    def choose(self, target: str, login: str, *, as_new_user: bool) -> None:
        """Take a person's word whether a login may be another user than last time.

        Raises:
            Failure: no such login waits.
        """
        self._find(target, login).choose(as_new_user=as_new_user)

    def _find(self, target: str, login: str) -> "Login":
        profile = find(self._keeper.profiles(), target)
        found = self._under_way.get(login)
        if found is None or found.profile.name != profile.name:
            raise Failure(
                Code.BAD_REQUEST,
                f"no such login waits for {profile.name}: it has ended, or its time is over",
                f"pmcred login {profile.name}",
            )
        return found

    def _hear(self, row: Row) -> None:
        if row.retired:
            for login in self._under_way.values():
                if login.profile.name == row.profile.name:
                    login.look()


def _patience(wanted: float | None) -> float:
    return DEFAULT_PATIENCE if wanted is None else wanted
