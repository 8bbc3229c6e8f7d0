"""What systemd is told of the daemon: signs of life while it serves, and a line that tells what a person has to do."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing

from pmcredd import announcing
from pmcredd.announcing import Announcing, summary
from pmcredd.systemd import Manager
from pmcredd.telling import State, Status

if TYPE_CHECKING:
    from pmcredd.driver import Driver
    from pmcredd.keeper import Keeper


class Kept:
    """Some profiles, and their driver: what an Announcing asks of the real ones, whose own tests are elsewhere."""

    def __init__(self) -> None:
        self.states: list[Status] = []
        self.config_problem: str | None = None
        self.listeners: list[Callable[[object], None]] = []

    def status(self, _: list[str]) -> list[Status]:
        return self.states


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


def be(*pairs: tuple[str, State]) -> list[Status]:
    """Give statuses that have a name and a state."""
    found = []
    for name, state in pairs:
        status = object.__new__(Status)
        object.__setattr__(status, "profile", Named(name))
        object.__setattr__(status, "state", state)
        found.append(status)
    return found


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """A manager's ear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


@pytest.fixture
def kept() -> Kept:
    """No profiles."""
    return Kept()


def announcer(ear: socket.socket, kept: Kept, *, watchdog: float | None = None) -> Announcing:
    """Give one that tells this ear, which waits `watchdog` seconds for a sign of life."""
    return Announcing(Manager(ear.getsockname(), watchdog), cast("Keeper", kept), cast("Driver", kept))


def heard(ear: socket.socket) -> list[str]:
    """Give everything that was told so far."""
    found = []
    while True:
        try:
            found.append(ear.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (be(), "no profile yet"),
        (be(("a", State.LIVE)), "1 profile: 1 live"),
        (
            be(("a", State.LIVE), ("b", State.NEEDS_LOGIN), ("c", State.LIVE), ("d", State.STOPPED)),
            "4 profiles: 2 live, 1 needs-login (b), 1 stopped (d)",
        ),
        (be(*((name, State.NEEDS_LOGIN) for name in "abcd")), "4 profiles: 4 needs-login (a, b, c, ...)"),
    ],
)
def test_the_line_names_what_a_person_has_to_mend(states: list[Status], line: str) -> None:
    """Counts for all states, names for those that no time heals, and few of them."""
    assert summary(states, None) == line


def test_the_line_tells_of_profiles_with_mistakes() -> None:
    """A reload that failed stays visible until one succeeds."""
    assert "mistakes" in summary(be(("a", State.LIVE)), "profiles.toml: x")


async def test_signs_of_life_come_twice_as_often_as_needed(
    ear: socket.socket, kept: Kept, autojump_clock: trio.testing.MockClock
) -> None:
    """A manager that waits 10 s hears us every 5, so that one late sign is not the end."""
    with trio.move_on_after(21):
        await announcer(ear, kept, watchdog=10).run()

    assert heard(ear).count("WATCHDOG=1") == 5


async def test_only_changes_are_told(ear: socket.socket, kept: Kept, autojump_clock: trio.testing.MockClock) -> None:
    """The same line is not told again; what changes together is told once; what makes no sound is noticed later."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer(ear, kept).run)
        await trio.testing.wait_all_tasks_blocked()
        assert heard(ear) == ["STATUS=no profile yet"]
        for count in range(1, 4):
            kept.states = be(*((name, State.LIVE) for name in "abc"[:count]))
            for hear in kept.listeners:
                hear(None)
        await trio.sleep(announcing.LOOK_AGAIN * 3)
        assert heard(ear) == ["STATUS=3 profiles: 3 live"]
        kept.config_problem = "x"
        await trio.sleep(announcing.LOOK_AGAIN)
        assert "mistakes" in heard(ear)[0]
        nursery.cancel_scope.cancel()

    assert kept.listeners == []


async def test_without_systemd_nothing_runs(kept: Kept) -> None:
    """Nobody to tell costs nothing: it ends at once."""
    await Announcing(Manager(), cast("Keeper", kept), cast("Driver", kept)).run()


async def test_a_reload_ends_whatever_comes_of_it(ear: socket.socket, kept: Kept) -> None:
    """READY follows RELOADING also where the reload breaks: systemd would wait for it for ever."""

    async def broken() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await announcer(ear, kept).reload(broken)

    first, second = heard(ear)
    assert first.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert second.startswith("READY=1\n")
