"""Pictures from IMAGES tables, decoded once."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from icsd import tables
from icsd.errors import InputError


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
    ids = sorted(set(wanted))
    files = _bytes_by_id(paths, set(ids))
    missing = [image_id for image_id in ids if image_id not in files]
    if missing:
        hint = "make the images and the dataset anew from the same run"
        raise InputError(wanted_by, missing[0], f"{len(missing)} pictures are in no images table", hint)
    pixels = np.empty((len(ids), size, size, 3), dtype=np.uint8)
    digest = hashlib.sha256()
    for row, image_id in enumerate(ids):
        pixels[row] = _decode(files[image_id], size, image_id, paths[0])
        digest.update(image_id.encode() + b"\0" + hashlib.sha256(files[image_id]).digest())
    return Pictures(tuple(ids), pixels, digest.hexdigest())


def _bytes_by_id(paths: Sequence[Path | str], wanted: set[str]) -> dict[str, bytes]:
    """Only what is wanted, shard by shard: the rest is not kept in memory."""
    found: dict[str, bytes] = {}
    for path in paths:
        shard = tables.read(path, tables.IMAGES, columns=["image_id", "image"])
        for image_id, image in zip(shard["image_id"].to_pylist(), shard["image"], strict=True):
            if image_id in wanted:
                found[image_id] = image["bytes"].as_py()
    return found


def _decode(data: bytes, size: int, image_id: str, path: Path | str) -> np.ndarray:
    """RGB [size, size, 3]: the shorter side made `size` (bicubic), the centre kept, as CLIP does."""
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(path, image_id, f"is no picture that can be read ({error})", "make the images anew") from error
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)
