"""Secrets come from where a profile says, or the reason why not is told without them."""

import contextlib
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from support.lifeline import LifeLine

from pmcredd.profiles import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    LiteralSecret,
    SecretSource,
)
from pmcredd.secret import Secret
from pmcredd.secret_sources import MAX_BYTES, SecretUnavailable, child_environment, read

CANARY = "hunter2-canary"
HERE = dict(os.environ)
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be somebody whom permission bits stop."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def file_with(path: Path, content: bytes | str, mode: int = 0o600) -> Path:
    """Write a file with exactly these permission bits."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def sh(script: str, timeout: float = 20.0) -> CommandSecret:
    """Name a shell script as the source."""
    return CommandSecret(("sh", "-c", script), timeout)


async def refused(source: SecretSource, environ: dict[str, str] | None = None) -> SecretUnavailable:
    """Read a secret that cannot be had, and give the reason."""
    with pytest.raises(SecretUnavailable) as caught:
        await read(source, environ=HERE if environ is None else environ)
    assert caught.value.sentence
    assert caught.value.mend
    return caught.value


async def test_a_literal_secret_is_itself() -> None:
    """A secret in the profile needs nothing from the outside."""
    assert await read(LiteralSecret(Secret(CANARY)), environ={}) == Secret(CANARY)


# Files


@pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n"])
async def test_a_file_gives_its_content_without_one_newline(tmp_path: Path, content: str) -> None:
    """An editor's last newline is not part of the secret."""
    assert await read(FileSecret(str(file_with(tmp_path / "s", content))), environ={}) == Secret(CANARY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\n\n", "start or its end"),
        (b" a", "start or its end"),
        (b"a\r\n", "start or its end"),
        (b"\xef\xbb\xbfa", "start or its end"),
        (b"a\xe2\x80\x8b\n", "start or its end"),
        (b"a\nuser: b\n", "more than one line"),
        (b"a\0b", "control character"),
        (b"\xffa", "not UTF-8"),
        (b"a" * (MAX_BYTES + 1), "longer than 64 KiB"),
    ],
)
async def test_what_cannot_be_a_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """A secret that cannot be right is never sent: a wrong password counts towards a lock-out."""
    error = await refused(FileSecret(str(file_with(tmp_path / "s", content))))
    assert said in error.sentence
    assert str(tmp_path / "s") in error.sentence


async def test_the_longest_secret_is_read_whole(tmp_path: Path) -> None:
    """64 KiB are allowed, to the byte."""
    secret = await read(FileSecret(str(file_with(tmp_path / "s", "a" * MAX_BYTES))), environ={})
    assert secret == Secret("a" * MAX_BYTES)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
async def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """As ssh treats a private key: it says which chmod mends it, and that chmod does."""
    path = file_with(tmp_path / "a secret", CANARY, mode)
    error = await refused(FileSecret(str(path)))
    assert f"mode {mode:04o}" in error.sentence
    assert error.mend == f"chmod 600 '{path}'"
    path.chmod(0o600)
    assert await read(FileSecret(str(path)), environ={}) == Secret(CANARY)


@as_root
async def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Who owns the file decides what the secret is; that must be us or root."""
    path = file_with(tmp_path / "s", CANARY)
    os.chown(path, NOBODY, -1)
    error = await refused(FileSecret(str(path)))
    assert f"uid {NOBODY}" in error.sentence
    assert error.mend.startswith("chown 0 ")


@pytest.mark.skipif(os.stat("/proc/version").st_uid != 0, reason="a user namespace without root's files")
async def test_a_file_of_root_may_be_readable_for_all() -> None:
    """Secrets that a container mounts are root's and 0444: nobody but root could make them otherwise."""
    with unprivileged():
        secret = await read(FileSecret("/proc/version"), environ={})
    assert secret.reveal().startswith("Linux")


