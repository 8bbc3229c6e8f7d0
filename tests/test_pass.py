"""Secrets from the real `pass`, which is what most people's `command` runs: unlocked, locked and prompting in vain."""

from collections.abc import Iterator

import pytest
from support.pass_store import PassStore, needs_pass, pass_store

from pmcredd.profiles import CommandSecret
from pmcredd.secret import Secret
from pmcredd.secret_sources import SecretUnavailable, read

CANARY = "hunter2-canary"
SHOW = ("pass", "show", "pm/prod")

pytestmark = needs_pass


@pytest.fixture
def store() -> Iterator[PassStore]:
    """Give a password store with one secret, locked."""
    with pass_store() as store:
        store.insert("pm/prod", CANARY)
        store.lock()
        yield store


async def test_an_unlocked_store_gives_its_secret(store: PassStore) -> None:
    """The agent that gpg started may stay behind: it holds nothing of ours open."""
    store.unlock("pm/prod")
    assert await read(CommandSecret(SHOW), environ=store.environ) == Secret(CANARY)


async def test_a_locked_store_is_told_at_once_and_not_waited_for(store: PassStore) -> None:
    """Where the passphrase cannot be asked for, gpg gives up by itself; the mend, run by hand, is what unlocks it."""
    with pytest.raises(SecretUnavailable) as caught:
        await read(CommandSecret(SHOW, timeout=30), environ=store.environ)
    assert "failed with exit status 2: gpg: " in caught.value.sentence
    assert "run it by hand in a terminal" in caught.value.mend
    store.unlock("pm/prod")
    assert await read(CommandSecret(SHOW), environ=store.environ) == Secret(CANARY)


async def test_a_prompt_that_nobody_answers_ends_at_the_time_limit(store: PassStore) -> None:
    """A pinentry on an empty screen: an error in time; an answer that comes later is not lost."""
    store.ask_on_an_empty_screen()
    with pytest.raises(SecretUnavailable, match="did not end within its time limit of 2 s") as caught:
        await read(CommandSecret(SHOW, timeout=2), environ=store.environ)
    assert "run it by hand in a terminal" in caught.value.mend
    store.come_back()
    assert await read(CommandSecret(SHOW), environ=store.environ) == Secret(CANARY)


async def test_a_secret_that_is_not_in_the_store_is_told_as_that(store: PassStore) -> None:
    """In the words of pass."""
    with pytest.raises(SecretUnavailable, match="pm/test is not in the password store"):
        await read(CommandSecret(("pass", "show", "pm/test")), environ=store.environ)


async def test_an_entry_with_more_than_the_password_is_refused(store: PassStore) -> None:
    """People keep a user name below it; the first line alone is one `head` away, as docs/profiles.md says."""
    store.insert("pm/prod", f"{CANARY}\nuser: integration\n")
    store.unlock("pm/prod")
    with pytest.raises(SecretUnavailable, match="has more than one line"):
        await read(CommandSecret(SHOW), environ=store.environ)
    first_line = CommandSecret(("sh", "-c", "pass show pm/prod | head -n 1"))
    assert await read(first_line, environ=store.environ) == Secret(CANARY)
