"""Every error of the engine.

    TidegateError
      TopologyError             the topology is wrong, or does not fit its checkpoint; found before anything runs
      ConfigError               a setting is wrong: RunConfig, tidegate.toml, an environment variable, a flag
      JobError                  a running job failed
        OperatorError           user code or an operator raised on a record
        RecordError             a record could not be decoded or has no usable event time, and `on_error` is "fail"
        FencedError             another process has taken over this job or its output, or holds its checkpoint directory
        CommitError             a sink could not make its output visible
      CheckpointError           a checkpoint cannot be written, read or found
        CorruptionError         a file of a checkpoint is missing or not what the manifest says
        StoreUnavailableError   the object store does not answer, or is out of order: it may be there again later
      StateError                the state backend cannot be opened or used
        StateTypeError          a stored type differs from the topology's and there is no upgrade function

`ConnectorError` with its leaves `SourceError` and `SinkError` is the connectors' own root: the outside world is at fault.
Catch `TidegateError` for what a user can mend in the topology or its surroundings; anything else is a defect of ours.
"""

from __future__ import annotations

from typing import Any


class TidegateError(Exception):
    """Root of the engine's errors. The message says what, where and what to do."""


class TopologyError(TidegateError):
    """The topology is wrong, or does not fit the checkpoint that it should start from. Lists every problem found, each naming
    the operator and the remedy.

    Attributes:
        problems: one sentence each.
    """

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        super().__init__(
            self.problems[0]
            if len(self.problems) == 1
            else "\n".join([f"{len(self.problems)} problems:", *(f"  - {p}" for p in self.problems)])
        )


class ConfigError(TidegateError):
    """A setting is wrong; the message names where it was given."""


class JobError(TidegateError):
    """A running job failed. The cause is chained."""


class OperatorError(JobError):
    """User code or an operator raised. The user's exception, with its traceback, is `__cause__`.

    Attributes:
        operator_id: the failing operator.
        split_id: the split that the record came from; None for a record that an operator made.
        offset: the record's position in the split; None where the source gives none.
    """

    def __init__(self, operator_id: str, error: BaseException, split_id: str | None = None, offset: Any = None) -> None:
        self.operator_id = operator_id
        self.split_id = split_id
        self.offset = offset
        where = "" if split_id is None else f" on the record at {offset} of split {split_id}"
        super().__init__(f"operator {operator_id!r} failed{where}: {type(error).__name__}: {error}")


class RecordError(JobError):
    """A record could not be used and `on_error` is "fail"."""

    def __init__(self, operator_id: str, split_id: str, position: Any, reason: str) -> None:
        self.operator_id = operator_id
        self.split_id = split_id
        self.position = position
        super().__init__(
            f"source {operator_id!r}: bad record at {position} of split {split_id}: {reason}; "
            'set on_error="skip" or "dead_letter" to go on without it'
        )


class FencedError(JobError):
    """Another process has taken over the job or what it writes to, or holds its checkpoint directory."""


class CommitError(JobError):
    """A sink could not make its output visible; the records are safe in the checkpoint and are committed at the next start."""


class CheckpointError(TidegateError):
    """A checkpoint cannot be written, read or found."""


class CorruptionError(CheckpointError):
    """A file of a checkpoint is missing or not what the manifest says.

    Attributes:
        checkpoint_id: the damaged checkpoint.
        path: the file.
    """

    def __init__(self, checkpoint_id: int, path: str, reason: str) -> None:
        self.checkpoint_id = checkpoint_id
        self.path = path
        super().__init__(f"checkpoint {checkpoint_id} is damaged: {path}: {reason}")


class StoreUnavailableError(CheckpointError):
    """The object store that holds the checkpoints does not answer, or is out of order: trying again later may help."""


class StateError(TidegateError):
    """The state backend cannot be opened or used."""


class StateTypeError(StateError):
    """A stored type differs from the topology's and there is no upgrade function."""
