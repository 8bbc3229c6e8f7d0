"""Profiles: names, URLs, and how TOML becomes profiles or a list of everything that is wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from pmcredd.profile_keys import (
    DAEMON_KEYS,
    DEFAULTS_KEYS,
    EVENT_COMMAND_KEYS,
    EVENT_KEYS,
    PROFILE_KEYS,
    SECRET_KEYS,
    Kind,
)
from pmcredd.profile_reader import read_config
from pmcredd.profiles import (
    BadConfig,
    ClientAuth,
    CommandSecret,
    Config,
    CredentialSecret,
    EnvSecret,
    EventCommand,
    EventName,
    FileSecret,
    Grant,
    KeyringSecret,
    LiteralSecret,
    Mistake,
    Profile,
    Settings,
    SourceFile,
    Storage,
    secret_flaw,
    secret_variables,
    valid_name,
)
from pmcredd.secret import Secret
from pmcredd.urls import BadUrl, match_url, parse_url

CANARY = "hunter2-canary"
MAIN = "/home/me/.config/pmcred/profiles.toml"
DOCS = Path(__file__).parent.parent / "docs" / "profiles.md"

URL = 'url = "https://acme.processmaker.net"\n'
CLIENT = 'client_id = "3"\nclient_secret = { file = "/s" }\n'
PASSWORD = f'{URL}grant = "password"\n{CLIENT}username = "u"\npassword = {{ file = "/p" }}\n'
CLIENT_CREDENTIALS = f'{URL}grant = "client_credentials"\n{CLIENT}'
CODE = f'{URL}grant = "authorization_code"\n{CLIENT}'
TOKEN = f'{URL}grant = "personal_access_token"\ntoken = {{ file = "/t" }}\n'


def token(source: str) -> str:
    """Write a profile whose secret comes from there."""
    return TOKEN.replace('{ file = "/t" }', source)


def main(text: str, mode: int = 0o600) -> SourceFile:
    """Be the user's own file."""
    return SourceFile(MAIN, text, mode)


def beside(name: str, text: str, mode: int = 0o600) -> SourceFile:
    """Be a file of profiles.d."""
    return SourceFile(f"/home/me/.config/pmcred/profiles.d/{name}.toml", text, mode, ours=True)


def config(*files: SourceFile | str) -> Config:
    """Read files; a text is the user's own one."""
    return read_config([main(file) if isinstance(file, str) else file for file in files], home="/home/me")


def profile(text: str) -> Profile:
    """Read the keys of one profile."""
    return config(f"[profiles.x]\n{text}").profiles["x"]


def mistakes(*files: SourceFile | str) -> tuple[Mistake, ...]:
    """Read files that are wrong."""
    with pytest.raises(BadConfig) as caught:
        config(*files)
    assert str(caught.value).splitlines() == [str(mistake) for mistake in caught.value.mistakes]
    return caught.value.mistakes


def mistake(text: str) -> Mistake:
    """Read one profile with one mistake in it."""
    (only,) = mistakes(f"[profiles.x]\n{text}")
    assert (only.file, only.profile) == (MAIN, "x")
    return only


# Names


@pytest.mark.parametrize("name", ["a", "prod", "Acme.prod_2-x", "0", "a" * 64])
def test_a_usual_name_is_valid(name: str) -> None:
    """Letters, digits, dots, dashes and underscores, up to 64."""
    assert valid_name(name)


@pytest.mark.parametrize("name", ["", ".x", "-x", "_x", "a b", "a/b", "a\n", "a\0", "ä", "a" * 65, "a=b", "٣"])
def test_an_unusual_name_is_not(name: str) -> None:
    """Nothing that is an option, a hidden file, a path, two words or more than ASCII."""
    assert not valid_name(name)


@given(st.text(max_size=70))
def test_a_valid_name_is_safe_as_a_word_and_as_a_file_name(name: str) -> None:
    """Whatever the text: a name that is valid means itself on a line, in a shell and in a directory."""
    if valid_name(name):
        import shlex

        assert shlex.split(name) == [name] == name.split()
        assert Path("/d", name).parent == Path("/d")
        assert not name.startswith((".", "-"))


# URLs


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


# Which profile a URL means


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


# The text of a secret


@pytest.mark.parametrize("text", ["x", "a b", "pässwörd", "x" * 70000, "\U0001f511"])
def test_a_secret_may_be_almost_anything(text: str) -> None:
    """Inner spaces and other alphabets are fine."""
    assert secret_flaw(text) is None


@pytest.mark.parametrize("text", ["", " x", "x ", "x\t", "\u00a0x", "x\ufeff", "a\nb", "a\tb", "a\x7fb", "a\ud800b"])
def test_a_secret_is_not_what_a_server_would_change(text: str) -> None:
    """What is cut off at the server would be checked as another password."""
    flaw = secret_flaw(text)
    assert flaw
    assert not text or text not in flaw


# Good files


