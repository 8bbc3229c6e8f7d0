"""How right profiles files become profiles: every value lands where it belongs."""

import pytest
from support.profile_files import (
    CANARY,
    CLIENT,
    CLIENT_CREDENTIALS,
    CODE,
    PASSWORD,
    TOKEN,
    URL,
    beside,
    config,
    main,
    mistakes,
    profile,
    token,
)

from pmcredd.profiles import (
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
    Profile,
    Settings,
    Storage,
)
from pmcredd.secret import Secret


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
