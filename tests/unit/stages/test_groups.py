import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icsd.core import tables
from icsd.core.errors import ConfigError, InputError
from icsd.core.ids import shard_names, shard_of
from icsd.core.vectors import on_grid, to_lists, unit_on_grid
from icsd.models import neighbors as backend
from icsd.models.neighbors import nearest
from icsd.stages.groups import Selection, find_neighbors, form_groups, index_captions, measure_recall
from icsd.stages.groups import corpus as corpus_module
from icsd.stages.groups.corpus import embedded_captions
from icsd.stages.groups.forming import count_members
from icsd.stages.groups.searching import Members, _exact_search
from icsd.stages.groups.searching import nearest_captions as nearest_by
from icsd.stages.groups.selection import first_like_it


def _vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return unit_on_grid(np.random.default_rng(seed).normal(size=(n, d)))


def nearest_captions(anchors: np.ndarray, ids: np.ndarray, vectors: np.ndarray, k: int) -> Members:
    whole = embedded_captions(ids, vectors)
    return nearest_by(whole.at(np.searchsorted(whole.ids, np.sort(anchors))), [whole], k, _exact_search)


def _brute_force(anchors: np.ndarray, ids: np.ndarray, vectors: np.ndarray, k: int) -> list[list[int]]:
    """Compute the groups with Python's integers, which are exact at any size."""
    whole = [[int(x * 2**22) for x in row] for row in vectors.tolist()]
    rows = {int(i): row for i, row in zip(ids, whole, strict=True)}
    groups = []
    for anchor in anchors.tolist():
        falling = {i: -sum(a * b for a, b in zip(rows[anchor], row, strict=True)) for i, row in rows.items()}
        groups.append([anchor, *sorted((i for i in rows if i != anchor), key=lambda i: (falling[i], i))][:k])
    return groups


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks and short lists even for few vectors; products as if there were units for bfloat16, or none."""
    monkeypatch.setattr(backend, "BLOCKS", {"cpu": (7, 11), "cuda": (7, 11)})
    for name, size in {"SAMPLE": 5, "PIVOTS": 3, "GATHERED": 100}.items():
        monkeypatch.setattr(backend, name, size)
    monkeypatch.setattr(backend, "has_bfloat16", lambda device_type: request.param)
    monkeypatch.setattr(backend, "SPARE", 2)


def test_nearest_captions_equals_brute_force() -> None:
    ids = np.random.default_rng(1).permutation(1000)[:60]
    vectors = _vectors(60, 8)
    found = nearest_captions(ids[:20], ids, vectors, 9)
    assert found.ids.tolist() == _brute_force(np.sort(ids[:20]), ids, vectors, 9)
    place = {i: row for row, i in enumerate(ids.tolist())}
    for members, similarities in zip(found.ids, found.similarities, strict=True):
        rows = vectors[[place[i] for i in members.tolist()]]
        np.testing.assert_allclose(similarities, rows @ rows[0], atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_ties_go_to_the_lower_id_whatever_the_blocks() -> None:
    # corners of a square and many copies: nearly all similarities tie, far more than the spare candidates
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)[np.random.default_rng(2).integers(0, 4, 50)]
    ids = np.random.default_rng(3).permutation(50)
    found = nearest_captions(ids, ids, vectors, 12)
    assert found.ids.tolist() == _brute_force(np.sort(ids), ids, vectors, 12)


def _by_whole_numbers(queries: np.ndarray, corpus: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest dot products, ties to the lower: exact, since the sums stay below 2^63."""
    q, c = (np.rint(vectors.astype(np.float64) * 2**22).astype(np.int64) for vectors in (queries, corpus))
    products = q @ c.T
    return np.lexsort((np.broadcast_to(np.arange(len(c)), products.shape), -products))[:, :k]


@pytest.mark.usefixtures("small_blocks")
def test_ties_between_different_vectors_go_to_the_lower_column() -> None:
    # the signs of the last coordinates do not count: 32 different vectors at the same similarity to the query
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, 32).T
    corpus = on_grid(np.hstack([np.full((32, 1), 0.5), signs * np.sqrt(0.75 / 5)]))
    query = np.eye(6, dtype=np.float32)[:1]
    assert nearest(query, corpus, 5).columns.tolist() == [[0, 1, 2, 3, 4]]


