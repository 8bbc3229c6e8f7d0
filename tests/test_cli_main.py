"""The command line as a whole: help, usage errors, exit statuses, output nobody takes; get, header, reload, stop."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import TOKEN, FakeDaemon
from support.user import PMCRED, User, user_here

from pmcredd.cli import main

VERBS = ["get", "header", "reject", "status", "watch", "login", "init", "profile", "reload", "stop", "sandbox"]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user, and this process in that user's place."""
    return user_here(tmp_path, monkeypatch)


@pytest.fixture
def daemon(user: User) -> Iterator[FakeDaemon]:
    """A daemon that hands out TOKEN for every name."""
    with FakeDaemon(user.socket) as daemon:
        yield daemon


@pytest.mark.usefixtures("user")
def test_alone_it_explains_itself_where_no_script_takes_it_for_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    """A forgotten verb is a usage error, and stdout stays empty."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for verb in VERBS:
        assert f"\n  {verb} " in err


@pytest.mark.usefixtures("user")
def test_help_is_printed_where_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """--help is an answer, not an error; before a verb it never runs the verb."""
    assert main(["--help"]) == 0
    general = capsys.readouterr().out
    assert main(["-h", "stop"]) == 0
    assert capsys.readouterr().out == general
    for verb in VERBS:
        assert main([verb, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: pmcred {verb} ")


@pytest.mark.usefixtures("user")
def test_the_version_can_be_asked_before_and_after_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """And asks nobody else."""
    assert main(["--version"]) == 0
    version = capsys.readouterr().out
    assert version.startswith("pmcred ")
    assert main(["get", "--version"]) == 0
    assert capsys.readouterr().out == version


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["gett", "prod"], "there is no verb gett", "did you mean `pmcred get`?"),
        (["xyzzy"], "there is no verb xyzzy", "pmcred --help"),
        (["get", "prod", "--for", "soon"], "argument --for: not a length of time", "pmcred get --help"),
        (["get", "prod", "more"], "get takes fewer words: there is one too many", "pmcred get --help"),
        (["get", "prod", "--in", "vain"], "get has no option --in", "pmcred get --help"),
        (["get"], "no profile is named, and PMCRED_PROFILE is not set", "`pmcred profile list` shows the names"),
        (["profile", "lst"], "invalid choice: 'lst'", "pmcred profile --help"),
        (["--socket"], "argument --socket: expected one argument", "pmcred --help"),
        (["get", "a\nb"], "a value holds a control character", ""),
    ],
)
@pytest.mark.usefixtures("user")
def test_a_usage_error_names_the_way_out(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    """Exit status 2, one message, one hint, nothing on stdout."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first.startswith("pmcred: ")
    assert message in first
    assert not hint or hint in rest[0]
    assert all(line.startswith("  try: ") for line in rest)


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile", "add", "prod", "--client-secret", "hunter2"],
        ["profile", "add", "prod", "--client-secret=hunter2"],
        ["profile", "add", "prod", "--password-stdin=hunter2"],
        ["reject", "prod", "hunter2"],
        ["get", "prod", "hunter2", "-"],
    ],
)
@pytest.mark.usefixtures("user")
def test_a_secret_in_the_wrong_place_is_not_repeated(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """The error may land in a log that others read."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err
    assert "--help" in err


def test_get_prints_the_token_and_nothing_else(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """So that $(pmcred get prod) is the token."""
    assert main(["get", "prod"]) == 0
    assert capsys.readouterr() == (f"{TOKEN}\n", "")
    assert daemon.requests == [b"get prod timeout=60"]


@pytest.mark.usefixtures("daemon")
def test_header_is_what_curl_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """As in `curl -H @<(pmcred header prod)`."""
    assert main(["header", "prod"]) == 0
    assert capsys.readouterr() == (f"Authorization: Bearer {TOKEN}\n", "")


@pytest.mark.usefixtures("daemon")
def test_json_has_all_that_is_known_of_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    """With a version, for programs; times are numbers."""
    assert main(["get", "prod", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "profile": "prod",
        "url": "https://pm.example",
        "access_token": TOKEN,
        "token_type": "Bearer",
        "expires_at": 2_000_000_000,
        "good_until": 1_999_999_990,
    }


def test_what_is_asked_of_a_token_reaches_the_daemon(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """--for and --timeout, in any unit; the name may come from the environment, but an argument wins."""
    monkeypatch.setenv("PMCRED_PROFILE", "staging")
    assert main(["get", "--for", "30m", "--timeout", "2.5"]) == 0
    assert main(["header", "prod"]) == 0
    assert daemon.requests == [b"get staging timeout=2.5 for=1800", b"get prod timeout=60"]


@pytest.mark.usefixtures("user")
def test_the_socket_can_be_named_before_and_after_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands before the verb is not forgotten after it; -v tells on stderr what is asked of whom."""
    with FakeDaemon(tmp_path / "other" / "socket") as daemon:
        assert main(["--socket", str(daemon.path), "get", "a"]) == 0
        assert main(["get", "b", f"--socket={daemon.path}", "-v"]) == 0
        assert main(["-v", "get", "--socket", str(daemon.path), "c"]) == 0
    assert [request.split()[1] for request in daemon.requests] == [b"a", b"b", b"c"]
    out, err = capsys.readouterr()
    assert out == f"{TOKEN}\n" * 3
    assert err.splitlines() == [f"pmcred: asking {daemon.path}: get {name}" for name in "bc"]


def test_without_a_daemon_the_error_names_the_place_and_two_ways_to_start_one(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 69."""
    for arguments in (["get", "prod"], ["reload"], ["status"], ["login", "prod"]):
        assert main(arguments) == 69
        out, err = capsys.readouterr()
        assert out == ""
        assert str(user.socket) in err
        assert "  try: `pmcred service install` to have it always, or `pmcredd` in a terminal" in err


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("no-such-profile", 3),
        ("needs-login", 4),
        ("unreachable", 5),
        ("waiting", 5),
        ("misconfigured", 6),
        ("stopping", 69),
        ("from-the-future", 1),
    ],
)
def test_the_daemons_errors_become_exit_statuses(
    user: User, capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    """Scripts tell failures apart; what the daemon says cannot steer the terminal or look like two messages."""

    def answer(_: bytes) -> bytes:
        return f"error {code}\nmessage=it%20is%1B[2J%0Apmcred:%20so\nhint=mend%20it%07\n\n".encode()

    with FakeDaemon(user.socket, answer):
        assert main(["get", "prod"]) == status
    assert capsys.readouterr() == ("", "pmcred: it is?[2J\n  pmcred: so\n  try: mend it?\n")


def test_a_reload_that_is_refused_says_every_mistake_and_what_goes_on(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each; and that nothing was lost."""
    refusal = b"error misconfigured\nmessage=a.toml:%20x%0Ab.toml:%20y\nhint=pmcredd%20--check\n\n"
    with FakeDaemon(user.socket, lambda _: refusal):
        assert main(["reload"]) == 6
    assert capsys.readouterr().err.splitlines() == [
        "pmcred: a.toml: x",
        "  b.toml: y",
        "  the daemon keeps the profiles that it has",
        "  try: pmcredd --check",
    ]


def test_reload_says_what_changed(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what there is, and warnings."""
    answers = [
        b"ok\nadded=2\nchanged=0\nremoved=0\nunchanged=5\nwarnings=cc:%20no%20user%0Add:%20too\n\n",
        b"ok\nadded=0\nchanged=0\nremoved=0\nunchanged=0\n\n",
    ]
    with FakeDaemon(user.socket, lambda _: answers.pop(0)) as daemon:
        assert main(["reload"]) == 0
        assert main(["reload"]) == 0
    assert daemon.requests == [b"reload", b"reload"]
    assert capsys.readouterr().err.splitlines() == [
        "The daemon has read the profiles again: 2 added, 5 unchanged.",
        "  warning: cc: no user",
        "  warning: dd: too",
        "The daemon has read the profiles again: there are none.",
    ]


@pytest.mark.parametrize("verb", ["get", "header", "reject", "status", "login", "api"])
def test_a_password_in_a_url_is_not_repeated(user: User, verb: str) -> None:
    """Neither by the message, nor by its hint, nor by -v."""
    ended = user.run(verb, "https://user:hunter2@acme.processmaker.net", "-v", *(["/users"] if verb == "api" else []))
    assert ended.returncode != 0
    assert "hunter2" not in ended.stdout + ended.stderr


def test_stop_without_a_daemon_does_not_tell_how_to_start_one(user: User) -> None:
    """Whoever wants to end it does not want to have it."""
    ended = user.run("stop")
    assert ended.returncode == 69
    assert ended.stderr.startswith("pmcred: no daemon answers\n")
    assert "try:" not in ended.stderr


def test_stop_and_login_say_how_it_went(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """And a login that cannot know the token's end says nothing about it."""
    answers = {b"login prod timeout=120": b"profile=prod\nexpires_at=9999999999\n", b"login prod": b"profile=prod\n"}
    with FakeDaemon(user.socket, lambda line: b"ok\n" + answers.get(line, b"") + b"\n") as daemon:
        assert main(["login", "prod", "--timeout", "2m"]) == 0
        assert main(["login", "prod"]) == 0
        assert main(["stop"]) == 0
    assert [line for line in daemon.requests if not line.startswith(b"status")] == [*answers, b"stop"]
    first, second, third = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"prod has a token, until 2286-11-20 \d\d:46 \(in \d+ years\)\.", first)
    assert second == "prod has a token."
    assert third == "The daemon ends."


def test_login_and_stop_tell_of_a_token_that_is_nowhere_but_in_memory(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full, say: after a login in the browser nobody else has what is lost then."""
    answers = {b"status": b"profile=dev\n\nprofile=prod\nunsaved=the%20disk%20is%20full\n"}
    answers |= {b"status prod": b"profile=prod\nunsaved=the%20disk%20is%20full\n", b"login prod": b"profile=prod\n"}

    def answer(line: bytes) -> bytes:
        return (b"ok 2\n" if line == b"status" else b"ok\n") + answers.get(line, b"") + b"\n"

    with FakeDaemon(user.socket, answer):
        assert main(["login", "prod"]) == 0
        told = capsys.readouterr().err
        assert main(["stop"]) == 0
    for text in (told, capsys.readouterr().err):
        assert "the token of prod is in memory alone" in text
        assert "the disk is full" in text
        assert "dev" not in text


@pytest.mark.usefixtures("daemon")
def test_a_reader_that_goes_away_ends_it_quietly(user: User) -> None:
    """Like every tool in a pipe: no traceback, and the status of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [PMCRED, "get", "prod"], env=user.environ, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.usefixtures("daemon")
def test_a_full_disk_is_an_error(user: User) -> None:
    """`pmcred get prod > file` must not succeed with an empty file."""
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [PMCRED, "get", "prod"], env=user.environ, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr == b"pmcred: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("verb", ["get prod", "status", "watch", "--version"])
def test_a_closed_stdout_is_an_error(user: User, daemon: FakeDaemon, verb: str) -> None:
    """A token must not be lost silently, nor be printed into the socket that became descriptor 1; nothing is asked."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {PMCRED} {verb} >&-"], env=user.environ, capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        b"pmcred: stdout is closed\n  try: to have nothing printed: >/dev/null\n",
    )
    assert daemon.requests == []


@pytest.mark.usefixtures("daemon")
def test_a_closed_stderr_does_not_put_errors_on_stdout(user: User) -> None:
    """Whoever takes the output for a token gets nothing, and the exit status tells."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {PMCRED} status nowhere 2>&-"],
        env=user.environ,
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")


@pytest.mark.usefixtures("daemon")
def test_the_fast_verbs_import_nothing_heavy(user: User) -> None:
    """Programs run them thousands of times a day."""
    code = (
        "import sys; before = set(sys.modules); from pmcredd.cli import main; main(['get', 'prod']);"
        "print(*set(sys.modules) - before, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], env=user.environ, capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {
        "trio",
        "httpx",
        "asyncio",
        "platformdirs",
        "tomllib",
        "tomli_w",
        "json",
        "importlib.metadata",
        "subprocess",
    }
    assert not heavy & set(ended.stderr.split())


def test_the_sandbox_is_one_verb_away(user: User) -> None:
    """It tells its address first, and ends when it is told to."""
    command = [PMCRED, "sandbox", "--quiet"]
    with subprocess.Popen(command, env=user.environ, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        try:
            assert sandbox.stdout.readline().startswith("sandbox ready: http://127.0.0.1:")
        finally:
            sandbox.terminate()
        assert sandbox.wait(60) == 0
