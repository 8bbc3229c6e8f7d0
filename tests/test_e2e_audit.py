"""The audit of the installed daemon: real scripts and people ask, and `pmcred log` tells who they were."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, running, user_at, write_profiles
from support.pat import a_pat, link_commands
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

pytestmark = pytest.mark.storm

THIN = str(Path(sys.executable).with_name("pmcred"))

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def user(tmp_path: Path, sandbox: SandboxProcess) -> User:
    """Give a user with the two profiles of the sandbox, `sandbox` and `sandbox3`."""
    found = user_at(tmp_path)
    write_profiles(found, sandbox.profiles_toml())
    return found


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """Run this user's daemon."""
    with running(user) as started:
        yield started


def script(user: User, name: str, *lines: str) -> str:
    """Run a shell script under this name; gives what it prints."""
    path = user.home / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    done = subprocess.run([path], env=user.environ, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout


def told(user: User, *arguments: str) -> list[dict[str, object]]:
    """Ask for the audit as a program does."""
    done = user.run("log", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def brief(entries: list[dict[str, object]], *keys: str) -> list[tuple[object, ...]]:
    """Give these fields of each."""
    return [tuple(entry.get(key) for key in keys) for entry in entries]


def test_the_script_that_asked_is_found(user: User, daemon: Daemon) -> None:
    """Three gets in a row are one entry of that script's, though each was another process; no output holds a token."""
    tokens = script(user, "backup.sh", *[f"{THIN} get sandbox"] * 3, f"{THIN} header sandbox3").split()
    script(user, "report", f"{THIN} get sandbox", f"{PMCRED} get sandbo", f"{PMCRED} logout sandbox3")
    found = told(user)
    assert brief(found, "parent", "verb", "profile", "count", "outcome") == [
        ("backup.sh", "get", "sandbox", 3, "ok"),
        ("backup.sh", "get", "sandbox3", 1, "ok"),
        ("report", "get", "sandbox", 1, "ok"),
        ("report", "get", None, 1, "no-such-profile"),
        ("report", "logout", "sandbox3", 1, "ok"),
    ]
    assert found[1]["fingerprint"] == found[4]["fingerprint"]
    assert {entry["uid"] for entry in found} == {os.geteuid()}
    written = "".join([user.run("log").stdout, json.dumps(found), daemon.logged()])
    assert len([token for token in tokens if len(token) > 30]) == 4
    for token in tokens:
        assert len(token) <= 30 or token not in written
    assert "INFO audit: get sandbox " in written


def test_it_survives_a_reload_and_not_the_daemon(user: User, daemon: Daemon) -> None:
    """What lasts is the daemon's log."""
    daemon.ask("get sandbox")
    assert user.run("reload").returncode == 0
    assert brief(told(user, "sandbox"), "profile", "pid") == [("sandbox", os.getpid())]
    assert daemon.end() == 0
    with running(user):
        assert told(user) == []
    assert "audit: get sandbox " in daemon.logged()


def test_a_loop_is_not_a_flood(user: User, daemon: Daemon) -> None:
    """Five hundred gets: one line in the log, and one entry that counts them."""
    for _ in range(500):
        daemon.ask("get sandbox")
    assert brief(told(user), "count") == [(500,)]
    assert daemon.logged().count("audit: ") == 1


def test_it_is_followed_on_a_terminal(user: User, daemon: Daemon) -> None:
    """What was, and what happens meanwhile; Ctrl-C ends it, and the daemon's end too."""
    daemon.ask("get sandbox")
    with PseudoTerminal([PMCRED, "log", "-f"], user.environ | {"TERM": "dumb"}) as terminal:
        terminal.expect("sandbox")
        daemon.ask("get nowhere")
        terminal.expect("no-such-profile")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
    with PseudoTerminal([PMCRED, "log", "-f"], user.environ | {"TERM": "dumb"}) as terminal:
        terminal.expect("no-such-profile")
        daemon.process.send_signal(signal.SIGTERM)
        terminal.expect("the daemon has left")
        assert terminal.end() == 69


@root_only
def test_another_user_is_in_the_log(user: User, daemon: Daemon) -> None:
    """Who got as far as the socket: here root's own doing, for the directory keeps others out."""
    directory = user.socket.parent
    code = (
        "import os, socket, sys\n"
        "os.chdir(sys.argv[1])\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "c = socket.socket(socket.AF_UNIX); c.connect('socket')\n"
        "print(c.recv(1000).decode())\n"
    )
    directory.chmod(0o711)
    user.socket.chmod(0o666)
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("error forbidden\n")
    user.socket.chmod(0o600)
    directory.chmod(0o700)
    assert brief(told(user), "verb", "uid", "outcome", "parent_pid") == [("connect", 65534, "forbidden", os.getpid())]
    assert "WARNING audit: connect: forbidden, asked by " in daemon.logged()


JOB = """
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'pmcred get sandbox >token'
WorkingDirectory=%h
"""


def test_the_unit_that_asked_is_found(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Under a real user manager, and by the daemon inside its hardening: unit, program, file and parent."""
    with a_pat(link_commands(tmp_path), sandbox) as pat:
        pat.manager.systemctl("start", "pmcredd.socket")
        pat.manager.write_unit("nightly-export.service", JOB)
        pat.manager.systemctl("start", "nightly-export.service")
        (asked,) = map(json.loads, pat.pmcred("log", "--json").stdout.splitlines())
        written = pat.manager.logged()
    assert (asked["verb"], asked["profile"], asked["outcome"]) == ("get", "sandbox", "ok")
    assert (asked["unit"], asked["uid"]) == ("nightly-export.service", 1000)
    assert asked["program"].startswith("python")
    assert "python" in os.path.basename(asked["exe"])
    assert f"{asked['parent']}[{asked['parent_pid']}] (nightly-export.service)" in written
