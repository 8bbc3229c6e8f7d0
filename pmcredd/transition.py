"""What the transitions of a profile's life share: to plan, to send, to fail, to learn; and what stands against sending.

That no renewal of ours breaks a promise is decided in one place: whatever wants the next token goes through `renew`.
"""

from dataclasses import replace

from pmcredd import validity
from pmcredd.life import Effect, Life, Probe, Probed, ProbeFailed, Problem, Renewal, Send, Tell, WakeAt
from pmcredd.processmaker import Renewal as Rule
from pmcredd.validity import Held, Moment

BACK_OFF_FIRST = 1.0  # seconds
BACK_OFF_MOST = 300.0
SAVE_RETRY = 5.0

Step = tuple[Life, tuple[Effect, ...]]


# --- what is the case -------------------------------------------------------------------------------------------------


def living(life: Life, now: Moment) -> Held | None:
    """Give the token in hand if it works, as far as is known here."""
    if life.held is None or life.dead or not validity.alive(life.held, now):
        return None
    return life.held


def kills(life: Life) -> bool:
    """Say whether a renewal would kill the token in hand. Without a refresh token nothing of ours can."""
    refreshes = life.held is not None and life.held.token.refresh_token is not None
    return life.terms.rule is Rule.REFRESH_DISRUPTIVELY and refreshes and not life.dead


def forced(life: Life) -> float:
    """Give the boot time from which a renewal that kills waits for no new promise; infinity where none does."""
    window = validity.window(life.terms, life.held) if life.held is not None and kills(life) else None
    return float("inf") if window is None else window.forced


def leased(life: Life, now: Moment) -> bool:
    """Say whether a renewal now would break a promise."""
    return kills(life) and living(life, now) is not None and now.boot < life.leased_until


def undated(life: Life) -> bool:
    """Say whether only the server can tell how old the token is that a renewal would kill.

    After a reboot the wall clock is the only witness here, and a wrong one must not kill a token in everybody's hands.
    """
    return kills(life) and askable(life) and not life.dated


def askable(life: Life) -> bool:
    """Say whether the server can be asked about the token in hand."""
    return life.terms.probes and life.held is not None and bool(life.held.token.sub and life.held.token.jti)


def unsaved(life: Life) -> bool:
    """Say whether the refresh token in hand is not on disk.

    If it were spent now, a crash would leave a spent one on disk and the way back to the next one nowhere.
    """
    return life.held is not None and life.held.token.refresh_token is not None and not life.held.saved


# --- what is done -----------------------------------------------------------------------------------------------------


def wake(life: Life, boot: float | None) -> Step:
    """Plan the next Due, or none; a Due that was planned before is none any more."""
    return replace(life, wake=boot), () if boot is None else (WakeAt(boot),)


def plan(life: Life, now: Moment, jitter: float) -> Step:
    """Plan the renewal of the token in hand; at once, where there is none that works."""
    held = living(life, now)
    return wake(life, now.boot if held is None else validity.renew_at(life.terms, held, now, jitter))


def renew(life: Life, now: Moment, jitter: float) -> Step:
    """Ask for the next token now, or else plan to: at the first moment at which nothing stands against it."""
    if unsaved(life):
        return wake(replace(life, wanted=True), now.boot + SAVE_RETRY)
    if undated(life):
        return date(life, now, jitter)
    if leased(life, now):
        return wake(replace(life, wanted=True), life.leased_until)
    return send(life)


def send(life: Life) -> Step:
    """Ask for the next token, whatever stands against it."""
    spends = life.held is not None and life.held.token.refresh_token is not None
    tries = life.tries + 1 if spends else 0
    life = replace(life, renewal=Renewal.SENDING, reason=None, wake=None, wanted=False, tries=tries, proof=None)
    return life, (Send(life.serial, tries), Tell())


def probe(life: Life) -> tuple[Effect, ...]:
    """Ask the server about the token in hand, where it can be asked."""
    return (Probe(life.serial),) if askable(life) else ()


def date(life: Life, now: Moment, jitter: float) -> Step:
    """Learn the token's age from the server, and look again in a while."""
    life, effects = wake(replace(life, wanted=True), now.boot + delay(life, jitter))
    return replace(life, failures=life.failures + 1), (*probe(life), *effects)


def failed(life: Life, renewal: Renewal, problem: Problem, now: Moment) -> Life:
    """Note that a try came to nothing."""
    return replace(life, renewal=renewal, problem=problem, failed_at=now, failures=life.failures + 1, pending=None)


def delay(life: Life, jitter: float) -> float:
    """Give the seconds until the next try.

    From half to the whole of the doubled delay: machines that lost one server together do not return together.
    """
    return min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** min(life.failures, 30)) * (0.5 + jitter / 2)


def learn(life: Life, event: Probed | ProbeFailed, now: Moment) -> Life:
    """Note what the server told beside the answer to the question: its clock, and that questions can be answered."""
    if isinstance(event, Probed) and event.passed:
        life = replace(life, proved=True, dead=False, rejections=0)
    if life.dated or life.held is None or event.skew is None:
        return life
    return replace(life, held=validity.redated(life.held, now, event.skew), dated=True)
