"""A profile's life: what follows from what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lives import held, moment
from support.pairs import pair

from pmcredd import life as l
from pmcredd import lifecycle
from pmcredd.life import Fault, Life, Problem, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.transition import Step
from pmcredd.validity import Held, Terms

DAY = 86_400.0
NOW = moment()
PROBLEM = Problem("the server hiccups", "wait", Fault.UNREACHABLE)
NEW = held(3600, value="token-2")

FRESH = Life(terms=Terms(Rule.ASK_ANEW), asked_at=NOW.wall)
LIVE = replace(FRESH, held=held(3600))
SENDING = replace(LIVE, renewal=Renewal.SENDING)
SAVING = replace(SENDING, pending=NEW)
WAITING = replace(LIVE, renewal=Renewal.WAITING, problem=PROBLEM, failed_at=NOW, failures=1, wake=NOW.boot + 1)
STOPPED = replace(LIVE, renewal=Renewal.STOPPED, reason=Reason.BAD_CREDENTIALS, problem=PROBLEM, failed_at=NOW)
UNSAVED = replace(LIVE, held=held(3600, saved=False), save_problem=PROBLEM, save_at=NOW.boot + 5)

# ProcessMaker 4, a token of ten hours: the window begins an hour before its end, forced is half an hour later.
PM4 = Terms(Rule.REFRESH_DISRUPTIVELY, probes=True)
START, FORCED, END = 9 * 3600.0, 9.5 * 3600.0, 10 * 3600.0
PAIR = pair(END)
NEXT = pair(END, value="token-2")
EMPTY4 = Life(terms=PM4, asked_at=NOW.wall)
LIVE4 = replace(EMPTY4, held=PAIR, wake=NOW.boot + START)
LEASED4 = replace(LIVE4, leased_until=NOW.boot + START + 100)
SENDING4 = replace(LIVE4, renewal=Renewal.SENDING, wake=None, tries=1)
STOPPED4 = replace(LIVE4, renewal=Renewal.STOPPED, reason=Reason.BAD_CLIENT, problem=PROBLEM, failed_at=NOW, wake=None)
UNSAVED4 = replace(LIVE4, held=replace(PAIR, saved=False), save_problem=PROBLEM, save_at=NOW.boot + 5)


def step(life: Life, event: l.Event, after: float = 0.0, jitter: float = 0.0) -> Step:
    """Let an event happen so many seconds after the beginning."""
    return lifecycle.step(life, event, moment(after), jitter)


def kinds(effects: tuple[l.Effect, ...]) -> list[type[l.Effect]]:
    """Give the effects' kinds, in order."""
    return [type(effect) for effect in effects]


def test_a_profile_without_a_token_asks_at_once() -> None:
    """A new profile is due at once, so that the first `get` finds a token."""
    life, effects = step(FRESH, l.Restored(None))

    assert effects == (l.WakeAt(NOW.boot),)
    assert step(life, l.Due())[1][0] == l.Send(life.serial)


def test_a_saved_token_is_held_and_its_renewal_planned() -> None:
    """After a start the saved token serves, and its renewal stands where it stood."""
    life, effects = step(FRESH, l.Restored(held(3600)), after=60)

    assert life.held == held(3600)
    assert effects == (l.WakeAt(NOW.boot + 2400),)


def test_single_flight() -> None:
    """While a request is under way nothing starts another one."""
    for event in (l.Asked(), l.Due(), l.Retry()):
        assert step(SENDING, event) == (SENDING, ())


def test_a_token_is_saved_before_it_is_held() -> None:
    """Nothing is handed out before it is on disk: the old token serves until then."""
    life, effects = step(SENDING, l.Issued(1, NEW))

    assert life.held == SENDING.held
    assert kinds(effects) == [l.Save]
    life, effects = step(life, l.Saved(1, NEW))
    assert life.held == NEW
    assert life.renewal is Renewal.IDLE
    assert kinds(effects) == [l.WakeAt, l.Tell]


