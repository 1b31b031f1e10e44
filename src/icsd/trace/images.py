"""Where an image comes from, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icsd import tables
from icsd.references import real_image_id
from icsd.trace.tables import Membership, Row, captioners_with, captions_of, find, memberships, shards, there


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
