"""A real pmcredd, as it is installed, in a world of its own."""

import os
import signal
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.user import User

PMCREDD = os.path.join(sysconfig.get_path("scripts"), "pmcredd")
LISTENING = "listening on"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon at work; `log` is what it writes to stderr."""

    user: User
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Give its process id."""
        return self.process.pid

    def ask(self, line: str) -> str:
        """Send one request line and give everything that comes back."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.user.socket))
            connection.sendall(line.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def logged(self) -> str:
        """Give the log so far."""
        return self.log.read_text()


def user_at(tmp_path: Path) -> User:
    """Give a user whose home is below `tmp_path`, with a runtime directory."""
    user = User(tmp_path / "user")
    for directory in (user.home, user.home / "run", user.home / ".config", user.config):
        directory.mkdir(mode=0o700)
    return user


def write_profiles(user: User, text: str) -> Path:
    """Write the user's own profiles.toml."""
    path = user.config / "profiles.toml"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@contextmanager
def running(
    user: User, *options: str, more: Mapping[str, str] | None = None, command: Sequence[str] = (PMCREDD,)
) -> Iterator[Daemon]:
    """Start a daemon and wait until it listens; it is ended by its pid if it still runs."""
    log = user.home / "pmcredd.log"
    environ = user.environ | dict(more or {})
    process = subprocess.Popen(
        [*command, *options], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    listening, ended = threading.Event(), threading.Event()

    def follow(lines: Iterable[bytes]) -> None:
        with log.open("ab", buffering=0) as kept:
            for line in lines:
                kept.write(line)
                if LISTENING.encode() in line:
                    listening.set()
        ended.set()
        listening.set()  # whoever waits looks why

    follower = threading.Thread(target=follow, args=[process.stderr])
    follower.start()
    try:
        assert listening.wait(60)
        if ended.is_set():
            process.wait(60)
        assert process.poll() is None, f"pmcredd did not start:\n{log.read_text()}"
        yield Daemon(user, process, log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            follower.join()
            process.stderr.close()


def fail_to_start(
    user: User, *options: str, more: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a daemon that is expected to end by itself."""
    return subprocess.run(
        [PMCREDD, *options],
        env=user.environ | dict(more or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
