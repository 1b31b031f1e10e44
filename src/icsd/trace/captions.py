"""What became of a caption."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd import tables
from icsd.trace.tables import Row, captioners_of, find, find_all, holding, shards, there


@dataclass(frozen=True)
class Place:
    """A group that a caption is in: the how manyeth it is there (0: its head), and whether the summary is made of it.

    `selected` and `status` are None where there is no summary yet.
    """

    group_id: int
    rank: int
    similarity: float
    selected: bool | None
    status: str | None


@dataclass(frozen=True)
class CaptionTrace:
    """All that a run's tables say of a caption.

    `groups` is None where they are not formed yet, `images` those drawn or to be drawn from a sentence that it is in,
    `pairs` counts by arm.
    """

    caption: Row
    groups: Sequence[Place] | None
    images: Sequence[str]
    pairs: Mapping[str, int]
    captioners: Sequence[str]


def trace_caption(results: Path, caption_id: int) -> CaptionTrace | None:
    """What the tables in `results` say of a caption of the corpus; None if nothing."""
    _, caption = find(there(results / "captions" / "all.parquet"), tables.CAPTIONS, "caption_id", caption_id)
    if caption is None:
        return None
    pairs = _pairs(results, caption_id)
    return CaptionTrace(
        caption, _groups(results, caption_id), _images(results, caption_id), pairs, captioners_of(results, pairs)
    )


def _groups(results: Path, caption_id: int) -> list[Place] | None:
    """Those whose summary is made of it first, then by likeness."""
    path = results / "groups" / "all.parquet"
    if not path.exists():
        return None
    found = holding(path, tables.GROUPS, caption_id)
    columns = ["group_id", "selected", "status"]
    ids = [row["group_id"] for row in found]
    summaries = find_all(shards(results / "summaries"), tables.SUMMARIES, "group_id", ids, columns)
    places = [_place(row, caption_id, summaries.get(row["group_id"])) for row in found]
    return sorted(places, key=lambda place: (not place.selected, -place.similarity, place.group_id))


def _place(group: Row, caption_id: int, summary: Row | None) -> Place:
    rank = group["caption_ids"].index(caption_id)
    selected = caption_id in summary["selected"] if summary else None
    status = summary["status"] if summary else None
    return Place(group["group_id"], rank, group["similarities"][rank], selected, status)


def _images(results: Path, caption_id: int) -> list[str]:
    paths = sorted((results / "images").glob("*/sentences.parquet"))
    return [row["image_id"] for path in paths for row in holding(path, tables.SENTENCES, caption_id)]


def _pairs(results: Path, caption_id: int) -> dict[str, int]:
    """By arm; those of real pictures are of their own captions."""
    counts = Counter[str]()
    for path in sorted((results / "dataset").glob("*/pairs.parquet")):
        if path.parent.name != "real":
            ids = tables.read(path, tables.PAIRS, columns=["caption_id"])["caption_id"]
            counts[path.parent.name] = pc.sum(pc.equal(ids, pa.scalar(caption_id, pa.int64()))).as_py() or 0
    return {arm: count for arm, count in counts.items() if count}
