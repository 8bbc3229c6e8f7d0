"""Who is at the other end of a socket: real processes, and what /proc says of them, and what it may say."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd import peer
from pmcredd.peer import Peer, Peers, read_stat, read_unit

CLIENT = """
import ctypes, os, socket, sys
def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    return connection
def rename(name):
    ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
kept = []
for line in sys.stdin:
    exec(line)
    print(flush=True)
"""


def sees_processes() -> bool:
    """Tell whether this kernel has SO_PEERPIDFD."""
    one, other = socket.socketpair()
    with one, other:
        with suppress(OSError):
            os.close(one.getsockopt(socket.SOL_SOCKET, peer._SO_PEERPIDFD))
            return True
        return False


modern = pytest.mark.skipif(not sees_processes(), reason="SO_PEERPIDFD is there since Linux 6.5")


class Client:
    """A process that connects when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]", listener: socket.socket) -> None:
        self.process = process
        self._listener = listener

    def do(self, code: str) -> None:
        """Have it run a line of Python, and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def connect(self) -> socket.socket:
        """Have it connect; gives our end."""
        self.do("kept.append(connect())")
        accepted, _ = self._listener.accept()
        return accepted

    def end(self) -> None:
        """Let it end, and be gone."""
        self.process.communicate()


@contextmanager
def connecting(directory: Path, *, shell: bool = False) -> Iterator[Client]:
    """Start a client; with `shell` it is the child of a script `job.sh`."""
    path = directory / "socket"
    script = directory / "job.sh"
    script.write_text(f"#!/bin/sh\n{sys.executable} -c '{CLIENT}' {path}\nexit 0\n")
    script.chmod(0o700)
    command = [str(script)] if shell else [sys.executable, "-c", CLIENT, str(path)]
    with (
        socket.socket(socket.AF_UNIX) as listener,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        listener.bind(str(path))
        listener.listen()
        yield Client(process, listener)
        if process.poll() is None:
            process.communicate()


def test_a_process_is_named_with_its_parent(tmp_path: Path) -> None:
    """Program, file, parent and pids of who has connected: for a script's child, the script is the parent."""
    with connecting(tmp_path, shell=True) as client, client.connect() as ours:
        found = Peers().of(ours)
        assert found.uid == os.geteuid()
        assert found.exe == os.path.realpath(sys.executable)
        assert found.program == os.path.basename(sys.executable)[:15]
        assert (found.parent, found.parent_pid) == ("job.sh", client.process.pid)
        assert found.pid not in {0, client.process.pid, os.getpid()}
        assert found.certain is sees_processes()


def test_on_an_older_kernel_it_is_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SO_PEERPIDFD the names are those of whoever has the number, and that is said."""
    monkeypatch.setattr(peer, "_SO_PEERPIDFD", 0x7FFF)
    with connecting(tmp_path) as client, client.connect() as ours:
        found = Peers().of(ours)
        assert (found.pid, found.parent_pid) == (client.process.pid, os.getpid())
        assert found.exe == os.path.realpath(sys.executable)
        assert not found.certain


@modern
def test_of_a_process_that_has_ended_nothing_is_said(tmp_path: Path) -> None:
    """Its number may be another's by now: better no name than a wrong one."""
    with connecting(tmp_path) as client, client.connect() as ours:
        client.end()
        assert Peers().of(ours) == Peer(os.geteuid(), client.process.pid)


@modern
def test_what_ends_while_it_is_looked_at_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what was read could be another process's."""
    with connecting(tmp_path) as client, client.connect() as ours:
        read = peer._read

        def slowly(uid: int, pid: int, *, certain: bool) -> Peer:
            client.end()
            return read(uid, os.getpid(), certain=certain)

        monkeypatch.setattr(peer, "_read", slowly)
        assert Peers().of(ours) == Peer(os.geteuid(), client.process.pid)


def test_a_name_cannot_forge_lines(tmp_path: Path) -> None:
    """A program chooses its own name: line ends and escape sequences become question marks."""
    with connecting(tmp_path) as client:
        client.do(r"rename(b'a) R 1\n\x1b[2J\xff(')")
        with client.connect() as ours:
            found = Peers().of(ours)
    assert found.program == "a) R 1??[2J?("
    assert found.parent_pid == os.getpid()


def test_who_connects_again_at_once_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a second; then it is looked at again, for it may have become another program."""
    peers = Peers()
    with connecting(tmp_path) as client:
        client.do("rename(b'before')")
        with client.connect() as first:
            assert peers.of(first).program == "before"
        client.do("rename(b'after')")
        monkeypatch.setattr(peer, "KNOWN_FOR", 60.0)
        with client.connect() as second:
            assert peers.of(second).program == "before"
        monkeypatch.setattr(peer, "KNOWN_FOR", 0.0)
        with client.connect() as third:
            assert peers.of(third).program == "after"


def test_few_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes come."""
    monkeypatch.setattr(peer, "MOST_KNOWN", 2)
    peers = Peers()
    for number in range(4):
        directory = tmp_path / str(number)
        directory.mkdir()
        with connecting(directory) as client, client.connect() as ours:
            assert peers.of(ours).pid == client.process.pid
        assert len(peers._known) <= 2


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """A daemon looks at processes for years."""
    with connecting(tmp_path) as client:
        before = os.listdir("/proc/self/fd")
        for _ in range(5):
            with client.connect() as ours:
                Peers().of(ours)
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_process_that_cannot_be_seen_has_no_name() -> None:
    """Outside our pid namespace its number is 0; a number that nobody has has nothing to tell."""
    one, other = socket.socketpair()
    with one, other:
        assert peer._look(one, 1000, 0) == Peer(1000, 0)
    assert peer._read(1000, 2**30, certain=True) == Peer(1000, 2**30)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 (sh) S 7 12 12 0 -1", ("sh", 7)),
        ("12 (a (b) c) S 7 12", ("a (b) c", 7)),
        ("12 ()) R 1", (")", 1)),
        ("12 (x) S", ("x", 0)),
        ("12 (x) S -1", ("x", 0)),
        ("", ("", 0)),
    ],
)
def test_stat_is_read_around_its_parentheses(text: str, found: tuple[str, int]) -> None:
    """The name ends at the last one (proc(5)); what is cut short says less."""
    assert read_stat(text) == found


USER = "0::/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (f"{USER}/app.slice/backup.service\n", "backup.service"),
        (f"{USER}/app.slice/backup.service/payload\n", "backup.service"),
        (f"{USER}/app.slice/app-gnome\\x2dterminal-7.scope\n", "app-gnome\\x2dterminal-7.scope"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
        ("0::/system.slice/cron.service\n", "cron.service"),
        ("9:name=systemd:/system.slice/cron.service\n3:cpu:/x.service\n0::/\n", "cron.service"),
        ("3:cpu:/odd.service\n0::/\n", ""),
        ("0::/../a:b.service\n", "a:b.service"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_innermost_unit_is_found(text: str, unit: str) -> None:
    """In the unified hierarchy or systemd's own beside the old ones; other controllers say nothing."""
    assert read_unit(text) == unit


@given(st.text())
def test_whatever_proc_says_is_no_error(text: str) -> None:
    """And what comes of it can be printed."""
    name, parent = read_stat(text)
    assert parent >= 0
    for found in (peer._harmless(name), peer._harmless(read_unit(text))):
        assert found is None or found.isprintable()
