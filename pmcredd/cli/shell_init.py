"""`pmcred shell-init`: what a shell is to evaluate when it starts: the function `pmcred`, and the completion."""

import argparse
import os
from importlib import resources
from typing import TYPE_CHECKING

from pmcredd import client, wire
from pmcredd.cli.problem import Problem

if TYPE_CHECKING:
    from argparse import _SubParsersAction

COMPLETIONS = {"bash": "pmcred.bash", "zsh": "_pmcred", "fish": "pmcred.fish"}
"""The completion of each shell, by the name under which packages install it."""

_PATIENCE = 1.0  # seconds: somebody has pressed the Tab key

_WHERE = (
    'In bash, write eval "$(pmcred shell-init bash)" at the end of ~/.bashrc; in zsh, eval "$(pmcred shell-init zsh)" '
    "at the end of ~/.zshrc, after compinit; in fish, pmcred shell-init fish | source into ~/.config/fish/config.fish. "
    "Then the shell asks the daemon itself for `pmcred get` and `pmcred header` (bash and fish need OpenBSD's nc, or "
    "socat), which is several times faster. Everything else, and every error, is the command's as before."
)


def add(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "shell-init",
        description="Print what a shell evaluates when it starts: a faster `pmcred get`, and the completion.",
        epilog=_WHERE,
    )
    parser.add_argument("shell", metavar="bash|zsh|fish", nargs="?", choices=tuple(COMPLETIONS))
    parser.add_argument("--profiles", action="store_true", help="print the names of the profiles, for a completion")
    parser.set_defaults(run=_run)


# fish makes completions of its own out of our manual page, with every option at every verb, and would put them beside
# ours at the first Tab. Have it load them now, and forget them; it loads none for what is no command and no function.
_FORGET = """\
complete -C "pmcred -" >/dev/null
complete -e -c pmcred
"""


def text(shell: str) -> str:
    """Give what the shell is to evaluate; it names no path of this installation, and asks nothing of the daemon."""
    folder = resources.files("pmcredd") / "shell"
    parts = [folder / "completions" / COMPLETIONS[shell], folder / f"get.{shell}"]
    completions, function = (part.read_text(encoding="utf-8") for part in parts)
    if shell == "fish":
        return f"{function}\n{_FORGET}\n{completions}"
    found = f"{completions}\n{function}"
    return _for_bash(found) if shell == "bash" else _for_zsh(found)


def names() -> list[str]:
    """Give the names of the profiles: the daemon's, else those of the files as far as they are right."""
    try:
        blocks = client.call(wire.Request("list", None, {}), timeout=_PATIENCE)
        return [block["profile"] for block in blocks if "profile" in block]
    except client.PmcredError:
        from pmcredd.cli import validate  # here: where a daemon answers, nobody reads files

        return sorted(validate.Checker.of(os.environ).sound().profiles)


# An alias of the user's must not get into our functions: both shells put aliases in when they read them.


def _for_bash(found: str) -> str:
    return (
        "if \\shopt -q expand_aliases; then _pmcred_aliases=-s; else _pmcred_aliases=-u; fi\n"
        f"\\shopt -u expand_aliases\n{found}"
        '\\shopt "$_pmcred_aliases" expand_aliases\n\\unset -v _pmcred_aliases\n'
    )


def _for_zsh(found: str) -> str:
    # zsh reads all that it is given before it does any of it, and with the options that the user has set by now.
    escaped = found.replace("\\", "\\\\").replace("'", "\\'")
    return (
        '_pmcred_load() { \\builtin emulate -L zsh; \\builtin setopt no_aliases; \\builtin eval "$1"; }\n'
        f"_pmcred_load $'{escaped}'\n\\builtin unfunction _pmcred_load\n"
    )


def _run(args: argparse.Namespace) -> int:
    if args.profiles:
        print(*names(), sep="\n")
    elif args.shell:
        print(text(args.shell), end="")
    else:
        raise Problem(
            "shell-init needs the name of a shell: bash, zsh or fish", "pmcred shell-init --help", exit_status=2
        )
    return 0
