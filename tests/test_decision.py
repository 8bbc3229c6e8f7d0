"""What a `get` is answered with: tables for each rule of renewal, and properties over all lives."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import BOOT, held, moment
from support.pairs import pair

from pmcredd import validity
from pmcredd.decision import Ask, CannotPromise, Decision, Fail, Serve, Wait, decide, decide_as_it_is
from pmcredd.life import Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Terms

DAY = 86_400.0
YEAR = 365 * DAY
NOW = moment()
PROBLEM = Problem("the server hiccups", "wait")


# --- where a renewal disturbs nobody ----------------------------------------------------------------------------------

FRESH = Life(terms=Terms(Rule.ASK_ANEW), asked_at=NOW.wall)
LIVE = replace(FRESH, held=held(3600))
SENDING = replace(LIVE, renewal=Renewal.SENDING)
WAITING = replace(LIVE, renewal=Renewal.WAITING, problem=PROBLEM, failed_at=NOW, failures=1, wake=NOW.boot + 1)
STOPPED = replace(LIVE, renewal=Renewal.STOPPED, reason=Reason.BAD_CREDENTIALS, problem=PROBLEM, failed_at=NOW)
LOCKED = replace(STOPPED, reason=Reason.SECRET_UNAVAILABLE)
QUIET = replace(LIVE, terms=Terms(Rule.REFRESH_QUIETLY), held=pair(3600))
QUIET_DOUBT = replace(QUIET, renewal=Renewal.DOUBTFUL, tries=1, wake=NOW.boot + 60)
QUIET_UNSAVED = replace(QUIET, held=pair(3600, saved=False), save_problem=PROBLEM)


@pytest.mark.parametrize(
    ("life", "after", "lasting", "expected"),
    [
        pytest.param(LIVE, 0, None, Serve(), id="good"),
        pytest.param(LIVE, 3590, None, Ask(), id="about to end: ask anew"),
        pytest.param(LIVE, 4000, None, Ask(), id="dead: ask anew"),
        pytest.param(replace(LIVE, dead=True), 0, None, Ask(), id="called dead by the server: ask anew"),
        pytest.param(FRESH, 0, None, Ask(), id="none: ask"),
        pytest.param(FRESH, 0, YEAR, Ask(), id="none: how long it will live is not known yet"),
        pytest.param(SENDING, 0, None, Serve(), id="good while the next is under way"),
        pytest.param(SENDING, 3590, None, Wait(), id="about to end while the next is under way"),
        pytest.param(SENDING, 4000, None, Wait(), id="dead while the next is under way"),
        pytest.param(WAITING, 3590, None, Serve(), id="failing: what lives is served"),
        pytest.param(WAITING, 4000, None, Fail(), id="failing and dead"),
        pytest.param(WAITING, 3000, 1800, Fail(), id="failing: a promise is not bent"),
        pytest.param(STOPPED, 3590, None, Serve(), id="stopped: what lives is served"),
        pytest.param(STOPPED, 4000, None, Fail(), id="stopped and dead"),
        pytest.param(LIVE, 3000, 1800, Ask(), id="not long enough: ask anew"),
        pytest.param(LIVE, 0, 3600, Serve(), id="all of it"),
        pytest.param(LIVE, 0, 7200, CannotPromise(3600), id="longer than any token of that server"),
        pytest.param(LOCKED, 4000, None, Ask(), id="locked a while ago"),
        pytest.param(LOCKED, 59, None, Serve(), id="locked, and what lives is served"),
        pytest.param(replace(LOCKED, held=None), 59, None, Fail(), id="locked just now"),
        pytest.param(replace(LIVE, held=held(None)), YEAR, YEAR, Serve(), id="an unknown lifetime is taken on trust"),
        pytest.param(QUIET, 3590, None, Ask(), id="ProcessMaker 3 refreshes when asked"),
        pytest.param(QUIET_DOUBT, 0, None, Serve(), id="ProcessMaker 3 in doubt: the access token lives on"),
        pytest.param(QUIET_DOUBT, 3590, None, Serve(), id="in doubt: what lives, be it for seconds"),
        pytest.param(QUIET_DOUBT, 3600, None, Wait(), id="in doubt and expired: the second try is near"),
        pytest.param(QUIET_DOUBT, 3000, 1800, Fail(), id="in doubt: a promise is not bent"),
        pytest.param(QUIET_UNSAVED, 0, None, Serve(), id="unsaved: it is served"),
        pytest.param(QUIET_UNSAVED, 3590, None, Serve(), id="unsaved, about to end: no other is asked for"),
        pytest.param(QUIET_UNSAVED, 3600, None, Fail(), id="unsaved, expired: no other is asked for"),
    ],
)
def test_where_a_renewal_disturbs_nobody(life: Life, after: float, lasting: float | None, expected: Decision) -> None:
    """A token is good until it expires, whatever the renewal is doing."""
    assert decide(life, moment(after), lasting) == expected


# --- ProcessMaker 4: a renewal kills the token in use -----------------------------------------------------------------

PM4 = Terms(Rule.REFRESH_DISRUPTIVELY, probes=True)
# A token of ten hours: its window begins an hour before its end, and the renewal is forced half an hour later.
START, FORCED, END = 9 * 3600.0, 9.5 * 3600.0, 10 * 3600.0
IDLE = Life(terms=PM4, held=pair(END), asked_at=NOW.wall, wake=BOOT + START)


def leased(life: Life, until: float) -> Life:
    """Let a lease run until so many seconds after the beginning, and a renewal be planned for its end."""
    return replace(life, leased_until=BOOT + until, wake=BOOT + until)


BARREN = replace(IDLE, held=pair(END, refresh=False))
DUE = leased(IDLE, START + 20)


def serve(until: float) -> Serve:
    """Give the decision to lease until so many seconds after the beginning."""
    return Serve(BOOT + until)


@pytest.mark.parametrize(
    ("life", "after", "lasting", "expected"),
    [
        # before the window
        pytest.param(IDLE, 0, None, serve(30), id="a default lease"),
        pytest.param(IDLE, 0, 3600, serve(3600), id="a longer one"),
        pytest.param(IDLE, 0, FORCED, serve(FORCED), id="all that can be promised"),
        pytest.param(IDLE, 0, FORCED + 1, CannotPromise(FORCED), id="what no token of this server can keep"),
        pytest.param(IDLE, START - 1, None, serve(START + 29), id="into the window, but not past the forced moment"),
        pytest.param(IDLE, START - 1, 1700, serve(START + 1699), id="a longer one into the window"),
        pytest.param(IDLE, START - 1, 1802, Ask(), id="it needs the next token: renew, nobody holds a lease"),
        pytest.param(leased(IDLE, START), START - 9, 1900, Ask(), id="it needs the next token: plan it"),
        pytest.param(leased(IDLE, START + 99), START - 9, None, serve(START + 21), id="leases overlap freely"),
        # in the window
        pytest.param(IDLE, START, None, Ask(), id="due, without a lease: renew"),
        pytest.param(DUE, START + 1, None, serve(START + 20), id="due: clipped to the lease"),
        pytest.param(DUE, START + 15, None, Wait(), id="due: 5 s before the lease ends, wait"),
        pytest.param(DUE, START + 14, None, serve(START + 20), id="due: 6 s before, clipped"),
        pytest.param(DUE, START + 1, 10, serve(START + 20), id="due: `for` that fits"),
        pytest.param(DUE, START + 19, 1, serve(START + 20), id="due: `for` that just fits"),
        pytest.param(DUE, START + 1, 60, Wait(), id="due: `for` that does not fit waits"),
        pytest.param(DUE, START + 20, None, Ask(), id="due: the lease is over, renew"),
        pytest.param(replace(DUE, wake=None), START + 19, None, Ask(), id="due, not planned: plan"),
        pytest.param(replace(DUE, wake=BOOT + END), START + 19, None, Ask(), id="due, planned too late: plan"),
        pytest.param(IDLE, FORCED, None, Ask(), id="forced"),
        pytest.param(IDLE, END, None, Ask(), id="expired"),
        # somebody waits for a longer life
        pytest.param(replace(leased(IDLE, 50), wanted=True), 10, None, serve(50), id="wanted: clipped to the lease"),
        pytest.param(replace(leased(IDLE, 50), wanted=True), 46, None, Wait(), id="wanted: nearly there"),
        # the token is of no use
        pytest.param(replace(IDLE, dead=True), 0, None, Ask(), id="called dead: renew"),
        pytest.param(replace(leased(IDLE, 50), dead=True), 0, None, Ask(), id="called dead: its leases are no more"),
        pytest.param(replace(IDLE, held=None), 0, None, Ask(), id="none"),
        # one of 30 seconds: window from 20 s, forced at 25 s, default lease 1.5 s
        pytest.param(replace(IDLE, held=pair(30)), 0, None, serve(1.5), id="30 s: a default lease"),
        pytest.param(replace(IDLE, held=pair(30)), 0, 25, serve(25), id="30 s: all that can be promised"),
        pytest.param(replace(IDLE, held=pair(30)), 0, 26, CannotPromise(25), id="30 s: more than that"),
        pytest.param(replace(IDLE, held=pair(30)), 20, None, Ask(), id="30 s: due"),
        pytest.param(leased(replace(IDLE, held=pair(30)), 21), 20, None, Wait(), id="30 s: due, a lease runs"),
        pytest.param(leased(replace(IDLE, held=pair(30)), 21), 20, 0.5, serve(21), id="30 s: due, `for` that fits"),
        # one of a year: window from 3 days before the end, forced 1.5 days later
        pytest.param(replace(IDLE, held=pair(YEAR)), YEAR - 3 * DAY - 1, DAY, serve(YEAR - 2 * DAY - 1), id="a year"),
        pytest.param(replace(IDLE, held=pair(YEAR)), YEAR - 3 * DAY, None, Ask(), id="a year: due"),
        pytest.param(replace(IDLE, held=pair(YEAR)), 0, YEAR, CannotPromise(YEAR - 1.5 * DAY), id="not all of a year"),
        # what the profile says of its renewal
        pytest.param(replace(IDLE, terms=replace(PM4, margin=600.0)), END - 601, 300, serve(END - 301), id="late"),
        pytest.param(replace(IDLE, terms=replace(PM4, margin=600.0)), END - 600, None, Ask(), id="late: due"),
        pytest.param(replace(IDLE, terms=replace(PM4, margin=END)), END * 2 / 3, None, Ask(), id="at most a third"),
        pytest.param(replace(IDLE, terms=replace(PM4, margin=1.0)), END - 10, None, Ask(), id="at least ten seconds"),
        pytest.param(
            replace(IDLE, terms=replace(PM4, refresh_lifetime=7200.0)), 4800, None, Ask(), id="before the refresh token"
        ),
        # without expires_in
        pytest.param(replace(IDLE, held=pair(None)), YEAR, None, serve(YEAR + 30), id="unknown lifetime"),
        pytest.param(replace(IDLE, held=pair(None)), YEAR, DAY, serve(YEAR + DAY), id="unknown lifetime: on trust"),
        pytest.param(
            replace(IDLE, held=pair(None), terms=replace(PM4, refresh_lifetime=DAY)),
            0,
            DAY,
            CannotPromise(0.95 * DAY),
            id="unknown lifetime: but its refresh token's is known",
        ),
        # without a refresh token
        pytest.param(BARREN, START, None, serve(START + 30), id="nothing kills it"),
        pytest.param(BARREN, 0, END, serve(END), id="nothing kills it: all of it"),
        pytest.param(BARREN, 0, END + 1, CannotPromise(END), id="nothing kills it but time"),
        pytest.param(BARREN, 1, END, Fail(), id="no other comes"),
    ],
)
def test_leases(life: Life, after: float, lasting: float | None, expected: Decision) -> None:
    """Every hand-out is a lease that ends before our renewal comes, and the renewal finds its moment."""
    assert decide(life, moment(after), lasting) == expected


SENDING4 = replace(IDLE, renewal=Renewal.SENDING, wake=None)
DOUBT4 = replace(IDLE, renewal=Renewal.DOUBTFUL, tries=1, problem=PROBLEM, failed_at=NOW, wake=None)
WAITING4 = replace(IDLE, renewal=Renewal.WAITING, problem=PROBLEM, failed_at=NOW, wake=BOOT + START + 200)
STOPPED4 = replace(IDLE, renewal=Renewal.STOPPED, reason=Reason.BAD_CLIENT, problem=PROBLEM, wake=None)
LOCKED4 = replace(STOPPED4, reason=Reason.SECRET_UNAVAILABLE, failed_at=moment(START), wake=BOOT + START + 900)
NEEDS_LOGIN4 = replace(STOPPED4, reason=Reason.NEEDS_LOGIN, held=pair(END, refresh=False))
UNSAVED4 = replace(IDLE, held=pair(END, saved=False), save_problem=PROBLEM)
UNDATED4 = replace(IDLE, dated=False)


@pytest.mark.parametrize(
    ("life", "after", "lasting", "expected"),
    [
        pytest.param(SENDING4, START, None, Wait(), id="sending: it may die at any moment"),
        pytest.param(SENDING4, START, 1, Wait(), id="sending: `for`, too"),
        pytest.param(DOUBT4, START, None, Wait(), id="doubtful: it may be dead"),
        pytest.param(DOUBT4, END, None, Wait(), id="doubtful and expired"),
        # the token endpoint fails: up to the next attempt
        pytest.param(WAITING4, START, None, serve(START + 30), id="waiting: a default lease"),
        pytest.param(WAITING4, START + 180, None, serve(START + 200), id="waiting: up to the next attempt"),
        pytest.param(WAITING4, START + 195, None, Wait(), id="waiting: the next attempt is near"),
        pytest.param(WAITING4, START + 201, None, Wait(), id="waiting: it is about to be made"),
        pytest.param(WAITING4, START, 200, serve(START + 200), id="waiting: `for` that fits"),
        pytest.param(WAITING4, START, 201, Fail(), id="waiting: `for` that does not fit"),
        pytest.param(WAITING4, START, END + 1, CannotPromise(END), id="waiting: `for` that never fits"),
        pytest.param(WAITING4, END, None, Fail(), id="waiting and expired"),
        pytest.param(
            replace(WAITING4, wake=BOOT + END + 99), END - 10, None, serve(END), id="waiting: up to the token's end"
        ),
        pytest.param(replace(WAITING4, wake=BOOT + END + 99), END - 10, 20, Fail(), id="waiting: nor does a promise"),
        pytest.param(replace(WAITING4, held=pair(30), wake=BOOT + 22), 20.1, None, serve(21.6), id="waiting: 30 s"),
        pytest.param(replace(WAITING4, dead=True), START, None, Fail(), id="waiting and dead"),
        # stopped: somebody may mend it at any time
        pytest.param(STOPPED4, 0, None, serve(30), id="stopped: a default lease"),
        pytest.param(STOPPED4, 0, FORCED, serve(FORCED), id="stopped: `for` up to the forced moment"),
        pytest.param(STOPPED4, 0, FORCED + 1, Fail(), id="stopped: `for` past it"),
        pytest.param(STOPPED4, FORCED, None, serve(FORCED + 30), id="stopped: what lives is served, past it too"),
        pytest.param(STOPPED4, FORCED, 600, serve(FORCED + 600), id="stopped: and promised, past it"),
        pytest.param(STOPPED4, END - 10, None, serve(END), id="stopped: no lease outlasts the token"),
        pytest.param(STOPPED4, END, None, Fail(), id="stopped and expired"),
        pytest.param(LOCKED4, START + 890, None, serve(START + 900), id="locked: up to the next attempt"),
        pytest.param(LOCKED4, END, None, Ask(), id="locked a while ago, and expired: try"),
        pytest.param(NEEDS_LOGIN4, FORCED, 1800, serve(END), id="the login has ended: the token is good to its end"),
        # nothing is sent before the pair in hand is on disk
        pytest.param(UNSAVED4, 0, None, serve(30), id="unsaved: it is served"),
        pytest.param(UNSAVED4, 0, FORCED, serve(FORCED), id="unsaved: and promised"),
        pytest.param(UNSAVED4, 0, FORCED + 1, Fail(), id="unsaved: but not past the forced moment"),
        pytest.param(
            replace(UNSAVED4, wake=BOOT + START + 5, wanted=True), START, None, serve(START + 30), id="unsaved and due"
        ),
        pytest.param(UNSAVED4, END, None, Fail(), id="unsaved and expired"),
        # after a reboot, before the server's clock was seen
        pytest.param(UNDATED4, 0, None, serve(30), id="undated: the wall clock is believed for a default lease"),
        pytest.param(UNDATED4, FORCED, None, serve(FORCED + 30), id="undated: nothing is renewed"),
        pytest.param(UNDATED4, 0, 60, Ask(), id="undated: a promise needs the server's clock"),
        pytest.param(replace(UNDATED4, wanted=True), 0, 60, Wait(), id="undated: it is being asked"),
        pytest.param(UNDATED4, END, None, Ask(), id="undated and expired, says the wall clock: ask the server"),
        pytest.param(replace(UNDATED4, wanted=True), END, None, Wait(), id="undated and expired: it is being asked"),
        pytest.param(replace(LOCKED4, dated=False), END, None, Ask(), id="undated, locked, expired: ask the server"),
        pytest.param(
            replace(LOCKED4, dated=False, wanted=True),
            END,
            None,
            Wait(),
            id="undated, locked, expired: it is being asked",
        ),
        pytest.param(replace(UNDATED4, dead=True), 0, None, Ask(), id="undated and dead: renew"),
    ],
)
def test_leases_in_trouble(life: Life, after: float, lasting: float | None, expected: Decision) -> None:
    """Where no renewal can come, what lives is served, up to the next attempt; a promise is kept or refused."""
    assert decide(life, moment(after), lasting) == expected


# --- a `get` that is to cause no renewal ------------------------------------------------------------------------------

ALONE = replace(IDLE, wake=None)  # no daemon: nothing is planned
ALONE_UNDATED = replace(ALONE, dated=False)


@pytest.mark.parametrize(
    ("life", "after", "lasting", "expected"),
    [
        pytest.param(LIVE, 0, None, Serve(), id="good"),
        pytest.param(LIVE, 3590, None, Serve(), id="about to end: it lives"),
        pytest.param(LIVE, 3000, 1800, Fail(), id="not long enough"),
        pytest.param(LIVE, 0, 7200, CannotPromise(3600), id="longer than any token of that server"),
        pytest.param(LIVE, 4000, None, Fail(), id="expired"),
        pytest.param(FRESH, 0, None, Fail(), id="none"),
        pytest.param(replace(FRESH, wake=BOOT), 0, None, Wait(), id="none, and the daemon is about to ask"),
        pytest.param(SENDING, 4000, None, Wait(), id="expired, and the daemon asks"),
        pytest.param(LOCKED, 4000, None, Fail(), id="expired, and nothing is tried"),
        pytest.param(IDLE, 0, 3600, serve(3600), id="leased as always"),
        pytest.param(IDLE, START, None, Wait(), id="due: the daemon renews at this moment"),
        pytest.param(IDLE, START - 9, 1900, Fail(), id="only the next token could be promised so long"),
        pytest.param(ALONE, START, None, serve(START + 30), id="due, without a daemon: what lives"),
        pytest.param(ALONE, START, 1800, serve(FORCED), id="due, without a daemon: up to the forced moment"),
        pytest.param(ALONE, START, 1801, Fail(), id="due, without a daemon: and not past it"),
        pytest.param(ALONE, FORCED - 9, None, serve(FORCED), id="a lease that makes no renewal late"),
        pytest.param(ALONE, FORCED + 9, None, serve(FORCED + 9), id="forced: it lives, and nothing is promised"),
        pytest.param(ALONE, FORCED + 9, 1, Fail(), id="forced: nothing is promised"),
        pytest.param(ALONE, END, None, Fail(), id="expired, without a daemon"),
        pytest.param(BARREN, 1, END, Fail(), id="no other comes"),
        pytest.param(ALONE_UNDATED, 0, None, serve(30), id="undated: the wall clock is believed"),
        pytest.param(ALONE_UNDATED, 0, 60, Fail(), id="undated: a promise needs the server's clock"),
        pytest.param(DOUBT4, START, None, Wait(), id="doubtful: it may be dead"),
    ],
)
def test_a_get_that_causes_no_renewal(life: Life, after: float, lasting: float | None, expected: Decision) -> None:
    """What lives is served; what comes by itself is waited for; nothing is asked for, and no renewal made late."""
    assert decide_as_it_is(life, moment(after), lasting) == expected


# --- over all lives ---------------------------------------------------------------------------------------------------

lives = st.builds(
    Life,
    terms=st.builds(
        Terms, st.sampled_from(Rule), st.none() | st.floats(1, 1e6), st.none() | st.floats(1, 1e6), probes=st.booleans()
    ),
    held=st.none() | st.builds(pair, st.floats(1, 1e6) | st.none(), refresh=st.booleans(), saved=st.booleans()),
    dead=st.booleans(),
    dated=st.booleans(),
    leased_until=st.floats(0, 2e6),
    wanted=st.booleans(),
    renewal=st.sampled_from(Renewal),
    problem=st.just(PROBLEM),
    reason=st.sampled_from(Reason),
    failed_at=st.just(NOW),
    wake=st.none() | st.floats(0, 2e6),
    asked_at=st.just(NOW.wall),
)
instants = st.floats(0, 2e6)
promises = st.none() | st.floats(0, 2e6)


@given(lives, instants, promises)
def test_a_promise_is_kept_or_refused(life: Life, after: float, lasting: float | None) -> None:
    """What is served lives, is not known dead, and lives for as long as was asked for."""
    now = moment(after)

    if isinstance(decision := decide(life, now, lasting), Serve):
        assert life.held is not None
        assert not life.dead
        left = validity.remaining(life.held, now)
        assert left is None or left > 0
        assert left is None or lasting is None or left >= lasting - 1e-6
        if decision.lease is not None:
            assert decision.lease >= now.boot
            assert lasting is None or decision.lease >= now.boot + lasting


@given(lives, instants, promises)
def test_every_lease_leaves_the_renewal_its_moment(life: Life, after: float, lasting: float | None) -> None:
    """Where a renewal is due nothing makes the lease that runs longer, and none runs past the forced moment."""
    now = moment(after)
    life = replace(life, renewal=Renewal.IDLE, dated=True, terms=replace(life.terms, rule=Rule.REFRESH_DISRUPTIVELY))

    decision = decide(life, now, lasting)

    assert isinstance(decision, Serve) <= (life.held is not None)
    if not isinstance(decision, Serve) or life.held is None or life.held.token.refresh_token is None:
        return
    assert decision.lease is not None
    window = validity.window(life.terms, life.held)
    if life.held.saved and window is not None:
        assert decision.lease <= max(window.forced, life.leased_until)
        if life.wanted or now.boot >= window.start:
            assert decision.lease <= life.leased_until


@given(lives, instants, promises)
def test_more_is_never_promised_than_was_said_to_be_the_most(life: Life, after: float, lasting: float | None) -> None:
    """A refusal that names the most there is does so only to who asks for more."""
    decision = decide(life, moment(after), lasting)

    if isinstance(decision, CannotPromise):
        assert lasting is not None
        assert lasting > decision.most


@given(lives, instants, promises)
def test_to_cause_nothing_is_to_promise_no_more(life: Life, after: float, lasting: float | None) -> None:
    """Without a renewal of its own a `get` has no token that is dead, and no lease past the forced moment."""
    now = moment(after)
    decision, usual = decide_as_it_is(life, now, lasting), decide(life, now, lasting)

    assert not isinstance(decision, Ask)
    assert isinstance(usual, Ask) or decision == usual
    if isinstance(decision, Serve):
        assert life.held is not None
        assert not life.dead
        assert validity.alive(life.held, now)
        if isinstance(usual, Ask) and decision.lease is not None and life.held.token.refresh_token is not None:
            window = validity.window(life.terms, life.held)
            assert window is None or decision.lease <= max(window.forced, now.boot)
