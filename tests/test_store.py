"""What must outlive the process."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.lives import WALL, held, profile

from pmcredd import store as store_module
from pmcredd.oauth import Token
from pmcredd.profiles import Grant
from pmcredd.secret import Secret
from pmcredd.store import Account, Stop, Store, identity
from pmcredd.telling import User
from pmcredd.validity import DAY, Held, Moment

PROD = profile("prod")
FULL = Held(
    Token(Secret("a" * 40), "Bearer", 31536000.0, Secret("def502" + "b" * 40), "*", "1", "c" * 80, WALL + 31536000.0),
    Moment(boot=12.5, wall=WALL, boot_id="boot"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a store that is not there yet."""
    return tmp_path / "state.db"


def test_what_was_saved_is_there_after_a_restart(path: Path) -> None:
    """A token comes back whole: every field, the moment of its request, serial and last use."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=3, asked_at=WALL + 5)
    store.close()

    found = Store.open(path).load([identity(PROD), "unknown"])

    assert found == {identity(PROD): store_module.Saved(FULL, 3, WALL + 5)}


def test_a_token_belongs_to_its_identity(path: Path) -> None:
    """A profile that points elsewhere, or is somebody else, does not get the old token."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)

    assert store.load([identity(profile("other"))]) == {}
    for changes in (
        {"grant": Grant.CLIENT_CREDENTIALS},
        {"url": "https://other.example"},
        {"client_id": "9"},
        {"username": "boss"},
        {"scope": "*"},
        {"generation": 3},
        {"token_path": "/x"},
        {"workspace": "w"},
    ):
        other = identity(profile("prod", **changes))
        assert store.load([other]) == {}
    assert store.load([identity(replace(PROD, timeout=5.0))])


def test_a_new_token_replaces_the_old_one(path: Path) -> None:
    """There is one token for each identity, and the old one's bytes are gone from the files, not only overwritten."""
    store = Store.open(path)
    store.save(PROD, held(value="old-token-value" * 50), serial=1, asked_at=WALL)
    store.save(PROD, held(value="new"), serial=1, asked_at=WALL)

    (found,) = store.load([identity(PROD)]).values()
    assert found.held.token.access_token.reveal() == "new"
    store.close()
    assert b"old-token-value" not in path.read_bytes()


def test_parked_rows_come_back_and_are_forgotten_after_thirty_days(path: Path) -> None:
    """A typo in a url for ten seconds costs no token; a row that no profile matched for 30 days is deleted."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)
    day = 86400.0

    store.park(set(), WALL)
    store.park({identity(PROD)}, WALL + 29 * day)
    store.park(set(), WALL + 40 * day)
    assert store.load([identity(PROD)]), "matched again in between: the thirty days begin anew"
    store.park(set(), WALL + 71 * day)
    assert store.load([identity(PROD)]) == {}


def test_the_last_use_is_remembered(path: Path) -> None:
    """When somebody last asked outlives the process."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)

    store.asked(identity(PROD), WALL + 99)

    assert store.load([identity(PROD)])[identity(PROD)].asked_at == WALL + 99


def test_tries(path: Path) -> None:
    """A try that a kill cut short may be repeated once, two are a stop; an answer clears it or stops for good."""
    store = Store.open(path)
    store.begin_tries(["key"])
    assert store.stop("key") is None, "a try under way is no crash"
    store.begin_tries(["key"])
    assert store.stop("key") is None
    store.close()
    store = Store.open(path)
    assert store.stop("key") is None
    store.begin_tries(["key"])
    store.close()
    store = Store.open(path)
    stop = store.stop("key")
    assert stop is not None
    assert stop.reason is None
    store.clear_tries(["key"])
    assert store.stop("key") is None
    store.begin_tries(["key"])
    store.refuse("key", Stop("bad-credentials", "refused"))
    store.end_tries(["key"])
    store.close()
    assert Store.open(path).stop("key") == Stop("bad-credentials", "refused")


