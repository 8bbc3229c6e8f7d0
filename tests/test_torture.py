"""The installed daemon, killed at random instants while it renews against a server that revokes on every refresh.

PMCRED_TORTURE_SEED repeats a run's instants (the machine's own timing it cannot repeat).
"""

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemon import PMCREDD, Daemon, user_at
from support.sandbox import sandbox_process
from support.torture import LATE_ANSWER, LATE_REQUEST, SANDBOX, SLACK, Journal, Loss, Torment, Torture, figures, number

from pmcredd.doubt import MOST_TRIES

pytestmark = pytest.mark.storm

NAMES = tuple(f"t{each}" for each in range(8))
SEED = int(os.environ.get("PMCRED_TORTURE_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture
def torture(tmp_path: Path) -> Iterator[Torture]:
    """Give eight profiles, none of them logged in yet."""
    with sandbox_process(*SANDBOX) as sandbox:
        user = user_at(tmp_path)
        found = Torture(random.Random(SEED), sandbox, user, user.home / ".local/state/pmcred", NAMES)
        found.prepare()
        yield found


def before_the_server_acted(torture: Torture, journal: Journal, loss: Loss) -> bool | None:
    """Say whether the kill that cost a login met the request (True) or the answer (False); None: no kill did."""
    last = journal.last(loss.code)
    acted = number(last["monotonic"])
    for kill in torture.kills:
        if kill.on_disk.get(loss.name) != last["spent"]:
            continue
        if acted <= kill.after and kill.before <= acted + LATE_ANSWER + SLACK:
            return False
        if acted - LATE_REQUEST - SLACK <= kill.after < acted:
            return True
    return None


def check_what_always_holds(torture: Torture, journal: Journal, kept: dict[str, str]) -> None:
    """No refresh token is sent when it must not be; what was saved is kept; the store was never given up."""
    assert journal.spent_too_often() == []
    assert journal.spent_after_its_successor() == []
    assert journal.spent_after_saving_its_successor(torture.kills) == []
    saved = {token for kill in torture.kills for token in kill.on_disk.values()}
    for loss in torture.losses:
        token = journal.last(loss.code)["issued_refresh"]
        met = sum(kill.on_disk.get(loss.name) == token for kill in torture.kills)
        # Two kills, each on the way to a server that had not acted yet: the third try is not made.
        assert token not in saved or (loss.twice_cut_short and met >= MOST_TRIES), f"{loss} was lost though on disk"
    for name, code in torture.codes.items():
        assert kept[name] == journal.last(code)["issued"], f"{name} does not keep the last token the server issued"
    assert not list(torture.directory.glob("*damaged*"))
    log = (torture.user.home / "pmcredd.log").read_text()
    assert "Traceback" not in log
    assert "is a bug" not in log


def tell(torture: Torture, journal: Journal, capsys: pytest.CaptureFixture[str], more: str) -> None:
    """Print the figures, whatever pytest does with the output."""
    refreshes = sum(1 for row in journal.rows if row["grant"] == "refresh_token" and row["acted"])
    log = (torture.user.home / "pmcredd.log").read_text()
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {len(torture.kills)} kills, {refreshes} refreshes, {len(torture.losses)} logins lost"
            f" ({more}); {figures(log)}"
        )


def kill_again_and_again(torture: Torture, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Kill so often, and hold the server's journal against what happened."""
    while len(torture.kills) < kills:
        torture.live_and_die(1.1)
    kept = torture.settle()
    journal = Journal(torture.sandbox.log())
    causes = [before_the_server_acted(torture, journal, loss) for loss in torture.losses]
    twice = sum(loss.twice_cut_short for loss in torture.losses)
    acted, before = causes.count(False), causes.count(True)
    tell(torture, journal, capsys, f"{acted} after the server acted, {before} just before, {twice} of all cut twice")
    check_what_always_holds(torture, journal, kept)
    unexplained = [
        loss for loss, cause in zip(torture.losses, causes, strict=True) if cause is None and not loss.twice_cut_short
    ]
    assert unexplained == [], "lost, though no kill fell between the server's act and our disk"


def test_a_login_survives_kills(torture: Torture, capsys: pytest.CaptureFixture[str]) -> None:
    """A login is lost only if the kill falls between the server's act and our disk."""
    kill_again_and_again(torture, 50, capsys)


@pytest.mark.long
def test_a_login_survives_a_thousand_kills(torture: Torture, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, a thousand times."""
    kill_again_and_again(torture, 1000, capsys)


def weather(torture: Torture, torment: Torment, relief: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Kill daemons whose disk is troubled by turns, until it has refused them something several times."""
    while len(torture.kills) < 6 or torture.refused_writes() < 3:
        torture.live_and_die(1.8, torment)
        relief()
        assert len(torture.kills) < 100, "the disk refused nothing"
    kept = torture.settle()
    journal = Journal(torture.sandbox.log())
    tell(torture, journal, capsys, f"{torture.refused_writes()} writes refused")
    check_what_always_holds(torture, journal, kept)


@pytest.fixture
def small_disk(torture: Torture, tmp_path: Path) -> Iterator[Torture]:
    """Put the state on a file system of 600 KB that outlives the daemons."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("needs root, unshare and nsenter, to mount a small file system of its own")
    state = tmp_path / "small"
    state.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o size=600k,mode=700 tmpfs {state} && echo mounted && exec cat"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n"
        torture.directory = Path(f"/proc/{holder.pid}/root{state}")
        torture.more["PMCRED_STATE_DIR"] = str(state)
        torture.command = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", PMCREDD]
        yield torture
        assert holder.stdin is not None
        holder.stdin.close()  # the mount goes with its last process


def test_a_login_survives_kills_and_a_full_disk(small_disk: Torture, capsys: pytest.CaptureFixture[str]) -> None:
    """With a disk that fills up and has room again, no login is lost that was saved, and the store always opens."""
    torture = small_disk
    filler = torture.directory / "filler"

    def fill_or_free(_daemon: Daemon) -> None:
        if filler.exists():
            filler.unlink()
            return
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                return

    weather(torture, fill_or_free, lambda: filler.unlink(missing_ok=True), capsys)


def test_a_login_survives_kills_and_writes_that_fail(torture: Torture, capsys: pytest.CaptureFixture[str]) -> None:
    """With writes that fail at random, no login is lost that was saved, and the store always opens."""

    def fail_or_work(daemon: Daemon) -> None:
        _, most = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        limit = most if torture.rng.random() < 1 / 3 else torture.rng.choice([0, torture.rng.randrange(150_000)])
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (limit, most))

    weather(torture, fail_or_work, lambda: None, capsys)
