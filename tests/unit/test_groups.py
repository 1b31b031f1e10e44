from pathlib import Path

import numpy as np
import pytest

from icsd import tables
from icsd.backends import neighbors as backend
from icsd.backends.neighbors import nearest
from icsd.errors import ConfigError, InputError
from icsd.groups import count_members, find_neighbors, first_of_each_set, form_groups, nearest_captions
from icsd.sharding import shard_names, shard_of
from icsd.vectors import on_grid, to_lists, unit_on_grid


def _vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return unit_on_grid(np.random.default_rng(seed).normal(size=(n, d)))


def _brute_force(heads: np.ndarray, ids: np.ndarray, vectors: np.ndarray, k: int) -> list[list[int]]:
    """By whole numbers, of any size: exact without any care."""
    whole = [[int(x * 2**22) for x in row] for row in vectors.tolist()]
    rows = {int(i): row for i, row in zip(ids, whole, strict=True)}
    groups = []
    for head in heads.tolist():
        falling = {i: -sum(a * b for a, b in zip(rows[head], row, strict=True)) for i, row in rows.items()}
        groups.append([head, *sorted((i for i in rows if i != head), key=lambda i: (falling[i], i))][:k])
    return groups


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"QUERIES": 7, "COLUMNS": 11, "SPARE": 2, "GATHERED": 100}.items():
        monkeypatch.setattr(backend, name, size)


def test_nearest_captions_equals_brute_force() -> None:
    ids = np.random.default_rng(1).permutation(1000)[:60]
    vectors = _vectors(60, 8)
    found = nearest_captions(ids[:20], ids, vectors, 9)
    assert found.ids.tolist() == _brute_force(ids[:20], ids, vectors, 9)
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
    assert found.ids.tolist() == _brute_force(ids, ids, vectors, 12)


# few spare candidates need the second look at the whole corpus, many do not
@pytest.mark.parametrize("spare", [2, 100])
@pytest.mark.usefixtures("small_blocks")
def test_ties_between_different_vectors_go_to_the_lower_column(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    monkeypatch.setattr(backend, "SPARE", spare)
    # the signs of the last coordinates do not count: 32 different vectors at the same similarity to the query
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, 32).T
    corpus = on_grid(np.hstack([np.full((32, 1), 0.5), signs * np.sqrt(0.75 / 5)]))
    query = np.eye(6, dtype=np.float32)[:1]
    assert nearest(query, corpus, 5).columns.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("spare", [2, 100])
@pytest.mark.usefixtures("small_blocks")
def test_vectors_closer_than_float32_can_tell_are_ordered_exactly(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    monkeypatch.setattr(backend, "SPARE", spare)
    rng = np.random.default_rng(4)
    corpus = on_grid(_vectors(1, 64) + rng.integers(-2, 3, size=(80, 64)) * 2.0**-22)
    found = nearest(corpus[:10], corpus, 6)
    whole = np.rint(corpus.astype(np.float64) * 2**22).astype(np.int64)
    products = whole[:10] @ whole.T
    expected = np.lexsort((np.broadcast_to(np.arange(80), products.shape), -products))[:, :6]
    assert np.array_equal(found.columns, expected)


def test_a_caption_is_first_in_its_own_group_though_others_tie() -> None:
    vectors = np.repeat(_vectors(2, 4), [4, 2], axis=0)
    found = nearest_captions(np.arange(6), np.arange(6), vectors, 3)
    assert found.ids.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 0, 1], [4, 5, 0], [5, 4, 0]]


def test_k_of_all_captions_gives_them_all() -> None:
    found = nearest_captions(np.arange(5), np.arange(5), _vectors(5, 4), 5)
    assert all(sorted(members) == [0, 1, 2, 3, 4] for members in found.ids.tolist())


def test_identical_sets_are_kept_once_by_the_first_row() -> None:
    ids = np.array([[1, 2, 3], [2, 4, 5], [3, 2, 1], [4, 2, 5], [5, 4, 1]])
    assert first_of_each_set(ids).tolist() == [0, 1, 4]


def test_count_members_counts_rows_with_each_caption() -> None:
    times = count_members(np.array([1, 2, 3, 9]), np.array([[1, 2], [2, 9]]))
    assert times.tolist() == [1, 2, 0, 1]


def _run(folder: Path, ids: np.ndarray, vectors: np.ndarray, k: int, shards: int) -> dict[str, list[dict]]:
    """All rows of neighbors, groups and group_times for a number of shards, by id."""
    names = shard_names(shards)
    own = [np.array([shard_of(int(i), shards) == n for i in ids]) for n in range(shards)]
    embeddings = [folder / f"embeddings-{name}.parquet" for name in names]
    neighbors = [folder / f"neighbors-{name}.parquet" for name in names]
    groups, times = [folder / f"groups-{name}.parquet" for name in names], folder / f"times-{shards}.parquet"
    for path, rows in zip(embeddings, own, strict=True):
        _write_embeddings(path, ids[rows], vectors[rows])
    for shard, path in zip(embeddings, neighbors, strict=True):
        find_neighbors(shard, embeddings, path, k)
    form_groups(neighbors, groups, times)
    for number, path in enumerate(groups):
        heads = tables.read(path, tables.GROUPS)["group_id"].to_pylist()
        assert all(shard_of(head, shards) == number for head in heads)
    rows = {
        "neighbors": tables.concat(neighbors, tables.NEIGHBORS).sort_by("caption_id"),
        "groups": tables.concat(groups, tables.GROUPS).sort_by("group_id"),
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


def test_more_shards_than_captions_leave_empty_ones(tmp_path: Path) -> None:
    ids, vectors = np.arange(3), _vectors(3, 4)
    assert _run(tmp_path, ids, vectors, 2, 16) == _run(tmp_path, ids, vectors, 2, 1)


@pytest.mark.parametrize("k", [1, 30])
def test_k_outside_the_corpus_is_an_error(tmp_path: Path, k: int) -> None:
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(path, np.arange(5), _vectors(5, 4))
    message = rf"^groups\.k={k} must lie between 2 and the number of captions \(5\), in config/config\.yaml$"
    with pytest.raises(ConfigError, match=message):
        find_neighbors(path, [path], tmp_path / "neighbors.parquet", k)
    assert not (tmp_path / "neighbors.parquet").exists()


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.parquet"
    _write_embeddings(path, np.arange(5), _vectors(5, 4))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"embeddings\.parquet"):
        find_neighbors(path, [path], tmp_path / "neighbors.parquet", 2)


def test_shards_of_two_models_are_an_error(tmp_path: Path) -> None:
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    _write_embeddings(paths[0], np.arange(5), _vectors(5, 4))
    _write_embeddings(paths[1], np.arange(5, 9), _vectors(4, 3))
    with pytest.raises(InputError, match=r"two\.parquet.*vectors of 3 numbers, where other shards have 4"):
        find_neighbors(paths[0], paths, tmp_path / "neighbors.parquet", 2)
