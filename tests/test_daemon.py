"""Choices and mishaps of the daemon that its other tests, which run it whole, do not come by."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing
from support.daemon import fail_to_start, user_at, write_profiles

from pmcredd import daemon
from pmcredd.state_lock import StateBusy, StateLock

if TYPE_CHECKING:
    from pmcredd.keeper import Keeper


def test_check_tells_warnings(tmp_path: Path) -> None:
    """`pmcredd --check` tells what deserves a second look, and that is no mistake."""
    user = user_at(tmp_path)
    write_profiles(
        user,
        '[profiles.prod]\nurl = "https://h"\ngrant = "client_credentials"\n'
        'client_id = "1"\nclient_secret = { env = "S" }\n',
    )

    done = fail_to_start(user, "--check")

    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert "such a token has no user" in done.stderr


@pytest.mark.parametrize("mode", [0o700, 0o500, None], ids=["ours", "read-only", "missing"])
def test_the_socket_is_where_a_runtime_directory_is(
    tmp_path: Path, mode: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is made in a runtime directory that is there and can be written, else below the state directory."""
    runtime = tmp_path / "runtime"
    if mode is not None:
        runtime.mkdir(mode=mode)
    allowed = lambda path, _: bool(os.stat(path).st_mode & stat.S_IWUSR)  # noqa: E731 - root may write everywhere
    monkeypatch.setattr(os, "access", allowed)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid)
    if Path(f"/run/user/{os.geteuid()}").is_dir():
        pytest.skip("this machine has a runtime directory for the user, which rightly wins")

    found = daemon._socket_path({"XDG_RUNTIME_DIR": str(runtime), "PMCRED_STATE_DIR": str(tmp_path / "state")})

    if mode == 0o700:
        assert found == runtime / "pmcred" / "socket"
    else:
        assert found == tmp_path / "state" / "run" / "socket"


async def test_a_bug_in_a_reload_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of ours while the profiles are read again is logged by its place, without its words."""

    class Broken:
        async def reload(self) -> None:
            raise ValueError("the-secret-in-it")

    await daemon._reload(cast("Keeper", Broken()))

    assert "ValueError" in caplog.text
    assert "the-secret-in-it" not in caplog.text


async def test_a_half_upgraded_http_client_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If what a renewal needs cannot be loaded the log says so, and what is in hand is served."""

    def broken() -> None:
        raise ImportError("gone")

    monkeypatch.setattr(daemon, "preload", broken)
    monkeypatch.setattr(daemon, "PRELOAD_AFTER", 0.0)

    await daemon._preload_later()

    assert "cannot be loaded (ImportError)" in caplog.text


def test_without_stderr_there_is_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon whose stderr is closed starts all the same."""

    def closed(_: int) -> os.stat_result:
        raise OSError(9, "Bad file descriptor")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", closed)
        under = daemon._under_journald()

    assert not under


async def test_it_waits_for_its_lock_only_so_long(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that answers one request and hangs keeps no daemon waiting for ever; whom it waits for is said once."""
    caplog.set_level("INFO")
    lock = StateLock.take(tmp_path / "state", None)

    with pytest.raises(StateBusy, match="a pmcred --oneshot"):
        await daemon._take_lock(tmp_path / "state", tmp_path / "socket", take_over=False)

    assert trio.current_time() > daemon.LOCK_PATIENCE
    assert caplog.text.count("waiting: ") == 1
    lock.release()
