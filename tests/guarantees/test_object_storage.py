"""Checkpoints in a real object store: what is sent there, what comes back, and what becomes of a job when requests go
wrong, when it is killed, and when two run at once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import files, formats
from tidegate.engine import FencedError, JobStatus, OperatorError, RunConfig, Topology, restart
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import ThreadExecutor
from tidegate.engine.testing import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.engine.testing.faults import CrashPoints, SimulatedCrash, crash_run
from tidegate.engine.testing.faulty_http import Chance, Fault, FaultyHttp, Request
from tidegate.engine.testing.s3_server import LocalS3

Events = list[tuple[str, dict[str, Any]]]

APP = """
from tidegate.connectors import files, formats
from tidegate.engine import Topology
from tidegate.operators import agg

topology = Topology("words")
(
    topology.source("words", files.text("in.txt", follow={follow}), rate_limit={rate})
    .key_by(lambda word: word)
    .aggregate(name="count", n=agg.count())
    .map(lambda result: [result.key, result.n])
    .sink("counts", files.lines("out", formats.json()))
)
"""


@pytest.fixture
def settings(s3: LocalS3, s3_url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    """Settings of a job whose checkpoints are in the store, through a proxy if one is given."""

    def make(proxy: FaultyHttp | None = None, **more: Any) -> RunConfig:
        options = dict(s3.options) if proxy is None else {**s3.options, "endpoint": proxy.url}
        values: dict[str, Any] = {
            "checkpoints": s3_url,
            "checkpoint_store": options,
            "checkpoint_interval": "1h",
            "store_patience": "10s",
            "restart": restart.fixed_delay(3, "0ms"),
            "state_dir": tmp_path / "work",
        }
        return RunConfig(**(values | more))

    return make


def pairs(keys: int, seed: int, *, payload: int = 2_000) -> list[tuple[str, str]]:
    """One record per key, with a payload that cannot be compressed."""
    chance = random.Random(seed)
    return [(f"k{number}", chance.randbytes(payload // 2).hex()) for number in range(keys)]


def pairs_topology(source: ScriptedSource[Any], folder: Path) -> Topology:
    """Keep the last payload of each key; the keys come out."""
    topology = Topology("pairs")
    (
        topology.source("pairs", source)
        .key_by(lambda pair: pair[0])
        .reduce(lambda _, newest: newest, name="last", type=tuple[str, str])
        .map(lambda pair: pair[0])
        .sink("keys", files.lines(folder / "out", formats.json()))
    )
    return topology


async def run_pairs(script: list[Any], folder: Path, config: RunConfig, *, crashes: bool = False) -> Events:
    """Run that topology; what the job told. With `crashes` the process ends at a `CRASH` of the script."""
    source = ScriptedSource(script)
    topology = pairs_topology(source, folder)
    events: Events = []

    def note(name: str, facts: dict[str, Any]) -> None:
        events.append((name, facts))

    if crashes:
        with pytest.raises(OperatorError, match="ScriptedCrash"):
            await run_script(topology, source, replace(config, restart=restart.never()), on_event=note)
    else:
        assert await run_script(topology, source, config, on_event=note) is JobStatus.FINISHED
    return events


def lines(folder: Path) -> list[Any]:
    """All that is visible."""
    return [json.loads(line) for path in sorted(folder.glob("out/*.jsonl")) for line in path.read_text().splitlines()]


def of(events: Events, wanted: str) -> list[dict[str, Any]]:
    """The facts of the events of one name."""
    return [facts for name, facts in events if name == wanted]


def stored(requests: list[Request]) -> list[Request]:
    """The requests that put a content, or a part of one."""
    return [request for request in requests if request.method == "PUT" and "/files/" in request.path]


@pytest.mark.slow
async def test_only_new_files_are_sent(s3: LocalS3, settings: Callable[..., RunConfig], tmp_path: Path) -> None:
    """A checkpoint after one changed key sends a small part of the first one's bytes, and no content twice."""
    async with FaultyHttp(s3.address) as proxy:
        sent: list[int] = []
        script: list[Any] = [*pairs(1_000, 1), BARRIER, ("k7", "new"), BARRIER, ("k8", "new"), BARRIER]
        source_done = run_pairs(script, tmp_path, settings(proxy))
        events = await source_done
        contents = Counter(request.path for request in stored(proxy.requests))
        at = [i for i, r in enumerate(proxy.requests) if r.method == "PUT" and r.path.endswith("manifest.json")]
        for first, last in zip([0, *at], at, strict=False):
            sent.append(sum(request.body_bytes for request in stored(proxy.requests[first:last])))
    assert len(of(events, "checkpoint_completed")) == 4
    assert sent[0] > 2_000_000
    assert max(sent[1:]) < sent[0] / 10
    assert max(contents.values()) == 1


