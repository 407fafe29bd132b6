"""The settings of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from ..operators.time import Duration, duration_ms
from .checkpoint.store_options import StoreSettings, check_options
from .errors import ConfigError
from .restart import RestartStrategy, exponential, never

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?", re.IGNORECASE)
_SIZE_UNITS: Final[dict[str, int]] = {"": 1, "B": 1} | {
    f"{prefix}{infix}B": base**power
    for power, prefix in enumerate("KMGT", 1)
    for infix, base in (("", 1000), ("I", 1024))
}
_NAME: Final = re.compile(r"[\w.-]+")


def parse_size(size: int | str) -> int:
    """A size in whole bytes.

    Raises:
        ValueError: it is not a size.

    >>> parse_size("256MB"), parse_size("1GiB"), parse_size(4096)
    (256000000, 1073741824, 4096)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is None:
        raise ValueError(f'{size!r} is not a size: write "512KB", "256MB" or "1GiB", or a number of bytes')
    return math.floor(float(match[1]) * _SIZE_UNITS[(match[2] or "").upper()])


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a topology is run. Validated when made; the same object may serve many runs.

    Attributes:
        checkpoints: where checkpoints are kept: a directory, or a URL such as `s3://bucket/prefix`. None:
            there are none, and a job that fails starts from nothing.
        checkpoint_interval: time from the start of one checkpoint to the start of the next.
        checkpoint_timeout: a checkpoint that takes longer is given up; the job goes on.
        alignment_timeout: how long the barriers of a checkpoint wait for the records before them. After that they overtake:
            records in flight become part of the checkpoint, which is then unaligned. None: they always wait. Savepoints, and
            the last checkpoint of a job, always wait.
        checkpoint_min_pause: least time from the end of one checkpoint to the start of the next.
        checkpoint_failure_limit: how many checkpoints in a row may fail before the job does, and is restarted; None for no
            limit.
        checkpoint_store: options of the object store that `checkpoints` names, such as `endpoint` and `region`. A value
            `env:NAME` or `file:/path` is a reference to what stands there; credentials are only given so. What is not
            set is taken from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
        store_request_timeout: for one request to an object store, its body included.
        store_patience: how long a request to an object store is tried again before it has failed.
        upload_concurrency: files of a checkpoint that are stored, or fetched, at the same time.
        upload_rate: most bytes per second that go to an object store, as a size: `"50MB"`; None for no limit.
        retain: how many completed checkpoints are kept. Savepoints are kept for ever.
        job: the name under which checkpoints and metrics are kept; None for the topology's.
        parallelism: subtasks per operator, where the topology does not say.
        max_parallelism: number of key groups, and so the highest parallelism of any operator. A start with another one
            than the checkpoint was written with assigns every key to a key group anew, which reads all state.
        state_backend: `"rocksdb"`, or `"dict"`: all state in memory, for tests and small jobs.
        state_dir: working directory of the databases; None for a temporary one. It never needs to survive.
        local_recovery: keep the files of the newest checkpoint in `state_dir` when the process ends, so that the next start
            on this machine links them instead of fetching them from an object store.
        memory_budget: memory for state in front of the databases, for the whole job: bytes, or `"256MB"`,
            `"1GiB"`.
        restart: the restart strategy; None for `exponential()` with checkpoints and `never()` without.
        restore: what to start from: `"latest"` checkpoint or savepoint, a checkpoint id, the name of a
            savepoint; None to start from nothing although there are checkpoints.
        restore_from: read what is restored from here instead of from `checkpoints`, and write nothing there.
        allow_dropped: operators that the checkpoint has state of and the topology no longer has: their state
            is dropped.
        rename: what was renamed since the checkpoint was written: operators, sources and sinks, each name in the
            checkpoint → its name now. May stay set: a checkpoint that has the new names is taken as it is.
        allow_repeats: go on from a checkpoint although output that is newer is visible and cannot be taken back, as in a
            Kafka topic: it is written again.
        channel_capacity: batches that a channel between two subtasks holds before the sender waits.
        metrics_port: serve Prometheus metrics on this port; 0 picks a free one, None serves none.
        metrics_host: the address that the metrics are served on.
        report_interval: time between two log lines about a running job.
        discovery_interval: time between two looks for new splits of an unbounded source.
        linger: how long a source waits for a batch to fill while there are records.
        max_batch: most records of a batch that a source reads.
        commit_retry_limit: how often the commit of a sink is retried before the job fails; None for no limit.
        stop_after_records: end the sources after this many records altogether; None for no limit.
        until_ms: end each split at its first record with an event time at or after this (milliseconds since
            1970 UTC).

    Raises:
        ConfigError: a value does not fit; names the setting and what to write instead.
    """

    checkpoints: str | Path | None = None
    checkpoint_interval: Duration = "10s"
    checkpoint_timeout: Duration = "10m"
    alignment_timeout: Duration | None = "10s"
    checkpoint_min_pause: Duration = "0ms"
    checkpoint_failure_limit: int | None = None
    checkpoint_store: Mapping[str, Any] = field(default_factory=dict, hash=False)
    store_request_timeout: Duration = "30s"
    store_patience: Duration = "1m"
    upload_concurrency: int = 4
    upload_rate: int | str | None = None
    retain: int = 3
    job: str | None = None
    parallelism: int = 1
    max_parallelism: int = 128
    state_backend: Literal["rocksdb", "dict"] = "rocksdb"
    state_dir: str | Path | None = None
    local_recovery: bool = False
    memory_budget: int | str = "256MB"
    restart: RestartStrategy | None = None
    restore: int | str | None = "latest"
    restore_from: str | Path | None = None
    allow_dropped: frozenset[str] = field(default_factory=frozenset)
    rename: Mapping[str, str] = field(default_factory=dict, hash=False)
    allow_repeats: bool = False
    channel_capacity: int = 8
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    report_interval: Duration = "10s"
    discovery_interval: Duration = "10s"
    linger: Duration = "5ms"
    max_batch: int = 2048
    commit_retry_limit: int | None = None
    stop_after_records: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        for name in SETTINGS:
            check_setting(name, getattr(self, name))
        if self.parallelism > self.max_parallelism:
            raise ConfigError(
                f"parallelism = {self.parallelism} is above max_parallelism = {self.max_parallelism}: a "
                "subtask needs at least one key group; lower parallelism, or raise max_parallelism"
            )
        if self.checkpoints is None and self.restore_from is None and self.restore not in ("latest", None):
            raise ConfigError(
                f"restore = {self.restore!r} needs a place to restore from: set checkpoints, or restore_from"
            )
        if self.local_recovery and self.state_dir is None:
            raise ConfigError("local_recovery = True needs a place that survives the process: set state_dir")
        object.__setattr__(self, "allow_dropped", frozenset(self.allow_dropped))
        object.__setattr__(self, "checkpoint_store", dict(self.checkpoint_store))
        object.__setattr__(self, "rename", dict(self.rename))

    @property
    def checkpoint_interval_ms(self) -> int:
        return duration_ms(self.checkpoint_interval)

    @property
    def checkpoint_timeout_ms(self) -> int:
        return duration_ms(self.checkpoint_timeout)

    @property
    def alignment_timeout_ms(self) -> int | None:
        return None if self.alignment_timeout is None else duration_ms(self.alignment_timeout)

    @property
    def checkpoint_min_pause_ms(self) -> int:
        return duration_ms(self.checkpoint_min_pause)

    @property
    def store_settings(self) -> StoreSettings:
        """How the object store is spoken to."""
        timeout_ms, patience_ms = duration_ms(self.store_request_timeout), duration_ms(self.store_patience)
        return StoreSettings(self.checkpoint_store, timeout_ms / 1000, patience_ms / 1000)

    @property
    def upload_rate_bytes(self) -> int | None:
        return None if self.upload_rate is None else parse_size(self.upload_rate)

    @property
    def report_interval_ms(self) -> int:
        return duration_ms(self.report_interval)

    @property
    def discovery_interval_ms(self) -> int:
        return duration_ms(self.discovery_interval)

    @property
    def linger_ms(self) -> int:
        return duration_ms(self.linger)

    @property
    def memory_budget_bytes(self) -> int:
        return parse_size(self.memory_budget)

    @property
    def restart_strategy(self) -> RestartStrategy:
        """The restart strategy, the one that None stands for included."""
        if self.restart is not None:
            return self.restart
        return never() if self.checkpoints is None else exponential()


def check_setting(name: str, value: Any) -> None:
    """Whether `value` fits the setting `name`.

    Raises:
        ConfigError: it does not; names the setting and what to write instead.
    """
    problem = _CHECKS[name](value)
    if problem is not None:
        raise ConfigError(f"{name} = {_shown(value)}: {problem}")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = …" for name in value) + "}"  # a value may be a credential
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _duration(least_ms: int, optional: bool = False) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None and optional:
            return None
        try:
            milliseconds = duration_ms(value)
        except ValueError:
            return 'write a duration such as "250ms", "5s" or "10m", or pass a timedelta'
        return None if milliseconds >= least_ms else f"must be at least {least_ms} ms"

    return check


def _whole(least: int, most: int | None = None, optional: bool = False) -> Callable[[Any], str | None]:
    wanted = f"of at least {least}" if most is None else f"from {least} to {most}"

    def check(value: Any) -> str | None:
        if value is None and optional:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            return f"must be a whole number {wanted}"
        return None if most is None or value <= most else f"must be a whole number {wanted}"

    return check


def _any_whole(value: Any) -> str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None
    return "must be milliseconds since 1970 UTC"


def _location(value: Any) -> str | None:
    if value is None or (isinstance(value, str | Path) and str(value).strip()):
        return None
    return "must be a directory, or a URL such as s3://bucket/prefix"


def _directory(value: Any) -> str | None:
    if value is None or (isinstance(value, str | Path) and str(value).strip() and "://" not in str(value)):
        return None
    return "must be a local directory"


def _job(value: Any) -> str | None:
    # The job's name is a folder of the checkpoint directory.
    if value is None or (isinstance(value, str) and _NAME.fullmatch(value) and value.strip(".")):
        return None
    return "must be made of letters, digits, '.', '_' and '-'"


def _backend(value: Any) -> str | None:
    return None if value in ("rocksdb", "dict") else 'must be "rocksdb" or "dict"'


def _size(least: str, optional: bool = False) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None and optional:
            return None
        try:
            return None if parse_size(value) >= parse_size(least) else f'must be at least "{least}"'
        except ValueError:
            return 'write a size such as "256MB" or "1GiB", or a number of bytes'

    return check


def _options(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return "must be a table of options, such as endpoint and region"
    return check_options(value)


def _strategy(value: Any) -> str | None:
    if value is None or callable(getattr(value, "decide", None)):
        return None
    return "must be a restart strategy: never(), fixed_delay(…) or exponential(…)"


def _restore(value: Any) -> str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return None
    if isinstance(value, str) and _NAME.fullmatch(value):
        return None
    return 'must be "latest", a checkpoint id, the name of a savepoint, or None'


def _operators(value: Any) -> str | None:
    if isinstance(value, frozenset | set | list | tuple) and all(isinstance(name, str) for name in value):
        return None
    return "must be a set of operator ids"


def _renames(value: Any) -> str | None:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and name for pair in value.items() for name in pair
    ):
        return "must give the new name of each old one: {'old': 'new'}"
    twice = sorted(name for name in set(value.values()) if list(value.values()).count(name) > 1)
    if twice:
        return f"gives {twice[0]!r} as the new name of two"
    # Otherwise a second restore would rename what the first one has renamed already.
    both = sorted(set(value) & set(value.values()))
    if both:
        return f"has {both[0]!r} as an old and as a new name: take a name in between that is neither, in two restores"
    return None


def _yes_or_no(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _host(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "must be a host name or an address"


_CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "checkpoints": _location,
    "checkpoint_interval": _duration(1),
    "checkpoint_timeout": _duration(1),
    "alignment_timeout": _duration(0, optional=True),
    "checkpoint_min_pause": _duration(0),
    "checkpoint_failure_limit": _whole(0, optional=True),
    "checkpoint_store": _options,
    "store_request_timeout": _duration(1),
    "store_patience": _duration(0),
    "upload_concurrency": _whole(1, 64),
    "upload_rate": _size("64KiB", optional=True),
    "retain": _whole(1),
    "job": _job,
    "parallelism": _whole(1),
    "max_parallelism": _whole(1, 32768),
    "state_backend": _backend,
    "state_dir": _directory,
    "local_recovery": _yes_or_no,
    "memory_budget": _size("1MiB"),
    "restart": _strategy,
    "restore": _restore,
    "restore_from": _location,
    "allow_dropped": _operators,
    "rename": _renames,
    "allow_repeats": _yes_or_no,
    "channel_capacity": _whole(1),
    "metrics_port": _whole(0, 65535, optional=True),
    "metrics_host": _host,
    "report_interval": _duration(1),
    "discovery_interval": _duration(1),
    "linger": _duration(0),
    "max_batch": _whole(1),
    "commit_retry_limit": _whole(0, optional=True),
    "stop_after_records": _whole(1, optional=True),
    "until_ms": _any_whole,
}

SETTINGS: Final = tuple(setting.name for setting in fields(RunConfig))
"""The names of all settings, in the order of the class."""
