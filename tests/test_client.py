"""The blocking client: whom it trusts, what it asks, and how it tells what went wrong."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import pytest
from support.fake_daemon import TOKEN, FakeDaemon

import pmcredd
from pmcredd import AccessToken, NoDaemon, PmcredError, client, get_token, reject_token, wire
from pmcredd.secret import Secret
from pmcredd.wire import Request

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's identity, which root alone can")
NOBODY = 65534
ROOT = str(Path(pmcredd.__file__).parents[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the daemon listens by default in a test."""
    return tmp_path / "run" / "pmcred" / "socket"


def failure(answer: bytes, path: Path, timeout: float | None = 30) -> PmcredError:
    """Ask a daemon that answers so, and give the error."""
    with FakeDaemon(path, lambda _: answer), pytest.raises(PmcredError) as caught:
        client.call(Request("hello"), timeout=timeout)
    return caught.value


# The main job


def test_a_program_gets_a_token_with_one_call(path: Path) -> None:
    """Everything the daemon says about the token arrives, numbers as numbers."""
    with FakeDaemon(path) as daemon:
        token = get_token("prod")
    assert token == AccessToken(TOKEN, "Bearer", 2000000000, 1999999990, "prod", "https://pm.example")
    assert daemon.requests == [b"get prod timeout=60"]


def test_what_the_caller_needs_is_asked_for(path: Path) -> None:
    """How long the token must last, how long to wait, and which URL it is for."""
    with FakeDaemon(path) as daemon:
        get_token("https://pm.example/api?a=b", lasting=1800, timeout=2.5)
    assert daemon.requests == [b"get https://pm.example/api?a=b timeout=2.5 for=1800"]


def test_the_environment_names_the_profile_that_the_caller_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PMCRED_PROFILE is the only default; without it nothing is asked, so prod is never hit by accident."""
    with pytest.raises(PmcredError, match="no profile is named") as caught:
        get_token()
    assert caught.value.exit_status == 2
    monkeypatch.setenv("PMCRED_PROFILE", "staging")
    with FakeDaemon(path):
        assert get_token().profile == "staging"


def test_what_nobody_knows_is_none(path: Path) -> None:
    """A daemon that cannot tell the expiry leaves it out."""
    with FakeDaemon(path, lambda _: b"ok\naccess_token=abc\n\n"):
        assert get_token("prod") == AccessToken("abc", "Bearer", None, None, "prod", "")


def test_a_token_does_not_show_by_accident(path: Path) -> None:
    """A notebook that displays the object does not display the token."""
    with FakeDaemon(path):
        assert TOKEN not in repr(get_token("prod"))


def test_blocks_arrive_as_dictionaries(path: Path) -> None:
    """`call` gives every block of an answer, decoded."""
    with FakeDaemon(path, lambda _: b"ok 2\nprofile=a\nurl=x%20y\n\nprofile=b\n\n") as daemon:
        assert client.call(Request("list")) == [{"profile": "a", "url": "x y"}, {"profile": "b"}]
    assert daemon.requests == [b"list"]


# Errors


def test_the_daemons_error_arrives_with_its_hint(path: Path) -> None:
    """Code, sentence, mend and exit status are the daemon's."""
    error = failure(b"error needs-login\nmessage=prod:%20log%20in\nhint=pmcred%20login%20prod\n\n", path)
    assert (error.code, error.message, error.hint, error.exit_status) == (
        "needs-login",
        "prod: log in",
        "pmcred login prod",
        4,
    )
    assert str(error) == "prod: log in"


def test_a_newer_daemons_error_is_an_error(path: Path) -> None:
    """A code this client does not know counts as a plain failure."""
    error = failure(b"error brand-new\nmessage=m\n\n", path)
    assert (error.code, error.exit_status) == ("brand-new", 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "makes no sense"),
        (b"ok\nno field\n\n", "makes no sense"),
        (b"ok *\nprofile=a\n\n", "streams"),
    ],
)
def test_an_answer_that_is_none_is_told(path: Path, answer: bytes, why: str) -> None:
    """Something else on the socket gives a sentence and no traceback of ours."""
    error = failure(answer, path)
    assert why in error.message
    assert error.exit_status == 1


