"""pmcred init: the first ten minutes, on a real terminal and against a look-alike of ProcessMaker."""

import json
import os
import subprocess
import sys
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd.cli.problem import for_a_draft

pytestmark = pytest.mark.storm

CLIENT_SECRET = "fake-secret-password-xxxxxxxxxxxxxxxxxxx"
PM3_ID, PM3_SECRET = "SANDBOXAPPLICATIONFORALLTHEGRANT", "fake-secret-pm3-xxxxxxxxxxxxxxxxxxxxxxxx"
PASSWORD = "demo-password"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Both generations on one loopback port."""
    with sandbox_process("--throttle", "off") as sandbox:
        yield sandbox


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user who has nothing yet."""
    user = User(tmp_path / "user")
    user.home.mkdir()
    return user


def init(user: User, *arguments: str, **more: str) -> PseudoTerminal:
    """Run init on a terminal."""
    return PseudoTerminal([PMCRED, "init", *arguments], user.environ | more)


def by_name(sandbox: SandboxProcess) -> str:
    """Give the address of the sandbox with a name in it, whose first part is suggested for the profile."""
    return sandbox.url.replace("127.0.0.1", "localhost")


def files(user: User) -> list[str]:
    """Name all files of the configuration."""
    return sorted(str(path.relative_to(user.config)) for path in user.config.rglob("*") if path.is_file())


def written(user: User, name: str) -> dict[str, object]:
    """Read a profile as it was written."""
    profile = tomllib.loads((user.profiles_d / f"{name}.toml").read_text())["profiles"][name]
    assert isinstance(profile, dict)
    return profile


