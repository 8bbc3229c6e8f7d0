"""Commands run on what happens to real profiles, and renewals do not feel them."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import trio
from support.keeping import WRONG_PASSWORD, Server, World, config, keeping
from support.lifeline import LifeLine
from support.lives import profile
from support.recorder import Gate, Recorder

from pmcredd import events
from pmcredd.life import Retry
from pmcredd.profiles import EventCommand, EventName, LiteralSecret, Settings
from pmcredd.secret import Secret
from pmcredd.telling import Failure

NEEDS_LOGIN, RENEWED, FAILING, EXPIRING = EventName
AWAY = httpx.ConnectError("the network is down")


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Tell what commands were told."""
    recorder = Recorder(tmp_path / "recorder")
    yield recorder
    recorder.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Hold commands up."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LifeLine]:
    """Tell whether the processes of this test still live."""
    line = LifeLine(tmp_path / "line")
    yield line
    line.close()


def renew(world: World, name: str = "prod") -> None:
    """Let the next token be asked for now."""
    keeper = world.keeper
    keeper._driver.happen(keeper._rows.resolve(name), Retry())


async def renewed(world: World, name: str = "prod") -> str:
    """Wait for a token other than the one in hand."""
    old = await world.get(name)
    renew(world, name)
    row = world.keeper._rows.resolve(name)
    while row.life.held is None or row.life.held.token.access_token.reveal() == old:
        await world.keeper._driver.changed(row)
    return await world.get(name)


async def test_the_first_token_and_each_further_one_are_told(tmp_path: Path, recorder: Recorder) -> None:
    """With the token for whom it is meant for, with the next only after it."""
    commands = {RENEWED: EventCommand(recorder.command(), token=True)}
    async with keeping(tmp_path, profile(), on_event=commands) as world:
        first = await world.get()
        assert (await recorder.next())["access_token"] == first
        second = await renewed(world)
        told = await recorder.next()
    assert (told["event"], told["access_token"]) == ("renewed", second)
    async with keeping(tmp_path, profile(), on_event=commands) as world:
        assert await world.get() == second  # it was on disk: no news
        third = await renewed(world)
        assert (await recorder.next())["access_token"] == third


async def test_a_login_that_is_needed_is_told_once_and_again_after_the_next(tmp_path: Path, recorder: Recorder) -> None:
    """A wrong password: a get, a reload, a login in vain are the same trouble; after a token it is a new one."""
    server = Server([WRONG_PASSWORD, WRONG_PASSWORD])
    commands = {event: EventCommand(recorder.command()) for event in (NEEDS_LOGIN, RENEWED)}
    async with keeping(tmp_path, profile(), server=server, on_event=commands) as world:
        told = await recorder.next()
        assert (told["event"], told["state"], told["reason"]) == ("needs-login", "stopped", "bad-credentials")
        assert "pmcred profile edit prod" in str(told["hint"])
        for again in (world.get, lambda: world.keeper.login("prod", 30)):
            with pytest.raises(Failure, match="password"):
                await again()
        world.configs.append(config(profile(), settings=world.keeper.settings))
        await world.keeper.reload()
        assert len(server.requests) == 2
        await world.keeper.login("prod", 30)
        assert (await recorder.next())["event"] == "renewed"
        server.script.append(WRONG_PASSWORD)
        renew(world)
        assert (await recorder.next())["event"] == "needs-login"


async def test_a_failure_is_told_when_it_lasts(
    tmp_path: Path, mock_clock: trio.testing.MockClock, recorder: Recorder
) -> None:
    """Not the first minute, in which a network comes up; once; and not the night that the machine slept through."""
    server = Server([AWAY] * 100)
    commands = {FAILING: EventCommand(recorder.command())}
    async with keeping(tmp_path, profile(), server=server, on_event=commands) as world:
        while world.keeper.status([])[0].life.problem is None:
            await trio.lowlevel.checkpoint()
        world.clock.suspend(36_000)
        for _ in range(5):
            mock_clock.jump(10)
            await trio.testing.wait_all_tasks_blocked()
        assert len(server.requests) > 1
        assert not world.events._seen["prod"].told
        mock_clock.jump(15)
        told = await recorder.next()
    assert (told["event"], told["state"]) == ("failing", "waiting")
    assert "cannot reach" in str(told["message"])


