"""Draws docs/lifecycle.md out of the table that the daemon runs on: `cd tests && python -m support.diagram`.

The runtime has no use for it, so it lives beside the tests, one of which fails when the page is stale.
"""

import inspect
from collections import defaultdict
from pathlib import Path
from typing import get_args

from pmcredd.life import Event, Renewal
from pmcredd.lifecycle import TABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md"
COMMAND = "cd tests && python -m support.diagram"

STATES: dict[Renewal, str] = {
    Renewal.IDLE: "nothing is under way: the next renewal has a date, or nobody needs one",
    Renewal.SENDING: "a request is under way, from reading its secrets to saving its answer",
    Renewal.DOUBTFUL: "a refresh token went out and no answer came back: it may be spent, and a probe finds out",
    Renewal.WAITING: "the last try failed in a way that passes: the next one comes after a back-off",
    Renewal.STOPPED: "the last try failed in a way that only somebody can mend",
}

HEAD = f"""\
# A profile's life

<!-- Made out of lifecycle.TABLE; do not edit. To make it anew: {COMMAND} -->

What we are doing about a profile's next token. Whether the token in hand is good is not part of it: that is computed
when somebody asks, so no arrow here throws away a token that works. Why each rule is as it is stands in
[architecture.md](architecture.md).
"""


def page() -> str:
    """Give the whole page, as it should stand in docs/."""
    return "\n".join((HEAD, _states(), _diagram(), _table(), _events()))


def _states() -> str:
    lines = "".join(f"| {state.value} | {STATES[state]} |\n" for state in Renewal)
    return f"| state | meaning |\n|---|---|\n{lines}"


def _diagram() -> str:
    """Draw an arrow for each pair of states, with every event that can lead from one to the other."""
    arrows: defaultdict[tuple[Renewal, Renewal], list[str]] = defaultdict(list)
    for (start, event), transition in TABLE.items():
        for end in transition.to - {start}:
            arrows[start, end].append(event.__name__)
    drawn = [
        f"    {a.value} --> {b.value} : {', '.join(arrows[a, b])}\n" for a in Renewal for b in Renewal if arrows[a, b]
    ]
    return (
        "## The diagram\n\nAn arrow has the events that can lead along it. Events that change nothing about the state "
        "are in the table only.\n\n"
        f"```mermaid\nstateDiagram-v2\n    [*] --> {next(iter(Renewal)).value}\n{''.join(drawn)}```\n"
    )


def _table() -> str:
    """Write a line for each event: the states that it can lead to, in the column of the state that it finds."""
    lines = [f"| event | {' | '.join(state.value for state in Renewal)} |\n", f"|---|{'---|' * len(Renewal)}\n"]
    for event in get_args(Event):
        cells = [_cell(start, event) for start in Renewal]
        lines.append(f"| {event.__name__} | {' | '.join(cells)} |\n")
    return (
        "## The table\n\nThe column is the state that the event finds, the cell where it can lead. A dash: it cannot "
        "happen there; if it does,\nthat is a bug, which raises and changes nothing. An event with an old credential's "
        "serial is absorbed before the table is\nasked.\n\n"
        f"{''.join(lines)}"
    )


def _cell(start: Renewal, event: type[Event]) -> str:
    transition = TABLE.get((start, event))
    if transition is None:
        return "-"
    return ", ".join(end.value for end in Renewal if end in transition.to)


def _events() -> str:
    lines = "".join(f"| {event.__name__} | {_meaning(event)} |\n" for event in get_args(Event))
    return f"## The events\n\n| event | what happened |\n|---|---|\n{lines}"


def _meaning(event: type[Event]) -> str:
    """Give the first paragraph of an event's docstring, on one line."""
    paragraph = (inspect.getdoc(event) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


if __name__ == "__main__":
    PAGE.write_text(page())
