"""The sandbox's state: what issuing, rotating, revoking and the passing of time do to its tokens."""

import base64
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pmcredd.sandbox.instances import CODE, PASSWORD, PERSONAL, PM3_CLIENT, USERS, Sandbox, fake_secret
from pmcredd.sandbox.journal import KEPT, Journal, Note
from pmcredd.sandbox.settings import Settings
from pmcredd.sandbox.throttle import Throttle
from pmcredd.sandbox.world import Client, Issued, World, digest, year_after

NOON = datetime(2025, 8, 14, 12, tzinfo=UTC).timestamp() + 0.25
DEMO, OTHER = USERS


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def sandbox(clock: Callable[[], float], **chosen: object) -> Sandbox:
    """Make a sandbox whose tokens are the same in every run."""
    chooser: Callable[..., Settings] = Settings
    return Sandbox(chooser(**chosen), clock=clock, entropy=random.Random(1).randbytes)


def claims(token: str) -> dict[str, object]:
    """Read a JWT's claims."""
    payload = token.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert isinstance(found, dict)
    return found


def pair(world: World, client: Client) -> Issued:
    """Issue a token pair to the user demo."""
    return world.issue(client, DEMO.id, (), refreshable=True)


def lives(world: World, issued: Issued) -> bool:
    """Tell whether the API would take this token."""
    return world.bearer(issued.access_token.reveal()) is not None


class TestShapes:
    def test_an_access_token_is_the_jwt_that_passport_writes(self) -> None:
        """Header, claims, their types and the size are those of a real token with a 4096-bit key."""
        issued = pair(sandbox(Clock()).pm4, PASSWORD)
        text = issued.access_token.reveal()
        header, _, signature = text.split(".")
        assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"typ": "JWT", "alg": "RS256"}
        assert len(base64.urlsafe_b64decode(signature + "==")) == 512
        assert 960 <= len(text) <= 990
        found = claims(text)
        assert list(found) == ["aud", "jti", "iat", "nbf", "exp", "sub", "scopes"]
        assert (found["aud"], found["sub"], found["scopes"]) == ("2", "1", [])
        assert found["iat"] == found["nbf"] == NOON
        assert found["exp"] == NOON + 31536000
        assert found["jti"] == issued.row.id
        assert len(issued.row.id) == 80

    def test_times_were_whole_numbers_up_to_4_1(self) -> None:
        """iat, nbf and exp of an old release are integers."""
        found = claims(pair(sandbox(Clock(), version="4.1").pm4, PASSWORD).access_token.reveal())
        assert [type(found[name]) for name in ("iat", "nbf", "exp")] == [int, int, int]

    @pytest.mark.parametrize(("passport_13", "subject"), [(False, ""), (True, "2")])
    def test_a_token_without_a_user(self, passport_13: bool, subject: str) -> None:
        """The subject of a client_credentials token is empty, or the client with Passport 13."""
        world = sandbox(Clock(), passport_13=passport_13).pm4
        issued = world.issue(PASSWORD, None, (), refreshable=False)
        assert claims(issued.access_token.reveal())["sub"] == subject
        assert issued.refresh_token is None

    def test_a_refresh_token_looks_like_a_defuse_ciphertext(self) -> None:
        """706 hexadecimal digits that begin with def502."""
        refresh = pair(sandbox(Clock()).pm4, PASSWORD).refresh_token
        assert refresh is not None
        assert refresh.reveal().startswith("def502")
        assert len(refresh.reveal()) == 706
        int(refresh.reveal(), 16)

    def test_processmaker_3_has_40_hexadecimal_digits(self) -> None:
        """Access token, refresh token and code are opaque."""
        world = sandbox(Clock()).pm3
        issued = pair(world, PM3_CLIENT)
        code = world.issue_code(PM3_CLIENT, DEMO, redirect_uri=None)
        for secret in (issued.access_token, issued.refresh_token, code):
            assert secret is not None
            assert len(secret.reveal()) == 40
            int(secret.reveal(), 16)

    def test_client_secrets_have_the_real_length_and_are_obviously_fake(self) -> None:
        """Nobody may take a secret of the sandbox for a real one."""
        assert len(fake_secret("x")) == 40
        assert all(client.secret.startswith("fake-secret-") for client in (PASSWORD, CODE, PM3_CLIENT))


