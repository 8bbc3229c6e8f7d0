"""The git credential protocol as values: what is asked, whom it means, what is answered."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd import credential
from pmcredd.credential import BadInput, Candidate, Query, Refusal
from pmcredd.secret import Secret

PROD = Candidate("prod", "https://pm.example", ("1", "alice"))
ADMIN = Candidate("prod-admin", "https://pm.example", ("2", "root"))
OLD = Candidate("old", "https://pm.example/legacy", ("alice",))
PORT = Candidate("port", "https://pm.example:8443")
HERE = Candidate("here", "http://127.0.0.1:8080")
ALL = (PROD, ADMIN, OLD, PORT, HERE)
TOKEN = "eyJ0.token-_~+/=="


def parse(text: str | bytes) -> Query:
    """Read a whole input."""
    return credential.parse(io.BytesIO(text.encode() if isinstance(text, str) else text))


def query(url: str = "", username: str | None = None) -> Query:
    """Ask about a URL."""
    return parse(f"url={url}\n" + (f"username={username}\n" if username is not None else ""))


def chosen(url: str, username: str | None = None, of: tuple[Candidate, ...] = ALL) -> str | None:
    """Give the name of the profile that is meant."""
    found = credential.choose(query(url, username), of)
    return found.name if found else None


def test_a_query_of_git_is_read() -> None:
    """What git 2.47 sends of a clone after a 401, and nothing of it is mistaken for something else."""
    offered = "capability[]=authtype\ncapability[]=state\n"
    text = f'{offered}protocol=https\nhost=pm.example:8443\nwwwauth[]=Bearer realm="x"\n\n'
    assert parse(text) == Query("https", "pm.example:8443", bearer=True, ephemeral=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Query()),
        ("protocol=https\nhost=h", Query("https", "h")),  # the last newline may be missing
        ("protocol=https\r\nhost=h\r\n\r\nusername=x\n", Query("https", "h")),
        ("protocol=https\nhost=h\n\nhost=other\n", Query("https", "h")),  # nothing is read behind the empty line
        ("protocol=https\nhost=h\nhost=i\n", Query("https", "i")),
        ("protocol=https\nhost=h\nnonsense=1\nnew[]=2\noauth_refresh_token=3\n", Query("https", "h")),
        ("host=a=b\n", Query(host="a=b")),
        ("username=\npath=\n", Query()),
        ("username=prod\npath=a/b.git\n", Query(username="prod", path="a/b.git")),
        ("url=https://u%40x:p@h:1/a%20b/c.git/\n", Query("https", "h:1", "a b/c.git", "u@x", refused=Secret("p"))),
        ("url=https://h\nusername=u\n", Query("https", "h", username="u")),
        ("capability[]=authtype\nurl=https://h\n", Query("https", "h", bearer=True, ephemeral=True)),
        ("capability[]=authtype\ncapability[]=\n", Query()),
        ("capability[]=authtype\ncapability[]=\ncapability[]=authtype\n", Query(bearer=True, ephemeral=True)),
        ("capability[]=state\n", Query()),
        ("password=tok\n", Query(refused=Secret("tok"))),
        ("authtype=bearer\ncredential=tok\n", Query(refused=Secret("tok"))),
        ("authtype=Basic\ncredential=dTpw\n", Query()),
        ("credential=tok\n", Query()),
        ("password=a typed one!\n", Query()),
    ],
)
def test_what_is_read(text: str, expected: Query) -> None:
    """The last of a key counts, lists can be emptied, line ends are forgiven, and what is unknown is passed over."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("offered", "bearer"),
    [
        (["Bearer"], True),
        (['bearer realm="x"', 'Basic realm="y"'], True),
        (['Basic realm="x"'], False),
        (['Basic realm="x"', "Basic", "Bearer"], True),
        (["Basic", "", "Negotiate"], True),  # the list was emptied in between
        (["Negotiate"], True),
        ([" = nonsense"], True),
    ],
)
def test_a_server_that_wants_a_password_gets_one(offered: list[str], bearer: bool) -> None:
    """Where Basic is on offer and Bearer is not, a header would be refused for certain."""
    lines = "".join(f"wwwauth[]={each}\n" for each in offered)
    found = parse(f"capability[]=authtype\n{lines}")
    assert (found.bearer, found.ephemeral) == (bearer, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"protocol\n", "key=value"),
        (b"a=b\0c\n", "NUL"),
        (b"a=" + b"x" * 65534 + b"\n", "longer than 65535 bytes"),
        (b"a=" + b"x" * 65535, "longer"),
        (b"url=pm.example\n", "url"),
        (b"url=://pm.example\n", "url"),
        (b"host=a\rb\n", "control"),
        (b"username=a\rpassword=b\n", "control"),
        (b"url=https://a%0apassword=b@pm.example\n", "control"),
        (b"url=https://pm.example%0ahost=x\n", "control"),
    ],
)
def test_what_is_no_query_is_refused(text: bytes, why: str) -> None:
    """And not quoted: it may hold a secret. A line break in a name would become a line of the answer."""
    with pytest.raises(BadInput, match=why):
        parse(text)


