"""docs/doctor.md is typed as it stands there, where things are as ill as it shows: a service, an upgrade, a clock."""

import shutil
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from support.doc_pages import DOCS, TREE
from support.pass_store import PASSPHRASE, needs_pass, pass_store
from support.pat import Pat, link_commands
from support.reader import Reader
from support.sandbox import sandbox_process
from support.tls_front import tls_front
from support.typed import read
from support.user_manager import HOME, HOST, user_manager

from pmcredd import __version__
from pmcredd.sandbox.instances import PASSWORD, USERS

pytestmark = [pytest.mark.storm, needs_pass]

PAGE = DOCS / "doctor.md"
LATER = "0.2.0"
PROFILES = f"""
[profiles.prod]
url = "https://{HOST}:PORT"
grant = "password"
client_id = "{PASSWORD.id}"
client_secret = {{ command = ["pass", "show", "pm/prod"] }}
username = "{USERS[0].username}"
password = {{ file = "~/.secrets/pm-prod" }}
ca_file = "authority.pem"
"""


@pytest.fixture
def pat(tmp_path: Path) -> Iterator[tuple[Pat, int]]:
    """A user of an instance with TLS and a clock that is ahead, and the instance's port."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, not_after=datetime.now(UTC) + timedelta(days=70)).configure_cert(context)
    commands = tmp_path / "bin"
    commands.mkdir()
    with (
        sandbox_process("--clock-offset", "10m", "--token-lifetime", "4h") as sandbox,
        tls_front(sandbox.url, context) as port,
        user_manager(commands=link_commands(commands)) as manager,
    ):
        found = Pat(manager)
        found.write_profiles(PROFILES.replace("PORT", str(port)))
        authority.cert_pem.write_to_path(str(found.profiles.with_name("authority.pem")))
        password = manager.home / ".secrets" / "pm-prod"
        password.parent.mkdir()
        password.touch(0o600)
        password.write_text(USERS[0].password)
        keep_in_pass(found)
        yield found, port


def keep_in_pass(pat: Pat) -> None:
    """Give the user a password store that is open, with the client's secret."""
    manager = pat.manager
    with pass_store() as store:
        store.insert("pm/prod", PASSWORD.secret)
        ignore = shutil.ignore_patterns("S.*")
        shutil.copytree(store.environ["GNUPGHOME"], manager.home / ".gnupg", ignore=ignore)
        shutil.copytree(store.environ["PASSWORD_STORE_DIR"], manager.home / ".password-store")
    unlock = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"]
    done = manager.run(*unlock, "-d", f"{HOME}/.password-store/pm/prod.gpg", given=PASSPHRASE)
    assert done.returncode == 0, done.stderr


def upgraded(place: Path) -> Path:
    """Install a later version, which differs in nothing else; gives the directory of its command."""
    package = place / "later" / "pmcredd"
    shutil.copytree(TREE / "pmcredd", package, ignore=shutil.ignore_patterns("__pycache__"))
    module = package / "__init__.py"
    module.write_text(module.read_text().replace(f'"{__version__}"', f'"{LATER}"'))
    information = place / "later" / f"pmcredd-{LATER}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pmcredd\nVersion: {LATER}\n")
    command = place / "upgraded" / "pmcred"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={package.parent} exec {sys.prefix}/bin/pmcred-cli "$@"\n')
    command.chmod(0o755)
    return command.parent


def test_the_page_shows_what_the_doctor_finds(pat: tuple[Pat, int], tmp_path: Path) -> None:
    """An old daemon, a user who does not linger and a clock that is behind: these are told, and all else is well."""
    (user, port), manager = pat, pat[0].manager
    assert user.pmcred("service", "install").returncode == 0
    manager.wait_for("pmcredd.service", "StatusText", "1 profile: 1 live")

    environ = {"PATH": f"{upgraded(tmp_path)}:/usr/local/bin:/usr/bin:/bin"}
    replace = {
        f"https://{HOST}": f"https://{HOST}:{port}",
        "203.0.113.7": "127.0.0.1",
        "pmcredd 0.1.0": f"pmcredd {__version__}",
        "/home/me": HOME,
    }
    with Reader(tmp_path / "terminals", manager.home, environ, replace, machine=manager) as reader:
        read(reader, PAGE)
