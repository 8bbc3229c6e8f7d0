"""Inputs for every parser that reads what a stranger wrote, and what must hold for each of them.

A target is a strategy and a check. The strategies begin with what is really sent and damage it, since bytes at random
seldom get past a parser's first line. A check raises for anything but the documented outcome: another exception, a
secret in a text for people, an input that is still being read after a minute.
"""

import base64
import contextlib
import json
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmcredd import oauth, wire
from pmcredd.oauth import MAX_WAIT, Answer, Refusal, Token
from pmcredd.profile_keys import DAEMON_KEYS, PROFILE_KEYS, SECRET_KEYS
from pmcredd.profile_reader import read_config
from pmcredd.profiles import BadConfig, Grant, LiteralSecret, Mistake, Profile, SourceFile
from pmcredd.secret import Secret
from pmcredd.urls import BadUrl, parse_url

PLANTED = "Hunter2-Canary/8"
HANG = 60  # seconds that no machine is too busy for
RUN = 5000  # hypothesis remembers all inputs of a run: a longer one only gets slower


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under fire; `share` is its part of a long run, for 1,000 inputs in all."""

    share: int
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


def fuzz(name: str, count: int) -> int:
    """Throw `count` inputs at a target; gives how many it was, which is less if there are no more.

    Raises:
        AssertionError: a promise was broken; hypothesis notes the smallest such input.
    """
    target, tried = TARGETS[name], 0

    def attempt(data: Any) -> None:
        nonlocal tried
        tried += 1
        with _no_hang():
            target.check(data)

    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    for start in range(0, count, RUN):
        limits = settings(max_examples=min(RUN, count - start), deadline=None, suppress_health_check=slow)
        limits(given(target.inputs)(attempt))()
    return tried


@contextlib.contextmanager
def _no_hang() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still reading after {HANG} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tells_nothing(text: str, secret: str = PLANTED) -> None:
    """Fail if a secret stands in a text, in any case of its letters."""
    assert secret.casefold() not in text.casefold()


def fit_for_people(text: str, secret: str = PLANTED) -> None:
    """Fail if a text is no printable line of a length to read, or tells a secret."""
    assert text.isprintable()
    assert len(text) < 800
    tells_nothing(text, secret)


# --- damage -----------------------------------------------------------------------------------------------------------

PIECES = [
    "",
    "\0",
    "\n",
    "\r",
    " ",
    "%",
    "=",
    '"',
    "'",
    "\\",
    "[",
    "{",
    "}",
    "]",
    "\x1b[",
    "\u202e",
    "é",
    "\ud800",
    "9" * 99,
]
LONG = st.builds(
    lambda piece, times: piece * times, st.sampled_from(PIECES[1:]) | st.text(max_size=3), st.integers(0, 3000)
)
NOISE = st.sampled_from(PIECES) | st.text(max_size=6)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[str]) -> str:
    """A text of which up to three stretches are cut out, doubled or overwritten; one in three is left as it is."""
    text = draw(whole)
    for _ in range(draw(st.sampled_from([0, 1, 3]))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + draw(NOISE | st.just(text[start:end] * 2)) + text[end:]
    return text


def as_bytes(text: str) -> bytes:
    """Encode a text of any characters, lone surrogates as bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


# --- the socket -------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *wire.VERBS,
        *(PLANTED, "prod", "for=30m", "for=", "timeout=5", "code=", f"token={PLANTED}", f"pass={PLANTED}"),
        *(
            quote(PLANTED, safe=""),
            "%C3%BC",
            "%ED%A0%80",
            "%00",
            "%zz",
            "%2",
            "https://a.b/x?y=1",
            "=",
            "a=b=c",
            "for%3Dx",
        ),
    ]
)
LINES = damaged(
    st.builds(
        lambda verb, words: " ".join([verb, *words]), st.sampled_from([*wire.VERBS, "GET"]), st.lists(WORDS, max_size=4)
    )
)


