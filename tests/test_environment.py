"""pmcredd.environment: what a command is told, and that real shells read it as it was meant."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmcredd.environment import (
    OURS,
    Shell,
    of_command,
    script_task,
    set_line,
    stale,
    told,
    told_by_descriptor,
    unset_line,
)

SHELLS = {"sh": ["sh"], "bash": ["bash"], "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}
# Anything that an environment can hold: no NUL, and nothing that is no UTF-8.
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def test_a_script_task_is_told_what_processmaker_4_tells_it() -> None:
    """The API's base ends without a slash, the token stands alone, and certificates are verified."""
    assert script_task("https://acme.example/pm", "tok") == {
        "API_TOKEN": "tok",
        "API_HOST": "https://acme.example/pm/api/1.0",
        "HOST_URL": "https://acme.example/pm",
        "APP_URL": "https://acme.example/pm",
        "API_SSL_VERIFY": "1",
    }


def test_nothing_is_told_that_is_not_known() -> None:
    """A token whose end nobody knows has no GOOD_UNTIL, and one that is handed over by descriptor is not told."""
    assert told("https://a", "tok", None) == {"PROCESSMAKER_URL": "https://a", "PROCESSMAKER_TOKEN": "tok"}
    assert told_by_descriptor("https://a", 3, 1_800_000_000) == {
        "PROCESSMAKER_URL": "https://a",
        "PROCESSMAKER_TOKEN_FD": "3",
        "PROCESSMAKER_TOKEN_GOOD_UNTIL": "1800000000",
    }


def test_what_an_outer_command_was_told_does_not_stay() -> None:
    """A token of staging beside the URL of prod would be sent to prod; the rest of the environment is left alone."""
    outer = dict.fromkeys(OURS, "staging") | {
        "PM_PASSWORD": "hunter2",
        "PROCESSMAKER_TIMEOUT": "5",
        "HOME": "/home/pat",
    }
    assert of_command(outer, {"PM_PASSWORD"}) == {"PROCESSMAKER_TIMEOUT": "5", "HOME": "/home/pat"}
    assert stale(outer, told("https://a", "tok", None)) == ("PROCESSMAKER_TOKEN_FD", "PROCESSMAKER_TOKEN_GOOD_UNTIL")


def test_what_an_outer_script_task_was_told_does_not_stay_either() -> None:
    """It holds the same token; under those common names, what somebody has set himself is left alone."""
    outer = told("https://a", "staging", None) | script_task("https://a", "staging")
    assert of_command(outer, ()) == {}
    assert stale(outer, told("https://b", "tok", None)) == tuple(script_task("", ""))
    own = outer | {"API_TOKEN": "of another service"}
    assert of_command(own, ()) == script_task("https://a", "of another service")
    assert stale(own, told("https://b", "tok", None)) == ()


@pytest.mark.parametrize("shell", list(Shell))
@settings(max_examples=15)
@given(values=st.lists(VALUES, min_size=1, max_size=40))
def test_no_value_means_anything_to_a_shell(shell: Shell, values: list[str]) -> None:
    """Quotes, backslashes, newlines, $(commands) and stars arrive in a child's environment as they were."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    lines = [set_line(shell, f"V{number}", value) for number, value in enumerate(values)]
    script = "\n".join([*lines, unset_line(shell, "GONE"), unset_line(shell, "V_NEVER_THERE"), "env -0"])
    ran = subprocess.run(
        [*SHELLS[shell]],
        input=script.encode(),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "GONE": "x"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    found = dict(line.split("=", 1) for line in ran.stdout.decode().split("\0") if line)
    assert ran.stderr == b""
    assert [found[f"V{number}"] for number in range(len(values))] == values
    assert "GONE" not in found