@pytest.mark.slow
async def test_after_a_failure_in_the_process_nothing_is_fetched(
    s3: LocalS3, settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """The files of the newest checkpoint are linked, and every record comes once."""
    records = pairs(500, 2)
    async with FaultyHttp(s3.address) as proxy:
        events = await run_pairs([*records, BARRIER, *records[:50], CRASH, *records[50:100]], tmp_path, settings(proxy))
        fetched = [r for r in proxy.requests if r.method == "GET" and "/files/" in r.path]
    (restored,) = of(events, "state_restored")
    assert restored["linked_bytes"] == restored["done_bytes"] == restored["total_bytes"] > 500_000
    assert fetched == []
    assert Counter(lines(tmp_path)) == Counter(key for key, _ in [*records, *records[:100]])


@pytest.mark.slow
@pytest.mark.parametrize("local_recovery", [True, False])
async def test_the_next_process_links_what_was_kept_for_it(
    s3: LocalS3, settings: Callable[..., RunConfig], tmp_path: Path, *, local_recovery: bool
) -> None:
    """With `local_recovery`; without it all is fetched, and nothing is left in the working directory."""
    records = pairs(500, 3)
    config = settings(local_recovery=local_recovery)
    await run_pairs([*records, BARRIER, CRASH], tmp_path, config, crashes=True)
    assert any((tmp_path / "work").glob("tidegate-*")) is local_recovery
    events = await run_pairs([*records, BARRIER, ("k1", "again")], tmp_path, config)
    (restored,) = of(events, "state_restored")
    assert restored["done_bytes"] == restored["total_bytes"] > 500_000
    assert restored["linked_bytes"] == (restored["total_bytes"] if local_recovery else 0)
    assert Counter(lines(tmp_path)) == Counter([*(key for key, _ in records), "k1"])


@pytest.mark.slow
async def test_a_damaged_object_is_named_and_the_checkpoint_before_is_used(
    s3: LocalS3, s3_url: str, settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """The state of the one before is restored, and every record comes once."""
    records = pairs(300, 4)
    script = [*records, BARRIER, ("k1", "again"), BARRIER]
    await run_pairs([*script, CRASH], tmp_path, settings(retain=5), crashes=True)
    executor = ThreadExecutor()
    storage = CheckpointStorage(s3_url, "pairs", executor, SystemClock(), settings=settings().store_settings)
    try:
        before = (await storage.read(1)).contents()
        sha256 = next(sha256 for sha256 in (await storage.read(2)).contents() if sha256 not in before)
        path = s3.objects / s3_url.rsplit("/", 1)[-1] / "pairs" / "files" / sha256[:2] / sha256
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        problems = await storage.verify(2)
    finally:
        executor.close()
    assert problems == [f"{s3_url}/pairs/files/{sha256[:2]}/{sha256}: the content does not match its SHA-256"]
    events = await run_pairs([*script, ("k2", "again")], tmp_path, settings(retain=5))
    (passed_over,) = of(events, "checkpoint_passed_over")
    assert sha256 in passed_over["reason"]
    assert [facts["checkpoint_id"] for facts in of(events, "state_restored")] == [1]
    assert Counter(lines(tmp_path)) == Counter([*(key for key, _ in records), "k1", "k2"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 2))
async def test_requests_that_go_wrong_at_random_change_no_result(
    s3: LocalS3, settings: Callable[..., RunConfig], tmp_path: Path, seed: int
) -> None:
    """Refused, cut half way, or answered to nobody: every seventh of them. No checkpoint is lost, and no record."""
    records = pairs(200, seed)
    script: list[Any] = []
    for start in range(0, 200, 50):
        script += [*records[start : start + 50], BARRIER]
    script.insert(130, CRASH)
    async with FaultyHttp(s3.address, chance=Chance(seed, 1 / 7)) as proxy:
        events = await run_pairs(script, tmp_path, settings(proxy, store_patience="60s"))
        kinds = Counter(request.fault for request in proxy.requests)
    assert {"refuse", "cut_request", "cut_answer", "lose_answer"} <= set(kinds), f"seed {seed}: {kinds}"
    assert of(events, "checkpoint_failed") == []
    assert Counter(lines(tmp_path)) == Counter(key for key, _ in records)


@pytest.mark.slow
def test_a_process_that_dies_at_any_of_many_points_loses_and_doubles_nothing(
    s3: LocalS3, s3_url: str, settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Every so many awaits and calls of checkpoint, commit and restore it dies; the next process puts everything right."""
    records = pairs(6, 7, payload=20)
    script = [item for pair in records for item in (pair, BARRIER)]

    def live(number: int, points: CrashPoints | None = None) -> Any:
        folder = tmp_path / str(number)
        config = settings(
            checkpoints=f"{s3_url}/{number}", state_backend="dict", state_dir=folder / "work", restart=restart.never()
        )
        source = ScriptedSource(script)
        topology = pairs_topology(source, folder)
        if points is None:
            return asyncio.run(run_script(topology, source, config))
        return crash_run(
            points, lambda: run_script(topology, source, config, clock=points.clock, executor=points.executor)
        )

    counting = CrashPoints(tmp_path / "0")
    assert live(0, counting) is JobStatus.FINISHED
    assert len(counting.labels) > 200
    for index in range(3, len(counting.labels), 37):
        folder = tmp_path / str(index)
        points = CrashPoints(folder, index)
        with suppress(SimulatedCrash):
            live(index, points)
        before = lines(folder)
        assert len(before) == len(set(before)), f"twice before the restart, died at: {points.labels[-1]}"
        assert live(index) is JobStatus.FINISHED
        assert sorted(lines(folder)) == sorted(key for key, _ in records), f"died at: {points.labels[-1]}"


class _Clock(SystemClock):
    """Whoever waits lets something happen instead."""

    def __init__(self, happens: Callable[[], Any]) -> None:
        self._happens = happens

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await self._happens()
        return False


@pytest.mark.slow
async def test_an_attempt_that_is_taken_over_while_its_manifest_is_on_its_way_commits_nothing(
    s3: LocalS3, s3_url: str, settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """It asked before it wrote, when nobody had come yet; so it asks once more. The manifest may be there, but the newer
    attempt may have begun without it."""
    executor = ThreadExecutor()
    other = CheckpointStorage(s3_url, "pairs", executor, SystemClock(), settings=settings().store_settings)
    clock = _Clock(lambda: other.claim_attempt({"pid": 77}))
    manifests = Fault("delay", method="PUT", path=r"0000000002/manifest\.json")
    try:
        async with FaultyHttp(s3.address, [manifests], clock=clock) as proxy:
            records = pairs(4, 5)
            script = [*records[:2], BARRIER, *records[2:], BARRIER]
            with pytest.raises(FencedError, match=r"attempt 2 \(pid 77\) of job 'pairs' has taken over"):
                await run_pairs(script, tmp_path, settings(proxy))
        assert [info.checkpoint_id for info in await other.list()] == [1, 2]
    finally:
        executor.close()
    assert lines(tmp_path) == ["k0", "k1"]


@pytest.mark.slow
async def test_the_command_line_reads_the_options_of_the_store_in_the_folder(
    s3: LocalS3, s3_url: str, settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """What `tidegate run` is told there, `tidegate checkpoints` knows as well."""
    await run_pairs([*pairs(3, 6), BARRIER], tmp_path, settings())
    options = "".join(f'{name} = "{value}"\n' for name, value in s3.options.items())
    (tmp_path / "tidegate.toml").write_text(f"[run.checkpoint_store]\n{options}")
    command = ["-m", "tidegate.engine.cli.main", "checkpoints", "list", s3_url, "--json"]
    asked = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    out, _ = await asked.communicate()
    assert asked.returncode == 0
    assert [found["id"] for found in json.loads(out)] == [1, 2]


# Processes ----------------------------------------------------------------------------------------------


async def launch(folder: Path, url: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    """The command line on the app in a folder."""
    command = ["-m", "tidegate.engine.cli.main", "run", "app.py:topology", "--checkpoints", url, "--interval", "100ms"]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--json",
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )


async def told(process: asyncio.subprocess.Process, wanted: str, timeout_s: float = 60) -> dict[str, Any]:
    """The next event of a name that a process tells."""
    assert process.stdout is not None
    async with asyncio.timeout(timeout_s):
        async for line in process.stdout:
            facts: dict[str, Any] = json.loads(line)
            if facts["event"] == wanted:
                return facts
    assert process.stderr is not None
    raise AssertionError(f"no {wanted}: {(await process.stderr.read()).decode()}")


@pytest.mark.slow
async def test_killed_while_its_files_are_on_their_way(s3: LocalS3, s3_url: str, tmp_path: Path) -> None:
    """`kill -9` while a content is being put, after whole checkpoints: the next process goes on from the newest of them and
    every result comes once."""
    words = [f"w{number * 7919 % 500}" for number in range(20_000)]
    (tmp_path / "in.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "app.py").write_text(APP.format(follow=False, rate=10_000))
    async with FaultyHttp(s3.address) as proxy:
        first = await launch(tmp_path, s3_url, s3.environment(proxy.url))
        await told(first, "checkpoint_completed")
        proxy.faults.append(Fault("delay", method="PUT", path="/files/", times=None, delay_s=600))
        async with asyncio.timeout(60):
            await proxy.sees(lambda request: request.fault == "delay")
        first.send_signal(signal.SIGKILL)
        await first.communicate()
    assert first.returncode == -signal.SIGKILL
    second = await launch(tmp_path, s3_url, s3.environment())
    running = await told(second, "job_running")
    assert running["restored_from"] >= 1
    await second.communicate()
    assert second.returncode == 0
    expected = Counter((word, n) for word, count in Counter(words).items() for n in range(1, count + 1))
    assert Counter(tuple(line) for line in lines(tmp_path)) == expected


@pytest.mark.slow
async def test_a_second_process_takes_over_and_the_first_ends_with_one_line(
    s3: LocalS3, s3_url: str, tmp_path: Path
) -> None:
    """No lock reaches an object store: the newer start wins, the older one can make no checkpoint any more and ends with 3."""
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    (tmp_path / "app.py").write_text(APP.format(follow=True, rate=None))
    first = await launch(tmp_path, s3_url, s3.environment())
    await told(first, "checkpoint_completed")
    second = await launch(tmp_path, s3_url, s3.environment())
    await told(second, "checkpoint_completed")
    _, errors = await asyncio.wait_for(first.communicate(), 60)
    assert first.returncode == 3
    (line,) = errors.decode().strip().splitlines()
    assert "has taken over in" in line
    assert f"pid {second.pid}" in line
    second.send_signal(signal.SIGTERM)
    await second.communicate()
    assert second.returncode == 0
    assert Counter(tuple(line) for line in lines(tmp_path)) == Counter([("one", 1), ("two", 1)])
