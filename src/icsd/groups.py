"""Groups: each caption with its k nearest, identical sets kept once.

After "Image Captioning with Multi-Context Synthetic Data" (ICSD, AAAI 2024) and its code, FeipengMa6/ICSD:
inner products of unit vectors, every caption heads a group.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd import tables
from icsd.errors import ConfigError, InputError
from icsd.sharding import shard_of
from icsd.vectors import from_lists, on_grid, to_lists

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Members:
    """Members of m groups: ids [m, k] int64, the head first; similarities to the head [m, k] float32."""

    ids: np.ndarray
    similarities: np.ndarray


def find_neighbors(shard: Path, embeddings: Sequence[Path], neighbors: Path, k: int) -> None:
    """Write the NEIGHBORS of the captions in the EMBEDDINGS file `shard` among all those in `embeddings`."""
    ids, vectors = _read_embeddings(embeddings)
    if not 2 <= k <= len(ids):
        limit = f"between 2 and the number of captions ({len(ids):,})"
        raise ConfigError(f"groups.k={k} must lie {limit}, in config/config.yaml")
    heads = tables.read(shard, tables.EMBEDDINGS, columns=["caption_id"])["caption_id"].to_numpy()
    members = nearest_captions(heads, ids, vectors, k)
    ids, similarities = to_lists(members.ids), to_lists(members.similarities)
    columns = {"caption_id": heads, "neighbor_ids": ids, "similarities": similarities}
    tables.write(neighbors, tables.NEIGHBORS, pa.table(columns))


def nearest_captions(heads: np.ndarray, ids: np.ndarray, vectors: np.ndarray, k: int) -> Members:
    """Each of `heads` with the k - 1 other captions of `ids` [n] nearest by their unit `vectors` [n, d].

    The head comes first, even when others tie with it; then by falling cosine similarity, ties to the lower
    id. Captions of equal text are captions of their own: each heads a group and can be a member of the
    others'. Similarities are exact (see `icsd.backends.neighbors`), so that shards, blocks and reruns give
    the same rows.
    """
    from icsd.backends.neighbors import nearest  # late: reading the message about k needs no torch

    by_id = np.argsort(ids)
    ids, vectors = ids[by_id], on_grid(vectors[by_id])
    distinct, copies = _distinct(vectors)  # equal vectors are searched for once
    rows = np.searchsorted(ids, heads)
    asked, answer = np.unique(distinct[rows], return_inverse=True)
    firsts = vectors[[places[0] for places in copies]]
    found = nearest(firsts[asked], firsts, min(k, len(copies)))
    members = Members(np.empty((len(heads), k), np.int64), np.empty((len(heads), k), np.float32))
    for row, (head, number) in enumerate(zip(heads, answer, strict=True)):
        close, falling = found.columns[number], found.similarities[number]
        others, similarities = _others(head, close, falling, copies, ids, k)
        own = np.square(vectors[rows[row]], dtype=np.float64).sum()
        members.ids[row], members.similarities[row] = [head, *others], [own, *similarities]
    return members


def _distinct(vectors: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """The number of each row's vector [n], by first appearance, and the rows of each number, ascending."""
    numbers: dict[bytes, int] = {}
    copies: list[list[int]] = []
    of_row = np.empty(len(vectors), dtype=np.int64)
    for row, vector in enumerate(vectors + 0.0):  # + 0.0 makes -0 into 0: equal numbers, equal bytes
        number = numbers.setdefault(vector.tobytes(), len(copies))
        if number == len(copies):
            copies.append([])
        copies[number].append(row)
        of_row[row] = number
    return of_row, copies


def _others(
    head: int, numbers: np.ndarray, similarities: np.ndarray, copies: list[list[int]], ids: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and similarities of the k - 1 captions nearest to `head`, from its nearest distinct vectors."""
    places = [copies[number][:k] for number in numbers]  # ids ascend with rows: the first k are enough
    repeated = np.repeat(similarities, [len(copy) for copy in places])
    rows: np.ndarray = np.concatenate(places)
    order = np.lexsort((rows, -repeated))
    found, repeated = ids[rows[order]], repeated[order]
    other = found != head
    return found[other][: k - 1], repeated[other][: k - 1]


def form_groups(neighbors: Sequence[Path], groups: Sequence[Path], group_times: Path) -> None:
    """Write GROUPS, one file a shard of `groups` by the head's id, and GROUP_TIMES of every caption.

    Of the groups with identical member sets the one with the lowest head id is kept. group_times is the
    number of kept groups that a caption is in, as the original calls it; at least 1, since each caption's
    own set is kept once.
    """
    heads, members = _read_neighbors(neighbors)
    kept = first_of_each_set(members.ids)
    _log.info("groups: %s of %s captions, identical sets kept once", f"{len(kept):,}", f"{len(heads):,}")
    shards = np.array([shard_of(int(head), len(groups)) for head in heads[kept]], dtype=np.int64)
    for number, path in enumerate(groups):
        _write_groups(path, heads, members, kept[shards == number])
    times = count_members(heads, members.ids[kept])
    tables.write(group_times, tables.GROUP_TIMES, pa.table({"caption_id": heads, "group_times": times}))


def first_of_each_set(ids: np.ndarray) -> np.ndarray:
    """Rows of `ids` [m, k], ascending, of which no earlier row has the same members in any order."""
    _, first = np.unique(np.sort(ids, axis=1), axis=0, return_index=True)
    return np.sort(first)


def count_members(captions: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """How many rows of `ids` [m, k] hold each of `captions` [n], ascending ids; int32 [n]."""
    return np.bincount(np.searchsorted(captions, ids.ravel()), minlength=len(captions)).astype(np.int32)


def _write_groups(path: Path, heads: np.ndarray, members: Members, rows: np.ndarray) -> None:
    ids, similarities = to_lists(members.ids[rows]), to_lists(members.similarities[rows])
    columns = {"group_id": heads[rows], "caption_ids": ids, "similarities": similarities}
    tables.write(path, tables.GROUPS, pa.table(columns))


def _read_embeddings(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Caption ids [n] and vectors [n, d] of all shards."""
    ids: list[np.ndarray] = []
    vectors: list[np.ndarray] = []
    for path in paths:
        shard = tables.read(path, tables.EMBEDDINGS)
        if len(shard):
            ids.append(shard["caption_id"].to_numpy())
            vectors.append(_matrix(path, shard["embedding"], width=vectors[0].shape[1] if vectors else None))
    if not ids:
        return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    return np.concatenate(ids), np.concatenate(vectors)


def _read_neighbors(paths: Sequence[Path]) -> tuple[np.ndarray, Members]:
    """Heads [m], ascending, and their members."""
    rows = tables.concat(paths, tables.NEIGHBORS).sort_by("caption_id")
    members = Members(from_lists(rows["neighbor_ids"]), from_lists(rows["similarities"]))
    return rows["caption_id"].to_numpy(), members


def _matrix(path: Path, column: pa.ChunkedArray, width: int | None) -> np.ndarray:
    """Vectors [n, width]; InputError if they are of different lengths, here or in the shards before."""
    try:
        matrix = from_lists(column)
    except ValueError as error:
        raise InputError(path, "embedding", str(error), "delete the file and run snakemake again") from error
    if width is not None and matrix.shape[1] != width:
        problem = f"vectors of {matrix.shape[1]} numbers, where other shards have {width}"
        raise InputError(path, "embedding", problem, "delete the embeddings folder and run snakemake again")
    return matrix
