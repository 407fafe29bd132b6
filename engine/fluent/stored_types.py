"""The types of records that an operator keeps in its state, as far as the topology knows them."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Optional

from ...operators.changes import Change, row_type_of
from ...operators.joined import How, Joined
from ..errors import TopologyError


def stored_type(
    kind: str,
    argument: str,
    known: Any,
    stored: str = "records",
    *,
    to: str | None = None,
    otherwise: str = "give the function before it a return annotation",
) -> Any:
    """The type, if it is known.

    Args:
        kind: names the operator.
        argument: what takes the type.
        known: the type, or None.
        stored: what is stored, for the message.
        to: what takes the argument, where it is not the operator's own method.
        otherwise: what else helps, for the message.

    Raises:
        TopologyError: it is not; names the operator, the argument that takes it, and what else helps.
    """
    if known is None:
        argument = f"{argument}=" if to is None else f"{argument}= to {to}"
        raise TopologyError(f"{kind} stores {stored} and must know their type: pass {argument}, or {otherwise}")
    return known


def returned_type(function: Callable[..., Any]) -> Any:
    """The annotated return type of a function; None when there is none, as with a lambda. A class makes instances of
    itself."""
    if isinstance(function, type):
        return function
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # annotations that cannot be evaluated say nothing
        return None


def known_row_type(record_type: Any) -> Any:
    """The type of the rows that records are, or that they bring as changes; None where it is not known."""
    row_type = row_type_of(record_type)
    return record_type if row_type is None else None if record_type is Change else row_type


def table_row_type(record_type: Any, row: Callable[[Any], Any] | None, given: Any) -> Any:
    """The type of a table's rows.

    Args:
        record_type: of the records they are made of.
        row: what makes them.
        given: the type, where the user gave it.

    Raises:
        TopologyError: nothing says it.
    """
    known = given
    if known is None and row is not None:
        known = _without_none(returned_type(row))
    elif known is None:
        known = known_row_type(record_type)
    return stored_type("a table", "row_type", known)


def joined_type(left: Any, right: Any, how: How, select: Callable[..., Any] | None) -> Any:
    """The type of what a join gives out; None where it is not known."""
    if select is not None:
        return returned_type(select)
    if left is None or right is None:
        return None
    return Joined[_side(left, how in ("right", "outer")), _side(right, how in ("left", "outer"))]  # type: ignore[misc]  # the types are values here


def _side(known: Any, maybe_nobody: bool) -> Any:
    return Optional[known] if maybe_nobody else known  # noqa: UP045  # `|` does not take every type


def _without_none(known: Any) -> Any:
    members = [member for member in typing.get_args(known) if member is not type(None)]
    is_optional = type(None) in typing.get_args(known)
    return typing.Union[tuple(members)] if is_optional else known  # noqa: UP007  # the members are known only here
