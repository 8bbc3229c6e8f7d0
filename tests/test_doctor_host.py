"""pmcred doctor's look at the machine, where parts of what it looks at are missing."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import pmcredd
from pmcredd.cli import restart
from pmcredd.cli.doctor import host, machine
from pmcredd.cli.doctor.host import ask_manager, lingers, read_process
from pmcredd.cli.doctor.judge_daemon import Versions
from pmcredd.cli.doctor.judge_host import Process, Unit, Units

SHOWN = "Id=pmcredd.socket\nLoadState=loaded\nActiveState=active\n"


def manager(tmp_path: Path, script: str | None) -> dict[str, str]:
    """A world with a user manager and this systemctl."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    (tmp_path / "bin").mkdir()
    if script is not None:
        program = tmp_path / "bin" / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin" if script else str(tmp_path)}


async def test_units_come_from_the_manager(tmp_path: Path) -> None:
    """What it does not tell is not there; it is asked at the address that its user's runtime directory has."""
    script = f"test $XDG_RUNTIME_DIR = {tmp_path} && printf '{SHOWN}'"
    found = await ask_manager(manager(tmp_path, script))
    assert found == Units(Unit("pmcredd.socket", "loaded", "active"), Unit("pmcredd.service"))


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 600", None])
async def test_a_manager_that_cannot_be_asked(
    tmp_path: Path, script: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses, hangs, or there is no systemctl: then there is no manager, and in time."""
    monkeypatch.setattr(host, "_LIMIT", 0.5)
    environ = manager(tmp_path, script)
    monkeypatch.setenv("PATH", environ["PATH"])
    assert await ask_manager(environ) is None


async def test_no_manager(tmp_path: Path) -> None:
    """A container has none, and systemctl is not run."""
    assert await ask_manager({"XDG_RUNTIME_DIR": str(tmp_path), "PATH": ""}) is None


def test_a_number_that_is_no_daemon_s() -> None:
    """No such process, one that is something else (a container's number), and no number at all."""
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            assert read_process(str(other.pid)) is None
        finally:
            other.kill()
    assert read_process(str(other.pid)) is None
    assert read_process("?") is None


def test_a_process_that_everybody_may_look_into() -> None:
    """A daemon that had not hardened itself would be seen as that."""
    ready = [sys.executable, "-c", "print(flush=True); input()", "pmcredd"]
    with subprocess.Popen(ready, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # for an instant within exec(2) it has no command line
        found = read_process(str(process.pid))
        process.communicate(b"\n")
    assert found is not None
    assert (found.uid, found.open) == (os.geteuid(), True)
    assert (found.no_new_privs, found.seccomp) != (None, None)


def test_lingering_is_a_file_of_logind_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the user's name; where there is no logind nobody knows, nor of a uid that nobody entered."""
    import pwd

    linger = tmp_path / "systemd" / "linger"
    monkeypatch.setattr(host, "_LINGER", linger)
    assert lingers() is None
    linger.mkdir(parents=True)
    assert lingers() is False
    (linger / pwd.getpwuid(os.geteuid()).pw_name).touch()
    assert lingers() is True
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert lingers() is None


def test_a_package_that_nobody_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a checkout: then our own version is the one to compare with."""

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert machine._versions().installed == metadata.version("pmcredd")
    monkeypatch.setattr(metadata, "version", none)
    assert machine._versions() == Versions(pmcredd.__version__, None)


def test_the_command_that_starts_it_anew() -> None:
    """By systemd where systemd runs it, else by hand."""
    found = machine.Machine()
    assert "pmcred stop" in restart.command(found.process)
    found.process = Process(7, 1000, open=False, unit="pmcredd.service")
    assert restart.command(found.process) == "systemctl --user restart pmcredd.service"
