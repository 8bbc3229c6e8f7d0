"""A keeper that somebody logs out of: profiles of every kind, and what is left of their tokens."""

from pathlib import Path

import pytest
import trio

from pmcredd import telling
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import PASSWORD, PERSONAL, USERS, Sandbox
from pmcredd.secret import Secret
from pmcredd.telling import Failure
from pmcredd.wire import Code
from support.lives import WALL
from support.refreshing import YEAR, Refreshing

SCRIPT = Profile(
    name="prod",
    url="http://127.0.0.1:1",
    grant=Grant.PASSWORD,
    client_id=PASSWORD.id,
    client_secret=LiteralSecret(Secret(PASSWORD.secret)),
    username=USERS[0].username,
    password=LiteralSecret(Secret(USERS[0].password)),
)


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
