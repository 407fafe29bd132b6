"""A few thousand flights in the form of the installed data, for tests that must be quick."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from tidegate.engine.demo.data import find_data, raw_flights

FLIGHTS = 6_000


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the installed data files."""
    folder = find_data()
    assert folder is not None, "the extra demo is not installed"
    return folder


@pytest.fixture(scope="session")
def small_data(real_data, tmp_path_factory) -> Path:
    """The same folder with the first flights only; some of them are cancelled, have no tail number or no arrival."""
    folder = tmp_path_factory.mktemp("data")
    head = b"".join(raw_flights(real_data).splitlines(keepends=True)[: FLIGHTS + 1])
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", head)
    shutil.copyfile(real_data / "airlines.csv", folder / "airlines.csv")
    return folder
