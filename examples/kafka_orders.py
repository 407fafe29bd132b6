"""Orders of three shops into a topic of Kafka, 200 a second, at least once. Run it: python kafka_orders.py

The topics must be there: `python kafka_topics.py` makes them. `kafka_windows.py` reads what this writes.
"""

import os
from random import Random

import msgspec
from tidegate.connectors import formats, generator, kafka
from tidegate.engine import RunConfig, Topology, run

SERVERS = os.environ.get("KAFKA_SERVERS", "localhost:9092")
ORDERS = os.environ.get("ORDERS_TOPIC", "orders")


class Order(msgspec.Struct):
    id: int
    shop: str
    customer: str
    amount: int


def order(random: Random, i: int) -> Order:
    shop = random.choice(["Lisbon", "Oslo", "Turin"])
    return Order(i, shop, f"customer-{random.randrange(1000)}", random.randrange(5, 90))


topology = Topology(f"{ORDERS}.writer")
(
    topology.source("shops", generator.records(order, seed=7), rate_limit=200).sink(
        "orders", kafka.sink(SERVERS, ORDERS, format=formats.json(), key="customer", delivery="at_least_once")
    )
)

if __name__ == "__main__":
    run(topology, RunConfig(checkpoints="state", checkpoint_interval="2s"))
