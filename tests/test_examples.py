"""docs/examples: the clients for Node.js and PHP do what the protocol's page asks of a client, and the examples run."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, running, user_at, write_profiles
from support.elsewhere import elsewhere
from support.fake_daemon import TOKEN, FakeDaemon
from support.recipes import DOCS, write_guzzle_project
from support.sandbox import SandboxProcess, sandbox_process
from support.user import User

pytestmark = pytest.mark.storm  # none of it is Python: once is enough

EXAMPLES = DOCS / "examples"
NOBODY = 65534
# Each calls one function of its client and prints what that gives, or throws, as JSON.
NODE = f"""
import * as pmcred from "{EXAMPLES}/node/pmcred.mjs";
try {{
  const made = await pmcred[process.argv[1]](...JSON.parse(process.argv[2]));
  if (made instanceof Response) console.log(JSON.stringify([made.status, await made.text()]));
  else console.log(JSON.stringify(made instanceof Array ? made : {{ ...made, accessToken: made.accessToken }}));
}} catch (error) {{
  console.log(JSON.stringify({{ code: error.code, message: error.message, hint: error.hint }}));
}}
"""
PHP = f"""
require '{EXAMPLES}/php/pmcred.php';
try {{
  $function = "Pmcred\\\\$argv[1]";
  echo json_encode($function(...json_decode($argv[2], true)));
}} catch (Pmcred\\PmcredError $error) {{
  echo json_encode(['code' => $error->getCode(), 'message' => $error->getMessage(), 'hint' => $error->hint]);
}}
"""


@dataclass(frozen=True, slots=True)
class Language:
    """One of the clients: `call` runs a function of it in a process of its own."""

    name: str
    command: Sequence[str]

    def call(
        self, environ: dict[str, str], function: str, *words: object, under: Sequence[str] = (), **named: object
    ) -> Any:
        """Call `function` with these words and options; what stands on stderr is a failure."""
        arguments = dict(enumerate(words)) | named if self.name == "php" else [*words, *([named] if named else [])]
        command = [*under, *self.command, function, json.dumps(arguments)]
        ran = run(environ, *command)
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)


LANGUAGES = (Language("node", ["node", "--input-type=module", "-e", NODE]), Language("php", ["php", "-r", PHP, "--"]))


def run(environ: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with this environment and the tests' PATH alone."""
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"]} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest) -> Language:
    """Give each of the clients in turn."""
    found: Language = request.param
    needs(found.name)
    return found


