"""pmcred profile edit: an editor on a copy, and a file that is replaced only by one that is right."""

import os
import shlex
import stat
import sys
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

PROD = """\
# my own words
[profiles.prod]
url = "https://acme.processmaker.net"
grant = "password"
client_id = "3"
client_secret = "in-plain-sight"
username = "integration"
password = { file = "~/pw" }
"""
SECOND = PROD.replace("profiles.prod", "profiles.second")
RELOADED = b"ok\nadded=0\nchanged=1\nremoved=0\nunchanged=0\n\n"


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user whose profile `prod` stands in the user's own file, and `second` in one of pmcred's."""
    user = User(tmp_path / "user")
    user.profiles_d.mkdir(parents=True)
    (user.home / "run").mkdir(mode=0o700)
    for path, text in ((user.config / "profiles.toml", PROD), (user.profiles_d / "second.toml", SECOND)):
        path.write_text(text)
        path.chmod(0o600)
    return user


def editor(user: User, *scripts: str) -> str:
    """Make an editor whose n-th run does the n-th of these sed scripts, the last one for ever; it notes what it saw."""
    path = user.home / "my editor"
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, subprocess, sys\n"
        f"log = pathlib.Path({str(user.home / 'log')!r})\n"
        "runs = len(log.read_text().splitlines()) if log.exists() else 0\n"
        "copy = pathlib.Path(sys.argv[-1])\n"
        "mode = oct(copy.stat().st_mode & 0o777)\n"
        "with log.open('a') as file: print(mode, oct(copy.parent.stat().st_mode & 0o777), *sys.argv[1:], file=file)\n"
        f"scripts = {list(scripts)!r}\n"
        "script = scripts[min(runs, len(scripts) - 1)]\n"
        "sys.exit(int(script)) if script.isdigit() else subprocess.run(['sed', '-i', script, copy], check=True)\n"
    )
    path.chmod(0o700)
    return shlex.quote(str(path))


def copies(user: User) -> list[Path]:
    """Give the copies that were left."""
    return list((user.home / "run").glob("pmcred-edit-*/*"))


def test_a_right_change_replaces_the_file_and_the_daemon_is_told(user: User) -> None:
    """The user's own words, mode and links stay; the copy was private, and is gone."""
    own = user.config / "profiles.toml"
    real = user.home / "dotfiles.toml"
    own.rename(real)
    own.symlink_to(real)
    real.chmod(0o640)
    real.write_text(PROD.replace('"in-plain-sight"', '{ env = "S" }'))
    with FakeDaemon(user.socket, lambda _: RELOADED) as daemon:
        ended = user.run("profile", "edit", "prod", VISUAL=editor(user, "s/integration/robot/") + " --wait")
    assert ended.returncode == 0, ended.stderr
    assert daemon.requests == [b"reload"]
    assert f"Replaced {own}." in ended.stderr
    assert ended.stderr.endswith("To try it: pmcred login prod\n")
    assert own.is_symlink()
    assert real.read_text() == PROD.replace('"in-plain-sight"', '{ env = "S" }').replace("integration", "robot")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    file_mode, directory_mode, flag, copy = (user.home / "log").read_text().split()
    assert (file_mode, directory_mode, flag) == ("0o600", "0o700", "--wait")
    assert copy.startswith(str(user.home / "run"))
    assert copies(user) == []
    assert not Path(copy).parent.exists()


def test_a_file_of_pmcreds_is_edited_in_the_same_way(user: User) -> None:
    """EDITOR will do where there is no VISUAL; without a daemon that is told."""
    ended = user.run("profile", "edit", "second", EDITOR=editor(user, "s/integration/robot/"))
    assert ended.returncode == 0, ended.stderr
    assert (user.profiles_d / "second.toml").read_text() == SECOND.replace("integration", "robot")
    assert "No daemon runs" in ended.stderr


def test_a_profile_of_pmcreds_own_keeps_the_name_of_its_file(user: User) -> None:
    """With another name in it, `profile remove` would not know it for its own."""
    ended = user.run("profile", "edit", "second", EDITOR=editor(user, "s/profiles.second/profiles.third/"))
    assert ended.returncode == 6
    assert "[profiles.second] is gone from second.toml; for another name: pmcred profile add" in ended.stderr
    assert (user.profiles_d / "second.toml").read_text() == SECOND


