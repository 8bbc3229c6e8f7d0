"""The explanation of a profile: what a person reads about each rule, each state and each trouble."""

import time
from collections.abc import Mapping

import pytest
from support.lives import BOOT, WALL, held, moment, profile

from pmcredd import outlook
from pmcredd.life import Life, Problem, Reason, Renewal, User
from pmcredd.outlook import Outlook
from pmcredd.processmaker import Renewal as Rule
from pmcredd.profiles import Grant
from pmcredd.validity import DAY, Terms

HOUR = 3600.0
ASK = Terms(Rule.ASK_ANEW)
PM3 = Terms(Rule.REFRESH_QUIETLY, refresh_lifetime=14 * DAY)
PM4 = Terms(Rule.REFRESH_DISRUPTIVELY, probes=True)
NEVER = Terms(Rule.NEVER)
GRANTS: Mapping[Rule, Grant] = {
    Rule.ASK_ANEW: Grant.PASSWORD,
    Rule.REFRESH_QUIETLY: Grant.AUTHORIZATION_CODE,
    Rule.REFRESH_DISRUPTIVELY: Grant.AUTHORIZATION_CODE,
    Rule.NEVER: Grant.PERSONAL_ACCESS_TOKEN,
}
DOWN = Problem("cannot connect to the server.", "is the network up?")


def at(wall: float) -> str:
    """Say a moment as the tests count it: in hours after the beginning."""
    return f"{(wall - WALL) / HOUR:g} h"


def explain(life: Life, hours: float = 1.0, *, grant: Grant | None = None) -> Outlook:
    """Explain a life so many hours after the beginning."""
    mine = profile(grant=grant or GRANTS[life.terms.rule])
    return outlook.explain(mine, life, moment(hours * HOUR), at)


def asked(hours: float = 0.0) -> float:
    """Give the wall time of a get."""
    return WALL + hours * HOUR


def boot(hours: float) -> float:
    """Give a boot time."""
    return BOOT + hours * HOUR


@pytest.mark.parametrize(
    ("life", "lines"),
    [
        pytest.param(
            Life(ASK, held=held(24 * HOUR), wake=boot(16), asked_at=asked()),
            [
                "The token is asked for with the name and the password of a user (password).",
                "Asking for a new one disturbs nobody, the old one lives on: so that is done early.",
                "The token in hand (3f08aace122ee236) was got at 0 h.",
                "It is valid until 24 h.",
                "The next one is asked for at 16 h, after two thirds of its life.",
                "Should the server fail now, gets are answered until 24 h.",
                "Should it fail just when the renewal is due, they are answered for 8 h more.",
            ],
            id="asks anew",
        ),
        pytest.param(
            Life(PM4, held=held(30 * DAY), wake=boot(27 * 24), asked_at=asked()),
            [
                "The token came from a login in the browser and is renewed with a refresh token.",
                (
                    "ProcessMaker 4 revokes the token in use when it is renewed: so that is done late, and not while a "
                    "job was promised that it lives."
                ),
                "The token in hand (3f08aace122ee236) was got at 0 h.",
                "It is valid until 720 h.",
                "No running job was promised that it lives on.",
                "It is renewed at the first moment without a promise from 648 h on; promises end at the latest 684 h.",
                "Should the server fail now, gets are answered until 720 h.",
                "Should it fail just when the renewal is due, they are answered for 3 days more.",
                "The refresh token dies about when the token does: after a longer outage somebody has to log in.",
            ],
            id="refreshes and kills",
        ),
        pytest.param(
            Life(PM3, held=held(30 * DAY), wake=boot(14 * 16), asked_at=asked()),
            [
                "The token came from a login in the browser and is renewed with a refresh token.",
                "ProcessMaker 3 lets the old token live on when it is renewed: so that is done early.",
                "The token in hand (3f08aace122ee236) was got at 0 h.",
                "It is valid until 720 h.",
                "The next one is asked for at 224 h, well before the refresh token dies of 14 days without use.",
                "Should the server fail now, gets are answered until 720 h.",
                "Should it fail just when the renewal is due, they are answered for 20 days more.",
            ],
            id="refreshes quietly",
        ),
        pytest.param(
            Life(NEVER, held=held(30 * DAY), asked_at=asked()),
            [
                "The token was made by a person in ProcessMaker (personal access token).",
                "Nothing but a person can renew it.",
                "The token in hand (3f08aace122ee236) was got at 0 h.",
                "It is valid until 720 h.",
                (
                    "Before it ends make a new one in ProcessMaker, put it where the profile reads it, then: pmcred "
                    "login prod"
                ),
            ],
            id="a personal access token",
        ),
    ],
)
def test_a_healthy_profile_is_explained_by_its_rule(life: Life, lines: list[str]) -> None:
    """How it was got, how it is renewed and why so, until when it is valid, what comes next, what it survives."""
    assert list(explain(life).lines) == lines


