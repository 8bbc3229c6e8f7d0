"""What becomes of the tokens at a logout: they are revoked where that can be, and what lives on is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import config
from support.leaving import SCRIPT, a_sandbox, assert_logged_out, personal
from support.refreshing import PM3, PM4, YEAR, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import telling
from pmcredd.bearer import Bearer
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import CREDENTIALS
from pmcredd.sandbox.settings import Settings
from pmcredd.secret import Secret
from pmcredd.telling import LoggedOut, Revoked

pytestmark = pytest.mark.usefixtures("quick_keeper")

ROBOT = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.CLIENT_CREDENTIALS,
    client_id=CREDENTIALS.id,
    client_secret=LiteralSecret(Secret(CREDENTIALS.secret)),
)


@pytest.mark.parametrize("version", ["4.15", "4.7"])
async def test_processmaker_4_revokes(autojump_clock: MockClock, tmp_path: Path, version: str) -> None:
    """It says 500 after it has done it, or 204, by its release; the token is dead, and the refresh token is not."""
    async with refreshing(tmp_path, settings=Settings(throttle=None, version=version)) as world:
        handed = await world.login()
        left = await world.keeper.logout("prod")
        assert left == LoggedOut(
            "prod",
            Revoked.REVOKED,
            "its access token is revoked on the server; "
            "its refresh token is forgotten here, but nothing ends it on the server before its time",
        )
        assert not world.lives(handed)


async def test_processmaker_3_revokes(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Its route has the token in it, and its answer is not believed before the token is refused."""
    async with refreshing(tmp_path, replace(PM3, name="prod"), settings=YEAR) as world:
        await world.login(replace(PM3, name="prod"))
        token = (await world.get()).access_token.reveal()
        left = await world.keeper.logout("prod")
        assert left.revoked is Revoked.REVOKED
        assert "its refresh token is forgotten here" in left.sentence
        assert world.sandbox.pm3.bearer(token) is None
        assert world.way.seen[-2:] == ["DELETE /workflow/oauth2/ID", "GET /api/1.0/workflow/cases/draft/paged"]


async def test_a_server_that_is_away_revokes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The logout is done here all the same; it is told why the token lives on, and until when."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:
        handed = await world.get()
        await wait_all_tasks_blocked()
        world.way.api_faults = ["refused"]
        left = await world.keeper.logout("prod")
        assert left.revoked is Revoked.NOT_REVOKED
        assert left.sentence.startswith("its access token could not be revoked and lives on the server until 20")
        assert "12 months" in left.sentence
        assert "cannot reach" in left.sentence
        assert "refresh token" not in left.sentence, "there was none"
        assert world.lives(handed)
        await assert_logged_out(world)


async def test_a_server_that_hangs_holds_no_logout_up(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Nothing is handed out from the first moment on, while the server is still asked; and that has an end."""
    async with refreshing(tmp_path, replace(PM4, timeout=600.0), settings=YEAR) as world:
        await world.login()
        await wait_all_tasks_blocked()
        world.way.hold_api = trio.Event()
        left: list[LoggedOut] = []

        async def leave() -> None:
            left.append(await world.keeper.logout("prod"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            await assert_logged_out(world)
            assert not left
            started = trio.current_time()
        assert trio.current_time() - started <= 30
        assert left[0].revoked is Revoked.NOT_REVOKED
        assert "did not answer within 30 s" in left[0].sentence


async def test_who_leaves_while_the_server_is_asked_is_logged_out(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Ctrl-C after a logout has begun stops nothing of it."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.keeper.logout("prod")
        await assert_logged_out(world)
        assert not world.lives(handed)


async def test_a_token_that_is_dead_needs_no_revocation(autojump_clock: MockClock, tmp_path: Path) -> None:
    """One that has ended is not sent to the server again; and neither is one that never was."""
    async with refreshing(tmp_path) as world:
        assert (await world.keeper.logout("prod")).sentence == "there was no access token"
        await world.login()
        world.way.token_faults = ["refused"] * 1000
        await trio.sleep(60)
        asked = len(world.way.seen)
        left = await world.keeper.logout("prod")
        assert left.revoked is Revoked.NOTHING
        assert left.sentence.startswith("its access token had ended already; its refresh token")
        assert (await world.keeper.logout("prod")).revoked is Revoked.NOTHING
        assert not any(each.startswith("DELETE") for each in world.way.seen[asked:])


async def test_a_token_that_an_administrator_revoked(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A server that has accepted it before, and refuses it now, has revoked it."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        await wait_all_tasks_blocked()
        world.sandbox.pm4.revoke_all(access=True, refresh=False)
        assert (await world.keeper.logout("prod")).revoked is Revoked.REVOKED


async def test_a_token_without_a_user_cannot_be_revoked(autojump_clock: MockClock, tmp_path: Path) -> None:
    """client_credentials: no route of ProcessMaker leads to such a token. That is said."""
    async with refreshing(tmp_path, ROBOT, settings=YEAR) as world:
        await world.get()
        left = await world.keeper.logout("prod")
        assert left.revoked is Revoked.NOT_REVOKED
        assert "does not tell its user and its id" in left.sentence


async def test_a_personal_access_token_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """It is a person's own, and other things may live by it: it is not read again, and not revoked unless told."""
    sandbox = a_sandbox()
    profile = personal(sandbox)
    async with refreshing(tmp_path, profile, sandbox=sandbox) as first:
        handed = await first.get()
        left = await first.keeper.logout("prod")
        assert left.revoked is Revoked.KEPT
        assert "pmcred logout prod --revoke" in left.sentence
        assert first.lives(handed)
        first.configs.append(config(profile))
        await first.keeper.reload()
        await assert_logged_out(first)
    async with refreshing(tmp_path, profile, sandbox=sandbox) as second:
        await assert_logged_out(second)
        assert (await second.keeper.login("prod", 30.0)).access_token == handed.access_token
    async with refreshing(tmp_path, profile, sandbox=sandbox) as third:
        assert (await third.get()).access_token == handed.access_token


@pytest.mark.parametrize("logged_out", [False, True], ids=["at once", "later"])
async def test_a_personal_access_token_is_revoked_when_told(
    autojump_clock: MockClock, tmp_path: Path, logged_out: bool
) -> None:
    """At the logout or afterwards; then it is read once more, where it is kept."""
    sandbox = a_sandbox()
    async with refreshing(tmp_path, personal(sandbox), sandbox=sandbox) as world:
        handed = await world.get()
        if logged_out:
            await world.keeper.logout("prod")
        left = await world.keeper.logout("prod", revoke_personal=True)
        assert (left.revoked, left.sentence) == (Revoked.REVOKED, "its access token is revoked on the server")
        assert not world.lives(handed)
        await assert_logged_out(world)


async def test_a_mistake_of_ours_costs_no_logout(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in what is asked of the server is told by its place, and the rest is done."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Bearer, "user", broken)
    monkeypatch.setattr(Bearer, "revoke", broken)
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:
        assert (await world.get()).user == telling.User("1")
        await wait_all_tasks_blocked()
        left = await world.keeper.logout("prod")
        assert left.revoked is Revoked.NOT_REVOKED
        assert "pmcredd itself made a mistake (ZeroDivisionError in broken" in left.sentence
        await assert_logged_out(world)
