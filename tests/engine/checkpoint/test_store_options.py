"""Options of object stores, and credentials by reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate.engine import ConfigError, RunConfig
from tidegate.engine.checkpoint.store_options import check_options, resolve_option

CREDENTIALS = [
    "secret_access_key",
    "aws_secret_access_key",
    "session_token",
    "account_key",
    "sas_key",
    "sas_token",
    "client_secret",
    "service_account_key",
    "sse_customer_key_base64",
    "token",
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_is_given_by_reference_only(name: str) -> None:
    """The message names the option and never its value."""
    with pytest.raises(ConfigError, match=f"{name} is a credential and is given by reference") as raised:
        RunConfig(checkpoints="s3://b", checkpoint_store={name: "hunter2"})
    assert "hunter2" not in str(raised.value)
    assert check_options({name: "env:SECRET"}) is None


@pytest.mark.parametrize("name", ["endpoint", "region", "access_key_id", "sse_kms_key_id", "web_identity_token_file"])
def test_what_is_no_credential_may_stand_there(name: str) -> None:
    """Endpoints, regions, the names of keys and the paths of files."""
    assert check_options({name: "plain"}) is None


def test_an_option_is_a_plain_value() -> None:
    """Not a table of its own."""
    assert check_options({"client": {"timeout": "5s"}}) == "client must be a text, a number, true or false"
    assert check_options({"skip_signature": True}) is None


def test_references_are_followed_when_the_store_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotated file is seen by the next start; one final line break is cut off."""
    monkeypatch.setenv("KEY", "from the environment")
    (tmp_path / "key").write_text("from a file\n")
    assert resolve_option("secret_access_key", "env:KEY") == "from the environment"
    assert resolve_option("secret_access_key", f"file:{tmp_path / 'key'}") == "from a file"
    assert resolve_option("region", "eu-north-1") == "eu-north-1"


def test_a_reference_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    """With the option that wants it."""
    with pytest.raises(ConfigError, match="secret_access_key = env:NOBODY: the environment variable NOBODY is not set"):
        resolve_option("secret_access_key", "env:NOBODY")
    with pytest.raises(ConfigError, match=r"secret_access_key = file:.*/key: it cannot be read: No such file"):
        resolve_option("secret_access_key", f"file:{tmp_path / 'key'}")
