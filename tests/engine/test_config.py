"""What a run can be told, and what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest
from tidegate.engine.config import SETTINGS, RunConfig, parse_size
from tidegate.engine.errors import ConfigError
from tidegate.engine.restart import Exponential, Never, fixed_delay


def test_every_setting_has_a_value_to_start_with() -> None:
    """A run needs no settings."""
    config = RunConfig()
    assert config.checkpoint_interval_ms == 10_000
    assert config.memory_budget_bytes == 256_000_000
    assert config.linger_ms == 5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("checkpoints", ""),
        ("checkpoint_interval", "10"),
        ("checkpoint_interval", "0s"),
        ("checkpoint_min_pause", "-1s"),
        ("alignment_timeout", "soon"),
        ("checkpoint_failure_limit", -1),
        ("checkpoint_store", "region=x"),
        ("checkpoint_store", {"client": {}}),
        ("store_request_timeout", "0s"),
        ("store_patience", "-1s"),
        ("upload_concurrency", 0),
        ("upload_rate", "10"),
        ("local_recovery", "yes"),
        ("retain", 0),
        ("retain", True),
        ("job", "a/b"),
        ("job", ".."),
        ("parallelism", 0),
        ("max_parallelism", 100_000),
        ("state_backend", "rocks"),
        ("state_dir", "s3://bucket"),
        ("memory_budget", "much"),
        ("memory_budget", 5),
        ("restart", "never"),
        ("restore", 0),
        ("restore", "a/b"),
        ("allow_dropped", "window"),
        ("rename", "old=new"),
        ("rename", {"old": 1}),
        ("rename", {"old": "new", "older": "new"}),
        ("rename", {"old": "new", "new": "newer"}),
        ("channel_capacity", 0),
        ("metrics_port", 70_000),
        ("metrics_host", ""),
        ("max_batch", 0),
        ("commit_retry_limit", -1),
        ("stop_after_records", 0),
        ("until_ms", "2013"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(setting: str, value: object) -> None:
    """The message begins with the setting, so that it can be found."""
    with pytest.raises(ConfigError, match=f"^{setting} = "):
        RunConfig(**{setting: value})


def test_what_was_renamed_is_kept_as_it_was_given() -> None:
    """A later change of the dict that was passed changes nothing; settings can still be looked up by value."""
    given = {"old": "new"}
    config = RunConfig(rename=given)
    given["older"] = "newer"
    assert config.rename == {"old": "new"}
    assert hash(config) == hash(RunConfig(rename={"old": "new"}))


def test_more_subtasks_than_key_groups_are_refused() -> None:
    """A subtask without a key group would never see a record."""
    with pytest.raises(ConfigError, match="parallelism = 9 is above max_parallelism = 8"):
        RunConfig(parallelism=9, max_parallelism=8)


def test_restoring_a_named_savepoint_needs_a_place() -> None:
    """Starting from nothing by mistake is worse than not starting."""
    with pytest.raises(ConfigError, match="needs a place to restore from"):
        RunConfig(restore="before-deploy")
    assert RunConfig(restore="before-deploy", restore_from="state").restore == "before-deploy"


def test_the_restart_strategy_depends_on_checkpoints_unless_it_is_given() -> None:
    """Without checkpoints a restart would begin from nothing."""
    assert isinstance(RunConfig().restart_strategy, Never)
    assert isinstance(RunConfig(checkpoints=Path("state")).restart_strategy, Exponential)
    chosen = fixed_delay(2, timedelta(seconds=1))
    assert RunConfig(restart=chosen).restart_strategy is chosen


def test_sizes_are_decimal_or_binary_by_their_unit() -> None:
    """MB is a million bytes, MiB is 2 to the 20."""
    assert parse_size("1.5 kb") == 1500
    assert parse_size("2GiB") == 2 << 30
    assert parse_size("77") == 77
    with pytest.raises(ValueError, match="not a size"):
        parse_size(-1)


def test_the_settings_are_those_of_the_class() -> None:
    """The list that files and flags are checked against is complete."""
    assert set(SETTINGS) == set(RunConfig.__dataclass_fields__)


def test_local_recovery_needs_a_place_that_survives() -> None:
    """A temporary folder goes with the process."""
    with pytest.raises(ConfigError, match=r"local_recovery = True needs a place .*: set state_dir"):
        RunConfig(checkpoints="s3://b", local_recovery=True)


def test_barriers_overtake_after_a_while_at_once_or_never():
    """The alignment timeout may be zero, and may be none."""
    found = [RunConfig(alignment_timeout=value).alignment_timeout_ms for value in ("10s", "0ms", None)]
    assert found == [10_000, 0, None]
    assert RunConfig().alignment_timeout_ms == 10_000