@pytest.mark.parametrize(
    ("life", "line"),
    [
        pytest.param(
            Life(ASK, held=held(365 * DAY), wake=boot(358 * 24), asked_at=asked()),
            "The next one is asked for at 8592 h, 7 days before its end.",
            id="a year is not thrown away after eight months",
        ),
        pytest.param(
            Life(ASK, wake=boot(1), asked_at=asked()), "The next one is asked for at 1 h.", id="the first one"
        ),
        pytest.param(Life(ASK), "There is no token at present.", id="none"),
        pytest.param(
            Life(ASK, held=held(2 * DAY), wake=boot(32), asked_at=asked(-31 * 24)),
            "Nobody has asked for it since -744 h: the next one is asked for when somebody does.",
            id="forgotten",
        ),
        pytest.param(
            Life(ASK, held=held(None), asked_at=asked()),
            "The server did not say how long it lives.",
            id="no end is known",
        ),
        pytest.param(
            Life(ASK, held=held(None), asked_at=asked()),
            "No renewal is planned. Should a server refuse the token, say so: pmcred reject prod",
            id="what mends that",
        ),
        pytest.param(
            Life(ASK, held=held(HOUR), dead=True, asked_at=asked(), wake=boot(1)),
            "The token in hand (3f08aace122ee236) is dead: the server says so. It is not handed out.",
            id="dead",
        ),
        pytest.param(
            Life(ASK, held=held(HOUR / 2), asked_at=asked(), wake=boot(1)),
            "The token in hand (3f08aace122ee236) ended at 0.5 h.",
            id="ended",
        ),
        pytest.param(
            Life(PM4, held=held(DAY), leased_until=boot(2), wake=boot(21.6)),
            "Running jobs were promised that it lives until 2 h.",
            id="leased",
        ),
        pytest.param(
            Life(PM4, held=held(10 * HOUR), leased_until=boot(24), wake=boot(9.5)),
            "Running jobs were promised that it lives until 9.5 h.",
            id="no lease runs past the forced moment",
        ),
        pytest.param(
            Life(PM4, held=held(DAY), leased_until=boot(2), wanted=True, wake=boot(2)),
            "Somebody needs a longer life than it has left: it is renewed when the promises end, at 2 h.",
            id="wanted",
        ),
        pytest.param(
            Life(PM4, held=held(HOUR * 1.08), leased_until=boot(1.01), wake=boot(1.01)),
            "It is due: renewed when the promises end, at the latest 1.026 h.",
            id="in the window",
        ),
        pytest.param(
            Life(PM4, held=held(DAY), dated=False, wake=boot(1)),
            "The machine was started since: it is not renewed before the server has told what time it is.",
            id="undated",
        ),
        pytest.param(
            Life(PM4, held=held(DAY, saved=False), save_problem=Problem("the disk is full", "df -h"), wake=boot(2)),
            "It is not renewed before it is on disk.",
            id="unsaved",
        ),
        pytest.param(
            Life(PM4, held=held(DAY, saved=False), save_problem=Problem("the disk is full", "df -h"), wake=boot(2)),
            "The token is not on disk and would be lost with the daemon: the disk is full. Saving is tried again by "
            "itself, every few seconds.",
            id="why unsaved",
        ),
        pytest.param(
            Life(PM4, held=held(DAY, saved=False), save_problem=Problem("the disk is full", "df -h"), wake=boot(2)),
            "What helps: df -h",
            id="what helps the disk",
        ),
        pytest.param(
            Life(ASK, held=held(DAY), renewal=Renewal.SENDING), "A new token is being asked for.", id="a quiet renewal"
        ),
        pytest.param(
            Life(ASK, renewal=Renewal.SENDING), "A new token is being asked for. Gets wait for it.", id="the first one"
        ),
        pytest.param(
            Life(PM4, held=held(DAY), renewal=Renewal.SENDING, pending=held(DAY)),
            "A new token has come and is being saved. Gets wait for it.",
            id="being saved",
        ),
        pytest.param(
            Life(ASK, held=held(DAY), renewal=Renewal.WAITING, wake=boot(1.5), problem=DOWN, failed_at=moment(1800)),
            "It is tried again by itself, at 1.5 h.",
            id="waiting",
        ),
        pytest.param(
            Life(ASK, renewal=Renewal.WAITING, wake=boot(2), problem=DOWN, failed_at=moment(1800), failures=3),
            "The last try (the 3 last ones failed) failed at 0.5 h: cannot connect to the server.",
            id="why waiting",
        ),
        pytest.param(
            Life(ASK, renewal=Renewal.WAITING, wake=boot(2), problem=DOWN), "What helps: is the network up?", id="mend"
        ),
        pytest.param(
            Life(PM4, held=held(DAY), renewal=Renewal.DOUBTFUL, problem=DOWN, tries=1),
            "The refresh token was sent and no answer came: nobody knows whether it is spent.",
            id="doubt",
        ),
        pytest.param(
            Life(PM4, held=held(DAY), renewal=Renewal.DOUBTFUL, tries=1),
            "The server is being asked whether the token in hand lives. If it says yes twice, nothing is lost. If not, "
            "the refresh token is sent once more, and then it takes a login.",
            id="the first question",
        ),
        pytest.param(
            Life(PM4, held=held(DAY), renewal=Renewal.DOUBTFUL, tries=1, proof=boot(0.9), wake=boot(1.5)),
            "The server is asked at 1.5 h whether the token in hand lives; it said yes once. If it says yes twice, "
            "nothing is lost. If not, the refresh token is sent once more, and then it takes a login.",
            id="the second question",
        ),
        pytest.param(
            Life(PM3, held=held(DAY), renewal=Renewal.DOUBTFUL, tries=1, wake=boot(1.5)),
            "It is sent once more at 1.5 h; if it is refused then, somebody has to log in.",
            id="doubt where nothing can be asked",
        ),
        pytest.param(
            Life(ASK, held=held(DAY), rejections=1, wake=boot(2), asked_at=asked()),
            "1 token was reported as refused in a row.",
            id="rejected once",
        ),
        pytest.param(
            Life(ASK, held=held(DAY), rejections=2, wake=boot(2), asked_at=asked()),
            "2 tokens were reported as refused in a row.",
            id="rejected twice",
        ),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(life: Life, line: str) -> None:
    """Each trouble and each exception has its sentence, with what is done about it and when."""
    assert line in explain(life).lines


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (Reason.NEEDS_LOGIN, "Nothing is tried until somebody logs in: pmcred login prod"),
        (
            Reason.BAD_CREDENTIALS,
            (
                "So that no account is locked, the password is not tried again until it is changed and read (pmcred "
                "reload), or you say so: pmcred login prod"
            ),
        ),
        (
            Reason.BAD_CLIENT,
            (
                "The client secret is not tried again until it is changed and read (pmcred reload), or you say so: "
                "pmcred login prod"
            ),
        ),
        (
            Reason.SECRET_UNAVAILABLE,
            "The secret is read again at 1.25 h, and when a get asks for it, once a minute at most.",
        ),
        (
            Reason.CONFIG,
            (
                "Nothing is tried until the profile is changed (pmcred profile edit prod), or you say so: pmcred login "
                "prod"
            ),
        ),
    ],
)
def test_each_stop_says_what_ends_it(reason: Reason, line: str) -> None:
    """Nobody has to guess whether it goes on by itself."""
    life = Life(ASK, held=held(DAY), renewal=Renewal.STOPPED, reason=reason, problem=DOWN, wake=boot(1.25))
    lines = explain(life).lines

    assert line in lines
    assert "Should the server fail now, gets are answered until 24 h." in lines


