"""Which URL a path of the command line means."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd.api_address import BadPath, call_url
from pmcredd.profiles import Grant, Profile

PM4 = Profile("prod", "https://acme.example", Grant.PASSWORD)
BELOW = Profile("below", "https://host.example:8443/pm", Grant.PASSWORD)
PM3 = Profile("legacy", "https://bpm.example", Grant.PASSWORD, generation=3, workspace="workflow")


@pytest.mark.parametrize(
    ("profile", "text", "url"),
    [
        (PM4, "/users", "https://acme.example/api/1.0/users"),
        (PM4, "/users/", "https://acme.example/api/1.0/users/"),
        (PM4, "/", "https://acme.example/api/1.0/"),
        (BELOW, "/users", "https://host.example:8443/pm/api/1.0/users"),
        (PM3, "/users", "https://bpm.example/api/1.0/workflow/users"),
    ],
)
def test_a_path_is_relative_to_the_base_of_the_api(profile: Profile, text: str, url: str) -> None:
    """Which is another one for ProcessMaker 3, and below an instance's own path."""
    assert call_url(profile, text) == url


@pytest.mark.parametrize(
    ("profile", "text", "url"),
    [
        (PM4, "/api/1.0/users", "https://acme.example/api/1.0/users"),
        (PM4, "/api/1.1/tasks?page=2", "https://acme.example/api/1.1/tasks?page=2"),
        (PM4, "https://acme.example/api/1.0/users?x=1", "https://acme.example/api/1.0/users?x=1"),
        (PM4, "HTTPS://ACME.example:443/api/1.0/users", "https://acme.example/api/1.0/users"),
        (BELOW, "/pm/api/1.0/users", "https://host.example:8443/pm/api/1.0/users"),
        (BELOW, "/api/1.0/users", "https://host.example:8443/pm/api/1.0/users"),
        (BELOW, "https://host.example:8443/pm/api/1.0/users", "https://host.example:8443/pm/api/1.0/users"),
        (PM3, "/api/1.0/workflow/users", "https://bpm.example/api/1.0/workflow/users"),
        (PM3, "https://bpm.example/api/1.0/workflow/users", "https://bpm.example/api/1.0/workflow/users"),
    ],
)
def test_what_was_pasted_whole_is_understood(profile: Profile, text: str, url: str) -> None:
    """From the documentation or a browser; and so the other versions of the API can be called."""
    assert call_url(profile, text) == url


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("per_page=1", "per_page=1"),
        ("a=%2F%20+b&&a=&x[]=1&y[k]=2;3", "a=%2F%20+b&&a=&x[]=1&y[k]=2;3"),
        ("next=https://elsewhere.example/../x", "next=https://elsewhere.example/../x"),
        ('pmql=(status = "é\\a")', "pmql=(status%20=%20%22%C3%A9%5Ca%22)"),
        ("", ""),
    ],
)
def test_a_query_stays_as_it_is(query: str, sent: str) -> None:
    """Only what no URL may hold is percent-encoded."""
    assert call_url(PM4, f"/requests?{query}") == f"https://acme.example/api/1.0/requests?{sent}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://evil.example/api/1.0/users", "is for https://evil.example, and profile prod is for"),
        ("http://acme.example/api/1.0/users", "is for http://acme.example, and"),
        ("https://acme.example:8443/api/1.0/users", "its token goes nowhere else"),
        ("https://acme.example.evil.example/api/1.0/users", "its token goes nowhere else"),
        ("https://acme.example@evil.example/api/1.0/users", "has a user name or password in it"),
        ("https://geheim:geheim@acme.example/api/1.0/users", "has a user name or password in it"),
        ("ftp://acme.example/api/1.0/users", "neither https:// nor http://"),
        ("https://acme.example/oauth/token", "is not below https://acme.example/api/"),
        ("https://acme.example", "does not begin with one /"),
        ("//evil.example/users", "does not begin with one /"),
        ("users", "does not begin with one /"),
        ("", "does not begin with one /"),
        ("/users/../../oauth/token", "has a . or .."),
        ("/users/%2e%2E/%2e", "has a . or .."),
        ("/users/..%2f..%2foauth", "has a . or .."),
        ("/users/..%5c..", "has a . or .."),
        ("/..", "has a . or .."),
        ("/api/..", "has a . or .."),
        ("/users\\..", "backslash"),
        ("/users#top", "has a #"),
        ("/users/100%", "%25"),
        ("/users\r\nX-Injected: 1", "cannot be seen"),
        ("/users/\x1b[2J", "cannot be seen"),
        ("/users/\udcff", "cannot be seen"),
    ],
)
def test_what_leads_elsewhere_is_refused(text: str, why: str) -> None:
    """Before any token is asked for; and what may be a password is not repeated."""
    with pytest.raises(BadPath) as refused:
        call_url(PM4, text)
    told = f"{refused.value.wrong}; {refused.value.mend}"
    assert why in told
    assert refused.value.mend
    assert "geheim" not in told


def test_a_url_beside_the_instance_s_own_path_is_refused() -> None:
    """Another instance may live there."""
    with pytest.raises(BadPath, match=r"is not below https://host\.example:8443/pm/api/"):
        call_url(BELOW, "https://host.example:8443/api/1.0/users")


@pytest.mark.parametrize("text", ["/api/1.0/users", "/api/1.0", "/api/1.0/other/users", "/api/1.0/workflowx/users"])
def test_another_workspace_is_refused(text: str) -> None:
    """Its 401 would cost the right one's token a renewal, as nobody can tell the two refusals apart."""
    with pytest.raises(BadPath, match="another workspace than workflow"):
        call_url(PM3, text)


_PARTS = st.sampled_from(
    ["/", "//", ".", "..", "%2e", "%2F", "%5C", "\\", "api", "1.0", "pm", "users", "?", "#", "@", ":", "https://",
     "host.example:8443", "host.example", "evil.example", "workflow", " ", "é", "%", ";", "\x00"]
)  # fmt: skip


@given(st.sampled_from([PM4, BELOW, PM3]), st.lists(_PARTS, max_size=12).map("".join) | st.text(max_size=20))
def test_no_text_leads_out_of_the_instance_s_api(profile: Profile, text: str) -> None:
    """Whatever is written: the URL is of the profile's own API, in characters that may stand in a URL, or refused."""
    try:
        url = call_url(profile, text)
    except BadPath:
        return
    assert url.startswith(f"{profile.url}/api/")
    assert re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]-]+", url)
    path = urlsplit(url).path
    assert not {".", ".."} & set(unquote(path).replace("\\", "/").split("/"))
    if profile is PM3:
        assert path.split("/")[3] == "workflow"
