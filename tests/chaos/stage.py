"""All that runs in one chaos run: input, engine, object store, proxies, broker; and how each fault is done to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from inputs import FileInput, Input, KafkaInput
from schedule import Fault
from supervised_engine import SupervisedEngine
from tidegate.engine.testing.faulty_http import Fault as HttpFault
from tidegate.engine.testing.faulty_http import FaultyHttp
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.s3_server import LocalS3
from tidegate.engine.testing.stalling_proxy import StallingProxy

HERE = Path(__file__).parent
SETTINGS = """[run]
checkpoints = "{url}"
checkpoint_interval = "500ms"
checkpoint_timeout = "20s"
store_request_timeout = "5s"
store_patience = "10s"
state_dir = "disk"
parallelism = 2
memory_budget = "32MB"
report_interval = "5s"
restart = {{ strategy = "exponential", initial = "100ms", maximum = "2s" }}
"""

_PATIENCE_S = 90.0
_JUMP_MS = 3_600_000
_ZOMBIE_CHECKPOINTS = 2


class Stage:
    """What a fault can be done to. An asynchronous context manager.

    Args:
        folder: for all files; it stays.
        seed: of the input.
        with_kafka: topics instead of files.
        small_disk: mount a small file system for the working databases, so that it can be filled.

    Attributes:
        engine: the copy that runs now.
    """

    def __init__(self, folder: Path, seed: int, *, with_kafka: bool, small_disk: bool) -> None:
        self.folder = folder
        self._seed = seed
        self._with_kafka = with_kafka
        self._small_disk = small_disk
        self.disk = folder / "disk"
        self._copies = 0
        self._stack = AsyncExitStack()
        self.engine: SupervisedEngine
        self.engines: list[SupervisedEngine] = []

    async def __aenter__(self) -> Stage:
        try:
            await self._set_up()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _set_up(self) -> None:
        stack = self._stack
        for name in ("app_files.py", "app_kafka.py", "jumping_clock.py"):
            shutil.copy(HERE / name, self.folder)
        self.disk.mkdir()
        if self._small_disk:
            mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tidegate-chaos", str(self.disk)]
            await asyncio.to_thread(subprocess.run, mount, check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(self.disk)], check=False)
        self.s3 = LocalS3()
        await asyncio.to_thread(self.s3.__enter__)
        stack.callback(self.s3.close)
        self.slow = await stack.enter_async_context(FaultyHttp(self.s3.address))
        host, port = self.slow.url.removeprefix("http://").split(":")
        self.store_network = await stack.enter_async_context(StallingProxy((host, int(port))))
        self._environ = self.s3.environment("http://{}:{}".format(*self.store_network.address))
        self._environ |= {"PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        self.kafka: LocalKafka | None = None
        self.input: Input = FileInput(self.folder, self._seed)
        if self._with_kafka:
            self.broker_network = await stack.enter_async_context(StallingProxy())
            self.kafka = LocalKafka(advertised={0: self.broker_network.address})
            self.broker_network.target = self.kafka.address(0)
            await asyncio.to_thread(self.kafka.__enter__)
            stack.callback(self.kafka.close)
            # The producer is no part of the experiment: it goes past the network that fails.
            self.input = KafkaInput(self.kafka.internal_servers, self._seed)
            await asyncio.to_thread(self.input.make_topics)
            self._environ["CHAOS_SERVERS"] = self.kafka.servers
        (self.folder / "tidegate.toml").write_text(SETTINGS.format(url=self.s3.url("state")))
        stack.callback(self.close_engines)
        self.start_engine()

    async def begin(self) -> None:
        """Wait until the engine is at work."""
        await asyncio.to_thread(self.engine.checkpoints, 1, _PATIENCE_S)

    def start_engine(self) -> None:
        """Start another copy, which is the engine from now on."""
        self._copies += 1
        app = "app_kafka.py" if self._with_kafka else "app_files.py"
        self.engine = SupervisedEngine(self.folder, app, f"engine-{self._copies}", self._environ)
        self.engines.append(self.engine)

    def close_engines(self) -> None:
        """End all copies."""
        for engine in self.engines:
            engine.close()

    async def do(self, fault: Fault) -> None:
        """Let a fault happen, and mend it.

        Raises:
            AssertionError: something did not behave as it must.
        """
        begin, end = self._how(fault.kind)
        await asyncio.to_thread(begin) if begin not in self._in_loop else begin()
        await asyncio.sleep(fault.lasts_s / 2)
        if fault.kills_engine:
            self.engine.signal_worker(signal.SIGKILL)
        await asyncio.sleep(fault.lasts_s / 2)
        await asyncio.to_thread(end) if end not in self._in_loop else end()

    @property
    def _in_loop(self) -> list[Callable[[], object]]:
        """What touches proxies, which belong to the event loop."""
        networks = [self.store_network, *([self.broker_network] if self.kafka else [])]
        return [self._slow_down, self._speed_up, *(f for n in networks for f in (n.stall, n.cut, n.resume))]

    def _how(self, kind: str) -> tuple[Callable[[], object], Callable[[], object]]:
        store, network = self.s3, self.store_network
        if kind.endswith("_broker"):
            assert self.kafka is not None
            kafka, wire = self.kafka, self.broker_network
            pid = kafka.pid(0)
            assert pid is not None
            return {
                "kill_broker": (lambda: kafka.kill(0), lambda: kafka.start(0)),
                "pause_broker": (lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)),
                "stall_broker": (wire.stall, wire.resume),
                "cut_broker": (wire.cut, wire.resume),
            }[kind]
        store_pid = store.pid
        assert store_pid is not None
        return {
            "kill_engine": (lambda: self.engine.signal_worker(signal.SIGKILL), _nothing),
            "pause_engine": (
                lambda: self.engine.signal_worker(signal.SIGSTOP),
                lambda: self.engine.signal_worker(signal.SIGCONT),
            ),
            "zombie": (self._stop_and_take_over, self._wake_zombie),
            "kill_store": (store.kill, store.start),
            "pause_store": (lambda: os.kill(store_pid, signal.SIGSTOP), lambda: os.kill(store_pid, signal.SIGCONT)),
            "slow_store": (self._slow_down, self._speed_up),
            "stall_store": (network.stall, network.resume),
            "cut_store": (network.cut, network.resume),
            "full_disk": (self._fill_disk, lambda: (self.disk / "ballast").unlink(missing_ok=True)),
            "clock_forward": (lambda: self._jump(_JUMP_MS), lambda: self._jump(0)),
            "clock_back": (lambda: self._jump(-_JUMP_MS), lambda: self._jump(0)),
        }[kind]

    def _stop_and_take_over(self) -> None:
        """Both processes of the engine are stopped where they are, and another copy begins."""
        self.zombie = self.engine
        self.zombie.checkpoints(1, _PATIENCE_S)  # one that has not yet begun would wake as the newer one
        self.zombie.pause()
        self.start_engine()
        self.engine.checkpoints(_ZOMBIE_CHECKPOINTS, _PATIENCE_S)

    def _wake_zombie(self) -> None:
        """The first copy wakes, as if nothing had happened, and must find out that it was replaced."""
        self.zombie.resume()
        code = self.zombie.wait(_PATIENCE_S)
        # It meets the fence of the storage, or before that the one of the broker, which the sink reports as its own error.
        fenced = code == 3 or (code == 1 and "has taken over" in self.zombie.said())
        assert fenced, (
            f"{self.zombie.name} woke up beside another copy and ended with {code}: {self.zombie.said()[-500:]}"
        )
        assert self.engine.process.poll() is None, f"{self.engine.name} did not outlive the zombie"

    def _slow_down(self) -> None:
        self.slow.faults = [HttpFault("delay", times=None, delay_s=0.4)]

    def _speed_up(self) -> None:
        self.slow.faults = []
        self.slow.forget()

    def _fill_disk(self) -> None:
        with contextlib.suppress(OSError), (self.disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    def _jump(self, offset_ms: int) -> None:
        there = self.folder / "clock-offset.new"
        there.write_text(str(offset_ms))
        there.rename(self.folder / "clock-offset")

    async def settle(self) -> None:
        """After the last fault: wait until all input has come out, then end the engine in order.

        Raises:
            AssertionError: it does not come out, or the engine does not end with 0.
        """
        await self.input.finish()
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while await asyncio.to_thread(self.input.counted, self.folder) < self.input.written:
            assert self.engine.process.poll() is None, f"{self.engine.name} ended with {self.engine.process.returncode}"
            assert asyncio.get_running_loop().time() < deadline, "not all input has come out"
            await asyncio.sleep(0.5)
        code = await asyncio.to_thread(self.engine.end, signal.SIGTERM, _PATIENCE_S)
        assert code == 0, f"{self.engine.name} was told to stop and ended with {code}"


def _nothing() -> None:
    pass
