"""pmcred doctor's judges and its report: what was seen, and what is said of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmcredd.cli.doctor import judge_daemon, judge_host, judge_server, report
from pmcredd.cli.doctor.finding import DAEMON, Area, Finding, Level
from pmcredd.cli.doctor.judge_daemon import Answers, NoAnswer, Versions
from pmcredd.cli.doctor.judge_host import Process, Unit, Units
from pmcredd.cli.doctor.judge_server import Certificate
from pmcredd.oauth import Answer, Refusal, TokenRequest, read_answer
from pmcredd.profiles import Grant, Profile

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
NOW = 1_800_000_000.0
DAY = 86400.0
SERVER = Area("server", "https://h.example")
PROFILE = Profile("prod", "https://h.example", Grant.PASSWORD)


# --- the daemon -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "levels", "words"),
    [
        ({"state": "live", "fingerprint": "ab", "expires_at": str(int(NOW + 7200))}, [OK], "the token ends in 2 h"),
        ({"state": "no-token"}, [OK], "no-token"),
        ({"state": "renewing"}, [OK], "renewing"),
        ({"state": "live", "fingerprint": "ab", "last_error": "down"}, [WARNING], "live: down"),
        ({"state": "waiting", "fingerprint": "ab", "last_error": "down"}, [WARNING], "waiting: down"),
        ({"state": "waiting", "last_error": "down"}, [PROBLEM], "waiting: down"),
        ({"state": "waiting", "fingerprint": "ab", "expires_at": "5"}, [PROBLEM], "waiting"),
        ({"state": "doubtful"}, [PROBLEM], "doubtful"),
        ({"state": "needs-login", "fingerprint": "ab", "hint": "pmcred login prod"}, [PROBLEM], "pmcred login prod"),
        ({"state": "stopped"}, [PROBLEM], "pmcred status --explain prod"),
        ({"state": "logged-out"}, [WARNING], "pmcred login prod"),
        ({"state": "of-another-version"}, [WARNING], "of-another-version"),
        ({"state": "live", "unsaved": "the disk is full"}, [OK, PROBLEM], "the disk is full"),
        ({"state": "live", "warning": "ends soon", "hint": "make one"}, [OK, WARNING], "make one"),
    ],
)
def test_what_ails_a_profile(block: dict[str, str], levels: list[Level], words: str) -> None:
    """A profile that gives no token is a problem, one whose living token is not renewed at the moment a warning."""
    found = judge_daemon.state({"profile": "prod", **block}, NOW)
    assert [each.level for each in found] == levels
    assert words in " ".join(f"{each.sentence} {each.mend}" for each in found)
    assert {each.area for each in found} == {Area("profile", "prod")}


@pytest.mark.parametrize(
    ("runs", "client", "installed", "levels", "words"),
    [
        ("1.0", "1.0", "1.0", [OK], "pmcredd 1.0, as it is installed"),
        ("1.0", "1.0", None, [OK], "pmcredd 1.0"),
        ("1.0", "2.0", "2.0", [WARNING], "pmcredd 1.0 runs, and 2.0 is installed here"),
        ("1.0", "1.0", "2.0", [WARNING, WARNING], "an upgrade is half done"),
    ],
)
def test_versions_that_differ(runs: str, client: str, installed: str | None, levels: list[Level], words: str) -> None:
    """A package that was replaced under a running daemon is told, with the command that starts the new one."""
    found = judge_daemon.versions({"version": runs}, Versions(client, installed), restart="restart it")
    assert [each.level for each in found] == levels
    assert words in " ".join(each.sentence for each in found)
    if runs != (installed or client):
        assert found[0].mend == "restart it"


def test_what_the_daemon_says_of_itself_is_passed_on() -> None:
    """Mistakes that it has found since, and what happened at its start."""
    wrong, notice = judge_daemon.told({"config_problem": "a.toml: no url", "notice": "the state file was damaged"})
    assert (wrong.level, notice.level) == (PROBLEM, WARNING)
    assert "a.toml: no url" in wrong.sentence
    assert "pmcred reload" in wrong.mend
    assert judge_daemon.told({}) == []


BLOCK = {"url": "https://h.example", "generation": "4", "grant": "password"}


@pytest.mark.parametrize(
    ("states", "only", "unlike"),
    [
        ({"prod": BLOCK}, None, ""),
        ({"prod": BLOCK | {"url": "https://old.example"}}, None, "prod"),
        ({"prod": BLOCK | {"generation": "3"}}, None, "prod"),
        ({"prod": BLOCK | {"grant": "client_credentials"}}, None, "prod"),
        ({"prod": BLOCK, "gone": BLOCK}, None, "gone"),
        ({"prod": BLOCK, "gone": BLOCK}, "prod", ""),
        ({}, None, "prod"),
        ({f"p{n}": BLOCK for n in range(9)}, None, "p0, p1, p2, p3, p4 and 5 more"),
    ],
)
def test_a_daemon_that_has_not_read_the_files_again(
    states: dict[str, dict[str, str]], only: str | None, unlike: str
) -> None:
    """What was changed since, added or taken away is named."""
    (found,) = judge_daemon.in_step([PROFILE], Answers(Path("/s"), {}, states), only=only)
    assert found.level is (WARNING if unlike else OK)
    assert unlike in found.sentence
    assert ("pmcred reload" in found.mend) is bool(unlike)


def test_a_daemon_that_could_not_read_the_files_is_not_told_twice() -> None:
    """Its own word on it says more."""
    assert judge_daemon.in_step([PROFILE], Answers(Path("/s"), {"config_problem": "x"}, {}), only=None) == []


def test_every_socket_that_was_tried_is_named() -> None:
    """With what is wrong at each, and how to start a daemon."""
    found = judge_daemon.absent(
        NoAnswer([(Path("/a"), "nobody listens there"), (Path("/b"), "gone")]), start="start it"
    )
    assert (found.level, found.mend) == (PROBLEM, "start it")
    assert "/a: nobody listens there\n/b: gone" in found.sentence
    assert "it is silent" in judge_daemon.absent(NoAnswer(said="it is silent"), start="").sentence


# --- the process and the units ----------------------------------------------------------------------------------------

STATUS = "Name:\tpmcredd\nUid:\t1000\t1000\t1000\t1000\nVmSwap:\t      12 kB\nNoNewPrivs:\t1\nSeccomp:\t2\n"
LIMITS = "Limit               Soft Limit  Hard Limit  Units\nMax core file size  0           0           bytes\n"
SERVED = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/pmcredd.service\n"
GOOD = Process(7, 1000, open=False, no_new_privs=True, seccomp=2, core_limit="0", unit="pmcredd.service")
BOTH = Units(
    Unit("pmcredd.socket", "loaded", "active", "enabled"), Unit("pmcredd.service", "loaded", "active", "enabled")
)


def test_a_process_is_read_as_proc_shows_it() -> None:
    """The files are those of proc(5)."""
    found = judge_host.parse_process(7, may_look=False, status=STATUS, limits=LIMITS, cgroup=SERVED)
    assert found == replace(GOOD, swapped=12)
    assert judge_host.parse_process(7, may_look=False, status="", limits="", cgroup="") is None
    poor = judge_host.parse_process(7, may_look=False, status="Uid:\t1 1 1 1", limits="", cgroup="")
    assert poor == Process(7, 1, open=False)


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        (SERVED, "pmcredd.service"),
        ("12:cpu:/x.service\n1:name=systemd:/user.slice/user@1.service/pmcredd.service\n", "pmcredd.service"),
        (f"1:name=systemd:/\n{SERVED}", "pmcredd.service"),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_is_told_by_the_control_group(cgroup: str, unit: str | None) -> None:
    """With the unified hierarchy and with the old ones."""
    found = judge_host.parse_process(7, may_look=False, status=STATUS, limits="", cgroup=cgroup)
    assert found is not None
    assert found.unit == unit


@pytest.mark.parametrize(
    ("process", "level", "words"),
    [
        (GOOD, OK, "closed to other programs, no core file"),
        (replace(GOOD, open=True), PROBLEM, "dumpable"),
        (replace(GOOD, uid=0, open=True), OK, "no core file"),
        (replace(GOOD, core_limit="unlimited"), WARNING, "core file with tokens in it (limit unlimited)"),
        (replace(GOOD, core_limit=None), OK, ""),
        (replace(GOOD, swapped=12), WARNING, "12 KiB"),
    ],
)
def test_what_protects_the_memory(process: Process, level: Level, words: str) -> None:
    """Each leak of memory is told; to root /proc cannot tell whether others may read it, and nothing is claimed."""
    (found,) = judge_host.hardening(process)
    assert found.level is level
    assert words in found.sentence
    assert ("closed" in found.sentence) is (level is OK and process.uid != 0)


@pytest.mark.parametrize(
    ("process", "units", "levels", "words"),
    [
        (GOOD, BOTH, {"unit": OK, "hardening": OK}, "runs as pmcredd.service"),
        (replace(GOOD, no_new_privs=False), BOTH, {"unit": OK, "hardening": WARNING}, "NoNewPrivileges (measured"),
        (replace(GOOD, seccomp=0), BOTH, {"unit": OK, "hardening": WARNING}, "SystemCallFilter (measured"),
        (replace(GOOD, seccomp=None), BOTH, {"unit": OK}, "runs as"),
        (replace(GOOD, unit=None), BOTH, {"unit": WARNING}, "started by hand"),
        (replace(GOOD, unit="tmux.service"), BOTH, {"unit": WARNING}, "started by hand"),
        (replace(GOOD, unit=None), None, {}, ""),
        (None, None, {}, ""),
        (None, Units(Unit("pmcredd.socket"), Unit("pmcredd.service")), {}, ""),
        (None, replace(BOTH, service=replace(BOTH.service, active="inactive")), {"state": WARNING}, "next client"),
        (
            None,
            replace(BOTH, service=replace(BOTH.service, active="failed", result="exit-code")),
            {"state": PROBLEM},
            "has failed (exit-code)",
        ),
        (
            None,
            replace(BOTH, socket=replace(BOTH.socket, enabled="disabled")),
            {"enabled": WARNING},
            "pmcredd.socket: ",
        ),
        (None, replace(BOTH, service=replace(BOTH.service, stale=True)), {"reload": WARNING}, "were changed"),
    ],
)
def test_how_the_daemon_is_run(
    process: Process | None, units: Units | None, levels: dict[str, Level], words: str
) -> None:
    """By hand is a warning only where systemd could do it; what the unit asks for is measured at the process."""
    found = judge_host.service(process, units)
    assert {each.check: each.level for each in found} == levels
    assert words in " ".join(each.sentence for each in found)


def test_units_are_read_as_systemctl_shows_them() -> None:
    """A block for each; one that is not there says so."""
    text = (
        "Id=pmcredd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nResult=success\n"
        "NeedDaemonReload=yes\n\nId=pmcredd.service\nLoadState=not-found\nActiveState=inactive\n\nno block\n"
    )
    found = judge_host.parse_units(text)
    assert found["pmcredd.socket"] == Unit("pmcredd.socket", "loaded", "active", "enabled", "success", stale=True)
    assert not found["pmcredd.service"].there
    assert len(found) == 2


def test_to_ask_a_sleeping_daemon_would_start_it() -> None:
    """Behind an active socket of systemd's, a service that does not run is left alone."""
    assert not BOTH.asleep
    assert replace(BOTH, service=replace(BOTH.service, active="inactive")).asleep
    assert not Units(Unit("pmcredd.socket"), Unit("pmcredd.service")).asleep


