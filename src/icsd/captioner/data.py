"""What a training reads: an arm's pairs with their pictures, and real pictures to choose a checkpoint."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icsd import metrics, tables
from icsd.captioner.pictures import Pictures, read_pictures
from icsd.captioner.text import clean_caption
from icsd.errors import InputError
from icsd.references import read_references

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


def read_pairs(path: Path | str, images: Sequence[Path | str], size: int, max_words: int) -> Pairs:
    """The pairs of `path`; those whose caption is all punctuation are left out and counted in the log."""
    table = tables.read(path, tables.PAIRS)
    rows = sorted((row["image_id"], row["caption_id"], row["caption"]) for row in table.to_pylist())
    cleaned = [(image_id, clean_caption(caption, max_words)) for image_id, _, caption in rows]
    kept = [(image_id, caption) for image_id, caption in cleaned if caption]
    if len(kept) < len(rows):
        _log.warning("%d of %d pairs have a caption without a word and are left out", len(rows) - len(kept), len(rows))
    if not kept:
        hint = "its ledger beside it tells why every picture fell away"
        raise InputError(path, "", "holds no pair to train on", hint)
    pictures = read_pictures(images, size, (image_id for image_id, _ in kept), path)
    return Pairs([caption for _, caption in kept], pictures.rows_of(image_id for image_id, _ in kept), pictures)


def read_validation(images: Path | str, captions: Path | str, size: int, at_most: int) -> Validation:
    """The first `at_most` real pictures by id, with their captions tokenised as for choosing a checkpoint."""
    references = dict(list(read_references(captions).items())[:at_most])
    pictures = read_pictures([images], size, references, captions)
    words = [[metrics.plain_tokens(text) for text in references[image_id]] for image_id in pictures.ids]
    return Validation(pictures, words)
