"""The sink's connection to a cluster, where no broker is needed to see what it does."""

from __future__ import annotations

import asyncio

from tidegate.connectors.kafka.cluster import Cluster
from tidegate.connectors.kafka.connection import Connection


class _Client:
    """Says who leads what when it is told to."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def force_metadata_update(self) -> asyncio.Future[bool]:
        return asyncio.shield(self.answer)


async def test_whoever_is_cancelled_together_with_the_answer_ends_cancelled():
    """Both come in one turn of the loop where a process has stood still; it would go on as if nobody had cancelled it."""
    cluster, client = Cluster(Connection("127.0.0.1:1"), asyncio.sleep), _Client()
    cluster._client = client
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(cluster.refresh())
        await asyncio.sleep(0)
        client.answer.set_result(True)
        for _ in range(2):  # until the answer is on its way to who waits for it
            await asyncio.sleep(0)
            if not asking.done():
                asking.cancel()
    assert asking.cancelled()
