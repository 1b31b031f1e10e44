"""The tables of groups, made of each caption's nearest ones."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd.core import tables
from icsd.core.ids import shard_of
from icsd.core.vectors import from_lists
from icsd.stages.groups.searching import Members
from icsd.stages.groups.selection import NOBODY, Selected, Selection, select_groups

ALL_DIFFERENT = Selection()
_log = logging.getLogger(__name__)


def form_groups(
    neighbors: Sequence[Path],
    groups: Path,
    shards: int,
    group_times: Path,
    selection: Selection = ALL_DIFFERENT,
    ledger: Path | None = None,
) -> None:
    """Write GROUPS, each in the shard of its anchor's id, GROUP_TIMES of every caption, and the LEDGER of all groups.

    group_times, the original's name, is the number of the kept groups that a caption is in. It is at least 1 where
    only groups with the same members are dropped: each caption is then in its own group or in the one that stands for
    it.
    """
    anchors, members = read_neighbors(neighbors)
    selected = select_groups(anchors, members, selection)
    kept = selected.kept
    _log.info("groups: %s of %s captions, dedupe %s", f"{len(kept):,}", f"{len(anchors):,}", selection.dedupe)
    for reason, count in _counted(selected):
        _log.info("groups: %s dropped: %s", f"{count:,}", reason)
    shard = np.array([shard_of(int(anchor), shards) for anchor in anchors[kept]], dtype=np.int64)
    by_shard = (_rows(anchors, members, selected.ids, kept[shard == number]) for number in range(shards))
    tables.write_batches(groups, tables.GROUPS, by_shard)
    times = count_members(anchors, selected.ids[kept])
    tables.write(group_times, tables.GROUP_TIMES, pa.table({"caption_id": anchors, "group_times": times}))
    if ledger:
        tables.write(ledger, tables.LEDGER, _ledger(anchors, selected))


def read_neighbors(paths: Sequence[Path]) -> tuple[np.ndarray, Members]:
    """Read anchors [m], ascending, and their members."""
    return neighbors_of(tables.concat(paths, tables.NEIGHBORS))


def neighbors_of(rows: pa.Table) -> tuple[np.ndarray, Members]:
    """Return the anchors and members in rows of NEIGHBORS, as `read_neighbors`."""
    rows = rows.sort_by("caption_id")
    members = Members(from_lists(rows["neighbor_ids"]), from_lists(rows["similarities"]))
    return rows["caption_id"].to_numpy(), members


def count_members(captions: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Count the rows of `ids` [m, k] with each of `captions` [n], ascending ids; int32 [n]."""
    there = ids[ids != NOBODY]
    return np.bincount(np.searchsorted(captions, there), minlength=len(captions)).astype(np.int32)


def _counted(selected: Selected) -> list[tuple[str, int]]:
    """The reasons without their details, and how many groups have each, the most frequent first."""
    return Counter(reason.partition(":")[0] for reason in selected.reasons if reason).most_common()


def _rows(anchors: np.ndarray, members: Members, ids: np.ndarray, rows: np.ndarray) -> pa.Table:
    there = ids[rows] != NOBODY
    offsets = np.concatenate([[0], there.sum(axis=1).cumsum()]).astype(np.int32)
    ids_of, similarities = (
        pa.ListArray.from_arrays(offsets, pa.array(matrix[rows][there])) for matrix in (ids, members.similarities)
    )
    return pa.table({"group_id": anchors[rows], "caption_ids": ids_of, "similarities": similarities})


def _ledger(anchors: np.ndarray, selected: Selected) -> pa.Table:
    count, reasons = len(anchors), pa.array(selected.reasons, pa.string())
    return pa.table({
        "stage": pa.array(["groups"] * count, pa.string()),
        "item_id": pa.array(map(str, anchors.tolist()), pa.string()),
        "kept": reasons.is_null(),
        "reason": reasons,
    })  # fmt: skip
