"""Groups: each caption with its k nearest, identical sets kept once.

After "Image Captioning with Multi-Context Synthetic Data" (ICSD, AAAI 2024) and its code, FeipengMa6/ICSD:
inner products of unit vectors, every caption heads a group.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from icsd import files, tables
from icsd.errors import ConfigError
from icsd.neighbors import Corpus, Find, Members, nearest_captions, read_corpus
from icsd.sharding import shard_of
from icsd.vectors import from_lists, to_lists

_log = logging.getLogger(__name__)


def find_neighbors(shard: Path, embeddings: Sequence[Path], neighbors: Path, k: int, index: Path | None = None) -> None:
    """Write the NEIGHBORS of the captions in the EMBEDDINGS file `shard` among all those in `embeddings`.

    Exact, or with `index`, which `index_captions` made of the same captions, those among what it proposes.
    """
    corpus = _read_corpus(embeddings, k)
    heads = tables.read(shard, tables.EMBEDDINGS, columns=["caption_id"])["caption_id"].to_numpy()
    members = nearest_captions(heads, corpus, k, _exactly if index is None else _by(index))
    ids, similarities = to_lists(members.ids), to_lists(members.similarities)
    columns = {"caption_id": heads, "neighbor_ids": ids, "similarities": similarities}
    tables.write(neighbors, tables.NEIGHBORS, pa.table(columns))


def index_captions(embeddings: Sequence[Path], index: Path, kind: str, settings: Mapping[str, Any] | None) -> None:
    """Write an approximate index, ivf or hnsw, of the distinct vectors in the EMBEDDINGS files."""
    from icsd.backends.approximate import build

    if settings is None:
        raise ConfigError(f"groups.index={kind} needs no index; set ivf or hnsw, in config/config.yaml")
    corpus = read_corpus(embeddings)
    if not len(corpus.ids):
        raise ConfigError(f"groups.index={kind} needs captions, and there are none; see captions in config/config.yaml")
    build(corpus.vectors, kind, settings, index)


def measure_recall(
    embeddings: Sequence[Path], index: Path, report: Path, k: int, queries: int, about: Mapping[str, Any]
) -> None:
    """Write to `report`, as JSON, how many of the exact nearest the index finds for some captions, evenly by id.

    `about` says which index it is, and stands first.
    """
    corpus = _read_corpus(embeddings, k)
    heads = corpus.ids[np.unique(np.linspace(0, len(corpus.ids) - 1, queries).astype(np.int64))]
    exact, found = (nearest_captions(heads, corpus, k, find).ids[:, 1:] for find in (_exactly, _by(index)))
    shares = np.array([len(np.intersect1d(*pair)) / (k - 1) for pair in zip(exact, found, strict=True)])
    measured = {
        **about,
        "captions": len(corpus.ids),
        "queries": len(heads),
        "k": k,
        "recall": round(float(shares.mean()), 6),
        "lowest": round(float(shares.min()), 6),
        "complete": round(float((shares == 1).mean()), 6),
    }
    with files.atomic_path(report) as unfinished:
        unfinished.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    _log.info("groups: the index finds %.4f of the exact nearest of %s captions", shares.mean(), f"{len(heads):,}")


def _exactly(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from icsd.backends.neighbors import nearest  # late: reading the message about k needs no torch

    found = nearest(queries, corpus, k)
    return found.columns, found.similarities


def _by(index: Path) -> Find:
    from icsd.backends.approximate import nearest_by_index

    def find(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = nearest_by_index(index, queries, corpus, k)
        return found.columns, found.similarities

    return find


def _read_corpus(embeddings: Sequence[Path], k: int) -> Corpus:
    """The captions of all shards; ConfigError where there are fewer than k."""
    corpus = read_corpus(embeddings)
    if not 2 <= k <= len(corpus.ids):
        limit = f"between 2 and the number of captions ({len(corpus.ids):,})"
        raise ConfigError(f"groups.k={k} must lie {limit}, in config/config.yaml")
    return corpus


def form_groups(neighbors: Sequence[Path], groups: Path, shards: int, group_times: Path) -> None:
    """Write GROUPS, each in the shard that the head's id names, and GROUP_TIMES of every caption.

    Of the groups with identical member sets the one with the lowest head id is kept. group_times is the
    number of kept groups that a caption is in, as the original calls it; at least 1, since each caption's
    own set is kept once.
    """
    heads, members = _read_neighbors(neighbors)
    kept = first_of_each_set(members.ids)
    _log.info("groups: %s of %s captions, identical sets kept once", f"{len(kept):,}", f"{len(heads):,}")
    shard = np.array([shard_of(int(head), shards) for head in heads[kept]], dtype=np.int64)
    by_shard = (_rows(heads, members, kept[shard == number]) for number in range(shards))
    tables.write_batches(groups, tables.GROUPS, by_shard)
    times = count_members(heads, members.ids[kept])
    tables.write(group_times, tables.GROUP_TIMES, pa.table({"caption_id": heads, "group_times": times}))


def first_of_each_set(ids: np.ndarray) -> np.ndarray:
    """Rows of `ids` [m, k], ascending, of which no earlier row has the same members in any order."""
    _, first = np.unique(np.sort(ids, axis=1), axis=0, return_index=True)
    return np.sort(first)


def count_members(captions: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """How many rows of `ids` [m, k] hold each of `captions` [n], ascending ids; int32 [n]."""
    return np.bincount(np.searchsorted(captions, ids.ravel()), minlength=len(captions)).astype(np.int32)


def _rows(heads: np.ndarray, members: Members, rows: np.ndarray) -> pa.Table:
    ids, similarities = to_lists(members.ids[rows]), to_lists(members.similarities[rows])
    return pa.table({"group_id": heads[rows], "caption_ids": ids, "similarities": similarities})


def _read_neighbors(paths: Sequence[Path]) -> tuple[np.ndarray, Members]:
    """Heads [m], ascending, and their members."""
    rows = tables.concat(paths, tables.NEIGHBORS).sort_by("caption_id")
    members = Members(from_lists(rows["neighbor_ids"]), from_lists(rows["similarities"]))
    return rows["caption_id"].to_numpy(), members
