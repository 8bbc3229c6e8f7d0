"""What a command is told of an instance: the variables of its environment, and the same as lines for a shell. No I/O.

Beside our own names there are those that ProcessMaker 4 gives its script tasks, with what it puts into them:

    API_TOKEN       a token of the user that the script runs as
    API_HOST        the API's base, HOST_URL/api/1.0, without a slash at its end
    HOST_URL        the instance as its script containers reach it, without a slash at its end
    APP_URL         the same as HOST_URL
    API_SSL_VERIFY  1, or 0 where the instance is told not to verify certificates, for development

(ProcessMaker/ScriptRunners/Base.php of ProcessMaker 4; its bootstraps for PHP and JavaScript read no others.)
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

URL = "PROCESSMAKER_URL"
TOKEN = "PROCESSMAKER_TOKEN"  # noqa: S105 - a name
TOKEN_FD = "PROCESSMAKER_TOKEN_FD"  # noqa: S105
GOOD_UNTIL = "PROCESSMAKER_TOKEN_GOOD_UNTIL"

OURS = (URL, TOKEN, TOKEN_FD, GOOD_UNTIL)
"""All our names. Where one is not told, none of an outer command's may be left: it would belong to another token."""

SCRIPT_TASK = ("API_TOKEN", "API_HOST", "HOST_URL", "APP_URL", "API_SSL_VERIFY")


class Shell(StrEnum):
    """Whose syntax is written; bash and zsh read that of sh."""

    SH = "sh"
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def told(url: str, token: str, good_until: int | None) -> dict[str, str]:
    """Give our variables; `good_until` is the unix time until which the token is not replaced, None for unknown."""
    return {URL: url, TOKEN: token} | _until(good_until)


def told_by_descriptor(url: str, descriptor: int, good_until: int | None) -> dict[str, str]:
    """Give our variables for a command that reads the token from a descriptor."""
    return {URL: url, TOKEN_FD: str(descriptor)} | _until(good_until)


def script_task(url: str, token: str) -> dict[str, str]:
    """Give the variables of a script task; certificates are verified, always."""
    return dict(zip(SCRIPT_TASK, (token, f"{url}/api/1.0", url, url, "1"), strict=True))


def of_command(parent: Mapping[str, str], withhold: Collection[str]) -> dict[str, str]:
    """Give what a command gets of its parent's environment: nothing that we have set, and no name in `withhold`."""
    without = {*_set_by_us(parent), *withhold}
    return {name: value for name, value in parent.items() if name not in without}


def stale(parent: Mapping[str, str], added: Mapping[str, str]) -> tuple[str, ...]:
    """Name what we have set in `parent` and would stay, beside `added`."""
    return tuple(name for name in _set_by_us(parent) if name in parent and name not in added)


def set_line(shell: Shell, name: str, value: str) -> str:
    """Write the command that sets and exports a variable, whatever the value holds (NUL apart, which none can)."""
    if shell is Shell.FISH:
        # Within single quotes of fish, a backslash quotes a single quote and itself.
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}'"
    escaped = value.replace("'", "'\\''")
    return f"export {name}='{escaped}'"


def unset_line(shell: Shell, name: str) -> str:
    """Write the command that takes a variable away; it does no harm where there is none."""
    # fish: without a scope only the innermost one would go.
    return f"set -eg {name}" if shell is Shell.FISH else f"unset {name}"


def _set_by_us(parent: Mapping[str, str]) -> tuple[str, ...]:
    # A script task's names are common ones: they are ours only where they came with our own token.
    ours = TOKEN in parent and parent[TOKEN] == parent.get("API_TOKEN")
    return OURS + SCRIPT_TASK if ours else OURS


def _until(good_until: int | None) -> dict[str, str]:
    return {} if good_until is None else {GOOD_UNTIL: str(good_until)}
