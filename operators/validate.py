"""Rules that records must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import truth
from typing import TypeVar

from .batch import Batch
from .errors import FAILED, Failure, Guard, LastResort, check_on_error, describe, without
from .operator import Operator, OperatorContext

T = TypeVar("T")


class InvalidRecordError(ValueError):
    """A record breaks rules.

    Attributes:
        rules: their names.
    """

    def __init__(self, rules: tuple[str, ...], reasons: tuple[str, ...]) -> None:
        self.rules = rules
        super().__init__(f"the record breaks {'rule' if len(rules) == 1 else 'rules'} {', '.join(reasons)}")


class Validate(Operator[T, T]):
    """Lets pass the records for which all rules are true.

    Every rule is asked about every record, so that the counters are complete: `rule.<name>` counts the
    records that break it. A rule that raises is broken, and the error says what it raised.

    A record costs one call per rule. No state.

    Args:
        rules: name → predicate.
        on_fail: what to do with a record that breaks a rule: `"fail"`, `"skip"` or `"dead_letter"`, whose
            error names the rules.

    Raises:
        ValueError: there is no rule, or `on_fail` is none of the three.
    """

    kind = "validate"
    side_outputs = (FAILED,)

    def __init__(self, rules: Mapping[str, Callable[[T], object]], *, on_fail: LastResort = "fail") -> None:
        check_on_error(on_fail, retry=False, name="on_fail")
        if not rules:
            raise ValueError("validate without a rule lets everything pass: give it at least one name and predicate")
        self.rules = dict(rules)
        self.on_fail = on_fail

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guard = Guard(self.on_fail, context)

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        broken: dict[int, list[tuple[str, str]]] = {}
        for name, rule in self.rules.items():
            found = _breaking(rule, batch.values)
            if found:
                self._context.count(f"rule.{name}", len(found))
                for index, reason in found:
                    broken.setdefault(index, []).append((name, f"{name!r}{reason}"))
        if not broken:
            return batch
        failures = [
            Failure(index, InvalidRecordError(*zip(*rules, strict=True))) for index, rules in sorted(broken.items())
        ]
        self._guard.reject(batch, failures)
        kept = without(len(batch), failures)
        return batch.take(kept) if kept else None


def _breaking(rule: Callable[[T], object], values: list[T]) -> list[tuple[int, str]]:
    """The indices of the values that break the rule, each with what is to be added to the rule's name."""
    records = iter(values)
    kept: list[bool] = []
    raised: dict[int, str] = {}
    while len(kept) < len(values):
        try:
            kept.extend(map(truth, map(rule, records)))
            reason = "StopIteration"
        except Exception as error:
            reason = describe(error)
        if len(kept) < len(values):
            raised[len(kept)] = f" ({reason})"
            kept.append(False)
    return [(index, raised.get(index, "")) for index, keep in enumerate(kept) if not keep] if False in kept else []
