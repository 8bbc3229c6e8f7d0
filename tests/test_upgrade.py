"""An upgrade under a running daemon: its package is replaced, or gone, and nobody's token suffers."""

import json
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import tomli_w
import trustme
from support.api_user import Job, Tally, at_work, read_block, use, wait_until
from support.daemon import Daemon, running, user_at, write_profiles
from support.pseudo_terminal import PseudoTerminal
from support.recorder import Recorder
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User
from support.wheels import LATER, build, install, make_venv

import pmcredd
from pmcredd.sandbox.greeting import login_toml
from pmcredd.sandbox.instances import Sandbox
from pmcredd.sandbox.settings import Settings

PRELOADED = "all is loaded"
PAGES = ("lose-answer", "cut-answer", "lose-request", "html", "login", "503", "429")  # what asks for a pause is last
READING = ("hello", "list", "status", "status explain=yes", "log")
MISTAKES = ("nonsense", "get", "get x y=z", "get sandbox for=9d", "get sandbox for=x", "login sandbox", "\0")
FAILING = {  # profiles without a token, and the exit status that tells why
    **dict.fromkeys(("dead", "tls", "distrusted", "proxied", "by-environment", "nameless"), 5),
    **dict.fromkeys(("no-file", "no-command", "slow-command"), 6),
    "wrong": 4,
    "sandbx": 3,  # is not there, but nearly
}


class Wheels(NamedTuple):
    """This tree's, and one of a later version."""

    this: Path
    later: Path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Build both."""
    return Wheels(*build(tmp_path_factory.mktemp("wheels")))


def wait_for_log(daemon: Daemon, words: str) -> None:
    """Wait until the daemon has logged this."""
    ticking = threading.Event()
    for _ in range(600):
        if words in daemon.logged():
            return
        ticking.wait(0.1)
    raise AssertionError(f"{words!r} is not in the log:\n{daemon.logged()}")


class Page(BaseHTTPRequestHandler):
    """A server in maintenance, on TLS, with a charset of its own."""

    def do_POST(self) -> None:
        """Answer what nobody can use."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503)
        self.send_header("content-type", "text/html; charset=iso-8859-15")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"<h1>Gewartet wird bis f\xfcnf</h1>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name for it
        """Stay silent."""


