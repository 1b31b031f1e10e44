"""The lineage of an image, a group or a caption, read from a run's tables as far as they are there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.config.arms import ARMS, METHOD, arms_with_pictures_of
from icsd.core import tables
from icsd.core.ids import corpus_image_id, drawn_image_id
from icsd.views.run import Run
from icsd.views.run_table import RunTable
from icsd.views.trace.alignment import (
    AlignedPair,
    SentenceCandidates,
    candidates_of,
    pairs_of_caption,
    pairs_of_image,
    scores_of_image,
    unmatched,
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Membership:
    """The pairs that an arm's dataset has of an item, or the reason why it has none."""

    pairs: int
    reason: str | None = None


@dataclass(frozen=True)
class ImageTrace:
    """Everything in a run's tables about an image; None or empty where no stage has reached it.

    `scores` are those of its captions, `pairs` the scored ones of each arm, dropped ones too.
    `predictions` are the captions that captioners write for a photograph.
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
    candidates: SentenceCandidates | None = None
    sentence_score: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    pairs: Sequence[AlignedPair] = ()


@dataclass(frozen=True)
class GroupMember:
    """A caption of a group, `selected` if the summary is made of it; its text is None where it is not there."""

    caption_id: int
    caption: str | None
    similarity: float
    selected: bool


@dataclass(frozen=True)
class GroupTrace:
    """Everything in a run's tables about a group; `image` is the one drawn from its summary."""

    group_id: int
    members: Sequence[GroupMember]
    summary: Row | None
    image: ImageTrace | None


@dataclass(frozen=True)
class GroupOfCaption:
    """A group that holds a caption: the caption's rank in it (0: the anchor), and whether the summary is made of it.

    `selected` and `status` are None where there is no summary yet.
    """

    group_id: int
    rank: int
    similarity: float
    selected: bool | None
    status: str | None


@dataclass(frozen=True)
class CaptionTrace:
    """Everything in a run's tables about a caption.

    `groups` is None where they are not formed yet; `images` are those drawn or to be drawn from a sentence made of the
    caption; `pairs` counts by arm; `guard` has the steps of the guard that found the caption. `scored_pairs` are those
    that have a score or were dropped or made for it; `unmatched` has the reason of each arm in which no other image
    shows the caption.
    """

    caption: Row
    groups: Sequence[GroupOfCaption] | None
    images: Sequence[str]
    pairs: Mapping[str, int]
    captioners: Sequence[str]
    guard: Sequence[Row] = ()
    scored_pairs: Sequence[AlignedPair] = ()
    unmatched: Mapping[str, str] = field(default_factory=dict)


# --- Images -----------------------------------------------------------------------------------------------------------


def trace_image(run: Run, image_id: str) -> ImageTrace | None:
    """The trace of an image; None if it is in no table."""
    arm, _, number = image_id.rpartition("-")
    if arm not in ARMS:
        return None
    return _trace_real(run, image_id) if ARMS[arm].photographs else _trace_drawn(run, arm, number)


def _trace_drawn(run: Run, arm: str, number: str) -> ImageTrace | None:
    image_id, group_id = f"{arm}-{number}", number.partition("_")[0]
    sentence = _row(run.sentences(arm), image_id)
    shard, image = run.images(arm).find(image_id, ["seed", "model", "reason"]) or (None, None)
    safety = _row(run.safety(arm), image_id)
    drawn = ARMS[arm].sentences == "summaries" and group_id.isdecimal()
    summary = _row(run.summaries, int(group_id)) if drawn else None
    arms = arms_with_pictures_of(arm)
    datasets = _memberships(run, arms, image_id)
    if not (sentence or datasets or (summary and number == group_id)):  # not every group has several candidates
        return None
    captions = _captions(run, sentence["caption_ids"] if sentence else [])
    sentence_score, scores = scores_of_image(run, arm, image_id)
    return ImageTrace(
        image_id, sentence, summary, captions, image, shard, safety, datasets, _trained_on(run, datasets), {},
        candidates_of(run, arm, image_id), sentence_score, scores,
        [pair for each in arms for pair in pairs_of_image(run, each, image_id, scores)],
    )  # fmt: skip


def _trace_real(run: Run, image_id: str) -> ImageTrace | None:
    for split in run.splits:
        if found := run.photographs(split).find(image_id, ["seed", "model"]):
            shard, image = found
            rows = run.photograph_captions(split).select([corpus_image_id(image_id)], key="image_id").to_pylist()
            datasets = _memberships(run, ["real"], image_id)
            return ImageTrace(
                image_id, None, None, rows, image, shard, None, datasets, _trained_on(run, datasets),
                _predictions(run, image_id),
            )  # fmt: skip
    return None


def _memberships(run: Run, arms: Iterable[str], image_id: str) -> dict[str, Membership]:
    """The membership of an image in the dataset of each arm that has it."""
    found = {}
    for arm in arms:
        reasons = run.ledger(arm).select([image_id], ["item_id", "reason"], key="item_id")["reason"].to_pylist()
        if reasons:
            count = len(run.pairs(arm).select([image_id], ["image_id"]))
            found[arm] = Membership(count, None if count else reasons[-1] or "all its pairs are dropped")
    return found


def _trained_on(run: Run, datasets: Mapping[str, Membership]) -> list[str]:
    """The captioners trained on pairs of these datasets."""
    return _captioners(run, [arm for arm, membership in datasets.items() if membership.pairs])


