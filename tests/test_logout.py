"""Logging out: everything here is forgotten at once, it lasts until a login, and what lives on is told truthfully."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest
import trio
from support.keeping import config
from support.lives import BOOT, WALL, Inline, TrioClock
from support.pairs import pair
from support.refreshing import PM3, PM4, Refreshing, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import attempts, keeper, scheduler, telling
from pmcredd.bearer import Bearer
from pmcredd.life import LoggedIn, SaveDue
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import CREDENTIALS, PASSWORD, PERSONAL, USERS, Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.secret import Secret
from pmcredd.store import StoreProblem, identity
from pmcredd.telling import Failure, LoggedOut, Revoked
from pmcredd.wire import Code

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DAY = 86_400.0
YEAR_LONG = 365 * DAY
YEAR = Settings(throttle=None)
SCRIPT = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.PASSWORD,
    client_id=PASSWORD.id,
    client_secret=LiteralSecret(Secret(PASSWORD.secret)),
    username=USERS[0].username,
    password=LiteralSecret(Secret(USERS[0].password)),
)
ROBOT = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.CLIENT_CREDENTIALS,
    client_id=CREDENTIALS.id,
    client_secret=LiteralSecret(Secret(CREDENTIALS.secret)),
)


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing, and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


def a_sandbox() -> Sandbox:
    """Give a sandbox on the test's clock."""
    return Sandbox(YEAR, clock=lambda: WALL + trio.current_time())


def personal(sandbox: Sandbox) -> Profile:
    """Give a profile with a personal access token."""
    token = sandbox.pm4.issue_personal(USERS[0], "for a test", PERSONAL).access_token
    return Profile(name="prod", url="http://127.0.0.1:1", grant=Grant.PERSONAL_ACCESS_TOKEN, token=LiteralSecret(token))


def told(world: Refreshing) -> dict[str, str]:
    """Give what status tells."""
    return dict(telling.fields(world.keeper.status(["prod"])[0]))


def alive(world: Refreshing) -> int:
    """Count the access tokens that live on ProcessMaker 4."""
    return sum(world.sandbox.pm4.now() < row.expires and not row.revoked for row in world.sandbox.pm4._access.values())


def on_disk(path: Path, secret: str) -> bool:
    """Whether any file of the store has this text in it."""
    return any(secret.encode() in each.read_bytes() for each in path.glob("state.db*"))


async def assert_logged_out(world: Refreshing) -> None:
    """Check that a `get` is told so, at once and with what mends it, and that status agrees."""
    with pytest.raises(Failure, match="somebody has logged out") as caught:
        await world.get()
    assert (caught.value.code, caught.value.hint) == (Code.NEEDS_LOGIN, "pmcred login prod")
    found = told(world)
    assert (found["state"], found["reason"], found["hint"]) == ("logged-out", "logged-out", "pmcred login prod")
    assert "fingerprint" not in found
    assert "renew_at" not in found


# --- it lasts ---------------------------------------------------------------------------------------------------------


async def test_a_logout_lasts_until_a_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """No reload, no restart, no reboot and no `get` brings a token back; a login does."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        left = await first.keeper.logout("prod")
        assert (left.profile, left.revoked) == ("prod", Revoked.REVOKED)
        await assert_logged_out(first)
        first.configs.append(config(replace(PM4, timeout=20)))
        await first.keeper.reload()
        await assert_logged_out(first)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox, clock=TrioClock(boot_id="after-a-reboot")) as second:
        await trio.sleep(400 * DAY)
        await assert_logged_out(second)
        assert second.way.seen == []
        again = await second.login()
        assert (await second.get()).access_token == again.access_token
    async with refreshing(tmp_path, sandbox=sandbox) as third:
        assert (await third.get()).access_token == again.access_token


async def test_a_password_is_not_used_before_a_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What needs no person to log in waits for one all the same, over reloads and restarts, whatever the timers say."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as first:
        await first.get()
        assert (await first.keeper.logout("prod")).revoked is Revoked.REVOKED
        asked = first.way.tokens
        first.configs.append(config(SCRIPT))
        await first.keeper.reload()
        await trio.sleep(400 * DAY)
        await assert_logged_out(first)
        assert first.way.tokens == asked
        sandbox = first.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as second:
        await trio.sleep(DAY)
        await assert_logged_out(second)
        assert second.way.tokens == 0
        handed = await second.keeper.login("prod", 30.0)
        assert second.lives(handed)
        sandbox = second.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as third:
        assert (await third.get()).access_token == handed.access_token


async def test_a_login_that_fails_leaves_the_logout_all_the_same(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A person has said that there shall be a token: if the server is down just then, it goes on by itself."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as first:
        await first.get()
        await first.keeper.logout("prod")
        first.way.token_faults = ["refused"] * 3
        with pytest.raises(Failure, match="cannot reach"):
            await first.keeper.login("prod", 30.0)
        sandbox = first.sandbox
    async with refreshing(tmp_path, SCRIPT, sandbox=sandbox) as second:
        assert second.lives(await second.get())


async def test_a_login_without_a_browser_does_not_end_a_logout(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Where a code is needed, `login` without one changes nothing, and says what is the case."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        await world.keeper.logout("prod")
        with pytest.raises(Failure, match="somebody has logged out"):
            await world.keeper.login("prod", 30.0)
        await assert_logged_out(world)


async def test_who_waits_hears_of_the_logout(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A `get` and a login that wait for a token are told at once that there will be none."""
    async with refreshing(tmp_path, SCRIPT) as world:
        world.way.hold = trio.Event()
        failed: list[str] = []

        async def wait(ask: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(Failure, match="somebody has logged out") as caught:
                await ask()
            failed.append(caught.value.hint)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, world.get)
            nursery.start_soon(wait, lambda: world.keeper.login("prod", 30.0))
            await wait_all_tasks_blocked()
            with trio.fail_after(1):
                await world.keeper.logout("prod")
        assert failed == ["pmcred login prod"] * 2
        world.way.hold.set()


