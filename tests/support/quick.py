"""A keeper whose months take no time: what tests on the test's clock have in place of real waiting."""

import pytest

from pmcredd import attempts, keeper, scheduler


@pytest.fixture
def quick_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scrypt cost next to nothing: and a year not be a million wake-ups."""
    monkeypatch.setattr(attempts, "STRETCH", 2)
    monkeypatch.setattr(scheduler, "LONGEST_SLEEP", 1e6)
    monkeypatch.setattr(keeper, "LONGEST_SLEEP", 1e6)
