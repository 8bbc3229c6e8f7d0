"""The two generations: where their endpoints are, and how their tokens are renewed."""

from dataclasses import replace
from typing import Literal

import pytest

from pmcredd import processmaker
from pmcredd.processmaker import Renewal, foreign_scheme
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

PM4 = Profile("prod", "https://acme.processmaker.net", Grant.PASSWORD)
PM3 = Profile("legacy", "https://bpm.example.org", Grant.PASSWORD, generation=3, workspace="workflow")


@pytest.mark.parametrize(
    ("profile", "token", "authorize", "users"),
    [
        pytest.param(
            PM4,
            "https://acme.processmaker.net/oauth/token",
            "https://acme.processmaker.net/oauth/authorize",
            "https://acme.processmaker.net/api/1.0/users",
            id="generation 4",
        ),
        pytest.param(
            PM3,
            "https://bpm.example.org/workflow/oauth2/token",
            "https://bpm.example.org/workflow/oauth2/authorize",
            "https://bpm.example.org/api/1.0/workflow/users",
            id="generation 3",
        ),
        pytest.param(
            replace(PM4, url="https://Acme.Example.com:8443/pm"),
            "https://Acme.Example.com:8443/pm/oauth/token",
            "https://Acme.Example.com:8443/pm/oauth/authorize",
            "https://Acme.Example.com:8443/pm/api/1.0/users",
            id="a sub-path, a port, and the host as the profile has it: it names the tenant",
        ),
        pytest.param(
            replace(PM3, workspace="wörk/flow"),
            "https://bpm.example.org/w%C3%B6rk%2Fflow/oauth2/token",
            "https://bpm.example.org/w%C3%B6rk%2Fflow/oauth2/authorize",
            "https://bpm.example.org/api/1.0/w%C3%B6rk%2Fflow/users",
            id="a workspace is one segment, percent-encoded",
        ),
        pytest.param(
            replace(PM4, url="https://h/pm", token_path="/gate/token", authorize_path="gate/login"),
            "https://h/pm/gate/token",
            "https://h/pm/gate/login",
            "https://h/pm/api/1.0/users",
            id="overrides are relative to the url, with and without a leading slash",
        ),
        pytest.param(
            replace(PM4, url="https://h", token_path="//evil.example/token", authorize_path="/a"),
            "https://h/evil.example/token",
            "https://h/a",
            "https://h/api/1.0/users",
            id="no override leads to another host",
        ),
    ],
)
def test_urls(profile: Profile, token: str, authorize: str, users: str) -> None:
    """Every URL is the profile's url and a path behind it."""
    assert processmaker.token_url(profile) == token
    assert processmaker.authorize_url(profile) == authorize
    assert processmaker.api_url(profile, "/users") == users


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://acme.processmaker.net", "https://acme.processmaker.net:443"),
        ("https://ACME.processmaker.net/pm", "https://acme.processmaker.net:443"),
        ("https://acme.processmaker.net:8443", "https://acme.processmaker.net:8443"),
        ("http://localhost", "http://localhost:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_origin(url: str, origin: str) -> None:
    """Profiles of one server share one origin, however their URL is written."""
    assert processmaker.origin(replace(PM4, url=url)) == origin


@pytest.mark.parametrize(
    ("grant", "generation", "renewal"),
    [
        (Grant.CLIENT_CREDENTIALS, 4, Renewal.ASK_ANEW),
        (Grant.CLIENT_CREDENTIALS, 3, Renewal.ASK_ANEW),
        (Grant.PASSWORD, 4, Renewal.ASK_ANEW),
        (Grant.PASSWORD, 3, Renewal.ASK_ANEW),
        (Grant.AUTHORIZATION_CODE, 4, Renewal.REFRESH_DISRUPTIVELY),
        (Grant.AUTHORIZATION_CODE, 3, Renewal.REFRESH_QUIETLY),
        (Grant.PERSONAL_ACCESS_TOKEN, 4, Renewal.NEVER),
        (Grant.PERSONAL_ACCESS_TOKEN, 3, Renewal.NEVER),
    ],
)
def test_renewal(grant: Grant, generation: Literal[3, 4], renewal: Renewal) -> None:
    """Only a refresh at generation 4 kills the token in use."""
    assert processmaker.renewal(replace(PM4, grant=grant, generation=generation)) is renewal


def test_generation_3_without_a_workspace_is_a_mistake_of_ours() -> None:
    """The reader of profiles does not let it pass; no request goes to a path with a hole in it."""
    with pytest.raises(ValueError, match="workspace"):
        processmaker.token_url(replace(PM3, workspace=None))


def test_where_a_token_is_asked_about_and_revoked() -> None:
    """What a token says of itself becomes part of a path, and nothing else: it is encoded."""
    secret = Secret("0123/abc")
    base = "https://acme.processmaker.net"
    assert processmaker.user_url(PM4, "7/../8") == f"{base}/api/1.0/users/7%2F..%2F8"
    assert processmaker.revocation_urls(PM4, "7", "a/b", secret) == (
        f"{base}/api/1.0/users/7/tokens/a%2Fb",
        f"{base}/api/1.0/users/7/tokens/a%2Fb",
    )
    assert processmaker.revocation_urls(PM4, "", "a", secret) is None
    assert processmaker.user_url(PM4, "") is None
    assert processmaker.user_url(PM3, "7") is None
    found = processmaker.revocation_urls(PM3, None, None, secret)
    assert found is not None
    assert found[0].endswith("/oauth2/0123%2Fabc")
    assert "0123" not in found[1]


@pytest.mark.parametrize(
    ("challenge", "scheme"),
    [
        (None, ""),
        ("", ""),
        ('bearer realm="api"', ""),
        ('Bearer, Basic realm="gate"', ""),
        ('Basic realm="gate"', "Basic"),
        ("Negotiate", "Negotiate"),
    ],
)
def test_whether_a_401_is_about_our_token(challenge: str | None, scheme: str) -> None:
    """It is, unless what stands in front of ProcessMaker asks for something else."""
    assert foreign_scheme(challenge) == scheme
