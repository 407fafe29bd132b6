"""All scenarios can be loaded, and ask for figures that they have."""

from __future__ import annotations

import pytest

from benchmarks.scenario import KAFKA, NAMES, PEERS, USUAL, BenchmarkError, chosen, load


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_is_complete(name: str) -> None:
    """What is wanted, what is killed and what is compared with are sides of it."""
    scenario = load(name)
    assert scenario.title
    assert scenario.killed <= set(scenario.sides)
    assert set(scenario.references) <= set(list(scenario.sides)[1:])
    for wanted in scenario.wanted:
        side, dot, _ = wanted.figure.partition(".")
        assert side in scenario.sides if dot else scenario.references


def test_an_unknown_scenario_is_refused_by_name() -> None:
    """With the names that there are."""
    with pytest.raises(BenchmarkError, match="there is no scenario 'fast': use one of stateless, "):
        load("fast")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], list(USUAL)),
        (["latency"], ["latency"]),
        (["kafka"], list(KAFKA)),
        (["peers", "peers-window", "startup"], [*PEERS, "startup"]),
        (
            ["kafka-sink", "kafka", "startup"],
            ["kafka-sink", *[name for name in KAFKA if name != "kafka-sink"], "startup"],
        ),
    ],
)
def test_kafka_and_other_engines_run_for_those_who_ask_for_them(words: list[str], names: list[str]) -> None:
    """By its word or by a name, each scenario once; without words the usual ones run, which need no broker."""
    assert chosen(words) == names
    assert [name for name in USUAL if load(name).needs_broker or name in PEERS] == []
