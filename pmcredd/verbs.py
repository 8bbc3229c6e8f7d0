"""What each verb of the protocol does: a request in, the bytes of its answer out."""

import os
from collections.abc import Callable, Mapping
from functools import partial

from pmcredd import __version__, outlook, telling, wire
from pmcredd.clock import Clock
from pmcredd.human_time import clock_time
from pmcredd.keeper import Keeper
from pmcredd.life import User
from pmcredd.login import Login, Logins
from pmcredd.oauth import Code
from pmcredd.secret import Secret
from pmcredd.telling import Failure, HandOut, Status
from pmcredd.watching import Watch, Watching
from pmcredd.wire import Request

DEFAULT_TIMEOUT = 60.0  # seconds a `get` waits for a new token
LONGEST_TIMEOUT = 3600.0


class Verbs:
    """Answers requests out of a keeper.

    Args:
        keeper: who has the tokens.
        watching: what happens to them.
        logins: those in browsers that are under way.
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
        *,
        clock: Clock,
        stop: Callable[[], None],
        started: float,
        notice: str | None,
    ) -> None:
        self._keeper = keeper
        self._watching = watching
        self._logins = logins
        self._clock = clock
        self._stop = stop
        self._started = started
        self._notice = notice
        # The bytes of a hand-out are made once; a new token is a new HandOut.
        self._formatted: dict[str, tuple[HandOut, bytes]] = {}

    def ready(self, request: Request) -> bytes | None:
        """Give the answer if it is there without waiting: nearly every `get`."""
        if request.verb != "get" or request.target is None:
            return None
        try:
            found = self._keeper.hand_out(request.target, _lasting(request))
        except Failure as failure:
            return _failed(failure)
        return None if found is None else self._format(found)

    async def answer(self, request: Request) -> bytes | Watch | Login:
        """Give the answer, however long it takes; to `watch` and a login in a browser it is a stream."""
        try:
            return await self._answer(request)
        except Failure as failure:
            return _failed(failure)

    async def _answer(self, request: Request) -> bytes | Watch | Login:
        target = request.target or ""
        match request.verb:
            case "get":
                return self._format(await self._keeper.get(target, _lasting(request), _timeout(request)))
            case "login":
                return await self._login(request, target)
            case "logout":
                return wire.format_ok([await self._logout(request, target)], many=False)
            case "reject":
                return self._format(await self._keeper.reject(target, _fingerprint(request), _timeout(request)))
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
                return self._watching.watch(request.target, token=_yes(request, "token"))
            case "reload":
                return wire.format_ok([await self._reload()], many=False)
            case "stop":
                self._stop()
                return wire.format_ok([{}], many=False)
            case _:
                raise Failure(wire.Code.BAD_REQUEST, "this verb is known and not served", "pmcred --help")

    async def _login(self, request: Request, target: str) -> bytes | Login:
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
            return await self._logins.begin(target, patience=patience, as_new_user=as_new_user)
        else:
            ready = await self._keeper.login(target, _timeout(request))
        return wire.format_ok([_hand_out(ready)], many=False)

    def _continue(self, request: Request, target: str, login: str) -> None:
        answer, as_new_user = request.args.get("answer"), _choice(request, "as_new_user")
        if answer is not None and as_new_user is None:
            self._logins.answer(target, login, answer)
        elif as_new_user is not None and answer is None:
            self._logins.choose(target, login, as_new_user=as_new_user)
        else:
            raise Failure(wire.Code.BAD_REQUEST, "a login takes one of two answers", "answer=URL, or as_new_user=yes")

    async def _logout(self, request: Request, target: str) -> Mapping[str, str]:
        if _yes(request, "forget"):
            left = await self._keeper.forget(target)
        else:
            left = await self._keeper.logout(target, revoke_personal=_yes(request, "revoke"))
        return {"profile": left.profile, "revoked": left.revoked.value, "message": left.sentence}

    def _explained(self, state: Status) -> Mapping[str, str]:
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

    def _format(self, found: HandOut) -> bytes:
        known = self._formatted.get(found.profile)
        if known is None or known[0] is not found:
            fields = {"access_token": found.access_token.reveal(), **_hand_out(found)}
            known = self._formatted[found.profile] = (found, wire.format_ok([fields], many=False))
        return known[1]


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


def _failed(failure: Failure) -> bytes:
    return wire.format_error(failure.code, failure.message, failure.hint)


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
