"""Unit vectors on a fixed grid, and their conversion to and from Arrow lists.

Why a grid: products of multiples of 2^-22 are multiples of 2^-44, and a sum of them that stays under 2 needs
46 bits. float64 has 53, so that dot products of such vectors are exact: the same number in any order of
adding, for any block shape, on any machine. Equal texts tie exactly, and ties can be broken by id. See
docs/decisions/0006-ties.md.
"""

import numpy as np
import pyarrow as pa

STEP = 2.0**-22  # 24 bits from 1 to -1, so that float32 holds every multiple


def unit_on_grid(vectors: np.ndarray) -> np.ndarray:
    """Rows [n, d] scaled to length 1 and rounded to multiples of STEP: float32, lengths 1 within 1e-5."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return on_grid(vectors / lengths)


def on_grid(vectors: np.ndarray) -> np.ndarray:
    """Round each number to the nearest multiple of STEP, float32; numbers on the grid stay as they are."""
    steps = vectors / STEP  # a power of two: exact, in float32 as in float64
    np.rint(steps, out=steps)
    steps *= STEP
    return steps.astype(np.float32, copy=False)


def to_lists(matrix: np.ndarray) -> pa.Array:
    """A matrix [n, width] as an Arrow array of n lists."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()))


def from_lists(column: pa.ChunkedArray) -> np.ndarray:
    """A column of n lists as a matrix [n, width], [0, 0] if n is 0; ValueError if they differ in length."""
    if len(column) == 0:
        return np.zeros((0, 0), dtype=column.type.value_type.to_pandas_dtype())
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    lengths = {length for chunk in column.chunks for length in chunk.value_lengths().unique().to_pylist()}
    if len(lengths) > 1 or None in lengths:
        raise ValueError(f"lists of different lengths: {sorted(map(str, lengths))}")
    return np.concatenate(parts).reshape(len(column), lengths.pop())