# with the corpus itself as queries, half the products and another order of rows are computed
@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("k", [1, 6, 80])
@pytest.mark.usefixtures("small_blocks")
def test_vectors_closer_than_the_products_can_tell_are_ordered_exactly(itself: bool, k: int) -> None:
    rng = np.random.default_rng(4)
    corpus = on_grid(_vectors(1, 64) + rng.integers(-2, 3, size=(80, 64)) * 2.0**-22)
    queries = corpus if itself else corpus[:10].copy()
    assert np.array_equal(nearest(queries, corpus, k).columns, _by_whole_numbers(queries, corpus, k))


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("spread", [0.003, 0.05, 1.0])
@pytest.mark.usefixtures("small_blocks")
def test_clustered_vectors_are_ordered_exactly(itself: bool, spread: float) -> None:
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(5, 24))
    corpus = unit_on_grid(centres[rng.integers(0, 5, 120)] + spread * rng.normal(size=(120, 24)))
    queries = corpus if itself else corpus[::7].copy()
    found = nearest(queries, corpus, 9)
    assert np.array_equal(found.columns, _by_whole_numbers(queries, corpus, 9))
    similarities = np.einsum("qd,qkd->qk", queries.astype(np.float64), corpus[found.columns].astype(np.float64))
    assert np.array_equal(found.similarities, similarities)


@pytest.mark.usefixtures("small_blocks")
def test_vectors_that_point_away_from_one_another_are_found() -> None:
    corpus = on_grid(np.concatenate([np.eye(16), -np.eye(16)]).astype(np.float32))  # the third best is 0, the last -1
    assert np.array_equal(nearest(corpus, corpus, 32).columns, _by_whole_numbers(corpus, corpus, 32))


def test_the_blocks_of_the_default_sizes_give_the_exact_answer() -> None:
    corpus = _vectors(3000, 32)
    assert np.array_equal(nearest(corpus, corpus, 30).columns, _by_whole_numbers(corpus, corpus, 30))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_no_product_is_further_from_the_exact_one_than_the_bound(dtype: torch.dtype) -> None:
    q, c = (torch.from_numpy(_vectors(400, 512, seed)) for seed in (1, 2))
    c[:20] = q[:20]  # similarities near 1 as well
    error, rounding = backend.error_bounds(q, c, dtype)
    exact = q.double() @ c.double().T
    products = (q.to(dtype) @ c.to(dtype).T).double()
    assert bool(((products - exact).abs() <= error + rounding * products.abs()).all())
    assert error < (0.005 if dtype == torch.bfloat16 else 1e-4)


def test_a_caption_is_first_in_its_own_group_though_others_tie() -> None:
    vectors = np.repeat(_vectors(2, 4), [4, 2], axis=0)
    found = nearest_captions(np.arange(6), np.arange(6), vectors, 3)
    assert found.ids.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 0, 1], [4, 5, 0], [5, 4, 0]]


def test_k_of_all_captions_gives_them_all() -> None:
    found = nearest_captions(np.arange(5), np.arange(5), _vectors(5, 4), 5)
    assert all(sorted(members) == [0, 1, 2, 3, 4] for members in found.ids.tolist())


def test_identical_sets_are_kept_once_by_the_first_row() -> None:
    ids = np.array([[1, 2, 3], [2, 4, 5], [3, 2, 1], [4, 2, 5], [5, 4, 1]])
    assert first_like_it(ids).tolist() == [0, 1, 0, 1, 4]


@pytest.mark.parametrize(
    ("dedupe", "kept"),
    [("all", [1, 3, 4, 5]), ("none", [1, 2, 3, 4, 5]), (2, [1, 3, 4]), (3, [1, 3, 4, 5]), (9, [1, 3, 4, 5])],
)
def test_groups_are_kept_once_by_all_or_their_first_members(tmp_path: Path, dedupe: Any, kept: list[int]) -> None:
    ids = [[1, 2, 3], [2, 1, 3], [3, 4, 2], [4, 5, 3], [5, 4, 1]]
    rows = [{"caption_id": each[0], "neighbor_ids": each, "similarities": [1.0, 0.9, 0.8]} for each in ids]
    tables.write(tmp_path / "neighbors.parquet", tables.NEIGHBORS, rows)
    form_groups(
        [tmp_path / "neighbors.parquet"], tmp_path / "groups.parquet", 1, tmp_path / "times.parquet", Selection(dedupe)
    )
    groups = tables.read(tmp_path / "groups.parquet", tables.GROUPS).to_pylist()
    assert [row["group_id"] for row in groups] == kept
    times = tables.read(tmp_path / "times.parquet", tables.GROUP_TIMES).to_pylist()
    for row in times:
        assert row["group_times"] == sum(row["caption_id"] in group["caption_ids"] for group in groups) > 0


