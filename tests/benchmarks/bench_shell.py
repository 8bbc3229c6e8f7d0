"""What a token costs in a shell that runs: the functions of shell-init beside oidc-token and git credential-cache.

Run it in tests/: python -m benchmarks.bench_shell
Bars, against each of the two, called from the same shell: the zsh function 1/3 of it, the bash function twice it.
Needs zsh, fish, OpenBSD's nc, oidc-agent-cli and git.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.interleave import SERVERS, Bar, clean_venv, listening, measure, report

ISSUER = str(Path(__file__).with_name("issuer.py"))
OIDC, GIT, FUNCTION, COMMAND = "oidc-token", "git credential-cache get", "pmcred get", "command pmcred get"
CALLS = 10  # a round's, so that the pipe to the shell does not count
BARS = {"zsh": 1 / 3, "bash": 2.0}

# Each shell waits for a line, does what the line says CALLS times, and says so.
_LOOPS = {
    "bash": 'while read -r line; do for ((i = 0; i < CALLS; i++)); do eval "$line" || exit 1; done; echo; done',
    "zsh": 'while read -r line; do for ((i = 0; i < CALLS; i++)); do eval "$line" || exit 1; done; echo; done',
    "fish": "while read -l line; for i in (seq $CALLS); eval $line; or exit 1; end; echo; end",
}
_QUIET = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}


@contextmanager
def shell(name: str, bin_directory: Path, environ: Mapping[str, str]) -> Iterator[Callable[[str], float]]:
    """Run a shell; gives what has it run a command and tells the seconds of one call."""
    init = subprocess.run(
        [str(bin_directory / "pmcred"), "shell-init", name], env=environ, stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    argv = [name, *_QUIET[name], "-c", f"{init}\n{_LOOPS[name]}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, heard = process.stdin, process.stdout

        def run(line: str) -> float:
            start = time.perf_counter()
            told.write(line.encode() + b"\n")
            told.flush()
            if heard.readline() != b"\n":
                message = f"{name} has ended: {line}"
                raise RuntimeError(message)
            return (time.perf_counter() - start) / CALLS

        yield run
        told.close()


def prints_a_token(line: str, environ: Mapping[str, str]) -> bool:
    """Tell whether a contestant does what it is measured for."""
    ran = subprocess.run(["bash", "-c", line], env=environ, stdout=subprocess.PIPE, check=True)
    return b"tttttttttt" in ran.stdout


def wait_for(path: str) -> None:
    """Wait until somebody listens there."""
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                return
        time.sleep(0.01)
    message = f"nobody listens at {path}"
    raise RuntimeError(message)


@contextmanager
def oidc_agent(place: Path, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run an oidc-agent that has an account `bench` loaded; gives the variables that lead to it."""
    with subprocess.Popen([sys.executable, ISSUER], stdout=subprocess.PIPE) as issuer:
        assert issuer.stdout is not None
        address = issuer.stdout.readline().decode().strip()
        (place / "oidc").mkdir()
        mine = {**environ, "OIDC_CONFIG_DIR": str(place / "oidc")}
        started = subprocess.run(["oidc-agent", "--json"], env=mine, stdout=subprocess.PIPE, check=True)
        agent = json.loads(started.stdout)
        mine["OIDC_SOCK"] = agent["socket"]
        wait_for(agent["socket"])  # its parent says so before it listens
        options = ["--client-id=x", "--client-secret=y", "--flow=refresh", "--rt=r", "--scope=openid offline_access"]
        quiet = ["--manual", "--pw-cmd=echo x", "--prompt=none", "--confirm-yes"]
        try:
            made = subprocess.run(
                ["oidc-gen", f"--iss={address}/", *options, *quiet, "bench"],
                env=mine,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            if made.returncode:
                raise RuntimeError(made.stderr.decode())
            yield {name: mine[name] for name in ("OIDC_CONFIG_DIR", "OIDC_SOCK")}
        finally:
            os.kill(int(agent["dpid"]), signal.SIGTERM)
            issuer.terminate()


@contextmanager
def credential_cache(place: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run git's cache, with a token in it; gives the command line that gets it."""
    cache = ["git", "credential-cache", "--socket", str(place / "git" / "socket")]
    (place / "git").mkdir(mode=0o700)
    asked = place / "asked"
    asked.write_text("protocol=https\nhost=pm.example\n\n")
    kept = f"protocol=https\nhost=pm.example\nusername=x\npassword={'t' * 1000}\n\n"
    subprocess.run([*cache, "store"], input=kept.encode(), env=environ, check=True)
    try:
        yield f"{' '.join(cache)} get <{asked}"
    finally:
        subprocess.run([*cache, "exit"], env=environ, check=True)


def main() -> int:
    """Measure, print, and give 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pmcred-bench-") as scratch, ExitStack() as stack:
        place = Path(scratch)
        bin_directory = options.bin or clean_venv(place / "venv")
        path = place / "run" / "socket"
        base = {"PATH": f"{bin_directory}:{os.environ['PATH']}", "HOME": scratch, "LC_ALL": "C.UTF-8"}
        stack.enter_context(listening([str(bin_directory / "python"), SERVERS, "ours", str(path)]))
        git = stack.enter_context(credential_cache(place, base))
        oidc = stack.enter_context(oidc_agent(place, base))
        environ = {**base, **oidc, "PMCRED_SOCKET": str(path), "CALLS": str(CALLS)}
        commands = {OIDC: "oidc-token bench", GIT: git, FUNCTION: "pmcred get prod", COMMAND: "command pmcred get prod"}
        assert all(prints_a_token(command, environ) for command in commands.values())
        runs: dict[str, Callable[[], float]] = {}
        for name in _LOOPS:
            run = stack.enter_context(shell(name, bin_directory, environ))
            for title, command in commands.items():
                # Not in $(...): that is a fork more for each of them, and the function's only one.
                runs[f"{name}: {title}"] = partial(run, f"{command} >/dev/null")
        figures = measure(runs, options.rounds)
    met = True
    for name in _LOOPS:
        for other in (OIDC, GIT):
            titles = (other, FUNCTION, COMMAND)
            bars = [Bar(f"{name}: {FUNCTION}", BARS[name])] if name in BARS else []
            met &= report({f"{name}: {title}": figures[f"{name}: {title}"] for title in titles}, bars)
            print()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
