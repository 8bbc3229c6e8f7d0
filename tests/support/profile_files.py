"""Profiles files as texts: one profile of each grant, and how a text is read, or found to be wrong."""

import pytest

from pmcredd.profile_reader import read_config
from pmcredd.profiles import (
    BadConfig,
    Config,
    Mistake,
    Profile,
    SourceFile,
)

CANARY = "hunter2-canary"
MAIN = "/home/me/.config/pmcred/profiles.toml"
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
