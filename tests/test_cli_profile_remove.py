"""pmcred profile remove: what goes with a profile, and what is the user's own to remove."""

import os

import pytest
from support.profile_command import ADD, OTHERS, PROD, SECRETS, everything, piped, put
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd.cli import main


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