def test_a_personal_access_token_is_not_saved() -> None:
    """A personal access token is held at once and never written to the store: its source is where it is kept."""
    life, effects = step(replace(SENDING, terms=Terms(Rule.NEVER)), l.Issued(1, NEW))

    assert life.held == NEW
    assert kinds(effects) == [l.Tell]


def test_a_full_disk_loses_no_token() -> None:
    """What cannot be saved is served from memory, told as unsaved, and saved again every five seconds."""
    life, effects = step(SAVING, l.SaveFailed(1, NEW, PROBLEM), after=1)

    assert life.held == replace(NEW, saved=False)
    assert life.save_problem == PROBLEM
    assert l.SaveAt(moment(6).boot) in effects
    assert l.Tell() in effects
    life, effects = step(life, l.SaveDue(), after=6)
    assert kinds(effects) == [l.Save]
    life, effects = step(life, l.SaveFailed(1, NEW, PROBLEM), after=6)
    assert effects == (l.SaveAt(moment(11).boot),)
    life, effects = step(life, l.Saved(1, replace(NEW, saved=False)), after=11)
    assert life.held is not None
    assert life.held.saved
    assert life.save_problem is None


def test_an_old_token_saved_late_does_not_pass_for_the_new_one() -> None:
    """A late save of the token before settles that token alone, not the one that waits for its own save."""
    life = replace(UNSAVED, renewal=Renewal.SENDING, pending=NEW)

    life, _ = step(life, l.Saved(1, held(3600, saved=False)))

    assert life.renewal is Renewal.SENDING
    assert life.pending == NEW


def test_backoff_doubles_is_jittered_and_ends_at_five_minutes() -> None:
    """Failures that pass are tried again, ever more slowly, from half to the whole of the doubled delay."""
    life, waits = SENDING, []
    for _ in range(12):
        life, effects = step(replace(life, renewal=Renewal.SENDING), l.Failed(1, PROBLEM), jitter=1.0)
        waits.append(next(effect.boot for effect in effects if isinstance(effect, l.WakeAt)) - NOW.boot)
    _, low = step(SENDING, l.Failed(1, PROBLEM), jitter=0.0)

    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == 300
    assert low[0] == l.WakeAt(NOW.boot + 0.5)


def test_retry_after_is_obeyed() -> None:
    """A server that names a time gets it; a shorter one than our own delay does not hurry us."""
    _, effects = step(SENDING, l.Failed(1, PROBLEM, retry_after=1234.0))
    assert effects[0] == l.WakeAt(NOW.boot + 1234)
    _, effects = step(replace(SENDING, failures=8), l.Failed(1, PROBLEM, retry_after=1.0), jitter=1.0)
    assert effects[0] == l.WakeAt(NOW.boot + 256)


def test_a_get_does_not_jump_a_backoff() -> None:
    """Asking does not hurry a back-off: the server is not hammered by impatient scripts."""
    assert step(WAITING, l.Asked()) == (WAITING, ())


def test_success_forgets_the_failures() -> None:
    """After a success the next failure starts from one second again."""
    life, _ = step(replace(SAVING, failures=9, problem=PROBLEM), l.Saved(1, NEW))

    assert life.failures == 0
    assert life.problem is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SECRET_UNAVAILABLE])
def test_a_refusal_stops_for_good_and_keeps_the_token(reason: Reason) -> None:
    """A wrong password is tried once; the token that still works is kept; only a person starts another try."""
    life, effects = step(SENDING, l.Refused(1, reason, PROBLEM))

    assert life.held == SENDING.held
    assert kinds(effects) == [l.Tell]
    assert step(life, l.Asked(), after=10 * DAY) == (life, ())
    assert kinds(step(life, l.Retry())[1]) == [l.Send, l.Tell]


def test_a_locked_secret_is_tried_again_slowly() -> None:
    """A secret that could not be read is retried by a timer after a quarter of an hour, on demand once a minute."""
    life, effects = step(SENDING, l.Refused(1, Reason.SECRET_UNAVAILABLE, PROBLEM))

    assert l.WakeAt(NOW.boot + 900) in effects
    assert step(life, l.Asked(), after=59)[0].renewal is Renewal.STOPPED
    assert step(life, l.Asked(), after=60)[0].renewal is Renewal.SENDING


