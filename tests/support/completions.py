"""Writes the completions for bash, zsh and fish out of the command line: `cd tests && python -m support.completions`.

What is the same whatever verbs there are stands in pmcredd/shell/{ask,complete}.*; what this makes out of them and of
the parsers, pmcredd/shell/completions/*, each needs nothing else.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from pmcredd import cli
from pmcredd.cli import api
from support import man

SHELL = man.TREE / "pmcredd" / "shell"
FILES = {"bash": "pmcred.bash", "zsh": "_pmcred", "fish": "pmcred.fish"}
COMMAND = "cd tests && python -m support.completions"

PROFILE, FILE, PROGRAM, NOTHING = "@profile", "@file", "@command", "-"
# What stands for an operand in the help, and what may be typed there.
_OPERANDS = {
    "NAME": PROFILE,
    "METHOD": "|".join(api._METHODS),
    "OPERATION": "install|uninstall",  # the others are git's to say
    "FILE": FILE,
    "COMMAND": PROGRAM,
    "CMD": PROGRAM,
}
_TEXT = {PROFILE: "profile", FILE: "file", PROGRAM: "command"}


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its spellings, what it says, and of what kind its value is, if it takes one."""

    names: tuple[str, ...]
    about: str
    value: str | None
    metavar: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, or with no words the command itself; `operands` are kinds, and one that ends in * comes again."""

    words: str
    about: str
    options: tuple[Option, ...]
    operands: tuple[str, ...]
    below: tuple["Verb", ...]

    def all(self) -> Iterator["Verb"]:
        """Give it and the verbs below it."""
        yield self
        for verb in self.below:
            yield from verb.all()

    @property
    def last(self) -> str:
        """Give its last word."""
        return self.words.rpartition(" ")[2]


def page(shell: str) -> str:
    """Give the completion for a shell as it should stand in its file."""
    first = "#compdef pmcred\n" if shell == "zsh" else ""
    note = f"# Completion of pmcred for {shell}. Made of the command line; to make it anew: {COMMAND}\n\n"
    words = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](command())
    ask, complete = ((SHELL / f"{part}.{shell}").read_text() for part in ("ask", "complete"))
    return first + note + ask + "\n" + complete.replace("{{words}}", "\n".join(words))


def command() -> Verb:
    """Give the command line, as the parsers define it."""
    parsers = man.verbs()
    about = {verb: said for group in cli._GROUPS.values() for verb, (_, said) in group.items()}
    for words, parser in parsers.items():
        about |= {f"{words} {verb}": said for verb, said in man._said_of_verbs(parser)}

    def verb(words: str) -> Verb:
        parser = parsers[words]
        options = tuple(_option(parser, action) for action in parser._actions if action.option_strings)
        below = tuple(verb(each) for each in parsers if each.rpartition(" ")[0] == words)
        operands = () if below else tuple(_operands(words, parser))
        said = about.get(words) or (parser.description or "").partition(".")[0]
        return Verb(words, _short(said), options, operands, below)

    everywhere = verb("get").options
    names = man._EVERYWHERE
    top = tuple(verb(words) for words in parsers if " " not in words)
    return Verb("", "", tuple(o for o in everywhere if names & {*o.names}), (), top)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    value = None
    if action.nargs != 0:
        names = action.option_strings
        file = action.metavar == "FILE" or any(n.endswith("-file") or n == "--socket" for n in names)
        value = "|".join(map(str, action.choices)) if action.choices else FILE if file else NOTHING
    repeated = isinstance(action, argparse._AppendAction)
    metavar = str(action.metavar or action.dest)
    return Option(tuple(action.option_strings), _short(_help(parser, action)), value, metavar, repeated)


def _operands(words: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._get_positional_actions():
        again = "*" if action.nargs in ("*", "+", argparse.REMAINDER) else ""
        if action.choices:
            yield "|".join(map(str, action.choices)) + again
            continue
        names = (
            str(action.metavar or action.dest)
            .replace("[", "")
            .replace("]", "")
            .replace("...", "")
            .replace("--", "")
            .split()
        )
        kinds = [_OPERANDS.get(name, NOTHING) for name in names]
        if words == "profile add":  # there, a name is a new one
            kinds = [NOTHING]
        yield from (*kinds[:-1], kinds[-1] + again)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Give an option's help as argparse prints it, with its default put in."""
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _short(text: str) -> str:
    """Give the first part of a help text: a menu has a line for each."""
    first = text.partition(";")[0]
    if first.count("(") > first.count(")"):  # it was cut within a remark
        first = first.rpartition("(")[0]
    return " ".join(first.split())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# bash


def _bash(top: Verb) -> Iterator[str]:
    yield "__pmcred_words() {"
    yield "  below='' options='' valued='' operands=()"
    yield "  case $1 in"
    for verb in top.all():
        parts = []
        if verb.below:
            parts.append(f"below='{' '.join(each.last for each in verb.below)}'")
        parts.append(f"options='{' '.join(name for option in verb.options for name in option.names)}'")
        valued = [f"{name}={option.value}" for option in verb.options if option.value for name in option.names]
        if valued:
            parts.append(f"valued='{' '.join(valued)}'")
        if verb.operands:
            parts.append(f"operands=({' '.join(map(_quoted, verb.operands))})")
        yield f"  '{verb.words}')"
        yield from (f"    {part}" for part in parts)
        yield "    ;;"
    yield "  esac"
    yield "}"


