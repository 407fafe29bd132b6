"""What makes a stream a table."""

from __future__ import annotations

import pytest
from tidegate.operators.table_input import TableInput


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"ttl": "0ms"}, "longer than 0ms"),
        ({"ttl": "soon"}, "'soon' is not a duration"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        TableInput(int, **settings)
