"""What systemd hands over is taken and hidden from children; what it is told arrives as it expects it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmcredd import systemd
from pmcredd.systemd import Manager

HERE = str(os.getpid())


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    """A manager's ear, at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(10)
        yield ear


def words(ear: socket.socket) -> dict[str, str]:
    """Give the next message."""
    lines = ear.recv(4096).decode().split("\n")
    return dict(line.split("=", 1) for line in lines)


def in_a_child(program: str, *, names: str | None, count: int, pid: str = "") -> str:
    """Run Python as systemd would, with the descriptors from 3 on handed over; gives what it prints.

    The shell puts its own process id where the service's is to be, and becomes the service.
    """
    shell = f'LISTEN_PID={pid or "$$"} LISTEN_FDS={count} exec {sys.executable} -c "$PROGRAM"'
    places = " ".join(f"{3 + number}</dev/null" for number in range(count))
    environ = os.environ | {"PROGRAM": program} | ({} if names is None else {"LISTEN_FDNAMES": names})
    done = subprocess.run(["sh", "-c", f"{shell} {places}"], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


SHOW = """
import os
from pmcredd import systemd
manager = systemd.take_over(os.environ)
print(manager.sockets, [os.get_inheritable(each) for _, each in manager.sockets])
print([name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))])
"""


def test_nothing_is_handed_over_without_systemd() -> None:
    """A daemon that a person starts has no sockets, no watchdog, and nobody to tell."""
    manager = systemd.take_over({"HOME": "/"})

    assert manager == Manager(None, None, ())
    manager.ready("nobody hears it")
    assert manager.socket("pmcredd.socket") is None


def test_the_variables_are_gone_afterwards() -> None:
    """No child takes itself for a service: nothing of it stays in the environment, and the rest stays."""
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_PID": "1", "HOME": "/"}
    environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "7"}

    systemd.take_over(environ)

    assert environ == {"HOME": "/"}


def test_sockets_come_by_name_and_no_child_inherits_them() -> None:
    """The descriptors are told apart by their names, and are closed in every program that we start."""
    assert in_a_child(SHOW, names="pmcredd.socket:other", count=2).splitlines() == [
        "(('pmcredd.socket', 3), ('other', 4)) [False, False]",
        "[]",
    ]


@pytest.mark.parametrize("names", [None, "", "::"])
def test_a_socket_without_a_name_is_unknown(names: str | None) -> None:
    """As sd_listen_fds_with_names(3) has it; so it is never taken for ours."""
    assert "('unknown', 3), ('unknown', 4)" in in_a_child(SHOW, names=names, count=2)


def test_sockets_of_another_process_are_not_ours() -> None:
    """Variables that a parent forgot to remove must not make us take descriptors that mean something else."""
    assert in_a_child(SHOW, names="pmcredd.socket", count=1, pid="1").splitlines() == ["() []", "[]"]


def test_descriptors_that_are_closed_are_left_out() -> None:
    """A wrapper that closes what it does not know leaves us the variables, and no sockets."""
    shown = in_a_child(f"import os; os.close(3)\n{SHOW}", names="a:b", count=2)

    assert shown.startswith("(('b', 4),)")


def test_two_sockets_of_one_name_are_refused() -> None:
    """Which one clients use cannot be known."""
    manager = Manager(sockets=(("pmcredd.socket", 3), ("pmcredd.socket", 4), ("other", 5)))

    with pytest.raises(ValueError, match="2 sockets named pmcredd"):
        manager.socket("pmcredd.socket")
    assert manager.socket("other") == 5


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": HERE}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(variables: dict[str, str], seconds: float | None) -> None:
    """sd_watchdog_enabled(3): the time in microseconds, and for whom it is meant."""
    assert systemd.take_over(variables).watchdog == seconds


@pytest.mark.parametrize("count", ["x", "-1", "1.0", "\u0663", "", " 1"])
def test_rubbish_hands_nothing_over(count: str) -> None:
    """A number that is none takes no descriptor: they may be anything."""
    assert systemd.take_over({"LISTEN_PID": HERE, "LISTEN_FDS": count}).sockets == ()


def test_every_message_arrives(heard: socket.socket) -> None:
    """The messages are those of sd_notify(3), one datagram each, a status without line breaks."""
    manager = systemd.take_over({"NOTIFY_SOCKET": heard.getsockname()})

    manager.ready("2 profiles")
    assert words(heard) == {"READY": "1", "STATUS": "2 profiles"}
    manager.status("one\nREADY=1")
    assert words(heard) == {"STATUS": "one READY=1"}
    manager.stopping("leaving")
    assert words(heard) == {"STOPPING": "1", "STATUS": "leaving"}
    manager.alive()
    assert words(heard) == {"WATCHDOG": "1"}


def test_a_reload_says_when_it_began(heard: socket.socket) -> None:
    """RELOADING comes with the monotonic time in the same datagram: without it systemd 257 would wait for ever."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Manager(heard.getsockname()).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    told = words(heard)
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= after


def test_an_abstract_address_is_understood() -> None:
    """A leading @ stands for the zero byte of the abstract namespace, as containers' managers have it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0pmcredd-test-{HERE}")
        ear.settimeout(10)
        systemd.take_over({"NOTIFY_SOCKET": f"@pmcredd-test-{HERE}"}).alive()
        assert words(ear) == {"WATCHDOG": "1"}


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative", ""])
def test_other_addresses_are_left_alone(address: str) -> None:
    """What we cannot speak to is nobody, and no error."""
    assert systemd.take_over({"NOTIFY_SOCKET": address}).address is None


def test_a_manager_that_is_gone_disturbs_nothing(tmp_path: Path) -> None:
    """The daemon serves on where nobody hears it any more."""
    Manager(str(tmp_path / "gone")).status("still here")
    Manager("/" + "x" * 200).status("a path that no socket can have")
