"""The requests of Kafka's protocol that the client library does not have, and what error codes mean.

This and `cluster` are the only modules that build on the inside of aiokafka (0.12 to 0.14): its request classes,
record batches and cluster client. The library's own producer cannot do what the sink needs: it has one transactional
id for life, commits transactions in which a batch failed, and speaks versions of the protocol that cannot tell who
was fenced.

Kafka's *producer epoch* is called `fence` here: every takeover of a transactional id raises it, and the broker
refuses whoever comes with a lower one.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import errors
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

COORDINATOR_LOADING: Final = 14
COORDINATOR_NOT_AVAILABLE: Final = 15
NOT_COORDINATOR: Final = 16
UNKNOWN_TOPIC: Final = 3
OFFSET_OUT_OF_RANGE: Final = 1
TOO_LARGE: Final = frozenset({10, 18})
TOPIC_DENIED: Final = 29
INVALID_TIMESTAMP: Final = 32
CLUSTER_DENIED: Final = 31
TOPIC_EXISTS: Final = 36
NOT_CONTROLLER: Final = 41
OUT_OF_ORDER_SEQUENCE: Final = 45
DUPLICATE_SEQUENCE: Final = 46
INVALID_FENCE: Final = 47
INVALID_TXN_STATE: Final = 48
UNKNOWN_MAPPING: Final = 49
INVALID_TIMEOUT: Final = 50
CONCURRENT_TRANSACTIONS: Final = 51
TRANSACTIONAL_ID_DENIED: Final = 53
OPERATION_NOT_ATTEMPTED: Final = 55
INVALID_RECORD: Final = 87
PRODUCER_FENCED: Final = 90
ID_NOT_FOUND: Final = 105

FENCED: Final = frozenset({INVALID_FENCE, PRODUCER_FENCED})
ENDED: Final = frozenset({INVALID_FENCE, INVALID_TXN_STATE, UNKNOWN_MAPPING, PRODUCER_FENCED})
"""To EndTxn: this transaction is no longer open. Committed long ago or gone, only the commit token knows."""

ASK_ANOTHER: Final = frozenset({COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR})
ASK_AGAIN: Final = frozenset({COORDINATOR_LOADING, CONCURRENT_TRANSACTIONS, 7, 13})
"""7 and 13 are a timeout and a broken connection seen by the broker."""

DELIVER_AGAIN: Final = frozenset({2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 51, 56, 74, 75, 76, 100, 103})
"""To Produce: the batch may be sent again with its old sequence number; the broker drops what it has already."""


def code_name(code: int) -> str:
    """An error code as people know it: `TOPIC_AUTHORIZATION_FAILED (29)`."""
    return f"{_NAMES.get(code) or errors.for_code(code).__name__} ({code})"


_NAMES: Final = {
    PRODUCER_FENCED: "PRODUCER_FENCED",
    ID_NOT_FOUND: "TRANSACTIONAL_ID_NOT_FOUND",
    13: "NETWORK_EXCEPTION",
}


class _InitProducerIdResponse(Response):  # type: ignore[misc]  # the library has no types
    API_KEY = 22
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class _InitProducerId(RequestStruct):  # type: ignore[misc]
    API_KEY = 22
    API_VERSION = 4
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _InitProducerIdResponse
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class _AddPartitionsResponse(Response):  # type: ignore[misc]
    API_KEY = 24
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            Array(
                ("topic", String("utf-8")),
                ("partition_errors", Array(("partition", Int32), ("error_code", Int16))),
            ),
        ),
    )


class _AddPartitions(RequestStruct):  # type: ignore[misc]
    API_KEY = 24
    API_VERSION = 2
    RESPONSE_TYPE = _AddPartitionsResponse
    SCHEMA = Schema(
        ("transactional_id", String("utf-8")),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class _EndTxnResponse(Response):  # type: ignore[misc]
    API_KEY = 26
    API_VERSION = 2
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _EndTxn(RequestStruct):  # type: ignore[misc]
    # Version 5 would make the broker raise the fence at the end of every transaction: then only the live producer could
    # recognise its own commit. Version 2 is the newest in which a repeated commit is simply done.
    API_KEY = 26
    API_VERSION = 2
    RESPONSE_TYPE = _EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", String("utf-8")),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
    )


class _DescribeTransactionsResponse(Response):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "states",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("timeout_ms", Int32),
                ("started_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeTransactions(RequestStruct):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _DescribeTransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class _ListTransactionsResponse(Response):  # type: ignore[misc]
    API_KEY = 66
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_states", CompactArray(CompactString("utf-8"))),
        (
            "transactions",
            CompactArray(
                ("transactional_id", CompactString("utf-8")),
                ("producer_id", Int64),
                ("state", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ListTransactions(RequestStruct):  # type: ignore[misc]
    API_KEY = 66
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ListTransactionsResponse
    SCHEMA = Schema(
        ("states", CompactArray(CompactString("utf-8"))),
        ("producer_ids", CompactArray(Int64)),
        ("tags", TaggedFields),
    )


class _Ask(Request[Any]):  # type: ignore[misc]
    """A request of one version, with its fields."""

    API_KEY = -1

    def __init__(self, struct: type[Any], *fields: Any) -> None:
        self._struct = struct
        self._fields = fields

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(*self._fields)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        low, high = versions.get(self._struct.API_KEY, (0, -1))
        if not low <= self._struct.API_VERSION <= high:
            raise errors.IncompatibleBrokerVersion(f"no {self._struct.__name__[1:]} v{self._struct.API_VERSION}")
        return self.build(self._struct)


def init_producer_id(transactional_id: str | None, timeout_ms: int, producer_id: int, fence: int) -> Any:
    """Take an id over (-1, -1), or raise the fence of what is already ours."""
    return _Ask(_InitProducerId, transactional_id, timeout_ms, producer_id, fence, {})


def add_partitions(transactional_id: str, producer_id: int, fence: int, topics: list[tuple[str, list[int]]]) -> Any:
    """Begin a transaction, or make it wider."""
    return _Ask(_AddPartitions, transactional_id, producer_id, fence, topics)


def end_transaction(transactional_id: str, producer_id: int, fence: int, commit: bool) -> Any:
    """Commit or abort."""
    return _Ask(_EndTxn, transactional_id, producer_id, fence, commit)


def describe_transactions(transactional_ids: list[str]) -> Any:
    """How transactions stand; for ids of one coordinator."""
    return _Ask(_DescribeTransactions, transactional_ids, {})


def list_transactions() -> Any:
    """All transactional ids that a broker coordinates."""
    return _Ask(_ListTransactions, [], [], {})
