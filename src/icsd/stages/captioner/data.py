"""What a training reads: an arm's pairs with their pictures, and real pictures to choose a checkpoint."""

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
from icsd.core.pictures import naming, read_picture
from icsd.core.references import read_references
from icsd.stages.captioner.job import PICTURES, VAL_PICTURES, Files
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import clean_caption


@dataclass(frozen=True)
class Pictures:
    """Pictures in the order of their ids: RGB [n, size, size, 3] uint8, and a digest of their files."""

    ids: tuple[str, ...]
    pixels: np.ndarray
    digest: str

    def rows_of(self, image_ids: Iterable[str]) -> np.ndarray:
        """The row of each id."""
        row = {image_id: number for number, image_id in enumerate(self.ids)}
        return np.asarray([row[image_id] for image_id in image_ids], dtype=np.int64)


def read_pictures(paths: Sequence[Path | str], size: int, wanted: Iterable[str], wanted_by: Path | str) -> Pictures:
    """The pictures with the ids `wanted`, each fitted to `size` by `size`.

    Raises InputError for an id that no shard holds, naming the table that asks for it, and for bytes that
    are no picture.
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
    """The same, in a file that the first process writes and all map: no process holds them in memory of its own.

    A hundred thousand pictures of 384 pixels are 44 GB.
    """
    ids = tuple(sorted(set(wanted)))
    digest = ""
    if processes.first:
        with files.atomic_path(file) as unfinished:
            pixels = open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(len(ids), size, size, 3))
            digest = _decode_all(paths, ids, pixels, wanted_by, threads)
            pixels.flush()
    digest = processes.of_first(digest)  # they wait for the file here
    return Pictures(ids, np.load(file, mmap_mode="r"), digest)


def _decode_all(
    paths: Sequence[Path | str], ids: Sequence[str], pixels: np.ndarray, wanted_by: Path | str, threads: int
) -> str:
    """The digest of the files, their pictures put into `pixels`: shard by shard, so that one is in memory."""
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
        hint = "make the images and the dataset anew from the same run"
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
    """RGB [size, size, 3] of an RGB picture: the shorter side made `size` (bicubic), the centre kept, as CLIP does."""
    if image.size != (size, size):
        width, height = (size * side // min(image.size) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Cleaned captions [n] in the order of image and caption id, and the row [n] of each one's picture."""

    captions: list[str]
    rows: np.ndarray
    pictures: Pictures

    def digest(self) -> str:
        """The same for the same captions with the same pictures, whatever the shards."""
        ids = [self.pictures.ids[row] for row in self.rows]
        text = json.dumps([self.pictures.digest, ids, self.captions])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Validation:
    """Real pictures and the tokenised captions [n][references] that people gave them."""

    pictures: Pictures
    references: list[list[str]]

    def digest(self) -> str:
        """The same for the same pictures and references."""
        return hashlib.sha256(json.dumps([self.pictures.digest, self.references]).encode()).hexdigest()


def read_pairs(files: Files, size: int, max_words: int, processes: Processes, threads: int) -> Pairs:
    """The pairs to train on; those whose caption is all punctuation are left out and counted in the log."""
    table = tables.read(files.pairs, tables.PAIRS)
    rows = sorted((row["image_id"], row["caption_id"], row["caption"]) for row in table.to_pylist())
    cleaned = [(image_id, clean_caption(caption, max_words)) for image_id, _, caption in rows]
    kept = [(image_id, caption) for image_id, caption in cleaned if caption]
    if len(kept) < len(rows):
        _log.warning("%d of %d pairs have a caption without a word and are left out", len(rows) - len(kept), len(rows))
    if not kept:
        hint = "its ledger beside it tells why every picture fell away"
        raise InputError(files.pairs, "", "holds no pair to train on", hint)
    wanted, file = [image_id for image_id, _ in kept], files.resume / PICTURES
    pictures = map_pictures(files.images, size, wanted, files.pairs, file, processes, threads)
    return Pairs([caption for _, caption in kept], pictures.rows_of(wanted), pictures)


def read_validation(files: Files, size: int, at_most: int, processes: Processes, threads: int) -> Validation:
    """The first `at_most` real pictures by id, with their captions tokenised as for choosing a checkpoint."""
    references = dict(list(read_references(files.val_captions).items())[:at_most])
    file = files.resume / VAL_PICTURES
    pictures = map_pictures([files.val_images], size, references, files.val_captions, file, processes, threads)
    words = [[metrics.plain_tokens(text) for text in references[image_id]] for image_id in pictures.ids]
    return Validation(pictures, words)
