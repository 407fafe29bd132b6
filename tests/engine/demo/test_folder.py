"""The working folder: replaced when a demo made it, refused when somebody else did."""

from __future__ import annotations

import pytest
from tidegate.engine import ConfigError
from tidegate.engine.config_file import load_config
from tidegate.engine.demo.folder import prepare_folder


def test_the_settings_can_be_loaded(tmp_path):
    """What the demo writes is a configuration of `tidegate run`."""
    prepare_folder(tmp_path / "out", 1000.0)
    config = load_config(tmp_path / "out" / "tidegate.toml")
    assert (config.checkpoint_interval_ms, config.checkpoints, config.metrics_port) == (500, "state", None)


def test_an_earlier_demo_is_replaced(tmp_path):
    """Results and state of an earlier run go."""
    prepare_folder(tmp_path, None)
    (tmp_path / "results" / "hourly").mkdir(parents=True)
    (tmp_path / "flights.jsonl").touch()
    prepare_folder(tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {"flight_delays.py", "tidegate.toml"}


def test_a_folder_with_something_else_is_refused(tmp_path):
    """Nothing is removed that no demo has made."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"thesis\.txt.*choose another --output"):
        prepare_folder(tmp_path, None)
    assert (tmp_path / "thesis.txt").exists()


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(tmp_path):
    """The message names the path."""
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out: cannot be used for the demo"):
        prepare_folder(tmp_path / "out", None)