def test_the_salt_stays(path: Path) -> None:
    """The salt that names stopped secrets is random, and the same after a restart."""
    store = Store.open(path)
    salt = store.salt
    store.close()

    assert Store.open(path).salt == salt
    assert Store.open(path.with_name("other.db")).salt != salt


def test_an_intent_outlives_the_process_until_the_save(path: Path) -> None:
    """That a refresh token may be spent is known after a kill; the save of the new pair clears it."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    store.begin_spend(identity(PROD), 1, 2)
    store.close()

    store = Store.open(path)
    assert store.load([identity(PROD)])[identity(PROD)].tries == 2
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    assert store.load([identity(PROD)])[identity(PROD)].tries == 0


def test_an_intent_is_taken_back(path: Path) -> None:
    """Of two times that a refresh token went out one can be cleared, or both; the token stays."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    store.begin_spend(identity(PROD), 1, 2)

    store.end_spend(identity(PROD), 1, 1)
    assert store.load([identity(PROD)])[identity(PROD)].tries == 1
    store.end_spend(identity(PROD), 1, 0)

    found = store.load([identity(PROD)])[identity(PROD)]
    assert (found.tries, found.held) == (0, FULL)


def test_a_dead_refresh_token_is_forgotten(path: Path) -> None:
    """A refresh token that the server calls dead is gone from the files; the access token, which may live, is not."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    store.begin_spend(identity(PROD), 1, 1)

    store.drop_refresh_token(identity(PROD), 1)
    store.close()

    found = Store.open(path).load([identity(PROD)])[identity(PROD)]
    assert found.held == replace(FULL, token=replace(FULL.token, refresh_token=None))
    assert found.tries == 0
    assert b"def502" not in path.read_bytes()


def test_what_was_learned_of_a_token_is_kept_with_it(path: Path) -> None:
    """A passed probe, a death and a long lease outlive the process; the next token begins without them."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=1, asked_at=WALL, past=("older", "oldest"), proved=True)
    store.note(identity(PROD), proved=True, dead=True, leased_until=99.0)

    found = store.load([identity(PROD)])[identity(PROD)]
    assert found == store_module.Saved(FULL, 1, WALL, ("older", "oldest"), proved=True, dead=True, leased_until=99.0)
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    found = store.load([identity(PROD)])[identity(PROD)]
    assert found == store_module.Saved(FULL, 1, WALL)


