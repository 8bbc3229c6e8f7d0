"""Changing a profile in the user's editor: on a copy, which replaces the file only if all profiles are then right."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pmcredd.cli import files, validate
from pmcredd.cli.problem import Problem, from_os_error
from pmcredd.cli.questions import confirm, interactive
from pmcredd.cli.terminal import clean, say
from pmcredd.profiles import BadConfig


def edit(environ: Mapping[str, str], name: str) -> Path | None:
    """Let the user change the file in which profile `name` stands; give that file if it was replaced.

    Raises:
        Problem: there is no such profile, the editor fails, or the result is wrong and is not to be edited again. The
            file is then as it was, and the message names the copy that holds the changes.

    """
    checker = validate.Checker.of(environ)
    file = checker.file_of(name)
    path, mode = Path(file.path), file.mode
    before = path.read_text(encoding="utf-8")
    copy = _copy(environ, path.name, before)
    done = False
    try:
        while True:
            _open_editor(environ, copy)
            after = _read(copy)
            if after == before:
                say("Nothing was changed.")
                done = True
                return None
            mistakes = _mistakes(checker, name, path, after, mode)
            if not mistakes:
                files.replace(path, after, expected=before)
                say(f"Replaced {path}.")
                done = True
                return path
            say("This cannot be used:")
            for line in mistakes:
                say(f"  {clean(line)}")
            if not (interactive() and confirm("Edit it again?", default=True)):
                raise Problem(f"{path} is as it was", exit_status=6)
    finally:
        if done or not _worth_keeping(copy, before):
            shutil.rmtree(copy.parent, ignore_errors=True)  # with what the editor may have left beside it
        else:
            say(f"What you wrote is in {copy}")


def _copy(environ: Mapping[str, str], name: str, text: str) -> Path:
    # It may hold secrets: best in memory, where $XDG_RUNTIME_DIR is; mkdtemp's directory is 0700 in any case.
    runtime = environ.get("XDG_RUNTIME_DIR")
    try:
        directory = tempfile.mkdtemp(prefix="pmcred-edit-", dir=runtime if runtime and os.path.isdir(runtime) else None)
        copy = Path(directory, name)
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise from_os_error("make a copy to edit", error) from None
    return copy


def _open_editor(environ: Mapping[str, str], copy: Path) -> None:
    command = environ.get("VISUAL") or environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(command), str(copy)], check=False)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # without the number and the name once more
        raise Problem(f"cannot start the editor {command}: {why}", "set VISUAL or EDITOR") from None
    if ended.returncode:
        raise Problem(f"the editor {command} failed (status {ended.returncode}); the profile is as it was")


def _mistakes(checker: validate.Checker, name: str, path: Path, text: str, mode: int) -> list[str]:
    try:
        text.encode()
    except UnicodeEncodeError:
        return ["it is not UTF-8"]
    try:
        config = checker.with_text(path, text, mode=mode)
    except BadConfig as bad:
        return [str(one) for one in bad.mistakes]
    if path.stem == name and name not in config.profiles:
        # A file of pmcred's own: what it is called says whose it is, and `profile remove` goes by that.
        return [f"[profiles.{name}] is gone from {path.name}; for another name: pmcred profile add, then remove {name}"]
    return []


def _read(copy: Path) -> str:
    try:
        return copy.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise from_os_error("read what was edited", error) from None


def _worth_keeping(copy: Path, text: str) -> bool:
    try:
        return _read(copy) != text
    except Problem:
        return False