def check_request(line: bytes) -> None:
    """A line is a request that can be sent again as the same, or is refused in words that do not repeat it."""
    try:
        request = wire.parse_request(line)
    except wire.BadLine as bad:
        return fit_for_people(str(bad))
    assert wire.parse_request(wire.format_request(request)[:-1]) == request
    return None


ANSWERS = st.sampled_from(
    [
        wire.format_ok([{"access_token": PLANTED, "expires_at": "1800000000"}], many=False),
        wire.format_ok([{"profile": "prod", "state": "good"}, {"profile": "tëst"}], many=True),
        wire.format_ok([], many=True),
        wire.format_error(wire.Code.WAITING, "later, says acme", "pmcred status prod"),
        wire.STREAM_HEAD + wire.format_block({"event": "token", "access_token": "a.b.c"}),
        b"ok 2\na=1\n\na=2\n\n",
        b"\n",
        b"ok 99999\n",
    ]
).map(bytes.decode)
STREAMS = st.tuples(
    damaged(st.lists(ANSWERS, max_size=4).map("".join)).map(as_bytes), st.lists(st.integers(0, 200), max_size=8)
)


def check_answers(given_: tuple[bytes, list[int]]) -> None:
    """However the bytes are cut, the same answers come out, and the same refusal or none."""
    data, cuts = given_
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert heard(pieces) == heard([data])


def heard(pieces: list[bytes]) -> tuple[list[object], str]:
    """Read answers to the end or to the first byte that is none; a token in them is a token."""
    reader = wire.AnswerReader()
    events: list[object] = []
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                events.append(event)
                if not isinstance(event, wire.Error):  # an error's texts are to be read, whatever the damage put there
                    tells_nothing(repr(event))
                if isinstance(event, wire.Ok):
                    assert all(oauth.is_b64token(block.get("access_token", "x")) for block in event.blocks)
    except wire.BadLine as bad:
        tells_nothing(str(bad))
        return events, str(bad)
    return events, str(reader.between_answers)


DURATIONS = damaged(
    st.builds(
        lambda number, unit: f"{number}{unit}", st.integers(0, 10**12) | st.floats(), st.sampled_from([*"smhdwSM", ""])
    )
) | st.text("0123456789.smhd+-e_ ", max_size=14)


def check_duration(text: str) -> None:
    """A length of time is a number of seconds that no arithmetic stumbles over, or refused without being repeated."""
    try:
        seconds = wire.parse_duration(text)
    except wire.BadLine as bad:
        return fit_for_people(str(bad))
    assert 0 <= seconds < 1e15
    assert math.isfinite(seconds)
    with contextlib.suppress(wire.BadLine):  # beyond thirty years
        assert abs(wire.parse_duration(wire.format_duration(seconds)) - seconds) <= 0.001
    return None


# --- profiles ---------------------------------------------------------------------------------------------------------

TOML_VALUES = st.sampled_from(
    [
        *(f'"{PLANTED}"', f"'{PLANTED}'", f'"""\n{PLANTED}"""', f'["{PLANTED}"]', f'" {PLANTED}"', PLANTED),
        *(
            f'{{ file = "{PLANTED}" }}',
            f'{{ command = ["a", "{PLANTED}"] }}',
            f'{{ keyring = 1, username = "{PLANTED}" }}',
        ),
        *(f'"https://u:{PLANTED}@h"', f'"https://h/?k={PLANTED}"', f'"https://h:{PLANTED}/"'),
        *(f'"{PLANTED}\\q"', f'"{PLANTED}', f'"{PLANTED}\n"', "9" * 5000, "[" * 2000),
        *('"https://h"', '"password"', '"personal_access_token"', '"client_credentials"', '"3"', '"/t"', '"none"'),
        *("3", "4", "true", "1979-05-27", "1e400", "[]", "{}", "[[[", '"~/x"', "{ env = 'A' }", "0x7f"),
    ]
)
TOML_KEYS = st.sampled_from(["token", "password", "client_secret"]) | st.sampled_from(
    [*PROFILE_KEYS, *DAEMON_KEYS, *SECRET_KEYS, "usrname", "a.b", '"x y"', "password.file"]
)
TOML_HEADS = st.sampled_from(
    [
        "[profiles.prod]",
        "[profiles.'a.b']",
        "[profiles.a.b]",
        "[defaults]",
        "[daemon]",
        "[[profiles]]",
        "[profile.x]",
        "[",
        "",
    ]
)
GOOD = {
    "[profiles.one]": {"url": '"https://h"', "grant": '"personal_access_token"', "token": f'"{PLANTED}"'},
    "[profiles.two]": {
        "url": '"https://h"',
        "grant": '"password"',
        "client_id": '"3"',
        "client_secret": f'"{PLANTED}"',
        "username": '"u"',
        "password": f'"{PLANTED}"',
    },
}