# zsh


def _zsh(top: Verb) -> Iterator[str]:
    for verb in top.all():
        name = "_pmcred" + "".join(f"_{word}" for word in verb.words.replace("-", "_").split())
        yield f"{name}() {{"
        if verb.below:
            yield "  local context state state_descr line"
            yield "  typeset -A opt_args"
            yield "  local -a verbs=("
            yield from (f"    {_quoted(each.last + ':' + _escaped(each.about, ':'))}" for each in verb.below)
            yield "  )"
        yield "  _arguments -S -C \\" if verb.below else "  _arguments -S \\"
        specs = [*map(_zsh_option, verb.options)]
        if verb.below:
            specs += ["'1: :->verb'", "'*:: :->below'"]
        for number, operand in enumerate(verb.operands, 1):
            place = "*" if operand.endswith("*") else str(number)
            specs.append(_quoted(f"{place}:{_zsh_value(operand.removesuffix('*'), 'operand')}"))
        yield from (f"    {spec} \\" for spec in specs[:-1])
        yield f"    {specs[-1]}"
        if verb.below:
            yield "  case $state in"
            yield "  verb) _describe verb verbs ;;"
            yield "  below)"
            yield "    case ${words[1]} in"
            yield from (f"    {each.last}) {name}_{each.last.replace('-', '_')} ;;" for each in verb.below)
            yield "    esac"
            yield "    ;;"
            yield "  esac"
        yield "}"
        yield ""


def _zsh_option(option: Option) -> str:
    many = "*" if option.repeated else ""
    others = f"({' '.join(option.names)})" if len(option.names) > 1 and not many else ""
    value = "" if option.value is None else ":" + _zsh_value(option.value, option.metavar)
    said = f"[{_escaped(option.about, '[]:')}]{value}"
    spelt = [f"{name}=" if option.value and name.startswith("--") else name for name in option.names]
    if len(spelt) == 1:
        return _quoted(many + spelt[0] + said)
    return _quoted(many + others) + "{" + ",".join(spelt) + "}" + _quoted(said)


def _zsh_value(kind: str, metavar: str) -> str:
    text = _escaped(_TEXT.get(kind, metavar), ":")
    actions = {PROFILE: "__pmcred_profiles", FILE: "_files", PROGRAM: "__pmcred_command", NOTHING: " "}
    return f"{text}:{actions.get(kind) or '(' + kind.replace('|', ' ') + ')'}"


def _escaped(text: str, characters: str) -> str:
    return "".join("\\" + each if each in characters + "\\" else each for each in text)


# fish


def _fish(top: Verb) -> Iterator[str]:
    yield "function __pmcred_words"
    yield '    switch "$argv"'
    for verb in top.all():
        if verb.below:
            yield f"        case 'below {verb.words}'"
            yield f"            printf '%s\\n' {' '.join(each.last for each in verb.below)}"
        valued = [name for option in verb.options if option.value for name in option.names]
        yield f"        case 'valued {verb.words}'"
        yield f"            printf '%s\\n' {' '.join(valued)}"
    yield "    end"
    yield "end"
    yield ""
    yield "complete -c pmcred -f"
    yield from (f"complete -c pmcred {_fish_option(option)}" for option in top.options)
    everywhere = {option.names for option in top.options}
    for verb in top.all():
        at = f"__pmcred_at {_quoted(verb.words)}"
        for each in verb.below:
            yield f'complete -c pmcred -n "{at} 1" -a {each.last} -d {_fish_quoted(each.about)}'
        for option in verb.options:
            if option.names not in everywhere:
                yield f'complete -c pmcred -n "{at}" {_fish_option(option)}'
        for number, operand in enumerate(verb.operands, 1):
            kind = operand.removesuffix("*")
            if kind == NOTHING:
                continue
            place = f"{number}+" if operand.endswith("*") else str(number)
            actions = {PROFILE: "-a '(__pmcred_profiles)'", FILE: "-F", PROGRAM: "-a '(__pmcred_command)'"}
            action = actions.get(kind) or f"-a '{kind.replace('|', ' ')}'"
            yield f'complete -c pmcred -n "{at} {place}" {action}'


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    takes = []
    if option.value == FILE:
        takes = ["-r", "-F"]
    elif option.value == NOTHING:
        takes = ["-x"]
    elif option.value:
        takes = ["-x", f"-a '{option.value.replace('|', ' ')}'"]
    return " ".join([*names, *takes, f"-d {_fish_quoted(option.about)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main() -> None:
    """Write all files."""
    folder = SHELL / "completions"
    folder.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (folder / name).write_text(page(shell))


if __name__ == "__main__":
    main()