@contextmanager
def tls_server(ca_file: Path) -> Iterator[str]:
    """Serve such a page; the authority that vouches for it is written to the file. Gives its URL."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)

    class Quiet(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Who does not trust the certificate leaves in the middle of the handshake."""

    server = Quiet(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def token(user: User, name: str) -> str:
    """Get a token as a script does."""
    done = user.run("get", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def renewed(daemon: Daemon, sandbox: SandboxProcess, name: str) -> None:
    """Have the server revoke a token, and the daemon replace it."""
    old = token(daemon.user, name)
    sandbox.revoke(token=old)
    ticking = threading.Event()
    # Right after a login the server's word for the token counts for some seconds.
    while (answer := daemon.ask(f"reject {name} token={old} timeout=30s")).startswith("error not-rejected"):
        ticking.wait(0.2)
    assert read_block(answer).get("access_token", old) != old, answer


def profiles(sandbox: SandboxProcess, tls: str, dead: str, folder: Path, recorder: Recorder) -> dict[str, object]:
    """Give profiles of every kind: some work, and each of the others fails in a way of its own."""
    known = tomllib.loads(sandbox.profiles_toml())["profiles"]
    known |= tomllib.loads(login_toml(sandbox.url, Sandbox(Settings())))["profiles"]
    good = known["sandbox"]
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(good["client_secret"] + "\n")
    known |= {f"page-{page}": good for page in PAGES}
    known |= {
        "by-command": good | {"client_secret": {"command": ["cat", str(secret)]}},
        "by-file": good | {"client_secret": {"file": str(secret)}},
        "no-file": good | {"client_secret": {"file": str(folder / "nothing")}},
        "no-command": good | {"client_secret": {"command": ["no-such-program"]}},
        "slow-command": good | {"client_secret": {"command": ["sleep", "1000"], "timeout": 1}},
        "wrong": good | {"password": "wrong"},
        "dead": good | {"url": dead},
        "tls": good | {"url": tls, "ca_file": str(folder / "ca.pem")},
        "distrusted": good | {"url": tls},
        "proxied": good | {"url": tls, "proxy": dead},
        "by-environment": good | {"url": "https://pm.invalid", "proxy": "environment"},
        "nameless": good | {"url": "https://bücher.invalid"},
    }
    on_event = {"renewed": {"command": list(recorder.command()), "token": True}, "needs-login": ["no-such-program"]}
    return {"daemon": {"on_event": on_event}, "profiles": known}


@pytest.mark.storm
def test_a_daemon_needs_nothing_more_of_its_package_once_it_has_started(tmp_path: Path, wheels: Wheels) -> None:
    """All of site-packages is deleted under it: whatever it does after that, from a login to its end, goes well."""
    user, place, recorder = user_at(tmp_path), tmp_path / "venv", Recorder(tmp_path / "told")
    packages, imports = make_venv(place), tmp_path / "imports"
    install(place, wheels.this)
    # The base directories' defaults are looked up late, too.
    command = ["env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_STATE_HOME", str(place / "bin" / "pmcredd")]
    with (
        socket.socket() as nobody,
        tls_server(user.home / "ca.pem") as tls,
        sandbox_process("--throttle", "off", "--token-lifetime", "1h") as sandbox,
    ):
        nobody.bind(("127.0.0.1", 0))  # and does not listen: connections are refused
        document = profiles(sandbox, tls, f"http://127.0.0.1:{nobody.getsockname()[1]}", user.home, recorder)
        write_profiles(user, sandbox.profiles_toml())  # as little as there can be: the rest comes too late
        with running(user, "-v", more={"IMPORTS_TOLD": str(imports)}, command=command) as daemon:
            wait_for_log(daemon, PRELOADED)
            before = len(imports.read_text().splitlines())
            shutil.rmtree(packages)
            go_through_all(daemon, sandbox, document, recorder)
            assert user.run("stop").returncode == 0
            assert daemon.process.wait(60) == 0
        log = daemon.logged()
    for word in ("ImportError", "ModuleNotFoundError", "No module named", "Traceback", "mistake in pmcredd"):
        assert word not in log
    late = imports.read_text().splitlines()[before:]
    assert late == []
    recorder.close()


def go_through_all(daemon: Daemon, sandbox: SandboxProcess, document: dict[str, object], recorder: Recorder) -> None:
    """Do with a daemon all that can be done with one."""
    user = daemon.user
    write_profiles(user, "[profiles.sandbox\n")
    assert user.run("reload").returncode == 6
    write_profiles(user, "[profiles.sandbox]\nurl = 'http://[::7]/'\nusernam = 1\n")
    assert user.run("reload").returncode == 6
    daemon.process.send_signal(signal.SIGHUP)
    write_profiles(user, tomli_w.dumps(document))
    assert user.run("reload").returncode == 0
    for name in ("sandbox", "sandbox3", "by-command", "by-file"):
        renewed(daemon, sandbox, name)
    assert recorder.wait()["event"] == "renewed"
    for name, status in FAILING.items():
        patience = "1" if status == 5 else "60"  # seconds; nothing is to come of the former
        assert (name, user.run("get", name, "--timeout", patience).returncode) == (name, status)
    log_in_and_out(daemon, sandbox)
    meet_with_pages(daemon, sandbox)
    for line in (*READING, *MISTAKES):
        assert daemon.ask(line)
    with socket.socket(socket.AF_UNIX) as watching:
        watching.connect(str(user.socket))
        watching.sendall(b"watch token=yes\n")
        assert watching.recv(4) == b"ok *"


def meet_with_pages(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """Renew where the server gives something else than a token."""
    tokens = {page: token(daemon.user, f"page-{page}") for page in PAGES}
    sandbox.revoke(all=True)
    for page, old in tokens.items():
        sandbox.fault(f"{page}:1,on=token")
        daemon.ask(f"reject page-{page} token={old} timeout=2s")
        assert sandbox.faults() == [], page


def log_in_and_out(daemon: Daemon, sandbox: SandboxProcess) -> None:
    """Log in with a browser, renew that, deny a login, and log out."""
    user = daemon.user
    visit = Path(__file__).parent / "support" / "visit.py"
    for name, person, status in (
        ("sandbox-login", "demo", 0),
        ("sandbox3-login", "demo", 0),
        ("sandbox-login", "no-demo", 4),
    ):
        browser = f"{shlex.join([sys.executable, str(visit), person])} %s &"
        with PseudoTerminal([PMCRED, "login", name], user.environ | {"BROWSER": browser}) as terminal:
            assert terminal.end() == status, terminal.screen
        if status == 0:
            renewed(daemon, sandbox, name)
        sandbox.revoke(all=True)  # who has a living token is not asked again
    for name in ("sandbox-login", "sandbox3-login"):
        assert user.run("logout", name).returncode == 0
    assert daemon.ask("logout sandbox forget=yes").startswith("ok\n")


def run(place: Path, user: User, *words: str, status: int = 0) -> str:
    """Run a command of the venv, as it is installed there now; gives what it prints."""
    name, *arguments = words
    done = subprocess.run(
        [str(place / "bin" / name), *arguments],
        env=user.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.strip()


def versions(place: Path, user: User) -> tuple[str, str, str]:
    """Give the version of the command that is installed, of the daemon that answers, and what people read first."""
    told = json.loads(run(place, user, "pmcred", "status", "--json"))
    return told["client"]["version"], told["daemon"]["version"], run(place, user, "pmcred", "status").split("\n", 1)[0]


def renewals_go_on(tallies: Sequence[Tally]) -> None:
    """Wait until each client has seen two more tokens."""
    enough = [len(tally.tokens) + 2 for tally in tallies]
    wait_until(lambda: all(len(tally.tokens) >= count for tally, count in zip(tallies, enough, strict=True)), tallies)


def lasts(daemon: Daemon, name: str) -> bool:
    """Tell whether a profile's token is one of those that last."""
    return float(read_block(daemon.ask(f"get {name}"))["good_until"]) > time.time() + 600


@pytest.mark.storm
def test_an_upgrade_under_a_running_daemon_breaks_no_token(tmp_path: Path, wheels: Wheels) -> None:
    """Scripts go on meanwhile with tokens that last for seconds; a restart later, the new version has them all."""
    user, place = user_at(tmp_path), tmp_path / "venv"
    make_venv(place)
    install(place, wheels.this)
    command = [str(place / "bin" / "pmcredd")]
    ours = pmcredd.__version__
    with sandbox_process("--throttle", "off", "--token-lifetime", "6s") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        jobs = [
            Job("sandbox", f"{sandbox.url}/api/1.0/users/1"),
            Job("sandbox3", f"{sandbox.url}/api/1.0/workflow/cases/draft/paged"),
        ]
        with running(user, "-v", command=command) as daemon:
            with at_work(daemon, jobs) as tallies:
                wait_for_log(daemon, PRELOADED)
                assert versions(place, user)[:2] == (ours, ours)
                renewals_go_on(tallies)
                install(place, wheels.later)
                told = f"The daemon that answers is pmcredd {ours}; {LATER} is installed here."
                assert versions(place, user) == (LATER, ours, told)
                for job in jobs:
                    for client in ("pmcred", "pmcred-cli"):  # the thin one, and the one for all the rest
                        assert use(job.url, run(place, user, client, "get", job.profile)) == 200
                renewals_go_on(tallies)
                sandbox.change(token_lifetime="1h")  # the last ones outlive the restart
                wait_until(lambda: all(lasts(daemon, job.profile) for job in jobs), tallies)
            assert [tally.broken for tally in tallies] == [[], []]
            kept = {job.profile: run(place, user, "pmcred", "get", job.profile) for job in jobs}
            asked = len(sandbox.log())
            assert daemon.end() == 0
        with running(user, "-v", command=command):
            assert versions(place, user)[:2] == (LATER, LATER)
            assert "The daemon that answers" not in run(place, user, "pmcred", "status")
            assert {name: run(place, user, "pmcred", "get", name) for name in kept} == kept
        assert len(sandbox.log()) == asked
