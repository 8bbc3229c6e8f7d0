"""pmcred api as it is typed: a server and a daemon on real sockets, a pipe or a terminal for what is printed."""

import json
import os
import signal
import subprocess
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from support import hostile
from support.daemon import user_at, write_profiles
from support.fake_daemon import FakeDaemon
from support.hostile import Behaviour, Conversation, Hostile
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd import wire
from pmcredd.cli import api
from pmcredd.cli.problem import Problem

T = TypeVar("T")

TOKEN = "eyJ0eXAi.token/with+all~kinds_of-letters." + "x" * 900 + "=="
SECRET = "fake-secret-0123456789"
Done = subprocess.CompletedProcess[bytes]


@dataclass
class World:
    """A user with the profile `prod`, its daemon and its server."""

    user: User
    server: Hostile
    daemon: FakeDaemon

    async def run(self, *words: str, stdin: bytes = b"", **more: str) -> Done:
        """Run `pmcred api` with pipes; the token is in nothing that it tells."""
        done = await self.shell(f'exec "{PMCRED}" api "$@"', *words, stdin=stdin, **more)
        assert TOKEN.encode() not in done.stderr
        return done

    async def shell(self, script: str, *words: str, stdin: bytes = b"", **more: str) -> Done:
        """Run a script of bash with pipes."""
        command = ["bash", "-c", script, "bash", *words]

        def run() -> Done:
            environ = self.user.environ | more
            return subprocess.run(command, env=environ, input=stdin, capture_output=True, check=False, timeout=60)

        return await _in_thread(run)

    async def show(self, *words: str, **more: str) -> tuple[int, str]:
        """Run it on a terminal, and give exit status and screen; the token is nowhere on it."""
        environ = self.user.environ | {"TERM": "dumb"} | more

        def run() -> tuple[int, str]:
            with PseudoTerminal([PMCRED, "api", *words], environ) as terminal:
                return terminal.end(), terminal.screen

        status, screen = await _in_thread(run)
        assert TOKEN not in screen
        return status, screen

    def requests(self) -> list[bytes]:
        """Give what reached the server."""
        return [bytes(request) for request in self.server.requests]


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)


@asynccontextmanager
async def world(tmp_path: Path, behave: Behaviour) -> AsyncIterator[World]:
    """Run a server that behaves so, and a daemon that has TOKEN for it, whatever is reported."""
    os.makedirs(tmp_path, exist_ok=True)
    user = user_at(tmp_path)
    async with hostile.hostile(behave) as server:
        text = f"""
            [profiles.prod]
            url = "{server.url}"
            grant = "password"
            client_id = "3"
            client_secret = "{SECRET}"
            username = "integration"
            password = "{SECRET}"
            timeout = 20
        """
        write_profiles(user, text)

        def answer(line: bytes) -> bytes:
            if line.startswith(b"reject"):
                return wire.format_error(wire.Code.NOT_REJECTED, "the token lives", "look elsewhere")
            return wire.format_ok([{"access_token": TOKEN, "profile": "prod", "url": server.url}], many=False)

        with FakeDaemon(user.socket, answer) as daemon:
            yield World(user, server, daemon)


def answering(
    body: bytes = b"{}", kind: str = "application/json", status: str = "200 OK", headers: bytes = b""
) -> Behaviour:
    """Answer every request so."""

    async def behave(talk: Conversation) -> None:
        await talk.request()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
        await talk.stream.send_all(head + headers + b"\r\n" + (b"" if talk.seen.startswith(b"HEAD") else body))

    return behave


# ---- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "default", "meant"),
    [
        ("prod GET /users", "", ("prod", "GET", "/users")),
        ("prod post /users", "", ("prod", "POST", "/users")),
        ("prod /users", "", ("prod", "GET", "/users")),
        ("prod /users", "staging", ("prod", "GET", "/users")),
        ("DELETE /users/7", "staging", ("staging", "DELETE", "/users/7")),
        ("/users", "staging", ("staging", "GET", "/users")),
        ("patch /users", "staging", ("patch", "GET", "/users")),
        ("PATCH GET /users", "", ("PATCH", "GET", "/users")),
        ("prod https://acme.example/api/1.0/users", "", ("prod", "GET", "https://acme.example/api/1.0/users")),
    ],
)
def test_name_method_and_path_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, words: str, default: str, meant: tuple[str, str, str]
) -> None:
    """NAME and METHOD may be left out; of two words the first is a METHOD only in capitals."""
    monkeypatch.setenv("PMCRED_PROFILE", default)
    assert api._words(Namespace(words=words.split(), data=None)) == meant


