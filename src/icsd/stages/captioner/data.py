"""The data of a training: an arm's pairs with their pictures, and real pictures for validation."""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

from icsd.core import files, metrics, tables
from icsd.core.errors import InputError
from icsd.core.metrics import read_references
from icsd.core.pictures import naming, read_picture
from icsd.stages.captioner.job import PICTURES, VAL_PICTURES, Files
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import clean_caption

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures sorted by id: RGB [n, size, size, 3] uint8, and a digest of their files."""

    ids: tuple[str, ...]
    pixels: np.ndarray
    digest: str

    def rows_of(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each id."""
        row = {image_id: number for number, image_id in enumerate(self.ids)}
        return np.asarray([row[image_id] for image_id in image_ids], dtype=np.int64)


def read_pictures(paths: Sequence[Path | str], size: int, wanted: Iterable[str], wanted_by: Path | str) -> Pictures:
    """Decode the pictures with the ids `wanted` into memory, resized and cropped to `size` by `size`.

    InputError for an id that no shard has, naming the table `wanted_by`, and for bytes that are no picture.
    """
    ids = tuple(sorted(set(wanted)))
    pixels = np.empty((len(ids), size, size, 3), dtype=np.uint8)
    return Pictures(ids, pixels, _decode_all(paths, ids, pixels, wanted_by, threads=1))


def map_pictures(
    paths: Sequence[Path | str],
    size: int,
    wanted: Iterable[str],
    wanted_by: Path | str,
    file: Path,
    processes: Processes,
    threads: int,
) -> Pictures:
    """Decode the pictures into a file that the first process writes and all processes map into memory.

    100,000 pictures of 384 pixels take 44 GB, too much for the memory of each process.
    """
    ids = tuple(sorted(set(wanted)))
    digest = ""
    if processes.first:
        with files.atomic_path(file) as unfinished:
            pixels = open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(len(ids), size, size, 3))
            digest = _decode_all(paths, ids, pixels, wanted_by, threads)
            pixels.flush()
    digest = processes.broadcast(digest)  # the others wait here for the file
    return Pictures(ids, np.load(file, mmap_mode="r"), digest)


def _decode_all(
    paths: Sequence[Path | str], ids: Sequence[str], pixels: np.ndarray, wanted_by: Path | str, threads: int
) -> str:
    """Decode into `pixels`, one shard in memory at a time; return the digest of the picture files."""
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    sums: dict[str, bytes] = {}

    def decode(image_id: str, data: bytes, path: Path | str) -> None:
        pixels[row_of[image_id]] = _decode(data, pixels.shape[1], image_id, path)
        sums[image_id] = hashlib.sha256(data).digest()

    with ThreadPoolExecutor(threads) as pool:
        for path in paths:
            found = [(image_id, data, path) for image_id, data in _pictures_in(path) if image_id in row_of]
            list(pool.map(decode, *zip(*found, strict=True))) if found else None
    missing = [image_id for image_id in ids if image_id not in sums]
    if missing:
        hint = "make the images and the dataset again from the same run"
        raise InputError(wanted_by, missing[0], f"{len(missing)} pictures are in no images table", hint)
    digest = hashlib.sha256()
    for image_id in ids:
        digest.update(image_id.encode() + b"\0" + sums[image_id])
    return digest.hexdigest()


def _pictures_in(path: Path | str) -> Iterable[tuple[str, bytes]]:
    shard = tables.read(path, tables.IMAGES, columns=["image_id", "image"])
    for image_id, image in zip(shard["image_id"].to_pylist(), shard["image"], strict=True):
        yield image_id, image["bytes"].as_py()


def _decode(data: bytes, size: int, image_id: str, path: Path | str) -> np.ndarray:
    with naming(path, image_id):
        return fitted(read_picture(data), size)


def fitted(image: Image.Image, size: int) -> np.ndarray:
    """Resize the shorter side of an RGB picture to `size` (bicubic) and crop the centre, as CLIP does."""
    if image.size != (size, size):
        width, height = (size * side // min(image.size) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


@dataclass(frozen=True)
class Pairs:
    """Cleaned captions [n] sorted by image and caption id, and the row [n] of the picture of each.

    `weights` [n] float32 are those of the pairs in the loss; None: all weigh the same.
    """

    captions: list[str]
    rows: np.ndarray
    pictures: Pictures
    weights: np.ndarray | None = None

    def digest(self) -> str:
        """Hash the captions and their pictures; the number of shards does not change it."""
        ids = [self.pictures.ids[row] for row in self.rows]
        weights = [] if self.weights is None else [self.weights.tolist()]
        text = json.dumps([self.pictures.digest, ids, self.captions, *weights])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Validation:
    """Real pictures and their tokenised reference captions [n][references]."""

    pictures: Pictures
    references: list[list[str]]

    def digest(self) -> str:
        """Hash the pictures and references."""
        return hashlib.sha256(json.dumps([self.pictures.digest, self.references]).encode()).hexdigest()


def read_pairs(files: Files, size: int, max_words: int, processes: Processes, threads: int) -> Pairs:
    """Read the training pairs; pairs whose caption has no word after cleaning are left out, and the log counts them."""
    table = tables.read(files.pairs, tables.PAIRS)
    rows = sorted(table.to_pylist(), key=lambda row: (row["image_id"], row["caption_id"]))
    cleaned = [(row["image_id"], clean_caption(row["caption"], max_words), row["weight"]) for row in rows]
    pairs = [pair for pair in cleaned if pair[1]]
    if len(pairs) < len(rows):
        _log.warning("%d of %d pairs have a caption without a word and are left out", len(rows) - len(pairs), len(rows))
    if not pairs:
        hint = "the ledger beside it has the reason for every dropped picture"
        raise InputError(files.pairs, "", "holds no pair to train on", hint)
    wanted, file = [image_id for image_id, _, _ in pairs], files.resume / PICTURES
    pictures = map_pictures(files.images, size, wanted, files.pairs, file, processes, threads)
    weights = _weights(files.pairs, [weight for _, _, weight in pairs])
    return Pairs([caption for _, caption, _ in pairs], pictures.rows_of(wanted), pictures, weights)


def _weights(path: Path | str, weights: Sequence[float | None]) -> np.ndarray | None:
    """The weights [n], 1 where one is missing; None if all are. InputError for one that is no number of 0 or more."""
    if all(weight is None for weight in weights):
        return None
    values = np.asarray([1.0 if weight is None else weight for weight in weights], np.float32)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong) or not values.any():
        place = f"pair {wrong[0]}" if len(wrong) else ""
        problem = f"its weight is {values[wrong[0]]}" if len(wrong) else "the weight of every pair is 0"
        raise InputError(path, place, f"{problem}: weights are 0 or more, and some are above 0", "make it again")
    return values


def read_validation(files: Files, size: int, at_most: int, processes: Processes, threads: int) -> Validation:
    """Read the first `at_most` real pictures by id, with their tokenised reference captions."""
    references = dict(list(read_references(files.val_captions).items())[:at_most])
    file = files.resume / VAL_PICTURES
    pictures = map_pictures([files.val_images], size, references, files.val_captions, file, processes, threads)
    words = [[metrics.plain_tokens(text) for text in references[image_id]] for image_id in pictures.ids]
    return Validation(pictures, words)
