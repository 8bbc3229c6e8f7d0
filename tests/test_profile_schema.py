"""The JSON Schema of profiles files: it says what the reader says, and editors show it."""

import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from support.doc_pages import Block, blocks, pages
from support.language_server import Editor

from pmcredd import profile_schema
from pmcredd.profile_keys import (
    DAEMON_KEYS,
    DEFAULTS_KEYS,
    EVENT_COMMAND_KEYS,
    EVENT_KEYS,
    GRANTS,
    PROFILE_KEYS,
    SECRET_KEYS,
    SOURCES,
    Key,
    Kind,
)
from pmcredd.profile_reader import read_config
from pmcredd.profile_values import RANGES, Flaw, Place, read_value
from pmcredd.profiles import BadConfig, Grant, SourceFile, secret_flaw, valid_name

TREE = Path(__file__).parent.parent
COMMITTED = TREE / "docs" / "profiles.schema.json"
VALIDATOR = Draft7Validator(json.loads(profile_schema.text()))
PLACE = Place(folder="/home/me/.config/pmcred", home="/home/me")


def tool(name: str) -> str | None:
    """Find a program of the venv that the tests run in."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


TAPLO, TOMBI = tool("taplo"), tool("tombi")
needs_taplo = pytest.mark.skipif(TAPLO is None, reason="needs taplo")
needs_tombi = pytest.mark.skipif(TOMBI is None, reason="needs tombi")


def as_json(value: object) -> object:
    """Turn a value of TOML into JSON as editors do: dates become texts, and what JSON has no number for is null."""
    match value:
        case dict():
            return {name: as_json(each) for name, each in value.items()}
        case list():
            return [as_json(each) for each in value]
        case datetime() | date() | time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return None
    return value


def refused_by_schema(text: str) -> list[str]:
    """Say what the schema has against a file."""
    return [error.message for error in VALIDATOR.iter_errors(as_json(tomllib.loads(text)))]


def refused_by_reader(text: str) -> list[str]:
    """Say what the reader has against a file, alone and readable to nobody else."""
    try:
        read_config([SourceFile(f"{PLACE.folder}/profiles.toml", text, 0o600)], home=PLACE.home)
    except BadConfig as bad:
        return [str(one) for one in bad.mistakes]
    return []


# The schema itself


def test_it_is_a_schema() -> None:
    """Every validator of draft-07 can load it, and its name points to no host."""
    schema = json.loads(profile_schema.text())
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"] == "urn:pmcredd:profiles"


def test_the_committed_one_is_current() -> None:
    """Whoever changes a key is told how to write the schema anew."""
    assert COMMITTED.read_text() == profile_schema.text(), (
        "write it anew: pmcred profile schema > docs/profiles.schema.json"
    )


def tables() -> Iterator[tuple[Mapping[str, Key], Mapping[str, Any]]]:
    """Give each table of keys and what the schema has for it."""
    top = json.loads(profile_schema.text())["properties"]
    profile, daemon = top["profiles"]["additionalProperties"], top["daemon"]
    yield PROFILE_KEYS, profile["properties"]
    yield DEFAULTS_KEYS, top["defaults"]["properties"]
    yield DAEMON_KEYS, daemon["properties"]
    yield EVENT_KEYS, daemon["properties"]["on_event"]["properties"]
    yield EVENT_COMMAND_KEYS, daemon["properties"]["on_event"]["properties"]["renewed"]["properties"]
    yield SECRET_KEYS, profile["properties"]["token"]["properties"]


def test_every_key_is_explained_where_it_is_typed() -> None:
    """An editor shows for each key what the manual page says of it, and offers its values and its default."""
    for keys, properties in tables():
        assert list(properties) == list(keys)
        for name, key in keys.items():
            shown = properties[name]
            assert shown["description"].startswith(key.help)
            assert key.default in shown["description"]
            assert shown["examples"] == [tomllib.loads(f"v = {key.example}")["v"]]
            assert shown.get("enum", []) == list(key.choices)
            if key.kind in RANGES:
                assert (shown["minimum"], shown["maximum"]) == RANGES[key.kind]
    defaults = {
        name: shown["default"] for _, properties in tables() for name, shown in properties.items() if "default" in shown
    }
    assert defaults == {
        "generation": 4,
        "client_auth": "basic",
        "proxy": "none",
        "timeout": 60,
        "bridge": False,
        "storage": "disk",
        "log_level": "info",
        "token": False,
    }


# What both accept

URL, CLIENT = "https://acme.processmaker.net", {"client_id": "3", "client_secret": {"file": "/s"}}
WHOLE: Mapping[Grant, Mapping[str, Any]] = {
    Grant.PASSWORD: {"grant": "password", "url": URL, **CLIENT, "username": "u", "password": "s3cret"},
    Grant.AUTHORIZATION_CODE: {"grant": "authorization_code", "url": URL, **CLIENT},
    Grant.CLIENT_CREDENTIALS: {"grant": "client_credentials", "url": URL, **CLIENT},
    Grant.PERSONAL_ACCESS_TOKEN: {"grant": "personal_access_token", "url": URL, "token": {"env": "T"}},
}


def one(profile: Mapping[str, Any], **more: object) -> str:
    """Write a file with one profile."""
    return tomli_w.dumps({"profiles": {"x": {**profile, **more}}})


@pytest.mark.parametrize("name", PROFILE_KEYS)
@pytest.mark.parametrize("grant", Grant)
@pytest.mark.parametrize("generation", [3, 4])
def test_both_know_which_key_belongs_to_which_grant_and_generation(name: str, grant: Grant, generation: int) -> None:
    """For every key, grant and generation: with the key's example both accept the profile, or both refuse it."""
    profile = {"generation": generation, **({"workspace": "w"} if generation == 3 else {}), **WHOLE[grant]}
    if name == "client_key":
        profile["client_cert"] = "c.pem"
    if name not in {"grant", "generation"}:
        profile[name] = tomllib.loads(f"v = {PROFILE_KEYS[name].example}")["v"]
    text = one(profile)
    assert bool(refused_by_schema(text)) == bool(refused_by_reader(text))
    good = grant in GRANTS[generation] and (name in profile) <= PROFILE_KEYS[name].usable(grant, generation)
    assert bool(refused_by_reader(text)) != good