def test_what_was_learned_before_the_save_is_saved_with_the_token(path: Path) -> None:
    """A token that the disk refused at first may have been promised, or called dead, before there was room for it."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL, dead=True, leased_until=5000.0)
    found = store.load([identity(PROD)])[identity(PROD)]
    assert (found.dead, found.leased_until) == (True, 5000.0)
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    found = store.load([identity(PROD)])[identity(PROD)]
    assert (found.dead, found.leased_until) == (False, 0.0), "the next token's row begins anew"


def test_a_logout_forgets_the_tokens_and_lasts(path: Path) -> None:
    """Nothing of a token is in the files any more, the intent to spend it is gone, and whose it was stays."""
    store = Store.open(path)
    moved = profile("prod", url="https://moved.example")
    for each in (PROD, moved):
        store.save(each, FULL, serial=1, asked_at=WALL, user=User("7", "a.smith"))
    store.begin_spend(identity(PROD), 1, 1)

    store.log_out("prod", {identity(PROD): 2})

    for again in (store, Store.open(path)):
        assert again.load([identity(PROD), identity(moved)]) == {}
        assert again.accounts([identity(PROD), identity(moved)]) == {
            identity(PROD): Account(User("7", "a.smith"), 2),
            identity(moved): Account(User("7", "a.smith"), 2),
        }
    token = FULL.token.access_token.reveal().encode()
    assert not any(token in each.read_bytes() for each in path.parent.glob("state.db*"))


def test_what_is_saved_late_ends_no_logout(path: Path) -> None:
    """A token that was asked for before the logout is not written; one that was asked for since ends it."""
    store = Store.open(path)
    store.log_out("prod", {identity(PROD): 5})

    store.save(PROD, FULL, serial=4, asked_at=WALL)
    assert store.load([identity(PROD)]) == {}
    assert store.accounts([identity(PROD)])[identity(PROD)].logged_out == 5

    store.save(PROD, FULL, serial=5, asked_at=WALL)
    assert store.load([identity(PROD)]).keys() == {identity(PROD)}
    assert store.accounts([identity(PROD)])[identity(PROD)].logged_out == 0


def test_a_person_ends_a_logout(path: Path) -> None:
    """Without a token yet: the next daemon may ask for one. A second logout counts again."""
    store = Store.open(path)
    store.log_out("prod", {identity(PROD): 2})
    store.log_in(identity(PROD))
    assert store.accounts([identity(PROD)]) == {identity(PROD): Account(None, 0)}
    store.log_out("prod", {identity(PROD): 3})
    assert store.accounts([identity(PROD)])[identity(PROD)].logged_out == 3


def test_the_log_is_left_long_enough_for_who_counts_on_it(path: Path) -> None:
    """A logout of one profile does not take away the room that another one's refresh has made for its answer."""
    store, other = Store.open(path), profile("other")
    store.save(PROD, FULL, serial=1, asked_at=WALL)
    store.save(other, FULL, serial=1, asked_at=WALL)
    store.begin_spend(identity(other), 1, 1)
    wal = path.with_name(f"{path.name}-wal")
    before = wal.stat().st_size

    store.log_out("prod", {identity(PROD): 2})

    assert wal.stat().st_size == before
    store.end_spend(identity(other), 1, 0)
    store.log_out("prod", {identity(PROD): 3})
    assert wal.stat().st_size == 0


def test_an_intent_of_another_credential_says_nothing(path: Path) -> None:
    """What was sent before somebody logged in again is no doubt about the new pair, and takes nothing of it back."""
    store = Store.open(path)
    store.save(PROD, FULL, serial=2, asked_at=WALL)
    store.begin_spend(identity(PROD), 1, 1)
    assert store.load([identity(PROD)])[identity(PROD)].tries == 0
    store.begin_spend(identity(PROD), 2, 1)
    store.end_spend(identity(PROD), 1, 0)
    store.end_spend(identity(PROD), 1, 5)
    store.drop_refresh_token(identity(PROD), 1)
    found = store.load([identity(PROD)])[identity(PROD)]
    assert (found.tries, found.held) == (1, FULL)


def test_the_name_of_a_user_is_noted(path: Path) -> None:
    """With a token or without one; a logout stands."""
    store = Store.open(path)
    store.note_user(PROD, User("7", "a.smith"))
    assert store.accounts([identity(PROD)]) == {identity(PROD): Account(User("7", "a.smith"))}
    store.log_out("prod", {identity(PROD): 2})
    store.note_user(PROD, User("8", "b.jones"))
    assert store.accounts([identity(PROD)]) == {identity(PROD): Account(User("8", "b.jones"), 2)}


def test_what_is_known_of_an_account_is_parked_with_it(path: Path) -> None:
    """A logout outlives a typo in the url, but not a profile that has been gone for a month."""
    store = Store.open(path)
    store.log_out("prod", {identity(PROD): 2})
    store.park(set(), WALL)
    store.park(set(), WALL + 29 * DAY)
    assert store.accounts([identity(PROD)])
    store.park({identity(PROD)}, WALL + 31 * DAY)
    store.park(set(), WALL + 32 * DAY)
    assert store.accounts([identity(PROD)])
    store.park(set(), WALL + 63 * DAY)
    assert not store.accounts([identity(PROD)])


