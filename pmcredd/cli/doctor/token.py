"""Shows the API the token that the daemon has in hand: a GET, which neither renews nor promises anything."""

import time
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from pmcredd.cli.doctor.daemon import token_in_hand
from pmcredd.cli.doctor.finding import Area, Finding
from pmcredd.cli.doctor.judge_daemon import Block
from pmcredd.cli.doctor.server import LIMIT
from pmcredd.network_errors import NotSent, Unknown
from pmcredd.oauth import Refusal, Token, static_token
from pmcredd.processmaker import api_url, generation, token_info_url
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret
from pmcredd.upstream import Upstream


async def look_at_token(upstream: Upstream, profile: Profile, socket: Path) -> list[Finding]:
    """Show the token in hand to the API; nothing is found where there is none."""
    profile = replace(profile, timeout=min(profile.timeout, LIMIT))
    area = Area("profile", profile.name)
    refused = ""
    while True:
        block = await token_in_hand(socket, profile.name)
        token = _token(profile, block)
        if token is None or block is None:
            return []
        if token.access_token.fingerprint() == refused:
            return [_refused(area, profile)]
        url = token_info_url(profile, token.sub, token.jti) or api_url(profile, _anybodys(profile))
        answer = await upstream.get(profile, url, token.access_token)
        if isinstance(answer, NotSent | Unknown):
            return [area.problem("api", answer.sentence, answer.mend)]
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return [_judged(area, profile, answer.status)]
        if refused:
            return [_refused(area, profile)]
        # A renewal may have replaced it while it was on its way: then the daemon has another one now.
        refused = token.access_token.fingerprint()


def _token(profile: Profile, block: Block | None) -> Token | None:
    """Give the token, if it is for the instance that the profile in the file is for and should work."""
    if block is None or block.get("url") != profile.url or "access_token" not in block:
        return None
    expiry = block.get("expires_at", "")
    if expiry.isdecimal() and int(expiry) <= time.time():
        return None
    found = static_token(profile, Secret(block["access_token"]), now=time.time())
    return None if isinstance(found, Refusal) else found


def _anybodys(profile: Profile) -> str:
    path = generation(profile).living_path
    return "/users?per_page=1" if "{" in path else path


def _judged(area: Area, profile: Profile, status: int) -> Finding:
    if status in {HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return area.ok("api", "the API takes the token")
    sentence = f"{profile.url} answered {status} when it was shown the token"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return area.warning("api", f"{sentence}: it cannot say whether it is good", "try again later")
    return area.warning(
        "api", f"{sentence}, not as a ProcessMaker does", f"check url: pmcred profile edit {profile.name}"
    )


def _refused(area: Area, profile: Profile) -> Finding:
    sentence = f"{profile.url} does not accept the token (401)"
    name = profile.name
    if profile.grant is Grant.CLIENT_CREDENTIALS and profile.generation == 4:
        return area.warning(
            "api",
            f"{sentence}: ProcessMaker 4 knows no user for a client_credentials token",
            f'use grant = "password" or a personal access token: pmcred profile edit {name}',
        )
    if profile.grant is Grant.PERSONAL_ACCESS_TOKEN:
        return area.problem(
            "api", f"{sentence}: it was revoked", f"make a new one in ProcessMaker, then: pmcred login {name}"
        )
    told = "it was revoked, or a proxy strips the Authorization header"
    return area.problem("api", f"{sentence}: {told}", f"pmcred get {name} | pmcred reject {name}")
