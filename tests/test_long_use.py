"""A token that was handed out works until its promise ends, whatever is renewed meanwhile and whoever complains."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tomli_w
from support.api_user import PAUSE, Job, at_work, read_block, wait_until
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import SandboxProcess, sandbox_process

from pmcredd.sandbox.instances import CODE

pytestmark = pytest.mark.storm

PATH = "/api/1.0/users"


@dataclass(frozen=True, slots=True)
class Run:
    """`refreshes` in all, of tokens that live `lifetime` seconds, of `profiles` in each of `instances`.

    Each instance is an origin of its own, so that the refreshes stay within our share of its requests. `lasting` is
    what the clients ask for: a promise of our own choice, where the daemon's would end within the second.
    """

    refreshes: int
    lifetime: int
    instances: int
    profiles: int
    lasting: float | None


@dataclass(slots=True)
class Complainer:
    """A broken job: whatever token its profile has, it reports it as refused, all the time."""

    daemon: Daemon
    profile: str
    answers: list[str] = field(default_factory=list)

    def __call__(self, stop: threading.Event) -> None:
        """Complain until told to stop."""
        while not stop.wait(PAUSE):
            fingerprint = self._status().get("fingerprint")
            if fingerprint is not None:
                self.answers.append(self.daemon.ask(f"reject {self.profile} fingerprint={fingerprint}").split("\n")[0])

    def _status(self) -> dict[str, str]:
        return read_block(self.daemon.ask(f"status {self.profile}"))


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Run(refreshes=20, lifetime=6, instances=2, profiles=3, lasting=1.0), id="20 refreshes"),
        pytest.param(
            Run(refreshes=300, lifetime=30, instances=4, profiles=7, lasting=None),
            id="300 refreshes",
            marks=pytest.mark.long,
        ),
    ],
)
def test_no_token_is_refused_before_its_promise_ends(tmp_path: Path, run: Run) -> None:
    """Used at once and again just before good_until, no token is refused; who rejects living ones changes nothing."""
    user = user_at(tmp_path)
    with ExitStack() as stack:
        sandboxes = [
            stack.enter_context(sandbox_process("--token-lifetime", f"{run.lifetime}s")) for _ in range(run.instances)
        ]
        places = {
            f"place{where}-{number}": sandbox
            for where, sandbox in enumerate(sandboxes)
            for number in range(run.profiles)
        }
        write_profiles(user, tomli_w.dumps({"profiles": {name: profile(place) for name, place in places.items()}}))
        daemon = stack.enter_context(running(user))
        for name, place in places.items():
            answer = daemon.ask(f"login {name} code={place.code()}")
            assert answer.startswith("ok\n"), answer
        complainer = Complainer(daemon, "place0-0")
        # Two beside each other: their promises overlap, and the renewal has to find a moment all the same.
        jobs = [Job(name, place.url + PATH, True, run.lasting) for name, place in places.items() for _ in range(2)]

        with at_work(daemon, jobs, complainer) as tallies:
            each = -(-run.refreshes // len(places))
            wait_until(lambda: all(len(tally.tokens) > each for tally in tallies), tallies)

        assert [tally.broken for tally in tallies] == [[]] * len(jobs)
        refreshes = [refreshes_of(sandbox) for sandbox in sandboxes]
        total = sum(len(rows) for rows in refreshes)
        assert total >= run.refreshes
        # A refresh before its time could only come of the complaints.
        soonest = min(life for rows in lives(sandboxes) for life in rows)
        assert soonest > run.lifetime * 2 / 3 - 0.5
        assert "error not-rejected" in complainer.answers
        assert set(complainer.answers) <= {"ok", "error not-rejected"}  # ok: it was replaced, or being replaced
        print(
            f"{total} refreshes, {sum(tally.uses for tally in tallies)} uses, {sum(tally.again for tally in tallies)} "
            f"just before the end, {sum(tally.late for tally in tallies)} refused after the promise, "
            f"{len(complainer.answers)} complaints ({complainer.answers.count('ok')} ok), "
            f"soonest refresh after {soonest:.2f} s"
        )


def profile(sandbox: SandboxProcess) -> dict[str, str]:
    """Write a profile whose refresh kills the token in use."""
    return {
        "url": sandbox.url,
        "grant": "authorization_code",
        "client_id": CODE.id,
        "client_secret": CODE.secret,
    }


def refreshes_of(sandbox: SandboxProcess) -> list[dict[str, object]]:
    """Give the refreshes that a sandbox has carried out."""
    return [row for row in sandbox.log() if row["grant"] == "refresh_token" and row["acted"]]


def lives(sandboxes: list[SandboxProcess]) -> list[list[float]]:
    """Give how many seconds after its issue each refresh token was spent, for each sandbox."""
    found = []
    for sandbox in sandboxes:
        born = {row["issued_refresh"]: float(str(row["monotonic"])) for row in sandbox.log()}
        found.append([float(str(row["monotonic"])) - born[row["spent"]] for row in refreshes_of(sandbox)])
    return found
