"""What is going on with a profile's token, what comes next and why: for people in sentences, for programs in facts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pmcredd import doubt, lifecycle, telling, validity
from pmcredd.human_time import duration
from pmcredd.life import Life, Reason, Renewal
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant, Profile
from pmcredd.validity import Held, Moment

_GOT: Mapping[Grant, str] = {
    Grant.CLIENT_CREDENTIALS: "The token is asked for with the client's own id and secret (client_credentials).",
    Grant.PASSWORD: "The token is asked for with the name and the password of a user (password).",
    Grant.AUTHORIZATION_CODE: "The token came from a login in the browser and is renewed with a refresh token.",
    Grant.PERSONAL_ACCESS_TOKEN: "The token was made by a person in ProcessMaker (personal access token).",
}

_WHY: Mapping[Rule, str] = {
    Rule.ASK_ANEW: "Asking for a new one disturbs nobody, the old one lives on: so that is done early.",
    Rule.REFRESH_QUIETLY: "ProcessMaker 3 lets the old token live on when it is renewed: so that is done early.",
    Rule.REFRESH_DISRUPTIVELY: "ProcessMaker 4 revokes the token in use when it is renewed: so that is done late, and "
    "not while a job was promised that it lives.",
    Rule.NEVER: "Nothing but a person can renew it.",
}

_STOPPED: Mapping[Reason, str] = {
    Reason.NEEDS_LOGIN: "Nothing is tried until somebody logs in: pmcred login {name}",
    Reason.LOGGED_OUT: "Somebody has logged out. Nothing is asked for until somebody logs in: pmcred login {name}",
    Reason.BAD_CREDENTIALS: "So that no account is locked, the password is not tried again until it is changed and "
    "read (pmcred reload), or you say so: pmcred login {name}",
    Reason.BAD_CLIENT: "The client secret is not tried again until it is changed and read (pmcred reload), or you say "
    "so: pmcred login {name}",
    Reason.SECRET_UNAVAILABLE: "The secret is read again at {wake}, and when a get asks for it, once a minute at most.",
    Reason.CONFIG: "Nothing is tried until the profile is changed (pmcred profile edit {name}), or you say so: pmcred "
    "login {name}",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """Short lines for people; facts in the words of the protocol: times in unix time, lengths in seconds."""

    lines: tuple[str, ...]
    facts: Mapping[str, str]


def explain(profile: Profile, life: Life, now: Moment, at: Callable[[float], str]) -> Outlook:
    """Explain a profile's token; `at` says a unix time so that it reads well in a sentence."""
    case = _Case(profile, life, now, at)
    parts = (
        _origin,
        _token,
        _promises,
        _trouble,
        _next,
        _outage,
        _refusals,
        _unsaved,
    )
    lines = tuple(line for part in parts for line in part(case))
    return Outlook(lines, {key: value for key, value in _facts(case).items() if value is not None})


@dataclass(frozen=True, slots=True)
class _Case:
    profile: Profile
    life: Life
    now: Moment
    at: Callable[[float], str]

    @property
    def rule(self) -> Rule:
        return self.life.terms.rule

    @property
    def disruptive(self) -> bool:
        return self.rule is Rule.REFRESH_DISRUPTIVELY

    @property
    def refreshes(self) -> bool:
        return self.rule in {Rule.REFRESH_QUIETLY, Rule.REFRESH_DISRUPTIVELY}

    @property
    def living(self) -> Held | None:
        """The token in hand, if it works as far as is known."""
        held = self.life.held
        return held if held is not None and not self.life.dead and validity.alive(held, self.now) else None

    @property
    def window(self) -> validity.Window | None:
        held = self.living
        return validity.window(self.life.terms, held) if held is not None and self.disruptive else None

    @property
    def leased_until(self) -> float | None:
        """The boot time until which a running job was promised the token; None without one."""
        window = self.window
        until = self.life.leased_until if window is None else min(self.life.leased_until, window.forced)
        return until if self.disruptive and self.living is not None and until > self.now.boot else None

    @property
    def spare(self) -> float | None:
        """How many seconds are left to the token at its planned renewal."""
        held = self.living
        if held is None or held.token.expires_in is None or self.life.renewal is not Renewal.IDLE:
            return None
        renewal = self.window.start if self.window is not None else self.life.wake
        if renewal is None:
            return None
        return held.issued.boot + held.token.expires_in - max(renewal, self.now.boot)

    def boot(self, moment: float) -> str:
        """Say a boot time."""
        return self.at(telling.wall(moment, self.now))

    def wake(self) -> str:
        """Say when something is done next."""
        return self.boot(self.now.boot if self.life.wake is None else self.life.wake)


