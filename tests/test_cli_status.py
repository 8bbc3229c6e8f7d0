"""pmcred status: what people and programs read about each profile."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.user import User, user_here

import pmcredd
from pmcredd import wire
from pmcredd.cli import main, restart
from pmcredd.cli.doctor.judge_host import Process

NOW = 1_800_000_000
HELLO = {"version": pmcredd.__version__, "protocol": "1", "pid": "4711", "started": str(NOW - 60)}
LIVE = {
    "profile": "prod",
    "url": "https://acme.processmaker.net",
    "generation": "4",
    "grant": "password",
    "state": "live",
    "expires_at": str(NOW + 3 * 3600 + 20 * 60),
    "renew_at": str(NOW + 2 * 3600),
}
STOPPED = {
    "profile": "legacy",
    "url": "https://bpm.example.org",
    "generation": "3",
    "grant": "password",
    "state": "stopped",
    "expires_at": str(NOW - 120),
    "last_error": "the server refused\x1b[31m the user",
    "hint": "pmcred profile edit legacy",
}
NEW = {
    "profile": "new",
    "url": "https://x.example",
    "generation": "4",
    "grant": "client_credentials",
    "state": "no-token",
    "renew_at": str(NOW - 5),
}
UNSURE = {
    "profile": "unsure",
    "url": "https://x.example",
    "generation": "4",
    "grant": "personal_access_token",
    "state": "live",
}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user, and this process in that user's place, at a fixed time."""
    user = user_here(tmp_path, monkeypatch)
    monkeypatch.setattr("pmcredd.cli.see.time.time", lambda: float(NOW))
    return user


def daemon(user: User, *profiles: dict[str, str], **more: str) -> FakeDaemon:
    """A daemon that has these profiles; `more` goes into its hello."""

    def answer(line: bytes) -> bytes:
        request = wire.parse_request(line)
        if request.verb == "hello":
            return wire.format_ok([HELLO | more], many=False)
        assert request.verb == "status"
        found = [each for each in profiles if request.target in (None, each["profile"])]
        if not found:
            return wire.format_error(wire.Code.NO_SUCH_PROFILE, "there is no such profile")
        return wire.format_ok(found, many=True)

    return FakeDaemon(user.socket, answer)


def test_a_line_for_each_profile_and_below_it_what_ails_it(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns, human times, the last error and what to run; a server's text cannot colour the terminal."""
    with daemon(user, LIVE, STOPPED, NEW, UNSURE):
        assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "PROFILE  STATE     TOKEN               RENEWS  URL",
        "prod     live      ends in 3 h 20 min  in 2 h  https://acme.processmaker.net",
        "legacy   stopped   expired 2 min ago   -       https://bpm.example.org",
        "    the server refused?[31m the user",
        "    try: pmcred profile edit legacy",
        "new      no-token  -                   now     https://x.example",
        "unsure   live      end unknown         never   https://x.example",
    ]


