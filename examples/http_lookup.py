"""Orders looked up at an HTTP service that is down for a while: calls are tried again, and while most of them fail the
circuit breaker leaves the service alone and the orders wait. What the service does not know becomes a dead letter.

The program starts the service itself. Run it: python http_lookup.py
"""

import asyncio

import msgspec
from tidegate.connectors import memory
from tidegate.engine import Topology, start
from tidegate.operators import CircuitBreaker, Retry

PRICES = {"apples": 3, "pears": 4, "plums": 5}


class Order(msgspec.Struct):
    fruit: str
    pieces: int


class UnknownFruitError(Exception):
    """The service does not know the fruit. It has answered, so the circuit breaker does not count it."""


class Service:
    """Answers `GET /FRUIT` with a price; the first requests with 503."""

    def __init__(self, n_failing: int) -> None:
        self.n_failing = n_failing
        self.n_requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        fruit = request.split()[1].decode().removeprefix("/")
        self.n_requests += 1
        if self.n_requests <= self.n_failing:
            status, body = "503 Service Unavailable", ""
        elif fruit in PRICES:
            status, body = "200 OK", str(PRICES[fruit])
        else:
            status, body = "404 Not Found", ""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an answer. A program of yours would use its HTTP client here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


async def main() -> list[str]:
    service = Service(n_failing=12)
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def price(order: Order) -> str:
        status, body = await get(port, f"/{order.fruit}")
        if status == 404:
            raise UnknownFruitError(order.fruit)
        if status != 200:
            raise ConnectionError(f"the service answered {status}")
        return f"{order.pieces} {order.fruit} cost {order.pieces * int(body)}"

    orders = [Order(fruit, n) for n in range(1, 11) for fruit in PRICES] + [Order("durians", 1)]
    topology, priced, failed = Topology("http-lookup"), memory.sink(), memory.sink()
    looked_up = topology.source("orders", memory.source(orders)).map_async(
        price,
        name="price",
        capacity=5,
        timeout="2s",
        retry=Retry(attempts=8, delay="10ms", max_delay="50ms", jitter=0.5, then="dead_letter"),
        breaker=CircuitBreaker(last=10, least=5, open_for="100ms", counts=(ConnectionError, TimeoutError)),
        input_type=Order,
    )
    looked_up.sink("priced", priced)
    looked_up.side_output("failed").map(lambda letter: letter.error).sink("failed", failed)
    async with server, start(topology) as job:
        await job.wait()
    return [*priced.values[:3], f"{len(priced.values)} orders priced", *failed.values]


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