@pytest.mark.parametrize(("lingers", "level"), [(True, OK), (False, WARNING)])
def test_lingering(lingers: bool, level: Level) -> None:
    """Without it the daemon ends with the last session: cron jobs would find none."""
    found = judge_host.linger(lingers=lingers)
    assert found.level is level
    assert ("loginctl enable-linger" in found.mend) is not lingers


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "left", "level"),
    [
        (90 * DAY, 15 * DAY, OK),
        (90 * DAY, 13 * DAY, WARNING),
        (6 * DAY, 2 * DAY, OK),
        (6 * DAY, 1 * DAY, WARNING),
        (90 * DAY, -5, WARNING),
    ],
)
def test_a_certificate_that_ends_soon(life: float, left: float, level: Level) -> None:
    """Two weeks before; for one that lives for days only, when most of its life is over."""
    found = judge_server.certificate(SERVER, Certificate("TLSv1.3", NOW + left - life, NOW + left), NOW)
    assert found.level is level
    assert found.sentence.startswith("TLS 1.3")


@given(offset=st.floats(-1e6, 1e6), took=st.floats(0, 60), at=st.floats(0, 1))
def test_a_clock_is_judged_by_what_it_must_be_off(offset: float, took: float, at: float) -> None:
    """However long the exchange took and whenever within it the server looked at its clock, which tells seconds."""
    date = float(int(NOW + took * at + offset))
    found = judge_server.clock(SERVER, date, sent=NOW, received=NOW + took)
    if abs(offset) <= 30:
        assert found.level is OK
    if abs(offset) > 361 + 1:
        assert found.level is PROBLEM
        assert ("behind" in found.sentence) is (offset > 0)
    assert (found.level is OK) is (found.mend == "")


