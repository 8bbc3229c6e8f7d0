"""scripts/pmcred, the command that people type: the hot path, everything that leaves it, and every installation."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.command_lines import ASKED, LEFT
from support.fake_daemon import TOKEN, FakeDaemon

TREE = Path(__file__).resolve().parents[1]
SCRIPT = TREE / "scripts" / "pmcred"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")


def interpreters() -> dict[str, str]:
    """Find one interpreter of each supported version on this machine, by version."""
    beside = Path(sys.base_prefix).parent.glob("3.1[1-9]*/bin/python3")
    named = (shutil.which(f"python3.{minor}") for minor in range(11, 20))
    found: dict[str, str] = {}
    for python in filter(None, (sys.executable, *map(str, beside), *named)):
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        ran = subprocess.run([python, "-IS", "-c", script], capture_output=True, text=True, check=False)
        if ran.returncode == 0 and int(ran.stdout.strip().partition(".")[2]) >= 11:
            found.setdefault(ran.stdout.strip(), python)
    return found


INTERPRETERS = interpreters()


@dataclass(frozen=True)
class Place:
    """A bin directory as a venv has it, with a `pmcred-cli` that only tells that it ran and with which arguments."""

    bin: Path
    socket: Path

    def run(
        self, *argv: str, command: Sequence[str] = (), environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `pmcred ARGV` with next to no environment."""
        base = {"PATH": SYSTEM_PATH, "PMCRED_SOCKET": str(self.socket)}
        whole = [*(command or [str(self.bin / "pmcred")]), *argv]
        return subprocess.run(whole, env={**base, **(environ or {})}, cwd=cwd, capture_output=True, check=False)