def test_an_expected_user_makes_another_identity(path: Path) -> None:
    """A token that was let in without a look at whose it is does not serve who expects somebody; others are as ever."""
    pinned = profile("prod", expect_user="7")
    assert identity(pinned) != identity(PROD)
    assert identity(pinned) != identity(profile("prod", expect_user="8"))
    assert identity(PROD) == ('["prod", 4, "http://127.0.0.1:1", null, null, "password", "2", "integration", null]'), (
        "rows that were saved before there was such a key are found"
    )


def test_a_profile_is_forgotten_by_name(path: Path) -> None:
    """Every row of a name goes, whatever it pointed at; those of other names stay."""
    store = Store.open(path)
    moved, other = profile("prod", url="https://moved.example"), profile("other")
    for each in (PROD, moved, other):
        store.save(each, FULL, serial=1, asked_at=WALL)

    assert store.forget("prod")

    assert store.load([identity(each) for each in (PROD, moved, other)]).keys() == {identity(other)}
    assert store.accounts([identity(each) for each in (PROD, moved, other)]).keys() == {identity(other)}
    assert not store.forget("prod"), "there was nothing left"


def run(script: str, *arguments: str | Path, through: Sequence[str] = ()) -> str:
    """Run a script in a process of its own, and give what it prints."""
    done = subprocess.run(
        [*through, sys.executable, "-P", "-c", script, *arguments],
        env={name: value for name, value in os.environ.items() if name.startswith("COV")}
        | {"PYTHONPATH": os.path.dirname(__file__), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_token_that_was_asked_for_is_saved_on_a_full_disk(tmp_path: Path) -> None:
    """If the disk fills up while a refresh token is out, the new pair is saved all the same: a hundred times out of a
    hundred, after a restart as in a daemon that runs for long, and also when several are out at the same time. What
    then really does not fit is told as what it is.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, to mount a small file system of its own")
    script = """
import os, sys
from pathlib import Path
from support.lives import WALL, profile
from pmcredd.oauth import Token
from pmcredd.secret import Secret
from pmcredd.store import Store, StoreProblem, identity
from pmcredd.validity import Held, Moment

directory = Path(sys.argv[1])
profiles = [profile(f"prod-{number}") for number in range(5)]
issued = 0

def pair():
    global issued
    issued += 1
    # As long as ProcessMaker 4 makes them.
    token = Token(Secret(f"{issued:01200}"), "Bearer", 30.0, Secret(f"{issued:01000x}"), "*", "1", f"{issued:080x}")
    return Held(token, Moment(1.0, WALL, "boot"))

def fill():
    descriptor = os.open(directory / "filler", os.O_WRONLY | os.O_CREAT)
    while True:
        try:
            os.write(descriptor, bytes(4096))
        except OSError:
            return descriptor

store = Store.open(directory / "state.db")
for each in profiles:
    store.save(each, pair(), serial=1, asked_at=WALL)
for number in range(100):
    if number % 2:
        store.close()
        store = Store.open(directory / "state.db")
    out = profiles if number % 10 == 9 else profiles[:1]
    for each in out:
        store.begin_spend(identity(each), 1, 1)
    descriptor = fill()
    for each in out:
        new = pair()
        store.save(each, new, serial=1, asked_at=WALL, past=("f" * 16,) * 16)
        assert store.load([identity(each)])[identity(each)].held == new
    os.unlink(directory / "filler")
    os.close(descriptor)
fill()
try:
    for each in [profile(f"more-{number}") for number in range(100)]:
        store.save(each, pair(), serial=1, asked_at=WALL)
except StoreProblem as problem:
    print("saved", problem.message, problem.hint, sep=chr(10))
"""
    (tmp_path / "small").mkdir(mode=0o700)
    mount = 'mount -t tmpfs -o size=1m,mode=700 tmpfs "$0" && exec "$@"'

    told = run(script, tmp_path / "small", through=["unshare", "--mount", "sh", "-c", mount, str(tmp_path / "small")])

    assert (
        told
        == f"""saved
the state file {tmp_path}/small/state.db cannot be written: the disk is full
df -h {tmp_path}/small
"""
    )


@pytest.mark.parametrize("seed", range(3))
def test_writes_that_fail_at_random_lose_nothing_that_was_saved(path: Path, seed: int) -> None:
    """However far a write gets before the system refuses it: what was saved is there, or what came after it, whole; a
    try that was committed stays committed; and the store opens every time, without taking itself for damaged.
    """
    script = """
import os, random, resource, signal, sys
from pathlib import Path
from support.lives import WALL, held, profile
from pmcredd.store import Store, StoreProblem, identity

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
profiles = [profile(f"prod-{number}") for number in range(3)]
lasting = [{None} for _ in profiles]  # the tokens that each may have on disk
tries = [{0} for _ in profiles]
failed = 0

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def size(file):
    return file.stat().st_size if file.exists() else 0

def somewhere():
    # Somewhere in one of the files, or a little behind its end.
    file = rng.choice([path, Path(f"{path}-wal")])
    limit(rng.randrange(size(file) + 20_000) if rng.random() < 0.7 else resource.RLIM_INFINITY)

def attempt(call, *arguments, **more):
    global failed
    try:
        call(*arguments, **more)
        return True
    except StoreProblem:
        failed += 1
        return False

store = Store.open(path)
for number in range(200):
    which = rng.randrange(len(profiles))
    chosen, key = profiles[which], identity(profiles[which])
    somewhere()
    if rng.random() < 0.4:
        done = attempt(store.begin_spend, key, 1, number)
        tries[which] = {number} if done else tries[which] | {number}
    else:
        token = f"{number:0{rng.choice([40, 1200, 9000])}}"
        done = attempt(store.save, chosen, held(value=token), serial=1, asked_at=WALL)
        lasting[which] = {token} if done else lasting[which] | {token}
        tries[which] = {0} if done else tries[which] | {0}
    if rng.random() < 0.2:
        somewhere()
        store.close()
        try:
            store = Store.open(path)
        except StoreProblem:
            failed += 1
            limit(resource.RLIM_INFINITY)
            store = Store.open(path)
        assert store.set_aside is None
    for which, each in enumerate(profiles):
        found = store.load([identity(each)]).get(identity(each))
        assert (found.held.token.access_token.reveal() if found else None) in lasting[which], number
        assert found is None or found.tries in tries[which], number
assert failed > 10, failed
limit(resource.RLIM_INFINITY)
store.save(profiles[0], held(value="at-last"), serial=1, asked_at=WALL)
print(store.load([identity(profiles[0])])[identity(profiles[0])].held.token.access_token.reveal())
"""
    assert run(script, path, str(seed)) == "at-last\n"


def test_a_flipped_bit_costs_one_profile_its_token_and_tells_none(path: Path) -> None:
    """A saved token that is no token any more is left out; the others are there, and no error quotes it."""
    store = Store.open(path)
    other = profile("other")
    store.save(PROD, held(value="token-that-breaks"), serial=1, asked_at=WALL)
    store.save(other, held(value="token-that-stays"), serial=1, asked_at=WALL)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute(
            "UPDATE credential SET access_token = CAST(x'746f6bff656e' AS TEXT) WHERE identity = ?", (identity(PROD),)
        )
    db.close()

    found = Store.open(path).load([identity(PROD), identity(other)])

    assert list(found) == [identity(other)]


def test_a_profile_that_is_back_after_a_month_keeps_its_row(path: Path) -> None:
    """The day it comes back is not the day it is forgotten."""
    store = Store.open(path)
    store.save(PROD, held(), serial=1, asked_at=WALL)
    store.park(set(), WALL)

    store.park({identity(PROD)}, WALL + 31 * 86400)

    assert store.load([identity(PROD)])