def test_a_clock_that_is_slightly_off_or_unknown() -> None:
    """Minutes are a warning; a server without a Date header is none."""
    assert judge_server.clock(SERVER, NOW + 120, sent=NOW, received=NOW + 1).level is WARNING
    assert judge_server.clock(SERVER, None, sent=NOW, received=NOW + 1).level is OK


def asked(profile: Profile, status: int, body: str, **headers: str) -> tuple[Answer, Refusal]:
    """An answer to a request without a grant, and what it means."""
    told = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
    answer = Answer(status, told, body.encode())
    request = TokenRequest(f"{profile.url}/oauth/token", (), b"", "")
    refusal = read_answer(profile, request, answer, now=NOW, secrets=())
    assert isinstance(refusal, Refusal)
    return answer, refusal


LEAGUE = json.dumps(
    {
        "error": "unsupported_grant_type",
        "error_description": "The authorization grant type is not supported by the authorization server.",
    }
)
BSHAFFER = json.dumps(
    {"error": "invalid_request", "error_description": "The grant type was not specified in the request"}
)


@pytest.mark.parametrize(
    ("generation", "body", "headers", "level", "words"),
    [
        (4, LEAGUE, {}, OK, "ProcessMaker 4 answers"),
        (3, BSHAFFER, {}, OK, "ProcessMaker 3 answers"),
        (4, BSHAFFER, {}, PROBLEM, "ProcessMaker 3 answers, and profile prod says generation 4"),
        (3, LEAGUE, {}, PROBLEM, "set generation = 4: pmcred profile edit prod"),
        (4, LEAGUE.replace("authorization grant", "kind"), {}, OK, "ProcessMaker 4 answers"),
        (4, LEAGUE, {"x_ratelimit_limit": "60", "x_ratelimit_remaining": "59"}, OK, "59 of 60"),
        (4, LEAGUE, {"x_ratelimit_limit": "60", "x_ratelimit_remaining": "9"}, WARNING, "9 of 60"),
        (4, LEAGUE, {"x_ratelimit_limit": "many", "x_ratelimit_remaining": "9"}, OK, "answers"),
    ],
)
def test_which_generation_speaks(generation: int, body: str, headers: dict[str, str], level: Level, words: str) -> None:
    """By its words, not by the path that was asked; with what its throttle still allows."""
    profile = replace(PROFILE, generation=3 if generation == 3 else 4, workspace="workflow")
    found = judge_server.endpoint(profile, SERVER, *asked(profile, 400, body, **headers))
    assert found.level is level
    assert words in f"{found.sentence}; {found.mend}"


