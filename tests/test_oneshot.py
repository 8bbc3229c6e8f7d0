"""What a process does that answers one request, where the daemon comes and goes and the disk refuses."""

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from support.fake_daemon import TOKEN, FakeDaemon
from support.keeping import config
from support.lives import profile
from support.sandbox import SandboxHere, sandbox_in_process

from pmcredd import oneshot
from pmcredd.client import AccessToken, PmcredError
from pmcredd.engine import state_directory
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.sandbox.instances import PASSWORD, USERS
from pmcredd.secret import Secret
from pmcredd.state_lock import StateBusy, StateLock, StateProblem
from pmcredd.store import Store, StoreProblem, identity

OWN = profile("prod", grant=Grant.PERSONAL_ACCESS_TOKEN, token=LiteralSecret(Secret("a-token-of-its-own")))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give the state directory."""
    return tmp_path / "state"


async def get(
    directory: Path,
    wanted: Profile = OWN,
    *,
    timeout: float = 30.0,
    lasting: float | None = None,
    refresh: bool = True,
    said: list[str] | None = None,
) -> AccessToken:
    """Get one token."""
    environ = {**os.environ, "PMCRED_STATE_DIR": str(directory)}
    say: Callable[[str], None] = print if said is None else said.append
    wish = oneshot.Wish(lasting, timeout, refresh)
    found = await oneshot._get(config(wanted), wanted, wish, environ, say=say)
    assert isinstance(found, AccessToken)
    return found


# --- a daemon that holds the lock -------------------------------------------------------------------------------------


@pytest.fixture
def daemons_lock(directory: Path) -> Iterator[StateLock]:
    """Hold the lock as a daemon that listens (or does not) beside it."""
    lock = StateLock.take(directory, directory / "socket")
    yield lock
    lock.release()


async def test_a_daemon_that_begins_to_listen_is_asked(directory: Path, daemons_lock: StateLock) -> None:
    """A daemon that has the lock and does not listen yet is waited for, and asked as soon as it does."""
    answers = iter([b"error stopping\nmessage=it%20leaves\n\n", b""])

    def answer(request: bytes) -> bytes:
        token = f"ok\naccess_token={TOKEN}\ntoken_type=Bearer\nprofile=prod\nurl=https://pm.example\n\n".encode()
        return next(answers, token)

    daemon = FakeDaemon(directory / "socket", answer)
    found: list[AccessToken] = []

    async def ask() -> None:
        found.append(await get(directory, lasting=20.0))

    with daemon:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
    assert found[0].access_token == TOKEN
    assert len(daemon.requests) == 3, "it was leaving, and hung up on us, before it answered"
    assert daemon.requests[-1].endswith(b" for=20")


async def test_what_the_daemon_refuses_is_refused(directory: Path, daemons_lock: StateLock) -> None:
    """The daemon's own error is the answer: the process does not try to know better."""
    refusal = b"error needs-login\nmessage=nobody%20is%20logged%20in\nhint=pmcred%20login%20prod\n\n"
    with FakeDaemon(directory / "socket", lambda _: refusal), pytest.raises(PmcredError) as caught:
        await get(directory)

    assert (caught.value.code, caught.value.hint, caught.value.exit_status) == ("needs-login", "pmcred login prod", 4)


async def test_a_daemon_that_goes_leaves_the_work_to_us(directory: Path) -> None:
    """When the lock becomes free the process takes it and does the work itself."""
    lock = StateLock.take(directory, directory / "socket")
    tokens: list[str] = []

    async def ask() -> None:
        tokens.append((await get(directory)).access_token)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        lock.leaving()
        await trio.testing.wait_all_tasks_blocked()
        lock.release()
    assert tokens == ["a-token-of-its-own"]


async def test_a_holder_that_stays_is_named(directory: Path, daemons_lock: StateLock) -> None:
    """Who never gets the lock says who has it, within the time it was given."""
    with pytest.raises(StateBusy, match=str(os.getpid())):
        await get(directory, timeout=0.1)


# --- where the state is -----------------------------------------------------------------------------------------------


def test_a_container_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME, and with a uid that nobody entered, no directory named ~ is made where the job happens to stand."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    with pytest.raises(StateProblem, match="HOME is not set") as caught:
        state_directory(config(OWN), {})
    assert "PMCRED_STATE_DIR" in caught.value.hint
    assert state_directory(config(OWN), {"PMCRED_STATE_DIR": "/state"}) == Path("/state")


# --- a disk that refuses ----------------------------------------------------------------------------------------------


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the disk refuse as many saves as there are names in this list."""
    left: list[str] = []
    save = Store.save

    def refuse(store: Store, saved: Profile, *arguments: object, **more: object) -> None:
        if left:
            left.pop()
            raise StoreProblem("the disk is full", "df -h")
        save(store, saved, *arguments, **more)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Store, "save", refuse)
    return left


def at_sandbox(sandbox: SandboxHere) -> Profile:
    """Give a password profile for a sandbox."""
    demo = USERS[0]
    return profile(
        "prod",
        url=sandbox.url,
        client_id=PASSWORD.id,
        client_secret=LiteralSecret(Secret(PASSWORD.secret)),
        username=demo.username,
        password=LiteralSecret(Secret(demo.password)),
    )


def on_disk(directory: Path, wanted: Profile) -> str | None:
    """Give the token that is saved."""
    store = Store.open(directory / "state.db")
    saved = store.load([identity(wanted)]).get(identity(wanted))
    store.close()
    return None if saved is None else saved.held.token.access_token.reveal()


async def test_a_save_that_failed_is_tried_again_before_the_end(directory: Path, refusals: list[str]) -> None:
    """A token that the disk refused is handed out, and saved on the way out if there is room by then."""
    refusals.append("once")
    said: list[str] = []
    async with sandbox_in_process() as sandbox:
        wanted = at_sandbox(sandbox)
        token = (await get(directory, wanted, said=said)).access_token

    assert on_disk(directory, wanted) == token
    assert said == []


async def test_a_token_that_cannot_be_saved_is_told(directory: Path, refusals: list[str]) -> None:
    """If there is no room to the end the token is handed out all the same, and people are told that it is lost."""
    refusals += ["at first", "at the end"]
    said: list[str] = []
    async with sandbox_in_process() as sandbox:
        wanted = at_sandbox(sandbox)
        token = (await get(directory, wanted, said=said)).access_token

    assert token
    assert on_disk(directory, wanted) is None
    assert said == ["the new token of prod is lost after this use: the disk is full"]