def piped(user: User, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run init without a terminal, with `text` on its standard input."""
    return subprocess.run(
        [PMCRED, "init", *arguments],
        env=user.environ,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def a_token(sandbox: SandboxProcess) -> str:
    """Get a token of the look-alike's user, to be taken for a personal access token."""
    form = {"grant_type": "password", "client_id": "2", "client_secret": CLIENT_SECRET, "username": "demo"}
    body = urllib.parse.urlencode(form | {"password": PASSWORD}).encode()
    with urllib.request.urlopen(f"{sandbox.url}/oauth/token", body, timeout=60) as answer:
        return str(json.load(answer)["access_token"])


# on a terminal


def test_a_profile_is_made_by_answering_and_its_token_is_one_command_away(user: User, sandbox: SandboxProcess) -> None:
    """From the address in the browser to `pmcred get`; secrets are not shown, and end up in files of their own."""
    with init(user) as terminal:
        terminal.answer("Address of your ProcessMaker (as in the browser): ", f"{sandbox.url}/admin/auth-clients")
        terminal.expect("ProcessMaker 4 answers there.")
        terminal.answer("Name of the profile: ", "prod")
        terminal.answer("Grant [password]: ", "1")
        terminal.expect("Admin > Auth Clients")
        terminal.expect("Tick the box of the Password grant and no other.")
        terminal.answer("Client id: ", "2")
        terminal.expect("Where shall the client secret be kept?")
        terminal.answer("Keep it in [file]: ", "")
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("User name: ", "demo")
        terminal.answer("Keep it in [file]: ", "profile")
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("It works; its token is good for ")
        terminal.expect(f"Wrote {user.profiles_d}/prod.toml.")
        terminal.expect("No daemon runs")
        terminal.expect("pmcred service install")
        terminal.expect("  pmcred get prod\n")
        assert terminal.end() == 0
        assert CLIENT_SECRET not in terminal.screen
        assert PASSWORD not in terminal.screen
    assert files(user) == ["profiles.d/prod.toml", "secrets/prod-client_secret"]
    secret = user.config / "secrets" / "prod-client_secret"
    assert written(user, "prod") == {
        "url": sandbox.url,
        "generation": 4,
        "grant": "password",
        "client_id": "2",
        "client_secret": {"file": str(secret)},
        "username": "demo",
        "password": PASSWORD,
    }
    assert secret.read_text() == f"{CLIENT_SECRET}\n"
    assert {path.stat().st_mode & 0o777 for path in (secret, user.profiles_d / "prod.toml")} == {0o600}


def test_a_secret_may_stay_where_a_command_finds_it(user: User, sandbox: SandboxProcess) -> None:
    """The command is tried at once; one that fails, or cannot be understood, is asked again."""
    flags = ("--url", sandbox.url, "--name", "p", "--grant", "password", "--client-id", "2", "--username", "demo")
    with init(user, *flags) as terminal:
        terminal.answer("Keep it in [file]: ", "command")
        terminal.answer("Command that prints the client secret: ", "'")
        terminal.expect("cannot be split into words")
        terminal.answer("Command that prints the client secret: ", "false")
        terminal.expect("try: ")
        terminal.answer("Command that prints the client secret [false]: ", f"echo '{CLIENT_SECRET}'")
        terminal.answer("Keep it in [command]: ", "c")
        terminal.answer("Command that prints the password: ", "echo wrong")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("User name [demo]: ", "")
        terminal.answer("Command that prints the password [echo wrong]: ", f"echo {PASSWORD}")
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0
    assert written(user, "p")["client_secret"] == {"command": ["echo", CLIENT_SECRET]}
    assert files(user) == ["profiles.d/p.toml"]


def test_a_running_daemon_is_told(user: User, sandbox: SandboxProcess) -> None:
    """Then the next line is all there is left to do."""
    answer = b"ok\nadded=1\nchanged=0\nremoved=0\nunchanged=0\n\n"
    flags = ("--url", sandbox.url, "--name", "p", "--grant", "password", "--client-id", "2", "--username", "demo")
    with FakeDaemon(user.socket, lambda _: answer) as daemon, init(user, *flags, "--yes") as terminal:
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("The daemon has read the profiles again: 1 added.")
        terminal.expect("Next:\n  pmcred get p\n")
        assert terminal.end() == 0
    assert daemon.requests == [b"reload"]


def test_a_refused_password_may_be_corrected_and_each_try_is_a_persons(user: User, sandbox: SandboxProcess) -> None:
    """It is never tried again by itself; after the correction the profile is written."""
    tries = len(sandbox.log())
    flags = ("--url", sandbox.url, "--generation", "4", "--name", "p", "--grant", "password", "--store-secrets", "file")
    with init(user, *flags, "--client-id", "2") as terminal:
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("User name: ", "dmeo")
        terminal.answer("Password (not shown): ", "wrong")
        terminal.expect("It does not work: ")
        terminal.expect("Each try counts")
        terminal.expect("type the user name and the password anew")
        assert len(sandbox.log()) == tries + 1
        terminal.answer("What now? [correct]: ", "again")
        terminal.expect("It does not work: ")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("User name [dmeo]: ", "demo")
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0
        assert "profile edit p" not in terminal.screen.replace("pmcred profile edit p.toml", "")
    assert len(sandbox.log()) == tries + 3
    assert (user.config / "secrets" / "p-password").read_text() == f"{PASSWORD}\n"


def test_what_does_not_work_may_be_written_or_left(user: User, sandbox: SandboxProcess) -> None:
    """Only if a person says so."""
    flags = (
        "--url",
        sandbox.url,
        "--name",
        "p",
        "--grant",
        "password",
        "--username",
        "demo",
        "--store-secrets",
        "file",
    )
    for choice, status in (("quit", 1), ("write", 0)):
        with init(user, *flags, "--client-id", "77") as terminal:
            terminal.answer("Client secret (not shown): ", "nonsense")
            terminal.answer("Password (not shown): ", PASSWORD)
            terminal.expect("type the client id and the client secret anew")
            assert files(user) == []
            terminal.answer("What now? [correct]: ", choice)
            assert terminal.end() == status
    assert files(user) == ["profiles.d/p.toml", "secrets/p-client_secret", "secrets/p-password"]


def test_a_wrong_address_is_asked_again_or_kept(user: User, sandbox: SandboxProcess) -> None:
    """Nonsense, nobody there, somebody else there: each is told; a person may insist, and say the generation."""
    port = urllib.parse.urlsplit(sandbox.url).port
    with init(
        user, "--name", "p", "--grant", "personal_access_token", "--store-secrets", "file", "--no-test"
    ) as terminal:
        terminal.answer("(as in the browser): ", "my instance")
        terminal.expect("That has a space")
        terminal.answer("(as in the browser): ", "http://acme.example")
        terminal.expect("That is plain http")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
    with init(user, "--name", "p", "--grant", "client_credentials", "--client-id", "x") as terminal:
        terminal.answer("(as in the browser): ", "http://127.0.0.1:1/login")
        terminal.expect("127.0.0.1:1")
        terminal.answer("Use this address all the same? [y/N] ", "n")
        terminal.answer("(as in the browser): ", f"https://127.0.0.1:{port}")
        terminal.answer("Use this address all the same? [y/N] ", "y")
        terminal.answer("Generation [4]: ", "2")
        terminal.answer("Generation [4]: ", "3")
        terminal.answer("Workspace [workflow]: ", "a b")
        terminal.expect("  That ")
        terminal.answer("Workspace [workflow]: ", "")
        terminal.answer("Keep it in [file]: ", "profile")
        terminal.answer("Client secret (not shown): ", " spaced")
        terminal.expect("What was typed has a space")
        terminal.answer("Client secret (not shown): ", "s3cret")
        terminal.expect("It does not work: ")
        terminal.answer("What now? [again]: ", "w")
        assert terminal.end() == 0
    assert written(user, "p") == {
        "url": f"https://127.0.0.1:{port}",
        "generation": 3,
        "grant": "client_credentials",
        "workspace": "workflow",
        "client_id": "x",
        "client_secret": "s3cret",
    }


def test_processmaker_3_is_known_by_its_pages(user: User, sandbox: SandboxProcess) -> None:
    """The workspace comes from the address, and the advice is generation 3's."""
    with init(user, "--username", "demo", "--grant", "password", "--store-secrets", "profile") as terminal:
        terminal.answer("(as in the browser): ", f"{by_name(sandbox)}/sysworkflow/en/neoclassic/login/login")
        terminal.expect("ProcessMaker 3 answers there.")
        terminal.answer("Name of the profile [localhost]: ", "two words")
        terminal.expect("cannot be a profile's name")
        terminal.answer("Name of the profile [localhost]: ", "")
        terminal.expect("Admin > REST applications")
        terminal.answer("Workspace [workflow]: ", "")
        terminal.answer("Client id: ", PM3_ID)
        terminal.answer("Client secret (not shown): ", PM3_SECRET)
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0
    assert written(user, "localhost")["generation"] == 3
    assert written(user, "localhost")["workspace"] == "workflow"


def test_a_wrong_address_may_be_corrected_after_the_test(user: User, sandbox: SandboxProcess) -> None:
    """The server's answer tells that it is no token endpoint."""
    with init(user, "--url", f"{sandbox.url}/nowhere", "--generation", "4", "--name", "p", "--yes") as terminal:
        terminal.answer("Grant [password]: ", "")
        terminal.answer("Client id: ", "2")
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("User name: ", "demo")
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("type the address anew")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("(as in the browser): ", sandbox.url)
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0
    assert written(user, "p")["url"] == sandbox.url


def test_a_profile_for_the_browser_says_what_to_register_and_ends_with_its_login(user: User) -> None:
    """Which box, which redirect URL to the letter, and then the command that opens the browser."""
    with init(user, "--url", "https://h.example", "--generation", "4", "--no-test", "--name", "p") as terminal:
        terminal.answer("Grant [password]: ", "authorization_code")
        terminal.expect("Tick the box of the Authorization Code grant and no other")
        terminal.expect("enter exactly http://127.0.0.1/callback\n")
        terminal.answer("Client id: ", "7")
        terminal.answer("Keep it in [file]: ", "profile")
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.expect("the login will show")
        terminal.expect("pmcred login p")
        assert terminal.end() == 0
    assert written(user, "p")["grant"] == "authorization_code"


def test_what_a_generation_cannot_do_is_not_offered(user: User, sandbox: SandboxProcess) -> None:
    """ProcessMaker 3 has no personal access tokens: told at once, not after all the other questions."""
    flags = ("--url", f"{sandbox.url}/sysworkflow", "--grant", "personal_access_token")
    ended = user.run("init", *flags, "--name", "p")
    assert ended.returncode == 2
    assert ended.stderr.endswith(
        "pmcred: ProcessMaker 3 has no personal access tokens\n"
        "  try: --grant password or --grant authorization_code or --grant client_credentials\n"
    )
    with init(user, *flags, "--name", "p") as terminal:
        terminal.expect("ProcessMaker 3 has no personal access tokens.")
        terminal.expect("Grant [password]: ")
        assert "a token that a user made" not in terminal.screen
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130


def test_a_refused_secret_is_asked_for_where_it_was(user: User, sandbox: SandboxProcess) -> None:
    """Typed ones are typed again, into the same place; one from a flag may now be kept elsewhere."""
    wrong = user.home / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    flags = ("--url", sandbox.url, *FLAGS, "--client-secret-file", str(wrong))
    with init(user, *flags) as terminal:
        terminal.answer("Keep it in [file]: ", "profile")
        terminal.answer("Password (not shown): ", "nonsense")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("Client id [2]: ", "")
        terminal.expect("Where shall the client secret be kept?")
        terminal.answer("Keep it in [profile]: ", "file")
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("User name [demo]: ", "")
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("It works")
        assert terminal.end() == 0
    assert written(user, "p")["password"] == PASSWORD
    assert files(user) == ["profiles.d/p.toml", "secrets/p-client_secret"]


def test_a_narrow_terminal_gets_whole_words(user: User) -> None:
    """Long lines are broken between words, below the words they explain."""
    narrow = ["/bin/sh", "-c", "stty cols 60; exec " + PMCRED + " init --no-test --url https://h.example --name p"]
    with PseudoTerminal(narrow, user.environ) as terminal:
        terminal.expect("\n  1  password               as a ProcessMaker user, whose\n")
        terminal.expect(" " * 26 + "name and password you know\n")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130


def test_client_credentials_are_warned_about_before_anything_is_typed(user: User, sandbox: SandboxProcess) -> None:
    """ProcessMaker 4 answers such tokens 401 at /api/1.0: who does not want that leaves with nothing written."""
    flags = ("--url", sandbox.url, "--name", "p")
    with init(user, *flags) as terminal:
        terminal.answer("Grant [password]: ", "client_credentials")
        terminal.expect("answers it 401 at /api/1.0")
        terminal.answer("Go on all the same? [y/N] ", "")
        terminal.expect("nothing was written")
        assert terminal.end() == 1
    assert files(user) == []
    with init(user, *flags, "--grant", "client_credentials", "--client-id", "4", "--store-secrets", "file") as terminal:
        terminal.answer("Go on all the same? [y/N] ", "y")
        terminal.answer("Client secret (not shown): ", "fake-secret-credentials-xxxxxxxxxxxxxxxx")
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0


def test_a_personal_access_token_is_shown_to_the_server(user: User, sandbox: SandboxProcess) -> None:
    """A live one works; one that was revoked, or never was one, is told and may be typed anew."""
    token, dead = a_token(sandbox), a_token(sandbox)
    assert sandbox.revoke(token=dead) == 1
    flags = ("--url", sandbox.url, "--name", "p", "--grant", "personal_access_token", "--store-secrets", "file")
    with init(user, *flags) as terminal:
        terminal.expect("it is shown only once")
        terminal.answer("Personal access token (not shown): ", dead)
        terminal.expect("does not accept the token (401)")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("Personal access token (not shown): ", "Bearer what")
        terminal.expect("no bearer token may hold")
        terminal.answer("What now? [correct]: ", "")
        terminal.answer("Personal access token (not shown): ", token)
        terminal.expect("It works; its token is good for ")
        assert terminal.end() == 0
        assert token not in terminal.screen
    assert (user.config / "secrets" / "p-token").read_text() == f"{token}\n"


@pytest.mark.parametrize("question", ["Name of the profile", "Client id: ", "Keep it in", "(not shown): "])
@pytest.mark.parametrize("keys", ["\x03", "\x04"])
def test_leaving_at_any_question_leaves_nothing(user: User, sandbox: SandboxProcess, question: str, keys: str) -> None:
    """Ctrl-C and Ctrl-D: no file, no traceback."""
    with init(user, "--url", sandbox.url, "--grant", "password") as terminal:
        for earlier, answer in (("Name of the profile", "p"), ("Client id: ", "2"), ("Keep it in", "file")):
            if earlier == question:
                break
            terminal.answer(earlier, answer)
        terminal.expect(question)
        terminal.type(keys, enter=False)
        assert terminal.end() == (130 if keys == "\x03" else 1)
        assert "Traceback" not in terminal.screen
        assert ("nothing was changed" in terminal.screen) is (keys == "\x04")
    assert files(user) == []


def test_leaving_while_a_command_runs_ends_it_too(user: User, sandbox: SandboxProcess) -> None:
    """Ctrl-C does not wait for a password manager that hangs."""
    running = user.home / "running"
    os.mkfifo(running)
    with init(user, "--url", sandbox.url, *FLAGS) as terminal:
        terminal.answer("Keep it in", "command")
        terminal.answer("prints the client secret: ", f"sh -c 'echo $$ > {running}; exec sleep 1000'")
        pid = int(running.read_text())
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.screen
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert files(user) == []


def test_a_name_that_cannot_be_is_asked_again(user: User, sandbox: SandboxProcess) -> None:
    """One that a profile has, and one whose secrets are still there from an earlier profile."""
    (user.config / "secrets").mkdir(parents=True)
    (user.config / "secrets" / "old-password").write_text("precious")
    with init(user, "--url", sandbox.url, "--name", "old") as terminal:
        terminal.expect("old-password is there already")
        terminal.answer("Name of the profile: ", "new")
        terminal.expect("Grant [password]: ")
        terminal.type("\x03", enter=False)
        assert terminal.end() == 130


# without a terminal


FLAGS = ("--name", "p", "--grant", "password", "--client-id", "2", "--username", "demo")
STDIN = ("--client-secret-stdin", "--password-stdin")


def test_every_answer_can_be_a_flag(user: User, sandbox: SandboxProcess) -> None:
    """Then no question is asked; the last line is the next command, the rest is on stderr."""
    ended = piped(user, f"{CLIENT_SECRET}\n{PASSWORD}\n", "--url", sandbox.url, *FLAGS, *STDIN)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "  pmcred get p\n"
    assert "It works; its token is good for " in ended.stderr
    assert files(user) == ["profiles.d/p.toml", "secrets/p-client_secret", "secrets/p-password"]


def test_the_sources_of_flags_are_read_for_the_test(user: User, sandbox: SandboxProcess) -> None:
    """A file and a command; and the name has a default."""
    secret = user.home / "secret"
    secret.write_text(CLIENT_SECRET)
    secret.chmod(0o600)
    sources = ("--client-secret-file", str(secret), "--password-command", f"echo {PASSWORD}")
    ended = user.run("init", "--url", by_name(sandbox), *FLAGS[2:], *sources)
    assert ended.returncode == 0, ended.stderr
    assert files(user) == ["profiles.d/localhost.toml"]


def test_no_secret_command_sees_the_secrets_of_other_profiles(user: User, sandbox: SandboxProcess) -> None:
    """Neither one that a flag names nor one that is typed, nor the variable of the new profile itself."""
    user.profiles_d.mkdir(parents=True)
    other = '[profiles.o]\nurl = "https://h.example"\ngrant = "personal_access_token"\ntoken = { env = "OTHERS" }\n'
    (user.profiles_d / "o.toml").write_text(other)
    blind = f"sh -c 'echo ${{OTHERS:-{CLIENT_SECRET}}}${{OWN:-}}'"
    flags = ("--url", sandbox.url, *FLAGS, "--password-env", "OWN")
    variables = {"OTHERS": "seen", "OWN": PASSWORD}
    ended = user.run("init", *flags, "--client-secret-command", blind, **variables)
    assert ended.returncode == 0, ended.stderr
    assert user.run("profile", "remove", "p", "--yes").returncode == 0
    with init(user, *flags, **variables) as terminal:
        terminal.answer("Keep it in [file]: ", "command")
        terminal.answer("Command that prints the client secret: ", blind)
        terminal.expect("It works")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ([], "--url"),
        (["--url", "{url}"], "--name"),
        (["--url", "{url}", *FLAGS[:2]], "--grant"),
        (["--url", "{url}", *FLAGS[:4]], "--client-id"),
        (["--url", "{url}", *FLAGS[:6]], "--client-secret-file"),
        (["--url", "{url}", *FLAGS, "--client-secret-env", "X"], "--password-stdin"),
        (["--url", "http://[::1]:1", "--generation", "4", "--grant", "password"], "--name"),
    ],
)
def test_a_missing_answer_names_its_flag(user: User, sandbox: SandboxProcess, arguments: list[str], flag: str) -> None:
    """A usage error, as there is nobody to ask."""
    ended = user.run("init", *(each.format(url=sandbox.url) for each in arguments))
    assert ended.returncode == 2
    assert "there is no terminal to ask on: give " in ended.stderr
    assert flag in ended.stderr
    assert files(user) == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--url", "https://me:s3cret@h.example"], 2, "the url has a user name or a password in it"),
        (["--url", "{url}", "--name", "p", "--grant", "authorization_code"], 2, "give --client-id"),
        (["--url", "{url}", "--name", "a/b"], 2, "cannot be a profile's name"),
        (["--url", "http://127.0.0.1:1", *FLAGS, *STDIN], 5, "127.0.0.1:1"),
        (["--url", "{url}", *FLAGS[:5], "77", *FLAGS[6:], *STDIN], 6, "invalid_client"),
        (["--url", "{url}", *FLAGS[:7], "nobody", *STDIN], 4, "; nothing was written"),
        (["--url", "{url}/x", "--generation", "4", *FLAGS, *STDIN], 6, "; nothing was written"),
        (["--url", "http://127.0.0.1:1", "--generation", "4", *FLAGS, *STDIN], 5, "; nothing was written"),
        (["--url", "{url}", *FLAGS, "--client-secret-stdin", "--password-file", "/nowhere"], 2, "has 2 lines"),
        (["--url", "{url}", *FLAGS, "--client-secret-file", "/nowhere", "--password-env", "X"], 6, "/nowhere"),
        (["--url", "{url}", *FLAGS, *STDIN, "--workspace", "w"], 2, "--workspace"),
    ],
)
def test_what_does_not_work_is_not_written(
    user: User, sandbox: SandboxProcess, arguments: list[str], status: int, message: str
) -> None:
    """The exit status tells scripts why; no secret is in the message."""
    text = f"{CLIENT_SECRET}\n{PASSWORD}\n" if any(each.endswith("-stdin") for each in arguments) else ""
    ended = piped(user, text, *(each.format(url=sandbox.url) for each in arguments))
    assert ended.returncode == status, ended.stderr
    assert message in ended.stderr
    for secret in (CLIENT_SECRET, PASSWORD, "s3cret"):
        assert secret not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert files(user) == []