def test_the_first_example_is_read() -> None:
    """Every value lands where it belongs, with its type."""
    read = config(
        main("[daemon]\nstorage = 'runtime'\nlog_level = 'debug'\n[profiles.prod]\n" + PASSWORD),
        beside("report", "[profiles.report]\n" + TOKEN),
    )
    assert read.settings == Settings(storage=Storage.RUNTIME, log_level="debug")
    assert isinstance(read.settings.storage, Storage)
    assert read.warnings == ()
    assert read.profiles == {
        "prod": Profile(
            name="prod",
            url="https://acme.processmaker.net",
            grant=Grant.PASSWORD,
            client_id="3",
            client_secret=FileSecret("/s"),
            username="u",
            password=FileSecret("/p"),
        ),
        "report": Profile(
            name="report",
            url="https://acme.processmaker.net",
            grant=Grant.PERSONAL_ACCESS_TOKEN,
            token=FileSecret("/t"),
        ),
    }
    assert read.profiles["report"].file.endswith("/profiles.d/report.toml")


def test_commands_on_events_are_read() -> None:
    """In short, as a table of their own, with a program beside the file."""
    read = config(
        "[daemon.on_event]\n"
        "needs-login = ['notify-send', 'a b']\n"
        "renewed = { command = ['bin/push', '~'], timeout = 30, token = true }\n"
        "failing = { command = ['~/bin/mail'], token = false }\n"
    )
    assert read.settings.on_event == {
        EventName.NEEDS_LOGIN: EventCommand(("notify-send", "a b")),
        EventName.RENEWED: EventCommand(("/home/me/.config/pmcred/bin/push", "~"), timeout=30.0, token=True),
        EventName.FAILING: EventCommand(("/home/me/bin/mail",)),
    }
    assert config("[daemon]\non_event = {}\n").settings == Settings()


def test_no_files_are_no_profiles() -> None:
    """A daemon may start before the first profile is made."""
    assert config() == Config(settings=Settings(), profiles={})
    assert config("", "[profiles]\n") == config()


def test_every_key_is_read() -> None:
    """All that a profile can have, but what excludes each other."""
    read = profile(
        f'{CODE}generation = 3\nworkspace = "w_1-x"\nclient_auth = "body"\nscope = "a b"\ntoken_path = "/t"\n'
        'authorize_path = "/a/b"\nca_file = "~/ca.pem"\nclient_cert = "c.pem"\nclient_key = "./k.pem"\n'
        'proxy = "HTTP://Proxy:3128/"\ntimeout = 2.5\n'
    )
    assert read == Profile(
        name="x",
        url="https://acme.processmaker.net",
        grant=Grant.AUTHORIZATION_CODE,
        generation=3,
        workspace="w_1-x",
        client_id="3",
        client_secret=FileSecret("/s"),
        client_auth=ClientAuth.BODY,
        scope="a b",
        token_path="/t",
        authorize_path="/a/b",
        ca_file="/home/me/ca.pem",
        client_cert="/home/me/.config/pmcred/c.pem",
        client_key="/home/me/.config/pmcred/k.pem",
        proxy="http://proxy:3128",
        timeout=2.5,
    )
    assert isinstance(read.client_auth, ClientAuth)


@pytest.mark.parametrize(
    ("written", "source"),
    [
        (f'"{CANARY}"', LiteralSecret(Secret(CANARY))),
        ('{ file = "~/s" }', FileSecret("/home/me/s")),
        ('{ file = "../s" }', FileSecret("/home/me/.config/pmcred/../s")),
        ('{ command = ["pass", "", "~/x"] }', CommandSecret(("pass", "", "~/x"))),
        ('{ command = ["~/bin/s"], timeout = 5 }', CommandSecret(("/home/me/bin/s",), 5.0)),
        ('{ command = ["./s"] }', CommandSecret(("/home/me/.config/pmcred/s",))),
        ('{ env = "S_1" }', EnvSecret("S_1")),
        ('{ credential = "pm.prod" }', CredentialSecret("pm.prod")),
        ('{ keyring = "pmcred", username = "x y" }', KeyringSecret("pmcred", "x y")),
        ('{ keyring = "https://h", username = "u", timeout = 5 }', KeyringSecret("https://h", "u", 5.0)),
    ],
)
def test_a_secret_names_its_source(written: str, source: object) -> None:
    """Paths are made whole where the file is read; a program without a slash is left to PATH."""
    assert profile(token(written)).token == source


def test_a_proxy_of_the_defaults_can_be_undone() -> None:
    """One instance inside the company, all others outside."""
    read = config(f'[defaults]\nproxy = "environment"\n[profiles.a]\n{TOKEN}[profiles.b]\n{TOKEN}proxy = "none"\n')
    assert [one.proxy for one in read.profiles.values()] == ["environment", None]