def _origin(case: _Case) -> Iterator[str]:
    yield _GOT[case.profile.grant]
    yield _WHY[case.rule]


def _token(case: _Case) -> Iterator[str]:
    life, held = case.life, case.life.held
    if held is None:
        yield "There is no token at present."
        if life.user is not None:
            yield f"The last one was of {telling.whose(life.user)}."
        return
    end = validity.expires_at(held)
    name = held.token.access_token.fingerprint()
    if life.dead:
        yield f"The token in hand ({name}) is dead: the server says so. It is not handed out."
    elif case.living is None:
        yield f"The token in hand ({name}) ended at {case.at(end or case.now.wall)}."
    else:
        yield f"The token in hand ({name}) was got at {case.at(held.issued.wall)}."
        yield "The server did not say how long it lives." if end is None else f"It is valid until {case.at(end)}."
    if life.user is not None:
        yield f"It is of {telling.whose(life.user)}."
    if case.rule is Rule.NEVER and not life.dead:
        yield (
            "Before it ends make a new one in ProcessMaker, put it where the profile reads it, then: "
            f"pmcred login {case.profile.name}"
        )
    if not life.dated and case.disruptive:
        yield "The machine was started since: it is not renewed before the server has told what time it is."


def _promises(case: _Case) -> Iterator[str]:
    if not case.disruptive or case.living is None:
        return
    if case.leased_until is None:
        yield "No running job was promised that it lives on."
    else:
        yield f"Running jobs were promised that it lives until {case.boot(case.leased_until)}."


def _trouble(case: _Case) -> Iterator[str]:
    life = case.life
    if life.problem is None or life.reason is Reason.LOGGED_OUT:
        return
    failed = "" if life.failed_at is None else f" at {case.at(life.failed_at.wall)}"
    row = f" (the {life.failures} last ones failed)" if life.failures > 1 else ""
    yield f"The last try{row} failed{failed}: {life.problem.sentence.rstrip('.')}."
    if life.problem.mend:
        yield f"What helps: {life.problem.mend}"


def _next(case: _Case) -> Iterator[str]:
    match case.life.renewal:
        case Renewal.IDLE:
            yield from _next_when_idle(case)
        case Renewal.SENDING:
            waiting = " Gets wait for it." if case.disruptive or case.living is None else ""
            done = "has come and is being saved" if case.life.pending is not None else "is being asked for"
            yield f"A new token {done}.{waiting}"
        case Renewal.WAITING:
            yield f"It is tried again by itself, at {case.wake()}."
        case Renewal.DOUBTFUL:
            yield from _doubt(case)
        case Renewal.STOPPED:
            reason = case.life.reason or Reason.CONFIG
            yield _STOPPED[reason].format(name=case.profile.name, wake=case.wake())


def _next_when_idle(case: _Case) -> Iterator[str]:
    life, window = case.life, case.window
    if case.rule is Rule.NEVER or (case.disruptive and not life.dated):
        return
    if case.refreshes and life.held is not None and not life.held.saved:
        yield "It is not renewed before it is on disk."
    elif case.rule is Rule.ASK_ANEW and case.now.wall - life.asked_at > lifecycle.FORGOTTEN_AFTER:
        yield f"Nobody has asked for it since {case.at(life.asked_at)}: the next one is asked for when somebody does."
    elif life.wake is None:
        yield f"No renewal is planned. Should a server refuse the token, say so: pmcred reject {case.profile.name}"
    elif window is None:
        yield f"The next one is asked for at {case.wake()}{_why_then(case)}."
    elif life.wanted:
        yield f"Somebody needs a longer life than it has left: it is renewed when the promises end, at {case.wake()}."
    elif case.now.boot < window.start:
        yield (
            f"It is renewed at the first moment without a promise from {case.boot(window.start)} on; "
            f"promises end at the latest {case.boot(window.forced)}."
        )
    else:
        yield f"It is due: renewed when the promises end, at the latest {case.boot(window.forced)}."