def test_somebody_else_at_the_address_is_told(user: User, tmp_path: Path) -> None:
    """Reachable, and not a ProcessMaker: exit status 6 without a terminal."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            port = server.stdout.readline().split("port ")[1].split()[0]
            ended = user.run("init", "--url", f"http://127.0.0.1:{port}", *FLAGS)
        finally:
            server.terminate()
    assert ended.returncode == 6
    assert "server error (501)" in ended.stderr


def test_without_the_test_nothing_is_sent(user: User) -> None:
    """--no-test: nobody needs to be there, and the address tells the generation."""
    assert piped(user, "a\nb\n", "--url", "https://h.example/login", "--no-test", *FLAGS, *STDIN).returncode == 0
    assert written(user, "p")["generation"] == 4
    flags = ("--no-test", "--name", "q", *FLAGS[2:], *STDIN, "--ca-file", "ca.pem", "--proxy", "http://p.example:1")
    assert piped(user, "a\nb\n", "--url", "h.example/syshr/en/neoclassic", *flags).returncode == 0
    assert written(user, "q")["generation"] == 3
    assert written(user, "q")["workspace"] == "hr"
    assert written(user, "q")["ca_file"] == os.path.abspath("ca.pem")


def test_mistakes_in_other_files_are_told_and_hold_nobody_up(user: User, sandbox: SandboxProcess) -> None:
    """Before the first question and at the end; a daemon that refuses the files for them is no failure of init."""
    user.profiles_d.mkdir(parents=True)
    (user.profiles_d / "x.toml").write_text("[profiles.x]\n")
    refusal = b"error misconfigured\nmessage=x.toml\n\n"
    with FakeDaemon(user.socket, lambda _: refusal), init(user, "--url", sandbox.url, *FLAGS, "--yes") as terminal:
        terminal.expect("warning: other profiles have a mistake:")
        terminal.expect("x.toml: [profiles.x]: grant: is missing")
        terminal.expect("You can go on")
        terminal.answer("Client secret (not shown): ", CLIENT_SECRET)
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("Wrote ")
        terminal.expect("warning: other profiles have a mistake:")
        terminal.expect("The daemon keeps the profiles that it has until that is mended.")
        terminal.expect("Next, when that is mended:\n  pmcred reload\n  pmcred get p\n")
        assert terminal.end() == 0
    assert written(user, "p")["username"] == "demo"


def test_the_server_is_looked_for_as_the_profile_will_reach_it(user: User, sandbox: SandboxProcess) -> None:
    """By what stands in [defaults]; and a flag that is wrong is told before any other question."""
    user.profiles_d.mkdir(parents=True)
    new = '[profiles.new]\nurl = "https://h.example"\ngrant = "personal_access_token"\ntoken = { file = "t" }\n'
    (user.config / "profiles.toml").write_text(f'[defaults]\nca_file = "/nowhere/ca.pem"\n{new}')
    ended = user.run("init", "--url", "https://127.0.0.1:1")
    assert ended.returncode == 5
    assert "/nowhere/ca.pem" in ended.stderr
    ended = user.run("init", "--url", sandbox.url, "--timeout", "9999")
    assert ended.returncode == 2
    assert "--timeout must be from 1 to 600 seconds" in ended.stderr


@pytest.mark.parametrize(
    ("mend", "left"),
    [
        ("check url: pmcred profile edit p", "check url"),
        ("check it: `pmcred profile edit p`; then login", "check it; then login"),
        ("pmcred profile edit p", ""),
        ("pmcred profile edit prod", "pmcred profile edit prod"),
    ],
)
def test_nobody_is_told_to_edit_a_profile_that_is_not_written_yet(mend: str, left: str) -> None:
    """The daemon's own hints are made for profiles that are there."""
    assert for_a_draft(mend, "p") == left
