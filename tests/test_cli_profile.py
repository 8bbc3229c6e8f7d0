"""pmcred profile list and show: what is told of the profiles, and that no secret is."""

import json

import pytest
from support.fake_daemon import FakeDaemon
from support.profile_command import OTHERS, PROD, put
from support.user import User

from pmcredd.cli import main


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