def test_a_daemon_that_dies_counts_as_none(path: Path) -> None:
    """A connection that ends before the answer does has the exit status of no daemon: soon there is none."""
    error = failure(b"", path)
    assert "closed before the answer was complete" in error.message
    assert error.exit_status == 69


@pytest.mark.parametrize("answer", [b"ok\nprofile=prod\n\n", b"ok\naccess_token=a\nexpires_at=soon\n\n", b"ok 0\n"])
def test_a_get_without_a_token_is_an_error(path: Path, answer: bytes) -> None:
    """Never a half-filled token."""
    with FakeDaemon(path, lambda _: answer), pytest.raises(PmcredError, match="holds no token"):
        get_token("prod")


def test_a_cut_answer_is_not_taken_for_a_whole_one(path: Path) -> None:
    """A daemon killed in the middle of a token does not hand out half of it."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def die() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"ok\naccess_token=abc")

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(PmcredError, match="closed before the answer was complete"):
            get_token("prod")
        thread.join()


def test_a_daemon_that_refuses_us_is_heard(path: Path) -> None:
    """An answer that comes before the request, and a connection closed meanwhile, still tell why."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as ours:
            ours.connect(os.fspath(path))
            theirs, _ = listener.accept()
            theirs.sendall(b"error forbidden\nmessage=no\n\n")
            theirs.close()
            answer = client._exchange(ours, b"hello\n", 5)
    assert answer == wire.Error("forbidden", "no")


def test_a_daemon_that_does_not_answer_in_time_is_told(path: Path) -> None:
    """The wait ends when the caller said, however many bytes dribble in."""
    release = threading.Event()

    def answer(_: bytes) -> bytes:
        release.wait()
        return b""

    with FakeDaemon(path, answer):
        with pytest.raises(PmcredError, match=r"not answered within 0\.05 s") as caught:
            client.call(Request("hello"), timeout=0.05)
        release.set()
    assert caught.value.exit_status == 5


@pytest.mark.parametrize("request_", [Request("shout"), Request("get", "a\nstop"), Request("list", "x")])
def test_what_the_daemon_would_refuse_is_not_sent(path: Path, request_: Request) -> None:
    """A newline in a name cannot become a second request."""
    with FakeDaemon(path) as daemon, pytest.raises(PmcredError) as caught:
        client.call(request_)
    assert caught.value.exit_status == 2
    assert daemon.requests == []


def test_a_time_that_cannot_be_is_refused() -> None:
    """Before any daemon is asked."""
    for wrong in (-1.0, float("nan")):
        with pytest.raises(PmcredError, match="length of time"):
            get_token("prod", lasting=wrong)


# No daemon, or not ours


def reasons(error: NoDaemon) -> dict[str, str]:
    """Give what was wrong by path."""
    assert all(str(path) in error.message and why in error.message for path, why in error.tried)
    return {str(path): why for path, why in error.tried}


def test_without_a_daemon_every_path_tried_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what was wrong there, and the two ways to start one."""
    monkeypatch.setenv("PMCRED_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state" / "run").mkdir(mode=0o700, parents=True)
    with pytest.raises(NoDaemon) as caught:
        client.call(Request("hello"))
    why = reasons(caught.value)
    assert why[f"{tmp_path}/run/pmcred/socket"] == "there is no such directory"
    assert f"/run/user/{os.geteuid()}/pmcred/socket" in why
    assert why[f"{tmp_path}/state/run/socket"] == "there is no such socket"
    assert caught.value.exit_status == 69
    assert "`pmcredd`" in caught.value.hint
    assert "`pmcred service install`" in caught.value.hint


def test_the_next_path_is_tried_when_one_fails(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale socket in the runtime directory does not hide the daemon in the state directory."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(path))
    monkeypatch.setenv("PMCRED_STATE_DIR", str(tmp_path / "state"))
    with FakeDaemon(tmp_path / "state" / "run" / "socket"):
        assert get_token("prod").access_token == TOKEN


def test_a_named_socket_is_the_only_one_tried(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither $PMCRED_SOCKET nor the argument falls back to another daemon's profiles."""
    named = tmp_path / "other" / "socket"
    with FakeDaemon(path) as daemon:
        with pytest.raises(NoDaemon) as caught:
            get_token("prod", socket_path=str(named))
        assert list(reasons(caught.value)) == [str(named)]
        monkeypatch.setenv("PMCRED_SOCKET", str(named))
        with pytest.raises(NoDaemon) as caught:
            get_token("prod")
        assert list(reasons(caught.value)) == [str(named)]
    assert daemon.requests == []