def needs(program: str) -> None:
    """Skip a test whose language is not here."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: apt install {'nodejs' if program == 'node' else 'php-cli'}")


@pytest.fixture
def at(short_path: Path) -> Path:
    """Give a path for a socket in a directory as the daemon makes it."""
    return short_path / "run" / "pmcred" / "socket"


def environ_of(at: Path) -> dict[str, str]:
    """Name this socket."""
    return {"PMCRED_SOCKET": str(at)}


def told(text: str) -> str:
    """Write a value as an answer has it."""
    return "".join(
        f"%{byte:02X}" if byte <= 0x20 or byte >= 0x7F or byte == 0x25 else chr(byte) for byte in text.encode()
    )


# --- a daemon of a few lines: what is sent and what is understood -----------------------------------------------------


def test_a_token_and_all_that_is_told_of_it(language: Language, at: Path) -> None:
    """The token is taken as it is, with every character that it may hold; times are numbers."""
    with FakeDaemon(at) as daemon:
        got = language.call(environ_of(at), "getToken", "prod", lasting="30m", timeout=5)
        assert language.call(environ_of(at) | {"PMCRED_PROFILE": "test"}, "getToken")["profile"] == "test"
    assert got == {
        "accessToken": TOKEN,
        "tokenType": "Bearer",
        "profile": "prod",
        "url": "https://pm.example",
        "expiresAt": 2000000000,
        "goodUntil": 1999999990,
    }
    assert daemon.requests == [b"get prod for=30m timeout=5", b"get test timeout=60"]


def test_what_nobody_knows_is_not_made_up(language: Language, at: Path) -> None:
    """A token without a known end has none; keys that are new are ignored, and of two the first counts."""
    answer = b"ok\nnew=x\nprofile=a\nprofile=b\naccess_token=abc\nurl=https://pm.example/a%20=b\n\n"
    with FakeDaemon(at, lambda _: answer):
        got = language.call(environ_of(at), "getToken", "prod", lasting=90)
    assert got["accessToken"] == "abc"
    assert (got["profile"], got["url"]) == ("a", "https://pm.example/a =b")
    assert (got.get("expiresAt"), got.get("goodUntil")) == (None, None)


def test_a_refused_token_is_named_by_its_fingerprint(language: Language, at: Path) -> None:
    """The token itself is not sent."""
    with FakeDaemon(at, lambda _: b"ok\naccess_token=other\n\n") as daemon:
        got = language.call(environ_of(at), "reject", "prod", TOKEN, timeout=5)
    assert got["accessToken"] == "other"
    fingerprint = hashlib.sha256(TOKEN.encode()).hexdigest()[:16]
    assert daemon.requests == [f"reject prod fingerprint={fingerprint} timeout=5".encode()]


@pytest.mark.parametrize("profile", ["prod", "a b%20c=d", "é\n", "https://pm.example/x?y=z", "k=v", "+"])
def test_any_target_arrives_as_it_is(language: Language, at: Path, profile: str) -> None:
    """Percent-encoded where need be: no target becomes a key, or a second request."""
    with FakeDaemon(at, lambda _: b"error no-such-profile\nmessage=none\n\n") as daemon:
        language.call(environ_of(at), "getToken", profile)
    (line,) = daemon.requests
    words = line.decode("ascii").split(" ")
    assert not re.match(r"[a-z_]+=", words[1])
    assert bytes.fromhex(re.sub(r"%(..)|(.)", lambda m: m[1] or m[2].encode().hex(), words[1])).decode() == profile


def test_an_error_has_code_message_and_hint(language: Language, at: Path) -> None:
    """Decoded, and empty where there is none."""
    message, hint = "prod: 50 % is « à moitié »\nand a=b", "pmcred login prod"
    errors = [f"error needs-login\nmessage={told(message)}\nhint={told(hint)}\n\n", "error new-one\nmessage=x\n\n"]
    with FakeDaemon(at, lambda _: errors.pop(0).encode()):
        first, second = (language.call(environ_of(at), "getToken", "prod") for _ in range(2))
    assert first == {"code": "needs-login", "message": message, "hint": hint}
    assert second == {"code": "new-one", "message": "x", "hint": ""}


def test_every_block_of_an_answer(language: Language, at: Path) -> None:
    """None, some, and one that is far longer than what a socket gives at once."""
    long = "x" * 900_000
    answers = ["ok 0\n", f"ok 2\nprofile=a\n\nprofile=b\nurl={long}\n\n", "ok\n\n"]
    with FakeDaemon(at, lambda _: answers.pop(0).encode()):
        blocks = [language.call(environ_of(at), "ask", "status", "prod") for _ in range(3)]
    assert blocks == [[], [{"profile": "a"}, {"profile": "b", "url": long}], [{}]] or (
        language.name == "php" and blocks == [[], [{"profile": "a"}, {"profile": "b", "url": long}], [[]]]
    )


COUNTING = {
    "node": f"""
    import {{ ask }} from "{EXAMPLES}/node/pmcred.mjs";
    let [seen, split] = [0, String.prototype.split];
    String.prototype.split = function (...by) {{ seen += this.length; return split.apply(this, by); }};
    console.log((await ask("status")).length, seen);
    """,
    "php": f"""
    namespace Pmcred {{
        $seen = 0;
        function explode(string $by, string $text, int $most = PHP_INT_MAX): array {{
            $GLOBALS['seen'] += $by === "\n" ? strlen($text) : 0;
            return \\explode($by, $text, $most);
        }}
        require '{EXAMPLES}/php/pmcred.php';
        echo count(ask('status')), ' ', $seen;
    }}
    """,
}


def test_a_long_answer_is_read_once(language: Language, at: Path) -> None:
    """However many pieces it comes in, what has been taken apart is not taken apart again."""
    answer = b"ok 10000\n" + (b"profile=a\nurl=" + b"x" * 200 + b"\n\n") * 10_000
    program = [*language.command[:-1], COUNTING["node"]] if language.name == "node" else ["php", "-r", COUNTING["php"]]
    with FakeDaemon(at, lambda _: answer):
        ran = run(environ_of(at), *program)
    assert ran.stderr == ""
    blocks, seen = map(int, ran.stdout.split())
    assert blocks == 10_000
    assert len(answer) <= seen < 2 * len(answer)


WHOLE = b"ok\naccess_token=abc\nprofile=prod\n\n"


@pytest.mark.parametrize("length", [0, 1, 3, 10, 19, 20, len(WHOLE) - 1])
def test_an_answer_cut_short_is_no_answer(language: Language, at: Path, length: int) -> None:
    """Not even if the token has come whole: it might be the half of one."""
    with FakeDaemon(at, lambda _: WHOLE[:length], hang_up=True):
        got = language.call(environ_of(at), "getToken", "prod")
    assert got["code"] == "stopping"
    assert "it was closed before the answer was whole" in got["message"]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ok x\n\n", b"ok *\n\n", b"ok\nword\n\n", b"ok\nprofile=prod\n\n", b"\n\n"],
)
def test_an_answer_that_makes_no_sense(language: Language, at: Path, answer: bytes) -> None:
    """It is not taken for a token, and not waited for to the end."""
    with FakeDaemon(at, lambda _: answer):
        got = language.call(environ_of(at), "getToken", "prod")
    assert (got["code"], got["message"]) == ("internal", "the daemon's answer makes no sense")


def test_a_daemon_that_says_nothing(language: Language, at: Path) -> None:
    """Ten seconds after the time that it was given, nobody waits any longer."""
    done = threading.Event()

    def wait(_: bytes) -> bytes:
        done.wait()
        return b""

    with FakeDaemon(at, wait):
        got = language.call(environ_of(at), "getToken", "prod", timeout=-9)
        done.set()
    assert got["code"] == "waiting"


# --- which socket -----------------------------------------------------------------------------------------------------


own_daemon = pytest.mark.skipif(
    os.path.isdir(f"/run/user/{os.geteuid()}/pmcred"), reason="this user's own daemon would rightly be asked"
)


@own_daemon
@pytest.mark.parametrize(
    ("where", "variables"),
    [
        ("run/pmcred/socket", {"XDG_RUNTIME_DIR": "run", "PMCRED_STATE_DIR": "other"}),
        ("state/run/socket", {"PMCRED_STATE_DIR": "state", "XDG_STATE_HOME": "other", "XDG_RUNTIME_DIR": "none"}),
        ("xdg/pmcred/run/socket", {"XDG_STATE_HOME": "xdg", "HOME": "other"}),
        (".local/state/pmcred/run/socket", {"HOME": ".", "XDG_STATE_HOME": ""}),
    ],
)
def test_the_first_socket_that_answers(
    language: Language, short_path: Path, where: str, variables: dict[str, str]
) -> None:
    """Each place in its turn, if nobody listens in those before it."""
    environ = {name: str(short_path / value) if value else "" for name, value in variables.items()}
    with FakeDaemon(short_path / where):
        assert language.call(environ, "getToken", "prod")["accessToken"] == TOKEN


def test_the_socket_that_is_named_is_the_only_one(language: Language, at: Path) -> None:
    """Who names a socket gets no token from another; each that was tried is told, with the reason."""
    with FakeDaemon(at) as daemon:
        more = {"XDG_RUNTIME_DIR": str(at.parent.parent), "PMCRED_SOCKET": str(at.with_name("other"))}
        got = language.call(more, "getToken", "prod")
    assert daemon.requests == []
    assert (got["code"], got["hint"]) == ("no-daemon", "pmcred service install")
    (line,) = got["message"].splitlines()[1:]
    assert line.startswith(f"  {at.with_name('other')}: ")


@own_daemon
def test_no_daemon_at_all(language: Language, tmp_path: Path) -> None:
    """All places are told, in order; a relative one is none."""
    environ = {"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state", "HOME": str(tmp_path / "home")}
    got = language.call(environ, "getToken", "prod")
    places = [line.partition(": ")[0].strip() for line in got["message"].splitlines()[1:]]
    state = tmp_path / "home" / ".local" / "state" / "pmcred" / "run" / "socket"
    assert places == [f"/run/user/{os.geteuid()}/pmcred/socket", str(state)]


def make_link(at: Path) -> None:
    """Make the directory a symbolic link to itself under another name."""
    at.parent.rename(at.parent.with_name("real"))
    at.parent.symlink_to("real")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda at: at.parent.chmod(0o755), "others can enter its directory"),
        (lambda at: at.parent.chmod(0o710), "others can enter its directory"),
        (make_link, "its directory is not a directory"),
        pytest.param(
            lambda at: os.chown(at.parent, NOBODY, -1),
            f"its directory belongs to uid {NOBODY}, not to you",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a directory away"),
        ),
    ],
)
def test_a_directory_that_vouches_for_nothing(
    language: Language, at: Path, spoil: Callable[[Path], None], why: str
) -> None:
    """Somebody else could have put the socket there: nothing is sent."""
    with FakeDaemon(at) as daemon:
        spoil(at)
        got = language.call(environ_of(at), "getToken", "prod")
    assert daemon.requests == []
    assert got["code"] == "no-daemon"
    assert why in got["message"]


def test_nobody_trusts_nobody(language: Language, at: Path) -> None:
    """In a user namespace without a mapping every user looks like the caller."""
    under = ["unshare", "--user"]
    probe = subprocess.run([*under, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"the kernel does not allow user namespaces to us: {probe.stderr.strip()}")
    with FakeDaemon(at) as daemon:
        got = language.call(environ_of(at), "getToken", "prod", under=under)
    assert daemon.requests == []
    assert "you are nobody" in got["message"]


def test_a_path_too_long_for_a_socket(language: Language, at: Path) -> None:
    """It is not cut off: what is left would be somebody else's socket."""
    cut = at.parent / ("x" * (107 - len(str(at.parent)) - 1))
    with FakeDaemon(cut) as daemon:
        got = language.call(environ_of(Path(f"{cut}yz")), "getToken", "prod")
    assert daemon.requests == []
    assert "a path so long" in got["message"]


