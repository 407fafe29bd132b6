"""A job inside an asyncio program: the program sends orders into a channel and takes running totals out of another,
and looks at the job's state in between.

Run it: python embedding.py
"""

import asyncio

import msgspec
from tidegate.connectors import memory
from tidegate.engine import Topology, start
from tidegate.operators import agg


class Order(msgspec.Struct):
    shop: str
    amount: int


async def main() -> list[str]:
    orders = memory.channel(type=Order)
    totals = memory.channel()
    topology = Topology("running-totals")
    topology.source("orders", orders).key_by("shop").aggregate(name="totals", total=agg.sum("amount")).sink(
        "totals-out", totals
    )

    lines = []
    async with start(topology) as job:
        for shop, amount in [("Oslo", 5), ("Turin", 7), ("Oslo", 10)]:
            await orders.send(Order(shop, amount))
            result = await anext(totals)
            lines.append(f"{result.key} has taken {result.total}")
        accumulators = job.state("totals", "totals")
        most = max([(state.total, shop) async for shop, state in accumulators.items()])
        lines.append(f"{most[1]} has taken the most; Turin {(await accumulators.get('Turin')).total}")
        await orders.close()  # the end of the stream: the job finishes
        await job.wait()
    return lines


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
