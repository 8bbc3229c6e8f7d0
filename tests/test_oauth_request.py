"""What a token endpoint is asked: the form and the headers of each grant."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_answers import CLIENT_SECRET, PASSWORD, PM4, REFRESH_TOKEN

from pmcredd import oauth
from pmcredd.oauth import TokenRequest
from pmcredd.profiles import ClientAuth, Grant
from pmcredd.secret import Secret


def _form(request: TokenRequest) -> dict[str, str]:
    fields = parse_qs(request.body.decode("ascii"), strict_parsing=True, keep_blank_values=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def test_a_password_request_by_basic() -> None:
    """The client goes into the header, as it is, since the server does not url-decode it; the user into the form."""
    request = oauth.token_request(PM4, client_secret=Secret("s:cr%t+é"), password=PASSWORD)
    headers = dict(request.headers)
    assert request.url == "https://acme.processmaker.net/oauth/token"
    assert request.grant_type == "password"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    scheme, _, encoded = headers["authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode() == "3:s:cr%t+é"
    assert _form(request) == {"grant_type": "password", "username": "integration", "password": PASSWORD.reveal()}


def test_a_request_by_body() -> None:
    """With client_auth = "body" nothing is in the header."""
    profile = replace(PM4, client_auth=ClientAuth.BODY, client_id="a:b")
    request = oauth.token_request(profile, client_secret=CLIENT_SECRET, password=PASSWORD)
    assert "authorization" not in dict(request.headers)
    assert _form(request) == {
        "grant_type": "password",
        "username": "integration",
        "password": PASSWORD.reveal(),
        "client_id": "a:b",
        "client_secret": CLIENT_SECRET.reveal(),
    }


def test_a_client_without_a_secret_says_its_name_in_the_body() -> None:
    """RFC 6749 section 3.2.1: a public client has nothing for HTTP Basic."""
    request = oauth.token_request(PM4, client_secret=None, password=PASSWORD)
    assert "authorization" not in dict(request.headers)
    assert _form(request)["client_id"] == "3"


def test_client_credentials() -> None:
    """The grant has no fields of its own."""
    request = oauth.token_request(replace(PM4, grant=Grant.CLIENT_CREDENTIALS), client_secret=CLIENT_SECRET)
    assert _form(request) == {"grant_type": "client_credentials"}


@pytest.mark.parametrize("grant", [Grant.AUTHORIZATION_CODE, Grant.PASSWORD])
def test_a_refresh(grant: Grant) -> None:
    """Whatever the grant, a refresh sends the refresh token and no scope: the old one is meant."""
    request = oauth.token_request(
        replace(PM4, grant=grant, scope="*"), client_secret=CLIENT_SECRET, refresh_token=REFRESH_TOKEN
    )
    assert request.grant_type == "refresh_token"
    assert _form(request) == {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN.reveal()}


@pytest.mark.parametrize(("scope", "sent"), [(None, None), ("", None), ("*", "*"), ("a b", "a b")])
def test_scope_is_sent_if_the_profile_names_one(scope: str | None, sent: str | None) -> None:
    """ProcessMaker 4 answers any scope but * with an error: none is sent unasked."""
    request = oauth.token_request(replace(PM4, scope=scope), client_secret=CLIENT_SECRET, password=PASSWORD)
    assert _form(request).get("scope") == sent


@pytest.mark.parametrize(
    ("changes", "password", "why"),
    [
        ({"grant": Grant.PERSONAL_ACCESS_TOKEN}, None, "without a person"),
        ({"grant": Grant.AUTHORIZATION_CODE}, None, "without a person"),
        ({}, None, "password"),
        ({"username": None}, PASSWORD, "username"),
        ({"client_id": None}, PASSWORD, "client_id"),
        ({"client_id": "a:b"}, PASSWORD, "colon"),
    ],
)
def test_what_cannot_be_asked_is_our_mistake(changes: dict[str, Any], password: Secret | None, why: str) -> None:
    """What the reader of profiles does not let pass raises, and the text tells no secret."""
    with pytest.raises(ValueError, match=why) as caught:
        oauth.token_request(replace(PM4, **changes), client_secret=CLIENT_SECRET, password=password)
    assert CLIENT_SECRET.reveal() not in str(caught.value)


@given(
    secret=st.text(st.characters(exclude_categories=["Cs"])),
    client_id=st.text(st.characters(codec="ascii", exclude_characters=":")),
)
def test_basic_is_what_the_server_splits_at_the_first_colon(secret: str, client_id: str) -> None:
    """For every id without a colon and every secret, the server reads back what we meant."""
    request = oauth.token_request(replace(PM4, client_id=client_id), client_secret=Secret(secret), password=PASSWORD)
    encoded = dict(request.headers)["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode().split(":", 1) == [client_id, secret]


@given(
    username=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    password=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_the_form_is_read_back_as_it_was_meant(username: str, password: str) -> None:
    """For every username and password, PHP's reading of a form gives the same."""
    request = oauth.token_request(
        replace(PM4, username=username), client_secret=CLIENT_SECRET, password=Secret(password)
    )
    assert _form(request) == {"grant_type": "password", "username": username, "password": password}
