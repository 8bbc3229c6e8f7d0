"""Where the socket, the profiles and the state live: environment in, paths out; shared by daemon, CLI and client."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as a caller may give it."""

NO_HOME = Path("/nonexistent")
"""What all is below for who has no home directory: a container's uid that nobody entered, without $HOME."""


def socket_candidates(environ: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Give the socket paths to try, best first.

    The caller takes the first one whose directory is its own. Nothing under /tmp is ever among them unless
    $PMCRED_SOCKET says so: anybody could have made the directory there first.
    """
    if named := environ.get("PMCRED_SOCKET"):
        return (Path(named),)
    found = []
    if (runtime := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        found.append(Path(runtime, "pmcred", "socket"))
    found.append(Path(f"/run/user/{uid}/pmcred/socket"))
    found.append(state_dir(environ) / "run" / "socket")
    return tuple(dict.fromkeys(found))


def config_file(environ: Mapping[str, str]) -> Path:
    """Give the user's own profiles file: $PMCRED_CONFIG, else profiles.toml in the configuration directory."""
    if named := environ.get("PMCRED_CONFIG"):
        return Path(named)
    return _base(environ, "XDG_CONFIG_HOME", "user_config_path") / "profiles.toml"


def profiles_dir(environ: Mapping[str, str]) -> Path:
    """Give the directory of the files that `pmcred` writes, one a profile: profiles.d beside the profiles file."""
    return config_file(environ).parent / "profiles.d"


def state_dir(environ: Mapping[str, str]) -> Path:
    """Give the directory of what must outlive the process: $PMCRED_STATE_DIR, else pmcred in the user's state home."""
    if named := environ.get("PMCRED_STATE_DIR"):
        return Path(named)
    return _base(environ, "XDG_STATE_HOME", "user_state_path")


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG base directory specification: a relative path in such a variable is to be ignored.
    if (home := environ.get(variable, "")).startswith("/"):
        return Path(home, "pmcred")
    import platformdirs  # here: the daemon's start and every `get` would pay for it otherwise

    try:
        path: Path = getattr(platformdirs, fallback)("pmcred")
    except RuntimeError:  # older versions give a path below a directory named ~, wherever the job happens to stand
        return NO_HOME / "pmcred"
    return path if path.is_absolute() else NO_HOME / "pmcred"
