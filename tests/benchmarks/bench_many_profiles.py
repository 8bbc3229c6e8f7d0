"""What ten thousand profiles cost the daemon, beside ten, a hundred and a thousand in the same run.

Run it in tests/: python -m benchmarks.bench_many_profiles, with an interpreter that has the extra `sandbox`.
Half of the profiles are personal access tokens written into the file, half password grants of one sandbox. First none
of those has a token, and they wait for their turn in the sandbox's budget; then all have one in the store, as after
hours of waiting.

Bar: linear or better. With ten times the profiles the start, the memory they add and the processor time while nobody
asks grow at most tenfold, and a get costs what it costs beside ten.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import tomli_w
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import sandbox_process
from support.user import User

from benchmarks.bench_memory import memory
from benchmarks.bench_start import environment, first_answer
from benchmarks.interleave import clean_venv, cpu_seconds, measure
from pmcredd import config_files, paths
from pmcredd.clock import SystemClock
from pmcredd.oauth import Token
from pmcredd.profiles import Grant
from pmcredd.sandbox.instances import PASSWORD, USERS
from pmcredd.secret import Secret
from pmcredd.store import Store
from pmcredd.validity import Held

SIZES = (10, 100, 1000, 10000)
GETS = 500  # in one measurement: the processor's clock is not so fine that one would do
NOISE = 1.25  # a machine that is used for other things too
IDLE = 5.0  # processor ms a second: what an idle process may use however few profiles it has
PAGES = 8.0  # MiB: what one run of the same process differs from another by
SETTLED = 12.0  # seconds: the first requests are over, and a thread without work has ended (after ten)


def profiles_toml(count: int, url: str) -> str:
    """Write as many profiles; the even ones are tokens, the odd ones password grants."""
    password = {
        "url": url,
        "grant": "password",
        "client_id": PASSWORD.id,
        "client_secret": PASSWORD.secret,
        "username": USERS[0].username,
        "password": USERS[0].password,
    }
    profiles: dict[str, dict[str, str]] = {}
    for number in range(0, count, 2):
        token = f"token-{number}-".ljust(1000, "x")
        profiles[f"p{number}"] = {"url": url, "grant": "personal_access_token", "token": token}
        profiles[f"p{number + 1}"] = password
    return tomli_w.dumps({"profiles": profiles})


def give_tokens(user: User) -> None:
    """Save a token for each password grant, as a daemon does that has had the time to ask for them."""
    now = SystemClock().now()
    store = Store.open(paths.state_dir(user.environ) / "state.db")
    store._db.execute("PRAGMA synchronous = OFF")  # thousands at once, which nobody will miss
    for profile in config_files.load(user.environ).profiles.values():
        if profile.grant is Grant.PASSWORD:
            token = Token(Secret(profile.name.ljust(1000, "x")), "Bearer", 365 * 86400.0)
            store.save(profile, Held(token, now), serial=1, asked_at=now.wall)
    store.close()


def processor_per_get(daemon: Daemon, name: str) -> Callable[[], float]:
    """Make a contestant out of a daemon: the processor time (seconds) that a get costs it."""

    def run() -> float:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(daemon.user.socket))
            before = cpu_seconds(daemon.pid)
            for _ in range(GETS):
                connection.sendall(f"get {name}\n".encode())
                answer = connection.recv(65536)
                while not answer.endswith(b"\n\n"):
                    answer += connection.recv(65536)
                if not answer.startswith(b"ok\n"):
                    raise RuntimeError(answer)
            return (cpu_seconds(daemon.pid) - before) / GETS

    return run


def start_times(users: Mapping[int, User], command: Path, rounds: int) -> dict[int, float]:
    """Measure from the process's start to its first answer (seconds), one after the other; give medians."""
    runs = {
        str(size): first_answer([str(command)], environment(user), user.socket, f"get p{size // 2 & ~1}\n".encode())
        for size, user in users.items()
    }
    return {int(size): statistics.median(values) for size, values in measure(runs, rounds).items()}