def test_a_profile_nobody_asked_for_is_let_go() -> None:
    """After thirty days without a `get` nothing is sent; it goes on once somebody asks."""
    forgotten = replace(LIVE, asked_at=NOW.wall - 31 * DAY)

    life, effects = step(forgotten, l.Due())
    assert effects == (l.WakeAt(NOW.boot + DAY),)
    assert kinds(step(replace(life, asked_at=NOW.wall), l.Due())[1]) == [l.Send, l.Tell]


@pytest.mark.parametrize(
    "event", [l.Issued(7, NEW), l.Saved(7, NEW), l.Failed(7, PROBLEM), l.Refused(7, Reason.CONFIG, PROBLEM)]
)
@pytest.mark.parametrize("life", [LIVE, SENDING, WAITING, STOPPED])
def test_an_answer_with_an_old_serial_is_absorbed(life: Life, event: l.Event) -> None:
    """What was asked for before a login or logout changes nothing when it arrives after it."""
    assert step(life, event) == (life, ())


@pytest.mark.parametrize(
    ("life", "event"),
    [
        (LIVE, l.Issued(1, NEW)),
        (LIVE, l.Failed(1, PROBLEM)),
        (WAITING, l.Refused(1, Reason.CONFIG, PROBLEM)),
        (STOPPED, l.Issued(1, NEW)),
        (SENDING, l.Restored(None)),
    ],
)
def test_nonsense_raises_and_changes_nothing(life: Life, event: l.Event) -> None:
    """An answer that nobody asked for is our own bug, and is not papered over."""
    with pytest.raises(lifecycle.NonsenseError):
        step(life, event)


lives = st.builds(
    Life,
    terms=st.builds(Terms, st.sampled_from(Rule), probes=st.booleans()),
    held=st.none() | st.builds(pair, st.floats(1, 1e6) | st.none(), refresh=st.booleans(), saved=st.booleans()),
    renewal=st.sampled_from(Renewal),
    dated=st.booleans(),
    leased_until=st.floats(0, 1e6),
    tries=st.sampled_from([0, 0, 1, 2]),
    problem=st.just(PROBLEM),
    reason=st.sampled_from(Reason),
    failed_at=st.just(NOW),
    asked_at=st.just(NOW.wall),
).map(lambda life: replace(life, tries=0) if life.renewal in {Renewal.IDLE, Renewal.WAITING} else life)


events = st.sampled_from(
    [
        l.Asked(),
        l.Due(),
        l.Retry(),
        l.SaveDue(),
        l.Issued(1, NEW),
        l.Saved(1, NEW),
        l.SaveFailed(1, NEW, PROBLEM),
        l.Failed(1, PROBLEM, 5.0),
        l.Lost(1, PROBLEM),
        l.Probed(1, NOW.boot + 100, passed=True, skew=0.0),
        l.Probed(1, NOW.boot + 100, passed=False, skew=None),
        l.Probed(1, NOW.boot + 100, passed=None, skew=4000.0),
        l.ProbeFailed(1, PROBLEM),
        l.Rejected(1, dead=True),
        l.Rejected(1, dead=False),
        l.LoggedIn(NEXT),
        l.Changed(replace(PM4, margin=600.0)),
        *(l.Refused(1, reason, PROBLEM) for reason in Reason),
    ]
)


@given(lives, st.lists(st.tuples(events, st.floats(0, 4000)), max_size=30))
def test_every_step_leads_where_the_table_says(life: Life, happenings: list[tuple[l.Event, float]]) -> None:
    """No event leads to a renewal that its row of the table does not name, and a living token is never dropped."""
    now = 0.0
    for event, gap in happenings:
        now += gap
        before = life
        try:
            life, effects = step(before, event, after=now)
        except lifecycle.NonsenseError:
            continue
        assert life == before or life.renewal in lifecycle.TABLE[before.renewal, type(event)].to
        if before.held is not None:
            assert life.held is not None
            assert life.held.token.access_token == before.held.token.access_token or isinstance(
                event, l.Issued | l.Saved | l.SaveFailed
            )
        if life.renewal is Renewal.WAITING and before.renewal is Renewal.SENDING:
            assert any(isinstance(effect, l.WakeAt) for effect in effects), "waiting needs an end"


