"""The data of a training: an arm's pairs with their pictures, and real pictures for validation."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import metrics, tables
from icsd.core.errors import InputError
from icsd.core.languages import ENGLISH
from icsd.core.metrics import read_references
from icsd.stages.captioner.job import Files
from icsd.stages.captioner.pictures import Pictures, Square, Squares, find_pictures, find_squares
from icsd.stages.captioner.text import clean_caption

AT_ONCE = 65_536  # captions as Python strings
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """The pairs by image and caption id: the row [n] of each one's caption in `texts`, and that of its picture [n].

    `texts` are the cleaned captions, each once: many pictures share a caption. `weights` [n] float32 are those of the
    pairs in the loss; None: all weigh the same.
    """

    texts: pa.Array
    caption_rows: np.ndarray
    picture_rows: np.ndarray
    pictures: Pictures
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.caption_rows)

    def captions(self, rows: np.ndarray) -> list[str]:
        """Return the cleaned captions of the pairs `rows`."""
        found: list[str] = self.texts.take(pa.array(self.caption_rows[rows])).to_pylist()
        return found

    def digest(self) -> str:
        """Hash the captions and their pictures; the number of shards does not change it."""
        digest = hashlib.sha256(self.pictures.digest.encode())
        for text in self.texts:
            digest.update(text.as_py().encode() + b"\0")
        for each in (self.caption_rows, self.picture_rows, self.weights):
            digest.update(b"" if each is None else each.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Validation:
    """Real pictures and their tokenised reference captions [n][references]."""

    squares: Squares
    references: list[list[str]]

    def digest(self) -> str:
        """Hash the pictures and references."""
        return hashlib.sha256(json.dumps([self.squares.decoded.pictures.digest, self.references]).encode()).hexdigest()


def read_pairs(files: Files, max_words: int, language: str = ENGLISH) -> Pairs:
    """Read the training pairs, and find their pictures.

    A pair that several datasets have counts once, with the weight of the first. Pairs whose caption has no word after
    cleaning are left out, and the log counts them.
    """
    columns = _Columns.read(files)
    columns = columns.take(_first_of_each(columns))
    texts, row_of = _cleaned(columns.captions, max_words, language)
    caption_rows = row_of[columns.caption_codes]
    worded = caption_rows >= 0
    if not worded.all():
        _log.warning("%d of %d pairs have a caption without a word and are left out", (~worded).sum(), len(worded))
    if not worded.any():
        hint = "the ledger beside it has the reason for every dropped picture"
        raise InputError(files.pairs, "", "holds no pair to train on", hint)
    columns, caption_rows = columns.take(np.flatnonzero(worded)), caption_rows[worded]
    used = np.bincount(columns.image_codes, minlength=len(columns.images)) > 0
    images = [(path, files.prefixes.get(path, "")) for path in files.images]
    pictures = find_pictures(images, columns.images.filter(pa.array(used)), files.pairs)
    picture_rows = (np.cumsum(used, dtype=np.int32) - 1)[columns.image_codes]
    return Pairs(texts, caption_rows, picture_rows, pictures, _weights(files.pairs, columns.weights))


@dataclass(frozen=True)
class _Columns:
    """The columns of PAIRS of all datasets [n], with image ids and captions as places in sorted distinct ones."""

    images: pa.Array
    image_codes: np.ndarray
    captions: pa.Array
    caption_codes: np.ndarray
    caption_ids: np.ndarray
    weights: pa.ChunkedArray

    @classmethod
    def read(cls, files: Files) -> "_Columns":
        """Read the tables; image ids of other runs have their prefix. A row group is in memory at a time."""
        images, captions, ids, weights = _Codes(), _Codes(), [np.empty(0, np.int64)], list[pa.Array]()
        for path in [files.pairs, *files.also]:
            for part in tables.parts(path, tables.PAIRS):
                images.add(part["image_id"], files.prefixes.get(path, ""))
                captions.add(part["caption"])
                ids.append(part["caption_id"].to_numpy())
                weights += part["weight"].chunks
        return cls(*images.sorted(), *captions.sorted(), np.concatenate(ids), pa.chunked_array(weights, pa.float32()))

    def take(self, rows: np.ndarray) -> "_Columns":
        """Select rows; all texts stay."""
        codes = {name: getattr(self, name)[rows] for name in ("image_codes", "caption_codes", "caption_ids")}
        return replace(self, **codes, weights=self.weights.take(pa.array(rows)))


class _Codes:
    """Distinct texts, and columns as places among them."""

    def __init__(self) -> None:
        self._distinct = pa.array([], pa.large_string())
        self._codes = [np.empty(0, np.int32)]

    def add(self, column: pa.ChunkedArray, prefix: str = "") -> None:
        """Add a column; its texts begin with `prefix`."""
        encoded = pc.dictionary_encode(column.cast(pa.large_string()).combine_chunks())
        texts = pc.binary_join_element_wise(
            pa.scalar(prefix, pa.large_string()), encoded.dictionary, pa.scalar("", pa.large_string())
        )
        self._distinct = pc.unique(pa.chunked_array([self._distinct, texts]))  # in the order of their appearance
        self._codes.append(pc.index_in(texts, value_set=self._distinct).to_numpy()[encoded.indices.to_numpy()])

    def sorted(self) -> tuple[pa.Array, np.ndarray]:
        """Return the distinct texts, sorted, and the place of each value of all columns among them, int32 [n]."""
        order = pc.sort_indices(self._distinct).to_numpy()
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        return self._distinct.take(pa.array(order)), place[np.concatenate(self._codes)]


def _first_of_each(columns: _Columns) -> np.ndarray:
    """Return the rows in the order of image and caption id, of equal ones the first."""
    order = np.lexsort((columns.caption_ids, columns.image_codes))  # stable
    images, ids = columns.image_codes[order], columns.caption_ids[order]
    first = np.ones(len(order), bool)
    first[1:] = (images[1:] != images[:-1]) | (ids[1:] != ids[:-1])
    return order[first]


def _cleaned(captions: pa.Array, max_words: int, language: str) -> tuple[pa.Array, np.ndarray]:
    """Return the cleaned captions, each once and sorted, and the row in them of each of `captions`; -1 for no word."""
    parts = (captions[start : start + AT_ONCE].to_pylist() for start in range(0, len(captions), AT_ONCE))
    kept = ([clean_caption(caption, max_words, language) for caption in part] for part in parts)
    cleaned = pa.chunked_array([pa.array(part, pa.large_string()) for part in kept], pa.large_string())
    texts = pc.unique(cleaned)
    texts = texts.filter(pc.not_equal(texts, ""))
    texts = texts.take(pc.sort_indices(texts))
    return texts, pc.index_in(cleaned, value_set=texts).fill_null(-1).to_numpy()


def _weights(path: Path | str, weights: pa.ChunkedArray) -> np.ndarray | None:
    """The weights [n], 1 where one is missing; None if all are. InputError for one that is no number of 0 or more."""
    if weights.null_count == len(weights):
        return None
    values = weights.fill_null(1.0).to_numpy()
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong) or not values.any():
        place = f"pair {wrong[0]}" if len(wrong) else ""
        problem = f"its weight is {values[wrong[0]]}" if len(wrong) else "the weight of every pair is 0"
        raise InputError(path, place, f"{problem}: weights are 0 or more, and some are above 0", "make it again")
    return values


def read_validation(files: Files, square: Square, at_most: int, threads: int, language: str = ENGLISH) -> Validation:
    """Read the first `at_most` real pictures by id, with their tokenised reference captions."""
    references = dict(list(read_references(files.val_captions).items())[:at_most])
    squares = find_squares([files.val_images], square, list(references), files.val_captions, threads)
    words = [[metrics.plain_tokens(text, language) for text in references[image_id]] for image_id in squares.ids]
    return Validation(squares, words)
