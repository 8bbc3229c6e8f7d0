"""The lock of the state directory, and its label."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from pmcredd import state_lock
from pmcredd.state_lock import Holder, Patience, StateBusy, StateLock, StateProblem, holder, machine

SOCKET = Path("/run/socket")
NFS = "31 22 0:48 / {where} rw,relatime shared:9 - nfs4 host:/export rw,vers=4.2\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give the path of a state directory that is not there yet."""
    return tmp_path / "state"


def label(directory: Path, **changes: object) -> None:
    """Leave a label as a process that was killed does; `changes` replace its fields."""
    directory.mkdir(mode=0o700, exist_ok=True)
    told = {"kind": "daemon", "pid": 4711, "machine_id": machine(), "host": "here", "socket": "/run/s", **changes}
    (directory / "lock").write_text(json.dumps(told))


def test_one_process_may_spend(directory: Path) -> None:
    """The second process is refused, told who holds the lock and how to end it; after the first is gone it may."""
    first = StateLock.take(directory, SOCKET)
    with pytest.raises(StateBusy) as caught:
        StateLock.take(directory, SOCKET)

    assert f"another pmcredd (process {os.getpid()})" in caught.value.message
    assert "pmcred stop" in caught.value.hint
    assert caught.value.holder.socket == SOCKET
    first.release()
    StateLock.take(directory, SOCKET).release()


def test_the_label_says_who_holds_it_and_for_what(directory: Path) -> None:
    """A daemon names its socket; one that leaves, and one that answers one request, name none; nobody is blank."""
    assert holder(directory) == Holder()
    daemon = StateLock.take(directory, SOCKET)
    assert holder(directory) == Holder("daemon", os.getpid(), machine(), os.uname().nodename, SOCKET)
    daemon.leaving()
    assert holder(directory) == Holder("leaving", os.getpid(), machine(), os.uname().nodename)
    daemon.release()
    assert holder(directory) == Holder()
    assert (directory / "lock").read_text().isspace()
    oneshot = StateLock.take(directory, None)
    with pytest.raises(StateBusy, match="a pmcred --oneshot") as caught:
        StateLock.take(directory, SOCKET)
    assert caught.value.hint == "try again"
    oneshot.release()


def test_who_could_not_write_everything_down_has_not_left_in_order(directory: Path) -> None:
    """Nor does somebody who comes and goes without doing anything make it better."""
    first = StateLock.take(directory, SOCKET)
    first.leaves_in_order = False
    first.release()
    second = StateLock.take(directory, None)
    second.release()
    third = StateLock.take(directory, SOCKET)
    third.leaves_in_order = True
    third.release()
    fourth = StateLock.take(directory, SOCKET)
    fourth.release()

    assert [one.inherited_in_order for one in (first, second, third, fourth)] == [True, False, False, True]


def test_who_was_killed_has_not_left_in_order(directory: Path) -> None:
    """Whoever takes the lock can tell whether all that the one before knew is on disk."""
    first = StateLock.take(directory, SOCKET)
    first.release()
    second = StateLock.take(directory, None)
    second.release()
    label(directory)
    third = StateLock.take(directory, SOCKET)
    third.release()

    assert [one.inherited_in_order for one in (first, second, third)] == [True, True, False]


def test_the_lock_of_a_killed_process_is_free(directory: Path) -> None:
    """Killed, a process leaves its label, and it is nobody's lock any more."""
    script = """
import os, signal, sys
from pathlib import Path
from pmcredd.state_lock import StateLock
StateLock.take(Path(sys.argv[1]), Path("/run/killed"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-P", "-c", script, directory], check=False)
    assert done.returncode == -9
    assert holder(directory).socket == Path("/run/killed")

    StateLock.take(directory, SOCKET).release()


@pytest.mark.parametrize("text", ["", "\0\0\0", "[nonsense", "[" * 1000, "{}", "3", '{"pid": "x"}', "\n" * 5000])
def test_nonsense_in_the_label(directory: Path, text: str) -> None:
    """What stands in the file is only a label: nonsense keeps nobody out, lets nobody in, and crashes nothing."""
    directory.mkdir(mode=0o700)
    (directory / "lock").write_text(text)
    first = StateLock.take(directory, SOCKET)
    (directory / "lock").write_text(text)

    with pytest.raises(StateBusy, match="another pmcredd keeps"):
        StateLock.take(directory, SOCKET)

    first.release()


def test_a_label_that_cannot_be_written(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the flock: a full disk, or one that gives errors, costs no more than the label."""

    def broken(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", broken)
    monkeypatch.setattr(os, "pread", broken)
    first = StateLock.take(directory, SOCKET)

    with pytest.raises(StateBusy):
        StateLock.take(directory, SOCKET)
    first.release()


# --- the directory ----------------------------------------------------------------------------------------------------


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    """A missing state directory is made, for its owner alone."""
    StateLock.take(tmp_path / "a" / "state", SOCKET).release()

    assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705])
def test_a_directory_open_to_others_is_refused(directory: Path, mode: int) -> None:
    """A state directory that others may enter is not used; the message has the chmod."""
    directory.mkdir()
    directory.chmod(mode)

    with pytest.raises(StateProblem) as caught:
        StateLock.take(directory, SOCKET)

    assert caught.value.hint == f"chmod 700 {directory}"


def test_a_link_to_a_private_directory_will_do(tmp_path: Path, directory: Path) -> None:
    """The state directory may be a link, to a larger disk perhaps; what it leads to must be private."""
    directory.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(directory)

    StateLock.take(tmp_path / "link", SOCKET).release()


