"""Runs a job while everything around it fails, and checks what came out: `python tests/chaos/run.py files --seconds 600`.

The faults follow from `--seed`, which is printed; a run can be repeated with it. Its folder stays, with the schedule, the log
lines of all copies of the engine, the samples and a picture; input and output go when all is right.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from sampling import Sample, draw, not_flat, sample
from schedule import KINDS, OF_KAFKA, Fault, schedule
from stage import HERE, Stage
from tidegate.engine.testing.s3_server import gateway_is_built
from tidegate.engine.testing.servers import ServerUnavailableError

_FLAT_FROM_S = 240.0
"""A shorter run says nothing of what grows."""


def can_mount() -> bool:
    """Whether a small file system can be had here."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tidegate-chaos", folder], capture_output=True, check=False
        )
        if made.returncode == 0:
            subprocess.run(["umount", folder], check=False)
        return made.returncode == 0


class ChaosRun:
    """One run, from the first event to the verdict."""

    def __init__(
        self, what: str, seed: int, seconds: float, faults: list[Fault], folder: Path, small_disk: bool
    ) -> None:
        self.what = what
        self.seed = seed
        self.seconds = seconds
        self.faults = faults
        self.folder = folder
        self.small_disk = small_disk
        self.done: list[tuple[float, float, str]] = []
        self.samples: list[Sample] = []

    async def play(self) -> dict[str, Any]:
        """Let it all happen; the verdict."""
        stage = Stage(self.folder, self.seed, with_kafka=self.what == "kafka", small_disk=self.small_disk)
        async with stage:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(stage.input.write())
                await stage.begin()
                began = time.monotonic()
                sampling = group.create_task(self._sample(stage, began))
                for fault in self.faults:
                    await asyncio.sleep(max(0.0, fault.at_s - (time.monotonic() - began)))
                    at = time.monotonic() - began
                    print(f"{self.what} {at:6.1f} s: {fault}", flush=True)
                    await stage.do(fault)
                    self.done.append((at, time.monotonic() - began, fault.kind))
                await asyncio.sleep(max(0.0, self.seconds - (time.monotonic() - began)))
                print(
                    f"{self.what} {time.monotonic() - began:6.1f} s: calm; waiting until all has come out", flush=True
                )
                await stage.settle()
                sampling.cancel()
                await writing
            took = time.monotonic() - began
            verdict = await asyncio.to_thread(self._check, stage)
            verdict |= self._figures(stage) | {"took_s": round(took, 1)}
        if self.seconds >= _FLAT_FROM_S:
            verdict["not_flat"] = not_flat(self.samples)
            verdict["ok"] = verdict["ok"] and not verdict["not_flat"]
        return verdict

    async def _sample(self, stage: Stage, began: float) -> None:
        while True:
            self.samples.append(
                await asyncio.to_thread(
                    sample, stage.engine.worker, stage.disk, stage.s3.objects, time.monotonic() - began
                )
            )
            await asyncio.sleep(1)

    def _check(self, stage: Stage) -> dict[str, Any]:
        """What the checker says: a program of its own, which knows nothing of the engine."""
        place = str(self.folder) if stage.kafka is None else stage.kafka.internal_servers
        command = [sys.executable, str(HERE / "checker.py"), self.what, place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            return {"ok": False, "problems": [done.stderr[-2000:]]}
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _figures(self, stage: Stage) -> dict[str, Any]:
        told = [event for engine in stage.engines for event in engine.events()]
        names = Counter(event["event"] for event in told)
        completed = sorted(event["at_ms"] for event in told if event["event"] == "checkpoint_completed")
        gaps = [(b - a) / 1000 for a, b in pairwise(completed)]
        wanted = ("checkpoint_completed", "checkpoint_failed", "job_restarting", "worker_restarting", "job_running")
        return {
            "faults": dict(Counter(kind for _, _, kind in self.done)),
            "told": {name: names[name] for name in wanted},
            # Without the jumps of the clock these are seconds between two checkpoints; a jump shows as an hour.
            "longest_without_checkpoint_s": max((gap for gap in gaps if gap < 1800), default=None),
        }

    def keep(self, verdict: dict[str, Any]) -> None:
        """Write down what was seen."""
        (self.folder / "verdict.json").write_text(json.dumps(verdict, indent=1))
        (self.folder / "samples.json").write_text(json.dumps(self.samples))
        draw(self.samples, self.done, f"{self.what}, seed {self.seed}", self.folder / "samples.png")


def kinds_for(what: str, small_disk: bool) -> list[str]:
    """The faults that can be done here."""
    found = [kind for kind in KINDS if what == "kafka" or kind not in OF_KAFKA]
    return found if small_disk else [kind for kind in found if kind != "full_disk"]


def main() -> int:
    """Run; 0 when all is right, 1 when something is wrong, 77 when it cannot be run here."""
    parser = argparse.ArgumentParser(prog="python tests/chaos/run.py", description=__doc__)
    parser.add_argument("what", choices=["files", "kafka"])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", choices=[*KINDS], help="these faults only; may be repeated")
    parser.add_argument("--folder", type=Path, help="where files go; chaos-out/WHAT-SEED when left out")
    given = parser.parse_args()
    missing = [program for program in ("java", "mvn") if given.what == "kafka" and shutil.which(program) is None]
    if not gateway_is_built() and shutil.which("go") is None:
        missing.append("go")
    if missing:
        print(f"chaos, {given.what}: skipped, for want of {' and '.join(missing)}")
        return 77
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    small_disk = can_mount()
    if not small_disk:
        print("the disk is not filled: mounting a small one is not allowed here")
    folder = (given.folder or Path("chaos-out", f"{given.what}-{seed}")).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    faults = schedule(seed, given.seconds, given.only or kinds_for(given.what, small_disk))
    (folder / "schedule.txt").write_text(f"seed {seed}\n" + "".join(f"{fault}\n" for fault in faults))
    again = f"python tests/chaos/run.py {given.what} --seconds {given.seconds:g} --seed {seed}"
    print(f"chaos, {given.what}: seed {seed}, {len(faults)} faults in {given.seconds:g} s, in {folder}", flush=True)
    run = ChaosRun(given.what, seed, given.seconds, faults, folder, small_disk)
    try:
        verdict = asyncio.run(run.play())
    except ServerUnavailableError as error:
        print(f"chaos, {given.what}: skipped: {error}")
        return 77
    except BaseException as error:
        run.keep({"ok": False, "problems": [repr(error)]})
        print(f"chaos, {given.what}: FAILED, seed {seed}; again: {again}\nlook at {folder}", flush=True)
        raise
    run.keep(verdict)
    print(json.dumps({"what": given.what, "seed": seed, **verdict}), flush=True)
    if not verdict["ok"]:
        print(f"chaos, {given.what}: FAILED, seed {seed}; again: {again}\nlook at {folder}", flush=True)
        return 1
    for bulky in ("in", "out", "bytecode"):
        if given.folder is None:
            shutil.rmtree(folder / bulky, ignore_errors=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