def test_nothing_changed_is_nothing_done(user: User) -> None:
    """The daemon is not even asked."""
    before = os.stat(user.config / "profiles.toml")
    with FakeDaemon(user.socket, lambda _: RELOADED) as daemon:
        ended = user.run("profile", "edit", VISUAL="true", PMCRED_PROFILE="prod")
    assert (ended.returncode, ended.stderr) == (0, "Nothing was changed.\n")
    assert daemon.requests == []
    assert os.stat(user.config / "profiles.toml").st_ino == before.st_ino
    assert copies(user) == []


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("s/grant = /grnt = /", "did you mean grant"),
        ("s/profiles.prod/profiles.second/", "second"),
        ("s/url/= url/", "profiles.toml"),
        (r"s/integration/\xff/", "it is not UTF-8"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_was(user: User, script: str, complaint: str) -> None:
    """And what was written is not lost: the copy is named."""
    ended = user.run("profile", "edit", "prod", VISUAL=editor(user, script), LC_ALL="C")
    assert ended.returncode == 6
    assert "This cannot be used:" in ended.stderr
    assert complaint in ended.stderr
    assert "in-plain-sight" not in ended.stderr
    assert (user.config / "profiles.toml").read_text() == PROD
    (copy,) = copies(user)
    assert f"What you wrote is in {copy}" in ended.stderr
    assert copy.read_bytes() != PROD.encode()


def test_a_person_may_mend_the_mistake_at_once(user: User) -> None:
    """The editor opens what was written, not the old file again."""
    visual = editor(user, "s/grant = /grnt = /; s/integration/robot/", "s/grnt = /grant = /")
    with PseudoTerminal([PMCRED, "profile", "edit", "prod"], user.environ | {"VISUAL": visual}) as terminal:
        terminal.expect("This cannot be used:")
        terminal.answer("Edit it again? [Y/n] ", "")
        terminal.expect("Replaced ")
        assert terminal.end() == 0
    assert (user.config / "profiles.toml").read_text() == PROD.replace("integration", "robot")
    assert copies(user) == []


@pytest.mark.parametrize("keys", ["n\r", "\x03", "\x04"])
def test_giving_up_keeps_both(user: User, keys: str) -> None:
    """By "no", by Ctrl-C and by Ctrl-D: the file is as it was, and the copy's place is told."""
    environ = user.environ | {"VISUAL": editor(user, "s/grant = /grnt = /")}
    with PseudoTerminal([PMCRED, "profile", "edit", "prod"], environ) as terminal:
        terminal.expect("Edit it again? [Y/n] ")
        terminal.type(keys, enter=False)
        terminal.expect("What you wrote is in ")
        assert terminal.end() == {"n\r": 6, "\x03": 130, "\x04": 1}[keys]
        assert "Traceback" not in terminal.screen
    assert (user.config / "profiles.toml").read_text() == PROD
    assert len(copies(user)) == 1


@pytest.mark.parametrize(
    ("visual", "complaint"),
    [
        ("/nowhere/vi", "cannot start the editor /nowhere/vi: No such file or directory\n"),
        ("'", "cannot start the editor '"),
        ("false", "failed (status 1)"),
    ],
)
def test_an_editor_that_fails_changes_nothing(user: User, visual: str, complaint: str) -> None:
    """No copy is left, as nothing was written."""
    ended = user.run("profile", "edit", "prod", VISUAL=visual)
    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert (user.config / "profiles.toml").read_text() == PROD
    assert copies(user) == []


def test_what_somebody_else_changed_in_the_meantime_is_not_overwritten(user: User) -> None:
    """Two editors on one profile: the second one to end is told, and keeps the copy."""
    own = user.config / "profiles.toml"
    meddler = user.home / "meddler"
    meddler.write_text(f"#!/bin/sh\nsed -i s/integration/robot/ \"$1\"\necho '# mine' >> {own}\n")
    meddler.chmod(0o700)
    ended = user.run("profile", "edit", "prod", VISUAL=str(meddler))
    assert ended.returncode == 1
    assert "changed by somebody else in the meantime" in ended.stderr
    assert own.read_text() == PROD + "# mine\n"
    assert len(copies(user)) == 1


def test_a_copy_that_the_editor_removed_is_no_change(user: User) -> None:
    """There is nothing to put in place, and nothing to keep."""
    remover = user.home / "remover"
    remover.write_text('#!/bin/sh\nrm "$1"\n')
    remover.chmod(0o700)
    ended = user.run("profile", "edit", "prod", VISUAL=str(remover))
    assert ended.returncode == 1
    assert "cannot read what was edited" in ended.stderr
    assert (user.config / "profiles.toml").read_text() == PROD
    assert list((user.home / "run").iterdir()) == []


def test_broken_files_are_mended_one_after_the_other(user: User) -> None:
    """A file that cannot be parsed still opens by the name in it; mistakes elsewhere do not stop that."""
    (user.config / "profiles.toml").write_text(PROD.replace("grant", "grant ="))
    (user.profiles_d / "second.toml").write_text(SECOND.replace("grant", "grnt"))
    ended = user.run("profile", "edit", "prod", VISUAL=editor(user, "s/grant = =/grant =/"))
    assert ended.returncode == 0, ended.stderr
    assert (user.config / "profiles.toml").read_text() == PROD


def test_a_file_that_cannot_be_read_is_told(user: User) -> None:
    """Where the profile may stand in it; another profile opens, and what is wrong elsewhere is told afterwards."""
    own = user.config / "profiles.toml"
    own.unlink()
    os.mkfifo(own, 0o600)
    ended = user.run("profile", "edit", "prod", VISUAL="true")
    assert ended.returncode == 6
    assert f"{own}: cannot be read: Not a regular file" in ended.stderr
    ended = user.run("profile", "edit", "second", VISUAL=editor(user, "s/integration/robot/"))
    assert ended.returncode == 0
    assert f"Replaced {user.profiles_d}/second.toml" in ended.stderr
    assert f"{own}: cannot be read: Not a regular file" in ended.stderr


def test_a_place_for_the_copy_must_be_there(user: User) -> None:
    """The error says what was attempted."""
    (user.home / "run").rmdir()
    (user.home / "run").mkdir(mode=0o700)
    ended = user.run("profile", "edit", "prod", VISUAL="true", XDG_RUNTIME_DIR="/proc/self")
    assert ended.returncode == 1
    assert "cannot make a copy to edit: " in ended.stderr


def test_a_file_that_cannot_be_replaced_keeps_the_copy(user: User) -> None:
    """What was written is never lost with an error."""
    breaker = user.home / "breaker"
    temporary = user.config / ".profiles.toml.$PPID.new"
    breaker.write_text(f'#!/bin/sh\nsed -i s/integration/robot/ "$1"\n: > "{temporary}"\n')
    breaker.chmod(0o700)
    ended = user.run("profile", "edit", "prod", VISUAL=str(breaker))
    assert ended.returncode == 1
    assert f"cannot replace {user.config}/profiles.toml: File exists" in ended.stderr
    assert len(copies(user)) == 1
    assert (user.config / "profiles.toml").read_text() == PROD