async def test_a_logout_on_a_full_disk_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would not last is not told: the token serves on, and lives."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()

        def full(*_: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        monkeypatch.setattr(world.store, "log_out", full)
        with pytest.raises(Failure, match="prod is not logged out, nothing has changed: the disk is full") as caught:
            await world.keeper.logout("prod")
        assert (caught.value.code, caught.value.hint) == (Code.INTERNAL, "df -h")
        assert (await world.get()).access_token == handed.access_token
        assert world.lives(handed)


async def test_a_login_that_cannot_be_recorded_leaves_the_logout(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the next daemon would not know of it, so it is refused and says why."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:
        await world.get()
        await world.keeper.logout("prod")

        def full(*_: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        monkeypatch.setattr(world.store, "log_in", full)
        with pytest.raises(Failure, match="the disk is full"):
            await world.keeper.login("prod", 30.0)
        await assert_logged_out(world)


# --- what becomes of the tokens ---------------------------------------------------------------------------------------


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


# --- with something under way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_what_a_request_under_way_brings_is_revoked(
    autojump_clock: MockClock, tmp_path: Path, profile: Profile
) -> None:
    """An answer that comes after the logout is neither kept nor handed out, and its token does not live on."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        await world.get(1.0) if profile is SCRIPT else None
        assert told(world)["state"] in {"renewing", "live"}
        left = await world.keeper.logout("prod")
        assert "a request for a token was under way: what it brings is revoked when it comes" in left.sentence
        before = world.way.tokens
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert world.way.tokens == before
        assert alive(world) == 0
        await assert_logged_out(world)
        assert world.store.load([identity(profile)]) == {}


async def test_an_answer_that_a_login_overtakes_is_revoked(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A refresh of the old pair that comes late leaves no token behind that nobody knows of."""
    async with refreshing(tmp_path) as world:
        await world.login()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        held, world.way.hold = world.way.hold, None
        handed = await world.login()
        held.set()
        await wait_all_tasks_blocked()
        assert world.lives(handed)
        assert alive(world) == 1


async def test_a_refused_refresh_of_before_a_login_costs_the_new_one_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The server calls the old refresh token dead after somebody has logged in: the new one is kept, on disk too."""
    async with refreshing(tmp_path) as first:
        await first.login()
        first.way.hold = trio.Event()
        await trio.sleep(26)
        held, first.way.hold = first.way.hold, None
        first.sandbox.pm4.revoke_all(access=False, refresh=True)
        await first.login()
        held.set()
        await wait_all_tasks_blocked()
        assert first.store.load([identity(PM4)])[identity(PM4)].held.token.refresh_token is not None
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        await trio.sleep(40)
        assert second.lives(await second.get())


async def test_a_logout_in_doubt_leaves_no_doubt_behind(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An intent to spend the old refresh token says nothing about the next login, also after a crash."""
    async with refreshing(tmp_path) as first:
        await first.login()
        first.way.token_faults = ["lost before"]
        first.way.api_faults = ["refused"] * 1000
        await trio.sleep(28)
        assert told(first)["state"] == "doubtful"
        left = await first.keeper.logout("prod")
        assert "a renewal whose answer was lost may have left a token there that nobody has seen" in left.sentence
        first.way.api_faults = []
        await first.login()
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        assert told(second)["state"] == "live"
        assert second.lives(await second.get())


class SlowDisk(Inline):
    """A disk on which calls of one name wait for an event, and everything behind them: one by one, as they came."""

    slow = "save"
    free = trio.Event()

    def __init__(self) -> None:
        self._one = trio.Lock()

    async def do(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run the call when it is its turn."""
        async with self._one:
            if getattr(getattr(call, "func", call), "__name__", "") == self.slow:
                await self.free.wait()
            return await super().do(call, *args)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> type[SlowDisk]:
    """Let keepers of this test have a slow disk; it is free at first."""
    monkeypatch.setattr("support.refreshing.Inline", SlowDisk)
    SlowDisk.slow, SlowDisk.free = "save", trio.Event()
    SlowDisk.free.set()
    return SlowDisk


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_an_answer_that_is_just_being_saved_goes_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], profile: Profile
) -> None:
    """A logout that comes between an answer and its save: the new token is dead, and none is on disk."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        slow_disk.free = trio.Event()
        await trio.sleep(26)
        assert alive(world) == (1 if profile is PM4 else 2), "on ProcessMaker 4 the refresh has killed the old one"
        left: list[LoggedOut] = []

        async def leave() -> None:
            left.append(await world.keeper.logout("prod"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        replaced = "a token that it has replaced may live on there to its end" in left[0].sentence
        assert replaced == (profile is SCRIPT)
        assert alive(world) == int(replaced)
        assert world.store.load([identity(profile)]) == {}
        await assert_logged_out(world)


@pytest.mark.parametrize("profile", [PM4, SCRIPT], ids=["a refresh", "a password"])
async def test_an_answer_that_comes_while_the_logout_is_being_written_goes_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], profile: Profile
) -> None:
    """Its save stands behind the logout in the queue, and brings nothing back; whatever lives of it is revoked."""
    async with refreshing(tmp_path, profile) as world:
        if profile is PM4:
            await world.login()
        await world.get()
        world.way.hold = trio.Event()
        await trio.sleep(26)
        slow_disk.slow, slow_disk.free = "log_out", trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            world.way.hold.set()
            await wait_all_tasks_blocked()
            assert alive(world) == (1 if profile is PM4 else 2)
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 0
        revoked = [each for each in world.way.seen if each.startswith("DELETE")]
        assert len(revoked) == (1 if profile is PM4 else 2), "what a refresh has killed is not asked about"
        assert world.store.load([identity(profile)]) == {}
        await assert_logged_out(world)


async def test_the_very_first_answer_may_cross_a_logout_too(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """There is nothing on disk yet that the logout could be written over: it counts all the same."""
    async with refreshing(tmp_path, SCRIPT) as world:
        slow_disk.slow, slow_disk.free = "log_out", trio.Event()
        world.way.hold = trio.Event()
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            world.way.hold.set()
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 0
        assert world.store.load([identity(SCRIPT)]) == {}
        assert world.store.accounts([identity(SCRIPT)])[identity(SCRIPT)].logged_out
        await assert_logged_out(world)


async def test_an_answer_that_a_login_supersedes_is_revoked(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """It came before the login and was still on its way to the disk: once the new pair is there, it is ended."""
    async with refreshing(tmp_path) as world:
        await world.login()
        slow_disk.free = trio.Event()
        await trio.sleep(26)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.login)
            await wait_all_tasks_blocked()
            assert alive(world) == 2, "on disk it may be the only one"
            slow_disk.free.set()
        await wait_all_tasks_blocked()
        assert alive(world) == 1
        assert world.lives(await world.get())


async def test_a_logout_and_a_login_at_once_are_one_after_the_other(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk]
) -> None:
    """Whichever comes last counts, and what is on disk is what is told."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        await first.login()
        slow_disk.free = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.login)
            await wait_all_tasks_blocked()
            nursery.start_soon(first.keeper.logout, "prod")
            await wait_all_tasks_blocked()
            slow_disk.free.set()
        await assert_logged_out(first)
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        await assert_logged_out(second)


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


async def test_a_save_that_is_late_brings_nothing_back(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that the disk refused is saved again by a timer: not after the logout that has forgotten it."""
    async with refreshing(tmp_path, SCRIPT, settings=YEAR) as world:

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "save", full)
            await world.get()
            assert "unsaved" in told(world)
        assert (await world.keeper.logout("prod")).revoked is Revoked.REVOKED
        await trio.sleep(60)
        assert world.store.load([identity(SCRIPT)]) == {}
        await assert_logged_out(world)


async def test_a_save_that_is_overtaken_by_a_login_replaces_nothing(
    autojump_clock: MockClock, tmp_path: Path, slow_disk: type[SlowDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's next try with the old token begins just after the login has queued the new one: the new one stays."""

    def full(*_: object, **__: object) -> None:
        raise StoreProblem("the disk is full", "df -h")

    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "save", full)
            await world.login()
            assert "unsaved" in told(world)
        driver, row = world.keeper._driver, world.keeper._rows.resolve("prod")
        assert row.life.save_at is not None
        await trio.sleep(row.life.save_at - world.clock.now().boot - 0.001)
        world.clock.suspend(0.002)
        new = pair(YEAR_LONG, at=world.clock.now().boot - BOOT, value="new")
        driver.happen(row, SaveDue())
        await driver.complete(row, LoggedIn(new))
        await wait_all_tasks_blocked()
        assert world.store.load([identity(PM4)])[identity(PM4)].held.token == new.token


# --- rows of the past, and the end of a profile -----------------------------------------------------------------------


async def test_tokens_of_a_former_url_go_too(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What the profile had under another url waits for its return: a logout ends that, and has it revoked."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        moved = replace(PM4, url="http://127.0.0.1:2")
        world.configs.append(config(moved))
        await world.keeper.reload()
        await world.keeper.logout("prod")
        await wait_all_tasks_blocked()
        assert not world.lives(handed)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        world.configs.append(config(PM4))
        await world.keeper.reload()
        await assert_logged_out(world)


async def test_a_personal_access_token_of_a_former_url_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """It is somebody's own wherever it was used."""
    sandbox = a_sandbox()
    profile = personal(sandbox)
    async with refreshing(tmp_path, profile, sandbox=sandbox) as world:
        handed = await world.get()
        world.configs.append(config(replace(profile, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        await world.keeper.logout("prod")
        await wait_all_tasks_blocked()
        assert world.lives(handed)


async def test_a_profile_that_is_forgotten_leaves_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """No token, no user, no logout: when a profile of the name comes back it is a new one."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        left = await world.keeper.forget("prod")
        assert left.revoked is Revoked.REVOKED
        assert not world.lives(handed)
        world.configs.append(config())
        await world.keeper.reload()
        assert world.store.accounts([identity(PM4)]) == {}
        assert not on_disk(tmp_path, "prod")
        world.configs.append(config(PM4))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
        assert told(world)["state"] == "needs-login"
        assert "user" not in told(world)
        assert (await world.login(user=USERS[1])).user == telling.User("2", "other")


async def test_a_profile_that_is_logged_in_after_all_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Forgotten, and then logged in again: a profile like any other; a typo in its url repeats no refresh."""
    async with refreshing(tmp_path) as world:
        await world.login()
        await world.keeper.forget("prod")
        await world.login()
        sent = world.way.tokens
        world.way.hold = trio.Event()
        await trio.sleep(26)
        for profile in (replace(PM4, url="http://127.0.0.1:2"), PM4):
            world.configs.append(config(profile))
            await world.keeper.reload()
            await wait_all_tasks_blocked()
        world.way.hold.set()
        await wait_all_tasks_blocked()
        assert world.lives(await world.get())
        assert world.way.tokens == sent + 1


async def test_a_profile_that_is_gone_already_is_forgotten_by_its_name(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Its file may have been deleted first; a name that nobody ever had is an error."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()
        world.configs.append(config())
        await world.keeper.reload()
        left = await world.keeper.forget("prod")
        await wait_all_tasks_blocked()
        assert left.revoked is Revoked.NOTHING
        assert not world.lives(handed)
        assert not on_disk(tmp_path, handed.access_token.reveal())
        with pytest.raises(Failure) as caught:
            await world.keeper.forget("prod")
        assert caught.value.code is Code.NO_SUCH_PROFILE


async def test_what_cannot_be_deleted_costs_no_logout(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens are gone and revoked; only whose they were stays on a disk that fills up just then."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        handed = await world.login()

        def full(*_: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        monkeypatch.setattr(world.store, "forget", full)
        assert (await world.keeper.forget("prod")).revoked is Revoked.REVOKED
        assert not world.lives(handed)
        await assert_logged_out(world)
