"""Which ProcessMaker answers at an address that somebody pasted: three requests at most, none with credentials."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pmcredd.cli.problem import for_a_draft
from pmcredd.oauth import Answer, TokenRequest
from pmcredd.processmaker import token_url
from pmcredd.profiles import Grant, Profile
from pmcredd.upstream import NotSent, Unknown, Upstream
from pmcredd.urls import BadUrl, parse_url

Number = Literal[3, 4]

_MOST_REQUESTS = 3  # the server's throttle is shared by everybody behind the same address

# Where the paths begin that people have in their address bar. Generation 3: /sysWORKSPACE/LANGUAGE/SKIN/...
_PAGE_OF_3 = re.compile(r"/(?:sys(?P<page>[A-Za-z0-9_-]+)(?:/.*)?|(?P<oauth>[A-Za-z0-9_-]+)/oauth2(?:/.*)?)$")
_API_OF_3 = re.compile(r"/api/1\.0/(?P<workspace>workflow)(?:/.*)?$")
_PAGE_OF_4 = re.compile(
    r"/(?:login|logout|password|oauth|api|admin|requests|tasks|cases|processes|designer|inbox|home|about|profile|"
    r"notifications|index\.php)(?:/.*)?$"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL out of what was pasted; `workspace` where the path named one, and so a generation 3."""

    url: str
    workspace: str | None = None
    path_unknown: bool = False  # the path may be a sub-path install's, or a page's


@dataclass(frozen=True, slots=True)
class Found:
    """What answers at `url`: `generation` is None where that could not be told; `sentence` says why, for people."""

    url: str
    generation: Number | None
    sentence: str
    reachable: bool = True
    mend: str = ""


def address(text: str) -> Address:
    """Find the base URL in what a person typed or pasted: without a scheme, or with the path of some page.

    Raises:
        BadUrl: there is none in it; the text is never quoted, as it may hold a password.

    """
    text = text.strip()
    url = parse_url(text if "://" in text else f"https://{text}")
    if "://" not in text and url.loopback:
        url = parse_url(f"http://{text}")  # what runs on this machine alone rarely has a certificate
    if url.userinfo is not None:
        raise BadUrl("has a user name or a password in it; those are asked for later")
    if url.scheme == "http" and not url.loopback:
        raise BadUrl("is plain http, which would show every secret to the network: use https")
    if page := _PAGE_OF_3.search(url.path):
        return Address(url.origin + url.path[: page.start()], page["page"] or page["oauth"])
    if page := _API_OF_3.search(url.path):
        return Address(url.origin + url.path[: page.start()], page["workspace"])
    if page := _PAGE_OF_4.search(url.path):
        return Address(url.origin + url.path[: page.start()])
    return Address(url.origin + url.path, path_unknown=bool(url.path))


async def detect(upstream: Upstream, start: Address, tls: Profile | None = None) -> Found:
    """Ask the places where a token endpoint can be, the likeliest first.

    Args:
        upstream: what sends.
        start: the address as it was understood.
        tls: a profile whose ca_file, client certificate, proxy and timeout are to be used.

    """
    found = None
    for url, generation in _places(start)[:_MOST_REQUESTS]:
        probe = _profile(url, generation, start.workspace or "workflow", tls)
        answer = await upstream.send(probe, _question(probe))
        if isinstance(answer, NotSent | Unknown):
            return Found(url, None, answer.sentence, reachable=False, mend=for_a_draft(answer.mend, probe.name))
        if _speaks_oauth(answer):
            return Found(url, generation, f"ProcessMaker {generation} answers there.")
        # The first place's answer explains more than those of the places that were guessed after it.
        found = found or Found(url, None, _unexpected(answer, url))
    assert found is not None  # noqa: S101 - there is always a first place
    return found


def _places(start: Address) -> Sequence[tuple[str, Number]]:
    if start.workspace:
        return [(start.url, 3), (start.url, 4)]
    if start.path_unknown:
        origin = parse_url(start.url).origin
        return [(start.url, 4), (origin, 4), (origin, 3)]
    return [(start.url, 4), (start.url, 3)]


def _profile(url: str, generation: Number, workspace: str, tls: Profile | None) -> Profile:
    return Profile(
        name="init",
        url=url,
        grant=Grant.CLIENT_CREDENTIALS,
        generation=generation,
        workspace=workspace if generation == 3 else None,
        ca_file=tls.ca_file if tls else None,
        client_cert=tls.client_cert if tls else None,
        client_key=tls.client_key if tls else None,
        proxy=tls.proxy if tls else None,
        timeout=tls.timeout if tls else 15.0,
    )


def _question(probe: Profile) -> TokenRequest:
    # No grant_type: both generations refuse that before they look at any client or user.
    headers = (("Content-Type", "application/x-www-form-urlencoded"),)
    return TokenRequest(url=token_url(probe), headers=headers, body=b"", grant_type="")


def _speaks_oauth(answer: Answer) -> bool:
    """Tell whether a token endpoint answered: an error as RFC 6749 section 5.2 has it, or Laravel's throttle."""
    if answer.status == 429 and "x-ratelimit-limit" in answer.headers:
        return True
    if not 400 <= answer.status < 500 or "json" not in answer.headers.get("content-type", ""):
        return False
    try:
        said = json.loads(answer.body)
    except ValueError:
        return False
    return isinstance(said, dict) and isinstance(said.get("error"), str) and "error_description" in said


def _unexpected(answer: Answer, url: str) -> str:
    if 300 <= answer.status < 400:
        return f"{url} answers with a redirect{_elsewhere(answer, url)}."
    if answer.status == 503:
        return f"{url} answers that it is down for maintenance (503)."
    if answer.status >= 500:
        return f"{url} answers with a server error ({answer.status})."
    return f"{url} answers ({answer.status}), but not as a ProcessMaker does."


def _elsewhere(answer: Answer, url: str) -> str:
    try:
        to, own = parse_url(answer.headers.get("location", "")), parse_url(url)
    except BadUrl:
        return ""
    return "" if to.origin == own.origin else f" to {to.origin}; is that its real address?"
