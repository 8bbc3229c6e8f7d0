"""pmcred profile list, show, add and remove: what is written, and what is left alone."""

import errno
import json
import os
import stat
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User, user_here

from pmcredd.cli import files, main
from pmcredd.cli.problem import Problem

PROD = """\
[profiles.prod]
url = "https://acme.processmaker.net"
grant = "password"
client_id = "3"
client_secret = { command = ["pass", "show", "pm/prod key"] }
username = "integration"
password = "in-plain-sight"
"""
OTHERS = """\
[defaults]
proxy = "http://proxy.example:3128"

[profiles.envy]
url = "https://b.example/pm"
generation = 3
workspace = "workflow"
grant = "client_credentials"
client_id = "X"
client_secret = { env = "PM_SECRET" }

[profiles.sys]
url = "https://c.example"
grant = "personal_access_token"
token = { credential = "pm-token" }

[profiles.ring]
url = "https://d.example"
grant = "personal_access_token"
token = { keyring = "pmcred", username = "report" }
"""
CLIENT = """\
[profiles.cc]
url = "https://a.example"
grant = "client_credentials"
client_id = "1"
client_secret = { env = "S" }
"""
ADD = ("--url", "https://acme.processmaker.net", "--grant", "password", "--client-id", "3", "--username", "demo")
RELOADED = b"ok\nadded=1\nchanged=0\nremoved=0\nunchanged=0\n\n"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user without files and daemon, and this process in that user's place."""
    return user_here(tmp_path, monkeypatch)


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def everything(user: User) -> dict[str, str]:
    """Give all that is under this user's configuration."""
    return {
        str(path.relative_to(user.config)): path.read_text() if path.is_file() else ""
        for path in user.config.rglob("*")
    }


# list


