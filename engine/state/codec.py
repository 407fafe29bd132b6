"""Values as bytes: msgpack with a schema and a version, and the upgrade of values that were stored otherwise.

Types are checked when a state is declared, not per value: what an operator stores must be of the type it declared.
The exception is `Any`, under which only what msgpack gives back unchanged may stand; that is checked, for
a Struct stored under `Any` would come back as a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ..errors import StateError, StateTypeError
from .backend import StateSchema
from .schema import schema_difference, schema_text
from .untyped import untyped_check

_encode = msgspec.msgpack.Encoder().encode
_decode_builtins = msgspec.msgpack.Decoder().decode


class ValueCodec:
    """Values of one type to bytes and back.

    Args:
        stored: the type.
        where: names the state in messages: "state 'totals' of operator 'hourly'".

    Attributes:
        schema: the canonical text of the type.

    Raises:
        StateTypeError: the type cannot be stored.
    """

    def __init__(self, stored: Any, where: str) -> None:
        self.where = where
        self.type = stored
        try:
            self.schema = schema_text(stored)
            self._decode = msgspec.msgpack.Decoder(stored).decode
            check = untyped_check(stored)
        except (TypeError, StateTypeError) as error:
            raise StateTypeError(f"{where}: {error}") from error
        self._check = check

    def encode(self, value: Any) -> bytes:
        """The value as bytes.

        Raises:
            StateError: it could not be given back as it is.
        """
        try:
            if self._check is not None:
                self._check(value)
            return _encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise StateError(
                f"{self.where} holds a {type(value).__qualname__} that cannot be stored: {error}; "
                f"store what its declared type says: {self.schema}"
            ) from error

    def encode_many(self, values: Iterable[Any]) -> list[bytes]:
        """The bytes of many values, in order; as `encode`, without a Python step per value where the type allows it."""
        if self._check is None:
            values = list(values)
            try:
                return list(map(_encode, values))
            except (TypeError, ValueError, OverflowError):
                pass
        return [self.encode(value) for value in values]

    def decode(self, data: bytes) -> Any:
        """The value that was encoded.

        Raises:
            StateError: the bytes are not a value of the type.
        """
        try:
            return self._decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise StateError(
                f"{self.where} holds a value that is not of its declared type {self.schema}: {error}; "
                "store only values of that type"
            ) from error

    def decode_many(self, data: Sequence[bytes]) -> list[Any]:
        """The values that were encoded, in order; as `decode`, without a Python step per value."""
        try:
            return list(map(self._decode, data))
        except (msgspec.ValidationError, msgspec.DecodeError):
            return [self.decode(one) for one in data]


EXPIRING = "expiring"
"""The last of a schema's types when the values are stored beside the moment at which they expire."""

Conversion = Callable[[bytes], Any]
"""Stored bytes → today's value."""


def conversion(
    operator_id: str,
    old: StateSchema,
    new: StateSchema,
    *,
    codec: ValueCodec,
    upgrade: Callable[[int, Any], Any] | None,
    expiry_ms: Callable[[], int],
) -> Conversion | None:
    """How the values of a snapshot become today's; None when they are stored as they should be.

    A state that was given a time to live, or lost it, is converted without an upgrade function: its values live from
    now on as long as the declaration says.

    Args:
        operator_id: for messages.
        old: the state in the snapshot.
        new: the state as it is declared now.
        codec: of what is stored now.
        upgrade: the declared upgrade function.
        expiry_ms: when a value written now expires.

    Raises:
        StateTypeError: what is stored differs and cannot be upgraded; names operator, state and the difference.
    """
    if old == new:
        return None
    was_expiring, is_expiring = EXPIRING in old.types, EXPIRING in new.types
    changed = is_upgrade(old, new)
    if changed:
        _refuse_unless_upgradable(operator_id, old, new, upgrade is not None)

    def convert(data: bytes) -> Any:
        value = _decode_builtins(data)
        expires_ms = value[0] if was_expiring else expiry_ms()
        if was_expiring:
            value = value[1]
        if changed and upgrade is not None:
            try:
                value = upgrade(old.version, value)
            except Exception as error:
                raise StateError(
                    f"{codec.where}: upgrade from version {old.version} failed on {value!r}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        try:
            return msgspec.convert((expires_ms, value) if is_expiring else value, codec.type)
        except msgspec.ValidationError as error:
            raise StateError(
                f"{codec.where}: after the upgrade from version {old.version}, {value!r} is no {codec.schema}: {error}"
            ) from error

    return convert


def is_upgrade(old: StateSchema, new: StateSchema) -> bool:
    """Whether values of a snapshot need the user's function: more has changed than the time to live."""
    return (old.version, old.kind, _plain(old)) != (new.version, new.kind, _plain(new))


def _plain(schema: StateSchema) -> tuple[str, ...]:
    return tuple([text for text in schema.types if text != EXPIRING])


def _refuse_unless_upgradable(operator_id: str, old: StateSchema, new: StateSchema, has_upgrade: bool) -> None:
    where = f"state {new.name!r} of operator {operator_id!r}"
    if old.kind != new.kind:
        raise StateTypeError(
            f"{where} was stored as {old.kind} state and is now {new.kind} state: give the new state another name"
        )
    changes = schema_difference(new.name, _plain(old), _plain(new))
    if new.kind == "map" and old.types[0] != new.types[0]:
        raise StateTypeError(
            f"{where} cannot be restored: {changes}; map keys are not upgraded: rename the operator and "
            "let the old state go with allow_dropped"
        )
    if old.version > new.version:
        raise StateTypeError(
            f"{where} was stored with version {old.version}, newer than this topology's {new.version}: "
            "start with the newer topology, or restore an older checkpoint"
        )
    if not has_upgrade:
        version = "" if old.version == new.version else f"version {old.version} is now {new.version}; "
        raise StateTypeError(
            f"{where} cannot be restored: {version}{changes or 'the types are the same'}; declare the state with "
            "upgrade=function(old_version, old_value), go back to what it was, or rename the operator "
            "and let its old state go with allow_dropped"
        )
