"""The world around a job in the latency scenario: one process that writes records into a topic by a timetable, and one that
watches for the results: `python -m benchmarks.kafka_traffic write|watch …`.

Record *i* is due *i* / rate seconds after the start, whether anybody keeps up or not; its result says when that was, by the
monotonic clock, which all processes share. The broker stamps it when it arrives, and the result has the same stamp.
"""

from __future__ import annotations

import argparse
import json
import time
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from .kafka_topics import PARTITIONS
from .scenario import BenchmarkError, Figures

RATE_PER_S: Final = 5_000
WARM_UP_S: Final = 3
LAST_S: Final = 2
"""Results of the first and the last seconds do not count: the job starts, and ends with a checkpoint ahead of its time."""

_TICK_S: Final = 0.001
# Without it each record is a request, and the broker is measured instead of the job.
_LINGER_MS: Final = 2
_SILENCE_S: Final = 20.0


class Bid(msgspec.Struct, gc=False):
    """What goes in, as large as the other scenarios' bids.

    Attributes:
        number: which it is.
        auction: the key.
        price: in cents.
        due_ns: when it was due.
        url: nothing asks for it.
    """

    number: int
    auction: int
    price: int
    due_ns: int
    url: str


class Converted(msgspec.Struct, gc=False):
    """What comes out."""

    number: int
    auction: int
    price: float
    due_ns: int


_DECODE: Final = msgspec.json.Decoder(Converted).decode
_SKEW_NS: Final = time.time_ns() - time.monotonic_ns()


def bid(number: int, due_ns: int) -> Bid:
    """The bid of a number: the same every time, but for when it is due. Two thirds are above 1000."""
    auction = number * 7919 % 10_000
    price = number * 104_729 % 3_000
    return Bid(
        number, auction, price, due_ns, "https://www.nexmark.com/abcdefghijklmn/item.htm?query=1&channel_id=1234"
    )


def price_of(number: int) -> int:
    """The price of a bid."""
    return number * 104_729 % 3_000


def passes(price: int) -> bool:
    """Whether a bid of that price has a result."""
    return price > 1000


def expected(count: int) -> list[int]:
    """The numbers of the bids that have a result, of the first `count`."""
    return [number for number in range(count) if passes(price_of(number))]


class Seen(NamedTuple):
    """A result, as the watcher saw it.

    Attributes:
        result: what it is.
        since_arrival_ms: since the broker had the record that it is of.
        since_due_ms: since that record was due.
    """

    result: Converted
    since_arrival_ms: float
    since_due_ms: float


def latencies(seen: Sequence[Seen], count: int) -> Figures:
    """What the watcher saw, in figures.

    Args:
        seen: all results, as they came.
        count: how many bids went in.

    Raises:
        BenchmarkError: a result is missing, doubled or wrong, or all were within the warm-up.
    """
    numbers, wanted = [it.result.number for it in seen], expected(count)
    if sorted(numbers) != wanted:
        doubled = len(numbers) - len(set(numbers))
        raise BenchmarkError(
            f"kafka-latency: the results are wrong: {len(set(wanted) - set(numbers))} are missing, {doubled} are doubled"
        )
    for it in seen:
        if it.result.price != price_of(it.result.number) * 0.908:
            raise BenchmarkError(f"kafka-latency: the results are wrong: {it.result}")
    first, stop = WARM_UP_S * RATE_PER_S, count - LAST_S * RATE_PER_S
    counted = [it for it in seen if first <= it.result.number < stop]
    if not counted:
        raise BenchmarkError(f"kafka-latency: everything was over within {WARM_UP_S + LAST_S} s: take more events")
    last = len(counted) - 1
    since_arrival, since_due = sorted(it.since_arrival_ms for it in counted), sorted(it.since_due_ms for it in counted)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "worst_ms": 1.0}
    figures = {name: since_arrival[int(share * last)] for name, share in shares.items()}
    return figures | {"since_due_p99_ms": since_due[int(0.99 * last)]}


def write(servers: str, topic: str, count: int) -> None:
    """Write `count` bids, each when it is due. Prints how late the latest was."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": _LINGER_MS, "partitioner": "murmur2_random", "acks": "all"}
    )
    producer.list_topics(topic, timeout=30)
    encode = msgspec.json.Encoder().encode
    began_ns = time.monotonic_ns() + 100_000_000
    number, latest_ns = 0, 0
    while number < count:
        due_ns = began_ns + number * 1_000_000_000 // RATE_PER_S
        now_ns = time.monotonic_ns()
        if due_ns > now_ns:
            producer.poll(0)
            time.sleep(_TICK_S)
            continue
        latest_ns = max(latest_ns, now_ns - due_ns)
        record = bid(number, due_ns)
        producer.produce(topic, encode(record), b"%d" % record.auction)
        number += 1
    if left := producer.flush(30):
        raise BenchmarkError(f"kafka-latency: {left} bids did not arrive")
    print(json.dumps({"writer_late_ms": latest_ns / 1e6}), flush=True)


def watch(servers: str, topic: str, count: int) -> None:
    """See the committed results of `count` bids as they become visible. Prints a line when it is ready, and the figures."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "watch",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    messages: list[Any] = []
    seen_ns = array("q")
    n_expected = len(expected(count))
    consumer.poll(1.0)
    print("ready", flush=True)
    quiet_since = time.monotonic()
    while len(messages) < n_expected and time.monotonic() - quiet_since < _SILENCE_S:
        message = consumer.poll(0.5)
        if message is not None:
            quiet_since = time.monotonic()
            seen_ns.append(time.monotonic_ns())
            messages.append(message)
    # Some that should not be there may follow.
    while (message := consumer.poll(1.0)) is not None:
        seen_ns.append(time.monotonic_ns())
        messages.append(message)
    consumer.close()
    print(json.dumps(latencies(list(map(_seen, messages, seen_ns)), count)), flush=True)


def _seen(message: Any, at_ns: int) -> Seen:
    if message.error() is not None:
        raise BenchmarkError(f"kafka-latency: the results cannot be read: {message.error()}")
    result = _DECODE(message.value())
    # Stamps are by the other clock, in whole milliseconds.
    at_ms = (at_ns + _SKEW_NS) / 1e6
    return Seen(result, at_ms - message.timestamp()[1], (at_ns - result.due_ns) / 1e6)


def main() -> None:
    """Write or watch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka_traffic", description=__doc__)
    parser.add_argument("what", choices=("write", "watch"))
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    (write if given.what == "write" else watch)(given.servers, given.topic, given.count)


if __name__ == "__main__":
    main()