@as_root
async def test_a_file_of_root_that_all_can_write_is_refused() -> None:
    """Then it is not root who decides what the secret is."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = file_with(Path(folder, "s"), CANARY, 0o666)
        with unprivileged():
            assert "mode 0666" in (await refused(FileSecret(str(path)))).sentence


async def test_a_missing_file_is_told_with_how_to_make_it(tmp_path: Path) -> None:
    """The mend makes the file with the right mode before the secret goes into it."""
    error = await refused(FileSecret(str(tmp_path / "s")))
    assert "No such file" in error.sentence
    assert error.mend.startswith(f"install -m 600 /dev/null {tmp_path}/s")


async def test_a_file_that_we_may_not_read_is_told(tmp_path: Path) -> None:
    """Permission denied names the chmod."""
    path = file_with(tmp_path / "s", CANARY, 0o000)
    with unprivileged():
        error = await refused(FileSecret(str(path)))
    assert "Permission denied" in error.sentence
    assert f"chmod 600 {path}" in error.mend


async def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO would wait for its writer for ever, a device never ends."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (str(fifo), str(tmp_path), "/dev/zero"):
        assert "Not a regular file" in (await refused(FileSecret(path))).sentence


async def test_any_other_failure_of_a_file_is_told(tmp_path: Path) -> None:
    """Nothing that the operating system can say becomes a traceback."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "symbolic links" in (await refused(FileSecret(str(loop)))).sentence


async def test_a_hanging_file_system_costs_one_thread_and_no_more_than_the_time_limit(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """A dead NFS mount: each read ends with an error, and retries do not pile up threads that cannot be ended."""
    opened, release = threading.Semaphore(0), threading.Event()

    def hang(path: str, _flags: int) -> int:
        opened.release()
        release.wait()
        raise OSError(5, "Input/output error", path)

    async def read_it() -> None:
        assert "took longer than 30 s" in (await refused(FileSecret("/mnt/dead/secret"))).sentence

    monkeypatch.setattr("pmcredd.regular_file.os.open", hang)
    try:
        for first in (True, False, False):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_it)
                if first:
                    await trio.to_thread.run_sync(opened.acquire)
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(30)
        assert not opened.acquire(blocking=False)
    finally:
        release.set()


# Commands


async def test_a_command_gives_what_it_prints() -> None:
    """The usual case: a password manager prints one line."""
    assert await read(sh(f"echo {CANARY}"), environ=HERE) == Secret(CANARY)


async def test_a_command_finds_no_input_no_terminal_and_no_descriptor_of_ours(tmp_path: Path) -> None:
    """It cannot eat what the daemon's terminal gets, and cannot hold a socket or a lock of the daemon open."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    script = (
        "import os, stat, sys\n"
        "def is_open(fd):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print(repr(sys.stdin.read()), [fd for fd in range(3, 256) if is_open(fd)], os.getsid(0) == os.getpid())\n"
    )
    try:
        found = await read(CommandSecret((sys.executable, "-c", script)), environ=HERE)
    finally:
        os.close(descriptor)
    assert found.reveal() == "'' [] True"


async def test_a_command_gets_what_it_needs_and_nothing_of_ours() -> None:
    """`pass show` works; what is meant for the daemon, and other profiles' secrets, stay with the daemon."""
    needed = {
        "HOME": "/home/me",
        "PATH": "/usr/bin:/bin",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus",
        "GNUPGHOME": "/g",
        "GPG_TTY": "/dev/pts/1",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "LANG": "C.UTF-8",
        "SSH_AUTH_SOCK": "/a",
        "DISPLAY": ":0",
        "WAYLAND_DISPLAY": "wayland-0",
        "PASSWORD_STORE_DIR": "/p",
    }
    ours = {
        "PMCRED_SOCKET": "/s",
        "PMCRED_ONESHOT": "1",
        "CREDENTIALS_DIRECTORY": "/c",
        "NOTIFY_SOCKET": "/n",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "WATCHDOG_USEC": "1",
    }
    other = {"PM_PASSWORD": CANARY}
    assert child_environment(needed | ours | other, {"PM_PASSWORD"}) == needed


async def test_the_environment_reaches_the_command_as_cut() -> None:
    """What child_environment withholds is really not in the process."""
    environ = HERE | {"PMCRED_SOCKET": "/s", "PM_PASSWORD": CANARY, "KEPT": "kept"}
    found = await read(
        sh('echo "$KEPT,$PMCRED_SOCKET,$PM_PASSWORD,"'), environ=environ, withhold=frozenset({"PM_PASSWORD"})
    )
    assert found.reveal() == "kept,,,"


async def test_a_command_runs_in_the_home_directory(tmp_path: Path) -> None:
    """Not wherever the daemon was started; a home that is not there is no reason to fail."""
    assert (await read(sh("pwd"), environ=HERE | {"HOME": str(tmp_path)})).reveal() == str(tmp_path)
    assert (await read(sh("pwd"), environ=HERE | {"HOME": str(tmp_path / "gone")})).reveal() == "/"
    assert (await read(sh("pwd"), environ={"PATH": HERE["PATH"]})).reveal() == "/"


