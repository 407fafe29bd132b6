"""Brokers, networks and copies that fail a job between Kafka topics: a plain reader still sees every result exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.stalling_proxy import StallingProxy

from .conftest import Pipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

needs_java = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local broker needs Java and Maven"
)

MakePipe = Callable[..., Pipe]

SHORT_LIVED = {"transaction_timeout": "3s", "checkpoint_timeout": "1s", "restart_allowance": "1s"}
"""Transactions that a test can wait for to expire."""


class Network:
    """A proxy in front of one broker, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.proxy = StallingProxy()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="network")
        self._open = threading.Event()
        self._closing = asyncio.Event()

    def __enter__(self) -> Network:
        self._thread.start()
        assert self._open.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self.proxy:
            self._open.set()
            await self._closing.wait()

    def fails(self, how: str, seconds: float) -> None:
        """Stall or cut everything for a while."""
        self._loop.call_soon_threadsafe(getattr(self.proxy, how))
        time.sleep(seconds)  # the outage itself
        self._loop.call_soon_threadsafe(self.proxy.resume)


# ------------------------------------------------------------------------ brokers


@needs_java
def test_the_only_broker_is_killed_and_comes_back(make_pipe: MakePipe) -> None:
    """The job does not end: it waits, and goes on where it was."""
    with LocalKafka() as cluster:

        def strike() -> None:
            cluster.kill(0)
            cluster.start(0)

        make_pipe("copy", "windows", on=cluster).lives_through(strike)


@pytest.fixture(scope="module")
def three() -> Iterator[LocalKafka]:
    """Three brokers, any of which may be killed and must be started again."""
    with LocalKafka(3) as cluster:
        yield cluster


@needs_java
def test_the_leader_of_input_and_output_is_killed(three: LocalKafka, make_pipe: MakePipe) -> None:
    """The partitions get other leaders, the job finds them; and it finds those of later, when the broker is back."""
    pipe = make_pipe("copy", "windows", on=three)
    killed = pipe.leaders("copy")[0]
    assert killed is not None
    assert killed in pipe.leaders("source")

    def kill() -> None:
        with pipe.paused():
            three.kill(killed)
            pipe.until_led_by_others(killed)

    def come_back() -> None:
        assert killed not in pipe.leaders("copy") + pipe.leaders("source")
        three.start(killed)

    pipe.lives_through(kill, come_back)


@needs_java
def test_the_coordinator_of_a_transaction_is_killed_between_prepare_and_commit(
    three: LocalKafka, make_pipe: MakePipe, tmp_path: Path
) -> None:
    """Another broker has the transaction then, and it is committed there."""
    pipe = make_pipe("copy", "windows", on=three)
    feed = pipe.endless_feed(10_000)
    go = tmp_path / "go"
    waits = tmp_path / "go.waits"
    place = "after the manifest with output of both sinks"
    with pipe.job(die_at=place, wait_for=str(go)) as life:
        life.until(waits.exists)
        prepared = pipe.prepared()
        assert pipe.states(prepared) == ["Ongoing", "Ongoing"]
        killed = pipe.coordinator(prepared[0].tid)
        with pipe.paused():
            three.kill(killed)
            pipe.until_led_by_others(killed)
        try:
            go.touch()
            life.goes_on()
            assert pipe.coordinator(prepared[0].tid) != killed
        finally:
            three.start(killed)
        life.goes_on()
        feed.stop()
        pipe.completes(life, feed.count)