def test_defaults_hold_for_all_files_where_they_can_be_used() -> None:
    """A profile's own key wins; what a grant or a generation cannot use does not reach it."""
    read = config(
        beside("a", '[profiles.a]\ngrant = "personal_access_token"\ntoken = { file = "/t" }\n'),
        main(
            f'[defaults]\n{URL}grant = "password"\nclient_auth = "body"\nworkspace = "w"\ntimeout = 7\nca_file = "ca"\n'
            f'[profiles.b]\nurl = "https://b"\ntimeout = 8\n{CLIENT}username = "u"\npassword = {{ file = "/p" }}\n'
            f'[profiles.c]\ngeneration = 3\n{CLIENT}username = "u"\npassword = {{ file = "/p" }}\n'
        ),
    ).profiles
    assert {name: one.url for name, one in read.items()} == {
        "a": "https://acme.processmaker.net",
        "b": "https://b",
        "c": "https://acme.processmaker.net",
    }
    assert {name: one.workspace for name, one in read.items()} == {"a": None, "b": None, "c": "w"}
    assert {name: one.timeout for name, one in read.items()} == {"a": 7.0, "b": 8.0, "c": 7.0}
    assert {name: one.client_auth for name, one in read.items()} == {
        "a": ClientAuth.BASIC,
        "b": ClientAuth.BODY,
        "c": ClientAuth.BODY,
    }
    # relative to the file of the defaults, not to that of the profile
    assert {one.ca_file for one in read.values()} == {"/home/me/.config/pmcred/ca"}


def test_the_variables_that_hold_secrets_are_known() -> None:
    """So that no command inherits them."""
    env = PASSWORD.replace('{ file = "/s" }', '{ env = "S" }').replace('{ file = "/p" }', '{ env = "P" }')
    read = config(f"[profiles.a]\n{env}[profiles.b]\n{TOKEN}")
    assert secret_variables(read.profiles.values()) == {"S", "P"}


def test_what_gives_no_use_is_a_warning() -> None:
    """Allowed, but told: on ProcessMaker 4 a client's own token has no user."""
    read = config(
        f"[profiles.a]\n{CLIENT_CREDENTIALS}[profiles.b]\n{CODE}"
        f'[profiles.c]\n{CLIENT_CREDENTIALS}generation = 3\nworkspace = "w"\n'
    )
    assert [(one.profile, one.key) for one in read.warnings] == [("a", "grant")]
    assert "401" in str(read.warnings[0])
    assert len(read.profiles) == 3


def test_a_login_that_processmaker_3_would_refuse_is_a_warning() -> None:
    """It compares the redirect URI with its port, so one has to be named, in the profile or in [defaults]."""
    three = f'{CODE}generation = 3\nworkspace = "w"\n'
    anywhere = 'redirect_uri = "http://127.0.0.1/callback"\n'
    fixed = 'redirect_uri = "http://127.0.0.1:28080/callback"\n'
    read = config(
        f"[defaults]\n{anywhere}[profiles.a]\n{three}[profiles.b]\n{three}{fixed}[profiles.c]\n{CODE}"
        f'[profiles.d]\n{PASSWORD}generation = 3\nworkspace = "w"\n'
    )
    assert [(one.profile, one.key) for one in read.warnings] == [("a", "redirect_uri")]
    assert {name: one.redirect_port for name, one in read.profiles.items()} == {
        "a": None,
        "b": 28080,
        "c": None,
        "d": None,
    }


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/c",
        "http://127.0.0.1:80/callback",
        "http://127.0.0.1:65535/a/b/",
        "http://127.0.0.1:28080/%41",
    ],
)
def test_a_redirect_uri_is_kept_to_the_letter(uri: str) -> None:
    """Servers compare it letter by letter: no slash is cut off, no port left out, nothing decoded."""
    assert profile(f'{CODE}redirect_uri = "{uri}"\n').redirect_uri == uri


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (
            "http://localhost:8080/cb",
            'and ProcessMaker compares it with its port; write redirect_uri = "http://127.0.0.1:8080/cb"',
        ),
        ("http://LOCALHOST", 'write redirect_uri = "http://127.0.0.1/callback"'),
        ("http://[::1]/callback", "is not on 127.0.0.1"),
        ("http://127.0.0.2/callback", "is not on 127.0.0.1"),
        ("http://127.0.0.1.example.org/callback", "is not on 127.0.0.1"),
        ("https://acme.example.org/callback", "is not on 127.0.0.1"),
        ("http://x@127.0.0.1/callback", "user name"),
        ("https://127.0.0.1/callback", "must be http: nobody has a certificate"),
        ("pmcred://127.0.0.1/callback", "neither https:// nor http://"),
        ("http://127.0.0.1", "has no path; write redirect_uri ="),
        ("http://127.0.0.1:28080/", "has no path"),
        ("http://127.0.0.1/callback?a=b", "query or a fragment"),
        ("http://127.0.0.1/callback#a", "query or a fragment"),
        ("http://127.0.0.1/../callback", ". or .."),
        ("http://127.0.0.1:0/callback", "between 1 and 65535"),
        ("http://127.0.0.1:/callback", 'write redirect_uri = "http://127.0.0.1/callback"'),
        ("http://127.0.0.1:08080/callback", 'write redirect_uri = "http://127.0.0.1:8080/callback"'),
        ("HTTP://127.0.0.1/Callback", 'write redirect_uri = "http://127.0.0.1/Callback"'),
        ("127.0.0.1/callback", "is not a URL"),
        ("", "is empty"),
    ],
)
def test_a_redirect_uri_is_where_pmcredd_listens(uri: str, said: str) -> None:
    """Plain http on 127.0.0.1, with a path, in the form that servers compare; whatever else is told with the reason."""
    (mistake,) = mistakes(f'[profiles.x]\n{CODE}redirect_uri = "{uri}"\n')
    assert mistake.key == "redirect_uri"
    assert said in str(mistake)