def _captioners(run: Run, arms: Iterable[str]) -> list[str]:
    """The trained captioners of these arms, such as "multi/seed-0"."""
    return sorted(f"{arm}/seed-{seed}" for arm in arms for seed in run.seeds if run.history(arm, seed).there)


def _predictions(run: Run, image_id: str) -> dict[str, str]:
    """The captions that captioners write for a photograph, by captioner and test set."""
    found = {}
    for arm, seed in run.captioners:
        for split in run.splits:
            if row := _row(run.predictions(arm, seed, split), image_id):
                found[f"{arm}/seed-{seed}/{split}"] = row["caption"]
    return dict(sorted(found.items()))


# --- Groups -----------------------------------------------------------------------------------------------------------


def trace_group(run: Run, group_id: int) -> GroupTrace | None:
    """The trace of a group; None if it is in no table. Of several candidates the used one is its image."""
    group, summary = _row(run.groups, group_id), _row(run.summaries, group_id)
    if group is None and summary is None:
        return None
    members = _members(run, group, set(summary["selected"]) if summary else set()) if group else []
    image = trace_image(run, drawn_image_id(METHOD, group_id))
    if image and image.candidates and (used := image.candidates.used.get(METHOD, image.image_id)) != image.image_id:
        image = trace_image(run, used)
    return GroupTrace(group_id, members, summary, image)


def _members(run: Run, group: Row, selected: set[int]) -> list[GroupMember]:
    """The anchor first, then the nearest."""
    texts = {row["caption_id"]: row["caption"] for row in _captions(run, group["caption_ids"])}
    return [
        GroupMember(caption_id, texts.get(caption_id), similarity, caption_id in selected)
        for caption_id, similarity in zip(group["caption_ids"], group["similarities"], strict=True)
    ]


# --- Captions ---------------------------------------------------------------------------------------------------------


def trace_caption(run: Run, caption_id: int) -> CaptionTrace | None:
    """The trace of a caption of the corpus; None if it has no such caption."""
    caption = _row(run.captions, caption_id)
    if caption is None:
        return None
    pairs = _pairs(run, caption_id)
    images = [row["image_id"] for arm in run.drawn for row in _holding(run.sentences(arm), caption_id)]
    guard = [row for row in run.guard.select([str(caption_id)], key="item_id").to_pylist() if row["reason"]]
    arms = [arm for arm in run.arms if not ARMS[arm].photographs]
    scored = [pair for arm in arms for pair in pairs_of_caption(run, arm, caption_id)]
    return CaptionTrace(
        caption, _groups(run, caption_id), images, pairs, _captioners(run, pairs), guard, scored,
        unmatched(run, arms, caption_id),
    )  # fmt: skip


def _groups(run: Run, caption_id: int) -> list[GroupOfCaption] | None:
    """The groups whose summary is made of the caption first, then the nearest."""
    if not run.groups.there:
        return None
    found = _holding(run.groups, caption_id)
    wanted, columns = [row["group_id"] for row in found], ["group_id", "selected", "status"]
    summaries = {row["group_id"]: row for row in run.summaries.select(wanted, columns).to_pylist()}
    groups = [_group_of(row, caption_id, summaries.get(row["group_id"])) for row in found]
    return sorted(groups, key=lambda group: (not group.selected, -group.similarity, group.group_id))


def _group_of(group: Row, caption_id: int, summary: Row | None) -> GroupOfCaption:
    rank = group["caption_ids"].index(caption_id)
    selected = caption_id in summary["selected"] if summary else None
    status = summary["status"] if summary else None
    return GroupOfCaption(group["group_id"], rank, group["similarities"][rank], selected, status)


def _pairs(run: Run, caption_id: int) -> dict[str, int]:
    """The number of pairs by arm, without `real`, whose captions are those of the photographs."""
    counts = {}
    for arm in sorted({*run.arms} - {"real"}):
        ids = run.pairs(arm).rows(["caption_id"])["caption_id"]
        counts[arm] = pc.sum(pc.equal(ids, pa.scalar(caption_id, pa.int64()))).as_py() or 0
    return {arm: count for arm, count in counts.items() if count}


# --- Rows -------------------------------------------------------------------------------------------------------------


def _row(found: RunTable, value: int | str) -> Row | None:
    """The row with this key; None if there is none."""
    row = found.find(value)
    return row[1] if row else None


def _captions(run: Run, wanted: Sequence[int]) -> list[Row]:
    """The captions with the ids `wanted`, in that order, as far as they are there."""
    found = {row["caption_id"]: row for row in run.captions.select(wanted).to_pylist()}
    return [found[caption_id] for caption_id in wanted if caption_id in found]


def _holding(found: RunTable, caption_id: int) -> list[Row]:
    """The rows whose `caption_ids` hold a caption."""
    key, keys = found.table.key[0], list[Any]()
    for path in found.there:
        for part in tables.parts(path, found.table, [key, "caption_ids"]):
            lists = part["caption_ids"].combine_chunks()
            inside = pc.equal(pc.list_flatten(lists), pa.scalar(caption_id, pa.int64()))
            keys += part[key].take(pc.unique(pc.list_parent_indices(lists).filter(inside))).to_pylist()
    return found.select(keys).to_pylist()