def test_php_without_extensions(at: Path) -> None:
    """Without ext-posix the kernel tells the effective user id; the owner of the script would be another."""
    needs("php")
    bare = Language("php", ["php", "-n", "-r", PHP, "--"])
    assert run({}, "php", "-n", "-r", "echo function_exists('posix_geteuid') ? 'yes' : 'no';").stdout == "no"
    with FakeDaemon(at):
        assert bare.call(environ_of(at), "getToken", "prod")["accessToken"] == TOKEN


# --- the token stays where it belongs ---------------------------------------------------------------------------------


def test_the_token_is_not_redirected(language: Language, at: Path) -> None:
    """The answer is the redirect, and the token has gone to the profile's own host alone."""
    with elsewhere() as (url, seen):
        answer = f"ok\naccess_token=abc\nurl={url}\n\n".encode()
        with FakeDaemon(at, lambda _: answer):
            status, _ = language.call(environ_of(at), "callApi", "prod", "/api/1.0/users")
            got = language.call(environ_of(at), "callApi", "prod", "@localhost/api/1.0/users")
    assert status == 302
    assert [(one["authorization"], one["accept"]) for one in seen] == [("Bearer abc", "application/json")]
    assert got["code"] == "bad-request"


@dataclass(frozen=True, slots=True)
class Instance:
    """A daemon whose first token, `old`, is refused by the server at `url`, a path below a host's.

    `seen` holds the path and the Authorization of each request to the server, which answers with the body it got.
    """

    url: str
    daemon: FakeDaemon
    seen: list[tuple[str, str | None]]

    @property
    def environ(self) -> dict[str, str]:
        """Name the daemon's socket."""
        return environ_of(self.daemon.path)


