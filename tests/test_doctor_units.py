"""pmcred doctor on a machine with systemd: a real user manager, with the units as they are shipped."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.pat import Pat, a_pat, link_commands
from support.sandbox import SandboxProcess, sandbox_process

pytestmark = pytest.mark.storm

Row = Mapping[str, Any]

UNPROTECTED = """
[Service]
NoNewPrivileges=no
SystemCallFilter=
SystemCallArchitectures=
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
LockPersonality=no
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off") as serving:
        yield serving


@pytest.fixture
def pat(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Pat]:
    """A user who has the units, and nothing started."""
    directory = tmp_path / "bin"
    directory.mkdir()
    with a_pat(link_commands(directory), sandbox) as found:
        yield found


def examine(pat: Pat) -> list[Row]:
    """Run the doctor as this user."""
    done = pat.pmcred("doctor", "--json")
    assert done.stderr == ""
    rows: list[Row] = json.loads(done.stdout)["findings"]
    return rows


def levels(rows: list[Row], area: str) -> dict[str, str]:
    """Give the levels of an area's findings by their checks."""
    return {row["check"]: row["level"] for row in rows if row["area"] == area}


def sentence(rows: list[Row], area: str, check: str) -> str:
    """Give the sentence and the mend of a finding."""
    (row,) = [row for row in rows if (row["area"], row["check"]) == (area, check)]
    return f"{row['sentence']}; {row['mend']}"


def test_a_service_as_it_should_be(pat: Pat) -> None:
    """The unit and what it protects are measured at the process; that nobody lingers is the one warning."""
    pat.manager.systemctl("enable", "--now", "pmcredd.socket", "pmcredd.service")
    pat.token()
    rows = examine(pat)
    assert levels(rows, "service") == {"unit": "ok", "hardening": "ok", "linger": "warning"}
    assert "runs as pmcredd.service" in sentence(rows, "service", "unit")
    assert "loginctl enable-linger" in sentence(rows, "service", "linger")
    assert set(levels(rows, "daemon").values()) == {"ok"}
    assert "closed to other programs" in sentence(rows, "daemon", "memory")
    assert "takes the token" in str(rows)


def test_hardening_that_is_not_in_force(pat: Pat) -> None:
    """Whatever the unit says: the process tells. A unit that was changed since is told, too, and one that is off."""
    path = pat.manager.write_unit("pmcredd.service.d/open.conf", UNPROTECTED)
    pat.manager.systemctl("enable", "pmcredd.socket")
    pat.manager.systemctl("start", "pmcredd.socket", "pmcredd.service")
    path.write_text("")
    rows = examine(pat)
    assert levels(rows, "service")["hardening"] == "warning"
    assert "NoNewPrivileges and SystemCallFilter" in sentence(rows, "service", "hardening")
    assert "pmcredd.service: not enabled" in sentence(rows, "service", "enabled")
    assert "daemon-reload" in sentence(rows, "service", "reload")


def test_looking_starts_nothing(pat: Pat) -> None:
    """A socket that waits for its first client: the daemon stays as it is, and that is told."""
    pat.manager.systemctl("start", "pmcredd.socket")
    rows = examine(pat)
    assert pat.manager.show("pmcredd.service", "ActiveState") == "inactive"
    assert "was not asked: that would start it" in sentence(rows, "daemon", "socket")
    assert levels(rows, "service")["state"] == "warning"
    assert "systemctl --user start pmcredd.service" in sentence(rows, "service", "state")


def test_no_daemon_and_one_by_hand(pat: Pat) -> None:
    """Where there is a manager its commands are the mend: to start the units, and to have it run what runs by hand."""
    rows = examine(pat)
    assert levels(rows, "daemon") == {"socket": "problem"}
    assert "systemctl --user start pmcredd.socket pmcredd.service" in sentence(rows, "daemon", "socket")
    pat.manager.systemctl("daemon-reload")
    for name in ("pmcredd.service", "pmcredd.socket"):
        (pat.manager.units / name).unlink()
    pat.manager.systemctl("daemon-reload")
    assert sentence(examine(pat), "daemon", "socket").endswith("; pmcred service install")
    pat.manager.run(
        "systemd-run", "--user", "--quiet", "--unit=other", "--scope", "sh", "-c", "pmcredd >/dev/null 2>&1 &"
    )
    for _ in range(600):
        if pat.pmcred("status").returncode == 0:
            break
    rows = examine(pat)
    assert levels(rows, "service") == {"unit": "warning"}
    assert "pmcred stop && pmcred service install" in sentence(rows, "service", "unit")
    assert pat.pmcred("stop").returncode == 0
