"""Wrong profiles files: every mistake is told with its key and the mend, and none with a secret."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.profile_files import CANARY, MAIN, PASSWORD, TOKEN, URL, beside, config, main, mistake, mistakes, token

from pmcredd.profile_keys import (
    DAEMON_KEYS,
    EVENT_COMMAND_KEYS,
    EVENT_KEYS,
    PROFILE_KEYS,
    SECRET_KEYS,
)
from pmcredd.profile_reader import read_config
from pmcredd.profiles import (
    BadConfig,
    Config,
    Mistake,
    SourceFile,
    valid_name,
)
from pmcredd.urls import parse_url


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
