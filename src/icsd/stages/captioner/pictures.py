"""The pictures of a training, read from the IMAGES tables and decoded as they are needed."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from icsd.config.captioner import Fit
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.picture_index import ENTRY, NOWHERE, entry_of
from icsd.core.pictures import naming, read_picture

KEPT_BYTES = 2**28  # of decoded pictures in memory, where all of them are so few
HELD_BYTES = 2**31  # of the files of pictures in tables without an index
Images = Sequence[tuple[Path | str, str]]  # IMAGES tables, each with a prefix of its ids
_PLACED = ("start", "length", "height", "width")  # of ENTRY
PLACE = np.dtype([("table", "<i4"), *((name, ENTRY[name]) for name in _PLACED)])


@dataclass(frozen=True)
class Square:
    """How a picture becomes a square of `size` pixels.

    crop: the shorter side becomes `size`, and the ends of the longer one are cut off, as CLIP does. squash: both sides
    become `size`. pad: the longer side becomes `size`, and the rest is black. All resize by bicubic interpolation.
    """

    size: int
    fit: Fit = "crop"

    def of(self, picture: Image.Image) -> np.ndarray:
        """Return an RGB picture as uint8 [size, size, 3]."""
        side = (self.size, self.size)
        if picture.size == side:
            return np.asarray(picture)
        if self.fit == "squash":
            return np.asarray(picture.resize(side, Image.Resampling.BICUBIC))
        width, height = self._scaled(picture.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2  # below 0, the crop adds black
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + self.size, top + self.size)))

    def _scaled(self, lengths: tuple[int, int]) -> tuple[int, int]:
        """Return width and height after resizing, rounded as transformers' processors do."""
        width, height = lengths
        if self.fit == "crop":
            edge = min(lengths)
            return self.size * width // edge, self.size * height // edge
        scale = self.size / max(lengths)
        return max(1, int(width * scale)), max(1, int(height * scale))


@dataclass(frozen=True)
class Pictures:
    """Pictures in IMAGES tables, sorted by id: where each lies (PLACE [n]), and a digest of their files.

    `held` has the files, by row, of those in tables without an index.
    """

    ids: pa.Array
    tables: Sequence[Path | str]
    places: np.ndarray
    held: Mapping[int, bytes]
    digest: str

    def __len__(self) -> int:
        return len(self.places)

    def shapes(self, rows: np.ndarray) -> np.ndarray:
        """Return height and width [b, 2] of the pictures `rows` [b]."""
        places = self.places[rows]
        return np.stack([places["height"], places["width"]], axis=1).astype(np.int64)

    def picture(self, row: int) -> Image.Image:
        """Read and decode a picture to RGB. InputError, naming it, for bytes that are no picture."""
        place, image_id = self.places[row], self.ids[row].as_py()
        path = self.tables[place["table"]]
        with naming(path, image_id):
            picture = read_picture(self.held[row] if row in self.held else _bytes_at(path, place))
        if picture.size != (place["width"], place["height"]):
            raise InputError(path, image_id, f"has {picture.size} pixels, and others in the table's index", AGAIN)
        return picture


def _bytes_at(path: Path | str, place: np.void) -> bytes:
    with Path(path).open("rb", buffering=0) as file:
        return os.pread(file.fileno(), int(place["length"]), int(place["start"]))


def find_pictures(images: Images, wanted: pa.Array, wanted_by: Path | str) -> Pictures:
    """Find the pictures with the ids `wanted`, which are sorted and unique; none is decoded.

    InputError for an id that no table has, naming the table `wanted_by`, and for too many in tables without an index.
    """
    found = [tables.picture_index(path) for path, _ in images]
    columns = [_prefixed(ids, prefix) for (ids, _), (_, prefix) in zip(found, images, strict=True)]
    held = _held([table for table, (_, index) in zip(images, found, strict=True) if index is None], wanted)
    indices = [_index(ids, held) if index is None else index for ids, (_, index) in zip(columns, found, strict=True)]
    entries = np.concatenate([np.empty(0, ENTRY), *indices])
    at = pc.index_in(wanted, value_set=pa.chunked_array([c for ids in columns for c in ids.chunks], wanted.type))
    rows = at.fill_null(0).to_numpy(zero_copy_only=False)
    missing = at.is_null().to_numpy(zero_copy_only=False)
    missing |= entries["start"][rows] == NOWHERE if len(entries) else True
    if missing.any():
        problem, hint = f"{missing.sum()} pictures are in no images table", "make the images and the dataset again"
        raise InputError(wanted_by, wanted[int(missing.argmax())].as_py(), problem, f"{hint} from the same run")
    places = np.empty(len(wanted), PLACE)
    places["table"] = np.repeat(np.arange(len(images)), [len(index) for index in indices])[rows]
    for name in _PLACED:
        places[name] = entries[name][rows]
    files = {row: held[each] for row, each in enumerate(wanted.to_pylist()) if each in held} if held else {}
    return Pictures(wanted, [path for path, _ in images], places, files, _digest(wanted, entries["sha256"], rows))


