"""`pmcred service install` and `uninstall`: what they write works, and what they did can be undone."""

import pwd
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pseudo_terminal import PseudoTerminal
from support.user import User
from support.user_manager import HOME, ROOT, UserManager, user_manager

from pmcredd.cli import service
from pmcredd.cli.problem import Problem

pytestmark = pytest.mark.storm

NAMES = ("pmcredd", "pmcred", "pmcred-cli")


def installation(directory: Path) -> Path:
    """Make a directory that has the commands."""
    directory.mkdir(parents=True)
    for name in NAMES:
        (directory / name).symlink_to(Path(sysconfig.get_path("scripts"), name))
    return directory


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """The commands as a package installs them."""
    return installation(tmp_path / "bin")


@pytest.fixture
def manager(commands: Path) -> Iterator[UserManager]:
    """A user without a service."""
    with user_manager(commands=commands) as booted:
        yield booted


def install(manager: UserManager, *program: str) -> str:
    """Install, which has to work; gives what it said."""
    done = manager.run(*(program or ("pmcred",)), "service", "install")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def refused(manager: UserManager, what: str = "install") -> str:
    """Try it, which has to fail; gives what it said."""
    done = manager.run("pmcred", "service", what)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def states(manager: UserManager) -> list[str]:
    """Give what is enabled and what is active."""
    return [
        manager.run("systemctl", "--user", question, unit).stdout.strip()
        for unit in service.UNITS
        for question in ("is-enabled", "is-active")
    ]


UP = ["enabled", "active"] * 2


def test_install_and_uninstall(manager: UserManager) -> None:
    """After install the daemon runs, also after a boot; after uninstall nothing is left but profiles and tokens."""
    said = install(manager)

    assert states(manager) == UP
    assert manager.run("pmcred", "status").returncode == 0
    wanted_by = manager.units / "default.target.wants" / "pmcredd.service"
    assert wanted_by.is_symlink()
    assert f"wrote {HOME}/.config/systemd/user/pmcredd.service" in said
    assert "pmcred service uninstall" in said
    assert "loginctl enable-linger" in said
    assert "no profile yet" in said

    done = manager.run("pmcred", "service", "uninstall")

    assert done.returncode == 0, done.stderr
    assert "pmcred service install" in done.stderr
    assert [path for path in manager.units.rglob("*") if not path.is_dir()] == []
    assert states(manager) == ["", "inactive"] * 2
    assert "not-found" in manager.show("pmcredd.service", "LoadState")
    assert (manager.home / ".local" / "state" / "pmcred").is_dir()


def test_twice_is_once(manager: UserManager) -> None:
    """A second install changes nothing and disturbs nobody; a second uninstall has nothing to do, and says so."""
    install(manager)
    before = manager.show("pmcredd.service", "MainPID")
    written = [(manager.units / name).stat().st_mtime_ns for name in service.UNITS]

    assert "up to date" in install(manager)

    assert manager.show("pmcredd.service", "MainPID") == before
    assert [(manager.units / name).stat().st_mtime_ns for name in service.UNITS] == written
    for said in ("stopped and disabled", "no service"):
        done = manager.run("pmcred", "service", "uninstall")
        assert (done.returncode, said in done.stderr) == (0, True)


def test_another_installation_takes_over(manager: UserManager, tmp_path: Path) -> None:
    """Installed from a new venv, the service runs that one, however its path is spelled."""
    install(manager)
    other = installation(tmp_path / "my tools; 100%h $HOME" / "bin")

    said = install(manager, str(other / "pmcred-cli"))

    assert "wrote" in said
    assert states(manager) == UP
    command = manager.run("ps", "-o", "args=", "-p", manager.show("pmcredd.service", "MainPID")).stdout
    assert str(other / "pmcredd") in command
    manager.systemctl("reload", "pmcredd.service")
    assert manager.run("systemd-analyze", "--user", "verify", *service.UNITS).stderr == ""


