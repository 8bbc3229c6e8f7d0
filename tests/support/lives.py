"""Building blocks for tests of a profile's life: moments, tokens, profiles, a clock, a worker without a thread."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from pmcredd.oauth import Token
from pmcredd.profiles import Grant, LiteralSecret, Profile
from pmcredd.secret import Secret
from pmcredd.store import StoreProblem
from pmcredd.validity import Held, Moment

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WALL = 1_700_000_000.0
BOOT = 1000.0
DAY = 86_400.0


def moment(seconds: float = 0.0, *, wall_step: float = 0.0, boot_id: str = "this-boot") -> Moment:
    """Give the moment so many seconds after the test's beginning; `wall_step` is how far the wall clock was set."""
    return Moment(boot=BOOT + seconds, wall=WALL + seconds + wall_step, boot_id=boot_id)


def held(lifetime: float | None = 3600.0, *, at: float = 0.0, value: str = "token-1", saved: bool = True) -> Held:
    """Give a token that was asked for `at` seconds after the beginning."""
    return Held(Token(Secret(value), "Bearer", lifetime), moment(at), saved)


def profile(name: str = "prod", **changes: object) -> Profile:
    """Give a password profile; `changes` replace its fields."""
    fields: dict[str, object] = {
        "name": name,
        "url": "http://127.0.0.1:1",
        "grant": Grant.PASSWORD,
        "client_id": "2",
        "client_secret": LiteralSecret(Secret("client-secret-of-the-tests")),
        "username": "integration",
        "password": LiteralSecret(Secret("password-of-the-tests")),
    }
    return Profile(**{**fields, **changes})  # type: ignore[arg-type]  # the fields are checked where they are used


def disk_full(*_: object, **__: object) -> None:
    """Stand in for a call of the store: there is no room."""
    raise StoreProblem("the disk is full", "df -h")


class TrioClock:
    """Boot time is trio's clock, so that a MockClock moves both; `set_wall` sets the wall clock as an admin would.

    Two of them in one test agree: the second stands for the clock that a restarted daemon finds.
    """

    def __init__(self, boot_id: str = "this-boot") -> None:
        self._step = 0.0
        self._slept = 0.0
        self.boot_id = boot_id

    def now(self) -> Moment:
        """Give this instant."""
        gone = trio.current_time() + self._slept
        return Moment(boot=BOOT + gone, wall=WALL + gone + self._step, boot_id=self.boot_id)

    def set_wall(self, step: float) -> None:
        """Step the wall clock by so many seconds."""
        self._step += step

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: boot time and wall time go on, trio's clock does not."""
        self._slept += seconds


class Inline:
    """A worker without a thread: a MockClock would run away while a thread works."""

    async def do(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run the call here and now."""
        await trio.lowlevel.checkpoint()
        return call(*args)
