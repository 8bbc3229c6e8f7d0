"""The socket that systemd hands over: taken only if it is as closed to others as our own, and left where it is."""

import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pmcredd.listening import (
    SocketProblem,
    close_listener,
    inherit_listener,
    inherited_path,
    open_listener,
    turn_away,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path in a directory as the socket unit makes it."""
    (tmp_path / "pmcred").mkdir(mode=0o700)
    return tmp_path / "pmcred" / "socket"


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What a test has to close."""
    with ExitStack() as stack:
        yield stack


def hand_over(path: Path, undo: ExitStack, *, mode: int = 0o600) -> int:
    """Listen as systemd does, and give a descriptor as the service gets it."""
    kept = undo.enter_context(socket.socket(socket.AF_UNIX))
    kept.bind(str(path))
    path.chmod(mode)
    kept.listen()
    return os.dup(kept.fileno())


def taken(descriptor: int, undo: ExitStack) -> None:
    """Take the socket over, and see to its end."""
    undo.callback(close_listener, inherit_listener(descriptor))


def test_it_serves_and_stays(path: Path, undo: ExitStack) -> None:
    """Clients reach it, and at our end the path stays: the next client makes systemd start us again."""
    descriptor = hand_over(path, undo)
    assert inherited_path(descriptor) == path
    listener = inherit_listener(descriptor)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.socket.accept()[0].close()
    close_listener(listener)

    assert stat.S_ISSOCK(path.lstat().st_mode)
    with socket.socket(socket.AF_UNIX) as later:
        later.connect(str(path))  # it waits for the next daemon


def test_a_second_daemon_is_kept_out(path: Path, undo: ExitStack) -> None:
    """The lock beside the socket holds against a daemon that somebody starts by hand, and the other way round."""
    first = hand_over(path, undo)
    taken(first, undo)
    again = os.dup(first)
    undo.callback(os.close, again)

    with pytest.raises(SocketProblem, match="already serves"):
        open_listener(path)
    with pytest.raises(SocketProblem, match="already serves"):
        inherit_listener(again)


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o700, 0o602])
def test_a_socket_that_others_reach_is_refused(path: Path, undo: ExitStack, mode: int) -> None:
    """SocketMode= is 0666 where the unit does not say otherwise: that is told, with what mends it."""
    with pytest.raises(SocketProblem) as caught:
        taken(hand_over(path, undo, mode=mode), undo)
    assert f"{mode:04o}" in caught.value.message
    assert "SocketMode=0600" in caught.value.hint


def test_a_directory_that_others_enter_is_refused(path: Path, undo: ExitStack) -> None:
    """DirectoryMode= is 0755 where the unit does not say otherwise."""
    path.parent.chmod(0o755)
    with pytest.raises(SocketProblem, match="others can enter"):
        taken(hand_over(path, undo), undo)


def test_a_path_that_became_something_else_is_refused(path: Path, undo: ExitStack) -> None:
    """Clients would not reach us there."""
    descriptor = hand_over(path, undo)
    path.unlink()
    with pytest.raises(SocketProblem, match="No such file"):
        taken(descriptor, undo)
    path.touch(mode=0o600)
    with pytest.raises(SocketProblem, match="no longer the socket"):
        taken(descriptor, undo)


def not_listening() -> int:
    """Give a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as made:
        return os.dup(made.fileno())


def over_the_network() -> int:
    """Give a listening socket that is no Unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return os.dup(made.fileno())


def datagrams() -> int:
    """Give a Unix socket of the other type."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        return os.dup(made.fileno())


def abstract() -> int:
    """Give a listening socket without a file."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"\0pmcredd-test-{os.getpid()}")
        made.listen()
        return os.dup(made.fileno())


def a_file() -> int:
    """Give what is no socket at all."""
    return os.open("/dev/null", os.O_RDONLY)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (not_listening, "does not listen"),
        (over_the_network, "not a Unix stream socket"),
        (datagrams, "not a Unix stream socket"),
        (abstract, "no path"),
        (a_file, "is no socket"),
    ],
)
def test_what_the_unit_should_not_have_made_is_refused(make: Callable[[], int], why: str, undo: ExitStack) -> None:
    """A changed unit is told what is wrong with it, instead of serving where it is not safe, or not at all."""
    descriptor = make()
    undo.callback(os.close, descriptor)
    with pytest.raises(SocketProblem, match=why):
        inherited_path(descriptor)


def test_who_waits_is_turned_away(path: Path, undo: ExitStack) -> None:
    """Every waiting client gets the answer, whether or not it has asked, and the one that never asks holds up none."""
    descriptor = hand_over(path, undo)
    undo.callback(os.close, descriptor)
    clients = [undo.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
    for client in clients:
        client.connect(str(path))
    clients[0].close()  # it has lost patience
    clients[2].sendall(b"get prod\n")

    turning = threading.Thread(target=turn_away, args=[descriptor, b"error misconfigured\n\n"])
    turning.start()
    turning.join(60)

    assert clients[2].recv(100) == b"error misconfigured\n\n"
    assert clients[1].recv(100) == b""


def test_nobody_waits(path: Path, undo: ExitStack) -> None:
    """A start that fails at boot, before any client, has nobody to tell, and does not wait for somebody."""
    descriptor = hand_over(path, undo)
    undo.callback(os.close, descriptor)
    turn_away(descriptor, b"x")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")
def test_strangers_are_told_nothing(undo: ExitStack) -> None:
    """What is wrong with the profiles is for their owner, also where the unit has opened the socket to others."""
    directory = Path(undo.enter_context(tempfile.TemporaryDirectory()))  # pytest's are closed to others
    directory.chmod(0o711)
    path = directory / "socket"
    descriptor = hand_over(path, undo, mode=0o666)
    undo.callback(os.close, descriptor)
    os.seteuid(65534)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            os.seteuid(0)
            client.sendall(b"get prod\n")
            turn_away(descriptor, b"error misconfigured\n\n")
            with pytest.raises(ConnectionResetError):
                client.recv(100)
    finally:
        os.seteuid(0)