class Server(http.server.BaseHTTPRequestHandler):
    """Refuses the token `old`, sends on who asks for /pm/away, and gives everybody else their body back."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        body = self._chunked() if self.headers["Transfer-Encoding"] else self.rfile.read(length)
        self.seen.append((self.path, self.headers["Authorization"]))
        self.send_response(
            401 if self.headers["Authorization"] == "Bearer old" else 302 if "away" in self.path else 200
        )
        self.send_header("Location", "/pm/%2e%2e/other")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class's name

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def instance(at: Path, *, token: str) -> Iterator[Instance]:
    """Run both; the daemon gives `token` first, and `new` for one that was refused."""
    seen: list[tuple[str, str | None]] = []
    handler = type("Handler", (Server,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/pm"

        def answer(request: bytes) -> bytes:
            given = token if request.startswith(b"get ") else "new"
            return f"ok\naccess_token={given}\nprofile=prod\nurl={url}\n\n".encode()

        try:
            with FakeDaemon(at, answer) as daemon:
                yield Instance(url, daemon, seen)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "path",
    [
        "/../other",
        "/..",
        "/./..",
        "/%2e%2E/other",
        "/.%2e/other",
        "/x/..;y/other",
        "/%2f..%2fother",
        "/x%5c..%5Cother",
        "/\\..\\..\\other",
        "/.\t./other",
        "/.\n./other",
        "/%2f.\t./other",
        "/../other?a=b",
        "x/other",
    ],
)
def test_no_path_leads_out_of_the_profile(language: Language, at: Path, path: str) -> None:
    """Whoever takes the dots away, the client or the server: the token is not sent elsewhere on the host."""
    with instance(at, token="new") as here:
        got = language.call(here.environ, "callApi", "prod", path)
    assert got["code"] == "bad-request", got
    assert here.seen == []


@pytest.mark.parametrize("path", ["/", "/a..b/.c/...", "/users?from=/../x", "/users?like=a\\b", "/a%2fb", "//x"])
def test_a_path_with_innocent_dots(language: Language, at: Path, path: str) -> None:
    """What looks like it and stays where it is, is called as it was written."""
    with instance(at, token="new") as here:
        got = language.call(here.environ, "callApi", "prod", path)
    assert got == [200, ""]
    assert here.seen == [(f"/pm{path}", "Bearer new")]


def test_guzzle_keeps_the_token_below_the_profile(tmp_path: Path, at: Path) -> None:
    """The profile's own url has it, and what is below; what a server might take for another place has not."""
    needs("php")
    write_guzzle_project(tmp_path)
    script = tmp_path / "get.php"
    with instance(at, token="new") as here:
        script.write_text(f"""<?php
        require 'vendor/autoload.php';
        require 'guzzle.php';
        $stack = GuzzleHttp\\HandlerStack::create();
        $stack->push(Pmcred\\guzzleMiddleware('prod'));
        $client = new GuzzleHttp\\Client(['handler' => $stack]);
        foreach (['', '/', '/x', '/../other', '/%2e%2e/other', '/x\\..\\..\\other', 'x', '/away'] as $path) {{
            $client->get('{here.url}' . $path);
        }}
        """)
        ran = run(here.environ, "sh", "-c", f"cd {tmp_path} && exec php get.php")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert here.seen == [
        ("/pm", "Bearer new"),
        ("/pm/", "Bearer new"),
        ("/pm/x", "Bearer new"),
        ("/pm/../other", None),
        ("/pm/%2e%2e/other", None),
        ("/pm/x%5C..%5C..%5Cother", None),
        ("/pmx", None),
        ("/pm/away", "Bearer new"),
        ("/pm/%2e%2e/other", None),
    ]


