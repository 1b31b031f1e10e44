"""Safety: a verdict on each picture, safe, unsafe, blank or missing."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from icsd.core import tables
from icsd.core.logs import progress
from icsd.core.pictures import naming, read_picture

_log = logging.getLogger(__name__)


def check_safety(images: Path, safety: Path, model: str, blank_std: float, batch_size: int) -> None:
    """Write the SAFETY of an IMAGES shard, in its order: score and verdict of each picture.

    "unsafe" if the checker's score is above 0; "blank" if no colour channel's standard deviation (of values
    0 to 255) reaches `blank_std`, whatever the score; "missing", without a score, if no picture was drawn. An empty
    shard needs no model. ModelError for the model, InputError for bytes that are no picture.
    """
    shard = tables.read(images, tables.IMAGES, columns=["image_id", "image"])
    drawn = shard.filter(pc.is_valid(shard["image"]))
    ids = drawn["image_id"].to_pylist()
    pictures = [image["bytes"] for image in drawn["image"].to_pylist()]
    deviations = [_deviation(picture) for picture in _decode(pictures, ids, images)]
    scores = _scores(_decode(pictures, ids, images), len(ids), model, batch_size) if ids else []
    checked = {
        image_id: {"image_id": image_id, "score": score, "verdict": _verdict(score, deviation, blank_std)}
        for image_id, score, deviation in zip(ids, scores, deviations, strict=True)
    }
    rows = [
        checked.get(image_id) or {"image_id": image_id, "score": None, "verdict": "missing"}
        for image_id in shard["image_id"].to_pylist()
    ]
    counts = Counter(row["verdict"] for row in rows)
    _log.info("safety: %s", ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(counts.items())))
    tables.write(safety, tables.SAFETY, rows)


def _verdict(score: float, deviation: float, blank_std: float) -> str:
    if deviation < blank_std:
        return "blank"
    return "unsafe" if score > 0 else "safe"


def _deviation(picture: Image.Image) -> float:
    """Return the standard deviation of the channel that varies most."""
    return float(np.asarray(picture).std(axis=(0, 1)).max())


def _scores(pictures: Iterator[Image.Image], total: int, model: str, batch_size: int) -> list[float]:
    from icsd.models.model_folder import model_folder  # late: an empty shard needs no torch
    from icsd.models.safety_checker import CHECKER_FILES, load_safety_checker

    checker = load_safety_checker(model_folder("safety.model or images.model", model, CHECKER_FILES))
    return list(progress(checker.scores(pictures, batch_size), total, "pictures"))


def _decode(pictures: Sequence[bytes], ids: Sequence[str], path: Path) -> Iterator[Image.Image]:
    for data, image_id in zip(pictures, ids, strict=True):
        with naming(path, image_id):
            picture = read_picture(data)
        yield picture