# --- ProcessMaker 4: what stands against a renewal --------------------------------------------------------------------


@pytest.mark.parametrize("event", [l.Asked(), l.Due(), l.Retry(), l.Rejected(1, dead=False)])
def test_nothing_renews_over_a_lease(event: l.Event) -> None:
    """Whatever wants the next token, a lease that runs is kept: the renewal is planned for its end."""
    life, effects = step(LEASED4, event, after=START + 1)

    assert life.renewal is Renewal.IDLE
    assert life.wanted
    assert effects == (l.WakeAt(NOW.boot + START + 100),)
    life, effects = step(life, l.Due(), after=START + 100)
    assert effects[0] == l.Send(1, tries=1)
    assert not life.wanted


def test_a_person_who_mends_a_stop_breaks_no_lease() -> None:
    """A reload after a stop renews when the leases end that were given meanwhile."""
    life, effects = step(replace(STOPPED4, leased_until=NOW.boot + 500), l.Retry())

    assert (life.renewal, life.reason) == (Renewal.STOPPED, Reason.BAD_CLIENT)
    assert effects == (l.WakeAt(NOW.boot + 500),)
    assert step(life, l.Due(), after=500)[1][0] == l.Send(1, tries=1)


def test_a_dead_token_has_no_leases() -> None:
    """What the server calls dead is renewed at once, whatever was promised."""
    life, effects = step(LEASED4, l.Rejected(1, dead=True), after=START + 1)

    assert life.dead
    assert effects[0] == l.Send(1, tries=1)


@pytest.mark.parametrize("event", [l.Asked(), l.Due(), l.Retry(), l.Rejected(1, dead=True)])
def test_what_is_not_on_disk_is_not_spent(event: l.Event) -> None:
    """While the pair in hand is in memory alone its refresh token is not sent; it is as soon as it is saved."""
    life, effects = step(UNSAVED4, event, after=START)
    assert effects == (l.WakeAt(NOW.boot + START + 5),)

    life, _ = step(life, l.SaveDue(), after=START)
    life, _ = step(life, l.Saved(1, UNSAVED4.held or PAIR), after=START + 1)
    assert step(life, l.Due(), after=START + 5)[1][0] == l.Send(1, tries=1)


def test_grants_that_ask_anew_do_not_wait_for_the_disk() -> None:
    """A token that the disk refused is replaced all the same where nothing is spent for it."""
    assert kinds(step(UNSAVED, l.Due())[1]) == [l.Send, l.Tell]


def test_an_old_token_never_follows_a_new_one_to_the_disk() -> None:
    """While a new token is being saved the one before is not: it would replace the new one on disk."""
    life = replace(UNSAVED, renewal=Renewal.SENDING, pending=NEW)

    life, effects = step(life, l.SaveDue(), after=5)
    assert effects == ()
    life, effects = step(life, l.SaveFailed(1, held(3600, saved=False), PROBLEM), after=6)
    assert kinds(effects) == [l.SaveAt]
    life, effects = step(life, l.SaveFailed(1, NEW, PROBLEM), after=7)
    assert life.held == replace(NEW, saved=False)
    assert l.SaveAt(NOW.boot + 12) in effects


def test_a_save_that_failed_is_tried_again_once() -> None:
    """However many tokens the disk has refused, one save is tried each time, not one for each of them."""
    life, effects = step(replace(UNSAVED, renewal=Renewal.SENDING, pending=NEW), l.SaveFailed(1, NEW, PROBLEM), after=3)
    assert l.SaveAt(NOW.boot + 8) in effects

    assert step(life, l.SaveDue(), after=5) == (life, ())
    life, effects = step(life, l.SaveDue(), after=8)
    assert kinds(effects) == [l.Save]
    assert step(life, l.SaveDue(), after=8) == (life, ())


