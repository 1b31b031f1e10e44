"""Exact cosine top-k by blocks: fast products propose candidates, exact arithmetic decides.

1. Each query gets a floor: the k-th best product with a sample of the columns, less the error of two products.
2. Blocks of products run over all columns. A product that reaches the floor of its query is a hit. Where the queries
   are the corpus itself, a product serves both its row and its column, which halves the work.
3. Hits collect in buckets of neighbouring queries. A full bucket is pruned: the k-th best hit raises the floor.
4. At the end the hits that reach their floor are computed exactly, and the k best of each query are the answer.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from icsd.core.logs import progress
from icsd.models.devices import has_bfloat16

BLOCKS = {"cpu": (1024, 4096), "cuda": (8192, 32768)}  # queries and columns of a block of products, for any n
SAMPLE = 2048  # columns that give the first floors
PIVOTS = 256  # rows by which a corpus is ordered, so that similar rows are neighbours
SPARE = 64  # a bucket has room for 2 k + SPARE hits a query, on average
GATHERED = 1 << 18  # numbers gathered at once in exact arithmetic: 2 MiB of float64
Hits = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # queries and columns int32 [h], products [h]


@dataclass(frozen=True)
class Nearest:
    """Nearest columns [m, k] int64 of the corpus for m queries, with similarities [m, k] float64, highest first."""

    columns: np.ndarray
    similarities: np.ndarray


def nearest(queries: np.ndarray, corpus: np.ndarray, k: int) -> Nearest:
    """Find the k rows of `corpus` [n, d] most similar to each of `queries` [m, d], float32; 1 <= k <= n.

    The vectors have unit length and lie on the grid of `icsd.core.vectors`, so that float64 computes their dot products
    exactly: the answer depends neither on block shapes nor on the machine. Ties go to the lower column. Memory grows
    linearly with n.
    """
    if not len(queries):
        return Nearest(np.empty((0, k), np.int64), np.empty((0, k)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # the bound counts on sums in float32
    c = torch.from_numpy(corpus).to(device)
    if corpus is not queries:
        return _Search(torch.from_numpy(queries).to(device), c, torch.arange(len(c), device=device), k).run()
    order = _by_likeness(c, BLOCKS[device.type][0])
    c = c.index_select(0, order)
    return _Search(c, c, order, k).run()


def best_of(queries: np.ndarray, corpus: np.ndarray, columns: np.ndarray, k: int) -> Nearest:
    """Choose the k most similar of the `columns` [m, w] proposed for each query, as `nearest` does; -1 is none."""
    q, c, proposed = (torch.from_numpy(array) for array in (queries, corpus, columns))
    similarities = _exact(q, c, torch.arange(len(q)), proposed)
    similarities, proposed = _best(similarities, proposed, torch.arange(len(c)), k)
    return Nearest(proposed.numpy(), similarities.numpy())


def _by_likeness(c: torch.Tensor, at_once: int) -> torch.Tensor:
    """Order the rows by the nearest of some pivots."""
    pivots = c[:: max(1, len(c) // PIVOTS)]
    return torch.cat([(block @ pivots.T).argmax(1) for block in c.split(at_once)]).argsort(stable=True)


def error_bounds(q: torch.Tensor, c: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Bound the error of products of rows of `q` [m, d] and `c` [n, d]: absolute, and relative by the last rounding.

    With x' = x + dx for a row rounded to `dtype`, |x y - x' y'| <= |dx| |y| + |x'| |dy|. The lengths are measured: |dx|
    is at most 2^-8 |x| for bfloat16, 0 for float32. A sum in float32, in any order, costs at most d u / (1 - d u) times
    the lengths, u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5); it is counted
    twice, for d + 8, which covers the rounding in this function and of the floors. The product is then rounded to
    `dtype`: 2^-8 of itself for bfloat16.
    """
    (q_length, q_moved), (c_length, c_moved) = _lengths(q, dtype), _lengths(c, dtype)
    inputs = q_moved * c_length + (q_length + q_moved) * c_moved
    sums = 2 * (q.shape[1] + 8) * 2.0**-24 * (q_length + q_moved) * (c_length + c_moved)
    return 1.001 * (inputs + sums), 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2


