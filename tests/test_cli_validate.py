"""What the verbs know of the profiles files, also of those with mistakes."""

import os
from pathlib import Path

import pytest
from support.user import User

from pmcredd.cli.problem import Problem
from pmcredd.cli.validate import Checker
from pmcredd.profiles import BadConfig

NOBODY = 65534

GOOD = 'url = "https://acme.example"\ngrant = "personal_access_token"\ntoken = { file = "~/t" }\n'
BAD = GOOD.replace("grant", "grnt")
DEFAULTS = '[defaults]\nproxy = "http://proxy.example:3128"\n'


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user without files."""
    user = User(tmp_path / "user")
    user.profiles_d.mkdir(parents=True)
    return user


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with exactly these permission bits."""
    path.write_text(text)
    path.chmod(mode)
    return path


def checker(user: User) -> Checker:
    """Read this user's files."""
    return Checker.of(user.environ)


def test_files_are_read_as_the_daemon_reads_them(user: User) -> None:
    """A FIFO hangs nobody; what others could have written, and what is no text, is told and left out."""
    put(user.config / "profiles.toml", f"[profiles.a]\n{GOOD}")
    os.mkfifo(user.profiles_d / "fifo.toml", 0o600)
    put(user.profiles_d / "open.toml", f"[profiles.open]\n{GOOD}", 0o666)
    (user.profiles_d / "bytes.toml").write_bytes(b"\xff")
    put(user.profiles_d / "z.toml", f"[profiles.z]\n{GOOD}")
    found = checker(user)
    assert {Path(one.file).name: one.wrong for one in found.mistakes()} == {
        "bytes.toml": "is not UTF-8 (at line 1)",
        "fifo.toml": "cannot be read: Not a regular file",
        "open.toml": "can be written by everybody (mode 0666)",
    }
    assert set(found.sound().profiles) == {"a", "z"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_somebody_else_is_not_taken_for_ones_own(user: User) -> None:
    """Its commands would run as us."""
    os.chown(put(user.profiles_d / "a.toml", f"[profiles.a]\n{GOOD}"), NOBODY, -1)
    (mistake,) = checker(user).mistakes()
    assert f"uid {NOBODY}" in mistake.wrong
    with pytest.raises(Problem, match=f"uid {NOBODY}") as caught:
        checker(user).file_of("a")
    assert caught.value.exit_status == 6


def test_a_profile_is_found_whatever_is_wrong_with_others(user: User) -> None:
    """With the [defaults] of a file in which another profile is wrong; one with mistakes of its own is told."""
    put(user.config / "profiles.toml", f"{DEFAULTS}[profiles.bad]\n{BAD}[profiles.good]\n{GOOD}")
    put(user.profiles_d / "other.toml", f"[profiles.other]\n{GOOD}")
    put(user.profiles_d / "broken.toml", "[profiles.broken\n")
    for name in ("good", "other"):
        assert checker(user).find(name).proxy == "http://proxy.example:3128"
    for name, status in (("bad", 6), ("broken", 6), ("nowhere", 3)):
        with pytest.raises(Problem) as caught:
            checker(user).find(name)
        assert caught.value.exit_status == status


def test_what_relied_on_a_file_that_is_left_out_is_left_out_too(user: User) -> None:
    """Rather than read as if its [defaults] had never been."""
    put(user.config / "profiles.toml", '[defaults]\nurl = "https://acme.example"\n[daemom]\n')
    put(user.profiles_d / "a.toml", "[profiles.a]\n" + GOOD.split("\n", 1)[1])
    put(user.profiles_d / "b.toml", f"[profiles.b]\n{GOOD}")
    assert set(checker(user).sound().profiles) == {"b"}
    odd = put(user.profiles_d / "c.toml", f'[profiles."a b"]\n{GOOD}[profiles.x.y]\n{GOOD}')
    assert {one.file for one in checker(user).mistakes()} == {str(odd), str(user.config / "profiles.toml")}
    assert set(checker(user).sound().profiles) == {"b"}


def test_only_the_new_texts_own_mistakes_are_held_against_it(user: User) -> None:
    """Also those that it causes elsewhere; what was wrong before is not its fault."""
    own = put(user.config / "profiles.toml", f"{DEFAULTS}[profiles.bad]\n{BAD}")
    put(user.profiles_d / "b.toml", f"[profiles.b]\n{GOOD}")
    new = user.profiles_d / "new.toml"
    config = checker(user).with_text(new, f"\ufeff[profiles.new]\n{GOOD}", mode=0o600)
    assert set(config.profiles) == {"b", "new"}
    assert config.profiles["new"].proxy == "http://proxy.example:3128"
    for text, wrong in ((f"[profiles.b]\n{GOOD}", "already defined"), (f"[profiles.new]\n{BAD}", "unknown key")):
        with pytest.raises(BadConfig) as caught:
            checker(user).with_text(new, text, mode=0o600)
        assert any(wrong in one.wrong for one in caught.value.mistakes)
        assert {one.file for one in caught.value.mistakes} == {str(new)}
    with pytest.raises(BadConfig) as caught:
        checker(user).with_text(own, '[defaults]\ngrant = "password"\n[profiles.b]\n', mode=0o600)
    assert str(own) in {one.file for one in caught.value.mistakes}


def test_what_a_change_breaks_in_other_files_is_held_against_it(user: User) -> None:
    """[defaults] that another file needs: whoever takes them away is told so."""
    own = put(user.config / "profiles.toml", '[defaults]\nurl = "https://acme.example"\n')
    needy = put(user.profiles_d / "a.toml", "[profiles.a]\n" + GOOD.split("\n", 1)[1])
    assert checker(user).mistakes() == ()
    with pytest.raises(BadConfig) as caught:
        checker(user).with_text(own, "[defaults]\n", mode=0o600)
    assert [(one.file, one.key) for one in caught.value.mistakes] == [(str(needy), "url")]


def test_an_own_file_may_hold_what_a_file_of_profiles_d_may_not(user: User) -> None:
    """Whatever the directory is called in which $PMCRED_CONFIG lies."""
    own = put(user.profiles_d / "own.conf", "")
    environ = user.environ | {"PMCRED_CONFIG": str(own)}
    assert Checker.of(environ).with_text(own, DEFAULTS, mode=0o600).profiles == {}
    with pytest.raises(BadConfig, match=r"move it to profiles\.toml"):
        Checker.of(environ).with_text(user.profiles_d / "profiles.d" / "a.toml", DEFAULTS, mode=0o600)


def test_a_named_file_that_the_first_profile_will_make_is_no_mistake(user: User) -> None:
    """But a link that leads nowhere is: somebody expects profiles from it."""
    named = user.home / "mine.toml"
    environ = user.environ | {"PMCRED_CONFIG": str(named)}
    assert Checker.of(environ).mistakes() == ()
    named.symlink_to(user.home / "none")
    assert len(Checker.of(environ).mistakes()) == 1


def test_names_are_found_in_files_that_cannot_be_parsed(user: User) -> None:
    """Each with its file: a new profile must not take one of them."""
    put(user.config / "profiles.toml", f"[profiles.a]\n{GOOD}[profiles.b]\ngrant = = 1\n")
    put(user.profiles_d / "c.toml", f'  [ profiles . "c.d" ]\nx = {"[" * 5000}\n')
    put(user.profiles_d / "d.toml", "profiles = 1\n")
    put(user.profiles_d / "e.toml", "[profiles.f\n")
    assert {name: path.name for name, path in checker(user).names().items()} == {
        "a": "profiles.toml",
        "b": "profiles.toml",
        "c.d": "c.toml",
        "c": "c.toml",
        "f": "e.toml",
        "e": "e.toml",
    }
    assert checker(user).file_of("b").path == str(user.config / "profiles.toml")
