"""The daemon's listening socket: who may open it, who can reach it, and what is taken away with it."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pmcredd.listening import Listener, SocketProblem, close_listener, open_listener

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A socket path in a directory that does not exist yet."""
    return tmp_path / "run" / "pmcred" / "socket"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    """An open listener."""
    opened = open_listener(path)
    yield opened
    with suppress(OSError):
        close_listener(opened)


def problem(path: Path) -> SocketProblem:
    """Try to listen there, which must fail, and give the reason."""
    with pytest.raises(SocketProblem) as caught:
        open_listener(path)
    return caught.value


def test_nobody_else_can_reach_the_socket_even_under_umask_0(path: Path) -> None:
    """A container's umask of 0 opens neither the socket nor any directory that is made for it."""
    before = os.umask(0)
    try:
        listener = open_listener(path)
    finally:
        os.umask(before)
    modes = [
        place.stat().st_mode & 0o777
        for place in (path, path.with_name(f"{path.name}.lock"), path.parent, path.parent.parent)
    ]
    close_listener(listener)
    assert [f"{mode:o}" for mode in modes] == ["600", "600", "700", "700"]


def test_a_client_can_connect_at_once(listener: Listener, path: Path) -> None:
    """The socket exists and listens when open_listener returns; no child inherits it or the lock."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    assert not os.get_inheritable(listener.lock)
    assert not os.get_inheritable(listener.socket.fileno())


def test_a_second_daemon_is_refused_and_told_who_serves(listener: Listener, path: Path) -> None:
    """Two daemons never share a directory: the message has the first one's pid."""
    refused = problem(path)
    assert f"pid {os.getpid()}" in refused.message
    assert refused.hint == "pmcred status"
    close_listener(listener)
    close_listener(open_listener(path))


def test_a_lock_without_a_pid_is_still_a_lock(listener: Listener, path: Path) -> None:
    """A daemon that has locked but not yet written its pid is not overlooked."""
    os.ftruncate(listener.lock, 0)
    assert "pid unknown" in problem(path).message


def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    """A stale socket never keeps a new daemon from starting."""
    path.parent.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(path))
    listener = open_listener(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    close_listener(listener)


@pytest.mark.parametrize("crowded", [False, True])
def test_a_socket_that_somebody_serves_is_never_taken(path: Path, *, crowded: bool) -> None:
    """Even without the lock (another program's socket), and even when its queue is full."""
    path.parent.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(os.fspath(path))
        other.listen(0)
        if crowded:
            client.connect(os.fspath(path))
        assert "already listens" in problem(path).message
        assert path.is_socket()


def test_a_file_in_the_sockets_place_is_not_removed(path: Path) -> None:
    """What is not a socket may be somebody's work."""
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text("precious")
    refused = problem(path)
    assert "not a socket" in refused.message
    assert refused.hint.startswith(f"mv {path}")
    assert path.read_text() == "precious"


def test_a_directory_that_others_can_enter_is_refused(path: Path) -> None:
    """The mend is the chmod."""
    path.parent.mkdir(mode=0o700, parents=True)
    path.parent.chmod(0o750)
    refused = problem(path)
    assert "mode 0750" in refused.message
    assert refused.hint.startswith(f"chmod 700 {path.parent}")


def test_a_symbolic_link_or_file_for_a_directory_is_refused(tmp_path: Path) -> None:
    """A link could be turned elsewhere between the look and the bind."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "file", "dangling"):
        refused = problem(tmp_path / name / "socket")
        assert "not a directory" in refused.message
        assert refused.hint.startswith(f"rm {tmp_path / name}")
    assert not (tmp_path / "nowhere").exists()


@root_only
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    """Its owner could put a socket of his own there."""
    (tmp_path / "his").mkdir(mode=0o700)
    os.chown(tmp_path / "his", NOBODY, NOBODY)
    assert f"belongs to uid {NOBODY}" in problem(tmp_path / "his" / "socket").message


def test_a_path_that_cannot_be_is_told_with_the_reason(tmp_path: Path) -> None:
    """Too long for the kernel, impossible, or below a file: a sentence and a way out each time."""
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / ("x" * 108), "AF_UNIX path too long"),
        (tmp_path / "nul\0" / "socket", "null"),
        (tmp_path / "file" / "below" / "socket", "Not a directory"),
    ):
        refused = problem(path)
        assert why in refused.message
        assert "PMCRED_SOCKET" in refused.hint


def test_a_failed_start_leaves_no_lock_behind(path: Path) -> None:
    """The next try is not refused because of the last one."""
    path.parent.mkdir(mode=0o700, parents=True)
    path.mkdir()
    problem(path)
    path.rmdir()
    close_listener(open_listener(path))


def test_closing_takes_away_our_socket_and_no_other(path: Path) -> None:
    """A successor's socket in the same place stays; a missing one is no error."""
    listener = open_listener(path)
    close_listener(listener)
    assert not path.exists()
    listener = open_listener(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(os.fspath(path))
        close_listener(listener)
        assert path.is_socket()
    path.unlink()
    listener = open_listener(path)
    path.unlink()
    close_listener(listener)