def _lengths(rows: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Return the length of the longest row, and of the longest change by rounding a row to `dtype`."""
    blocks = rows.split(4096)
    changes = [float((block - block.to(dtype).float()).norm(dim=1).max()) for block in blocks]
    return max(float(block.norm(dim=1).max()) for block in blocks), max(changes)


class _Search:
    """One search: floors, buckets of hits, and the answer.

    `names` are the caller's numbers of the columns: ties go to the lower one. Where the corpus searches itself, they
    are the numbers of the queries too.
    """

    def __init__(self, q: torch.Tensor, c: torch.Tensor, names: torch.Tensor, k: int) -> None:
        self.q, self.c, self.names, self.k = q, c, names, k
        self.itself, self.device = q is c, q.device
        self.dtype = torch.bfloat16 if has_bfloat16(q.device.type) else torch.float32
        self.error, self.rounding = error_bounds(q, c, self.dtype)
        self.rows, self.columns = BLOCKS[q.device.type]
        self.spans = list(_spans(0, len(q), self.rows))
        self.floors = torch.full((len(q),), -torch.inf, dtype=self.dtype, device=q.device)
        self.buckets: list[list[Hits]] = [[] for _ in self.spans]
        self.sizes, self.room = [0] * len(self.spans), self.rows * (2 * k + SPARE)
        self.locks = [threading.Lock() for _ in self.spans]

    def run(self) -> Nearest:
        self._guess_floors()
        with _one_thread_each(self.device) as pool:
            scanned = pool.map(self._scan, self.spans)
            for _ in progress(scanned, len(self.spans), "blocks of captions"):
                pass
        return self._answer()

    def _guess_floors(self) -> None:
        even = self.c[:: max(1, len(self.c) // max(SAMPLE, self.k))].to(self.dtype)
        for rows in self.spans:
            block = self.q[rows].to(self.dtype)
            # neighbouring rows are similar where the corpus searches itself, and give a better floor than a sample
            sample = block if self.itself and len(block) >= max(self.k, self.rows // 2) else even
            kth = (block @ sample.T).topk(self.k, dim=1, sorted=False).values.amin(1)
            self._raise_floors(rows, self._least(kth))

    def _least(self, kth: torch.Tensor) -> torch.Tensor:
        """Return what k columns reach at least in truth, where their products reach `kth`."""
        kth = kth.float().clamp(min=-2.0)  # -inf where a list is short; products of unit vectors lie above -2
        return kth - self.rounding * kth.abs() - self.error

    def _raise_floors(self, rows: slice | torch.Tensor, least: torch.Tensor) -> None:
        """A column as good as `least` may have a lower product; rounding to the products' dtype keeps their order."""
        self.floors[rows] = torch.maximum(self.floors[rows], (least - self.error).to(self.dtype))

    def _scan(self, rows: slice) -> None:
        left = self.q[rows].to(self.dtype)
        if self.itself:
            self._collect(left, rows, rows, both=False)  # the square on the diagonal has both halves
        for columns in _spans(rows.stop if self.itself else 0, len(self.c), self.columns):
            self._collect(left, rows, columns, both=self.itself)

    def _collect(self, left: torch.Tensor, rows: slice, columns: slice, both: bool) -> None:
        products = left @ self.c[columns].to(self.dtype).T
        floors = self.floors  # another thread may raise one meanwhile: that changes no answer
        found = _reaching(products, floors[rows], floors[columns] if both else None)
        scores = products.flatten()[found]
        row = torch.div(found, products.shape[1], rounding_mode="floor")
        column = found - row * products.shape[1] + columns.start
        row += rows.start
        for query, other in ((row, column), (column, row)) if both else ((row, column),):
            hit = (scores >= floors[query]).nonzero().flatten() if both else slice(None)
            self._add(query[hit].int(), other[hit].int(), scores[hit])

    def _add(self, queries: torch.Tensor, columns: torch.Tensor, scores: torch.Tensor) -> None:
        bucket_of = torch.div(queries, self.rows, rounding_mode="floor")
        for bucket in bucket_of.unique().tolist():
            own = (bucket_of == bucket).nonzero().flatten()
            with self.locks[bucket]:
                self.buckets[bucket].append((queries[own], columns[own], scores[own]))
                self.sizes[bucket] += len(own)
                if self.sizes[bucket] > self.room:
                    self._prune(bucket)

    def _prune(self, bucket: int) -> None:
        """Raise the floors by the hits of a bucket; if too many still reach them, leave the k exactly best."""
        rows, columns, scores = self._lists(bucket)
        if int((columns >= 0).sum()) > 3 * self.room // 4:
            scores, columns = _best(_exact(self.q, self.c, rows, columns), columns, self.names, self.k)
            self._raise_floors(rows, scores[:, -1])
        hit = columns >= 0
        self.sizes[bucket] = int(hit.sum())
        queries = rows[:, None].expand_as(columns)[hit].int()
        self.buckets[bucket] = [(queries, columns[hit].int(), scores[hit].to(self.dtype))]

    def _lists(self, bucket: int) -> Hits:
        """Return the queries [r] of a bucket with their hits that reach the raised floors, best first.

        Columns [r, w] are -1 and products [r, w] -inf behind the last hit.
        """
        span = self.spans[bucket]
        rows = torch.arange(span.start, span.stop, device=self.device)
        queries, columns, scores = (torch.cat(parts) for parts in zip(*self.buckets[bucket], strict=True))
        order = scores.argsort(descending=True)
        order = order[queries[order].argsort(stable=True)]
        row = queries[order].long() - span.start
        counts = row.bincount(minlength=len(rows))
        place = torch.arange(len(row), device=self.device) - (counts.cumsum(0) - counts)[row]
        width = max(self.k, int(counts.max()))
        listed = torch.full((len(rows), width), -1, device=self.device)
        products = torch.full((len(rows), width), -torch.inf, dtype=self.dtype, device=self.device)
        listed[row, place], products[row, place] = columns[order].long(), scores[order]
        self._raise_floors(rows, self._least(products[:, self.k - 1]))
        low = products < self.floors[rows, None]
        return rows, listed.masked_fill(low, -1), products.masked_fill(low, -torch.inf)

    def _answer(self) -> Nearest:
        """Choose the k best of every query: its k best products first, which tell how few of the others are needed."""
        found = np.empty((len(self.q), self.k), np.int64)
        best = np.empty(found.shape)
        for bucket in range(len(self.spans)):
            rows, columns, scores = self._lists(bucket)
            first = _exact(self.q, self.c, rows, columns[:, : self.k])
            self._raise_floors(rows, first.amin(1))
            columns = columns.masked_fill(scores < self.floors[rows, None], -1)
            rest = _exact(self.q, self.c, rows, columns[:, self.k :])
            similarities, columns = _best(torch.cat([first, rest], 1), columns, self.names, self.k)
            places = (self.names[rows] if self.itself else rows).cpu().numpy()
            found[places], best[places] = self.names[columns].cpu().numpy(), similarities.cpu().numpy()
        return Nearest(found, best)


def _reaching(products: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor | None) -> torch.Tensor:
    """Return the flat places of products [r, w] that reach the floor of their row [r] or of their column [w]."""
    mask = _reach(products, rows[:, None])
    if columns is not None:
        mask |= _reach(products, columns)
    return (
        torch.from_numpy(np.flatnonzero(mask.numpy())) if mask.device.type == "cpu" else mask.flatten().nonzero()[:, 0]
    )


def _reach(products: torch.Tensor, floors: torch.Tensor) -> torch.Tensor:
    if products.is_cuda:
        return products >= floors
    if products.dtype == torch.bfloat16:  # its bits as int16 rise with it from 0 on, and compare many times faster
        floors = floors.view(torch.int16).masked_fill(floors <= 0, torch.iinfo(torch.int16).min)  # all reach it
        products = products.view(torch.int16)
    return torch.from_numpy(products.numpy() >= floors.numpy())  # numpy takes a fraction of torch's time


def _exact(q: torch.Tensor, c: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Compute the similarities [r, w] of the queries `rows` [r] with `columns` [r, w], float64; -1 gives -inf."""
    similarities = torch.full(columns.shape, -torch.inf, dtype=torch.float64, device=columns.device)
    counts, order = (columns >= 0).sum(1).sort()  # rows of similar counts together need little padding
    for some in _spans(0, len(rows), max(1, GATHERED // max(1, q.shape[1] * columns.shape[1]))):
        own, width = order[some], int(counts[some.stop - 1])
        if width:
            # index_select, and a row times a matrix: indexing and einsum take several times as long
            gathered = c.index_select(0, columns[own, :width].clamp(min=0).flatten()).double().view(len(own), width, -1)
            query = q.index_select(0, rows[own]).double()[:, None]
            similarities[own, :width] = torch.bmm(query, gathered.transpose(1, 2))[:, 0]
    return similarities.masked_fill(columns < 0, -torch.inf)


def _best(
    similarities: torch.Tensor, columns: torch.Tensor, names: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k best similarities of each row, falling, and their columns, [r, k]; ties go to the lower name."""
    by_name = names[columns].argsort(dim=1)
    similarities, order = similarities.gather(1, by_name).sort(dim=1, descending=True, stable=True)
    return similarities[:, :k], columns.gather(1, by_name.gather(1, order))[:, :k]


@contextmanager
def _one_thread_each(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Work on spans in as many threads as torch has, which then uses one in each: numpy's comparisons use one only."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _spans(start: int, stop: int, length: int) -> Iterator[slice]:
    for first in range(start, stop, length):
        yield slice(first, min(first + length, stop))
