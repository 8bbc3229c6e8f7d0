"""What the daemon's own answers mean: its version, its profiles beside those in the files, their states. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pmcredd.cli.doctor.finding import DAEMON, Area, Finding
from pmcredd.human_time import when
from pmcredd.profiles import Profile

Block = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a daemon said: `hello`, and the status of its profiles by name."""

    socket: Path
    hello: Block
    states: Mapping[str, Block]


@dataclass(frozen=True, slots=True)
class Versions:
    """Which version this program is, and which one the installed package says it is (None if that is unknown)."""

    client: str
    installed: str | None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There is no daemon, or it does not answer: `tried` are the sockets, and what was wrong with each."""

    tried: Sequence[tuple[Path, str]] = field(default=())
    said: str = ""


def absent(found: NoAnswer, *, start: str) -> Finding:
    """Say that no daemon answers; `start` is the command that starts one."""
    if found.said:
        return DAEMON.problem("socket", f"the daemon does not answer as it should: {found.said}", start)
    where = "".join(f"\n{path}: {why}" for path, why in found.tried)
    return DAEMON.problem("socket", f"no daemon answers{where}", start)


def versions(hello: Block, known: Versions, *, restart: str) -> list[Finding]:
    """Compare the running daemon with what is installed; `restart` is the command that starts it anew."""
    runs = hello.get("version", "?")
    newest = known.installed or known.client
    found = []
    if runs != newest:
        sentence = f"pmcredd {runs} runs, and {newest} is installed here"
        found.append(DAEMON.warning("version", sentence, restart))
    if known.installed not in (None, known.client):
        sentence = f"this pmcred is {known.client}, and its package says {known.installed}: an upgrade is half done"
        found.append(DAEMON.warning("version", sentence, "install pmcredd once more, and start pmcredd anew"))
    return found or [DAEMON.ok("version", f"pmcredd {runs}, as it is installed")]


def told(hello: Block) -> list[Finding]:
    """Give what the daemon tells of itself."""
    found = []
    if wrong := hello.get("config_problem"):
        sentence = f"the profiles were changed and have mistakes; the daemon keeps those that it has\n{wrong}"
        found.append(DAEMON.problem("profiles", sentence, "mend that, then: pmcred reload"))
    if notice := hello.get("notice"):
        found.append(DAEMON.warning("notice", notice))
    return found


def in_step(profiles: Iterable[Profile], answers: Answers, *, only: str | None) -> list[Finding]:
    """Compare the profiles in the files with those that the daemon has."""
    if "config_problem" in answers.hello:
        return []
    wanted = {profile.name: profile for profile in profiles}
    names = {*wanted, *answers.states} if only is None else {only} & {*wanted, *answers.states}
    unlike = sorted(name for name in names if _differ(wanted.get(name), answers.states.get(name)))
    if not unlike:
        return [DAEMON.ok("profiles", "the daemon has the profiles as they are in the files")]
    few = ", ".join(unlike[:5]) + (f" and {len(unlike) - 5} more" if len(unlike) > 5 else "")
    sentence = f"the daemon has other profiles than this command finds: {few}"
    mend = "pmcred reload; if that does not help, it reads other files: compare PMCRED_CONFIG and XDG_CONFIG_HOME"
    return [DAEMON.warning("profiles", sentence, mend)]


def _differ(profile: Profile | None, block: Block | None) -> bool:
    if profile is None or block is None:
        return True
    told = (block.get("url"), block.get("generation"), block.get("grant"))
    return told != (profile.url, str(profile.generation), profile.grant.value)


def state(block: Block, now: float) -> list[Finding]:
    """Judge how the daemon keeps one profile's token."""
    name = block.get("profile", "?")
    area = Area("profile", name)
    known = block.get("state", "?")
    error, mend = block.get("last_error", ""), block.get("hint", "")
    expiry = block.get("expires_at", "")
    lives = "fingerprint" in block and not (expiry.isdecimal() and int(expiry) <= now)
    sentence = ", ".join(
        filter(None, (known, f"the token ends {when(int(expiry), now)}" if lives and expiry.isdecimal() else ""))
    )
    if error:
        sentence += f": {error}"
    if known in {"needs-login", "stopped"}:
        found = [area.problem("state", sentence, mend or f"pmcred status --explain {name}")]
    elif known == "logged-out":
        found = [area.warning("state", sentence, mend or f"pmcred login {name}")]
    elif known in {"waiting", "doubtful"} and not lives:
        found = [area.problem("state", sentence, mend or f"pmcred status --explain {name}")]
    elif error or known not in {"live", "no-token", "renewing"}:
        found = [area.warning("state", sentence, mend or f"pmcred status --explain {name}")]
    else:
        found = [area.ok("state", sentence)]
    if why := block.get("unsaved"):
        told = f"the new token would be lost with the daemon: {why}"
        found.append(area.problem("saved", told, "make room in the state directory; saving is tried again by itself"))
    if warning := block.get("warning"):
        found.append(area.warning("token", warning, mend))
    return found
