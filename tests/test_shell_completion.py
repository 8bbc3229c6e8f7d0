"""What the Tab key offers for `pmcred`, in real shells on a terminal, with and without a daemon."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import completions, wheels
from support.daemon import user_at, write_profiles
from support.fake_daemon import FakeDaemon
from support.pseudo_terminal import PseudoTerminal
from support.shells import BASH, FISH, ZSH, Desk, Shell

from pmcredd import cli
from pmcredd.cli import shell_init

SHELLS = (BASH, ZSH, FISH)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk with a short path: that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory() as directory:
        yield Desk(Path(directory, "desk"), Path(directory, "sock", "socket"))


@pytest.fixture(params=SHELLS, ids=str)
def shell(request: pytest.FixtureRequest) -> Shell:
    """Each shell."""
    found = request.param
    assert isinstance(found, Shell)
    if found.missing:
        pytest.skip(f"needs {' and '.join(found.missing)}")
    return found


@pytest.mark.parametrize("shell", completions.FILES)
def test_the_completions_are_made_of_the_command_line(shell: str) -> None:
    """Whoever changes a verb or an option is told how to write them anew."""
    name = completions.FILES[shell]
    path = completions.SHELL / "completions" / name
    assert path.read_text() == completions.page(shell), f"{name} is stale; write it anew: {completions.COMMAND}"


@pytest.mark.parametrize("shell", SHELLS, ids=str)
def test_the_shells_find_no_mistake_in_them(shell: Shell, tmp_path: Path) -> None:
    """What shell-init prints is read by its shell."""
    if shell.missing:
        pytest.skip(f"needs {' and '.join(shell.missing)}")
    place = tmp_path / "init"
    place.write_text(shell_init.text(shell.name))
    ran = subprocess.run([shell.path, "-n", str(place)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def answer_list(request: bytes) -> bytes:
    """Know two profiles; names that no profile can have are there to be left out."""
    if request != b"list":
        return b"error internal\n\n"
    names = ("prod", "staging", "$(echo${IFS}evil>&2)", "-evil", "st;evil")
    return b"ok %d\n" % len(names) + b"".join(b"profile=%s\nurl=x\n\n" % name.encode() for name in names)


TABLE = {
    "prof": "profile",
    "sto": "stop",
    "shell-i": "shell-init",
    "get stag": "get staging",
    "get --no-r": "get --no-refresh",
    "get --for 30m stag": "get --for 30m staging",
    "get --for=30m stag": "get --for=30m staging",
    "get prod --ones": "get prod --oneshot",
    "get prod stag": "get prod stag",
    "--socket /x get stag": "--socket /x get staging",
    "-v get stag": "-v get staging",
    "status prod stag": "status prod staging",
    "status evi": "status evi",
    "status -ev": "status -ev",
    "profile rem": "profile remove",
    "profile show stag": "profile show staging",
    "profile add stag": "profile add stag",
    "profile add x --grant clie": "profile add x --grant client_credentials",
    "profile add x --grant=clie": "profile add x --grant=client_credentials",
    "api stag": "api staging",
    "api prod PATC": "api prod PATCH",
    "env prod --shell zs": "env prod --shell zsh",
    "exec stag": "exec staging",
    "exec prod -- readl": "exec prod -- readlink",
    "credential insta": "credential install",
    "credential install prod stag": "credential install prod staging",
    "--socket lonely-f": "--socket lonely-file",
    "profile add x --ca-file lonely-f": "profile add x --ca-file lonely-file",
    "nonsense stag": "nonsense stag",
}


class Terminal(PseudoTerminal):
    """An interactive shell that has evaluated what shell-init prints."""

    def __init__(self, shell: Shell, desk: Desk, more: str = "", **environ: str) -> None:
        quiet = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell.name]
        variables = desk.environment(shell, TERM="dumb", PS1="% ", INPUTRC="/dev/null", **environ)
        super().__init__([shell.path, *quiet, "-i"], variables)
        init = {
            "bash": 'eval "$(cat "$INIT")"',
            "zsh": 'autoload -Uz compinit && compinit -u -D; eval "$(cat "$INIT")"',
            "fish": "function fish_prompt; echo '% '; end; source $INIT",
        }[shell.name]
        self.type(f"cd {desk.root}; {init}; {more} echo rea''dy")
        self.expect("ready")

    def complete(self, typed: str) -> str:
        """Type it after `pmcred`, press Tab and Enter, and give the words that pmcred-cli gets."""
        self.type(f"pmcred {typed}\t")
        self.expect("cli ")
        self.expect(":")
        begun = self._seen
        self.expect("\n")
        return self.screen[begun : self._seen - 1].replace(":", " ")


def close(terminal: Terminal) -> None:
    """Leave the shell."""
    terminal.type("exit")
    terminal.end()


@pytest.mark.storm
def test_what_can_follow_is_completed(desk: Desk, shell: Shell) -> None:
    """Verbs, their options and values, the names of profiles as the daemon has them, files and programs."""
    (desk.root / "lonely-file").touch()
    with FakeDaemon(desk.socket, answer_list), Terminal(shell, desk) as terminal:
        found = {typed: terminal.complete(typed) for typed in TABLE}
        close(terminal)
    assert found == TABLE
    assert "evil>" not in terminal.screen


@pytest.mark.storm
def test_without_a_daemon_the_files_are_asked(desk: Desk, shell: Shell) -> None:
    """By the command; and so it is where a daemon does not answer within a second."""
    with Terminal(shell, desk) as terminal:
        assert terminal.complete("status file-s") == "status file-staging"
        desk.socket.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(os.fspath(desk.socket))
            silent.listen()
            assert terminal.complete("status file-s") == "status file-staging"
        close(terminal)


@pytest.mark.storm
def test_no_error_is_shown_while_completing(desk: Desk, shell: Shell) -> None:
    """Not even where there is neither a daemon nor the command."""
    with Terminal(shell, desk, more="PATH=; " if shell is not FISH else "set -gx PATH; ") as terminal:
        shown = len(terminal.screen)
        terminal.type("pmcred status prod\t\x15echo do''ne")
        terminal.expect("done")
        found = re.search(r".*(not found|error|nknown|No such).*", terminal.screen[shown:])
        assert found is None, found[0]
        close(terminal)


@pytest.mark.storm
@pytest.mark.parametrize("mood", ["set -eu; set -o pipefail", "set -f; shopt -s nocasematch failglob", "IFS=a/"])
def test_bash_completes_in_every_mood(desk: Desk, mood: str) -> None:
    """Whatever the user has set, and $? is what it was before the Tab key."""
    with FakeDaemon(desk.socket, answer_list), Terminal(BASH, desk, more=f"trap ':' ERR; {mood};") as terminal:
        assert terminal.complete("status stag") == "status staging"
        if "-e" not in mood:  # there, a command that fails has ended the shell
            terminal.type("(exit 5)")
            terminal.type("pmcred status stag\t\x15echo was $?")
            terminal.expect("was 5")


def test_fish_offers_nothing_that_it_made_up_itself(tmp_path: Path) -> None:
    """It reads manual pages at leisure, and offers each of their options at each verb."""
    if FISH.missing:
        pytest.skip(f"needs {' and '.join(FISH.missing)}")
    made_up = tmp_path / "home" / ".local" / "share" / "fish" / "generated_completions" / "pmcred.fish"
    made_up.parent.mkdir(parents=True)
    made_up.write_text("complete -c pmcred -l foreign\n")
    place = tmp_path / "init"
    place.write_text(shell_init.text("fish"))
    script = f'source {place}; complete -C "pmcred get prod --fo"'
    ran = subprocess.run([FISH.path, "-c", script], capture_output=True, text=True, check=False)
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == ["--for"]
    assert ran.stderr == ""


@pytest.mark.storm
def test_zsh_completes_as_a_file_of_its_path(desk: Desk) -> None:
    """As a package installs it: found by compinit, without shell-init."""
    if ZSH.missing:
        pytest.skip("needs zsh")
    functions = desk.root / "site-functions"
    functions.mkdir()
    shutil.copy(completions.SHELL / "completions" / "_pmcred", functions)
    with FakeDaemon(desk.socket, answer_list):
        terminal = PseudoTerminal([ZSH.path, "-f", "-i"], desk.environment(ZSH, TERM="dumb", PS1="% "))
        with terminal:
            terminal.type(f"fpath=({functions} $fpath); autoload -Uz compinit && compinit -u -D; echo rea''dy")
            terminal.expect("ready")
            for typed, expected in (("status stag", "status:staging"), ("profile rem", "profile:remove")):
                terminal.type(f"pmcred {typed}\t")
                terminal.expect(f"cli 2:{expected}\n")


# The verb


def test_the_wheel_carries_them(tmp_path: Path) -> None:
    """Where the shells look that a package is installed for, and shell-init finds its own."""
    wheels.quiet("pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(wheels.TREE))
    (built,) = tmp_path.glob("pmcredd-*.whl")
    with zipfile.ZipFile(built) as wheel:
        carried = {name.partition(".data/data/")[2]: wheel.read(name).decode() for name in wheel.namelist()}
        inside = set(wheel.namelist())
    places = {
        "bash": "share/bash-completion/completions/pmcred",
        "zsh": "share/zsh/site-functions/_pmcred",
        "fish": "share/fish/vendor_completions.d/pmcred.fish",
    }
    for shell, place in places.items():
        assert carried[place] == completions.page(shell)
        assert {f"pmcredd/shell/get.{shell}", f"pmcredd/shell/completions/{completions.FILES[shell]}"} <= inside


def test_the_names_come_from_the_daemon_or_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a file with mistakes hides none of the others."""
    user = user_at(tmp_path)
    for name, value in user.environ.items():
        monkeypatch.setenv(name, value)
    profile = 'url = "https://pm.example"\ngrant = "personal_access_token"\ntoken = { env = "T" }\n'
    write_profiles(user, f"[profiles.one]\n{profile}[profiles.two]\n{profile}[profiles.wrong]\nurl = 1\n")
    assert cli.main(["shell-init", "--profiles"]) == 0
    assert capsys.readouterr() == ("one\ntwo\n", "")
    with FakeDaemon(user.socket, lambda _: b"ok 2\nprofile=a\n\nprofile=b\n\n"):
        assert cli.main(["shell-init", "--profiles"]) == 0
    assert capsys.readouterr() == ("a\nb\n", "")
    with FakeDaemon(user.socket, lambda _: b"error stopping\n\n"):
        assert cli.main(["shell-init", "--profiles"]) == 0
    assert capsys.readouterr() == ("one\ntwo\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_prints_what_a_shell_evaluates(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """The same for every installation: no path of this one stands in it, and no daemon is asked."""
    assert cli.main(["shell-init", shell]) == 0
    printed, said = capsys.readouterr()
    assert (printed, said) == (shell_init.text(shell), "")
    assert sys.prefix not in printed
    assert str(Path(cli.__file__).parents[1]) not in printed


def test_the_help_tells_where_the_line_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each shell; and who names none is told of it, not on stdout, where a shell would evaluate it."""
    monkeypatch.setenv("COLUMNS", "1000")
    assert cli.main(["shell-init", "--help"]) == 0
    shown = capsys.readouterr().out
    for line in ("~/.bashrc", 'eval "$(pmcred shell-init bash)"', "~/.zshrc", "pmcred shell-init fish | source"):
        assert line in shown
    assert cli.main(["shell-init"]) == 2
    assert cli.main(["shell-init", "tcsh"]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert "bash" in said
