"""Columns of lists as numpy arrays: the row of each value, and the values."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Whole = NDArray[np.int64]


def flat(lists: pa.ListArray) -> tuple[Whole, Whole]:
    """The row of each value, ascending, and the values."""
    return np.asarray(pc.list_parent_indices(lists)), np.asarray(lists.flatten())


def to_column(rows: Whole, values: Whole, count: int) -> pa.ListArray:
    """The column of `count` lists whose `values` are of the `rows`, which ascend."""
    offsets = np.searchsorted(rows, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def with_first(rows: Whole, values: Whole, first: pa.Array) -> tuple[Whole, Whole]:
    """Put the `first` value of each row before the others, where it has one."""
    having = np.flatnonzero(np.asarray(first.is_valid()))
    rows, values = np.concatenate([having, rows]), np.concatenate([np.asarray(first.drop_null()), values])
    order = np.argsort(rows, kind="stable")
    return rows[order], values[order]


def limited(lists: pa.ListArray, first: pa.Array, at_most: int | None) -> tuple[Whole, Whole]:
    """The row of each value, and the values: `at_most` different ones of each list, its `first` value before others.

    None: all different values of each list; `first` is not added.
    """
    rows, values = flat(lists)
    if at_most is not None:
        rows, values = with_first(rows, values, first)
    return distinct(rows, values, at_most)


def distinct(rows: Whole, values: Whole, at_most: int | None = None) -> tuple[Whole, Whole]:
    """Keep the first of equal values in a row, and `at_most` so many values of it."""
    if _has_doubles(rows, values):
        order = np.lexsort((values, rows))
        again = (np.diff(rows[order]) == 0) & (np.diff(values[order]) == 0)
        kept = np.ones(len(rows), np.bool_)
        kept[order[1:][again]] = False
        rows, values = rows[kept], values[kept]
    if at_most is None:
        return rows, values
    near = np.arange(len(rows)) - np.searchsorted(rows, rows) < at_most
    return rows[near], values[near]


def _has_doubles(rows: Whole, values: Whole) -> bool:
    """Return whether a row may have equal values; one number for both sorts in a quarter of the time of two."""
    if not len(rows):
        return False
    least, greatest = int(values.min()), int(values.max())
    span = greatest - least + 1
    if span * (int(rows[-1]) + 1) >= 1 << 62:
        return True
    return bool((np.diff(np.sort(rows * span + (values - least))) == 0).any())
