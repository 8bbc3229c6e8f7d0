"""A model of a daemon and the machine that it runs on: clocks, disk, and the carrying out of effects.

The daemon here is a stand-in for driver, exchange and store that does everything in small steps, so that a test can end
it between any two: a request is prepared, committed, sent, answered, saved. The lifecycle and the decisions are real.
"""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pmcredd import life as l
from pmcredd import lifecycle
from pmcredd.life import Life, Problem, Reason
from pmcredd.oauth import Token
from pmcredd.processmaker import Renewal as Rule
from pmcredd.secret import Secret
from pmcredd.validity import Held, Moment, Terms
from support.model_parts import Disk, Fate, ProbeFate, Question, Request
from support.model_server import TIMEOUT, ModelServer, Pair

WALL = 1_700_000_000.0
LOGGED_OUT = Problem("somebody has logged out", "pmcred login prod")
MOST_DUE_AT_ONCE = 200  # more timers without time passing are a circle


@dataclass
class Daemon:
    """The daemon and its machine. Who uses them is a subclass's (model_machine.py)."""

    terms: Terms
    server: ModelServer
    probes_tell: bool = True
    names_tokens: bool = True
    now: float = 0.0
    wall_off: float = 0.0
    clock_was_wrong: bool = False
    date_seen: bool = True  # the server's, since the machine started
    boots: int = 1
    booted_at: float = -100.0
    processes: int = 0
    secret: str = "password-1"
    secret_readable: bool = True
    disk: Disk = field(default_factory=Disk)
    life: Life = field(init=False)
    timers: list[tuple[float, int, l.Event]] = field(default_factory=list)
    request: Request | None = None
    saves: list[l.Save | l.LoggedOut] = field(default_factory=list)  # what waits for the disk, in order
    leased_on_disk: float = 0.0  # the end of the held token's long leases, as the disk is to have it
    leaving: bool = False  # a logout is on disk, and has not happened here yet
    logged_out: bool = False  # somebody was told so, and nobody has logged in since
    arriving: bool = False  # a login is on its way to the disk
    superseded: Held | None = None  # by that login: an answer that was on its way there, too
    revocable: bool = True  # the server does what it is asked about tokens that nobody is to have
    at_large: set[str] = field(default_factory=set)  # access tokens that came, and were neither kept nor replaced
    questions: list[Question] = field(default_factory=list)
    spends: Counter[str] = field(default_factory=Counter)  # that we cannot know to have come to nothing
    saved: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)  # refresh tokens with an answer on disk
    issued_in: dict[str, int] = field(default_factory=dict)  # the boot in which a token was asked for
    rough: bool = False  # a crash or a full disk since the last time a person forgave the password
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _jitters: Iterator[float] = field(default_factory=lambda: itertools.cycle((0.0, 1.0, 0.5)))

    def __post_init__(self) -> None:
        """Start the daemon."""
        self.start()

    # --- clocks -------------------------------------------------------------------------------------------------------

    def moment(self) -> Moment:
        """Give this instant on the machine's clocks."""
        wall = WALL + self.now + self.wall_off
        return Moment(boot=self.now - self.booted_at, wall=wall, boot_id=f"boot-{self.boots}")

    def set_wall(self, off: float) -> None:
        """Set the wall clock so far off the server's."""
        self.wall_off = off
        self.clock_was_wrong = self.clock_was_wrong or off != 0.0

    def pass_time(self, seconds: float, *, asleep: bool = False) -> None:
        """Let time pass; timers fire when they are due, or all at the end if the machine was asleep."""
        self.left()
        until = self.now + seconds
        if asleep:
            self._act_late(until)
            self.now = until
        at_once = 0
        while self.timers and self._reaches(self.timers[0][0]) <= until:
            due, _, event = heapq.heappop(self.timers)
            at = max(self.now, self._reaches(due))
            self._act_late(at)
            self._time_out(at)
            at_once = 0 if at > self.now else at_once + 1
            assert at_once < MOST_DUE_AT_ONCE, "timers go in a circle"
            self.now = at
            if not isinstance(event, l.Due) or self.life.wake == due:
                self.happen(event)
        self._act_late(until)
        self._time_out(until)
        self.now = until

    def next_timer(self) -> float:
        """Give the time of the next timer, or infinity."""
        return max(self.now, self._reaches(self.timers[0][0])) if self.timers else float("inf")

    def _reaches(self, boot: float) -> float:
        """Give the time at which the boot clock has reached this; a sum of floats may fall short by its last bit."""
        at = boot + self.booted_at
        while at - self.booted_at < boot:
            at = math.nextafter(at, math.inf)
        return at

    def _act_late(self, until: float) -> None:
        for when, refresh in sorted(self.server.late):
            if when <= until:
                self.server.late.remove((when, refresh))
                self.now = max(self.now, when)
                self.server.spend(refresh, self.now)
                self.hit()

    def _time_out(self, until: float) -> None:
        request = self.request
        if request is not None and request.stage == "receive" and until - request.sent_at > TIMEOUT:
            request.stage = "done"
            self.now = max(self.now, min(until, request.sent_at + TIMEOUT))
            self._lose(request, request.answer)
            self._received(request)
            self._end(request)
        while self.questions and until - self.questions[0].since > TIMEOUT:
            question = self._answered()
            self.now = max(self.now, min(until, question.since + TIMEOUT))
            self.happen(l.ProbeFailed(question.serial, Problem("no answer")))

    # --- the process --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon from what the disk has."""
        self.processes += 1
        now = self.moment()
        self.life = Life(terms=self.terms, asked_at=now.wall)
        self.timers, self.request, self.saves, self.questions = [], None, [], []
        self.leaving, self.arriving, self.superseded, self.leased_on_disk = False, False, None, 0.0
        disk, leased = self.disk, 0.0
        self.at_large.clear()  # what only the memory had is lost, and nobody can tell
        self.logged_out = disk.logged_out > 0
        if disk.logged_out:
            self.life = replace(self.life, serial=disk.logged_out)
            self.happen(l.Restored(None, logged_out=LOGGED_OUT))
            return
        if disk.held is not None:
            self.life = replace(
                self.life,
                serial=disk.serial,
                past=disk.past,
                proved=disk.proved,
                dead=disk.dead,
                tries=disk.tries,
            )
            leased = disk.leased_until if disk.held.issued.boot_id == now.boot_id else 0.0
        self.leased_on_disk = leased
        self.happen(l.Restored(disk.held, leased))

    def crash(self, *, reboot: bool, down: float, wall_off: float) -> None:
        """Kill the daemon here and now, and start it after `down` seconds, in this boot or another one."""
        request = self.request
        if request is not None and request.stage == "receive" and request.spends is not None:
            request.stage = "done"  # its answer goes nowhere
        self.rough = True
        self._act_late(self.now + down)
        self.now += down
        if reboot:
            self.boots += 1
            self.date_seen = False
            self.booted_at = self.now - 5.0
            self.set_wall(wall_off)
        self.start()

    def happen(self, event: l.Event) -> None:
        """Let an event happen to the life, and begin its effects in order."""
        before = self.life
        self.life, effects = lifecycle.step(before, event, self.moment(), next(self._jitters))
        assert self.life == before or self.life.renewal in lifecycle.TABLE[before.renewal, type(event)].to
        if getattr(event, "serial", before.serial) != before.serial:
            assert (self.life, effects) == (before, ()), "an answer with an old serial changed something"
        if before.held is not None and not isinstance(event, l.LoggedOut):
            assert self.life.held is not None, "a token was thrown away"
        if isinstance(event, l.LoggedIn):
            self.logged_out = False
        self._clear_up(before, event)
        if before.held is not None and not _same(before.held, self.life.held):
            self.leased_on_disk = 0.0
        if (self.life.proved, self.life.dead) != (before.proved, before.dead):
            self._note()
        for effect in effects:
            self._do(effect)

    def _clear_up(self, before: Life, event: l.Event) -> None:
        """Have revoked what nobody is to have, and remember which tokens have come and are not kept."""
        if isinstance(event, l.Issued | l.LoggedIn):
            self.at_large.add(_access(event.held))
        if isinstance(event, l.Issued) and event.serial != before.serial:
            self._revoke(event.held)
        if isinstance(event, l.LoggedOut):
            for held in (before.pending, before.held):
                if held is not None:
                    self.at_large.add(_access(held))
                    self._revoke(held)
        elif self.life.held is not None:
            self.at_large.discard(_access(self.life.held))
        if isinstance(event, l.LoggedIn):
            self.arriving, self.superseded = True, before.pending
        elif self.arriving and isinstance(event, l.Saved | l.SaveFailed) and event.serial == before.serial:
            self.arriving = False
            if self.superseded is not None and isinstance(event, l.Saved):
                # Not before: on disk it may stand in the place of the new one.
                self._revoke(self.superseded)

    def kept(self) -> set[str]:
        """Give the access tokens that somebody here still knows of, or that are told to live on."""
        known = [self.life.held, self.life.pending, self.superseded]
        return {_access(held) for held in known if held is not None}

    def _revoke(self, held: Held) -> None:
        if self.revocable:
            self.server.delete(_access(held))
        else:
            self.at_large.discard(_access(held))  # told to live on

    def _do(self, effect: l.Effect) -> None:
        match effect:
            case l.Send():
                assert self.request is None or self.request.send.serial != effect.serial, "two requests at once"
                held = self.life.held
                refresh = held.token.refresh_token if held is not None and effect.tries else None
                self.request = Request(effect, refresh.reveal() if refresh else None, self.secret)
            case l.Probe():
                assert self.life.held is not None
                self.questions.append(Question(effect.serial, self.life.held, self.now))
            case l.Identify():
                pass  # a name is for people
            case l.Unspend():
                self._taken_back()
            case l.Save():
                self.saves.append(effect)
            case l.WakeAt(boot):
                heapq.heappush(self.timers, (boot, next(self._numbers), l.Due()))
            case l.SaveAt(boot):
                heapq.heappush(self.timers, (boot, next(self._numbers), l.SaveDue()))
            case l.Tell():
                self.told()

    def _taken_back(self) -> None:
        assert self.life.held is not None
        token = self.life.held.token
        assert token.refresh_token is not None
        refresh = token.refresh_token.reveal()
        if self.server.access[token.access_token.reveal()].cause != "admin":
            assert not self.server.refreshes[refresh].dead, "a refresh token that is spent was taken for unspent"
        assert refresh not in {late for _, late in self.server.late}, "a request under way was taken for none"
        self.spends[refresh] = 0
        if not self.disk.full:
            self.disk.tries = 0

    def _note(self) -> None:
        if not self.disk.full and self.disk.held is not None:
            self.disk.proved, self.disk.dead = self.life.proved, self.life.dead
            self.disk.leased_until = self.leased_on_disk

    # --- a request, step by step --------------------------------------------------------------------------------------

    def go_on(self, fate: Fate) -> None:
        """Do the next step of the request under way."""
        request = self.request
        if request is None:
            return
        if request.send.serial != self.life.serial and request.stage in {"prepare", "send"}:
            self.request = None  # somebody logged in meanwhile: the old refresh token is not sent any more
            return
        match request.stage:
            case "prepare":
                request.answer = self._prepare(request)
                if request.answer is not None:
                    self._end(request)
            case "send":
                self._send(request, fate)
            case "receive":
                request.stage = "done"
                self._received(request)
                self._end(request)
            case "done":
                raise AssertionError("a request that is done is still there")

    def _prepare(self, request: Request) -> l.Event | None:
        serial = request.send.serial
        if self.terms.rule is not Rule.ASK_ANEW and request.spends is None:
            return l.Refused(serial, Reason.NEEDS_LOGIN, Problem("nobody is logged in"))
        if not self.secret_readable:
            return l.Refused(serial, Reason.SECRET_UNAVAILABLE, Problem("the secret is locked"))
        if self.terms.rule is Rule.ASK_ANEW and self._stopped(request.secret):
            return l.Refused(serial, Reason.BAD_CREDENTIALS, Problem("this password was refused"))
        if self.disk.full:
            return l.Failed(serial, Problem("the try cannot be committed"))
        if request.spends is None:
            self.disk.secret_tries[request.secret] += 1
        else:
            assert request.spends not in self.over, "spent again after its answer was saved"
            if not self.leaving:  # else there is no row any more that the intent could belong to
                on_disk = self.disk.held.token.refresh_token if self.disk.held else None
                assert on_disk is not None
                assert request.spends == on_disk.reveal(), "spent before it was on disk"
                self.disk.tries = request.send.tries
            self.spends[request.spends] += 1
            assert self.spends[request.spends] <= 2, "spent a third time"
        request.stage = "send"
        return None

    def _stopped(self, secret: str) -> bool:
        return secret in self.disk.refused_secrets or self.disk.secret_tries[secret] >= 2

    def _send(self, request: Request, fate: Fate) -> None:
        request.asked, request.sent_at, request.stage = self.moment(), self.now, "receive"
        if request.spends is not None and fate not in {"not sent", "throttled", "bad client"}:
            self.sent(request.spends)
        serial = request.send.serial
        if fate in {"not sent", "throttled"}:
            after = 90.0 if fate == "throttled" else None
            request.answer = l.Failed(serial, Problem(fate), after)
        elif fate == "bad client":
            request.answer = l.Refused(serial, Reason.BAD_CLIENT, Problem(fate))
        elif fate == "late" and request.spends is not None:
            self.server.late.append((self.now + TIMEOUT * 0.9, request.spends))
            request.answer = self._unknown(request)
        elif fate == "lost before":
            request.answer = self._unknown(request)
        else:
            self._act(request, fate)

    def _act(self, request: Request, fate: Fate) -> None:
        serial = request.send.serial
        if request.spends is None:
            request.pair = self.server.ask(request.secret, self.now)
            refused: l.Event = l.Refused(serial, Reason.BAD_CREDENTIALS, Problem("wrong password"))
        else:
            request.pair = self.server.spend(request.spends, self.now, dies_before_issuing=fate == "died")
            self.hit()
            refused = l.Refused(serial, Reason.NEEDS_LOGIN, Problem("revoked"))
        if fate in {"lost after", "died"}:
            self._lose(request, refused)
        elif request.pair is None:
            request.answer = refused
        else:
            assert request.asked is not None
            request.answer = l.Issued(serial, self._held(request.pair, request.asked))

    def _lose(self, request: Request, answer: l.Event | None) -> None:
        """Lose an answer; a refusal that nobody can know of is not counted."""
        if isinstance(answer, l.Refused) and answer.reason is Reason.BAD_CREDENTIALS and request.pair is None:
            self.server.refused_passwords[request.secret] -= 1
        request.answer = self._unknown(request)

    def _unknown(self, request: Request) -> l.Event:
        problem = Problem("no answer")
        return l.Lost(request.send.serial, problem) if request.spends else l.Failed(request.send.serial, problem)

    def _received(self, request: Request) -> None:
        """Write down what an answer says of the try, before it is told."""
        event = request.answer
        if request.spends is None:
            if isinstance(event, l.Refused) and event.reason is Reason.BAD_CREDENTIALS:
                if not self.disk.full:
                    self.disk.refused_secrets.add(request.secret)
            elif not self.disk.full:
                # A try whose answer is lost says nothing of those before it.
                tries = self.disk.secret_tries[request.secret]
                self.disk.secret_tries[request.secret] = tries - 1 if isinstance(event, l.Failed) else 0
            return
        stands = not self.disk.full and self.disk.serial == request.send.serial  # the row is that of the request
        if isinstance(event, l.Refused) and event.reason is Reason.NEEDS_LOGIN:
            if stands and self.disk.held is not None:
                dropped = self.disk.held.token.refresh_token
                assert dropped is not None
                assert dropped.reveal() == request.spends, "the refresh token of a later login was dropped"
                self.over.add(request.spends)
                token = replace(self.disk.held.token, refresh_token=None)
                self.disk.held, self.disk.tries = replace(self.disk.held, token=token), 0
        elif isinstance(event, l.Failed | l.Refused):
            self.spends[request.spends] -= 1
            if stands:
                self.disk.tries = request.send.tries - 1

    def _end(self, request: Request) -> None:
        assert request.answer is not None
        if self.request is request:
            self.request = None
        self.happen(request.answer)

    def _held(self, pair: Pair, asked: Moment) -> Held:
        self.issued_in[pair.access] = self.boots
        refresh = None if pair.refresh is None else Secret(pair.refresh)
        token = Token(Secret(pair.access), "Bearer", pair.lifetime, refresh)
        if self.names_tokens:
            token = replace(token, sub="7", jti=pair.access, exp=WALL + self.server.access[pair.access].ends)
        return Held(token, asked)

    def save(self) -> None:
        """Let the worker do the oldest save."""
        if not self.saves:
            return
        self.left()
        save = self.saves.pop(0)
        if isinstance(save, l.LoggedOut):
            self._leave()
            return
        if save.serial < self.disk.logged_out:
            return  # too late: somebody has logged out since
        if self.disk.full:
            self.happen(l.SaveFailed(save.serial, save.held, Problem("the disk is full")))
            return
        old = self.disk.held.token.refresh_token if self.disk.held else None
        new = save.held.token.refresh_token
        if old is not None and old != new:
            self.over.add(old.reveal())
        assert new is None or new.reveal() not in self.over, "an old pair replaced the new one on disk"
        self.saved.add(save.held.token.access_token.reveal())
        self.disk.held, self.disk.serial, self.disk.past = replace(save.held, saved=True), save.serial, save.past
        self.disk.proved, self.disk.tries = self.life.proved, 0
        again = _same(self.life.held, save.held)  # the disk had refused it: somebody may have been promised it since
        self.disk.dead, self.disk.leased_until = self.life.dead and again, self.leased_on_disk if again else 0.0
        self.disk.logged_out = 0
        self.happen(l.Saved(save.serial, save.held))

    # --- a logout, step by step ---------------------------------------------------------------------------------------

    def busy(self) -> bool:
        """Say whether a login or a logout is under way; another one waits for its end."""
        return self.arriving or self.leaving or any(isinstance(save, l.LoggedOut) for save in self.saves)

    def log_out(self) -> None:
        """A person logs out: it goes to the disk first, behind what waits there."""
        if not self.busy():
            self.saves.append(l.LoggedOut(LOGGED_OUT))

    def _leave(self) -> None:
        if self.disk.full:
            return  # told as an error: nothing has changed
        self.disk.logged_out = self.life.serial + 1
        self.disk.held, self.disk.tries = None, 0
        self.leaving = True

    def left(self) -> None:
        """The daemon hears from the disk that the logout is there, and tells it."""
        if self.leaving:
            self.leaving, self.logged_out = False, True
            self.happen(l.LoggedOut(LOGGED_OUT))

    # --- questions ----------------------------------------------------------------------------------------------------

    def question(self, fate: ProbeFate) -> None:
        """Ask the oldest question, or let its answer arrive."""
        if not self.questions:
            return
        question = self.questions[0]
        if question.answer is None:
            question.answer = self._ask_about(question.held, question.serial, fate)
            return
        self._answered()  # only now: the next one is not asked before
        assert isinstance(question.answer, l.Probed | l.ProbeFailed)
        self.date_seen = self.date_seen or question.answer.skew is not None
        self.happen(question.answer)

    def _answered(self) -> Question:
        question = self.questions.pop(0)
        for following in self.questions[:1]:
            following.since = self.now  # one at a time
        return question

    def _ask_about(self, held: Held, serial: int, fate: ProbeFate) -> l.Event:
        skew = -self.wall_off
        if fate == "false 401" and not self.life.proved:
            return l.Probed(serial, self.moment().boot, passed=False, skew=None)
        if fate != "answered":
            return l.ProbeFailed(serial, Problem("no answer"), skew if fate == "failed with a date" else None)
        passed = self.server.lives(held.token.access_token.reveal(), self.now) if self.probes_tell else None
        return l.Probed(serial, self.moment().boot, passed, skew)

    # --- what users learn ---------------------------------------------------------------------------------------------

    def told(self) -> None:
        """Hear that something changed."""
        raise NotImplementedError

    def sent(self, refresh: str) -> None:
        """Hear that a refresh token is on its way to the server."""
        raise NotImplementedError

    def hit(self) -> None:
        """Hear that a refresh may have killed tokens."""
        raise NotImplementedError


def _same(one: Held | None, other: Held | None) -> bool:
    """Whether it is one token, whatever was learned of its age and its save in between."""
    return one is not None and other is not None and one.token == other.token


def _access(held: Held) -> str:
    return held.token.access_token.reveal()