@needs_java
@pytest.mark.long
@pytest.mark.timeout(900)
def test_brokers_and_the_job_die_in_turn(three: LocalKafka, make_pipe: MakePipe) -> None:
    """Ten times: a broker is killed, then the job; the broker comes back when the next life of the job runs."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    pipe = make_pipe("copy", "windows", on=three)
    feed = pipe.endless_feed()
    down: int | None = None
    try:
        for _ in range(10):
            with pipe.job(parallelism=2) as life:
                life.goes_on(1)
                if down is not None:
                    three.start(down)
                    life.goes_on(1)
                down = chance.randrange(3)
                three.kill(down)
                with pytest.raises(subprocess.TimeoutExpired):
                    life.wait(chance.uniform(0, 5))
    finally:
        if down is not None:
            three.start(down)
    feed.stop()
    pipe.ends_with_everything(feed.count, parallelism=2)


# ------------------------------------------------------------------------ the network


@pytest.fixture(scope="module")
def far_away() -> Iterator[tuple[LocalKafka, Network]]:
    """A broker behind a network that can fail."""
    with Network() as network, LocalKafka(advertised={0: network.proxy.address}) as cluster:
        network.proxy.target = cluster.address(0)
        yield cluster, network


def _outage(pipe: Pipe, network: Network, how: str, seconds: float, **settings: Any) -> None:
    completed: list[int] = []

    def strike() -> None:
        before = len(pipe.told("checkpoint_completed"))
        network.fails(how, seconds)
        completed.append(len(pipe.told("checkpoint_completed")) - before)

    pipe.lives_through(strike, **settings)
    assert completed[0] <= 1, "the network did not fail"


@needs_java
@pytest.mark.parametrize("how", ["stall", "cut"])
def test_the_network_fails_for_five_seconds(
    how: str, far_away: tuple[LocalKafka, Network], make_pipe: MakePipe
) -> None:
    """Nobody hears of anything, or all connections are reset and none can be made: the job goes on afterwards."""
    cluster, network = far_away
    _outage(make_pipe("copy", "windows", on=cluster), network, how, 5)


@needs_java
def test_transactions_that_expire_while_the_network_is_away_are_written_again(
    far_away: tuple[LocalKafka, Network], make_pipe: MakePipe
) -> None:
    """The running job learns that the broker has aborted them: it restarts by itself, from before them."""
    cluster, network = far_away
    pipe = make_pipe("copy", on=cluster)
    life = pipe.lives_through(lambda: network.fails("stall", 6), **SHORT_LIVED)
    assert life.told("job_restarting") != []


@needs_java
@pytest.mark.long
@pytest.mark.parametrize("how", ["stall", "cut"])
def test_the_network_fails_for_thirty_seconds(
    how: str, far_away: tuple[LocalKafka, Network], make_pipe: MakePipe
) -> None:
    """As long as requests and connections are waited for, and longer."""
    cluster, network = far_away
    _outage(make_pipe("copy", "windows", on=cluster), network, how, 30, timeout_s=120)


@needs_java
@pytest.mark.long
@pytest.mark.parametrize("how", ["stall", "cut"])
def test_one_broker_of_three_is_out_of_reach_for_thirty_seconds(how: str, make_pipe: MakePipe) -> None:
    """It goes on leading its partitions and coordinating its transactions: only the job cannot reach it."""
    with Network() as network, LocalKafka(3, advertised={0: network.proxy.address}) as cluster:
        network.proxy.target = cluster.address(0)
        _outage(make_pipe("copy", "windows", partitions=6, on=cluster), network, how, 30, timeout_s=120)


# ------------------------------------------------------------------------ expired transactions


def test_a_transaction_that_expired_while_the_job_was_down_is_written_again(make_pipe: MakePipe) -> None:
    """Its commit token is not there: the checkpoint is passed over, named, and the one before it replayed."""
    pipe = make_pipe("copy")
    feed = pipe.feed(40_000)
    pipe.dies(die_at="after the manifest, before EndTxn", die_after=5, rate_limit=20_000, **SHORT_LIVED)
    feed.finish()
    (lost,) = pipe.prepared()
    assert pipe.states([lost]) == ["Ongoing"]
    pipe.until_aborted([lost])
    life = pipe.ends_with_everything(40_000)
    (passed_over,) = life.told("checkpoint_passed_over")
    assert passed_over["reason"] == (
        f"checkpoint {lost.checkpoint}: its output is lost: transaction {lost.tid} of checkpoint {lost.checkpoint} "
        f"({lost.records} records for {pipe.topics['copy']}) was aborted by the broker before it could be committed: its "
        "transaction_timeout had passed, or another start of the job took over"
    )
    assert life.told("job_running")[0]["restored_from"] == lost.checkpoint - 1


def test_a_checkpoint_of_which_one_sink_lost_its_output_is_not_begun_to_be_committed(make_pipe: MakePipe) -> None:
    """The other sink's transaction lives still; to commit it first would leave half of a checkpoint visible."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.feed(40_000)
    short = {**SHORT_LIVED, "transaction_timeout": "5m", "counts_timeout": "3s"}
    pipe.dies(die_at="after the manifest with output of both sinks", rate_limit=20_000, **short)
    feed.finish()
    prepared = {topic: it for it in pipe.prepared() for topic in it.topics}
    alive, lost = prepared[pipe.topics["copy"]], prepared[pipe.topics["windows"]]
    pipe.until_aborted([lost])
    assert pipe.states([alive]) == ["Ongoing"]
    life = pipe.ends_with_everything(40_000)
    assert life.told("job_running")[0]["restored_from"] < lost.checkpoint


