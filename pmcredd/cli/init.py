"""`pmcred init`: a first profile by question and answer, tested before it is written. Every answer can be a flag."""

import argparse
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from pmcredd import secret_sources
from pmcredd.cli import files, validate
from pmcredd.cli.detect import Address, Found, address, detect
from pmcredd.cli.draft import SECRETS, Draft, absolute, add_flags, flag, given, piped, secret_file, words_of
from pmcredd.cli.problem import Problem
from pmcredd.cli.profile import check, new_name, tell_daemon
from pmcredd.cli.questions import ask, ask_secret, choose, confirm, interactive, need_answer
from pmcredd.cli.terminal import clean, say
from pmcredd.cli.trial import Failed, try_profile
from pmcredd.config_files import home
from pmcredd.processmaker import GENERATIONS
from pmcredd.profile_keys import PROFILE_KEYS
from pmcredd.profile_values import Flaw, Place, read_value
from pmcredd.profiles import BadUrl, CommandSecret, Config, Grant, Profile, parse_url, valid_name
from pmcredd.secret import Secret
from pmcredd.upstream import Upstream

if TYPE_CHECKING:
    from argparse import _SubParsersAction

T = TypeVar("T")

_NOT_YET = "authorization_code, the login in a browser, is not in this version yet"

_GRANTS = (
    (Grant.PASSWORD, "as a ProcessMaker user, whose name and password you know"),
    (Grant.PERSONAL_ACCESS_TOKEN, "a token that a user made in ProcessMaker; nothing can renew it"),
    (Grant.CLIENT_CREDENTIALS, "as an Auth Client alone; ProcessMaker 4 then answers 401 at /api/1.0"),
    (Grant.AUTHORIZATION_CODE, "by a login in the browser: not in this version yet"),
)

_ONE_CLIENT_PER_GRANT = "Use one client for one grant: a client with more boxes ticked fails in ways hard to explain."

_ADVICE = {
    (4, Grant.PASSWORD): (
        "In ProcessMaker, as an administrator: {page}, then + Auth Client.",
        "Tick the box of the Password grant and no other.",
        _ONE_CLIENT_PER_GRANT,
        "The client id is the number in the list; the secret is beside it, to be copied.",
        "The user is named by the user name, not by the e-mail address; one who logs in by SSO or LDAP will not do.",
    ),
    (4, Grant.CLIENT_CREDENTIALS): (
        "In ProcessMaker, as an administrator: {page}, then + Auth Client.",
        "There is no box for client_credentials: every client can. Tick the Password box, as one must be ticked.",
        "The client id is the number in the list; the secret is beside it, to be copied.",
    ),
    (4, Grant.PERSONAL_ACCESS_TOKEN): (
        "In ProcessMaker: your picture at the top right, Edit Profile, API Tokens, then + Token.",
        "For another user, as an administrator: Admin > Users, edit the user, API Tokens.",
        "Copy the token at once: it is shown only once.",
    ),
    (3, Grant.PASSWORD): (
        "In ProcessMaker, as a user with the permission PM_REST_API_APPLICATIONS: {page}, then New.",
        "The client id and the secret are shown when it is made.",
    ),
    (3, Grant.CLIENT_CREDENTIALS): (
        "In ProcessMaker, as a user with the permission PM_REST_API_APPLICATIONS: {page}, then New.",
        "The client id and the secret are shown when it is made.",
        "Such a token has no user: what belongs to a user will not work with it.",
    ),
}

_QUESTIONS = {
    "workspace": "Workspace",
    "client_id": "Client id",
    "client_secret": "Client secret",
    "username": "User name",
    "password": "Password",
    "token": "Personal access token",
}

_START = 'pmcredd   (in a terminal of its own; or: systemd-run --user --unit=pmcredd "$(command -v pmcredd)")'


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "init",
        description="Make a profile by answering questions. The profile is tested against the server and then written. "
        "Every answer can be given as a flag; without a terminal they all must.",
    )
    parser.add_argument("--name", metavar="NAME", help="of the profile (default: from the address)")
    add_flags(parser)
    parser.add_argument("--no-test", action="store_true", help="send nothing to the server")
    parser.add_argument("--yes", action="store_true", help="where a question has a default, take it")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # Before the first question: whoever has typed a secret must not hear that it cannot be kept.
    files.need_writable(Draft("new").path(os.environ).parent)
    config = validate.Checker.of(os.environ).config()
    draft = _Interview(args, config).draft()
    draft.write(os.environ)
    say(f"Wrote {draft.path(os.environ)}.")
    runs = tell_daemon(args)
    say()
    say("Next:")
    if not runs:
        say(f"  {_START}")
    print(f"  pmcred get {draft.name}")
    return 0


