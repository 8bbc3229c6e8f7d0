"""The table of the keys agrees with itself, with the types, with its own examples and with docs/profiles.md."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from support.profile_files import CLIENT_CREDENTIALS, CODE, PASSWORD, TOKEN, config, profile, token

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
    EventName,
    Grant,
    Profile,
    Settings,
    SourceFile,
)

DOCS = Path(__file__).parent.parent / "docs" / "profiles.md"


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