def test_a_body_is_sent_again_only_if_it_can_be(tmp_path: Path, at: Path) -> None:
    """What is kept arrives whole with the next token; of what is used up, the 401 is told and nothing is sent."""
    needs("node")
    (tmp_path / "file").write_text("body")
    script = f"""
    import {{ createReadStream }} from "node:fs";
    import {{ Readable }} from "node:stream";
    import {{ callApi }} from "{EXAMPLES}/node/pmcred.mjs";
    const form = new FormData();
    form.set("name", "body");
    const bytes = new TextEncoder().encode("body");
    const bodies = {{
      text: "body", buffer: Buffer.from("body"), bytes, arrayBuffer: bytes.buffer, view: new DataView(bytes.buffer),
      blob: new Blob(["body"]), form, parameters: new URLSearchParams("body"), nothing: undefined, none: null,
      generator: (async function* () {{ yield "body"; }})(), file: createReadStream("{tmp_path}/file"),
      stream: new Blob(["body"]).stream(), readable: Readable.from(["body"]),
    }};
    const told = {{}};
    for (const [name, body] of Object.entries(bodies)) {{
      const answer = await callApi("prod", "/x", {{ method: "POST", body, duplex: "half" }});
      told[name] = [answer.status, (await answer.text()).includes("body")];
    }}
    console.log(JSON.stringify(told));
    """
    with instance(at, token="old") as here:
        ran = run(here.environ, "node", "--input-type=module", "-e", script)
    assert ran.stderr == ""
    kept = ("text", "buffer", "bytes", "arrayBuffer", "view", "blob", "form", "parameters")
    used_up = ("generator", "file", "stream", "readable")
    assert json.loads(ran.stdout) == {
        **{name: [200, True] for name in kept},
        **{name: [200, False] for name in ("nothing", "none")},
        **{name: [401, True] for name in used_up},
    }
    assert len(here.seen) == 2 * (len(kept) + 2) + len(used_up)