@pytest.mark.parametrize(
    ("words", "data", "why", "mend"),
    [
        ("/users", None, "no profile is named, and PMCRED_PROFILE is not set", "pmcred profile list"),
        ("GET /users", None, "no profile is named, and PMCRED_PROFILE is not set", "pmcred profile list"),
        ("prod GET", None, "PATH comes last and begins with /, and GET does not", "pmcred api prod GET /users"),
        ("prod", None, "PATH comes last", "pmcred api prod /users"),
        ("prod users", None, "PATH comes last", "pmcred api prod /users"),
        ("prod GET users?per_page=1", None, "PATH comes last", "pmcred api prod GET '/users?per_page=1'"),
        ("prod FETCH /users", None, "there is no method FETCH", "GET, HEAD, POST"),
        ("prod TRACE /users", None, "there is no method TRACE", ""),
        ("a prod GET /users", None, "too many words", "NAME METHOD PATH"),
        ("prod /users", "{}", "METHOD has to be named", "POST to make something"),
    ],
)
def test_what_is_unclear_is_asked_back(words: str, data: str | None, why: str, mend: str) -> None:
    """Nothing is guessed where production may be at stake."""
    with pytest.raises(Problem) as refused:
        api._words(Namespace(words=words.split(), data=data))
    assert refused.value.exit_status == 2
    assert why in refused.value.message
    assert mend in refused.value.hint


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["GET", "/users", "--data", "{}"], b"GET sends no --data"),
        (["POST", "/users", "--data", "a=1"], b"--data is not JSON: Expecting value, line 1, column 1"),
        (["POST", "/users", "--data", "@nothing-there"], b"cannot open nothing-there: No such file"),
        (["GET", "/users", "--header", f"Authorization: Bearer {SECRET}"], b"the token is the daemon's to give"),
        (["GET", "/users", "--header", "HOST: evil.example"], b"it is the profile's url that picks the instance"),
        (["GET", "/users", "--header", "Content-Length: 7"], b"part of how the request is sent"),
        (["GET", "/users", "--header", f"{SECRET}"], b"not like 'Name: value'"),
        (["GET", "/users", "--header", f"X: {SECRET}\r\nY: 1"], b"not like 'Name: value'"),
        (["GET", "/users", "--header", "X: \u00e9"], b"not like 'Name: value'"),
        (["GET", "https://evil.example/users"], b"its token goes nowhere else"),
        (["GET", "/users/../../oauth/token"], b"PATH has a . or .. in it"),
        (["GET", "/users", "--timeout", "soon"], b"--timeout"),
        (["GET", "/users", "--nonsense"], b"--nonsense"),
        ([], b"PATH"),
    ],
)
async def test_what_cannot_be_right_is_refused_before_a_token_is_asked_for(
    tmp_path: Path, arguments: list[str], why: bytes
) -> None:
    """With the reason, and no secret in it; nothing is sent anywhere."""
    async with world(tmp_path, answering()) as there:
        done = await there.run("prod", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert why in done.stderr
    assert b"try: " in done.stderr or b"cannot open" in done.stderr
    assert SECRET.encode() not in done.stderr
    assert there.daemon.requests == []
    assert there.requests() == []


async def test_options_may_stand_anywhere(tmp_path: Path) -> None:
    """As everywhere else on a command line."""
    async with world(tmp_path, answering()) as there:
        done = await there.run("--timeout", "90s", "prod", "--data", '{"a": 1}', "PUT", "--header", "X-A: b", "/users")
    assert (done.returncode, done.stderr) == (0, b"")
    assert there.daemon.requests == [b"get prod timeout=90 for=90"]
    (request,) = there.requests()
    assert request.startswith(b"PUT /api/1.0/users HTTP/1.1\r\n")
    assert request.endswith(b'\r\n\r\n{"a": 1}')
    assert b"\r\nX-A: b\r\n" in request
    assert b"\r\nContent-Type: application/json\r\n" in request


@pytest.mark.parametrize("place", ["@{}", "@-", "-", "@/dev/stdin"])
async def test_data_comes_from_a_file_or_from_standard_input(tmp_path: Path, place: str) -> None:
    """Byte for byte."""
    data = '{"é":\r\n "\\u00e9"}\n'.encode()
    path = tmp_path / "data"
    path.write_bytes(data)
    async with world(tmp_path, answering()) as there:
        done = await there.run("prod", "POST", "/users", "--data", place.format(path), stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert there.requests()[0].endswith(b"\r\n\r\n" + data)


async def test_what_is_no_json_needs_a_type(tmp_path: Path) -> None:
    """Which is sent as it was named, and once."""
    async with world(tmp_path, answering()) as there:
        words = ("prod", "POST", "/users", "--data", "a=1&b=2", "--header")
        done = await there.run(*words, "content-type: application/x-www-form-urlencoded")
    assert done.returncode == 0
    assert there.requests()[0].lower().count(b"content-type") == 1
    assert there.requests()[0].endswith(b"a=1&b=2")


# ---- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [
        ("200 OK", 0), ("201 Created", 0), ("299 Odd", 0), ("302 Found", 30), ("304 Not Modified", 30),
        ("403 Forbidden", 40), ("422 Unprocessable", 40), ("500 Oops", 50), ("599 Odd", 50), ("600 Odd", 1),
    ],
)  # fmt: skip
async def test_the_exit_status_tells_the_class(tmp_path: Path, status: str, exit_status: int) -> None:
    """A script branches on it; the body is on stdout in any case, and a reason on stderr if it is no success."""
    body = b"" if status.startswith("304") else b'{"message":"the reason"}'
    async with world(tmp_path, answering(body, status=status)) as there:
        done = await there.run("prod", "/users")
    assert (done.returncode, done.stdout) == (exit_status, body)
    assert (done.stderr == b"") is (exit_status == 0)
    assert exit_status == 0 or done.stderr.startswith(
        f"pmcred: GET /api/1.0/users at 127.0.0.1:{there.server.port} ".encode()
    )


