"""Keeping every profile's token: real store, real rules; the network and the clock are the test's."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import WRONG_CLIENT, WRONG_PASSWORD, Server, config, keeping, token
from support.lives import TrioClock, profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import attempts, keeper, oauth, scheduler, secret_sources
from pmcredd.profiles import BadConfig, FileSecret, Grant, LiteralSecret, Mistake, Settings, Storage
from pmcredd.secret import Secret
from pmcredd.store import StoreProblem, identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

DAY = 86_400.0
PROD = profile("prod")


@pytest.fixture(autouse=True)
def _quick_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing: hundreds of requests would take minutes of real time."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)  # or a month would be a hundred thousand wake-ups
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)


def unrecorded(keys: Sequence[str]) -> None:
    """Stand in for the end of a try that a kill keeps from the store."""


def secret(value: str) -> LiteralSecret:
    """Give a secret as if it stood in the profile."""
    return LiteralSecret(Secret(value))


async def settled() -> None:
    """Wait until everything that can happen now has happened."""
    await wait_all_tasks_blocked()


# --- getting ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_there_before_anybody_asks(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After the start every profile gets its token; the first `get` waits for nothing."""
    async with keeping(tmp_path, PROD) as world:
        await settled()

        ready = world.keeper.hand_out("prod", None)

        assert ready is not None
        assert ready.access_token.reveal() == "token-1"
        assert ready.good_until == ready.expires_at == int(world.clock.now().wall + 3600)
        assert world.server.requests == [
            {"grant_type": "password", "username": "integration", "password": "password-of-the-tests"}
        ]


async def test_two_hundred_gets_make_one_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    """However many ask while there is no token, the server is asked once, and all get the same token."""
    server = Server(held=trio.Event())
    got: list[str] = []
    async with keeping(tmp_path, PROD, server=server) as world:

        async def ask() -> None:
            got.append(await world.get())

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
            await settled()
            assert server.held is not None
            server.held.set()

    assert got == ["token-1"] * 200
    assert len(server.requests) == 1


