"""What each verb of the protocol does: a request in, the bytes of its answer out."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pmcredd import __version__, telling, wire
from pmcredd.audit import Audit, Follow
from pmcredd.clock import Clock
from pmcredd.human_time import clock_time
from pmcredd.keeper import Keeper
from pmcredd.life import User
from pmcredd.logins import Logins
from pmcredd.oauth import Code
from pmcredd.peer import Peer
from pmcredd.secret import Secret
from pmcredd.telling import Failure, HandOut, Status
from pmcredd.watching import Watch, Watching
from pmcredd.wire import Request

if TYPE_CHECKING:
    from pmcredd.login import Login

DEFAULT_TIMEOUT = 60.0  # seconds a `get` waits for a new token
LONGEST_TIMEOUT = 3600.0

_ABOUT_TOKENS = frozenset({"get", "login", "logout", "reject"})  # what the audit hears of, and of `watch token=yes`


class Verbs:
    """Answers requests out of a keeper.

    Args:
        keeper: who has the tokens.
        watching: what happens to them.
        logins: those in browsers that are under way.
        audit: hears who asked for tokens, and what came of it.
        clock: time.
        stop: called when `stop` is asked for; the answer still goes out.
        started: unix time of the daemon's start.
        notice: what people should know about this start (a damaged state file was set aside), or None.
    """

    def __init__(
        self,
        keeper: Keeper,
        watching: Watching,
        logins: Logins,
        audit: Audit,
        *,
        clock: Clock,
        stop: Callable[[], None],
        started: float,
        notice: str | None,
    ) -> None:
        self._keeper = keeper
        self._watching = watching
        self._logins = logins
        self._audit = audit
        self._clock = clock
        self._stop = stop
        self._started = started
        self._notice = notice
        self._formatted: dict[str, _Formatted] = {}

    def ready(self, request: Request, peer: Peer) -> bytes | None:
        """Give the answer if it is there without waiting: nearly every `get`."""
        if request.verb != "get" or request.target is None:
            return None
        try:
            found = self._keeper.hand_out(request.target, _lasting(request))
        except Failure as failure:
            return self._refuse(request, peer, failure)
        return None if found is None else self._give(request, peer, found)

    async def answer(self, request: Request, peer: Peer) -> "bytes | Watch | Login | Follow":
        """Give the answer, however long it takes; `watch`, `log` and a login in a browser can have a stream."""
        try:
            return await self._answer(request, peer)
        except Failure as failure:
            return self._refuse(request, peer, failure)

    async def _answer(self, request: Request, peer: Peer) -> "bytes | Watch | Login | Follow":
        target = request.target or ""
        match request.verb:
            case "get":
                renew = _choice(request, "refresh") is not False
                found = await self._keeper.get(target, _lasting(request), _timeout(request), renew=renew)
                return self._give(request, peer, found)
            case "login":
                return await self._login(request, peer, target)
            case "logout":
                return wire.format_ok([await self._logout(request, peer, target)], many=False)
            case "reject":
                fingerprint = _fingerprint(request)
                found = await self._keeper.reject(target, fingerprint, _timeout(request))
                return self._give(request, peer, found, rejected=fingerprint)
            case "hello":
                return wire.format_ok([self._hello()], many=False)
            case "list":
                blocks = [
                    _given(
                        profile=each.profile.name,
                        url=each.profile.url,
                        generation=str(each.profile.generation),
                        grant=each.profile.grant.value,
                        user=each.user.id if each.user else None,
                        user_name=each.user.name if each.user else None,
                    )
                    for each in self._keeper.status([])
                ]
                return wire.format_ok(blocks, many=True)
            case "status":
                states = self._keeper.status([target] if target else [])
                tell = self._explained if _yes(request, "explain") else telling.fields
                return wire.format_ok([tell(state) for state in states], many=True)
            case "watch":
                told = partial(self._note_told, peer)
                return self._watching.watch(request.target, token=_yes(request, "token"), told=told)
            case "log":
                profile = self._logged(request.target)
                if _yes(request, "follow"):
                    return self._audit.follow(profile)
                return wire.format_ok([entry.fields() for entry in self._audit.entries(profile)], many=True)
            case "reload":
                return wire.format_ok([await self._reload()], many=False)
            case "stop":
                self._stop()
                return wire.format_ok([{}], many=False)
            case _:
                raise Failure(wire.Code.BAD_REQUEST, "this verb is known and not served", "pmcred --help")

    async def _login(self, request: Request, peer: Peer, target: str) -> "bytes | Login":
        as_new_user = _choice(request, "as_new_user")
        if (login := request.args.get("login")) is not None:
            self._continue(request, target, login)
            return wire.format_ok([{}], many=False)
        if "answer" in request.args:
            raise Failure(wire.Code.BAD_REQUEST, "an answer belongs to a login", "login=ID answer=URL")
        if (code := _code(request)) is not None:
            ready = await self._keeper.login_with_code(target, code, admit=partial(_as_said, as_new_user=as_new_user))
        elif self._logins.needs_browser(target):
            patience = _timeout(request) if "timeout" in request.args else None
            ended = partial(self._note_login, peer)
            return await self._logins.begin(target, patience=patience, as_new_user=as_new_user, ended=ended)
        else:
            ready = await self._keeper.login(target, _timeout(request))
        self._note(request.verb, peer, ready)
        return wire.format_ok([_hand_out(ready)], many=False)

    def _continue(self, request: Request, target: str, login: str) -> None:
        answer, as_new_user = request.args.get("answer"), _choice(request, "as_new_user")
        if answer is not None and as_new_user is None:
            self._logins.answer(target, login, answer)
        elif as_new_user is not None and answer is None:
            self._logins.choose(target, login, as_new_user=as_new_user)
        else:
            raise Failure(wire.Code.BAD_REQUEST, "a login takes one of two answers", "answer=URL, or as_new_user=yes")

    async def _logout(self, request: Request, peer: Peer, target: str) -> Mapping[str, str]:
        (before,) = self._keeper.status([target])
        if _yes(request, "forget"):
            left = await self._keeper.forget(target)
        else:
            left = await self._keeper.logout(target, revoke_personal=_yes(request, "revoke"))
        self._audit.note(peer, request.verb, left.profile, fingerprint=before.fingerprint)
        self._formatted.pop(left.profile, None)  # the bytes of its token go too
        return {"profile": left.profile, "revoked": left.revoked.value, "message": left.sentence}

    def _explained(self, state: Status) -> Mapping[str, str]:
        from pmcredd import outlook  # here: many words, which a start can do without

        now = self._clock.now()
        found = outlook.explain(state.profile, state.life, now, lambda moment: clock_time(moment, now.wall))
        return {**telling.fields(state), **found.facts, "explanation": "\n".join(found.lines)}

    def _hello(self) -> Mapping[str, str]:
        return _given(
            version=__version__,
            protocol="1",
            pid=str(os.getpid()),
            started=str(int(self._started)),
            capabilities=",".join(wire.VERBS),
            config_problem=self._keeper.config_problem,
            notice=self._notice,
        )

    async def _reload(self) -> Mapping[str, str]:
        report = await self._keeper.reload()
        return _given(
            added=str(len(report.added)),
            changed=str(len(report.changed)),
            removed=str(len(report.removed)),
            unchanged=str(len(report.unchanged)),
            warnings="; ".join(report.warnings) or None,
        )

    # --- the audit ------------------------------------------------------------------------------------------------

    def _give(self, request: Request, peer: Peer, found: HandOut, *, rejected: str | None = None) -> bytes:
        return self._note(request.verb, peer, found, rejected=rejected).answer

    def _note(self, verb: str, peer: Peer, found: HandOut, *, rejected: str | None = None) -> "_Formatted":
        known = self._formatted.get(found.profile)
        if known is None or known.of is not found:
            known = self._formatted[found.profile] = _Formatted(found)
        self._audit.note(peer, verb, found.profile, fingerprint=known.fingerprint, rejected=rejected)
        return known

    def _note_told(self, peer: Peer, status: Status) -> None:
        self._audit.note(peer, "watch", status.profile.name, fingerprint=status.fingerprint)

    def _note_login(self, peer: Peer, profile: str, outcome: HandOut | Failure) -> None:
        if isinstance(outcome, Failure):
            self._audit.note(peer, "login", profile, outcome=outcome.code)
        else:
            self._note("login", peer, outcome)

    def _refuse(self, request: Request, peer: Peer, failure: Failure) -> bytes:
        if request.verb in _ABOUT_TOKENS or (request.verb == "watch" and "token" in request.args):
            rejected = request.args.get("fingerprint") if request.verb == "reject" else None
            self._audit.note(peer, request.verb, self._name_of(request.target), outcome=failure.code, rejected=rejected)
        return wire.format_error(failure.code, failure.message, failure.hint)

    def _name_of(self, target: str | None) -> str | None:
        """Name the profile that is meant, if there is one: anything else that a client says could be a token."""
        try:
            return self._keeper.status([target])[0].profile.name if target else None
        except Failure:
            return None

    def _logged(self, target: str | None) -> str | None:
        """Name the profile whose entries are wanted; it may be one that is no more."""
        if target is None or self._audit.entries(target):
            return target
        return self._keeper.status([target])[0].profile.name


class _Formatted:
    """What is made of a hand-out once, for everybody who gets it: a new token is a new HandOut."""

    __slots__ = ("answer", "fingerprint", "of")

    def __init__(self, found: HandOut) -> None:
        fields = {"access_token": found.access_token.reveal(), **_hand_out(found)}
        self.of = found
        self.fingerprint = found.access_token.fingerprint()
        self.answer = wire.format_ok([fields], many=False)


def _hand_out(found: HandOut) -> Mapping[str, str]:
    return _given(
        token_type=found.token_type,
        expires_at=None if found.expires_at is None else str(found.expires_at),
        good_until=None if found.good_until is None else str(found.good_until),
        profile=found.profile,
        url=found.url,
        user=found.user.id if found.user else None,
        user_name=found.user.name if found.user else None,
    )


def _given(**fields: str | None) -> Mapping[str, str]:
    return {key: value for key, value in fields.items() if value is not None}


def _lasting(request: Request) -> float | None:
    text = request.args.get("for")
    return None if text is None else _duration("for", text)


def _yes(request: Request, key: str) -> bool:
    return _choice(request, key) is True


def _choice(request: Request, key: str) -> bool | None:
    value = request.args.get(key)
    if value not in {"yes", "no", None}:
        raise Failure(wire.Code.BAD_REQUEST, f"{key} is yes or no", f"{key}=yes")
    return None if value is None else value == "yes"


def _code(request: Request) -> Code | None:
    code, verifier = request.args.get("code"), request.args.get("code_verifier")
    if code is None:
        return None
    return Code(
        code=Secret(code),
        redirect_uri=request.args.get("redirect_uri"),
        verifier=None if verifier is None else Secret(verifier),
    )


async def _as_said(_new: User, _before: User | None, *, as_new_user: bool | None) -> bool:
    return as_new_user is True


def _fingerprint(request: Request) -> str:
    token, fingerprint = request.args.get("token"), request.args.get("fingerprint")
    if (token is None) == (fingerprint is None):
        raise Failure(
            wire.Code.BAD_REQUEST, "reject needs the refused token or its fingerprint", "pmcred reject --help"
        )
    return fingerprint if fingerprint is not None else Secret(token or "").fingerprint()


def _timeout(request: Request) -> float:
    text = request.args.get("timeout")
    return DEFAULT_TIMEOUT if text is None else min(_duration("timeout", text), LONGEST_TIMEOUT)


def _duration(key: str, text: str) -> float:
    try:
        return wire.parse_duration(text)
    except wire.BadLine as error:
        raise Failure(wire.Code.BAD_REQUEST, f"{key}: {error}", f"{key}=30m") from None
