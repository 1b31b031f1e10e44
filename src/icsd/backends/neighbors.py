"""Exact cosine top-k by blocks: coarse in float32, decided in exact arithmetic."""

from dataclasses import dataclass

import numpy as np
import torch

from icsd.logs import progress
from icsd.vectors import on_grid

QUERIES, COLUMNS = 1024, 16384  # a block of similarities: 64 MiB of float32, whatever n
SPARE = 32  # candidates beyond k that are scored again exactly
GATHERED = 1 << 24  # numbers gathered at once when scoring exactly: 128 MiB of float64


@dataclass(frozen=True)
class Nearest:
    """For m queries: columns [m, k] int64 of the corpus, and similarities [m, k] float64, falling."""

    columns: np.ndarray
    similarities: np.ndarray


def nearest(queries: np.ndarray, corpus: np.ndarray, k: int) -> Nearest:
    """The k rows of `corpus` [n, d] most similar to each of `queries` [m, d], both of unit rows; 1 <= k <= n.

    Similarity is the dot product of the vectors rounded to the grid of `icsd.vectors`, computed exactly, so
    that it does not depend on block shapes or machine; ties go to the lower column. The rounding moves a
    similarity by less than 1e-6.

    A float32 product of blocks proposes k + SPARE candidates, of which the best k are found exactly. The
    rounding error of a float32 sum of d products is at most d u / (1 - d u) times the product of the
    lengths, u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5). Where the
    candidates left out could come within it of the k-th, the query is compared with the whole corpus
    exactly. Memory: the corpus, and blocks of fixed size.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    q = torch.from_numpy(on_grid(queries)).to(device)
    c = torch.from_numpy(on_grid(corpus)).to(device)
    blocks = q.split(QUERIES)
    parts = [_nearest_of_block(block, c, k) for block in progress(blocks, len(blocks), "blocks of captions")]
    columns, similarities = (torch.cat(halves).cpu().numpy() for halves in zip(*parts, strict=True))
    return Nearest(columns, similarities)


def _nearest_of_block(q: torch.Tensor, c: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    columns, floor = _candidates(q, c, min(k + SPARE, len(c)))
    columns, similarities = _ordered(columns, _exact(q, c, columns), k)
    if k + SPARE < len(c):
        error = 2 * q.shape[1] * 2.0**-24  # twice the bound: lengths are 1 only up to rounding
        for row in torch.nonzero(similarities[:, -1] <= floor + error).flatten().tolist():
            columns[row], similarities[row] = _nearest_of_one(q[row], c, k)
    return columns, similarities


def _candidates(q: torch.Tensor, c: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns [m, count] with the largest float32 products, and the smallest product among them [m]."""
    best = q.new_empty((len(q), 0))
    columns = torch.empty((len(q), 0), dtype=torch.int64, device=q.device)
    for start in range(0, len(c), COLUMNS):
        products = q @ c[start : start + COLUMNS].T
        top = products.topk(min(count, products.shape[1]), dim=1, sorted=False)
        best, columns = torch.cat([best, top.values], 1), torch.cat([columns, top.indices + start], 1)
        kept = best.topk(min(count, best.shape[1]), dim=1, sorted=False)
        best, columns = kept.values, columns.gather(1, kept.indices)
    return columns, best.amin(1)


def _exact(q: torch.Tensor, c: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Exact similarities [m, count] of each query with its columns, float64."""
    rows = max(1, GATHERED // (columns.shape[1] * q.shape[1]))
    pairs = zip(q.split(rows), columns.split(rows), strict=True)
    parts = [torch.einsum("mcd,md->mc", c[picked].double(), some.double()) for some, picked in pairs]
    return torch.cat(parts)


def _ordered(columns: torch.Tensor, similarities: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best k of each row: by falling similarity, ties to the lower column."""
    columns, by_column = columns.sort(dim=1)
    similarities = similarities.gather(1, by_column)
    similarities, order = similarities.sort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)[:, :k], similarities[:, :k]


def _nearest_of_one(q: torch.Tensor, c: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    similarities = torch.cat([block.double() @ q.double() for block in c.split(COLUMNS)])
    similarities, columns = similarities.sort(descending=True, stable=True)
    return columns[:k], similarities[:k]