class TestLifetimes:
    @pytest.mark.parametrize(
        ("start", "seconds"),
        [
            (datetime(2025, 8, 14, tzinfo=UTC), 31536000),
            (datetime(2027, 8, 14, tzinfo=UTC), 31622400),  # the year spans 29 February
            (datetime(2028, 2, 29, tzinfo=UTC), 31622400),  # PHP rolls over to 1 March
        ],
    )
    def test_a_calendar_year(self, start: datetime, seconds: int) -> None:
        """Passport's P1Y is a calendar year, whose length differs."""
        assert year_after(start.timestamp()) - start.timestamp() == seconds

    def test_processmaker_3_lives_a_day_and_refreshes_for_a_fortnight(self) -> None:
        """The lifetimes of generation 3."""
        issued = pair(sandbox(Clock()).pm3, PM3_CLIENT)
        assert issued.expires_in == 86400

    def test_chosen_lifetimes_hold_for_both_generations(self) -> None:
        """A token of thirty seconds is good for thirty seconds and not longer; a personal one has its own lifetime."""
        clock = Clock()
        box = sandbox(clock, token_lifetime=30.0, refresh_lifetime=60.0, personal_lifetime=90.0)
        for world, client in ((box.pm4, PASSWORD), (box.pm3, PM3_CLIENT)):
            clock.now = NOON
            issued = pair(world, client)
            personal = world.issue_personal(DEMO, "mine", PERSONAL)
            assert (issued.expires_in, personal.expires_in) == (30, 90)
            clock.now = NOON + 29.9
            assert lives(world, issued)
            clock.now = NOON + 30
            assert not lives(world, issued)
            assert issued.refresh_token is not None
            row = world.find_refresh(issued.refresh_token.reveal())
            assert row is not None
            assert row.expires == NOON + 60

    def test_a_jwt_from_the_future_is_refused(self) -> None:
        """A JWT's iat and nbf have no leeway: a clock set back kills tokens of ProcessMaker 4, not those of 3."""
        clock = Clock()
        box = sandbox(clock)
        new, old = pair(box.pm4, PASSWORD), pair(box.pm3, PM3_CLIENT)
        clock.now = NOON - 1
        assert not lives(box.pm4, new)
        assert lives(box.pm3, old)