def test_an_unknown_token_s_save_changes_nothing() -> None:
    """What the disk says of a token that is neither in hand nor awaited is no news."""
    other = held(3600, value="token-0")
    for event in (l.Saved(1, other), l.SaveFailed(1, other, PROBLEM)):
        assert step(LIVE, event) == (LIVE, ())


# --- a start ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "after", "expected"),
    [
        pytest.param(0.0, 0, 60.0, id="a minute: leases as short as that are not written down"),
        pytest.param(300.0, 0, 300.0, id="a longer one was"),
        pytest.param(300.0, 290, 350.0, id="and may be nearly over"),
        pytest.param(0.0, FORCED - 10, FORCED, id="what is assumed ends at the forced moment"),
        pytest.param(FORCED + 60, START, FORCED + 60, id="what was promised past it is kept"),
    ],
)
def test_leases_survive_a_restart(written: float, after: float, expected: float) -> None:
    """After a start the leases that may run are kept."""
    life, _ = step(EMPTY4, l.Restored(PAIR, NOW.boot + written if written else 0.0), after=after)

    assert life.leased_until == NOW.boot + expected


@pytest.mark.parametrize(("written", "expected"), [(0.0, 0.0), (NOW.boot + 20, NOW.boot + 20)])
def test_leases_that_are_known_are_all_there_are(written: float, expected: float) -> None:
    """Whoever left in good order wrote all of them down: the renewal waits for no other."""
    life, _ = step(EMPTY4, l.Restored(PAIR, written, leases_known=True))

    assert life.leased_until == expected


def test_leases_of_a_token_of_doubtful_age_survive_a_restart() -> None:
    """A clock that is behind makes a token look expired; who was promised it is kept the promise all the same."""
    rebooted = replace(PAIR, issued=replace(PAIR.issued, boot_id="another", wall=NOW.wall + 3600))
    life, _ = step(EMPTY4, l.Restored(rebooted))
    assert life.leased_until == NOW.boot + lifecycle.ASSUMED_LEASE


def test_leases_of_a_token_of_unknown_lifetime_survive_a_restart() -> None:
    """They have no forced moment, and nobody else is leased to."""
    assert step(EMPTY4, l.Restored(pair(None), NOW.boot + 300))[0].leased_until == NOW.boot + 300
    assert step(FRESH, l.Restored(held(3600), NOW.boot + 300))[0].leased_until == 0.0


@pytest.mark.parametrize(
    ("life", "token", "after"),
    [
        pytest.param(EMPTY4, PAIR, END, id="expired"),
        pytest.param(replace(EMPTY4, dead=True), PAIR, 0, id="known dead"),
        pytest.param(FRESH, held(3600), 3600, id="expired, a grant that asks anew"),
    ],
)
def test_a_token_that_is_of_no_use_is_renewed_at_once(life: Life, token: Held, after: float) -> None:
    """After a start with a dead token in the store the next one is asked for before somebody asks."""
    life, effects = step(life, l.Restored(token), after=after)

    assert effects == (l.WakeAt(NOW.boot + after),)


REBOOTED = replace(PAIR, issued=replace(PAIR.issued, boot_id="the boot before"))


def test_after_a_reboot_the_server_s_clock_decides() -> None:
    """Nothing is refreshed, however late it seems to be, before a Date of the server was seen."""
    year = 365 * DAY
    life, effects = lifecycle.step(EMPTY4, l.Restored(REBOOTED), moment(60, wall_step=year), 0.0)
    assert kinds(effects) == [l.Probe, l.WakeAt]

    for event in (l.Due(), l.Asked(), l.Retry()):
        again, effects = lifecycle.step(life, event, moment(70, wall_step=year), 0.0)
        assert again.renewal is Renewal.IDLE
        assert kinds(effects) == [l.Probe, l.WakeAt]
    life, effects = lifecycle.step(
        life, l.Probed(1, moment(71).boot, passed=True, skew=-year), moment(71, wall_step=year), 0.0
    )
    assert effects == (l.WakeAt(NOW.boot + START), l.Tell())
    assert not life.wanted
    assert life.failures == 0