def test_the_refused_token_is_told_of_its_own_profile(at: Path) -> None:
    """Of the one that $PMCRED_PROFILE names, if the call names none."""
    needs("node")
    with instance(at, token="old") as here:
        script = f"""
        import {{ callApi }} from "{EXAMPLES}/node/pmcred.mjs";
        console.log((await callApi(undefined, "/x")).status);
        """
        ran = run(here.environ | {"PMCRED_PROFILE": "prod"}, "node", "--input-type=module", "-e", script)
    assert (ran.stdout, ran.stderr) == ("200\n", "")
    assert [line.split(b" ")[:2] for line in here.daemon.requests] == [[b"get", b"prod"], [b"reject", b"prod"]]


@pytest.mark.parametrize(
    "show", ["console.log(token)", "console.log(JSON.stringify(token))", "console.log(`${token}`)"]
)
def test_node_shows_a_token_without_the_secret(at: Path, show: str) -> None:
    """What people write into a log while they look for something else."""
    needs("node")
    script = f'import {{ getToken }} from "{EXAMPLES}/node/pmcred.mjs"; const token = await getToken("prod"); {show}'
    with FakeDaemon(at):
        ran = run(environ_of(at), "node", "--input-type=module", "-e", script)
    assert ran.returncode == 0
    assert ran.stdout
    assert TOKEN[:20] not in ran.stdout


@pytest.mark.parametrize("show", ["var_dump($token)", "print_r($token)"])
def test_php_shows_a_token_without_the_secret(at: Path, show: str) -> None:
    """What people write into a log while they look for something else."""
    needs("php")
    script = f"require '{EXAMPLES}/php/pmcred.php'; $token = Pmcred\\getToken('prod'); {show};"
    with FakeDaemon(at):
        ran = run(environ_of(at), "php", "-r", script)
    assert "https://pm.example" in ran.stdout
    assert TOKEN[:20] not in ran.stdout


