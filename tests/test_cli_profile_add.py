"""pmcred profile add: what is written, where the secrets go, and what is left alone."""

import os
import stat
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.profile_command import ADD, PROD, SECRETS, everything, piped, put
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd.cli import main

CLIENT = """\
[profiles.cc]
url = "https://a.example"
grant = "client_credentials"
client_id = "1"
client_secret = { env = "S" }
"""
RELOADED = b"ok\nadded=1\nchanged=0\nremoved=0\nunchanged=0\n\n"


def test_add_writes_a_private_file_that_the_reader_takes(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Mode 0600 in directories of mode 0700; paths are made absolute; the daemon is told."""
    with FakeDaemon(user.socket, lambda _: RELOADED) as daemon:
        arguments = ["--client-secret-command", "pass show 'pm/prod key'", "--password-file", "pw", "--timeout", "20"]
        assert main(["profile", "add", "prod", *ADD, *arguments, "--ca-file", "~/ca.pem"]) == 0
    assert daemon.requests == [b"reload"]
    path = user.profiles_d / "prod.toml"
    assert tomllib.loads(path.read_text()) == {
        "profiles": {
            "prod": {
                "url": "https://acme.processmaker.net",
                "grant": "password",
                "client_id": "3",
                "client_secret": {"command": ["pass", "show", "pm/prod key"]},
                "username": "demo",
                "password": {"file": os.path.abspath("pw")},
                "ca_file": f"{user.home}/ca.pem",
                "timeout": 20.0,
            }
        }
    }
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, user.profiles_d, user.config)]
    assert modes == [0o600, 0o700, 0o700]
    assert [each.name for each in user.profiles_d.iterdir()] == ["prod.toml"]
    assert capsys.readouterr().err.splitlines() == [
        f"Wrote {path}.",
        "The daemon has read the profiles again: 1 added.",
        "To try it: pmcred get prod",
    ]


def test_who_has_to_log_in_is_told_so(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """A `get` could only fail where nobody has logged in yet."""
    flags = ["--url", "https://acme.processmaker.net", "--grant", "authorization_code", "--client-id", "3"]
    with FakeDaemon(user.socket, lambda _: RELOADED):
        assert main(["profile", "add", "me", *flags, "--client-secret-command", "true"]) == 0
    assert capsys.readouterr().err.endswith("To try it: pmcred login me\n")


def test_what_is_yes_or_no_has_two_flags(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """--bridge and --no-bridge write what profiles.toml takes, and `show` tells it in the same word."""
    secrets = ["--client-secret-command", "true", "--password-file", "pw"]
    for name, flags, wanted in (("a", ["--bridge"], True), ("b", ["--no-bridge"], False), ("c", [], None)):
        assert main(["profile", "add", name, *ADD, *secrets, *flags]) == 0
        written = tomllib.loads((user.profiles_d / f"{name}.toml").read_text())
        assert written["profiles"][name].get("bridge") == wanted
        capsys.readouterr()
        assert main(["profile", "show", name]) == 0
        shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert shown["bridge"] == ("true" if wanted else "false")


def test_secrets_from_standard_input_get_files_of_their_own(user: User) -> None:
    """One a line, in a known order; they are readable by their owner alone."""
    ended = piped(user, "s3cret\npass word\n", "profile", "add", "p", *ADD, "--password-stdin", "--client-secret-stdin")
    assert ended.returncode == 0, ended.stderr
    secrets = user.config / "secrets"
    assert (secrets / "p-client_secret").read_text() == "s3cret\n"
    assert (secrets / "p-password").read_text() == "pass word\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    written = tomllib.loads((user.profiles_d / "p.toml").read_text())["profiles"]["p"]
    assert written["password"] == {"file": str(secrets / "p-password")}
    assert "s3cret" not in ended.stdout + ended.stderr


def test_secrets_may_stand_in_the_profile(user: User) -> None:
    """If that is asked for; then there are no other files."""
    flags = ("--client-secret-stdin", "--password-command", "x", "--store-secrets", "profile")
    assert piped(user, "s3cret", "profile", "add", "p", *ADD, *flags).returncode == 0
    assert tomllib.loads((user.profiles_d / "p.toml").read_text())["profiles"]["p"]["client_secret"] == "s3cret"
    assert not (user.config / "secrets").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input has 0 lines; expected: client_secret, then password, one a line"),
        ("one\n", "standard input has 1 lines"),
        ("one\ntwo\nthree\n", "standard input has 3 lines"),
        ("one\n two\n", "the password on standard input has a space"),
        ("one\n\n", "the password on standard input is empty"),
    ],
)
def test_secrets_that_cannot_be_right_are_refused(user: User, text: str, message: str) -> None:
    """Nothing is written, and the secret is not shown."""
    ended = piped(user, text, "profile", "add", "p", *ADD, "--client-secret-stdin", "--password-stdin")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"pmcred: {message}")
    assert everything(user) == {}


def test_no_flag_takes_a_secret_itself(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Every user of the machine could read it."""
    for flag in ("--client-secret", "--password", "--token"):
        assert main(["profile", "add", "p", *ADD, flag, "s3cret"]) == 2
        assert "--" in capsys.readouterr().err
    assert everything(user) == {}


@pytest.mark.parametrize(
    ("arguments", "status", "messages"),
    [
        (["p", "--url", "acme.example", "--grant", "password"], 2, ["--url is not a URL", "--client-id is missing"]),
        (["p", *ADD, *SECRETS[:2]], 2, ["--password-file (or -command, -stdin, -env, -credential) is missing"]),
        (["-p", *ADD], 2, ["the following arguments are required"]),
        (["p/q", *ADD, *SECRETS], 2, ["p/q cannot be a profile's name"]),
        (["p\x1b[2J", *ADD, *SECRETS], 2, ["p?[2J cannot be a profile's name"]),
        (["old", *ADD, *SECRETS], 1, ["there is a profile old already, in ", "try: pmcred profile edit old"]),
        (["p", *ADD, "--client-secret-command", "'"], 2, ["the command cannot be split into words"]),
        (["p", *ADD, "--client-secret-command", " "], 2, ["the command is empty"]),
        (["p", *ADD, "--client-secret-file", "/dev/fd/63"], 2, ["/dev/fd/63 is gone by the time", "-stdin"]),
        (["p", *ADD, *SECRETS, "--client-secret-file", "x"], 2, ["not allowed with argument"]),
    ],
)
def test_a_profile_that_would_be_wrong_is_not_written(
    user: User, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], status: int, messages: Sequence[str]
) -> None:
    """The real reader is asked, together with all other files; mistakes are told by their flags."""
    put(user.profiles_d / "more.toml", PROD.replace("profiles.prod", "profiles.old"))
    before = everything(user)
    assert main(["profile", "add", *arguments]) == status
    err = capsys.readouterr().err
    for message in messages:
        assert message in err
    assert everything(user) == before