def test_after_two_rejected_tokens_it_says_where_to_look() -> None:
    """A person reads what else can be wrong, as new tokens do not help."""
    life = Life(ASK, held=held(DAY), rejections=2, wake=boot(2), asked_at=asked())
    (line,) = [line for line in explain(life).lines if line.startswith("Such reports renew nothing now")]

    for cause in ("right tenant", "Authorization header", "clock", "user was deleted", "client_credentials"):
        assert cause in line
    assert line.endswith("pmcred login prod")


def test_a_grant_without_a_user_is_named() -> None:
    """client_credentials asks anew as password does, and is not called that."""
    life = Life(ASK, held=held(DAY), asked_at=asked(), wake=boot(2))

    assert "the client's own id and secret" in explain(life, grant=Grant.CLIENT_CREDENTIALS).lines[0]


def test_the_facts_for_programs() -> None:
    """Times are unix times, lengths are seconds, and what does not apply is left out."""
    life = Life(
        PM4,
        held=held(10 * HOUR),
        leased_until=boot(2),
        wake=boot(9),
        rejections=1,
        failures=2,
        failed_at=moment(60),
        asked_at=asked(0.5),
    )

    assert explain(life).facts == {
        "rule": "refresh-disruptively",
        "issued_at": str(int(WALL)),
        "renew_from": str(int(WALL + 9 * HOUR)),
        "renew_by": str(int(WALL + 9.5 * HOUR)),
        "leased_until": str(int(WALL + 2 * HOUR)),
        "outage_now": str(int(9 * HOUR)),
        "outage_at_renewal": str(int(HOUR)),
        "rejections": "1",
        "failures": "2",
        "failed_at": str(int(WALL + 60)),
        "asked_at": str(int(WALL + HOUR / 2)),
    }
    assert explain(Life(NEVER)).facts == {"rule": "never"}


