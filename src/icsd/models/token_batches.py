"""Captions as tokens, and which of them are computed together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """The tokens of n captions one after another, [sum of lengths] int64, and how many each has, [n]."""

    flat: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> "Tokens":
        """Of one sequence a caption."""
        parts = [np.asarray(row, dtype=np.int64) for row in rows]
        return cls(np.concatenate(parts), np.array([len(part) for part in parts]))

    @classmethod
    def cut(cls, rows: np.ndarray, lengths: np.ndarray) -> "Tokens":
        """Of a matrix [n, context], of which only the first `lengths` [n] tokens of each row count."""
        return cls(rows[np.arange(rows.shape[1]) < lengths[:, None]], lengths)

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """The captions of all parts, in order."""
        return cls(np.concatenate([part.flat for part in parts]), np.concatenate([part.lengths for part in parts]))

    def take(self, rows: np.ndarray) -> "Tokens":
        """Some captions, in the order of `rows`."""
        ends = self.lengths.cumsum()
        spans = zip((ends - self.lengths)[rows].tolist(), ends[rows].tolist(), strict=True)
        return Tokens(np.concatenate([self.flat[start:end] for start, end in spans]), self.lengths[rows])

    def places(self) -> np.ndarray:
        """How many tokens of its own caption stand before each token, [sum of lengths]."""
        starts = self.lengths.cumsum() - self.lengths
        return np.arange(len(self.flat)) - np.repeat(starts, self.lengths)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Where captions of equal length stand side by side: first token, number of captions, their length."""
        edges = np.flatnonzero(np.diff(self.lengths, prepend=-1, append=-1))
        starts = self.lengths.cumsum() - self.lengths
        for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield int(starts[first]), end - first, int(self.lengths[first])


def batches(lengths: np.ndarray, size: int, *, equal: bool) -> list[np.ndarray]:
    """The rows of each batch: at most `size` tokens, or one caption; shorter captions come first.

    `equal`: only captions of equal length share a batch, so that none needs padding.
    """
    order = np.argsort(lengths, kind="stable")
    found, start, tokens = [], 0, 0
    for end, length in enumerate(lengths[order].tolist()):
        other = equal and length != lengths[order[start]]
        if end > start and (tokens + length > size or other):
            found.append(order[start:end])
            start, tokens = end, 0
        tokens += length
    return [*found, order[start:]]
