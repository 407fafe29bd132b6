"""A Faust app and a topology in one process: an agent of the app hands orders over, the topology adds them up in windows
with checkpointed state, and another agent of the app gets the results back.

Run it: TIDEGATE_KAFKA=localhost:9092 python faust_bridge.py
"""

import asyncio
import os
import tempfile

import faust
from tidegate.connectors.faust import channel_sink, channel_source
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import Watermarks, agg, windows


class Order(faust.Record):
    shop: str
    amount: float
    at: float  # seconds since 1970


async def main(servers: str, folder: str) -> list[str]:
    app = faust.App(
        "faust-bridge-example",
        broker=f"kafka://{servers}",
        store="memory://",
        datadir=f"{folder}/faust",
        web_enabled=False,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
    )
    # With internal=True Faust makes the topics.
    orders = app.topic("faust-bridge-orders", value_type=Order, partitions=1, internal=True)
    totals = app.topic("faust-bridge-totals", value_serializer="json", partitions=1, internal=True)
    good_orders = app.channel()
    lines: asyncio.Queue[str] = asyncio.Queue()

    @app.agent(orders)
    async def check(stream):
        async for order in stream:
            if order.amount > 0:
                await good_orders.send(value=order, timestamp=order.at)

    @app.agent(totals)
    async def show(stream):
        async for total in stream:
            await lines.put(f"{total['key']}: {total['amount']:.2f} from {total['orders']} orders")

    # The bridge is made before the app starts, so that Faust knows of it from the beginning.
    source = channel_source(good_orders)
    topology = Topology("faust-bridge")
    topology.source("orders", source, watermarks=Watermarks(out_of_orderness="1s")).key_by(
        lambda order: order.shop, key_type=str
    ).window(windows.tumbling("1m")).aggregate(
        name="per-minute", orders=agg.count(), amount=agg.sum(lambda order: order.amount)
    ).sink("totals", channel_sink(totals, key="key"))

    await app.start()  # instead of a Worker, which would own the process
    try:
        async with start(topology, RunConfig(checkpoints=f"{folder}/state", checkpoint_interval="1s")) as job:
            for at, (shop, amount) in enumerate([("Oslo", 5.0), ("Turin", 7.5), ("Oslo", -1.0), ("Oslo", 10.0)]):
                await orders.send(value=Order(shop=shop, amount=amount, at=60.0 + at))
            await orders.send(value=Order(shop="Turin", amount=1.0, at=180.0))  # a later minute closes the first
            first_minute = [await lines.get(), await lines.get()]
            await job.stop()  # the topology first, then the app: all that was read is committed
    finally:
        await app.stop()
    return sorted(first_minute)


if __name__ == "__main__":
    if "TIDEGATE_KAFKA" in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(asyncio.run(main(os.environ["TIDEGATE_KAFKA"], folder))))
    else:
        print("This needs a broker: TIDEGATE_KAFKA=localhost:9092 python faust_bridge.py")