def test_the_longest_line_is_read() -> None:
    """Git allows 65535 bytes and the newline."""
    assert parse(b"path=" + b"x" * 65530 + b"\n").path == "x" * 65530


@given(st.binary(max_size=400))
def test_any_bytes_are_a_query_or_refused(data: bytes) -> None:
    """Nothing else comes out, and to look for a profile never fails in another way."""
    try:
        found = parse(data)
    except BadInput:
        return
    credential.concerns_us(found)
    credential.find(found, ALL)


@pytest.mark.parametrize(
    ("url", "username", "name"),
    [
        ("https://pm.example:8443", None, "port"),
        ("HTTPS://PM.Example:8443/any/path", None, "port"),
        ("https://pm.example", "prod", "prod"),
        ("https://PM.EXAMPLE:443", "prod-admin", "prod-admin"),
        ("https://pm.example", "root", "prod-admin"),
        ("https://pm.example", "2", "prod-admin"),
        ("https://pm.example/legacy", None, "old"),
        ("https://pm.example/legacy/x.git", None, "old"),
        ("https://pm.example/legacy/x%20y", None, "old"),
        ("https://pm.example/legacy/x", "alice", "old"),
        ("https://pm.example/x", "alice", "prod"),
        ("http://127.0.0.1:8080/x", None, "here"),
        ("http://127.0.0.1:8080/x", "oauth2", "here"),
        ("https://pm.example", "old", "old"),
        # Nobody's.
        ("https://other.example", None, None),
        ("https://pm.example:8444", None, None),
        ("https://pm.example.evil", None, None),
        ("https://xpm.example", "prod", None),
        ("http://127.0.0.1:8081", None, None),
        ("https://127.0.0.1:8080", None, None),
        ("http://other.example", None, None),
        ("ssh://pm.example", None, None),
        ("https://", None, None),
        ("https://pm.example:99999", None, None),
        ("cert:///home/me/key.pem", None, None),
    ],
)
def test_whom_a_query_means(url: str, username: str | None, name: str | None) -> None:
    """Host and port as URLs compare them, the longest path by whole segments, then the user."""
    assert chosen(url, username) == name


@pytest.mark.parametrize("path", ["legacyx", "Legacy", "x/legacy", "legacy/../x", "a?b"])
def test_a_path_counts_by_whole_segments(path: str) -> None:
    """What only looks like a profile's path is not its; a path that climbs is nobody's."""
    found = credential.find(Query("https", "pm.example", path), (OLD,))
    assert found == ()


@pytest.mark.parametrize(
    "host", ["pm.example/legacy", "x@pm.example", "pm.example?x", "pm.example#x", "pm example", ""]
)
def test_a_host_is_a_host(host: str) -> None:
    """What smuggles more into the URL finds nothing."""
    asked = Query("https", host)
    assert not credential.concerns_us(asked)
    assert credential.find(asked, ALL) == ()
    assert credential.choose(asked, ALL) is None