class TestRotation:
    def test_a_refresh_kills_the_living_token_on_processmaker_4(self) -> None:
        """After a refresh the new token works and both old ones are dead, at once."""
        world = sandbox(Clock()).pm4
        first = pair(world, PASSWORD)
        assert first.refresh_token is not None
        spent = world.find_refresh(first.refresh_token.reveal())
        assert spent is not None
        second = world.refresh(spent, PASSWORD, ())
        assert not lives(world, first)
        assert lives(world, second)
        assert spent.revoked
        assert second.row.user_id == DEMO.id

    def test_a_refresh_leaves_the_living_token_alone_on_processmaker_3(self) -> None:
        """There the old access token lives on, while the old refresh token is forgotten."""
        world = sandbox(Clock()).pm3
        first = pair(world, PM3_CLIENT)
        assert first.refresh_token is not None
        spent = world.find_refresh(first.refresh_token.reveal())
        assert spent is not None
        second = world.refresh(spent, PM3_CLIENT, ())
        assert lives(world, first)
        assert lives(world, second)
        assert world.find_refresh(first.refresh_token.reveal()) is None

    def test_asking_anew_disturbs_nobody(self) -> None:
        """Several tokens of one user live at once."""
        world = sandbox(Clock()).pm4
        tokens = [pair(world, PASSWORD) for _ in range(3)]
        assert all(lives(world, token) for token in tokens)

    def test_processmaker_3_forgets_expired_rows_when_it_issues(self) -> None:
        """The next issue deletes expired tokens, refresh tokens and codes, and keeps the others."""
        clock = Clock()
        box = sandbox(clock, token_lifetime=700.0, refresh_lifetime=700.0)
        old = pair(box.pm3, PM3_CLIENT)
        code = box.pm3.issue_code(PM3_CLIENT, DEMO, redirect_uri=None)
        clock.now += 600
        young = pair(box.pm3, PM3_CLIENT)
        clock.now += 100
        pair(box.pm3, PM3_CLIENT)
        assert old.refresh_token is not None
        assert box.pm3.find_access(old.access_token.reveal()) is None
        assert box.pm3.find_access_by_id(old.row.id) is None
        assert box.pm3.find_refresh(old.refresh_token.reveal()) is None
        assert box.pm3.find_code(code.reveal()) is None
        assert lives(box.pm3, young)

    def test_processmaker_4_keeps_expired_rows(self) -> None:
        """Its tables only grow."""
        clock = Clock()
        world = sandbox(clock, token_lifetime=10.0).pm4
        old = pair(world, PASSWORD)
        clock.now += 20
        pair(world, PASSWORD)
        assert world.find_access(old.access_token.reveal()) is old.row


class TestRevocation:
    def test_by_fingerprint_and_by_whole_digest(self) -> None:
        """One token is named either way, access or refresh; naming it again hits nothing."""
        world = sandbox(Clock()).pm4
        first, second = pair(world, PASSWORD), pair(world, PASSWORD)
        assert first.refresh_token is not None
        assert world.revoke_named(first.access_token.fingerprint()) == 1
        assert world.revoke_named(digest(first.refresh_token.reveal())) == 1
        assert world.revoke_named(first.access_token.fingerprint()) == 0
        assert not lives(world, first)
        assert lives(world, second)

    @pytest.mark.parametrize(("access", "refresh"), [(True, False), (False, True), (True, True)])
    def test_all_at_once(self, access: bool, refresh: bool) -> None:
        """Every token of the kinds asked for, and none of the other kind."""
        world = sandbox(Clock()).pm4
        issued = pair(world, PASSWORD)
        assert issued.refresh_token is not None
        assert world.revoke_all(access=access, refresh=refresh) == access + refresh
        row = world.find_refresh(issued.refresh_token.reveal())
        assert row is not None
        assert (issued.row.revoked, row.revoked) == (access, refresh)

    def test_a_deleted_client_takes_its_tokens_with_it(self) -> None:
        """As an administrator deletes a client: its tokens die, those of other clients live."""
        world = sandbox(Clock()).pm4
        mine, others = pair(world, PASSWORD), pair(world, CODE)
        world.delete_client(PASSWORD.id)
        assert mine.row.revoked
        assert not lives(world, mine)
        assert lives(world, others)

    def test_a_token_of_a_client_that_is_gone_is_dead_even_unrevoked(self) -> None:
        """The guard looks at the client too."""
        world = sandbox(Clock()).pm4
        issued = pair(world, PASSWORD)
        world.delete_client(PASSWORD.id)
        issued.row.revoked = False
        assert not lives(world, issued)

    def test_a_tampered_token_is_unknown(self) -> None:
        """The whole token is compared, not the jti alone."""
        world = sandbox(Clock()).pm4
        text = pair(world, PASSWORD).access_token.reveal()
        assert world.bearer(text[:-1] + ("A" if text[-1] != "A" else "B")) is None


