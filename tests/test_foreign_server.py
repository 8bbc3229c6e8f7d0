"""The installed daemon with an OAuth server that is not ours (Authlib): its tokens never die in a client's hands."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w
from support.api_user import Job, at_work, use, wait_until
from support.daemon import Daemon, running, user_at, write_profiles
from support.foreign_server import (
    AUTHORIZE_PATH,
    CLIENT_ID,
    CLIENT_SECRET,
    PASSWORD,
    REDIRECT_URI,
    TOKEN_PATH,
    USERNAME,
    ForeignServer,
    foreign_server,
)
from support.user import User

pytestmark = pytest.mark.storm

GRANTS = ("client_credentials", "password", "authorization_code")


@dataclass(frozen=True, slots=True)
class Run:
    """How long to go on: every profile's token is renewed at least `renewals / profiles` times.

    `rotating` is the life in seconds of the tokens that are refreshed, `people` how many log in beside each other, and
    `lasting` what their clients ask for: a promise of our own choice, where the daemon's would end within the second.
    """

    renewals: int
    rotating: int
    people: int
    lasting: float | None


@pytest.fixture
def server() -> Iterator[ForeignServer]:
    """Serve with tokens that live five seconds."""
    with foreign_server(5, 5) as serving:
        yield serving


def test_the_server_revokes_the_family_of_a_reused_refresh_token(server: ForeignServer) -> None:
    """The server is as strict as it is meant to be: a refresh kills the old pair, and a reuse kills the new one too."""
    code, verifier = server.log_in()
    first = server.spend(grant_type="authorization_code", code=code, redirect_uri=REDIRECT_URI, code_verifier=verifier)[
        1
    ]
    other_code, other_verifier = server.log_in()
    stranger = server.spend(
        grant_type="authorization_code", code=other_code, redirect_uri=REDIRECT_URI, code_verifier=other_verifier
    )[1]
    second = server.spend(grant_type="refresh_token", refresh_token=first["refresh_token"])[1]
    assert [use(server.resource, each["access_token"]) for each in (first, second)] == [401, 200]

    assert server.spend(grant_type="refresh_token", refresh_token=first["refresh_token"]) == (
        400,
        {"error": "invalid_grant"},
    )

    assert use(server.resource, second["access_token"]) == 401
    assert server.spend(grant_type="refresh_token", refresh_token=second["refresh_token"])[0] == 400
    assert use(server.resource, stranger["access_token"]) == 200


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Run(renewals=10, rotating=4, people=1, lasting=1.0), id="10 renewals"),
        pytest.param(Run(renewals=100, rotating=30, people=5, lasting=None), id="100 renewals", marks=pytest.mark.long),
    ],
)
def test_no_token_is_refused_over_many_renewals(tmp_path: Path, run: Run) -> None:
    """Of each grant tokens of seconds are kept fresh, and clients that ask and use all the time meet no refusal."""
    user = user_at(tmp_path)
    with ExitStack() as stack:
        # A server for each grant: an origin of its own, so that none waits for another's share of requests.
        servers = {grant: stack.enter_context(foreign_server(5, run.rotating)) for grant in GRANTS}
        people = [f"person{number}" for number in range(run.people)]
        profiles = {
            "client_credentials": profile(servers["client_credentials"], "client_credentials"),
            "password": profile(servers["password"], "password", username=USERNAME, password=PASSWORD),
        } | {person: profile(servers["authorization_code"], "authorization_code") for person in people}
        write_profiles(user, tomli_w.dumps({"profiles": profiles}))
        daemon = stack.enter_context(running(user))
        log_in(daemon, servers["authorization_code"], people)
        jobs = [
            Job("client_credentials", servers["client_credentials"].resource),
            Job("password", servers["password"].resource),
            *(
                Job(person, servers["authorization_code"].resource, again, run.lasting)
                for person in people
                for again in (False, True)
            ),
        ]

        with at_work(daemon, jobs) as tallies:
            least = {job.profile: run.renewals // (run.people if job.profile in people else 1) for job in jobs}
            wait_until(
                lambda: all(len(tally.tokens) > least[job.profile] for job, tally in zip(jobs, tallies, strict=True)),
                tallies,
            )

        assert [tally.broken for tally in tallies] == [[]] * len(jobs)
        issued = {grant: served.issued() for grant, served in servers.items()}
        assert set(issued["authorization_code"]) == {"authorization_code", "refresh_token"}
        assert issued["authorization_code"]["authorization_code"] == run.people  # nobody had to log in again
        assert issued["authorization_code"]["refresh_token"] >= run.renewals
        for grant in ("client_credentials", "password"):
            assert issued[grant][grant] > run.renewals
        for job, tally in zip(jobs, tallies, strict=True):
            print(f"{job.profile}: {len(tally.tokens) - 1} renewals, {tally.uses} uses, {tally.late} after the promise")


@pytest.fixture
def browser_user(tmp_path: Path, server: ForeignServer) -> User:
    """Give a user with a profile that logs in at the server with a browser."""
    user = user_at(tmp_path)
    ada = profile(server, "authorization_code", authorize_path=AUTHORIZE_PATH)
    write_profiles(user, tomli_w.dumps({"profiles": {"ada": ada}}))
    return user


def test_a_browser_logs_in_at_a_server_that_is_not_ours(browser_user: User, server: ForeignServer) -> None:
    """Code, state and PKCE as another reader of the RFCs has them; then refreshes keep the token alive."""
    with running(browser_user) as daemon:
        done = browser_user.run("login", "ada", BROWSER="curl -sSLo /dev/null %s")
        assert done.returncode == 0, done.stderr
        first = browser_user.run("get", "ada").stdout.strip()
        assert use(server.resource, first) == 200
        with at_work(daemon, [Job("ada", server.resource)]) as (tally,):
            wait_until(lambda: len(tally.tokens) > 2, [tally])
        assert tally.broken == []
        assert server.issued()["authorization_code"] == 1


def test_who_declines_at_a_server_that_is_not_ours_is_not_logged_in(browser_user: User) -> None:
    """The refusal comes back with the state, and is told in the terminal."""
    with running(browser_user):
        done = browser_user.run("login", "ada", BROWSER="curl -sSLo /dev/null -A declines %s")
        assert done.returncode == 4
        assert "nothing was saved" in done.stderr
        assert browser_user.run("get", "ada").returncode == 4


def profile(server: ForeignServer, grant: str, **more: str) -> dict[str, str]:
    """Write a profile for the server."""
    return {
        "url": server.url,
        "token_path": TOKEN_PATH,
        "grant": grant,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **more,
    }


def log_in(daemon: Daemon, server: ForeignServer, people: Sequence[str]) -> None:
    """Log in as a browser would, and hand the codes to the daemon."""
    for person in people:
        code, verifier = server.log_in()
        answer = daemon.ask(f"login {person} code={code} redirect_uri={REDIRECT_URI} code_verifier={verifier}")
        assert answer.startswith("ok\n"), answer
