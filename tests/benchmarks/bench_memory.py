"""What the idle daemon holds in memory: ten live profiles against a process that has built one HTTP client.

Run it in tests/: python -m benchmarks.bench_memory, with an interpreter that has the extra `test`. Bar: 1.15, of VmRSS.
Beside it Pss and private dirty pages (smaps_rollup), which leave out what other processes share.

A daemon that finds its tokens in its store needs no server. One that asks is measured over plain http, which the
sandbox speaks, and over https as with a real server: with the system's CAs, and TLS that has been used.
"""

import argparse
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import certifi
import tomli_w
import trustme
from support.daemon import Daemon, running, user_at, write_profiles
from support.sandbox import sandbox_process

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

RELAY = """\
import contextlib
import ssl
import sys

import trio


async def copy(source, sink):
    async for chunk in source:
        await sink.send_all(chunk)


async def attend(client):
    with contextlib.suppress(trio.BrokenResourceError):
        async with client, await trio.open_tcp_stream("127.0.0.1", int(sys.argv[1])) as server:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, client, server)
                await copy(server, client)
                nursery.cancel_scope.cancel()


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(sys.argv[2])
    listeners = await trio.open_ssl_over_tcp_listeners(0, tls, host="127.0.0.1", https_compatible=True)
    print(listeners[0].transport_listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(attend, listeners)


trio.run(main)
"""

FLOORS = {
    "trio, httpx, one client": "default",
    "the same with truststore's CAs": "truststore",
    "the same with verify=False": "unverified",
}


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
def child(argv: Sequence[str | Path], environ: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Run a program within a `with` block, from its first line of output on; gives its pid and that line."""
    with subprocess.Popen(argv, env=dict(environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (line := process.stdout.readline().strip()):
                raise RuntimeError(f"{argv} did not start")
            yield process.pid, line
        finally:
            process.terminate()


@contextmanager
def over_tls(url: str, place: Path) -> Iterator[tuple[str, Path]]:
    """Give the URL of a relay that speaks TLS, and a file of CAs: the system's, and the one of the relay."""
    authority = trustme.CA()
    certificate, script, trusted = place / "relay.pem", place / "relay.py", place / "trusted.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    system = ssl.get_default_verify_paths().cafile or certifi.where()
    trusted.write_bytes(Path(system).read_bytes() + b"\n" + authority.cert_pem.bytes())
    script.write_text(RELAY)
    with child([sys.executable, script, url.rpartition(":")[2], certificate], {}) as (_, port):
        yield f"https://127.0.0.1:{port}", trusted


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


def one_round(place: Path, bin_directory: Path, urls: Mapping[str, str], trusted: Path) -> dict[str, Memory]:
    """Measure all processes while they live side by side; `urls` are the server's, by scheme."""
    script = place / "floor.py"
    script.write_text(FLOOR)
    found: dict[str, Memory] = {}
    with ExitStack() as alive:
        pids = {}
        for label, kind in FLOORS.items():
            floor = child([bin_directory / "python", script, kind], {"SSL_CERT_FILE": str(trusted)})
            pids[label], _ = alive.enter_context(floor)
        start = partial(running, command=[str(bin_directory / "pmcredd")], more={"SSL_CERT_FILE": str(trusted)})
        for scheme, url in urls.items():
            (place / scheme).mkdir()
            user = user_at(place / scheme)
            write_profiles(user, profiles_toml(url))
            with start(user) as asking:
                label = f"pmcredd, 10 tokens asked for, {scheme}"
                pids[label] = settled(live(asking))
                found |= {each: memory(pid) for each, pid in pids.items()}
            del pids[label]
            with start(user) as restarted:
                found[f"pmcredd, 10 tokens found, {scheme}"] = memory(settled(live(restarted)))
    return found


def main() -> int:
    """Measure, print, and give 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="each takes 50 seconds, nearly all of it waiting")
    parser.add_argument("--bin", type=Path, help="the bin directory of a venv with pmcredd; by default one is made")
    options = parser.parse_args()
    figures: dict[str, list[Memory]] = {}
    with ExitStack() as tools:
        place = Path(tools.enter_context(tempfile.TemporaryDirectory(prefix="pmcred-bench-")))
        sandbox = tools.enter_context(sandbox_process("--throttle", "off"))
        secure, trusted = tools.enter_context(over_tls(sandbox.url, place))
        bin_directory = options.bin or clean_venv(place / "venv")
        for number in range(options.rounds):
            (scratch := place / str(number)).mkdir()
            measured = one_round(scratch, bin_directory, {"http": sandbox.url, "https": secure}, trusted)
            for label, one in measured.items():
                figures.setdefault(label, []).append(one)
    return 0 if report(figures, [label for label in figures if label.startswith("pmcredd")]) else 1


if __name__ == "__main__":
    sys.exit(main())