def test_an_old_unit_is_brought_up_to_date(manager: UserManager) -> None:
    """What an earlier version has written is replaced, also the socket, and a drop-in of the user's stays."""
    install(manager)
    mine = manager.write_unit("pmcredd.service.d/mine.conf", "[Service]\nEnvironment=A=b\n")
    for name in service.UNITS:
        path = manager.units / name
        path.write_text(path.read_text() + "# older\n")

    install(manager)

    assert all("older" not in (manager.units / name).read_text() for name in service.UNITS)
    assert states(manager) == UP
    assert mine.exists()
    assert "pmcredd.service.d" in manager.run("pmcred", "service", "uninstall").stderr
    assert mine.exists()


def test_a_unit_of_somebody_else_is_left_alone(manager: UserManager) -> None:
    """A unit that it has not written is never overwritten or removed."""
    text = "[Service]\nExecStart=true\n"
    path = manager.write_unit("pmcredd.service", text)

    said = refused(manager)

    assert f"mv {HOME}/.config/systemd/user/pmcredd.service" in said
    assert not (manager.units / "pmcredd.socket").exists()
    manager.run("pmcred", "service", "uninstall")
    assert path.read_text() == text


def test_a_masked_unit_is_told(manager: UserManager) -> None:
    """Who has masked the service is told how to undo that, instead of having it undone."""
    manager.systemctl("mask", "pmcredd.service")

    assert "systemctl --user unmask pmcredd.service" in refused(manager)


def test_a_daemon_started_by_hand_is_in_the_way(manager: UserManager) -> None:
    """Two cannot serve one user: it is told which one runs, before anything is written."""
    manager.run("systemd-run", "--user", "--unit=by-hand", "--property=Type=notify", "pmcredd")
    pid = manager.show("by-hand.service", "MainPID")

    said = refused(manager)

    assert f"process {pid}" in said
    assert "pmcred stop" in said
    assert not manager.units.exists()


def test_the_units_of_a_package_are_used(manager: UserManager) -> None:
    """Where a package has installed units for the same commands, they are enabled, and none is written."""
    for name in service.UNITS:
        manager.run("cp", str(ROOT / "contrib" / "systemd" / name), "/etc/systemd/user/")

    assert "package" in install(manager, "/usr/local/bin/pmcred-cli")

    assert states(manager) == UP
    assert not (manager.units / "pmcredd.service").exists()
    manager.run("pmcred", "service", "uninstall")
    assert states(manager)[1::2] == ["inactive"] * 2


def test_profiles_with_mistakes_are_told(manager: UserManager) -> None:
    """The units are there, the daemon does not start, and it is said where to look."""
    profiles = manager.home / ".config" / "pmcred"
    profiles.mkdir(mode=0o700, parents=True)
    (profiles / "profiles.toml").touch(mode=0o600)
    (profiles / "profiles.toml").write_text("x")

    assert "pmcredd --check" in refused(manager)


def test_without_a_user_manager(tmp_path: Path) -> None:
    """In a container, or by sudo, it says what is missing, and writes nothing."""
    user = User(tmp_path / "user")
    user.home.mkdir()

    done = user.run("service", "install")

    assert done.returncode == 1
    assert "user manager cannot be reached" in done.stderr
    assert "--oneshot" in done.stderr
    assert list(user.home.iterdir()) == []


def test_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no systemctl, it says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem, match="systemctl cannot be run"):
        service._find_manager()


def test_what_the_service_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that is set in the shell alone would give the service other profiles than `pmcred` has."""
    monkeypatch.setattr(service, "_LINGER", tmp_path)
    monkeypatch.setenv("PMCRED_CONFIG", "/a/profiles.toml")
    monkeypatch.setenv("XDG_STATE_HOME", "/same")

    first, second, third = service._warnings(service._Manager(249, {"XDG_STATE_HOME": "/same"}))

    assert "systemd 249" in first
    assert "lingering" in second
    assert "PMCRED_CONFIG=/a/profiles.toml" in third


def test_lingering_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who has it on is not told to turn it on."""
    monkeypatch.setattr(service, "_LINGER", tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: type("Entry", (), {"pw_name": "pat"}))
    (tmp_path / "pat").touch()

    assert service._warnings(service._Manager(252, {})) == []