def test_only_a_browser_login_has_a_redirect_uri() -> None:
    """With another grant it would do nothing, and whoever wrote it expects something of it."""
    (mistake,) = mistakes(f'[profiles.x]\n{PASSWORD}redirect_uri = "http://127.0.0.1/callback"\n')
    assert 'the grant "password" does not use it' in str(mistake)


@pytest.mark.parametrize("grant", [PASSWORD, TOKEN, CODE], ids=["password", "token", "code"])
@pytest.mark.parametrize("user", ["7", "a.smith"])
def test_a_profile_may_say_whose_its_token_must_be(grant: str, user: str) -> None:
    """By id or by name, for each grant whose token has a user."""
    assert config(f'[profiles.x]\n{grant}expect_user = "{user}"\n').profiles["x"].expect_user == user


@pytest.mark.parametrize(
    "grant",
    [PASSWORD + 'generation = 3\nworkspace = "w"\n', CLIENT_CREDENTIALS],
    ids=["ProcessMaker 3", "client_credentials"],
)
def test_where_no_token_tells_its_user_none_can_be_expected(grant: str) -> None:
    """It could never be checked, so it is a mistake, and says why."""
    (mistake,) = mistakes(f'[profiles.x]\n{grant}expect_user = "7"\n')
    assert mistake.key == "expect_user"
    assert "only a token of ProcessMaker 4 tells whose it is, and none of client_credentials has a user" in str(mistake)
    assert "remove it" in str(mistake)


