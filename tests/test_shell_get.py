"""The function `pmcred` of `pmcred shell-init`, in real shells: the same answers and statuses as the command itself."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_lines import ASKED, LEFT
from support.daemon import running, user_at, write_profiles
from support.fake_daemon import TOKEN, FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import sandbox_process
from support.shells import ALL, BASH, FISH, ZSH, Desk, Shell

from pmcredd.cli import shell_init

# The shells are the same whatever the interpreter is that runs the tests.
pytestmark = pytest.mark.storm

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path: that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def desk(place: Path) -> Desk:
    """A desk in a path with a space."""
    return Desk(place / "a b", place / "sock" / "socket")


@pytest.fixture(params=ALL, ids=str)
def shell(request: pytest.FixtureRequest) -> Shell:
    """Each shell, by each way to a socket."""
    found = request.param
    assert isinstance(found, Shell)
    if found.missing:
        pytest.skip(f"needs {' and '.join(found.missing)}")
    return found


def same(
    desk: Desk, shell: Shell, *argv: str, cwd: Path | None = None, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Assert that the function does with these arguments what the command does; gives what that was."""
    expected, ran = desk.command(*argv, cwd=cwd, **more), desk.ask(shell, *argv, cwd=cwd, **more)
    assert (ran.returncode, ran.stdout, ran.stderr) == (expected.returncode, expected.stdout, expected.stderr), argv
    return ran


def left(ran: "subprocess.CompletedProcess[str]", *argv: str) -> bool:
    """Tell whether pmcred-cli was run, with exactly these arguments, and nothing else was said."""
    return (ran.returncode, ran.stdout, ran.stderr) == (7, "", f"cli {len(argv)}:{':'.join(argv)}\n")


def test_the_shell_asks_what_the_command_asks(desk: Desk, shell: Shell) -> None:
    """A token and a header, with NAME, --for and $PMCRED_PROFILE, and no interpreter has run."""
    with FakeDaemon(desk.socket) as daemon:
        expected = [desk.command(*argv, PMCRED_PROFILE="from_env") for argv, _ in ASKED]
        desk.take_python()
        ran = [desk.ask(shell, *argv, PMCRED_PROFILE="from_env") for argv, _ in ASKED]
    assert [(r.returncode, r.stdout, r.stderr) for r in ran] == [(r.returncode, r.stdout, r.stderr) for r in expected]
    assert daemon.requests == [request for _, request in ASKED] * 2
    assert ran[0].stdout == f"{TOKEN}\n"
    assert ran[1].stdout == f"Authorization: Bearer {TOKEN}\n"


def test_everything_else_is_the_commands(desk: Desk, shell: Shell) -> None:
    """With the same arguments, empty ones and strange ones too, and without a word to the daemon."""
    with FakeDaemon(desk.socket) as daemon:
        for argv in LEFT:
            assert left(same(desk, shell, *argv), *argv), argv
            assert left(same(desk, shell, *argv, PMCRED_PROFILE="a\nstop"), *argv), argv
    assert daemon.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"error needs-login\nmessage=access_token=x\naccess_token=abc\n\n",
        b"error no-such-profile\nmessage=no\n\n",
        b"ok\naccess_token=abc",
        b"ok\naccess_token=abc\n",
        b"ok\nprofile=prod\n\n",
        b"ok\naccess_token=\n\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n\n\n",
        b"\n\n",
        b"",
    ],
)
def test_any_answer_but_a_token_is_the_commands(desk: Desk, shell: Shell, answer: bytes) -> None:
    """An error, half an answer, a foreign one: the errors have one home, and half a token is never printed."""
    with FakeDaemon(desk.socket, lambda _: answer, hang_up=True):
        assert left(same(desk, shell, "get", "prod", "--for", "1h"), "get", "prod", "--for", "1h")


