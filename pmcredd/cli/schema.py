"""`pmcred profile schema`: the JSON Schema of profiles files, for editors; printed, or kept beside the profiles."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pmcredd.cli import files
from pmcredd.cli.problem import Problem, from_os_error
from pmcredd.cli.terminal import say
from pmcredd.paths import config_file

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to those of `pmcred profile`."""
    schema = verbs.add_parser("schema", help="the JSON Schema of profiles files, for editors")
    schema.add_argument(
        "--install",
        action="store_true",
        help="keep it beside the profiles, where the files that pmcred writes from then on name it",
    )
    schema.set_defaults(run=_schema)


def directive(environ: Mapping[str, str]) -> str:
    """Give the first lines of a profiles file, which name its schema; nothing if none is installed."""
    path = _place(environ)
    # The empty line: to Tombi, a comment right above a table is the table's.
    return f"{_line(path)}\n\n" if path.is_file() and str(path).isprintable() else ""


def _place(environ: Mapping[str, str]) -> Path:
    # A whole path: `pmcred profile edit` shows an editor a copy, elsewhere.
    return Path(os.path.abspath(config_file(environ))).with_name("profiles.schema.json")


def _line(path: Path) -> str:
    return f"#:schema {path}"


def _schema(args: argparse.Namespace) -> int:
    from pmcredd.profile_schema import ID, text  # here: the other verbs do not need it

    if not args.install:
        print(text(), end="")
        return 0
    path = _place(os.environ)
    _put(path, text(), mark=ID)
    say("For completion and checks in an editor, write this and an empty line at the top of each profiles file:")
    print(_line(path))
    return 0


def _put(path: Path, text: str, *, mark: str) -> None:
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if os.path.lexists(path) else None
    except OSError as error:
        raise from_os_error(f"read {path}", error) from None
    if before is not None and mark not in before:  # which every version of ours has in it
        raise Problem(f"{path} is none that pmcred wrote; it was not touched", "move it away")
    if before == text:
        say(f"{path} is as it should be.")
        return
    if before is None:
        files.write_new([(path, text)])
    else:
        files.replace(path, text, expected=before)
    say(f"Wrote {path}.")