def read_alone(key: Key, value: object) -> bool:
    """Tell whether the reader takes this value for the key, whatever is beside it."""
    try:
        read_value(key, value, PLACE)
    except Flaw:
        return False
    return True


HOSTS = ["h", "Acme.Example", "h.example.", "10.0.0.1", "[::1]", "[0:0::2]", "b\u00fccher.example", "login", "a_b"]
PATHS = ["", "/", "//", "/pm", "/pm/x/", "/a%20b", "/~x;y=1,2", "/sy", "/api", "/logins", "/@:"]


def addresses(schemes: list[str], hosts: list[str], paths: list[str]) -> st.SearchStrategy[str]:
    """Give URLs of these parts, with all kinds of ports."""
    ports = st.sampled_from(["", ":", ":8443", ":0443", ":65535"])
    return st.builds("{}://{}{}{}".format, *map(st.sampled_from, (schemes, hosts)), ports, st.sampled_from(paths))


HERE = ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "[::1]", "[0:0:0::1]"]
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
WORDS = st.lists(st.text(max_size=5), min_size=1, max_size=3)
BY_KIND: Mapping[Kind, st.SearchStrategy[Any]] = {
    Kind.URL: addresses(["https", "HTTPS"], HOSTS, PATHS) | addresses(["http", "Http"], HERE, PATHS),
    Kind.PROXY: st.sampled_from(["none", "environment"]) | addresses(["http", "Https"], HOSTS, ["", "/", "//"]),
    Kind.TEXT: TEXTS,
    Kind.CLIENT_ID: PRINTABLE,
    Kind.WORKSPACE: st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    Kind.SCOPE: st.lists(st.text("!#[]aZ~:", min_size=1), min_size=1).map(" ".join),
    Kind.SERVER_PATH: st.text("aZ0._~!$&'()*+,;=:@%/-", max_size=9).map("/{}".format),
    Kind.REDIRECT_URI: st.builds("http://127.0.0.1{}{}".format, st.sampled_from(["", ":1", ":65535"]), st.just("/c/")),
    Kind.FILE: TEXTS | st.sampled_from(["~", "~/x", "/x", "./x y", "x~", "\u00e4"]),
    Kind.VARIABLE: st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    Kind.CREDENTIAL: PRINTABLE,
    Kind.COMMAND: WORDS,
    Kind.YES_OR_NO: st.booleans(),
    **{kind: st.integers(*span) | st.floats(*span) for kind, span in RANGES.items()},
}
SECRETS = (st.text(min_size=1, max_size=20) | st.sampled_from(["a b", "p\u00a0q", "x" * 300])).filter(
    lambda text: secret_flaw(text) is None
)


