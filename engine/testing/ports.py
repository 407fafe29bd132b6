"""Ports for servers that tests start, stop and start again."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from .servers import ServerUnavailableError

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the system gives to outgoing connections.

    A server that is down for a while could else lose its port to one, or be impersonated by a client that connects to
    itself.

    Raises:
        ServerUnavailableError: there are not as many.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in _ports_to_try():
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise ServerUnavailableError(f"there are no {count} free ports on {HOST}: end what holds them, or wait")


def _ports_to_try() -> Iterator[int]:
    first = 32768
    with contextlib.suppress(OSError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    last = first if first > 11000 else 32768
    for _ in range(1000):
        yield last - 1 - secrets.randbelow(10000)


def ensure_free(port: int) -> None:
    """Check a port before a server is started on it.

    Raises:
        ServerUnavailableError: another process has it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ServerUnavailableError(
                f"port {port} on {HOST} is taken by another process: end it, or choose another port="
            ) from None