@pytest.mark.parametrize(
    ("status", "body", "elsewhere", "level", "words"),
    [
        (429, "{}", None, WARNING, "it lets us in again in 20 s"),
        (503, '{"message": "Service Unavailable"}', None, PROBLEM, "it says to come back in 20 s"),
        (500, "{}", None, PROBLEM, "failed while it answered"),
        (404, "{}", 3, PROBLEM, "set generation = 3 and workspace"),
        (404, "{}", None, PROBLEM, "check url and token_path"),
        (400, '{"why": "no"}', None, PROBLEM, "did not accept"),
        (302, "{}", None, PROBLEM, "check url"),
    ],
)
def test_what_else_may_answer(status: int, body: str, elsewhere: int | None, level: Level, words: str) -> None:
    """A throttle passes within a minute; the rest gives no token now."""
    answer, refusal = asked(PROFILE, status, body, retry_after="20")
    found = judge_server.endpoint(PROFILE, SERVER, answer, refusal, elsewhere)
    assert found.level is level
    assert words in f"{found.sentence}; {found.mend}"


# --- the report -------------------------------------------------------------------------------------------------------

FINDINGS = [
    DAEMON.ok("socket", "/run/socket is answered"),
    DAEMON.warning("version", "an old one runs\x1b[31m" + " and runs" * 20, "restart it"),
    SERVER.problem("tls", "no trust\nsecond line", "name a ca_file"),
]


