"""Makes the topics of `kafka_orders.py` and `kafka_windows.py`, where they are missing. Run it: python kafka_topics.py"""

import asyncio
import os

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

SERVERS = os.environ.get("KAFKA_SERVERS", "localhost:9092")
ORDERS = os.environ.get("ORDERS_TOPIC", "orders")
PARTITIONS = {ORDERS: 4, f"{ORDERS}.windows": 4, f"{ORDERS}.failed": 1}


async def main() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=SERVERS)
    await admin.start()
    try:
        there = await admin.list_topics()
        missing = [name for name in PARTITIONS if name not in there]
        await admin.create_topics([NewTopic(name, PARTITIONS[name], replication_factor=1) for name in missing])
        print(f"made {', '.join(missing)}" if missing else "all topics are there")
    finally:
        await admin.close()


if __name__ == "__main__":
    asyncio.run(main())