def test_a_cache_is_no_place_for_a_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`uvx pmcred service install` would leave a service whose program the next cleaning takes away."""
    monkeypatch.setattr(sys, "argv", [str(installation(tmp_path / "uv" / "env" / "bin") / "pmcred-cli")])
    (tmp_path / "uv" / "CACHEDIR.TAG").touch()

    with pytest.raises(Problem, match="cache"):
        service._commands()


def test_an_installation_without_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that was copied rather than installed has nothing that systemd could start."""
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "x")])
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))

    with pytest.raises(Problem, match="pmcredd and pmcred are not in"):
        service._commands()


@pytest.mark.parametrize("path", ["/a\nExecStartPre=/b", '/a"b', "/it's", "/a\\b"])
def test_a_path_that_systemd_does_not_take(path: str) -> None:
    """A line break would begin another setting; quotes and backslashes systemd refuses, in whatever way written."""
    with pytest.raises(Problem, match="does not start commands"):
        service.render("ExecStart=pmcredd\n", Path(path))


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file where the directory should be is an error that names the path."""
    (tmp_path / "user").touch()
    with pytest.raises(Problem, match=r"cannot write .*user/a\.service"):
        service._write(tmp_path / "user" / "a.service", "x")


def test_the_package_has_the_units() -> None:
    """What is installed with the package is what contrib/systemd shows."""
    assert {path.name for path in (ROOT / "pmcredd" / "units").iterdir()} == set(service.UNITS)


def test_cron_and_bare_ssh_find_the_manager(manager: UserManager) -> None:
    """Where nobody has set XDG_RUNTIME_DIR, the user's runtime directory is found all the same."""
    install(manager, "env", "--unset=XDG_RUNTIME_DIR", "pmcred")

    assert states(manager) == UP


def test_what_systemd_refuses_is_told(manager: UserManager) -> None:
    """The command that failed, and what systemctl said to it."""
    manager.units.mkdir(parents=True)
    (manager.units / "default.target.wants").touch()

    assert "systemctl --user enable" in refused(manager)


def test_what_cannot_be_removed_is_told(manager: UserManager) -> None:
    """A configuration that is read-only keeps its files, and it is said which."""
    install(manager)
    manager.units.chmod(0o500)

    said = refused(manager, "uninstall")

    manager.units.chmod(0o700)
    assert f"cannot remove {HOME}/.config/systemd/user/pmcredd.socket" in said


def test_init_ends_by_offering_the_service(manager: UserManager) -> None:
    """Enter, and the daemon runs from now on: a first profile is enough to begin."""
    made = ("--url", "https://h.example", "--generation", "4", "--grant", "personal_access_token", "--name", "p")
    command = manager.command("pmcred", "init", "--no-test", *made, "--store-secrets", "profile")
    with PseudoTerminal(command_at_its_path(command), {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}) as terminal:
        terminal.answer("Personal access token (not shown): ", "fake.token.value")
        terminal.answer("Run the daemon as a service, now and after every boot? [Y/n] ", "")
        terminal.expect("pmcredd.service are enabled and started")
        terminal.expect("  pmcred get p\n")
        assert terminal.end() == 0
    assert manager.run("pmcred", "status", "p").returncode == 0


def test_who_wants_no_service_is_told_how_to_go_on(manager: UserManager) -> None:
    """No is no: nothing is written but the profile."""
    made = ("--url", "https://h.example", "--generation", "4", "--grant", "personal_access_token", "--name", "p")
    command = manager.command("pmcred", "init", "--no-test", *made, "--store-secrets", "profile")
    with PseudoTerminal(command_at_its_path(command), {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}) as terminal:
        terminal.answer("Personal access token (not shown): ", "fake.token.value")
        terminal.answer("Run the daemon as a service, now and after every boot? [Y/n] ", "n")
        terminal.expect("pmcred service install")
        assert terminal.end() == 0
    assert not (manager.units / "pmcredd.service").exists()


def command_at_its_path(command: list[str]) -> list[str]:
    """Name a command's program by its path."""
    return [str(shutil.which(command[0])), *command[1:]]
