"""Answers of a token endpoint, written by hand, and what they are read with: two profiles, their secrets and a time."""

import json
from collections.abc import Mapping
from dataclasses import replace

from pmcredd import oauth
from pmcredd.oauth import Answer, Refusal, Token, TokenRequest
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

NOW = 1_800_000_000.0
CLIENT_SECRET = Secret("k9Qh3nXv7LmWz2RtYb6Pc8DfGj4SaEuo1Ti5HxNq")
PASSWORD = Secret('p&ss "wörd"/1<2')
REFRESH_TOKEN = Secret("def502" + "00ab" * 175)
PM4 = Profile("prod", "https://acme.processmaker.net", Grant.PASSWORD, client_id="3", username="integration")
PM3 = Profile(
    "legacy",
    "https://bpm.example.org",
    Grant.PASSWORD,
    generation=3,
    workspace="workflow",
    client_id="x-pm-local-client",
    username="admin",
)
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=UTF-8"}


def request_for(profile: Profile, grant_type: str) -> TokenRequest:
    """Give the request of a grant, or of a refresh."""
    if grant_type == "refresh_token":
        return oauth.token_request(profile, client_secret=CLIENT_SECRET, refresh_token=REFRESH_TOKEN)
    if grant_type == "authorization_code":  # the login makes this one
        code = oauth.token_request(profile, client_secret=CLIENT_SECRET, refresh_token=Secret("code"))
        return replace(code, grant_type=grant_type)
    return oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)


def read(answer: Answer, *, profile: Profile = PM4, grant_type: str | None = None, now: float = NOW) -> Token | Refusal:
    """Read an answer to a request of this grant, by default the profile's own."""
    request = request_for(profile, grant_type or profile.grant)
    return oauth.read_answer(profile, request, answer, now=now, secrets=[CLIENT_SECRET, PASSWORD, REFRESH_TOKEN])


def json_answer(status: int, fields: object, headers: Mapping[str, str] = JSON) -> Answer:
    """Answer in JSON."""
    return Answer(status, headers, json.dumps(fields).encode())


def html_answer(status: int, title: str) -> Answer:
    """Answer with a web page."""
    return Answer(
        status, HTML, f"<!DOCTYPE html><html><head><title>{title}</title></head><body></body></html>".encode()
    )