async def test_a_trouble_that_heals_before_its_command_ran_is_not_told(
    tmp_path: Path, recorder: Recorder, gate: Gate
) -> None:
    """While another command of the profile runs, a login was needed and done: nobody is alarmed afterwards."""
    commands = {
        RENEWED: EventCommand(recorder.command(gate.script)),
        NEEDS_LOGIN: EventCommand(recorder.command()),
    }
    server = Server()
    async with keeping(tmp_path, profile(), server=server, on_event=commands) as world:
        await world.get()
        assert (await recorder.next())["event"] == "renewed"
        server.script.append(WRONG_PASSWORD)
        with pytest.raises(Failure, match="password"):
            await world.keeper.login("prod", 30)
        await world.keeper.login("prod", 30)
        gate.let_go()
        told = await recorder.next()
        assert told["event"] == "renewed"
        gate.let_go()


async def test_a_command_that_hangs_delays_no_renewal_and_no_other_profile(
    tmp_path: Path, recorder: Recorder, gate: Gate
) -> None:
    """Tokens come and go meanwhile; the next command of its profile runs when it has ended, for the latest token."""
    commands = {RENEWED: EventCommand(recorder.command(gate.script), timeout=600.0, token=True)}
    names = ("prod", "staging")
    profiles = [profile(name, url=f"http://127.0.0.1:{port}") for port, name in enumerate(names, 1)]
    async with keeping(tmp_path, *profiles, on_event=commands) as world:
        tokens = [await world.get(name) for name in names]
        assert {(await recorder.next())["access_token"] for _ in names} == set(tokens)
        latest = [await renewed(world) for _ in range(3)][-1]
        for _ in names:
            gate.let_go()
        assert (await recorder.next())["access_token"] == latest
        gate.let_go()