# Wrong files


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        # types
        (PASSWORD.replace('"3"', "3"), "client_id", 'not an integer; write client_id = "3"'),
        (PASSWORD.replace('"u"', "true"), "username", "not a boolean; write username ="),
        (PASSWORD.replace('"u"', "[]"), "username", "not an array"),
        (PASSWORD.replace('"u"', "{}"), "username", "not a table"),
        (PASSWORD.replace('"u"', "1.5"), "username", "not a float"),
        (PASSWORD.replace('"u"', "2020-01-01"), "username", "not a date"),
        (PASSWORD.replace('"u"', "2020-01-01T00:00:00"), "username", "not a date"),
        (PASSWORD.replace('"u"', "10:00:00"), "username", "not a time"),
        (PASSWORD.replace('"u"', '""'), "username", "is empty; write username"),
        (PASSWORD.replace('"u"', '" u"'), "username", "space"),
        (PASSWORD.replace('"u"', '"a\\u0000b"'), "username", "control character"),
        (PASSWORD.replace('"3"', '"ä"'), "client_id", "no client id can have"),
        (PASSWORD.replace('"3"', '"a:b"'), "client_id", 'write client_auth = "body"'),
        # choices
        (f"{PASSWORD}generation = 5\n", "generation", "must be one of 3, 4, not an integer; write generation = 3"),
        (f'{PASSWORD}generation = "4"\n', "generation", "must be an integer, not a string; write generation = 4"),
        (f"{PASSWORD}generation = 4.0\n", "generation", "not a float"),
        (f"{PASSWORD}generation = true\n", "generation", "not a boolean"),
        (f'{PASSWORD}client_auth = "header"\n', "client_auth", 'must be one of "basic", "body"; write client_auth'),
        (PASSWORD.replace('"password"', '"pasword"'), "grant", 'did you mean "password"?'),
        (PASSWORD.replace('"password"', "4"), "grant", "not an integer"),
        # URLs
        (TOKEN.replace("https://acme", f"https://u:{CANARY}@acme"), "url", "a user name or a password in it"),
        (TOKEN.replace(".net", ".net/?x=1"), "url", 'query or a fragment; write url = "https://acme.processmaker.net"'),
        (TOKEN.replace(".net", ".net/pm/api/1.0/users"), "url", 'write url = "https://acme.processmaker.net/pm"'),
        (TOKEN.replace(".net", ".net/login"), "url", 'write url = "https://acme.processmaker.net"'),
        (TOKEN.replace(".net", ".net/sysworkflow/en/x"), "url", 'write url = "https://acme.processmaker.net"'),
        (TOKEN.replace("https", "ftp"), "url", "neither https:// nor http://"),
        (f'{TOKEN}proxy = "http://u:{CANARY}@p"\n', "proxy", 'write proxy = "environment"'),
        (f'{TOKEN}proxy = "http://p/x"\n', "proxy", 'write proxy = "http://p"'),
        (f'{TOKEN}proxy = "p:3128"\n', "proxy", "is not a URL"),
        # other values
        (f"{TOKEN}timeout = 0\n", "timeout", "from 1 to 600"),
        (f"{TOKEN}timeout = -1\n", "timeout", "from 1 to 600"),
        (f"{TOKEN}timeout = 601\n", "timeout", "from 1 to 600"),
        (f"{TOKEN}timeout = inf\n", "timeout", "from 1 to 600"),
        (f"{TOKEN}timeout = nan\n", "timeout", "from 1 to 600"),
        (f"{TOKEN}timeout = true\n", "timeout", "not a boolean"),
        (f'{TOKEN}timeout = "30s"\n', "timeout", "not a string; write timeout = 30"),
        (f'{TOKEN}ca_file = "~bob/x"\n', "ca_file", "somebody else"),
        (f'{TOKEN}client_key = "k"\n', "client_key", "write client_cert"),
        (f'{PASSWORD}scope = "a  b"\n', "scope", "one space"),
        (f'{PASSWORD}token_path = "oauth"\n', "token_path", "starts with one /"),
        (f'{PASSWORD}token_path = "//h/x"\n', "token_path", "starts with one /"),
        (f'{PASSWORD}token_path = "/a/../b"\n', "token_path", "starts with one /"),
        (f'{PASSWORD}token_path = "/a?b"\n', "token_path", "has no query"),
        (f'{PASSWORD}generation = 3\nworkspace = "a/b"\n', "workspace", "letters, digits"),
        # what belongs together
        (f'{TOKEN}username = "u"\n', "username", 'does not use it; remove it, or write grant = "password"'),
        (f'{TOKEN}scope = "a"\n', "scope", 'the grant "personal_access_token" does not use it; remove it'),
        (f'{PASSWORD}workspace = "w"\n', "workspace", "generation = 3"),
        (f"{PASSWORD}generation = 3\n", "workspace", "is missing: a profile of generation 3 needs it"),
        (f'{TOKEN}generation = 3\nworkspace = "w"\n', "grant", "no personal access tokens"),
        (PASSWORD.replace('username = "u"\n', ""), "username", 'the grant "password" needs it; write username ='),
        (TOKEN.replace(URL, ""), "url", 'is missing; write url = "https://'),
        ("", "grant", 'is missing; write grant = "password"'),
        # unknown keys
        (PASSWORD.replace("username", "user-name"), "user-name", "did you mean username?"),
        (f"{TOKEN}xyzzy = 1\n", "xyzzy", "unknown key; remove it; the keys are url, grant"),
        (f'{TOKEN}"a\\nb" = 1\n', "'a\\nb'", "unknown key"),
        (f"{TOKEN}[profiles.x.y]\nz = 1\n", "y", '[profiles."x.y"]'),
        (f'{TOKEN}bridge = "yes"\n', "bridge", "must be true or false"),
        # secrets
        (token("42"), "token", "a string or a table that names its source, not an integer"),
        (token('["pass"]'), "token", "not an array; write token = { file ="),
        (token(f'" {CANARY}"'), "token", "start or its end"),
        (token('""'), "token", "is empty"),
        (
            token("{}"),
            "token",
            "names no source; write one of file, command, env, credential",
        ),
        (token("{ timeout = 1 }"), "token", "names no source"),
        (token('{ vault = "t" }'), "token.vault", "unknown key"),
        (token('{ keyring = "t" }'), "token", 'write token = { keyring = "SERVICE", username = "NAME" }'),
        (token('{ keyring = "t", username = "" }'), "token.username", "is empty"),
        (token('{ keyring = 1, username = "u" }'), "token.keyring", "must be a string"),
        (token('{ comand = ["t"] }'), "token.comand", "did you mean command?"),
        (token('{ file = "/t", env = "T" }'), "token", "names 2 sources: file, env"),
        (token('{ file = "/t", timeout = 1 }'), "token", "only a command or a keyring has"),
        (token('{ file = "/t", username = "u" }'), "token", "only a keyring has"),
        (token('{ username = "u" }'), "token", "names no source"),
        (token("{ file = 1 }"), "token.file", "must be a string"),
        (
            token('{ command = "pass x" }'),
            "token.command",
            'write command = ["pass", "show"',
        ),
        (token("{ command = [] }"), "token.command", "not an empty array"),
        (token('{ command = ["a", 1] }'), "token.command", "strings only"),
        (token('{ command = ["a\\u0000"] }'), "token.command", "strings only"),
        (token('{ command = [""] }'), "token.command", "names no program"),
        (token('{ command = ["a"], timeout = 0 }'), "token.timeout", "from 1 to 600"),
        (token('{ env = "$T" }'), "token.env", "without $"),
        (token('{ credential = "/t" }'), "token.credential", "not a path"),
        (token('{ credential = ".." }'), "token.credential", "not a path"),
    ],
)
def test_a_mistake_names_its_key_and_the_mend(text: str, key: str, said: str) -> None:
    """One wrong value is one mistake, which tells what to write, and never quotes a secret."""
    found = mistake(text)
    assert found.key == key
    assert said in str(found)
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (f"[profile.prod]\n{TOKEN}", "[profile]", "did you mean [profiles.prod]?"),
        (f"[prod]\n{TOKEN}", "[prod]", "did you mean [profiles.prod]?"),
        ("[demon]\n", "[demon]", "did you mean [daemon]?"),
        ("[xyzzy]\n", "[xyzzy]", "write [profiles.NAME], [defaults] or [daemon]"),
        ("url = 'https://h'\n", "url", "write it under [profiles.NAME]"),
        ("storage = 'disk'\n", "storage", "write it under [daemon]"),
        ("xyzzy = 1\n", "xyzzy", "outside of any table; remove it"),
        ("profiles = 1\n", "profiles", "must be a table, not an integer; write [profiles.NAME]"),
        ("[[profiles]]\n", "profiles", "not an array"),
        ("daemon = 1\n", "daemon", "write [daemon]"),
        (f"[profiles]\n{URL}", "profiles.url", "write it under [profiles.NAME]"),
        ("[profiles]\nx = 1\n", "profiles.x", "write [profiles.x]"),
        (f"[profiles.acme.prod]\n{TOKEN}", '[profiles."acme.prod"]', 'needs quotes: [profiles."acme.prod"]'),
        (f'[profiles."a b"]\n{TOKEN}', "[profiles.a b]", "is not a name for a profile"),
        (f'[profiles."a\\nb"]\n{TOKEN}', "[profiles.'a\\nb']", "is not a name for a profile"),
        (f'[profiles."{"a" * 90}"]\n{TOKEN}', "aaa...", "is not a name for a profile"),
        ("[daemon]\nstorge = 'disk'\n", "daemon.storge", "did you mean storage?"),
        ("[daemon]\nstorage = 'disc'\n", "daemon.storage", 'did you mean "disk"?'),
        (
            "[daemon]\non_event = ['x']\n",
            "daemon.on_event",
            "a table of events and their commands, not an array; write on_",
        ),
        ("[daemon.on_event]\nneeds_login = ['x']\n", "daemon.on_event.needs_login", "did you mean needs-login?"),
        ("[daemon.on_event]\nrenewed = 'x y'\n", "daemon.on_event.renewed", "must be an array of the program"),
        ("[daemon.on_event]\nrenewed = []\n", "daemon.on_event.renewed", "not an empty array; write renewed = "),
        ("[daemon.on_event]\nrenewed = {}\n", "daemon.on_event.renewed", "names no command; write renewed = "),
        ("[daemon.on_event]\nrenewed = { comand = ['x'] }\n", "daemon.on_event.renewed.comand", "mean command?"),
        (
            "[daemon.on_event]\nrenewed = { command = ['x'], token = 1 }\n",
            "daemon.on_event.renewed.token",
            "must be true or false, not an integer; write token = true",
        ),
        (
            "[daemon.on_event]\nrenewed = { command = ['x'], timeout = '10s' }\n",
            "daemon.on_event.renewed.timeout",
            "must be a number of seconds, not a string",
        ),
        ("[defaults]\ntimout = 1\n", "defaults.timout", "did you mean timeout?"),
        ("[defaults]\nclient_id = '1'\n", "defaults.client_id", "write it in each [profiles.NAME]"),
        ("[defaults]\non_event = {}\n", "defaults.on_event", "write it under [daemon]"),
        (f"[profiles.x]\n{TOKEN}on_event = {{}}\n", "on_event", "write it under [daemon]"),
        (f"[defaults]\npassword = '{CANARY}'\n", "defaults.password", "belongs to one profile"),
        (f"[defaults]\nurl = 1\n[profiles.x]\n{TOKEN.replace(URL, '')}", "defaults.url", "must be a string"),
        (f"[defaults]\ngrant = 1\n[profiles.x]\n{URL}", "defaults.grant", "must be one of"),
        ("[profiles.x\n", "is not TOML", "(at line 1, column 12)"),
        (f"[profiles.x]\n{URL}{URL}", "is not TOML", "at line 3"),
        ("x = " + "[" * 5000, "is not TOML", ""),
        ("x = " + "9" * 5000, "is not TOML", "too long"),
    ],
)
def test_a_mistake_about_a_table_names_it_and_the_mend(text: str, where: str, said: str) -> None:
    """Also what is no profile at all has a place and a mend."""
    (found,) = mistakes(text)
    assert str(found).startswith(MAIN)
    assert where in str(found)
    assert said in str(found)
    assert CANARY not in str(found)
    assert str(found).isprintable()