def test_five_first_members_keep_the_groups_of_the_published_code(tmp_path: Path) -> None:
    """There a group goes if an earlier one has the same five first members, in any order: counted here by hand."""
    ids, vectors = np.arange(60), _vectors(60, 4)
    embeddings = tmp_path / "embeddings.parquet"
    _write_embeddings(embeddings, ids, vectors)
    find_neighbors([embeddings], [embeddings], tmp_path / "neighbors.parquet", 8)
    seen: set[tuple[int, ...]] = set()
    kept = []
    for row in tables.read(tmp_path / "neighbors.parquet", tables.NEIGHBORS).sort_by("caption_id").to_pylist():
        five = tuple(sorted(row["neighbor_ids"][:5]))
        kept += [] if five in seen else [row["caption_id"]]
        seen.add(five)
    form_groups(
        [tmp_path / "neighbors.parquet"], tmp_path / "groups.parquet", 1, tmp_path / "times.parquet", Selection(5)
    )
    assert tables.read(tmp_path / "groups.parquet", tables.GROUPS)["group_id"].to_pylist() == kept
    assert len(kept) < 60


def test_count_members_counts_rows_with_each_caption() -> None:
    times = count_members(np.array([1, 2, 3, 9]), np.array([[1, 2], [2, 9]]))
    assert times.tolist() == [1, 2, 0, 1]


def _run(folder: Path, ids: np.ndarray, vectors: np.ndarray, k: int, shards: int) -> dict[str, list[dict]]:
    """All rows of neighbors, groups and group_times for a number of shards, by id."""
    names = shard_names(shards)
    own = [np.array([shard_of(int(i), shards) == n for i in ids]) for n in range(shards)]
    embeddings = [folder / f"embeddings-{name}.parquet" for name in names]
    neighbors = [folder / f"neighbors-{name}.parquet" for name in names]
    groups, times = folder / f"groups-{shards}.parquet", folder / f"times-{shards}.parquet"
    for path, rows in zip(embeddings, own, strict=True):
        _write_embeddings(path, ids[rows], vectors[rows])
    for shard, path in zip(embeddings, neighbors, strict=True):
        find_neighbors([shard], embeddings, path, k)
    form_groups(neighbors, groups, shards, times)
    for number, name in enumerate(names):
        anchors = tables.read(groups, tables.GROUPS, shard=name)["group_id"].to_pylist()
        assert all(shard_of(anchor, shards) == number for anchor in anchors)
    rows = {
        "neighbors": tables.concat(neighbors, tables.NEIGHBORS).sort_by("caption_id"),
        "groups": tables.read(groups, tables.GROUPS).sort_by("group_id"),
        "times": tables.read(times, tables.GROUP_TIMES).sort_by("caption_id"),
    }
    return {name: table.to_pylist() for name, table in rows.items()}


def _write_embeddings(path: Path, ids: np.ndarray, vectors: np.ndarray) -> None:
    import pyarrow as pa

    tables.write(path, tables.EMBEDDINGS, pa.table({"caption_id": ids, "embedding": to_lists(vectors)}))


def test_four_shards_give_the_rows_of_one(tmp_path: Path) -> None:
    ids = np.random.default_rng(5).permutation(500)[:80]
    vectors = np.concatenate([_vectors(60, 6), _vectors(20, 6)])  # twenty captions twice
    one, four = _run(tmp_path, ids, vectors, 7, 1), _run(tmp_path, ids, vectors, 7, 4)
    assert one == four
    members = [frozenset(row["caption_ids"]) for row in one["groups"]]
    assert len(set(members)) == len(members)
    assert sum(row["group_times"] for row in one["times"]) == 7 * len(members)
    assert all(row["group_times"] >= 1 for row in one["times"])
    assert {frozenset(row["neighbor_ids"]) for row in one["neighbors"]} == set(members)


