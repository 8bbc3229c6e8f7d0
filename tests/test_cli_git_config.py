"""`pmcred credential install` and `uninstall`: what stands in git's configuration then, as git reads it."""

import shutil
from pathlib import Path

import pytest
from support.daemon import user_at, write_profiles
from support.fake_daemon import FakeDaemon
from support.git_world import World
from support.gits import HELPER, Git, attributes, program
from support.user import User

from pmcredd.cli import git_config
from pmcredd.cli.problem import Problem

PROFILE = 'grant = "client_credentials"\nclient_id = "1"\nclient_secret = "s"\n'


def profiles(user: User, **urls: str) -> None:
    """Write a profile for each name, with this URL."""
    write_profiles(user, "".join(f'[profiles.{name}]\nurl = "{url}"\n{PROFILE}' for name, url in urls.items()))


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user with the profile prod, and no git configuration."""
    user = user_at(tmp_path)
    profiles(user, prod="https://pm.example")
    return user


@pytest.fixture
def git(user: User) -> Git:
    """The machine's git."""
    return Git(program("machine"), user)


def config(user: User) -> str:
    """Give the user's git configuration as it stands, its spaces at line ends taken off."""
    path = user.home / ".gitconfig"
    return "".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()) if path.exists() else ""


PROD = World({"prod": "https://pm.example"})
SECTION = f'[credential "https://pm.example"]\n\thelper =\n\thelper = {HELPER}\n'


def test_what_is_written_is_shown(user: User) -> None:
    """To the letter, with the way back; a second time changes nothing."""
    done = user.run("credential", "install", "prod")
    assert (done.returncode, done.stdout) == (0, SECTION)
    assert "to undo it: pmcred credential uninstall prod" in done.stderr
    assert config(user) == SECTION
    again = user.run("credential", "install", "prod")
    assert (again.returncode, again.stdout) == (0, SECTION)
    assert config(user) == SECTION
    assert user.run("credential", "uninstall", "prod").returncode == 0
    assert config(user) == ""


def test_git_is_served_from_any_path(user: User, git: Git) -> None:
    """The helper's line needs nothing of the shell it was installed from."""
    user.run("credential", "install", "prod")
    with FakeDaemon(user.socket, PROD.answer):
        filled = git.run("credential", "fill", stdin="url=https://pm.example\n\n")
    assert filled.returncode == 0, filled.stderr
    assert attributes(filled.stdout)["username"] == "prod"


@pytest.mark.parametrize("folder", ["plain", "with space", 'it\'s "q" $HOME;#\\x'])
def test_any_place_of_the_installation_can_be_written_down(user: User, git: Git, tmp_path: Path, folder: str) -> None:
    """Quoted for the shell that git starts, and once more for git's configuration, as --show prints it."""
    place = tmp_path / folder
    place.mkdir()
    shutil.copy(HELPER, place / "git-credential-pmcred")
    line = git_config.helper_line(place / "git-credential-pmcred")
    shown = str(git_config.Section("https://pm.example", line))
    (user.home / ".gitconfig").write_text(shown + "\n")
    with FakeDaemon(user.socket, PROD.answer):
        filled = git.run("credential", "fill", stdin="url=https://pm.example\n\n")
    assert filled.returncode == 0, filled.stderr
    assert attributes(filled.stdout)["username"] == "prod"
    assert git_config._is_ours(line)


def test_show_writes_nothing(user: User) -> None:
    """For who keeps the configuration elsewhere."""
    for words in (["prod", "--show"], ["--show", "prod"]):
        done = user.run("credential", "install", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, SECTION, "")
    assert config(user) == ""


def test_the_profile_may_come_from_the_environment(user: User) -> None:
    """As everywhere; without one there is no default."""
    assert user.run("credential", "install", "--show", PMCRED_PROFILE="prod").stdout == SECTION
    missing = user.run("credential", "install")
    assert missing.returncode == 2
    assert "pmcred credential install NAME" in missing.stderr


