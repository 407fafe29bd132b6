"""Credentials by reference."""

from pathlib import Path

import pytest
from tidegate.connectors import ConnectorError
from tidegate.connectors.secret import Secret


def test_a_credential_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A final line break of a file does not belong to the credential."""
    (tmp_path / "token").write_text("s3cret\n")
    assert Secret("env:TOKEN").reveal({"TOKEN": "s3cret"}) == "s3cret"
    assert Secret(f"file:{tmp_path}/token").reveal({}) == "s3cret"
    monkeypatch.setenv("TOKEN", "of the process")
    assert Secret("env:TOKEN").reveal() == "of the process"


def test_a_credential_is_never_printed() -> None:
    """What is printed is the reference; a credential given in its place is not repeated in the error."""
    assert repr(Secret("env:TOKEN")) == "Secret(reference='env:TOKEN')"
    with pytest.raises(ValueError, match="by reference") as refused:
        Secret("s3cret")
    assert "s3cret" not in str(refused.value)


def test_a_reference_to_nothing_is_named(tmp_path: Path) -> None:
    """The variable or the file is in the message."""
    with pytest.raises(ConnectorError, match="TOKEN is not set"):
        Secret("env:TOKEN").reveal({})
    with pytest.raises(ConnectorError, match="missing: cannot be read: No such file"):
        Secret(f"file:{tmp_path}/missing").reveal({})
