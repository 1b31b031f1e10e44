"""An arm's dataset as a folder of Hugging Face, WebDataset or COCO. Equal input gives equal bytes."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from icsd.core import tables
from icsd.views.export.pairs import Manifest, Picture, number_of

ROWS = 100  # of a row group: what a reader holds of one shard
Write = Callable[[Manifest, Path], None]


def write_huggingface(manifest: Manifest, folder: Path) -> None:
    """data/train-<n>-of-<all>.parquet: a row a picture, as the datasets library stores images."""
    for number, shard in enumerate(manifest.shards):
        name = f"train-{number:05d}-of-{len(manifest.shards):05d}.parquet"
        tables.write_batches(folder / "data" / name, tables.EXPORTED, _row_groups(manifest.pictures(shard)))


def write_webdataset(manifest: Manifest, folder: Path) -> None:
    """train-<n>.tar: of each picture the file as it is and a JSON with its captions, under its id."""
    from webdataset.writer import TarWriter  # late: it loads torch, which the other layouts do not need

    for number, shard in enumerate(manifest.shards):
        with (folder / f"train-{number:06d}.tar").open("wb") as file, TarWriter(file, "", "", mtime=0) as tar:
            for picture in manifest.pictures(shard):
                about = {name: value for name, value in _row(picture).items() if name != "image"}
                tar.write({"__key__": picture.image_id, picture.suffix: picture.data, "json": _json(about).encode()})


def write_coco(manifest: Manifest, folder: Path) -> None:
    """captions_train.json and images/: a file a picture.

    COCO's ids are numbers: a picture has that of its id, a pair is numbered, for a caption may be of several pictures.
    """
    (folder / "images").mkdir()
    images = sorted(_write_pictures(manifest, folder / "images"), key=lambda image: image["id"])
    with (folder / "captions_train.json").open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "See README.md"}, "licenses": [],\n"images": [\n')
        _write_items(file, images)
        file.write('\n],\n"annotations": [\n')
        _write_items(file, _annotations(manifest))
        file.write("\n]}\n")


LAYOUTS: Mapping[str, Write] = {
    "huggingface": write_huggingface, "webdataset": write_webdataset, "coco": write_coco,
}  # fmt: skip


def _row_groups(pictures: Iterator[Picture]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(pictures, ROWS)):
        yield [_row(picture) for picture in batch]


def _row(picture: Picture) -> dict[str, Any]:
    """Of EXPORTED."""
    return {
        "image_id": picture.image_id,
        "image": {"bytes": picture.data, "path": picture.name},
        "captions": list(picture.captions),
        "caption_ids": list(picture.caption_ids),
        "sentence": picture.sentence,
        "seed": picture.seed,
        "model": picture.model,
    }


def _write_pictures(manifest: Manifest, folder: Path) -> Iterator[dict[str, Any]]:
    """COCO's record of each picture, whose file is written."""
    for shard in manifest.shards:
        for picture in manifest.pictures(shard):
            (folder / picture.name).write_bytes(picture.data)
            width, height = picture.size
            yield {
                "id": picture.number, "file_name": picture.name, "width": width, "height": height,
                "sentence": picture.sentence,
            }  # fmt: skip


def _annotations(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """COCO's records of the captions, some at a time from the table."""
    number = 0
    for batch in manifest.pairs.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            number += 1
            image_id = number_of(row["image_id"])
            yield {"id": number, "image_id": image_id, "caption": row["caption"], "caption_id": row["caption_id"]}


def _write_items(file: TextIO, items: Iterable[Mapping[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write(("" if number == 0 else ",\n") + _json(item))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
