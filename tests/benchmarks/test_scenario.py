"""All scenarios can be loaded, and ask for figures that they have."""

from __future__ import annotations

import pytest

from benchmarks.scenario import NAMES, BenchmarkError, load


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_is_complete(name: str) -> None:
    """What is wanted, what is killed and what is compared with are sides of it."""
    scenario = load(name)
    assert scenario.title
    assert scenario.killed <= set(scenario.sides)
    assert scenario.reference is None or scenario.reference in list(scenario.sides)[1:]
    for wanted in scenario.wanted:
        side, dot, _ = wanted.figure.partition(".")
        assert side in scenario.sides if dot else scenario.reference is not None


def test_an_unknown_scenario_is_refused_by_name() -> None:
    """With the names that there are."""
    with pytest.raises(BenchmarkError, match="there is no scenario 'fast': use one of stateless, "):
        load("fast")