def test_a_renewal_that_is_overdue_leaves_what_is_left() -> None:
    """In the window the spare time shrinks; it is not told as it was at its beginning."""
    life = Life(PM4, held=held(10 * HOUR), leased_until=boot(9.3), wake=boot(9.3))

    assert explain(life, 9.25).facts["outage_at_renewal"] == str(int(0.75 * HOUR))


def test_no_sentence_holds_a_token() -> None:
    """Explanations are pasted into tickets."""
    life = Life(ASK, held=held(DAY, value="s3cret"), asked_at=time.time(), wake=boot(2))
    found = explain(life)

    assert "s3cret" not in " ".join([*found.lines, *found.facts.values()])


def test_a_logout_is_told_without_blame() -> None:
    """It is no failed try: who has left, and what brings a token back."""
    gone = Problem("somebody has logged out", "pmcred login prod")
    life = Life(PM4, renewal=Renewal.STOPPED, reason=Reason.LOGGED_OUT, problem=gone, user=User("7", "a.smith"))
    assert explain(life).lines[2:] == (
        "There is no token at present.",
        "The last one was of a.smith (user 7).",
        "Somebody has logged out. Nothing is asked for until somebody logs in: pmcred login prod",
    )


def test_whose_a_token_is_is_told() -> None:
    """By id where the name is not known."""
    assert "It is of user 7." in explain(Life(ASK, held=held(24 * HOUR), wake=boot(16), user=User("7"))).lines