@st.composite
def toml_tables(draw: st.DrawFn) -> str:
    """A table: one that is right but for a few keys, or one of any keys."""
    if draw(st.booleans()):
        head, keys = draw(st.sampled_from(list(GOOD.items())))
        keys = keys | draw(st.dictionaries(TOML_KEYS, TOML_VALUES, max_size=2))
    else:
        head, keys = draw(TOML_HEADS), draw(st.dictionaries(TOML_KEYS, TOML_VALUES, max_size=4))
    return "\n".join([head, *(f"{key} = {value}" for key, value in keys.items())])


DOCUMENTS = st.tuples(
    damaged(st.lists(toml_tables(), max_size=3).map("\n".join)), toml_tables(), st.sampled_from([0o600, 0o644])
)


def check_config(given_: tuple[str, str, int]) -> None:
    """Files are profiles, or mistakes of one line each; a secret in them shows in neither."""
    main, beside, mode = given_
    files = [SourceFile("/c/profiles.toml", main, mode), SourceFile("/c/profiles.d/one.toml", beside, mode, ours=True)]
    try:
        config = read_config(files, home="/home/me")
    except BadConfig as bad:
        return check_mistakes(bad.mistakes)
    check_mistakes(config.warnings)
    sources = [each for one in config.profiles.values() for each in (one.client_secret, one.password, one.token)]
    # Where a secret comes from is told: a file's name is none.
    return tells_nothing(repr([each for each in sources if isinstance(each, LiteralSecret)]))


def check_mistakes(mistakes: Sequence[Mistake]) -> None:
    """What is wrong, and what mends it, quote no value; each mistake is a line."""
    for mistake in mistakes:
        assert str(mistake).isprintable()
        # The key it is about is told, whatever the damage has made a key.
        tells_nothing(mistake.wrong)
        tells_nothing(mistake.mend)


URLS = damaged(
    st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["https", "HTTP", "ftp", ""]),
        st.sampled_from(["", f"u:{PLANTED}@", "@", f"{PLANTED}:@"]),
        st.sampled_from(
            ["h.example", "[::1]", "[", "127.0.0.1", "xn--", "ü.example", "h:0", "h:443", "h:99999", "h:\u0661"]
        ),
        st.sampled_from(["", "/", "/pm//x/", "/../x", "/%zz", "/%2F"]),
        st.sampled_from(["", f"?key={PLANTED}", f"#{PLANTED}", "?", "#"]),
    )
)


def check_url(text: str) -> None:
    """A URL has one normal form, or is refused, and its password and query are not told."""
    try:
        url = parse_url(text)
    except BadUrl as bad:
        return fit_for_people(bad.wrong)
    assert str(parse_url(str(url))) == str(url)
    return None


# --- what servers say -------------------------------------------------------------------------------------------------