def test_a_token_behind_other_keys_is_found(desk: Desk, shell: Shell) -> None:
    """Keys come in any order, and a token may be long."""
    for answer in (
        f"ok\nurl=x\naccess_token={TOKEN}\n\n",
        f"ok\naccess_token={TOKEN * 40}\nurl=y\n\n",
        f"ok\nx={'x' * 300_000}\naccess_token={TOKEN}\n\n",
    ):
        with FakeDaemon(desk.socket, lambda _, answer=answer: answer.encode()):  # type: ignore[misc]
            assert TOKEN in same(desk, shell, "get", "prod").stdout


# Which socket, and whose


def test_without_a_daemon_the_command_tells(desk: Desk, shell: Shell, place: Path) -> None:
    """No directory, no socket, nobody listening, not a directory, a link, a relative path, no path at all."""
    assert left(same(desk, shell, "get", "prod"), "get", "prod")
    desk.socket.parent.mkdir(parents=True)
    assert left(same(desk, shell, "get", "prod"), "get", "prod")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(desk.socket))
    assert left(same(desk, shell, "get", "prod"), "get", "prod")
    (place / "link").symlink_to(desk.socket.parent)
    desk.socket.unlink()
    named = [
        *(place / "link" / "socket", desk.socket / "below", desk.socket.parent, "sock/socket", "/socket", "/"),
        *(f"{desk.socket}/", "-", "\n", "*", f"/{'x' * 300}/socket", f"{desk.socket}\n", "/dev/null"),
    ]
    with FakeDaemon(desk.socket) as daemon:
        for path in named:
            ran = same(desk, shell, "get", "prod", PMCRED_SOCKET=str(path), cwd=place)
            assert left(ran, "get", "prod"), path
    assert daemon.requests == []


def test_the_usual_places_are_tried_in_order(desk: Desk, shell: Shell, place: Path) -> None:
    """The runtime directory first; a stale socket there does not hide a daemon in the state directory."""
    desk.take_python()
    home = desk.root / ".local" / "state" / "pmcred" / "run" / "socket"
    usual: list[tuple[dict[str, str], Path]] = [
        ({"XDG_RUNTIME_DIR": str(place / "xdg")}, place / "xdg" / "pmcred" / "socket"),
        ({"PMCRED_STATE_DIR": str(place / "state")}, place / "state" / "run" / "socket"),
        ({"XDG_STATE_HOME": str(place / "st")}, place / "st" / "pmcred" / "run" / "socket"),
        ({}, home),
    ]
    for variables, path in usual:
        desk.environ = {"PMCRED_SOCKET": "", **variables}
        with FakeDaemon(path):
            assert desk.ask(shell, "get", "prod").stdout == f"{TOKEN}\n", variables
    desk.environ = {"PMCRED_SOCKET": ""}
    with socket.socket(socket.AF_UNIX) as killed, FakeDaemon(home) as daemon:
        killed.bind(os.fspath(place / "xdg" / "pmcred" / "socket"))
        xdg = str(place / "xdg")
        assert desk.ask(shell, "get", "prod", XDG_RUNTIME_DIR=xdg).stdout == f"{TOKEN}\n"
        stale = f"{xdg}/pmcred/socket"
        assert left(desk.ask(shell, "get", "prod", PMCRED_SOCKET=stale), "get", "prod")
    assert len(daemon.requests) == 1


@pytest.mark.parametrize("name", ["with space", "quo'te", "a,b:c!d", "dollar$HOME", "back\\slash", "new\nline", "é"])
def test_a_socket_in_a_strange_path_is_used(desk: Desk, shell: Shell, place: Path, name: str) -> None:
    """Whatever the characters of its path mean to a shell or to a program."""
    path = place / name / "socket"
    with FakeDaemon(path) as daemon:
        assert same(desk, shell, "get", "prod", PMCRED_SOCKET=str(path)).stdout == f"{TOKEN}\n"
    assert daemon.requests == [b"get prod"] * 2


