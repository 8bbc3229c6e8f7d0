"""Watching: a real keeper behind a real socket, and what those who watch are pushed."""

from dataclasses import replace

import pytest
from support.house import Block, house
from support.keeping import WRONG_PASSWORD, Server, config, token
from support.lives import profile

from pmcredd import watching, wire
from pmcredd.secret import Secret
from pmcredd.telling import Failure


def fingerprint(text: str) -> str:
    """Name a token."""
    return Secret(text).fingerprint()


def told(blocks: list[Block], *keys: str) -> list[tuple[str | None, ...]]:
    """Give these fields of each block."""
    return [tuple(block.get(key) for key in keys) for block in blocks]


async def test_first_how_things_are_then_what_happens() -> None:
    """One block for each profile at once; then a new token is told without anybody asking, and never shown."""
    async with house() as here:
        watcher = await here.watch()
        first, second = await watcher.next(2)
        assert told([first, second], "event", "profile", "state") == [
            ("present", "prod", "live"),
            ("present", "staging", "live"),
        ]
        assert first["fingerprint"] == await here.now()
        assert {"expires_at", "good_until", "renew_at", "url"} <= first.keys()
        await here.world.keeper.login("staging", 30)
        (news,) = await watcher.next()
        assert told([news], "event", "profile", "state", "fingerprint") == [
            ("token", "staging", "live", await here.now("staging"))
        ]
        assert "access_token" not in {*first, *second, *news}


async def test_the_token_itself_is_told_to_who_asks_for_it() -> None:
    """token=yes, and nothing else that looks like it."""
    async with house() as here:
        watcher = await here.watch(b"watch prod token=yes\n")
        assert (await watcher.next())[0]["access_token"] == await here.world.get("prod")
        await here.world.keeper.login("prod", 30)
        assert (await watcher.next())[0]["access_token"] == "token-3"
        refused = await here.ask(b"watch prod token=true\n")
        assert isinstance(refused, wire.Error)
        assert refused.code == "bad-request"


async def test_one_profile_is_watched_alone() -> None:
    """What happens to others is not told; a name that no profile has is an error, and a URL will do."""
    async with house() as here:
        watcher = await here.watch(b"watch staging\n")
        assert told(await watcher.next(), "profile") == [("staging",)]
        await here.world.keeper.login("prod", 30)
        await here.world.keeper.login("staging", 30)
        assert told(await watcher.next(), "event", "profile", "fingerprint") == [
            ("token", "staging", await here.now("staging"))
        ]
        unknown = await here.ask(b"watch nowhere\n")
        assert isinstance(unknown, wire.Error)
        assert unknown.code == "no-such-profile"
        several = await here.ask(b"watch http://127.0.0.1:1/api\n")
        assert isinstance(several, wire.Error)
        assert several.code == "ambiguous"


async def test_trouble_and_its_end_are_told() -> None:
    """A refused password is pushed with the error and the hint, and so is the token that comes after it."""
    async with house() as here:
        watcher = await here.watch(b"watch prod\n")
        await watcher.next()
        before = await here.now()
        here.world.server.script = [WRONG_PASSWORD]
        with pytest.raises(Failure):
            await here.world.keeper.login("prod", 30)
        (stopped,) = await watcher.next()
        assert told([stopped], "event", "state", "fingerprint") == [("state", "stopped", before)]
        assert "refused" in stopped["last_error"]
        assert "pmcred" in stopped["hint"]
        await here.world.keeper.login("prod", 30)
        renewing, renewed = await watcher.next(2)
        assert told([renewing, renewed], "event", "state", "fingerprint") == [
            ("state", "renewing", before),
            ("token", "live", await here.now()),
        ]
        assert "last_error" not in renewed


async def test_a_reload_that_adds_and_removes_shows() -> None:
    """Profiles come and go; who watches one that goes is told, and told again when it comes back."""
    async with house() as here:
        everything, one = await here.watch(), await here.watch(b"watch staging\n")
        await everything.next(2)
        await one.next()
        here.world.configs.append(config(profile("prod"), profile("extra")))
        await here.world.keeper.reload()
        gone, come = await everything.next(2)
        assert gone == {"event": "removed", "profile": "staging"}
        assert told([come], "event", "profile") == [("added", "extra")]
        assert await one.next() == [gone]
        here.world.configs.append(config(profile("prod"), profile("staging")))
        await here.world.keeper.reload()
        (back,) = await one.next()
        assert told([back], "event", "profile", "fingerprint") == [("added", "staging", await here.now("staging"))]


