"""What jobs and savepoints may be called, and which jobs there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tidegate.engine.checkpoint.names import check_job_name, check_savepoint_name, list_jobs
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.errors import CheckpointError, ConfigError
from tidegate.engine.executor import InlineExecutor

OpenStorage = Callable[..., CheckpointStorage]


@pytest.mark.parametrize("name", ["flight-delays", "a", "A_1.b", "_x", "7"])
def test_a_plain_name_is_a_job_name(name: str) -> None:
    """Letters, digits, dots, dashes, underscores."""
    check_job_name(name)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "é", "x" * 129, "a\n"])
def test_a_job_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    """Above all one that would lead elsewhere."""
    with pytest.raises(ConfigError, match="cannot be used as a folder"):
        check_job_name(name)


@pytest.mark.parametrize("name", ["latest", "none", "57", "", "../x", "a/b"])
def test_a_savepoint_name_that_means_something_else_is_refused(name: str) -> None:
    """It would be taken for an id, a keyword or a path."""
    with pytest.raises(ConfigError, match="cannot be used"):
        check_savepoint_name(name)


def test_a_plain_name_is_a_savepoint_name() -> None:
    """Digits may be in it."""
    check_savepoint_name("before-deploy-2")


async def test_the_jobs_of_a_directory_are_listed(open_storage: OpenStorage, tmp_path: Path) -> None:
    """Those that were started; other folders are not jobs."""
    for job in ("delays", "counts"):
        await open_storage(job=job).claim_attempt()
    (tmp_path / "state" / "notes").mkdir()
    assert await list_jobs(tmp_path / "state", InlineExecutor()) == ["counts", "delays"]


async def test_a_directory_that_is_not_there_has_no_jobs_to_list(tmp_path: Path) -> None:
    """And it is not made by asking."""
    with pytest.raises(CheckpointError, match="there is no checkpoint directory"):
        await list_jobs(tmp_path / "nowhere", InlineExecutor())
    assert not (tmp_path / "nowhere").exists()