def test_every_mistake_of_every_file_is_told_at_once() -> None:
    """People mend all of them in one go, file by file."""
    found = mistakes(
        main("[profiles.a]\nurl = 1\ngrant = 2\n[profiles.b]\n" + TOKEN.replace("token =", "tokn =")),
        beside("broken", "[profiles."),
        beside("c", f"[profiles.c]\n{PASSWORD}timeout = 0\nxyzzy = 1\n[daemon]\n"),
    )
    assert [(Path(one.file).stem, one.profile, one.key) for one in found] == [
        ("profiles", "a", "url"),
        ("profiles", "a", "grant"),
        ("profiles", "b", "tokn"),
        ("broken", None, None),
        ("c", None, "[daemon]"),
        ("c", "c", "timeout"),
        ("c", "c", "xyzzy"),
    ]


def test_a_profile_is_defined_once() -> None:
    """The second one names the file of the first, and its own mistakes are told, too."""
    found = mistakes(main(f"[profiles.a]\n{TOKEN}"), beside("a", f"[profiles.a]\n{TOKEN}timeout = 0\n"))
    assert [one.key for one in found] == [None, "timeout"]
    assert f"already defined in {MAIN}" in found[0].wrong
    assert found[0].file.endswith("profiles.d/a.toml")


def test_the_daemon_and_the_defaults_have_one_place() -> None:
    """A file that a program writes must not change what holds for all; nor must there be two of them."""
    found = mistakes(beside("a", "[daemon]\n[defaults]\n"), "[daemon]\n", SourceFile("/other", "[daemon]\n", 0o600))
    assert [(one.file[-6:], one.key) for one in found] == [
        ("a.toml", "[daemon]"),
        ("a.toml", "[defaults]"),
        ("/other", "[daemon]"),
    ]
    assert found[2].mend == f"keep the one in {MAIN}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_in_a_file_that_others_can_read_is_refused(mode: int) -> None:
    """Once a file, with the chmod that mends it."""
    two = PASSWORD.replace('{ file = "/s" }', f'"{CANARY}"').replace('{ file = "/p" }', f'"{CANARY}"')
    path = "/home/me/my files/p.toml"
    (found,) = mistakes(SourceFile(path, f"[profiles.x]\n{two}", mode))
    assert (found.key, found.mend) == ("client_secret", f"chmod 600 '{path}'")
    assert f"{mode:04o}" in found.wrong
    assert config(SourceFile(path, f"[profiles.x]\n{two}", 0o600)).profiles
    assert config(SourceFile(path, f"[profiles.x]\n{PASSWORD}", mode)).profiles


