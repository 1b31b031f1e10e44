"""Decoded pictures: squares for the encoder, or pictures at their own size, of which a training crops squares."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from torch.nn import functional

from icsd.config.captioner import Fit
from icsd.core import files, tables
from icsd.core.errors import InputError
from icsd.core.pictures import naming, read_picture
from icsd.stages.captioner.processes import Processes

INDEX = "pictures_index.npy"  # beside the file of whole pictures
AT_ONCE = 64  # decoded pictures in memory that are not yet stored


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
    """Decoded pictures sorted by id: RGB [n, size, size, 3] uint8, and a digest of their files."""

    ids: tuple[str, ...]
    pixels: np.ndarray
    digest: str

    def rows_of(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each id."""
        return _rows_of(self.ids, image_ids)


@dataclass(frozen=True)
class WholePictures:
    """Decoded pictures at their own size, sorted by id, and a digest of their files.

    `pixels` uint8 has one after another, RGB by rows; `index` int64 [n, 3] has the start, height and width of each.
    """

    ids: tuple[str, ...]
    pixels: np.ndarray
    index: np.ndarray
    digest: str

    def rows_of(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each id."""
        return _rows_of(self.ids, image_ids)

    def picture(self, row: int) -> np.ndarray:
        """Return the picture of a row, uint8 [height, width, 3]."""
        start, height, width = self.index[row].tolist()
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def crops(self, rows: np.ndarray, boxes: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
        """Cut `boxes` [b, 4] (left, top, width, height) out of the pictures `rows` [b]; uint8 [b, size, size, 3].

        The resizing is PIL's, bicubic and antialiased. PIL also rounds between width and height, and cuts off there
        what exceeds 255.
        """
        cut = []
        for row, (left, top, width, height) in zip(rows.tolist(), boxes.tolist(), strict=True):
            region = np.array(self.picture(row)[top : top + height, left : left + width])
            cut.append(_resized(torch.from_numpy(region).to(device), size))
        return torch.stack(cut)


def _rows_of(ids: Sequence[str], wanted: Iterable[str]) -> np.ndarray:
    row = {image_id: number for number, image_id in enumerate(ids)}
    return np.asarray([row[image_id] for image_id in wanted], dtype=np.int64)


def _resized(region: torch.Tensor, size: int) -> torch.Tensor:
    values = region.permute(2, 0, 1)[None].float()
    values = functional.interpolate(values, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
    return values[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


Images = Sequence[tuple[Path | str, str]]  # IMAGES tables, each with a prefix of its ids


def read_pictures(
    paths: Sequence[Path | str], square: Square, wanted: Iterable[str], wanted_by: Path | str
) -> Pictures:
    """Decode the pictures with the ids `wanted` into memory, as squares.

    InputError for an id that no shard has, naming the table `wanted_by`, and for bytes that are no picture.
    """
    ids = tuple(sorted(set(wanted)))
    pixels = np.empty((len(ids), square.size, square.size, 3), dtype=np.uint8)
    return Pictures(ids, pixels, _fill(pixels, [(path, "") for path in paths], square, ids, wanted_by, threads=1))


def map_pictures(
    images: Images,
    square: Square,
    wanted: Iterable[str],
    wanted_by: Path | str,
    file: Path,
    processes: Processes,
    threads: int,
) -> Pictures:
    """Decode the pictures into a file that the first process writes and all processes map into memory.

    `images` are the IMAGES tables, each with a prefix of its ids. 100,000 pictures of 384 pixels take 44 GB, too much
    for the memory of each process.
    """
    ids = tuple(sorted(set(wanted)))
    digest = ""
    if processes.first:
        with files.atomic_path(file) as unfinished:
            shape = (len(ids), square.size, square.size, 3)
            pixels = open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
            digest = _fill(pixels, images, square, ids, wanted_by, threads)
            pixels.flush()
    digest = processes.broadcast(digest)  # the others wait here for the file
    return Pictures(ids, np.load(file, mmap_mode="r"), digest)


def map_whole_pictures(
    images: Images,
    wanted: Iterable[str],
    wanted_by: Path | str,
    file: Path,
    processes: Processes,
    threads: int,
) -> WholePictures:
    """Decode the pictures at their own size into a file, as `map_pictures` does, and their index beside it.

    100,000 pictures of 512 pixels take 79 GB.
    """
    ids = tuple(sorted(set(wanted)))
    digest, index = "", np.empty((len(ids), 3), dtype=np.int64)
    if processes.first:
        with files.atomic_path(file) as unfinished, unfinished.open("wb") as stream:
            sums: dict[str, bytes] = {}
            row_of = {image_id: row for row, image_id in enumerate(ids)}
            for image_id, pixels, sums[image_id] in _decoded(images, row_of.keys(), threads, np.asarray):
                index[row_of[image_id]] = stream.tell(), *pixels.shape[:2]
                stream.write(pixels.tobytes())
            digest = _digest(ids, sums, wanted_by)
        with files.atomic_path(file.with_name(INDEX)) as unfinished, unfinished.open("wb") as stream:
            np.save(stream, index)
    digest = processes.broadcast(digest)  # the others wait here for the files
    return WholePictures(ids, np.memmap(file, dtype=np.uint8, mode="r"), np.load(file.with_name(INDEX)), digest)


def _fill(
    pixels: np.ndarray,
    images: Images,
    square: Square,
    ids: Sequence[str],
    wanted_by: Path | str,
    threads: int,
) -> str:
    """Decode the pictures `ids` into `pixels`; return the digest of their files."""
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    sums: dict[str, bytes] = {}
    for image_id, decoded, sums[image_id] in _decoded(images, row_of.keys(), threads, square.of):
        pixels[row_of[image_id]] = decoded
    return _digest(ids, sums, wanted_by)


def _decoded(
    images: Images,
    wanted: Iterable[str],
    threads: int,
    convert: Callable[[Image.Image], np.ndarray],
) -> Iterator[tuple[str, np.ndarray, bytes]]:
    """Yield id, pixels and SHA-256 of each picture that is wanted, one shard of files in memory at a time."""
    ids = frozenset(wanted)

    def decode(file: tuple[str, bytes, Path | str]) -> tuple[str, np.ndarray, bytes]:
        image_id, data, path = file
        with naming(path, image_id):
            return image_id, convert(read_picture(data)), hashlib.sha256(data).digest()

    with ThreadPoolExecutor(threads) as pool:
        for path, prefix in images:
            files_in = ((prefix + image_id, data, path) for image_id, data in _files_in(path))
            found = (file for file in files_in if file[0] in ids)
            while some := list(islice(found, AT_ONCE)):
                yield from pool.map(decode, some)


def _files_in(path: Path | str) -> Iterator[tuple[str, bytes]]:
    shard = tables.read(path, tables.IMAGES, columns=["image_id", "image"])
    for image_id, image in zip(shard["image_id"].to_pylist(), shard["image"], strict=True):
        yield image_id, image["bytes"].as_py()


def _digest(ids: Sequence[str], sums: dict[str, bytes], wanted_by: Path | str) -> str:
    """Hash the files of the pictures `ids`; InputError for one that no shard has."""
    missing = [image_id for image_id in ids if image_id not in sums]
    if missing:
        hint = "make the images and the dataset again from the same run"
        raise InputError(wanted_by, missing[0], f"{len(missing)} pictures are in no images table", hint)
    digest = hashlib.sha256()
    for image_id in ids:
        digest.update(image_id.encode() + b"\0" + sums[image_id])
    return digest.hexdigest()
