"""What a training reads: an arm's pairs with their pictures, and real pictures to choose a checkpoint."""

import hashlib
import json
import logging
from dataclasses import dataclass

import numpy as np

from icsd import metrics, tables
from icsd.captioner.job import PICTURES, VAL_PICTURES, Files
from icsd.captioner.pictures import Pictures, map_pictures
from icsd.captioner.processes import Processes
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