@pytest.mark.parametrize("numbers", [1, 60, 200])  # a row group a block, two, and six
def test_a_corpus_in_blocks_gives_the_rows_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    """Few different vectors: ties and copies lie in several blocks, and blocks have fewer captions than a group."""
    ids = np.random.default_rng(5).permutation(500)[:90]
    vectors = np.concatenate([_vectors(60, 6), np.repeat(_vectors(3, 6), 10, axis=0)])
    one = _run(tmp_path, ids, vectors, 9, 1)
    monkeypatch.setattr(corpus_module, "SEARCHED_BYTES", 4 * numbers)
    assert _run(tmp_path, ids, vectors, 9, 12) == one
    whole = tmp_path / "all.parquet"
    tables.gather([tmp_path / f"embeddings-{name}.parquet" for name in shard_names(12)], tables.EMBEDDINGS, whole)
    assert len(list(corpus_module.read_blocks([whole]))) == {1: 12, 60: 6, 200: 3}[numbers]
    find_neighbors([whole], [whole], tmp_path / "neighbors.parquet", 9)
    found = tables.read(tmp_path / "neighbors.parquet", tables.NEIGHBORS).sort_by("caption_id").to_pylist()
    assert found == one["neighbors"]


def test_more_shards_than_captions_leave_empty_ones(tmp_path: Path) -> None:
    ids, vectors = np.arange(3), _vectors(3, 4)
    assert _run(tmp_path, ids, vectors, 2, 16) == _run(tmp_path, ids, vectors, 2, 1)


@pytest.mark.parametrize("k", [1, 30])
def test_k_outside_the_corpus_is_an_error(tmp_path: Path, k: int) -> None:
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(path, np.arange(5), _vectors(5, 4))
    message = rf"^groups\.k={k} must lie between 2 and the number of captions \(5\), in config/config\.yaml$"
    with pytest.raises(ConfigError, match=message):
        find_neighbors([path], [path], tmp_path / "neighbors.parquet", k)
    assert not (tmp_path / "neighbors.parquet").exists()


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(path, np.arange(5), _vectors(5, 4))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"embeddings\.parquet"):
        find_neighbors([path], [path], tmp_path / "neighbors.parquet", 2)


def test_shards_of_two_models_are_an_error(tmp_path: Path) -> None:
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    _write_embeddings(paths[0], np.arange(5), _vectors(5, 4))
    _write_embeddings(paths[1], np.arange(5, 9), _vectors(4, 3))
    with pytest.raises(InputError, match=r"two\.parquet.*vectors of 3 numbers, where other shards have 4"):
        find_neighbors([paths[0]], paths, tmp_path / "neighbors.parquet", 2)


@pytest.mark.parametrize(("wrong", "length"), [(np.nan, "nan"), (2.0, r"2\.\d+"), (0.0, r"0\.\d+")])
def test_a_vector_that_is_not_of_length_1_is_named(tmp_path: Path, wrong: float, length: str) -> None:
    path, vectors = tmp_path / "embeddings.parquet", _vectors(5, 4)
    vectors[3, np.abs(vectors[3]).argmax()] = wrong
    _write_embeddings(path, np.arange(10, 15), vectors)
    message = rf"embedding of caption 13: a vector of length {length}, where unit vectors are needed \(1 of 5 are not\)"
    with pytest.raises(InputError, match=message):
        find_neighbors([path], [path], tmp_path / "neighbors.parquet", 2)
    assert not (tmp_path / "neighbors.parquet").exists()


def test_an_index_without_faiss_is_one_message_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(path, np.arange(5), _vectors(5, 4))
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"groups\.index: ivf needs faiss, which is not installed; type pip install"):
        index_captions([path], tmp_path / "index.faiss", "ivf", {"lists": None, "probes": 4})


def test_an_index_for_the_exact_search_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^groups\.index=exact needs no index; set ivf or hnsw"):
        index_captions([], tmp_path / "index.faiss", "exact", None)