def test_each_kind_of_wrong_path_has_its_reason(tmp_path: Path) -> None:
    """A link, a file, a stale socket, a path that cannot be."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(tmp_path / "real" / "stale"))
    for path, why in (
        (tmp_path / "link" / "socket", "a symbolic link is not followed"),
        (tmp_path / "file" / "socket", "is not a directory"),
        (tmp_path / "file" / "below" / "socket", "Not a directory"),
        (tmp_path / "real" / "stale", "nobody listens"),
        (tmp_path / "real" / ("x" * 108), "AF_UNIX path too long"),
        (tmp_path / "nul\0" / "socket", "NUL"),
    ):
        with pytest.raises(NoDaemon) as caught:
            client.call(Request("hello"), socket_path=path)
        assert why in reasons(caught.value)[str(path)]


def test_a_daemon_too_busy_to_take_us_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is waited for, and then named for what it is."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.05)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(os.fspath(path))
        listener.listen(0)
        other.connect(os.fspath(path))
        with pytest.raises(NoDaemon) as caught:
            client.call(Request("hello"), socket_path=path)
    assert "has not taken the connection" in reasons(caught.value)[str(path)]


@root_only
def test_another_users_directory_is_not_entered(path: Path) -> None:
    """Its owner could listen there in the daemon's place."""
    with FakeDaemon(path) as daemon:
        os.chown(path.parent, NOBODY, NOBODY)
        with pytest.raises(NoDaemon) as caught:
            client.call(Request("hello"), socket_path=path)
        os.chown(path.parent, 0, 0)
    assert f"belongs to uid {NOBODY}" in reasons(caught.value)[str(path)]
    assert daemon.requests == []


