"""Looks at a server as the daemon would reach it: its name, its certificate, its token endpoint, its clock."""

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import trio

from pmcredd import network_errors, trust
from pmcredd.cli.detect import Address, detect
from pmcredd.cli.doctor import judge_server
from pmcredd.cli.doctor.finding import Area, Finding, Level
from pmcredd.cli.doctor.judge_server import Certificate
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.oauth import Meaning, Refusal, TokenRequest, read_answer, server_date
from pmcredd.processmaker import token_url
from pmcredd.profiles import Profile
from pmcredd.upstream import Upstream
from pmcredd.urls import BadUrl, Url, parse_url

LIMIT = 10.0  # seconds for each step, if the profile's timeout is not shorter

_FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
_ELSEWHERE = frozenset({Meaning.WRONG_URL, Meaning.NOT_JSON, Meaning.REDIRECT, Meaning.BAD_REQUEST})


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at a server; `answers` tells whether it is worth to ask it for more."""

    findings: tuple[Finding, ...]
    answers: bool


def servers(profiles: Iterable[Profile]) -> dict[Profile, list[Profile]]:
    """Give the profiles by server and way to it: each is looked at once, with the first of them."""
    found: dict[tuple[object, ...], list[Profile]] = {}
    for each in profiles:
        way = (token_url(each), each.generation, each.ca_file, each.client_cert, each.client_key, each.proxy)
        found.setdefault(way, []).append(each)
    return {those[0]: those for those in found.values()}


async def look_at_server(upstream: Upstream, profile: Profile) -> Look:
    """Look at the server of a profile; takes at most a few times LIMIT, and for one that does not answer, LIMIT."""
    workspace = f", workspace {profile.workspace}" if profile.generation == 3 else ""
    area = Area("server", profile.url + workspace)
    profile = replace(profile, timeout=min(profile.timeout, LIMIT))
    target = parse_url(token_url(profile))
    findings: list[Finding] = []
    way = trust.proxy_url(profile, target)
    if way is None:
        findings += await _reach(area, profile, target)
    else:
        findings.append(area.ok("proxy", f"it is reached through {_without_password(way)}, which looks up its name"))
    if any(finding.level is Level.PROBLEM for finding in findings):
        return Look(tuple(findings), answers=False)
    more, answers = await _ask(area, upstream, profile)
    return Look((*findings, *more), answers)


def _without_password(proxy: str) -> str:
    try:
        return f"the proxy {parse_url(proxy).origin}"
    except BadUrl:
        return "a proxy"


# The way there


async def _reach(area: Area, profile: Profile, target: Url) -> list[Finding]:
    """Look the name up and, with https, verify the certificate; stops at what fails."""
    host = _ascii(target.host)
    port = target.port or (443 if target.scheme == "https" else 80)
    edit = f"pmcred profile edit {profile.name}"
    with trio.move_on_after(profile.timeout):
        try:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            return [_failed(area, "dns", profile, target, error)]
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        named = [area.ok("dns", f"{target.host} is {addresses[0]}{more}")] if addresses[0] != host else []
        return [*named, await _handshake(area, profile, target, host, port)] if target.scheme == "https" else named
    sentence = f"no connection to {target.host} within {profile.timeout:g} s"
    return [area.problem("network", sentence, f"check the network, and url: {edit}")]


async def _handshake(area: Area, profile: Profile, target: Url, host: str, port: int) -> Finding:
    try:
        context = trust.identified(profile)
    except trust.Unusable as error:
        return area.problem("tls", str(error), error.mend)
    try:
        async with await trio.open_tcp_stream(host, port) as stream:
            tls = trio.SSLStream(stream, context, server_hostname=host)
            await tls.do_handshake()
            return judge_server.certificate(area, _certificate(tls), time.time())
    except (OSError, ssl.SSLError, trio.BrokenResourceError) as error:
        return _failed(area, "tls", profile, target, error)


def _certificate(tls: "trio.SSLStream[trio.SocketStream]") -> Certificate:
    shown = tls.getpeercert()
    begins, ends = (ssl.cert_time_to_seconds(shown[key]) for key in ("notBefore", "notAfter"))
    return Certificate(tls.version() or "TLS", begins, ends)


def _failed(area: Area, check: str, profile: Profile, target: Url, error: Exception) -> Finding:
    host = target.origin.partition("://")[2]
    told = network_errors.failure(error, profile, host=host, peer=host, sent=False)
    return area.problem(check, told.sentence, told.mend)


def _ascii(host: str) -> str:
    host = host.strip("[]")
    if host.isascii():
        return host
    import httpx  # here: only such names need it

    return httpx.URL(f"https://{host}").raw_host.decode()


# The token endpoint


async def _ask(area: Area, upstream: Upstream, profile: Profile) -> tuple[list[Finding], bool]:
    """Ask for a token without a grant and without credentials: that tells who is there, and spends nothing."""
    request = TokenRequest(token_url(profile), _FORM, b"", grant_type="")
    sent = time.time()
    answer = await upstream.send(profile, request)
    received = time.time()
    if isinstance(answer, NotSent | Unknown):
        return [area.problem("endpoint", answer.sentence, answer.mend)], False
    clock = judge_server.clock(area, server_date(answer), sent=sent, received=received)
    refusal = read_answer(profile, request, answer, now=received, secrets=())
    if not isinstance(refusal, Refusal):
        sentence = f"{profile.url} gives a token to whoever asks: that is no ProcessMaker"
        return [area.problem("endpoint", sentence, f"check url: pmcred profile edit {profile.name}"), clock], False
    elsewhere = None
    if refusal.meaning in _ELSEWHERE and not judge_server.speaks_oauth(answer, refusal):
        there = Address(profile.url, profile.workspace if profile.generation == 3 else None)
        elsewhere = (await detect(upstream, there, profile)).generation
    finding = judge_server.endpoint(profile, area, answer, refusal, elsewhere)
    return [finding, clock], finding.level is not Level.PROBLEM