async def test_a_failed_command_is_told_with_its_last_words() -> None:
    """Exit status and stderr say why; nothing of stdout does, not even where stderr repeats it."""
    error = await refused(sh(f"echo {CANARY}; echo 'debug: {CANARY}' >&2; echo 'store is \033[31mlocked' >&2; exit 3"))
    assert "exit status 3" in error.sentence
    assert "locked" in error.sentence
    assert "\033" not in error.sentence
    assert CANARY not in error.sentence


async def test_a_failed_command_that_says_nothing_is_told() -> None:
    """No stderr is no reason to say nothing."""
    assert (await refused(sh("exit 1"))).sentence.endswith("exit status 1")


async def test_a_talkative_command_is_not_stopped_by_its_own_stderr() -> None:
    """A full pipe would stop it for ever; of what it says only the end is told."""
    error = await refused(sh("yes first | head -c 300000 >&2; echo last >&2; exit 1"))
    assert error.sentence.endswith("last")


async def test_half_a_secret_at_the_cut_of_stderr_is_not_told() -> None:
    """Only the end of stderr is kept; where that begins within the secret, nothing could find it again."""
    error = await refused(sh(f"echo {CANARY}; printf '%s%04090d' {CANARY} 0 >&2; exit 1"))
    assert "canary" not in error.sentence


async def test_a_killed_command_is_told() -> None:
    """The signal is named."""
    assert "signal 9" in (await refused(sh("kill -9 $$"))).sentence


async def test_a_command_that_prints_nothing_is_told() -> None:
    """Exit status 0 alone is not a secret."""
    error = await refused(sh("true"))
    assert "is empty" in error.sentence


async def test_a_command_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    """Each reason has its own mend."""
    nowhere = await refused(CommandSecret(("no-such-program-here",)), {"PATH": "/usr/bin:/bin", "HOME": "/"})
    assert "not on PATH, which is /usr/bin:/bin" in nowhere.sentence
    gone = await refused(CommandSecret((str(tmp_path / "gone"),)))
    assert "is not there" in gone.sentence
    plain = file_with(tmp_path / "plain", f"echo {CANARY}", 0o600)
    assert (await refused(CommandSecret((str(plain),)))).mend == f"chmod u+x {plain}"
    bare = file_with(tmp_path / "bare", f"echo {CANARY}", 0o700)
    assert "#!/bin/sh" in (await refused(CommandSecret((str(bare),)))).mend
    long = await refused(CommandSecret(("sh", "-c", "true", "x" * 200_000)))
    assert "Argument list too long" in long.sentence


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LifeLine]:
    """Tell whether the processes of this test still live."""
    line = LifeLine(tmp_path / "line")
    yield line
    line.close()


async def test_a_command_is_killed_whole_at_its_time_limit(line: LifeLine) -> None:
    """A prompt that nobody sees, two processes deep: an error in time, and nothing of it is left."""
    script = f"(echo started; sleep 1000) > {line.path} & echo {CANARY}; wait"
    error = await refused(sh(f"exec 4>{line.path}; {script}", timeout=2))
    assert "time limit of 2 s" in error.sentence
    assert await line.hear() == b"started\n"
    assert await line.hear() == b""


async def test_a_grandchild_that_holds_the_output_open_does_not_hold_us(line: LifeLine) -> None:
    """The script has ended, its background process keeps the pipe: told as that, in time, and it is gone."""
    error = await refused(sh(f"(echo started >&4; sleep 1000) 4>{line.path} & echo {CANARY}", timeout=2))
    assert "a process that it left behind" in error.sentence
    assert ">/dev/null" in error.mend
    assert await line.hear() == b"started\n"
    assert await line.hear() == b""


async def test_a_grandchild_that_leaves_the_group_does_not_hold_us_either() -> None:
    """What made itself a session of its own cannot be killed with the group; the time limit holds all the same."""
    error = await refused(sh("setsid sleep 5 & wait", timeout=0.5))
    assert "time limit" in error.sentence


async def test_a_background_process_with_its_output_elsewhere_stays(line: LifeLine) -> None:
    """A command may start an agent, such as the one of a password manager; the secret is there at once."""
    script = f"(echo started >&4; exec sleep 1000) 4>{line.path} >/dev/null & echo {CANARY} $!"
    secret, pid = (await read(sh(script), environ=HERE)).reveal().split()
    assert secret == CANARY
    assert await line.hear() == b"started\n"
    os.kill(int(pid), 9)  # fails if it is gone
    assert await line.hear() == b""


