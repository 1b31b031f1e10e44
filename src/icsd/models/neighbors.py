"""Exact cosine top-k by blocks: proposed by fast products, decided in exact arithmetic."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from icsd.core.logs import progress
from icsd.models.candidates import Found, Lists, Reaching, bound_of
from icsd.models.devices import has_bfloat16

BLOCKS = {"cpu": (1024, 4096), "cuda": (8192, 32768)}  # queries and columns of a block of products, whatever n
SAMPLE = 2048  # columns that tell, before the blocks, what a good product is
PIVOTS = 256  # rows by which a corpus that asks itself is ordered, so that rows near one another are alike
GATHERED = 1 << 18  # numbers gathered at once when scoring exactly: 2 MiB of float64


@dataclass(frozen=True)
class Nearest:
    """For m queries: columns [m, k] int64 of the corpus, and similarities [m, k] float64, falling."""

    columns: np.ndarray
    similarities: np.ndarray


def nearest(queries: np.ndarray, corpus: np.ndarray, k: int) -> Nearest:
    """The k rows of `corpus` [n, d] most similar to each of `queries` [m, d], float32; 1 <= k <= n.

    The vectors are of unit length and on the grid of `icsd.core.vectors`, so that their dot products can be computed
    exactly: answers depend neither on block shapes nor on the machine; ties go to the lower column.

    Blocks of products propose candidates: in bfloat16 where the device has units for it, else in float32. A
    column is left out only where the bound on the products' error says that it is worse than k others (see
    `icsd.models.candidates`). Where `queries` is `corpus`, each product serves its row and its column.
    Memory: vectors and lists of 2 k + 64 columns a query, both linear in n, and blocks of fixed size.
    """
    if not len(queries):
        return Nearest(np.empty((0, k), np.int64), np.empty((0, k)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # the bound counts on sums in float32
    c = torch.from_numpy(corpus).to(device)
    if corpus is not queries:
        names = torch.arange(len(c), device=device)
        return _Search(torch.from_numpy(queries).to(device), c, names, k).run()
    order = _by_likeness(c, BLOCKS[device.type][0])
    c = c.index_select(0, order)
    return _Search(c, c, order, k).run()


def best_of(queries: np.ndarray, corpus: np.ndarray, columns: np.ndarray, k: int) -> Nearest:
    """Of the `columns` [m, w] proposed for each query, the k most similar, as `nearest` decides; -1 stands for none."""
    q, c, proposed = (torch.from_numpy(array) for array in (queries, corpus, columns))
    scores = torch.zeros(proposed.shape).masked_fill(proposed < 0, -torch.inf)
    found = Found(torch.arange(len(q)), proposed.clamp(min=0), scores).best(proposed.shape[1])
    similarities, order = _ordered(found, _exact(q, c, found), torch.arange(len(c)), k)
    return Nearest(found.columns.gather(1, order).numpy(), similarities.numpy())


def _by_likeness(c: torch.Tensor, at_once: int) -> torch.Tensor:
    """An order of the rows in which those that share the nearest of some pivots stand together."""
    pivots = c[:: max(1, len(c) // PIVOTS)]
    return torch.cat([(block @ pivots.T).argmax(1) for block in c.split(at_once)]).argsort(stable=True)


class _Search:
    """The lists of all queries, from the first guess of what is good enough to the k best.

    `names` are the columns' numbers for the caller: they decide ties, and are what is answered. A corpus that asks
    itself is answered in the order of its names.
    """

    def __init__(self, q: torch.Tensor, c: torch.Tensor, names: torch.Tensor, k: int) -> None:
        self.q, self.c, self.names, self.k = q, c, names, k
        self.dtype = torch.bfloat16 if has_bfloat16(q.device.type) else torch.float32
        self.itself = q is c
        self.bound = bound_of(q, c, self.dtype)
        self.lists = Lists(len(q), k, self.dtype, q.device)
        self.rows, self.columns = BLOCKS[q.device.type]
        self.own = threading.local()  # each thread's products
        self.entering = threading.Lock()

    def run(self) -> Nearest:
        self._guess_floors()
        self._scan()
        return self._decide()

    def _guess_floors(self) -> None:
        """The k-th best product with some columns, so that blocks hold few hits from the start.

        Rows that stand beside a row are like it where the corpus asks itself; else the columns are an even sample.
        """
        even = self.c[:: max(1, len(self.c) // max(SAMPLE, self.k))].to(self.dtype)
        for rows in _spans(0, len(self.q), self.rows):
            block = self.q[rows].to(self.dtype)
            sample = block if self.itself and len(block) >= max(self.k, self.rows // 2) else even
            best = (block @ sample.T).topk(self.k, dim=1, sorted=False).values.amin(1)
            self.lists.floors[rows] = self.bound.floor(best).to(self.dtype)

    def _scan(self) -> None:
        """Enter all products that reach the floor of their row, and of their column if the corpus asks itself."""
        stripes = list(_spans(0, len(self.q), self.rows))
        with _one_thread_each(self.q.device) as pool:
            for _ in progress(pool.map(self._scan_stripe, stripes), len(stripes), "blocks of captions"):
                pass

    def _scan_stripe(self, rows: slice) -> None:
        left = self.q[rows].to(self.dtype)
        if self.itself:
            self._enter(left, rows, rows, both=False)  # the square on the diagonal holds both halves
        for columns in _spans(rows.stop if self.itself else 0, len(self.c), self.columns):
            self._enter(left, rows, columns, both=self.itself)

    def _block(self) -> tuple[torch.Tensor, Reaching]:
        if not hasattr(self.own, "block"):
            products = torch.empty(self.rows * self.columns, dtype=self.dtype, device=self.q.device)
            self.own.block = products, Reaching(products)
        return self.own.block

    def _enter(self, left: torch.Tensor, rows: slice, columns: slice, both: bool) -> None:
        right = self.c[columns].to(self.dtype)
        block, reaching = self._block()
        products = block[: len(left) * len(right)]
        torch.mm(left, right.T, out=products.view(len(left), len(right)))
        floors = self.lists.floors  # that another thread raises one meanwhile changes no answer
        hits = reaching(floors[rows], floors[columns] if both else None, len(right))
        scores = products.index_select(0, hits)
        row = torch.div(hits, len(right), rounding_mode="floor")
        column = hits - row * len(right) + columns.start
        row += rows.start
        if both:
            by_column = (scores >= floors.index_select(0, column)).nonzero().flatten()
            other, order = column.index_select(0, by_column).sort(stable=True)
            by_column = by_column.index_select(0, order)
            self._add(other, row.index_select(0, by_column), scores.index_select(0, by_column))
            by_row = (scores >= floors.index_select(0, row)).nonzero().flatten()
            row, column, scores = (values.index_select(0, by_row) for values in (row, column, scores))
        self._add(row, column, scores)

    def _add(self, rows: torch.Tensor, columns: torch.Tensor, scores: torch.Tensor) -> None:
        with self.entering:
            over = self.lists.add(rows, columns, scores)
            if over is not None:
                self._shorten(over)

    def _shorten(self, over: Found) -> None:
        """Make room in the lists of some rows, by a higher floor; if that is not enough, by exact similarities."""
        over = over.best(over.scores.shape[1])
        self.lists.raise_floors(over.rows, self.bound.floor(over.scores[:, self.k - 1]))
        kept = over.at_least(self.lists.floors)
        long = kept.counts() > (self.k + self.lists.width) // 2
        self.lists.put(kept.only(~long).part(0, self.lists.width))
        if bool(long.any()):
            self._settle(kept.only(long))

    def _settle(self, found: Found) -> None:
        """Leave just the k best in the lists of some rows; the floor is then the k-th less the products' error."""
        similarities, order = _ordered(found, _exact(self.q, self.c, found), self.names, self.k)
        self.lists.raise_floors(found.rows, similarities[:, -1] - self.bound.before)
        self.lists.put(Found(found.rows, found.columns.gather(1, order), found.scores.gather(1, order)))

    def _decide(self) -> Nearest:
        """The k best of every list: the k best products first, which tell how few of the others are needed."""
        columns = np.empty((len(self.q), self.k), np.int64)
        best = np.empty(columns.shape)
        for rows in torch.arange(len(self.q), device=self.q.device).split(self.rows):
            found = self.lists.found(rows, 0).best(self.lists.width)
            first = _exact(self.q, self.c, found.part(0, self.k))
            self.lists.raise_floors(rows, first.amin(1) - self.bound.before)
            found = found.at_least(self.lists.floors)
            similarities = torch.cat([first, _exact(self.q, self.c, found.part(self.k, self.lists.width))], 1)
            similarities, order = _ordered(found, similarities, self.names, self.k)
            places = (self.names[rows] if self.itself else rows).cpu().numpy()
            columns[places] = self.names[found.columns.gather(1, order)].cpu().numpy()
            best[places] = similarities.cpu().numpy()
        return Nearest(columns, best)


