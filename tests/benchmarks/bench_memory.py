"""What the idle daemon holds in memory: ten live profiles against a process that has built one HTTP client.

Run it in tests/: python -m benchmarks.bench_memory, with an interpreter that has the extra `sandbox`. Bar: 1.15, of
VmRSS. Beside it Pss and private dirty pages (smaps_rollup), which leave out what other processes share.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import sandbox_process

from benchmarks.bench_start import environment
from benchmarks.interleave import clean_venv
from pmcredd.sandbox.instances import PASSWORD, USERS

PROFILES = 10
BAR = 1.15

FLOOR = """\
import sys

import httpx
import trio


async def main(make):
    async with make():
        print("ready", flush=True)
        await trio.sleep_forever()


def trusting_the_system():
    import ssl

    import truststore

    return httpx.AsyncClient(verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


makers = {
    "default": httpx.AsyncClient,
    "truststore": trusting_the_system,
    "unverified": lambda: httpx.AsyncClient(verify=False),
}
trio.run(main, makers[sys.argv[1]])
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one process holds, in KiB; None where the system does not tell us (a daemon that is not dumpable)."""

    rss: int
    pss: int | None
    private_dirty: int | None


def memory(pid: int) -> Memory:
    """Read it from proc(5)."""
    rss = _fields(Path(f"/proc/{pid}/status"))["VmRSS"]
    try:
        rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    except PermissionError:  # only root sees a process that is not dumpable
        return Memory(rss, None, None)
    return Memory(rss, rollup["Pss"], rollup["Private_Dirty"])


def _fields(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}


@contextmanager
def with_a_client(python: Path, script: Path, kind: str, environ: Mapping[str, str]) -> Iterator[int]:
    """Run a process that has built one client; gives its pid."""
    argv = [str(python), str(script), kind]
    with subprocess.Popen(argv, env=dict(environ), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"{argv} did not start")
            yield process.pid
        finally:
            process.terminate()


def settled(pid: int) -> int:
    """Wait until a daemon has nothing more to do; gives its pid back.

    It loads what a renewal will need a second after its start, in a thread, and a thread without work ends after ten
    seconds: once there is no other thread left, that is done.
    """
    deadline = time.monotonic() + 60
    while len(list(Path(f"/proc/{pid}/task").iterdir())) > 1:
        if time.monotonic() > deadline:
            raise TimeoutError("the daemon does not come to rest")
        time.sleep(0.2)
    return pid


def live(daemon: Daemon) -> int:
    """Get every profile's token once; gives the daemon's pid."""
    for number in range(PROFILES):
        answer = daemon.ask(f"get sandbox{number}")
        if not answer.startswith("ok\n"):
            raise RuntimeError(answer)
    return daemon.pid


def profiles_toml(url: str) -> str:
    """Write profiles of the sandbox, each a token of its own."""
    profile = {
        "url": url,
        "grant": "password",
        "client_id": PASSWORD.id,
        "client_secret": PASSWORD.secret,
        "username": USERS[0].username,
        "password": USERS[0].password,
    }
    return tomli_w.dumps({"profiles": {f"sandbox{number}": profile for number in range(PROFILES)}})


def report(figures: Mapping[str, Sequence[Memory]], judged: Sequence[str]) -> bool:
    """Print medians and ratios to the first contestant; give whether the judged ones meet the bar."""
    first, *_ = figures
    width = max(map(len, figures))
    print(f"{'':{width}}  RSS MiB  ratio  Pss MiB  ratio  private dirty MiB  ratio  bar (RSS)")
    met = True
    columns: tuple[Callable[[Memory], int | None], ...] = (
        lambda one: one.rss,
        lambda one: one.pss,
        lambda one: one.private_dirty,
    )
    for name, measured in figures.items():
        line = f"{name:{width}}"
        for column, wide in zip(columns, (7, 7, 17), strict=True):
            pairs = list(zip(map(column, measured), map(column, figures[first]), strict=True))
            known = [(mine, base) for mine, base in pairs if mine is not None and base is not None]
            if not known:
                line += f"  {'-':>{wide}}  {'-':>5}"
                continue
            ratio = statistics.median(mine / base for mine, base in known)
            line += f"  {statistics.median(mine for mine, _ in known) / 1024:{wide}.2f}  {ratio:5.3f}"
        if name in judged:
            good = statistics.median(m.rss / b.rss for m, b in zip(measured, figures[first], strict=True)) <= BAR
            met &= good
            line += f"  <= {BAR:.2f} {'met' if good else 'MISSED'}"
        print(line)
    return met


def main() -> int:
    """Measure, print, and give 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="each takes twelve seconds, most of them waiting")
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    options = parser.parse_args()
    figures: dict[str, list[Memory]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch,
        sandbox_process("--throttle", "off") as sandbox,
    ):
        place = Path(scratch)
        bin_directory = options.bin or clean_venv(place / "venv")
        script = place / "floor.py"
        script.write_text(FLOOR)
        for number in range(options.rounds):
            (home := place / str(number)).mkdir()
            user = user_at(home)
            write_profiles(user, profiles_toml(sandbox.url))
            environ = environment(user)
            command = [str(bin_directory / "pmcredd")]
            with ExitStack() as alive:
                pids = {
                    label: alive.enter_context(with_a_client(bin_directory / "python", script, kind, environ))
                    for label, kind in {
                        "trio, httpx, one client": "default",
                        "the same with truststore's CAs": "truststore",
                        "the same with verify=False": "unverified",
                    }.items()
                }
                with running(user, command=command) as first:
                    live(first)
                    pids["pmcredd, has asked for 10 tokens"] = settled(first.pid)
                    for label, pid in pids.items():
                        figures.setdefault(label, []).append(memory(pid))
                with running(user, command=command) as second:
                    live(second)
                    found = memory(settled(second.pid))
                    figures.setdefault("pmcredd, has found 10 tokens", []).append(found)
    return 0 if report(figures, [label for label in figures if label.startswith("pmcredd")]) else 1


if __name__ == "__main__":
    sys.exit(main())
