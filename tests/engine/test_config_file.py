"""Settings from a file, the environment and flags, and which of them wins."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.config_file import load_config, parse_moment
from tidegate.engine.errors import ConfigError
from tidegate.engine.restart import FixedDelay

FILE = """
[run]
checkpoints = "s3://${BUCKET}/state"
retain = 5
restart = { strategy = "fixed_delay", attempts = 3, delay = "5s" }
allow_dropped = ["old"]
rename = { "by-customer" = "spending" }
until_ms = 2013-01-01T00:00:00Z

[profile.production.run]
retain = 9
job = "${NAME:-flights}-$${x}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file with a profile."""
    path = tmp_path / "tidegate.toml"
    path.write_text(FILE.replace("-$${x}", ""))
    return path


@given(st.sets(st.sampled_from(["file", "profile", "environ", "flag"])))
def test_the_latest_place_wins(places: set[str]) -> None:
    """Built-in < file < profile < environment < flag, whichever of them are there."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.toml"
        lines = ["[run]", "retain = 11" if "file" in places else "", "[profile.p.run]"]
        path.write_text("\n".join([*lines, "retain = 12" if "profile" in places else ""]))
        environ = {"TIDEGATE_RETAIN": "13"} if "environ" in places else {}
        flags = {"retain": "14"} if "flag" in places else {}
        config = load_config(path, "p", environ, flags, assumed={"retain": 10})
    order = {"file": 11, "profile": 12, "environ": 13, "flag": 14}
    assert config.retain == max((order[place] for place in places), default=10)


def test_a_file_gives_settings_of_every_kind(file: Path) -> None:
    """Tables, lists, dates and references to the environment become what the settings need."""
    config = load_config(file, "production", {"BUCKET": "b"})
    assert config.checkpoints == "s3://b/state"
    assert config.restart == FixedDelay(3, 5.0)
    assert config.allow_dropped == {"old"}
    assert config.rename == {"by-customer": "spending"}
    assert config.until_ms == parse_moment("2013-01-01")
    assert (config.retain, config.job) == (9, "flights")


def test_renames_can_be_said_in_text() -> None:
    """Several with commas between; what is not OLD=NEW is refused, and an old name that is given two new ones."""
    assert load_config(None, None, {"TIDEGATE_RENAME": "a=b, c = d"}).rename == {"a": "b", "c": "d"}
    for text, message in (
        ("a", "'a': write OLD=NEW"),
        ("a=", "write OLD=NEW"),
        ("a=b,a=c", "'a' is given two new names"),
    ):
        with pytest.raises(ConfigError, match=f"flag: rename: .*{message}"):
            load_config(None, None, {}, {"rename": text})


def test_a_doubled_dollar_is_no_reference(tmp_path: Path) -> None:
    """A text may hold what looks like a reference."""
    path = tmp_path / "t.toml"
    path.write_text('[run]\ncheckpoints = "a$${B}"\n')
    assert load_config(path).checkpoints == "a${B}"


def test_none_can_be_said_in_text() -> None:
    """A flag or variable can take away what a file gives."""
    variables = {"TIDEGATE_METRICS_PORT": "none", "TIDEGATE_ALIGNMENT_TIMEOUT": "none"}
    config = load_config(None, None, variables, {"restore": "none"}, {"metrics_port": 0})
    assert config.metrics_port is None
    assert config.alignment_timeout is None
    assert config.restore is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\ncheckpoint_intervall = '1s'", r"\[run\] checkpoint_intervall means nothing: did you mean"),
        ("[runs]\n", r"\[runs\] means nothing: did you mean 'run'"),
        ("[profile.p]\nretain = 1", r"\[profile.p\] retain means nothing"),
        ("[profile.other.run]\nretian = 1", r"\[profile.other.run\] retian means nothing"),
        ("run = 3", r"run must be a table"),
        ("[run\n", "is not TOML"),
        ("[run]\nretain = 'many'", r"\[run\]: retain = 'many'"),
        ("[run]\ncheckpoints = '${NOWHERE}'", "variable NOWHERE is not set"),
        ("[run]\nrestart = 'sometimes'", "'sometimes' is not a restart strategy"),
    ],
)
def test_a_slip_in_the_file_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the table and what to write."""
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value) or "TOML" in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, or no text."""
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "b.toml")


def test_an_unknown_profile_is_refused(file: Path) -> None:
    """With what comes close."""
    with pytest.raises(ConfigError, match="no profile 'prodution': did you mean 'production'"):
        load_config(file, "prodution", {"BUCKET": "b"})
    with pytest.raises(ConfigError, match="needs a configuration file"):
        load_config(None, "production")


def test_a_variable_that_looks_like_a_slip_is_refused_and_a_foreign_one_is_not() -> None:
    """Clusters put variables of their own under a service's name."""
    with pytest.raises(ConfigError, match="did you mean TIDEGATE_PARALLELISM"):
        load_config(environ={"TIDEGATE_PARALELISM": "2"})
    assert load_config(environ={"TIDEGATE_PORT": "tcp://10.0.0.1:80", "PATH": "/bin"}).parallelism == 1


def test_a_flag_that_does_not_fit_is_refused() -> None:
    """An unknown name, and a value of the wrong kind."""
    with pytest.raises(ConfigError, match="flag: unknown setting 'paralelism': did you mean 'parallelism'"):
        load_config(flags={"paralelism": "2"})
    with pytest.raises(ConfigError, match="flag: until_ms: 'yesterday' is not a time"):
        load_config(flags={"until_ms": "yesterday"})


def test_options_of_a_store_are_a_table_or_pairs(tmp_path: Path) -> None:
    """References stay references until the store is opened."""
    path = tmp_path / "t.toml"
    path.write_text(
        '[run]\ncheckpoints = "s3://b"\nupload_rate = "50MB"\n'
        '[run.checkpoint_store]\nregion = "eu-north-1"\nsecret_access_key = "env:KEY"\n'
    )
    config = load_config(path)
    assert config.checkpoint_store == {"region": "eu-north-1", "secret_access_key": "env:KEY"}
    assert config.upload_rate_bytes == 50_000_000
    environ = {"TIDEGATE_CHECKPOINT_STORE": "endpoint=http://h:1/x=y, region=us-east-1", "TIDEGATE_UPLOAD_RATE": "none"}
    config = load_config(path, environ=environ)
    assert config.checkpoint_store == {"endpoint": "http://h:1/x=y", "region": "us-east-1"}
    assert config.upload_rate_bytes is None


@pytest.mark.parametrize("text", ["secret_access_key=hunter2", "hunter2"])
def test_an_error_about_options_does_not_repeat_them(text: str) -> None:
    """One of them may be a credential."""
    with pytest.raises(ConfigError, match="environment variable TIDEGATE_CHECKPOINT_STORE: checkpoint_store") as raised:
        load_config(environ={"TIDEGATE_CHECKPOINT_STORE": text})
    assert "hunter2" not in str(raised.value)
