"""Who is logged in: told, pinned, changed only with a person's word. The server is the sandbox."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.keeping import config
from support.lives import WALL
from support.refreshing import PM3, PM4, Refreshing, refreshing
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import attempts, keeper, scheduler, telling
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import PASSWORD, PERSONAL, USERS, Sandbox
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.world import User as SandboxUser
from pmcredd.secret import Secret
from pmcredd.store import identity
from pmcredd.telling import Failure, HandOut, User
from pmcredd.wire import Code

YEAR = Settings(throttle=None)
DEMO, OTHER = USERS
DEMO_USER, OTHER_USER = User("1", "demo"), User("2", "other")
NASTY = "a\x1b[31mb\n" + "z" * 300
SCRIPT = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.PASSWORD,
    client_id=PASSWORD.id,
    client_secret=LiteralSecret(Secret(PASSWORD.secret)),
    username=DEMO.username,
    password=LiteralSecret(Secret(DEMO.password)),
)


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing, and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


def personal(sandbox: Sandbox, user: SandboxUser = DEMO) -> Profile:
    """Give a profile with a personal access token of this user."""
    token = sandbox.pm4.issue_personal(user, "for a test", PERSONAL).access_token
    return Profile(name="prod", url="http://127.0.0.1:1", grant=Grant.PERSONAL_ACCESS_TOKEN, token=LiteralSecret(token))


def a_sandbox() -> Sandbox:
    """Give a sandbox on the test's clock."""
    return Sandbox(YEAR, clock=lambda: WALL + trio.current_time())


def told(world: Refreshing) -> dict[str, str]:
    """Give what status tells."""
    return dict(telling.fields(world.keeper.status(["prod"])[0]))


def alive(world: Refreshing) -> int:
    """Count the access tokens that live on the server."""
    return sum(world.sandbox.pm4.now() < row.expires and not row.revoked for row in world.sandbox.pm4._access.values())


async def admitted(_new: User, _before: User | None) -> bool:
    """Let everybody in."""
    return True


async def denied(_new: User, _before: User | None) -> bool:
    """Let nobody in."""
    return False


# --- whose it is ------------------------------------------------------------------------------------------------------


async def test_a_login_tells_whose_it_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The user's id is in the token, the name is the server's to tell; both are known over a restart, unasked."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        handed = await first.login()
        assert handed.user == DEMO_USER
        assert (told(first)["user"], told(first)["user_name"]) == ("1", "demo")
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        assert (await second.get()).user == DEMO_USER
        assert (told(second)["user"], told(second)["user_name"]) == ("1", "demo")
        assert second.way.seen == []


