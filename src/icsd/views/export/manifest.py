"""The manifest of an arm: its pictures with their captions, a shard at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import image_number
from icsd.core.pictures import naming, read_header

SUFFIXES = {"JPEG": "jpg"}  # of files; other formats have their name as suffix


@dataclass(frozen=True)
class ExportedPicture:
    """A picture's file as it is in the IMAGES table, with its captions in the order of their ids, and their weights."""

    image_id: str
    data: bytes
    suffix: str
    size: tuple[int, int]
    sentence: str
    seed: int
    model: str
    captions: Sequence[str]
    caption_ids: Sequence[int]
    weights: Sequence[float] | None = None

    @property
    def number(self) -> int:
        """The number in its id."""
        return image_number(self.image_id)

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.image_id}.{self.suffix}"


@dataclass(frozen=True)
class Manifest:
    """The PAIRS of an arm, and the IMAGES shards that hold pictures of them."""

    pairs: pa.Table
    shards: Sequence[Path]

    @cached_property
    def weighted(self) -> bool:
        """True if pairs have weights."""
        return self.pairs["weight"].null_count < len(self.pairs)

    @cached_property
    def image_ids(self) -> pa.Array:
        """The ids of all pictures, in the order of the pairs."""
        return pc.unique(self.pairs["image_id"])

    def pictures(self, shard: Path) -> Iterator[ExportedPicture]:
        """Yield the pictures of one shard that have captions, in its order; InputError for a damaged picture."""
        rows = tables.read(shard, tables.IMAGES)
        rows = rows.filter(pc.is_in(rows["image_id"], value_set=self.image_ids))
        captions_of = self._captions(rows["image_id"].unique())
        for start in range(len(rows)):  # one at a time: all of them as Python's bytes would be in memory twice
            row = rows.slice(start, 1).to_pylist()[0]
            image_id, data = row["image_id"], row["image"]["bytes"]
            suffix, size = _suffix_and_size(data, image_id, shard)
            ids, captions, weights = zip(*captions_of[image_id], strict=True)
            yield ExportedPicture(
                image_id, data, suffix, size, row["sentence"], row["seed"], row["model"], captions, ids,
                weights if self.weighted else None,
            )  # fmt: skip

    def _captions(self, image_ids: pa.Array) -> dict[str, list[tuple[int, str, float]]]:
        of_shard = self.pairs.filter(pc.is_in(self.pairs["image_id"], value_set=image_ids))
        found: dict[str, list[tuple[int, str, float]]] = {}
        for row in of_shard.to_pylist():
            weight = 1.0 if row["weight"] is None else row["weight"]
            found.setdefault(row["image_id"], []).append((row["caption_id"], row["caption"], weight))
        return found


def read_manifest(pairs: Path, images: Sequence[Path]) -> Manifest:
    """The manifest of `pairs`, with those of `images` that hold its pictures; InputError for a missing picture."""
    table = tables.read(pairs, tables.PAIRS)
    wanted = pc.unique(table["image_id"])
    found = {path: tables.read(path, tables.IMAGES, columns=["image_id"])["image_id"] for path in images}
    holding = [path for path, ids in found.items() if pc.any(pc.is_in(ids, value_set=wanted)).as_py()]
    drawn = pa.concat_arrays([chunk for ids in found.values() for chunk in ids.chunks])
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=drawn.cast(pa.string()))))
    if len(missing):
        problem = f"{len(missing):,} of its {len(wanted):,} pictures are in no images table"
        hint = (
            "make the images and the dataset anew from the same run: delete the dataset's folder, run snakemake again"
        )
        raise InputError(pairs, missing[0].as_py(), problem, hint)
    return Manifest(table, holding)


def _suffix_and_size(data: bytes, image_id: str, shard: Path) -> tuple[str, tuple[int, int]]:
    """Suffix, and width and height in pixels, from the header of the file."""
    with naming(shard, image_id):
        header = read_header(data)
    return SUFFIXES.get(header.format, header.format.lower()), header.size
