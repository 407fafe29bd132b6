"""Keys as bytes, key groups, and which subtask owns which key group.

A key is stored as its msgpack encoding. Its key group is the CRC-32 of that encoding modulo `max_parallelism`: the same
in every process and every release, for it decides in which snapshot the key's state is found.

Python takes `1` and `True` as the same dict key, but they encode differently: one key function must not return both.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Collection
from itertools import chain
from typing import Any
from zlib import crc32

import msgspec

from ..errors import StateError

_PLAIN = frozenset({str, int, bytes, bool, type(None)})
_TYPED_ONLY = (enum.Enum, datetime.date, uuid.UUID)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode_key(key: Any) -> bytes:
    """The key as bytes; equal keys give equal bytes in every process.

    Allowed are str, int, bytes, bool, None, date, datetime, UUID, Enum members, frozen Structs and dataclasses, and
    tuples of these.

    Raises:
        StateError: the key is of another type, or an int beyond 64 bits; the message says what to do.
    """
    if type(key) not in _PLAIN:
        _check(key, key, typed=True)
    return _encoded(key)


class KeyCodec:
    """Keys to bytes and back, without loss.

    Args:
        key_type: the type of the keys where it is known. Without it only str, int, bytes, bool, None and tuples of them
            are taken: of the bytes of anything else one could not tell which type to restore.

    Raises:
        StateError: `key_type` cannot be stored as a key.
    """

    def __init__(self, key_type: Any = None) -> None:
        key_type = None if key_type is Any else key_type
        self.key_type = key_type
        self._decode = _decode
        if key_type is not None:
            try:
                self._decode = msgspec.msgpack.Decoder(key_type).decode
            except TypeError as error:
                raise StateError(f"keys of type {key_type!r} cannot be stored: {error}") from error

    def encode(self, key: Any) -> bytes:
        """The key as bytes.

        Raises:
            StateError: see `check`; or the key holds an int beyond 64 bits.
        """
        self.check(key)
        return _encoded(key)

    def encode_many(self, keys: Collection[Any]) -> list[bytes]:
        """The bytes of many keys, in order; as `encode`, without a Python step per key where the types allow it."""
        kinds = set(map(type, keys))
        plain = kinds <= (_PLAIN if self.key_type is None else {self.key_type} & _PLAIN)
        if kinds == {tuple} and self.key_type is None:
            plain = _PLAIN.issuperset(map(type, chain.from_iterable(keys)))
        if plain:
            try:
                return list(map(_encode, keys))
            except (OverflowError, ValueError):
                pass
        return [self.encode(key) for key in keys]

    def check(self, key: Any) -> None:
        """Refuse what cannot be restored as it is, when a key is seen for the first time.

        Raises:
            StateError: the key is not of the key type, or could not be told from its bytes; says what to do.
        """
        kind = type(key)
        if self.key_type is None:
            if kind not in _PLAIN:
                _check(key, key, typed=False)
        elif kind is not self.key_type:
            _check(key, key, typed=True)
            try:
                msgspec.convert(key, self.key_type)
            except msgspec.ValidationError as error:
                raise StateError(
                    f"key {key!r} is not of the key type {self.key_type!r}: {error}; "
                    "make key_by return that type, or declare the type that it returns"
                ) from error

    def decode(self, data: bytes) -> Any:
        """The key that `encode` was given.

        Raises:
            StateError: the bytes are not a key of the key type.
        """
        try:
            key = self._decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            wanted = "a key" if self.key_type is None else f"a key of type {self.key_type!r}"
            raise StateError(
                f"a stored key is not {wanted}: {error}; restore with the key type that the state was written with"
            ) from error
        return _tuples(key) if type(key) is list else key


class KeyGrouper:
    """Keys to key groups, remembering what it has seen; for the hash partitioner.

    Args:
        max_parallelism: number of key groups, fixed per job.
        remember: how many keys are remembered before it starts afresh.
    """

    def __init__(self, max_parallelism: int, remember: int = 131_072) -> None:
        self._memo = _GroupMemo(max_parallelism)
        self._remember = remember

    def group(self, key: Any) -> int:
        """The key group of a key.

        Raises:
            StateError: see `encode_key`.
        """
        return self.groups([key])[0]

    def groups(self, keys: list[Any]) -> list[int]:
        """The key groups of many keys, in order.

        Raises:
            StateError: see `encode_key`.
        """
        memo = self._memo
        if len(memo) > self._remember:
            memo.clear()
        try:
            return list(map(memo.__getitem__, keys))
        except TypeError:
            for key in keys:
                _refuse_unhashable(key, key)
            raise


class _GroupMemo(dict[Any, int]):
    """A dict that works out what it does not hold."""

    def __init__(self, max_parallelism: int) -> None:
        super().__init__()
        self._max_parallelism = max_parallelism

    def __missing__(self, key: Any) -> int:
        group = self[key] = key_group(encode_key(key), self._max_parallelism)
        return group


def key_group(encoded: bytes, max_parallelism: int) -> int:
    """The key group of an encoded key."""
    return crc32(encoded) % max_parallelism


def key_group_range(subtask: int, parallelism: int, max_parallelism: int) -> range:
    """The key groups that a subtask owns. Those of all subtasks cover every key group once, sizes differ by one.

    >>> [key_group_range(i, 3, 8) for i in range(3)]
    [range(0, 3), range(3, 6), range(6, 8)]
    """
    first = (subtask * max_parallelism + parallelism - 1) // parallelism
    stop = ((subtask + 1) * max_parallelism + parallelism - 1) // parallelism
    return range(first, stop)


def subtask_of(group: int, parallelism: int, max_parallelism: int) -> int:
    """The subtask that owns a key group.

    >>> [subtask_of(group, 3, 8) for group in range(8)]
    [0, 0, 0, 1, 1, 1, 2, 2]
    """
    return group * parallelism // max_parallelism


def _encoded(key: Any) -> bytes:
    try:
        return _encode(key)
    except OverflowError as error:
        raise StateError(f"key {key!r} holds an integer beyond 64 bits: make key_by return str(...) of it") from error
    except (TypeError, ValueError) as error:
        raise StateError(f"key {key!r} cannot be encoded: {error}") from error


def _check(part: Any, key: Any, *, typed: bool) -> None:
    """Refuse what cannot be a key; `typed` says whether the type can be restored from elsewhere."""
    kind = type(part)
    if kind in _PLAIN:
        return
    if kind is tuple:
        for item in part:
            if type(item) not in _PLAIN:
                _check(item, key, typed=typed)
        return
    if isinstance(part, float):
        raise StateError(
            f"key {key!r} holds a float: equal-looking floats may differ, so they are no keys; "
            "make key_by return an int (round(x * 100)) or a str"
        )
    _refuse_unhashable(part, key)
    structured = (isinstance(part, msgspec.Struct) and part.__struct_config__.frozen) or (
        dataclasses.is_dataclass(part) and not isinstance(part, type)
    )
    if not (structured or isinstance(part, _TYPED_ONLY)):
        raise StateError(
            f"key {key!r} holds a {kind.__qualname__}: keys may be str, int, bytes, bool, None, date, datetime, UUID, "
            "Enum, frozen Structs and dataclasses, and tuples of these; make key_by return one of them"
        )
    if not typed:
        raise StateError(
            f"key {key!r} holds a {kind.__qualname__}, and the type of the keys is not known, so a restore could not "
            "give it back; pass key_type= to key_by, or make it return a str, int or tuple"
        )
    if structured:
        names = (
            part.__struct_fields__ if isinstance(part, msgspec.Struct) else [f.name for f in dataclasses.fields(part)]
        )
        for name in names:
            _check(getattr(part, name), key, typed=True)
    elif isinstance(part, enum.Enum):
        _check(part.value, key, typed=True)


def _refuse_unhashable(part: Any, key: Any) -> None:
    try:
        hash(part)
    except TypeError as error:
        raise StateError(
            f"key {key!r} cannot be a key: {error}; make key_by return a tuple for a list, "
            "or freeze the Struct or dataclass"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple([_tuples(item) for item in value]) if type(value) is list else value