@cache
def values(key: Key) -> st.SearchStrategy[Any]:
    """Give what the reader takes for this key."""
    match key.kind:
        case Kind.CHOICE:
            return st.sampled_from(key.choices)
        case Kind.SECRET:
            return st.one_of(SECRETS, *map(secret_tables, SOURCES))
        case Kind.EVENTS:
            return some(EVENT_KEYS, [])
        case Kind.EVENT_COMMAND:
            return values(EVENT_COMMAND_KEYS["command"]) | some(EVENT_COMMAND_KEYS, ["command"])
    return BY_KIND[key.kind].filter(lambda value: read_alone(key, value))


def some(keys: Mapping[str, Key], needed: Iterable[str]) -> st.SearchStrategy[Mapping[str, object]]:
    """Give tables with the needed keys, and with some of the others."""
    return st.fixed_dictionaries(
        {name: values(keys[name]) for name in needed},
        optional={name: values(key) for name, key in keys.items() if name not in needed},
    )


def secret_tables(source: str) -> st.SearchStrategy[Mapping[str, object]]:
    """Give tables that say where a secret is: there, with all that may stand beside it."""
    beside = {name: key for name, key in SECRET_KEYS.items() if name == source or source in key.beside}
    return some(beside, {source, *SECRET_KEYS[source].beside})


@st.composite
def files(draw: st.DrawFn) -> str:
    """Draw a profiles file with no mistake in it, out of the table of the keys."""
    defaults = dict(draw(some(DEFAULTS_KEYS, [])))
    profiles = {}
    for name in draw(st.sets(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), max_size=3)):
        grant, generation = draw(st.sampled_from(sorted((g, n) for n, grants in GRANTS.items() for g in grants)))
        keys = {each: key for each, key in PROFILE_KEYS.items() if key.usable(grant, generation)}
        told = {"grant": str(grant), "generation": generation}
        needed = [each for each, key in keys.items() if key.needed(grant, generation) and each not in told]
        profile = {**draw(some({n: k for n, k in keys.items() if n not in told}, needed)), **told}
        for each in draw(st.sets(st.sampled_from(sorted(DEFAULTS_KEYS)))):
            inherited = defaults.get(each, 4 if each == "generation" else None)
            if inherited is not None and inherited == told.get(each, inherited):
                profile.pop(each, None)
        effective = {**defaults, **profile}
        if "client_key" in effective and "client_cert" not in effective:
            profile["client_cert"] = "c.pem"
        if effective.get("client_auth", "basic") == "basic" and "client_id" in profile:
            profile["client_id"] = str(profile["client_id"]).replace(":", "x")
        profiles[name] = profile
    daemon = draw(some(DAEMON_KEYS, []))
    return tomli_w.dumps({"daemon": daemon, "defaults": defaults, "profiles": profiles})


