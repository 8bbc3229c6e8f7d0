"""The first question of `pmcred init`: which ProcessMaker, at which address; looked at before the next one is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pmcredd.cli import errands
from pmcredd.cli.detect import Address, address
from pmcredd.cli.draft import Draft
from pmcredd.cli.problem import Problem
from pmcredd.cli.profile import check
from pmcredd.cli.questions import Respondent, ask, confirm
from pmcredd.cli.terminal import clean, say
from pmcredd.cli.validate import Checker
from pmcredd.profiles import Grant, Profile
from pmcredd.urls import BadUrl

_PATIENCE = 15.0  # seconds for one look: a person waits
_TRANSPORT = ("ca_file", "client_cert", "client_key", "proxy", "timeout")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a profile's ProcessMaker is; `workspace` where the address named one."""

    url: str
    generation: int
    workspace: str | None


def find_server(who: Respondent, keys: Mapping[str, object], checker: Checker, *, look: bool) -> Server:
    """Ask for the address until something answers there that can be used.

    Args:
        who: who answers.
        keys: what the flags say: the address, and how to reach it.
        checker: the profiles that there are, whose [defaults] hold for the look, too.
        look: whether anything may be sent.

    Raises:
        Problem: nobody is there to ask, and the address will not do.

    """
    generation = keys.get("generation")
    text = str(keys.get("url", ""))
    while True:
        start = ask_address(who, text)
        if generation is not None:
            return Server(start.url, int(str(generation)), start.workspace)
        if not look:  # a workspace in the address is generation 3's alone
            return Server(start.url, 3 if start.workspace else 4, start.workspace)
        transport = _transport(start, keys, checker)
        say(f"Looking at {start.url} ...")
        found = errands.look_at(start, transport)
        say(clean(found.sentence))
        if found.generation is not None:
            return Server(found.url, found.generation, start.workspace)
        if found.mend:
            say(f"  try: {clean(found.mend)}")
        if not who.person:
            hint = "put --url right, or give --generation to go on without looking"
            raise Problem(found.sentence, found.mend or hint, exit_status=6 if found.reachable else 5)
        if confirm("Use this address all the same?", default=False):
            return Server(found.url, _ask_generation(), start.workspace)
        text = ""


def ask_address(who: Respondent, text: str = "") -> Address:
    """Ask for an address until it can be understood; `text` is what was given already, or empty.

    Raises:
        Problem: nobody is there to ask, and it cannot.

    """
    while True:
        asked = text or who.answer("--url", "Address of your ProcessMaker (as in the browser)")
        try:
            return address(asked)
        except BadUrl as bad:
            if not who.person:
                raise Problem(
                    f"the url {bad.wrong}", "write it like https://acme.processmaker.net", exit_status=2
                ) from None
            say(f"  That {bad.wrong}. Write it like https://acme.processmaker.net")
            text = ""


def _transport(start: Address, keys: Mapping[str, object], checker: Checker) -> Profile:
    """Give a profile that reaches the server as the new one will: by its flags, and by [defaults]."""
    given = {key: keys[key] for key in _TRANSPORT if key in keys}
    name = "new"
    while name in checker.names():
        name += "-"
    likeness = {"grant": Grant.CLIENT_CREDENTIALS.value, "client_id": "-", "client_secret": {"env": "NONE"}}
    draft = Draft(name, {"url": start.url, "generation": 4, **likeness, **given})
    profile = check(draft, checker).profiles[name]
    return replace(profile, timeout=min(profile.timeout, _PATIENCE))


def _ask_generation() -> int:
    while True:
        say("Is it ProcessMaker 4, or 3 (whose pages have /sysworkflow or the like in their address)?")
        if (answer := ask("Generation", default="4")) in ("3", "4"):
            return int(answer)
