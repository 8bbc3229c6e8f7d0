"""The questions of `pmcred init` in their order, each skipped where a flag has answered it."""

import argparse
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pmcredd import secret_sources
from pmcredd.cli import errands
from pmcredd.cli.advice import advice, grants, objection
from pmcredd.cli.draft import SECRETS, Draft, flag, given, piped, secret_file, words_of
from pmcredd.cli.find_server import ask_address, find_server
from pmcredd.cli.problem import Problem
from pmcredd.cli.profile import new_name
from pmcredd.cli.questions import Respondent, ask, ask_secret, choose, confirm, interactive, need_answer
from pmcredd.cli.terminal import clean, say
from pmcredd.cli.validate import Checker
from pmcredd.config_files import home
from pmcredd.profile_keys import PROFILE_KEYS
from pmcredd.profile_values import Flaw, Place, read_value
from pmcredd.profiles import Grant, secret_variables, valid_name
from pmcredd.urls import parse_url

if TYPE_CHECKING:
    from pmcredd.secret import Secret

_QUESTIONS = {
    "workspace": "Workspace",
    "client_id": "Client id",
    "redirect_uri": "Redirect URI",
    "client_secret": "Client secret",
    "username": "User name",
    "password": "Password",
    "token": "Personal access token",
}


class Interview:
    """Asks for all that a profile needs, and anew for what turned out wrong.

    `known` holds the secrets, by key, that need not be read again for a test.
    """

    def __init__(self, args: argparse.Namespace, checker: Checker) -> None:
        self._args = args
        self._checker = checker
        self._who = Respondent(interactive(), yes=args.yes)
        self._keys = given(args)
        self._piped = piped(args)
        self._place = "file"  # where the last secret went, and so most likely the next one
        self.known: dict[str, Secret] = {}

    @property
    def person(self) -> bool:
        """Whether somebody is there to answer."""
        return self._who.person

    def draft(self) -> Draft:
        """Ask everything, and give what is to be written."""
        server = find_server(self._who, self._keys, self._checker, look=not self._args.no_test)
        self._keys |= {"url": server.url, "generation": server.generation}
        draft = Draft(self._name(server.url), self._keys)
        grant = self._grant(self._keys.get("grant"), server.generation)
        self._keys["grant"] = grant.value
        self._advise(grant, server.generation)
        for key, about in PROFILE_KEYS.items():
            if grant not in about.needed_by or server.generation not in about.generations or key in self._keys:
                continue
            if key in SECRETS:
                self._secret(draft, key)
            else:
                default = (server.workspace or "workflow") if key == "workspace" else ""
                self._keys[key] = self._plain(key, default=default)
        return draft

    def correct(self, draft: Draft, keys: Sequence[str]) -> None:
        """Ask anew for these keys of a draft."""
        for key in keys:
            if key in SECRETS:
                self._correct_secret(draft, key)
            elif key == "url":
                self._keys["url"] = ask_address(self._who).url
            else:
                self._keys[key] = self._plain(key, default=str(self._keys.get(key, "")))

    def _name(self, url: str) -> str:
        first = parse_url(url).host.strip("[]").split(".")[0]
        # The first part of an IP address is a valid name, and nobody's choice.
        usable = valid_name(first) and not first.isdigit() and first not in self._checker.names()
        default = first if usable else ""
        asked = self._args.name
        while True:
            name = asked or self._who.answer("--name", "Name of the profile", default=default)
            try:
                new_name(name, self._checker)
                for key in SECRETS:
                    if os.path.lexists(left := secret_file(os.environ, name, key)):
                        raise Problem(
                            f"{left} is there already, from an earlier profile", "remove it, or choose another name"
                        )
            except Problem as problem:
                if not self.person:
                    raise
                say(f"  {problem.message}; {problem.hint}")
                asked = None
            else:
                return name

    def _grant(self, chosen: object, generation: int) -> Grant:
        options = grants(generation)
        while True:
            if chosen is None:
                if not self.person:
                    raise need_answer("--grant")
                say("How is the token got?")
                chosen = choose("Grant", options, default=Grant.PASSWORD.value)
            grant = Grant(str(chosen))
            if not (wrong := objection(generation, grant)):
                return grant
            if not self.person:
                others = [f"--grant {word}" for word, _ in options if not objection(generation, Grant(word))]
                raise Problem(wrong, " or ".join(others), exit_status=2)
            say(f"  {wrong}.")
            chosen = None

    def _advise(self, grant: Grant, generation: int) -> None:
        if self.person:
            say()
            for line in advice(generation, grant):
                say(f"  {line}")
            say()
        if grant is Grant.CLIENT_CREDENTIALS and generation == 4:
            say("warning: such a token has no user, and ProcessMaker 4 answers it 401 at /api/1.0.")
            if self.person and not self._args.yes and not confirm("Go on all the same?", default=False):
                raise Problem("nothing was written", "pmcred init --grant password")

    def _plain(self, key: str, *, default: str = "") -> str:
        while True:
            text = self._who.answer(flag(key), _QUESTIONS[key], default=default)
            try:
                read_value(PROFILE_KEYS[key], text, Place(folder="/", home=home(os.environ)))
            except Flaw as flaw:
                say(f"  That {flaw.wrong}; {flaw.mend}")
            else:
                return text

    # Secrets

    def _secret(self, draft: Draft, key: str) -> None:
        if key in self._piped:
            place = draft.literal if self._args.store_secrets == "profile" else draft.filed
            place[key] = self.known[key] = self._piped.pop(key)
            return
        if not self.person:
            raise need_answer(f"{flag(key)}-file, {flag(key)}-command or {flag(key)}-stdin")
        where = self._args.store_secrets or ("file" if self._args.yes else self._choose_place(draft.name, key))
        self._fetch(draft, key, where)

    def _fetch(self, draft: Draft, key: str, where: str) -> None:
        if where == "command":
            self._keys[key] = {"command": self._command(key)}
            return
        secret = self.known[key] = ask_secret(_QUESTIONS[key])
        (draft.literal if where == "profile" else draft.filed)[key] = secret

    def _correct_secret(self, draft: Draft, key: str) -> None:
        """Ask for a secret anew, where it was; for one whose source a flag named, ask where it shall be, too."""
        self.known.pop(key, None)
        if key in draft.filed or key in draft.literal:
            self._fetch(draft, key, "file" if key in draft.filed else "profile")
            return
        source = self._keys.get(key)
        if isinstance(source, dict) and "command" in source:
            self._fetch(draft, key, "command")
            return
        self._keys.pop(key, None)
        self._secret(draft, key)

    def _choose_place(self, name: str, key: str) -> str:
        say(f"Where shall the {_QUESTIONS[key].lower()} be kept?")
        options = [
            ("file", f"you type it next, unseen; it goes to {secret_file(os.environ, name, key)}, for your eyes only"),
            ("command", "it stays where it is; a command prints it, such as: pass show pm/prod"),
            ("profile", "you type it next, unseen; it stands in the profile itself"),
        ]
        self._place = choose("Keep it in", options, default=self._place)
        return self._place

    def _command(self, key: str) -> list[str]:
        source = self._keys.get(key)
        before = shlex.join(source["command"]) if isinstance(source, dict) and "command" in source else ""
        while True:
            try:
                command = words_of(ask(f"Command that prints the {_QUESTIONS[key].lower()}", default=before))
                before = shlex.join(command)
                self.known[key] = errands.read_command(command, self._withhold())
            except Problem as problem:
                say(f"  {problem.message}")
            except secret_sources.SecretUnavailable as why:
                say(f"  {clean(why.sentence)}\n  try: {clean(why.mend)}")
            else:
                return command

    def _withhold(self) -> frozenset[str]:
        """Name the variables that hold secrets of any profile, this one included."""
        flags = {str(value["env"]) for value in self._keys.values() if isinstance(value, dict) and "env" in value}
        return secret_variables(self._checker.sound().profiles.values()) | flags


def called(key: str) -> str:
    """Say what a key is in the words of its question."""
    return "the address" if key == "url" else f"the {_QUESTIONS[key].lower()}"
