"""What a profile's name and a secret's text may be, and which variables hold secrets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.profile_files import PASSWORD, TOKEN, config

from pmcredd.profiles import (
    secret_flaw,
    secret_variables,
    valid_name,
)


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


def test_the_variables_that_hold_secrets_are_known() -> None:
    """So that no command inherits them."""
    env = PASSWORD.replace('{ file = "/s" }', '{ env = "S" }').replace('{ file = "/p" }', '{ env = "P" }')
    read = config(f"[profiles.a]\n{env}[profiles.b]\n{TOKEN}")
    assert secret_variables(read.profiles.values()) == {"S", "P"}