def test_a_wall_clock_in_the_past_dates_nothing() -> None:
    """After a reboot with the clock before the token's issue its age is what the server's clock says."""
    month = 30 * DAY
    life, _ = lifecycle.step(EMPTY4, l.Restored(REBOOTED), moment(3600, wall_step=-month), 0.0)
    life, effects = lifecycle.step(life, l.ProbeFailed(1, PROBLEM, skew=month), moment(3601, wall_step=-month), 0.0)

    assert effects == (l.WakeAt(NOW.boot + START), l.Tell())
    assert life.held is not None
    assert life.held.issued.boot == NOW.boot


def test_a_right_wall_clock_is_believed_once_the_server_agrees() -> None:
    """A few seconds between the clocks are the way of the answer: the token's age is as it was."""
    life, _ = step(EMPTY4, l.Restored(REBOOTED), after=3600)
    dated, _ = step(life, l.Probed(1, moment(3601).boot, passed=True, skew=-4.0), after=3601)

    assert dated.dated
    assert dated.held == life.held


def test_a_token_revoked_while_the_machine_was_off_is_renewed_at_once() -> None:
    """The question after a reboot may find the token dead; it counts where it could have found it alive."""
    refused = l.Probed(1, moment(61).boot, passed=False, skew=0.0)
    for proved in (True, False):
        life, _ = step(replace(EMPTY4, proved=proved), l.Restored(REBOOTED), after=60)
        life, effects = step(life, refused, after=61)
        assert life.dead is proved
        assert effects[0] == l.WakeAt(NOW.boot + (61 if proved else START))


def test_a_probe_that_was_not_asked_for_its_date_plans_nothing() -> None:
    """A probe for a login or a rejection leaves a back-off, a stop and the planned renewal as they are."""
    probed = l.Probed(1, NOW.boot, passed=True, skew=9999.0)
    for life in (LIVE4, SENDING4, replace(STOPPED4, dated=False)):
        after, effects = step(life, probed)
        assert effects == ()
        assert after.wake == life.wake
        assert after.proved


def test_where_nothing_can_be_asked_the_wall_clock_stands() -> None:
    """A token without a name in it, on a server that cannot be asked: there will be no better witness."""
    unnamed = replace(REBOOTED, token=pair(END, named=False).token)

    life, effects = step(EMPTY4, l.Restored(unnamed), after=START)
    assert effects == (l.WakeAt(NOW.boot + START),)
    assert step(life, l.Due(), after=START + 60)[1][0] == l.Send(1, tries=1)


# --- people -----------------------------------------------------------------------------------------------------------


def test_a_login_replaces_the_credential() -> None:
    """A login raises the serial, is saved before it serves, and ends a row of rejections, a doubt and a stop."""
    before = replace(
        STOPPED4, reason=Reason.NEEDS_LOGIN, tries=2, rejections=2, proved=True, dead=True, leased_until=NOW.boot + 99
    )
    life, effects = step(before, l.LoggedIn(NEXT))

    assert effects == (l.Save(2, NEXT, (PAIR.token.access_token.fingerprint(),)),)
    assert (life.serial, life.held, life.renewal) == (2, PAIR, Renewal.SENDING)
    assert step(life, l.Lost(1, PROBLEM)) == (life, ())
    life, effects = step(life, l.Saved(2, NEXT), after=1)
    assert (life.held, life.renewal, life.tries, life.rejections) == (NEXT, Renewal.IDLE, 0, 0)
    assert (life.dead, life.leased_until, life.reason) == (False, 0.0, None)
    assert kinds(effects) == [l.WakeAt, l.Probe, l.Identify, l.Tell]  # the new credential is asked about, once


def test_a_credential_that_was_proved_is_not_asked_about_again() -> None:
    """One question for each credential is enough."""
    known = l.User(NEXT.token.sub or "", "a.smith")
    _, effects = step(replace(SENDING4, proved=True, pending=NEXT, user=known), l.Saved(1, NEXT))

    assert kinds(effects) == [l.WakeAt, l.Tell]