def test_half_a_checkpoint_that_is_visible_is_not_written_again_unasked(make_pipe: MakePipe) -> None:
    """One subtask's transaction was committed, the other's expired: the job refuses and says why; allowed, it repeats just
    the visible half and loses nothing."""
    pipe = make_pipe("copy")
    feed = pipe.feed(40_000)
    place = "between two EndTxn of one sink"
    pipe.dies(die_at=place, die_after=3, parallelism=2, rate_limit=20_000, **SHORT_LIVED)
    feed.finish()
    prepared = pipe.prepared()
    both = sorted(zip(pipe.states(prepared), prepared, strict=True), key=lambda pair: pair[0])
    assert [state for state, _ in both] == ["CompleteCommit", "Ongoing"]
    visible, lost = (it for _, it in both)
    pipe.until_aborted([lost])
    before = pipe.visible("copy")
    refused = pipe.refuses(parallelism=2)
    assert refused.returncode == 1
    assert f"checkpoint {lost.checkpoint}: transaction {lost.tid}" in refused.said
    assert "part of its output is visible" in refused.said
    assert "set allow_repeats" in refused.said
    assert pipe.visible("copy") == before
    pipe.ends_with_everything(40_000, repeats={"copy": visible.records}, parallelism=2, options={"allow_repeats": True})


def test_the_visible_half_may_be_that_of_another_sink(make_pipe: MakePipe) -> None:
    """One sink committed, the other's transaction expired: the same."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.feed(40_000)
    pipe.dies(die_at="between the commits of two sinks", rate_limit=20_000, **SHORT_LIVED)
    feed.finish()
    prepared = pipe.prepared()
    both = sorted(zip(pipe.states(prepared), prepared, strict=True), key=lambda pair: pair[0])
    assert [state for state, _ in both] == ["CompleteCommit", "Ongoing"]
    visible, lost = (it for _, it in both)
    pipe.until_aborted([lost])
    refused = pipe.refuses()
    assert refused.returncode == 1
    assert f"transaction {lost.tid} of checkpoint {lost.checkpoint}" in refused.said
    assert f"output of checkpoint {lost.checkpoint} of this job" in refused.said
    assert "allow_repeats" in refused.said
    name = next(name for name, topic in pipe.topics.items() if topic in visible.topics)
    pipe.ends_with_everything(40_000, repeats={name: visible.records}, options={"allow_repeats": True})


# ------------------------------------------------------------------------ copies of the job


def test_a_second_copy_on_the_same_folder_is_kept_out(make_pipe: MakePipe) -> None:
    """It ends at once with exit code 3 and names the first, which notices nothing."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.endless_feed()
    with pipe.job() as first:
        first.goes_on()
        second = pipe.refuses()
        assert second.returncode == 3
        assert f"of job '{pipe.topics['source']}' is in use by process {first.pid} since " in second.said
        first.goes_on()
        feed.stop()
        pipe.completes(first, feed.count)
    assert first.told("job_restarting") == []


def test_a_second_copy_on_another_folder_is_refused_when_there_is_output(make_pipe: MakePipe, tmp_path: Path) -> None:
    """It would begin from nothing, and the output of the first is visible; it is refused before it fences anybody."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.endless_feed()
    with pipe.job() as first:
        first.goes_on()
        second = pipe.refuses(state=str(tmp_path / "other"))
        assert second.returncode == 1
        assert (
            f"of this job (transactional prefix '{pipe.topics['source']}-copied') is visible in Kafka and cannot be taken "
            "back: starting from nothing would write it again."
        ) in second.said
        first.goes_on()
        feed.stop()
        pipe.completes(first, feed.count)
    assert first.told("job_restarting") == []


def test_a_second_copy_on_another_folder_fences_the_first_when_there_is_no_output(
    make_pipe: MakePipe, tmp_path: Path
) -> None:
    """Nothing can be repeated then, so the later start counts; the first ends and says that it was taken over."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.endless_feed()
    with pipe.job(interval="10m", transaction_timeout="15m") as first:
        first.until(lambda: first.told("job_running") != [])
        with pipe.job(state=str(tmp_path / "other")) as second:
            second.goes_on()
            assert first.wait(60) == 3
            assert f"another copy of job '{pipe.topics['source']}' has taken over" in first.said
            assert first.told("job_restarting") == []
            feed.stop()
            pipe.completes(second, feed.count)
    assert second.told("job_restarting") == []


# ------------------------------------------------------------------------ rescaling


def test_transactions_that_wait_for_their_commit_survive_another_parallelism(make_pipe: MakePipe) -> None:
    """From 4 subtasks to 2 to 6, each through a savepoint whose transactions are all pending when the job dies."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.endless_feed()
    place = "after the savepoint's manifest, before EndTxn"
    restored: dict[str, Any] = {}
    for name, parallelism in (("four", 4), ("two", 2)):
        with pipe.job(die_at=place, parallelism=parallelism, options=restored) as life:
            life.goes_on()
            pipe.savepoint(name)
            assert life.wait(60) == -9, life.said
        prepared = pipe.prepared()
        assert len([it for it in prepared if pipe.topics["copy"] in it.topics]) == parallelism
        assert pipe.states(prepared) == ["Ongoing"] * len(prepared)
        restored = {"restore": name}
    feed.stop()
    life = pipe.ends_with_everything(feed.count, parallelism=6, options=restored)
    assert life.told("job_running")[0]["restored_from"] == prepared[0].checkpoint