class _Interview:
    """The questions in their order, each skipped where a flag has answered it."""

    def __init__(self, args: argparse.Namespace, config: Config) -> None:
        self._args = args
        self._config = config
        self._person = interactive()
        self._keys = given(args)
        self._piped = piped(args)
        self._known: dict[str, Secret] = {}  # secrets that need not be read again for the test

    def draft(self) -> Draft:
        """Ask, test, and give what is to be written."""
        start = self._where()
        name = self._name(str(self._keys["url"]))
        draft = Draft(name, self._keys)
        grant = self._grant(self._keys.get("grant"))
        self._keys["grant"] = grant.value
        generation = self._keys["generation"]
        self._advise(grant, int(str(generation)))
        for key, about in PROFILE_KEYS.items():
            if grant not in about.needed_by or generation not in about.generations or key in self._keys:
                continue
            if key in SECRETS:
                self._secret(draft, key)
            else:
                default = (start.workspace or "workflow") if key == "workspace" else ""
                self._keys[key] = self._plain(key, default=default)
        self._check(draft)
        if not self._args.no_test:
            self._try(draft)
        return draft

    # The server

    def _where(self) -> Address:
        text = str(self._keys["url"]) if "url" in self._keys else ""
        while True:
            start = self._address(text)
            found = self._detect(start)
            if found is None:
                self._keys["url"] = start.url
                return start
            self._keys["url"] = found.url
            say(f"{found.sentence}" + (f"\n  try: {found.mend}" if found.mend else ""))
            if found.generation is not None:
                self._keys["generation"] = found.generation
                return start
            if not self._person:
                hint = "put --url right, or give --generation to go on without looking"
                raise Problem(found.sentence, found.mend or hint, exit_status=6 if found.reachable else 5)
            if confirm("Use this address all the same?", default=False):
                options = [("4", "the present one: its pages have no workspace in their address"), ("3", "")]
                self._keys["generation"] = int(choose("Which generation of ProcessMaker is it?", options, default="4"))
                return start
            text = ""

    def _address(self, text: str) -> Address:
        while True:
            asked = text or self._answer("--url", "Address of your ProcessMaker (as in the browser)")
            try:
                return address(asked)
            except BadUrl as bad:
                if not self._person:
                    raise Problem(
                        f"the url {bad.wrong}", "write it like https://acme.processmaker.net", exit_status=2
                    ) from None
                say(f"  That {bad.wrong}. Write it like https://acme.processmaker.net")
                text = ""

    def _detect(self, start: Address) -> Found | None:
        if "generation" in self._keys or self._args.no_test:
            # Nothing is sent. A workspace in the address is generation 3's alone.
            self._keys.setdefault("generation", 3 if start.workspace else 4)
            return None
        say(f"Looking at {start.url} ...")

        async def look() -> Found:
            upstream = Upstream()
            try:
                return await detect(upstream, start, self._transport())
            finally:
                await upstream.aclose()

        return run_async(look)

    def _transport(self) -> Profile:
        """Give a profile that says how to reach the server, and nothing else."""

        def path(key: str) -> str | None:
            return absolute(str(self._keys[key])) if key in self._keys else None

        proxy = self._keys.get("proxy")
        timeout = self._keys.get("timeout")
        return Profile(
            name="init",
            url="",
            grant=Grant.CLIENT_CREDENTIALS,
            ca_file=path("ca_file"),
            client_cert=path("client_cert"),
            client_key=path("client_key"),
            proxy=str(proxy) if proxy not in (None, "none") else None,
            timeout=timeout if isinstance(timeout, float) else 15.0,
        )

    # The profile

    def _name(self, url: str) -> str:
        first = parse_url(url).host.strip("[]").split(".")[0]
        default = first if valid_name(first) and first not in self._config.profiles else ""
        asked = self._args.name
        while True:
            name = asked or self._answer("--name", "Name of the profile", default=default)
            try:
                new_name(name, self._config.profiles)
                for key in SECRETS:
                    if os.path.lexists(left := secret_file(os.environ, name, key)):
                        raise Problem(
                            f"{left} is there already, from an earlier profile", "remove it, or choose another name"
                        )
            except Problem as problem:
                if not self._person:
                    raise
                say(f"  {problem.message}; {problem.hint}")
                asked = None
            else:
                return name

    def _grant(self, chosen: object) -> Grant:
        while True:
            if chosen is None:
                if not self._person:
                    raise need_answer("--grant")
                options = [(grant.value, about) for grant, about in _GRANTS]
                say("How is the token got?")
                chosen = choose("Grant", options, default=Grant.PASSWORD.value)
            grant = Grant(str(chosen))
            if grant is not Grant.AUTHORIZATION_CODE:
                return grant
            if not self._person:
                raise Problem(_NOT_YET, "--grant password, or --grant personal_access_token", exit_status=2)
            say(f"  {_NOT_YET}.")
            chosen = None

    def _advise(self, grant: Grant, generation: int) -> None:
        if self._person:
            say()
            for line in _ADVICE.get((generation, grant), ()):
                say(f"  {line.format(page=GENERATIONS[generation].clients_page)}")
            say()
        if grant is Grant.CLIENT_CREDENTIALS and generation == 4:
            say("warning: such a token has no user, and ProcessMaker 4 answers it 401 at /api/1.0.")
            if self._person and not self._args.yes and not confirm("Go on all the same?", default=False):
                raise Problem("nothing was written", "pmcred init --grant password")

    def _plain(self, key: str, *, default: str = "") -> str:
        while True:
            text = self._answer(flag(key), _QUESTIONS[key], default=default)
            try:
                read_value(PROFILE_KEYS[key], text, Place(folder="/", home=home(os.environ)))
            except Flaw as flaw:
                say(f"  That {flaw.wrong}; {flaw.mend}")
            else:
                return text

    # Its secrets

    def _secret(self, draft: Draft, key: str) -> None:
        draft.drop_secret(key)
        if key in self._piped:
            place = draft.literal if self._args.store_secrets == "profile" else draft.filed
            place[key] = self._known[key] = self._piped.pop(key)
            return
        if not self._person:
            raise need_answer(f"{flag(key)}-file, {flag(key)}-command or {flag(key)}-stdin")
        words = _QUESTIONS[key].lower()
        where = self._args.store_secrets or ("file" if self._args.yes else self._choose_place(draft.name, key, words))
        if where == "command":
            self._keys[key] = {"command": self._command(key, words)}
            return
        secret = self._known[key] = ask_secret(_QUESTIONS[key])
        (draft.literal if where == "profile" else draft.filed)[key] = secret

    def _choose_place(self, name: str, key: str, words: str) -> str:
        say(f"Where shall the {words} be kept?")
        options = [
            ("file", f"you type it now; it goes to {secret_file(os.environ, name, key)}, for your eyes only"),
            ("command", "it stays where it is; a command prints it, such as: pass show pm/prod"),
            ("profile", "you type it now; it stands in the profile itself"),
        ]
        return choose("Keep it in", options, default="file")

    def _command(self, key: str, words: str) -> list[str]:
        while True:
            try:
                command = words_of(ask(f"Command that prints the {words}"))
                self._known[key] = run_async(partial(self._read_command, command))
            except Problem as problem:
                say(f"  {problem.message}")
            except secret_sources.SecretUnavailable as why:
                say(f"  {clean(why.sentence)}\n  try: {clean(why.mend)}")
            else:
                return command

    @staticmethod
    async def _read_command(command: Sequence[str]) -> Secret:
        return await secret_sources.read(CommandSecret(tuple(command)), environ=os.environ)

    # The test

    def _check(self, draft: Draft) -> Profile:
        return check(draft).profiles[draft.name]

    def _try(self, draft: Draft) -> None:
        while True:
            profile = self._check(draft)
            say(f"Testing the profile against {profile.url} ...")
            failed = self._ask_server(profile)
            if failed is None:
                say("It works.")
                return
            if not self._person:
                raise Problem(f"{failed.sentence}; nothing was written", failed.mend, exit_status=failed.exit_status)
            say(
                f"It does not work: {clean(failed.sentence)}"
                + (f"\n  try: {clean(failed.mend)}" if failed.mend else "")
            )
            if failed.counts:
                say("  Each try counts: a server may lock a user out after a few wrong ones.")
            options = [
                *(
                    [("correct", f"type {' and '.join(_called(key) for key in failed.correct)} anew, then test")]
                    * bool(failed.correct)
                ),
                ("again", "test the same once more"),
                ("write", "write the profile as it is"),
                ("quit", "write nothing"),
            ]
            match choose("What now?", options, default=options[0][0]):
                case "correct":
                    self._correct(draft, failed.correct)
                case "write":
                    return
                case "quit":
                    raise Problem("nothing was written")
                case _:
                    pass

    def _correct(self, draft: Draft, keys: Sequence[str]) -> None:
        for key in keys:
            if key in SECRETS:
                self._known.pop(key, None)
                self._secret(draft, key)
            elif key == "url":
                self._keys["url"] = self._address("").url
            else:
                self._keys[key] = self._plain(key, default=str(self._keys.get(key, "")))

    def _ask_server(self, profile: Profile) -> Failed | None:
        async def test() -> Failed | None:
            upstream = Upstream()
            try:
                return await try_profile(upstream, profile, self._known, os.environ)
            finally:
                await upstream.aclose()

        return run_async(test)

    def _answer(self, option: str, question: str, *, default: str = "") -> str:
        if default and (self._args.yes or not self._person):
            return default
        if not self._person:
            raise need_answer(option)
        return ask(question, default=default)


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run one piece of work in an event loop of its own; Ctrl-C ends it."""
    try:
        return trio.run(work)
    except BaseExceptionGroup as group:
        # Ctrl-C inside a nursery comes out wrapped.
        if group.subgroup(KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _called(key: str) -> str:
    return "the address" if key == "url" else f"the {_QUESTIONS[key].lower()}"
