"""Which command runs next: one at a time for a profile, the latest of each event, and no circle that goes on."""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pmcredd.event_queue import AT_ONCE, FREE, LONGEST_PAUSE, Job, Queue
from pmcredd.profiles import EventName

NEEDS_LOGIN, RENEWED, FAILING, EXPIRING = EventName
DAY = 86_400.0


def take(queue: Queue[int], now: float) -> Job[int]:
    """Take what must be there."""
    job = queue.take(now)
    assert job is not None
    return job


def test_a_profile_has_one_command_at_a_time_and_keeps_the_latest() -> None:
    """What comes while one runs waits, and the next of the same event takes its place."""
    queue: Queue[int] = Queue()
    assert queue.put("prod", RENEWED, 1, 0.0) == 0.0
    assert take(queue, 0.0) == Job("prod", RENEWED, 1)
    for number in (2, 3, 4):
        assert queue.put("prod", RENEWED, number, 1.0) == 0.0
    queue.put("prod", FAILING, 5, 1.0)
    assert queue.take(2.0) is None
    queue.done("prod", 3.0)
    assert take(queue, 3.0) == Job("prod", RENEWED, 4)
    queue.done("prod", 4.0)
    assert take(queue, 4.0) == Job("prod", FAILING, 5)
    queue.done("prod", 5.0)
    assert queue.take(5.0) is None


def test_a_handful_runs_at_once() -> None:
    """Ten thousand profiles that lose their server together do not start ten thousand programs."""
    queue: Queue[int] = Queue()
    for number in range(20):
        queue.put(f"p{number}", FAILING, number, 0.0)
    running = [take(queue, 0.0).profile for _ in range(AT_ONCE)]
    assert len(set(running)) == AT_ONCE
    assert queue.take(0.0) is None
    assert queue.next_at() == math.inf  # nothing to look at before one ends
    queue.done(running[0], 1.0)
    assert take(queue, 1.0).profile not in running


def test_what_is_over_is_not_run() -> None:
    """A trouble that has healed while its command waited is nobody's business."""
    queue: Queue[int] = Queue()
    queue.put("prod", FAILING, 1, 0.0)
    queue.put("prod", RENEWED, 2, 0.0)
    queue.drop("prod", {FAILING, NEEDS_LOGIN})
    queue.drop("other", {FAILING})
    assert take(queue, 0.0) == Job("prod", RENEWED, 2)
    queue.done("prod", 0.0)
    assert queue.take(0.0) is None


def simulate(*, every: float | None, lasting: float, own: bool, until: float) -> list[tuple[float, int]]:
    """Run a profile's `renewed` command for a while; gives when it ran, and for which token.

    A token comes `every` so many seconds; a run lasts `lasting`, and with `own` brings a token itself.
    """
    queue: Queue[int] = Queue()
    token, now, ends, runs = 1, 0.0, math.inf, []
    due = every if every is not None else math.inf
    queue.put("prod", RENEWED, token, now)
    while now < until:
        if (job := queue.take(now)) is not None:
            runs.append((now, job.what))
            ends = now + lasting
            if own:
                token += 1
                queue.put("prod", RENEWED, token, now + lasting / 2)
        now = min(ends, due, queue.next_at(), until)
        if now == ends:
            queue.done("prod", now)
            ends = math.inf
        if now == due and every is not None:
            token += 1
            queue.put("prod", RENEWED, token, now)
            due = now + every
    return runs


def test_short_lived_tokens_each_get_their_run() -> None:
    """A token every ten seconds, a command that is quick: none is missed, none waits."""
    assert simulate(every=10.0, lasting=1.0, own=False, until=600.5) == [(at * 10.0, at + 1) for at in range(61)]


def test_a_command_that_brings_about_its_own_event_fades_away() -> None:
    """`pmcred login` on `renewed` is a circle: a few turns, then hardly one an hour, whatever else renews."""
    for every in (None, 30.0):
        runs = [at for at, _ in simulate(every=every, lasting=1.0, own=True, until=DAY)]
        assert len(runs) < 45
        assert runs[FREE] < 60.0  # a command that does so once or twice for a reason is not in the way of itself
        assert runs[-1] - runs[-2] >= LONGEST_PAUSE


def test_a_command_slower_than_its_events_ends_with_the_latest() -> None:
    """It misses some, but what it runs for is always the last one there was when it began."""
    runs = simulate(every=10.0, lasting=15.0, own=False, until=3600.0)
    assert all(token == 1 + int(at / 10) for at, token in runs)
    assert len(runs) >= 9


def test_a_circle_does_not_hold_up_other_events() -> None:
    """Somebody must hear that a login is needed, also where the command for something else is put off."""
    queue: Queue[int] = Queue()
    now, number = 0.0, 0
    while (pause := queue.put("prod", RENEWED, number, now)) == 0.0:
        number += 1
        take(queue, now)
        queue.done("prod", now)
    assert queue.take(now) is None
    assert queue.put("prod", NEEDS_LOGIN, 9, now) == 0.0
    assert take(queue, now) == Job("prod", NEEDS_LOGIN, 9)
    assert queue.next_at() == math.inf  # until that ends
    queue.done("prod", now)
    assert queue.next_at() == now + pause
    assert take(queue, now + pause).event is RENEWED


class Uses(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Queue[int] = Queue()
        self.now = 0.0
        self.number = 0
        self.waiting: dict[tuple[str, EventName], int] = {}
        self.running: list[str] = []

    @rule(profile=st.sampled_from("abcdef"), event=st.sampled_from(EventName))
    def put(self, profile: str, event: EventName) -> None:
        """Something happens."""
        self.number += 1
        self.queue.put(profile, event, self.number, self.now)
        self.waiting[profile, event] = self.number

    @rule(seconds=st.sampled_from([0.5, 6.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds

    @rule()
    def take(self) -> None:
        """There is room for a command."""
        if (job := self.queue.take(self.now)) is not None:
            assert self.waiting.pop((job.profile, job.event)) == job.what
            assert job.profile not in self.running
            self.running.append(job.profile)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A command ends."""
        profile = data.draw(st.sampled_from(self.running))
        self.running.remove(profile)
        self.queue.done(profile, self.now)

    @rule(profile=st.sampled_from("abcdef"), events=st.sets(st.sampled_from(EventName)))
    def drop(self, profile: str, events: set[EventName]) -> None:
        """Something is over."""
        self.queue.drop(profile, events)
        for event in events:
            self.waiting.pop((profile, event), None)

    @invariant()
    def bounded(self) -> None:
        """Never more than a handful, and what may run is seen in time."""
        assert len(self.running) <= AT_ONCE
        if len(self.running) < AT_ONCE and any(profile not in self.running for profile, _ in self.waiting):
            assert self.queue.next_at() < math.inf

    def teardown(self) -> None:
        """Everything runs in the end, with the latest."""
        for _ in range(200):
            for profile in self.running:
                self.queue.done(profile, self.now)
            self.running = []
            self.now += LONGEST_PAUSE
            self.take()
        assert not self.waiting


TestUses = Uses.TestCase
TestUses.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