async def test_a_pipe_gets_every_byte_as_it_came(tmp_path: Path) -> None:
    """Nothing is laid out, masked or escaped, whatever it is."""
    body = bytes(range(256)) * 1000 + TOKEN.encode() + b"\x1b[2J\r\n"
    for kind in ("application/json", "application/octet-stream", "text/plain; charset=iso-8859-1"):
        async with world(tmp_path / str(len(kind)), answering(body, kind)) as there:
            done = await there.run("prod", "/users")
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout == body


async def test_include_shows_the_head_as_it_came(tmp_path: Path) -> None:
    """Status and headers, an empty line, the body: as HTTP has it."""
    async with world(tmp_path, answering(b"[]", headers=b"X-A: 1\r\nX-A: 2\r\n")) as there:
        done = await there.run("prod", "/users", "--include")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.lower().split(b"\r\n")
    assert first == b"http/1.1 200 ok"
    assert {b"content-type: application/json", b"content-length: 2", b"x-a: 1", b"x-a: 2"} <= set(lines)
    assert body == b"[]"


async def test_head_shows_the_head(tmp_path: Path) -> None:
    """There is nothing else to see."""
    async with world(tmp_path, answering(b"[]")) as there:
        done = await there.run("prod", "HEAD", "/users")
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert done.stdout.endswith(b"\r\n\r\n")
    assert there.requests()[0].startswith(b"HEAD /api/1.0/users HTTP/1.1\r\n")


async def test_a_terminal_shows_json_laid_out(tmp_path: Path) -> None:
    """Keys in bold where there is colour; nothing that the terminal obeys, and not the token, should it be repeated."""
    value = {"name": "é \x1b[2J\u202e", "token": f"Bearer {TOKEN}", "list": []}
    async with world(tmp_path, answering(json.dumps(value, ensure_ascii=False).encode())) as there:
        status, screen = await there.show("prod", "/users")
        coloured = await there.show("prod", "/users", TERM="xterm")
    assert status == 0
    assert screen == '{\n  "name": "é \\u001b[2J\\u202e",\n  "token": "Bearer ****",\n  "list": []\n}\n'
    assert '\x1b[1m"name"\x1b[0m: "é \\u001b[2J' in coloured[1]