async def test_too_much_output_ends_the_command(line: LifeLine) -> None:
    """Endless output costs 64 KiB of memory, not the machine's."""
    error = await refused(sh(f"exec 4>{line.path}; echo started >&4; yes {CANARY}"))
    assert "longer than 64 KiB" in error.sentence
    assert await line.hear() == b"started\n"
    assert await line.hear() == b""


async def test_a_command_that_closed_its_output_still_has_to_end(line: LifeLine) -> None:
    """The end of the output is not the end of the command: its exit status decides."""
    error = await refused(sh(f"exec 4>{line.path}; echo {CANARY}; exec >&- 2>&-; sleep 1000", timeout=2))
    assert "time limit of 2 s" in error.sentence
    assert await line.hear() == b""


async def test_a_read_that_is_given_up_leaves_no_process(line: LifeLine) -> None:
    """The daemon leaves while a command prompts: nothing of it stays behind."""
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            await read(sh(f"exec 4>{line.path}; echo started >&4; sleep 1000", timeout=600), environ=HERE)

        nursery.start_soon(ask)
        assert await line.hear() == b"started\n"
        nursery.cancel_scope.cancel()
    assert await line.hear() == b""


# The environment


async def test_a_variable_gives_its_value() -> None:
    """For a daemon that somebody starts from a shell."""
    assert await read(EnvSecret("S"), environ={"S": CANARY}) == Secret(CANARY)


@pytest.mark.parametrize(
    "environ",
    [
        {"INVOCATION_ID": "0", "SYSTEMD_EXEC_PID": str(os.getpid()), "S": CANARY},
        {"INVOCATION_ID": "0", "S": CANARY},  # systemd before 248
    ],
)
async def test_under_systemd_a_variable_is_refused(environ: dict[str, str]) -> None:
    """Everybody on the bus could read it: the error names credential; --oneshot may, as it is not a service."""
    error = await refused(EnvSecret("S"), environ)
    assert "credential" in error.mend
    assert "LoadCredential=" in error.mend
    assert await read(EnvSecret("S"), environ=environ | {"PMCRED_ONESHOT": "1"}) == Secret(CANARY)


async def test_a_shell_that_systemd_started_is_not_a_service() -> None:
    """A terminal is a user service in some desktops, and its shells inherit INVOCATION_ID."""
    environ = {"INVOCATION_ID": "0", "SYSTEMD_EXEC_PID": str(os.getpid() + 1), "S": CANARY}
    assert await read(EnvSecret("S"), environ=environ) == Secret(CANARY)


async def test_a_variable_that_is_not_there_or_no_secret_is_told() -> None:
    """Not set, empty and not UTF-8 are three things."""
    assert "is not set" in (await refused(EnvSecret("S"), {})).sentence
    assert "is empty" in (await refused(EnvSecret("S"), {"S": ""})).sentence
    assert "not UTF-8" in (await refused(EnvSecret("S"), {"S": "a\udcff"})).sentence


# Credentials


async def test_a_credential_comes_from_the_directory_of_systemd(tmp_path: Path) -> None:
    """Systemd guards the directory; the file's mode shows an access control list's mask and means nothing."""
    file_with(tmp_path / "pm-prod", f"{CANARY}\n", 0o440)
    found = await read(CredentialSecret("pm-prod"), environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == Secret(CANARY)


async def test_a_credential_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Without the directory: the line for the unit. Without the file: which credential it is."""
    assert "LoadCredential=pm-prod:" in (await refused(CredentialSecret("pm-prod"), {})).mend
    error = await refused(CredentialSecret("pm-prod"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert 'credential "pm-prod"' in error.sentence
    assert "LoadCredential=pm-prod:" in error.mend


# What is never told


@pytest.mark.parametrize("content", [f"{CANARY}\nmore", f" {CANARY}", f"{CANARY}\xff".encode("latin-1"), CANARY * 6000])
async def test_no_error_holds_the_secret(tmp_path: Path, content: str | bytes) -> None:
    """Not its text, not its repr, not the exceptions behind it, whatever a logger prints of them."""
    path = file_with(tmp_path / "s", content)
    for source in (FileSecret(str(path)), sh(f"cat {path}"), sh(f"cat {path}; cat {path} >&2; exit 1")):
        error = await refused(source)
        told = f"{error!r} {error.sentence} {error.mend} {error.__context__!r} {error.__cause__!r}"
        assert CANARY not in told + "".join(traceback.format_exception(error))