def test_the_user_of_a_token_has_a_column_where_one_is_known(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose token it is matters before it is used; ProcessMaker 3 tells nobody's."""
    with daemon(user, LIVE | {"user": "7", "user_name": "a.smith"}, NEW | {"user": "8"}, STOPPED):
        assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PROFILE", "STATE", "TOKEN", "RENEWS", "USER", "URL"]
    assert "  a.smith (user 7)  https://" in lines[1]
    assert "  user 8            https://" in lines[2]
    assert "  -                 https://" in lines[3]


@pytest.mark.parametrize("state", ["stopped", "needs-login", "waiting"])
def test_a_token_that_outlives_its_renewal_is_told(
    user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Both are said: that nothing renews it, and until when nobody needs to hurry."""
    monkeypatch.setattr(time, "localtime", time.gmtime)
    with daemon(user, STOPPED | {"state": state, "expires_at": str(NOW + 3600)}):
        assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[2:4] == [
        f"    {state}; the token still works until 2027-01-15 09:00",
        "    the server refused?[31m the user",
    ]


def test_what_ails_the_daemon_itself_comes_first(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the profiles, tokens that the disk refuses, and what its start had to say."""
    with daemon(
        user,
        LIVE | {"unsaved": "no space left"},
        config_problem="b.toml: url: is\x1b wrong\nc.toml: is not TOML",
        notice="a file was set aside",
    ):
        assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == [
        "The profiles were changed and have mistakes:",
        "    b.toml: url: is? wrong",
        "    c.toml: is not TOML",
        "    The profiles as they were before are in use.  try: pmcredd --check",
        "a file was set aside",
        "UNSAVED: the new token of prod would be lost with the daemon: no space left",
        "    Saving is tried again by itself; make room in the state directory.",
        "",
    ]
    assert lines[8].startswith("PROFILE")


def test_only_the_named_profiles_are_shown(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order in which they were named; a name that no profile has is an error."""
    with daemon(user, LIVE, STOPPED, NEW) as fake:
        assert main(["status", "new", "prod"]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["PROFILE", "new", "prod"]
        assert main(["status", "prod", "nowhere"]) == 3
        assert capsys.readouterr() == ("", "pmcred: there is no such profile\n")
    assert fake.requests[:3] == [b"hello", b"status new", b"status prod"]


def test_without_profiles_it_says_how_to_make_one(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table helps nobody."""
    empty = FakeDaemon(
        user.socket, lambda line: wire.format_ok([HELLO] if line == b"hello" else [], many=line != b"hello")
    )
    with empty:
        assert main(["status"]) == 0
    assert capsys.readouterr().out == "No profiles yet. To make one: pmcred init\n"


@pytest.mark.parametrize("words", [[], ["--explain"]])
def test_a_daemon_of_another_version_is_named_above_the_table(
    user: User, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """As after an upgrade: both versions, and the command that ends it; what it says of itself stays harmless."""
    with daemon(user, LIVE, version="0.0.9\x1b"):
        assert main(["status", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"The daemon that answers is pmcredd 0.0.9?; {pmcredd.__version__} is installed here.",
        "    It keeps the tokens as before.  try: pmcred stop, then start pmcredd again",
        "",
    ]
    assert "prod" in lines[3 if words else 4]


def test_a_service_is_restarted_by_its_manager() -> None:
    """Whatever its unit is called, if it is ours: a daemon started in another service's shell is not."""
    at = Process(pid=1, uid=0, open=False, unit="pmcredd@work.service")
    assert restart.command(at) == "systemctl --user restart pmcredd@work.service"
    for other in (None, replace(at, unit=None), replace(at, unit="session.service")):
        assert restart.command(other) == "pmcred stop, then start pmcredd again"


def test_programs_get_json_with_a_version(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Times are numbers, and nothing is left out or made up."""
    with daemon(user, STOPPED):
        assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "client": {"version": pmcredd.__version__},
        "daemon": {"version": pmcredd.__version__, "protocol": "1", "pid": 4711, "started": NOW - 60},
        "profiles": [STOPPED | {"generation": 3, "expires_at": NOW - 120}],
    }


def test_a_terminal_gets_colour(
    user: User, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Green for what lives, red for what needs somebody; the columns still line up."""
    with daemon(user, LIVE, STOPPED):
        assert main(["status"]) == 0
        plain = capsys.readouterr().out
        monkeypatch.setattr("pmcredd.cli.see.colour_wanted", lambda *_: True)
        assert main(["status"]) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[32mlive\x1b[0m" in coloured
    assert "\x1b[31mstopped\x1b[0m" in coloured
    for code in ("0", "1", "2", "31", "32", "33"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == plain


def test_a_warning_is_shown_beside_a_token_that_works(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """What only a person can renew is told in time, with what to do."""
    with daemon(user, UNSURE | {"warning": "it ends in 3 days", "hint": "make a new one"}):
        assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["    it ends in 3 days", "    try: make a new one"]


# Explanations

EXPLAINED = LIVE | {
    "explanation": "It was got so.\nIt is renewed\x1b[2J then.",
    "rule": "ask-anew",
    "issued_at": str(NOW - 60),
    "outage_now": "12000",
    "rejections": "1",
}


def test_an_explanation_is_read_line_by_line(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """A heading for each profile and its sentences, made harmless."""
    with daemon(user, EXPLAINED, STOPPED | {"explanation": "Nothing is tried."}) as fake:
        assert main(["status", "--explain"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "prod: live (https://acme.processmaker.net)",
        "  It was got so.",
        "  It is renewed?[2J then.",
        "legacy: stopped (https://bpm.example.org)",
        "  Nothing is tried.",
    ]
    assert fake.requests == [b"hello", b"status explain=yes"]


def test_long_sentences_fit_the_terminal(
    user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken between words, and indented so that one sees where the next sentence begins."""
    monkeypatch.setattr("pmcredd.cli.see.columns", lambda _: 20)
    with daemon(user, LIVE | {"explanation": "one two three four five six", "profile": "p", "url": "u"}):
        assert main(["status", "--explain", "p"]) == 0
    assert capsys.readouterr().out.splitlines() == ["p: live (u)", "  one two three four", "    five six"]


def test_programs_get_the_facts_as_numbers(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the sentences, which are for people."""
    with daemon(user, EXPLAINED):
        assert main(["status", "--explain", "--json", "prod"]) == 0
    (profile,) = json.loads(capsys.readouterr().out)["profiles"]
    assert {key: profile[key] for key in ("rule", "issued_at", "outage_now", "rejections")} == {
        "rule": "ask-anew",
        "issued_at": NOW - 60,
        "outage_now": 12000,
        "rejections": 1,
    }
    assert profile["explanation"] == EXPLAINED["explanation"]


# The exit status for cron

TOKEN = {"fingerprint": "4dd59ca0a64ed1e0"}
WAITS = STOPPED | TOKEN | {"profile": "waits", "state": "waiting", "expires_at": str(NOW + 60), "hint": ""}
LOGIN = STOPPED | {
    "profile": "lost",
    "state": "needs-login",
    "reason": "needs-login",
    "last_error": "the login has ended",
}


@pytest.mark.parametrize(
    ("profiles", "wanted", "status", "named"),
    [
        pytest.param([LIVE | TOKEN], "3h", 0, [], id="valid for longer"),
        pytest.param([LIVE | TOKEN], "200m", 0, [], id="valid for just so long"),
        pytest.param([LIVE | TOKEN], "8h", 5, ["prod"], id="too short"),
        pytest.param([UNSURE | TOKEN], "365d", 0, [], id="an end that nobody knows"),
        pytest.param([NEW], "0", 5, ["new"], id="no token"),
        pytest.param([UNSURE], "0", 5, ["unsure"], id="a dead one"),
        pytest.param([LIVE | TOKEN, WAITS, LIVE | TOKEN], "1h", 5, ["waits"], id="only those that fail are named"),
        pytest.param([LOGIN, NEW], "1h", 4, ["lost", "new"], id="a login is needed by the first"),
        pytest.param([STOPPED | {"reason": "bad-credentials"}], "1h", 4, ["legacy"], id="a password was refused"),
        pytest.param([STOPPED | {"reason": "config"}], "1h", 5, ["legacy"], id="the profile is wrong"),
        pytest.param([NEW, LOGIN], "1h", 4, ["new", "lost"], id="or by the last"),
        pytest.param([LOGIN | TOKEN | {"expires_at": str(NOW + 7200)}], "1h", 0, [], id="it is valid all the same"),
    ],
)
def test_the_exit_status_tells_whether_every_token_lasts(
    user: User,
    capsys: pytest.CaptureFixture[str],
    profiles: list[dict[str, str]],
    wanted: str,
    status: int,
    named: list[str],
) -> None:
    """0 and no word if all do, so that cron sends no mail; else each one that does not, on stderr."""
    with daemon(user, *profiles):
        assert main(["status", "--min-valid", wanted]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines() if line.startswith("pmcred: ")] == named


def test_who_does_not_last_is_told_with_the_reason(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """The mail that cron sends says what is wrong and what mends it; only the named profiles count."""
    with daemon(user, LIVE | TOKEN, STOPPED | TOKEN, NEW) as fake:
        assert main(["status", "--min-valid", "8h", "prod", "legacy"]) == 5
    assert capsys.readouterr().err.splitlines() == [
        "pmcred: prod: live, its token ends in 3 h 20 min, not 8 h from now",
        "pmcred: legacy: stopped, its token expired 2 min ago, not 8 h from now: the server refused?[31m the user",
        "  try: pmcred profile edit legacy",
    ]
    assert fake.requests == [b"hello", b"status prod", b"status legacy"]


def test_the_exit_status_comes_with_json_too(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """A monitor reads both."""
    with daemon(user, LIVE | TOKEN):
        assert main(["status", "--min-valid", "8h", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["profiles"][0]["profile"] == "prod"


def test_no_profile_at_all_is_not_taken_for_good_news(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that is gone must not silence the alarm; neither must a bad duration."""
    with FakeDaemon(
        user.socket, lambda line: wire.format_ok([HELLO] if line == b"hello" else [], many=line != b"hello")
    ):
        assert main(["status", "--min-valid", "1h"]) == 3
        assert main(["status", "--min-valid", "soon"]) == 2
        assert main(["status", "--min-valid", "1h", "--explain"]) == 2
    assert "there is no profile whose token" in capsys.readouterr().err