def _why_then(case: _Case) -> str:
    """Say what set the moment of a renewal that disturbs nobody."""
    held = case.living
    if held is None or held.token.expires_in is None:
        return ""
    life = held.token.expires_in
    idle = case.life.terms.refresh_lifetime
    if idle is not None and idle < life:
        return f", well before the refresh token dies of {duration(idle)} without use"
    if life - validity.EARLIEST_RENEWAL > life * 2 / 3:
        return f", {duration(validity.EARLIEST_RENEWAL)} before its end"
    return ", after two thirds of its life"


def _doubt(case: _Case) -> Iterator[str]:
    life = case.life
    yield "The refresh token was sent and no answer came: nobody knows whether it is spent."
    if not life.terms.probes:
        if life.tries < doubt.MOST_TRIES:
            yield f"It is sent once more at {case.wake()}; if it is refused then, somebody has to log in."
        return
    asked = f"is asked at {case.wake()}" if life.wake is not None else "is being asked"
    once = "" if life.proof is None else "; it said yes once"
    yield (
        f"The server {asked} whether the token in hand lives{once}. If it "
        "says yes twice, nothing is lost. If not, the refresh token is sent once more, and then it takes a login."
    )


def _outage(case: _Case) -> Iterator[str]:
    held = case.living
    if held is None or case.rule is Rule.NEVER or case.life.renewal in {Renewal.SENDING, Renewal.DOUBTFUL}:
        return
    end = validity.expires_at(held)
    if end is None:
        return
    yield f"Should the server fail now, gets are answered until {case.at(end)}."
    if case.spare is not None:
        left = duration(max(0.0, case.spare))
        yield f"Should it fail just when the renewal is due, they are answered for {left} more."
    if case.disruptive:
        yield "The refresh token dies about when the token does: after a longer outage somebody has to log in."


def _refusals(case: _Case) -> Iterator[str]:
    number = case.life.rejections
    if number == 0:
        return
    yield f"{number} token{'s were' if number > 1 else ' was'} reported as refused in a row."
    if number >= lifecycle.MOST_REJECTIONS:
        yield (
            "Such reports renew nothing now, until a login, a changed profile, or a check that the server passes: "
            f"{lifecycle.IN_VAIN.mend}: pmcred login {case.profile.name}"
        )


def _unsaved(case: _Case) -> Iterator[str]:
    problem = case.life.save_problem
    if problem is not None:
        yield (
            f"The token is not on disk and would be lost with the daemon: {problem.sentence.rstrip('.')}. "
            "Saving is tried again by itself, every few seconds."
        )
        if problem.mend:
            yield f"What helps: {problem.mend}"


def _facts(case: _Case) -> Mapping[str, str | None]:
    life, held, window = case.life, case.living, case.window
    left = None if held is None else validity.remaining(held, case.now)

    def boot(moment: float | None) -> str | None:
        return None if moment is None else str(int(telling.wall(moment, case.now)))

    def number(count: float | None) -> str | None:
        return None if not count else str(int(count))

    return {
        "rule": case.rule.value,
        "issued_at": None if held is None else str(int(held.issued.wall)),
        "renew_from": None if window is None else boot(window.start),
        "renew_by": None if window is None else boot(window.forced),
        "leased_until": boot(case.leased_until),
        "outage_now": number(left) if case.rule is not Rule.NEVER else None,
        "outage_at_renewal": number(case.spare),
        "rejections": number(life.rejections),
        "failures": number(life.failures),
        "failed_at": None if life.failed_at is None else str(int(life.failed_at.wall)),
        "asked_at": number(life.asked_at),
    }
