"""The k nearest captions of each caption: exact, or among the candidates of an index of faiss."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from icsd.core import files, tables
from icsd.core.errors import ConfigError
from icsd.core.vectors import to_lists
from icsd.stages.groups.corpus import EmbeddedCaptions, read_blocks, read_embedded_captions

AT_ONCE = 4096  # captions whose members are sorted together

_log = logging.getLogger(__name__)

# columns [m, k] and similarities [m, k] of the k nearest of `corpus` for each of `queries`
Find = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Members:
    """Members of m groups: ids [m, k] int64, the anchor first; similarities to the anchor [m, k] float32."""

    ids: np.ndarray
    similarities: np.ndarray


class Others(NamedTuple):
    """The best so far for m anchors: ids [m, w], similarities [m, w] float64, falling; -inf where there is none."""

    ids: np.ndarray
    similarities: np.ndarray


def nearest_captions(anchors: EmbeddedCaptions, blocks: Iterable[EmbeddedCaptions], k: int, find: Find) -> Members:
    """Find for each of the anchors that are in the corpus the k - 1 other captions of it that are nearest by `find`.

    `blocks` are the corpus, of at least k captions, each in one block. The anchor comes first, even when others tie
    with it; the others follow by falling cosine similarity, ties to the lower id: whatever the blocks. Captions of
    equal text stay separate: each has a group and can be a member of the others' groups. Equal vectors of a block are
    searched once.
    """
    others = _no_others(len(anchors.ids), k - 1)
    present = np.zeros(len(anchors.ids), bool)
    for block in blocks:
        present |= np.isin(anchors.ids, block.ids)
        # queries that are the block itself let `find` compute half the products
        itself = np.array_equal(anchors.vectors, block.vectors)
        queries = block.vectors if itself else anchors.vectors
        columns, similarities = find(queries, block.vectors, min(k, len(block.vectors)))
        for some in _slices(len(anchors.ids)):
            number = anchors.number[some]
            found = _others(anchors.ids[some], columns[number], similarities[number], block, k - 1)
            others.ids[some], others.similarities[some] = _best(_slice(others, some), found)
    return _with_anchors(anchors, _slice(others, present), present)


def _with_anchors(anchors: EmbeddedCaptions, others: Others, present: np.ndarray) -> Members:
    """Put those anchors that are `present` before their others, with the square of their vectors' lengths."""
    numbers = anchors.number[present]
    own = np.concatenate([_squares(anchors.vectors[numbers[some]]) for some in _slices(len(numbers))] or [np.zeros(0)])
    ids = np.column_stack([anchors.ids[present], others.ids])
    return Members(ids, np.column_stack([own, others.similarities]).astype(np.float32))


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.square(vectors, dtype=np.float64).sum(axis=1)


def _others(
    anchors: np.ndarray, columns: np.ndarray, similarities: np.ndarray, block: EmbeddedCaptions, count: int
) -> Others:
    """The captions of the vectors `columns` [m, w] that are no `anchors` [m], the best `count` of each row."""
    first = block.starts[columns].ravel()
    copies = np.minimum(block.starts[columns + 1].ravel() - first, count + 1)  # ids ascend: the first ones are enough
    place = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    ids = block.ids[block.rows[np.repeat(first, copies) + place]]
    query = np.repeat(np.repeat(np.arange(len(anchors)), columns.shape[1]), copies)
    falling = np.repeat(similarities.ravel(), copies)
    other = ids != anchors[query]
    ids, query, falling = ids[other], query[other], falling[other]
    order = np.lexsort((ids, -falling, query))
    ids, query, falling = ids[order], query[order], falling[order]
    rank = np.arange(len(query)) - np.searchsorted(query, np.arange(len(anchors)))[query]
    best = rank < count
    found = _no_others(len(anchors), count)
    place_of = query[best], rank[best]
    found.ids[place_of], found.similarities[place_of] = ids[best], falling[best]
    return found


def _best(one: Others, other: Others) -> tuple[np.ndarray, np.ndarray]:
    """The best of each row of two [m, w], w of them."""
    ids, similarities = np.hstack([one.ids, other.ids]), np.hstack([one.similarities, other.similarities])
    order = np.lexsort((ids, -similarities))[:, : one.ids.shape[1]]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)


