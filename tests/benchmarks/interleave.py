"""Measures contestants in turns, so that a machine that gets slower meanwhile slows all of them; prints ratios.

A serial run (all of A, then all of B) is not fit for a bar of 15 %: its medians drift with the machine's temper.
"""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVERS = str(Path(__file__).with_name("servers.py"))


@dataclass(frozen=True, slots=True)
class Bar:
    """A contestant's limit: at most `limit` times the first contestant's."""

    name: str
    limit: float


def measure(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let every contestant run once a round, in an order that changes; give all their figures (seconds)."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            figure = contestants[name]()
            if number:  # the first round warms caches and counts for nothing
                figures[name].append(figure)
    return figures


def report(figures: Mapping[str, Sequence[float]], bars: Sequence[Bar]) -> bool:
    """Print medians, their ratios to the first contestant, and whether each bar is met; give whether all are.

    The ratio is the median of the rounds' own ratios: each round's neighbours had the same machine.
    """
    first, *_ = figures
    limits = {bar.name: bar.limit for bar in bars}
    width = max(map(len, figures))
    print(f"{'':{width}}  median ms  ratio     bar")
    met = True
    for name, values in figures.items():
        ratio = statistics.median(mine / base for mine, base in zip(values, figures[first], strict=True))
        verdict = ""
        if name in limits:
            good = ratio <= limits[name]
            met &= good
            verdict = f"<= {limits[name]:.2f}  {'met' if good else 'MISSED'}"
        print(f"{name:{width}}  {statistics.median(values) * 1000:9.3f}  {ratio:5.3f}  {verdict}")
    return met


def process_time(argv: list[str], environ: Mapping[str, str]) -> Callable[[], float]:
    """Make a contestant out of a command: the wall time of its whole process, which must succeed.

    posix_spawn, not subprocess: less of the figure is the harness's own.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, 1)]

    def run() -> float:
        start = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter() - start
        if status:
            message = f"{argv} failed: {os.waitstatus_to_exitcode(status)}"
            raise RuntimeError(message)
        return elapsed

    return run


def instructions(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Count the instructions that a command and its children execute, under callgrind: repeatable to 0.1 %."""
    grind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes"]
    done = subprocess.run([*grind, *argv], env=environ, capture_output=True, check=True)
    lines = done.stderr.decode().splitlines()
    return sum(int(line.rpartition(":")[2]) for line in lines if "Collected" in line)


def clean_venv(directory: Path, wheel: Path | None = None) -> Path:
    """Make a venv with the wheel and its runtime dependencies alone; give its bin directory.

    Without a wheel one is built from this tree.
    """
    tree = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel or tree)], check=True)
    return directory / "bin"


@contextmanager
def listening(argv: Sequence[str]) -> Iterator[int]:
    """Run a server within a `with` block, from its first line of output on; give its pid."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield server.pid
        finally:
            server.terminate()


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a running process has used, its children's not included."""
    # proc(5): schedstat counts in nanoseconds, stat only in ticks of 10 ms.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
