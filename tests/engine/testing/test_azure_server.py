"""A real Azure store for tests; what it can do is in the tests of what uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate.engine.testing.azure_server import azurite_is_installed, azurite_program
from tidegate.engine.testing.servers import ServerUnavailableError


def test_without_node_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line that names the program to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match="install Node"):
        azurite_program()


def test_without_npm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only where it is not in the cache yet."""
    (tmp_path / "node").write_text("")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not azurite_is_installed()
    with pytest.raises(ServerUnavailableError, match="install Node with npm"):
        azurite_program()
