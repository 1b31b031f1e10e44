"""The k nearest captions of each caption: exact, or among the candidates of an index of faiss."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from icsd.core import files, tables
from icsd.core.errors import ConfigError
from icsd.core.vectors import to_lists
from icsd.stages.groups.corpus import EmbeddedCaptions, read_embedded_captions

AT_ONCE = 4096  # captions whose members are sorted together

_log = logging.getLogger(__name__)

# columns [m, k] and similarities [m, k] of the k nearest of `corpus` for each of `queries`
Find = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Members:
    """Members of m groups: ids [m, k] int64, the anchor first; similarities to the anchor [m, k] float32."""

    ids: np.ndarray
    similarities: np.ndarray


def nearest_captions(anchors: np.ndarray, corpus: EmbeddedCaptions, k: int, find: Find) -> Members:
    """Find for each of `anchors` the k - 1 other captions of the corpus that are nearest by `find`.

    The anchor comes first, even when others tie with it; the others follow by falling cosine similarity, ties to the
    lower id. Captions of equal text stay separate: each has a group and can be a member of the others' groups. Equal
    vectors are searched once.
    """
    rows = np.searchsorted(corpus.ids, anchors)
    distinct, inverse = np.unique(corpus.number[rows], return_inverse=True)
    # queries that are the corpus itself let `find` compute half the products
    queries = corpus.vectors if len(distinct) == len(corpus.vectors) else corpus.vectors[distinct]
    columns, similarities = find(queries, corpus.vectors, min(k, len(corpus.vectors)))
    members = Members(np.empty((len(anchors), k), np.int64), np.empty((len(anchors), k), np.float32))
    for start in range(0, len(anchors), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        own = corpus.vectors[corpus.number[rows[some]]]
        members.ids[some, 0] = anchors[some]
        members.similarities[some, 0] = np.square(own, dtype=np.float64).sum(axis=1)
        members.ids[some, 1:], members.similarities[some, 1:] = _others(
            rows[some], columns[inverse[some]], similarities[inverse[some]], corpus, k - 1
        )
    return members


def _others(
    anchors: np.ndarray, columns: np.ndarray, similarities: np.ndarray, corpus: EmbeddedCaptions, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and similarities [m, count] of the captions of the vectors `columns` [m, w], without `anchors`."""
    first = corpus.starts[columns].ravel()
    copies = np.minimum(corpus.starts[columns + 1].ravel() - first, count + 1)  # ids ascend: the first ones are enough
    place = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    rows = corpus.rows[np.repeat(first, copies) + place]
    query = np.repeat(np.repeat(np.arange(len(anchors)), columns.shape[1]), copies)
    falling = np.repeat(similarities.ravel(), copies)
    other = rows != anchors[query]
    rows, query, falling = rows[other], query[other], falling[other]
    order = np.lexsort((rows, -falling, query))
    rows, query, falling = rows[order], query[order], falling[order]
    rank = np.arange(len(query)) - np.searchsorted(query, np.arange(len(anchors)))[query]
    best = rank < count
    return corpus.ids[rows[best]].reshape(-1, count), falling[best].reshape(-1, count)


def find_neighbors(shard: Path, embeddings: Sequence[Path], neighbors: Path, k: int, index: Path | None = None) -> None:
    """Write the NEIGHBORS of the captions in the EMBEDDINGS file `shard` among all those in `embeddings`.

    Captions that are not among all those have no row: the guard has dropped them. The search is exact, or limited to
    the candidates of `index`, which `index_captions` wrote for the same captions.
    """
    corpus = _read_enough(embeddings, k)
    anchors = tables.read(shard, tables.EMBEDDINGS, columns=["caption_id"])["caption_id"].to_numpy()
    anchors = anchors[np.isin(anchors, corpus.ids)]
    members = nearest_captions(anchors, corpus, k, _exact_search if index is None else _index_search(index))
    ids, similarities = to_lists(members.ids), to_lists(members.similarities)
    columns = {"caption_id": anchors, "neighbor_ids": ids, "similarities": similarities}
    tables.write(neighbors, tables.NEIGHBORS, pa.table(columns))


def index_captions(embeddings: Sequence[Path], index: Path, kind: str, settings: Mapping[str, Any] | None) -> None:
    """Write an approximate index, ivf or hnsw, of the distinct vectors in the EMBEDDINGS files."""
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
    corpus = _read_enough(embeddings, k)
    anchors = corpus.ids[np.unique(np.linspace(0, len(corpus.ids) - 1, queries).astype(np.int64))]
    exact, found = (
        nearest_captions(anchors, corpus, k, find).ids[:, 1:] for find in (_exact_search, _index_search(index))
    )
    shares = np.array([len(np.intersect1d(*pair)) / (k - 1) for pair in zip(exact, found, strict=True)])
    measured = {
        **about,
        "captions": len(corpus.ids),
        "queries": len(anchors),
        "k": k,
        "recall": round(float(shares.mean()), 6),
        "lowest": round(float(shares.min()), 6),
        "complete": round(float((shares == 1).mean()), 6),
    }
    with files.atomic_path(report) as unfinished:
        unfinished.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    _log.info("groups: the index finds %.4f of the exact nearest of %s captions", shares.mean(), f"{len(anchors):,}")


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


def _read_enough(embeddings: Sequence[Path], k: int) -> EmbeddedCaptions:
    """Read the captions of all shards; ConfigError if there are fewer than k."""
    corpus = read_embedded_captions(embeddings)
    if not 2 <= k <= len(corpus.ids):
        limit = f"between 2 and the number of captions ({len(corpus.ids):,})"
        raise ConfigError(f"groups.k={k} must lie {limit}, in config/config.yaml")
    return corpus
