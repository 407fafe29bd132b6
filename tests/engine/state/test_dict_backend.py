"""The dict backend keeps the contract of state backends."""

from __future__ import annotations

from tidegate.engine.state import DictBackend, StateBackend
from tidegate.engine.testing.state_suite import StateBackendSuite


class TestContract(StateBackendSuite):
    """Every test of the suite, with the dict backend."""

    def make_backend(self) -> StateBackend:
        return DictBackend()
