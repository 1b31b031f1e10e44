"""Embedded captions in memory: a whole corpus, or one block of it after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd.config.embeddings import SEARCHED_BYTES
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.vectors import from_lists, on_grid

EMBED_AGAIN = "delete the embeddings folder and run snakemake again"
TOLERANCE = 1e-3  # of a vector's length, which should be 1

Part = tuple[np.ndarray, np.ndarray]  # ids [n] and their vectors [n, d]


@dataclass(frozen=True)
class EmbeddedCaptions:
    """n captions sorted by id, and their distinct unit vectors on the grid [u, d] in order of first appearance.

    Caption `row` has the vector `number[row]`; vector v belongs to the captions `rows[starts[v] : starts[v + 1]]`.
    """

    ids: np.ndarray
    vectors: np.ndarray
    number: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    def at(self, rows: np.ndarray) -> "EmbeddedCaptions":
        """Those of some rows, ascending."""
        return embedded_captions(self.ids[rows], self.vectors[self.number[rows]])


def read_embedded_captions(paths: Sequence[Path]) -> EmbeddedCaptions:
    """Read all EMBEDDINGS files at once; InputError for vectors of two dimensions, or not of length 1."""
    return _joined(list(_parts(paths)))


def read_blocks(paths: Sequence[Path]) -> Iterator[EmbeddedCaptions]:
    """Read EMBEDDINGS files block by block: so many row groups that their vectors have at least SEARCHED_BYTES.

    Errors as `read_embedded_captions`.
    """
    block: list[Part] = []
    for part in _parts(paths):
        block.append(part)
        if sum(vectors.nbytes for _, vectors in block) >= SEARCHED_BYTES:
            yield _joined(block)
            block = []
    if block:
        yield _joined(block)


def _parts(paths: Iterable[Path]) -> Iterator[Part]:
    """Yield ids and vectors of the row groups that are not empty."""
    width = None
    for path in paths:
        for rows in tables.parts(path, tables.EMBEDDINGS):
            if len(rows):
                ids, vectors = rows["caption_id"].to_numpy(), _matrix(path, rows["embedding"], width)
                _check_unit(path, ids, vectors)
                width = vectors.shape[1]
                yield ids, vectors


def _joined(parts: Sequence[Part]) -> EmbeddedCaptions:
    if len(parts) == 1:
        return embedded_captions(*parts[0])
    none = (np.zeros(0, np.int64), np.zeros((0, 0), np.float32))
    ids, vectors = zip(*(parts or [none]), strict=True)
    return embedded_captions(np.concatenate(ids), np.concatenate(vectors))


def embedded_captions(ids: np.ndarray, vectors: np.ndarray) -> EmbeddedCaptions:
    """Sort captions `ids` [n] with their unit `vectors` [n, d], and find the distinct vectors."""
    by_id = np.argsort(ids)
    if not np.array_equal(by_id, np.arange(len(ids))):
        ids, vectors = ids[by_id], vectors[by_id]
    vectors = on_grid(vectors)
    # + 0.0 makes -0 into 0: equal numbers, equal bytes; 128 bits of hash, so that no two vectors share one by chance
    hashes = (blake2b((vector + 0.0).tobytes(), digest_size=16).digest() for vector in vectors)
    numbers: dict[bytes, int] = {}
    number = np.fromiter((numbers.setdefault(each, len(numbers)) for each in hashes), np.int64, len(vectors))
    rows = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[rows], np.arange(len(numbers) + 1))
    if len(numbers) < len(vectors):
        vectors = vectors[rows[starts[:-1]]]
    return EmbeddedCaptions(ids, vectors, number, rows, starts)


def _matrix(path: Path, column: pa.ChunkedArray, width: int | None) -> np.ndarray:
    """Return vectors [n, width]; InputError if their dimensions differ, here or from earlier shards."""
    try:
        matrix = from_lists(column)
    except ValueError as error:
        raise InputError(path, "embedding", str(error), AGAIN) from error
    if width is not None and matrix.shape[1] != width:
        problem = f"vectors of {matrix.shape[1]} numbers, where other shards have {width}"
        raise InputError(path, "embedding", problem, EMBED_AGAIN)
    return matrix


def _check_unit(path: Path, ids: np.ndarray, vectors: np.ndarray) -> None:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE))  # so that nan is wrong as well
    if len(wrong):
        place, length = f"embedding of caption {ids[wrong[0]]}", lengths[wrong[0]]
        problem = (
            f"a vector of length {length:.4g}, where unit vectors are needed ({len(wrong):,} of {len(ids):,} are not)"
        )
        raise InputError(path, place, problem, EMBED_AGAIN)
