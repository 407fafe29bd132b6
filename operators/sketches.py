"""Summaries of bounded size: distinct values by HyperLogLog, quantiles by DDSketch.

Both are plain functions over builtin containers, so that a summary is stored as it stands. Both are
deterministic and mergeable: merging the summaries of two parts gives the summary of the whole.
"""

from __future__ import annotations

from hashlib import blake2b
from math import ceil, inf, log, nan
from typing import Any, Final

import msgspec

HLL_PRECISION: Final = 12
"""2**12 registers: a standard error of 1.04 / sqrt(4096), 1.6 %."""

HLL_SPARSE_LIMIT: Final = 256
"""Up to so many distinct values their hashes are kept instead of registers, and the count is exact."""

QUANTILE_ACCURACY: Final = 0.01
"""The relative error that a quantile from a sketch may have."""

_REGISTERS: Final = 1 << HLL_PRECISION
_HASH_BITS: Final = 64 - HLL_PRECISION
_LOW_MASK: Final = (1 << _HASH_BITS) - 1
_ALPHA_INFINITY: Final = 0.5 / log(2)

_GAMMA: Final = (1 + QUANTILE_ACCURACY) / (1 - QUANTILE_ACCURACY)
_PER_LOG: Final = 1 / log(_GAMMA)
_MIDDLE: Final = 2 / (1 + _GAMMA)
# The bucket of a positive double lies within ±36,000; shifted, every positive bucket is above the one of zero.
_SHIFT: Final = 40_000
_INFINITE_BUCKET: Final = 2 * _SHIFT
_NAN_BUCKET: Final = 2 * _SHIFT + 1

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def canonical(value: object) -> object:
    """The value that stands for all values equal to it: `True`, `1` and `1.0` are one, as in a set, and so is
    every NaN."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        return nan if value != value else value  # noqa: PLR0124  # only NaN differs from itself
    return value


def stable_hash(value: object) -> int:
    """64 bits that are the same in every process; equal values have equal hashes.

    Raises:
        TypeError: the value is of a type that cannot be encoded.
    """
    value = canonical(value)
    try:
        encoded = _encode(value)
    except OverflowError:
        encoded = str(value).encode()
    return int.from_bytes(blake2b(encoded, digest_size=8).digest(), "big")


def hll_add(sparse: set[int], registers: bytearray, value: object) -> None:
    """Count a value. `registers` is empty while the hashes in `sparse` are few."""
    hashed = stable_hash(value)
    if registers:
        _raise_register(registers, hashed)
    else:
        sparse.add(hashed)
        if len(sparse) > HLL_SPARSE_LIMIT:
            _make_dense(sparse, registers)


def hll_merge(sparse: set[int], registers: bytearray, other_sparse: set[int], other: bytearray) -> None:
    """Count in the first summary what the second has counted."""
    if other:
        if not registers:
            registers.extend(bytes(_REGISTERS))
        registers[:] = bytes(map(max, registers, other))
    if registers:
        for hashed in sparse | other_sparse:
            _raise_register(registers, hashed)
        sparse.clear()
    else:
        sparse |= other_sparse
        if len(sparse) > HLL_SPARSE_LIMIT:
            _make_dense(sparse, registers)


def hll_estimate(sparse: set[int], registers: bytearray) -> int:
    """How many distinct values were counted: exact while they are few, later within a standard error of 1.6
    %.

    The estimator is algorithm 6 of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
    sketches" (2017); it needs no correction for small or large counts.
    """
    if not registers:
        return len(sparse)
    z = _REGISTERS * _tau(1 - registers.count(_HASH_BITS + 1) / _REGISTERS)
    for rank in range(_HASH_BITS, 0, -1):
        z = 0.5 * (z + registers.count(rank))
    z += _REGISTERS * _sigma(registers.count(0) / _REGISTERS)
    return round(_ALPHA_INFINITY * _REGISTERS * _REGISTERS / z)


def _raise_register(registers: bytearray, hashed: int) -> None:
    index = hashed >> _HASH_BITS
    rank = _HASH_BITS + 1 - (hashed & _LOW_MASK).bit_length()
    registers[index] = max(registers[index], rank)


def _make_dense(sparse: set[int], registers: bytearray) -> None:
    registers.extend(bytes(_REGISTERS))
    for hashed in sparse:
        _raise_register(registers, hashed)
    sparse.clear()


def _sigma(x: float) -> float:
    if x == 1:
        return inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x **= 0.5
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
    return z / 3


def quantile_add(buckets: dict[int, int], value: float) -> None:
    """Count a number in its bucket (DDSketch: Masson, Rim, Lee, "DDSketch", VLDB 2019).

    Buckets are numbered in the order of what they hold: negative numbers, zero, positive numbers, infinity,
        NaN.
    """
    if 0 < value < inf:
        bucket = ceil(log(value) * _PER_LOG) + _SHIFT
    elif -inf < value < 0:
        bucket = -ceil(log(-value) * _PER_LOG) - _SHIFT
    elif value == 0:
        bucket = 0
    elif value != value:  # noqa: PLR0124  # only NaN differs from itself
        bucket = _NAN_BUCKET
    else:
        bucket = _INFINITE_BUCKET if value > 0 else -_INFINITE_BUCKET
    buckets[bucket] = buckets.get(bucket, 0) + 1


def quantile_merge(buckets: dict[int, int], other: dict[int, int]) -> None:
    """Count in the first sketch what the second has counted."""
    for bucket, n in other.items():
        buckets[bucket] = buckets.get(bucket, 0) + n


def quantile_estimate(buckets: dict[int, int], q: float) -> float | None:
    """The value at rank `q * (n - 1)`, rounded down, within a relative error of 1 %; None when nothing was
    counted."""
    if not buckets:
        return None
    rank = int(q * (sum(buckets.values()) - 1))
    chosen = 0
    for bucket in sorted(buckets):
        chosen = bucket
        rank -= buckets[bucket]
        if rank < 0:
            break
    return _bucket_value(chosen)


def _bucket_value(bucket: int) -> float:
    if bucket == 0:
        return 0.0
    if bucket == _NAN_BUCKET:
        return nan
    if bucket < 0:
        return -_bucket_value(-bucket)
    if bucket == _INFINITE_BUCKET:
        return inf
    # The exponent is split, or the largest doubles would overflow.
    half = (bucket - _SHIFT) // 2
    return _GAMMA**half * _MIDDLE * _GAMMA ** (bucket - _SHIFT - half)


def exact_quantile(values: list[Any], q: float) -> float | None:
    """The quantile by linear interpolation between the two values next to rank `q * (n - 1)`; None without
    values."""
    if not values:
        return None
    ordered = sorted(values, key=nan_last)
    position = q * (len(ordered) - 1)
    below = int(position)
    fraction = position - below
    if fraction == 0:
        return float(ordered[below])
    low, high = float(ordered[below]), float(ordered[below + 1])
    return low if low == high else low * (1 - fraction) + high * fraction


def nan_last(value: Any) -> tuple[bool, Any]:
    """A sort key by which NaN is greater than every number."""
    return (True, 0) if value != value else (False, value)  # noqa: PLR0124  # only NaN differs from itself


def most_common(counts: dict[Any, int], k: int) -> list[tuple[Any, int]]:
    """The `k` values seen most often with their counts; of equal counts the one whose encoding is smaller
    comes first."""
    return sorted(counts.items(), key=lambda item: (-item[1], _encode(item[0])))[:k]
