"""A token endpoint that sends us elsewhere: nobody goes there, and the user is told where the server is."""

from dataclasses import replace

import pytest
from support.token_answers import PM4, read

from pmcredd.oauth import Answer, Ended, Meaning, Refusal


@pytest.mark.parametrize(
    ("url", "location", "where", "mend"),
    [
        pytest.param(
            "http://localhost:8080",
            "https://localhost:8443/oauth/token",
            "to https://localhost:8443/oauth/token",
            'set url = "https://localhost:8443"',
            id="http to https",
        ),
        pytest.param(
            "https://acme.com/pm",
            "https://www.acme.com/pm/oauth/token?state=s#x",
            "to https://www.acme.com/pm/oauth/token",
            'set url = "https://www.acme.com/pm"',
            id="another name of the host",
        ),
        pytest.param(
            "https://acme.com",
            "/pm/oauth/token",
            "to https://acme.com/pm/oauth/token",
            'set url = "https://acme.com/pm"',
            id="a sub-path",
        ),
        pytest.param(
            "https://acme.com",
            "http://acme.com/oauth/token",
            "to http://acme.com/oauth/token",
            "plain http",
            id="https to http is never advised",
        ),
        pytest.param(
            "https://acme.com", "/login?next=/x", "to https://acme.com/login", "maintenance", id="the login page"
        ),
        pytest.param("https://acme.com", "//evil.example/x", "to https://evil.example/x", "check url", id="elsewhere"),
        pytest.param("https://acme.com", "https://u:p@h/x", "to https://h/x", "check url", id="a password in it"),
        pytest.param("https://acme.com", "https://[::1]:5/x", "to https://[::1]:5/x", "check url", id="IPv6"),
        pytest.param("https://acme.com", "https://h/\x1b[31m\u202ex", "to https://h/", "check url", id="escapes"),
        pytest.param("https://acme.com", "https://h/" + "y" * 900, "...", "check url", id="endless"),
        pytest.param("https://acme.com", None, "to nowhere", "check url", id="no Location"),
        pytest.param("https://acme.com", "", "to nowhere", "check url", id="empty"),
        pytest.param("https://acme.com", "https://[", "to nowhere", "check url", id="no URL"),
        pytest.param("https://acme.com", "https://h:99999/x", "to nowhere", "check url", id="no port"),
        pytest.param("https://acme.com", "javascript:alert(1)", "to nowhere", "check url", id="no http"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(url: str, location: str | None, where: str, mend: str, status: int) -> None:
    """Host and path are told, nothing else of it; if it is just a better spelling of url, that is advised."""
    answer = Answer(status, {} if location is None else {"location": location}, b"")
    found = read(answer, profile=replace(PM4, url=url))
    assert isinstance(found, Refusal)
    assert (found.meaning, found.ended) == (Meaning.REDIRECT, Ended.REFUSED)
    assert where in found.sentence
    assert mend in found.mend
    assert "pmcred profile edit prod" in found.mend
    told = found.sentence + found.mend
    assert told.isprintable()
    assert not any(hidden in told for hidden in ("state=", "u:p", "next="))
