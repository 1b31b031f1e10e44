"""Approximate search of vectors with faiss indexes: IVF and HNSW."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icsd.core import files
from icsd.core.errors import AGAIN, ConfigError, InputError
from icsd.core.logs import progress
from icsd.models.neighbors import Nearest, best_of

INSTALL = "pip install 'faiss-cpu>=1.15,<2'"
SPARE = 32  # candidates beyond k that are scored exactly
QUERIES = 4096  # searched at once


def build(vectors: np.ndarray, kind: str, settings: Mapping[str, Any], path: Path) -> None:
    """Write an index of `vectors` [n, d] by inner product, of the kind "ivf" or "hnsw" with its `settings`.

    The index file includes the settings of a search.
    """
    faiss = _faiss(kind)
    faiss.omp_set_num_threads(1)  # with several threads the links differ from run to run
    index = _ivf(faiss, vectors, **settings) if kind == "ivf" else _hnsw(faiss, vectors, **settings)
    with files.atomic_path(path) as unfinished:
        faiss.write_index(index, str(unfinished))


def nearest_by_index(path: Path, queries: np.ndarray, corpus: np.ndarray, k: int) -> Nearest:
    """Find the k best of the k + SPARE columns of `corpus` that the index in `path` proposes for each query."""
    faiss = _faiss("an index")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(path, "", f"is no index of faiss ({str(error).splitlines()[-1]})", AGAIN) from error
    if (index.ntotal, index.d) != corpus.shape:
        wanted = f"the captions have {len(corpus):,} of {corpus.shape[1]}"
        problem = f"holds {index.ntotal:,} vectors of {index.d} numbers, but {wanted}"
        raise InputError(path, "", problem, AGAIN)
    parts = []
    starts = range(0, len(queries), QUERIES)
    for start in progress(starts, len(starts), "blocks of captions"):
        some = queries[start : start + QUERIES]
        columns = index.search(some, min(k + SPARE, len(corpus)))[1]
        _check_found(columns, k)
        parts.append(best_of(some, corpus, columns, k))
    if not parts:
        return Nearest(np.empty((0, k), np.int64), np.empty((0, k)))
    return Nearest(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("columns", "similarities")))


def _check_found(columns: np.ndarray, k: int) -> None:
    fewest = int((columns >= 0).sum(1).min())
    if fewest < k:
        way_out = "raise groups.ivf.probes or groups.hnsw.ef_search, or set groups.index: exact, in config/config.yaml"
        raise ConfigError(f"the index finds only {fewest} captions near one, where groups.k={k}; {way_out}")


def _ivf(faiss: Any, vectors: np.ndarray, lists: int | None, probes: int) -> Any:
    """Build an IVF index; `lists` defaults to 4 square roots of n, as faiss advises."""
    n, d = vectors.shape
    lists = min(lists or max(1, int(4 * n**0.5)), n)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # no warning for a small corpus
    index.train(vectors)
    index.add(vectors)
    index.nprobe = min(probes, lists)
    return index


def _hnsw(faiss: Any, vectors: np.ndarray, links: int, ef_construction: int, ef_search: int) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = ef_construction, ef_search
    index.add(vectors)
    return index


def _faiss(kind: str) -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        way_out = f"type {INSTALL}, or set groups.index: exact, in config/config.yaml"
        raise ConfigError(f"groups.index: {kind} needs faiss, which is not installed; {way_out}") from error
    return faiss