async def test_a_terminal_shows_text_without_what_it_would_obey(tmp_path: Path) -> None:
    """Also what calls itself JSON and is none; the token is taken out of headers, too."""
    text = f"one\r\ntwo \x1b]0;title\x07 {TOKEN}".encode()
    for kind in ("text/csv", "application/json", ""):
        behave = answering(text, kind, headers=f"X-Echo: {TOKEN}\r\n".encode())
        async with world(tmp_path / f"x{len(kind)}", behave) as there:
            status, screen = await there.show("prod", "/users", "--include")
        assert status == 0
        assert "x-echo: ****\n" in screen.lower()
        assert screen.endswith("\n\none\ntwo \\x1b]0;title\\x07 ****\n")


async def test_a_long_body_is_shown_as_it_comes(tmp_path: Path) -> None:
    """Beyond 4 MiB nobody reads, and it need not fit into memory; the token is still taken out."""
    value = ["x" * 70] * 70_000 + [TOKEN]
    async with world(tmp_path, answering(json.dumps(value).encode())) as there:
        status, screen = await there.show("prod", "/users")
    assert status == 0
    assert screen == json.dumps(value).replace(TOKEN, "****") + "\n"


async def test_raw_is_raw_on_a_terminal_too(tmp_path: Path) -> None:
    """For who asks for it."""
    async with world(tmp_path, answering(b'{"a":"\x1b[1mb"}')) as there:
        status, screen = await there.show("prod", "/users", "--raw")
    assert (status, screen) == (0, '{"a":"\x1b[1mb"}')


@pytest.mark.parametrize(
    ("behave", "told"),
    [
        (answering(b"%PDF\0" * 10, "application/pdf"), "pmcred: the body is application/pdf, 50 bytes, and not"),
        (answering(b"\0" * 10, ""), "pmcred: the body is binary, 10 bytes"),
        (answering(b"", status="204 No Content"), "pmcred: 204 No Content, without a body"),
        (
            answering(b"<title>Log in\x1b[2J</title>" + b"<p>" * 99, "text/html"),
            'pmcred: 200 OK, but the body is a web page, "Log in?[2J": check PATH, and url in the profile',
        ),
        (
            answering(b"<title>Oops</title>" + b"<p>" * 99, "text/html", "500 Internal Server Error"),
            'gave 500 Internal Server Error: a web page, "Oops"',
        ),
        (answering(b"<p>", "text/html"), "but the body is a web page: check"),
    ],
)  # fmt: skip
async def test_what_a_terminal_cannot_show_is_told_in_a_sentence(tmp_path: Path, behave: Behaviour, told: str) -> None:
    """A binary file, a web page, nothing at all."""
    async with world(tmp_path, behave) as there:
        _, screen = await there.show("prod", "/users")
    assert told in " ".join(screen.split())
    assert "<" not in screen
    assert "\x1b" not in screen
    assert "\0" not in screen


async def test_a_web_page_in_a_pipe_is_told_too_unless_it_was_wanted(tmp_path: Path) -> None:
    """A script that wants JSON would stumble over it later."""
    async with world(tmp_path, answering(b"<title>Log in</title>", "text/html")) as there:
        done = await there.run("prod", "/users")
        wanted = await there.run("prod", "/users", "--header", "Accept: text/html")
    assert (done.returncode, done.stdout) == (0, b"<title>Log in</title>")
    assert b'the body is a web page, "Log in"' in done.stderr
    assert wanted.stderr == b""


async def test_a_refused_form_is_told_field_by_field(tmp_path: Path) -> None:
    """On stderr, with the whole answer on stdout."""
    body = json.dumps({"message": "Invalid.", "errors": {"name": ["Too long."], "age": ["No number."]}}).encode()
    async with world(tmp_path, answering(body, status="422 Unprocessable Entity")) as there:
        done = await there.run("prod", "POST", "/users", "--data", "{}")
    assert (done.returncode, done.stdout) == (40, body)
    assert b": Invalid.\n  name: Too long.\n  age: No number.\n  try: correct --data\n" in done.stderr


