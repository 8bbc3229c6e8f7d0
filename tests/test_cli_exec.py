"""pmcred exec: the command runs as it would without us, with a token that works."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support import script_task
from support.daemon import running, user_at, write_profiles
from support.fake_daemon import TOKEN, FakeDaemon, answer_get
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd.cli import execute
from pmcredd.client import AccessToken
from pmcredd.sandbox.instances import CODE, USERS
from pmcredd.secret import Secret

# What a program is given by its parent beside arguments and environment, as JSON.
GIVEN = """
import json, os, resource, stat
there = [number for number in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + number)]
files = {int(number): os.fstat(int(number)) for number in there}
signals = [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
mask = os.umask(0)
print(json.dumps({
    "files": sorted((number, found.st_dev, found.st_ino) for number, found in files.items()),
    "signals": signals, "limits": limits, "umask": mask, "cwd": os.getcwd(), "session": os.getsid(0),
    "group": os.getpgid(0), "parent": os.getppid(), "nice": os.nice(0),
}))
"""


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give a user without profiles of their own."""
    return user_at(tmp_path)


@pytest.fixture
def fake(user: User) -> Iterator[FakeDaemon]:
    """Run a daemon that has a token for whatever is asked."""
    with FakeDaemon(user.socket) as daemon:
        yield daemon


def environ_of(user: User, *options: str, name: str = "prod", **more: str) -> dict[str, str]:
    """Give the environment that a command gets."""
    ran = user.run("exec", name, *options, "--", "env", "-0", **more)
    assert (ran.returncode, ran.stderr) == (0, "")
    return dict(line.split("=", 1) for line in ran.stdout.split("\0") if line)


# --- what the command is told -----------------------------------------------------------------------------------------


def test_the_command_is_told_the_instance_and_its_token(user: User, fake: FakeDaemon) -> None:
    """Beside these and the profile nothing is added, and nothing is taken away."""
    plain = user.environ
    found = environ_of(user)
    assert found == plain | {
        "PROCESSMAKER_URL": "https://pm.example",
        "PROCESSMAKER_TOKEN": TOKEN,
        "PROCESSMAKER_TOKEN_GOOD_UNTIL": "1999999990",
        "PMCRED_PROFILE": "prod",
    }


def test_what_python_adds_to_its_own_environment_stays_behind(user: User, fake: FakeDaemon) -> None:
    """In the C locale (cron's) it sets LC_CTYPE for itself; what the user set is passed on."""
    assert "LC_CTYPE" not in environ_of(user, LC_ALL="", LANG="C")
    assert environ_of(user, LC_ALL="", LC_CTYPE="C.UTF-8")["LC_CTYPE"] == "C.UTF-8"


def test_an_outer_commands_token_is_replaced(user: User, fake: FakeDaemon) -> None:
    """In `pmcred exec staging -- pmcred exec prod --fd -- CMD` nothing of staging is left beside the URL of prod."""
    outer = dict.fromkeys(("PROCESSMAKER_TOKEN", "PROCESSMAKER_TOKEN_FD", "PROCESSMAKER_URL"), "staging")
    assert "staging" not in environ_of(user, **outer).values()
    assert "staging" not in environ_of(user, "--fd", **outer).values()


def test_pmcred_in_the_command_means_the_same_profile_and_daemon(user: User, fake: FakeDaemon, tmp_path: Path) -> None:
    """A script that sees a 401 may call `pmcred get` itself."""
    ran = user.run(
        *("--socket", os.path.relpath(user.socket), "exec", "prod", "--", "sh", "-c", f"cd / && {PMCRED} get"),
        PMCRED_PROFILE="staging",
        PMCRED_SOCKET="/nonexistent",
    )
    assert ran.stdout == TOKEN + "\n", ran.stderr
    assert fake.requests[-1].startswith(b"get prod ")


def test_the_profile_may_be_named_by_the_environment_or_by_its_url(user: User, fake: FakeDaemon) -> None:
    """As with `pmcred get`."""
    assert user.run("exec", "--", "true", PMCRED_PROFILE="prod").returncode == 0
    assert user.run("exec", "https://pm.example", "--for", "30m", "--", "true").returncode == 0
    assert fake.requests[0] == b"get prod timeout=60"
    assert b"get https://pm.example timeout=60 for=1800" in fake.requests


def test_the_profiles_secrets_stay_behind(user: User, fake: FakeDaemon) -> None:
    """The command gets a token, and not the password that can get any number of them."""
    prod = 'url = "https://pm.example"\ngrant = "password"\nclient_id = "3"\nusername = "u"\n'
    write_profiles(
        user, f'[profiles.prod]\n{prod}password = {{ env = "PM_PASSWORD" }}\nclient_secret = {{ env = "S" }}\n'
    )
    found = environ_of(user, PM_PASSWORD="hunter2", S="s3cret", OTHER="kept")
    assert found.keys() & {"PM_PASSWORD", "S", "OTHER"} == {"OTHER"}


@pytest.mark.parametrize("mistake", ['ulr = "x"\n', "= broken\n"])
def test_a_mistake_in_the_profiles_does_not_hand_their_secrets_out(user: User, fake: FakeDaemon, mistake: str) -> None:
    """The profile cannot be read as a whole, or the file cannot; what it names stays behind all the same."""
    secrets = 'password = { env = "PM_PASSWORD" }\nclient_secret.env = "S"\n'
    write_profiles(user, f'[profiles.prod]\nurl = "https://pm.example"\n{mistake}{secrets}')
    found = environ_of(user, PM_PASSWORD="hunter2", S="s3cret", OTHER="kept")
    assert found.keys() & {"PM_PASSWORD", "S", "OTHER"} == {"OTHER"}


def test_profiles_with_mistakes_do_not_stop_a_command(user: User, fake: FakeDaemon) -> None:
    """The daemon has those of before, and they work."""
    write_profiles(user, "[profiles.prod\n")
    assert environ_of(user)["PROCESSMAKER_TOKEN"] == TOKEN


def test_everything_behind_the_two_dashes_is_the_commands(user: User, fake: FakeDaemon) -> None:
    """Options, further dashes, empty words, and bytes that are no UTF-8."""
    words = ["--fd", "-v", "--", "", "a b", "*", "--help", b"\xff".decode(errors="surrogateescape")]
    command = [PMCRED, "exec", "prod", "--", "printf", "<%s>", *words]
    ran = subprocess.run(command, env=user.environ, capture_output=True, check=True)
    assert ran.stdout == b"<--fd><-v><--><><a b><*><--help><\xff>"


@pytest.mark.parametrize("due_in", [3600, 60], ids=["held beside", "promised at once"])
def test_a_token_that_is_replaced_meanwhile_is_not_handed_over(user: User, due_in: int) -> None:
    """Somebody may log in while the command is being started: it gets the token that lives."""
    now = time.time()

    def answer(line: bytes) -> bytes:
        if line.startswith(b"get "):
            return answer_get(line) if b"for=" not in line else answer_get(line).replace(TOKEN.encode(), b"another")
        mark, times = Secret(TOKEN).fingerprint(), f"renew_from={int(now + due_in)}\nrenew_by={int(now + 7200)}"
        return f"ok 1\nprofile=prod\nrule=refresh-disruptively\nfingerprint={mark}\n{times}\n\n".encode()

    with FakeDaemon(user.socket, answer):
        assert environ_of(user)["PROCESSMAKER_TOKEN"] == "another"


# --- the token in an open file ----------------------------------------------------------------------------------------


def test_a_token_in_a_file_is_not_in_the_environment(user: User, fake: FakeDaemon) -> None:
    """It is read through the descriptor or by its name, by several readers; it has no newline; nobody can change it."""
    script = (
        'n=$PROCESSMAKER_TOKEN_FD; echo "$n"; cat <&"$n"; echo; cat "/dev/fd/$n"; echo; cat "/dev/fd/$n" | wc -c;'
        ' (echo changed >"/dev/fd/$n") 2>/dev/null && echo "it can be changed"; cat "/dev/fd/$n"; echo; env'
    )
    ran = user.run("exec", "prod", "--fd", "--", "sh", "-c", script)
    lines = ran.stdout.splitlines()
    assert lines[:5] == ["3", TOKEN, TOKEN, str(len(TOKEN)), TOKEN]
    assert not any(TOKEN in line for line in lines[5:])
    assert "PROCESSMAKER_TOKEN_FD=3" in lines
    assert ran.stderr == ""


def test_a_token_in_a_file_takes_no_number_that_is_in_use(user: User, fake: FakeDaemon) -> None:
    """A file that the user opened for the command stays what it was; stdin, if closed, stays closed."""
    script = '[ -e /dev/fd/0 ] && echo "stdin is open"; cat <&3; echo; cat "/dev/fd/$PROCESSMAKER_TOKEN_FD"'
    with open(Path(user.home, "theirs"), "w+") as theirs:
        theirs.write("theirs")
        theirs.flush()
        theirs.seek(0)
        command = [PMCRED, "exec", "prod", "--fd", "--", "sh", "-c", script]
        ran = subprocess.run(
            ["bash", "-c", f'exec "$@" 3<&{theirs.fileno()} {theirs.fileno()}<&- 0<&-', "sh", *command],
            env=user.environ,
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
    assert ran.stdout.splitlines() == ["theirs", TOKEN]


def test_a_kernel_without_the_newest_kind_of_file_has_an_older_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linux before 6.3 refuses a flag that it does not know; the file is sealed all the same."""
    make = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 8:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return make(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    descriptor = execute._open_file(AccessToken(TOKEN, "Bearer", None, None, "prod", "https://pm.example"))
    try:
        assert os.get_inheritable(descriptor)
        assert os.read(descriptor, 65536).decode() == TOKEN
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def test_a_script_task_and_a_file_are_not_for_one_command(user: User, fake: FakeDaemon) -> None:
    """The one puts the token where the other keeps it out of."""
    ran = user.run("exec", "prod", "--fd", "--script-task", "--", "true")
    assert ran.returncode == 2
    assert "use one of them" in ran.stderr


# --- it is as if the command had been started itself ------------------------------------------------------------------


# A command's words, with {here} for a directory, and how it ends according to env(1): a status, or a signal as -number.
ENDS = {
    "success": (["true"], 0),
    "failure": (["sh", "-c", "exit 7"], 7),
    "killed": (["sh", "-c", "kill -9 $$"], -signal.SIGKILL),
    "ended": (["sh", "-c", "kill -TERM $$"], -signal.SIGTERM),
    "nobody reads": (["sh", "-c", "kill -PIPE $$"], -signal.SIGPIPE),
    "no such command": (["no-such-command"], 127),
    "no such file": (["{here}/none"], 127),
    "empty": ([""], 127),
    "not executable": (["{here}/data"], 126),
    "a directory": (["{here}"], 126),
    "below a file": (["{here}/data/below"], 126),
    "without #!": (["{here}/plain"], 9),
    "a lost interpreter": (["{here}/lost"], 127),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a directory with programs that cannot be run, or not by themselves."""
    for name, text in {"plain": "exit 9\n", "lost": "#!/nonexistent/interpreter\n", "data": "x"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "data" else 0o755)
    return tmp_path


@pytest.mark.parametrize(("words", "expected"), ENDS.values(), ids=ENDS)
def test_the_exit_status_is_that_of_env(
    user: User, fake: FakeDaemon, here: Path, words: list[str], expected: int
) -> None:
    """Every way in which a command can end, and cannot begin, is told as env(1) tells it."""
    command = [word.format(here=here) for word in words]
    real = subprocess.run(["env", *command], env=user.environ, capture_output=True, check=False)
    assert real.returncode == expected
    ran = user.run("exec", "prod", "--", *command)
    assert ran.returncode == expected
    if expected in (126, 127):
        assert len(ran.stderr.splitlines()) == 1
        assert command[0] in ran.stderr
        assert real.stderr.decode().splitlines()[0].rpartition(": ")[2] in ran.stderr


def test_a_script_without_its_first_line_is_found_in_the_path(user: User, fake: FakeDaemon, tmp_path: Path) -> None:
    """A shell reads it, with its arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "job").write_text('echo "$# $1"\n')
    (tmp_path / "bin" / "job").chmod(0o755)
    ran = user.run("exec", "prod", "--", "job", "a b", PATH=f"{tmp_path}:{tmp_path}/bin:{user.environ['PATH']}")
    assert ran.stdout == "1 a b\n"


@pytest.mark.parametrize("first", ["plain", "data", "directory", "lost"])
def test_of_two_programs_the_one_is_run_that_env_runs(user: User, fake: FakeDaemon, here: Path, first: str) -> None:
    """The first on PATH that can be run; a script without its #! line can."""
    for place in ("a", "b"):
        (here / place).mkdir()
    (here / "directory").mkdir()
    (here / first).rename(here / "a" / "job")
    (here / "b" / "job").write_text("#!/bin/sh\necho second\n")
    (here / "b" / "job").chmod(0o755)
    path = f"{here}/a:{here}/b:{user.environ['PATH']}"
    real = subprocess.run(
        ["env", "job"], env=user.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    ran = user.run("exec", "prod", "--", "job", PATH=path)
    assert (ran.returncode, ran.stdout) == (real.returncode, real.stdout)


def test_a_key_that_interrupts_just_before_the_command_runs_is_not_lost(user: User, fake: FakeDaemon) -> None:
    """Python would note it and act later, and there is no later: the signal itself ends what is there by then."""
    program = (
        "import os, signal, sys; from pmcredd.cli import main; real = os.execve\n"
        "def execve(*words):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    real(*words)\n"
        "os.execve = execve\n"
        "sys.exit(main(['exec', 'prod', '--', 'echo', 'ran']))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=user.environ, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


def test_no_token_is_asked_for_a_command_that_is_not_there(user: User, fake: FakeDaemon) -> None:
    """Each is noted in the log, and may cost a renewal."""
    assert user.run("exec", "prod", "--", "no-such-command").returncode == 127
    assert fake.requests == []


def given(command: Sequence[str], environ: dict[str, str], extra: int) -> dict[str, object]:
    """Run a command that tells what it was given, in a setting that is not the usual one."""

    def unusual() -> None:
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
        os.nice(3)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    ran = subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=extra,
        pass_fds=[extra],
        preexec_fn=unusual,
        check=True,
    )
    told = json.loads(ran.stdout)
    assert isinstance(told, dict)
    # Each run has a pipe of its own for stdout, a pid of its own, and the directory that it lists open.
    told["files"] = [file for file in told["files"] if file[0] != 1]
    return told


@pytest.mark.parametrize("options", [[], ["--oneshot"]], ids=["with a daemon", "without one"])
def test_the_command_is_given_what_it_would_have_been_given(user: User, tmp_path: Path, options: list[str]) -> None:
    """Files, ignored and blocked signals, umask, limits, priority, session, group, parent and directory."""
    with sandbox_process("--throttle", "off") as sandbox:
        write_profiles(user, sandbox.profiles_toml())
        program = [sys.executable, "-I", "-c", GIVEN]
        with (tmp_path / "log").open("w") as log:
            plain = given(program, user.environ, log.fileno())
            if options:
                through = given([PMCRED, "exec", "sandbox", *options, "--", *program], user.environ, log.fileno())
            else:
                with running(user):
                    through = given([PMCRED, "exec", "sandbox", "--", *program], user.environ, log.fileno())
    assert through == plain


def test_a_pipe_that_nobody_reads_ends_the_command_in_silence(user: User, fake: FakeDaemon) -> None:
    """As it would without us: Python's own way with SIGPIPE is not passed on."""
    script = f"{PMCRED} exec prod -- yes | head -1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", script], env=user.environ, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (128 + signal.SIGPIPE, "y\n", "")


EARS = """
import os, signal
def heard(number, frame):
    os.write(1, (signal.Signals(number).name + "\\n").encode())
for name in ("TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "CONT", "ALRM"):
    signal.signal(getattr(signal, "SIG" + name), heard)
os.write(1, b"listens\\n")
while True:
    signal.pause()
"""


def test_every_signal_reaches_the_command(user: User, fake: FakeDaemon) -> None:
    """The process that was started is the command: whoever kills it by its pid, or stops it, needs no help."""
    names = ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "CONT", "ALRM"]
    command = [PMCRED, "exec", "prod", "--", sys.executable, "-I", "-c", EARS]
    with subprocess.Popen(command, env=user.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        for name in names:
            process.send_signal(getattr(signal, f"SIG{name}"))
            assert process.stdout.readline() == f"SIG{name}\n"
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


# --- at a terminal ----------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(user: User, fake: FakeDaemon) -> Iterator[PseudoTerminal]:
    """Give a bash at a terminal, with job control; `pmcred exec` is short for what is tested."""
    environ = user.environ | {"PS1": "$ ", "TERM": "dumb", "HISTFILE": ""}
    with PseudoTerminal([shutil.which("bash") or "", "--norc", "--noprofile", "-i"], environ) as found:
        found.expect("$ ")
        found.type(f'go() {{ {PMCRED} exec prod -- "$@"; }}')
        found.expect("$ ")
        yield found
        found.type("exit 0")
        assert found.end() == 0


def test_a_command_is_stopped_and_goes_on_in_the_foreground(terminal: PseudoTerminal) -> None:
    """Ctrl-Z, `jobs`, `fg`; then it reads what is typed."""
    terminal.type(f"{PMCRED} exec prod -- sh -c 'echo runs-$((1+1)); read line; echo read-$line'")
    terminal.expect("runs-2")
    terminal.type("\x1a", enter=False)
    terminal.expect("Stopped")
    terminal.expect("$ ")
    terminal.type("fg")
    terminal.expect("sh -c")
    terminal.type("hello")
    terminal.expect("read-hello")
    terminal.expect("$ ")


def test_a_key_that_interrupts_is_the_commands(terminal: PseudoTerminal) -> None:
    """Ctrl-C reaches the command once, and its own exit status reaches the shell; SIGQUIT's key ends it."""
    terminal.type("go bash -c 'trap \"echo caught-it; exit 5\" INT; echo runs-$((1+1)); read line'")
    terminal.expect("runs-2")
    terminal.type("\x03", enter=False)
    terminal.expect("caught-it")
    terminal.expect("$ ")
    terminal.type("echo status-$?")
    terminal.expect("status-5")
    assert terminal.screen.count("caught-it\n") == 1
    terminal.type("ulimit -c 0; go sh -c 'echo runs-$((1+2)); exec cat'")
    terminal.expect("runs-3")
    terminal.type("\x1c", enter=False)
    terminal.expect("$ ")
    terminal.type("echo status-$?")
    terminal.expect(f"status-{128 + signal.SIGQUIT}")


def test_a_command_in_the_background_may_not_read_the_terminal(terminal: PseudoTerminal) -> None:
    """It is stopped by SIGTTIN as any other, and `kill %1` ends it."""
    terminal.type(f"{PMCRED} exec prod -- cat &")
    terminal.expect("$ ")
    terminal.type('while [ -z "$(jobs -s)" ]; do :; done; echo is-$((1+1))')
    terminal.expect("is-2")
    terminal.type("kill -TERM %1; kill -CONT %1; wait %1; echo status-$?")
    terminal.expect(f"status-{128 + signal.SIGTERM}")


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence", "mend"),
    [
        (["prod"], "no command is named", "pmcred exec NAME -- COMMAND"),
        (["prod", "--"], "no command is named", "pmcred exec NAME -- COMMAND"),
        (["prod", "ls", "-l"], "-- says where the command begins", "pmcred exec prod -- ls"),
        (["prod", "--fd", "ls"], "-- says where the command begins", "pmcred exec prod -- ls"),
        (["prod", "staging", "--", "ls"], "exec takes fewer words", ""),
        (["prod", "--bogus", "--", "ls"], "exec has no option --bogus", ""),
        (["--", "true"], "no profile is named", "pmcred profile list"),
    ],
)
def test_what_cannot_be_meant_is_told(user: User, fake: FakeDaemon, words: list[str], sentence: str, mend: str) -> None:
    """Nothing runs, and the exit status says so."""
    ran = user.run("exec", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert sentence in ran.stderr
    assert mend in ran.stderr
    assert fake.requests == []


def test_without_a_token_nothing_runs(user: User) -> None:
    """The exit status and the sentence are those of `pmcred get`, and the hint is a command line that works."""
    ran = user.run("exec", "prod", "--", "echo", "ran")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "pmcred exec prod --oneshot -- COMMAND" in ran.stderr
    refused = b"error needs-login\nmessage=nobody%20is%20logged%20in\nhint=pmcred%20login%20prod\n\n"
    with FakeDaemon(user.socket, lambda _: refused):
        ran = user.run("exec", "prod", "--", "echo", "ran")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "try: pmcred login prod" in ran.stderr


# --- with a real daemon, and without one ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve ProcessMaker look-alikes of both generations."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.mark.parametrize("language", ["python", "node", "php"])
@pytest.mark.parametrize("options", [[], ["--oneshot"]], ids=["with a daemon", "without one"])
def test_a_script_task_runs_on_the_desk_as_it_is(
    user: User, sandbox: SandboxProcess, language: str, options: list[str], tmp_path: Path
) -> None:
    """The names that ProcessMaker gives it hold what it needs to call the API."""
    program = sys.executable if language == "python" else shutil.which(language)
    if program is None:
        pytest.skip(f"needs {language}")
    task = tmp_path / "task"
    task.write_text({"python": script_task.PYTHON, "node": script_task.NODE, "php": script_task.PHP}[language])
    write_profiles(user, sandbox.profiles_toml())
    words = ["exec", "sandbox", "--script-task", *options, "--", program, str(task)]
    if options:
        ran = user.run(*words)
    else:
        with running(user):
            ran = user.run(*words)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"first": USERS[0].username, "from": sandbox.url}


def test_processmaker_3_has_no_such_script_tasks(user: User, sandbox: SandboxProcess) -> None:
    """Its API has another base, and what runs there reads other names."""
    write_profiles(user, sandbox.profiles_toml())
    with running(user):
        ran = user.run("exec", "sandbox3", "--script-task", "--", "true")
    assert ran.returncode == 2
    assert "--script-task is for ProcessMaker 4, and sandbox3 is a ProcessMaker 3" in ran.stderr


def test_without_a_daemon_its_errors_are_told_once(user: User, sandbox: SandboxProcess) -> None:
    """By the process that did the work, with its exit status."""
    write_profiles(user, sandbox.profiles_toml())
    ran = user.run("exec", "nix", "--oneshot", "--for", "10s", "--no-refresh", "-v", "--", "echo", "ran")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.count("no profile is named nix") == 1


def test_a_process_that_is_killed_while_it_gets_the_token_is_told(user: User, tmp_path: Path) -> None:
    """Nobody else can say so; the exit status is what a shell gives for the signal."""
    secret = tmp_path / "secret"
    secret.write_text("#!/bin/sh\nkill -KILL $PPID\n")
    secret.chmod(0o755)
    profile = 'url = "http://127.0.0.1:1"\ngrant = "client_credentials"\nclient_id = "4"\n'
    write_profiles(user, f'[profiles.prod]\n{profile}client_secret = {{ command = ["{secret}"] }}\n')
    ran = user.run("exec", "prod", "--oneshot", "--", "echo", "ran")
    assert (ran.returncode, ran.stdout) == (128 + signal.SIGKILL, "")
    assert "was ended by signal 9" in ran.stderr


def test_a_name_that_looks_like_an_option_is_a_name(user: User) -> None:
    """It may come from the environment: without a daemon too it is a name, which no profile has."""
    ran = user.run("exec", "--oneshot", "--", "echo", "ran", PMCRED_PROFILE="--help")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("pmcred: no profile is named --help")


def test_a_login_is_used_without_a_daemon(user: User, sandbox: SandboxProcess) -> None:
    """Where nobody renews, there is nothing to hold; the command is told how long its token is good."""
    prod = f'url = "{sandbox.url}"\ngrant = "authorization_code"\nclient_id = "{CODE.id}"\n'
    write_profiles(user, f'[profiles.prod]\n{prod}client_secret = "{CODE.secret}"\n')
    with running(user) as daemon:
        assert daemon.ask(f"login prod code={sandbox.code()}").startswith("ok\n")
    ran = user.run("exec", "prod", "--oneshot", "-v", "--", "printenv", "PROCESSMAKER_TOKEN_GOOD_UNTIL")
    assert ran.stdout.strip().isdecimal(), ran.stderr
