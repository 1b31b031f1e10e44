"""The data of a training: an arm's pairs with their pictures, and real pictures for validation."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icsd.core import metrics, tables
from icsd.core.errors import InputError
from icsd.core.languages import ENGLISH
from icsd.core.metrics import read_references
from icsd.stages.captioner.job import PICTURES, VAL_PICTURES, Files
from icsd.stages.captioner.pictures import Pictures, Square, WholePictures, map_pictures, map_whole_pictures
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import clean_caption

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Cleaned captions [n] sorted by image and caption id, and the row [n] of the picture of each.

    `weights` [n] float32 are those of the pairs in the loss; None: all weigh the same.
    """

    captions: list[str]
    rows: np.ndarray
    pictures: Pictures | WholePictures
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


def read_pairs(
    files: Files,
    square: Square | None,
    max_words: int,
    processes: Processes,
    threads: int,
    language: str = ENGLISH,
) -> Pairs:
    """Read the training pairs, with pictures as squares, or at their own size if `square` is None.

    A pair that several datasets have counts once, with the weight of the first. Pairs whose caption has no word after
    cleaning are left out, and the log counts them.
    """
    rows = _rows(files)
    cleaned = [(row["image_id"], clean_caption(row["caption"], max_words, language), row["weight"]) for row in rows]
    pairs = [pair for pair in cleaned if pair[1]]
    if len(pairs) < len(rows):
        _log.warning("%d of %d pairs have a caption without a word and are left out", len(rows) - len(pairs), len(rows))
    if not pairs:
        hint = "the ledger beside it has the reason for every dropped picture"
        raise InputError(files.pairs, "", "holds no pair to train on", hint)
    wanted, file = [image_id for image_id, _, _ in pairs], files.resume / PICTURES
    images, wanted_by = [(path, files.prefixes.get(path, "")) for path in files.images], files.pairs
    pictures = (
        map_whole_pictures(images, wanted, wanted_by, file, processes, threads)
        if square is None
        else map_pictures(images, square, wanted, wanted_by, file, processes, threads)
    )
    weights = _weights(wanted_by, [weight for _, _, weight in pairs])
    return Pairs([caption for _, caption, _ in pairs], pictures.rows_of(wanted), pictures, weights)


def _rows(files: Files) -> list[dict[str, Any]]:
    """The rows of PAIRS of all datasets, by image and caption id; image ids of other runs have their prefix."""
    found = dict[tuple[str, int], dict[str, Any]]()
    for path in [files.pairs, *files.also]:
        for row in tables.read(path, tables.PAIRS).to_pylist():
            row["image_id"] = files.prefixes.get(path, "") + row["image_id"]
            found.setdefault((row["image_id"], row["caption_id"]), row)
    return [found[key] for key in sorted(found)]


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


def read_validation(
    files: Files, square: Square, at_most: int, processes: Processes, threads: int, language: str = ENGLISH
) -> Validation:
    """Read the first `at_most` real pictures by id, with their tokenised reference captions."""
    references = dict(list(read_references(files.val_captions).items())[:at_most])
    file = files.resume / VAL_PICTURES
    pictures = map_pictures([(files.val_images, "")], square, references, files.val_captions, file, processes, threads)
    words = [[metrics.plain_tokens(text, language) for text in references[image_id]] for image_id in pictures.ids]
    return Validation(pictures, words)
