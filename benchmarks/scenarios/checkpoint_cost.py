"""What checkpoints cost: the tumbling window with one every second, against without."""

from __future__ import annotations

from functools import partial

from tidegate.engine import RunConfig

from ..answers import check
from ..scenario import BenchmarkError, Figures, Scenario, Setup
from ..stopwatch import time_job
from .compared import at_least
from .tumbling_window import topology


def with_checkpoints(setup: Setup) -> Figures:
    """A checkpoint begins every second; state, offsets and output go into it."""
    config = RunConfig(checkpoints=setup.work / "checkpoints", checkpoint_interval="1s", restore=None)
    figures = time_job(topology(setup, "with-checkpoints"), config)
    # The last checkpoint is the end of the stream's; without another one nothing was measured.
    if figures["run_s"] > 2.5 and figures["checkpoints"] < 2:
        raise BenchmarkError(f"checkpoint-cost: {figures['checkpoints']:.0f} checkpoints in {figures['run_s']:.1f} s")
    return figures


def without_checkpoints(setup: Setup) -> Figures:
    """The same job with no place for checkpoints."""
    return time_job(topology(setup, "without"), RunConfig())


SCENARIO = Scenario(
    title="the same window with a checkpoint every second, against without checkpoints",
    sides={"with-checkpoints": with_checkpoints, "without": without_checkpoints},
    events=5_000_000,
    reference="without",
    check=partial(check, "tumbling-window"),
    wanted=at_least(0.95, "without"),
    note="The ratio also bears the last checkpoint, which a job without checkpoints does not take.",
)
