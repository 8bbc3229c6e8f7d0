"""The installed daemon runs the commands of on_event, those too that the documentation tells people to copy."""

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import tomli_w
from support.daemon import running, user_at, write_profiles
from support.lifeline import LifeLine
from support.recorder import Recorder
from support.sandbox import SandboxProcess, sandbox_process
from support.user import PMCRED, User

from pmcredd.profile_keys import EVENT_COMMAND_KEYS, EVENT_KEYS
from pmcredd.profile_reader import read_config
from pmcredd.profiles import SourceFile

pytestmark = pytest.mark.storm

DOCS = Path(__file__).parent.parent / "docs" / "events.md"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """Serve a ProcessMaker look-alike."""
    with sandbox_process("--throttle", "off", "--token-lifetime", "2h") as serving:
        yield serving


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Tell what commands were told."""
    recorder = Recorder(tmp_path / "recorder")
    yield recorder
    recorder.close()


def user_with(folder: Path, sandbox: SandboxProcess, on_event: Mapping[str, object], **changes: object) -> User:
    """Give a user with the profile `sandbox`, changed so, and these commands."""
    user = user_at(folder)
    profile = tomllib.loads(sandbox.profiles_toml())["profiles"]["sandbox"] | changes
    write_profiles(user, tomli_w.dumps({"daemon": {"on_event": dict(on_event)}, "profiles": {"sandbox": profile}}))
    return user


def put_right(user: User, sandbox: SandboxProcess) -> None:
    """Write the password of the sandbox into the profile."""
    document = tomllib.loads((user.config / "profiles.toml").read_text())
    document["profiles"]["sandbox"] = tomllib.loads(sandbox.profiles_toml())["profiles"]["sandbox"]
    write_profiles(user, tomli_w.dumps(document))


def test_a_login_that_is_needed_is_told_at_the_start_and_the_new_token_after_it(
    tmp_path: Path, sandbox: SandboxProcess, recorder: Recorder
) -> None:
    """Once, whoever asks in vain meanwhile; a command sees nothing of the daemon's own environment."""
    on_event = {
        "needs-login": list(recorder.command()),
        "renewed": {"command": list(recorder.command("env > seen")), "token": True, "timeout": 20},
    }
    user = user_with(tmp_path, sandbox, on_event, password="wrong")
    with running(user, more={"PM_SECRET": "canary-in-the-environment"}) as daemon:
        told = recorder.wait()
        assert (told["event"], told["profile"], told["reason"]) == ("needs-login", "sandbox", "bad-credentials")
        assert user.run("get", "sandbox").returncode == 4
        assert user.run("reload").returncode == 0
        put_right(user, sandbox)
        assert user.run("reload").returncode == 0
        told = recorder.wait()
        token = user.run("get", "sandbox").stdout.strip()
        assert (told["event"], told["access_token"]) == ("renewed", token)
        log = daemon.logged()
    seen = (user.home / "seen").read_text()
    assert "canary" not in seen
    assert token not in seen + log
    assert f"\nPMCRED_SOCKET={user.socket}\n" in f"\n{seen}"


def test_a_command_may_use_pmcred_and_comes_to_rest(
    tmp_path: Path, sandbox: SandboxProcess, recorder: Recorder
) -> None:
    """One that reports the new token as refused, or logs in for another one, runs a few times and then waits, and each
    time twice as long.
    """
    pmcred = shlex.quote(PMCRED)
    script = f"{pmcred} get >/dev/null && {pmcred} get | {pmcred} reject sandbox; {pmcred} login sandbox"
    on_event = {"renewed": {"command": list(recorder.command(script)), "timeout": 60}}
    user = user_with(tmp_path, sandbox, on_event)
    seen = set()
    with running(user) as daemon:
        while "seems to bring it about" not in daemon.logged():
            seen.add(recorder.wait()["fingerprint"])
        assert user.run("get", "sandbox").returncode == 0
        assert daemon.end() == 0
    assert 2 <= len(seen) <= 9
    pauses = re.findall(r"seems to bring it about.* again in (\d+) s", daemon.logged())
    assert pauses == ["10", "20", "40"][: len(pauses)]


def test_a_daemon_that_leaves_does_not_wait_for_a_command(
    tmp_path: Path, sandbox: SandboxProcess, recorder: Recorder
) -> None:
    """It gets a moment and is killed, with all that it started; the end is an ordinary one."""
    line = LifeLine(tmp_path / "line")
    script = f"trap '' TERM; sleep 1000 > {line.path} & sleep 1000"
    user = user_with(tmp_path, sandbox, {"renewed": {"command": list(recorder.command(script)), "timeout": 600}})
    with running(user) as daemon:
        assert user.run("get", "sandbox").returncode == 0
        recorder.wait()
        assert daemon.end() == 0
        assert "did not end in time" in daemon.logged()
        line.wait_for_end()
    line.close()


# The documentation


def examples() -> list[str]:
    """Give the examples of the page."""
    found = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def test_the_documentation_is_about_what_there_is() -> None:
    """Its examples are read without a mistake; every event, every key and every variable is explained."""
    text = DOCS.read_text()
    for example in examples():
        config = read_config([SourceFile("/home/me/.config/pmcred/profiles.toml", example, 0o600)], home="/home/me")
        assert config.settings.on_event
    for name in [*EVENT_KEYS, *EVENT_COMMAND_KEYS]:
        assert f"| `{name}` |" in text


def test_the_notification_of_the_documentation_works_as_it_is_written(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """`notify-send` gets the words as single arguments, whatever characters are in them."""
    on_event = tomllib.loads(examples()[0])["daemon"]["on_event"]
    user = user_with(tmp_path, sandbox, on_event, password="wrong")
    shown, stand_in = Recorder(tmp_path / "shown"), user.home / "bin" / "notify-send"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"with open({str(tmp_path / 'shown')!r}, 'w') as shown:\n"
        "    print(json.dumps({'said': sys.argv[1:]}), file=shown)\n"
    )
    stand_in.chmod(0o700)
    with running(user, more={"PATH": f"{stand_in.parent}:{os.environ['PATH']}"}):
        said = shown.wait()["said"]
    shown.close()
    assert isinstance(said, list)
    assert said[:-1] == ["-a", "pmcred", "--", "sandbox needs a login"]
    assert said[-1].startswith("check username")
