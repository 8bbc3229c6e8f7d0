"""No bytes from a stranger make a parser crash, hang, or tell a secret."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
from support.fuzzing import RUN, TARGETS, fuzz

INPUTS = 1_000_000  # of a long run, for all parsers together


@pytest.mark.storm
@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_takes_what_comes(name: str) -> None:
    """Every input ends in a value or in the parser's own error, and no text for people has a secret in it."""
    assert fuzz(name, 5 * TARGETS[name].share) > 0


@pytest.mark.long
def test_the_parsers_take_a_million_inputs() -> None:
    """The same for a million inputs, on all processors."""
    jobs = [name for name, target in TARGETS.items() for _ in range(target.share * INPUTS // 1000 // RUN)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        tried = sum(pool.map(fuzz, jobs, [RUN] * len(jobs)))
    assert tried >= INPUTS
