"""What each verb of the protocol does: a request in, the bytes of its answer out."""

import os
from collections.abc import Callable, Mapping

from pmcredd import __version__, outlook, telling, wire
from pmcredd.clock import Clock
from pmcredd.human_time import clock_time
from pmcredd.keeper import Keeper
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
        clock: time.
        stop: called when `stop` is asked for; the answer still goes out.
        started: unix time of the daemon's start.
        notice: what people should know about this start (a damaged state file was set aside), or None.
    """

    def __init__(
        self,
        keeper: Keeper,
        watching: Watching,
        *,
        clock: Clock,
        stop: Callable[[], None],
        started: float,
        notice: str | None,
    ) -> None:
        self._keeper = keeper
        self._watching = watching
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

    async def answer(self, request: Request) -> bytes | Watch:
        """Give the answer, however long it takes; to `watch` it has no end."""
        try:
            return await self._answer(request)
        except Failure as failure:
            return _failed(failure)

    async def _answer(self, request: Request) -> bytes | Watch:
        target = request.target or ""
        match request.verb:
            case "get":
                return self._format(await self._keeper.get(target, _lasting(request), _timeout(request)))
            case "login":
                return self._format(await self._login(request, target), token=False)
            case "reject":
                return self._format(await self._keeper.reject(target, _fingerprint(request), _timeout(request)))
            case "hello":
                return wire.format_ok([self._hello()], many=False)
            case "list":
                blocks = [
                    {
                        "profile": each.name,
                        "url": each.url,
                        "generation": str(each.generation),
                        "grant": each.grant.value,
                    }
                    for each in self._keeper.profiles()
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

    async def _login(self, request: Request, target: str) -> HandOut:
        code = request.args.get("code")
        if code is None:
            return await self._keeper.login(target, _timeout(request))
        verifier = request.args.get("code_verifier")
        return await self._keeper.login_with_code(
            target,
            Code(
                code=Secret(code),
                redirect_uri=request.args.get("redirect_uri"),
                verifier=None if verifier is None else Secret(verifier),
            ),
        )

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

    def _format(self, found: HandOut, *, token: bool = True) -> bytes:
        if not token:
            return wire.format_ok([_hand_out(found)], many=False)
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
    )


def _given(**fields: str | None) -> Mapping[str, str]:
    return {key: value for key, value in fields.items() if value is not None}


def _failed(failure: Failure) -> bytes:
    return wire.format_error(failure.code, failure.message, failure.hint)


def _lasting(request: Request) -> float | None:
    text = request.args.get("for")
    return None if text is None else _duration("for", text)


def _yes(request: Request, key: str) -> bool:
    value = request.args.get(key, "no")
    if value not in {"yes", "no"}:
        raise Failure(wire.Code.BAD_REQUEST, f"{key} is yes or no", f"{key}=yes")
    return value == "yes"


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
