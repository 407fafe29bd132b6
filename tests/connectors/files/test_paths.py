"""What a path names, and sizes."""

import pytest
from tidegate.connectors.files.paths import Root, size_bytes


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_all_files_below_it(tmp_path):
    """Sorted by name; hidden files and folders are left out."""
    _touch(tmp_path, "b", "a/c", ".staged/x", "_tmp/y", "_z")
    root = Root(tmp_path)
    assert root.list() == ["a/c", "b"]
    assert root.join("a/c") == str(tmp_path / "a/c")


def test_a_glob_is_what_it_matches(tmp_path):
    """Names are relative to the part of the path without magic."""
    _touch(tmp_path, "x/1.log", "y/z/2.log", "y/3.txt")
    root = Root(f"{tmp_path}/**/*.log")
    assert root.list() == ["x/1.log", "y/z/2.log"]
    assert root.join("x/1.log") == f"{tmp_path}/x/1.log"


def test_a_relative_glob_keeps_its_names(tmp_path, monkeypatch):
    """Without a folder in front, names are relative to where the program runs."""
    _touch(tmp_path, "a.log")
    monkeypatch.chdir(tmp_path)
    root = Root("*.log")
    assert [root.join(name) for name in root.list()] == ["a.log"]


def test_a_file_is_itself(tmp_path):
    """Also one whose name looks like a glob; one that is not there is none."""
    _touch(tmp_path, "a[1].log")
    root = Root(tmp_path / "a[1].log")
    assert [root.join(name) for name in root.list()] == [str(tmp_path / "a[1].log")]
    assert Root(tmp_path / "b").list() == []
    with pytest.raises(ValueError, match="empty"):
        Root("")


@pytest.mark.parametrize("size", ["", "64", 1, "64MB", "1.5GiB", "10 kB"])
def test_sizes(size):
    """Numbers and strings are sizes; nothing, zero and words are not."""
    if size == "":
        for wrong in ("", 0, -1, "0MB", "big", "64mb", None):
            with pytest.raises(ValueError, match="is not a size"):
                size_bytes(wrong, "split_size")
    else:
        expected = {"64": 64, 1: 1, "64MB": 64_000_000, "1.5GiB": 3 << 29, "10 kB": 10_000}
        assert size_bytes(size, "split_size") == expected[size]