def make_place(root: Path, python: str = sys.executable) -> Place:
    """Lay out such a directory below `root`."""
    (root / "bin").mkdir(parents=True)
    home = Path(os.path.realpath(python))
    (root / "pyvenv.cfg").write_text(f"home = {home.parent}\n")
    (root / "bin" / "python").symlink_to(home)
    shutil.copy(SCRIPT, root / "bin" / "pmcred")
    cli = root / "bin" / "pmcred-cli"
    cli.write_text('#!/bin/sh\nprintf "cli %s" $#\nprintf ":%s" "$@"\n')
    cli.chmod(0o755)
    return Place(root / "bin", root.parent / "run" / "pmcred" / "socket")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Such a directory in a path with a space and a quote."""
    return make_place(tmp_path / "a b'c")


def left_to_cli(ran: subprocess.CompletedProcess[bytes], *argv: str) -> bool:
    """Tell whether pmcred-cli was run, with exactly these arguments, and nothing else was said."""
    return (ran.stdout, ran.stderr) == (f"cli {len(argv)}:{':'.join(argv)}".encode(), b"")


# The hot path


@pytest.mark.parametrize("version", INTERPRETERS)
def test_get_and_header_work_with_every_python(tmp_path: Path, version: str) -> None:
    """From the oldest supported version on, `get` prints the token and `header` the header, and nothing else."""
    place = make_place(tmp_path / "venv", INTERPRETERS[version])
    with FakeDaemon(place.socket) as daemon:
        got, header = place.run("get", "prod"), place.run("header", "prod")
    assert (got.returncode, got.stdout, got.stderr) == (0, f"{TOKEN}\n".encode(), b"")
    assert (header.returncode, header.stdout, header.stderr) == (0, f"Authorization: Bearer {TOKEN}\n".encode(), b"")
    assert daemon.requests == [b"get prod", b"get prod"]


@pytest.mark.parametrize(("argv", "request_"), ASKED)
def test_what_is_asked_is_what_was_typed(place: Place, argv: list[str], request_: bytes) -> None:
    """Name, time and $PMCRED_PROFILE arrive as they are."""
    with FakeDaemon(place.socket) as daemon:
        ran = place.run(*argv, environ={"PMCRED_PROFILE": "from_env"})
    assert ran.stdout.endswith(f"{TOKEN}\n".encode())
    assert daemon.requests == [request_]


@pytest.mark.parametrize("argv", LEFT)
def test_everything_else_is_left_to_the_cli(place: Place, argv: list[str]) -> None:
    """With the same arguments, empty ones and strange ones too, and without a word to the daemon."""
    with FakeDaemon(place.socket) as daemon:
        assert left_to_cli(place.run(*argv), *argv)
    assert daemon.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"error needs-login\nmessage=access_token=x\naccess_token=abc\n\n",
        b"ok\naccess_token=abc",
        b"ok\naccess_token=abc\n",
        b"ok\nprofile=prod\n\n",
        b"ok\naccess_token=\n\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n\n\n",
        b"",
    ],
)
def test_any_answer_but_a_token_is_left_to_the_cli(place: Place, answer: bytes) -> None:
    """An error, half an answer, a foreign one: the errors have one home, and half a token is never printed."""
    with FakeDaemon(place.socket, lambda _: answer, hang_up=True):
        assert left_to_cli(place.run("get", "prod", "--for", "1h"), "get", "prod", "--for", "1h")


def test_without_a_daemon_the_cli_tells(place: Place, tmp_path: Path) -> None:
    """No directory, no socket, nobody listening, not a directory, a link, a relative path."""
    assert left_to_cli(place.run("get", "prod"), "get", "prod")
    place.socket.parent.mkdir(parents=True)
    assert left_to_cli(place.run("get", "prod"), "get", "prod")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(place.socket))
    assert left_to_cli(place.run("get", "prod"), "get", "prod")
    (tmp_path / "link").symlink_to(place.socket.parent)
    place.socket.unlink()
    with FakeDaemon(place.socket) as daemon:
        for path in (tmp_path / "link" / "socket", place.socket / "below", Path("run/pmcred/socket")):
            ran = place.run("get", "prod", environ={"PMCRED_SOCKET": str(path)}, cwd=tmp_path)
            assert left_to_cli(ran, "get", "prod")
    assert daemon.requests == []


def test_a_large_answer_in_pieces_is_read_to_its_end(place: Place) -> None:
    """A token of any length, and keys that come later."""
    answer = f"ok\nx={'x' * 300_000}\naccess_token={TOKEN * 20}\nurl=y\n\n".encode()
    with FakeDaemon(place.socket, lambda _: answer):
        assert place.run("get", "prod").stdout.decode() == TOKEN * 20 + "\n"


# Which socket, and whose


def test_the_usual_places_are_tried_in_order(place: Place, short_path: Path) -> None:
    """The runtime directory first; a stale socket there does not hide a daemon in the state directory."""
    home = short_path / "home" / ".local" / "state"
    for variables, path in (
        ({"XDG_RUNTIME_DIR": str(short_path / "xdg")}, short_path / "xdg" / "pmcred" / "socket"),
        ({"PMCRED_STATE_DIR": str(short_path / "state")}, short_path / "state" / "run" / "socket"),
        ({"XDG_STATE_HOME": str(short_path / "st")}, short_path / "st" / "pmcred" / "run" / "socket"),
        ({"HOME": str(short_path / "home")}, home / "pmcred" / "run" / "socket"),
    ):
        with FakeDaemon(path):
            ran = place.run("get", "prod", environ={"PMCRED_SOCKET": "", **variables})
            assert ran.stdout.decode() == f"{TOKEN}\n", variables
    stale = short_path / "xdg" / "pmcred" / "socket"
    with socket.socket(socket.AF_UNIX) as killed, FakeDaemon(home / "pmcred" / "run" / "socket") as daemon:
        killed.bind(os.fspath(stale))
        both = {"PMCRED_SOCKET": "", "XDG_RUNTIME_DIR": str(short_path / "xdg"), "HOME": str(short_path / "home")}
        assert place.run("get", "prod", environ=both).stdout.decode() == f"{TOKEN}\n"
        named = {**both, "PMCRED_SOCKET": str(stale)}
        assert left_to_cli(place.run("get", "prod", environ=named), "get", "prod")
    assert len(daemon.requests) == 1


def test_a_daemon_that_refuses_is_not_asked_by_another_path(place: Place, short_path: Path) -> None:
    """The paths may well lead to one daemon; pmcred-cli asks it once more, and tells why."""
    runtime, state = short_path / "xdg", short_path / "state"
    both = {"PMCRED_SOCKET": "", "XDG_RUNTIME_DIR": str(runtime), "PMCRED_STATE_DIR": str(state)}
    refusing = FakeDaemon(runtime / "pmcred" / "socket", lambda _: b"error needs-login\nmessage=x\n\n")
    with refusing, FakeDaemon(state / "run" / "socket") as other:
        assert left_to_cli(place.run("get", "prod", environ=both), "get", "prod")
    assert len(refusing.requests) == 1
    assert other.requests == []


@root_only
def test_another_users_directory_is_not_entered(place: Place) -> None:
    """Its owner could listen there in the daemon's place."""
    with FakeDaemon(place.socket) as daemon:
        os.chown(place.socket.parent, NOBODY, NOBODY)
        assert left_to_cli(place.run("get", "prod"), "get", "prod")
        os.chown(place.socket.parent, 0, 0)
    assert daemon.requests == []


