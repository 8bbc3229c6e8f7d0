"""Where this installation's commands are, for those who write that down somewhere."""

import os
import sys
import sysconfig
from pathlib import Path

from pmcredd.cli.problem import Problem


def commands(*names: str, then: str) -> Path:
    """Give the directory in which all the commands of these names are; `then` is what the user wants to do with it.

    Raises:
        Problem: there is none, or it may vanish at any time.

    """
    for directory in (Path(sys.argv[0]).absolute().parent, Path(sysconfig.get_path("scripts"))):
        if all(os.access(directory / name, os.X_OK) for name in names):
            break
    else:
        listed = " and ".join(names)
        raise Problem(
            f"{listed} {'are' if len(names) > 1 else 'is'} not in {directory}",
            "install the package: uv tool install pmcredd, or pipx",
        )
    for parent in directory.parents:
        if (parent / "CACHEDIR.TAG").exists():
            raise Problem(
                f"this pmcred is in a cache ({parent}) that may be emptied at any time",
                f"uv tool install pmcredd, then: {then}",
            )
    return directory
