"""What the tables say of each picture that the gallery shows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from icsd.core import tables
from icsd.core.ids import drawing_order, shard_of
from icsd.core.references import corpus_image_id, real_image_id
from icsd.views.gallery.run import Run, Shelf

Row = Mapping[str, Any]
NOT_DRAWN, NOT_CHECKED, PHOTOGRAPH = "not drawn yet", "not checked yet", "photograph"
KEPT, NO_DATASET = "in the dataset", "no dataset yet"


@dataclass(frozen=True)
class Member:
    """A caption of a picture's group: how near it is to the head caption, and whether the summary is of it."""

    caption_id: int
    caption: str
    similarity: float | None
    selected: bool


@dataclass(frozen=True)
class Picture:
    """A picture, or a sentence that is still to be drawn; `number` is the id of its head caption, or photograph."""

    image_id: str
    arm: str
    number: int
    sentence: str
    shard: str = ""
    verdict: str = NOT_CHECKED
    score: float | None = None
    seed: int | None = None
    model: str = ""
    prompt_hash: str = ""
    members: Sequence[Member] = ()
    summary: Row | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why no pairs are made of it, without the numbers, so that many share one; or that they are."""
        said = next(iter(self.datasets.values()), NO_DATASET)
        return KEPT if said.endswith(" pairs") else said.partition(":")[0]

    @property
    def similarity(self) -> float | None:
        """The mean similarity of the selected captions and the head, which is itself left out."""
        found = [m.similarity for m in self.members if m.selected and m.similarity is not None]
        others = found[1:] if self.members and self.members[0].selected else found
        return sum(others) / len(others) if others else None


def drawn_pictures(run: Run, shelf: Shelf, arm: str, limit: int) -> tuple[list[Picture], int]:
    """The first `limit` pictures that the arm draws, in drawing order, and how many there are in all."""
    sentences = shelf.read(run.file(f"images/{arm}/sentences"), tables.SENTENCES).to_pylist()
    sentences.sort(key=lambda row: drawing_order(_number(row["image_id"])))
    said = _said_of(run, shelf, arm, sentences[:limit])
    return [_drawn(row, run, said) for row in sentences[:limit]], len(sentences)


@dataclass(frozen=True)
class _Said:
    """What the tables say of an arm's pictures, by the id of the picture, group or caption."""

    models: Mapping[str, str]
    checks: Mapping[str, Row]
    groups: Mapping[int, Row]
    summaries: Mapping[int, Row]
    captions: Mapping[int, str]
    datasets: Mapping[str, Mapping[str, str]]


def _said_of(run: Run, shelf: Shelf, arm: str, shown: Sequence[Row]) -> _Said:
    ids = [row["image_id"] for row in shown]
    images = shelf.read(run.of_shards(f"images/{arm}"), tables.IMAGES, ["image_id", "model"])
    models = dict(zip(images["image_id"].to_pylist(), images["model"].to_pylist(), strict=True))
    checks = shelf.of(run.of_shards(f"safety/{arm}"), tables.SAFETY, "image_id", ids)
    groups, summaries = _groups(run, shelf, shown)
    captions = _captions(run, shelf, shown, groups)
    datasets = _datasets(run, shelf, ["multi", "multi_head"] if arm == "multi" else [arm], ids)
    return _Said(models, _by(checks, "image_id"), groups, summaries, captions, datasets)


def _drawn(row: Row, run: Run, said: _Said) -> Picture:
    image_id, group_id = row["image_id"], row["group_id"]
    check = said.checks.get(image_id, {})
    return Picture(
        image_id,
        row["arm"],
        _number(image_id),
        row["sentence"],
        run.shards[shard_of(image_id, len(run.shards))] if run.shards else "",
        check.get("verdict", NOT_CHECKED if image_id in said.models else NOT_DRAWN),
        check.get("score"),
        row["seed"],
        said.models.get(image_id, ""),
        row["prompt_hash"] or "",
        _members(row, said.groups.get(group_id), said.captions),
        said.summaries.get(group_id),
        said.datasets[image_id],
    )


