"""Types flow through joins. Each `# E:` names the error that a type checker must give on its line, each `# R:` the type
it must reveal; nothing else may be found."""

from __future__ import annotations

from typing import reveal_type

import msgspec
from tidegate.connectors import memory
from tidegate.engine import Topology
from tidegate.operators import Change, ConnectedFunction, windows


class Order(msgspec.Struct):
    """A record of the left."""

    customer: str
    at_ms: int


class Payment(msgspec.Struct):
    """A record of the right."""

    customer: str
    cents: int


topology = Topology("types")
orders = topology.source("orders", memory.source([Order("a", 0)]), event_time="at_ms").key_by(lambda o: o.customer)
payments = topology.source("payments", memory.source([Payment("a", 0)])).key_by(lambda p: p.customer)
numbers = topology.source("numbers", memory.source([1])).key_by(lambda n: n)
hours = windows.tumbling("1h")

# windows and intervals
reveal_type(orders.join(payments, hours))  # R: KeyedStream[str, Joined[Order, Payment]]
reveal_type(orders.join(payments, hours, how="left"))  # R: KeyedStream[str, Joined[Order, Payment | None]]
reveal_type(orders.join(payments, hours, how="right"))  # R: KeyedStream[str, Joined[Order | None, Payment]]
reveal_type(orders.join(payments, hours, how="outer"))  # R: KeyedStream[str, Joined[Order | None, Payment | None]]
reveal_type(orders.join(payments, hours, select=lambda o, p: p.cents))  # R: KeyedStream[str, int]
reveal_type(orders.interval_join(payments, lower="-5m", upper="10m"))  # R: KeyedStream[str, Joined[Order, Payment]]
cents_paid = orders.interval_join(payments, lower="0s", upper="1s", select=lambda o, p: p.cents)
reveal_type(cents_paid)  # R: KeyedStream[str, int]
orders.join(numbers, hours)  # E: expected "KeyedStream[str, int]"
orders.join(payments, hours, select=lambda o, p: p.amount)  # E: "Payment" has no attribute "amount"
orders.join(payments, hours, how="left", select=lambda o, p: p.cents)  # E: No overload variant
orders.join(payments, hours, how="full")  # E: No overload variant
orders.join(payments, windows.global_())  # E: No overload variant
orders.interval_join(payments)  # E: No overload variant

# regular joins
reveal_type(orders.regular_join(payments, left_ttl="1d"))  # R: KeyedStream[str, Joined[Order, Payment]]
reveal_type(orders.regular_join(payments, how="left"))  # R: KeyedStream[str, Change[Joined[Order, Payment | None]]]
reveal_type(orders.regular_join(payments, select=lambda o, p: p.cents))  # R: KeyedStream[str, int]
reveal_type(orders.regular_join(payments, how="right", select=lambda o, p: p.cents))  # R: KeyedStream[str, Change[int]]
reveal_type(orders.regular_join(payments.to_changes()))  # R: KeyedStream[str, Change[Joined[Any, Any]]]
orders.regular_join(payments, how="left", select=lambda o, p: p.cents)  # E: No overload variant
orders.regular_join(numbers)  # E: has incompatible type "KeyedStream[int, int]"

# tables
paid = payments.latest()
cents = payments.latest(lambda p: p.cents if p.cents else None)
reveal_type(paid)  # R: Table[str, Payment]
reveal_type(cents)  # R: Table[str, int]
reveal_type(payments.to_changes().latest())  # R: Table[str, Payment]
reveal_type(paid.join(cents, how="left"))  # R: KeyedStream[str, Change[Joined[Payment, int | None]]]
reveal_type(paid.join(cents, select=lambda p, c: p.cents - c))  # R: KeyedStream[str, Change[int]]
reveal_type(orders.join_table(paid))  # R: KeyedStream[str, Joined[Order, Payment]]
reveal_type(orders.join_table(paid, how="left"))  # R: KeyedStream[str, Joined[Order, Payment | None]]
reveal_type(orders.temporal_join(cents, select=lambda o, c: c))  # R: KeyedStream[str, int]
reveal_type(orders.broadcast_join(numbers.latest(), on="at_ms"))  # R: Stream[Joined[Order, int]]
orders.join_table(payments)  # E: No overload variant
orders.join_table(numbers.latest())  # E: expected "Table[str, int]"
orders.temporal_join(paid, how="left", select=lambda o, p: p.cents)  # E: No overload variant
orders.join_table(paid, how="outer")  # E: No overload variant


# lookups
async def name_of(customer: str) -> str | None:
    return customer or None


async def names_of(customers: list[str]) -> dict[str, str]:
    return {customer: customer for customer in customers}


def loudly(order: Order, name: str) -> str:
    return name.upper()


reveal_type(orders.lookup_join(name_of))  # R: Stream[Joined[Order, str]]
reveal_type(orders.lookup_join(name_of, how="left"))  # R: Stream[Joined[Order, str | None]]
reveal_type(orders.lookup_join(name_of, select=loudly))  # R: Stream[str]
reveal_type(orders.lookup_join(names_of, batch_size=50))  # R: Stream[Joined[Order, str]]
reveal_type(orders.lookup_join(names_of, batch_size=50, select=loudly))  # R: Stream[str]
orders.lookup_join(name_of, how="left", select=loudly)  # E: No overload variant
orders.lookup_join(lambda customer: "name")  # E: expected "Callable[[Any], Awaitable[None]]"
orders.lookup_join(name_of, cache="1h")  # E: No overload variant


# connected streams
class Both(ConnectedFunction[Change[int]]):
    """Takes two."""


reveal_type(orders.connect(payments).process(Both()))  # R: Stream[Change[int]]