def _no_others(rows: int, width: int) -> Others:
    return Others(np.zeros((rows, width), np.int64), np.full((rows, width), -np.inf))


def _slice(others: Others, rows: slice | np.ndarray) -> Others:
    return Others(others.ids[rows], others.similarities[rows])


def _slices(length: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, length, AT_ONCE))


def find_neighbors(
    shards: Sequence[Path], embeddings: Sequence[Path], neighbors: Path, k: int, index: Path | None = None
) -> None:
    """Write the NEIGHBORS of the captions in the EMBEDDINGS files `shards` among all those in `embeddings`.

    Captions that are not among all those have no row: the guard has dropped them. The search is exact, over one block
    of `embeddings` after the other, or limited to the candidates of `index`, which `index_captions` wrote for the same
    captions: then all vectors are in memory.
    """
    _check_k(k, embeddings)
    anchors = read_embedded_captions(shards)
    if index is None:
        members = nearest_captions(anchors, read_blocks(embeddings), k, _exact_search)
    else:
        members = nearest_captions(anchors, [read_embedded_captions(embeddings)], k, _index_search(index))
    ids, similarities = to_lists(members.ids), to_lists(members.similarities)
    columns = {"caption_id": members.ids[:, 0], "neighbor_ids": ids, "similarities": similarities}
    tables.write(neighbors, tables.NEIGHBORS, pa.table(columns))


def index_captions(embeddings: Sequence[Path], index: Path, kind: str, settings: Mapping[str, Any] | None) -> None:
    """Write an approximate index, ivf or hnsw, of the distinct vectors in `embeddings`."""
    from icsd.models.index import build

    if settings is None:
        raise ConfigError(f"groups.index={kind} needs no index; set ivf or hnsw, in config/config.yaml")
    corpus = read_embedded_captions(embeddings)
    if not len(corpus.ids):
        raise ConfigError(f"groups.index={kind} needs captions, and there are none; see captions in config/config.yaml")
    build(corpus.vectors, kind, settings, index)


def measure_recall(
    embeddings: Sequence[Path], index: Path, report: Path, k: int, queries: int, about: Mapping[str, Any]
) -> None:
    """Write the recall of the index on an even sample of captions to `report`, as JSON.

    `about` describes the index and comes first.
    """
    _check_k(k, embeddings)
    corpus = read_embedded_captions(embeddings)
    anchors = corpus.at(np.unique(np.linspace(0, len(corpus.ids) - 1, queries).astype(np.int64)))
    exact, found = (
        nearest_captions(anchors, [corpus], k, find).ids[:, 1:] for find in (_exact_search, _index_search(index))
    )
    shares = np.array([len(np.intersect1d(*pair)) / (k - 1) for pair in zip(exact, found, strict=True)])
    measured = {
        **about,
        "captions": len(corpus.ids),
        "queries": len(anchors.ids),
        "k": k,
        "recall": round(float(shares.mean()), 6),
        "lowest": round(float(shares.min()), 6),
        "complete": round(float((shares == 1).mean()), 6),
    }
    with files.atomic_path(report) as unfinished:
        unfinished.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    _log.info(
        "groups: the index finds %.4f of the exact nearest of %s captions", shares.mean(), f"{len(anchors.ids):,}"
    )


def _exact_search(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from icsd.models.neighbors import nearest  # late: an error about k needs no torch

    found = nearest(queries, corpus, k)
    return found.columns, found.similarities


def _index_search(index: Path) -> Find:
    from icsd.models.index import nearest_by_index

    def find(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = nearest_by_index(index, queries, corpus, k)
        return found.columns, found.similarities

    return find


def _check_k(k: int, embeddings: Sequence[Path]) -> None:
    captions = sum(tables.count(path, tables.EMBEDDINGS) for path in embeddings)
    if not 2 <= k <= captions:
        limit = f"between 2 and the number of captions ({captions:,})"
        raise ConfigError(f"groups.k={k} must lie {limit}, in config/config.yaml")