@root_only
def test_nothing_is_sent_to_another_users_process() -> None:
    """A listener of another uid, even in our own directory, does not even hear the profile's name."""
    script = (
        "import socket as s, sys; l=s.socket(1); l.bind(sys.argv[1]); l.listen(); print('up', flush=True)\n"
        "print(l.accept()[0].recv(99), flush=True)"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = Path(directory, "socket")
        command = ["/usr/bin/python3", "-c", script, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, user=NOBODY, cwd="/") as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"up\n"
            with pytest.raises(NoDaemon) as caught:
                get_token("prod", socket_path=path)
            assert stranger.stdout.read() == b"b''\n"
    assert f"process that listens belongs to uid {NOBODY}" in reasons(caught.value)[str(path)]


def test_who_is_nobody_in_a_user_namespace_trusts_nobody(path: Path) -> None:
    """Where our uid is not mapped, everybody's directory and everybody's process look like our own."""
    script = (
        "import sys; from pathlib import Path; from pmcredd import client\n"
        "try: client.get_token('prod', socket_path=Path(sys.argv[1]), timeout=1)\n"
        "except client.NoDaemon as absent: print(absent.message)"
    )
    with FakeDaemon(path) as daemon:
        done = subprocess.run(
            ["unshare", "--user", sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
        if "unshare failed" in done.stderr:
            pytest.skip("the kernel does not allow user namespaces to us")

    assert "not mapped into this user namespace" in done.stdout
    assert daemon.requests == []


def test_nobody_is_somebody_where_the_uid_is_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user nobody may have a daemon; without /proc nothing is taken on trust."""
    assert client._wrong_user(NOBODY) == ""
    monkeypatch.setattr(client, "_UID_MAP", tmp_path / "not there")
    assert client._wrong_user(NOBODY) != ""
    assert client._wrong_user(1000) == ""


def test_a_program_interrupted_while_it_connects_leaks_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle closes the connection (an unclosed one would be a warning, and so an error here)."""

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_wrong_listener", interrupted)
    with FakeDaemon(path), pytest.raises(KeyboardInterrupt):
        client.call(Request("hello"))


# Answers that go on


def streamed(*answers: bytes, output: int | None = None, timeout: float | None = 30) -> list[dict[str, str]]:
    """Read a stream to its end."""
    return list(client.stream(Request("watch"), output=output, timeout=timeout))


def test_an_answer_with_an_end_is_streamed_to_its_end(path: Path) -> None:
    """Whether a login goes on depends on its profile: who asks need not know before."""
    with FakeDaemon(path, lambda _: b"ok 2\nprofile=a\n\nprofile=b\n\n"):
        assert streamed() == [{"profile": "a"}, {"profile": "b"}]


def test_a_stream_gives_its_blocks_until_the_daemon_leaves(path: Path) -> None:
    """Decoded, in order; and the clean end is one."""
    answer = b"ok *\nprofile=a\nevent=present\n\nprofile=b%20c\n\n"
    with FakeDaemon(path, lambda _: answer, hang_up=True) as daemon:
        assert streamed() == [{"profile": "a", "event": "present"}, {"profile": "b c"}]
    assert daemon.requests == [b"watch"]


def test_blocks_come_as_they_are_sent(path: Path) -> None:
    """Not when the answer is complete, which it never is; to close the iterator is to hang up."""
    answer = b"ok *\nprofile=a\n\nprofile=b\n\nprofile="
    with FakeDaemon(path, lambda _: answer):
        blocks = client.stream(Request("watch"), timeout=None)
        assert [next(blocks), next(blocks)] == [{"profile": "a"}, {"profile": "b"}]
        blocks.close()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"error no-such-profile\nmessage=no%20such\nhint=look\n\n", "no-such-profile", "no such"),
        (b"ok *\nprofile=a\n", "stopping", "before the answer was complete"),
        (b"ok 1\n", "stopping", "before the answer was complete"),
        (b"", "stopping", "before the answer was complete"),
        (b"what?\n", "internal", "neither ok nor error"),
    ],
)
def test_a_stream_that_is_none_is_told(path: Path, answer: bytes, code: str, said: str) -> None:
    """Refused, cut, or something else than was asked for."""
    with FakeDaemon(path, lambda _: answer, hang_up=True), pytest.raises(PmcredError, match=said) as caught:
        streamed()
    assert caught.value.code == code


def test_a_stream_that_does_not_begin_is_given_up(path: Path) -> None:
    """A daemon that hangs must not hang its clients."""
    with FakeDaemon(path, lambda _: b"ok"), pytest.raises(PmcredError) as caught:
        streamed(timeout=0.05)
    assert caught.value.code == "waiting"


def test_a_stream_that_has_begun_has_no_deadline(path: Path) -> None:
    """Nothing may happen for a day; only its beginning is waited for."""

    def answer(line: bytes) -> bytes:
        return b"ok *\nprofile=a\n\n" if line == b"watch" else b"ok"

    rest: list[dict[str, str]] = []
    with FakeDaemon(path, answer):
        blocks = client.stream(Request("watch"), timeout=0.05)
        assert next(blocks) == {"profile": "a"}
        waiting = threading.Thread(target=lambda: rest.extend(blocks))
        waiting.start()
        with pytest.raises(PmcredError):  # so the time is over
            next(client.stream(Request("watch", "prod"), timeout=0.05))
        assert waiting.is_alive()
    waiting.join(30)
    assert not waiting.is_alive()
    assert rest == []