@given(files())
def test_what_the_reader_accepts_the_schema_accepts(text: str) -> None:
    """An editor that underlines what is right teaches its user to look away."""
    assert refused_by_reader(text) == []
    assert refused_by_schema(text) == []


@given(st.text(max_size=70) | st.from_regex(r"[A-Za-z0-9._-]{1,66}", fullmatch=True))
def test_a_name_that_the_reader_accepts_the_schema_accepts(name: str) -> None:
    """Whatever the name of a profile is."""
    text = tomli_w.dumps({"profiles": {name: WHOLE[Grant.PASSWORD]}})
    assert bool(refused_by_schema(text)) <= (not valid_name(name))


# What both refuse

PASSWORD, TOKEN = WHOLE[Grant.PASSWORD], WHOLE[Grant.PERSONAL_ACCESS_TOKEN]


def without(profile: Mapping[str, Any], name: str) -> str:
    """Write a file with a profile that lacks this key."""
    return one({each: value for each, value in profile.items() if each != name})


def secret(**table: object) -> str:
    """Write a file with a profile whose secret this is."""
    return one(TOKEN, token=table)


WRONG: Mapping[str, str] = {
    # keys
    "an unknown key": one(PASSWORD, usrname="x"),
    "an unknown table": "[demon]\nstorage = 'disk'\n",
    "a profile outside of profiles": tomli_w.dumps({"prod": PASSWORD}),
    "a key outside of a profile": "[profiles]\nurl = 'https://h'\n",
    "an unknown key of the daemon": "[daemon]\nstorge = 'disk'\n",
    "an unknown default": "[defaults]\ntimout = 5\n",
    "a default that belongs to one profile": "[defaults]\nclient_id = '3'\n",
    "a secret among the defaults": "[defaults]\npassword = 's'\n",
    "an unknown event": "[daemon.on_event]\nneeds_login = ['x']\n",
    "a name with a space": tomli_w.dumps({"profiles": {"a b": PASSWORD}}),
    "a name that is too long": tomli_w.dumps({"profiles": {"a" * 65: PASSWORD}}),
    "a dot that is not quoted": "[profiles.acme.prod]\nurl = 'https://h'\ngrant = 'password'\n",
    "an array of profiles": "[[profiles]]\nurl = 'https://h'\n",
    # keys that the grant or the generation wants, or does not want
    "no username": without(PASSWORD, "username"),
    "no password": without(PASSWORD, "password"),
    "no client_id": without(PASSWORD, "client_id"),
    "no client_secret": without(WHOLE[Grant.CLIENT_CREDENTIALS], "client_secret"),
    "no token": without(TOKEN, "token"),
    "a username without use": one(TOKEN, username="u"),
    "a user of nobody": one(WHOLE[Grant.CLIENT_CREDENTIALS], expect_user="u"),
    "a token of ProcessMaker 3": one(TOKEN, generation=3, workspace="w"),
    "a workspace of ProcessMaker 4": one(PASSWORD, generation=4, workspace="w"),
    "a margin on ProcessMaker 3": one(WHOLE[Grant.AUTHORIZATION_CODE], generation=3, workspace="w", renew_margin=60),
    # types
    "a number for a text": one(PASSWORD, client_id=3),
    "a boolean for a text": one(PASSWORD, username=True),
    "an array for a text": one(PASSWORD, username=["u"]),
    "a text for a number": one(PASSWORD, timeout="30s"),
    "a boolean for a number": one(PASSWORD, timeout=True),
    "a text for a boolean": one(PASSWORD, bridge="yes"),
    "a text for a choice of numbers": one(PASSWORD, generation="4"),
    "a number that is none of the choices": one(PASSWORD, generation=5),
    "a word that is none of the choices": one(PASSWORD, grant="pasword"),
    "a number for a secret": one(TOKEN, token=42),
    "an array for a secret": one(TOKEN, token=["pass"]),
    "a text for a command": secret(command="pass show x"),
    "a number in a command": secret(command=["pass", 1]),
    "an empty command": secret(command=[]),
    "a text for a table": "daemon = 'disk'\n",
    # values
    "an empty text": one(PASSWORD, username=""),
    "a space at the end": one(PASSWORD, username="u "),
    "a control character": one(PASSWORD, username="a\x00b"),
    "a client id that is not ASCII": one(PASSWORD, client_id="\u00e4"),
    "no timeout at all": one(PASSWORD, timeout=0),
    "a long timeout": one(PASSWORD, timeout=600.5),
    "no end of a timeout": one(PASSWORD, timeout=math.inf),
    "no number for a timeout": one(PASSWORD, timeout=math.nan),
    "a short margin": one(WHOLE[Grant.AUTHORIZATION_CODE], renew_margin=9),
    "plain http": one(PASSWORD, url="http://acme.processmaker.net"),
    "plain http to what looks like this machine": one(PASSWORD, url="http://localhost.example"),
    "another scheme": one(PASSWORD, url="ftp://h"),
    "no scheme": one(PASSWORD, url="acme.processmaker.net"),
    "a password in the address": one(PASSWORD, url="https://u:p@h"),
    "a query in the address": one(PASSWORD, url="https://h/?a=b"),
    "the address of a page": one(PASSWORD, url="https://h/login"),
    "the address of the API": one(PASSWORD, url="https://h/pm/api/1.0/users"),
    "a space in the address": one(PASSWORD, url="https://h/a b"),
    "a proxy with a path": one(PASSWORD, proxy="http://p/x"),
    "a proxy with a password": one(PASSWORD, proxy="http://u:p@p"),
    "a relative path of the server": one(PASSWORD, token_path="oauth"),
    "two spaces between scopes": one(PASSWORD, scope="a  b"),
    "a redirect to somebody else": one(WHOLE[Grant.AUTHORIZATION_CODE], redirect_uri="http://localhost/cb"),
    "a workspace that is a path": one(PASSWORD, generation=3, workspace="a/b"),
    "the home of somebody else": one(PASSWORD, ca_file="~bob/x"),
    # secrets
    "an empty secret": one(TOKEN, token=""),
    "a space before a secret": one(TOKEN, token=" s"),
    "two sources": secret(file="/t", env="T"),
    "no source": secret(),
    "a timeout of nothing": secret(timeout=5),
    "a timeout of a file": secret(file="/t", timeout=5),
    "a username of a file": secret(file="/t", username="u"),
    "a keyring without a username": secret(keyring="k"),
    "an unknown source": secret(vault="t"),
    "a variable with a dollar": secret(env="$T"),
    "a credential that is a path": secret(credential="/t"),
    "an event without a command": "[daemon.on_event]\nrenewed = {}\n",
    "an event with an empty command": "[daemon.on_event]\nrenewed = []\n",
    "an event with an unknown key": "[daemon.on_event]\nrenewed = { command = ['x'], tokn = true }\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_both_refuse_a_mistake(name: str) -> None:
    """What the daemon would refuse is underlined while it is typed."""
    assert refused_by_reader(WRONG[name])
    assert refused_by_schema(WRONG[name])


# What stands in [defaults] may stand there in another file; JSON has neither dates nor integers; a regular expression
# knows no Unicode, no ports and no addresses; a schema sees no other file, no mode, and no key beside another.
FOR_THE_READER: Mapping[str, str] = {
    "no url": without(PASSWORD, "url"),
    "no grant": without(PASSWORD, "grant"),
    "no workspace": one(PASSWORD, generation=3),
    "a workspace without a generation": one(PASSWORD, workspace="w"),
    "what the grant of the defaults does not use": "[defaults]\ngrant = 'personal_access_token'\n"
    + without(PASSWORD, "grant"),
    "a key without its certificate": one(PASSWORD, client_key="k.pem"),
    "a colon in HTTP Basic": one(PASSWORD, client_id="a:b"),
    "a date for a text": one(PASSWORD, username=date(2026, 11, 23)),
    "a float for a choice of integers": one(PASSWORD, generation=4.0),
    "an invisible character": one(PASSWORD, username="a\u200bb"),
    "an empty program": secret(command=[""]),
    "a port out of range": one(PASSWORD, url="https://h:99999"),
    "an empty part of a host": one(PASSWORD, url="https://a..b"),
    "dots in an address": one(PASSWORD, url="https://h/a/../b"),
    "dots in a path of the server": one(PASSWORD, token_path="/a/../b"),
    "an IPv6 address of another machine": one(PASSWORD, url="http://[::2]"),
    "a credential that is a directory": secret(credential=".."),
}


@pytest.mark.parametrize("name", FOR_THE_READER)
def test_the_rest_is_for_the_reader(name: str) -> None:
    """What the schema cannot know is known: `pmcredd --check` has the last word."""
    assert refused_by_reader(FOR_THE_READER[name])
    assert refused_by_schema(FOR_THE_READER[name]) == []


def test_what_only_all_files_together_show_is_for_the_reader() -> None:
    """The same name twice, [daemon] in a file of profiles.d, and a secret that others can read."""
    literal = one(PASSWORD)
    assert refused_by_schema(literal) == []
    assert refused_by_schema("[daemon]\n") == []
    for group in (
        [SourceFile("/a", literal, 0o600), SourceFile("/b", literal, 0o600)],
        [SourceFile("/a", "[daemon]\n", 0o600, ours=True)],
        [SourceFile("/a", literal, 0o644)],
    ):
        with pytest.raises(BadConfig):
            read_config(group, home="/h")


@pytest.mark.parametrize("value", [1, 30, 30.0, 2.5, 600, 1e2])
def test_an_integer_is_a_number_and_so_is_a_float(value: float) -> None:
    """TOML tells 30 from 30.0; who writes a timeout does not."""
    text = one(PASSWORD, timeout=value)
    assert (refused_by_reader(text), refused_by_schema(text)) == ([], [])


# The documentation


def documented() -> Iterator[tuple[str, Block]]:
    """Give each block of the documentation that holds profiles, or says that it does."""
    for page in [*pages(), *sorted((TREE / "man").glob("*.md"))]:
        for block in blocks(page):
            holds = any(
                line.strip().startswith(("[profiles.", "[daemon", "[defaults")) for line in block.text.splitlines()
            )
            if block.language in {"toml", "toml wrong"} or (block.language in {"", "text"} and holds):
                yield f"{page.relative_to(TREE)}:{block.line}", block


EXAMPLES = dict(documented())


def test_the_examples_are_found() -> None:
    """Nobody has written them in a way that the tests below pass by."""
    found = {where.partition(":")[0] for where in EXAMPLES}
    assert {
        "docs/profiles.md",
        "docs/events.md",
        "docs/login.md",
        "docs/recipes.md",
        "man/pmcred-profiles.5.md",
    } <= found
    assert [block.language for block in EXAMPLES.values()].count("toml wrong") >= 1


@pytest.mark.parametrize("where", EXAMPLES)
def test_the_examples_of_the_documentation_are_what_they_say(where: str) -> None:
    """What people copy is accepted by both; what is shown as wrong is refused by both."""
    block = EXAMPLES[where]
    text = textwrap.dedent(block.text)
    wrong = block.language == "toml wrong"
    assert bool(refused_by_schema(text)) == wrong
    assert bool(refused_by_reader(completed(text))) == wrong


def completed(text: str) -> str:
    """Fill in what an example leaves out that shows one key, such as `bridge = true`."""
    document = tomllib.loads(text)
    for profile in document.get("profiles", {}).values():
        if "grant" not in profile and "url" not in profile:
            profile.update(WHOLE[Grant.PASSWORD])
    return tomli_w.dumps(document)


# Editors


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """The schema, installed."""
    path = tmp_path / "profiles.schema.json"
    path.write_text(profile_schema.text())
    return path


GOOD: Mapping[str, str] = {
    **{where: textwrap.dedent(block.text) for where, block in EXAMPLES.items() if block.language != "toml wrong"},
    **{f"{grant}": one(profile) for grant, profile in WHOLE.items()},
    "this machine": one(PASSWORD, url="HTTP://LocalHost:8080/pm/"),
    "an address in full": one(PASSWORD, url="https://b\u00fccher.example:8443/pm%20x/"),
    "a timeout in halves": one(PASSWORD, timeout=2.5),
}


# Each checks the file that it is given, by the line that names the schema.
CHECKERS = {
    "taplo": [TAPLO, "check", "--no-auto-config"],
    "tombi": [TOMBI, "lint", "--offline", "--error-on-warnings"],
}


@pytest.mark.storm
@pytest.mark.parametrize(
    "checker", [pytest.param("taplo", marks=needs_taplo), pytest.param("tombi", marks=needs_tombi)]
)
def test_the_checkers_of_editors_say_the_same(checker: str, tmp_path: Path, schema: Path) -> None:
    """What is behind the editors' extensions has no word against a good file, and refuses each wrong one."""
    command = [word for word in CHECKERS[checker] if word]
    for name, text in {**GOOD, **WRONG}.items():
        file = tmp_path / "profiles.toml"
        file.write_text(f"#:schema {schema}\n\n{text}")
        ran = subprocess.run([*command, str(file)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) == (name in GOOD), (name, ran.stdout, ran.stderr)


TYPED = """\
#:schema {schema}

[profiles.prod]
url = "https://acme.processmaker.net"
grant = ""
client_secret = {{ }}
timeout = 30

[profiles.report]
grant = "personal_access_token"
tokn = {{ file = "~/x" }}
"""


@needs_tombi
def test_an_editor_offers_keys_and_values_and_underlines_a_mistake(tmp_path: Path, schema: Path) -> None:
    """What docs/profiles.md promises, at the places where somebody types."""
    assert TOMBI is not None
    file = tmp_path / "profiles.toml"
    file.write_text(TYPED.format(schema=schema))
    lines = file.read_text().splitlines()
    with Editor([TOMBI, "lsp", "--offline"], tmp_path) as editor:
        underlined = {(one["range"]["start"]["line"], one["message"]) for one in editor.open(file)}
        assert (lines.index('tokn = { file = "~/x" }'), '"tokn" is not allowed') in underlined
        assert (lines.index("[profiles.report]"), '"token" is required') in underlined

        grants = editor.completions(file, lines.index('grant = ""'), len('grant = "'))
        assert {f'"{grant}"' for grant in Grant} <= set(grants)

        keys = editor.completions(file, lines.index("timeout = 30") + 1, 0)
        assert set(PROFILE_KEYS) - {"url", "grant", "client_secret", "timeout"} <= set(keys)
        assert all(keys[name].startswith(PROFILE_KEYS[name].help) for name in PROFILE_KEYS if name in keys)

        sources = editor.completions(file, lines.index("client_secret = { }"), len("client_secret = { "))
        assert set(SOURCES) <= set(sources)
        assert sources["keyring"].startswith(SECRET_KEYS["keyring"].help)

        told = editor.hover(file, lines.index('grant = "personal_access_token"'), 2)
        assert told.startswith(PROFILE_KEYS["grant"].help)
        assert "authorization_code" in told
        assert editor.hover(file, lines.index("timeout = 30"), 2).startswith(PROFILE_KEYS["timeout"].help)