def added(held: Mapping[int, int]) -> dict[int, float]:
    """Give what the profiles add (MiB) to the memory of a process with the fewest; prints it for one of the most."""
    first, most = SIZES[0], SIZES[-1]
    each = (held[most] - held[first]) / (most - first)
    print(f"{first} profiles: {held[first] / 1024:.1f} MiB, {most}: {held[most] / 1024:.1f} MiB: {each:.1f} KiB each")
    return {size: (held[size] - held[first]) / 1024 for size in SIZES[1:]}


def verdict(
    label: str, unit: str, figures: Mapping[int, float], limits: Sequence[float], *, least: float = 0.0
) -> bool:
    """Print a figure for each size, with its ratio to the size before and the limit for that; give whether all hold.

    Figures below `least` are noise, and count as that.
    """
    met = True
    print(label)
    before: float | None = None
    for (size, figure), limit in zip(figures.items(), (0.0, *limits), strict=True):
        line = f"  {size:6} profiles  {figure:10.3f} {unit}"
        if before is not None:
            ratio = max(figure, least) / max(before, least)
            met &= ratio <= limit
            line += f"   x {ratio:6.2f}  <= {limit:.2f}  {'met' if ratio <= limit else 'MISSED'}"
        print(line)
        before = figure
    return met


def main() -> int:
    """Measure, print, and give 1 if something grows faster than the number of profiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of starts, and of gets")
    parser.add_argument("--span", type=float, default=60.0, help="seconds for which nobody asks")
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    options = parser.parse_args()
    with ExitStack() as tools:
        place = Path(tools.enter_context(tempfile.TemporaryDirectory(prefix="pmcred-bench-")))
        url = tools.enter_context(sandbox_process("--throttle", "off")).url
        command = (options.bin or clean_venv(place / "venv")) / "pmcredd"
        users: dict[int, User] = {}
        for size in SIZES:
            (place / str(size)).mkdir()
            users[size] = user_at(place / str(size))
            write_profiles(users[size], profiles_toml(size, url))
        commands = [str(command)]
        with ExitStack() as fresh:
            daemons = {size: fresh.enter_context(running(user, command=commands)) for size, user in users.items()}
            time.sleep(SETTLED)
            waiting = {size: memory(daemon.pid).rss for size, daemon in daemons.items()}
        for user in users.values():
            give_tokens(user)
        starts = start_times(users, command, options.rounds)
        daemons = {size: tools.enter_context(running(user, command=commands)) for size, user in users.items()}
        time.sleep(SETTLED)
        used = {size: cpu_seconds(daemon.pid) for size, daemon in daemons.items()}
        time.sleep(options.span)
        idle = {size: (cpu_seconds(daemon.pid) - used[size]) / options.span for size, daemon in daemons.items()}
        held = {size: memory(daemon.pid).rss for size, daemon in daemons.items()}
        gets = measure(
            {str(size): processor_per_get(daemon, f"p{size // 2 & ~1}") for size, daemon in daemons.items()},
            options.rounds,
        )
    growth = [size / before for before, size in pairwise(SIZES)]
    met = [
        verdict("from the start to the first answer", "s", starts, growth),
        verdict("memory that the profiles add", "MiB", added(held), growth[1:], least=PAGES),
        verdict("the same where half of them wait for a token", "MiB", added(waiting), growth[1:], least=PAGES),
        verdict(
            f"processor time while nobody asks, of {options.span:g} s",
            "ms/s",
            {size: figure * 1000 for size, figure in idle.items()},
            growth,
            least=IDLE,
        ),
        verdict(
            "processor time that a get costs",
            "us",
            {
                size: statistics.median(values) * 1e6
                for size, values in ((int(key), each) for key, each in gets.items())
            },
            [NOISE] * len(growth),
        ),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