def test_mistakes_in_other_files_do_not_keep_a_profile_from_being_written(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are told, with what they mean for the daemon: one that runs keeps its profiles, no other one starts."""
    put(user.config / "profiles.toml", PROD.replace("username", "usernam"))
    with FakeDaemon(user.socket, lambda _: b"error misconfigured\nmessage=usernam\n\n") as daemon:
        assert main(["profile", "add", "p", *ADD, *SECRETS]) == 0
    assert daemon.requests == [b"reload"]
    err = capsys.readouterr().err
    assert "warning: other profiles have a mistake:\n  " in err
    assert "did you mean username?" in err
    assert err.endswith("The daemon keeps the profiles that it has until that is mended. Then: pmcred reload\n")
    assert main(["profile", "add", "q", *ADD, *SECRETS]) == 0
    assert "none will start until that is mended: pmcredd --check\n" in capsys.readouterr().err
    assert main(["profile", "add", "prod", *ADD, *SECRETS]) == 1
    assert "there is a profile prod already" in capsys.readouterr().err
    assert main(["profile", "show", "q"]) == 0
    assert main(["profile", "show", "prod"]) == 6


def test_a_daemon_that_refuses_good_files_is_an_error(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """It may read others than we do: its reason is told."""
    with FakeDaemon(user.socket, lambda _: b"error misconfigured\nmessage=elsewhere.toml\n\n"):
        assert main(["profile", "add", "p", *ADD, *SECRETS]) == 6
    assert "pmcred: elsewhere.toml\n" in capsys.readouterr().err


def test_a_file_that_is_there_is_never_overwritten(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even one that holds another profile, nor a secret left over; and nothing is left behind beside it."""
    other = put(user.profiles_d / "p.toml", PROD)
    assert main(["profile", "add", "p", *ADD, *SECRETS]) == 1
    assert f"{other} is there already; it was not touched" in capsys.readouterr().err
    assert everything(user) == {"profiles.d": "", "profiles.d/p.toml": PROD}
    left = put(user.config / "secrets" / "q-password", "precious")
    ended = piped(user, "a\nb\n", "profile", "add", "q", *ADD, "--client-secret-stdin", "--password-stdin")
    assert ended.returncode == 1
    assert str(left) in ended.stderr
    assert everything(user).keys() == {"profiles.d", "profiles.d/p.toml", "secrets", "secrets/q-password"}
    assert left.read_text() == "precious"


@pytest.mark.usefixtures("user")
def test_a_profiles_file_that_the_environment_names_is_made_if_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it the daemon would refuse to start."""
    monkeypatch.setenv("PMCRED_CONFIG", str(tmp_path / "elsewhere" / "my.toml"))
    assert main(["profile", "add", "p", *ADD, *SECRETS]) == 0
    assert (tmp_path / "elsewhere" / "my.toml").exists()
    assert main(["profile", "list"]) == 0
    assert "p " in capsys.readouterr().out


@pytest.mark.usefixtures("user")
def test_a_client_without_a_user_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    """ProcessMaker 4 answers its tokens 401 at /api/1.0. The profile is written all the same."""
    flags = [
        "--url",
        "https://a.example",
        "--grant",
        "client_credentials",
        "--client-id",
        "1",
        "--client-secret-env",
        "S",
    ]
    assert main(["profile", "add", "cc", *flags]) == 0
    assert "  warning: " in (err := capsys.readouterr().err)
    assert "401" in err


def test_only_warnings_of_the_changed_profile_are_told(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of all the others have been told when they were written; `pmcred reload` tells all."""
    put(user.profiles_d / "cc.toml", CLIENT)
    answer = b"ok\nadded=1\nchanged=0\nremoved=0\nunchanged=1\nwarnings=cc:%20401\n\n"
    with FakeDaemon(user.socket, lambda _: answer):
        assert main(["profile", "add", "p", *ADD, *SECRETS]) == 0
        assert "401" not in capsys.readouterr().err
        ended = user.run("profile", "edit", "cc", VISUAL="sed -i s/a.example/b.example/")
        assert "  warning: " in ended.stderr
        assert "401" in ended.stderr


def test_a_directory_that_cannot_be_written_is_told_first(user: User) -> None:
    """Before any secret is read; with the way to another place. A file in its place is told as such."""
    user.config.parent.mkdir()
    user.config.parent.chmod(0o500)
    # Root may write everywhere: it is put in the place of an ordinary user.
    ordinary = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    ended = subprocess.run(
        [*ordinary, PMCRED, "profile", "add", "p", *ADD, "--client-secret-stdin", "--password-stdin"],
        env=user.environ,
        input="never\nread\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert f"you may not write to {user.config.parent}" in ended.stderr
    assert "PMCRED_CONFIG" in ended.stderr
    user.config.parent.chmod(0o700)
    put(user.config, "a file")
    assert f"{user.config} is not a directory" in user.run("profile", "add", "p", *ADD, *SECRETS).stderr


def test_a_read_only_file_system_is_called_by_its_name(user: User) -> None:
    """Nobody is sent to look for permissions; and nobody has typed a secret by then."""
    script = 'mount -t tmpfs -o ro none "$HOME" && exec "$@"'
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*isolated, "true"], env=user.environ, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    for arguments in (["profile", "add", "p", *ADD, *SECRETS], ["init", "--url", "https://acme.example"]):
        ended = subprocess.run(
            [*isolated, PMCRED, *arguments],
            env=user.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 1
        assert f"{user.home} is on a read-only file system" in ended.stderr


def test_secrets_can_be_typed_where_a_terminal_is_their_standard_input(user: User) -> None:
    """--password-stdin on a terminal asks, without echo, until the answer can be a secret."""
    flags = ("--client-secret-env", "S", "--password-stdin")
    with PseudoTerminal([PMCRED, "profile", "add", "p", *ADD, *flags], user.environ) as terminal:
        terminal.answer("Password (not shown): ", "")
        terminal.expect("What was typed is empty.")
        terminal.answer("Password (not shown): ", "s3cret")
        terminal.expect("Wrote ")
        assert terminal.end() == 0
        assert "s3cret" not in terminal.screen
    assert (user.config / "secrets" / "p-password").read_text() == "s3cret\n"