INDEXES = {
    "ivf": {"lists": 12, "probes": 12},  # every list is read: nothing can be missed
    "hnsw": {"links": 16, "ef_construction": 100, "ef_search": 200},
}


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """EMBEDDINGS of 300 captions, some of equal text."""
    pytest.importorskip("faiss", reason="approximate indexes: pip install icsd[faiss]", exc_type=ModuleNotFoundError)
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(
        path, np.random.default_rng(7).permutation(900)[:300], np.concatenate([_vectors(270, 12)] * 2)[:300]
    )
    return path


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_that_finds_all_gives_the_exact_rows(indexed: Path, tmp_path: Path, kind: str) -> None:
    index, recall = tmp_path / "index.faiss", tmp_path / "recall.json"
    index_captions([indexed], index, kind, INDEXES[kind])
    find_neighbors([indexed], [indexed], tmp_path / "approximate.parquet", 8, index)
    find_neighbors([indexed], [indexed], tmp_path / "exact.parquet", 8)
    approximate, exact = (
        tables.read(tmp_path / f"{name}.parquet", tables.NEIGHBORS).to_pylist() for name in ("approximate", "exact")
    )
    assert approximate == exact
    measure_recall([indexed], index, recall, 8, 40, {"index": kind})
    measured = {"index": kind, "captions": 300, "queries": 40, "k": 8, "recall": 1.0, "lowest": 1.0, "complete": 1.0}
    assert json.loads(recall.read_text()) == measured


def test_recall_is_the_share_of_the_exact_nearest_that_the_index_finds(indexed: Path, tmp_path: Path) -> None:
    index, recall = tmp_path / "index.faiss", tmp_path / "recall.json"
    index_captions([indexed], index, "ivf", {"lists": 6, "probes": 2})
    measure_recall([indexed], index, recall, 8, 300, {})
    find_neighbors([indexed], [indexed], tmp_path / "approximate.parquet", 8, index)
    find_neighbors([indexed], [indexed], tmp_path / "exact.parquet", 8)
    pairs = zip(
        *(
            tables.read(tmp_path / f"{name}.parquet", tables.NEIGHBORS)["neighbor_ids"].to_pylist()
            for name in ("approximate", "exact")
        ),
        strict=True,
    )
    shares = [len(set(some) & set(all_)) - 1 for some, all_ in pairs]
    measured = json.loads(recall.read_text())
    assert measured["recall"] == pytest.approx(np.mean(shares) / 7, abs=1e-6)
    assert 0.3 < measured["recall"] < 1
    assert measured["lowest"] == pytest.approx(min(shares) / 7, abs=1e-6)


def test_the_same_captions_in_another_order_give_the_same_index(indexed: Path, tmp_path: Path) -> None:
    rows = tables.read(indexed, tables.EMBEDDINGS)
    tables.write(tmp_path / "sorted.parquet", tables.EMBEDDINGS, rows.sort_by("caption_id"))
    for kind, settings in INDEXES.items():
        made = [tmp_path / "one.faiss", tmp_path / "two.faiss"]
        for path, index in zip((indexed, tmp_path / "sorted.parquet"), made, strict=True):
            index_captions([path], index, kind, settings)
        assert made[0].read_bytes() == made[1].read_bytes()


def test_an_index_that_finds_too_few_or_of_other_captions_is_an_error(indexed: Path, tmp_path: Path) -> None:
    index, neighbors = tmp_path / "index.faiss", tmp_path / "neighbors.parquet"
    index_captions([indexed], index, "ivf", {"lists": 100, "probes": 1})
    with pytest.raises(
        ConfigError, match=r"finds only \d captions near one, where groups\.k=8; raise groups\.ivf\.probes"
    ):
        find_neighbors([indexed], [indexed], neighbors, 8, index)
    other = tmp_path / "other.parquet"
    _write_embeddings(other, np.arange(20), _vectors(20, 12))
    with pytest.raises(
        InputError, match=r"index\.faiss: holds 270 vectors of 12 numbers, but the captions have 20 of 12"
    ):
        find_neighbors([other], [other], neighbors, 8, index)
    index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"index\.faiss: is no index of faiss"):
        find_neighbors([indexed], [indexed], neighbors, 8, index)
    assert not neighbors.exists()
