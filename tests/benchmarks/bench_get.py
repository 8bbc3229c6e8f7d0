"""What `pmcred get` costs: its whole process against `python -IS -c pass`.

Run it in tests/: python -m benchmarks.bench_get
Bars: 1.15 directly, 1.25 through a symbolic link.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.interleave import (
    SERVERS,
    Bar,
    clean_venv,
    instructions,
    listening,
    measure,
    process_time,
    report,
)


def main() -> int:
    """Measure, print, and give 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    parser.add_argument("--socket", type=Path, help="a daemon that runs already, with --profile; default: a stand-in")
    parser.add_argument("--profile", default="prod")
    parser.add_argument("--callgrind", action="store_true", help="count instructions too (needs valgrind)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch:
        place = Path(scratch)
        bin_directory = options.bin or clean_venv(place / "venv")
        python = str(bin_directory / "python")
        path = options.socket or place / "run" / "socket"
        link = place / "pmcred"
        link.symlink_to(bin_directory / "pmcred")
        environ = {"PATH": os.environ["PATH"], "PMCRED_SOCKET": str(path), "LC_ALL": "C.UTF-8"}
        commands = {
            "python -IS -c pass": [python, "-IS", "-c", "pass"],
            "pmcred get": [str(bin_directory / "pmcred"), "get", options.profile],
            "pmcred get, by a link": [str(link), "get", options.profile],
            "pmcred header --for": [str(bin_directory / "pmcred"), "header", options.profile, "--for=30s"],
            "python -c pass": [python, "-c", "pass"],
        }
        with contextlib.nullcontext() if options.socket else listening([python, SERVERS, "ours", str(path)]):
            runs = {name: process_time(argv, environ) for name, argv in commands.items()}
            figures = measure(runs, options.rounds)
            met = report(figures, [Bar("pmcred get", 1.15), Bar("pmcred get, by a link", 1.25)])
            if options.callgrind:
                base = None
                for name, argv in commands.items():
                    count = instructions(argv, environ)
                    base = base or count
                    print(f"{name}: {count / 1e6:.1f} M instructions, {count / base:.3f}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
