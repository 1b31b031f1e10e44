"""The manifest of an arm: its pictures with their captions, a shard at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.ids import image_number
from icsd.core.pictures import naming, read_header

AT_ONCE = 64  # pictures that are Python's bytes
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
class Shard:
    """An IMAGES table, and of each of its rows the place of the picture in the manifest, -1 if it has no captions."""

    path: Path
    places: NDArray[np.int64]

    @property
    def holds_pictures(self) -> bool:
        """True if any of its pictures has captions."""
        return bool((self.places >= 0).any())

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of the pictures that have captions."""
        return tables.read(self.path, tables.IMAGES, columns).filter(pa.array(self.places >= 0))


@dataclass(frozen=True)
class Manifest:
    """The PAIRS of an arm, by image, and the IMAGES shards that hold pictures of them.

    Picture `p` is that of the rows `starts[p] : starts[p + 1]` of `pairs`.
    """

    pairs: pa.Table
    starts: NDArray[np.int64]
    shards: Sequence[Shard]

    @cached_property
    def weighted(self) -> bool:
        """True if pairs have weights."""
        return self.pairs["weight"].null_count < len(self.pairs)

    @property
    def count(self) -> int:
        """The number of pictures."""
        return len(self.starts) - 1

    def pictures(self, shard: Shard) -> Iterator[ExportedPicture]:
        """Yield the pictures of one shard that have captions, in its order; InputError for a damaged picture."""
        rows, captions = shard.rows(), self._captions(shard.places[shard.places >= 0])
        for start in range(0, len(rows), AT_ONCE):  # all of them as Python's bytes would be in memory twice
            for row, (ids, texts, weights) in zip(rows.slice(start, AT_ONCE).to_pylist(), captions, strict=False):
                image_id, data = row["image_id"], row["image"]["bytes"]
                suffix, size = _suffix_and_size(data, image_id, shard.path)
                yield ExportedPicture(
                    image_id, data, suffix, size, row["sentence"], row["seed"], row["model"], texts, ids,
                    weights if self.weighted else None,
                )  # fmt: skip

    def _captions(self, places: NDArray[np.int64]) -> Iterator[tuple[list[int], list[str], list[float]]]:
        """Yield the ids, texts and weights of the captions of these pictures."""
        counts = self.starts[places + 1] - self.starts[places]
        ends = counts.cumsum()
        rows = np.arange(counts.sum()) - np.repeat(ends - counts - self.starts[places], counts)
        found = self.pairs.take(pa.array(rows))
        weights = found["weight"].fill_null(1.0)
        columns = [each.to_pylist() for each in (found["caption_id"], found["caption"], weights)]
        for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True):
            ids, texts, weighing = (column[start:end] for column in columns)
            yield ids, texts, weighing


def read_manifest(pairs: Path, images: Sequence[Path]) -> Manifest:
    """The manifest of `pairs`, with those of `images` that hold its pictures; InputError for a missing picture."""
    table = tables.read(pairs, tables.PAIRS)
    names = table["image_id"].combine_chunks()
    starts = _starts(names)
    wanted = names.take(pa.array(starts[:-1]))
    if pc.count_distinct(wanted).as_py() < len(wanted):
        raise InputError(pairs, "", "the captions of a picture do not follow each other", AGAIN)
    drawn = [tables.read(path, tables.IMAGES, columns=["image_id"])["image_id"] for path in images]
    ids = pa.chunked_array([chunk for column in drawn for chunk in column.chunks], tables.TEXT).combine_chunks()
    places = np.asarray(pc.index_in(ids, value_set=wanted).fill_null(-1)).astype(np.int64)
    _check_complete(pairs, wanted, places)
    parts = np.split(places, np.cumsum([len(column) for column in drawn])[:-1])
    shards = [Shard(path, part) for path, part in zip(images, parts, strict=True)]
    return Manifest(table, starts, [shard for shard in shards if shard.holds_pictures])


def _starts(image_ids: pa.Array) -> NDArray[np.int64]:
    """The first row of each picture, and the number of rows: a picture's rows follow each other in PAIRS."""
    changes = np.asarray(pc.not_equal(image_ids[1:], image_ids[:-1]))
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [len(image_ids)]])


def _check_complete(pairs: Path, wanted: pa.Array, places: NDArray[np.int64]) -> None:
    missing = np.ones(len(wanted), np.bool_)
    missing[places[places >= 0]] = False
    if missing.any():
        problem = f"{missing.sum():,} of its {len(wanted):,} pictures are in no images table"
        hint = (
            "make the images and the dataset anew from the same run: delete the dataset's folder, run snakemake again"
        )
        raise InputError(pairs, wanted[int(np.flatnonzero(missing)[0])].as_py(), problem, hint)


def _suffix_and_size(data: bytes, image_id: str, shard: Path) -> tuple[str, tuple[int, int]]:
    """Suffix, and width and height in pixels, from the header of the file."""
    with naming(shard, image_id):
        header = read_header(data)
    return SUFFIXES.get(header.format, header.format.lower()), header.size
