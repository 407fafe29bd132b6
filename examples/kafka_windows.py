"""What each shop took in ten seconds: Kafka to Kafka, exactly once. Run it: python kafka_windows.py

It reads what `kafka_orders.py` writes. The topics must be there: `python kafka_topics.py` makes them.
"""

import os

import msgspec
from tidegate.connectors import formats, kafka
from tidegate.engine import RunConfig, Topology, run
from tidegate.operators import Watermarks, agg, windows

SERVERS = os.environ.get("KAFKA_SERVERS", "localhost:9092")
ORDERS = os.environ.get("ORDERS_TOPIC", "orders")


class Order(msgspec.Struct):
    amount: int
    shop: str


topology = Topology(f"{ORDERS}.windows")
orders = topology.source(
    "orders",
    kafka.source(SERVERS, ORDERS, format=formats.json(Order), group=f"{ORDERS}.windows"),
    watermarks=Watermarks(out_of_orderness="2s"),  # of the times at which Kafka says the orders were written
    on_error="dead_letter",
)
orders.side_output("failed").sink("failed", kafka.dead_letters(SERVERS, f"{ORDERS}.failed"))
(
    orders.key_by("shop", name="by-shop")
    .window(windows.tumbling("10s"), allowed_lateness="1h")
    .aggregate(name="takings", orders=agg.count(), total=agg.sum("amount"), largest=agg.max("amount"))
    .sink("windows", kafka.sink(SERVERS, f"{ORDERS}.windows", format=formats.json(), key="key"))
)

if __name__ == "__main__":
    run(topology, RunConfig(checkpoints="state", checkpoint_interval="2s"))