SECRETS = [PLANTED, 'p&ss "wörd"/1<2', "corréct horse battery", "0f" * 20, "def502" + "00ab" * 40, "kεy-🔑-kεy"]
SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    lambda text: text.replace(" ", "\n  "),
    lambda text: "\x1b[31m".join((text[:3], text[3:])),
]
ERRORS = ["invalid_client", "invalid_grant", "invalid_request", "invalid_credentials", "unsupported_grant_type"]
ERRORS += ["invalid_scope", "unauthorized_client", "server_error", "slow_down", "temporarily_unavailable", "x"]
TEXTS = [
    "Client authentication failed",
    "The user credentials were incorrect.",
    "The refresh token is invalid.",
    "Token has been revoked",
    "Check the `username` parameter",
    "Unauthenticated.",
    "Service Unavailable",
]
LIFETIMES: list[object] = [3600, 31536000.5, "3600", 0, -1, None, True, 10**400, [], {}, "soon"]


def _jwt(claims: object) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "sig"])


CLAIMS: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.sampled_from(["sub", "jti", "iat", "exp", "x"]),
    st.sampled_from(
        [1, "1", "", None, 1.8e9, 1e300, float("nan"), float("inf"), True, [], {}, "../x", 10**400, -1, "a" * 200]
    ),
)
TOKENS = CLAIMS.map(_jwt) | st.sampled_from(
    ["abc", "a.b.c", "a.W10.c", "..", "a b", "", "0f" * 20, "a.%s.c" % ("W" * 20000)]
)


def spoken(secret: str) -> st.SearchStrategy[str]:
    """A text by a server that may repeat what it was sent."""
    echoes = [f"{text}{joint}{spell(secret)}{joint}" for text in TEXTS for joint in ' ="' for spell in SPELLINGS]
    return st.sampled_from([*TEXTS, "", "\x1b]0;x\x07", "\ud800", "x" * 300, *echoes])


SPOKEN = {secret: spoken(secret) for secret in SECRETS}


@st.composite
def bodies(draw: st.DrawFn, secret: str) -> tuple[str, str]:
    """A content-type and a body in one of the dialects: league 8 and 9, Laravel, Restler, bshaffer, a web page."""
    texts = SPOKEN[secret]
    kind = draw(st.sampled_from(["success", "league8", "league9", "laravel", "restler", "html", "noise"]))
    if kind == "html":
        return "text/html; charset=UTF-8", f"<!DOCTYPE html><html><title>{draw(texts)}</title><p>{draw(texts)}</p>"
    if kind == "noise":
        return draw(st.sampled_from(["application/json", "text/html"])), draw(LONG | NOISE)
    fields: dict[str, object]
    if kind == "success":
        fields = {
            "token_type": draw(st.sampled_from(["Bearer", "bearer", "mac", None, secret])),
            "expires_in": draw(st.sampled_from(LIFETIMES)),
            "access_token": draw(TOKENS | st.just(secret)),
            "refresh_token": draw(st.sampled_from(["def50200", "", None, secret, "a\nb"])),
            "scope": draw(texts | st.none()),
        }
    elif kind == "restler":
        fields = {"error": {"code": 401, "message": draw(texts)}}
    elif kind == "laravel":
        fields = {"message": draw(texts), "exception": draw(texts), "trace": []}
    else:
        fields = {"error": draw(st.sampled_from(ERRORS) | texts), "error_description": draw(texts)}
        if kind == "league8":
            fields |= {"message": draw(texts), "hint": draw(texts)}
    return draw(st.sampled_from(["application/json", "application/json; charset=utf-8"])), json.dumps(fields)