@contextmanager
def _one_thread_each(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads that work on stripes side by side, as many as torch has, which then uses one in each.

    A stripe's comparisons, in numpy, use one thread only: shared out by torch, the products alone would be faster.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _ordered(
    found: Found, similarities: torch.Tensor, names: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best similarities of each row, falling, and their places [r, k]; ties to the lower name."""
    by_name = names[found.columns].argsort(dim=1)
    similarities, order = similarities.gather(1, by_name).sort(dim=1, descending=True, stable=True)
    return similarities[:, :k], by_name.gather(1, order)[:, :k]


def _exact(q: torch.Tensor, c: torch.Tensor, found: Found) -> torch.Tensor:
    """Exact similarities [r, w] of queries with their columns, float64, -inf where there is no column."""
    counts, order = found.counts().sort()
    rows, columns = found.rows[order], found.columns[order]
    similarities = torch.full(columns.shape, -torch.inf, dtype=torch.float64, device=columns.device)
    for some in _spans(0, len(rows), max(1, GATHERED // max(1, q.shape[1] * columns.shape[1]))):
        width = int(counts[some.stop - 1])  # rows of like counts stand together, so that little is padding
        if width:
            # index_select, and a row times a matrix: plain indexing and einsum take several times as long
            gathered = c.index_select(0, columns[some, :width].flatten()).double()
            asked = q.index_select(0, rows[some]).double()[:, None]
            similarities[some, :width] = torch.bmm(asked, gathered.view(len(asked), width, -1).transpose(1, 2))[:, 0]
    return similarities[order.argsort()].masked_fill(found.scores == -torch.inf, -torch.inf)


def _spans(start: int, stop: int, length: int) -> Iterator[slice]:
    for first in range(start, stop, length):
        yield slice(first, min(first + length, stop))