async def test_a_name_is_looked_up_once_and_nobody_waits_for_it(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A password's token is handed out before its user's name is known; the next one needs no question."""
    async with refreshing(tmp_path, SCRIPT) as world:
        world.way.hold_api = trio.Event()
        assert (await world.get()).user == User("1")
        world.way.hold_api.set()
        await wait_all_tasks_blocked()
        assert (await world.get()).user == DEMO_USER
        assert world.store.accounts([identity(SCRIPT)])[identity(SCRIPT)].user == DEMO_USER
        await trio.sleep(60)
        await world.get()
        assert world.way.tokens > 2
        assert world.way.seen.count("GET /api/1.0/users/1") == 1


async def test_a_name_that_is_not_told_fails_nothing(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that does not tell it costs no token and no word at the usual level; the next token asks again."""
    caplog.set_level(logging.INFO)
    async with refreshing(tmp_path, SCRIPT) as world:
        world.way.api_faults = [500]
        assert (await world.get()).user == User("1")
        await trio.sleep(5)
        assert told(world)["user"] == "1"
        assert "user_name" not in told(world)
        assert "user" not in caplog.text
        await trio.sleep(20)
        await wait_all_tasks_blocked()
        assert told(world)["user_name"] == "demo"


async def test_a_name_from_a_server_is_made_fit(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A name can be anything: nothing of it is obeyed by a terminal, and it has an end."""
    async with refreshing(tmp_path, SCRIPT) as world:
        world.sandbox.pm4._users[1] = replace(DEMO, username=NASTY)
        world.configs.append(config(replace(SCRIPT, username=NASTY)))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
        name = told(world)["user_name"]
        assert name.startswith("a?b zzz")
        assert name.isprintable()
        assert len(name) == 64


async def test_processmaker_3_tells_no_user(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Its tokens are opaque: nothing is told, nothing is asked, and a second login is never another user."""
    async with refreshing(tmp_path, PM3, settings=YEAR) as world:
        assert (await world.login(PM3)).user is None
        assert (await world.login(PM3, user=OTHER)).user is None
        assert world.way.seen == ["POST /workflow/oauth2/token"] * 2


# --- whose it must be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", ["1", "demo"])
async def test_the_expected_user_is_let_in(autojump_clock: MockClock, tmp_path: Path, expected: str) -> None:
    """By id or by name; whether it was somebody else before does not matter then."""
    async with refreshing(tmp_path, replace(PM4, expect_user=expected), settings=YEAR) as world:
        assert (await world.login()).user == DEMO_USER


async def test_an_expected_name_that_has_another_id_now_is_let_in(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The profile says who it is to be: a user who was deleted and made anew needs no other word."""
    async with refreshing(tmp_path, replace(PM4, expect_user="demo"), settings=YEAR) as world:
        await world.login()
        world.sandbox.pm4._users |= {1: replace(DEMO, username="gone"), 2: replace(OTHER, username="demo")}
        assert (await world.login(user=OTHER)).user == User("2", "demo")


@pytest.mark.parametrize(("expected", "said"), [("2", "user 2"), ("other", "other")])
async def test_a_login_as_somebody_else_is_refused(
    autojump_clock: MockClock, tmp_path: Path, expected: str, said: str
) -> None:
    """Both users are named, nothing is saved, its token is revoked, and what was there before serves on."""
    profile = replace(PM4, expect_user=expected)
    async with refreshing(tmp_path, profile, settings=YEAR) as world:
        before = await world.login(user=OTHER)
        with pytest.raises(Failure) as caught:
            await world.login(user=DEMO, admit=admitted)

        assert caught.value.code is Code.NEEDS_LOGIN
        assert f"of demo (user 1), and expect_user says {said}" in caught.value.message
        assert "nothing was saved, and its token is revoked again" in caught.value.message
        assert "log out of http://127.0.0.1:1 in the browser" in caught.value.hint
        assert "pmcred login prod" in caught.value.hint
        assert (await world.get()).access_token == before.access_token
        assert alive(world) == 1
        assert world.store.load([identity(profile)])[identity(profile)].held.token.sub == "2"


async def test_a_password_of_somebody_else_is_refused(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile whose password logs in another user gets no token; it is told, and not tried again by itself."""
    profile = replace(SCRIPT, expect_user="other")
    async with refreshing(tmp_path, profile) as world:
        with pytest.raises(Failure, match=r"of demo \(user 1\), and expect_user says other") as caught:
            await world.get()
        assert caught.value.code is Code.MISCONFIGURED
        assert "pmcred profile edit prod" in caught.value.hint
        assert told(world)["reason"] == "config"
        assert alive(world) == 0
        assert world.store.load([identity(profile)]) == {}
        await trio.sleep(3600)
        assert world.way.tokens == 1


async def test_an_expected_name_is_asked_for_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """As long as the user stays the same the server is not asked again, also after a restart."""
    profile = replace(SCRIPT, expect_user="demo")
    async with refreshing(tmp_path, profile) as first:
        assert (await first.get()).user == DEMO_USER
        await trio.sleep(60)
        await first.get()
        assert first.way.tokens > 2
        assert first.way.seen.count("GET /api/1.0/users/1") == 1
        sandbox = first.sandbox
    async with refreshing(tmp_path, profile, sandbox=sandbox) as second:
        await trio.sleep(60)
        await second.get()
        assert "GET /api/1.0/users/1" not in second.way.seen


async def test_an_expected_name_that_cannot_be_checked_lets_nobody_in(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """While the server does not say whose it is there is no token; it is tried again by itself."""
    profile = replace(SCRIPT, expect_user="demo")
    async with refreshing(tmp_path, profile) as world:
        world.way.api_faults = [500]
        with pytest.raises(Failure, match="could not be found out"):
            await world.get()
        assert told(world)["state"] == "waiting"
        assert alive(world) == 0
        await trio.sleep(30)
        assert (await world.get()).user == DEMO_USER


@pytest.mark.parametrize("expected", ["2", "other"])
async def test_a_personal_access_token_of_somebody_else_is_refused(
    autojump_clock: MockClock, tmp_path: Path, expected: str
) -> None:
    """It is not handed out; and it is somebody's own, so it is not revoked."""
    sandbox = a_sandbox()
    async with refreshing(tmp_path, replace(personal(sandbox), expect_user=expected), sandbox=sandbox) as world:
        with pytest.raises(Failure, match=r"of demo \(user 1\), and expect_user says") as caught:
            await world.get()
        assert "put in a token of" in caught.value.hint
        assert alive(world) == 1
        assert not any(each.startswith("DELETE") for each in world.way.seen)


async def test_a_personal_access_token_without_words_is_nobodys(autojump_clock: MockClock, tmp_path: Path) -> None:
    """One that is no JWT tells no user: where one is expected it is refused."""
    profile = Profile(
        name="prod",
        url="http://127.0.0.1:1",
        grant=Grant.PERSONAL_ACCESS_TOKEN,
        token=LiteralSecret(Secret("opaque")),
        expect_user="1",
    )
    async with refreshing(tmp_path, profile, settings=YEAR) as world:
        with pytest.raises(Failure, match="does not tell whose it is"):
            await world.get()


async def test_nothing_is_asked_between_a_refresh_and_its_save(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The next token of the same user needs no check, even if nothing is known of the user any more."""
    profile = replace(PM4, expect_user="demo")
    async with refreshing(tmp_path, profile) as world:
        await world.login()
        await wait_all_tasks_blocked()
        asked = len(world.way.seen)
        row = world.keeper._rows.resolve("prod")
        row.life = replace(row.life, user=None)
        world.way.api_faults = ["refused"] * 100
        await trio.sleep(27)
        assert world.lives(await world.get())
        assert world.way.seen[asked:][:2] == ["POST /oauth/token", "GET /api/1.0/users/1"], (
            "the name is asked for later"
        )
        await trio.sleep(60)
        assert world.lives(await world.get())


@pytest.mark.parametrize(
    ("expected", "state"), [("1", "needs-login"), ("demo", "needs-login"), (None, "live")], ids=str
)
async def test_a_refresh_that_brings_another_user(
    autojump_clock: MockClock, tmp_path: Path, expected: str | None, state: str
) -> None:
    """No server does that; where a user is expected such a token is looked at like that of a login."""
    async with refreshing(tmp_path, replace(PM4, expect_user=expected)) as world:
        handed = await world.login()
        row = world.sandbox.pm4.find_access(handed.access_token.reveal())
        assert row is not None
        row.user_id = 2
        await trio.sleep(28)
        assert told(world)["state"] == state
        assert alive(world) == (expected is None)
        if expected is None:
            assert told(world)["user_name"] == "other"
            return
        with pytest.raises(Failure, match=r"of other \(user 2\), and expect_user says"):
            await world.get()
        saved = world.store.load([identity(replace(PM4, expect_user=expected))])
        assert all(each.held.token.refresh_token is None and each.tries == 0 for each in saved.values())


async def test_a_refresh_whose_user_changes_rightly(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An expected name may come to belong to another id: then the server's word counts."""
    async with refreshing(tmp_path, replace(PM4, expect_user="demo")) as world:
        handed = await world.login()
        row = world.sandbox.pm4.find_access(handed.access_token.reveal())
        assert row is not None
        row.user_id = 2
        world.sandbox.pm4._users[2] = replace(OTHER, username="demo")
        await trio.sleep(28)
        assert world.lives(await world.get())
        assert (await world.get()).user == User("2", "demo")


# --- another user than last time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("admit", [None, denied])
async def test_another_user_than_last_time_needs_a_word(
    autojump_clock: MockClock, tmp_path: Path, admit: object
) -> None:
    """The browser decides who comes, often silently: without a yes nothing changes, and the token is revoked."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        before = await world.login()
        with pytest.raises(Failure) as caught:
            await world.login(user=OTHER, admit=admit)  # type: ignore[arg-type]  # None or a function
        assert caught.value.code is Code.NEEDS_LOGIN
        assert "this login is of other (user 2), the one before was of demo (user 1)" in caught.value.message
        assert "pmcred login prod --as-new-user" in caught.value.hint
        assert (await world.get()).access_token == before.access_token
        assert alive(world) == 1


async def test_another_user_is_let_in_on_a_persons_word(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Who comes and who was there before are told; while it is thought over the old pair serves."""
    asked: list[tuple[User, User | None]] = []
    thought = trio.Event()
    handed: list[HandOut] = []

    async def think(new: User, before: User | None) -> bool:
        asked.append((new, before))
        await thought.wait()
        return True

    async with refreshing(tmp_path, settings=YEAR) as world:
        before = await world.login()

        async def log_in() -> None:
            handed.append(await world.login(user=OTHER, admit=think))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            await wait_all_tasks_blocked()
            assert asked == [(OTHER_USER, DEMO_USER)]
            assert (await world.get()).access_token == before.access_token
            thought.set()
        assert handed[0].user == OTHER_USER
        assert (await world.get()).access_token == handed[0].access_token
        assert (told(world)["user"], told(world)["user_name"]) == ("2", "other")


async def test_who_was_last_is_known_after_a_logout_and_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Another user is asked about also when the last one has left."""
    async with refreshing(tmp_path, settings=YEAR) as first:
        await first.login()
        await first.keeper.logout("prod")
        sandbox = first.sandbox
    async with refreshing(tmp_path, sandbox=sandbox) as second:
        with pytest.raises(Failure, match="the one before was of demo"):
            await second.login(user=OTHER)
        assert alive(second) == 0
        assert (await second.login(user=DEMO)).user == DEMO_USER


async def test_who_leaves_while_asked_changes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A client that hangs up instead of an answer: the token that came is revoked, the old one serves on."""

    async def think(_new: User, _before: User | None) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    async with refreshing(tmp_path, settings=YEAR) as world:
        before = await world.login()
        with trio.move_on_after(5):
            await world.login(user=OTHER, admit=think)
        await wait_all_tasks_blocked()
        assert (await world.get()).access_token == before.access_token
        assert alive(world) == 1


async def test_a_profile_that_goes_while_asked_gets_no_login(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The word is about a profile that is not there any more: told, and the token revoked."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()

        async def think(_new: User, _before: User | None) -> bool:
            world.configs.append(config(replace(PM4, url="http://127.0.0.1:2")))
            await world.keeper.reload()
            return True

        with pytest.raises(Failure, match="changed or removed meanwhile; nothing was saved, and its token is revoked"):
            await world.login(user=OTHER, admit=think)
        assert alive(world) == 1


async def test_a_login_that_cannot_name_its_user_goes_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The id is enough where nobody expects a name; an API that hangs costs a login some seconds, not its pair."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        world.way.hold_api = trio.Event()
        assert (await world.login()).user == User("1")
        world.way.hold_api.set()
        world.way.api_faults = ["refused"] * 3
        with pytest.raises(Failure, match=r"the one before was of user 1"):
            await world.login(user=OTHER)


async def test_a_token_that_cannot_be_revoked_is_told_to_live(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The truth about a refused login's token, where the server does not answer any more."""
    async with refreshing(tmp_path, settings=YEAR) as world:
        await world.login()
        await wait_all_tasks_blocked()

        async def deny(_new: User, _before: User | None) -> bool:
            world.way.api_faults = ["refused"]
            return False

        with pytest.raises(Failure, match="nothing was saved, and its token lives on there: cannot reach"):
            await world.login(user=OTHER, admit=deny)