class Rotations(RuleBasedStateMachine):
    """Any order of issuing, refreshing and revoking, on both generations at once."""

    pairs = Bundle[tuple[str, Issued]]("pairs")

    def __init__(self) -> None:
        super().__init__()
        box = sandbox(Clock())
        self.worlds = {"4": (box.pm4, PASSWORD), "3": (box.pm3, PM3_CLIENT)}
        self.alive: dict[str, tuple[str, Issued]] = {}
        self.dead: dict[str, tuple[str, Issued]] = {}
        self.spent: list[tuple[str, str]] = []

    @rule(target=pairs, generation=st.sampled_from("34"))
    def issue(self, generation: str) -> tuple[str, Issued]:
        world, client = self.worlds[generation]
        issued = pair(world, client)
        self.alive[issued.row.id] = generation, issued
        return generation, issued

    @rule(target=pairs, old=pairs)
    def refresh(self, old: tuple[str, Issued]) -> tuple[str, Issued]:
        generation, issued = old
        world, client = self.worlds[generation]
        assert issued.refresh_token is not None
        row = world.find_refresh(issued.refresh_token.reveal())
        if row is None or row.revoked:
            return old
        fresh = world.refresh(row, client, ())
        self.spent.append((generation, issued.refresh_token.reveal()))
        if generation == "4":
            self.alive.pop(issued.row.id, None)
            self.dead[issued.row.id] = old
        self.alive[fresh.row.id] = generation, fresh
        return generation, fresh

    @rule(old=pairs)
    def revoke(self, old: tuple[str, Issued]) -> None:
        generation, issued = old
        self.worlds[generation][0].revoke_named(issued.access_token.fingerprint())
        self.alive.pop(issued.row.id, None)
        self.dead[issued.row.id] = old

    @invariant()
    def the_living_live_and_the_dead_stay_dead(self) -> None:
        assert all(lives(self.worlds[generation][0], issued) for generation, issued in self.alive.values())
        assert not any(lives(self.worlds[generation][0], issued) for generation, issued in self.dead.values())

    @invariant()
    def a_spent_refresh_token_never_works_again(self) -> None:
        for generation, text in self.spent:
            row = self.worlds[generation][0].find_refresh(text)
            assert row is None or row.revoked


TestRotations = Rotations.TestCase
TestRotations.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


class TestThrottle:
    def test_the_hit_over_the_limit_is_told_when_to_come_back(self) -> None:
        """Sixty in a minute, then Retry-After in whole seconds and the reset's unix time; then a new window."""
        clock = Clock(1000.0)
        throttle = Throttle(60, clock)
        remaining = []
        for _ in range(60):
            verdict = throttle.hit("a")
            assert verdict is not None
            assert not verdict.refused
            remaining.append(verdict.remaining)
        assert remaining == list(range(59, -1, -1))
        clock.now = 1010.5
        verdict = throttle.hit("a")
        assert verdict is not None
        assert verdict.refused
        assert dict(verdict.headers()) == {
            "x-ratelimit-limit": "60",
            "x-ratelimit-remaining": "0",
            "retry-after": "50",
            "x-ratelimit-reset": "1060",
        }
        clock.now = 1060.0
        verdict = throttle.hit("a")
        assert verdict is not None
        assert not verdict.refused

    def test_addresses_do_not_share_a_bucket(self) -> None:
        """One greedy address does not starve another."""
        throttle = Throttle(1, Clock())
        verdicts = [throttle.hit(address) for address in ("a", "b", "a")]
        assert [verdict is not None and verdict.refused for verdict in verdicts] == [False, False, True]

    def test_off(self) -> None:
        """Without a limit there is no verdict."""
        assert Throttle(None, Clock()).hit("a") is None

    def test_old_windows_are_swept(self) -> None:
        """A flood of addresses does not stay in memory for ever."""
        clock = Clock()
        throttle = Throttle(1, clock)
        for number in range(2000):
            throttle.hit(str(number))
        clock.now += 61
        throttle.hit("late")
        assert len(throttle._windows) == 1

    @given(gaps=st.lists(st.floats(0, 40), max_size=60), limit=st.integers(1, 5))
    def test_no_more_than_the_limit_in_any_window(self, gaps: list[float], limit: int) -> None:
        """However requests come: who waits as told is let in, and no window takes more than the limit."""
        clock = Clock(0.0)
        throttle = Throttle(limit, clock)
        window_start, taken = 0.0, 0
        for gap in gaps:
            clock.now += gap
            verdict = throttle.hit("a")
            assert verdict is not None
            if verdict.refused:
                assert taken == limit
                assert verdict.retry_after is not None
                clock.now += verdict.retry_after
                verdict = throttle.hit("a")
                assert verdict is not None
                assert not verdict.refused
            if taken == 0 or clock.now >= window_start + 60:
                window_start, taken = clock.now, 0
            taken += 1
            assert verdict.remaining == limit - taken


