"""Which groups are kept: one of those with the same members, and by thresholds on similarity, overlap and number."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np

from icsd.core.ids import seeded_order
from icsd.stages.groups.searching import Members

NOBODY = np.iinfo(np.int64).min  # in place of a member that has left a group; no caption has this id
ROUNDING = 1e-9  # of a share times a number: 0.29 of 100 is 29
FAR, SAME, OVERLAP, BEYOND = (
    "no other caption is near enough",
    "the same captions as another's group",
    "most captions are in another group",
    "beyond the limit",
)


@dataclass(frozen=True)
class Selection:
    """The keys of the config section groups that select; the defaults keep one group of each set of members."""

    dedupe: Literal["all", "none"] | int = "all"
    min_similarity: float | None = None
    max_overlap: float | None = None
    limit: int | None = None
    limit_seed: int = 0


@dataclass(frozen=True)
class Selected:
    """The members [m, k] of all groups, NOBODY after those that stay, and for each group why it is dropped, or None."""

    ids: np.ndarray
    reasons: Sequence[str | None]

    @property
    def kept(self) -> np.ndarray:
        """The rows of the groups that are kept, ascending."""
        return np.flatnonzero([reason is None for reason in self.reasons])


def select_groups(anchors: np.ndarray, members: Members, selection: Selection) -> Selected:
    """Select groups, each by its anchor in `anchors` [m], ascending ids, and its members [m, k].

    In this order: captions below `min_similarity` leave their group, and a group of its anchor alone is dropped; of
    groups with the same members, or the same first ones, the one with the lowest anchor stays; a group is dropped that
    shares more than `max_overlap` of its members with a kept one of a lower anchor; and `limit` groups of the rest are
    drawn by `limit_seed`. A reason has its detail after a colon.
    """
    reasons: list[str | None] = [None] * len(anchors)
    ids = _drop_far(members, selection.min_similarity, reasons)
    _drop_same(anchors, ids, selection.dedupe, reasons)
    if selection.max_overlap is not None:
        _drop_overlapping(anchors, ids, selection.max_overlap, reasons)
    if selection.limit is not None:
        rows = [row for row, reason in enumerate(reasons) if reason is None]
        rows.sort(key=lambda row: seeded_order(int(anchors[row]), selection.limit_seed))
        for row in rows[selection.limit :]:
            reasons[row] = f"{BEYOND}: groups.limit={selection.limit}"
    return Selected(ids, reasons)


def _drop_far(members: Members, limit: float | None, reasons: list[str | None]) -> np.ndarray:
    """Return the members [m, k] without those below the limit; note the groups that lose all but their anchor."""
    if limit is None:
        return members.ids
    near = members.similarities >= limit
    near[:, 0] = True
    for row in np.flatnonzero(near.sum(axis=1) < 2):
        reasons[row] = f"{FAR}: the nearest has {members.similarities[row, 1]:.3f}"
    return np.where(near, members.ids, NOBODY)


def _drop_same(
    anchors: np.ndarray, ids: np.ndarray, dedupe: Literal["all", "none"] | int, reasons: list[str | None]
) -> None:
    if dedupe == "none":
        return
    first = first_like_it(ids if dedupe == "all" else ids[:, :dedupe])
    for row in np.flatnonzero(first < np.arange(len(ids))):
        reasons[row] = reasons[row] or f"{SAME}: group {anchors[first[row]]}"


def first_like_it(ids: np.ndarray) -> np.ndarray:
    """Return for each row of `ids` [m, k] the first row with its members, in any order: [m]."""
    _, first, number = np.unique(np.sort(ids, axis=1), axis=0, return_index=True, return_inverse=True)
    return first[number.ravel()]


def _drop_overlapping(anchors: np.ndarray, ids: np.ndarray, limit: float, reasons: list[str | None]) -> None:
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    found = overlaps([present(ids[row]) for row in rows], limit)
    for row, overlap in zip(rows, found, strict=True):
        if overlap:
            other, shared = anchors[rows[overlap.other]], f"{overlap.shared} of {overlap.members}"
            reasons[row] = f"{OVERLAP}: {shared} in group {other}"


@dataclass(frozen=True, slots=True)
class Overlap:
    """The group, by its number, with which a group shares the most of its `members`."""

    other: int
    shared: int
    members: int


def overlaps(groups: Sequence[Sequence[int]], limit: float) -> Iterator[Overlap | None]:
    """Yield for each group its overlap with an earlier kept one that is above `limit`, a share; None if it is kept."""
    kept_with = defaultdict[int, list[int]](list)
    for number, members in enumerate(groups):
        found = _largest_overlap(number, groups, kept_with, limit)
        if found is None:
            for member in members:
                kept_with[member].append(number)
        yield found


def overlaps_with_any(
    groups: Sequence[Sequence[int]], numbers: Iterable[int], limit: float
) -> Iterator[Overlap | None]:
    """Yield the largest overlap of the groups of these numbers with any other one; None if none is above `limit`."""
    groups_with = defaultdict[int, list[int]](list)
    for number, members in enumerate(groups):
        for member in members:
            groups_with[member].append(number)
    for number in numbers:
        yield _largest_overlap(number, groups, groups_with, limit)


def _largest_overlap(
    number: int, groups: Sequence[Sequence[int]], groups_with: Mapping[int, Sequence[int]], limit: float
) -> Overlap | None:
    """Return a group's largest overlap above the limit, with the first of the groups that share as much; exact.

    `groups_with` maps a caption to the groups with it that count. Of m members, one that shares more than `allowed` has
    one of any m - allowed: those that are in the fewest groups give the fewest candidates (prefix filtering: Chaudhuri,
    Ganti and Kaushik, ICDE 2006).
    """
    members = groups[number]
    allowed = math.floor(limit * len(members) + ROUNDING)
    rarest = sorted(members, key=lambda member: len(groups_with[member]))[: len(members) - allowed]
    candidates = set(chain.from_iterable(groups_with[member] for member in rarest)) - {number}
    own = set(members)
    shared, other = max(((len(own.intersection(groups[each])), -each) for each in candidates), default=(0, 0))
    return Overlap(-other, shared, len(members)) if shared > allowed else None


def present(ids: np.ndarray) -> list[int]:
    """Return the members that have not left a group."""
    members: list[int] = ids[ids != NOBODY].tolist()
    return members