def test_who_is_nobody_in_a_user_namespace_sends_nothing(place: Place) -> None:
    """Where our uid is not mapped everybody looks like us: the CLI says why that will not do."""
    unmapped = ["unshare", "--user", str(place.bin / "pmcred")]
    if subprocess.run([*unmapped[:2], "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel does not allow user namespaces to us")
    with FakeDaemon(place.socket) as daemon:
        assert left_to_cli(place.run("get", "prod", command=unmapped), "get", "prod")
    assert daemon.requests == []


@root_only
def test_nothing_is_sent_to_another_users_process(place: Place) -> None:
    """Not even the profile's name."""
    script = (
        "import socket as s, sys; l=s.socket(1); l.bind(sys.argv[1]); l.listen(); print('up', flush=True)\n"
        "print(l.accept()[0].recv(99), flush=True)"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = f"{directory}/socket"
        command = ["/usr/bin/python3", "-c", script, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, user=NOBODY, cwd="/") as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"up\n"
            assert left_to_cli(place.run("get", "prod", environ={"PMCRED_SOCKET": path}), "get", "prod")
            assert stranger.stdout.read() == b"b''\n"


# How it is called


def by_path(place: Place, _: Path) -> tuple[list[str], Path, str]:
    """Through PATH, from elsewhere."""
    return ["sh", "-c", 'pmcred "$@"', "sh"], Path("/"), f"{place.bin}:{SYSTEM_PATH}"


def by_link(place: Place, scratch: Path) -> tuple[list[str], Path, str]:
    """Through a chain of symbolic links, one of them relative."""
    (scratch / "one").mkdir()
    (scratch / "one" / "first").symlink_to(place.bin / "pmcred")
    (scratch / "second").symlink_to("one/first")
    return [str(scratch / "second")], Path("/"), SYSTEM_PATH


def by_linked_directory(place: Place, scratch: Path) -> tuple[list[str], Path, str]:
    """In a directory that is itself a link."""
    (scratch / "linked").symlink_to(place.bin)
    return [str(scratch / "linked" / "pmcred")], Path("/"), SYSTEM_PATH


def by_sh(place: Place, _: Path) -> tuple[list[str], Path, str]:
    """As `sh pmcred` beside it, so that the name has no slash."""
    return ["sh", "pmcred"], place.bin, SYSTEM_PATH


def by_bash_on_path(place: Place, _: Path) -> tuple[list[str], Path, str]:
    """As `bash pmcred` elsewhere: bash looks through PATH, and the name still has no slash."""
    return ["bash", "pmcred"], Path("/"), f"{place.bin}:{SYSTEM_PATH}"


def by_relative_path(place: Place, _: Path) -> tuple[list[str], Path, str]:
    """As bin/pmcred."""
    return ["./bin/pmcred"], place.bin.parent, SYSTEM_PATH


def by_dashed_directory(place: Place, scratch: Path) -> tuple[list[str], Path, str]:
    """In a directory whose name looks like an option."""
    (scratch / "-x").symlink_to(place.bin)
    return ["-x/pmcred"], scratch, SYSTEM_PATH


@pytest.mark.parametrize(
    "how", [by_path, by_link, by_linked_directory, by_sh, by_bash_on_path, by_relative_path, by_dashed_directory]
)
def test_however_it_is_called_it_finds_its_python_and_its_cli(
    place: Place, tmp_path: Path, how: Callable[[Place, Path], tuple[list[str], Path, str]]
) -> None:
    """Both are those beside the script itself, wherever the caller stands."""
    command, cwd, path = how(place, tmp_path)
    with FakeDaemon(place.socket) as daemon:
        ran = place.run("get", "prod", command=command, cwd=cwd, environ={"PATH": path})
        assert (ran.stdout, ran.stderr) == (f"{TOKEN}\n".encode(), b"")
        assert left_to_cli(place.run("status", command=command, cwd=cwd, environ={"PATH": path}), "status")
        (place.bin / "pmcred-cli").rename(place.bin / "away")
        ran = place.run("get", "prod", command=command, cwd=cwd, environ={"PATH": path})
        assert ran.stdout == f"{TOKEN}\n".encode()
    assert len(daemon.requests) == 2


def no_venv(place: Place) -> None:
    """As pip --user installs it: the python beside it, if any, is not its own."""
    (place.bin.parent / "pyvenv.cfg").unlink()


def no_python(place: Place) -> None:
    """A venv without its python."""
    (place.bin / "python").unlink()


def dangling_python(place: Place) -> None:
    """A venv whose base was removed."""
    (place.bin / "python").unlink()
    (place.bin / "python").symlink_to("/nonexistent/python3")


@pytest.mark.parametrize("spoil", [no_venv, no_python, dangling_python])
def test_without_a_python_of_its_own_the_cli_does_it(place: Place, spoil: Callable[[Place], None]) -> None:
    """Any python that is not the venv's could lack what we need: the installer's own shebang is right."""
    spoil(place)
    with FakeDaemon(place.socket) as daemon:
        assert left_to_cli(place.run("get", "prod"), "get", "prod")
    assert daemon.requests == []


def test_a_missing_cli_is_told_in_one_line(place: Place) -> None:
    """A broken installation gives a sentence and a status, from both halves of the script."""
    (place.bin / "pmcred-cli").unlink()
    for argv in (["get", "prod"], ["status"]):
        ran = place.run(*argv)
        assert ran.returncode != 0
        assert ran.stdout == b""
        assert ran.stderr.count(b"\n") == 1
        assert b"pmcred-cli" in ran.stderr


def test_pythons_variables_change_nothing(place: Place, tmp_path: Path) -> None:
    """Neither a foreign module nor a foreign home gets in between, and nothing more is printed."""
    (tmp_path / "_socket.py").write_text("raise SystemExit('caught')")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('caught')")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "/nonexistent",
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONSTARTUP": str(tmp_path / "_socket.py"),
    }
    with FakeDaemon(place.socket):
        ran = place.run("get", "prod", environ=hostile, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{TOKEN}\n".encode(), b"")


# Output


def test_a_full_disk_is_an_error(place: Place) -> None:
    """A token that could not be written is not a success, and the reason is one line."""
    with FakeDaemon(place.socket):
        ran = place.run("get", "prod", command=["sh", "-c", '"$0" "$@" > /dev/full', str(place.bin / "pmcred")])
    assert ran.returncode == 1
    assert ran.stderr == b"pmcred: cannot write the output: No space left on device\n"


def test_with_output_closed_nothing_is_asked(place: Place) -> None:
    """The connection must not become standard output, with the token printed back into it."""
    with FakeDaemon(place.socket) as daemon:
        ran = place.run("get", "prod", command=["sh", "-c", '"$0" "$@" >&-', str(place.bin / "pmcred")])
    assert ran.returncode == 1
    assert ran.stderr == b"pmcred: cannot write the output: Bad file descriptor\n"
    assert daemon.requests == []


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_other_closed_descriptors_do_no_harm(place: Place, closed: str) -> None:
    """As under some init systems."""
    with FakeDaemon(place.socket) as daemon:
        ran = place.run("get", "prod", command=["sh", "-c", f'"$0" "$@" {closed}', str(place.bin / "pmcred")])
    assert (ran.returncode, ran.stdout) == (0, f"{TOKEN}\n".encode())
    assert daemon.requests == [b"get prod"]


def start(place: Place, stdout: int) -> subprocess.Popen[bytes]:
    """Start `pmcred get prod` with its output going there."""
    environ = {"PATH": SYSTEM_PATH, "PMCRED_SOCKET": str(place.socket)}
    command = [str(place.bin / "pmcred"), "get", "prod"]
    return subprocess.Popen(command, env=environ, stdout=stdout, stderr=subprocess.PIPE)


def test_a_reader_that_has_left_is_no_traceback(place: Place) -> None:
    """Like any other command before a `head` that has seen enough: ended by SIGPIPE, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with FakeDaemon(place.socket), start(place, writing) as process:
        os.close(writing)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (-signal.SIGPIPE, b"")


def test_a_pipe_that_takes_nothing_more_is_an_error(place: Place) -> None:
    """A full pipe that does not block: never a silently cut token."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        pass
    with FakeDaemon(place.socket), start(place, writing) as process:
        os.close(writing)
        _, errors = process.communicate()
    os.close(reading)
    assert process.returncode == 1
    assert errors.startswith(b"pmcred: ")
    assert errors.count(b"\n") == 1


def test_a_slow_reader_gets_all_of_it(place: Place) -> None:
    """A token larger than the pipe is written piece by piece."""
    answer = f"ok\naccess_token={'x' * 500_000}\n\n".encode()
    reading, writing = os.pipe()
    with FakeDaemon(place.socket, lambda _: answer), start(place, writing) as process, os.fdopen(reading, "rb") as out:
        os.close(writing)
        assert out.read() == b"x" * 500_000 + b"\n"
        process.communicate()
    assert process.returncode == 0


def test_ctrl_c_while_it_waits_ends_it_like_any_command(place: Place) -> None:
    """By the signal, so that a shell's loop ends too, and without a traceback."""
    waiting, release = threading.Event(), threading.Event()

    def answer(_: bytes) -> bytes:
        waiting.set()
        release.wait()
        return b""

    with FakeDaemon(place.socket, answer), start(place, subprocess.PIPE) as process:
        waiting.wait()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
        release.set()
    assert (process.returncode, output, errors) == (-signal.SIGINT, b"", b"")


# As people install it


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    directory = tmp_path_factory.mktemp("wheel")
    quiet("-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(directory), str(TREE))
    (built,) = directory.glob("pmcredd-*.whl")
    return built


@pytest.fixture(scope="session")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a venv with pipx and uv."""
    return venv(tmp_path_factory.mktemp("installers") / "venv", "pipx", "uv")


def quiet(*argv: str, command: str = sys.executable, **environ: str) -> None:
    """Run an installer; what it says is shown only if it fails."""
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environ}
    ran = subprocess.run([command, *argv], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert ran.returncode == 0, ran.stdout.decode()


def venv(directory: Path, *packages: str) -> Path:
    """Make a venv with these packages and give its bin directory."""
    quiet("-m", "venv", str(directory))
    quiet("-m", "pip", "install", "--quiet", *packages, command=str(directory / "bin" / "python"))
    return directory / "bin"


def with_venv(scratch: Path, wheel: Path, _: Path) -> Path:
    """Install as `python -m venv` and `pip install`."""
    return venv(scratch / "venv", str(wheel))


def with_pip_user(scratch: Path, wheel: Path, _: Path) -> Path:
    """Install as `pip install --user`, with the interpreter below this venv."""
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    pip = ["-m", "pip", "--python", base, "install", "--quiet", "--user", "--break-system-packages"]
    quiet(*pip, "--no-warn-script-location", str(wheel), PYTHONUSERBASE=str(scratch / "user"))
    return scratch / "user" / "bin"


def with_pipx(scratch: Path, wheel: Path, installers: Path) -> Path:
    """Install as `pipx install`: a venv, and links to it."""
    places = {f"PIPX_{name}": str(scratch / name) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    quiet("install", str(wheel), command=str(installers / "pipx"), **places)
    return scratch / "BIN_DIR"


def with_uv(scratch: Path, wheel: Path, installers: Path) -> Path:
    """Install as `uv tool install`: a venv, and links to it."""
    places = {"UV_TOOL_DIR": str(scratch / "tools"), "UV_TOOL_BIN_DIR": str(scratch / "bin")}
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    quiet("tool", "install", "--python", base, str(wheel), command=str(installers / "uv"), **places)
    return scratch / "bin"


@pytest.mark.storm
@pytest.mark.parametrize("install", [with_venv, with_pip_user, with_pipx, with_uv])
def test_it_works_as_people_install_it(
    tmp_path: Path, wheel: Path, installers: Path, install: Callable[[Path, Path, Path], Path]
) -> None:
    """A token through PATH, a link and `sh pmcred`, and a clear error, in every usual kind of installation."""
    directory = install(tmp_path, wheel, installers)
    (tmp_path / "link").symlink_to(directory / "pmcred")
    path = tmp_path / "sock" / "socket"
    environ = {
        "PATH": f"{directory}:{SYSTEM_PATH}",
        "PMCRED_SOCKET": str(path),
        "PYTHONUSERBASE": str(tmp_path / "user"),  # pip --user's interpreter would find it in the home directory
    }

    def run(*argv: str, cwd: Path = Path("/")) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(argv, env=environ, cwd=cwd, capture_output=True, check=False)

    with FakeDaemon(path):
        for ran in (
            run("/usr/bin/env", "pmcred", "get", "prod"),
            run(str(tmp_path / "link"), "get", "prod"),
            run("sh", "pmcred", "get", "prod", cwd=directory),
        ):
            assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{TOKEN}\n".encode(), b"")
        header = run("/usr/bin/env", "pmcred", "header", "prod", "--for", "30m")
        assert header.stdout.decode() == f"Authorization: Bearer {TOKEN}\n"
    ran = run("/usr/bin/env", "pmcred", "get", "prod")
    assert (ran.returncode, ran.stdout) == (69, b"")
    assert str(path) in ran.stderr.decode()
