"""An arm's dataset as a folder of Hugging Face, WebDataset or COCO, with its card. Equal input gives equal bytes."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from icsd.config.arms import ARMS
from icsd.core import tables
from icsd.core.files import atomic_path
from icsd.core.id_columns import image_numbers
from icsd.core.logs import progress
from icsd.views.export.card import dataset_card
from icsd.views.export.facts import facts_of
from icsd.views.export.manifest import ExportedPicture, Manifest, Shard, read_manifest

ROWS = 100  # of a row group: what a reader holds of one shard
COCO_IMAGE = pa.schema(
    [
        ("id", tables.ID),
        ("file_name", tables.TEXT),
        ("width", tables.ID),
        ("height", tables.ID),
        ("sentence", tables.TEXT),
    ]
)
Write = Callable[[Manifest, Path], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedArm:
    """The tables from which an arm's dataset is exported; there are no `summaries` of photographs."""

    name: str
    pairs: Path
    ledger: Path
    images: Sequence[Path]
    summaries: Sequence[Path]


def export_dataset(
    arm: ExportedArm, layout: str, folder: Path, source: Mapping[str, Any], results: Path, store: Path
) -> None:
    """Write the arm's pictures and captions in `layout`, one of LAYOUTS, and README.md; the folder appears whole.

    `source` is the config's provenance, `results` the run's folder, `store` that of an LLM's replies. InputError for a
    picture that is in no images table.
    """
    manifest = read_manifest(arm.pairs, arm.images)
    facts = facts_of(manifest, arm.ledger, arm.summaries, results, store, _timed(arm.name))
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        LAYOUTS[layout](manifest, unfinished)
        card = dataset_card(arm.name, layout, facts, source)
        (unfinished / "README.md").write_text(card, encoding="utf-8")
    _log.info("%s: %s pictures with %s captions, %s", layout, f"{facts.pictures:,}", f"{facts.pairs:,}", folder)


def _timed(arm: str) -> list[str]:
    """The rules whose jobs made the arm's pictures, with a folder where each arm has its own jobs."""
    if ARMS[arm].photographs:
        return []
    drawn_by = ARMS[arm].drawn_by.name
    grouping = ["embed_captions", "find_neighbors", "form_groups"] if ARMS[arm].uses_groups else []
    summarizing = ["summarize_groups"] if ARMS[arm].uses_summaries else []
    drawing = ["generate_images", "score_alignment", "score_at_random", "match_captions", "check_safety"]
    return [*grouping, *summarizing, *(f"{rule}/{drawn_by}" for rule in drawing)]


# --- Layouts ----------------------------------------------------------------------------------------------------------


def write_huggingface(manifest: Manifest, folder: Path) -> None:
    """Write data/train-<n>-of-<all>.parquet: a row a picture, as the datasets library stores images."""
    for number, shard in enumerate(_shown(manifest)):
        name = f"train-{number:05d}-of-{len(manifest.shards):05d}.parquet"
        table = tables.EXPORTED_WITH_WEIGHTS if manifest.weighted else tables.EXPORTED
        tables.write_batches(folder / "data" / name, table, _row_groups(manifest.pictures(shard)))


def write_webdataset(manifest: Manifest, folder: Path) -> None:
    """Write train-<n>.tar: for each picture its file and a JSON with its captions, under its id."""
    from webdataset.writer import TarWriter  # late: it loads torch, which the other layouts do not need

    for number, shard in enumerate(_shown(manifest)):
        with (folder / f"train-{number:06d}.tar").open("wb") as file, TarWriter(file, "", "", mtime=0) as tar:
            for picture in manifest.pictures(shard):
                about = {name: value for name, value in _row(picture).items() if name != "image"}
                tar.write({"__key__": picture.image_id, picture.suffix: picture.data, "json": _json(about).encode()})


def write_coco(manifest: Manifest, folder: Path) -> None:
    """Write captions_train.json and images/, a file a picture.

    COCO's ids are numbers. A picture has the number in its id, as pairs have one candidate of a sentence; pairs are
    numbered, since several pictures can share a caption.
    """
    (folder / "images").mkdir()
    parts = [_write_pictures(manifest, shard, folder / "images") for shard in _shown(manifest)]
    images = pa.concat_tables(parts).sort_by("id")
    with (folder / "captions_train.json").open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "See README.md"}, "licenses": [],\n"images": [\n')
        _write_items(file, _rows(images))
        file.write('\n],\n"annotations": [\n')
        _write_items(file, _annotations(manifest))
        file.write("\n]}\n")


LAYOUTS: Mapping[str, Write] = {
    "huggingface": write_huggingface, "webdataset": write_webdataset, "coco": write_coco,
}  # fmt: skip


def _row_groups(pictures: Iterator[ExportedPicture]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(pictures, ROWS)):
        yield [_row(picture) for picture in batch]


def _row(picture: ExportedPicture) -> dict[str, Any]:
    """A row of EXPORTED, with the weights of the captions if there are any."""
    weights = {} if picture.weights is None else {"weights": list(picture.weights)}
    return {
        "image_id": picture.image_id,
        "image": {"bytes": picture.data, "path": picture.name},
        "captions": list(picture.captions),
        "caption_ids": list(picture.caption_ids),
        "sentence": picture.sentence,
        "seed": picture.seed,
        "model": picture.model,
        **weights,
    }


def _write_pictures(manifest: Manifest, shard: Shard, folder: Path) -> pa.Table:
    """Write the file of each picture of a shard, and return COCO's records of them."""
    records = []
    for picture in manifest.pictures(shard):
        (folder / picture.name).write_bytes(picture.data)
        records.append((picture.number, picture.name, *picture.size, picture.sentence))
    columns = zip(*records, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, COCO_IMAGE, strict=True)], COCO_IMAGE
    )


def _annotations(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield COCO's records of the captions."""
    images = image_numbers(manifest.pairs["image_id"])
    for number, row in enumerate(_rows(manifest.pairs.drop_columns("image_id"))):
        weight = {} if row["weight"] is None else {"weight": row["weight"]}
        about = {"caption": row["caption"], "caption_id": row["caption_id"], **weight}
        yield {"id": number + 1, "image_id": int(images[number]), **about}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows; some are in memory at a time."""
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _shown(manifest: Manifest) -> Iterator[Shard]:
    """The shards of a manifest, with progress in the log."""
    return progress(manifest.shards, len(manifest.shards), "shards")


def _write_items(file: TextIO, items: Iterable[Mapping[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write(("" if number == 0 else ",\n") + _json(item))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
