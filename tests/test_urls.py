"""The URL of an instance: one normal form, one way to read it, and which profile a URL means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.profile_files import TOKEN, mistake, profile

from pmcredd.profiles import (
    Grant,
    Profile,
)
from pmcredd.urls import BadUrl, match_url, parse_url


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://h", "https://h"),
        ("HTTPS://Acme.Example:443/", "https://acme.example"),
        ("https://h:8443//", "https://h:8443"),
        ("https://h:0443", "https://h"),
        ("https://h:", "https://h"),
        ("http://h:80", "http://h"),
        ("http://h:443", "http://h:443"),
        ("https://h/PM/x/", "https://h/PM/x"),
        ("https://h/a%20b", "https://h/a%20b"),
        ("https://[0:0::1]:1/", "https://[::1]:1"),
        ("https://Bücher.Example", "https://Bücher.Example"),
        ("https://a_b.c-d.", "https://a_b.c-d."),
    ],
)
def test_a_url_has_one_normal_form(written: str, normal: str) -> None:
    """The same place is the same text; a host that is not ASCII is left to whoever resolves it."""
    assert str(parse_url(written)) == normal
    assert str(parse_url(normal)) == normal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a URL"),
        ("acme.example", "is not a URL"),
        ("https:/h", "is not a URL"),
        ("ftp://h", "neither https"),
        ("https://", "host and port"),
        ("https:///x", "host and port"),
        ("https://h:x", "host and port"),
        ("https://h:\u0661", "host and port"),
        ("https://h%41", "host and port"),
        ("https://[::1", "host and port"),
        ("https://[::g]", "host and port"),
        ("https://[:::]", "not an IPv6"),
        ("https://h:0", "between 1 and 65535"),
        ("https://h:65536", "between 1 and 65535"),
        ("https://a..b", "empty part"),
        ("https://.", "empty part"),
        ("https://h/a b", "space"),
        ("https://h\\@e", "backslash"),
        ("https://h/\n", "control character"),
        ("https://h\u3000", "space"),
        ("https://h/ä", "percent-encoded"),
        ("https://h/%zz", "percent-encoded"),
        ("https://h/a/../b", ". or .."),
        ("https://h/.", ". or .."),
        ("https://h/%2E%2e/b", ". or .."),
    ],
)
def test_what_two_programs_could_read_differently_is_no_url(text: str, said: str) -> None:
    """A secret goes to this URL: there must be one way to read it."""
    with pytest.raises(BadUrl) as caught:
        parse_url(text)
    assert said in caught.value.wrong


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9.:@/?#%\[\]_-]{0,30}", fullmatch=True))
def test_any_text_is_a_url_in_normal_form_or_none(text: str) -> None:
    """Nothing else is raised, and the normal form is its own normal form."""
    try:
        url = parse_url(text)
    except BadUrl:
        return
    assert str(parse_url(str(url))) == str(url)


LOCAL = [("localhost", True), ("127.0.0.1", True), ("127.9.8.7", True), ("[::1]", True)]
REMOTE = [("127.0.0.1.example", False), ("localhost.example", False), ("10.0.0.1", False), ("[::2]", False)]


@pytest.mark.parametrize(("host", "loopback"), [*LOCAL, *REMOTE])
def test_plain_http_is_for_this_machine(host: str, loopback: bool) -> None:
    """Elsewhere everybody on the way could read the client secret and the password."""
    text = TOKEN.replace("https://acme.processmaker.net", f"http://{host}:8080")
    if loopback:
        assert profile(text).url == f"http://{host}:8080"
    else:
        found = mistake(text)
        assert (found.key, found.mend) == ("url", "write https://")
        assert host in found.wrong


def at(name: str, url: str) -> Profile:
    """Make a profile at a URL."""
    return Profile(name=name, url=str(parse_url(url)), grant=Grant.PASSWORD)


MANY = (
    at("root", "https://h"),
    at("a", "https://h/a"),
    at("again", "https://h/a"),
    at("deep", "https://h/a/b"),
    at("port", "https://h:8443"),
    at("plain", "http://h"),
)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("https://h", ["root"]),
        ("https://h/", ["root"]),
        ("HTTPS://H:443/x", ["root"]),
        ("https://h/ab", ["root"]),
        ("https://h/A", ["root"]),
        ("https://h/a", ["a", "again"]),
        ("https://h/a/?q=/b", ["a", "again"]),
        ("https://h/a/bc#x", ["a", "again"]),
        ("https://h/a/b/c", ["deep"]),
        ("https://h:8443/a", ["port"]),
        ("http://h/a", ["plain"]),
        ("http://h:443/a", []),
        ("https://hh", []),
        ("https://h.example", []),
        ("https://h@e", []),
        ("https://u@h/a", []),
        ("https://h/a/../b", []),
        ("h", []),
        ("", []),
    ],
)
def test_a_url_finds_the_nearest_profile_above_it(url: str, names: list[str]) -> None:
    """Scheme, host and port exactly, the path by whole segments; the longest wins, equals are all given."""
    assert [profile.name for profile in match_url(MANY, url)] == names


PLACES = st.tuples(
    st.sampled_from(["http", "https"]),
    st.sampled_from(["h", "h.example", "g"]),
    st.sampled_from([1, 80, 443]),
    st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), max_size=3).map(tuple),
)


def written(place: tuple[str, str, int, tuple[str, ...]]) -> str:
    """Write a place as a URL."""
    scheme, host, port, segments = place
    return f"{scheme}://{host}:{port}" + "".join(f"/{segment}" for segment in segments)


@given(st.lists(PLACES, max_size=8), PLACES)
def test_matching_is_the_longest_prefix_of_segments(
    places: list[tuple[str, str, int, tuple[str, ...]]], target: tuple[str, str, int, tuple[str, ...]]
) -> None:
    """Said again with lists instead of texts: the same profiles are found."""
    above = [(n, p) for n, p in enumerate(places) if p[:3] == target[:3] and target[3][: len(p[3])] == p[3]]
    longest = max((len(p[3]) for _, p in above), default=0)
    expected = [f"p{n}" for n, p in above if len(p[3]) == longest]
    profiles = [at(f"p{n}", written(place)) for n, place in enumerate(places)]
    assert [profile.name for profile in match_url(profiles, written(target))] == expected