def test_another_file_or_this_repository(user: User, git: Git, tmp_path: Path) -> None:
    """The way back says so too."""
    other = tmp_path / "other.config"
    done = user.run("credential", "install", "prod", "--file", str(other))
    assert f"uninstall prod --file {other}" in done.stderr
    assert "helper = " in other.read_text()
    repository = tmp_path / "repository"
    git.run("init", "-q", str(repository))
    within = {"GIT_DIR": str(repository / ".git")}
    assert user.run("credential", "install", "prod", "--local", **within).returncode == 0
    assert HELPER in (repository / ".git" / "config").read_text()
    assert config(user) == ""
    assert user.run("credential", "uninstall", "prod", "--local", **within).returncode == 0
    assert HELPER not in (repository / ".git" / "config").read_text()
    outside = user.run("credential", "install", "prod", "--local", GIT_CEILING_DIRECTORIES="/", GIT_DIR="/nowhere")
    assert outside.returncode == 1
    assert "git config --local" in outside.stderr


def test_what_tells_the_profiles_of_a_host_apart_is_written_too(user: User) -> None:
    """The user name where the URL is the same, the path where it is not: else git's question would be ambiguous."""
    profiles(user, prod="https://pm.example", admin="https://pm.example", old="https://pm.example/old")
    user.run("credential", "install", "prod", "old")
    assert config(user) == (
        f"{SECTION}\tusername = prod\n\tuseHttpPath = true\n"
        f'[credential "https://pm.example/old"]\n\thelper =\n\thelper = {HELPER}\n\tuseHttpPath = true\n'
    )
    user.run("credential", "install", "admin")
    assert "username = admin" in config(user)
    assert "username = prod" not in config(user)
    user.run("credential", "uninstall", "old")
    user.run("credential", "uninstall", "https://PM.example/")  # for profiles that are gone
    assert config(user) == ""


def test_a_choice_that_is_no_longer_needed_goes(user: User) -> None:
    """The name of a profile that is gone would make git's question one that nobody can answer."""
    profiles(user, prod="https://pm.example", admin="https://pm.example")
    user.run("credential", "install", "admin")
    profiles(user, prod="https://pm.example")
    user.run("credential", "install", "prod")
    assert config(user) == SECTION


def test_two_for_one_url_cannot_both_be_gits(user: User) -> None:
    """Nothing is written, and the way to have both is told."""
    profiles(user, prod="https://pm.example", admin="https://pm.example")
    done = user.run("credential", "install", "prod", "admin")
    assert (done.returncode, done.stdout) == (2, "")
    assert "https://admin@pm.example" in done.stderr
    assert config(user) == ""


def test_an_unknown_name_changes_nothing(user: User) -> None:
    """Not even for the names that are known."""
    done = user.run("credential", "install", "prod", "prood")
    assert (done.returncode, done.stdout) == (3, "")
    assert "did you mean prod?" in done.stderr
    assert config(user) == ""
    assert user.run("credential", "uninstall", "prood").returncode == 3


def test_profiles_with_mistakes_are_told(user: User) -> None:
    """As the daemon would."""
    write_profiles(user, "[profiles.prod]\nurl = 1\n")
    done = user.run("credential", "install", "prod")
    assert done.returncode == 6
    assert "pmcredd --check" in done.stderr


def test_what_others_wrote_is_kept(user: User, git: Git) -> None:
    """Comments, other sections, and other helpers of the same URL: silenced while pmcred is there, and back after."""
    before = (
        '# mine\n[user]\n\tname = Pat\n[credential]\n\thelper = store\n[credential "https://pm.example"]\n'
        "\tuseHttpPath = false\n\thelper = cache --timeout=60\n"
    )
    (user.home / ".gitconfig").write_text(before)
    done = user.run("credential", "install", "prod")
    assert config(user) == before + f"\thelper =\n\thelper = {HELPER}\n"
    assert "warning" not in done.stderr
    assert user.run("credential", "uninstall", "prod").returncode == 0
    assert config(user) == before
    nothing = user.run("credential", "uninstall", "prod")
    assert (nothing.returncode, config(user)) == (0, before)
    assert "there is nothing of pmcred" in nothing.stderr