PM4 = Profile("prod", "https://acme.processmaker.net", Grant.PASSWORD, client_id="3", username="integration")
PM3 = Profile(
    "old", "https://h:8443/pm", Grant.PASSWORD, generation=3, workspace="w", client_id="x-pm", username="admin"
)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, to whom and to what it was given, and the secret that was in the request."""

    profile: Profile
    refresh: bool
    secret: str
    answer: Answer


@st.composite
def told(draw: st.DrawFn) -> Told:
    """Any answer of any server, some of them broken."""
    secret = draw(st.sampled_from(SECRETS))
    content_type, body = draw(bodies(secret))
    headers = {
        "content-type": content_type,
        "retry-after": draw(st.sampled_from(["", "30", "-1", "9" * 99, secret])),
        "location": draw(
            st.sampled_from(["", "/login", "https://h/login", "//[", "http://h:x/", "https://h/oauth/token"])
            | st.builds("https://{}{}/{}".format, st.sampled_from(["h/", "u:", "h?"]), SPOKEN[secret], SPOKEN[secret])
        ),
    }
    status = draw(
        st.sampled_from([200, 201, 204, 302, 308, 400, 401, 403, 404, 405, 408, 419, 429, 500, 502, 503, 999])
    )
    answer = Answer(status, headers, as_bytes(draw(damaged(st.just(body)))))
    return Told(draw(st.sampled_from([PM4, PM3])), draw(st.booleans()), secret, answer)


def check_token_answer(given_: Told) -> None:
    """An answer is a token or a refusal of a few printable lines, in which nothing of what was sent comes back."""
    profile, secret = given_.profile, Secret(given_.secret)
    if given_.refresh:
        request = oauth.token_request(profile, client_secret=Secret("c" * 40), refresh_token=secret)
    else:
        request = oauth.token_request(profile, client_secret=secret, password=secret)
    found = oauth.read_answer(profile, request, given_.answer, now=1.8e9, secrets=[secret])
    if isinstance(found, Token):
        assert oauth.is_b64token(found.access_token.reveal())
        assert found.expires_in is None or 0 < found.expires_in < 1e10
        return
    assert found.retry_after is None or 0 <= found.retry_after <= MAX_WAIT
    for spell in SPELLINGS[:-2]:
        fit_for_people(found.sentence + found.mend, spell(given_.secret))


DATES = ["Tue, 15 Nov 2033 08:12:31 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
WAITS = damaged(st.sampled_from(DATES) | st.integers(-(10**30), 10**30).map(str))


def check_headers(given_: tuple[str, str]) -> None:
    """A wait is a number of seconds within a day, or not there; a date is one or none."""
    headers = {"retry-after": given_[0], "date": given_[1], "x-ratelimit-remaining": given_[0]}
    answer = Answer(429, headers, b"")
    request = oauth.token_request(PM4, client_secret=Secret(PLANTED), password=Secret(PLANTED))
    found = oauth.read_answer(PM4, request, answer, now=1.8e9, secrets=[])
    assert isinstance(found, Refusal)
    assert found.retry_after is None or 0 <= found.retry_after <= MAX_WAIT
    date, remaining = oauth.server_date(answer), oauth.rate_remaining(answer)
    assert date is None or math.isfinite(date)
    assert remaining is None or 0 <= remaining < 10**9


STATIC = st.builds(
    "{}{}{}".format, TOKENS | NOISE, st.sampled_from([f".{PLANTED}", PLANTED, f"\n{PLANTED}"]), NOISE
) | damaged(CLAIMS.map(lambda claims: _jwt({**claims, "x": PLANTED})))


def check_static_token(value: str) -> None:
    """A personal access token is a token, or refused without being repeated."""
    found = oauth.static_token(PM4, Secret(value), now=1.8e9)
    tells_nothing(repr(found))
    if isinstance(found, Refusal):
        fit_for_people(found.sentence + found.mend)
    else:
        assert oauth.is_b64token(value)
        assert found.expires_in is None or 0 <= found.expires_in < 1e10


TARGETS: dict[str, Target] = {
    "requests on the socket": Target(200, LINES.map(as_bytes) | LONG.map(as_bytes) | st.binary(), check_request),
    "answers on the socket": Target(150, STREAMS, check_answers),
    "lengths of time": Target(100, DURATIONS, check_duration),
    "profiles files": Target(150, DOCUMENTS, check_config),
    "URLs": Target(100, URLS, check_url),
    "token answers": Target(150, told(), check_token_answer),
    "headers of answers": Target(50, st.tuples(WAITS, WAITS), check_headers),
    "personal access tokens": Target(100, STATIC, check_static_token),
}