# --- a real daemon and a ProcessMaker look-alike ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class World:
    """A user with a profile `prod`, a daemon, and the sandbox behind it."""

    user: User
    daemon: Daemon
    sandbox: SandboxProcess

    @property
    def token(self) -> str:
        """Give the token that the daemon hands out."""
        return self.user.run("get", "prod").stdout.strip()

    def renewals(self) -> int:
        """Count the requests for tokens so far."""
        return len(self.sandbox.log())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Start all of that."""
    with sandbox_process("--throttle", "off") as sandbox:
        user = user_at(tmp_path)
        write_profiles(user, sandbox.profiles_toml().replace("[profiles.sandbox]", "[profiles.prod]"))
        with running(user) as daemon:
            yield World(user, daemon, sandbox)


def test_a_real_daemon_and_a_refused_token(language: Language, world: World) -> None:
    """The daemon's own token, and its own errors; a token that was revoked is replaced, and a body is sent again."""
    environ = world.user.environ
    first = language.call(environ, "getToken", "prod", lasting="1h")
    assert first["accessToken"] == world.token
    assert first["url"] == world.sandbox.url

    unknown = language.call(environ, "getToken", "prdo")
    assert unknown == {
        "code": "no-such-profile",
        "message": "no profile is named prdo",
        "hint": "did you mean prod?",
    }
    world.sandbox.revoke(all=True)
    before = world.renewals()
    body = json.dumps({"name": "made by a test"})
    more: dict[str, Any] = {"headers": {"Content-Type": "application/json"}} if language.name == "node" else {}
    path = "/api/1.0/users/1/tokens"
    answer = language.call(environ, "callApi", "prod", path, method="POST", body=body, **more)
    assert isinstance(answer, list), answer
    status, text = answer
    assert (status, json.loads(text)["token"]["name"]) == (200, "made by a test")
    assert world.renewals() == before + 1
    assert world.token != first["accessToken"]

    status, _ = language.call(environ, "callApi", "prod", "/api/1.0/nothing-there")
    assert status == 404
    living = language.call(environ, "reject", "prod", world.token)
    assert living["code"] == "not-rejected"
    assert living["hint"]
    (block,) = language.call(environ, "ask", "status", "prod")
    assert (block["state"], block["user_name"]) == ("live", "demo")


def test_a_stream_is_not_sent_twice(world: World) -> None:
    """The 401 is the answer, and the next request has the token that works."""
    needs("node")
    language = LANGUAGES[0]
    script = f"""
    import {{ callApi }} from "{EXAMPLES}/node/pmcred.mjs";
    const send = () => callApi("prod", "/api/1.0/users/1/tokens", {{
      method: "POST", body: new Blob(['{{"name": "x"}}']).stream(), duplex: "half",
      headers: {{ "Content-Type": "application/json" }} }});
    console.log((await send()).status, (await send()).status);
    """
    language.call(world.user.environ, "getToken", "prod")
    world.sandbox.revoke(all=True)
    ran = run(world.user.environ, "node", "--input-type=module", "-e", script)
    assert (ran.stdout, ran.stderr) == ("401 200\n", "")


def test_the_examples_run_as_they_stand(world: World) -> None:
    """The first of them has ten lines, and is what the page shows."""
    needs("node")
    needs("php")
    users = "1 demo\n2 other\n"
    node, php = EXAMPLES / "node", EXAMPLES / "php"
    environ = world.user.environ

    ran = run(environ, "node", str(node / "get-token.mjs"))
    assert (ran.stdout, ran.stderr) == (f"Access token: {world.token}\n{users}", "")
    text = (node / "get-token.mjs").read_text()
    assert len(text.splitlines()) <= 10
    assert text.partition("\n")[2] in (EXAMPLES / "README.md").read_text()

    for revoked in (False, True):
        if revoked:
            world.sandbox.revoke(all=True)
        ran = run(environ, "node", str(node / "list-users.mjs"))
        assert (ran.stdout, ran.stderr) == (users, "")
    ran = run(environ, "php", str(php / "whose-token.php"))
    assert (ran.stdout, ran.stderr) == (f"The token of demo sees these users:\n{users}", "")


@pytest.mark.parametrize("command", [("node", "node/list-users.mjs"), ("php", "php/whose-token.php")])
def test_what_goes_wrong_is_told_in_words(tmp_path: Path, command: tuple[str, str]) -> None:
    """No traceback, and the command that mends it."""
    needs(command[0])
    ran = run({"PMCRED_SOCKET": str(tmp_path / "none" / "socket")}, command[0], str(EXAMPLES / command[1]))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("no daemon answers\n")
    assert ran.stderr.endswith("\n  try: pmcred service install\n")


def test_the_page_names_every_file() -> None:
    """And no other."""
    page = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", page, re.MULTILINE))
    there = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file()} - {"README.md"}
    assert named == there
