"""Where things live."""

import pwd
from pathlib import Path

import platformdirs
import pytest

from pmcredd import paths


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"PMCRED_SOCKET": "/s", "XDG_RUNTIME_DIR": "/x"}, ["/s"], id="named: that one alone"),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/x", "XDG_STATE_HOME": "/st"},
            ["/x/pmcred/socket", "/run/user/7/pmcred/socket", "/st/pmcred/run/socket"],
            id="all in their order",
        ),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/run/user/7", "PMCRED_STATE_DIR": "/st"},
            ["/run/user/7/pmcred/socket", "/st/run/socket"],
            id="none twice",
        ),
        pytest.param(
            {"XDG_RUNTIME_DIR": "relative", "PMCRED_STATE_DIR": "/st"},
            ["/run/user/7/pmcred/socket", "/st/run/socket"],
            id="a relative runtime directory is ignored",
        ),
    ],
)
def test_socket_candidates(environ: dict[str, str], expected: list[str]) -> None:
    """The socket is looked for in the documented places, in the documented order."""
    assert [str(path) for path in paths.socket_candidates(environ, 7)] == expected


def test_defaults_lie_in_the_home_directory() -> None:
    """Without any variable, configuration and state are the XDG defaults under the home directory."""
    assert paths.config_file({}) == Path("~/.config/pmcred/profiles.toml").expanduser()
    assert paths.profiles_dir({}) == Path("~/.config/pmcred/profiles.d").expanduser()
    assert paths.state_dir({}) == Path("~/.local/state/pmcred").expanduser()


def test_variables_win() -> None:
    """The documented variables name configuration and state."""
    assert paths.config_file({"PMCRED_CONFIG": "/c/my.toml", "XDG_CONFIG_HOME": "/x"}) == Path("/c/my.toml")
    assert paths.profiles_dir({"PMCRED_CONFIG": "/c/my.toml"}) == Path("/c/profiles.d")
    assert paths.config_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/pmcred/profiles.toml")
    assert paths.state_dir({"XDG_STATE_HOME": "/y"}) == Path("/y/pmcred")


@pytest.mark.parametrize("variables", [{}, {"HOME": ""}, {"HOME": "~"}])
def test_without_a_home(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Nothing is looked for, or made, where a job happens to stand."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert paths.config_file({}).is_relative_to(paths.NO_HOME)
    assert paths.state_dir({}).is_relative_to(paths.NO_HOME)
    assert all(path.is_absolute() for path in paths.socket_candidates({}, 7))


def test_an_older_platformdirs_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives a path below a directory named ~."""
    monkeypatch.setattr(platformdirs, "user_state_path", lambda name: Path("~/.local/state", name))
    assert paths.state_dir({}).is_relative_to(paths.NO_HOME)
