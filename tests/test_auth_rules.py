"""Where a token may be sent, and which 401 is about it."""

import pytest

from pmcredd.asking import AccessToken
from pmcredd.auth import ForeignUrl
from pmcredd.auth.rules import authorization, belongs
from pmcredd.auth.tokens import is_refusal


def token(url: str = "https://pm.example/acme") -> AccessToken:
    """Give a token for an instance."""
    return AccessToken("secret-token", "Bearer", None, None, "prod", url)


@pytest.mark.parametrize(
    "url",
    [
        "https://pm.example/acme",
        "https://pm.example/acme/",
        "https://pm.example/acme/api/1.0/users?filter=a%20b#c",
        "https://PM.example:443/acme/api",
        "HTTPS://pm.example/acme?x",
    ],
)
def test_the_instance_is_known_by_its_parts(url: str) -> None:
    """However its URL is written."""
    assert authorization(token(), url) == "Bearer secret-token"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://pm.example/acme", "http://pm.example/acme"),
        ("https://pm.example:8443/acme", "https://pm.example:8443/acme"),
        ("https://pm.example.evil.test/acme", "https://pm.example.evil.test/acme"),
        ("https://pm.example./acme", "https://pm.example./acme"),
        ("https://pm.example/", "https://pm.example"),
        ("https://pm.example/acme2", "https://pm.example/acme2"),
        ("https://pm.example/Acme", "https://pm.example/Acme"),
        ("https://pm.example/acme/../other", "a URL that has a . or .. in its path"),
        ("https://pm.example/acme/%2e%2e/other", "a URL that has a . or .. in its path"),
        ("https://pm.example/acme/..%2Fother", "a URL that has a . or .. in its path"),
        ("https://pm.example/acme/x%2f..%2f..%2fother", "a URL that has a . or .. in its path"),
        ("https://pm.example/acme/..%5cother", "a URL that has a . or .. in its path"),
        ("https://pm.example/acme/..;/other", "a URL that has a . or .. in its path"),
        ("https://pm.example@evil.test/acme", "a URL that has a user name or password in it"),
        ("https://pm.example/acme/a|b", "a URL that has a character in its path that must be percent-encoded"),
        ("ftp://pm.example/acme", "a URL that starts with neither https:// nor http://"),
        ("/acme", "a URL that is not a URL"),
        ("", "a URL that is not a URL"),
    ],
)
def test_every_other_place_is_refused_by_name(url: str, told: str) -> None:
    """The error says which two places differ, and what to do."""
    with pytest.raises(ForeignUrl) as caught:
        authorization(token(), url)
    assert f"goes to https://pm.example/acme and what is below, and not to {told}" in caught.value.message
    assert "secret-token" not in str(caught.value)
    assert "pmcred profile list" in caught.value.hint


def test_a_query_is_not_told() -> None:
    """It may be a secret."""
    with pytest.raises(ForeignUrl) as caught:
        authorization(token(), "https://evil.test/?password=hidden#hidden")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("pm.example", True),
        ("PM.example:443", True),
        ("pm.example:80", False),
        ("other.example", False),
        ("pm.example, other", False),
        ("pm.example/other", False),
        ("pm.example?other", False),
        ("other@pm.example", False),
        ("", False),
    ],
)
def test_a_host_header_must_name_the_same(host: str, same: bool) -> None:
    """It is what picks the tenant."""
    assert belongs(token(), "https://pm.example/acme", host) is same
    if not same:
        with pytest.raises(ForeignUrl, match=r"https://pm\.example with a Host header that names another"):
            authorization(token(), "https://pm.example/acme", host)


def test_a_token_of_no_known_place_goes_nowhere() -> None:
    """A daemon that does not tell the url cannot be trusted to mean this one."""
    assert not belongs(token(""), "https://pm.example/acme")


@pytest.mark.parametrize(
    ("status", "challenge", "blamed"),
    [
        (401, None, True),
        (401, "", True),
        (401, "Bearer", True),
        (401, 'bearer realm="api", error="invalid_token"', True),
        (401, 'Bearer, Basic realm="gate"', True),
        (401, " Bearer", True),
        (401, 'Basic realm="gate"', False),
        (401, "Negotiate", False),
        (403, None, False),
        (200, None, False),
        (407, "Bearer", False),
    ],
)
def test_which_answer_blames_the_token(status: int, challenge: str | None, blamed: bool) -> None:
    """A 401 of ProcessMaker, which sends no WWW-Authenticate, or of a front end that wants a bearer."""
    assert is_refusal(token("https://pm.example"), status, challenge) is blamed