async def test_a_401_is_told_with_what_the_daemon_says(tmp_path: Path) -> None:
    """It was asked, and knows more than the server tells."""
    async with world(tmp_path, answering(b'{"error":"Unauthenticated."}', status="401 Unauthorized")) as there:
        done = await there.run("prod", "/users")
    assert (done.returncode, done.stdout) == (40, b'{"error":"Unauthenticated."}')
    assert b"gave 401 Unauthorized: Unauthenticated.; the token lives\n  try: look elsewhere\n" in done.stderr


@pytest.mark.parametrize("terminal", [False, True])
async def test_a_body_that_is_cut_is_a_failure(tmp_path: Path, terminal: bool) -> None:
    """What came is shown, and nobody takes it for the whole."""
    async with world(tmp_path, hostile.close_mid_body) as there:
        if terminal:
            status, shown = await there.show("prod", "/users")
        else:
            done = await there.run("prod", "/users")
            status, shown = done.returncode, (done.stdout + done.stderr).decode()
    assert status == 5
    assert shown.startswith('{"access_token":')
    assert "pmcred: GET /users: no complete answer from 127.0.0.1" in shown


async def test_verbose_tells_the_way_and_no_secret(tmp_path: Path) -> None:
    """Not even where the server repeats what it was sent; `run` looks for the token."""
    async with world(tmp_path, answering(TOKEN.encode(), status="403 Forbidden")) as there:
        done = await there.run("prod", "POST", "/users?a=b", "--data", json.dumps(SECRET), "-v")
    assert f"pmcred: POST {there.server.url}/api/1.0/users?a=b with the token ".encode() in done.stderr
    assert b"pmcred: the answer was 403 Forbidden\n" in done.stderr
    assert SECRET.encode() not in done.stderr


# ---- what else can go wrong ------------------------------------------------------------------------------------------


async def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    """As every verb does."""
    async with world(tmp_path, answering()) as there:
        done = await there.run("--socket", str(tmp_path / "run" / "nobody"), "prod", "/users")
    assert done.returncode == 69
    assert b"no daemon answers" in done.stderr
    assert there.requests() == []


async def test_a_profile_that_is_not_there_or_is_wrong_is_told_as_everywhere(tmp_path: Path) -> None:
    """With the file and the key; what is wrong with another profile is no hindrance."""
    async with world(tmp_path, answering()) as there:
        missing = await there.run("prdo", "/users")
        good = (there.user.config / "profiles.toml").read_text()
        write_profiles(there.user, f'{good}\n[profiles.other]\nurl = "https://x.example"\n')
        other = await there.run("prod", "/users")
        write_profiles(there.user, good.replace("timeout = 20", 'timeout = "x"'))
        wrong = await there.run("prod", "/users")
    assert (missing.returncode, other.returncode, wrong.returncode) == (3, 0, 6)
    assert b"did you mean prod?" in missing.stderr
    assert b"profiles.toml: [profiles.prod]: timeout: " in wrong.stderr


async def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """As `| head` does."""
    async with world(tmp_path, hostile.endless_body) as there:
        done = await there.shell(f'"{PMCRED}" api prod /users | head -c 5; echo ${{PIPESTATUS[0]}}')
    assert done.stdout.split() == [b"141"]
    assert done.stderr == b""


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """And not taken for the server's fault."""
    async with world(tmp_path, answering()) as there:
        done = await there.shell(f'exec "{PMCRED}" api prod /users >/dev/full')
    assert done.returncode == 1
    assert done.stderr == b"pmcred: cannot write the output: No space left on device\n"


async def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """While the server takes its time."""
    async with world(tmp_path, hostile.hang_after_reading) as there, trio.open_nursery() as nursery:
        ended: list[Done] = []

        async def run() -> None:
            ended.append(await there.shell(f'echo $$ >"$HOME/pid"; exec "{PMCRED}" api prod /users'))

        nursery.start_soon(run)
        with trio.fail_after(60):
            await there.server.asked.wait()
        os.kill(int((there.user.home / "pid").read_text()), signal.SIGINT)
    assert (ended[0].returncode, ended[0].stderr) == (-signal.SIGINT, b"\n")