def test_a_stream_ends_when_nobody_reads_what_becomes_of_it(path: Path) -> None:
    """`pmcred watch | head -1` must not outlive head until something happens, which may take a year."""
    reading, writing = os.pipe()
    with FakeDaemon(path, lambda _: b"ok *\nprofile=a\n\n"):
        blocks = client.stream(Request("watch"), output=writing)
        assert next(blocks) == {"profile": "a"}
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            next(blocks)
    os.close(writing)


def test_what_came_before_the_reader_left_is_not_waited_for(path: Path) -> None:
    """With a reader there, blocks pass; a file or /dev/null never counts as one that left."""
    with open(os.devnull, "wb") as nowhere, FakeDaemon(path, lambda _: b"ok *\nprofile=a\n\n", hang_up=True):
        assert streamed(output=nowhere.fileno()) == [{"profile": "a"}]


# The package


def test_importing_the_package_costs_nothing() -> None:
    """What the client needs is imported when it is used."""
    script = "import sys, pmcredd; print(sorted({'socket', 'dataclasses', 'importlib.metadata'} & sys.modules.keys()))"
    ran = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {script}"],
        capture_output=True,
        check=True,
    )
    assert ran.stdout == b"[]\n"


def test_the_package_offers_what_it_says() -> None:
    """The public names exist, and others do not."""
    assert all(getattr(pmcredd, name) for name in pmcredd.__all__)
    assert pmcredd.__version__.count(".") >= 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pmcredd.nothing  # noqa: B018 - the look-up is the test


# A refused token


def test_a_refused_token_is_reported_and_replaced_with_one_call(path: Path) -> None:
    """Its fingerprint alone is sent; the answer is the token to use instead."""
    with FakeDaemon(path, lambda _: b"ok\naccess_token=fresh\nprofile=prod\n\n") as daemon:
        fresh = reject_token(AccessToken("refused", "Bearer", None, None, "prod", ""), timeout=5)
    assert fresh.access_token == "fresh"
    assert daemon.requests == [f"reject prod fingerprint={Secret('refused').fingerprint()} timeout=5".encode()]


def test_a_token_from_elsewhere_is_rejected_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was given PROCESSMAKER_TOKEN has no more than that; its profile is named, or $PMCRED_PROFILE's."""
    with pytest.raises(PmcredError, match="no profile is named"):
        reject_token("refused")
    with FakeDaemon(path, lambda _: b"ok\naccess_token=fresh\n\n") as daemon:
        reject_token("refused", "dev")
        assert reject_token("half of it \ud800", "dev").access_token == "fresh"
        monkeypatch.setenv("PMCRED_PROFILE", "staging")
        assert reject_token("refused").profile == "staging"
    assert [line.split()[1] for line in daemon.requests] == [b"dev", b"dev", b"staging"]


def test_a_token_says_how_it_is_sent_and_by_which_name_the_log_knows_it(path: Path) -> None:
    """The header's value, and the fingerprint of `pmcred log`."""
    with FakeDaemon(path):
        token = get_token("prod")
    assert token.authorization == f"Bearer {TOKEN}"
    assert token.fingerprint == Secret(TOKEN).fingerprint()
    assert TOKEN not in str(token)


def test_an_error_shows_its_mend_in_a_traceback(path: Path) -> None:
    """Where nobody catches it, that is what a person gets to read."""
    error = failure(b"error needs-login\nmessage=m\nhint=pmcred%20login%20prod\n\n", path)
    assert "try: pmcred login prod" in "".join(traceback.format_exception(error))
    assert not hasattr(failure(b"error internal\nmessage=m\n\n", path), "__notes__")


def test_an_error_comes_out_of_a_worker_process_whole(path: Path) -> None:
    """A pool of processes pickles it; one that cannot be made again would break the whole pool."""
    error = failure(b"error needs-login\nmessage=m\nhint=h\n\n", path)
    for before in (error, NoDaemon([(path, "nobody listens there")])):
        after = pickle.loads(pickle.dumps(before))
        assert (type(after), str(after), vars(after)) == (type(before), str(before), vars(before))