async def test_renewed_early_and_quietly(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A token is replaced at two thirds of its life, with nobody waiting for it."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        await trio.sleep(2399)
        assert await world.get() == "token-1"
        await trio.sleep(2)

        assert await world.get() == "token-2"
        assert world.server.times[1] - world.server.times[0] == pytest.approx(2400)


async def test_for_is_a_promise(autojump_clock: MockClock, tmp_path: Path) -> None:
    """`for` gets a token that lives that long, a new one if need be, and is refused where no token would."""
    async with keeping(tmp_path, PROD, server=Server(delay=0.5)) as world:
        await world.get()
        await trio.sleep(1199)

        assert await world.get(lasting=2399) == "token-1"
        assert await world.get(lasting=3000) == "token-2"
        with pytest.raises(Failure) as caught:
            await world.get(lasting=3601)
        assert caught.value.code is Code.CANNOT_PROMISE
        with pytest.raises(Failure, match="not as long as asked for"):
            await world.get(lasting=3600)
        assert len(world.server.requests) == 3


async def test_tokens_dead_on_arrival_end_in_an_error(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A server whose tokens live no time at all is told about; we do not ask it for ever."""
    async with keeping(tmp_path, PROD, server=Server(lifetime=1, delay=2)) as world:
        await settled()
        before = len(world.server.requests)
        with pytest.raises(Failure) as caught:
            await world.get()

        assert caught.value.code is Code.CANNOT_PROMISE
        assert len(world.server.requests) <= before + 1


async def test_suspend_is_noticed(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After the machine slept through a token's life, the next `get` has a new token, not the dead one."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"

        world.clock.suspend(7 * 3600)

        assert await world.get() == "token-2"


async def test_a_set_wall_clock_breaks_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A wall clock set a year forth or back within a boot costs no token its life."""
    async with keeping(tmp_path, PROD) as world:
        await world.get()
        for step in (365 * DAY, -2 * 365 * DAY):
            world.clock.set_wall(step)
            assert await world.get() == "token-1"


async def test_unknown_names_and_urls(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile is found by its name or URL; a near miss is told what it may have meant."""
    other = profile("other", url="http://127.0.0.1:2/sub")
    async with keeping(tmp_path, PROD, other, profile("twin", url="http://127.0.0.1:2/sub")) as world:
        await settled()

        assert await world.get("http://127.0.0.1:1/api/1.0/users")
        for target, code, hint in (
            ("prodd", Code.NO_SUCH_PROFILE, "did you mean prod?"),
            ("zzz", Code.NO_SUCH_PROFILE, "pmcred profile list"),
            ("http://127.0.0.1:9/", Code.NO_SUCH_PROFILE, "pmcred profile list"),
            ("http://127.0.0.1:2/sub/x", Code.AMBIGUOUS, "name one of them"),
        ):
            with pytest.raises(Failure) as caught:
                await world.get(target)
            assert (caught.value.code, caught.value.hint) == (code, hint)


async def test_a_get_times_out_with_what_lives(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Out of time, a living token is better than none; without one the error says how long was waited."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, replace(PROD, timeout=1000.0), server=server) as world:
        with pytest.raises(Failure) as caught:
            await world.get(timeout=5)
        assert caught.value.code is Code.WAITING
        assert "within 5 s" in caught.value.message
        assert server.held is not None
        server.held.set()
        assert await world.get() == "token-1"
        await trio.sleep(3575)
        server.held = trio.Event()
        server.lifetime = 3600
        # The renewal at two thirds has happened; this second token is near its end, and the third never comes.
        await trio.sleep(1200)
        assert await world.get(timeout=5) == "token-2"
        server.held.set()


# --- failing ----------------------------------------------------------------------------------------------------------


async def test_a_living_token_is_served_while_the_server_fails(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An outage shorter than a third of the lifetime is noticed by nobody; one that outlasts the token is told."""
    server = Server(script=[token("token-1")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
        server.script = [httpx.Response(502)] * 10_000
        await trio.sleep(3500)
        assert await world.get() == "token-1"
        with pytest.raises(Failure) as promised:
            await world.get(lasting=600)
        await trio.sleep(200)
        with pytest.raises(Failure) as caught:
            await world.get()

        for failure in (promised.value, caught.value):
            assert failure.code is Code.UNREACHABLE
            assert "502" in failure.message
        server.script = []
        await trio.sleep(301)
        assert (await world.get()).startswith("token-")


async def test_the_backoff_spares_the_server(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An hour of outage and impatient scripts costs the server some twenty requests, not thousands."""
    server = Server(script=[httpx.ConnectError("refused")] * 10_000)
    async with keeping(tmp_path, PROD, server=server) as world:
        for _ in range(3600):
            with pytest.raises(Failure):
                await world.get()
            await trio.sleep(1)

        assert 10 < len(server.requests) < 40


async def test_a_wrong_password_is_tried_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Lock-outs: a refused password is sent once, over any time, any number of gets, reloads and restarts."""
    server = Server(script=[WRONG_PASSWORD] * 1000)
    for _ in range(3):
        async with keeping(tmp_path, PROD, server=server) as world:
            world.configs.append(config(PROD))
            for _ in range(5):
                with pytest.raises(Failure) as caught:
                    await world.get()
                assert caught.value.code is Code.NEEDS_LOGIN
                await trio.sleep(DAY)
                await world.keeper.reload()
                await settled()
    assert len(server.requests) == 1


async def test_a_wrong_password_is_shared_by_its_profiles(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Two profiles with one account send its wrong password once between them, not once each."""
    server = Server(script=[WRONG_PASSWORD] * 10)
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        world.configs.append(config(PROD, profile("twin")))
        await world.keeper.reload()
        with pytest.raises(Failure) as caught:
            await world.get("twin")

    assert len(server.requests) == 1
    assert "pmcred login twin" in caught.value.hint


async def test_a_changed_password_is_tried(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The stop ends when the secret's value changes: looked at on reload."""
    server = Server(script=[WRONG_PASSWORD])
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        world.configs.append(config(replace(PROD, password=secret("the right one"))))
        await world.keeper.reload()

        assert await world.get() == "token-2"
    assert server.requests[1]["password"] == "the right one"


async def test_login_tries_once_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    """`login` means: try now, whatever stopped it; the account may have been unlocked on the server."""
    server = Server(script=[WRONG_PASSWORD, WRONG_CLIENT])
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        with pytest.raises(Failure):
            await world.keeper.login("prod", 30.0)
        handed = await world.keeper.login("prod", 30.0)

        assert handed.access_token.reveal() == "token-3"
        assert await world.get() == "token-3"


async def test_login_waits_no_longer_than_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A login against a server that does not answer ends with its timeout, and the try goes on."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world:
        with pytest.raises(Failure) as caught:
            await world.keeper.login("prod", 5.0)
        assert caught.value.code is Code.WAITING
        assert server.held is not None
        server.held.set()


async def test_a_crash_during_a_try_counts(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Killed after the password went out and before its answer: twice at most, then a person is asked."""
    sent = 0
    for _ in range(4):
        server = Server(held=trio.Event())
        killed = replace(PROD, timeout=10**6)
        with trio.move_on_after(5):
            async with keeping(tmp_path, killed, server=server) as world:
                # What a kill leaves behind: the commit before the send, and nothing after it.
                world.store.end_tries = world.store.clear_tries = unrecorded  # type: ignore[method-assign]
                await settled()
                sent += len(server.requests)
                assert server.held is not None
                server.script = [httpx.ReadError("killed")]
                server.held.set()
                await settled()
    assert sent == 2


async def test_a_429_pauses_the_whole_origin(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Who was throttled once asks nothing of that origin, for any profile, until Retry-After is over; nobody hangs."""
    server = Server(
        script=[httpx.Response(429, headers={"Retry-After": "120"}, json={"message": "Too Many Attempts."})]
    )
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        world.configs.append(config(PROD, profile("second", username="second")))
        await world.keeper.reload()
        for name in ("prod", "second"):
            with trio.fail_after(5), pytest.raises(Failure) as caught:
                await world.get(name)
            assert caught.value.code is Code.WAITING
        await trio.sleep(121)
        assert await world.get("second") in {"token-2", "token-3"}

    assert server.times[1] - server.times[0] >= 120


async def test_ten_profiles_with_one_wrong_password_send_it_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Even at the start, when all of them are due at once: an account is not locked by its number of profiles."""
    server = Server(script=[WRONG_PASSWORD] * 10, delay=1)
    async with keeping(tmp_path, *(profile(f"p{number}") for number in range(10)), server=server) as world:
        for number in range(10):
            with pytest.raises(Failure):
                await world.get(f"p{number}")

    assert len(server.requests) == 1


async def test_tries_under_way_are_no_crash(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Many users of one client whose server hangs: once it answers again all of them go on, nobody is stopped."""
    server = Server(script=[httpx.ReadTimeout("hangs")] * 12, delay=20)
    async with keeping(
        tmp_path, *(profile(f"p{number}", username=f"u{number}") for number in range(10)), server=server
    ) as world:
        await trio.sleep(3600)
        for number in range(10):
            assert (await world.get(f"p{number}", timeout=600)).startswith("token-")


async def test_a_timeout_does_not_forget_a_refusal(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What one profile heard about a password stands, whatever becomes of another's try with it."""
    server = Server(script=[WRONG_PASSWORD, httpx.ReadTimeout("hangs"), token("token-x")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        world.configs.append(config(PROD, profile("other", username="other")))
        await world.keeper.reload()
        await trio.sleep(60)
        await world.keeper.reload()
        with pytest.raises(Failure):
            await world.get("prod")
    assert [each["username"] for each in server.requests].count("integration") == 1


async def test_a_full_disk_does_not_end_what_works(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A password that has passed is sent again though its try cannot be committed: the profile lives on in memory."""
    async with keeping(tmp_path, PROD) as world:
        await world.get()

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.begin_tries = world.store.save = full  # type: ignore[method-assign]
        await trio.sleep(2 * 3600)
        assert await world.get() != "token-1"
        assert world.keeper.status(["prod"])[0].life.save_problem is not None


async def test_a_remaining_allowance_is_heeded(autojump_clock: MockClock, tmp_path: Path) -> None:
    """X-RateLimit-Remaining lowers our own budget: half of what is left is ours."""
    little = httpx.Response(
        200,
        json={"token_type": "Bearer", "access_token": "a", "expires_in": 3600},
        headers={"X-RateLimit-Remaining": "2"},
    )
    server = Server(script=[little])
    many = [profile(f"p{number}", username=f"u{number}") for number in range(3)]
    async with keeping(tmp_path, PROD, server=server) as world:
        await settled()
        world.configs.append(config(PROD, *many))
        await world.keeper.reload()
        await settled()
        assert len(server.requests) == 2
        await trio.sleep(61)
        assert len(server.requests) == 4


async def test_five_hundred_profiles_start_inside_the_budget(autojump_clock: MockClock, tmp_path: Path) -> None:
    """At the start an origin sees thirty requests a minute, and a `get` on demand goes before the rest."""
    many = [profile(f"p{number:03}", username=f"u{number}") for number in range(500)]
    async with keeping(tmp_path, *many) as world:
        await settled()
        assert len(world.server.requests) == 30

        served = {request["username"] for request in world.server.requests}
        waiting = next(each for each in many if each.username not in served)
        await world.get(waiting.name, timeout=90)
        await settled()

        assert waiting.username in [request["username"] for request in world.server.requests[30:]]
        assert len(world.server.requests) == 60
        await trio.sleep(20 * 60)
        assert len(world.server.requests) == 500
        for start in world.server.times:
            assert sum(start <= moment < start + 60 for moment in world.server.times) <= 30


# --- secrets ----------------------------------------------------------------------------------------------------------


async def test_a_missing_secret_is_told_and_found_later(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that cannot be read stops the profile with the reason; put right, a reload is enough."""
    path = tmp_path / "password"

    async def read(source: object, **_: object) -> Secret:
        assert isinstance(source, LiteralSecret | FileSecret)
        if isinstance(source, LiteralSecret):
            return source.value
        if not path.exists():
            raise secret_sources.SecretUnavailable(f"no file {path}", "make it")
        return Secret(path.read_text())

    # The reading itself needs a thread, and a MockClock runs away from threads; test_secret_sources.py has it.
    monkeypatch.setattr(secret_sources, "read", read)
    needy = replace(PROD, password=FileSecret(str(path)))
    async with keeping(tmp_path, needy) as world:
        with pytest.raises(Failure) as caught:
            await world.get()
        assert caught.value.code is Code.MISCONFIGURED
        assert caught.value.hint == "make it; then: pmcred login prod"
        with pytest.raises(Failure):
            await world.keeper.login("prod", 5.0)
        path.write_text("found")
        world.configs.append(config(needy))
        await world.keeper.reload()

        assert await world.get() == "token-1"
        assert world.server.requests[0]["password"] == "found"


async def test_personal_access_tokens(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A personal access token is handed out as it is, asks no server, is not stored, and is read again on reload."""
    static = profile("report", grant=Grant.PERSONAL_ACCESS_TOKEN, token=secret("personal-1"), password=None)
    async with keeping(tmp_path, static) as world:
        assert await world.get("report") == "personal-1"
        ready = world.keeper.hand_out("report", 8 * 3600)
        assert ready is not None
        assert ready.expires_at is None
        assert world.store.load([identity(static)]) == {}
        world.configs.append(config(replace(static, token=secret("personal-2"))))
        await world.keeper.reload()
        await settled()
        assert await world.get("report") == "personal-2"
        world.configs.append(config(replace(static, token=secret("not a token"))))
        await world.keeper.reload()
        await settled()
        assert await world.get("report") == "personal-2"
        with pytest.raises(Failure, match="bearer token") as caught:
            await world.keeper.login("report", 5.0)
        assert caught.value.code is Code.MISCONFIGURED
        assert world.server.requests == []


async def test_an_expired_personal_access_token_is_told(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired personal access token cannot be renewed: the error says so, and what to do."""

    def expired(_profile: object, value: Secret, *, now: float) -> oauth.Token:
        return oauth.Token(value, "Bearer", 0.0, exp=now - DAY)

    monkeypatch.setattr(oauth, "static_token", expired)
    static = profile("report", grant=Grant.PERSONAL_ACCESS_TOKEN, token=secret("personal-1"), password=None)
    async with keeping(tmp_path, static) as world:
        with pytest.raises(Failure, match="expired on") as caught:
            await world.get("report")
        assert caught.value.code is Code.NEEDS_LOGIN
        assert world.keeper.status(["report"])[0].state == "needs-login"


async def test_the_browser_login_is_not_there_yet(autojump_clock: MockClock, tmp_path: Path) -> None:
    """An authorization_code profile says that it cannot log in yet, and asks no server."""
    async with keeping(tmp_path, replace(PROD, grant=Grant.AUTHORIZATION_CODE)) as world:
        with pytest.raises(Failure) as caught:
            await world.get()
        assert caught.value.code is Code.NEEDS_LOGIN
        assert world.server.requests == []


# --- surviving --------------------------------------------------------------------------------------------------------


async def test_a_token_survives_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A new daemon serves the saved token and asks for none: tokens live a year, and rows there are never purged."""
    server = Server()
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
    async with keeping(tmp_path, PROD, server=server) as world:
        assert await world.get() == "token-1"
        await settled()
    async with keeping(tmp_path, PROD, server=server, clock=TrioClock(boot_id="after-a-reboot")) as world:
        assert await world.get() == "token-1"
    assert len(server.requests) == 1


async def test_a_refresh_token_of_a_grant_that_asks_anew_is_dropped(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What will never be used is not kept: the password grant's refresh token is not in the store."""
    answer = {"token_type": "Bearer", "access_token": "t", "expires_in": 60, "refresh_token": "def502-refresh"}
    async with keeping(tmp_path, PROD, server=Server(script=[httpx.Response(200, json=answer)])) as world:
        await world.get()
        assert world.store.load([identity(PROD)])[identity(PROD)].held.token.refresh_token is None
    assert b"def502-refresh" not in (tmp_path / "state.db").read_bytes()


async def test_a_full_disk_loses_no_token(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that cannot be saved is served, shouted about, and saved once the disk has room."""
    async with keeping(tmp_path, PROD) as world:
        save = world.store.save

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.save = full  # type: ignore[method-assign]
        assert await world.get() == "token-1"
        (state,) = world.keeper.status(["prod"])
        assert state.life.save_problem is not None
        world.store.save = save  # type: ignore[method-assign]
        await trio.sleep(6)
        (state,) = world.keeper.status(["prod"])
        assert state.life.save_problem is None
        assert world.store.load([identity(PROD)])[identity(PROD)].held.token.access_token.reveal() == "token-1"
    assert "the new token is not saved" in caplog.text or not caplog.records


async def test_what_could_not_be_saved_is_saved_at_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The disk has room again just before the daemon leaves: the token is saved on the way out."""
    async with keeping(tmp_path, PROD) as world:
        save = world.store.save

        def full(*_: object, **__: object) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.save = full  # type: ignore[method-assign]
        assert await world.get() == "token-1"
        world.store.save = save  # type: ignore[method-assign]
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        assert world.server.requests == []


async def test_a_pause_that_the_server_names_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Maintenance with a Retry-After: no try comes before it is over, and one comes soon after."""
    busy = httpx.Response(503, headers={"Retry-After": "600"}, json={"message": "Service Unavailable"})
    async with keeping(tmp_path, PROD, server=Server(script=[busy])) as world:
        await trio.sleep(599)
        assert len(world.server.requests) == 1
        await trio.sleep(2)
        assert len(world.server.requests) == 2
        assert await world.get() == "token-2"


async def test_a_try_that_cannot_be_committed_is_not_made(autojump_clock: MockClock, tmp_path: Path) -> None:
    """With an unwritable store no password goes out: a crash could hide the try and cost the account."""
    async with keeping(tmp_path, PROD) as world:

        def broken(keys: Sequence[str]) -> None:
            raise StoreProblem("the disk is full", "df -h")

        world.store.begin_tries = broken  # type: ignore[method-assign]
        with pytest.raises(Failure, match="the disk is full"):
            await world.get()
        assert world.server.requests == []


async def test_what_was_sent_is_awaited_and_saved_at_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A stop while a request is under way waits for its answer and saves it: the server counts it as issued."""
    server = Server(held=trio.Event())
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with keeping(tmp_path, PROD, server=server) as world:
                await settled()
                world.keeper.stop()
                nursery.start_soon(answer)

        async def answer() -> None:
            await settled()
            assert server.held is not None
            server.held.set()

        nursery.start_soon(run)
    async with keeping(tmp_path, PROD, server=server) as world:
        assert await world.get() == "token-1"
    assert len(server.requests) == 1


async def test_who_waits_is_told_that_we_leave(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A `get` that waits when the daemon stops is answered, not cut off."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Failure) as caught:
                await world.get()
            assert caught.value.code is Code.STOPPING

        nursery.start_soon(ask)
        await settled()
        world.keeper.stop()
        assert server.held is not None
        server.held.set()


async def test_a_bug_in_one_exchange_is_told_and_ends_nothing(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own mistake with one profile is an error of that profile, without the values at hand; the rest serves on."""

    def broken(each: object, **_: object) -> None:
        raise RuntimeError("password-of-the-tests")

    async with keeping(tmp_path, PROD, profile("other", username="other")) as world:
        await world.get("other")
        await world.get("prod")
        monkeypatch.setattr(oauth, "token_request", broken)
        with pytest.raises(Failure, match="made a mistake") as caught:
            await world.keeper.login("prod", 5.0)
        assert "password-of-the-tests" not in caught.value.message
        assert await world.get("other") in {"token-1", "token-2"}
        monkeypatch.undo()
        monkeypatch.setattr(oauth, "read_answer", broken)
        with pytest.raises(Failure, match="made a mistake"):
            await world.keeper.login("prod", 5.0)


# --- reloading --------------------------------------------------------------------------------------------------------


async def test_reload_disturbs_nobody_else(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Adding, changing and removing profiles leaves the others' tokens alone."""
    async with keeping(tmp_path, PROD, profile("old", username="old")) as world:
        token_before = await world.get()
        await settled()
        slower = replace(PROD, timeout=99.0)
        world.configs.append(config(slower, profile("new", username="new")))

        report = await world.keeper.reload()

        assert (report.added, report.changed, report.removed, report.unchanged) == (("new",), ("prod",), ("old",), ())
        assert await world.get() == token_before
        assert await world.get("new") == "token-3"
        with pytest.raises(Failure):
            await world.get("old")
        assert [each.name for each in world.keeper.profiles()] == ["new", "prod"]


async def test_a_broken_file_changes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    """With mistakes in the files everything stays as it was, every mistake is told, and told until it is mended."""
    mistakes = (
        Mistake("f.toml", "prod", "url", "is wrong", "write https"),
        Mistake("g.toml", None, None, "is odd", ""),
    )
    async with keeping(tmp_path, PROD) as world:
        await world.get()
        world.configs.append(BadConfig(mistakes))
        with pytest.raises(Failure) as caught:
            await world.keeper.reload()

        assert caught.value.code is Code.MISCONFIGURED
        for mistake in mistakes:
            assert str(mistake) in caught.value.message
        assert world.keeper.config_problem == caught.value.message
        assert await world.get() == "token-1"
        world.configs.append(config(PROD))
        await world.keeper.reload()
        assert world.keeper.config_problem is None


async def test_a_typo_for_ten_seconds_costs_no_token(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A profile that pointed elsewhere for a moment has its old token when it points back."""
    async with keeping(tmp_path, PROD) as world:
        assert await world.get() == "token-1"
        world.configs.append(config(replace(PROD, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        assert await world.get() == "token-2", "another server: never the first one's token"
        await trio.sleep(10)
        world.configs.append(config(PROD))
        await world.keeper.reload()

        assert await world.get() == "token-1"


async def test_a_token_that_comes_for_a_changed_profile_is_not_served(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """An answer that arrives after its profile was pointed elsewhere is dropped; who waited asks again."""
    server = Server(held=trio.Event())
    async with keeping(tmp_path, PROD, server=server) as world, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Failure, match="changed or removed"):
                await world.get()

        nursery.start_soon(ask)
        await settled()
        world.configs.append(config(replace(PROD, url="http://127.0.0.1:2")))
        await world.keeper.reload()
        assert server.held is not None
        server.held.set()
        assert await world.get() == "token-2"


async def test_a_changed_daemon_table_waits_for_the_next_start(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Storage cannot change under a running daemon: the reload says so."""
    async with keeping(tmp_path, PROD) as world:
        world.configs.append(config(PROD, settings=Settings(storage=Storage.RUNTIME)))
        report = await world.keeper.reload()

    assert any("started again" in warning for warning in report.warnings)


async def test_the_last_use_is_noted(autojump_clock: MockClock, tmp_path: Path) -> None:
    """That somebody still asks is written down a few times a day: what nobody asks for in 30 days is let go."""
    long = Server(lifetime=365 * DAY)
    async with keeping(tmp_path, PROD, server=long) as world:
        await world.get()
        await trio.sleep(DAY)
        await world.get()
        await settled()
        saved = world.store.load([identity(PROD)])[identity(PROD)]
        assert saved.asked_at == pytest.approx(world.clock.now().wall)


async def test_what_nobody_asks_for_is_let_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    """After thirty days without a `get` no token is asked for any more; the next `get` has a fresh one."""
    short = Server(lifetime=DAY)
    async with keeping(tmp_path, PROD, server=short) as world:
        await world.get()
        await trio.sleep(40 * DAY)
        count = len(short.requests)
        assert count == pytest.approx(45, abs=2)
        await trio.sleep(10 * DAY)
        assert len(short.requests) == count
        assert await world.get() == f"token-{count + 1}"


async def test_status_tells_how_each_profile_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The state of a profile in one word, with its times."""
    answers = {"live": token("token-1"), "waiting": httpx.Response(503), "stopped": WRONG_PASSWORD}
    names = list(answers)
    server = Server(script=[lambda fields: answers[fields["username"]]] * 3)
    async with keeping(tmp_path, *(profile(name, username=name) for name in names), server=server) as world:
        await settled()
        states = {state.profile.name: state for state in world.keeper.status([])}

        assert {name: state.state for name, state in states.items()} == {name: name for name in names}
        assert states["live"].renew_at == pytest.approx(world.clock.now().wall + 2400)
        assert states["waiting"].renew_at == pytest.approx(world.clock.now().wall, abs=2)
        assert states["stopped"].renew_at is None


async def test_no_secret_in_logs_and_reprs(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happens to a profile, neither its secrets nor its tokens are written to the log."""
    logging.getLogger("pmcredd").propagate = True
    caplog.set_level(logging.DEBUG)
    echo = httpx.Response(400, json={"error": "invalid_grant", "error_description": "no password-of-the-tests here"})
    server = Server(script=[token("secret-token"), echo, httpx.ConnectError("client-secret-of-the-tests")])
    async with keeping(tmp_path, PROD, server=server) as world:
        await world.get()
        for _ in range(2):
            with pytest.raises(Failure) as caught:
                await world.keeper.login("prod", 5.0)
            for value in ("secret-token", "password-of-the-tests", "client-secret-of-the-tests"):
                assert value not in caught.value.message + caught.value.hint + repr(world.keeper.status([]))
    for value in ("secret-token", "password-of-the-tests", "client-secret-of-the-tests"):
        assert value not in caplog.text
    assert caplog.records


def test_the_mock_clock_is_the_only_one(mock_clock: MockClock) -> None:
    """These tests take no real time: a slip to the real clock would show as a stall."""
    assert mock_clock.current_time() >= 0.0
    assert keeper.NOTE_ASKED_EVERY < DAY
