"""docs/profiles.md is typed as it stands there, in a session with a real keyring."""

from pathlib import Path

import pytest
from support.desktop import MASTER_PASSWORD, Desktop, desktop, needs_keyring
from support.doc_pages import DOCS
from support.reader import Reader, needs_programs
from support.typed import read

pytestmark = [pytest.mark.storm, needs_programs, needs_keyring]

PAGE = DOCS / "profiles.md"
ENTRY = "demo-password"
GET = "keyring get pmcred prod-password"


def pid_of_the_keyring(session: Desktop) -> int | None:
    """Give the process that has the keyring's name on the bus; None if nobody has it just now."""
    try:
        return session.keyring_pid()
    except ValueError:
        return None


def test_what_the_page_tells_to_type_puts_an_entry_into_the_keyring_and_unlocks_it(tmp_path: Path) -> None:
    """What was typed is in the keyring; and a keyring that is locked, without anybody to ask, is opened."""
    with desktop() as session:
        session.unlock()
        first = session.keyring_pid()
        home = Path(session.environ["HOME"])
        knows = {"Password for 'prod-password' in 'pmcred':": ENTRY}
        with Reader(tmp_path / "terminals", home, session.environ, {"/home/me": str(home)}, knows=knows) as reader:

            def lock_and_type_the_password() -> None:
                assert session.run(GET, "") == f"{ENTRY}\n"
                session.lock()
                reader.here.type(MASTER_PASSWORD)  # `read` asks nothing: it takes what is there

            read(reader, PAGE, {"read -rs p": lock_and_type_the_password})
            while pid_of_the_keyring(session) in (first, None):
                pass  # the old one lets go of the name
            assert session.run(GET, "") == f"{ENTRY}\n"