async def test_a_command_that_cannot_be_run_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recorder: Recorder
) -> None:
    """With the profile, the program, the event and why; without its arguments. The next one runs all the same."""
    caplog.set_level(logging.INFO, "pmcredd")
    commands = {
        RENEWED: EventCommand(("no-such-program", "canary-argument")),
        NEEDS_LOGIN: EventCommand(recorder.command()),
    }
    server = Server()
    async with keeping(tmp_path, profile(), server=server, on_event=commands) as world:
        await world.get()
        server.script.append(WRONG_PASSWORD)
        renew(world)
        assert (await recorder.next())["event"] == "needs-login"
    lines = [record.getMessage() for record in caplog.records if "on_event" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("prod: the on_event command 'no-such-program' for renewed: it is not on PATH")
    assert "canary-argument" not in caplog.text


async def test_a_reload_changes_the_commands(tmp_path: Path, recorder: Recorder, gate: Gate) -> None:
    """Whoever writes a command need not restart the daemon to see it run; one that is taken away does not run."""
    server = Server([WRONG_PASSWORD])
    login, new = EventCommand(recorder.command()), EventCommand(recorder.command(gate.script))

    async def reload(on_event: Mapping[EventName, EventCommand]) -> None:
        world.configs.append(config(profile(), settings=Settings(on_event=on_event)))
        assert (await world.keeper.reload()).warnings == ()

    async with keeping(tmp_path, profile(), server=server, on_event={}) as world:
        with pytest.raises(Failure, match="password"):
            await world.get()
        await reload({NEEDS_LOGIN: login, RENEWED: new})
        assert (await recorder.next())["event"] == "needs-login"
        await world.keeper.login("prod", 30)
        assert (await recorder.next())["event"] == "renewed"
        server.script.append(WRONG_PASSWORD)
        with pytest.raises(Failure, match="password"):
            await world.keeper.login("prod", 30)  # its command waits for the other one
        await reload({})
        gate.let_go()
        while world.events._limits:
            await trio.lowlevel.checkpoint()
        await reload({RENEWED: new})
        await world.keeper.login("prod", 30)
        assert (await recorder.next())["event"] == "renewed"
        gate.let_go()


async def test_a_profile_that_is_gone_is_forgotten(tmp_path: Path, recorder: Recorder) -> None:
    """Nothing runs for it any more; when it comes back, its trouble is told as at a start."""
    server = Server([WRONG_PASSWORD])
    commands = {NEEDS_LOGIN: EventCommand(recorder.command())}
    other = profile("other", password=LiteralSecret(Secret("another-password")))
    async with keeping(tmp_path, profile(), other, server=server, on_event=commands) as world:
        first = await recorder.next()
        settings = world.keeper.settings
        left = [each for each in (profile(), other) if each.name != first["profile"]]
        for profiles in (left, (profile(), other)):
            world.configs.append(config(*profiles, settings=settings))
            await world.keeper.reload()
        assert (await recorder.next())["profile"] == first["profile"]


async def test_a_token_that_nears_its_end_is_told_like_in_the_log(tmp_path: Path, recorder: Recorder) -> None:
    """The reminder of the log passes it on; without a command for it nothing happens."""
    async with keeping(tmp_path, profile(), on_event={EXPIRING: EventCommand(recorder.command())}) as world:
        await world.get()
        world.events.expiring(world.keeper.status(["prod"])[0])
        assert (await recorder.next())["event"] == "expiring"
    async with keeping(tmp_path, profile(), on_event={}) as world:
        world.events.expiring(world.keeper.status(["prod"])[0])
        assert world.events._queue.take(0.0) is None


async def test_a_command_has_a_last_moment_when_the_daemon_leaves(
    tmp_path: Path, recorder: Recorder, line: LifeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is killed, whatever its time limit is; and nothing is started any more."""
    monkeypatch.setattr(events, "LAST_SECONDS", 0.1)
    commands = {RENEWED: EventCommand(recorder.command(f"exec sleep 1000 > {line.path}"), timeout=600.0)}
    with trio.fail_after(30):
        async with keeping(tmp_path, profile(), on_event=commands) as world:
            await world.get()
            await recorder.next()
            await renewed(world)
        assert await line.hear() == b""


async def test_a_bug_here_does_not_reach_the_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a line in the log; the token is there."""

    def broken(*_: object) -> None:
        message = "canary-in-a-bug"
        raise RuntimeError(message)

    monkeypatch.setattr("pmcredd.event_rules.look", broken)
    monkeypatch.setattr("pmcredd.event_command.told", broken)
    commands = {event: EventCommand(("true",)) for event in EventName}
    async with keeping(tmp_path, profile(), on_event=commands) as world:
        assert await world.get() == "token-1"
        world.events.expiring(world.keeper.status(["prod"])[0])
        await trio.testing.wait_all_tasks_blocked()
        assert await renewed(world) == "token-2"
    assert "pmcredd itself made a mistake (RuntimeError in broken" in caplog.text
    assert "canary" not in caplog.text


async def test_a_circle_is_told_and_put_off(
    tmp_path: Path, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A command that brings a new token each time runs a few times, then waits, and the log says so."""
    commands = {RENEWED: EventCommand(recorder.command())}
    async with keeping(tmp_path, profile(), on_event=commands) as world:
        await world.get()
        while "seems to bring it about" not in caplog.text:
            await recorder.next()
            await renewed(world)  # as `pmcred login` in the command would
        assert (
            "prod: the on_event command for renewed seems to bring it about, or is too slow: it runs again in 10 s"
            in (caplog.text)
        )
        assert world.events._queue.next_at() > trio.current_time() + 5
