"""An app for the tests of the Faust bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Any]:
    from .apps import close_consumer, new_app  # which skips where there is no Faust

    made = new_app(tmp_path)
    yield made
    close_consumer(made)