def test_one_report_renews_once() -> None:
    """A report of a refused token renews; one that comes while that is under way changes nothing but the count."""
    life, effects = step(replace(LIVE, rejections=1), l.Rejected(1, dead=False))
    assert kinds(effects) == [l.Send, l.Tell]
    assert life.rejections == 2

    assert step(life, l.Rejected(1, dead=True))[1] == ()


def test_a_token_that_lived_ends_the_row_of_rejections() -> None:
    """Rejections count in a row only where each token was refused soon after it was issued."""
    life, _ = step(replace(LIVE, rejections=2), l.Rejected(1, dead=False), after=601)

    assert life.rejections == 1


@pytest.mark.parametrize("renewal", [Renewal.WAITING, Renewal.STOPPED, Renewal.DOUBTFUL])
def test_a_report_hurries_no_back_off(renewal: Renewal) -> None:
    """While we wait or are stopped a report of a dead token is noted, and sends nothing."""
    life, effects = step(replace(LIVE4, renewal=renewal), l.Rejected(1, dead=True))

    assert life.dead
    assert effects == ()


def test_a_changed_profile_plans_anew_and_breaks_no_lease() -> None:
    """A wider margin brings the renewal forward, but not over a lease that was given before."""
    wider = l.Changed(replace(PM4, margin=3 * 3600.0))
    life, effects = step(replace(LEASED4, rejections=2), wider, after=10)
    assert effects == (l.WakeAt(NOW.boot + 7 * 3600), l.Tell())
    assert life.rejections == 0

    assert step(life, l.Due(), after=9 * 3600)[1] == (l.WakeAt(NOW.boot + START + 100),)


@pytest.mark.parametrize("life", [SENDING4, STOPPED4, EMPTY4, replace(LIVE4, dated=False)])
def test_a_changed_profile_plans_nothing_where_nothing_is_planned(life: Life) -> None:
    """What is under way, stopped or not known yet goes on as it was, under the new terms."""
    terms = replace(PM4, margin=600.0)

    assert step(life, l.Changed(terms)) == (replace(life, terms=terms), (l.Tell(),))


@pytest.mark.parametrize(("life", "waiting"), [(replace(WAITING, held=None), False), (STOPPED, True)])
def test_a_forgotten_profile_can_ask_at_any_time(life: Life, waiting: bool) -> None:
    """What nobody asked for in thirty days is no longer tried, and a `get` is not kept waiting by that."""
    life = replace(life, asked_at=NOW.wall - 31 * DAY)

    life, effects = step(life, l.Due())
    assert effects == (l.WakeAt(NOW.boot + DAY),)
    assert (life.renewal is Renewal.STOPPED) is waiting


def test_a_refresh_token_called_dead_is_never_sent_again() -> None:
    """It is forgotten with the answer that says so; the access token serves on to its end."""
    life, _ = step(SENDING4, l.Refused(1, Reason.NEEDS_LOGIN, PROBLEM))
    assert life.held is not None
    assert life.held.token.refresh_token is None
    assert not life.dead

    assert step(life, l.Retry())[1][0] == l.Send(1, tries=0)


def test_a_token_dead_on_arrival_is_no_reason_to_hurry() -> None:
    """A server whose tokens end before they arrive is asked once a minute."""
    short = held(2, value="token-2")
    _, effects = step(replace(SENDING, pending=short), l.Saved(1, short), after=5)

    assert effects[0] == l.WakeAt(NOW.boot + 65)


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_names_no_state_in_vain() -> None:
    """Every renewal is entered and left by some row: none is a dead end, none is dead code."""
    for renewal in Renewal:
        if renewal is not Renewal.IDLE:
            assert any(renewal in row.to and start is not renewal for (start, _), row in lifecycle.TABLE.items())
        assert any(start is renewal and row.to - {renewal} for (start, _), row in lifecycle.TABLE.items())


def test_a_held_token_knows_nothing_of_its_secret() -> None:
    """The repr of a life, as a log or a failing test would show it, holds no token."""
    assert "token-1" not in repr(LIVE)
    assert isinstance(LIVE.held, Held)
