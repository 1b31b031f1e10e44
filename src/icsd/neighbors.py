"""The captions of a corpus by their vectors, and the nearest of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd import tables
from icsd.errors import InputError
from icsd.vectors import from_lists, on_grid

AGAIN = "delete the embeddings folder and run snakemake again"
TOLERANCE = 1e-3  # by how much a length may differ from 1
AT_ONCE = 4096  # captions whose members are put in order together

# columns [m, k] and similarities [m, k] of the k nearest of `corpus` for each of `queries`
Find = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Members:
    """Members of m groups: ids [m, k] int64, the head first; similarities to the head [m, k] float32."""

    ids: np.ndarray
    similarities: np.ndarray


@dataclass(frozen=True)
class Corpus:
    """n captions, ascending ids, and their distinct unit vectors on the grid [u, d], by first appearance.

    Caption `row` has the vector `number[row]`; those of a vector v are `rows[starts[v] : starts[v + 1]]`, ascending.
    """

    ids: np.ndarray
    vectors: np.ndarray
    number: np.ndarray
    rows: np.ndarray
    starts: np.ndarray


def read_corpus(paths: Sequence[Path]) -> Corpus:
    """The captions of all EMBEDDINGS shards; InputError for vectors of two lengths, or not of length 1."""
    ids: list[np.ndarray] = []
    vectors: list[np.ndarray] = []
    for path in paths:
        shard = tables.read(path, tables.EMBEDDINGS)
        if len(shard):
            ids.append(shard["caption_id"].to_numpy())
            vectors.append(_matrix(path, shard["embedding"], width=vectors[0].shape[1] if vectors else None))
            _check_unit(path, ids[-1], vectors[-1])
    if not ids:
        return corpus_of(np.zeros(0, np.int64), np.zeros((0, 0), np.float32))
    return corpus_of(np.concatenate(ids), np.concatenate(vectors) if len(vectors) > 1 else vectors[0])


def corpus_of(ids: np.ndarray, vectors: np.ndarray) -> Corpus:
    """Captions `ids` [n] with their unit `vectors` [n, d], in any order."""
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
    return Corpus(ids, vectors, number, rows, starts)


def nearest_captions(heads: np.ndarray, corpus: Corpus, k: int, find: Find) -> Members:
    """Each of `heads` with the k - 1 other captions of the corpus nearest by their vectors, as `find` finds them.

    The head comes first, even when others tie with it; then by falling cosine similarity, ties to the lower
    id. Captions of equal text are captions of their own: each heads a group and can be a member of the
    others'. Equal vectors are searched for once.
    """
    rows = np.searchsorted(corpus.ids, heads)
    asked, answer = np.unique(corpus.number[rows], return_inverse=True)
    # all that there are ask: `find` may take half the products
    queries = corpus.vectors if len(asked) == len(corpus.vectors) else corpus.vectors[asked]
    columns, similarities = find(queries, corpus.vectors, min(k, len(corpus.vectors)))
    members = Members(np.empty((len(heads), k), np.int64), np.empty((len(heads), k), np.float32))
    for start in range(0, len(heads), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        own = corpus.vectors[corpus.number[rows[some]]]
        members.ids[some, 0] = heads[some]
        members.similarities[some, 0] = np.square(own, dtype=np.float64).sum(axis=1)
        members.ids[some, 1:], members.similarities[some, 1:] = _others(
            rows[some], columns[answer[some]], similarities[answer[some]], corpus, k - 1
        )
    return members


def _others(
    heads: np.ndarray, columns: np.ndarray, similarities: np.ndarray, corpus: Corpus, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and similarities [m, count] of the captions of the vectors `columns` [m, w], without the rows `heads`."""
    first = corpus.starts[columns].ravel()
    copies = np.minimum(corpus.starts[columns + 1].ravel() - first, count + 1)  # ids ascend: the first ones are enough
    place = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    rows = corpus.rows[np.repeat(first, copies) + place]
    query = np.repeat(np.repeat(np.arange(len(heads)), columns.shape[1]), copies)
    falling = np.repeat(similarities.ravel(), copies)
    other = rows != heads[query]
    rows, query, falling = rows[other], query[other], falling[other]
    order = np.lexsort((rows, -falling, query))
    rows, query, falling = rows[order], query[order], falling[order]
    rank = np.arange(len(query)) - np.searchsorted(query, np.arange(len(heads)))[query]
    best = rank < count
    return corpus.ids[rows[best]].reshape(-1, count), falling[best].reshape(-1, count)


def _matrix(path: Path, column: pa.ChunkedArray, width: int | None) -> np.ndarray:
    """Vectors [n, width]; InputError if they are of different lengths, here or in the shards before."""
    try:
        matrix = from_lists(column)
    except ValueError as error:
        raise InputError(path, "embedding", str(error), "delete the file and run snakemake again") from error
    if width is not None and matrix.shape[1] != width:
        problem = f"vectors of {matrix.shape[1]} numbers, where other shards have {width}"
        raise InputError(path, "embedding", problem, AGAIN)
    return matrix


def _check_unit(path: Path, ids: np.ndarray, vectors: np.ndarray) -> None:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE))  # so that nan is wrong as well
    if len(wrong):
        place, length = f"embedding of caption {ids[wrong[0]]}", lengths[wrong[0]]
        problem = (
            f"a vector of length {length:.4g}, where unit vectors are needed ({len(wrong):,} of {len(ids):,} are not)"
        )
        raise InputError(path, place, problem, AGAIN)
