"""Where a profile's secret is the matter: one that cannot be read, and one that is the token itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.keeping import PROD, config, keeping, secret
from support.lives import DAY, profile
from trio.testing import MockClock, wait_all_tasks_blocked

from pmcredd import oauth, secret_sources
from pmcredd.profiles import FileSecret, Grant, LiteralSecret
from pmcredd.secret import Secret
from pmcredd.store import identity
from pmcredd.telling import Failure
from pmcredd.wire import Code

pytestmark = pytest.mark.usefixtures("quick_keeper")


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
        await wait_all_tasks_blocked()
        assert await world.get("report") == "personal-2"
        world.configs.append(config(replace(static, token=secret("not a token"))))
        await world.keeper.reload()
        await wait_all_tasks_blocked()
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