def test_an_installation_that_has_moved_is_followed(user: User) -> None:
    """The stale line is replaced where it stands; it is not asked in vain for ever."""
    (user.home / ".gitconfig").write_text(SECTION.replace(HELPER, "/old/venv/bin/git-credential-pmcred"))
    user.run("credential", "install", "prod")
    assert config(user) == SECTION


def test_options_of_the_helper_are_kept(user: User) -> None:
    """Somebody wrote them there, as the page says; also when the installation moves."""
    written = SECTION.replace(HELPER, f"{HELPER} --for 20m")
    (user.home / ".gitconfig").write_text(written)
    user.run("credential", "install", "prod")
    assert config(user) == written
    (user.home / ".gitconfig").write_text(SECTION.replace(HELPER, "/old/git-credential-pmcred --for 20m"))
    user.run("credential", "install", "prod")
    assert config(user) == written


@pytest.mark.parametrize(
    ("before", "warned"),
    [
        ("[credential]\n\thelper = store\n" + SECTION, False),
        (SECTION + "[credential]\n\thelper = cache --timeout=3600\n", True),
        (f'[credential]\n\thelper = cache\n[credential "https://pm.example"]\n\thelper = {HELPER}\n', True),
        (SECTION + '[credential "https://other.example"]\n\thelper = cache\n', False),
        (SECTION + '[credential "https://pm.example.org"]\n\thelper = cache\n', False),
    ],
)
def test_another_helper_that_git_would_still_ask_is_told(user: User, before: str, warned: bool) -> None:
    """It would keep a token and go on giving it; only one that stands behind the empty line can."""
    (user.home / ".gitconfig").write_text(before)
    done = user.run("credential", "install", "prod")
    assert done.returncode == 0
    assert ("also runs the helper cache" in done.stderr) is warned
    assert config(user) == before


def test_an_old_git_is_told_what_it_cannot(user: User, git: Git) -> None:
    """A password is not what ProcessMaker wants; who knows the header is told nothing."""
    old, new = (user.run("credential", "install", "prod", PATH=path) for path in (user.environ["PATH"], _newer(user)))
    assert ("git 2.46 is needed" in old.stderr) is not git.bearer
    assert "git 2.46 is needed" not in new.stderr


def _newer(user: User) -> str:
    return Git(program("newer"), user).environ["PATH"]


def test_a_configuration_that_cannot_be_written(user: User) -> None:
    """What git says is passed on."""
    (user.home / ".gitconfig").write_text("[broken\n")
    done = user.run("credential", "install", "prod")
    assert (done.returncode, done.stdout) == (1, "")
    assert "git config --global failed" in done.stderr
    assert "--show prints what to write" in done.stderr
    assert config(user) == "[broken\n"


def test_without_git(user: User, tmp_path: Path) -> None:
    """It is told, and what can be done without."""
    done = user.run("credential", "install", "prod", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "git cannot be run" in done.stderr
    assert user.run("credential", "install", "prod", "--show", PATH=str(tmp_path)).stdout == SECTION


def test_a_git_that_hangs_is_told(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for somebody's lock, or on a dead network drive."""
    hanging = tmp_path / "bin" / "git"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}:/usr/bin:/bin")
    monkeypatch.setattr(git_config, "_SECONDS", 0.05)
    with pytest.raises(Problem, match="git version takes too long"):
        git_config._git("version")


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("/x/bin/git-credential-pmcred", True),
        ("/x/bin/git-credential-pmcred --for 20m", True),
        ("!'/a b/git-credential-pmcred'", True),
        ("pmcred", True),  # for git: git-credential-pmcred, found on PATH
        ("pmcred --for 20m", True),
        ("!pmcred credential", False),
        ("", False),
        ("store", False),
        ("!f() { echo 'x; }", False),
        ("/x/bin/git-credential-pmcred.sh", False),
    ],
)
def test_what_is_ours_in_gits_configuration(value: str, ours: bool) -> None:
    """With options that somebody added too; everything else stays untouched."""
    assert git_config._is_ours(value) is ours
