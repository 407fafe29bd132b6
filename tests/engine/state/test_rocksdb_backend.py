"""The rocksdb backend keeps the contract of state backends."""

from __future__ import annotations

from tidegate.engine.state import RocksDBBackend, StateBackend
from tidegate.engine.testing.state_suite import StateBackendSuite


class TestContract(StateBackendSuite):
    """Every test of the suite, with the rocksdb backend."""

    def make_backend(self) -> StateBackend:
        return RocksDBBackend()