def test_a_file_in_its_place(directory: Path) -> None:
    """A state directory that is a file is a clear error."""
    directory.write_text("")

    with pytest.raises(StateProblem) as caught:
        StateLock.take(directory, SOCKET)

    assert "PMCRED_STATE_DIR" in caught.value.hint


def test_a_directory_of_somebody_else(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory that another user owns is refused: they could read and change what is in it."""
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(directory).st_uid + 1)

    with pytest.raises(StateProblem, match="belongs to another user"):
        StateLock.take(directory, SOCKET)


def test_a_file_system_without_locks(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system cannot lock, the error says so and names the way out."""

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)

    with pytest.raises(StateProblem) as caught:
        StateLock.take(directory, SOCKET)

    assert not isinstance(caught.value, StateBusy)
    assert "cannot be locked" in caught.value.message
    assert "local disk" in caught.value.hint


# --- other machines ---------------------------------------------------------------------------------------------------


@pytest.fixture
def on_nfs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the directory's file system listed as an NFS mount."""
    directory.mkdir(mode=0o700)
    device = directory.stat().st_dev
    listed = NFS.format(where=directory).replace("0:48", f"{os.major(device)}:{os.minor(device)}")
    monkeypatch.setattr(state_lock, "_mountinfo", lambda: listed)


@pytest.mark.usefixtures("on_nfs")
def test_what_another_machine_has_not_let_go_is_refused(directory: Path) -> None:
    """On a network file system our lock may not keep another machine out: what it left is refused, naming it and the
    command that takes over; and taking over works.
    """
    label(directory, machine_id="f" * 32, host="build7")
    with pytest.raises(StateProblem):
        StateLock.take(directory, SOCKET)
    with pytest.raises(StateProblem) as caught:
        StateLock.take(directory, None)

    assert not isinstance(caught.value, StateBusy)
    assert "nfs4" in caught.value.message
    assert "process 4711 on build7" in caught.value.message
    assert "pmcredd --take-over" in caught.value.hint
    lock = StateLock.take(directory, SOCKET, take_over=True)
    assert holder(directory).pid == os.getpid()
    lock.release()
    StateLock.take(directory, None).release()


@pytest.mark.usefixtures("on_nfs")
def test_what_this_machine_left_is_taken_on_nfs_too(directory: Path) -> None:
    """A daemon of this machine that was killed keeps nobody out: here the lock tells that it is gone."""
    label(directory)

    StateLock.take(directory, SOCKET).release()


def test_on_a_local_disk_another_name_of_the_machine_does_not_matter(directory: Path) -> None:
    """Containers that share a volume have ids of their own, and one kernel, whose lock is enough."""
    label(directory, machine_id="f" * 32)

    StateLock.take(directory, SOCKET).release()


def test_who_was_taken_over_leaves_the_label_alone(directory: Path) -> None:
    """A process whose directory was taken over from another machine does not blank the new holder's label."""
    first = StateLock.take(directory, SOCKET)
    label(directory, machine_id="f" * 32)

    first.release()

    assert holder(directory).machine == "f" * 32


def test_a_machine_without_an_id_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers often have no /etc/machine-id, or an empty one."""
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n")

    assert machine() == os.uname().nodename


MOUNTS = r"""22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid shared:2 - proc proc rw
24 22 0:5 / /dev rw shared:3 master:4 - devtmpfs udev rw,size=4k
31 22 0:48 / /home rw,relatime shared:9 - nfs4 filer:/export/home rw,vers=4.2,local_lock=none
32 22 0:49 / /mnt/with\040blank rw - cifs //filer/share rw,vers=3.0
33 22 0:50 /sub /mnt/ssh rw,nosuid - fuse.sshfs me@host:/ rw,user_id=0
34 22 0:51 / /mnt/enc rw,nosuid - fuse.gocryptfs /secret rw
35 22 0:52 / /mnt/dash - odd rw - tmpfs tmpfs rw
36 31 0:4 / /home/near rw - nfs filer:/near rw
broken line
37 22 0:53
38 22 0:54 / /mnt/end rw -
"""


@pytest.mark.parametrize(
    ("major", "minor", "kind"),
    [
        (253, 1, None),
        (0, 48, "nfs4"),
        (0, 49, "cifs"),
        (0, 50, "fuse.sshfs"),
        (0, 51, None),
        (0, 4, "nfs"),
        (0, 5, None),
        (0, 53, None),
        (0, 54, None),
        (9, 9, None),
    ],
)
def test_network_file_systems_are_known_by_their_type(major: int, minor: int, kind: str | None) -> None:
    """The mount of a device number is found in /proc/self/mountinfo whole, and tells what file system it is."""
    assert state_lock.network_file_system(MOUNTS, os.makedev(major, minor)) == kind


def test_the_mounts_of_this_machine() -> None:
    """What the kernel really writes is understood; where /proc is not there, every file system counts as local."""
    assert state_lock.network_file_system(state_lock._mountinfo(), os.stat("/proc").st_dev) is None
    assert state_lock.network_file_system("", 1) is None


def test_without_proc(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Where /proc cannot be read, what another machine left is taken as on a local disk."""
    label(directory, machine_id="f" * 32)

    def gone(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", gone)

    StateLock.take(directory, SOCKET).release()


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_each_holder_is_waited_for_as_long_as_it_may_take(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Who waits gives up on a holder that has had its time, and begins to count anew when another one holds the lock:
    a queue of quick ones is no hang.
    """
    patience = Patience(30.0)

    async def wait(pid: int, *, until: float) -> None:
        while trio.current_time() < until:
            await patience.wait(StateBusy(directory, Holder("oneshot", pid)))

    for pid in range(3):
        await wait(pid, until=trio.current_time() + 29)
    with pytest.raises(StateBusy):
        await wait(2, until=trio.current_time() + 2)
