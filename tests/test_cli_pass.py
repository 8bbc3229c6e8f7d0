"""A secret in `pass`, whose key needs a passphrase: asked for on the terminal of `pmcred init`, and then unlocked."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pseudo_terminal import PseudoTerminal
from support.user import PMCRED, User

from pmcredd import secret_sources
from pmcredd.profiles import CommandSecret

MISSING = [name for name in ("pass", "gpg", "gpgconf", "pinentry-tty") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

SHOW = CommandSecret(("pass", "show", "pm/prod"))


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """The variables that lead to a password store with one secret in it; its agent has forgotten the passphrase."""
    with tempfile.TemporaryDirectory(prefix="pm") as folder:  # not tmp_path: a socket's path must be short
        home, store = Path(folder, "g"), Path(folder, "s")
        home.mkdir(mode=0o700)
        (home / "gpg-agent.conf").write_text(
            f"pinentry-program {shutil.which('pinentry-tty')}\nallow-loopback-pinentry\n"
        )
        variables = {"GNUPGHOME": str(home), "PASSWORD_STORE_DIR": str(store)}
        environ = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C.UTF-8", **variables}

        def run(*argv: str, text: str = "") -> None:
            subprocess.run(argv, env=environ, input=text, text=True, check=True, capture_output=True, timeout=60)

        loopback = ("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "open sesame")
        run(*loopback, "--quick-gen-key", "me@example.org", "future-default", "default", "never")
        run("pass", "init", "me@example.org")
        run("pass", "insert", "-m", "pm/prod", text="s3cret\n")
        run("gpgconf", "--kill", "gpg-agent")
        try:
            yield variables
        finally:
            run("gpgconf", "--kill", "gpg-agent")


async def test_a_locked_key_is_asked_for_where_the_person_is_and_then_serves(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """While init runs the passphrase is typed on its terminal; the agent then serves commands that have none."""
    daemons = {**os.environ, **environ}
    daemons.pop("GPG_TTY", None)
    with pytest.raises(secret_sources.SecretUnavailable):
        await secret_sources.read(SHOW, environ=daemons)
    user = User(tmp_path / "user")
    user.home.mkdir()
    flags = ("--url", "https://h.example", "--no-test", "--name", "p", "--generation", "3", "--client-id", "3")
    command = [PMCRED, "init", *flags, "--grant", "client_credentials"]
    with PseudoTerminal(command, user.environ | environ) as terminal:
        terminal.answer("Workspace [workflow]: ", "")
        terminal.answer("Keep it in [file]: ", "command")
        terminal.answer("Command that prints the client secret: ", "pass show pm/prod")
        terminal.answer("Passphrase:", "open sesame")
        terminal.expect("Wrote ")
        assert terminal.end() == 0
        assert "open sesame" not in terminal.screen
        assert "s3cret" not in terminal.screen
    assert (await secret_sources.read(SHOW, environ=daemons)).reveal() == "s3cret"