def _prefixed(ids: pa.ChunkedArray, prefix: str) -> pa.ChunkedArray:
    ids = ids.cast(pa.large_string())
    return pc.binary_join_element_wise(pa.scalar(prefix, ids.type), ids, pa.scalar("", ids.type)) if prefix else ids


def _held(images: Images, wanted: pa.Array) -> dict[str, bytes]:
    """Read the files of those of the pictures `wanted` that are in tables without an index, by id."""
    held, size = dict[str, bytes](), 0
    for path, prefix in images:
        for part in tables.parts(path, tables.IMAGES, ["image_id", "image"]):
            ids = _prefixed(part["image_id"], prefix)
            part = part.set_column(0, "image_id", ids).filter(pc.is_in(ids, value_set=wanted))
            files = {row["image_id"]: row["image"]["bytes"] for row in part.to_pylist() if row["image"] is not None}
            held, size = held | files, size + sum(map(len, files.values()))
            if size > HELD_BYTES:
                problem = "has no index of its pictures, as an earlier version wrote it, and they do not fit in memory"
                raise InputError(path, "", problem, f"{AGAIN}: kept pictures are not drawn again")
    return held


def _index(ids: pa.ChunkedArray, held: Mapping[str, bytes]) -> np.ndarray:
    """Return the ENTRY of each id, whose files are those held."""
    entries = [entry_of(held[each], 0) if each in held else entry_of(b"", NOWHERE) for each in ids.to_pylist()]
    return np.array(entries, ENTRY)


def _digest(ids: pa.Array, sums: np.ndarray, rows: np.ndarray) -> str:
    digest = hashlib.sha256()
    for image_id, row in zip(ids, rows, strict=True):
        digest.update(image_id.as_py().encode() + b"\0" + sums[row].tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Decoded:
    """Decoded pictures, uint8 [height, width, 3]: squares, or pictures at their own size if `square` is None.

    They are decoded when they are asked for. If all of them are at most KEPT_BYTES, each is kept.
    """

    pictures: Pictures
    square: Square | None
    kept: dict[int, np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, pictures: Pictures, square: Square | None) -> "Decoded":
        """Keep the pictures if they are few."""
        pixels = pictures.places["height"].astype(np.int64) * pictures.places["width"]
        size = 3 * (int(pixels.sum()) if square is None else len(pictures) * square.size**2)
        return cls(pictures, square, {} if size <= KEPT_BYTES else None)

    def __getitem__(self, row: int) -> np.ndarray:
        if self.kept is not None and row in self.kept:
            return self.kept[row]
        picture = self.pictures.picture(row)
        pixels = np.asarray(picture) if self.square is None else self.square.of(picture)
        if self.kept is not None:
            self.kept[row] = pixels
        return pixels


@dataclass(frozen=True)
class Squares:
    """Some of the pictures as squares, decoded by slices: uint8 [b, size, size, 3], by several threads."""

    decoded: Decoded
    rows: np.ndarray
    threads: int = 1

    @property
    def ids(self) -> list[str]:
        """The ids of the pictures."""
        found: list[str] = self.decoded.pictures.ids.take(pa.array(self.rows)).to_pylist()
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice) -> np.ndarray:
        decode: Callable[[int], np.ndarray] = self.decoded.__getitem__
        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(decode, self.rows[which].tolist())))

    def share(self, rank: int, count: int) -> "Squares":
        """Select every `count`-th picture from `rank` on."""
        return replace(self, rows=self.rows[rank::count])


def find_squares(
    paths: Sequence[Path | str], square: Square, wanted: Sequence[str], wanted_by: Path | str, threads: int = 1
) -> Squares:
    """Find the pictures with the ids `wanted`, sorted; errors as those of `find_pictures`."""
    ids = pa.array(sorted(set(wanted)), pa.large_string())
    pictures = find_pictures([(path, "") for path in paths], ids, wanted_by)
    return Squares(Decoded.of(pictures, square), np.arange(len(pictures)), threads)
