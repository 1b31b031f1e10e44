"""Columns of lists."""

import pyarrow as pa
import pytest

from icsd.core import lists


@pytest.mark.parametrize(
    ("at_most", "left"), [(1, [[7], [4], [9]]), (2, [[7, 3], [4, 5], [9]]), (None, [[3, 5, 7], [4, 5, 6], []])]
)
def test_limited_lists_begin_with_the_first_value(at_most: int | None, left: list[list[int]]) -> None:
    """Of an arm with a limit of captions, the anchor of the group comes first; the second sentence has no group."""
    column = pa.array([[3, 5, 7], [4, 5, 4, 6], []], pa.list_(pa.int64()))
    rows, values = lists.limited(column, pa.array([7, None, 9]), at_most)
    assert lists.to_column(rows, values, 3).to_pylist() == left
