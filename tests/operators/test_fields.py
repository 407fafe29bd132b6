"""Reading fields of many records at once."""

from types import SimpleNamespace

import pytest
from tidegate.operators.fields import read_all, reader


def test_one_field_gives_its_values_and_several_give_tuples():
    """Dots lead to attributes of attributes; one field may be a tuple as well."""
    records = [SimpleNamespace(a=1, b=SimpleNamespace(c="x")), SimpleNamespace(a=2, b=SimpleNamespace(c="y"))]
    assert read_all(["b.c"])(records) == ["x", "y"]
    assert read_all(["a", "b.c"], as_tuples=True)(records) == [(1, "x"), (2, "y")]
    assert read_all(["a"], as_tuples=True)(records) == [(1,), (2,)]


@pytest.mark.parametrize("name", ["two words", "class", "a..b", "", "a;import os", "1a"])
def test_what_is_no_attribute_is_not_generated(name):
    """The name goes into source code, so only plain attribute names may."""
    assert read_all([name]) is None


def test_a_reader_reads_one_record_of_either_kind():
    """Attributes and entries, also through dots; a function is itself and nothing reads the record."""
    read = reader("b.c")
    assert read(SimpleNamespace(b=SimpleNamespace(c=1))) == read({"b": {"c": 1}}) == 1
    assert reader(len) is len
    assert reader(None)("record") == "record"
