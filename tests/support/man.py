"""Writes the manual pages, man/*.[157], out of what the programs run on: `cd tests && python -m support.man`.

And docs/commands.md, which tells the same of pmcred and pmcredd to who reads the documentation in a browser.

What people say stands in man/*.md. A line `{{name}}` there is replaced by what _PARTS has under that name, made out of
the command lines, the keys of profiles and the socket's protocol as the programs themselves define them.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pmcredd
from pmcredd import cli, daemon, profile_keys, profile_schema
from pmcredd.profile_keys import Key, Kind
from support import roff

TREE = Path(__file__).resolve().parents[2]
FOLDER = TREE / "man"
COMMANDS = TREE / "docs" / "commands.md"
COMMAND = "cd tests && python -m support.man"
PAGES = ("pmcred.1", "pmcredd.1", "pmcred-profiles.5", "pmcred-protocol.7")

_COMMANDS = f"""# Commands

<!-- Made out of the programs and man/*.md; do not edit. To make it anew: {COMMAND} -->

Every verb of `pmcred`, and the daemon `pmcredd`. `man pmcred` and `man pmcredd` say the same, and
`pmcred VERB --help` the part that you need. `pmcred get`, `header` and `status` are what you will type.

"""
_EVERYWHERE = frozenset({"--help", "--socket", "--verbose", "--version"})
_VALUES = {
    Kind.SECRET: "a secret",
    Kind.FILE: "a file",
    Kind.YES_OR_NO: "true or false",
}


def page(name: str) -> str:
    """Give a page, such as pmcred.1, as it should stand in man/."""
    title, _, section = name.rpartition(".")
    return roff.page(title, int(section), pmcredd.__version__, _words(name))


def commands() -> str:
    """Give docs/commands.md as it should stand there."""
    reference = [_reference(_words(name)) for name in ("pmcred.1", "pmcredd.1")]
    return _COMMANDS + reference[0] + "## pmcredd\n\n" + re.sub("^##", "###", reference[1], flags=re.MULTILINE)


def _words(name: str) -> str:
    words = (FOLDER / f"{name}.md").read_text()
    return re.sub(r"^\{\{(.+)\}\}$", lambda found: _PARTS[found[1]](), words, flags=re.MULTILINE)


def _reference(words: str) -> str:
    """Give what somebody looks up in a manual page, in the Markdown of forges, which know no terms with a meaning."""
    words = words[words.index("## Options\n") : words.index("## Examples\n")]
    words = re.sub(r"^(\S.*)\n:   ", r"- \1: ", words, flags=re.MULTILINE)
    words = re.sub(r"^(- .*(?:\n    .*)*)\n\n(?=- )", r"\1\n", words, flags=re.MULTILINE)
    words = words.replace("`pmcred-profiles`(5)", "[profiles](profiles.md)")
    return re.sub(r"^(## )([a-z])", lambda found: found[1] + found[2].upper(), words, flags=re.MULTILINE)


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Give the parser of each verb of pmcred by its words, such as `profile add`, in the order of the help."""
    parser = cli._Parser(prog="pmcred", add_help=False)
    known = parser.add_subparsers()
    wanted = {verb: module for group in cli._GROUPS.values() for verb, (module, _) in group.items()}
    for module in dict.fromkeys(wanted.values()):
        import_module(f"pmcredd.cli.{module}").add(known)
    return dict(pair for verb in wanted for pair in _with_its_verbs(verb, known.choices[verb]))


def daemon_parser() -> argparse.ArgumentParser:
    """Give the parser of pmcredd, which makes and uses it in one breath."""
    caught: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser, *_: object, namespace: object = None) -> object:
        caught.append(parser)
        return namespace

    with patch.object(argparse.ArgumentParser, "parse_args", keep):
        daemon._parse([])
    return caught[0]


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Give the options of a verb that are its own."""
    return [a for a in parser._actions if a.option_strings and not _EVERYWHERE & {*a.option_strings}]


def _with_its_verbs(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield from _with_its_verbs(f"{words} {verb}", below)


# pmcred


def _verb_parts() -> str:
    parsers = verbs()
    about = {verb: words for group in cli._GROUPS.values() for verb, (_, words) in group.items()}
    below = {f"{words} {verb}": said for words, parser in parsers.items() for verb, said in _said_of_verbs(parser)}
    wide = parsers["profile add"]
    parts = []
    for group, verbs_of_group in cli._GROUPS.items():
        parts.append(f"## {group.partition(' (')[0]}")
        for words, parser in parsers.items():
            if words.split()[0] not in verbs_of_group or _has_verbs(parser):
                continue
            said = parser.description or below.get(words) or about[words]
            parts += [f"### pmcred {words}{_operands(parser)}", _sentence(said)]
            borrowed = parser is not wide and {_names(a) for a in options(wide)} < {_names(a) for a in options(parser)}
            if borrowed:
                parts.append("It takes every option of `pmcred profile add`, and these:")
            parts += _arguments(parser, without=options(wide) if borrowed else ())
            parts += _epilog(parser)
    return "\n\n".join(parts)


def _said_of_verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, choice.help or ""


def _has_verbs(parser: argparse.ArgumentParser) -> bool:
    return any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)


def _operands(parser: argparse.ArgumentParser) -> str:
    found = ""
    for action in parser._get_positional_actions():
        name = str(action.metavar or action.dest)
        found += " " + {"?": f"[{name}]", "*": f"[{name}]...", None: name}.get(action.nargs, name)  # type: ignore[arg-type]
    return found


def _arguments(parser: argparse.ArgumentParser, without: "list[argparse.Action] | tuple[()]" = ()) -> list[str]:
    """Tell of everything that a verb may be given, group by group."""
    left_out = {_names(action) for action in without}
    parts = [_item(str(a.metavar), a.help) for a in parser._get_positional_actions() if a.help]
    for group in parser._action_groups:
        mine = [a for a in group._group_actions if a in options(parser) and _names(a) not in left_out]
        if mine and group.description:
            parts.append(_sentence(group.description))
        parts += [_option(action) for action in mine]
    return parts


def _names(action: argparse.Action) -> tuple[str, ...]:
    return tuple(action.option_strings)


def _option(action: argparse.Action) -> str:
    shown = ", ".join(f"`{name}`" for name in action.option_strings)
    if action.nargs != 0:
        value = "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest.upper())
        shown += f" {_metavar(value)}"
    return _item(shown, (action.help or "") % vars(action))  # argparse fills in %(default)s so


def _metavar(value: str) -> str:
    return f"*{value}*" if value[0].isalpha() or value[0] in "'[" else value


def _item(term: str, meaning: str | None) -> str:
    return f"{term if term.startswith('`') else _metavar(term)}\n:   {_sentence(meaning or '')}"


def _sentence(words: str) -> str:
    words = " ".join(words.split()).replace("%%", "%")
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", ":")) else ".")


def _epilog(parser: argparse.ArgumentParser) -> list[str]:
    said, _, example = (parser.epilog or "").replace("%%", "%").partition("example: ")
    parts = [_sentence(said)] if said.strip() else []
    return [*parts, f"    {example}"] if example else parts


def _everywhere() -> str:
    parser = cli._Parser(prog="pmcred")
    about = {"--help": "show the verbs, or after a verb what it takes"}
    return "\n\n".join(
        _item(", ".join(f"`{name}`" for name in a.option_strings) + (f" *{a.metavar}*" if a.metavar else ""), said)
        for a in parser._actions
        for said in [about.get(a.option_strings[-1], a.help)]
    )


def _daemon_options() -> str:
    return "\n\n".join(_option(action) for action in daemon_parser()._actions)


# The keys of profiles


def _keys(table: Mapping[str, Key]) -> str:
    return "\n\n".join(f"`{key.name}`\n:   {' '.join(_about(key))}" for key in table.values())


def _about(key: Key) -> Iterator[str]:
    yield key.help
    if key.meanings:
        for choice, meaning in zip(key.choices, key.meanings, strict=True):
            yield f"`{_toml(choice)}`: {meaning}"
    elif key.choices:
        yield f"One of {', '.join(f'`{_toml(choice)}`' for choice in key.choices)}."
    elif key.kind in _VALUES:
        yield f"The value is {_VALUES[key.kind]}."
    if key.default:
        yield f"Default: {key.default}."
    if use := profile_schema.use(key):
        yield use
    yield f"\\\nExample: `{key.name} = {key.example}`"


def _toml(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _of_one_profile() -> str:
    names = [f"`{name}`" for name, key in profile_keys.PROFILE_KEYS.items() if not key.shared]
    return f"These keys belong to one profile, and cannot stand in `[defaults]`: {', '.join(names)}."


# The protocol


def _protocol() -> str:
    """Give docs/protocol.md, the specification, without its title."""
    return (TREE / "docs" / "protocol.md").read_text().partition("\n")[2]


_PARTS: Mapping[str, Callable[[], str]] = {
    "options everywhere": _everywhere,
    "verbs": _verb_parts,
    "options of pmcredd": _daemon_options,
    "keys of a profile": partial(_keys, profile_keys.PROFILE_KEYS),
    "keys of one profile": _of_one_profile,
    "keys of a secret": partial(_keys, profile_keys.SECRET_KEYS),
    "keys of the daemon": partial(_keys, profile_keys.DAEMON_KEYS),
    "keys of on_event": partial(_keys, profile_keys.EVENT_KEYS),
    "keys of an event's command": partial(_keys, profile_keys.EVENT_COMMAND_KEYS),
    "docs/protocol.md": _protocol,
}


if __name__ == "__main__":
    for made in PAGES:
        (FOLDER / made).write_text(page(made))
    COMMANDS.write_text(commands())
