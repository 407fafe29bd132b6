"""Record batches in the making: each partition has one that records are added to until it is full or old."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final

from .partitioner import KeyedPartitions
from .rows import Rows
from .transactions import ProducerId

CODECS: Final = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

_NO_HEADERS: Final[list[Any]] = []


class FullBatch:
    """A batch to which nothing is added any more.

    Attributes:
        count: records in it.
        n_bytes: about how large it is.
        data: as it is sent; None until it is sealed.
        deadline: the loop's time at which its delivery is given up.
        retry_pause: seconds to wait before it is sent again.
        offset: where it stands in the partition; -1 while that is not known.
    """

    __slots__ = ("_builder", "count", "data", "deadline", "n_bytes", "offset", "partition", "retry_pause", "topic")

    def __init__(self, topic: str, partition: int, builder: Any, count: int) -> None:
        self.topic = topic
        self.partition = partition
        self.count = count
        self.n_bytes = builder.size()
        self.data: bytearray | None = None
        self.deadline = 0.0
        self.retry_pause = 0.02
        self.offset = -1
        self._builder = builder

    def seal(self, producer: ProducerId, sequence: int) -> None:
        """Say whose it is and which it is, once: it is sent again exactly so."""
        self._builder.set_producer_state(producer.id, producer.fence, sequence)
        self.data = self._builder.build()
        self._builder = None


class _Growing:
    __slots__ = ("append", "builder", "count", "partition")

    def __init__(self, partition: int, builder: Any) -> None:
        self.partition = partition
        self.builder = builder
        self.append = builder.append
        self.count = 0


class Batches:
    """The growing batches of one writer.

    Args:
        batch_bytes: how large one grows, before compression. A record that is larger has a batch of its own.
        compression: how batches are compressed.
        transactional: whether they belong to transactions.
        partitioner: for records that name no partition.
        first: the partition with which records without keys begin.
        on_full: takes what is full.
    """

    def __init__(
        self,
        batch_bytes: int,
        compression: str | None,
        transactional: bool,
        partitioner: KeyedPartitions,
        first: int,
        on_full: Callable[[FullBatch], None],
    ) -> None:
        self._batch_bytes = batch_bytes
        self._codec = CODECS[compression]
        self._transactional = transactional
        self._partitioner = partitioner
        self._first = first
        self._on_full = on_full
        self._growing: dict[str, dict[int, _Growing]] = {}
        self._sticky: dict[str, int] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing grows."""
        return not any(self._growing.values())

    def add(self, rows: Rows, count: int, now_ms: int) -> None:
        """Add records of a topic with `count` partitions; those without a time get `now_ms`.

        Raises:
            ValueError: a partition that there is not.
        """
        n = len(rows.values)
        keys = rows.keys
        partitions = self._partitions(rows, count)
        if partitions is None and rows.headers is None and rows.timestamps is None:
            self._add_to_one(rows.topic, count, keys or repeat(None, n), rows.values, now_ms)
            return
        growing = self._growing.setdefault(rows.topic, {})
        get = growing.get
        for key, value, time, names, partition in zip(
            keys or repeat(None, n),
            rows.values,
            rows.timestamps or repeat(now_ms, n),
            rows.headers or repeat(_NO_HEADERS, n),
            partitions or repeat(None, n),
            strict=False,
        ):
            if partition is None:
                partition = self._sticky_partition(rows.topic, count)
            if time is None:
                time = now_ms
            headers = list(names) if names else _NO_HEADERS
            batch = get(partition)
            if batch is None:
                batch = growing[partition] = self._new(partition)
            if batch.append(batch.count, time, key, value, headers) is None:
                self._finish(rows.topic, batch)
                batch = growing[partition] = self._new(partition)
                batch.append(0, time, key, value, headers)
            batch.count += 1

    def _add_to_one(self, topic: str, count: int, keys: Any, values: Sequence[bytes | None], now_ms: int) -> None:
        """Records that may go anywhere fill the batch of one partition, then that of the next."""
        growing = self._growing.setdefault(topic, {})
        partition = self._sticky_partition(topic, count)
        batch = growing.get(partition)
        if batch is None:
            batch = growing[partition] = self._new(partition)
        append, i = batch.append, batch.count
        for key, value in zip(keys, values, strict=False):
            if append(i, now_ms, key, value, _NO_HEADERS) is None:
                batch.count = i
                self._finish(topic, batch)
                partition = self._sticky_partition(topic, count)
                batch = growing.get(partition)
                if batch is None:
                    batch = growing[partition] = self._new(partition)
                append, i = batch.append, batch.count
                if append(i, now_ms, key, value, _NO_HEADERS) is None:
                    batch.count = i
                    self._finish(topic, batch)
                    batch = growing[partition] = self._new(partition)
                    append, i = batch.append, 0
                    append(0, now_ms, key, value, _NO_HEADERS)
            i += 1
        batch.count = i

    def _partitions(self, rows: Rows, count: int) -> Sequence[int | None] | None:
        """The partition of each record, None for any; None when all may go anywhere."""
        found: list[int | None] | None = None
        if self._partitioner.takes_missing_keys:
            found = list(self._partitioner.of(rows.keys or [None] * len(rows.values), count))
        elif rows.keys is not None:
            if count == 1:
                found = [0] * len(rows.keys)
            elif None not in rows.keys:
                found = list(self._partitioner.of(rows.keys, count))
            else:
                keyed = iter(self._partitioner.of([key for key in rows.keys if key is not None], count))
                found = [None if key is None else next(keyed) for key in rows.keys]
        if rows.partitions is not None and any(named is not None for named in rows.partitions):
            for named in rows.partitions:
                if named is not None and not 0 <= named < count:
                    raise ValueError(f"topic {rows.topic!r} has no partition {named}, only 0 to {count - 1}")
            chosen = found if found is not None else [None] * len(rows.values)
            return [named if named is not None else other for named, other in zip(rows.partitions, chosen, strict=True)]
        return found

    def _sticky_partition(self, topic: str, count: int) -> int:
        return self._sticky.setdefault(topic, self._first) % count

    def _new(self, partition: int) -> _Growing:
        return _Growing(partition, new_builder(self._codec, self._transactional, self._batch_bytes))

    def _finish(self, topic: str, batch: _Growing) -> None:
        del self._growing[topic][batch.partition]
        if self._sticky.get(topic) is not None:
            self._sticky[topic] += 1
        if batch.count:
            self._on_full(FullBatch(topic, batch.partition, batch.builder, batch.count))

    def finish(self) -> None:
        """Give all that grows to `on_full`."""
        for topic, growing in self._growing.items():
            for batch in list(growing.values()):
                self._finish(topic, batch)


def new_builder(codec: int, transactional: bool, batch_bytes: int) -> Any:
    """An empty record batch of the library."""
    from aiokafka.record.default_records import DefaultRecordBatchBuilder

    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=int(transactional),
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=batch_bytes,
    )


def largest(data: bytes | bytearray) -> tuple[bytes | None, int, int]:
    """Key and size of the largest record of a batch, and how many there are."""
    from aiokafka.record.default_records import DefaultRecordBatch

    batch: Any = DefaultRecordBatch(bytes(data))
    found = [(len(record.key or b"") + len(record.value or b""), record.key) for record in batch]
    size, key = max(found, key=lambda pair: pair[0])
    return key, size, len(found)