def test_the_daemon_is_asked_for_the_list(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """What it serves is what counts, whatever the files say by now."""
    put(user.config / "profiles.toml", PROD)
    answer = b"ok 1\nprofile=served\nurl=https://a.example\ngeneration=4\ngrant=password\nuser=7\nuser_name=a.smith\n\n"
    with FakeDaemon(user.socket, lambda _: answer):
        assert main(["profile", "list"]) == 0
        assert main(["profile", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    table, _, for_programs = out.partition("{")
    assert table == (
        "PROFILE  GENERATION  GRANT     USER              URL\n"
        "served   4           password  a.smith (user 7)  https://a.example\n"
    )
    assert json.loads("{" + for_programs) == {
        "version": 1,
        "profiles": [
            {
                "profile": "served",
                "url": "https://a.example",
                "generation": 4,
                "grant": "password",
                "user": "7",
                "user_name": "a.smith",
            }
        ],
    }
    assert err == ""


def test_without_a_daemon_the_list_is_what_the_files_say(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """And that is told, on stderr."""
    put(user.config / "profiles.toml", OTHERS)
    put(user.profiles_d / "prod.toml", PROD)
    assert main(["profile", "list"]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["PROFILE", "GENERATION", "GRANT", "USER", "URL"],
        ["envy", "3", "client_credentials", "-", "https://b.example/pm"],
        ["sys", "4", "personal_access_token", "-", "https://c.example"],
        ["ring", "4", "personal_access_token", "-", "https://d.example"],
        ["prod", "4", "password", "-", "https://acme.processmaker.net"],
    ]
    assert err == "No daemon answers; this is what the files say.\n"


@pytest.mark.usefixtures("user")
def test_an_empty_list_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: a program that reads the list gets none."""
    assert main(["profile", "list"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("No profiles yet. To make one: pmcred init\n")


def test_files_with_mistakes_are_told_with_all_of_them(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 6, one line a mistake."""
    put(user.config / "profiles.toml", PROD.replace("username", "usernam").replace('"3"', "3"))
    assert main(["profile", "list"]) == 6
    err = capsys.readouterr().err
    assert "the profiles have 2 mistakes:" in err
    assert "username" in err
    assert 'write client_id = "3"' in err


# show


def test_show_tells_all_but_the_secrets(
    user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sources instead, and the file where the profile stands."""
    path = put(user.config / "profiles.toml", PROD)
    monkeypatch.setenv("PMCRED_PROFILE", "prod")
    assert main(["profile", "show"]) == 0
    out = capsys.readouterr().out
    assert "in-plain-sight" not in out
    shown = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert shown["client_secret"] == "command: pass show 'pm/prod key'"
    assert shown["password"] == "****"
    assert shown["timeout"] == "30 s"
    assert shown["file"] == str(path)
    assert "proxy" not in shown


def test_show_knows_every_kind_of_source(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Environment, systemd credential, file; and what comes from [defaults] takes effect."""
    put(user.config / "profiles.toml", OTHERS)
    put(user.profiles_d / "f.toml", PROD.replace('"in-plain-sight"', '{ file = "~/pw" }'))
    for name, line in (
        ("envy", "client_secret  environment variable: PM_SECRET"),
        ("sys", "token       systemd credential: pm-token"),
        ("ring", "token       keyring: pmcred, report"),
        ("prod", f"password       file: {user.home}/pw"),
    ):
        assert main(["profile", "show", name]) == 0
        assert line in (lines := capsys.readouterr().out.splitlines())
        assert any(each.startswith("proxy ") for each in lines)


def test_a_name_that_no_profile_has_is_exit_status_3(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """With the name that may have been meant."""
    put(user.config / "profiles.toml", PROD)
    for verb in ("show", "edit", "remove"):
        assert main(["profile", verb, "prdo"]) == 3
        assert capsys.readouterr().err == "pmcred: there is no profile prdo\n  try: did you mean prod?\n"
    assert main(["profile", "show", "zzz"]) == 3
    assert capsys.readouterr().err.endswith("  try: pmcred profile list\n")


# add


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


def piped(user: User, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with `text` on its standard input."""
    return subprocess.run(
        [PMCRED, *arguments], env=user.environ, input=text, capture_output=True, text=True, check=False, timeout=60
    )


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


SECRETS = ("--client-secret-env", "S", "--password-env", "P")


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


# writing itself


def test_a_set_of_files_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """The second one is refused: the first one is gone again."""
    put(tmp_path / "d" / "b", "there")
    with pytest.raises(Problem, match="is there already"):
        files.write_new([(tmp_path / "d" / "a", "new"), (tmp_path / "d" / "b", "new")])
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["b"]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is renamed into its place, and still never over another one."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    files.write_new([(tmp_path / "d" / "a", "new")])
    with pytest.raises(Problem, match="is there already"):
        files.write_new([(tmp_path / "d" / "a", "newer")])
    assert {path.name: path.read_text() for path in (tmp_path / "d").iterdir()} == {"a": "new"}


@pytest.mark.parametrize(("call", "successes"), [("link", 0), ("fsync", 0), ("fsync", 1)])
def test_a_disk_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, successes: int
) -> None:
    """The error names the file and the reason; also where only the directory could not be synced."""
    real, left = getattr(os, call), [None] * successes

    def full(*arguments: object) -> None:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(Problem, match=r"cannot write .*/a: No space left on device"):
        files.write_new([(tmp_path / "d" / "a", "new")])
    assert list((tmp_path / "d").iterdir()) == []


def test_a_directory_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse that, and need it not."""
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    files.write_new([(tmp_path / "d" / "a", "new")])
    assert (tmp_path / "d" / "a").read_text() == "new"


# remove


def test_remove_takes_the_profile_and_the_secrets_that_pmcred_keeps(user: User) -> None:
    """And nothing else; the daemon is told. Without a terminal it takes --yes."""
    piped(user, "a\nb\n", "profile", "add", "p", *ADD, "--client-secret-stdin", "--password-stdin")
    piped(user, "c\n", "profile", "add", "q", *ADD, "--client-secret-stdin", "--password-file", "/dev/null")
    before = everything(user)
    ended = user.run("profile", "remove", "p")
    assert (ended.returncode, ended.stderr) == (2, "pmcred: there is no terminal to ask on: give --yes\n")
    assert everything(user) == before
    ended = user.run("profile", "remove", "p", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert everything(user).keys() == {"profiles.d", "profiles.d/q.toml", "secrets", "secrets/q-client_secret"}


def test_a_secret_that_another_profile_uses_stays(user: User) -> None:
    """Its file is not only this profile's, however the other one spells its path; nor if that one cannot be read."""
    piped(user, "a\nb\n", "profile", "add", "p", *ADD, "--client-secret-stdin", "--password-stdin")
    secrets = user.config / "secrets"
    other = PROD.replace('{ command = ["pass", "show", "pm/prod key"] }', '{ file = "../secrets/p-client_secret" }')
    put(user.profiles_d / "q.toml", other.replace("profiles.prod", "profiles.q"))
    ended = user.run("profile", "remove", "p", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert f"{secrets}/p-client_secret stays: another profile may use it." in ended.stderr
    assert [path.name for path in secrets.iterdir()] == ["p-client_secret"]
    assert not (user.profiles_d / "p.toml").exists()
    piped(user, "a\nb\n", "profile", "add", "r", *ADD, "--client-secret-stdin", "--password-stdin")
    os.mkfifo(user.profiles_d / "x.toml")
    assert user.run("profile", "remove", "r", "--yes").returncode == 0
    assert (secrets / "r-password").exists()


def test_remove_asks_first(user: User) -> None:
    """No is the default; yes removes."""
    main(["profile", "add", "p", *ADD, *SECRETS])
    with PseudoTerminal([PMCRED, "profile", "remove", "p"], user.environ) as terminal:
        terminal.expect(f"This removes:\n  {user.profiles_d}/p.toml\n")
        terminal.answer("Remove profile p? [y/N] ", "")
        terminal.expect("Nothing was removed.")
        assert terminal.end() == 1
    assert (user.profiles_d / "p.toml").exists()
    with PseudoTerminal([PMCRED, "profile", "remove", "p"], user.environ) as terminal:
        terminal.answer("[y/N] ", "y")
        assert terminal.end() == 0
    assert not (user.profiles_d / "p.toml").exists()


@pytest.mark.parametrize(
    ("place", "text", "lines"),
    [
        ("profiles.toml", f"# mine\n\n{PROD}\n{OTHERS}", "[profiles.prod], lines 3 to 9"),
        ("profiles.d/prod.toml", PROD + OTHERS, "[profiles.prod], lines 1 to 7"),
        ("profiles.d/prod.toml", "[daemon]\n" + PROD, "[profiles.prod], lines 2 to 8"),
        (
            "profiles.d/else.toml",
            PROD.replace("[profiles.prod]", '[profiles."prod"]').replace(
                'client_secret = { command = ["pass", "show", "pm/prod key"] }', ""
            )
            + '[profiles.prod.client_secret]\nenv = "X"\n',
            "[profiles.prod], lines 1 to 9",
        ),
        (
            "profiles.toml",
            "profiles.prod." + "profiles.prod.".join(PROD.splitlines(keepends=True)[1:]),
            "[profiles.prod] there",
        ),
        ("profiles.d/prod.toml", PROD + "broken", "[profiles.prod], lines 1 to 8"),
    ],
)
def test_what_the_user_wrote_is_the_users_to_remove(
    user: User, capsys: pytest.CaptureFixture[str], place: str, text: str, lines: str
) -> None:
    """The file and the lines are named, and nothing is touched."""
    path = put(user.config / place, text)
    assert main(["profile", "remove", "prod", "--yes"]) == 1
    err = capsys.readouterr().err
    assert f"profile prod stands in {path}, which is not pmcred's to change" in err
    assert lines in err
    assert path.read_text() == text


@pytest.mark.parametrize(("call", "said"), [("rename", "replace"), ("unlink", "remove")])
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, said: str
) -> None:
    """Replacing and removing: the file is as it was, and nothing lies beside it."""
    path = put(tmp_path / "d" / "a", "old")
    real = getattr(os, call)

    def refuse(first: object, *more: object) -> None:
        if call == "rename" or first == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(first, *more)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(Problem, match=f"cannot {said} .*/a: Input/output error"):
        files.replace(path, "new", expected="old") if said == "replace" else files.remove(path)
    assert {each.name: each.read_text() for each in (tmp_path / "d").iterdir()} == {"a": "old"}


def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    """Root mends a profile of somebody else: it stays theirs."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = put(tmp_path / "a", "old", mode=0o640)
    os.chown(path, 12345, 54321)
    files.replace(path, "new", expected="old")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o640)
    assert path.read_text() == "new"


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the directory that was meant."""
    put(tmp_path / "d", "a file")
    with pytest.raises(Problem, match=r"cannot make .*/d/e: Not a directory"):
        files.write_new([(tmp_path / "d" / "e" / "f", "new")])


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
