"""Which groups are kept, and why the others are dropped: by hand, and held against all pairs."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icsd.core import tables
from icsd.core.ids import drawing_order
from icsd.stages.groups import Selection, form_groups
from icsd.stages.groups.selection import overlaps, overlaps_with_any

IDS = [[1, 2, 3], [2, 1, 4], [3, 1, 2], [4, 2, 1], [5, 4, 3]]
SIMILARITIES = [[1.0, 0.9, 0.8], [1.0, 0.9, 0.4], [1.0, 0.8, 0.3], [1.0, 0.4, 0.2], [1.0, 0.1, 0.1]]


def _formed(folder: Path, selection: Selection) -> tuple[dict[int, list[int]], dict[str, str | None], list[int]]:
    """The groups, the reasons by group, and how many groups each caption is in."""
    rows = [
        {"caption_id": ids[0], "neighbor_ids": ids, "similarities": similarities}
        for ids, similarities in zip(IDS, SIMILARITIES, strict=True)
    ]
    tables.write(folder / "neighbors.parquet", tables.NEIGHBORS, rows)
    groups, times, ledger = (folder / f"{name}.parquet" for name in ("groups", "times", "ledger"))
    form_groups([folder / "neighbors.parquet"], groups, 2, times, selection, ledger)
    found = tables.read(groups, tables.GROUPS).sort_by("group_id").to_pylist()
    assert all(len(row["caption_ids"]) == len(row["similarities"]) for row in found)
    reasons = {row["item_id"]: row["reason"] for row in tables.read(ledger, tables.LEDGER).to_pylist()}
    counts = tables.read(times, tables.GROUP_TIMES)["group_times"].to_pylist()
    return {row["group_id"]: row["caption_ids"] for row in found}, reasons, counts


def test_far_captions_leave_their_group_and_lone_anchors_are_dropped(tmp_path: Path) -> None:
    groups, reasons, times = _formed(tmp_path, Selection(min_similarity=0.4))
    assert groups == {1: [1, 2, 3], 2: [2, 1, 4], 3: [3, 1], 4: [4, 2]}
    assert reasons["5"] == "no other caption is near enough: the nearest has 0.100"
    assert times == [3, 3, 2, 2, 0]


def test_members_that_left_do_not_make_groups_different(tmp_path: Path) -> None:
    groups, reasons, _ = _formed(tmp_path, Selection(min_similarity=0.85))
    assert groups == {1: [1, 2]}
    assert reasons["2"] == "the same captions as another's group: group 1"


@pytest.mark.parametrize(("max_overlap", "kept"), [(0.0, [1]), (1 / 3, [1, 5]), (0.65, [1, 5]), (0.7, [1, 2, 5])])
def test_a_group_may_share_so_much_with_a_kept_one(tmp_path: Path, max_overlap: float, kept: list[int]) -> None:
    groups, reasons, _ = _formed(tmp_path, Selection(max_overlap=max_overlap))
    assert list(groups) == kept
    assert sum(reason is None for reason in reasons.values()) == len(kept)
    assert reasons["3"] == "the same captions as another's group: group 1"
    if max_overlap == 0.65:
        assert reasons["2"] == "most captions are in another group: 2 of 3 in group 1"


def test_a_limit_keeps_the_groups_that_are_drawn_first(tmp_path: Path) -> None:
    every = _formed(tmp_path, Selection())[0]
    groups, reasons, _ = _formed(tmp_path, Selection(limit=2))
    assert sorted(groups) == sorted(sorted(every, key=drawing_order)[:2])
    assert Counter(reasons.values())["beyond the limit: groups.limit=2"] == len(every) - 2
    others = {tuple(_formed(tmp_path, Selection(limit=2, limit_seed=seed))[0]) for seed in range(8)}
    assert len(others) > 1


def test_overlaps_are_those_of_all_pairs() -> None:
    numbers = np.random.default_rng(0)
    groups: list[Any] = [numbers.choice(60, size=numbers.integers(2, 9), replace=False).tolist() for _ in range(150)]
    kept: list[int] = []
    for number, found in enumerate(overlaps(groups, 0.4)):
        shared = {other: len(set(groups[number]) & set(groups[other])) for other in kept}
        most = max(shared.values(), default=0)
        if found is None:
            assert most <= 0.4 * len(groups[number])
            kept.append(number)
        else:
            assert (found.shared, found.members) == (most, len(groups[number]))
            assert found.other == min(other for other in kept if shared[other] == most)
    assert 5 < len(kept) < 100
    for number, found in zip(range(20), overlaps_with_any(groups, range(20), 0.3), strict=True):
        most = max(len(set(groups[number]) & set(other)) for each, other in enumerate(groups) if each != number)
        assert (found.shared if found else 0) == (most if most > 0.3 * len(groups[number]) else 0)