def test_a_tilde_without_a_home_is_a_mistake() -> None:
    """A container's user may have none; the path would start anywhere."""
    with pytest.raises(BadConfig, match=r"\$HOME is not set"):
        read_config([main(f'[profiles.x]\n{TOKEN}ca_file = "~/x"\n')], home="")


def test_a_key_that_the_defaults_may_not_have_is_still_missing() -> None:
    """Moving it is one mistake, writing it in the profile is another."""
    found = mistakes(f"[defaults]\nusername = 'u'\n[profiles.x]\n{PASSWORD.replace('username', '#')}")
    assert [one.key for one in found] == ["defaults.username", "username"]


def test_a_mistake_is_told_in_the_place_where_it_is() -> None:
    """The unknown key is the missing one, and it is told once."""
    assert mistake(PASSWORD.replace("username", "usernme")).key == "usernme"


# Any file

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.text(max_size=8)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats()
    | st.dates()
    | st.sampled_from(
        [CANARY, f" {CANARY}", "https://h", "password", "personal_access_token", "none", "~", "~/x", "/x"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SECRET_KEYS, "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
NAMES = st.sampled_from([*PROFILE_KEYS, "usrname", "x"]) | st.text(max_size=4)
TABLES = st.dictionaries(NAMES, VALUES, max_size=6)
EVENTS = st.dictionaries(
    st.sampled_from([*EVENT_KEYS, "x"]),
    st.dictionaries(st.sampled_from([*EVENT_COMMAND_KEYS, "x"]), VALUES, max_size=3) | VALUES,
    max_size=3,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "profiles": st.dictionaries(st.sampled_from(["a", "b.c", "", "d e"]), TABLES | VALUES, max_size=3) | VALUES,
        "defaults": TABLES | VALUES,
        "daemon": st.dictionaries(st.sampled_from([*DAEMON_KEYS, "x"]), VALUES | EVENTS, max_size=2) | VALUES,
        "profile": TABLES,
        "x": VALUES,
    },
)


@given(DOCUMENTS, DOCUMENTS, st.sampled_from([0o600, 0o644]))
def test_any_document_is_a_config_or_mistakes_without_secrets(
    first: Mapping[str, object], second: Mapping[str, object], mode: int
) -> None:
    """No file makes the reader fail in another way, and every mistake is one line that shows no secret."""
    outcome = read_or_mistakes(main(tomli_w.dumps(first), mode), beside("b", tomli_w.dumps(second), mode))
    if isinstance(outcome, Config):
        assert CANARY not in repr(outcome)
        assert all(valid_name(name) for name in outcome.profiles)
        assert all(str(parse_url(one.url)) == one.url for one in outcome.profiles.values())
    else:
        assert outcome
        assert all(str(one).isprintable() and CANARY not in str(one) for one in outcome)


def read_or_mistakes(*files: SourceFile) -> Config | tuple[Mistake, ...]:
    """Read files of which nobody knows whether they are right."""
    try:
        return config(*files)
    except BadConfig as bad:
        return bad.mistakes


@given(st.text())
def test_any_text_is_a_config_or_a_mistake(text: str) -> None:
    """What is not TOML is told as that."""
    outcome = read_or_mistakes(main(text))
    assert isinstance(outcome, Config) or all(str(one).startswith(MAIN) for one in outcome)


# The table of the keys


def test_the_table_and_the_types_name_the_same_keys() -> None:
    """A key that the reader takes has a field to go to, and each field can be written."""
    assert set(PROFILE_KEYS) == {field.name for field in fields(Profile)} - {"name", "file"}
    assert set(DAEMON_KEYS) == {field.name for field in fields(Settings)}


def test_the_table_agrees_with_itself() -> None:
    """Who needs a key may use it; secrets and what says who one is are not shared; choices are of one type."""
    for key in PROFILE_KEYS.values():
        assert key.needed_by <= key.used_by
        assert not (key.shared and (key.kind is Kind.SECRET or key.name in {"username", "client_id"}))
        assert bool(key.choices) == (key.kind is Kind.CHOICE)
    assert set(DEFAULTS_KEYS) == {key.name for key in PROFILE_KEYS.values() if key.shared}


GRANTS = {"password": PASSWORD, "personal_access_token": TOKEN, "client_credentials": CLIENT_CREDENTIALS}


@pytest.mark.parametrize("name", PROFILE_KEYS)
def test_the_example_of_each_key_is_good(name: str) -> None:
    """What a message tells people to write is right."""
    key = PROFILE_KEYS[name]
    written = {**GRANTS, "authorization_code": CODE}
    grant = next(grant for grant in written if Grant(grant) in key.used_by)
    text = re.sub(rf"^{name} = .*\n", "", written[grant], flags=re.MULTILINE)
    if key.name == "client_key":
        text += 'client_cert = "c"\n'
    if 4 not in key.generations:
        text += "generation = 3\n"
    if key.name == "generation":
        text += 'workspace = "w"\n'
    assert getattr(profile(f"{text}{name} = {key.example}\n"), name)


@pytest.mark.parametrize("name", SECRET_KEYS)
def test_the_example_of_each_source_is_good(name: str) -> None:
    """Also those of the sources of secrets."""
    beside = {"timeout": "command = ['x'], ", "username": "keyring = 'x', ", "keyring": "username = 'x', "}.get(
        name, ""
    )
    assert profile(token(f"{{ {beside}{name} = {SECRET_KEYS[name].example} }}")).token


def test_the_example_of_each_command_is_good() -> None:
    """And those of the commands on events."""
    assert config(f"[daemon]\non_event = {DAEMON_KEYS['on_event'].example}\n").settings.on_event
    for name, key in EVENT_KEYS.items():
        assert set(config(f"[daemon.on_event]\n{name} = {key.example}\n").settings.on_event) == {EventName(name)}
    assert set(EVENT_KEYS) == set(EventName)
    table = "\n".join(f"{name} = {key.example}" for name, key in EVENT_COMMAND_KEYS.items())
    assert config(f"[daemon.on_event.renewed]\n{table}\n").settings.on_event


# The documentation


def test_the_documentation_names_every_key() -> None:
    """docs/profiles.md leaves none out: in its tables, and what it does."""
    text = DOCS.read_text()
    for name in PROFILE_KEYS:
        assert f"\n| `{name}` |" in text
        assert f"**`{name}`**" in text
    for name in [*DAEMON_KEYS, *SECRET_KEYS]:
        assert f"`{name}`" in text


def test_the_documentation_tells_who_uses_a_key() -> None:
    """Its table says of each key whether [defaults] may have it, and which grants use it."""
    rows = dict(re.findall(r"^\| `([a-z_]+)` \|(.*)\|$", DOCS.read_text().split("## Secrets")[0], re.MULTILINE))
    assert set(rows) == set(PROFILE_KEYS)
    words = {
        frozenset(Grant): "all",
        frozenset(Grant) - {Grant.PERSONAL_ACCESS_TOKEN}: "OAuth",
        frozenset(Grant) - {Grant.CLIENT_CREDENTIALS}: "all but `client_credentials`",
    }
    for name, row in rows.items():
        value, grants, shared = (cell.strip() for cell in row.split("|"))
        key = PROFILE_KEYS[name]
        assert shared == ("yes" if key.shared else "")
        assert grants.split(",")[0] == words.get(key.used_by, f"`{next(iter(key.used_by))}`")
        assert ("needed" in value) == bool(key.needed_by)


def test_the_examples_of_the_documentation_are_good() -> None:
    """What people copy works."""
    examples = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert config(example).profiles
        assert not config(example).warnings


def test_the_documented_mistakes_are_what_people_see() -> None:
    """The example of a wrong file and what is said about it belong together."""
    found = re.search(r"^```toml wrong\n(.*?)^```.*?^```text\n(.*?)\n```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    with pytest.raises(BadConfig) as caught:
        read_config([SourceFile("/home/me/.config/pmcred/profiles.toml", found[1], 0o600)], home="/home/me")
    assert str(caught.value) == found[2]
