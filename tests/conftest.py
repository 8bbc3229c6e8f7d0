"""What every test starts from: no configuration, no daemon and no secret of the person who runs the tests."""

import fcntl
import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pmcredd.store import Store

# Where the fixtures stand that several modules share, beside what they are used with.
pytest_plugins = ("support.asking_upstream", "support.keeping", "support.serving", "support.user")

# Hypothesis's own time limit for an example would be a timed assertion: the machine may be busy.
# In CI every run makes up the same examples: what chance finds belongs to whoever looks for it, not to the next change.
settings.register_profile("pmcredd", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("pmcredd")


# Who runs us in the background, or by nohup, leaves these ignored; a child inherits that, and a shell cannot undo it.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every path at the test's own directory: no test reads or writes the user's files."""
    for name in [name for name in os.environ if name.startswith(("PMCRED", "XDG_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)


@pytest.fixture(autouse=True)
def _stores_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test left open on purpose, as a crash does: Python 3.13 complains about it in some later test."""
    opened: list[Store] = []
    begin = Store.__init__

    def remember(store: Store, connection: sqlite3.Connection, path: Path, set_aside: Path | None) -> None:
        begin(store, connection, path, set_aside)
        opened.append(store)

    monkeypatch.setattr(Store, "__init__", remember)
    yield
    for store in opened:
        store.close()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give an empty directory for sockets deep below it: a socket's path has 107 bytes, and tmp_path takes many."""
    with tempfile.TemporaryDirectory(prefix="pm") as directory:
        yield Path(directory)


@pytest.fixture
def fixed_ports() -> Iterator[None]:
    """Let one test at a time listen on a port that is always the same: tests run side by side, in several processes."""
    directory = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY)  # a lock on it leaves nothing behind
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failure: CI installs what a test needs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("skipped tests are failures where CI=true", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
