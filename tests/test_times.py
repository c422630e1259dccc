"""Times as people type them."""

import pytest

from savecli.errors import QueryError
from savecli.times import seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("80", 80), ("80.5", 80.5), ("80s", 80), ("1:20", 80), ("1:02:03.5", 3723.5), ("0:00", 0)],
)
def test_a_time(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", ":", "1:2:3:4", "1.5:20", "-3", "abc", "1:", "\u0664", "1e3", "nan"])
def test_no_time(text):
    with pytest.raises(QueryError, match="no time"):
        seconds(text)
