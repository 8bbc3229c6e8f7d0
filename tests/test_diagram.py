"""The page that shows a profile's life is the table that the daemon runs on."""

import re
from typing import get_args

from support import diagram

from pmcredd.life import Event, Renewal
from pmcredd.lifecycle import TABLE


def test_the_page_is_the_table() -> None:
    """Whoever changes the lifecycle is told how to draw it anew; nobody reads a diagram of an older daemon."""
    written = diagram.PAGE.read_text() if diagram.PAGE.exists() else ""
    assert written == diagram.page(), f"docs/lifecycle.md is stale; write it anew: {diagram.COMMAND}"


def test_every_transition_is_drawn() -> None:
    """Read back from the text alone, the arrows and the cells are the table, no more and no less."""
    text = diagram.page()
    arrows = {
        (start, event, end)
        for start, end, events in re.findall(r"^    (\w+) --> (\w+) : (.+)$", text, re.MULTILINE)
        for event in events.split(", ")
    }
    rows = [re.split(r" \| ", line[2:-2]) for line in text.partition("## The table")[2].splitlines() if "| " in line]
    cells = {
        (start, event, end)
        for event, *ends in rows[1 : 1 + len(get_args(Event))]
        for start, cell in zip(rows[0][1:], ends, strict=True)
        for end in cell.split(", ")
        if end != "-"
    }
    table = {
        (start.value, event.__name__, end.value)
        for (start, event), transition in TABLE.items()
        for end in transition.to
    }
    assert cells == table
    assert arrows == {(start, event, end) for start, event, end in table if start != end}


def test_every_state_and_event_is_explained() -> None:
    """Nobody has to open the code to know what a word in the diagram means."""
    assert list(diagram.STATES) == list(Renewal)
    explained = dict(re.findall(r"^\| (\w+) \| (.+) \|$", diagram.page().partition("## The events")[2], re.MULTILINE))
    for event in get_args(Event):
        assert explained[event.__name__].endswith(".")
