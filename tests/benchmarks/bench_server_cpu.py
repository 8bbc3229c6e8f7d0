"""What a `get` costs the daemon: processor time against a bare trio.socket line server that answers 1 KB.

One connection per get, as `pmcred get` makes them. Bar: 1.30. Run it in tests/: python -m benchmarks.bench_server_cpu
"""

import argparse
import contextlib
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.interleave import SERVERS, Bar, clean_venv, cpu_seconds, listening, measure, report


def gets(path: str, request: bytes, pid: int, count: int) -> Callable[[], float]:
    """Make a contestant: the server's processor seconds per get, over `count` gets."""

    def run() -> float:
        before = cpu_seconds(pid)
        for _ in range(count):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.sendall(request)
                answer = connection.recv(65536)
                if not answer.startswith(b"ok\n") or not answer.endswith(b"\n\n"):
                    raise RuntimeError(answer[:40])
        return (cpu_seconds(pid) - before) / count

    return run


def main() -> int:
    """Measure, print, and give 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--gets", type=int, default=500, help="per round and server")
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    parser.add_argument("--pid", type=int, help="a daemon that runs already, with --socket; default: a stand-in")
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--profile", default="prod")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch, contextlib.ExitStack() as servers:
        place = Path(scratch)
        python = str((options.bin or clean_venv(place / "venv")) / "python")
        bare, ours = str(place / "bare"), str(options.socket or place / "run" / "socket")
        request = f"get {options.profile}\n".encode()
        bare_pid = servers.enter_context(listening([python, SERVERS, "bare", bare]))
        ours_pid = options.pid or servers.enter_context(listening([python, SERVERS, "ours", ours]))
        runs = {
            "bare server": gets(bare, request, bare_pid, options.gets),
            "pmcredd": gets(ours, request, ours_pid, options.gets),
        }
        return 0 if report(measure(runs, options.rounds), [Bar("pmcredd", 1.30)]) else 1


if __name__ == "__main__":
    sys.exit(main())