def test_without_a_path_every_profile_of_the_host_may_be_meant() -> None:
    """Git takes the path away unless it is told otherwise; how to tell it is in the hint."""
    with pytest.raises(Refusal) as caught:
        chosen("https://pm.example")
    assert caught.value.message == "several profiles are for https://pm.example: old, prod, prod-admin"
    assert "credential.https://pm.example.username prod" in caught.value.hint
    assert "credential.https://pm.example.useHttpPath true" in caught.value.hint


def test_where_a_path_would_not_help_it_is_not_advised() -> None:
    """Two profiles with one URL are told apart by name alone."""
    with pytest.raises(Refusal) as caught:
        chosen("https://pm.example/x")
    assert "prod, prod-admin" in caught.value.message
    assert "useHttpPath" not in caught.value.hint


@pytest.mark.parametrize(("username", "says"), [("mallory", "named mallory"), ("alice", "old, prod")])
def test_another_users_token_is_not_given(username: str, says: str) -> None:
    """A name that is nobody's, or two profiles', is refused and not guessed."""
    with pytest.raises(Refusal, match=says):
        chosen("https://pm.example", username)


def test_a_profiles_name_goes_before_a_users() -> None:
    """A name that a person chose for this is not overruled by a user who is called the same."""
    of = (Candidate("root", "https://pm.example"), ADMIN)
    assert chosen("https://pm.example", "root", of) == "root"


@pytest.mark.parametrize("host", ["pm.example", "PM.example:443"])
def test_nothing_is_sent_unencrypted(host: str) -> None:
    """Whoever wrote http by mistake is told; another server of that kind is none of our business."""
    if host.endswith(":443"):
        assert credential.choose(Query("http", "pm.example:80"), (HERE,)) is None
        return
    with pytest.raises(Refusal, match="could read it") as caught:
        credential.choose(Query("http", host), ALL)
    assert "use https://pm.example" in caught.value.hint
    assert credential.find(Query("http", host), (Candidate("x", "http://pm.example"),)) == ()


def test_a_git_that_knows_authtype_gets_the_header() -> None:
    """The capability comes before what depends on it, and a cache is told not to keep it."""
    text = credential.answer(Query(bearer=True, ephemeral=True), "prod", Secret(TOKEN), 2000, now=1000.5)
    assert text.splitlines() == [
        "capability[]=authtype",
        "authtype=Bearer",
        f"credential={TOKEN}",
        "ephemeral=1",
        "password_expiry_utc=2000",
    ]


@pytest.mark.parametrize(("asked", "given"), [(None, "prod"), ("oauth2", "oauth2"), ("alice", "alice")])
def test_any_other_gets_a_password(asked: str | None, given: str) -> None:
    """Under the name that was asked for, so that git finds it again; else under the profile's."""
    text = credential.answer(Query(username=asked), "prod", Secret(TOKEN), None, now=0)
    assert text.splitlines() == [f"username={given}", f"password={TOKEN}"]


def test_a_password_for_a_newer_git_is_not_kept_either() -> None:
    """A server that wants a password does not make the token live longer."""
    text = credential.answer(Query(ephemeral=True), "prod", Secret(TOKEN), None, now=0)
    assert text.splitlines() == ["capability[]=authtype", "username=prod", f"password={TOKEN}", "ephemeral=1"]


@pytest.mark.parametrize(("good_until", "told"), [(1011, 1011), (1010, 1010), (1000, 1010), (0, 1010)])
def test_what_is_to_be_used_at_once_is_not_thrown_away(good_until: int, told: int) -> None:
    """Git drops what has expired when it reads it; the daemon promises nothing while a renewal is under way."""
    text = credential.answer(Query(), "prod", Secret(TOKEN), good_until, now=1000.9)
    assert text.endswith(f"password_expiry_utc={told}\n")


def test_an_answer_is_read_back_as_what_was_refused() -> None:
    """Git gives back what it was given: both forms name exactly the token."""
    for asked in (Query(bearer=True, ephemeral=True), Query()):
        assert parse(credential.answer(asked, "prod", Secret(TOKEN), 1, now=0)).refused == Secret(TOKEN)
