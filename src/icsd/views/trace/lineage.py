"""What became of a caption."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.references import real_image_id
from icsd.views.trace.tables import (
    Membership,
    Row,
    captioners_of,
    captioners_with,
    captions_of,
    find,
    find_all,
    holding,
    memberships,
    shards,
    there,
)


@dataclass(frozen=True)
class ImageTrace:
    """All that a run's tables say of an image; None or empty where no stage has come to it.

    `predictions` are what captioners say of a picture that was not drawn.
    """

    image_id: str
    sentence: Row | None = None
    summary: Row | None = None
    captions: Sequence[Row] = ()
    image: Row | None = None
    shard: Path | None = None
    safety: Row | None = None
    datasets: Mapping[str, Membership] = field(default_factory=dict)
    captioners: Sequence[str] = ()
    predictions: Mapping[str, str] = field(default_factory=dict)


def trace_image(results: Path, image_id: str) -> ImageTrace | None:
    """What the tables in `results` say of an image; None if nothing."""
    arm, _, number = image_id.rpartition("-")
    return _trace_real(results, image_id) if arm == "real" else _trace_drawn(results, arm, number)


def _trace_drawn(results: Path, arm: str, number: str) -> ImageTrace | None:
    image_id, images = f"{arm}-{number}", results / "images" / arm
    _, sentence = find(there(images / "sentences.parquet"), tables.SENTENCES, "image_id", image_id)
    shard, image = find(shards(images), tables.IMAGES, "image_id", image_id, ["seed", "model"])
    _, safety = find(shards(results / "safety" / arm), tables.SAFETY, "image_id", image_id)
    summary = None
    if arm == "multi" and number.isdecimal():
        _, summary = find(shards(results / "summaries"), tables.SUMMARIES, "group_id", int(number))
    datasets = memberships(results, ["multi", "multi_head"] if arm == "multi" else [arm], image_id)
    if not (sentence or summary or datasets):
        return None
    captions = captions_of(results, sentence["caption_ids"] if sentence else [])
    captioners = captioners_with(results, datasets)
    return ImageTrace(image_id, sentence, summary, captions, image, shard, safety, datasets, captioners)


def _trace_real(results: Path, image_id: str) -> ImageTrace | None:
    paths = sorted((results / "pictures").glob("*/images.parquet"))
    shard, image = find(paths, tables.IMAGES, "image_id", image_id, ["seed", "model"])
    if shard is None:
        return None
    rows = tables.read(shard.with_name("captions.parquet"), tables.CAPTIONS).to_pylist()
    captions = [row for row in rows if real_image_id(row["image_id"]) == image_id]
    datasets = memberships(results, ["real"], image_id)
    return ImageTrace(
        image_id, None, None, captions, image, shard, None, datasets, captioners_with(results, datasets),
        _predictions(results, image_id),
    )  # fmt: skip


def _predictions(results: Path, image_id: str) -> dict[str, str]:
    """By the captioner and the test set."""
    said = {}
    for path in sorted((results / "evaluation").glob("*/seed-*/*/predictions.parquet")):
        _, row = find([path], tables.PREDICTIONS, "image_id", image_id)
        if row is not None:
            said[path.parent.relative_to(results / "evaluation").as_posix()] = row["caption"]
    return said


@dataclass(frozen=True)
class Member:
    """A caption of a group, `selected` if the summary is made of it; its text is None where it is not there."""

    caption_id: int
    caption: str | None
    similarity: float
    selected: bool


@dataclass(frozen=True)
class GroupTrace:
    """All that a run's tables say of a group; `image` is the one drawn from its summary."""

    group_id: int
    members: Sequence[Member]
    summary: Row | None
    image: ImageTrace | None


def trace_group(results: Path, group_id: int) -> GroupTrace | None:
    """What the tables in `results` say of a group; None if nothing."""
    _, group = find(there(results / "groups" / "all.parquet"), tables.GROUPS, "group_id", group_id)
    _, summary = find(shards(results / "summaries"), tables.SUMMARIES, "group_id", group_id)
    if group is None and summary is None:
        return None
    members = _members(results, group, set(summary["selected"]) if summary else set()) if group else []
    image = trace_image(results, f"multi-{group_id}")
    return GroupTrace(group_id, members, summary, image)


def _members(results: Path, group: Row, selected: set[int]) -> list[Member]:
    """The head first, then by likeness."""
    texts = {row["caption_id"]: row["caption"] for row in captions_of(results, group["caption_ids"])}
    return [
        Member(caption_id, texts.get(caption_id), similarity, caption_id in selected)
        for caption_id, similarity in zip(group["caption_ids"], group["similarities"], strict=True)
    ]


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
