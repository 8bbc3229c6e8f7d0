"""Personal access tokens that near their end are told in the log."""

import base64
import json
import logging
from pathlib import Path

import pytest
import trio
from support.keeping import keeping
from support.lives import WALL, profile

from pmcredd import reminding
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.secret import Secret
from pmcredd.telling import Status

DAY = 86_400.0


def personal(name: str, ends: float) -> Profile:
    """Give a profile of a personal access token that ends at this unix time."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends, "jti": name}).encode()).decode().rstrip("=")
    token = LiteralSecret(Secret(f"eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl"))
    return profile(name, grant=Grant.PERSONAL_ACCESS_TOKEN, token=token, client_secret=None, password=None)


def nobody_else(_status: Status) -> None:
    """Nobody else is told."""


async def test_each_token_is_told_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Within the hour after it has 14 days left, with what to do, and then never again."""
    caplog.set_level(logging.WARNING, "pmcredd")
    async with keeping(tmp_path, personal("soon", WALL + 20 * DAY), personal("later", WALL + 400 * DAY)) as world:
        await world.get("soon")
        await world.get("later")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reminding.remind, world.keeper, nobody_else)
            await trio.sleep(5.9 * DAY)
            assert caplog.records == []
            await trio.sleep(0.2 * DAY)
            nursery.cancel_scope.cancel()
        assert len(caplog.records) == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reminding.remind, world.keeper, nobody_else)
            await trio.sleep(3 * DAY)
            nursery.cancel_scope.cancel()
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("soon: the personal access token ends in 14 days, and nothing can renew it (make a new")
    assert second.startswith("soon: the personal access token ends in 13 days")
