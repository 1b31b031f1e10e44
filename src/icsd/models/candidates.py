"""Blocks of dot products and, for each query, the columns that may be among its k best."""

from dataclasses import dataclass

import numpy as np
import torch

SPARE = 64  # a query's list has room for 2 k + SPARE columns


@dataclass(frozen=True)
class Bound:
    """How far a product of a block can be from the exact one: `before` its last rounding, `last` relative."""

    before: float
    last: float

    def floor(self, kth: torch.Tensor) -> torch.Tensor:
        """What a product must reach, float32, where k products reach `kth`.

        The k columns are at least `least` in truth. A column that is as good has a product of at least least -
        before until it is rounded to the block's dtype. Rounding keeps order: compare with this floor rounded alike.
        """
        kth = kth.float()
        least = kth - self.last * kth.abs() - self.before
        return least - self.before


def bound_of(q: torch.Tensor, c: torch.Tensor, dtype: torch.dtype) -> Bound:
    """The bound for products of rows of `q` [m, d] and `c` [n, d], float32, computed from rows rounded to `dtype`.

    With x' = x + dx for a rounded row, |x y - x' y'| <= |dx| |y| + |x'| |dy|, where the lengths are measured: at most
    2^-8 |x| for bfloat16, and about 2^-9 |x| in practice; 0 for float32. Adding up in float32, in any order, costs at
    most d u / (1 - d u) times the lengths, u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    eq. 3.5). It is counted twice, for d + 8, which covers this function's own rounding and that of the floors. The
    product is then rounded to `dtype`: 2^-8 of itself for bfloat16.
    """
    rounding = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2
    (q_length, q_moved), (c_length, c_moved) = _lengths(q, dtype), _lengths(c, dtype)
    inputs = q_moved * c_length + (q_length + q_moved) * c_moved
    sums = 2 * (q.shape[1] + 8) * 2.0**-24 * (q_length + q_moved) * (c_length + c_moved)
    return Bound(1.001 * inputs + 1.001 * sums, rounding)


