"""Orders of three shops, summed up in windows of ten minutes. Run it: python first.py"""

from random import Random

import msgspec
from tidegate.connectors import console, formats, generator
from tidegate.engine import RunConfig, Topology, run
from tidegate.operators import Watermarks, agg, windows


class Order(msgspec.Struct):
    shop: str
    at_ms: int
    amount: int


def order(random: Random, i: int) -> Order:  # one a second, up to 30 seconds out of order
    return Order(random.choice(["Lisbon", "Oslo", "Turin"]), 1000 * (i + random.randrange(30)), random.randrange(5, 90))


topology = Topology("orders")
source = generator.records(order, count=3600)
(
    topology.source("orders", source, event_time="at_ms", watermarks=Watermarks(out_of_orderness="30s"))
    .key_by("shop")
    .window(windows.tumbling("10m"))
    .aggregate(name="takings", orders=agg.count(), total=agg.sum("amount"), largest=agg.max("amount"))
    .sink("print", console.sink(formats.json()))
)

if __name__ == "__main__":
    run(topology, RunConfig(checkpoints="state"))