class TestJournal:
    def test_a_line_says_what_happened_without_a_secret(self) -> None:
        """Grant, client, status, error and fingerprints; the tokens themselves never."""
        lines: list[str] = []
        journal = Journal(Clock(), lines.append)
        issued = pair(sandbox(Clock()).pm4, PASSWORD)
        assert issued.refresh_token is not None
        journal.add(Note(4, "refresh_token", "2").spend("0123456789abcdef0123").issue(issued))
        journal.add(Note(3, status=400, error="invalid_request"))
        access, refresh = issued.access_token, issued.refresh_token
        head = f"PM4 refresh_token client=2 200 spent=0123456789abcdef access={access.fingerprint()}"
        assert lines[0].partition(" ")[2] == f"{head} refresh={refresh.fingerprint()}"
        assert lines[1].partition(" ")[2] == "PM3 ? client=? 400 invalid_request"
        assert [note.time for note in journal.notes()] == [NOON, NOON]
        assert access.reveal() not in json.dumps(journal.since(0, 9))

    def test_it_does_not_grow_for_ever(self) -> None:
        """Only the last requests are remembered, 100,000 at least; what fell off is a gap that a reader can see."""
        assert KEPT >= 100_000
        journal = Journal(Clock())
        for _ in range(KEPT + 5):
            journal.add(Note(4))
        assert len(journal.notes()) == KEPT
        assert [row["seq"] for row in journal.since(0, 2)] == [6, 7]

    @given(count=st.integers(0, 30), limit=st.integers(1, 10))
    def test_it_is_read_in_pages(self, count: int, limit: int) -> None:
        """Reading on after the last seq gives every request once, in order; then nothing."""
        journal = Journal(Clock())
        for _ in range(count):
            journal.add(Note(4))
        seen: list[object] = []
        while page := journal.since(len(seen), limit):
            assert len(page) <= limit
            assert page[0]["seq"] == len(seen) + 1
            seen += [row["seq"] for row in page]
        assert seen == list(range(1, count + 1))
        times = [note.monotonic for note in journal.notes()]
        assert times == sorted(times)

    def test_a_lost_answer_is_told_in_the_line(self) -> None:
        """People see which fault struck."""
        lines: list[str] = []
        Journal(Clock(), lines.append).add(Note(4, status=0, fault="delay-request lose-answer", lost=True))
        assert lines[0].endswith(" PM4 ? client=? 0 fault=delay-request+lose-answer lost")


class TestPeople:
    def test_usernames_are_compared_exactly(self) -> None:
        """No e-mail address, no other case, no other's password."""
        world = sandbox(Clock()).pm4
        assert world.authenticate("demo", "demo-password") is DEMO
        wrong = [("Demo", "demo-password"), ("demo@example.com", "demo-password"), ("demo", "other-password")]
        assert [world.authenticate(*pair) for pair in wrong] == [None, None, None]

    def test_secrets_stay_out_of_reprs(self) -> None:
        """A failed assertion in somebody's test must not print passwords."""
        assert DEMO.password not in repr(DEMO)
        assert PASSWORD.secret not in repr(PASSWORD)
        assert OTHER.password not in repr(sandbox(Clock()).pm4.users)