def _lengths(rows: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """The length of the longest row, and of the longest step by which rounding to `dtype` moves a row."""
    longest = moved = 0.0
    for block in rows.split(4096):
        longest = max(longest, float(block.norm(dim=1).max()))
        moved = max(moved, float((block - block.to(dtype).float()).norm(dim=1).max()))
    return longest, moved


class Lists:
    """For each of m queries the columns found so far that may be among its k best, and the floor for others."""

    def __init__(self, queries: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        self.k, self.width = k, 2 * k + SPARE
        self.scores = torch.full((queries, self.width), -torch.inf, dtype=dtype, device=device)
        self.columns = torch.zeros((queries, self.width), dtype=torch.int32, device=device)
        self.filled = torch.zeros(queries, dtype=torch.int64, device=device)
        self.floors = torch.full((queries,), -torch.inf, dtype=dtype, device=device)

    def raise_floors(self, rows: torch.Tensor, floors: torch.Tensor) -> None:
        """Floors only rise: what an earlier one has turned away stays away."""
        self.floors[rows] = torch.maximum(self.floors[rows], floors.to(self.floors.dtype))

    def add(self, rows: torch.Tensor, columns: torch.Tensor, scores: torch.Tensor) -> "Found | None":
        """Enter hits, grouped by row. The rows without room for theirs come back, with all that they have then."""
        own, place, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True)
        before = self.filled[own]
        slots = torch.arange(len(rows), device=rows.device) + (before - counts.cumsum(0) + counts)[place]
        total = before + counts
        full = total > self.width
        if not bool(full.any()):
            self._fill(rows, slots, columns, scores)
            self.filled[own] = total
            return None
        fits, rest = (which.nonzero().flatten() for which in (~full[place], full[place]))
        self._fill(*(values.index_select(0, fits) for values in (rows, slots, columns, scores)))
        self.filled[own[~full]] = total[~full]
        over = self.found(own[full], int(total[full].max()))
        where = (full.cumsum(0) - 1)[place[rest]], slots[rest]
        over.columns[where], over.scores[where] = columns[rest], scores[rest]
        return over

    def _fill(self, rows: torch.Tensor, slots: torch.Tensor, columns: torch.Tensor, scores: torch.Tensor) -> None:
        places = rows * self.width + slots
        self.scores.view(-1).index_copy_(0, places, scores)
        self.columns.view(-1).index_copy_(0, places, columns.int())

    def found(self, rows: torch.Tensor, width: int) -> "Found":
        """The lists of `rows`, with room for `width` columns each."""
        room = (0, max(0, width - self.width))
        scores = torch.nn.functional.pad(self.scores[rows], room, value=-torch.inf)
        return Found(rows, torch.nn.functional.pad(self.columns[rows].long(), room), scores)

    def put(self, found: "Found") -> None:
        """Replace the lists of some rows by these, of at most `width` columns, those without a score last."""
        room = (0, self.width - found.scores.shape[1])
        self.scores[found.rows] = torch.nn.functional.pad(found.scores, room, value=-torch.inf)
        self.columns[found.rows] = torch.nn.functional.pad(found.columns.int(), room)
        self.filled[found.rows] = found.counts()


@dataclass(frozen=True)
class Found:
    """Columns [r, w] int64 of the queries `rows` [r] and their products [r, w], -inf where there is none."""

    rows: torch.Tensor
    columns: torch.Tensor
    scores: torch.Tensor

    def counts(self) -> torch.Tensor:
        """How many columns each row has."""
        return (self.scores > -torch.inf).sum(1)

    def best(self, count: int) -> "Found":
        """The `count` columns of each row with the largest products, falling."""
        top = self.scores.topk(min(count, self.scores.shape[1]), dim=1)
        return Found(self.rows, self.columns.gather(1, top.indices), top.values)

    def at_least(self, floors: torch.Tensor) -> "Found":
        """Without the columns below the row's floor."""
        low = self.scores < floors[self.rows, None]
        return Found(self.rows, self.columns, self.scores.masked_fill(low, -torch.inf))

    def part(self, start: int, stop: int) -> "Found":
        """The columns of each row from place `start` to `stop`."""
        return Found(self.rows, self.columns[:, start:stop], self.scores[:, start:stop])

    def only(self, which: torch.Tensor) -> "Found":
        return Found(self.rows[which], self.columns[which], self.scores[which])


class Reaching:
    """Which products of a block reach a floor; the masks are made once, for blocks of up to this size."""

    def __init__(self, products: torch.Tensor) -> None:
        # bfloat16 is compared by its bits as whole numbers, which rise with it from 0 on: many times faster on a CPU
        self.products = products.view(torch.int16) if products.dtype == torch.bfloat16 else products
        self.masks = torch.empty((2, len(products)), dtype=torch.bool, device=products.device)

    def __call__(self, rows: torch.Tensor, columns: torch.Tensor | None, width: int) -> torch.Tensor:
        """Flat places of the products [r, width] that reach their row's floor [r] or their column's, ascending."""
        size = len(rows) * width
        products, masks = self.products[:size].view(-1, width), self.masks[:, :size].view(2, -1, width)
        self._reach(products, rows[:, None], masks[0])
        if columns is not None:
            self._reach(products, columns, masks[1])
            masks[0] |= masks[1]
        if products.is_cuda:
            return masks[0].flatten().nonzero().flatten()
        return torch.from_numpy(np.flatnonzero(masks[0].numpy()))

    def _reach(self, products: torch.Tensor, floors: torch.Tensor, mask: torch.Tensor) -> None:
        if floors.dtype == torch.bfloat16:
            floors = floors.view(torch.int16).masked_fill(floors <= 0, torch.iinfo(torch.int16).min)  # all reach it
        if products.is_cuda:
            torch.ge(products, floors, out=mask)
        else:  # numpy compares, and finds, in a fraction of torch's time
            np.greater_equal(products.numpy(), floors.numpy(), out=mask.numpy())