def test_a_report_is_laid_out_by_area() -> None:
    """The first column tells how bad it is; below a finding stands what mends it; control characters do nothing."""
    shown = report.lines(FINDINGS, width=0, colour=False)
    assert shown[0] == "Daemon"
    assert shown[1] == "  ok       socket   /run/socket is answered"
    assert shown[2].startswith("  warning  version  an old one runs?[31m and runs")
    assert shown[3] == "                    try: restart it"
    assert shown[5:9] == [
        "Server https://h.example",
        "  problem  tls      no trust",
        "                    second line",
        "                    try: name a ca_file",
    ]
    assert shown[-1] == "1 problem, 1 warning"
    assert report.lines([], width=80, colour=False) == ["All is well."]


@given(width=st.integers(40, 200))
def test_a_report_fits_the_terminal(width: int) -> None:
    """Every line does, and all of them keep the columns."""
    for line in report.lines(FINDINGS, width=width, colour=False):
        assert len(line) <= width


def test_colour_is_in_the_level_alone() -> None:
    """And in the titles, and in the sum; without colour the text is the same."""
    plain, painted = (report.lines(FINDINGS, width=0, colour=colour) for colour in (False, True))
    assert "\x1b[32mok\x1b[0m" in painted[1]
    assert "\x1b[31mproblem\x1b[0m" in "".join(painted)
    for code in (1, 31, 32, 33, 0):
        painted = [line.replace(f"\x1b[{code}m", "") for line in painted]
    assert painted == plain


def test_json_has_all_of_it() -> None:
    """A row for each finding, and the counts."""
    told = json.loads(report.as_json([*FINDINGS, Finding(DAEMON, "x", PROBLEM, "y")]))
    assert (told["version"], told["problems"], told["warnings"]) == (1, 2, 1)
    assert told["findings"][2] == {
        "area": "server",
        "subject": "https://h.example",
        "check": "tls",
        "level": "problem",
        "sentence": "no trust\nsecond line",
        "mend": "name a ca_file",
    }
