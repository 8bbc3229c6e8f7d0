"""Clients of a daemon that use what they are given, and know a broken promise from their own slowness."""

import faulthandler
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from support.daemon import Daemon

PAUSE = 0.02  # seconds between two uses: all the time, but the machine has other work too
JUST_BEFORE = 0.05  # seconds before its end that a token is used again: the request has to arrive in time


@dataclass(frozen=True, slots=True)
class Job:
    """What a client does: `get profile`, use it at `url`, and if `again` once more just before its promise ends.

    `lasting` is the `for=` of its `get`, in seconds; None leaves it to the daemon.
    """

    profile: str
    url: str
    again: bool = False
    lasting: float | None = None


@dataclass(slots=True)
class Tally:
    """What a client saw. `broken` tells of refused tokens and of `get`s that failed; no token is in it.

    A refusal that came after the end of the promise is the client's own slowness: `late`.
    """

    uses: int = 0
    again: int = 0
    late: int = 0
    tokens: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)


def read_block(answer: str) -> dict[str, str]:
    """Give the fields of an answer of one block."""
    pairs = (line.partition("=") for line in answer.splitlines()[1:] if line)
    return {name: unquote(value) for name, _, value in pairs}


def use(url: str, token: str) -> int:
    """Use a token once; gives the HTTP status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request("GET", parts.path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def ask_and_use(daemon: Daemon, job: Job, tally: Tally, stop: threading.Event) -> None:
    """Ask for the profile's token and use it, over and over until told to stop."""
    line = f"get {job.profile}" if job.lasting is None else f"get {job.profile} for={job.lasting:g}"
    while not stop.wait(PAUSE):
        asked = time.time()
        answer = daemon.ask(line)
        fields = read_block(answer)
        if not answer.startswith("ok\n"):
            tally.broken.append(f"{line}: {answer.splitlines()[:1]} {fields.get('message')}")
            continue
        token, end = fields["access_token"], float(fields["good_until"])  # whole seconds, rounded down
        end = end if job.lasting is None else max(end, asked + job.lasting)
        tally.tokens.add(token)
        _use_once(job, token, end, tally)
        if job.again and not stop.wait(max(0.0, end - JUST_BEFORE - time.time())):
            tally.again += 1
            _use_once(job, token, end, tally)


def _use_once(job: Job, token: str, end: float, tally: Tally) -> None:
    status = use(job.url, token)
    left = end - time.time()
    tally.uses += 1
    if status != 200:
        if status == 401 and left <= 0:
            tally.late += 1
        else:
            tally.broken.append(f"{job.profile}: {status}, {left:.3f} s before the end of its promise")


@contextmanager
def at_work(daemon: Daemon, jobs: Sequence[Job], *others: Callable[[threading.Event], None]) -> Iterator[list[Tally]]:
    """Run the jobs beside each other, and the others too, as long as the block runs; gives a tally for each job."""
    tallies = [Tally() for _ in jobs]
    stop = threading.Event()
    with ThreadPoolExecutor(len(jobs) + len(others)) as pool:
        running = [pool.submit(ask_and_use, daemon, *pair, stop) for pair in zip(jobs, tallies, strict=True)]
        running += [pool.submit(other, stop) for other in others]
        try:
            yield tallies
        finally:
            stop.set()
        for each in running:
            each.result()


def wait_until(done: Callable[[], bool], tallies: Sequence[Tally]) -> None:
    """Wait until it is done, or until a promise was broken: then there is nothing more to wait for."""
    faulthandler.cancel_dump_traceback_later()  # pytest's: it would take a long run for one that hangs
    ticking = threading.Event()
    while not done() and not any(tally.broken for tally in tallies):
        ticking.wait(0.2)