async def test_who_half_closes_is_told_how_all_profiles_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: `watch` with nothing more to say is a snapshot, and leaves nothing behind."""
    monkeypatch.setattr(watching, "AT_A_TIME", 4)
    names = [f"p{number}" for number in range(9)]
    async with house(None, *names) as here:
        watcher = await here.watch()
        await watcher.stream.send_eof()
        assert told(await watcher.next(1000), "event", "profile") == [("present", name) for name in names]
        assert not here.heard()


async def test_a_slow_watcher_is_told_the_latest_only() -> None:
    """Ten tokens later it is told of one, as a new token, whatever happened last; what it missed is nowhere kept."""
    async with house() as here:
        watch = here.watching.watch(None, token=False)
        reader = wire.AnswerReader()
        assert len(list(reader.feed(await anext(watch)))) == 3
        for _ in range(10):
            await here.world.keeper.login("prod", 30)
        here.world.server.script = [WRONG_PASSWORD]
        with pytest.raises(Failure):
            await here.world.keeper.login("prod", 30)
        await here.world.keeper.login("staging", 30)
        events = [event for event in reader.feed(await anext(watch)) if isinstance(event, wire.Block)]
        assert told([dict(event.fields) for event in events], "event", "profile", "state", "fingerprint") == [
            ("token", "prod", "stopped", fingerprint("token-12")),
            ("token", "staging", "live", fingerprint("token-14")),
        ]
        watch.end()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_what_a_slow_watcher_missed_comes_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many profiles changed, no piece holds more than a few: nothing large is made for who may never read it."""
    monkeypatch.setattr(watching, "AT_A_TIME", 4)
    names = [f"p{number}" for number in range(9)]
    async with house(None, *names) as here:
        watch = here.watching.watch(None, token=False)
        reader = wire.AnswerReader()
        present = [len(list(reader.feed(await anext(watch)))) for _ in range(3)]
        assert present == [1 + 4, 4, 1]
        for name in names:
            await here.world.keeper.login(name, 30)
        pieces = [list(reader.feed(await anext(watch))) for _ in range(3)]
        assert [len(piece) for piece in pieces] == [4, 4, 1]
        found = [event.fields["profile"] for piece in pieces for event in piece if isinstance(event, wire.Block)]
        assert found == names
        watch.end()


async def test_a_profile_that_came_and_went_unseen_is_told_as_it_is() -> None:
    """Removed and added again before the watcher looked: it is there."""
    async with house() as here:
        watch = here.watching.watch(None, token=False)
        await anext(watch)
        for profiles in ([profile("prod")], [profile("prod"), profile("staging")], [profile("prod")]):
            here.world.configs.append(config(*profiles))
            await here.world.keeper.reload()
        reader = wire.AnswerReader()
        assert list(reader.feed(wire.STREAM_HEAD + await anext(watch)))[1:] == [
            wire.Block({"event": "removed", "profile": "staging"})
        ]
        watch.end()


async def test_while_nobody_watches_nothing_is_kept() -> None:
    """The last watcher that leaves takes everything with it, and the next one finds things as they are."""
    async with house() as here:
        first, second = await here.watch(), await here.watch(b"watch prod\n")
        await first.next(2)
        await second.next()
        assert here.heard()
        await first.stream.send_eof()
        assert await first.next() == []
        await here.world.keeper.login("prod", 30)
        assert told(await second.next(), "fingerprint") == [(fingerprint("token-3"),)]
        await second.stream.send_eof()
        assert await second.next() == []
        assert not here.heard()
        await here.world.keeper.login("prod", 30)
        third = await here.watch(b"watch prod\n")
        assert told(await third.next(), "event", "fingerprint") == [("present", fingerprint("token-4"))]


async def test_a_second_watcher_is_told_how_things_are_now() -> None:
    """Not how they were when the first one came."""
    async with house() as here:
        await (await here.watch()).next(2)
        await here.world.keeper.login("prod", 30)
        second = await here.watch()
        assert told(await second.next(2), "event", "fingerprint") == [
            ("present", await here.now()),
            ("present", await here.now("staging")),
        ]


async def test_a_renewal_that_is_put_off_is_no_news() -> None:
    """Only what somebody could act on makes a line: a told change without one is held back."""
    async with house() as here:
        watcher = await here.watch(b"watch prod\n")
        await watcher.next()
        row = here.world.keeper._rows.resolve("prod")
        row.life = replace(row.life, wake=(row.life.wake or 0.0) + 60)
        here.driver.tell(row)
        await here.world.keeper.login("prod", 30)
        assert told(await watcher.next(), "event") == [("token",)]


async def test_200_watchers_hear_of_one_token_and_delay_no_get() -> None:
    """Every one of them, of the same token, at the cost of one renewal; a get in between is answered."""
    async with house(Server(script=[token("first"), token("second"), token("third")])) as here:
        watchers = [await here.watch() for _ in range(200)]
        for watcher in watchers:
            await watcher.next(2)
        await here.world.keeper.login("prod", 30)
        answer = await here.ask(b"get prod\n")
        assert isinstance(answer, wire.Ok)
        assert answer.blocks[0]["access_token"] == "third"
        for watcher in watchers:
            assert told(await watcher.next(), "event", "fingerprint") == [("token", fingerprint("third"))]
        assert len(here.world.server.requests) == 3


async def test_a_profile_that_is_gone_is_told_as_gone_once() -> None:
    """What still happens to it afterwards (a late answer, the daemon's end) is nobody's news."""
    async with house() as here:
        gone = here.world.keeper._rows.resolve("staging")
        here.world.configs.append(config(profile("prod")))
        await here.world.keeper.reload()
        watcher = await here.watch()
        await watcher.next()
        here.driver.tell(gone)
        await here.world.keeper.login("prod", 30)
        assert told(await watcher.next(), "event", "profile") == [("token", "prod")]
