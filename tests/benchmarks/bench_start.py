"""From start to the first answer: pmcredd with a stored token against a script that imports trio and answers one line.

Run it in tests/: python -m benchmarks.bench_start, with an interpreter that has the extra `sandbox`. Bar: 1.15.
The script takes nothing from disk: that a token outlives the process (SQLite) and that profiles are files (TOML) is
part of the figure, and so are the check of both and the locks.
"""

import argparse
import errno
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.daemon import user_at, write_profiles
from support.sandbox import sandbox_process
from support.user import User

from benchmarks.interleave import Bar, clean_venv, measure, report

FLOOR = """\
import socket
import sys

import trio


async def main(path):
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen()
        connection, _ = await listener.accept()
        with connection:
            await connection.recv(8192)
            await connection.send(b"ok\\naccess_token=" + b"t" * 1000 + b"\\n\\n")
            await trio.sleep_forever()


trio.run(main, sys.argv[1])
"""

NOT_YET = {errno.ENOENT, errno.ECONNREFUSED}


def first_answer(argv: list[str], environ: Mapping[str, str], path: Path, request: bytes) -> Callable[[], float]:
    """Make a contestant out of a command that serves: the wall time from its start to its first complete answer."""
    nothing = os.open(os.devnull, os.O_RDWR)
    silent = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1, 2)]
    name = os.fspath(path)

    def run() -> float:
        start = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, environ, file_actions=silent)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                while error := connection.connect_ex(name):  # without a pause: whatever it is would be in the figure
                    if error not in NOT_YET or time.perf_counter() > start + 30:
                        raise OSError(error, os.strerror(error), name)
                connection.sendall(request)
                answer = connection.recv(65536)
                while data := not answer.endswith(b"\n\n") and connection.recv(65536):
                    answer += data
            elapsed = time.perf_counter() - start
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            path.unlink(missing_ok=True)
        if not answer.startswith(b"ok\n"):
            raise RuntimeError(answer)
        return elapsed

    return run


def environment(user: User) -> dict[str, str]:
    """Give what a user's service has: a home and a runtime directory, and everything else by default."""
    return {"HOME": str(user.home), "XDG_RUNTIME_DIR": user.environ["XDG_RUNTIME_DIR"], "LC_ALL": "C.UTF-8"}


def main() -> int:
    """Measure, print, and give 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch:
        place = Path(scratch)
        bin_directory = options.bin or clean_venv(place / "venv")
        floor, line = place / "floor.py", place / "line"
        floor.write_text(FLOOR)
        user = user_at(place)
        environ = environment(user)
        daemon = first_answer([str(bin_directory / "pmcredd")], environ, user.socket, b"get sandbox\n")
        with sandbox_process("--throttle", "off") as sandbox:
            write_profiles(user, sandbox.profiles_toml())
            daemon()  # it saves the token; from here on there is no server
        script = [str(bin_directory / "python"), str(floor), str(line)]
        runs = {"trio, one line": first_answer(script, environ, line, b"\n"), "pmcredd": daemon}
        return 0 if report(measure(runs, options.rounds), [Bar("pmcredd", 1.15)]) else 1


if __name__ == "__main__":
    sys.exit(main())