def real_pictures(run: Run, shelf: Shelf, limit: int) -> tuple[list[Picture], int]:
    """The first `limit` photographs of the arm real, by id, with what people said of them."""
    ids = shelf.read(run.file("dataset/real/ledger"), tables.LEDGER, ["item_id"])["item_id"].to_pylist()
    shown = sorted(ids, key=corpus_image_id)[:limit]
    wanted = [corpus_image_id(image_id) for image_id in shown]
    rows = shelf.of(run.file("pictures/real/captions"), tables.CAPTIONS, "image_id", wanted).to_pylist()
    members: dict[str, list[Member]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["caption_id"]):
        members[real_image_id(row["image_id"])].append(Member(row["caption_id"], row["caption"], None, True))
    datasets = _datasets(run, shelf, ["real"], shown)
    return [_photograph(image_id, members[image_id], datasets[image_id]) for image_id in shown], len(ids)


def _photograph(image_id: str, members: Sequence[Member], datasets: Mapping[str, str]) -> Picture:
    sentence = members[0].caption if members else ""
    number = corpus_image_id(image_id)
    return Picture(image_id, "real", number, sentence, verdict=PHOTOGRAPH, members=members, datasets=datasets)


def _number(image_id: str) -> int:
    return int(image_id.rpartition("-")[2])


def _by(rows: pa.Table, key: str) -> dict[Any, Row]:
    return {row[key]: row for row in rows.to_pylist()}


def _groups(run: Run, shelf: Shelf, shown: Sequence[Row]) -> tuple[dict[int, Row], dict[int, Row]]:
    """The groups that the sentences are of, and their summaries, by id; nothing of captions drawn alone."""
    wanted = [row["group_id"] for row in shown if row["group_id"] is not None]
    if not wanted:
        return {}, {}
    groups = shelf.of(run.file("groups/all"), tables.GROUPS, "group_id", wanted)
    summaries = shelf.of(run.of_shards("summaries"), tables.SUMMARIES, "group_id", wanted)
    return _by(groups, "group_id"), _by(summaries, "group_id")


def _captions(run: Run, shelf: Shelf, shown: Sequence[Row], groups: Mapping[int, Row]) -> dict[int, str]:
    wanted = {number for row in [*shown, *groups.values()] for number in row["caption_ids"]}
    rows = shelf.of(run.file("captions/all"), tables.CAPTIONS, "caption_id", wanted)
    return dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))


def _members(sentence: Row, group: Row | None, captions: Mapping[int, str]) -> list[Member]:
    """The group's captions, the nearest first; without a group those that the sentence is of."""
    selected = set(sentence["caption_ids"])
    ids = group["caption_ids"] if group else sentence["caption_ids"]
    similarities = group["similarities"] if group else [None] * len(ids)
    pairs = zip(ids, similarities, strict=True)
    return [Member(number, captions.get(number, ""), near, number in selected) for number, near in pairs]


def _datasets(run: Run, shelf: Shelf, arms: Iterable[str], ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each picture, for each arm of the run that has a dataset: its number of pairs, or why it has none."""
    found: dict[str, dict[str, str]] = {image_id: {} for image_id in ids}
    for arm in [arm for arm in arms if arm in run.arms]:
        pairs = shelf.read(run.file(f"dataset/{arm}/pairs"), tables.PAIRS, ["image_id"])
        counts = Counter(pairs["image_id"].to_pylist())
        ledger = shelf.of(run.file(f"dataset/{arm}/ledger"), tables.LEDGER, "item_id", ids)
        reasons = {row["item_id"]: row["reason"] for row in ledger.to_pylist() if not row["kept"]}
        for image_id in ids:
            if image_id in counts or image_id in reasons:
                found[image_id][arm] = reasons.get(image_id) or f"{counts[image_id]:,} pairs"
    return found