@root_only
def test_another_users_directory_is_not_entered(desk: Desk, shell: Shell) -> None:
    """Its owner could listen there in the daemon's place."""
    with FakeDaemon(desk.socket) as daemon:
        os.chown(desk.socket.parent, NOBODY, NOBODY)
        assert left(same(desk, shell, "get", "prod"), "get", "prod")
        os.chown(desk.socket.parent, 0, 0)
    assert daemon.requests == []


@root_only
def test_nothing_is_sent_to_another_users_process(desk: Desk, shell: Shell) -> None:
    """Not even the profile's name, where another user can make sockets in our directory; nor through a link there."""
    script = (
        "import os, socket as s, sys; l=s.socket(1); l.bind(sys.argv[1]); l.listen()\n"
        "os.chmod(sys.argv[1], 0o777); print('up', flush=True); print(l.accept()[0].recv(99), flush=True)"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = f"{directory}/socket"
        os.mkdir(f"{directory}/ours", 0o700)
        os.symlink(path, f"{directory}/ours/socket")
        command = ["/usr/bin/python3", "-c", script, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, user=NOBODY, cwd="/") as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"up\n"
            desk.take_python()  # the command would connect, and see who it is; a shell cannot
            for named in (path, f"{directory}/ours/socket"):
                assert left(desk.ask(shell, "get", "prod", PMCRED_SOCKET=named), "get", "prod")
            with socket.socket(socket.AF_UNIX) as ours:
                ours.connect(path)
            assert stranger.stdout.read() == b"b''\n"


def test_zsh_leaves_a_directory_to_the_command_that_others_may_write_in(desk: Desk) -> None:
    """There they could put a socket in the place of ours at any moment."""
    if ZSH.missing:
        pytest.skip("needs zsh")
    desk.take_python()
    with FakeDaemon(desk.socket) as daemon:
        for mode in (0o770, 0o707, 0o1777):
            desk.socket.parent.chmod(mode)
            assert left(desk.ask(ZSH, "get", "prod"), "get", "prod")
        assert daemon.requests == []
        desk.socket.parent.chmod(0o755)
        assert desk.ask(ZSH, "get", "prod").stdout == f"{TOKEN}\n"


def test_who_is_nobody_sends_nothing(desk: Desk, shell: Shell) -> None:
    """Where our uid is not mapped everybody looks like us: the command says why that will not do."""
    unmapped = ["unshare", "--user"]
    if subprocess.run([*unmapped, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel does not allow user namespaces to us")
    with FakeDaemon(desk.socket) as daemon:
        script = f"source {desk.init(shell.name).name}; pmcred get prod"
        ran = subprocess.run(
            ["/usr/bin/env", *unmapped, *shell.argv(script)],
            env={**desk.environment(shell), "PATH": f"{desk.bin}:/usr/bin:/bin"},
            cwd=desk.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert left(ran, "get", "prod")
    assert daemon.requests == []


LOCALS = "PMCRED_SOCKET", "PMCRED_PROFILE", "HOME"


@pytest.mark.parametrize("name", LOCALS)
def test_a_variable_of_the_shell_alone_is_no_variable_of_the_commands(desk: Desk, shell: Shell, name: str) -> None:
    """`PMCRED_PROFILE=prod` without export: the command would not see it, and so it is the command that answers."""
    hide = {"fish": f"set -u {name} ${name}", "zsh": f"typeset +x {name}"}.get(shell.name, f"export -n {name}")
    with FakeDaemon(desk.socket) as daemon:
        ran = desk.run(shell, f"{hide}\npmcred get", PMCRED_PROFILE="prod")
        assert ran.stdout == ("" if name != "HOME" else f"{TOKEN}\n")
        daemon.requests.clear()
        desk.take_python()
        assert left(desk.run(shell, f"{hide}\npmcred get", PMCRED_PROFILE="prod"), "get")
    assert daemon.requests == []


@pytest.mark.parametrize("shell", [BASH, FISH], ids=str)
def test_without_a_program_for_sockets_the_command_does_it(desk: Desk, shell: Shell) -> None:
    """And so it is where `nc` is another one than OpenBSD's."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    bare = Shell(shell.name)
    with FakeDaemon(desk.socket) as daemon:
        assert same(desk, bare, "get", "prod").stdout == f"{TOKEN}\n"
        other = desk.root / "other"
        other.mkdir()
        (other / "nc").write_text("#!/bin/sh\necho usage: nc host port\necho nothing known of $1 >&2\nexit 1\n")
        (other / "nc").chmod(0o755)
        path = f"{desk.bin}:{other}:{desk.tools()}"
        assert same(desk, bare, "get", "prod", PATH=path).stdout == f"{TOKEN}\n"
    assert daemon.requests == [b"get prod"] * 4


def test_a_daemon_that_says_nothing_is_given_up(desk: Desk, shell: Shell) -> None:
    """After the patience that the command has, too; then it is the command's."""
    init = desk.init(shell.name)
    assert init.read_text().count(" 120") == 1
    init.write_text(init.read_text().replace(" 120", " 1"))
    desk.take_python()
    with socket.socket(socket.AF_UNIX) as silent:
        desk.socket.parent.mkdir(mode=0o700)
        silent.bind(os.fspath(desk.socket))
        silent.listen()
        assert left(desk.ask(shell, "get", "prod"), "get", "prod")


# In whatever shell


STRICT = "set -euo pipefail"
ALIASES = "local=false command=false builtin=false pmcred='pmcred ' __pmcred_get='echo alias'"
BASH_MOODS = [
    STRICT,
    "set -o noclobber; set -f; set -a; set -k; set -T; set -E; trap 'echo trapped >&2' ERR",
    "IFS=abcdeky=; shopt -s failglob extglob",
    "shopt -s nullglob dotglob; shopt -u globasciiranges; LC_ALL=C",
    "set -o posix; shopt -s inherit_errexit localvar_inherit; set -e",
    f"shopt -s expand_aliases; alias {ALIASES} nc=false printf=false type=false shopt=false set=false",
    "nc() { echo no; }; socat() { echo no; }; printf() { echo no; }; pmcred() { echo no; }",
    "export answer=x token=x name=x format=x REPLY=x path=x; readonly answer name i word verb",
]
ZSH_MOODS = [
    STRICT,
    "setopt err_return no_unset no_clobber all_export warn_create_global warn_nested_var",
    "emulate ksh",
    "emulate sh; set -eu",
    "IFS=abcdeky=; setopt sh_word_split glob_subst ksh_arrays ksh_glob csh_null_glob extended_glob",
    "setopt rc_quotes interactive_comments no_multibyte no_bare_glob_qual ksh_typeset",
    f"setopt aliases; alias {ALIASES} print=false emulate=false setopt=false eval=false; alias -g fi=false",
    "print() { echo no; }; zsocket() { echo no; }; pmcred() { echo no; }; trap 'echo trapped >&2' ZERR PIPE",
    "export answer=x token=x name=x format=x; readonly answer name i word verb REPLYS",
]
FISH_MOODS = [
    "for name in nc socat printf pmcred; function $name; echo no; end; end",
    "set -gx answer x; set -gx name x; set -gx place x; set -gx lines a b",
    "alias nc false; alias command_not false; set -gx fish_trace ''",
]
MOODS = [(BASH, m) for m in BASH_MOODS] + [(ZSH, m) for m in ZSH_MOODS] + [(FISH, m) for m in FISH_MOODS]
POSIX_USE = """
false || x=$?
pmcred get prod
echo "direct $?"
echo "captured $(pmcred header prod) $?"
in_function() { pmcred get prod --for 1h; }
in_function
(pmcred get prod)
pmcred get prod | cat
x=0; pmcred get nope || x=$?
echo "failed $x"
if pmcred status; then echo yes; else echo "no $?"; fi
"""
FISH_USE = """
pmcred get prod
echo "direct $status"
set captured (pmcred header prod)
echo "captured $captured $status"
function in_function; pmcred get prod --for 1h; end
in_function
begin; pmcred get prod; end
pmcred get prod | cat
pmcred get nope
echo "failed $status"
if pmcred status; echo yes; else; echo "no $status"; end
"""


def answer_prod(request: bytes) -> bytes:
    """Know prod alone."""
    if request.split()[1] != b"prod":
        return b"error no-such-profile\nmessage=no\n\n"
    return f"ok\naccess_token={TOKEN}\ntoken_type=Bearer\n\n".encode()


@pytest.mark.parametrize(("shell", "mood"), MOODS, ids=lambda each: str(each)[:40])
def test_it_works_in_every_mood_of_a_shell(desk: Desk, shell: Shell, mood: str) -> None:
    """Options, aliases, functions and variables of the user's, before it is loaded and while it runs."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    desk.take_python()
    with FakeDaemon(desk.socket, answer_prod):
        ran = desk.run(shell, FISH_USE if shell is FISH else POSIX_USE, before=mood)
    header = f"Authorization: Bearer {TOKEN}"
    told = [TOKEN, "direct 0", f"captured {header} 0", TOKEN, TOKEN, TOKEN, "failed 7", "no 7"]
    assert ran.stdout.splitlines() == told, ran.stderr
    assert ran.stderr.replace("trapped\n", "") == "cli 2:get:nope\ncli 1:status\n"


def test_nocasematch_makes_no_verb_of_get_in_capitals(desk: Desk) -> None:
    """Bash would compare without regard to case, and the command does not."""
    with FakeDaemon(desk.socket) as daemon:
        assert left(desk.run(BASH, "pmcred GET prod", before="shopt -s nocasematch"), "GET", "prod")
        assert desk.run(BASH, "pmcred get prod", before="shopt -s nocasematch").stdout == f"{TOKEN}\n"
    assert daemon.requests == [b"get prod"]


def test_it_leaves_nothing_behind_in_the_shell(desk: Desk, shell: Shell) -> None:
    """No descriptor, no job, no variable with the token; $! and REPLY stay the user's."""
    desk.take_python()
    descriptors = f"echo /proc/{'$fish_pid' if shell.name == 'fish' else '$$'}/fd/*"  # a program would have some more
    if shell.name == "fish":
        use = "pmcred get prod >/dev/null; set x (pmcred get prod); set -e x; pmcred get nope 2>/dev/null"
        # fish itself keeps /dev/null open after the first use
        script = f"{use}\n{descriptors}\necho @@\n{use}\n{descriptors}\necho @@\nset; env; jobs"
    else:
        use = 'pmcred get prod >/dev/null; x=$(pmcred get prod); x=; pmcred get nope 2>/dev/null || test -n "$!"'
        kept = 'true & last=$!; REPLY=mine; trap "echo mine" PIPE'
        check = '[ "$last" = "$!" ] && [ "$REPLY" = mine ] && trap && wait $last'
        script = f"{descriptors}\necho @@\n{kept}\n{use}\n{descriptors}\necho @@\n{check}; set; env"
    with FakeDaemon(desk.socket, answer_prod):
        ran = desk.run(shell, script, PATH=f"{desk.environment(shell)['PATH']}:/usr/bin:/bin")
    before, after, rest = ran.stdout.split("@@\n", 2)
    assert set(after.split()) <= set(before.split())
    assert TOKEN not in rest
    assert "PMCRED_SOCKET" in rest
    if shell.name != "fish":
        assert "mine" in rest.splitlines()[0]


@pytest.mark.parametrize("shell", [ZSH, BASH, FISH], ids=str)
def test_no_child_is_given_the_token_and_no_trace_shows_it(desk: Desk, shell: Shell) -> None:
    """Neither in an argument nor in the environment, with everything exported; nor does `set -x` tell it."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    seen = desk.root / "seen"
    spy = desk.root / "spy"
    spy.mkdir()
    for name in ("nc", "pmcred"):
        end = "exec /usr/bin/nc" if name == "nc" else "exit 7; :"
        (spy / name).write_text(f'#!/bin/sh\n{{ echo "{name}: $*"; env; }} >>"$SEEN"\n{end} "$@"\n')
        (spy / name).chmod(0o755)
    trace = {"bash": "set -a -x", "zsh": "setopt all_export xtrace", "fish": "set -gx fish_trace 1; set -gx answer 1"}
    asked = ["pmcred get prod >/dev/null", "pmcred header prod >/dev/null", "pmcred get nope", "pmcred status"]
    script = "\n".join([trace[shell.name], *asked])
    with FakeDaemon(desk.socket, answer_prod) as daemon:
        ran = desk.run(shell, script, SEEN=str(seen), PATH=f"{spy}:{desk.tools()}")
    assert daemon.requests == [b"get prod", b"get prod", b"get nope"]
    assert "pmcred get prod" in ran.stderr
    assert TOKEN[:30] not in ran.stderr
    assert "pmcred: status" in seen.read_text()
    assert TOKEN[:30] not in seen.read_text()


@pytest.mark.parametrize("shell", [ZSH, BASH], ids=str)
def test_what_cannot_be_printed_is_told_by_the_command(desk: Desk, shell: Shell) -> None:
    """A closed stdout and a full disk end with the command's error and status, a broken pipe as ever."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    with FakeDaemon(desk.socket):
        for place in (">&-", ">/dev/full"):
            ran = desk.run(shell, f"pmcred get prod {place}")
            expected = desk.run(shell, f"command pmcred get prod {place}")
            assert (ran.returncode, ran.stdout, ran.stderr) == (expected.returncode, "", expected.stderr)
            assert ran.returncode == 1
        big = TOKEN * 200  # more than a pipe holds
        script = "set -o pipefail\npmcred get prod | true"
    with FakeDaemon(desk.socket, lambda _: f"ok\naccess_token={big}\nurl=x\n\n".encode()):
        assert desk.run(shell, script).returncode == 141


_WITH_A_BROKEN_PIPE_AS_5 = (
    "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 5); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.parametrize("shell", [ZSH, BASH, FISH], ids=str)
def test_a_reader_that_has_gone_does_not_end_an_interactive_shell(desk: Desk, shell: Shell) -> None:
    """As no command could: the token is printed by the shell, but not at its risk."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    environ = desk.environment(shell, TERM="dumb")
    with FakeDaemon(desk.socket):
        argv = shell.argv("source $INIT; pmcred get prod >&5; echo ali''ve; exit 0", interactive=True)
        with PseudoTerminal([sys.executable, "-c", _WITH_A_BROKEN_PIPE_AS_5, *argv], environ) as terminal:
            terminal.expect("alive")
            assert terminal.end() == 0


def test_the_daemon_itself_is_understood(place: Path, shell: Shell) -> None:
    """Its answers are such that no command is needed: there is none on this PATH."""
    user = user_at(place)
    init = place / "init"
    init.write_text(shell_init.text(shell.name))
    with sandbox_process("--throttle", "off") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        with running(user) as daemon:
            (line,) = [one for one in daemon.ask("get sandbox").splitlines() if one.startswith("access_token=")]
            token = line.partition("=")[2]
            ran = subprocess.run(
                shell.argv(f"source {init}; pmcred get sandbox; pmcred header sandbox --for 30s"),
                env=user.environ
                | {"PATH": Desk(place / "desk", user.socket).tools(*([shell.tool] if shell.tool else []))},
                capture_output=True,
                text=True,
                check=False,
            )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{token}\nAuthorization: Bearer {token}\n", "")


@pytest.mark.parametrize("shell", [BASH, ZSH], ids=str)
def test_a_shell_that_refuses_unset_variables_goes_on(desk: Desk, shell: Shell) -> None:
    """With `set -u` and no $PMCRED_PROFILE, the command says what is missing, and the script decides."""
    ran = desk.run(shell, 'pmcred get || echo "failed $?"\necho after', before="set -u; unset PMCRED_PROFILE")
    assert ran.stdout == "failed 7\nafter\n"
    assert ran.stderr == "cli 1:get\n"
